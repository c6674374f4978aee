//! A set of keys made of half-open ranges, with undo.
//!
//! The ranges are kept disjoint and do not touch one another: an insert joins what it meets.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use bytes::Bytes;

/// Disjoint ranges of keys, by their first key.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<Bytes, Bytes>);

/// What an insert replaced, to take it back.
#[derive(Debug)]
pub(super) struct Replaced {
    /// First key of the range that the insert made.
    from: Bytes,
    /// The ranges that it swallowed.
    swallowed: Vec<(Bytes, Bytes)>,
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `[from, to)`, which is not empty.
    pub(super) fn insert(&mut self, mut from: Bytes, mut to: Bytes) -> Replaced {
        debug_assert!(from < to, "an empty range covers nothing");
        let swallowed: Vec<(Bytes, Bytes)> = self
            .0
            .range::<[u8], _>((Unbounded, Included(&to[..])))
            .rev()
            .take_while(|(_, end)| **end >= from)
            .map(|(start, end)| (start.clone(), end.clone()))
            .collect();
        for (start, end) in &swallowed {
            self.0.remove(start);
            from = from.min(start.clone());
            to = to.max(end.clone());
        }
        self.0.insert(from.clone(), to);
        Replaced { from, swallowed }
    }

    /// Takes back the latest insert that was not taken back.
    pub(super) fn undo(&mut self, replaced: Replaced) {
        self.0.remove(&replaced.from);
        self.0.extend(replaced.swallowed);
    }

    pub(super) fn covers(&self, key: &[u8]) -> bool {
        let below = self.0.range::<[u8], _>((Unbounded, Included(key))).next_back();
        below.is_some_and(|(_, end)| key < &end[..])
    }

    /// Returns what of `[from, to)` is not covered, in order.
    pub(super) fn gaps<'a>(&'a self, from: &'a [u8], to: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
        let mut gaps = Vec::new();
        if from >= to {
            return gaps;
        }
        let below = self.0.range::<[u8], _>((Unbounded, Included(from))).next_back();
        let mut at = below.map_or(from, |(_, end)| from.max(&end[..]));
        for (start, end) in self.0.range::<[u8], _>((Excluded(from), Excluded(to))) {
            if at < &start[..] {
                gaps.push((at, &start[..]));
            }
            at = &end[..];
        }
        if at < to {
            gaps.push((at, to));
        }
        gaps
    }

    pub(super) fn into_ranges(self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(ranges: &mut Ranges, from: &'static str, to: &'static str) -> Replaced {
        ranges.insert(Bytes::from_static(from.as_bytes()), Bytes::from_static(to.as_bytes()))
    }

    fn gaps(ranges: &Ranges, from: &str, to: &str) -> String {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let gaps = ranges.gaps(from.as_bytes(), to.as_bytes());
        let gaps: Vec<String> =
            gaps.iter().map(|(from, to)| format!("{}-{}", text(from), text(to))).collect();
        gaps.join(" ")
    }

    #[test]
    fn touching_and_overlapping_ranges_become_one() {
        let mut ranges = Ranges::default();
        insert(&mut ranges, "b", "d");
        insert(&mut ranges, "f", "h");
        assert_eq!(gaps(&ranges, "a", "z"), "a-b d-f h-z");
        insert(&mut ranges, "d", "f");
        assert_eq!(gaps(&ranges, "a", "z"), "a-b h-z");
        assert_eq!(ranges.into_ranges().count(), 1);
    }

    #[test]
    fn an_insert_that_is_taken_back_leaves_what_was() {
        let mut ranges = Ranges::default();
        insert(&mut ranges, "b", "d");
        insert(&mut ranges, "f", "h");
        let replaced = insert(&mut ranges, "c", "z");
        assert_eq!(gaps(&ranges, "a", "z"), "a-b");
        ranges.undo(replaced);
        assert_eq!(gaps(&ranges, "a", "z"), "a-b d-f h-z");
    }

    #[test]
    fn the_end_of_a_range_is_not_covered_and_its_start_is() {
        let mut ranges = Ranges::default();
        insert(&mut ranges, "b", "d");
        assert!(!ranges.covers(b"a") && ranges.covers(b"b") && ranges.covers(b"czzz"));
        assert!(!ranges.covers(b"d"));
        assert_eq!(gaps(&ranges, "b", "d"), "");
        assert_eq!(gaps(&ranges, "c", "e"), "d-e");
        assert_eq!(gaps(&ranges, "e", "c"), "");
    }
}
