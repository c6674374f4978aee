//! Where the durable blocks are, in little memory.
//!
//! A block is found by its segment, then by the last mark before it, then by reading on from there.
//! Marks stand about every [`MARK_INTERVAL`] bytes, so the index grows with the bytes on disk and
//! not with the number of blocks: 16 bytes for each 64 KiB, 256 KiB for a spool of 1 GiB.

use shared::ids::{Lane, Seq};

use super::{disk::SegmentId, segment::PerLane};

/// Fewest bytes between two marks: what is read at most to find a small block, and one everyday
/// block.
const MARK_INTERVAL: u64 = 64 << 10;

/// What a spool has of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneHead {
    /// The oldest block that is kept and not acked; the next block to be made if there is none.
    /// Blocks before it that a coordinator does not have were lost with the beginning of the spool.
    pub first: Seq,
    /// The newest durable block, acked or not; `None` before the first.
    pub last: Option<Seq>,
}

/// Where all durable blocks are, and up to where they are acked.
#[derive(Debug)]
pub(super) struct Index {
    /// In the order of their numbers. The last holds the newest durable commit.
    segments: Vec<SegmentIndex>,
    lanes: PerLane<LaneState>,
}

#[derive(Clone, Copy, Debug)]
struct LaneState {
    /// The oldest block not acked.
    first: u64,
    /// The block after the newest durable one.
    next: u64,
    /// The record in which a block was found last: readers go forward.
    hint: Option<Place>,
}

/// One segment.
#[derive(Debug)]
pub(super) struct SegmentIndex {
    pub(super) id: SegmentId,
    /// Length that is trusted, in bytes.
    pub(super) bytes: u64,
    /// How many bytes follow them that could not be cut off after a failed write.
    stray_bytes: u64,
    /// The first block of each lane, and the one after the last. Blocks between may be damaged.
    pub(super) first: PerLane<u64>,
    pub(super) end: PerLane<u64>,
    /// Whether its snapshot skips numbers, and so is needed without any commit.
    pub(super) has_skip: bool,
    /// Whether its snapshot is whole, so that the state can be read from it on.
    pub(super) has_state: bool,
    marks: Vec<Mark>,
}

/// Where a record begins, relative to its segment's first blocks.
#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: u32,
    next: PerLane<u32>,
}

/// A record known to begin in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    /// The first block of the asked lane that the record, or one after it, can have.
    pub(super) next: u64,
}

/// Where to look for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// It is acked.
    Acked,
    /// It is not durable yet.
    NotDurable,
    /// No segment has it, nor those after it up to `last`.
    Missing { last: u64 },
    /// It is at `from` or after it, before `bytes`. The segment has blocks of the lane before
    /// `end`.
    At { from: Place, bytes: u64, end: u64 },
}

impl SegmentIndex {
    /// Returns a segment of `bytes` bytes, with no blocks yet, of which `first` come next.
    pub(super) const fn new(id: SegmentId, bytes: u64, first: PerLane<u64>) -> Self {
        Self {
            id,
            bytes,
            stray_bytes: 0,
            first,
            end: first,
            has_skip: false,
            has_state: false,
            marks: Vec::new(),
        }
    }

    /// Takes in the record at `offset`, which has the blocks from `next` until before `end`.
    pub(super) fn note(&mut self, offset: u64, next: PerLane<u64>, end: PerLane<u64>) {
        self.end = end;
        let due = self.marks.last().map_or(0, |mark| u64::from(mark.offset) + MARK_INTERVAL);
        let Ok(at) = u32::try_from(offset) else { return };
        let mut mark = Mark { offset: at, next: [0; Lane::COUNT] };
        for ((relative, next), first) in mark.next.iter_mut().zip(next).zip(self.first) {
            // Not ours: no segment holds 2^32 blocks. Reading then starts at an earlier mark.
            let Some(Ok(blocks)) = next.checked_sub(first).map(u32::try_from) else { return };
            *relative = blocks;
        }
        if offset >= due {
            self.marks.push(mark);
        }
    }

    /// Tells whether no commit was taken in.
    pub(super) const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    fn place(&self, lane: usize, seq: u64) -> Place {
        let next = |mark: &Mark| self.first[lane] + u64::from(mark.next[lane]);
        let after = self.marks.partition_point(|mark| next(mark) <= seq);
        let mark = after.checked_sub(1).map(|at| &self.marks[at]);
        Place {
            segment: self.id,
            offset: mark.map_or(0, |mark| u64::from(mark.offset)),
            next: mark.map_or(self.first[lane], next),
        }
    }

    /// Tells whether the segment has no block that comes at or after `first`.
    fn is_done(&self, lanes: &PerLane<LaneState>) -> bool {
        (0..Lane::COUNT)
            .all(|lane| self.first[lane] >= self.end[lane] || self.end[lane] <= lanes[lane].first)
    }
}

impl Index {
    /// Returns the index of `segments`, the oldest first, after which the blocks `next` come.
    pub(super) fn new(segments: Vec<SegmentIndex>, next: PerLane<u64>) -> Self {
        let lanes = std::array::from_fn(|lane| {
            let kept = segments.iter().filter(|segment| segment.first[lane] < segment.end[lane]);
            let first = kept.map(|segment| segment.first[lane]).min();
            LaneState { first: first.unwrap_or(next[lane]), next: next[lane], hint: None }
        });
        Self { segments, lanes }
    }

    /// Takes in a new segment.
    pub(super) fn push(&mut self, segment: SegmentIndex) {
        debug_assert!(self.segments.last().is_none_or(|last| last.id < segment.id));
        self.segments.push(segment);
    }

    /// Takes in a record, now durable, at the end of the newest segment, which is `bytes` long with
    /// it.
    pub(super) fn settle(
        &mut self,
        offset: u64,
        bytes: u64,
        next: PerLane<u64>,
        end: PerLane<u64>,
    ) {
        let segment = self.segments.last_mut().expect("a record is in a segment");
        segment.note(offset, next, end);
        segment.bytes = bytes;
        for (lane, end) in self.lanes.iter_mut().zip(end) {
            lane.next = end;
        }
    }

    /// Takes in that the newest segment begins by skipping all numbers before `end`.
    pub(super) fn skip(&mut self, end: PerLane<u64>) {
        let segment = self.segments.last_mut().expect("a snapshot is in a segment");
        segment.end = end;
        segment.has_skip = true;
        for (lane, end) in self.lanes.iter_mut().zip(end) {
            lane.next = end;
        }
    }

    /// Returns what there is of every lane.
    pub(super) fn heads(&self) -> PerLane<LaneHead> {
        self.lanes.map(|lane| LaneHead {
            first: Seq::new(lane.first).expect("blocks are numbered from 1"),
            last: Seq::new(lane.next - 1),
        })
    }

    /// Notes that the blocks of `lane` up to `seq` are acked, and returns false if there is no such
    /// block.
    pub(super) fn advance(&mut self, lane: Lane, seq: u64) -> bool {
        let lane = &mut self.lanes[lane.index()];
        if seq >= lane.next {
            return false;
        }
        lane.first = lane.first.max(seq + 1);
        true
    }

    /// Returns where to look for a block.
    pub(super) fn locate(&self, lane: Lane, seq: u64) -> Located {
        let lane = lane.index();
        let state = &self.lanes[lane];
        if seq < state.first {
            return Located::Acked;
        }
        if seq >= state.next {
            return Located::NotDurable;
        }
        let has = |segment: &&SegmentIndex| (segment.first[lane]..segment.end[lane]).contains(&seq);
        let Some(segment) = self.segments.iter().rev().find(has) else {
            let later = self.segments.iter().filter(|segment| {
                segment.first[lane] > seq && segment.first[lane] < segment.end[lane]
            });
            let next = later.map(|segment| segment.first[lane]).min().unwrap_or(state.next);
            return Located::Missing { last: next - 1 };
        };
        let mut from = segment.place(lane, seq);
        if let Some(hint) = state.hint
            && hint.segment == segment.id
            && hint.next <= seq
            && hint.offset > from.offset
        {
            from = hint;
        }
        Located::At { from, bytes: segment.bytes, end: segment.end[lane] }
    }

    /// Remembers in which record a block of `lane` was found.
    pub(super) const fn hint(&mut self, lane: Lane, place: Place) {
        self.lanes[lane.index()].hint = Some(place);
    }

    /// Notes how many bytes more than are trusted are at the end of a segment.
    pub(super) fn note_stray(&mut self, id: SegmentId, bytes: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.id == id) {
            segment.stray_bytes = bytes;
        }
    }

    /// Returns the segments of which nothing is needed any more. The newest that begins with the
    /// state always is, with those after it, and so are the two newest: should the newest be damaged,
    /// the one before it ends with the same.
    pub(super) fn done(&self) -> Vec<SegmentId> {
        let two_newest = self.segments.len().saturating_sub(2);
        let with_state = self.segments.iter().rposition(|segment| segment.has_state);
        let needed = with_state.map_or(two_newest, |at| at.min(two_newest));
        let older = &self.segments[..needed];
        older.iter().filter(|segment| segment.is_done(&self.lanes)).map(|s| s.id).collect()
    }

    /// Forgets a segment that was deleted.
    pub(super) fn remove(&mut self, id: SegmentId) {
        self.segments.retain(|segment| segment.id != id);
    }

    /// Returns how many bytes all segments have.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes + segment.stray_bytes).sum()
    }

    /// Returns how many of them could not be cut off.
    pub(super) fn stray_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.stray_bytes).sum()
    }

    /// Returns how many segments there are.
    pub(super) const fn segment_count(&self) -> usize {
        self.segments.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: usize = 1;

    fn segment(id: u64, first: u64, count: u64, record: u64) -> SegmentIndex {
        let mut segment = SegmentIndex::new(SegmentId(id), 0, [1, first, 1]);
        segment.has_state = true;
        for at in 0..count {
            let next = first + at;
            segment.note(100 + at * record, [1, next, 1], [1, next + 1, 1]);
        }
        segment.bytes = 100 + count * record;
        segment
    }

    #[test]
    fn memory_grows_with_bytes_and_not_with_blocks() {
        let small = segment(1, 1, 100_000, 100);
        assert!(small.marks.len() <= 100_000 * 100 / (64 << 10) + 1, "{}", small.marks.len());
        assert_eq!(size_of::<Mark>(), 16);
    }

    #[test]
    fn a_block_is_looked_for_from_the_last_mark_before_it() {
        let index = Index::new(vec![segment(1, 1, 1000, 1000), segment(2, 1001, 10, 70_000)], {
            [1, 1011, 1]
        });
        let Located::At { from, .. } = index.locate(Lane::Normal, 500) else { panic!() };
        assert_eq!(from.segment, SegmentId(1));
        let offset = 100 + 499 * 1000;
        assert!((offset - 2 * MARK_INTERVAL..=offset).contains(&from.offset), "{from:?}");
        let Located::At { from, end, .. } = index.locate(Lane::Normal, 1005) else { panic!() };
        let expected = Place { segment: SegmentId(2), offset: 100 + 4 * 70_000, next: 1005 };
        assert_eq!((from, end), (expected, 1011));
    }

    #[test]
    fn a_block_whose_segment_is_not_there_is_missing_up_to_the_next() {
        let index = Index::new(vec![segment(1, 1, 5, 10), segment(3, 9, 2, 10)], [1, 11, 1]);
        assert_eq!(index.locate(Lane::Normal, 6), Located::Missing { last: 8 });
        assert_eq!(index.locate(Lane::Normal, 11), Located::NotDurable);
        assert_eq!(index.locate(Lane::Urgent, 1), Located::NotDurable);
    }

    #[test]
    fn a_segment_is_done_when_all_lanes_have_passed_it_but_never_the_two_newest() {
        let mut old = segment(1, 1, 5, 10);
        old.end[2] = 3;
        let segments = vec![old, segment(2, 6, 4, 10), segment(3, 10, 1, 10)];
        let mut index = Index::new(segments, [1, 11, 3]);
        assert!(index.advance(Lane::Normal, 10));
        assert_eq!(index.done(), []);
        assert!(!index.advance(Lane::Bulk, 3), "there is no such block");
        assert!(index.advance(Lane::Bulk, 2));
        assert_eq!(index.done(), [SegmentId(1)]);
        assert_eq!(index.heads()[NORMAL], {
            LaneHead { first: Seq::new(11).unwrap(), last: Seq::new(10) }
        });
        assert_eq!(index.locate(Lane::Normal, 10), Located::Acked);
    }

    #[test]
    fn what_is_kept_for_the_state_is_its_newest_segment_and_those_after_it() {
        for (with_state, done) in [
            ([true, true, true, true], 2),
            ([true, false, false, true], 2),
            ([true, true, false, false], 1),
            ([true, false, false, false], 0),
            ([false, false, false, false], 2),
        ] {
            let mut segments: Vec<_> = (1..=4).map(|id| segment(id, id, 1, 10)).collect();
            for (segment, has_state) in segments.iter_mut().zip(with_state) {
                segment.has_state = has_state;
            }
            let mut index = Index::new(segments, [1, 5, 1]);
            assert!(index.advance(Lane::Normal, 4));
            assert_eq!(index.done().len(), done, "{with_state:?}");
        }
    }
}
