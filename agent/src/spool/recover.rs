//! Reading a spool back after a stop, a crash or damage.
//!
//! A record is written only after the one before it was synced. So whatever comes before a record's
//! head was durable once, and what is wrong there is damage: it is reported, and what follows
//! counts. Only the newest record can be one whose sync was never finished; it counts wholly or, if
//! anything of it is wrong, not at all. That it was unfinished cannot be known, only that it may have
//! been: so the numbers that it could have had are not used again.

use std::{collections::BTreeMap, io, ops::Range};

use shared::ids::{Epoch, Lane, Seq};

use super::{
    disk::{Disk, SegmentId, is_bad_sector, is_full},
    index::SegmentIndex,
    open::{Damage, OpenError},
    scan::{Found, SECTOR, Scan},
    segment::{BLOCK_ENTRY_BYTES, Head, Kind, Meta, PerLane, State},
};

/// The segment with which a spool begins.
pub(super) const FIRST_SEGMENT: SegmentId = SegmentId(1);

/// Most entries in a report of damage; the last stands for all that follow it. A disk that is wrong
/// in more places is not read more precisely.
const DAMAGE_MAX: usize = 256;

/// Bytes of the newest record that are written again at once.
const REWRITE_BYTES: u64 = 64 << 10;

/// What was read back.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) epoch: Epoch,
    pub(super) state: State,
    /// Number of the newest commit.
    pub(super) commit: u64,
    pub(super) next: PerLane<u64>,
    pub(super) segments: Vec<SegmentIndex>,
    pub(super) damage: Vec<Damage>,
    pub(super) torn_bytes: u64,
    /// The ends of segments that are to be cut off once it is durable what is skipped: segment,
    /// length that counts, bytes after it.
    pub(super) torn: Vec<(SegmentId, u64, u64)>,
    /// How many numbers from `next` on must not be used.
    pub(super) skip: PerLane<u32>,
    pub(super) is_stale: bool,
    /// Whether the newest segment ends with a whole record, so that it can be appended to.
    pub(super) is_clean: bool,
}

/// Reads the spool back, cuts what was never finished off, and makes durable what is left.
///
/// Returns `None` if `files`, sorted, have no record at all.
pub(super) fn recover(
    disk: &dyn Disk,
    files: &[(SegmentId, u64)],
) -> Result<Option<Recovered>, OpenError> {
    let Some((epoch, skips)) = look_at_headers(disk, files)? else { return Ok(None) };
    let is_known = files.first().is_some_and(|(id, _)| *id == FIRST_SEGMENT);
    let mut replay = Replay::new(epoch, is_known, skips);
    for (id, size) in files {
        replay.read_segment(disk, *id, *size).map_err(OpenError::io("reading a segment"))?;
    }
    replay.finish(disk, files).map(Some)
}

/// Returns the epoch in the newest segment header that is whole, or else in the newest segment with a
/// record that is, and what its headers say is skipped. Another epoch begins only after all segments
/// there are, when none can be read: one that can again later is of a spool that was given up.
fn look_at_headers(
    disk: &dyn Disk,
    files: &[(SegmentId, u64)],
) -> Result<Option<(Epoch, Vec<Skip>)>, OpenError> {
    let reading = || OpenError::io("reading a segment");
    let (mut epoch, mut skips) = (None, Vec::new());
    for (id, size) in files.iter().rev() {
        match Scan::new(disk, *id, *size, None).record_at(0).map_err(reading())? {
            Found::Version(version) => return Err(OpenError::Version { segment: *id, version }),
            Found::Record(head, _) => {
                if *epoch.get_or_insert(head.epoch) == head.epoch && head.is_skip() {
                    skips.push(Skip { segment: *id, commit: head.commit });
                }
            }
            Found::Nothing => {}
        }
    }
    for (id, size) in files.iter().rev() {
        if epoch.is_none() {
            let found = Scan::new(disk, *id, *size, None).record_from(0).map_err(reading())?;
            epoch = found.map(|(head, _)| head.epoch);
        }
    }
    Ok(epoch.map(|epoch| (epoch, skips)))
}

/// Where a snapshot says that the numbers after a commit are skipped. Whatever comes after that
/// commit in an older segment was given up, perhaps as nothing of it could be read: if it can be
/// again, its numbers have been told to be skipped.
struct Skip {
    segment: SegmentId,
    commit: u64,
}

/// The state of reading all segments, the oldest first.
struct Replay {
    epoch: Epoch,
    state: State,
    commit: u64,
    next: PerLane<u64>,
    /// Whether `commit` and `next` are known: a record has been seen.
    is_known: bool,
    skips: Vec<Skip>,
    is_stale: bool,
    segments: Vec<SegmentIndex>,
    /// The newest record seen, not yet taken in: the next one says whether it counts.
    held: Option<Held>,
    /// Records after the newest one taken in that a later one, not taken in yet, says do not count.
    void: Vec<Held>,
    /// Bytes that are no record, since the last record.
    bad: Vec<Bad>,
    /// From where on segments are cut off: what does not count now must not count once what says so
    /// is deleted.
    cuts: BTreeMap<SegmentId, u64>,
    damage: Vec<Damage>,
    /// The numbers after those that a newest record which does not count says it had.
    given_up: PerLane<u64>,
}

struct Held {
    head: Head,
    meta: Option<Meta>,
    /// Place of its segment in [`Replay::segments`].
    at: usize,
    /// How much damage was reported before it, if nothing is missing between the record before it
    /// and itself.
    reported: Option<usize>,
}

struct Bad {
    segment: SegmentId,
    offset: u64,
    bytes: u64,
    /// Whether they are the end of their segment.
    is_tail: bool,
}

impl Replay {
    /// Returns the state before the oldest segment, which is known if that is the first there ever
    /// was.
    const fn new(epoch: Epoch, is_known: bool, skips: Vec<Skip>) -> Self {
        Self {
            epoch,
            state: State { checkpoints: BTreeMap::new(), ledger: Vec::new() },
            commit: 0,
            next: [1; Lane::COUNT],
            is_known,
            skips,
            is_stale: !is_known,
            segments: Vec::new(),
            held: None,
            void: Vec::new(),
            bad: Vec::new(),
            cuts: BTreeMap::new(),
            damage: Vec::new(),
            given_up: [1; Lane::COUNT],
        }
    }

    fn read_segment(&mut self, disk: &dyn Disk, id: SegmentId, size: u64) -> io::Result<()> {
        self.segments.push(SegmentIndex::new(id, size, self.next));
        let mut scan = Scan::new(disk, id, size, Some(self.epoch));
        let mut offset = 0;
        let mut is_first = true;
        while offset < size {
            let Some((head, meta)) = scan.record_from(offset)? else {
                self.push_bad(id, offset, size - offset, true);
                break;
            };
            if head.offset > offset {
                self.push_bad(id, offset, head.offset - offset, false);
            }
            let end = head.end_offset().min(size);
            let begin = head.offset;
            if self.continues(&head) {
                self.settle_held(&head);
                let reported = self.damage.len();
                let has_jumped = self.catch_up(&head, is_first);
                is_first = false;
                let reported = (!has_jumped).then_some(reported);
                self.held = Some(Held { head, meta, at: self.segments.len() - 1, reported });
            } else {
                self.push_bad(id, begin, end - begin, end == size);
            }
            offset = end;
        }
        Ok(())
    }

    fn push_bad(&mut self, segment: SegmentId, offset: u64, bytes: u64, is_tail: bool) {
        if let Some(last) = self.bad.last_mut()
            && last.segment == segment
            && last.offset + last.bytes == offset
        {
            last.bytes += bytes;
            last.is_tail = is_tail;
            return;
        }
        self.bad.push(Bad { segment, offset, bytes, is_tail });
    }

    /// Tells whether a record can follow what was taken in. One that goes back does not belong
    /// here.
    fn continues(&self, head: &Head) -> bool {
        let gives_up = |skip: &Skip| skip.segment > head.segment && skip.commit < head.commit;
        if self.skips.iter().any(gives_up) {
            return false;
        }
        let before = match &self.held {
            Some(held) if !is_void(&held.head, head) => held.head.end(),
            _ => self.next,
        };
        // A snapshot that skips numbers may say again what one before it says, whose sync failed.
        let from = if head.kind == Kind::Snapshot { head.end() } else { head.next };
        let goes_back = (0..Lane::COUNT).any(|lane| from[lane] < before[lane]);
        !self.is_known || (!goes_back && head.commit >= self.commits_before(head.kind))
    }

    /// Returns the number that a record of `kind` has if it comes next.
    const fn commits_before(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Snapshot => self.commit,
            Kind::Commit => self.commit + 1,
        }
    }

    /// Takes in the held record, unless the next one says that its write or sync failed and was
    /// done again.
    fn settle_held(&mut self, next: &Head) {
        let Some(held) = self.held.take() else { return };
        let is_void = is_void(&held.head, next);
        // A snapshot that was not finished, and nothing after it: the next segment was begun
        // instead.
        let is_empty = held.head.kind == Kind::Snapshot
            && !held.head.is_skip()
            && held.meta.is_none()
            && next.kind == Kind::Snapshot
            && next.commit == held.head.commit;
        if !is_void && !is_empty {
            self.take_in(held);
            return;
        }
        if let Some(reported) = held.reported {
            // What is wrong before it was written with it, and does not count either.
            self.damage.truncate(reported);
        }
        if next.segment != held.head.segment {
            self.void.push(held);
        }
    }

    /// Makes up for what is missing between the last record taken in and the one that begins with
    /// `head`, and tells whether commits are.
    fn catch_up(&mut self, head: &Head, is_first: bool) -> bool {
        let expected = self.commits_before(head.kind);
        let has_jumped = self.is_known && head.commit > expected;
        let lost = if self.is_known { lost_between(self.next, head.next) } else { Vec::new() };
        let last = self.segments.len() - 1;
        let here = self.segments[last].id;
        let older = last.checked_sub(1).map(|at| self.segments[at].id);
        let is_adjoining = older.is_none_or(|older| older.0.checked_add(1) == Some(here.0));
        self.report(lost, has_jumped, is_first, is_adjoining);
        if is_first {
            self.attribute(head, is_adjoining);
        }
        self.segments[last].end = head.next;
        self.is_stale |= has_jumped;
        self.is_known = true;
        self.next = head.next;
        self.commit = match head.kind {
            Kind::Snapshot => head.commit,
            Kind::Commit => head.commit - 1,
        };
        has_jumped
    }

    /// Reports the bad bytes before a record, and what was lost with them.
    fn report(
        &mut self,
        lost: Vec<(Lane, Seq, Seq)>,
        has_jumped: bool,
        is_first: bool,
        is_adjoining: bool,
    ) {
        let last = self.segments.len() - 1;
        let here = self.segments[last].id;
        let mut bad = std::mem::take(&mut self.bad);
        // The remains of a write that failed and was done again in the next segment are no damage.
        let may_be_left_over = self.is_known && !has_jumped;
        bad.retain(|bad| {
            let is_left_over = may_be_left_over && bad.is_tail && bad.segment != here;
            if is_left_over {
                self.cut_from(bad.segment, bad.offset);
            }
            !is_left_over
        });
        // Where a segment is not there, all in it was acked, or else its blocks are reported when
        // they are read.
        if bad.is_empty() && has_jumped && is_first && is_adjoining && last > 0 {
            let SegmentIndex { id, bytes, .. } = self.segments[last - 1];
            bad.push(Bad { segment: id, offset: bytes, bytes: 0, is_tail: true });
        }
        let mut lost = Some(lost);
        for bad in bad {
            let lost = lost.take().unwrap_or_default();
            let Bad { segment, offset, bytes, .. } = bad;
            self.push_damage(Damage { segment, offset, bytes, lost });
        }
    }

    /// Decides in which segment the blocks before the first record of the newest segment were.
    fn attribute(&mut self, head: &Head, is_adjoining: bool) {
        let last = self.segments.len() - 1;
        let begins_whole = head.offset == 0;
        let is_elsewhere = !self.is_known || begins_whole || !is_adjoining;
        self.segments[last].first = if is_elsewhere { head.next } else { self.next };
        if self.is_known && begins_whole && is_adjoining && last > 0 {
            self.segments[last - 1].end = head.next;
        }
        if !self.is_known {
            for older in &mut self.segments[..last] {
                (older.first, older.end) = (head.next, head.next);
            }
        }
    }

    /// Lets a record count.
    fn take_in(&mut self, held: Held) {
        let Held { head, meta, at, .. } = held;
        let end = head.end();
        // A snapshot of which only the head is left sums nothing up: those before it are needed.
        self.cut_void(head.kind == Kind::Commit || meta.is_some());
        self.next = end;
        self.segments[at].end = end;
        self.segments[at].has_skip |= head.is_skip();
        for later in &mut self.segments[at + 1..] {
            (later.first, later.end) = (end, end);
        }
        if head.kind == Kind::Commit {
            self.segments[at].note(head.offset, head.next, end);
        }
        match meta {
            Some(meta) => {
                if head.kind == Kind::Snapshot {
                    self.is_stale = false;
                    self.segments[at].has_state = true;
                }
                self.state.apply(head.kind, meta);
            }
            None => {
                // A lost snapshot only sums up what was read before, if it was.
                self.is_stale |= head.kind == Kind::Commit;
                let lost_end = if head.is_skip() { head.next } else { end };
                self.push_damage(Damage {
                    segment: head.segment,
                    offset: head.offset,
                    bytes: head.record_len(),
                    lost: lost_between(head.next, lost_end),
                });
            }
        }
        self.commit = head.commit;
    }

    /// Has the records cut off that do not count, with all of their segment where nothing else is in it and
    /// `is_summed_up` later what its snapshot says.
    fn cut_void(&mut self, is_summed_up: bool) {
        for void in std::mem::take(&mut self.void) {
            // Of a segment with nothing else the snapshot is doubtful, and needed no more than the
            // record.
            let segment = &self.segments[void.at];
            let is_whole = is_summed_up && segment.is_empty() && !segment.has_skip;
            self.cut_from(void.head.segment, if is_whole { 0 } else { void.head.offset });
        }
    }

    fn cut_from(&mut self, segment: SegmentId, offset: u64) {
        let cut = self.cuts.entry(segment).or_insert(offset);
        *cut = offset.min(*cut);
    }

    fn push_damage(&mut self, damage: Damage) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(damage);
            return;
        }
        let last = self.damage.last_mut().expect("the report is full");
        last.bytes = last.bytes.saturating_add(damage.bytes);
        for (lane, first, to) in damage.lost {
            match last.lost.iter_mut().find(|(other, ..)| *other == lane) {
                Some((_, _, end)) => *end = (*end).max(to),
                None => last.lost.push((lane, first, to)),
            }
        }
    }

    /// Decides on the newest record and on what follows it.
    fn finish(
        mut self,
        disk: &dyn Disk,
        files: &[(SegmentId, u64)],
    ) -> Result<Recovered, OpenError> {
        let had_void = self.void.len();
        let newest = self.find_newest(disk);
        let newest = newest.map_err(OpenError::io("making the newest record durable"))?;
        let is_revived = newest.is_some() && self.void.len() < had_void;
        let newest_at = newest.as_ref().map(|newest| newest.at);
        if let Some(newest) = newest {
            self.take_in(newest);
        }
        self.cut_void(true);
        let (torn, torn_bytes) = self.split_torn(is_revived);
        // A segment without a byte was created and not written.
        files.iter().filter(|(_, size)| *size == 0).for_each(|(id, _)| self.cut_from(*id, 0));
        let is_clean = self.cut(disk).map_err(OpenError::io("cutting unfinished bytes off"))?;
        let torn = self.set_aside(torn, files);
        self.sync(disk, newest_at.is_none())?;
        let skip = self.skip(torn_bytes);
        let is_newest = newest_at.is_none_or(|at| at + 1 == self.segments.len());
        let last = self.segments.last().map(|segment| segment.id);
        // A damaged segment is not appended to: the next one brings a snapshot of its own.
        let is_whole = self.damage.last().map(|damage| damage.segment) != last || last.is_none();
        Ok(Recovered {
            epoch: self.epoch,
            state: self.state,
            commit: self.commit,
            next: self.next,
            segments: self.segments,
            damage: self.damage,
            torn_bytes,
            is_clean: is_clean && is_newest && is_whole && torn.is_empty(),
            torn,
            skip,
            is_stale: self.is_stale,
        })
    }

    /// Returns the newest record that counts, made durable, and has what follows it cut off.
    fn find_newest(&mut self, disk: &dyn Disk) -> io::Result<Option<Held>> {
        let mut newest = self.held.take();
        while let Some(held) = newest {
            // A segment's first commit is written and synced together with the snapshot before it.
            let is_first = self.segments[held.at].is_empty();
            let begin = if is_first { 0 } else { held.head.offset };
            if finish_record(disk, &held, begin, self.segments[held.at].bytes)? {
                return Ok(Some(held));
            }
            // With a whole segment goes its word that a record before it does not count.
            let is_whole_segment = self.give_up(&held, is_first);
            newest = if is_whole_segment { self.void.pop() } else { None };
        }
        Ok(None)
    }

    /// Has a newest record cut off that was not finished, with all of its segment if its snapshot
    /// is wrong, too; tells whether it is.
    fn give_up(&mut self, newest: &Held, is_first: bool) -> bool {
        let Head { segment, mut offset, .. } = newest.head;
        // More than fits its description is not believed.
        let blocks: u64 = newest.head.counts.iter().copied().map(u64::from).sum();
        if blocks.saturating_mul(BLOCK_ENTRY_BYTES as u64) <= u64::from(newest.head.meta_len) {
            let end = newest.head.end();
            self.given_up = std::array::from_fn(|lane| self.given_up[lane].max(end[lane]));
        }
        if let Some(reported) = newest.reported
            && is_first
            && !self.segments[newest.at].has_skip
            && self.damage.get(reported).is_some_and(|damage| damage.segment == segment)
        {
            self.damage.truncate(reported);
            offset = 0;
        }
        let bytes = self.segments[newest.at].bytes - offset;
        self.bad.push(Bad { segment, offset, bytes, is_tail: true });
        offset == 0
    }

    /// Returns from where on segments are cut off because of bytes that are no record and have none
    /// after them, and how many bytes those are. A segment that says a record does not count which
    /// now does, as it `is_revived`, is not left until the skip is durable: it would say so again.
    fn split_torn(&mut self, is_revived: bool) -> (BTreeMap<SegmentId, u64>, u64) {
        let bad = std::mem::take(&mut self.bad);
        let mut torn = BTreeMap::new();
        for Bad { segment, offset, .. } in &bad {
            let cut = self.cuts.remove(segment).unwrap_or(*offset).min(*offset);
            if is_revived && cut == 0 {
                torn.remove(segment); // an end of it may have come before
                self.cut_from(*segment, 0);
                continue;
            }
            let least = torn.entry(*segment).or_insert(cut);
            *least = cut.min(*least);
        }
        (torn, bad.iter().map(|bad| bad.bytes).sum())
    }

    /// Leaves what is torn out of what counts, and returns how long each such segment is to be and
    /// how many bytes follow.
    fn set_aside(
        &mut self,
        torn: BTreeMap<SegmentId, u64>,
        files: &[(SegmentId, u64)],
    ) -> Vec<(SegmentId, u64, u64)> {
        self.segments.retain(|segment| torn.get(&segment.id) != Some(&0));
        for segment in &mut self.segments {
            segment.bytes = torn.get(&segment.id).copied().unwrap_or(segment.bytes);
        }
        let sizes: BTreeMap<_, _> = files.iter().copied().collect();
        let bytes = |id: &SegmentId| sizes.get(id).copied().unwrap_or_default();
        torn.iter().map(|(id, len)| (*id, *len, bytes(id).saturating_sub(*len))).collect()
    }

    /// Returns how many numbers are skipped because of `torn_bytes` that may have had them: a block
    /// has at least its entry in a description. What comes next is then what does after all that
    /// is kept: a segment that is set aside may have skipped numbers itself, which are so again.
    fn skip(&mut self, torn_bytes: u64) -> PerLane<u32> {
        if torn_bytes == 0 {
            return [0; Lane::COUNT];
        }
        let most = torn_bytes / BLOCK_ENTRY_BYTES as u64 + 1;
        Lane::ALL.map(|lane| {
            let lane = lane.index();
            let end = self.next[lane].saturating_add(most).max(self.given_up[lane]);
            let kept = self.segments.last().map_or(u64::MAX, |newest| newest.end[lane]);
            self.next[lane] = kept.min(self.next[lane]);
            u32::try_from(end - self.next[lane]).unwrap_or(u32::MAX)
        })
    }

    /// Cuts off what does not count, and tells whether no segment was.
    fn cut(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        let mut is_deleted = false;
        for (id, offset) in std::mem::take(&mut self.cuts) {
            if offset == 0 {
                disk.delete(id)?;
                self.segments.retain(|segment| segment.id != id);
                is_deleted = true;
                continue;
            }
            disk.truncate(id, offset)?;
            disk.sync(id)?;
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.id == id) {
                segment.bytes = offset;
            }
        }
        Ok(!is_deleted)
    }

    /// Makes durable what is left, of which the newest segment `is_doubtful` if its newest record
    /// was cut off.
    fn sync(&self, disk: &dyn Disk, is_doubtful: bool) -> Result<(), OpenError> {
        if let Some(SegmentIndex { id, bytes, .. }) = self.segments.last() {
            if is_doubtful {
                let rewritten = rewrite(disk, *id, 0..*bytes);
                rewritten.map_err(OpenError::io("making the newest segment durable"))?;
            }
            // It may have been written by a process that was killed before its sync.
            disk.sync(*id).map_err(OpenError::io("syncing the newest segment"))?;
        }
        disk.sync_dir().map_err(OpenError::io("syncing the folder"))
    }
}

/// Tells whether `next` says that the sync of the record before it failed, and writes what was in
/// it again.
const fn is_void(head: &Head, next: &Head) -> bool {
    match (head.kind, next.kind) {
        (Kind::Snapshot, _) => false,
        (Kind::Commit, Kind::Snapshot) => next.commit < head.commit,
        (Kind::Commit, Kind::Commit) => next.commit <= head.commit,
    }
}

/// Makes sure of the newest record, written from `begin` on, and tells whether it counts: it is
/// whole, or was durable once.
fn finish_record(disk: &dyn Disk, held: &Held, begin: u64, size: u64) -> io::Result<bool> {
    let Held { head, meta, .. } = held;
    if head.is_skip() {
        // Its head says all that matters, and may have been told to the coordinator.
        rewrite(disk, head.segment, begin..head.end_offset().min(size))?;
        // It is to be durable before what it speaks of is cut off.
        disk.sync(head.segment)?;
        disk.sync_dir()?;
        return Ok(true);
    }
    if head.kind == Kind::Commit && head.end_offset() < size {
        // More was written after it, which happens only after its sync.
        return Ok(true);
    }
    let Some(meta) = meta else { return Ok(false) };
    let mut scan = Scan::new(disk, head.segment, size, None);
    if !scan.has_whole_data(head, meta)? {
        return Ok(false);
    }
    rewrite(disk, head.segment, begin..head.end_offset())?;
    Ok(true)
}

/// Writes bytes of a segment again. Their sync may have failed before the process ended: the system
/// then still shows them, and would sync them without an error and without writing them.
fn rewrite(disk: &dyn Disk, segment: SegmentId, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(REWRITE_BYTES.min(range.end)).unwrap_or(0)];
    let (mut offset, mut step) = (range.start, REWRITE_BYTES);
    while offset < range.end {
        let end = (offset / step + 1).saturating_mul(step).min(range.end);
        let bytes = &mut buffer[..usize::try_from(end - offset).unwrap_or(0)];
        let read = match disk.read_at(segment, offset, bytes) {
            Ok(0) => break,
            Ok(read) => read,
            // What the medium has lost is not written as zeros: a later read may bring it back.
            Err(error) if is_bad_sector(&error) => {
                offset = if step > SECTOR as u64 { offset } else { end };
                step = SECTOR as u64;
                continue;
            }
            Err(error) => return Err(error),
        };
        match disk.rewrite(segment, offset, &bytes[..read]) {
            Ok(()) => offset += read as u64,
            // Some file systems need room even to write in place; an agent must start without it.
            Err(error) if is_full(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the blocks from `next` until before `end`, as ranges.
pub(super) fn lost_between(next: PerLane<u64>, end: PerLane<u64>) -> Vec<(Lane, Seq, Seq)> {
    let range = |lane: Lane| {
        let (first, end) = (next[lane.index()], end[lane.index()]);
        let last = end.checked_sub(1).filter(|last| *last >= first)?;
        Some((lane, Seq::new(first)?, Seq::new(last)?))
    };
    Lane::ALL.into_iter().filter_map(range).collect()
}
