//! Alerts, found by case, by entity or by time, newest first.
//!
//! Alerts stay in their compressed blocks. The indexes name blocks: a case's rows with the positions that belong to
//! it, an entity's without, so an entity's blocks are decoded and filtered. The order is one and total: by the block's
//! place (when the coordinator had it, then its stream and number), then by position, all descending. Time in a search
//! is when the coordinator had the alert, not when it happened: only that orders the store, and agents' clocks lie.
//!
//! # Limits
//! A page decodes at most [`Window::blocks`] blocks and looks into at most [`SEARCH_DAYS_MAX`] days of the entity
//! index, so it may be short, even empty, and still say where to go on. Records end a page beyond
//! [`PAGE_RECORD_BYTES_MAX`].
//!
//! # Cost
//! About a millisecond a block; another with records.
//!
//! Records are not unpacked at the door, so an agent can send some that cannot be. Their block is whole, as its
//! checksum says: its alerts are found, each with why it has no record. A block whose checksum is wrong is damage of
//! our own.

use bytes::Bytes;
use shared::{
    alert::{Alert, Field},
    block::{Block, BlockError, Fields},
    ids::{AgentId, Epoch, Lane, Seq, StreamId, TenantId},
    time::Timestamp,
};

use crate::{
    limits::{PAGE_RECORD_BYTES_MAX, SEARCH_BLOCKS_MAX, SEARCH_DAYS_MAX},
    store::{
        engine::{Direction, Space},
        schema::{BlockKey, BlockPlace, CaseBlockKey, EntityKey, Key, range_of},
        tables::{LoadError, Source},
        values::{Positions, ValueError},
    },
    triage::{
        case::CaseId,
        entity::{EntityKind, EntityRef},
    },
};

/// Index rows that are read at once.
const ROWS_PER_SCAN: usize = 64;
/// Blocks that are read at once where every block counts: each may have 2 MiB.
const BLOCKS_PER_SCAN: usize = 4;

/// Where an alert of a tenant is kept. The greater, the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertPlace {
    /// In which block.
    pub block: BlockPlace,
    /// At which position, from 0.
    pub position: u16,
}

impl AlertPlace {
    /// Returns the place before every alert that was received at `at` or later.
    #[must_use]
    pub fn start_of(at: Timestamp) -> Self {
        let (agent, lane) = (AgentId::from_bytes([0; 16]), Lane::Urgent);
        let stream = StreamId { agent, epoch: Epoch(0), lane };
        Self { block: BlockPlace { received_at: at, stream, seq: Seq::FIRST }, position: 0 }
    }

    /// Returns the exclusive end of the keys that can hold alerts before this place.
    fn end_of_keys<K: Key>(self, key: &K) -> Vec<u8> {
        let mut end = key.encode();
        if self.position > 0 {
            end.push(0); // this block itself still has some
        }
        end
    }
}

/// Which part of a list is read.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Only alerts before this place; absent for the newest.
    pub before: Option<AlertPlace>,
    /// Most alerts, at least 1.
    pub limit: usize,
    /// Most blocks that are decoded, at least 1.
    pub blocks: usize,
    /// Whether the records are read, too.
    pub records: bool,
}

impl Window {
    /// Returns the first page of at most `limit` alerts, without records.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { before: None, limit, blocks: SEARCH_BLOCKS_MAX, records: false }
    }
}

/// An alert with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is kept.
    pub place: AlertPlace,
    /// What it says.
    pub alert: Alert<'static>,
    /// The record, byte for byte, if it was asked for; or why it cannot be had out of a block that is whole.
    pub record: Option<Result<Bytes, BlockError>>,
}

/// A part of a list of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertPage {
    /// The alerts, newest first.
    pub alerts: Vec<Found>,
    /// Where the rest begins: [`Window::before`] of the next page. Absent if there is no more.
    pub next: Option<AlertPlace>,
    /// Whether an index named a block that is not kept any more.
    pub blocks_gone: bool,
}

/// When alerts were received, and what they name.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Whose.
    pub tenant: TenantId,
    /// What they name; absent for all alerts.
    pub entity: Option<EntityRef>,
    /// Received at this time or later.
    pub from: Timestamp,
    /// Received before this time.
    pub to: Timestamp,
}

/// Reads alerts of a case, which is the tenant's.
///
/// # Errors
/// The store cannot be read, or a block is damaged.
pub fn of_case<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    case: CaseId,
    window: Window,
) -> Result<AlertPage, LoadError> {
    let (from, to) = range_of::<CaseBlockKey>(&case.as_u64().to_be_bytes());
    let mut walk = Walk::new(source, tenant, window);
    loop {
        let end = walk.before.map_or(to.clone(), |before| {
            before.end_of_keys(&CaseBlockKey { case, place: before.block })
        });
        let rows =
            source.load_range::<CaseBlockKey>(&from..&end, Direction::Backward, ROWS_PER_SCAN)?;
        let is_last = rows.len() < ROWS_PER_SCAN;
        for (key, Positions(positions)) in rows {
            if walk.visit(key.place, &Wanted::These(&positions), None)? {
                return Ok(walk.stopped());
            }
        }
        if is_last {
            return Ok(walk.page);
        }
    }
}

/// Searches alerts of a tenant.
///
/// # Errors
/// The store cannot be read, or a block is damaged.
pub fn search<S: Source + ?Sized>(
    source: &S,
    search: &Search,
    window: Window,
) -> Result<AlertPage, LoadError> {
    let end = AlertPlace::start_of(search.to);
    let before = window.before.map_or(end, |before| before.min(end));
    let walk = Walk::new(source, search.tenant, Window { before: Some(before), ..window });
    match search.entity {
        Some(entity) => by_entity(search, entity, before, walk),
        None => by_time(search, before, walk),
    }
}

/// Goes through all blocks of the tenant.
fn by_time<S: Source + ?Sized>(
    &Search { tenant, from, .. }: &Search,
    mut before: AlertPlace,
    mut walk: Walk<'_, S>,
) -> Result<AlertPage, LoadError> {
    let from = BlockKey { tenant, place: AlertPlace::start_of(from).block }.encode();
    loop {
        let end = before.end_of_keys(&BlockKey { tenant, place: before.block });
        if from >= end {
            return Ok(walk.page);
        }
        let rows = walk.source.scan_raw(
            Space::Blocks,
            &from..&end,
            Direction::Backward,
            BLOCKS_PER_SCAN,
        )?;
        let is_last = rows.len() < BLOCKS_PER_SCAN;
        for (key, bytes) in rows {
            let place = BlockKey::decode(&key)?.place;
            if walk.visit(place, &Wanted::All, Some(bytes))? {
                return Ok(walk.stopped());
            }
            before = AlertPlace { block: place, position: 0 };
        }
        if is_last {
            return Ok(walk.page);
        }
    }
}

/// Goes through the blocks that name `entity`, day by day; days in which nothing was received cost nothing.
fn by_entity<S: Source + ?Sized>(
    &Search { tenant, from, .. }: &Search,
    entity: EntityRef,
    mut before: AlertPlace,
    mut walk: Walk<'_, S>,
) -> Result<AlertPage, LoadError> {
    let (oldest_day, first) = (EntityKey::day_of(from), AlertPlace::start_of(from));
    let mut upto = EntityKey::day_of(before.block.received_at);
    for _ in 0..SEARCH_DAYS_MAX {
        if before <= first {
            return Ok(walk.page);
        }
        let Some(day) = newest_day(walk.source, tenant, oldest_day, upto)? else {
            return Ok(walk.page);
        };
        let key = |place| EntityKey { tenant, day, entity, place };
        let start = key(first.block).encode();
        if day < upto {
            before = start_of_day(day.saturating_add(1));
        }
        loop {
            let end = before.end_of_keys(&key(before.block));
            if start >= end {
                break;
            }
            let keys: Vec<EntityKey> =
                walk.source.load_keys(&start..&end, Direction::Backward, ROWS_PER_SCAN)?;
            let is_last = keys.len() < ROWS_PER_SCAN;
            for EntityKey { place, .. } in keys {
                if walk.visit(place, &Wanted::Naming(entity), None)? {
                    return Ok(walk.stopped());
                }
                before = AlertPlace { block: place, position: 0 };
            }
            if is_last {
                break;
            }
        }
        before = start_of_day(day);
        let Some(earlier) = day.checked_sub(1) else { return Ok(walk.page) };
        upto = earlier;
    }
    walk.before = Some(before);
    Ok(walk.stopped())
}

fn start_of_day(day: u32) -> AlertPlace {
    AlertPlace::start_of(Timestamp::from_ms(u64::from(day) * EntityKey::DAY_MS))
}

/// Returns the newest day from `oldest` to `newest`, both included, in which the tenant has entities at all.
fn newest_day<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    oldest: u32,
    newest: u32,
) -> Result<Option<u32>, LoadError> {
    let day = |day: u32| [tenant.as_bytes().as_slice(), &day.to_be_bytes()].concat();
    let (from, _) = range_of::<EntityKey>(&day(oldest));
    let (_, to) = range_of::<EntityKey>(&day(newest));
    if from >= to {
        return Ok(None);
    }
    let keys: Vec<EntityKey> = source.load_keys(&from..&to, Direction::Backward, 1)?;
    Ok(keys.first().map(|key| key.day))
}

/// Which alerts of a block are wanted.
enum Wanted<'a> {
    All,
    /// Those at these positions, ascending.
    These(&'a [u16]),
    /// Those that name this entity.
    Naming(EntityRef),
}

impl Wanted<'_> {
    /// Returns their positions before `end`, descending.
    fn positions(&self, fields: &Fields<'_>, end: u16) -> Vec<u16> {
        let end = end.min(u16::try_from(fields.len()).unwrap_or(u16::MAX));
        match self {
            Self::All => (0..end).rev().collect(),
            Self::These(positions) => {
                positions.iter().rev().copied().filter(|position| *position < end).collect()
            }
            Self::Naming(entity) => {
                let mut naming = Naming::new(*entity, fields);
                (0..end).rev().filter(|position| naming.is_at(*position)).collect()
            }
        }
    }
}

/// Tells which alerts of a block name an entity, touching each text of its dictionary once.
struct Naming<'a> {
    entity: EntityRef,
    fields: &'a Fields<'a>,
    /// By number of a text.
    known: Vec<Option<bool>>,
}

impl<'a> Naming<'a> {
    fn new(entity: EntityRef, fields: &'a Fields<'a>) -> Self {
        Self { entity, fields, known: vec![None; fields.texts().len() + 1] }
    }

    fn is_at(&mut self, position: u16) -> bool {
        let of_kind = |field: &Field| EntityKind::of_field(*field) == Some(self.entity.kind);
        Field::ALL.into_iter().filter(of_kind).any(|field| {
            let number = self.fields.number(usize::from(position), field) as usize;
            number != 0
                && *self.known[number].get_or_insert_with(|| {
                    let text = self.fields.texts()[number - 1];
                    EntityRef::named_by(self.entity.kind, text).any(|named| named == self.entity)
                })
        })
    }
}

/// Fills a page from blocks that are visited in descending order.
struct Walk<'a, S: ?Sized> {
    source: &'a S,
    tenant: TenantId,
    /// What is left of the window: everything from here on was visited.
    before: Option<AlertPlace>,
    limit: usize,
    blocks: usize,
    records: Option<usize>,
    page: AlertPage,
}

impl<'a, S: Source + ?Sized> Walk<'a, S> {
    fn new(source: &'a S, tenant: TenantId, window: Window) -> Self {
        let Window { before, limit, blocks, records } = window;
        let records = records.then_some(PAGE_RECORD_BYTES_MAX);
        Self { source, tenant, before, limit, blocks, records, page: AlertPage::default() }
    }

    /// Takes what is wanted of a block, whose bytes may have been read already. Returns whether the page is at its end
    /// and the block is not used up.
    fn visit(
        &mut self,
        place: BlockPlace,
        wanted: &Wanted<'_>,
        bytes: Option<Bytes>,
    ) -> Result<bool, LoadError> {
        if self.blocks == 0 || self.page.alerts.len() >= self.limit {
            return Ok(true);
        }
        let block_start = AlertPlace { block: place, position: 0 };
        let end = match self.before {
            Some(before) if before.block == place => before.position,
            Some(_) | None => u16::MAX,
        };
        let key = BlockKey { tenant: self.tenant, place };
        let bytes = match bytes {
            Some(bytes) => Some(bytes),
            None => self.source.load_block(&key)?,
        };
        self.blocks -= 1; // one that is gone counts, too: it was looked for
        let Some(bytes) = bytes else {
            self.page.blocks_gone = true;
            self.before = Some(block_start);
            return Ok(false);
        };
        let damaged = |error: BlockError| ValueError { what: "block", detail: error.to_string() };
        let block = Block::parse(bytes).map_err(damaged)?;
        let raw = block.decompress_fields().map_err(damaged)?;
        let fields = raw.decode().map_err(damaged)?;
        let positions = wanted.positions(&fields, end);
        let records = match self.records {
            Some(_) if !positions.is_empty() => Some(block.records()),
            Some(_) | None => None,
        };
        for position in positions {
            if self.page.alerts.len() >= self.limit {
                return Ok(true);
            }
            let record = records.as_ref().map(|all| match all {
                Ok(all) => Ok(&all[usize::from(position)]),
                Err(error) => Err(error.clone()),
            });
            if let (Some(room), Some(Ok(record))) = (&mut self.records, &record) {
                match room.checked_sub(record.len()) {
                    Some(left) => *room = left,
                    None => return Ok(true),
                }
            }
            // A record of its own, so that one small alert does not keep its whole block in memory.
            let record = record.map(|record| record.map(|it| Bytes::copy_from_slice(it)));
            let alert = owned(&fields.alert(usize::from(position)));
            let place = AlertPlace { block: place, position };
            self.page.alerts.push(Found { place, alert, record });
            self.before = Some(place);
        }
        self.before = Some(block_start);
        Ok(false)
    }

    /// Returns the page, and that it goes on.
    fn stopped(self) -> AlertPage {
        AlertPage { next: self.before, ..self.page }
    }
}

/// Returns `alert` with texts of its own.
pub(super) fn owned(alert: &Alert<'_>) -> Alert<'static> {
    let mut copy = Alert::default();
    copy.time = alert.time;
    copy.observed_at = alert.observed_at;
    copy.severity = alert.severity;
    copy.action = alert.action;
    copy.src_port = alert.src_port;
    copy.dst_port = alert.dst_port;
    copy.context = alert.context;
    copy.handling = alert.handling;
    copy.count = alert.count;
    for field in Field::ALL {
        if let Some(text) = alert.text(field) {
            copy.set(field, text.to_owned());
        }
    }
    copy
}

#[cfg(test)]
mod tests;
