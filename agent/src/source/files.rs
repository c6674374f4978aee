//! Follows all files that a pattern matches: each by a [`Tail`] while it has something to read, and
//! by its remembered place while it has not.
//!
//! The folders are looked through a step at a time. Files that changed since their place was noted
//! wait for their turn to be opened; so many are open together as the process can bear, and one that
//! is read gives its turn away when others wait. A file with nothing to read is closed and its place
//! remembered.
//!
//! # Which file is which
//! A file is read under its path, with links followed, as a [`Tail`] reads it. What the tails do not
//! see of one another:
//! ```text
//! two paths lead to one file      the first that is found has it
//! a path leads to a known file    whose own path does not lead to it any more: it was renamed, and
//!                                 is gone on with at its place
//! a file that a tail has left     is known as read to its end, whatever path leads to it later
//! a rotated file that begins like the file that it is named after: it is a copy, and left to that
//!                                 file's tail, which reads what of it was not read
//! a compressed file               is never read
//! a file of an earlier source     is left to that: plain paths before patterns, then in order
//! ```
//! A file that is found when all others are known was made since: it is read from its start. Before it what was made
//! at its path since the pass before, and rotated away to a name that the pattern does not match, for the first
//! [`PATTERN_SEARCHES_MAX`] of them in a pass.
//!
//! # Limits
//! [`PATTERN_FILES_MAX`] remembered and [`PATTERN_OPEN_MAX`] open, of both a share for each source with
//! a pattern; [`PATTERN_WAITING_MAX`] waiting.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use shared::time::Timestamp;

use super::{
    Among, Batch, Begin, Counts, FileId, Intake, Pattern, ReadBuffer, Status, Tail, TailStats,
    Wake,
    checkpoint::{Checkpoint, CheckpointError},
    file::{Facts, TailFile},
    known::{Entry, Known, PathKey},
    rotation,
    twins::Twins,
    walk::{Step, Walk},
};
use crate::limits::{
    FILE_FORGET_AFTER, FILE_IDLE_AFTER, LEFT_FORGET_AFTER, PATTERN_FILES_MAX, PATTERN_INTERVAL,
    PATTERN_OPEN_MAX, PATTERN_PATHS_PER_SECOND, PATTERN_SEARCHES_MAX, PATTERN_STEP,
    PATTERN_WAITING_MAX,
};

/// By how much the time that file systems note may differ from the clock's.
const CLOCKS_APART: Duration = Duration::from_millis(50);

/// Fewest first bytes by which a rotated file is believed to be a copy: a record has more.
const COPY_HEAD_MIN: u16 = 64;

/// What was found of the files of a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesStats {
    /// Files whose places are known.
    pub known: usize,
    /// Files that are open.
    pub open: usize,
    /// Files that wait for their turn to be opened.
    pub waiting: usize,
    /// Files that are not read because more match than places are remembered; as of the last pass.
    pub beyond: u64,
    /// Paths that lead to a file which another path or an earlier source has, or are copies; as of the last pass.
    pub same: u64,
    /// Compressed files; as of the last pass.
    pub compressed: u64,
    /// Files and folders that cannot be read; as of the last pass.
    pub unreadable: u64,
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    key: PathKey,
    tail: Tail,
    /// When it had something to read last.
    busy_at: Instant,
    /// Its place as the known places have it.
    noted: Option<Checkpoint>,
    /// Whether it is its turn, and it has something to read.
    is_ready: bool,
    /// Whether it was read in its turn, so that the next one is another's.
    is_read: bool,
}

/// Who has the file that a path leads to.
#[derive(Clone, Copy, Debug)]
enum Holder {
    Nobody,
    /// A path that still leads to it, or may, or a tail that reads it.
    Another,
    /// None any more: its place is that of this entry.
    Gone(Entry),
}

/// A path that waits to be opened.
#[derive(Debug)]
struct Waiting {
    key: PathKey,
    path: PathBuf,
    begin: Begin,
    /// See [`Files::absent_since`].
    since: Option<i64>,
}

/// What a pass over the folders has found.
#[derive(Clone, Copy, Debug, Default)]
struct Pass {
    paths: u32,
    beyond: u64,
    same: u64,
    compressed: u64,
    unreadable: u64,
}

/// When a source was opened, and which share it has of what all have together.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Where to begin in files that are there by then.
    pub begin: Begin,
    /// When, for what happens.
    pub now: Instant,
    /// When, for files' times.
    pub wall: Timestamp,
    /// How many sources with patterns there are.
    pub sources: usize,
}

/// Follows the files of a pattern.
#[derive(Debug)]
pub struct Files {
    pattern: Arc<Pattern>,
    /// The paths of other sources that go before.
    others: Vec<Pattern>,
    opening: Opening,
    open_max: usize,
    files_max: usize,
    known: Known,
    open: VecDeque<Open>,
    waiting: VecDeque<Waiting>,
    walk: Option<Walk>,
    number: u32,
    pass: Pass,
    /// What the last whole pass found.
    last: Option<Pass>,
    /// When this pass began, or the last one.
    begun_at: Instant,
    /// When the last whole one began.
    last_begun_at: Option<Instant>,
    /// For how many files that this pass finds anew it is looked what was rotated away before.
    searches_left: u32,
    next_pass_at: Instant,
    /// The first reason in this pass why something cannot be read.
    reason: Option<String>,
    status: Status,
    /// What tails counted that are closed.
    closed: TailStats,
}

impl Files {
    /// Returns the follower of the files that `pattern` matches and none of `others` does, to go on
    /// from the places in `stored`.
    ///
    /// `plain` is the checkpoint that the source has from when it had a plain path.
    ///
    /// # Errors
    /// Fails if `stored` holds something else, or of a later version.
    pub fn open<'s>(
        pattern: &Pattern,
        others: &[Pattern],
        plain: Option<&[u8]>,
        stored: impl Iterator<Item = (&'s str, &'s [u8])>,
        opening: Opening,
    ) -> Result<Self, CheckpointError> {
        let mut known = Known::load(stored)?;
        if let Some(plain) = plain.filter(|_| known.len() == 0) {
            known.leave(Checkpoint::decode(plain)?, 0);
        }
        Ok(Self {
            pattern: Arc::new(pattern.resolved()),
            others: others.iter().flat_map(|other| [other.clone(), other.resolved()]).collect(),
            opening,
            open_max: (PATTERN_OPEN_MAX / opening.sources.max(1)).max(1),
            files_max: (PATTERN_FILES_MAX / opening.sources.max(1)).max(1),
            known,
            open: VecDeque::new(),
            waiting: VecDeque::new(),
            walk: None,
            number: 0,
            pass: Pass::default(),
            last: None,
            begun_at: opening.now,
            last_begun_at: None,
            searches_left: 0,
            next_pass_at: opening.now,
            reason: None,
            status: Status::Reading,
            closed: TailStats::default(),
        })
    }

    /// Returns what the tails of its files counted.
    #[must_use]
    pub fn tails(&self) -> TailStats {
        let mut tails = self.closed;
        self.open.iter().for_each(|open| tails += open.tail.stats());
        tails
    }

    /// Returns what was found of its files.
    #[must_use]
    pub fn stats(&self) -> FilesStats {
        let last = self.last.unwrap_or(self.pass);
        FilesStats {
            known: self.known.len(),
            open: self.open.len(),
            waiting: self.waiting.len(),
            beyond: last.beyond,
            same: last.same,
            compressed: last.compressed,
            unreadable: last.unreadable,
        }
    }

    /// Goes on looking through the folders, or begins to when it is time.
    fn look_through(&mut self, now: Instant) {
        // While not all files that were there at first are known, each is to have its turn first.
        let is_due =
            now >= self.next_pass_at && (self.known.is_surveyed || self.waiting.is_empty());
        if self.walk.is_none() && is_due {
            self.walk = Some(Walk::new(Arc::clone(&self.pattern)));
            self.begun_at = now;
            self.searches_left = PATTERN_SEARCHES_MAX;
            self.number += 1;
            self.pass = Pass::default();
            self.reason = None;
        }
        for _ in 0..PATTERN_STEP {
            if self.waiting.len() >= PATTERN_WAITING_MAX {
                return;
            }
            let Some(walk) = &mut self.walk else { return };
            match walk.step() {
                Step::Nothing => {}
                Step::File(path) => self.consider(path, now),
                Step::Unreadable(error) => self.cannot_read(&error.to_string()),
                Step::Done => self.finish_pass(now),
            }
        }
    }

    fn finish_pass(&mut self, now: Instant) {
        self.walk = None;
        self.last = Some(self.pass);
        self.last_begun_at = Some(self.begun_at);
        let rest = Duration::from_secs((self.pass.paths / PATTERN_PATHS_PER_SECOND).into());
        // From its begin: between two looks at so many files it has rested, too.
        self.next_pass_at = self.begun_at + rest.max(PATTERN_INTERVAL);
        let seconds = self.seconds(now);
        let gone = self.known.forget(|entry| {
            let after = if entry.is_left() { LEFT_FORGET_AFTER } else { FILE_FORGET_AFTER };
            let absent = Duration::from_secs(seconds.saturating_sub(entry.seen_at).into());
            !entry.is_open && absent >= after
        });
        if gone > 0 {
            tracing::debug!(pattern = %self.pattern, gone, "files are forgotten");
        }
        self.status = match &self.reason {
            Some(reason) => {
                let rest = match self.pass.unreadable {
                    0 | 1 => String::new(),
                    many => format!(" (and {} more)", many - 1),
                };
                Status::Unreadable(format!("{reason}{rest}"))
            }
            None if self.pass.paths == 0 && self.open.is_empty() => Status::Missing,
            None => Status::Reading,
        };
    }

    /// Decides what becomes of a path that was found.
    fn consider(&mut self, path: PathBuf, now: Instant) {
        if self.others.iter().any(|other| other.matches(&path)) {
            self.pass.same += 1;
            return;
        }
        if rotation::is_compressed(&path) {
            self.pass.compressed += 1;
            return;
        }
        let Ok(facts) = Facts::at(&path) else { return };
        self.pass.paths += 1;
        let key = PathKey::of(&path);
        let (number, seconds) = (self.number, self.seconds(now));
        if let Some(entry) = self.known.get_mut(key) {
            entry.seen_at = seconds;
            if entry.place.inode == facts.id.inode {
                entry.seen_in = number;
            }
            if !entry.is_open && !is_unchanged(entry, &facts) {
                self.wait(key, path, Begin::Start, None);
            }
            return;
        }
        match self.holder(&path, facts.id) {
            Holder::Another => self.pass.same += 1,
            Holder::Gone(entry) => {
                self.known.rename(entry.key, key);
                if let Some(entry) = self.known.get_mut(key) {
                    (entry.seen_in, entry.seen_at) = (number, seconds);
                }
                if !is_unchanged(&entry, &facts) {
                    self.wait(key, path, Begin::Start, None);
                }
            }
            Holder::Nobody if self.is_copy(&path) => self.pass.same += 1,
            Holder::Nobody if self.known.len() + self.waiting.len() >= self.files_max => {
                self.pass.beyond += 1;
            }
            Holder::Nobody => {
                let begin = self.begin_in(&facts);
                let since = self.absent_since();
                self.wait(key, path, begin, since);
            }
        }
    }

    /// Says who has the file that a path leads to of which nothing is known.
    fn holder(&self, path: &Path, id: FileId) -> Holder {
        if self.open.iter().any(|open| open.tail.file_id() == Some(id)) {
            return Holder::Another;
        }
        let Some(entry) = self.known.by_inode(id.inode).filter(|entry| !entry.is_open) else {
            return Holder::Nobody;
        };
        let is_it = entry.place.device == id.device
            || entry.place.head_len >= COPY_HEAD_MIN
                && TailFile::open(path).is_ok_and(|file| file.has_head_of(&entry.place));
        match is_it {
            false => Holder::Nobody,
            // Two passes: its own path may have come before the renaming, or may yet come in this one.
            true if entry.is_left() || entry.seen_in + 1 < self.number => Holder::Gone(*entry),
            true => Holder::Another,
        }
    }

    /// Returns whether a file whose name rotation makes begins like the file that it is named after.
    fn is_copy(&self, path: &Path) -> bool {
        let places = rotation::bases(path).into_iter().filter_map(|base| {
            let key = PathKey::of(&base);
            let open = self.open.iter().find(|open| open.key == key);
            open.and_then(|open| open.tail.place()).or(self.known.get(key).map(|entry| entry.place))
        });
        let mut places = places.filter(|place| place.head_len >= COPY_HEAD_MIN).peekable();
        places.peek().is_some()
            && TailFile::open(path).is_ok_and(|file| places.any(|place| file.has_head_of(&place)))
    }

    /// Returns where to begin in a file of which nothing is known.
    fn begin_in(&self, facts: &Facts) -> Begin {
        let created = facts.age().created_ns.and_then(|at| u64::try_from(at).ok());
        let opened = self.opening.wall.since(Timestamp::from_ms(0));
        let is_new = created.is_some_and(|created| Duration::from_nanos(created) > opened);
        if self.known.is_surveyed || is_new { Begin::Start } else { self.opening.begin }
    }

    /// Returns as of when there was no file at a path that is found now, in nanoseconds: what was rotated away from it
    /// and made since was never read. To look for that takes a listing of the folder, so it is done for some only.
    fn absent_since(&mut self) -> Option<i64> {
        let Opening { now, wall, .. } = self.opening;
        let since = match self.last_begun_at {
            Some(at) => wall.saturating_add(at.saturating_duration_since(now)),
            // Of an earlier start: what is not known now was made since, or was forgotten.
            None => self.known.surveyed_at?.max(wall.saturating_sub(FILE_FORGET_AFTER)),
        };
        self.searches_left = self.searches_left.checked_sub(1)?;
        i64::try_from(since.saturating_sub(CLOCKS_APART).as_ms()).ok()?.checked_mul(1_000_000)
    }

    fn wait(&mut self, key: PathKey, path: PathBuf, begin: Begin, since: Option<i64>) {
        if !self.waiting.iter().any(|waiting| waiting.key == key) {
            self.waiting.push_back(Waiting { key, path, begin, since });
        }
    }

    /// Opens files whose turn it is, and closes those again that have nothing to read.
    fn open_waiting(&mut self, now: Instant) {
        for _ in 0..PATTERN_STEP {
            if self.open.len() >= self.open_max {
                return;
            }
            let Some(Waiting { key, path, begin, since }) = self.waiting.pop_front() else {
                return;
            };
            if self.open.iter().any(|open| open.key == key) {
                continue;
            }
            let place = self.known.get(key).map(|entry| entry.place);
            let among = Among { pattern: Arc::clone(&self.pattern), since };
            let tail = Tail::resume(path, place, Twins::default(), begin, Some(among));
            if let Status::Unreadable(reason) = tail.status() {
                let reason = format!("{}: {reason}", tail.path().display());
                self.cannot_read(&reason);
                continue;
            }
            // Another path to it may have waited before this one.
            let has_holder = |id| !matches!(self.holder(tail.path(), id), Holder::Nobody);
            if place.is_none() && tail.file_id().is_some_and(has_holder) {
                self.pass.same += 1;
                continue;
            }
            let (is_ready, is_read) = (false, false);
            let mut open = Open { key, tail, busy_at: now, noted: place, is_ready, is_read };
            let place = open.tail.place();
            open.note(place, &mut self.known);
            let (number, seconds) = (self.number, self.seconds(now));
            if let Some(entry) = self.known.get_mut(key) {
                (entry.seen_in, entry.seen_at) = (number, seconds);
            }
            if open.poll(now, &mut self.known, seconds) || self.waiting.is_empty() {
                self.open.push_back(open);
            } else {
                self.close(open);
            }
        }
    }

    /// Finds the next file with something to read, and puts it first.
    fn turn(&mut self, now: Instant) -> bool {
        let is_crowded = self.open.len() >= self.open_max && !self.waiting.is_empty();
        if let Some(mut open) = self.open.pop_front_if(|open| open.is_read) {
            open.is_read = false;
            if is_crowded {
                let path = open.tail.path().to_owned();
                self.wait(open.key, path, Begin::Start, None);
                self.close(open);
            } else {
                self.open.push_back(open);
            }
        }
        let seconds = self.seconds(now);
        for _ in 0..self.open.len() {
            let Some(mut open) = self.open.pop_front() else { return false };
            open.is_ready = open.poll(now, &mut self.known, seconds);
            if open.is_ready {
                open.busy_at = now;
                self.open.push_front(open);
                return true;
            }
            let is_idle = now.duration_since(open.busy_at) >= FILE_IDLE_AFTER;
            if is_idle || !self.waiting.is_empty() {
                self.close(open);
            } else {
                self.open.push_back(open);
            }
        }
        false
    }

    /// Closes a file and remembers its place.
    fn close(&mut self, mut open: Open) {
        let place = open.tail.place();
        open.note(place, &mut self.known);
        if let Some(entry) = self.known.get_mut(open.key) {
            entry.is_open = false;
        }
        self.closed += open.tail.stats();
    }

    fn cannot_read(&mut self, reason: &str) {
        self.pass.unreadable += 1;
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    fn seconds(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.opening.now);
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Intake for Files {
    fn label(&self) -> String {
        self.pattern.to_string()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn counts(&self) -> Counts {
        let counts = Counts::from(self.tails());
        Counts { unread: counts.unread + self.stats().beyond, ..counts }
    }

    /// Looks at folders and files.
    fn poll(&mut self, now: Instant) -> bool {
        self.look_through(now);
        self.open_waiting(now);
        if self.turn(now) {
            return true;
        }
        if self.waiting.is_empty() && !self.known.is_surveyed && self.last.is_some() {
            self.known.is_surveyed = true;
            let since = self.begun_at.saturating_duration_since(self.opening.now);
            self.known.surveyed_at = Some(self.opening.wall.saturating_add(since));
        }
        // The first pass does not rest: what was written while the agent did not run has waited long enough.
        !self.waiting.is_empty() || self.last.is_none() && self.walk.is_some()
    }

    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        self.open.iter().for_each(|open| wakes(Wake::File(open.tail.path())));
    }

    /// Reads lines of one file; none if nothing is ready.
    fn read_batch<'b>(
        &mut self,
        _now: Instant,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        match self.open.front_mut() {
            Some(open) if open.is_ready => {
                (open.is_ready, open.is_read) = (false, true);
                open.tail.read_batch(buffer, bytes_max).map_err(io::Error::other)
            }
            Some(_) | None => Ok(Batch::EMPTY),
        }
    }

    fn tail(&self) -> Option<&Tail> {
        self.open.front().map(|open| &open.tail)
    }

    fn files(&self) -> Option<FilesStats> {
        Some(self.stats())
    }

    fn open_files(&self) -> Vec<FileId> {
        self.open.iter().filter_map(|open| open.tail.file_id()).collect()
    }

    fn behind_bytes(&self) -> u64 {
        self.open.iter().map(|open| open.tail.behind_bytes()).sum()
    }

    fn has_changed(&self) -> bool {
        self.known.has_changed() || self.open.iter().any(|open| open.tail.place() != open.noted)
    }

    fn is_full(&self) -> bool {
        self.known.is_full()
    }

    fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        for (index, open) in self.open.iter_mut().enumerate() {
            let place = match end {
                Some(end) if index == 0 => open.tail.place_at(end),
                Some(_) | None => open.tail.place(),
            };
            open.note(place, &mut self.known);
        }
        self.known.changed()
    }

    fn stored(&mut self) {
        self.known.stored();
    }
}

impl Open {
    /// Returns whether there is something to read; what the tail left on the way is known then.
    fn poll(&mut self, now: Instant, known: &mut Known, seconds: u32) -> bool {
        let is_ready = self.tail.poll(now);
        for left in self.tail.take_left() {
            // Beyond the bound it is forgotten, and read again if a path leads to it.
            if known.len() < PATTERN_FILES_MAX {
                known.leave(left, seconds);
            }
        }
        is_ready
    }

    /// Notes its place with those that are known.
    fn note(&mut self, place: Option<Checkpoint>, known: &mut Known) {
        if let Some(place) = place {
            known.put(self.key, place, self.tail.looked_at().max(place.offset));
            if let Some(entry) = known.get_mut(self.key) {
                entry.is_open = true;
            }
            self.noted = Some(place);
        }
    }
}

/// Returns whether a file is as it was when its place was noted.
fn is_unchanged(entry: &Entry, facts: &Facts) -> bool {
    entry.place.inode == facts.id.inode
        && entry.looked_at == facts.len
        && entry.place.modified_ns == facts.modified_ns
}

#[cfg(test)]
mod tests;
