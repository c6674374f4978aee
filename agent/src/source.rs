//! Follows a file that a detector writes, through everything that happens to such files; what
//! detectors send is taken by a [`Listener`].
//!
//! A file is its device, inode and first bytes, and the generation counts the files that were
//! begun; a path alone is never a file. A [`Tail`] is polled: it has no thread, timer or runtime,
//! and holds one open file and no buffer.
//!
//! # What happens to files
//! ```text
//! renamed                    the open file is read to its end, then the one at the path from its
//!                            start; also if it happened while the agent was down, and for all
//!                            files rotated away in between
//! copied and truncated       what the copy holds and was not read is read from it, then the file
//!                            from its start; also if it happened while the agent was down, for all
//!                            copies made in between, and if the file was empty when last read
//! truncated, refilled        read from its start as a new generation; known by its length or by
//!                            its first bytes. If it was not open then and there is no copy, it
//!                            counts as lost, since it may have held more than was read
//! deleted while behind       the open file is read to its end; if it was not open, it counts as lost
//! rotated and compressed     what was not read of it is unpacked (gzip), unless it is open, and then all that was
//!                            compressed after it; what is broken or compressed otherwise counts as lost
//! rotated within a tick      all that bear one time are read once: which were is stored
//! inode used again           known by its first bytes: as if the file had been truncated
//! not there yet              it is read from its start once it is; so is, before it, one that came and was rotated
//!                            away between two looks
//! forbidden                  the status says so; it is tried again
//! last line without newline  waits for its newline; taken as it is once its writer has gone on to
//!                            another file
//! line too long              cut to the longest record, the rest skipped
//! empty line, run of zeros   skipped, the zeros counted
//! invalid UTF-8              none of a tail's business: lines are bytes
//! ```
//! A writer has gone on when the path leads to another file that is not empty: until then it may
//! still write to the file that it has open, however that is named now.
//!
//! Not seen: a file truncated and refilled between two reads to more than was read of it, with the
//! same first [`HEAD_BYTES`](crate::limits::HEAD_BYTES).

mod checkpoint;
mod evtx;
mod file;
mod files;
mod framing;
mod http;
mod intake;
mod journal;
mod known;
mod lines;
mod listener;
mod next;
mod packed;
mod pattern;
mod pipe;
mod plain;
mod rotation;
mod stdin;
mod twins;
mod veto;
mod walk;

use std::{
    fmt, fs, io,
    ops::AddAssign,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use thiserror::Error;

use self::{
    checkpoint::Checkpoint,
    file::{Facts, TailFile, modified_ns},
    lines::split,
    rotation::Next,
    twins::Twins,
};
pub use self::{
    checkpoint::CheckpointError,
    evtx::{Evtx, EvtxOptions},
    file::FileId,
    files::{Files, FilesStats, Opening},
    http::{Http, load_token},
    intake::{Counts, Intake, Wake},
    journal::{JOURNALCTL, Journal, JournalOptions},
    lines::{Batch, Line, LineReader, ReadBuffer, RecordEnd},
    listener::{Listener, LoadTls},
    pattern::{Pattern, PatternError},
    plain::PlainFile,
    stdin::Stdin,
    veto::{InForce, Veto},
    walk::Matches,
};
use crate::limits::{OPEN_RETRY_INTERVAL, READ_BYTES};

/// Least bytes asked for in one read: a page.
const READ_BYTES_MIN: usize = 4 << 10;

/// Where to begin in a file that there is no checkpoint of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At its start.
    Start,
    /// Behind its last whole line. A file that is not there when the tail is opened is read from
    /// its start.
    End,
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// A file is open.
    Reading,
    /// There is no file at the path.
    Missing,
    /// The file cannot be opened or read, for this reason.
    Unreadable(String),
    /// Nothing more will come.
    Ended,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading => f.write_str("reading"),
            Self::Missing => f.write_str("waiting for the file to appear"),
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Self::Ended => f.write_str("has ended: nothing more comes"),
        }
    }
}

/// What a tail has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailStats {
    /// Lines handed out.
    pub lines: u64,
    /// Bytes taken, skipped ones included.
    pub bytes: u64,
    /// Times that the tail went on from one file to the next.
    pub rotated: u64,
    /// Times that a file was truncated or its content replaced.
    pub truncated: u64,
    /// Files with a checkpoint that were not found again, or were truncated while they were not open
    /// and no copy was found: what they held behind it, if anything, is lost.
    pub lost_files: u64,
    /// Lines that were cut.
    pub over_long: u64,
    /// Bytes of the rest of lines that were cut.
    pub skipped_bytes: u64,
    /// Bytes of zeros before lines.
    pub hole_bytes: u64,
    /// Last lines of files that had no newline.
    pub unterminated: u64,
    /// Times that a file was there and could not be opened or read: forbidden, no file, a broken disk.
    pub read_errors: u64,
}

impl AddAssign for TailStats {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.rotated += other.rotated;
        self.truncated += other.truncated;
        self.lost_files += other.lost_files;
        self.over_long += other.over_long;
        self.skipped_bytes += other.skipped_bytes;
        self.hole_bytes += other.hole_bytes;
        self.unterminated += other.unterminated;
        self.read_errors += other.read_errors;
    }
}

/// Why an open file was not read. The tail stays usable and goes on from where it was.
#[derive(Debug, Error)]
#[error("{path} cannot be read: {error}")]
pub struct ReadError {
    /// The source's path.
    path: PathBuf,
    /// What the operating system said.
    #[source]
    error: io::Error,
}

/// The file being read.
#[derive(Debug)]
struct Reading {
    file: TailFile,
    /// Bytes taken.
    offset: u64,
    /// Whether the offset lies within a line that was cut.
    skipping: bool,
    /// How far was looked: there is no newline between the offset and here.
    scanned: u64,
    /// Whether its writer has gone on to another file.
    ended: bool,
    modified_ns: i64,
    /// The longest that it was seen to be.
    len: u64,
}

impl Reading {
    /// Returns whether nothing is known by which to know the file again if it is truncated.
    fn is_of_nothing(&self) -> bool {
        self.offset == 0 && self.file.head_len() == 0 && !self.file.is_packed()
    }
}

/// Follows the file at one path.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    begin: Begin,
    reading: Option<Reading>,
    /// From where to go on, while its file is not open.
    resume: Option<Checkpoint>,
    /// When the folder was last changed before it was seen that there is no file yet.
    missing_since: Option<i64>,
    /// The open file and the empty one at the path, if any, without a rotated one between them.
    waits_between: Option<[FileId; 2]>,
    /// What was read before, where times do not tell.
    twins: Twins,
    generation: u64,
    retry_at: Option<Instant>,
    among: Option<Among>,
    /// Among files of a pattern: those that were read to their end, as of then.
    left: Vec<Checkpoint>,
    status: Status,
    stats: TailStats,
}

/// What a tail knows that is one of many; see [`Files`].
#[derive(Debug)]
struct Among {
    /// The pattern: its other files are followed by others.
    pattern: Arc<Pattern>,
    /// When there was no file at the path yet, in nanoseconds, where nothing else is known of it.
    since: Option<i64>,
}

impl Tail {
    /// Returns a tail of the file at `path`, to go on from `checkpoint`, or to begin as `begin`
    /// says without one.
    ///
    /// A file that is not there or cannot be read is no error: see [`Self::status`].
    ///
    /// # Errors
    /// Fails if `checkpoint` is none, or one of a later version.
    pub fn open(
        path: impl Into<PathBuf>,
        checkpoint: Option<&[u8]>,
        begin: Begin,
    ) -> Result<Self, CheckpointError> {
        Self::go_on(path.into(), checkpoint, None, begin)
    }

    /// Returns a tail like [`Self::open`], which `twins` were stored of besides.
    ///
    /// # Errors
    /// Fails if they are none, or of a later version; so it does if the checkpoint is.
    fn go_on(
        path: PathBuf,
        checkpoint: Option<&[u8]>,
        twins: Option<&[u8]>,
        begin: Begin,
    ) -> Result<Self, CheckpointError> {
        let resume = checkpoint.map(Checkpoint::decode).transpose()?;
        let twins = twins.map(Twins::decode).transpose()?.unwrap_or_default();
        Ok(Self::resume(path, resume, twins, begin, None))
    }

    /// Returns a tail like [`Self::open`]; `among` says what is known as one of many.
    fn resume(
        path: PathBuf,
        resume: Option<Checkpoint>,
        twins: Twins,
        begin: Begin,
        among: Option<Among>,
    ) -> Self {
        let folder_changed = path.parent().and_then(|folder| fs::metadata(folder).ok());
        let missing = fs::metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let missing_since = folder_changed.filter(|_| missing).map(|it| modified_ns(&it));
        let missing_since = among.as_ref().and_then(|among| among.since).or(missing_since);
        let mut tail = Self {
            path,
            begin: if missing { Begin::Start } else { begin },
            reading: None,
            resume,
            missing_since,
            waits_between: None,
            twins,
            generation: resume.map_or(0, |checkpoint| checkpoint.generation),
            retry_at: None,
            among,
            left: Vec::new(),
            status: Status::Missing,
            stats: TailStats::default(),
        };
        // Opened at once, so that "end" means the end as it is now.
        if let Err(error) = tail.begin() {
            tail.note(&error);
        }
        tail
    }

    /// Returns the path that it follows.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how the source is.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns what was counted.
    #[must_use]
    pub fn stats(&self) -> TailStats {
        self.stats
    }

    /// Returns how many files were begun before the one being read.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns which file is open: two tails with the same one would read every record twice.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        self.reading.as_ref().map(|reading| reading.file.id)
    }

    /// Returns how many bytes of the open file were taken.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.reading.as_ref().map_or(0, |reading| reading.offset)
    }

    /// Returns how many bytes of the open file were not looked at yet.
    #[must_use]
    pub fn behind_bytes(&self) -> u64 {
        let Some(reading) = &self.reading else { return 0 };
        let len = reading.file.facts().map_or(0, |facts| facts.len);
        len.saturating_sub(reading.scanned.max(reading.offset))
    }

    /// Returns what the open file begins with, up to `bytes_max`; nothing if none is open.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn head(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let Some(reading) = &self.reading else { return Ok(Vec::new()) };
        let mut head = vec![0; bytes_max];
        let len = reading.file.read_full(&mut head, 0)?;
        head.truncate(len);
        Ok(head)
    }

    /// Looks at the file and its path; returns whether there is something to read.
    ///
    /// A file that cannot be opened is tried again after [`OPEN_RETRY_INTERVAL`], one that is
    /// missing with each call.
    pub fn poll(&mut self, now: Instant) -> bool {
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        self.retry_at = None;
        match self.look() {
            Ok(ready) => {
                self.status = Status::Reading;
                ready
            }
            Err(error) => {
                self.note(&error);
                // Going on from a checkpoint searches folders, which is not done at every poll.
                if self.status != Status::Missing || self.resume.is_some() {
                    self.retry_at = Some(now + OPEN_RETRY_INTERVAL);
                }
                false
            }
        }
    }

    /// Reads lines of one file into `buffer`: about `max_bytes` of them, at least one if there is
    /// one.
    ///
    /// # Errors
    /// Fails if the open file cannot be read; the next [`Self::poll`] opens it anew.
    pub fn read_batch<'b>(
        &mut self,
        buffer: &'b mut ReadBuffer,
        max_bytes: usize,
    ) -> Result<Batch<'b>, ReadError> {
        match self.read_lines(buffer, max_bytes) {
            Ok(Some(at)) => Ok(Batch::new(buffer, at)),
            Ok(None) => Ok(Batch::EMPTY),
            Err(error) => {
                self.note(&error);
                self.release();
                Err(ReadError { path: self.path.clone(), error })
            }
        }
    }

    /// Returns the checkpoint that covers every line handed out so far; none if there never was a
    /// file.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Vec<u8>> {
        self.place().map(|checkpoint| checkpoint.encode())
    }

    /// Returns what was read before, where times do not tell, to be stored with the checkpoint.
    fn encoded_twins(&self) -> Option<Vec<u8>> {
        self.twins.encode()
    }

    /// Returns the checkpoint that covers the lines up to `end`, which is the end of a line of the
    /// last batch.
    #[must_use]
    pub fn checkpoint_at(&self, end: u64) -> Option<Vec<u8>> {
        let reading = self.reading.as_ref()?;
        debug_assert!(end <= reading.offset, "lines of the last batch end before what was taken");
        Some(self.checkpoint_of(reading, end).encode())
    }

    fn checkpoint_of(&self, reading: &Reading, offset: u64) -> Checkpoint {
        Checkpoint {
            device: reading.file.id.device,
            inode: reading.file.id.inode,
            head_len: reading.file.head_len(),
            head: reading.file.head_digest(),
            generation: self.generation,
            offset,
            skipping: reading.skipping && offset == reading.offset,
            modified_ns: reading.modified_ns,
        }
    }

    /// Returns where it stands, like [`Self::checkpoint`].
    fn place(&self) -> Option<Checkpoint> {
        match &self.reading {
            Some(reading) => Some(self.checkpoint_of(reading, reading.offset)),
            None => self.resume,
        }
    }

    /// Returns where it stands behind the lines up to `end`, like [`Self::checkpoint_at`].
    fn place_at(&self, end: u64) -> Option<Checkpoint> {
        self.reading.as_ref().map(|reading| self.checkpoint_of(reading, end))
    }

    /// Returns the length up to which the open file was looked at.
    fn looked_at(&self) -> u64 {
        self.reading.as_ref().map_or(0, |reading| reading.scanned)
    }

    /// Returns the files that were read to their end since this was asked last, as of then.
    fn take_left(&mut self) -> Vec<Checkpoint> {
        std::mem::take(&mut self.left)
    }

    /// Opens a file if none is open, and goes on to the next one at the end of one whose writer has
    /// gone on.
    fn look(&mut self) -> io::Result<bool> {
        if self.reading.is_none() {
            self.begin()?;
        }
        loop {
            match self.has_more() {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => {
                    self.release();
                    return Err(error);
                }
            }
            if !self.move_on()? {
                return Ok(false);
            }
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if let Some(checkpoint) = self.resume {
            self.resume_from(&checkpoint)?;
        } else {
            let mut file = TailFile::open(&self.path)?;
            if let Some(since) = self.missing_since {
                let Next { file: earlier, present, unreadable } = self.made_after(since)?;
                file = earlier.or(present).ok_or(io::ErrorKind::NotFound)?;
                self.stats.lost_files += unreadable;
            } else if self.among.is_none() {
                self.note_twins(file.opened_ns)?;
            }
            let (offset, skipping) = match self.begin {
                Begin::Start => (0, false),
                Begin::End => file.last_line_start()?,
            };
            self.start(file, offset, skipping)?;
        }
        self.status = Status::Reading;
        Ok(())
    }

    /// Finds the checkpoint's file: at the path, or where rotation put it.
    fn resume_from(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let (offset, skipping) = (checkpoint.offset, checkpoint.skipping);
        let at_path = match TailFile::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = at_path.as_ref().filter(|file| file.id.inode == checkpoint.inode) {
            let same_device = file.id.device == checkpoint.device;
            let known = same_device || checkpoint.head_len > 0;
            if known && file.begins_like(checkpoint, file.facts()?.len) {
                if checkpoint.is_of_nothing() {
                    self.fill(checkpoint.modified_ns, file.id)?;
                    if self.reading.is_some() {
                        return Ok(());
                    }
                }
                return self.start_at_path(at_path, offset, skipping);
            }
            let mut copy = rotation::find_copy(&self.path, checkpoint)?;
            if copy.is_none() {
                copy = rotation::find_packed(&self.path, checkpoint)?;
            }
            if let Some(copy) = copy {
                self.stats.truncated += 1;
                return self.start(copy, offset, skipping);
            }
            self.begin_after(checkpoint, true)?;
            self.stats.truncated += 1;
            return Ok(());
        } else if let Some(file) = rotation::find(&self.path, checkpoint)? {
            return self.start(file, offset, skipping);
        }
        if let Some(packed) = rotation::find_packed(&self.path, checkpoint)? {
            return self.start(packed, offset, skipping);
        }
        if at_path.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.begin_after(checkpoint, true)
    }

    /// Begins with the oldest file that was written to after the checkpoint's, which is nowhere, else with what is at
    /// the path. `is_lost` says whether that may have held more than was read; so it has if a file came between.
    fn begin_after(&mut self, checkpoint: &Checkpoint, is_lost: bool) -> io::Result<()> {
        let is_later = |other: &Facts| other.modified_ns > checkpoint.modified_ns;
        let Next { file: between, present, unreadable } = self.next_after(is_later, &[])?;
        let is_lost = is_lost || between.is_some();
        let file = between.or(present).ok_or(io::ErrorKind::NotFound)?;
        self.start(file, 0, false)?;
        self.stats.lost_files += u64::from(is_lost) + unreadable;
        self.generation += 1;
        Ok(())
    }

    fn start_at_path(
        &mut self,
        file: Option<TailFile>,
        offset: u64,
        skipping: bool,
    ) -> io::Result<()> {
        match file {
            Some(file) => self.start(file, offset, skipping),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn start(&mut self, file: TailFile, offset: u64, skipping: bool) -> io::Result<()> {
        let Facts { mut modified_ns, len, .. } = file.facts()?;
        let (scanned, ended) = (offset, false);
        if file.head_len() == 0 && !file.is_packed() {
            // What fills it from then on may be copied away before it is looked at again.
            modified_ns = file.opened_ns;
            self.twins.go_on(modified_ns);
        }
        self.reading = Some(Reading { file, offset, skipping, scanned, ended, modified_ns, len });
        self.resume = None;
        self.waits_between = None;
        self.begin = Begin::Start;
        Ok(())
    }

    /// Returns whether the open file holds bytes that were not looked at; a truncated one is begun
    /// anew.
    fn has_more(&mut self) -> io::Result<bool> {
        let Some(reading) = &self.reading else { return Ok(false) };
        if reading.is_of_nothing() {
            let (facts, since, id) = (reading.file.facts()?, reading.modified_ns, reading.file.id);
            if facts.len == 0 && facts.modified_ns == since || !self.fill(since, id)? {
                return Ok(false);
            }
        }
        let Some(reading) = &mut self.reading else { return Ok(false) };
        let mut facts = reading.file.facts()?;
        let is_shorter = facts.len < reading.offset && !reading.file.is_packed();
        if is_shorter || !reading.file.has_same_head()? {
            self.begin_anew()?;
        }
        let Some(reading) = &mut self.reading else { return Ok(false) };
        if reading.offset == 0 || facts.id != reading.file.id {
            facts = reading.file.facts()?;
        }
        reading.modified_ns = facts.modified_ns;
        reading.len = facts.len;
        reading.scanned = reading.scanned.clamp(reading.offset, facts.len.max(reading.offset));
        let from = if reading.ended { reading.offset } else { reading.scanned };
        Ok(facts.len > from)
    }

    /// Goes on in what has filled the file `own` since it was empty: in copies of that, and then in the file. Returns
    /// whether there is something.
    fn fill(&mut self, since: i64, own: FileId) -> io::Result<bool> {
        let Next { file: copy, present, unreadable } = self.filled_after(since, own)?;
        let is_own = present.as_ref().is_some_and(|present| present.id == own);
        let Some(present) = present.filter(|_| is_own) else {
            // It was renamed, so that nobody has emptied it.
            let Some(reading) = &mut self.reading else { return Ok(false) };
            reading.file.has_same_head()?;
            reading.modified_ns = reading.file.facts()?.modified_ns;
            return Ok(reading.file.head_len() > 0);
        };
        if let Some(copy) = copy {
            self.stats.lost_files += unreadable;
            self.generation += 1;
            self.start(copy, 0, false)?;
            return Ok(true);
        }
        let is_filled = present.head_len() > 0;
        self.stats.lost_files += if is_filled { unreadable } else { 0 };
        self.start(present, 0, false)?;
        Ok(is_filled)
    }

    /// Goes on in a copy of what was truncated, else with what came after it.
    fn begin_anew(&mut self) -> io::Result<()> {
        let Some(reading) = &self.reading else { return Ok(()) };
        let checkpoint = self.checkpoint_of(reading, reading.offset);
        // What had been seen of it and not read is nowhere, if there is no copy.
        let seen = reading.len.max(reading.file.head_len().into());
        let is_lost = seen > reading.offset;
        let mut copy = rotation::find_copy(&self.path, &checkpoint)?;
        if copy.is_none() {
            copy = rotation::find_packed(&self.path, &checkpoint)?;
        }
        match copy {
            Some(copy) => self.start(copy, checkpoint.offset, checkpoint.skipping)?,
            None if self.is_at_path()? => self.begin_after(&checkpoint, is_lost)?,
            None => self.begin_same(is_lost)?,
        }
        self.stats.truncated += 1;
        Ok(())
    }

    /// Returns whether the path leads to the open file.
    fn is_at_path(&self) -> io::Result<bool> {
        match Facts::at(&self.path) {
            Ok(facts) => Ok(self.file_id() == Some(facts.id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins anew with the open file, which was truncated after it was renamed.
    fn begin_same(&mut self, is_lost: bool) -> io::Result<()> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        reading.file.forget_head()?;
        (reading.offset, reading.scanned, reading.len) = (0, 0, 0);
        (reading.skipping, reading.ended) = (false, false);
        self.stats.lost_files += u64::from(is_lost);
        self.generation += 1;
        Ok(())
    }

    /// Reads and splits; returns the offset of the buffer's first byte, or `None` if there is
    /// nothing to read.
    fn read_lines(&mut self, buffer: &mut ReadBuffer, max_bytes: usize) -> io::Result<Option<u64>> {
        if !self.has_more()? {
            return Ok(None);
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let at = reading.offset;
        let mut want = max_bytes.clamp(READ_BYTES_MIN, READ_BYTES);
        loop {
            let filled = reading.file.read_full(&mut buffer.bytes[..want], at)?;
            let at_end = filled < want;
            let ended = reading.ended && at_end;
            let bytes = &buffer.bytes[..filled];
            let end = buffer.record_end;
            let split = split(bytes, end, reading.skipping, ended, &mut buffer.spans);
            if split.consumed == 0 && !at_end && want < READ_BYTES {
                want = READ_BYTES;
                continue;
            }
            let unterminated = ended && split.consumed == filled && !bytes.ends_with(b"\n");
            reading.offset = at + split.consumed as u64;
            reading.skipping = split.skipping;
            reading.scanned =
                if at_end && !split.full { at + filled as u64 } else { reading.offset };
            self.stats.lines += buffer.spans.len() as u64;
            self.stats.bytes += split.consumed as u64;
            self.stats.over_long += split.cut;
            self.stats.skipped_bytes += split.skipped_bytes;
            self.stats.hole_bytes += split.hole_bytes;
            self.stats.unterminated += u64::from(unterminated && filled > 0);
            return Ok(Some(at));
        }
    }

    /// Lets go of a file that cannot be read, to find it again.
    fn release(&mut self) {
        if let Some(reading) = &self.reading {
            self.resume = Some(self.checkpoint_of(reading, reading.offset));
            self.reading = None;
        }
    }

    fn note(&mut self, error: &io::Error) {
        self.status = match error.kind() {
            io::ErrorKind::NotFound => Status::Missing,
            _ => {
                self.stats.read_errors += 1; // there are records of which nobody knows (L4)
                Status::Unreadable(error.to_string())
            }
        };
    }
}

#[cfg(test)]
mod tests;
