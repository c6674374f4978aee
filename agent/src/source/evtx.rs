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
//! it is being copied          it may look like either for a moment: that is believed once it stays so, or for long
//! renamed                     a name that is new is a file that is new: it is read from its start, or, where the
//!                             agent begins with it and is told so, behind its newest event
//! no event log                it is looked at again when it was written to
//! events cannot be read       they are counted, and the rest is read
//! it cannot be opened, or     it is tried again after a while
//! the child was stopped, or
//! says why it ends
//! the child breaks off        what it wrote is taken, and it is tried again behind that; where it breaks off a second
//!                             time at the same place, the chunk is passed over and its events are counted as gone
//! ```
//! Not seen: a log that was put in another's place, or cleared and filled again to more events than were read, between
//! two looks.
//!
//! # Limits
//! [`EVENT_LOGS_MAX`] files are remembered, and such whose paths are at most [`EVENT_LOG_PATH_BYTES_MAX`] long.

#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::{
    collections::{BTreeMap, VecDeque},
    fs::Metadata,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Instant,
};

use shared::wire::codec;

#[cfg(unix)]
use super::Wake;
use super::{
    Batch, Begin, CheckpointError, Counts, FilesStats, Intake, Pattern, ReadBuffer, RecordEnd,
    Status,
    file::modified_ns,
    pipe::{Pipe, Polled, polled},
    veto,
    walk::{Step, Walk},
};
use crate::{
    evtx::{EventsError, SOME_UNREADABLE, end_of_chunk_behind, range},
    limits::{
        EVENT_LOG_PATH_BYTES_MAX, EVENT_LOGS_MAX, FILE_FORGET_AFTER, OPEN_RETRY_INTERVAL,
        PATTERN_INTERVAL, PATTERN_STEP,
    },
};

const VERSION: u8 = 1;
/// Parts in which places are stored, so that one file that is read does not write the places of all.
const PAGES: usize = 16;
/// Before the number of a part that is stored: other kinds of sources have other parts.
const PART: &str = "log-";
/// Looks after which what a file seems to say is believed although it is written to all the time: longer than a copy
/// takes.
const UNSETTLED_LOOKS_MAX: u32 = 30;
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

/// A file's length and when it was last written to.
type Look = (u64, i64);

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Id of the last event that was handed out.
    last: u64,
    /// As of when it was last read to its end.
    read_as: Look,
    /// As of the last look, and whether it was so at the one before.
    seen_as: Look,
    is_settled: bool,
    /// How often what it seems to say was not believed.
    put_off: u32,
    /// Whether it is begun with behind its newest event.
    begins_at_end: bool,
    /// Why it is not read, and until when that is so.
    held_off: Option<(HeldOff, String)>,
    /// Behind which event the program broke off last.
    broke_behind: Option<u64>,
    /// Since when nothing is at its path.
    gone_since: Option<Instant>,
    is_waiting: bool,
}

/// Until when a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldOff {
    Until(Instant),
    /// While it is as it was then.
    While(Look),
}

/// What came of a file's turn.
enum Turn {
    Started(Box<Running>),
    /// Nothing of it is to be read now.
    Nothing,
}

#[derive(Debug)]
struct Running {
    path: PathBuf,
    opened_as: Look,
    /// The last event known when it was started.
    began_behind: u64,
    child: Child,
    output: Polled<ChildStdout>,
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
    /// Why a folder could not be looked through, in the look under way.
    look_error: Option<String>,
    polled_at: Option<Instant>,
    counts: Counts,
    /// Files beyond the bound in the last look, and in the one under way.
    beyond: (u64, u64),
}

/// A place as it is stored: path, last event, length, time of the last write.
type Stored = (Vec<u8>, u64, u64, i64);

impl Evtx {
    /// Returns the follower of files, to go on from `stored`: what [`Intake::changed`] returned, by part.
    ///
    /// # Errors
    /// Fails if a part is none, or one of a later version.
    pub fn open<'s>(
        options: EvtxOptions,
        stored: impl Iterator<Item = (&'s str, &'s [u8])>,
    ) -> Result<Self, CheckpointError> {
        let (mut known, mut pages) = (BTreeMap::new(), BTreeMap::new());
        for (part, bytes) in stored {
            // Other parts are of another kind of source that had this name.
            let page = part.strip_prefix(PART).and_then(|page| page.parse::<usize>().ok());
            let Some(page) = page else { continue };
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
            look_error: None,
            polled_at: None,
            counts: Counts::default(),
            beyond: (0, 0),
        })
    }

    /// Returns whether a file is read at the moment.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.running.is_some()
    }

    fn take_turn(&mut self, path: &Path, now: Instant) {
        let Some(known) = self.known.get_mut(path) else { return };
        known.is_waiting = false;
        match start(&self.options.program, path, known) {
            Ok((turn, gone)) => {
                self.counts.gone += gone;
                self.has_changed = true;
                if let Turn::Started(running) = turn {
                    self.running = Some(*running);
                    self.status = Status::Reading;
                }
            }
            Err(error) => {
                // Once it can be read, it is from its start: the others do not wait for that.
                known.begins_at_end = false;
                let seen_as = known.seen_as;
                let held_off = match &error {
                    EventsError::Io(_) => HeldOff::Until(now + OPEN_RETRY_INTERVAL),
                    EventsError::NoLog | EventsError::TooLarge => HeldOff::While(seen_as),
                };
                self.hold_off(path, held_off, &error.to_string());
            }
        }
    }

    /// Goes on looking for files, a step at a time.
    fn look(&mut self, now: Instant) {
        if self.walk.is_none() {
            if self.walk_at.is_some_and(|at| now < at) {
                return;
            }
            self.walk = Some(Walk::new(Arc::new(self.options.pattern.clone())));
            self.beyond.1 = 0;
            self.look_error = None;
        }
        for _ in 0..PATTERN_STEP {
            let Some(walk) = &mut self.walk else { return };
            match walk.step() {
                Step::File(path) => self.found(path, now),
                Step::Nothing => {}
                Step::Unreadable(error) => self.look_error = Some(error.to_string()),
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
    fn found(&mut self, path: PathBuf, now: Instant) {
        let Ok(metadata) = std::fs::metadata(&path) else { return };
        if !metadata.is_file() {
            return;
        }
        let seen_as = look_of(&metadata);
        if !self.known.contains_key(&path) {
            let is_long = path.as_os_str().len() > EVENT_LOG_PATH_BYTES_MAX;
            if is_long || self.known.len() >= EVENT_LOGS_MAX {
                self.beyond.1 += 1;
                return;
            }
            let begins_at_end = self.is_first_look && self.options.begin == Begin::End;
            self.known.insert(path.clone(), Known { begins_at_end, ..Known::default() });
            self.has_changed = true;
        }
        let is_read_now = self.running.as_ref().is_some_and(|running| running.path == path);
        let Some(known) = self.known.get_mut(&path) else { return };
        known.gone_since = None;
        known.is_settled = known.seen_as == seen_as;
        known.seen_as = seen_as;
        let is_held_off = match &known.held_off {
            Some((HeldOff::Until(at), _)) => now < *at,
            Some((HeldOff::While(look), _)) => *look == seen_as,
            None => false,
        };
        let is_new = known.read_as != seen_as || known.begins_at_end;
        if is_new && !is_held_off && !known.is_waiting && !is_read_now {
            known.is_waiting = true;
            self.waiting.push_back(path);
        }
    }

    /// Forgets files that are gone for long, and says how it is.
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
        let mut held_off = self.known.iter().filter_map(|(path, known)| {
            let (_, reason) = known.held_off.as_ref().filter(|_| known.gone_since.is_none())?;
            Some(format!("{}: {reason}", path.display()))
        });
        self.status = match held_off.next().or_else(|| self.look_error.clone()) {
            Some(reason) => Status::Unreadable(reason),
            None if self.known.values().all(|known| known.gone_since.is_some()) => Status::Missing,
            None => Status::Reading,
        };
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
        let code = ended.as_ref().ok().and_then(ExitStatus::code);
        if code == Some(0) || code == Some(SOME_UNREADABLE.into()) {
            if code != Some(0) {
                self.counts.unread += 1;
                tracing::warn!(path = %running.path.display(), said, "events cannot be read");
            }
            if let Some(known) = self.known.get_mut(&running.path) {
                known.read_as = running.opened_as;
                (known.held_off, known.broke_behind) = (None, None);
                self.has_changed = true;
            }
            return;
        }
        if ended.as_ref().is_ok_and(|status| has_broken(*status)) {
            self.pass_over_what_breaks(&running);
        }
        let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let reason = format!("reading it ended: {ended}: {said}");
        let until = self.polled_at.map(|now| HeldOff::Until(now + OPEN_RETRY_INTERVAL));
        if let Some(until) = until {
            self.hold_off(&running.path, until, reason.trim_end_matches([':', ' ']));
        }
    }

    /// Where the program broke off a second time at the same place, goes on behind the chunk that it broke off in.
    fn pass_over_what_breaks(&mut self, running: &Running) {
        let Some(known) = self.known.get_mut(&running.path) else { return };
        let is_again = known.broke_behind == Some(known.last) && running.began_behind == known.last;
        known.broke_behind = Some(known.last);
        if !is_again {
            return;
        }
        let opened = veto::open(&running.path);
        let end = opened
            .map_err(EventsError::Io)
            .and_then(|mut file| end_of_chunk_behind(&mut file, known.last));
        if let Ok(Some(end)) = end {
            self.counts.gone += end - known.last;
            (known.last, known.broke_behind) = (end, None);
            self.has_changed = true;
        }
    }

    /// Notes that a file cannot be read, and until when it is not tried again.
    fn hold_off(&mut self, path: &Path, until: HeldOff, reason: &str) {
        self.counts.unread += 1;
        self.status = Status::Unreadable(format!("{}: {reason}", path.display()));
        if let Some(known) = self.known.get_mut(path) {
            known.held_off = Some((until, reason.to_owned()));
        }
    }
}

impl Intake for Evtx {
    fn label(&self) -> String {
        self.options.pattern.to_string()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn counts(&self) -> Counts {
        Counts { unread: self.counts.unread + self.beyond.0, ..self.counts }
    }

    fn files(&self) -> Option<FilesStats> {
        Some(FilesStats {
            known: self.known.len(),
            open: self.running.iter().len(),
            waiting: self.waiting.len(),
            beyond: self.beyond.0,
            ..FilesStats::default()
        })
    }

    /// Looks for files that were written to, and has the next one read.
    fn poll(&mut self, now: Instant) -> bool {
        self.polled_at = Some(now);
        self.look(now);
        if self.running.is_none()
            && !(self.is_first_look && self.walk.is_some())
            && let Some(path) = self.waiting.pop_front()
        {
            self.take_turn(&path, now);
        }
        match &self.running {
            Some(running) => running.pipe.is_ready(&running.output),
            None => !self.waiting.is_empty() || self.is_first_look && self.walk.is_some(),
        }
    }

    #[cfg(unix)]
    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        self.running.iter().for_each(|running| wakes(Wake::Readable(running.output.as_fd())));
    }

    /// Where the program's output cannot be read, the file is read again.
    fn read_batch<'b>(
        &mut self,
        _now: Instant,
        buffer: &'b mut ReadBuffer,
        _bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        let Some(running) = &mut self.running else { return Ok(Batch::EMPTY) };
        buffer.expect(RecordEnd::Line); // the program writes one event a line
        match running.pipe.read(&mut running.output, buffer) {
            Ok(split) => self.counts.over_long += split.cut,
            Err(error) => {
                self.end();
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
        self.counts.count(&batch);
        if running.pipe.is_over() {
            self.end();
        }
        Ok(batch)
    }

    fn has_changed(&self) -> bool {
        self.has_changed
    }

    fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        self.offered.clear();
        // Where it begins is stored whole, or not at all.
        let is_beginning = self.is_first_look || self.known.values().any(|it| it.begins_at_end);
        if is_beginning || !self.has_changed && end.is_none() {
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
        let part = |(page, bytes): (&usize, &Vec<u8>)| (format!("{PART}{page}"), bytes.clone());
        self.offered.iter().map(part).collect()
    }

    fn stored(&mut self) {
        self.stored.append(&mut self.offered);
    }
}

/// Returns whether the program broke at what it read: it panicked, or the system ended it. One that says what is wrong
/// and ends, or that is told to, would do so at any place.
fn has_broken(status: ExitStatus) -> bool {
    const PANICKED: i32 = 101;
    is_killed(status) || status.code() == Some(PANICKED)
}

/// Returns whether it died of a signal that is none to stop it.
#[cfg(unix)]
fn is_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;

    use rustix::process::Signal;
    let stops = [Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    status.signal().is_some_and(|signal| !stops.contains(&signal))
}

/// Returns whether it ended with an error of the system's that is not Ctrl-C: those are negative.
#[cfg(not(unix))]
fn is_killed(status: ExitStatus) -> bool {
    /// `STATUS_CONTROL_C_EXIT`.
    const STOPPED: i32 = 0xC000_013A_u32.cast_signed();
    status.code().is_some_and(|code| code < 0 && code != STOPPED)
}

/// Has the program read a file behind the last event that is known; also returns how many events are gone that were not
/// read.
fn start(program: &Path, path: &Path, known: &mut Known) -> Result<(Turn, u64), EventsError> {
    let mut file = veto::open(path)?;
    let opened_as = look_of(&file.metadata()?);
    let range = range(&mut file)?;
    if known.begins_at_end {
        known.last = range.map_or(0, |(_, newest)| newest);
        (known.read_as, known.begins_at_end) = (opened_as, false);
        return Ok((Turn::Nothing, 0));
    }
    let Some((oldest, newest)) = range else {
        known.read_as = opened_as;
        return Ok((Turn::Nothing, 0));
    };
    let is_cleared = newest < known.last;
    let is_overtaken = known.last > 0 && oldest > known.last + 1;
    let is_sure = known.is_settled && known.seen_as == opened_as;
    if (is_cleared || is_overtaken) && !is_sure && known.put_off < UNSETTLED_LOOKS_MAX {
        known.put_off += 1;
        return Ok((Turn::Nothing, 0));
    }
    known.put_off = 0;
    let mut gone = 0;
    if is_cleared {
        tracing::info!(path = %path.display(), "event log was cleared: it is read from its start");
        known.last = 0;
    } else if is_overtaken {
        gone = oldest - known.last - 1; // ids within a log have no gaps
        tracing::warn!(path = %path.display(), gone, "event log wrote over what was not read");
        known.last = oldest - 1;
    }
    let mut command = Command::new(program);
    command.args(["events", "--numbered", "--after", &known.last.to_string()]);
    command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let Some(output) = child.stdout.take() else {
        return Err(io::Error::other("its events cannot be read").into());
    };
    let output = polled(output)?;
    let (path, began_behind, pipe) = (path.to_owned(), known.last, Pipe::of_whole_lines());
    let running = Running { path, opened_as, began_behind, child, output, pipe };
    Ok((Turn::Started(Box::new(running)), gone))
}

fn look_of(metadata: &Metadata) -> Look {
    (metadata.len(), modified_ns(metadata))
}

fn page_of(path: &[u8]) -> usize {
    crc32c::crc32c(path) as usize % PAGES
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(bytes).into()
}

/// A path that is no Unicode is not known again: its file is a new one.
#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
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
