//! Makes a block true: stores its bytes as they came, folds its alerts into cases, indexes its entities, moves the
//! stream's cursor and says so in the journal, all in one write (L2).

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry as Slot};

use shared::{
    block::{Block, BlockError, FieldBytes},
    ids::{Seq, StreamId, TenantId},
    limits::FUTURE_MAX,
    time::Timestamp,
    wire::{Gap, GapReason, LaneHead},
};

use crate::{
    command::{CommandError, journal, tenants},
    store::{
        engine::{Space, Staged},
        schema::{
            BlockKey, BlockPlace, CaseBlockKey, CaseKey, CursorKey, EntityKey, FindingKey, GapKey,
            HostKey, Key, KnownKey, TenantCaseKey,
        },
        tables::{LoadError, Source, put, put_evidence, put_key},
        values::{Actor, Cursor, Entry, Event, GapRecord, Positions, Tenant, Value, ValueError},
    },
    triage::{
        case::{Case, CaseId},
        entity::{self, EntityRef},
        evidence::{Evidence, Finding, Known},
        fold::{self, Group},
    },
};

/// A block that was checked and read, ready to be committed. Making one costs the decoding; committing it does not.
#[derive(Debug)]
pub struct Prepared {
    tenant: TenantId,
    stream: StreamId,
    seq: Seq,
    block: Block,
    groups: Vec<Group>,
    entities: Vec<EntityRef>,
}

impl Prepared {
    /// Checks a block and reads out what its commit needs.
    ///
    /// # Errors
    /// The bytes are no block: the agent broke the protocol.
    pub fn new(
        tenant: TenantId,
        stream: StreamId,
        seq: Seq,
        bytes: bytes::Bytes,
    ) -> Result<Self, BlockError> {
        let block = Block::parse(bytes)?;
        let raw: FieldBytes = block.decompress_fields()?;
        let fields = raw.decode()?;
        let groups = fold::group(tenant, &fields);
        let entities = entity::of_block(&fields);
        Ok(Self { tenant, stream, seq, block, groups, entities })
    }

    /// Returns how many alerts the block holds.
    #[must_use]
    pub fn alerts(&self) -> u16 {
        self.block.alerts()
    }
}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is stored; these cases changed.
    Stored(Vec<CaseId>),
    /// It was stored before: nothing changed (L2).
    Before,
}

/// Stages a block.
///
/// # Errors
/// [`CommandError::OutOfOrder`] if a block before it is missing.
pub fn commit(
    staged: &mut Staged<'_>,
    prepared: &Prepared,
    now: Timestamp,
) -> Result<Committed, CommandError> {
    let Prepared { tenant, stream, seq, block, groups, entities } = prepared;
    let (tenant, stream, seq) = (*tenant, *stream, *seq);
    let cursor_key = CursorKey { tenant, stream };
    let cursor = staged.load(&cursor_key)?;
    let committed = cursor.map(|cursor| cursor.committed);
    if committed >= Some(seq) {
        return Ok(Committed::Before);
    }
    if committed.and_then(Seq::next).unwrap_or(Seq::FIRST) != seq {
        let committed = committed.map_or(0, Seq::as_u64);
        return Err(CommandError::OutOfOrder { got: seq.as_u64(), committed });
    }
    let settings = tenants::load_or_default(staged, tenant, now)?;
    let place = BlockPlace { received_at: now, stream, seq };
    let cases = fold_into_cases(staged, prepared, &settings, place, now)?;
    let day = EntityKey::day_of(now);
    for entity in entities {
        put_key(staged, &EntityKey { tenant, day, entity: *entity, place });
    }
    staged.put(Space::Blocks, &BlockKey { tenant, place }.encode(), block.bytes().clone());
    let alerts = cursor.map_or(0, |cursor| cursor.alerts) + u64::from(block.alerts());
    let check = Some(block.checksum());
    put(staged, &cursor_key, Cursor { committed: seq, committed_at: now, alerts, check });
    let grouped: usize = groups.iter().map(|group: &Group| group.positions.len()).sum();
    debug_assert!(grouped == usize::from(block.alerts()));
    let event = Event::BlockCommitted { stream, seq, alerts: block.alerts(), cases: cases.clone() };
    let actor = Actor::Agent(stream.agent);
    journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    Ok(Committed::Stored(cases))
}

/// Folds the block's groups into cases; returns those that changed.
fn fold_into_cases(
    staged: &mut Staged<'_>,
    prepared: &Prepared,
    settings: &Tenant,
    place: BlockPlace,
    now: Timestamp,
) -> Result<Vec<CaseId>, CommandError> {
    let Prepared { tenant, groups, .. } = prepared;
    // First decide by host and time alone which case each group goes to, so that all cases are read at once.
    let (mut gone, mut salt) = (BTreeSet::new(), 0);
    let (hosts, assigned, ids, cases) = loop {
        let mut hosts = load_hosts(staged, *tenant, groups)?;
        hosts.values_mut().for_each(|host| host.forget(&gone));
        let (assigned, opened) = assign(&mut hosts, prepared, salt, now);
        let mut ids = assigned.clone();
        ids.sort_unstable();
        ids.dedup();
        let case_keys: Vec<CaseKey> = ids.iter().copied().map(CaseKey).collect();
        let cases = staged.load_many(&case_keys)?;
        // A case that was deleted is not opened again: its id, and its old fences with it, would mean something else.
        let known_gone = gone.len();
        let absent = ids.iter().zip(&cases).filter(|(_, case)| case.is_none()).map(|(id, _)| *id);
        gone.extend(absent.filter(|id| !opened.contains(id)));
        // An id is 64 bits of a digest: one that another tenant's case has is not opened but passed over (L5).
        let is_foreign = cases.iter().flatten().any(|case| case.tenant != *tenant);
        salt += u8::from(is_foreign);
        if gone.len() == known_gone && !is_foreign {
            break (hosts, assigned, ids, cases);
        }
    };

    let mut evidence = load_evidence(staged, groups, &assigned, cases.into_iter().flatten())?;
    let mut positions: BTreeMap<CaseId, Vec<u16>> = BTreeMap::new();
    for (group, id) in groups.iter().zip(assigned) {
        match evidence.entry(id) {
            Slot::Occupied(mut known) => known.get_mut().absorb(group, &settings.sla, now),
            Slot::Vacant(free) => {
                let opened_at = now;
                put_key(staged, &TenantCaseKey { tenant: *tenant, opened_at, case: id });
                free.insert(Evidence::open(id, *tenant, group, &settings.sla, now));
            }
        }
        positions.entry(id).or_default().extend_from_slice(&group.positions);
    }
    for (case, mut positions) in positions {
        positions.sort_unstable();
        put(staged, &CaseBlockKey { case, place }, Positions(positions));
    }
    evidence.into_values().for_each(|evidence| put_evidence(staged, evidence));
    for (host, known) in hosts {
        put(staged, &host_key(*tenant, host), known);
    }
    Ok(ids)
}

/// Reads what the block's groups may change of the cases that there are: what each knows, and the findings that the
/// groups are more of.
fn load_evidence(
    staged: &Staged<'_>,
    groups: &[Group],
    assigned: &[CaseId],
    cases: impl Iterator<Item = Case>,
) -> Result<BTreeMap<CaseId, Evidence>, LoadError> {
    let cases: Vec<Case> = cases.collect();
    let known_keys: Vec<KnownKey> = cases.iter().map(|case| KnownKey(case.id)).collect();
    let mut evidence = BTreeMap::new();
    for (case, known) in cases.into_iter().zip(staged.load_many(&known_keys)?) {
        let known = known.ok_or_else(|| missing::<Known>(case.id))?;
        evidence.insert(case.id, Evidence::of(case, known));
    }
    let more = groups.iter().zip(assigned).filter_map(|(group, case)| {
        let number = evidence.get(case)?.known.number_of(&group.fingerprint)?;
        Some(FindingKey { case: *case, number })
    });
    let more: Vec<FindingKey> = more.collect::<BTreeSet<_>>().into_iter().collect();
    for (key, finding) in more.iter().zip(staged.load_many(&more)?) {
        let finding = finding.ok_or_else(|| missing::<Finding>(key.case))?;
        let evidence = evidence.get_mut(&key.case).expect("only of these cases findings are asked");
        evidence.findings.insert(key.number, finding);
    }
    Ok(evidence)
}

/// Returns that a case lacks a row that is written and deleted with it.
fn missing<V: Value>(case: CaseId) -> ValueError {
    ValueError { what: V::NAME, detail: format!("case {case} has none") }
}

type Hosts<'g> = BTreeMap<&'g str, fold::HostCases>;

/// Reads which cases the hosts of a block's groups have.
fn load_hosts<'g>(
    staged: &Staged<'_>,
    tenant: TenantId,
    groups: &'g [Group],
) -> Result<Hosts<'g>, LoadError> {
    let mut hosts = Hosts::new();
    groups.iter().for_each(|group| drop(hosts.insert(&group.host, fold::HostCases::default())));
    let keys: Vec<HostKey> = hosts.keys().map(|host| host_key(tenant, host)).collect();
    for (known, loaded) in hosts.values_mut().zip(staged.load_many(&keys)?) {
        *known = loaded.unwrap_or_default();
    }
    Ok(hosts)
}

/// Says which case each group of a block goes to, and which of those it opens, with `salt` in their ids.
fn assign(
    hosts: &mut Hosts<'_>,
    prepared: &Prepared,
    salt: u8,
    now: Timestamp,
) -> (Vec<CaseId>, BTreeSet<CaseId>) {
    let Prepared { tenant, stream, seq, groups, .. } = prepared;
    let (mut assigned, mut opened) = (Vec::with_capacity(groups.len()), BTreeSet::new());
    for group in groups {
        let host = hosts.get_mut(group.host.as_str()).expect("every group's host was put there");
        let (first_at, last_at) = believable(group, now);
        let case = host.joining(first_at, last_at).unwrap_or_else(|| {
            let case = fold::case_id(*tenant, *stream, *seq, group, salt);
            opened.insert(case);
            case
        });
        host.cover(case, first_at, last_at);
        assigned.push(case);
    }
    (assigned, opened)
}

/// Returns the key under which the cases of `host` are remembered.
pub(super) fn host_key(tenant: TenantId, host: &str) -> HostKey {
    HostKey { tenant, host: entity::digest([host.as_bytes()]) }
}

/// Returns the group's event time as far as it can be believed: an agent's clock may be wrong, and a time far in the
/// future would keep a case open for ever.
fn believable(group: &Group, now: Timestamp) -> (Timestamp, Timestamp) {
    let latest = now.saturating_add(FUTURE_MAX);
    (group.first_at.min(latest), group.last_at.min(latest))
}

/// Stages that blocks of a stream will never come.
///
/// # Errors
/// [`CommandError::OutOfOrder`] if the gap begins behind a block that is still missing.
pub fn record_gap(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    stream: StreamId,
    gap: Gap,
    now: Timestamp,
) -> Result<(), CommandError> {
    let cursor_key = CursorKey { tenant, stream };
    let cursor = staged.load(&cursor_key)?;
    let committed = cursor.map(|cursor| cursor.committed);
    if committed >= Some(gap.last) {
        return Ok(());
    }
    let next = committed.and_then(Seq::next).unwrap_or(Seq::FIRST);
    if gap.first > next {
        let committed = committed.map_or(0, Seq::as_u64);
        return Err(CommandError::OutOfOrder { got: gap.first.as_u64(), committed });
    }
    let gap = Gap { first: next, ..gap };
    let alerts = cursor.map_or(0, |cursor| cursor.alerts);
    let check = None;
    put(staged, &cursor_key, Cursor { committed: gap.last, committed_at: now, alerts, check });
    let record = GapRecord { last: gap.last, reason: gap.reason, noticed_at: now };
    put(staged, &GapKey { tenant, stream, first: gap.first }, record);
    let event = Event::GapRecorded { stream, gap };
    let actor = Actor::Agent(stream.agent);
    journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    Ok(())
}

/// Returns up to where a stream is durable, with the newest block's checksum if it is known, and stages the gap if the
/// agent's spool begins behind that.
///
/// # Errors
/// The store cannot be read.
pub fn resume(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    stream: StreamId,
    head: LaneHead,
    now: Timestamp,
) -> Result<Option<(Seq, Option<u32>)>, CommandError> {
    let key = CursorKey { tenant, stream };
    let cursor = staged.load(&key)?;
    let committed = cursor.map(|cursor| cursor.committed);
    let next = committed.and_then(Seq::next).unwrap_or(Seq::FIRST);
    if head.first <= next {
        return Ok(cursor.map(|cursor| (cursor.committed, cursor.check)));
    }
    let last = Seq::new(head.first.as_u64() - 1).unwrap_or(Seq::FIRST);
    let gap = Gap { first: next, last, reason: GapReason::Missing };
    record_gap(staged, tenant, stream, gap, now)?;
    Ok(Some((last, None)))
}

#[cfg(test)]
mod tests;
