//! Follows Windows event log files (`.evtx`): logs that Windows goes on writing, and such as were put aside or
//! collected from other hosts.
//!
//! A file is read by a child of this program (`signalbox-agent events`), which gets it open and writes its events as
//! JSON lines: bytes that come from elsewhere and break a parser, or make it take all memory, end the child and not
//! the agent. An event's id in the log stands before its line, and the id of the last one handed out is the place to
//! go on behind, so nothing is lost or repeated between two starts (L3). One file is read at a time.
//!
//! # What happens to files
//! ```text
//! it was written to           it is read behind the last event that is known
//! the log was cleared         its newest event is older than that: it is read from its start
//! the log wrote over itself   events that were not read before are gone, and counted; the next ones are read
//! renamed                     a name that is new is a file that is new: it is read from its start, or, where the
//!                             agent begins with it and is told so, behind its newest event
//! events cannot be read       they are counted, and the rest is read
//! the child breaks off        what it wrote is taken; the file is read on when it is written to again
//! ```
//!
//! # Limits
//! [`EVENT_LOGS_MAX`] files are remembered.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use shared::wire::codec;

use super::{
    Batch, Begin, CheckpointError, ListenerStats, Pattern, ReadBuffer, Status,
    file::Facts,
    pipe::Pipe,
    veto,
    walk::{Step, Walk},
};
use crate::{
    evtx::{SOME_UNREADABLE, range},
    limits::{EVENT_LOGS_MAX, FILE_FORGET_AFTER, PATTERN_INTERVAL, PATTERN_STEP},
};

/// The program that reads a file: this one, also where it was replaced on disk since it was started.
pub const SELF: &str = "/proc/self/exe";

const VERSION: u8 = 1;
/// Parts in which places are stored, so that one file that is read does not write the places of all.
const PAGES: usize = 16;
/// Most bytes of what the program says about why it ended.
const REASON_BYTES_MAX: u64 = 300;

/// Which files are read, and by what.
#[derive(Clone, Debug)]
pub struct EvtxOptions {
    /// The program, which is called with `events --numbered --after ID` and the file as its standard input.
    pub program: PathBuf,
    /// The files.
    pub pattern: Pattern,
    /// Where to begin in those that are there when the agent first runs.
    pub begin: Begin,
}

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Id of the last event that was handed out.
    last: u64,
    /// Its length and when it was last written to, as of when it was last read to its end.
    read_as: (u64, i64),
    /// Since when nothing is at its path.
    gone_since: Option<Instant>,
    is_waiting: bool,
}

#[derive(Debug)]
struct Running {
    path: PathBuf,
    /// The file's length and time of the last write when it was opened.
    opened_as: (u64, i64),
    child: Child,
    output: ChildStdout,
    pipe: Pipe,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().is_ok() && self.child.wait().is_ok();
    }
}

/// The lines of a file that were handed out last.
#[derive(Debug, Default)]
struct LastBatch {
    path: PathBuf,
    /// Id of the last event before.
    before: u64,
    /// Of each, where its line ends, and its id.
    events: Vec<(u64, u64)>,
}

/// Follows event logs.
#[derive(Debug)]
pub struct Evtx {
    options: EvtxOptions,
    known: BTreeMap<PathBuf, Known>,
    waiting: VecDeque<PathBuf>,
    walk: Option<Walk>,
    walk_at: Option<Instant>,
    /// Whether nothing was looked at yet, ever.
    is_first_look: bool,
    running: Option<Running>,
    batch: LastBatch,
    /// By page: what is stored, and what the commit under way stores.
    stored: BTreeMap<usize, Vec<u8>>,
    offered: BTreeMap<usize, Vec<u8>>,
    has_changed: bool,
    status: Status,
    stats: ListenerStats,
    unread: u64,
    gone: u64,
    /// Files beyond the bound in the last look, and in the one under way.
    beyond: (u64, u64),
}

/// A place as it is stored: path, last event, length, time of the last write.
type Stored = (Vec<u8>, u64, u64, i64);

impl Evtx {
    /// Returns the follower of files, to go on from `stored`: what [`Self::changed`] returned, by part.
    ///
    /// # Errors
    /// Fails if a part is none, or one of a later version.
    pub fn open<'s>(
        options: EvtxOptions,
        stored: impl Iterator<Item = (&'s str, &'s [u8])>,
    ) -> Result<Self, CheckpointError> {
        let (mut known, mut pages) = (BTreeMap::new(), BTreeMap::new());
        for (part, bytes) in stored {
            let page = part.parse::<usize>().map_err(|_| CheckpointError::Malformed)?;
            for (path, last, len, modified_ns) in decode(bytes)? {
                let read_as = (len, modified_ns);
                known.insert(path_of(path), Known { last, read_as, ..Known::default() });
            }
            pages.insert(page, bytes.to_vec());
        }
        Ok(Self {
            options,
            known,
            waiting: VecDeque::new(),
            walk: None,
            walk_at: None,
            is_first_look: pages.is_empty(),
            running: None,
            batch: LastBatch::default(),
            stored: pages,
            offered: BTreeMap::new(),
            has_changed: false,
            status: Status::Missing,
            stats: ListenerStats::default(),
            unread: 0,
            gone: 0,
            beyond: (0, 0),
        })
    }

    /// Returns which files are read.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.options.pattern
    }

    /// Returns how it is.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns what was counted.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        self.stats
    }

    /// Returns how often events, or a whole file, could not be read.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Returns how many events the logs have let go of before they were read.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Returns how many files are known, wait for their turn, and are beyond the bound.
    #[must_use]
    pub fn files(&self) -> (u64, u64, u64) {
        (self.known.len() as u64, self.waiting.len() as u64, self.beyond.0)
    }

    /// Returns what has something to read when there is something to do, while a file is read.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.output.as_fd())
    }

    /// Looks for files that were written to, and has the next one read; returns whether there is something to read.
    pub fn poll(&mut self, now: Instant) -> bool {
        self.look(now);
        while self.running.is_none() {
            let Some(path) = self.waiting.pop_front() else { break };
            if let Some(known) = self.known.get_mut(&path) {
                known.is_waiting = false;
            }
            match self.start(&path) {
                Ok(running) => {
                    self.running = Some(running);
                    self.status = Status::Reading;
                }
                Err(error) => self.fail(&path, &error),
            }
        }
        self.running.as_ref().is_some_and(|running| running.pipe.is_ready(&running.output))
    }

    /// Reads events into `buffer`.
    ///
    /// # Errors
    /// Fails if the program's output cannot be read; the file is read again then.
    pub fn read_batch<'b>(&mut self, buffer: &'b mut ReadBuffer) -> io::Result<Batch<'b>> {
        let Some(running) = &mut self.running else { return Ok(Batch::EMPTY) };
        match running.pipe.read(&mut running.output, buffer) {
            Ok(split) => self.stats.over_long += split.cut,
            Err(error) => {
                let path = running.path.clone();
                self.running = None;
                self.fail(&path, &error.to_string());
                return Err(error);
            }
        }
        let known = self.known.entry(running.path.clone()).or_default();
        self.batch.path.clone_from(&running.path);
        self.batch.before = known.last;
        self.batch.events.clear();
        let events = &mut self.batch.events;
        buffer.cut_off(b'\t', |id, end| {
            if let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) {
                known.last = known.last.max(id);
            }
            events.push((end, known.last));
        });
        let batch = Batch::new(buffer, 0);
        self.has_changed |= !batch.is_empty();
        self.stats.count(&batch);
        if running.pipe.is_over() {
            self.end();
        }
        Ok(batch)
    }

    /// Returns whether there is something to be stored.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Returns the parts to be stored: behind all that was handed out, or up to `end` within the last batch.
    pub fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        self.offered.clear();
        if !self.has_changed && end.is_none() {
            return Vec::new();
        }
        let mut pages: Vec<Vec<Stored>> = vec![Vec::new(); PAGES];
        for (path, known) in &self.known {
            let (mut last, mut read_as) = (known.last, known.read_as);
            if let Some(end) = end.filter(|_| *path == self.batch.path) {
                let upto = self.batch.events.partition_point(|(at, _)| *at <= end);
                last = self.batch.events[..upto].last().map_or(self.batch.before, |(_, id)| *id);
                read_as = (0, 0);
            }
            let path = path.as_os_str().as_encoded_bytes();
            let (len, modified_ns) = read_as;
            pages[page_of(path)].push((path.to_vec(), last, len, modified_ns));
        }
        for (page, places) in pages.iter().enumerate() {
            let bytes = encode(places);
            let is_new = match self.stored.get(&page) {
                Some(stored) => *stored != bytes,
                // The first is always stored: it says that something was looked at.
                None => page == 0 || !places.is_empty(),
            };
            if is_new {
                self.offered.insert(page, bytes);
            }
        }
        self.has_changed = end.is_some();
        self.offered.iter().map(|(page, bytes)| (page.to_string(), bytes.clone())).collect()
    }

    /// Notes that what was to be stored is.
    pub fn stored(&mut self) {
        self.stored.append(&mut self.offered);
    }

    /// Goes on looking for files, a step at a time.
    fn look(&mut self, now: Instant) {
        if self.walk.is_none() {
            if self.walk_at.is_some_and(|at| now < at) {
                return;
            }
            self.walk = Some(Walk::new(Arc::new(self.options.pattern.clone())));
            self.beyond.1 = 0;
        }
        for _ in 0..PATTERN_STEP {
            let Some(walk) = &mut self.walk else { return };
            match walk.step() {
                Step::File(path) => self.found(path),
                Step::Nothing => {}
                Step::Unreadable(error) => self.status = Status::Unreadable(error.to_string()),
                Step::Done => {
                    self.walk = None;
                    self.walk_at = Some(now + PATTERN_INTERVAL);
                    self.finish_look(now);
                    return;
                }
            }
        }
    }

    /// Takes in that a file is there.
    fn found(&mut self, path: PathBuf) {
        let Ok(metadata) = std::fs::metadata(&path) else { return };
        if !metadata.is_file() {
            return;
        }
        let facts = Facts::of(&metadata);
        if !self.known.contains_key(&path) {
            if self.known.len() >= EVENT_LOGS_MAX {
                self.beyond.1 += 1;
                return;
            }
            let mut known = Known::default();
            if self.is_first_look && self.options.begin == Begin::End {
                // What cannot be read now is read from its start once it can.
                let range = veto::open(&path).ok().and_then(|mut file| range(&mut file).ok());
                if let Some(range) = range {
                    let last = range.map_or(0, |(_, newest)| newest);
                    known = Known { last, read_as: as_read(&facts), ..known };
                }
            }
            self.known.insert(path.clone(), known);
            self.has_changed = true;
        }
        let is_read_now = self.running.as_ref().is_some_and(|running| running.path == path);
        let Some(known) = self.known.get_mut(&path) else { return };
        known.gone_since = None;
        if known.read_as != as_read(&facts) && !known.is_waiting && !is_read_now {
            known.is_waiting = true;
            self.waiting.push_back(path);
        }
    }

    /// Forgets files that are gone for long.
    fn finish_look(&mut self, now: Instant) {
        self.beyond.0 = self.beyond.1;
        if self.is_first_look {
            (self.is_first_look, self.has_changed) = (false, true);
        }
        let before = self.known.len();
        self.known.retain(|path, known| {
            if path.exists() {
                return true;
            }
            let gone_since = *known.gone_since.get_or_insert(now);
            now.saturating_duration_since(gone_since) < FILE_FORGET_AFTER
        });
        self.has_changed |= self.known.len() < before;
        if self.known.is_empty() && self.status == Status::Reading {
            self.status = Status::Missing;
        }
        if !self.known.is_empty() && self.status == Status::Missing {
            self.status = Status::Reading;
        }
    }

    fn start(&mut self, path: &Path) -> Result<Running, String> {
        let text = |error: io::Error| error.to_string();
        let mut file = veto::open(path).map_err(text)?;
        let opened_as = as_read(&Facts::of(&file.metadata().map_err(text)?));
        let range = range(&mut file).map_err(|error| error.to_string())?;
        let (oldest, newest) = range.unwrap_or((0, 0));
        let known = self.known.entry(path.to_owned()).or_default();
        let path_shown = path.display();
        if newest < known.last {
            tracing::info!(path = %path_shown, "event log was cleared: it is read from its start");
            known.last = 0;
        } else if known.last > 0 && oldest > known.last + 1 {
            // Ids within a log have no gaps.
            let gone = oldest - known.last - 1;
            tracing::warn!(path = %path_shown, gone, "event log wrote over what was not read");
            self.gone += gone;
            known.last = oldest - 1;
        }
        let mut command = Command::new(&self.options.program);
        command.args(["events", "--numbered", "--after", &known.last.to_string()]);
        command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(text)?;
        let Some(output) = child.stdout.take() else {
            return Err("its events cannot be read".to_owned());
        };
        let pipe = Pipe::of_whole_lines();
        Ok(Running { path: path.to_owned(), opened_as, child, output, pipe })
    }

    /// Takes the program's end.
    fn end(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        let ended = running.child.wait();
        let mut said = Vec::new();
        if let Some(errors) = running.child.stderr.take() {
            // What cannot be read is missed in a message only.
            errors.take(REASON_BYTES_MAX).read_to_end(&mut said).unwrap_or_default();
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) if status.code() == Some(SOME_UNREADABLE.into()) => {
                self.unread += 1;
                tracing::warn!(path = %running.path.display(), said, "events cannot be read");
            }
            Ok(status) => {
                let reason = format!("reading it ended: {status}: {said}");
                self.fail(&running.path, reason.trim_end_matches([':', ' ']));
            }
            Err(error) => self.fail(&running.path, &error.to_string()),
        }
        if let Some(known) = self.known.get_mut(&running.path) {
            known.read_as = running.opened_as;
            self.has_changed = true;
        }
    }

    /// Notes that a file cannot be read; it is tried again when it was written to.
    fn fail(&mut self, path: &Path, reason: &str) {
        self.unread += 1;
        self.status = Status::Unreadable(format!("{}: {reason}", path.display()));
        if let (Some(known), Ok(metadata)) = (self.known.get_mut(path), std::fs::metadata(path)) {
            known.read_as = as_read(&Facts::of(&metadata));
        }
    }
}

fn as_read(facts: &Facts) -> (u64, i64) {
    (facts.len, facts.modified_ns)
}

fn page_of(path: &[u8]) -> usize {
    crc32c::crc32c(path) as usize % PAGES
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(bytes).into()
}

fn encode(places: &Vec<Stored>) -> Vec<u8> {
    let places = codec::encode(places).expect("bytes and numbers have an encoding");
    [&[VERSION], places.as_slice()].concat()
}

fn decode(bytes: &[u8]) -> Result<Vec<Stored>, CheckpointError> {
    match bytes {
        [VERSION, places @ ..] => codec::decode(places).map_err(|_| CheckpointError::Malformed),
        [] => Err(CheckpointError::Malformed),
        [other, ..] => Err(CheckpointError::Version(*other)),
    }
}
