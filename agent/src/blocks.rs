//! Collects alerts into blocks, one open block a lane, and says when to commit them.
//!
//! # Contract (L3)
//! A commit holds *all* that was pushed since the commit before, of all lanes, and with it the
//! checkpoints of all sources as they stand at that moment. So a checkpoint covers exactly the
//! records that are in committed blocks: a record that sits in another lane's open block goes into
//! the same commit.
//!
//! ```text
//! for each line of a batch:   push(lane, alert, record) -> Flow::Continue | Flow::Commit
//! on Flow::Commit, or once due_at() is reached:
//!     blocks = flush_all(); checkpoints = each source's, at the last line pushed
//!     commit both in one transaction
//! ```
//! Nothing is pushed between [`Blocks::flush_all`] and taking the checkpoints. A block that gets
//! full is finished at once and waits; several finished blocks share one commit and its sync, so
//! that a flood, whose rare urgent alert would otherwise cut every commit short, still fills its
//! blocks.
//!
//! # Limits
//! At most [`READY_BLOCKS_MAX`] finished blocks or [`READY_RECORD_BYTES_MAX`] bytes of records
//! wait, beside one open block a lane, and all together are no more than [`READY_BYTES_MAX`], so that
//! one commit always holds them; pushing past that is an error of the caller.

use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::{
    alert::Alert,
    block::{BlockBuilder, PushError},
    ids::Lane,
    time::Timestamp,
};

use crate::limits::{BLOCK_AGE_MAX, READY_BLOCKS_MAX, READY_BYTES_MAX, READY_RECORD_BYTES_MAX};

/// How blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPolicy {
    /// Level of zstd, 1-19.
    pub level: i32,
    /// How old the oldest alert gets before all is committed.
    pub age_max: Duration,
}

impl Default for BlockPolicy {
    /// zstd 1, and [`BLOCK_AGE_MAX`].
    fn default() -> Self {
        Self { level: 1, age_max: BLOCK_AGE_MAX }
    }
}

/// What the caller does after a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Push on.
    Continue,
    /// Commit before the next push.
    Commit,
}

/// A finished block, to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedBlock {
    /// Its lane.
    pub lane: Lane,
    /// The block, encoded and compressed.
    pub bytes: Bytes,
    /// How many alerts it holds: at least 1.
    pub alerts: usize,
    /// When the first of its alerts was read.
    pub oldest: Timestamp,
}

/// The open block of one lane.
#[derive(Debug, Default)]
struct Open {
    builder: BlockBuilder,
    oldest: Timestamp,
}

/// The blocks that are being made.
#[derive(Debug)]
pub struct Blocks {
    policy: BlockPolicy,
    open: [Open; Lane::COUNT],
    ready: Vec<FinishedBlock>,
    ready_record_bytes: usize,
    /// Of records and fields.
    ready_bytes: usize,
    /// When the first alert was pushed that is not committed yet.
    since: Option<Instant>,
}

impl Blocks {
    /// Returns empty blocks.
    #[must_use]
    pub fn new(policy: BlockPolicy) -> Self {
        let open = || Open { builder: BlockBuilder::new(), oldest: Timestamp::ZERO };
        Self {
            policy,
            open: std::array::from_fn(|_| open()),
            ready: Vec::new(),
            ready_record_bytes: 0,
            ready_bytes: 0,
            since: None,
        }
    }

    /// Returns whether nothing waits for a commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Returns how many bytes of records wait for their commit, before compression.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        let open: usize = self.open.iter().map(|open| open.builder.record_bytes()).sum();
        self.ready_record_bytes + open
    }

    /// Adds an alert and its record to the open block of `lane`; a full block is finished first.
    ///
    /// # Errors
    /// Fails for a record that no block can hold, and changes nothing then.
    ///
    /// # Panics
    /// If the caller did not commit when it was told to.
    pub fn push(
        &mut self,
        lane: Lane,
        alert: &Alert<'_>,
        record: &[u8],
        now: Instant,
    ) -> Result<Flow, PushError> {
        assert!(!self.is_full(), "the caller commits before it pushes on (L3, L7)");
        let open = &mut self.open[lane.index()];
        match open.builder.push(alert, record) {
            Ok(()) => {}
            Err(PushError::Full) => {
                self.finish(lane);
                self.open[lane.index()].builder.push(alert, record)?;
            }
            Err(error @ PushError::RecordTooLong(_)) => return Err(error),
        }
        let open = &mut self.open[lane.index()];
        if open.builder.len() == 1 {
            open.oldest = alert.observed_at;
        }
        self.since.get_or_insert(now);
        Ok(if self.is_full() { Flow::Commit } else { Flow::Continue })
    }

    /// Returns when all that was pushed must be committed, if anything was.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + self.policy.age_max)
    }

    /// Returns whether a commit is due: enough finished blocks wait, or an alert has got old.
    #[must_use]
    pub fn needs_flush(&self, now: Instant) -> bool {
        self.is_full() || self.due_at().is_some_and(|due| due <= now)
    }

    /// Finishes the open blocks of all lanes and returns everything that waits, in order within
    /// each lane.
    #[must_use = "what is returned is nowhere else"]
    pub fn flush_all(&mut self) -> Vec<FinishedBlock> {
        for lane in Lane::ALL {
            if !self.open[lane.index()].builder.is_empty() {
                self.finish(lane);
            }
        }
        self.since = None;
        (self.ready_record_bytes, self.ready_bytes) = (0, 0);
        std::mem::take(&mut self.ready)
    }

    fn is_full(&self) -> bool {
        let open: usize = self.open.iter().map(|open| open.builder.bytes()).sum();
        self.ready.len() >= READY_BLOCKS_MAX
            || self.ready_record_bytes >= READY_RECORD_BYTES_MAX
            || self.ready_bytes + open >= READY_BYTES_MAX
    }

    fn finish(&mut self, lane: Lane) {
        let Open { builder, oldest } = &mut self.open[lane.index()];
        let (alerts, oldest) = (builder.len(), *oldest);
        self.ready_record_bytes += builder.record_bytes();
        self.ready_bytes += builder.bytes();
        let bytes = builder.finish(self.policy.level);
        self.ready.push(FinishedBlock { lane, bytes, alerts, oldest });
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own start of time")]
mod tests {
    use shared::{
        block::Block,
        limits::{BLOCK_ALERTS_MAX, RECORD_BYTES_MAX},
    };

    use super::*;

    #[test]
    fn a_commit_holds_all_that_was_pushed_on_any_lane() {
        let (mut blocks, now) = (Blocks::new(BlockPolicy::default()), Instant::now());
        let mut pushed = Vec::new();
        let mut committed = Vec::new();
        for number in 0..20_000_usize {
            let lane = Lane::ALL[number * number % 7 % 3];
            let record = format!("{number}");
            pushed.push((lane, record.clone()));
            if push(&mut blocks, lane, record.as_bytes(), now) == Flow::Commit {
                committed.extend(records(&blocks.flush_all()));
                assert!(blocks.is_empty());
                assert_same(&committed, &pushed); // L3: what a checkpoint taken here covers
            }
        }
        committed.extend(records(&blocks.flush_all()));
        assert_same(&committed, &pushed);
    }

    #[test]
    fn a_flood_fills_its_blocks_although_urgent_alerts_come_between() {
        let (mut blocks, now) = (Blocks::new(BlockPolicy::default()), Instant::now());
        let mut commits = Vec::new();
        for number in 0..50_000 {
            let lane = if number % 1_000 == 0 { Lane::Urgent } else { Lane::Bulk };
            if push(&mut blocks, lane, &[b'x'; 100], now) == Flow::Commit {
                commits.push(blocks.flush_all());
            }
        }
        let bulk = commits.iter().flatten().filter(|block| block.lane == Lane::Bulk);
        let full = bulk.clone().filter(|block| block.alerts == BLOCK_ALERTS_MAX).count();
        assert!(full * 10 >= bulk.count() * 8, "most bulk blocks are full");
        assert!(commits.iter().all(|blocks| blocks.len() >= READY_BLOCKS_MAX));
    }

    #[test]
    fn a_lone_alert_is_committed_when_it_is_old_enough() {
        let (mut blocks, start) = (Blocks::new(BlockPolicy::default()), Instant::now());
        assert!(!blocks.needs_flush(start + Duration::from_secs(9)), "nothing is never due");
        assert_eq!(push(&mut blocks, Lane::Normal, b"{}", start), Flow::Continue);
        let due = start + BLOCK_AGE_MAX;
        assert_eq!(blocks.due_at(), Some(due));
        assert!(!blocks.needs_flush(due - Duration::from_millis(1)));
        assert_eq!(push(&mut blocks, Lane::Normal, b"{}", due), Flow::Continue);
        assert!(blocks.needs_flush(due), "a later alert does not make the first one younger");
        let flushed = blocks.flush_all();
        assert_eq!((flushed.len(), flushed[0].alerts), (1, 2));
        assert_eq!(flushed[0].oldest, Timestamp::from_ms(7));
        assert_eq!(blocks.due_at(), None);
    }

    #[test]
    fn large_records_make_a_commit_due_by_their_bytes() {
        let (mut blocks, now) = (Blocks::new(BlockPolicy::default()), Instant::now());
        let record = vec![b'x'; RECORD_BYTES_MAX];
        let mut pushes = 0;
        while push(&mut blocks, Lane::Bulk, &record, now) == Flow::Continue {
            pushes += 1;
            assert!(pushes < 64);
        }
        assert!(blocks.record_bytes() <= READY_RECORD_BYTES_MAX + 2 * RECORD_BYTES_MAX);
    }

    #[test]
    fn a_record_that_no_block_holds_changes_nothing() {
        let (mut blocks, now) = (Blocks::new(BlockPolicy::default()), Instant::now());
        let record = vec![b'x'; RECORD_BYTES_MAX + 1];
        let result = blocks.push(Lane::Bulk, &Alert::default(), &record, now);
        assert_eq!(result, Err(PushError::RecordTooLong(record.len())));
        assert!(blocks.is_empty() && blocks.flush_all().is_empty());
    }

    #[test]
    #[should_panic(expected = "commits before it pushes on")]
    fn pushing_past_a_due_commit_panics() {
        let (mut blocks, now) = (Blocks::new(BlockPolicy::default()), Instant::now());
        while push(&mut blocks, Lane::Bulk, b"{}", now) == Flow::Continue {}
        let _flow = push(&mut blocks, Lane::Bulk, b"{}", now);
    }

    fn push(blocks: &mut Blocks, lane: Lane, record: &[u8], now: Instant) -> Flow {
        let mut alert = Alert::default();
        alert.observed_at = Timestamp::from_ms(7);
        blocks.push(lane, &alert, record, now).unwrap()
    }

    fn records(blocks: &[FinishedBlock]) -> Vec<(Lane, String)> {
        let mut records = Vec::new();
        for block in blocks {
            let parsed = Block::parse(block.bytes.clone()).unwrap();
            assert_eq!(usize::from(parsed.alerts()), block.alerts);
            let texts = parsed.records().unwrap();
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            records.extend(texts.iter().map(|record| (block.lane, text(record))));
        }
        records
    }

    fn assert_same(committed: &[(Lane, String)], pushed: &[(Lane, String)]) {
        for lane in Lane::ALL {
            let of = |all: &[(Lane, String)]| -> Vec<String> {
                all.iter().filter(|(of, _)| *of == lane).map(|(_, text)| text.clone()).collect()
            };
            assert!(of(committed) == of(pushed), "lane {lane}");
        }
    }
}
