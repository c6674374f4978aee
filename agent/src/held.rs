//! The held ring: the agent's durable, bounded store of what was held back, and the way back to it
//! (L8). The originals of what was folded have another of the same kind.
//!
//! A ring is a spool of its own (see [`crate::spool`]), in its own folder, whose blocks are not
//! sent. They have the ordinary form of blocks; [`Field::PolicyRule`] says which rule held an alert.
//! When the ring is full, or what it holds has got old, the oldest records are evicted; tombstones
//! say how many of each rule they were and of which time. [`HeldReader`], on any thread, finds a
//! rule's records again and makes blocks of them.
//!
//! ```text
//! push ─▶ open block ─▶ flush: ring's commit, synced ─▶ spool's commit with the mark ─▶ confirm
//!                          └ refused: the caller sends the blocks instead
//! ```
//!
//! # Invariants
//! - The ring is synced before the spool's commit that covers the same records, and counts only up
//!   to the mark in that commit (see `mark`): each record is held once, whatever crashes (L3).
//! - A tombstone is durable before the records that it stands for are deleted (L4).
//! - What the ring does not take is given back to be sent, or, where something else stands for it
//!   already, has a tombstone at once: nothing waits for the ring, and nothing is lost for its sake.
//!
//! # Limits
//! Bytes on disk: [`HeldConfig::bytes_max`]. Memory: one open block and those finished since the
//! last flush, and what `state` says of each chunk, of which there are at most
//! [`crate::limits::HELD_CHUNKS_MAX`]. Opening reads no block.
//!
//! Not here: which alerts are held; when the pipeline flushes; how a recall travels.

mod mark;
mod query;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use shared::{
    alert::{Alert, Field},
    block::{Block, BlockBuilder, PushError},
    ids::{Lane, Seq},
    time::Timestamp,
};
use thiserror::Error;

use self::{
    mark::Mark,
    state::{Changes, Chunk, ChunkLimits, PENDING, RuleNumber, Span, State, encode},
};
pub use self::{
    mark::{FOLDED_MARK_NAME, MARK_NAME},
    query::{Query, QueryError, Step},
    state::StateError,
};
use crate::{
    limits::{HELD_AGE_MAX, HELD_RETRY_WAIT, READY_BLOCKS_MAX, READY_RECORD_BYTES_MAX},
    spool::{
        AppendError, Commit, Damage, Disk, OpenError, Opened, Spool, SpoolConfig, SpoolReader,
        SyncError,
    },
};

/// The lane on which all blocks of a ring are.
const LANE: Lane = Lane::Bulk;

/// A ring's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldConfig {
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// How long a record is held at most.
    pub age_max: Duration,
    /// Level of zstd, 1-19.
    pub level: i32,
}

impl HeldConfig {
    /// Room is made by whole files, so they are an eighth of the ring.
    fn segment_bytes(&self) -> u64 {
        self.bytes_max / 8
    }

    /// What is evicted at once: little against the ring, and few enough to be listed.
    fn chunk_limits(&self) -> ChunkLimits {
        ChunkLimits { bytes: self.bytes_max / 128, age: self.age_max / 32 }
    }
}

/// What was found when a ring was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldOpened {
    /// Whether there was none before.
    pub created: bool,
    /// Records of the newest commit that do not count: they are read and held again.
    pub void_records: u64,
    /// Records that the spool knows of and the ring does not, noted as lost.
    pub lost_records: u64,
    /// Where the ring was damaged.
    pub damage: Vec<Damage>,
}

/// What the caller does after a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum HeldFlow {
    /// Push on.
    Continue,
    /// Flush before the next push.
    Flush,
}

/// Why an alert is not held. The caller sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotHeld {
    /// The alert does not say which rule holds it.
    #[error("no rule holds it")]
    NoRule,
    /// The ring took nothing a moment ago.
    #[error("held ring takes nothing now")]
    Failing,
    /// As many other rules hold already.
    #[error("too many rules hold")]
    TooManyRules,
}

/// What became of what was pushed since the last flush.
#[derive(Debug)]
#[must_use = "what is refused is nowhere else"]
pub enum Flushed {
    /// There was nothing.
    Nothing,
    /// It is durable, and counts with the spool's next commit.
    Held,
    /// The ring did not take it: the caller sends the blocks.
    Refused {
        /// The blocks.
        blocks: Vec<Bytes>,
        /// Of which rules how many records they have, and of which time.
        spans: RuleSpans,
        /// Why.
        error: HoldError,
    },
}

/// How many records of which rules there are, and of which time.
#[derive(Debug)]
pub struct RuleSpans(BTreeMap<RuleNumber, Span>);

/// Why blocks are not in the ring.
#[derive(Debug, Error)]
pub enum HoldError {
    /// Even without its older records there is no room, or its disk has none.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// They could not be made durable.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Why a ring cannot be opened.
#[derive(Debug, Error)]
pub enum OpenHeldError {
    /// Its files cannot be opened.
    #[error(transparent)]
    Files(#[from] OpenError),
    /// A later version wrote what it says of its records.
    #[error(transparent)]
    State(#[from] StateError),
    /// A later version wrote in the spool how far it counts.
    #[error("the spool says in a form of a later version how far the held ring counts")]
    Mark,
}

/// How full a ring is, and what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldUsage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Records that it holds.
    pub records: u64,
    /// When the oldest of them was held.
    pub oldest: Option<Timestamp>,
    /// Records that it has evicted, as far as tombstones tell.
    pub evicted: u64,
    /// Records that are gone without a tombstone.
    pub lost: u64,
    /// Blocks that it has refused since the process started.
    pub refused_blocks: u64,
    /// Why it refuses, if it does.
    pub error: Option<String>,
}

/// What was pushed and not flushed.
#[derive(Debug, Default)]
struct Collecting {
    builder: BlockBuilder,
    ready: Vec<Bytes>,
    ready_record_bytes: usize,
    rules: BTreeMap<RuleNumber, Span>,
    since: Option<Instant>,
}

/// The writer of a ring.
#[derive(Debug)]
pub struct Held {
    spool: Spool,
    config: HeldConfig,
    state: Arc<Mutex<State>>,
    /// Changes of the state that are in no commit yet.
    changes: Changes,
    /// Durable, and to be confirmed by the spool's commit.
    pending: Option<Chunk>,
    mark: Mark,
    collecting: Collecting,
    retry_at: Option<Instant>,
    refused_blocks: u64,
    error: Option<String>,
}

/// Finds what a ring holds, from any thread. Clones share all of it.
#[derive(Clone, Debug)]
pub struct HeldReader {
    spool: SpoolReader,
    state: Arc<Mutex<State>>,
}

impl HeldReader {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Held {
    /// Opens the ring on `disk`, or creates one with `fresh_epoch`, a random number, if there is
    /// none. `mark` is what the spool has under [`MARK_NAME`].
    ///
    /// # Errors
    /// See [`OpenHeldError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: HeldConfig,
        fresh_epoch: u64,
        mark: Option<&[u8]>,
    ) -> Result<(Self, HeldOpened), OpenHeldError> {
        let mark = match mark {
            Some(bytes) => Some(Mark::decode(bytes).ok_or(OpenHeldError::Mark)?),
            None => None,
        };
        let (segment_bytes, total_bytes_max) = (config.segment_bytes(), config.bytes_max);
        let (spool, opened) =
            Spool::open(disk, SpoolConfig { segment_bytes, total_bytes_max }, fresh_epoch)?;
        let Opened { checkpoints, created, damage, .. } = opened;
        let (mut state, pending) = State::load(&checkpoints)?;
        let (mut changes, mut void_records) = (Changes::new(), 0);
        // A ring that is none of this spool's counts as a whole: the spool is new, or the ring is.
        let is_ours = mark.is_some_and(|mark| mark.epoch == spool.epoch());
        if let Some(blocks) = pending {
            if is_ours && mark.is_some_and(|mark| mark.last < blocks.last) {
                void_records = blocks.count();
            } else {
                state.take(blocks, config.chunk_limits(), &mut changes);
            }
            changes.insert(PENDING.to_owned(), None);
        }
        let known = state.totals.held;
        let lost_records = match mark {
            Some(mark) if is_ours => mark.held.saturating_sub(known),
            Some(mark) => mark.held,
            None => 0,
        };
        if lost_records > 0 {
            state.totals.held = known.max(mark.map_or(0, |mark| mark.held));
            state.lose(lost_records, &mut changes);
        }
        let first = state.chunks.front().map(|chunk| chunk.first);
        let last = state.chunks.back().map_or(0, |chunk| chunk.last);
        let mark = Mark { epoch: spool.epoch(), last, held: state.totals.held };
        let held = Self {
            spool,
            config,
            state: Arc::new(Mutex::new(state)),
            changes,
            pending: None,
            mark,
            collecting: Collecting { builder: BlockBuilder::new(), ..Collecting::default() },
            retry_at: None,
            refused_blocks: 0,
            error: None,
        };
        held.let_go_before(first);
        Ok((held, HeldOpened { created, void_records, lost_records, damage }))
    }

    /// Returns a reader of the ring.
    #[must_use]
    pub fn reader(&self) -> HeldReader {
        HeldReader { spool: self.spool.reader(), state: Arc::clone(&self.state) }
    }

    /// Adds an alert and its record to what the next flush makes durable; the alert says which rule
    /// holds it. `now` and `at` are the same moment.
    ///
    /// # Errors
    /// [`NotHeld`]: the caller sends the alert.
    ///
    /// # Panics
    /// For a record that is longer than any block takes, which sources rule out.
    pub fn push(
        &mut self,
        alert: &Alert<'_>,
        record: &[u8],
        now: Instant,
        at: Timestamp,
    ) -> Result<HeldFlow, NotHeld> {
        let rule = alert.text(Field::PolicyRule).ok_or(NotHeld::NoRule)?;
        if self.retry_at.is_some_and(|retry_at| now < retry_at) {
            return Err(NotHeld::Failing);
        }
        let number = self.number_of(rule, at);
        let number = number.ok_or(NotHeld::TooManyRules)?;
        let collecting = &mut self.collecting;
        if collecting.builder.push(alert, record) == Err(PushError::Full) {
            collecting.finish(self.config.level);
            let pushed = collecting.builder.push(alert, record);
            pushed.expect("sources cut lines to the longest record");
        }
        let span = Span::one(alert.event_time());
        collecting.rules.entry(number).and_modify(|known| known.add(span)).or_insert(span);
        collecting.since.get_or_insert(now);
        Ok(if collecting.is_full() { HeldFlow::Flush } else { HeldFlow::Continue })
    }

    /// Returns the number of a rule, which no other gets while records wait that have it.
    fn number_of(&mut self, rule: &str, at: Timestamp) -> Option<RuleNumber> {
        let (collecting, pending) = (&self.collecting.rules, &self.pending);
        let is_used = |number| {
            let is_pending = pending.as_ref().is_some_and(|it| it.rules.contains_key(&number));
            is_pending || collecting.contains_key(&number)
        };
        lock(&self.state).number_of(rule, at, is_used, &mut self.changes)
    }

    /// Notes that an alert which could not be pushed is not kept at all, as another stands for it.
    pub fn forgo(&mut self, alert: &Alert<'_>, at: Timestamp) {
        let number = alert.text(Field::PolicyRule).and_then(|rule| self.number_of(rule, at));
        let mut state = lock(&self.state);
        match number {
            Some(number) => {
                state.bury(number, Span::one(alert.event_time()), at, &mut self.changes);
            }
            None => state.lose(1, &mut self.changes),
        }
    }

    /// Notes that what a flush was refused is not kept at all, as something else stands for it.
    pub fn forgo_refused(&mut self, spans: RuleSpans, at: Timestamp) {
        let mut state = lock(&self.state);
        for (number, span) in spans.0 {
            state.bury(number, span, at, &mut self.changes);
        }
    }

    /// Returns how many bytes of records wait for the next flush, before compression.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.collecting.ready_record_bytes + self.collecting.builder.record_bytes()
    }

    /// Tells whether nothing waits for the next flush.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.collecting.since.is_none()
    }

    /// Tells whether a flush is due: enough waits, or something has waited for long.
    #[must_use]
    pub fn needs_flush(&self, now: Instant) -> bool {
        let is_old = |since| now.duration_since(since) >= HELD_AGE_MAX;
        self.collecting.is_full() || self.collecting.since.is_some_and(is_old)
    }

    /// Makes all that was pushed durable. It counts, and is found, once the spool has committed
    /// [`Self::mark`] and [`Self::confirm`] was called; if that never happens, it is void.
    ///
    /// # Panics
    /// If what was flushed before was not confirmed.
    pub fn flush(&mut self, now: Instant, at: Timestamp) -> Flushed {
        assert!(self.pending.is_none(), "L3: one spool's commit covers one flush");
        if self.is_empty() {
            return Flushed::Nothing;
        }
        let (blocks, rules) = self.collecting.take(self.config.level);
        let spans = rules.clone();
        match self.store(&blocks, rules, at) {
            Ok(()) => {
                self.retry_at = None;
                if self.error.take().is_some() {
                    tracing::info!("held ring takes records again");
                }
                Flushed::Held
            }
            Err(error) => {
                self.retry_at = Some(now + HELD_RETRY_WAIT);
                self.refused_blocks += blocks.len() as u64;
                let text = error.to_string();
                if self.error.as_ref() != Some(&text) {
                    tracing::warn!(%error, "held ring takes nothing: what it should hold is sent");
                    self.error = Some(text);
                }
                Flushed::Refused { blocks, spans: RuleSpans(spans), error }
            }
        }
    }

    /// Returns what the spool's next commit has to say under [`MARK_NAME`].
    #[must_use]
    pub fn mark(&self) -> Vec<u8> {
        let pending = self.pending.as_ref();
        let last = pending.map_or(self.mark.last, |blocks| blocks.last);
        let held = self.mark.held + pending.map_or(0, Chunk::count);
        Mark { last, held, ..self.mark }.encode()
    }

    /// Takes in that the spool has committed the mark: what was flushed counts from here on.
    pub fn confirm(&mut self) {
        if let Some(blocks) = self.pending.take() {
            self.mark.last = blocks.last;
            self.mark.held += blocks.count();
            let limits = self.config.chunk_limits();
            lock(&self.state).take(blocks, limits, &mut self.changes);
            // In the commit that says what they are part of; else they would be taken in twice.
            self.changes.insert(PENDING.to_owned(), None);
        }
    }

    /// Evicts what is too old at `at`; a later call tries again what the disk refuses. Does nothing while a flush waits
    /// to be confirmed.
    pub fn expire(&mut self, at: Timestamp) {
        if self.pending.is_some() {
            return;
        }
        let age_max = self.config.age_max;
        let is_old = move |chunk: &Chunk| at.since(chunk.held_until) > age_max;
        if lock(&self.state).chunks.front().is_some_and(is_old)
            && let Err(error) = self.evict(at, |_, chunk| is_old(chunk))
        {
            tracing::debug!(%error, "held records that are old cannot be evicted yet");
        }
    }

    /// Returns how full the ring is.
    #[must_use]
    pub fn usage(&self) -> HeldUsage {
        let state = lock(&self.state);
        let stones = state.rules.values().flat_map(|rule| &rule.tombstones);
        HeldUsage {
            bytes: self.spool.usage().bytes,
            bytes_max: self.config.bytes_max,
            records: state.chunks.iter().map(Chunk::count).sum(),
            oldest: state.chunks.front().map(|chunk| chunk.held_from),
            evicted: stones.map(|stone| stone.span.count).sum(),
            lost: state.totals.lost,
            refused_blocks: self.refused_blocks,
            error: self.error.clone(),
        }
    }

    /// Appends and syncs the blocks, with what is to be said of them.
    fn store(
        &mut self,
        blocks: &[Bytes],
        rules: BTreeMap<RuleNumber, Span>,
        at: Timestamp,
    ) -> Result<(), HoldError> {
        if lock(&self.state).is_full() {
            self.evict(at, |evicted, _| evicted == 0)?;
        }
        let bytes = blocks.iter().map(|block| block.len() as u64).sum();
        let mut pending = Chunk { first: 0, last: 0, bytes, held_from: at, held_until: at, rules };
        loop {
            pending.first = Seq::after(self.spool.newest()[LANE.index()]).as_u64();
            pending.last = pending.first + blocks.len() as u64 - 1;
            self.changes.insert(PENDING.to_owned(), Some(encode(&pending)));
            match self.append(blocks) {
                Ok(()) => break,
                Err(AppendError::Full { .. }) => {
                    let segment_bytes = self.config.segment_bytes();
                    if self.evict(at, |evicted, _| evicted < segment_bytes)? == 0 {
                        return Err(AppendError::Full { needed: bytes, limit: 0 }.into());
                    }
                }
                Err(AppendError::DiskFull | AppendError::Unsynced { .. }) => self.spool.sync()?,
                Err(error @ AppendError::TooLarge { .. }) => return Err(error.into()),
            }
        }
        self.spool.sync()?;
        self.pending = Some(pending);
        Ok(())
    }

    /// Appends blocks and all changes of the state.
    fn append(&mut self, blocks: &[Bytes]) -> Result<(), AppendError> {
        let (mut checkpoints, mut forgotten) = (Vec::new(), Vec::new());
        for (name, value) in &self.changes {
            match value {
                Some(value) => checkpoints.push((name.clone(), value.clone())),
                None => forgotten.push(name.clone()),
            }
        }
        let blocks = blocks.iter().map(|block| (LANE, block.clone())).collect();
        self.spool.append(&Commit { blocks, checkpoints, forgotten, ledger: None })?;
        self.changes.clear();
        Ok(())
    }

    /// Evicts the oldest chunks as long as `goes_on` says so, given the bytes evicted and the next
    /// chunk; returns the bytes. The tombstones are durable before anything is deleted (L4).
    fn evict(
        &mut self,
        at: Timestamp,
        goes_on: impl Fn(u64, &Chunk) -> bool,
    ) -> Result<u64, HoldError> {
        let (mut bytes, mut records, mut first) = (0, 0, None);
        {
            let mut state = lock(&self.state);
            while state.chunks.front().is_some_and(|chunk| goes_on(bytes, chunk)) {
                let Some(evicted) = state.evict(at, &mut self.changes) else { break };
                bytes += evicted.bytes.max(1);
                records += evicted.records;
                first = Some(state.chunks.front().map_or(evicted.last + 1, |chunk| chunk.first));
            }
        }
        if bytes > 0 {
            // Blocks that may not count are named by the commit that has them.
            self.changes.insert(PENDING.to_owned(), None);
            self.append(&[])?;
            self.spool.sync()?;
            tracing::debug!(records, bytes, "held records were evicted");
            self.let_go_before(first);
        }
        Ok(bytes)
    }

    /// Lets the files go that have only blocks before `first`.
    fn let_go_before(&self, first: Option<u64>) {
        let up_to = first.and_then(|first| Seq::new(first - 1));
        if let Some(up_to) = up_to
            && let Err(error) = self.spool.reader().advance(LANE, up_to)
        {
            tracing::warn!(%error, "held ring has fewer blocks than it says");
        }
    }

    /// Deletes the files of which all records are evicted.
    ///
    /// # Errors
    /// Whatever the system reports. What was not deleted is tried again by the next call.
    pub fn collect(&mut self) -> io::Result<u64> {
        self.spool.collect()
    }
}

/// Returns how many records of each source the blocks have of each rule: source, rule.
#[must_use]
pub fn counts_of(blocks: &[Bytes]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    let raws = blocks.iter().filter_map(|block| Block::parse(block.clone()).ok());
    for raw in raws.filter_map(|block| block.decompress_fields().ok()) {
        let Ok(fields) = raw.decode() else { continue };
        let text = |at, field| fields.text(at, field).unwrap_or_default().to_owned();
        for at in 0..fields.len() {
            let key = (text(at, Field::LogName), text(at, Field::PolicyRule));
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

impl Collecting {
    fn is_full(&self) -> bool {
        self.ready.len() >= READY_BLOCKS_MAX || self.ready_record_bytes >= READY_RECORD_BYTES_MAX
    }

    fn finish(&mut self, level: i32) {
        self.ready_record_bytes += self.builder.record_bytes();
        self.ready.push(self.builder.finish(level));
    }

    /// Takes out all that waits.
    fn take(&mut self, level: i32) -> (Vec<Bytes>, BTreeMap<RuleNumber, Span>) {
        if !self.builder.is_empty() {
            self.finish(level);
        }
        (self.since, self.ready_record_bytes) = (None, 0);
        (std::mem::take(&mut self.ready), std::mem::take(&mut self.rules))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change is whole before anything can panic.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
