//! The ledger: what became of every record that an agent read, in intervals that follow one another.
//!
//! An interval is about a minute of the agent's wall clock. It closes in the same transaction as the blocks and
//! checkpoints that it counts (L3), so a crash neither loses nor repeats a count, and for every source its sum closes:
//! ```text
//! read = sent + malformed + held (by rule) + folded (by rule) + skipped + dropped (by reason)      (L4)
//! ```
//! What was sent, and what was malformed and so sent as it is, stands in blocks. An interval says which block of each
//! lane was the newest when it closed: what of those a coordinator does not have yet is still spooled.
//!
//! # Chain
//! Intervals of one spool (an epoch) are numbered from 1 without gaps, and each carries the hash of the one before:
//! ```text
//! stored: version u8 | bincode of the interval
//! hash:   SHA-256 over that
//! ```
//! A number is given when an interval may be sent for the first time; what waits behind may be merged until then, so
//! that a week offline takes no more room than a day.
//!
//! Not here: who counts (the agent), who checks (the coordinator).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    ids::{Lane, Seq},
    limits::{CONTEXT_TEXT_BYTES_MAX, LEDGER_INTERVAL_BYTES_MAX, LEDGER_SOURCES_MAX},
    time::Timestamp,
    wire::codec,
};

/// Version of an interval's bytes.
const VERSION: u8 = 1;

/// Stands for the rules whose counts were put together where there were too many to name.
pub const OTHER_RULES: &str = "*";

/// Hash of an interval; zeros stand before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(pub [u8; 32]);

/// Why records came to an agent and are not in its hands: they count as read and as dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The operating system dropped datagrams that came faster than they were read.
    SocketBuffer,
    /// The operating system dropped datagrams while a bound of the agent's configuration made its sources wait.
    Bound,
    /// The source let go of records before they were read, and said how many.
    SourceLost,
}

/// What is known to be lost without knowing how many records that were: it stands beside the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// Records that were cut because they were too long; counts records.
    Cut,
    /// Files that were gone before they were read to their end; counts files.
    LostFile,
    /// Times that a file could not be read; counts attempts.
    ReadError,
    /// Records held back whose originals had to make room; counts records.
    HeldEvicted,
}

/// What became of the records of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSums {
    /// The source's name.
    pub source: String,
    /// Records that came.
    pub read: u64,
    /// Records that are alerts in blocks, by lane.
    pub sent: [u64; Lane::COUNT],
    /// Records that could not be parsed, and are in blocks as they are, by lane.
    pub malformed: [u64; Lane::COUNT],
    /// Alerts in blocks that say how many records were folded, by lane. The record that such an alert shows was counted
    /// as folded when it came, so these stand beside the sum.
    pub summaries: [u64; Lane::COUNT],
    /// How many of those sent a rule would have held back, and went up to be looked at.
    pub audited: u64,
    /// Records that were held back, by rule.
    pub held: BTreeMap<String, u64>,
    /// Records that only raised the count of an alert that was sent before, by rule.
    pub folded: BTreeMap<String, u64>,
    /// Records that are no alerts.
    pub skipped: u64,
    /// Records that came and could not be kept, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// What else is known to be lost, by reason.
    pub losses: BTreeMap<LossReason, u64>,
}

/// A sum that does not close.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("source {origin} read {read} records, {accounted} are accounted for")]
pub struct Imbalance {
    /// Of which source.
    pub origin: String,
    /// Records that came.
    pub read: u64,
    /// Records whose fate is known.
    pub accounted: u64,
}

/// What an agent did from one instant to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Number within the epoch, from 1.
    pub number: u64,
    /// Hash of the interval before it.
    pub previous: Hash,
    /// Its beginning, by the agent's wall clock.
    pub from: Timestamp,
    /// Its end; the next begins there, unless the agent stopped between.
    pub until: Timestamp,
    /// How often the agent was started in it.
    pub restarts: u32,
    /// How long it did not run between its beginning and its end, in milliseconds.
    pub paused_ms: u64,
    /// Whether blocks were made before it, since the interval before it, that no interval counts.
    pub unaccounted: bool,
    /// Version of the policy at its end; zero where there was none.
    pub policy: u64,
    /// The newest block of each lane when it closed.
    pub blocks: [Option<Seq>; Lane::COUNT],
    /// The sums, by source, ordered by name.
    pub sources: Vec<SourceSums>,
}

/// Why bytes are no interval.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IntervalError {
    /// Its version is not known.
    #[error("interval of version {0}, known is {VERSION}")]
    Version(u8),
    /// Its fields do not decode.
    #[error("malformed interval: {0}")]
    Fields(#[from] codec::CodecError),
    /// There is nothing.
    #[error("interval without bytes")]
    Empty,
    /// A field is over its bound, or out of order.
    #[error("invalid interval: {0}")]
    Invalid(&'static str),
}

impl SourceSums {
    /// Returns empty sums of `source`.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }

    /// Returns how many records' fates are known.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        let lanes = self.sent.iter().chain(&self.malformed);
        let rules = self.held.values().chain(self.folded.values());
        let all = lanes.chain(rules).chain(self.dropped.values()).chain([&self.skipped]);
        all.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns how many of its alerts are in blocks of `lane`.
    #[must_use]
    pub fn in_blocks(&self, lane: Lane) -> u64 {
        let at = lane.index();
        self.sent[at].saturating_add(self.malformed[at]).saturating_add(self.summaries[at])
    }

    /// Adds the sums of `other`, which is the same source at another time.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.read, other.read);
        let mine = [&mut self.sent, &mut self.malformed, &mut self.summaries];
        for (mine, theirs) in mine.into_iter().zip([other.sent, other.malformed, other.summaries]) {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| add(mine, theirs));
        }
        add(&mut self.audited, other.audited);
        add_all(&mut self.held, &other.held);
        add_all(&mut self.folded, &other.folded);
        add(&mut self.skipped, other.skipped);
        add_all(&mut self.dropped, &other.dropped);
        add_all(&mut self.losses, &other.losses);
    }

    /// Names only the `rules_max` rules of each kind that counted most; the others are counted together.
    pub fn coarsen(&mut self, rules_max: usize) {
        for rules in [&mut self.held, &mut self.folded] {
            if rules.len() <= rules_max {
                continue;
            }
            let mut counts: Vec<u64> = rules.values().copied().collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let least = counts[rules_max];
            let mut others = rules.remove(OTHER_RULES).unwrap_or(0);
            rules.retain(|_, count| {
                let stays = *count > least;
                add(&mut others, if stays { 0 } else { *count });
                stays
            });
            rules.insert(OTHER_RULES.to_owned(), others);
        }
    }
}

impl Interval {
    /// Returns the bytes that are stored and hashed.
    ///
    /// # Panics
    /// Never: an interval is plain data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(codec::encode(self).expect("an interval is plain data"));
        bytes
    }

    /// Reads an interval.
    ///
    /// # Errors
    /// Says what is wrong. Never panics, whatever the input.
    pub fn decode(bytes: &[u8]) -> Result<Self, IntervalError> {
        match bytes.split_first() {
            None => Err(IntervalError::Empty),
            Some((&VERSION, fields)) => {
                let interval: Self = codec::decode(fields)?;
                interval.check()?;
                Ok(interval)
            }
            Some((version, _)) => Err(IntervalError::Version(*version)),
        }
    }

    /// Returns the hash that the interval after this one carries.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.encode()).into())
    }

    /// Checks what every interval keeps, whoever made it. Whether its sums close is [`Self::imbalances`]' business:
    /// one that does not close is stored, and shown.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn check(&self) -> Result<(), IntervalError> {
        let short = |text: &String| (1..=CONTEXT_TEXT_BYTES_MAX).contains(&text.len());
        let names = |sums: &SourceSums| {
            short(&sums.source) && sums.held.keys().chain(sums.folded.keys()).all(short)
        };
        let rule = if self.number == 0 {
            "numbers begin at 1"
        } else if self.until < self.from {
            "ends before it begins"
        } else if self.sources.len() > LEDGER_SOURCES_MAX {
            "too many sources"
        } else if !self.sources.is_sorted_by(|a, b| a.source < b.source) {
            "sources are not in order"
        } else if !self.sources.iter().all(names) {
            "a name over its limit"
        } else {
            return Ok(());
        };
        Err(IntervalError::Invalid(rule))
    }

    /// Returns the sources whose sums do not close (L4).
    #[must_use]
    pub fn imbalances(&self) -> Vec<Imbalance> {
        let open = |sums: &SourceSums| {
            let (read, accounted) = (sums.read, sums.accounted());
            (read != accounted).then(|| Imbalance { origin: sums.source.clone(), read, accounted })
        };
        self.sources.iter().filter_map(open).collect()
    }

    /// Returns how many alerts of all sources are in blocks of `lane`.
    #[must_use]
    pub fn in_blocks(&self, lane: Lane) -> u64 {
        self.sources.iter().fold(0, |sum, sums| sum.saturating_add(sums.in_blocks(lane)))
    }

    /// Takes in the interval that follows: one interval stands for both from here on. The number and the hash before
    /// it stay this one's.
    pub fn merge(&mut self, next: &Self) {
        let pause = next.from.as_ms().saturating_sub(self.until.as_ms());
        add(&mut self.paused_ms, pause.saturating_add(next.paused_ms));
        self.until = self.until.max(next.until);
        self.restarts = self.restarts.saturating_add(next.restarts);
        self.unaccounted |= next.unaccounted;
        self.policy = next.policy;
        self.blocks = next.blocks;
        for sums in &next.sources {
            match self.sources.binary_search_by(|mine| mine.source.cmp(&sums.source)) {
                Ok(at) => self.sources[at].add(sums),
                Err(at) => self.sources.insert(at, sums.clone()),
            }
        }
        let mut rules_max = 256;
        while self.encode().len() > LEDGER_INTERVAL_BYTES_MAX && rules_max > 0 {
            rules_max /= 2;
            self.sources.iter_mut().for_each(|sums| sums.coarsen(rules_max));
        }
    }
}

fn add(to: &mut u64, count: u64) {
    *to = to.saturating_add(count);
}

fn add_all<K: Clone + Ord>(to: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        add(to.entry(key.clone()).or_default(), *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(source: &str, rule: &str) -> SourceSums {
        SourceSums {
            read: 100,
            sent: [1, 20, 3],
            malformed: [0, 4, 0],
            summaries: [0, 0, 6],
            audited: 2,
            held: BTreeMap::from([(rule.to_owned(), 30)]),
            folded: BTreeMap::from([("noise".to_owned(), 25)]),
            skipped: 10,
            dropped: BTreeMap::from([(DropReason::SocketBuffer, 7)]),
            losses: BTreeMap::from([(LossReason::Cut, 1)]),
            ..SourceSums::of(source)
        }
    }

    fn interval() -> Interval {
        Interval {
            number: 7,
            previous: Hash([9; 32]),
            from: Timestamp::from_ms(1_760_000_000_000),
            until: Timestamp::from_ms(1_760_000_060_000),
            policy: 3,
            blocks: [None, Seq::new(12), Seq::new(300)],
            sources: vec![sums("eve", "a"), sums("wazuh", "b")],
            ..Interval::default()
        }
    }

    #[test]
    fn an_interval_of_version_1_keeps_its_bytes_and_its_hash() {
        let bytes = interval().encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/interval_v1.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &hex).unwrap();
        }
        assert_eq!(hex, std::fs::read_to_string(path).unwrap());
        assert_eq!(Interval::decode(&bytes), Ok(interval()));
        assert_eq!(interval().hash().0, <[u8; 32]>::from(Sha256::digest(&bytes)));
    }

    #[test]
    fn a_sum_that_does_not_close_is_named_with_its_source() {
        let mut interval = interval();
        assert_eq!(interval.imbalances(), []);
        assert_eq!(Lane::ALL.map(|lane| interval.in_blocks(lane)), [2, 48, 18]);
        interval.sources[1].skipped -= 1;
        let expected = Imbalance { origin: "wazuh".into(), read: 100, accounted: 99 };
        assert_eq!(interval.imbalances(), [expected]);
    }

    #[test]
    fn sums_of_a_liar_neither_overflow_nor_close_by_wrapping_around() {
        let mut interval = interval();
        interval.sources[0].sent = [u64::MAX; Lane::COUNT];
        interval.sources[0].read = u64::MAX - 1;
        assert_eq!(interval.imbalances()[0].accounted, u64::MAX);
        assert_eq!(interval.in_blocks(Lane::Bulk), u64::MAX);
        interval.clone().merge(&interval);
    }

    #[test]
    fn what_is_merged_counts_both_and_still_closes() {
        let (mut first, mut next) = (interval(), interval());
        (next.number, next.restarts, next.unaccounted) = (8, 1, true);
        next.from = Timestamp::from_ms(1_760_000_090_000);
        next.until = Timestamp::from_ms(1_760_000_120_000);
        next.sources[0].source = "falco".into();
        next.blocks[0] = Some(Seq::FIRST);
        first.merge(&next);
        let names: Vec<_> = first.sources.iter().map(|sums| sums.source.as_str()).collect();
        assert_eq!(names, ["eve", "falco", "wazuh"]);
        assert_eq!(first.sources[2].read, 200);
        assert_eq!((first.number, first.restarts, first.paused_ms), (7, 1, 30_000));
        assert!(first.unaccounted && first.imbalances().is_empty());
        assert_eq!((first.until, first.blocks[0]), (next.until, Some(Seq::FIRST)));
        assert_eq!(first.check(), Ok(()));
    }

    #[test]
    fn rules_that_no_longer_fit_are_counted_together() {
        let rules = |from: u64| {
            let rule = |n: u64| (format!("rule-{n:04}-{}", "x".repeat(100)), n);
            (from..from + 400).map(rule).collect::<BTreeMap<_, _>>()
        };
        let mut first = interval();
        first.sources.truncate(1);
        let mut next = first.clone();
        (first.sources[0].held, next.sources[0].held) = (rules(1), rules(401));
        let held: u64 = (1..=800).sum();
        first.merge(&next);
        assert!(first.encode().len() <= LEDGER_INTERVAL_BYTES_MAX);
        assert_eq!(first.sources[0].held.values().sum::<u64>(), held);
        assert!(first.sources[0].held.contains_key(&format!("rule-0800-{}", "x".repeat(100))));
        assert!(first.sources[0].held.contains_key(OTHER_RULES));
    }

    #[test]
    fn bytes_that_break_a_rule_are_refused_by_name() {
        let refused = |change: fn(&mut Interval)| {
            let mut interval = interval();
            change(&mut interval);
            Interval::decode(&interval.encode()).unwrap_err().to_string()
        };
        assert_eq!(refused(|i| i.number = 0), "invalid interval: numbers begin at 1");
        let early = |i: &mut Interval| i.until = Timestamp::ZERO;
        assert_eq!(refused(early), "invalid interval: ends before it begins");
        let order = "invalid interval: sources are not in order";
        assert_eq!(refused(|i| i.sources.swap(0, 1)), order);
        let name = "invalid interval: a name over its limit";
        assert_eq!(refused(|i| i.sources[0].source.clear()), name);
        let many = |i: &mut Interval| {
            let source = |n| SourceSums::of(&format!("{n:03}"));
            i.sources = (0..=LEDGER_SOURCES_MAX).map(source).collect();
        };
        assert_eq!(refused(many), "invalid interval: too many sources");
        assert_eq!(Interval::decode(&[]), Err(IntervalError::Empty));
        assert_eq!(Interval::decode(&[9]), Err(IntervalError::Version(9)));
        assert!(matches!(Interval::decode(&[VERSION, 1]), Err(IntervalError::Fields(_))));
    }
}
