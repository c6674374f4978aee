//! From the sources to the spool: the one thread that owns both.
//!
//! ```text
//! poll a source ─▶ read a batch ─▶ each line: normalise ─▶ policy ─▶ lane ─▶ block ─┐
//!      ▲                                                               full, old, or quiet
//!      └────────── tell the uplink ◀─ sync ◀─ append ◀──────────────────────────────┘
//! ```
//! Sources take turns, one batch each, so that a flood in one does not silence another. While a
//! commit cannot be stored, nothing is read: what the detectors write waits in their own files, and
//! what they send with the senders (TCP) or nowhere (UDP) (L7).
//!
//! # Invariants
//! A commit holds all that was pushed since the one before, and the checkpoints and the ledger that
//! cover exactly that (L3). What is held back or folded was made durable in its ring before, and counts
//! with the mark in the commit; what is to be held and the ring does not take is sent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use shared::{
    alert::Field,
    context::{ContextVersion, HostContext},
    ids::{Lane, Seq},
    ledger::{Interval, LossReason},
};
use thiserror::Error;
use tokio::sync::watch;

use super::{
    feed::{self, Feed, Pushed, Reading, Sinks},
    policy::Enforcement,
    rings::{RingFlush, Rings},
    sleep::{Sleeper, Watch, Woken},
    throttle::Throttle,
};
use crate::{
    attribution::{AttributionPolicy, Attributor},
    blocks::Blocks,
    clock,
    fold::HandedOut,
    held::counts_of,
    ledger::{Change, Ledger, Newest},
    limits::{READ_BYTES, READY_RECORD_BYTES_MAX},
    normalise::LanePolicy,
    proc::Proc,
    source::ReadBuffer,
    spool::{AppendError, Commit, Spool, SyncError},
    status::{LaneStatus, LedgerStatus, Snapshot, SpoolState, Status, WRITE_INTERVAL},
};

/// Wait after a round that read nothing, while something was read within [`LIVELY`].
const IDLE_WAIT_MIN: Duration = Duration::from_millis(10);
/// Wait after a round that read nothing where nothing tells of changes: with the commit it stays well
/// under the 100 ms from file to queue.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(40);
/// How long after the last record the sources are looked at often.
const LIVELY: Duration = Duration::from_secs(2);
/// Wait before a commit is tried again that the spool or the disk refused.
const RETRY_WAIT: Duration = Duration::from_millis(250);
/// How often checkpoints are stored that no block goes with: after a crash so much is at most
/// skipped again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// Why the pipeline cannot go on.
#[derive(Debug, Error)]
pub(super) enum PipelineError {
    /// A commit is longer than any spool takes: a bound is broken.
    #[error("a commit does not fit the spool: {0}")]
    Commit(AppendError),
}

/// What the pipeline works with.
pub(super) struct Parts {
    pub(super) spool: Spool,
    pub(super) rings: Option<Rings>,
    pub(super) feeds: Vec<Feed>,
    pub(super) blocks: Blocks,
    pub(super) lanes: LanePolicy,
    pub(super) policy: Enforcement,
    pub(super) ledger: Ledger,
    /// Where the ledger's oldest intervals are offered for sending.
    pub(super) offered: watch::Sender<Arc<Vec<Interval>>>,
    /// Up to which interval the coordinator has them.
    pub(super) ledger_acked: watch::Receiver<u64>,
    pub(super) attribution: AttributionPolicy,
    pub(super) synced: watch::Sender<()>,
    pub(super) context: watch::Receiver<Arc<HostContext>>,
    pub(super) status: Arc<Status>,
    pub(super) status_path: std::path::PathBuf,
    pub(super) throttle: Throttle,
    pub(super) sleeper: Sleeper,
}

/// The pipeline.
pub(super) struct Pipeline {
    parts: Parts,
    context: ContextVersion,
    attributor: Attributor,
    last_read: Option<Instant>,
    last_commit: Option<Instant>,
    last_publish: Option<Instant>,
    state: SpoolState,
    error: Option<String>,
    waits: u64,
    status_error: Option<String>,
    /// Whether the ledger's interval is closed with the next commit, whatever the hour.
    closes_interval: bool,
    /// Whether a commit was given up because it was told to stop: what it held is read again after
    /// the next start, so nothing may be stored that comes after it (L3).
    has_given_up: bool,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl From<Woken> for Next {
    fn from(woken: Woken) -> Self {
        match woken {
            Woken::GoOn => Self::GoOn,
            Woken::Stop => Self::Stop,
        }
    }
}

impl Pipeline {
    pub(super) fn new(mut parts: Parts) -> Self {
        parts.throttle.bound(parts.policy.cpu_percent(clock::wall()));
        let context = Arc::clone(&parts.context.borrow());
        let mut attributor = Attributor::new(parts.attribution, Proc::default(), clock::now);
        attributor.know(&context);
        Self {
            parts,
            context: context.version(),
            attributor,
            last_read: None,
            last_commit: None,
            last_publish: None,
            state: SpoolState::Ok,
            error: None,
            waits: 0,
            status_error: None,
            closes_interval: false,
            has_given_up: false,
        }
    }

    /// Runs until it is told to stop; then all that was read is in the spool, or, if the spool
    /// takes nothing, is read again after the next start, except for what was sent to a listener.
    ///
    /// # Errors
    /// [`PipelineError`]: a bug of ours that going on would not cure.
    pub(super) fn run(mut self) -> Result<(), PipelineError> {
        // Where "from now on" begins is stored before anything is read.
        let mut buffer = ReadBuffer::new();
        let mut next = self.commit(None)?;
        while next == Next::GoOn {
            self.publish();
            next = self.round(&mut buffer)?;
        }
        self.end_sources(&mut buffer)?;
        self.finish()?;
        self.parts.policy.end();
        self.last_publish = None;
        self.publish();
        Ok(())
    }

    /// Takes over what sources have read and not handed out, where it cannot be read again.
    fn end_sources(&mut self, buffer: &mut ReadBuffer) -> Result<(), PipelineError> {
        for index in 0..self.parts.feeds.len() {
            while !self.has_given_up && self.parts.feeds[index].end() {
                self.turn(index, buffer)?;
            }
        }
        Ok(())
    }

    /// Stores all that was read, and with it an alert for all that was folded and not counted yet.
    fn finish(&mut self) -> Result<(), PipelineError> {
        if self.has_given_up {
            return Ok(());
        }
        let now = clock::now();
        let prefilter = self.parts.policy.prefilter();
        let folded = prefilter.map(|prefilter| prefilter.take_all(now)).unwrap_or_default();
        if self.put_folded(&folded, now)? == Next::Stop {
            tracing::warn!("the spool takes nothing: folded alerts go uncounted");
            return Ok(());
        }
        self.closes_interval = true;
        if !self.has_given_up {
            self.commit(None)?;
        }
        Ok(())
    }

    /// Hands out folded alerts whose period has ended, and has a policy that changed take the place of the one before.
    fn tend_policy(&mut self) -> Result<Next, PipelineError> {
        let policy = &mut self.parts.policy;
        let (now, wall) = (clock::now(), clock::wall());
        let changed = policy.poll(now, wall);
        let folded = match policy.prefilter() {
            None => Vec::new(),
            Some(prefilter) if changed.is_some() => prefilter.take_all(now),
            Some(prefilter) => prefilter.take_due(now),
        };
        let next = self.put_folded(&folded, now)?;
        let Some(changed) = changed.filter(|_| next == Next::GoOn) else { return Ok(next) };
        // What was counted so far was decided by the one before: no interval is of two policies.
        if self.parts.policy.is_another_version(&changed) {
            self.closes_interval = true;
            if self.commit(None)? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        let Parts { policy, throttle, .. } = &mut self.parts;
        policy.put_in_force(changed, wall);
        throttle.bound(policy.cpu_percent(wall));
        Ok(Next::GoOn)
    }

    /// Puts the alerts that stand for folded ones into their blocks.
    fn put_folded(&mut self, folded: &[HandedOut], now: Instant) -> Result<Next, PipelineError> {
        for one in folded {
            let Parts { policy, lanes, blocks, feeds, ledger, .. } = &mut self.parts;
            let prefilter = policy.prefilter().expect("it has just handed this out");
            let (mut alert, record) = (prefilter.alert_of(one), one.kept.record());
            // Whose connection it was is no longer to be found out, and that is said.
            self.attributor.attribute(&mut alert, None, now);
            let lane = feed::lane_for(&alert, lanes);
            let source = alert.text(Field::LogName);
            let source = feeds.iter().position(|feed| Some(feed.name()) == source);
            ledger.count_summary(source.expect("a feed read it"), lane);
            let pushed = feed::put(&alert, record, now, lane, blocks);
            if pushed == Pushed::CommitFirst && self.commit(None)? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::GoOn)
    }

    /// Gives each source one turn, then commits what is due and waits if there was nothing.
    fn round(&mut self, buffer: &mut ReadBuffer) -> Result<Next, PipelineError> {
        if self.parts.context.has_changed().unwrap_or(false) {
            let context = Arc::clone(&self.parts.context.borrow_and_update());
            self.context = context.version();
            self.attributor.know(&context);
        }
        if self.tend_policy()? == Next::Stop {
            return Ok(Next::Stop);
        }
        let mut has_read = false;
        for index in 0..self.parts.feeds.len() {
            let now = clock::now();
            if self.parts.feeds[index].poll(now) && !feed::is_left(&mut self.parts.feeds, index) {
                has_read = true;
                self.last_read = Some(now);
                if self.turn(index, buffer)? == Next::Stop {
                    return Ok(Next::Stop);
                }
            }
            let is_due = self.is_commit_due()
                || self.parts.feeds[index].needs_commit()
                || self.is_ledger_due();
            if is_due && self.commit(None)? == Next::Stop {
                return Ok(Next::Stop);
            }
            if has_read && self.slow_down()? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        // When nothing was read, nothing more will share these blocks soon, so they do not wait for it. In a flood of
        // which nothing is sent, the checkpoints are due all the same.
        let is_waited_for =
            !self.parts.blocks.is_empty() || self.parts.feeds.iter().any(Feed::awaits_commit);
        let is_quiet = !has_read && is_waited_for;
        let is_due =
            is_quiet || self.is_checkpoint_due(CHECKPOINT_INTERVAL) || self.is_ledger_due();
        if is_due && self.commit(None)? == Next::Stop {
            return Ok(Next::Stop);
        }
        if has_read {
            return Ok(self.wait(Duration::ZERO));
        }
        let now = clock::now();
        let is_lively = self.last_read.is_some_and(|at| now.duration_since(at) < LIVELY);
        Ok(if is_lively { self.wait(IDLE_WAIT_MIN) } else { self.sleep() })
    }

    /// Waits as long as the agent's bounds ask for; what was read does not wait along.
    fn slow_down(&mut self) -> Result<Next, PipelineError> {
        let now = clock::now();
        let wait = self.parts.throttle.wait(now);
        if wait.is_zero() {
            return Ok(Next::GoOn);
        }
        if self.parts.blocks.needs_flush(now + wait) && self.commit(None)? == Next::Stop {
            return Ok(Next::Stop);
        }
        self.publish();
        Ok(self.wait(wait))
    }

    /// Reads one batch of a source and pushes its lines, committing on the way as often as the
    /// blocks ask for it.
    fn turn(&mut self, index: usize, buffer: &mut ReadBuffer) -> Result<Next, PipelineError> {
        let observed_at = clock::wall();
        let now = clock::now();
        let Some(batch) = self.parts.feeds[index].read(now, buffer, READ_BYTES) else {
            return Ok(Next::GoOn);
        };
        for line in batch.lines() {
            let (context, is_stray) = (self.context, line.is_stray);
            let reading = Reading { observed_at, now, context, is_stray };
            let Parts { feeds, rings, blocks, lanes, policy, ledger, .. } = &mut self.parts;
            ledger.lost(index, LossReason::Cut, u64::from(line.cut));
            let prefilter = policy.prefilter();
            let (tally, attributor) = (ledger.read(index), &mut self.attributor);
            let rings = rings.as_mut();
            let sinks = Sinks { prefilter, rings, lanes, blocks, tally, attributor };
            let pushed = feeds[index].push(line.bytes, reading, sinks);
            let is_due = pushed == Pushed::CommitFirst || ledger.is_full();
            if is_due && self.commit(Some((index, line.end)))? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::GoOn)
    }

    /// Stores all that was pushed with the checkpoints that cover it; `up_to` is the source whose
    /// batch is half done, and how far. Waits as long as the spool refuses.
    fn commit(&mut self, up_to: Option<(usize, u64)>) -> Result<Next, PipelineError> {
        let Parts { blocks, .. } = &mut self.parts;
        let mut blocks: Vec<(Lane, Bytes)> =
            blocks.flush_all().into_iter().map(|block| (block.lane, block.bytes)).collect();
        let marks = self.flush_rings(&mut blocks);
        let Change { state: ledger, pages, gone: forgotten, has_moved } = self.account(&blocks);
        let Parts { feeds, .. } = &mut self.parts;
        let checkpoints = feeds.iter_mut().enumerate().flat_map(|(index, feed)| {
            let end = up_to.filter(|(half_done, _)| *half_done == index).map(|(_, end)| end);
            feed.changed(end)
        });
        let checkpoints = checkpoints.chain(pages).chain(marks).collect();
        let commit = Commit { blocks, checkpoints, forgotten, ledger };
        self.last_commit = Some(clock::now());
        if commit == Commit::default() {
            self.parts.feeds.iter_mut().for_each(Feed::stored);
            return Ok(Next::GoOn);
        }
        let has_blocks = !commit.blocks.is_empty();
        if self.append(&commit)? == Next::Stop || self.sync() == Next::Stop {
            self.has_given_up = true;
            return Ok(Next::Stop);
        }
        self.recovered();
        if let Some(rings) = &mut self.parts.rings {
            rings.confirm();
        }
        self.parts.feeds.iter_mut().for_each(Feed::stored);
        if has_blocks {
            self.parts.synced.send_replace(());
        }
        if has_moved {
            // Now that they are stored they may be sent.
            self.parts.offered.send_replace(Arc::new(self.parts.ledger.window()));
        }
        Ok(Next::GoOn)
    }

    /// Brings the ledger up to a commit that makes `blocks`, and returns what it stores of it.
    fn account(&mut self, blocks: &[(Lane, Bytes)]) -> Change {
        let Parts { spool, feeds, policy, ledger, ledger_acked, throttle, .. } = &mut self.parts;
        let is_slowed = throttle.take_waited();
        ledger.set_rules_version(policy.version());
        for (index, feed) in feeds.iter_mut().enumerate() {
            feed.count_losses(index, ledger, is_slowed);
        }
        ledger.handle_acked(*ledger_acked.borrow_and_update());
        let mut newest: Newest = spool.newest();
        for (lane, _) in blocks {
            let newest = &mut newest[lane.index()];
            *newest = Some(Seq::after(*newest));
        }
        let now = clock::wall();
        if std::mem::take(&mut self.closes_interval) || ledger.is_due(now) {
            ledger.close(now, newest);
        }
        ledger.take_change(now, newest)
    }

    /// Returns whether the ledger has something to be stored at once: an interval to close, or an ack.
    fn is_ledger_due(&self) -> bool {
        let Parts { ledger, ledger_acked, .. } = &self.parts;
        ledger.is_due(clock::wall()) || ledger_acked.has_changed().unwrap_or(false)
    }

    /// Makes durable what goes to the rings, and returns the marks that make it count. What is to be held and the ring
    /// does not take is sent: it goes to `blocks`, and the ledger is told so.
    fn flush_rings(&mut self, blocks: &mut Vec<(Lane, Bytes)>) -> Vec<(String, Vec<u8>)> {
        let Parts { rings, feeds, ledger, .. } = &mut self.parts;
        let Some(rings) = rings else { return Vec::new() };
        let RingFlush { refused, marks } = rings.flush(clock::now(), clock::wall());
        for ((source, rule), count) in counts_of(&refused) {
            if let Some(index) = feeds.iter().position(|feed| feed.name() == source) {
                ledger.sent_instead(index, &rule, Lane::Bulk, count);
            }
        }
        blocks.extend(refused.into_iter().map(|block| (Lane::Bulk, block)));
        marks
    }

    /// Returns whether what waits is to be committed, blocks and held records together.
    fn is_commit_due(&self) -> bool {
        let Parts { blocks, rings, .. } = &self.parts;
        let now = clock::now();
        let ring_bytes = rings.as_ref().map_or(0, Rings::record_bytes);
        let is_large =
            ring_bytes > 0 && blocks.record_bytes() + ring_bytes >= READY_RECORD_BYTES_MAX;
        let is_ring_due = rings.as_ref().is_some_and(|rings| rings.needs_flush(now));
        is_large || is_ring_due || blocks.needs_flush(now)
    }

    fn append(&mut self, commit: &Commit) -> Result<Next, PipelineError> {
        loop {
            let Err(refused) = self.parts.spool.append(commit) else { return Ok(Next::GoOn) };
            match refused {
                AppendError::Full { .. } => {
                    self.refused(SpoolState::Full, &refused.to_string());
                    if self.wait(RETRY_WAIT) == Next::Stop {
                        return Ok(Next::Stop);
                    }
                }
                AppendError::DiskFull | AppendError::Unsynced { .. } => {
                    if self.sync() == Next::Stop {
                        return Ok(Next::Stop);
                    }
                }
                AppendError::TooLarge { .. } => return Err(PipelineError::Commit(refused)),
            }
        }
    }

    fn sync(&mut self) -> Next {
        loop {
            match self.parts.spool.sync() {
                Ok(()) => return Next::GoOn,
                Err(error @ SyncError::DiskFull) => {
                    self.refused(SpoolState::DiskFull, &error.to_string());
                }
                Err(error @ SyncError::Io { .. }) => {
                    self.refused(SpoolState::Failing, &error.to_string());
                }
            }
            self.collect();
            if self.wait(RETRY_WAIT) == Next::Stop {
                return Next::Stop;
            }
        }
    }

    /// Notes that the spool takes nothing now; said once for each change of state.
    fn refused(&mut self, state: SpoolState, error: &str) {
        if self.state != state {
            self.state = state;
            self.waits += 1;
            self.error = Some(error.to_owned());
            tracing::warn!(error, state = ?state, "spool takes nothing, the sources wait");
        }
        let now = clock::now();
        self.parts.feeds.iter_mut().for_each(|feed| feed.refuse(now));
        self.publish();
    }

    fn recovered(&mut self) {
        if self.state != SpoolState::Ok {
            self.state = SpoolState::Ok;
            self.error = None;
            tracing::info!("spool takes blocks again");
        }
    }

    /// Waits for `wait`, or until it is told to stop.
    fn wait(&self, wait: Duration) -> Next {
        self.parts.sleeper.wait(wait).into()
    }

    /// Sleeps until a source has something, or until the status is to be written.
    fn sleep(&mut self) -> Next {
        let Parts { feeds, sleeper, .. } = &mut self.parts;
        let mut watch = Watch::default();
        feeds.iter().for_each(|feed| feed.watch(&mut watch));
        sleeper.sleep(&watch, IDLE_WAIT_MAX, WRITE_INTERVAL).into()
    }

    fn is_checkpoint_due(&self, interval: Duration) -> bool {
        let is_time = self.last_commit.is_none_or(|at| clock::now().duration_since(at) >= interval);
        let Parts { feeds, ledger, .. } = &self.parts;
        is_time && (ledger.is_changed() || feeds.iter().any(Feed::has_changed))
    }

    fn collect(&mut self) {
        if let Err(error) = self.parts.spool.collect() {
            tracing::warn!(%error, "acked segments cannot be deleted");
        }
        if let Some(rings) = &mut self.parts.rings
            && let Err(error) = rings.tidy(clock::wall())
        {
            tracing::warn!(%error, "evicted segments cannot be deleted");
        }
    }

    /// Shows the counters on the board and in the file, once an interval, and lets go of acked
    /// segments.
    fn publish(&mut self) {
        let now = clock::now();
        if self.last_publish.is_some_and(|at| now.duration_since(at) < WRITE_INTERVAL) {
            return;
        }
        self.last_publish = Some(now);
        self.collect();
        let Self {
            parts: Parts { spool, rings, feeds, policy, status, throttle, ledger, .. },
            attributor,
            ..
        } = self;
        let (held, folded) = rings.as_ref().map(Rings::status).unzip();
        let limits = throttle.look(now);
        let ledger = LedgerStatus { acked: ledger.acked(), waiting: ledger.waiting() as u64 };
        let (usage, heads) = (spool.usage(), spool.reader().heads());
        let (state, error, waits) = (self.state, self.error.clone(), self.waits);
        let wall = clock::wall();
        status.update(|snapshot| {
            snapshot.spool.state = state;
            snapshot.spool.error = error;
            snapshot.spool.waits = waits;
            snapshot.spool.bytes = usage.bytes;
            (snapshot.held, snapshot.folded) = (held, folded);
            snapshot.lanes = lanes(heads);
            snapshot.ledger = ledger;
            snapshot.limits = limits;
            snapshot.sources = feed::statuses(feeds, wall);
            snapshot.policy = policy.status(now, wall);
            snapshot.attribution = attributor.counts();
        });
        self.store_status();
    }

    fn store_status(&mut self) {
        let snapshot: Snapshot = self.parts.status.snapshot();
        let error = snapshot.store(&self.parts.status_path).err().map(|error| error.to_string());
        if error != self.status_error {
            match &error {
                Some(error) => tracing::warn!(error, "status file cannot be written"),
                None => tracing::info!("status file is written again"),
            }
            self.status_error = error;
        }
    }
}

/// Returns what the spool holds of each lane, as the status shows it.
pub(super) fn lanes(heads: [crate::spool::LaneHead; Lane::COUNT]) -> Vec<LaneStatus> {
    let lane = |(lane, head): (Lane, crate::spool::LaneHead)| {
        let acked = Seq::new(head.first.as_u64() - 1);
        let number = |seq: Option<Seq>| seq.map_or(0, Seq::as_u64);
        let waiting = number(head.last).saturating_sub(number(acked));
        LaneStatus { lane, last: head.last, acked, waiting }
    };
    Lane::ALL.into_iter().zip(heads).map(lane).collect()
}
