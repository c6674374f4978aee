//! What a ring knows of its records without reading them: which rule's are where, how many, of which
//! time, and how many were evicted.
//!
//! # Format
//! It is kept in the ring's own commits, under the names of checkpoints; each value is
//! `bincode( version u8 = 1 | struct )` (L10):
//! ```text
//! r/<number>   Rule: a rule's id and its tombstones
//! c/<first>    Chunk: neighbouring blocks, and what they hold of each rule
//! p            Chunk: the blocks of the newest commit, which count once the spool says so
//! t            Totals
//! ```
//! A chunk is what is evicted at once. Their number is bounded, so memory does not grow with the
//! number of blocks.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use shared::{time::Timestamp, wire::codec};
use thiserror::Error;

use crate::limits::{
    HELD_CHUNKS_MAX, HELD_RULES_MAX, HELD_TOMBSTONES_MAX, TOMBSTONE_AGE_MAX, TOMBSTONE_SHARED_MAX,
};

const VERSION: u8 = 1;
/// Name of the blocks that may not count.
pub(super) const PENDING: &str = "p";
/// Name of the totals.
pub(super) const TOTALS: &str = "t";

/// Number of a rule within one ring.
pub(super) type RuleNumber = u16;

/// Names and values to be committed; no value forgets the name.
pub(super) type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// How many records, from when to when they happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    /// How many.
    pub(super) count: u64,
    /// When the first happened.
    pub(super) from: Timestamp,
    /// When the last happened.
    pub(super) until: Timestamp,
}

impl Span {
    pub(super) const fn one(at: Timestamp) -> Self {
        Self { count: 1, from: at, until: at }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.from = self.from.min(other.from);
        self.until = self.until.max(other.until);
    }

    /// Tells whether any of it may lie at or after `since` and before `until`.
    pub(super) fn overlaps(&self, since: Timestamp, until: Timestamp) -> bool {
        self.from < until && self.until >= since
    }
}

/// Records of one rule that were evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tombstone {
    /// How many, and of which time.
    pub(super) span: Span,
    /// When they were evicted, the last of them.
    pub(super) evicted_at: Timestamp,
}

/// A rule that holds or held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) id: String,
    /// The oldest first; when there are too many, the two oldest become one.
    pub(super) tombstones: Vec<Tombstone>,
}

impl Rule {
    fn bury(&mut self, span: Span, now: Timestamp) {
        self.tombstones.push(Tombstone { span, evicted_at: now });
        if self.tombstones.len() > HELD_TOMBSTONES_MAX {
            let oldest = self.tombstones.remove(0);
            self.tombstones[0].span.add(oldest.span);
        }
    }
}

/// Neighbouring blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// The first block and the last.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Bytes of the blocks.
    pub(super) bytes: u64,
    /// When the first and the last commit of them was made.
    pub(super) held_from: Timestamp,
    pub(super) held_until: Timestamp,
    pub(super) rules: BTreeMap<RuleNumber, Span>,
}

impl Chunk {
    /// Returns how many records it holds, of all rules.
    pub(super) fn count(&self) -> u64 {
        self.rules.values().map(|span| span.count).sum()
    }

    fn extend(&mut self, next: Self) {
        self.last = next.last;
        self.bytes += next.bytes;
        self.held_until = self.held_until.max(next.held_until);
        for (number, span) in next.rules {
            self.rules.entry(number).and_modify(|known| known.add(span)).or_insert(span);
        }
    }

    pub(super) fn name(&self) -> String {
        format!("c/{:016x}", self.first)
    }
}

/// Sums over the ring's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    /// Records that were ever held.
    pub(super) held: u64,
    /// Records, of whichever rule, that are gone without a tombstone: damage took them, or the ring
    /// that had them.
    pub(super) lost: u64,
}

/// From when on a chunk is not added to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkLimits {
    pub(super) bytes: u64,
    pub(super) age: std::time::Duration,
}

/// What was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evicted {
    /// The last block of it.
    pub(super) last: u64,
    pub(super) bytes: u64,
    pub(super) records: u64,
}

/// A value of the ring's that this program cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("held ring has {name:?} in version {version}, known is {VERSION}")]
pub struct StateError {
    /// Its name.
    pub name: String,
    /// Its version; 0 where there is none.
    pub version: u8,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) rules: BTreeMap<RuleNumber, Rule>,
    /// The oldest first.
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) totals: Totals,
}

impl State {
    /// Reads what a ring's commits say, and the blocks that may not count.
    ///
    /// # Errors
    /// A later version wrote it.
    pub(super) fn load(
        values: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(Self, Option<Chunk>), StateError> {
        let (mut state, mut pending) = (Self::default(), None);
        for (name, value) in values {
            match name.split_once('/') {
                Some(("r", number)) => {
                    let error = || StateError { name: name.clone(), version: 0 };
                    let number = RuleNumber::from_str_radix(number, 16).map_err(|_| error())?;
                    state.rules.insert(number, decode(name, value)?);
                }
                // The names are in the order of the numbers.
                Some(("c", _)) => state.chunks.push_back(decode(name, value)?),
                _ if name == PENDING => pending = Some(decode(name, value)?),
                _ if name == TOTALS => state.totals = decode(name, value)?,
                _ => return Err(StateError { name: name.clone(), version: 0 }),
            }
        }
        Ok((state, pending))
    }

    /// Returns the number of the rule `id`, and makes room for a new one if need be; nothing if
    /// there is none. `is_used` says whether records that are in no chunk yet have a number.
    pub(super) fn number_of(
        &mut self,
        id: &str,
        now: Timestamp,
        is_used: impl Fn(RuleNumber) -> bool,
        changes: &mut Changes,
    ) -> Option<RuleNumber> {
        if let Some((number, _)) = self.rules.iter().find(|(_, rule)| rule.id == id) {
            return Some(*number);
        }
        if self.rules.len() >= HELD_RULES_MAX {
            let old = self.retirable(now, is_used)?;
            self.rules.remove(&old);
            changes.insert(rule_name(old), None);
        }
        let number = (0..).find(|number| !self.rules.contains_key(number))?;
        let rule = Rule { id: id.to_owned(), tombstones: Vec::new() };
        changes.insert(rule_name(number), Some(encode(&rule)));
        self.rules.insert(number, rule);
        Some(number)
    }

    /// Returns a rule of which nothing is held and nothing was evicted for long.
    fn retirable(
        &self,
        now: Timestamp,
        is_used: impl Fn(RuleNumber) -> bool,
    ) -> Option<RuleNumber> {
        let is_held = |number| self.chunks.iter().any(|chunk| chunk.rules.contains_key(number));
        let is_old = |rule: &Rule| {
            let newest = rule.tombstones.last();
            newest.is_none_or(|stone| now.since(stone.evicted_at) > TOMBSTONE_AGE_MAX)
        };
        let mut rules = self.rules.iter();
        rules
            .find(|(number, rule)| is_old(rule) && !is_held(number) && !is_used(**number))
            .map(|(number, _)| *number)
    }

    /// Takes in blocks that count from here on: into the newest chunk, or into one of their own.
    pub(super) fn take(&mut self, blocks: Chunk, limits: ChunkLimits, changes: &mut Changes) {
        self.totals.held += blocks.count();
        changes.insert(TOTALS.to_owned(), Some(encode(&self.totals)));
        let fits = |chunk: &&mut Chunk| {
            chunk.last + 1 == blocks.first
                && chunk.bytes + blocks.bytes <= limits.bytes
                && blocks.held_until.since(chunk.held_from) <= limits.age
        };
        let newest = match self.chunks.back_mut().filter(fits) {
            Some(newest) => {
                newest.extend(blocks);
                newest
            }
            None => {
                self.chunks.push_back(blocks);
                self.chunks.back_mut().expect("one was just pushed")
            }
        };
        changes.insert(newest.name(), Some(encode(newest)));
    }

    /// Tells whether there are as many chunks as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.chunks.len() >= HELD_CHUNKS_MAX
    }

    /// Evicts the oldest chunk, and leaves tombstones.
    pub(super) fn evict(&mut self, now: Timestamp, changes: &mut Changes) -> Option<Evicted> {
        let chunk = self.chunks.pop_front()?;
        for (number, span) in &chunk.rules {
            if let Some(rule) = self.rules.get_mut(number) {
                rule.bury(*span, now);
                changes.insert(rule_name(*number), Some(encode(rule)));
            }
        }
        changes.insert(chunk.name(), None);
        Some(Evicted { last: chunk.last, bytes: chunk.bytes, records: chunk.count() })
    }

    /// Leaves a tombstone for records of a rule that were not taken; those of about the same time share one, so that
    /// an hour without room is not sixteen of them.
    pub(super) fn bury(
        &mut self,
        number: RuleNumber,
        span: Span,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        if let Some(rule) = self.rules.get_mut(&number) {
            match rule.tombstones.last_mut() {
                Some(last) if now.since(last.evicted_at) < TOMBSTONE_SHARED_MAX => {
                    last.span.add(span);
                    last.evicted_at = now;
                }
                _ => rule.bury(span, now),
            }
            changes.insert(rule_name(number), Some(encode(rule)));
        }
    }

    /// Notes records that are gone without a tombstone.
    pub(super) fn lose(&mut self, count: u64, changes: &mut Changes) {
        self.totals.lost += count;
        changes.insert(TOTALS.to_owned(), Some(encode(&self.totals)));
    }
}

pub(super) fn rule_name(number: RuleNumber) -> String {
    format!("r/{number:04x}")
}

/// Returns the value of a name.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode(&(VERSION, value)).expect("the ring's state is plain data")
}

fn decode<T: for<'de> Deserialize<'de>>(name: &str, bytes: &[u8]) -> Result<T, StateError> {
    let error = |version| StateError { name: name.to_owned(), version };
    match bytes.first() {
        Some(&VERSION) => {
            let decoded: Result<(u8, T), _> = codec::decode(bytes);
            decoded.map(|(_, value)| value).map_err(|_| error(VERSION))
        }
        other => Err(error(other.copied().unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: ChunkLimits = ChunkLimits { bytes: 1_000, age: Duration::from_secs(60) };

    fn unused(_: RuleNumber) -> bool {
        false
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(seconds * 1_000)
    }

    fn blocks(first: u64, last: u64, rules: &[(RuleNumber, u64)], seconds: u64) -> Chunk {
        let span = |count| Span { count, from: at(seconds), until: at(seconds + 1) };
        let rules = rules.iter().map(|(number, count)| (*number, span(*count))).collect();
        let (held_from, held_until) = (at(seconds), at(seconds));
        Chunk { first, last, bytes: 100, held_from, held_until, rules }
    }

    fn apply(values: &mut BTreeMap<String, Vec<u8>>, changes: Changes) {
        for (name, value) in changes {
            match value {
                Some(value) => drop(values.insert(name, value)),
                None => drop(values.remove(&name)),
            }
        }
    }

    #[test]
    fn neighbouring_blocks_share_a_chunk_until_it_is_large_or_old() {
        let (mut state, mut changes) = (State::default(), Changes::new());
        for number in 0..10 {
            state.take(blocks(number + 1, number + 1, &[(0, 2)], number), LIMITS, &mut changes);
        }
        assert_eq!(state.chunks.len(), 1);
        assert_eq!(state.chunks[0].rules[&0], Span { count: 20, from: at(0), until: at(10) });
        state.take(blocks(11, 11, &[(0, 2)], 10), LIMITS, &mut changes);
        assert_eq!(state.chunks.len(), 2, "the first is large");
        state.take(blocks(12, 12, &[(0, 2)], 90), LIMITS, &mut changes);
        assert_eq!(state.chunks.len(), 3, "the second is old");
        state.take(blocks(14, 14, &[(1, 1)], 90), LIMITS, &mut changes);
        assert_eq!(state.chunks.len(), 4, "what lies between does not count");
        assert_eq!(state.totals.held, 25);
    }

    #[test]
    fn what_is_committed_says_all_of_it() {
        let (mut state, mut changes) = (State::default(), Changes::new());
        let mut values = BTreeMap::new();
        assert_eq!(state.number_of("dns noise", at(0), unused, &mut changes), Some(0));
        assert_eq!(state.number_of("scanner", at(0), unused, &mut changes), Some(1));
        for number in 1..40 {
            state.take(
                blocks(number, number, &[(0, 1), (1, 2)], number * 70),
                LIMITS,
                &mut changes,
            );
            apply(&mut values, std::mem::take(&mut changes));
        }
        for _ in 0..HELD_TOMBSTONES_MAX + 4 {
            let evicted = state.evict(at(5_000), &mut changes).unwrap();
            assert_eq!((evicted.bytes, evicted.records), (100, 3));
        }
        state.lose(7, &mut changes);
        changes.insert(PENDING.to_owned(), Some(encode(&blocks(40, 41, &[(1, 5)], 3_000))));
        apply(&mut values, changes);
        let (loaded, pending) = State::load(&values).unwrap();
        assert_eq!(loaded, state);
        assert_eq!(pending, Some(blocks(40, 41, &[(1, 5)], 3_000)));
        let stones = &loaded.rules[&1].tombstones;
        assert_eq!(stones.len(), HELD_TOMBSTONES_MAX);
        let buried: u64 = stones.iter().map(|stone| stone.span.count).sum();
        assert_eq!(buried, 2 * (HELD_TOMBSTONES_MAX as u64 + 4), "none is forgotten");
    }

    #[test]
    fn a_rule_makes_room_for_another_once_its_tombstones_are_old() {
        let (mut state, mut changes) = (State::default(), Changes::new());
        for number in 0..HELD_RULES_MAX {
            state.number_of(&format!("rule {number}"), at(0), unused, &mut changes).unwrap();
        }
        let rules: Vec<_> =
            state.rules.keys().map(|number| (*number, 1)).filter(|(n, _)| *n != 3).collect();
        state.take(blocks(1, 1, &rules, 0), LIMITS, &mut changes);
        assert_eq!(
            state.number_of("one more", at(0), unused, &mut changes),
            Some(3),
            "it held nothing"
        );
        state.take(blocks(2, 2, &[(3, 1)], 0), LIMITS, &mut changes);
        assert_eq!(state.number_of("too many", at(0), unused, &mut changes), None);
        while state.evict(at(10), &mut changes).is_some() {}
        assert_eq!(
            state.number_of("too many", at(20), unused, &mut changes),
            None,
            "L8: still told of"
        );
        let later = at(20).saturating_add(TOMBSTONE_AGE_MAX);
        let all_are = |_| true;
        assert_eq!(state.number_of("too many", later, all_are, &mut changes), None, "they wait");
        assert_eq!(state.number_of("too many", later, unused, &mut changes), Some(0));
    }

    #[test]
    fn version_1_keeps_its_bytes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(encode(&blocks(1, 300, &[(2, 5)], 1))), GOLDEN_CHUNK);
        let stone =
            Tombstone { span: Span { count: 3, from: at(1), until: at(2) }, evicted_at: at(9) };
        let rule = Rule { id: "dns".to_owned(), tombstones: vec![stone] };
        assert_eq!(hex(encode(&rule)), GOLDEN_RULE);
        assert_eq!(hex(encode(&Totals { held: 300, lost: 1 })), "01fb2c0101");
    }

    const GOLDEN_CHUNK: &str = "0101fb2c0164fbe803fbe803010205fbe803fbd007";
    const GOLDEN_RULE: &str = "0103646e730103fbe803fbd007fb2823";

    #[test]
    fn what_a_later_version_wrote_is_refused() {
        let values = BTreeMap::from([("t".to_owned(), vec![9, 1])]);
        let error = State::load(&values).unwrap_err();
        assert_eq!(error, StateError { name: "t".to_owned(), version: 9 });
        let values = BTreeMap::from([("z".to_owned(), vec![1])]);
        assert!(State::load(&values).is_err());
    }
}
