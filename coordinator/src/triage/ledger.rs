//! Checks an agent's ledger: does each interval follow the one before, do its sums close, and did the blocks come
//! that it counts.
//!
//! Pure: from where the chain stands, an interval, and what was received of the agent's lanes, to gaps. Nothing is
//! refused: what does not fit is stored and shown (L4).
//!
//! # Blocks against the ledger
//! An interval says which block of each lane was the newest when it closed. Whenever just that block is the newest
//! here, too, the alerts received so far must be as many as the intervals so far counted. Both are sums from the
//! beginning of the spool, so one such moment proves all intervals before it, and it comes whenever a lane is quiet.

use serde::{Deserialize, Serialize};
use shared::{
    ids::{Lane, Seq},
    ledger::{DropReason, Hash, Interval, LossReason},
    time::Timestamp,
};

/// Where the chain of one spool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Number of the newest interval; zero before the first.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its end, by the agent's clock.
    pub until: Timestamp,
    /// Alerts that the intervals counted into blocks, by lane.
    pub counted: [u64; Lane::COUNT],
    /// By how many these were more than the alerts received, when both were last comparable, by lane.
    pub ahead: [Option<i64>; Lane::COUNT],
}

/// What was received of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The newest block.
    pub committed: Option<Seq>,
    /// Alerts of all blocks.
    pub alerts: u64,
    /// Whether blocks of the lane are known to be lost.
    pub has_lost: bool,
}

/// What is wrong with a stretch of the ledger. Append, never reorder (L10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// Intervals never came; counts intervals.
    Missing,
    /// An interval does not carry the hash of the one before: a ledger that was set back or altered, or two agents
    /// with one identity.
    Broken,
    /// An interval came again with other content.
    Rewritten,
    /// A source's sum does not close; counts records.
    Unclosed,
    /// The agent did not run; counts milliseconds.
    Stopped,
    /// Blocks were made that no interval counts, by a program without a ledger or from a damaged spool.
    Uncounted,
    /// Alerts were in blocks that are known to be lost; counts alerts.
    BlocksLost,
    /// The alerts in the blocks are not as many as were counted; counts alerts.
    BlocksDiffer,
    /// Datagrams that the system dropped; counts records.
    SocketBuffer,
    /// The agent was at a bound and let go of records; counts records.
    Bound,
    /// A source let go of records before they were read; counts records.
    SourceLost,
    /// Records were cut; counts records.
    Cut,
    /// Files were gone before they were read to their end; counts files.
    LostFile,
    /// A file could not be read; counts attempts.
    ReadError,
    /// Originals that were held back had to make room; counts records.
    HeldEvicted,
}

impl GapKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Missing,
        Self::Broken,
        Self::Rewritten,
        Self::Unclosed,
        Self::Stopped,
        Self::Uncounted,
        Self::BlocksLost,
        Self::BlocksDiffer,
        Self::SocketBuffer,
        Self::Bound,
        Self::SourceLost,
        Self::Cut,
        Self::LostFile,
        Self::ReadError,
        Self::HeldEvicted,
    ];

    /// Returns its name in documents and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Broken => "broken",
            Self::Rewritten => "rewritten",
            Self::Unclosed => "unclosed",
            Self::Stopped => "stopped",
            Self::Uncounted => "uncounted",
            Self::BlocksLost => "blocks_lost",
            Self::BlocksDiffer => "blocks_differ",
            Self::SocketBuffer => "socket_buffer",
            Self::Bound => "bound",
            Self::SourceLost => "source_lost",
            Self::Cut => "cut",
            Self::LostFile => "lost_file",
            Self::ReadError => "read_error",
            Self::HeldEvicted => "held_evicted",
        }
    }

    /// Returns whether nobody can say how it came to this: the others are explained by what they are.
    #[must_use]
    pub const fn is_unexplained(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Broken | Self::Rewritten | Self::Unclosed | Self::BlocksDiffer
        )
    }
}

impl From<DropReason> for GapKind {
    fn from(reason: DropReason) -> Self {
        match reason {
            DropReason::SocketBuffer => Self::SocketBuffer,
            DropReason::Bound => Self::Bound,
            DropReason::SourceLost => Self::SourceLost,
        }
    }
}

impl From<LossReason> for GapKind {
    fn from(reason: LossReason) -> Self {
        match reason {
            LossReason::Cut => Self::Cut,
            LossReason::LostFile => Self::LostFile,
            LossReason::ReadError => Self::ReadError,
            LossReason::HeldEvicted => Self::HeldEvicted,
        }
    }
}

/// A gap in a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerGap {
    /// What is wrong.
    pub kind: GapKind,
    /// Of which source; absent where it is the whole agent's.
    pub source: Option<String>,
    /// On which lane, where it is about blocks.
    pub lane: Option<Lane>,
    /// From when, by the agent's clock.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How much; of what, the kind says.
    pub count: u64,
}

impl Chain {
    /// Takes in the interval that came next, and returns the gaps that it shows. `before` is when the agent's ledger
    /// of an earlier spool ended.
    ///
    /// # Panics
    /// If the interval is not newer than the chain: those are for [`is_rewritten`].
    pub fn take(
        &mut self,
        interval: &Interval,
        received: &[Received; Lane::COUNT],
        before: Option<Timestamp>,
    ) -> Vec<LedgerGap> {
        assert!(interval.number > self.number, "the caller tells repeats apart");
        let mut gaps = Vec::new();
        let &Interval { from, until, .. } = interval;
        let gap = |kind, from, until, count| {
            let (source, lane) = (None, None);
            LedgerGap { kind, source, lane, from, until, count }
        };
        let ended = if self.number == 0 { before } else { Some(self.until) };
        let missing = interval.number - self.number - 1;
        if missing > 0 {
            gaps.push(gap(GapKind::Missing, ended.unwrap_or(from).min(from), from, missing));
        } else if interval.previous != self.hash {
            gaps.push(gap(GapKind::Broken, from, until, 1));
        }
        if let Some(ended) = ended.filter(|ended| *ended < from && missing == 0) {
            let pause = from.as_ms() - ended.as_ms();
            gaps.push(gap(GapKind::Stopped, ended, from, pause));
        }
        if interval.paused_ms > 0 {
            gaps.push(gap(GapKind::Stopped, from, until, interval.paused_ms));
        }
        if interval.unaccounted {
            gaps.push(gap(GapKind::Uncounted, from, until, 1));
        }
        if self.number == 0 && interval.number == 1 && !interval.unaccounted {
            // From the spool's beginning everything is counted: nothing is ahead by right.
            self.ahead = [Some(0); Lane::COUNT];
        }
        if !gaps.iter().all(|gap| gap.kind == GapKind::Stopped) {
            self.ahead = [None; Lane::COUNT]; // nobody knows what was in the blocks of that stretch
        }
        gaps.extend(of_sources(interval));
        self.compare(interval, received, &mut gaps);
        (self.number, self.hash, self.until) = (interval.number, interval.hash(), until);
        gaps
    }

    /// Compares what was counted with what was received, on the lanes where both stand at the same block.
    fn compare(
        &mut self,
        interval: &Interval,
        received: &[Received; Lane::COUNT],
        gaps: &mut Vec<LedgerGap>,
    ) {
        for lane in Lane::ALL {
            let at = lane.index();
            let counted = &mut self.counted[at];
            *counted = counted.saturating_add(interval.in_blocks(lane));
            let received = received[at];
            if received.committed != interval.blocks[at] {
                continue;
            }
            let ahead = difference(*counted, received.alerts);
            let before = self.ahead[at].replace(ahead);
            let Some(more) = before.map(|before| ahead.saturating_sub(before)) else { continue };
            if more != 0 {
                let is_lost = more > 0 && received.has_lost;
                gaps.push(LedgerGap {
                    kind: if is_lost { GapKind::BlocksLost } else { GapKind::BlocksDiffer },
                    source: None,
                    lane: Some(lane),
                    from: interval.from,
                    until: interval.until,
                    count: more.unsigned_abs(),
                });
            }
        }
    }
}

/// Returns whether an interval that came again is another than the one that is stored; one that is stored no more
/// cannot be told.
#[must_use]
pub fn is_rewritten(stored: Option<&Interval>, again: &Interval) -> bool {
    stored.is_some_and(|stored| stored != again)
}

/// Returns the gaps that the sums of an interval show.
fn of_sources(interval: &Interval) -> Vec<LedgerGap> {
    let mut gaps = Vec::new();
    let &Interval { from, until, .. } = interval;
    let mut push = |kind, source: &str, count| {
        let source = Some(source.to_owned());
        gaps.push(LedgerGap { kind, source, lane: None, from, until, count });
    };
    for open in interval.imbalances() {
        push(GapKind::Unclosed, &open.origin, open.read.abs_diff(open.accounted));
    }
    for sums in &interval.sources {
        sums.dropped.iter().for_each(|(why, count)| push((*why).into(), &sums.source, *count));
        sums.losses.iter().for_each(|(why, count)| push((*why).into(), &sums.source, *count));
    }
    gaps
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::ledger::SourceSums;

    use super::*;

    /// An agent that keeps its ledger, and sends `alerts` a minute on the bulk lane.
    struct Agent {
        chain: Chain,
        next: Interval,
    }

    impl Agent {
        fn new() -> Self {
            let next = Interval { number: 1, ..Interval::default() };
            Self { chain: Chain::default(), next }
        }

        /// Closes an interval of a minute with a block of `alerts` alerts, changed by `change`.
        fn close(&mut self, alerts: u64, change: impl FnOnce(&mut Interval)) -> Interval {
            let mut interval = self.next.clone();
            interval.until = Timestamp::from_ms(interval.from.as_ms() + 60_000);
            interval.blocks[2] = Seq::new(interval.number);
            let mut sums = SourceSums::of("eve");
            (sums.read, sums.sent[2]) = (alerts, alerts);
            interval.sources = vec![sums];
            change(&mut interval);
            self.next = Interval {
                number: interval.number + 1,
                previous: interval.hash(),
                from: interval.until,
                ..Interval::default()
            };
            interval
        }

        fn take(&mut self, interval: &Interval, received: (u64, u64)) -> Vec<(GapKind, u64)> {
            self.take_lossy(interval, received, false)
        }

        fn take_lossy(
            &mut self,
            interval: &Interval,
            (committed, alerts): (u64, u64),
            has_lost: bool,
        ) -> Vec<(GapKind, u64)> {
            let bulk = Received { committed: Seq::new(committed), alerts, has_lost };
            let received = [Received::default(), Received::default(), bulk];
            let gaps = self.chain.take(interval, &received, None);
            gaps.iter().map(|gap| (gap.kind, gap.count)).collect()
        }
    }

    #[test]
    fn a_ledger_in_order_shows_no_gap() {
        let mut agent = Agent::new();
        for n in 1..=5 {
            let interval = agent.close(10, |_| {});
            assert_eq!(agent.take(&interval, (n, 10 * n)), []);
        }
        assert_eq!((agent.chain.number, agent.chain.counted[2]), (5, 50));
    }

    #[test]
    fn an_alert_too_few_is_noticed_as_soon_as_the_lane_is_quiet() {
        let mut agent = Agent::new();
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (1, 10)), []);
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (1, 10)), [], "block 2 is still under way");
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (3, 29)), [(GapKind::BlocksDiffer, 1)]);
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (4, 39)), [], "it is told once");
    }

    #[test]
    fn an_alert_that_is_missing_when_the_lane_is_first_quiet_is_noticed_then() {
        let mut agent = Agent::new();
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (0, 0)), [], "block 1 is still under way");
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (2, 19)), [(GapKind::BlocksDiffer, 1)], "L4");
        // Where what came before was not counted, the first difference is where counting begins.
        let mut agent = Agent::new();
        let interval = agent.close(10, |interval| interval.unaccounted = true);
        assert_eq!(agent.take(&interval, (1, 90)), [(GapKind::Uncounted, 1)]);
    }

    #[test]
    fn what_was_in_blocks_that_are_lost_is_known_afterwards() {
        let mut agent = Agent::new();
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take_lossy(&interval, (1, 10), true), []);
        let interval = agent.close(7, |_| {});
        assert_eq!(agent.take_lossy(&interval, (2, 10), true), [(GapKind::BlocksLost, 7)]);
    }

    #[test]
    fn missing_intervals_and_a_broken_chain_are_told_apart_and_the_chain_goes_on() {
        let mut agent = Agent::new();
        let interval = agent.close(1, |_| {});
        assert_eq!(agent.take(&interval, (1, 1)), []);
        agent.close(1, |_| {});
        agent.close(1, |_| {});
        let interval = agent.close(1, |_| {});
        assert_eq!(agent.take(&interval, (4, 4)), [(GapKind::Missing, 2)]);
        let interval = agent.close(1, |interval| interval.previous = Hash([9; 32]));
        assert_eq!(agent.take(&interval, (5, 5)), [(GapKind::Broken, 1)]);
        let interval = agent.close(1, |_| {});
        assert_eq!(agent.take(&interval, (6, 6)), []);
    }

    #[test]
    fn time_in_which_the_agent_did_not_run_is_a_gap_of_that_length() {
        let mut agent = Agent::new();
        let interval = agent.close(1, |_| {});
        assert_eq!(agent.take(&interval, (1, 1)), []);
        agent.next.from = Timestamp::from_ms(65_000);
        let interval = agent.close(1, |interval| interval.paused_ms = 7);
        let stopped = |ms| (GapKind::Stopped, ms);
        assert_eq!(agent.take(&interval, (2, 2)), [stopped(5_000), stopped(7)]);
        // Of a spool before this one it is known, too.
        let mut chain = Chain::default();
        let first = Interval { number: 1, ..interval };
        let before = Some(Timestamp::from_ms(64_000));
        let gaps = chain.take(&first, &Default::default(), before);
        assert!(gaps.iter().any(|gap| (gap.kind, gap.count) == stopped(1_000)), "{gaps:?}");
    }

    #[test]
    fn each_sum_that_does_not_close_and_each_loss_is_a_gap_of_its_source() {
        let mut agent = Agent::new();
        let interval = agent.close(10, |interval| {
            let sums = &mut interval.sources[0];
            sums.read += 9; // of which five are known to be dropped
            sums.dropped = BTreeMap::from([(DropReason::SocketBuffer, 5)]);
            sums.losses = BTreeMap::from([(LossReason::Cut, 2), (LossReason::LostFile, 1)]);
        });
        let gaps = [
            (GapKind::Unclosed, 4),
            (GapKind::SocketBuffer, 5),
            (GapKind::Cut, 2),
            (GapKind::LostFile, 1),
        ];
        assert_eq!(agent.take(&interval, (1, 10)), gaps);
    }

    #[test]
    fn after_blocks_that_nobody_counted_the_comparison_begins_anew() {
        let mut agent = Agent::new();
        let interval = agent.close(10, |interval| interval.unaccounted = true);
        assert_eq!(agent.take(&interval, (1, 500)), [(GapKind::Uncounted, 1)]);
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (2, 510)), []);
        let interval = agent.close(10, |_| {});
        assert_eq!(agent.take(&interval, (3, 519)), [(GapKind::BlocksDiffer, 1)]);
    }

    #[test]
    fn the_same_interval_again_is_none_that_was_rewritten() {
        let interval = Agent::new().close(1, |_| {});
        let other = Interval { policy: 9, ..interval.clone() };
        assert!(!is_rewritten(Some(&interval), &interval));
        assert!(is_rewritten(Some(&other), &interval));
        assert!(!is_rewritten(None, &interval));
    }
}
