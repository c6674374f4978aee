//! Follows the system's journal: `journalctl` reads it, and this reads what that writes, an entry a
//! line as JSON.
//!
//! By itself that program follows the entries since the last boot alone, so what was written before
//! one and not read yet would be passed over in silence. Only when it is to merge the journals of all
//! hosts it follows all entries; those of other hosts, where some are collected, are left out by what
//! their machine is.
//!
//! An entry's cursor stands in it, and the cursor of the last entry handed out is the place to go on
//! from, so nothing is lost or repeated between two starts (L3). The program is a child without a
//! thread; if it ends, it is started again behind the last entry.
//!
//! # What happens to it
//! ```text
//! first start, from the end    the newest entry is asked for, and only those after it are handed out
//! the program is not there     the status says so; it is tried again
//! the program ends             the status says why; it is started again behind the last entry
//! the place is gone            the journal was cleaned up further than it was read: that counts as a lost
//!                              file, since nobody says how many entries it was; reading goes on with
//!                              the oldest entry there is. The entry at the place is asked for before the
//!                              program follows, whatever conditions entries must meet by then
//! ```

#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::{
    io::{self, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use memchr::memmem;

#[cfg(unix)]
use super::Wake;
use super::{
    Batch, Begin, CheckpointError, Counts, Intake, ReadBuffer, Status,
    intake::Place,
    pipe::{Pipe, Polled, polled},
};
use crate::limits::{CURSOR_BYTES_MAX, OPEN_RETRY_INTERVAL};

/// The program that reads the journal.
pub const JOURNALCTL: &str = "journalctl";

const VERSION: u8 = 1;

/// The part that its place is stored as.
const CURSOR: &str = "cursor";

/// Most bytes of what the program says about why it ended.
const REASON_BYTES_MAX: u64 = 300;

/// Which entries are read, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The program.
    pub program: PathBuf,
    /// What entries must have, as `journalctl` takes it: `_SYSTEMD_UNIT=suricata.service`.
    pub matches: Vec<String>,
    /// Whose entries are read; those of all machines that are collected here, if nobody can tell which one this is.
    pub machine: Option<String>,
    /// Where to begin without a checkpoint.
    pub begin: Begin,
}

/// Begins the condition that entries are of a machine.
const OF_MACHINE: &str = "_MACHINE_ID=";

impl JournalOptions {
    /// Returns what entries must have: in each group of conditions also that they are of this machine, unless the group
    /// says of which they are to be.
    fn conditions(&self) -> Vec<String> {
        let mut conditions = Vec::new();
        for group in self.matches.split(|condition| condition == "+") {
            if !conditions.is_empty() {
                conditions.push("+".to_owned());
            }
            conditions.extend_from_slice(group);
            let says_of_which = group.iter().any(|condition| condition.starts_with(OF_MACHINE));
            let machine = self.machine.as_ref().filter(|_| !says_of_which);
            conditions.extend(machine.map(|machine| format!("{OF_MACHINE}{machine}")));
        }
        conditions
    }
}

/// What the program was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The newest entry, to go on behind it.
    FindEnd,
    /// The entry at the place: another comes where that is gone.
    FindPlace,
    /// All entries behind the place.
    Follow,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
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

/// Follows the journal.
#[derive(Debug)]
pub struct Journal {
    options: JournalOptions,
    running: Option<Running>,
    /// Of the last entry handed out.
    cursor: Option<Vec<u8>>,
    /// Of each entry of the last batch, with the entry's end.
    batch: Vec<(u64, Vec<u8>)>,
    /// Of the last entry before that batch.
    before: Option<Vec<u8>>,
    /// Whether the entry with the cursor was there when it was asked for.
    is_place_there: bool,
    place: Place,
    retry_at: Option<Instant>,
    status: Status,
    counts: Counts,
}

impl Journal {
    /// Returns the follower of the journal, to go on from `stored`: what [`Intake::changed`] returned, by part.
    ///
    /// # Errors
    /// Fails if its part is none, or one of a later version.
    pub fn open<'s>(
        options: JournalOptions,
        mut stored: impl Iterator<Item = (&'s str, &'s [u8])>,
    ) -> Result<Self, CheckpointError> {
        let checkpoint = stored.find(|(part, _)| *part == CURSOR).map(|(_, value)| value);
        let cursor = match checkpoint {
            None => None,
            Some([VERSION, cursor @ ..]) if is_cursor(cursor) => Some(cursor.to_vec()),
            Some([VERSION, ..] | []) => return Err(CheckpointError::Malformed),
            Some([other, ..]) => return Err(CheckpointError::Version(*other)),
        };
        Ok(Self {
            options,
            running: None,
            before: cursor.clone(),
            cursor,
            batch: Vec::new(),
            is_place_there: false,
            place: Place::new(checkpoint),
            retry_at: None,
            status: Status::Reading,
            counts: Counts::default(),
        })
    }

    /// Returns the checkpoint behind all that was handed out; none before the first entry is known.
    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.cursor.as_deref().map(encode)
    }

    /// Returns the checkpoint behind the entry of the last batch that ends at `end`.
    fn checkpoint_at(&self, end: u64) -> Option<Vec<u8>> {
        let upto = self.batch.partition_point(|(at, _)| *at <= end);
        let cursor = self.batch[..upto].last().map(|(_, cursor)| cursor).or(self.before.as_ref());
        cursor.map(|cursor| encode(cursor))
    }

    fn start(&self) -> io::Result<Running> {
        let mut command = Command::new(&self.options.program);
        command.args(["--quiet", "--no-pager", "--all", "--merge", "--output=json"]);
        let purpose = match (&self.cursor, self.options.begin) {
            (Some(cursor), _) if !self.is_place_there => {
                let cursor = String::from_utf8_lossy(cursor);
                command.arg("--lines=1").arg(format!("--cursor={cursor}"));
                Purpose::FindPlace
            }
            (Some(cursor), _) => {
                let cursor = String::from_utf8_lossy(cursor);
                command.args(["--follow", "--no-tail"]).arg(format!("--after-cursor={cursor}"));
                Purpose::Follow
            }
            (None, Begin::Start) => {
                command.args(["--follow", "--no-tail"]);
                Purpose::Follow
            }
            (None, Begin::End) => {
                command.arg("--lines=1");
                Purpose::FindEnd
            }
        };
        // The entry at the place need not meet what is asked for now.
        if purpose != Purpose::FindPlace {
            command.arg("--").args(self.options.conditions());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let Some(output) = child.stdout.take() else {
            return Err(io::Error::other("its output cannot be read"));
        };
        Ok(Running { purpose, child, output: polled(output)?, pipe: Pipe::of_whole_lines() })
    }

    /// Takes the program's end; it is started again by the next poll, or later.
    fn end(&mut self, purpose: Purpose) {
        let Some(mut running) = self.running.take() else { return };
        let ended = running.child.wait();
        let is_well = ended.as_ref().is_ok_and(std::process::ExitStatus::success);
        if purpose == Purpose::FindPlace && is_well {
            if !self.is_place_there {
                self.counts.lost_files += 1;
                self.is_place_there = true; // as far as it ever will be
                tracing::error!("the journal was cleaned up further than it was read");
            }
            self.retry_at = None;
            return;
        }
        self.is_place_there = false; // it may be cleaned up until the program runs again
        if purpose == Purpose::FindEnd && is_well {
            if self.cursor.is_none() {
                self.options.begin = Begin::Start; // there is no entry yet
            }
            self.retry_at = None;
            return;
        }
        let mut said = Vec::new();
        if let Some(errors) = running.child.stderr.take() {
            // What cannot be read is missed in a message only.
            errors.take(REASON_BYTES_MAX).read_to_end(&mut said).unwrap_or_default();
        }
        let said = String::from_utf8_lossy(&said);
        let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let program = self.options.program.display();
        let reason = format!("{program} ended: {ended}: {}", said.trim());
        self.status = Status::Unreadable(reason.trim_end_matches([':', ' ']).to_owned());
    }
}

impl Intake for Journal {
    fn label(&self) -> String {
        "journald".to_owned()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    /// Starts the program if it does not run.
    fn poll(&mut self, now: Instant) -> bool {
        if self.running.is_none() {
            if self.retry_at.is_some_and(|at| now < at) {
                return false;
            }
            self.retry_at = Some(now + OPEN_RETRY_INTERVAL);
            match self.start() {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    let program = self.options.program.display();
                    self.status = Status::Unreadable(format!("{program}: {error}"));
                }
            }
        }
        self.running.as_ref().is_some_and(|running| running.pipe.is_ready(&running.output))
    }

    #[cfg(unix)]
    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        self.running.iter().for_each(|running| wakes(Wake::Readable(running.output.as_fd())));
    }

    /// Where the program's output cannot be read, it is started again.
    fn read_batch<'b>(
        &mut self,
        _now: Instant,
        buffer: &'b mut ReadBuffer,
        _bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        self.before.clone_from(&self.cursor);
        self.batch.clear();
        let Some(running) = &mut self.running else { return Ok(Batch::EMPTY) };
        match running.pipe.read(&mut running.output, buffer) {
            Ok(split) if running.purpose == Purpose::Follow => self.counts.over_long += split.cut,
            Ok(_) => {}
            Err(error) => {
                self.running = None;
                self.status = Status::Unreadable(error.to_string());
                return Err(error);
            }
        }
        let (purpose, is_over) = (running.purpose, running.pipe.is_over());
        if is_over && purpose != Purpose::FindPlace {
            self.end(purpose);
        } else if !is_over {
            self.status = Status::Reading;
        }
        let batch = Batch::new(buffer, 0);
        if purpose == Purpose::FindPlace {
            let mut found = batch.lines().map(|line| cursor_of(line.bytes));
            self.is_place_there |= found.any(|found| found == self.cursor.as_deref());
            if is_over {
                self.end(purpose);
            }
            return Ok(Batch::EMPTY);
        }
        for line in batch.lines() {
            if let Some(cursor) = cursor_of(line.bytes) {
                self.batch.push((line.end, cursor.to_vec()));
            }
        }
        if let Some((_, cursor)) = self.batch.last() {
            self.cursor = Some(cursor.clone());
        }
        if purpose == Purpose::FindEnd {
            return Ok(Batch::EMPTY);
        }
        self.counts.count(&batch);
        Ok(batch)
    }

    fn has_changed(&self) -> bool {
        self.place.is_other(self.checkpoint().as_ref())
    }

    fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        let now = end.map_or_else(|| self.checkpoint(), |end| self.checkpoint_at(end));
        self.place.offer(CURSOR, now)
    }

    fn stored(&mut self) {
        self.place.settle();
    }
}

fn encode(cursor: &[u8]) -> Vec<u8> {
    [&[VERSION], cursor].concat()
}

/// Returns whether a text may be a cursor, and so may stand in the program's arguments.
fn is_cursor(text: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b';' | b'-');
    (1..=CURSOR_BYTES_MAX).contains(&text.len()) && text.iter().all(is_allowed)
}

/// Returns the cursor in an entry. No value can pretend to be it: quotes in values are escaped, and
/// the journal takes no field from others whose name begins like this one's.
fn cursor_of(entry: &[u8]) -> Option<&[u8]> {
    let behind = memmem::find(entry, b"\"__CURSOR\"")? + 10;
    let value = entry[behind..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', value)?;
    Some(&value[..end]).filter(|cursor| is_cursor(cursor))
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
