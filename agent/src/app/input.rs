//! What a source's records come from: one kind of input for each way that the configuration knows.
//!
//! An input is polled and read by the pipeline's thread alone. What it stores stands in the spool
//! behind the source's name: an input with one place has the name for itself, one with many adds a
//! slash and a part to it.

use std::{collections::BTreeMap, io, time::Instant};

use super::sleep::Watch;
use crate::{
    config::{self, SourceConfig, StartFrom},
    source::{
        Batch, Begin, CheckpointError, Evtx, EvtxOptions, FileId, Files, Http, JOURNALCTL, Journal,
        JournalOptions, Listener, ListenerStats, Opening, Pattern, ReadBuffer, SELF, Status, Stdin,
        Tail, TailStats,
    },
    status::{FilesStatus, SourceStatus},
    tls,
};

/// What is stored of all sources, by name.
pub(super) type Stored = BTreeMap<String, Vec<u8>>;

/// What the records come from.
#[derive(Debug)]
pub(super) enum Input {
    File(Tail, Place),
    Files(Files),
    Listener(Listener),
    Http(Http),
    Stdin(Stdin),
    Journal(Journal, Place),
    Evtx(Evtx),
}

/// What of an input's one place is stored.
#[derive(Debug, Default)]
pub(super) struct Place {
    stored: Option<Vec<u8>>,
    /// What the commit under way stores.
    offered: Option<Vec<u8>>,
    stored_offset: u64,
}

/// What an input counted as lost since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Datagrams that the system dropped.
    pub(super) dropped: u64,
    /// Records that the source let go of before they were read.
    pub(super) gone: u64,
    /// Files that were gone before they were read to their end.
    pub(super) lost_files: u64,
    /// Times that an open file could not be read, and files that are not read because there are too many.
    pub(super) unread: u64,
}

/// What the cursor of a journal is stored as, behind the source's name.
const CURSOR: &str = "/cursor";

impl Input {
    /// Opens a source's input where `stored` says; `others` are the paths of files that go before a
    /// pattern.
    ///
    /// # Errors
    /// Fails on something stored by a later version. What cannot be read yet is no error.
    pub(super) fn open(
        config: &SourceConfig,
        stored: &Stored,
        others: &[Pattern],
        opening: Opening,
    ) -> Result<Self, CheckpointError> {
        let own = stored.get(&config.name);
        Ok(match &config.input {
            config::Input::File { path, from } => {
                let checkpoint = own.map(Vec::as_slice);
                let tail = Tail::open(path, checkpoint, begin(*from))?;
                let stored_offset = tail.offset();
                let place = Place { stored: own.cloned(), offered: None, stored_offset };
                Self::File(tail, place)
            }
            config::Input::Files { pattern, from } => {
                let parts = parts(stored, &config.name);
                let opening = Opening { begin: begin(*from), ..opening };
                Self::Files(Files::open(pattern, others, own.map(Vec::as_slice), parts, opening)?)
            }
            config::Input::Udp(address) => Self::Listener(Listener::udp(*address)),
            config::Input::Tcp(address) => Self::Listener(Listener::tcp(*address)),
            config::Input::Tls { address, identity } => {
                let identity = identity.clone();
                let load = move || tls::listener(&identity).map_err(|error| error.to_string());
                Self::Listener(Listener::tls(*address, Box::new(load)))
            }
            config::Input::Http { address, token_file } => {
                Self::Http(Http::new(*address, token_file.clone()))
            }
            config::Input::Stdin => Self::Stdin(Stdin::open()),
            config::Input::Journal { matches, from } => {
                let cursor = stored.get(&format!("{}{CURSOR}", config.name));
                let (program, matches) = (JOURNALCTL.into(), matches.clone());
                let options = JournalOptions { program, matches, begin: begin(*from) };
                let journal = Journal::open(options, cursor.map(Vec::as_slice))?;
                Self::Journal(journal, Place { stored: cursor.cloned(), ..Place::default() })
            }
            config::Input::Evtx { pattern, from } => {
                let (program, pattern) = (SELF.into(), pattern.clone());
                let options = EvtxOptions { program, pattern, begin: begin(*from) };
                Self::Evtx(Evtx::open(options, parts(stored, &config.name))?)
            }
        })
    }

    /// Takes no more in; returns whether there is something to read all the same: what was taken in and cannot be read
    /// again.
    pub(super) fn end(&mut self) -> bool {
        let Self::Stdin(stdin) = self else { return false };
        stdin.end();
        stdin.poll()
    }

    /// Returns how it is.
    pub(super) fn status(&self) -> &Status {
        match self {
            Self::File(tail, _) => tail.status(),
            Self::Files(files) => files.status(),
            Self::Listener(listener) => listener.status(),
            Self::Http(http) => http.status(),
            Self::Stdin(stdin) => stdin.status(),
            Self::Journal(journal, _) => journal.status(),
            Self::Evtx(evtx) => evtx.status(),
        }
    }

    /// Returns whether there is something to read.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        match self {
            Self::File(tail, _) => tail.poll(now),
            Self::Files(files) => files.poll(now),
            Self::Listener(listener) => listener.poll(now),
            Self::Http(http) => http.poll(now),
            Self::Stdin(stdin) => stdin.poll(),
            Self::Journal(journal, _) => journal.poll(now),
            Self::Evtx(evtx) => evtx.poll(now),
        }
    }

    /// Adds what wakes the pipeline when there is something to read.
    pub(super) fn watch<'i>(&'i self, watch: &mut Watch<'i>) {
        match self {
            Self::File(tail, _) => watch.file(tail.path()),
            Self::Files(files) => files.open_paths().for_each(|path| watch.file(path)),
            Self::Listener(listener) => listener.fds().for_each(|fd| watch.readable(fd)),
            Self::Http(http) => http.fds().for_each(|fd| watch.readable(fd)),
            Self::Stdin(stdin) => stdin.fd().into_iter().for_each(|fd| watch.readable(fd)),
            Self::Journal(journal, _) => {
                journal.fd().into_iter().for_each(|fd| watch.readable(fd));
            }
            Self::Evtx(evtx) => evtx.fd().into_iter().for_each(|fd| watch.readable(fd)),
        }
    }

    /// Reads records.
    ///
    /// # Errors
    /// Says why it cannot be read now; the input stays usable.
    pub(super) fn read<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> Result<Batch<'b>, String> {
        let text = |error: io::Error| error.to_string();
        match self {
            Self::File(tail, _) => tail.read_batch(buffer, bytes_max).map_err(|e| e.to_string()),
            Self::Files(files) => files.read_batch(buffer, bytes_max).map_err(|e| e.to_string()),
            Self::Listener(listener) => listener.read_batch(now, buffer).map_err(text),
            Self::Http(http) => Ok(http.read_batch(buffer)),
            Self::Stdin(stdin) => stdin.read_batch(buffer).map_err(text),
            Self::Journal(journal, _) => journal.read_batch(buffer).map_err(text),
            Self::Evtx(evtx) => evtx.read_batch(buffer).map_err(text),
        }
    }

    /// Returns whether records are read as they come, and nothing that lay about before.
    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Listener(_) | Self::Http(_) => true,
            // Whoever writes to the standard input, or to the journal, may have done so long ago.
            Self::File(..) | Self::Files(_) | Self::Evtx(_) => false,
            Self::Stdin(_) | Self::Journal(..) => false,
        }
    }

    /// Returns the file whose lines were read last.
    pub(super) fn tail(&self) -> Option<&Tail> {
        match self {
            Self::File(tail, _) => Some(tail),
            Self::Files(files) => files.current(),
            Self::Listener(_) | Self::Http(_) => None,
            Self::Stdin(_) | Self::Journal(..) | Self::Evtx(_) => None,
        }
    }

    /// Returns how many bytes were not looked at yet of the files that are open.
    pub(super) fn behind_bytes(&self) -> u64 {
        match self {
            Self::File(tail, _) => tail.behind_bytes(),
            Self::Files(files) => files.behind_bytes(),
            Self::Listener(_) | Self::Http(_) => 0,
            Self::Stdin(_) | Self::Journal(..) | Self::Evtx(_) => 0,
        }
    }

    /// Returns which file the source has for itself, if one is open.
    pub(super) fn file_id(&self) -> Option<FileId> {
        if let Self::File(tail, _) = self { tail.file_id() } else { None }
    }

    /// Returns what the file whose lines were read last begins with; nothing where there is none.
    pub(super) fn head(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.tail().map_or_else(|| Ok(Vec::new()), |tail| tail.head(bytes_max))
    }

    /// Returns whether there is another place to be stored than the last.
    pub(super) fn has_changed(&self) -> bool {
        match self {
            Self::File(tail, place) => place.is_other(tail.checkpoint()),
            Self::Files(files) => files.has_changed(),
            Self::Journal(journal, place) => place.is_other(journal.checkpoint()),
            Self::Evtx(evtx) => evtx.has_changed(),
            // What came cannot be read again.
            Self::Http(_) | Self::Listener(_) | Self::Stdin(_) => false,
        }
    }

    /// Returns whether a sender waits until what it sent is durable.
    pub(super) fn awaits_commit(&self) -> bool {
        matches!(self, Self::Http(http) if http.awaits_commit())
    }

    /// Has senders know that nothing is taken now, where there is a way to.
    pub(super) fn refuse(&mut self, now: Instant) {
        if let Self::Http(http) = self {
            http.refuse(now);
        }
    }

    /// Returns whether so much changed that it is to be stored before more is read.
    pub(super) fn needs_commit(&self) -> bool {
        matches!(self, Self::Files(files) if files.is_full())
    }

    /// Returns what is to be stored of the source of this name: up to `end` within the last batch,
    /// or behind all that was read.
    pub(super) fn changed(&mut self, name: &str, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        match self {
            Self::File(tail, place) => {
                let now = end.map_or_else(|| tail.checkpoint(), |end| tail.checkpoint_at(end));
                place.offer(now).map(|now| (name.to_owned(), now)).into_iter().collect()
            }
            Self::Files(files) => {
                let changed = files.changed(end).into_iter();
                changed.map(|(part, value)| (format!("{name}/{part}"), value)).collect()
            }
            Self::Evtx(evtx) => {
                let changed = evtx.changed(end).into_iter();
                changed.map(|(part, value)| (format!("{name}/{part}"), value)).collect()
            }
            Self::Journal(journal, place) => {
                let now =
                    end.map_or_else(|| journal.checkpoint(), |end| journal.checkpoint_at(end));
                place.offer(now).map(|now| (format!("{name}{CURSOR}"), now)).into_iter().collect()
            }
            Self::Http(http) => {
                http.cover(end);
                Vec::new()
            }
            Self::Listener(_) | Self::Stdin(_) => Vec::new(),
        }
    }

    /// Notes that what was to be stored is.
    pub(super) fn stored(&mut self) {
        match self {
            Self::File(tail, place) => {
                if place.settle() {
                    place.stored_offset = tail.offset();
                }
            }
            Self::Files(files) => files.stored(),
            Self::Evtx(evtx) => evtx.stored(),
            Self::Http(http) => http.stored(),
            Self::Journal(_, place) => {
                place.settle();
            }
            Self::Listener(_) | Self::Stdin(_) => {}
        }
    }

    /// Returns what was lost.
    pub(super) fn losses(&self) -> Losses {
        let of_tails = |stats: TailStats, beyond| {
            let unread = stats.read_errors + beyond;
            Losses { lost_files: stats.lost_files, unread, ..Losses::default() }
        };
        match self {
            Self::File(tail, _) => of_tails(tail.stats(), 0),
            Self::Files(files) => of_tails(files.stats().tails, files.stats().beyond),
            Self::Listener(listener) => {
                Losses { dropped: listener.stats().dropped, ..Losses::default() }
            }
            Self::Evtx(evtx) => {
                let (_, _, beyond) = evtx.files();
                let unread = evtx.unread() + beyond;
                Losses { unread, gone: evtx.gone(), ..Losses::default() }
            }
            Self::Http(_) | Self::Stdin(_) | Self::Journal(..) => Losses::default(),
        }
    }

    /// Returns what is shown of the input, in addition to what is shown of its source.
    pub(super) fn show(&self, status: SourceStatus) -> SourceStatus {
        match self {
            Self::File(tail, place) => {
                let (path, offset) = (tail.path().to_owned(), place.stored_offset);
                tail_status(tail.stats(), SourceStatus { path, offset, ..status })
            }
            Self::Files(files) => {
                let stats = files.stats();
                let shown = FilesStatus {
                    known: stats.known as u64,
                    open: stats.open as u64,
                    waiting: stats.waiting as u64,
                    beyond: stats.beyond,
                    same: stats.same,
                    compressed: stats.compressed,
                };
                let path = files.pattern().to_string().into();
                tail_status(stats.tails, SourceStatus { path, files: Some(shown), ..status })
            }
            Self::Listener(listener) => {
                let path = listener.to_string().into();
                listener_status(listener.stats(), SourceStatus { path, ..status })
            }
            Self::Http(http) => {
                let path = http.to_string().into();
                listener_status(http.stats(), SourceStatus { path, ..status })
            }
            Self::Stdin(stdin) => {
                listener_status(stdin.stats(), SourceStatus { path: "stdin".into(), ..status })
            }
            Self::Evtx(evtx) => {
                let (known, waiting, beyond) = evtx.files();
                let open = u64::from(evtx.fd().is_some());
                let files = FilesStatus { known, open, waiting, beyond, ..FilesStatus::default() };
                let path = evtx.pattern().to_string().into();
                let gone = evtx.gone();
                let status = SourceStatus { path, files: Some(files), gone, ..status };
                listener_status(evtx.stats(), status)
            }
            Self::Journal(journal, _) => {
                listener_status(journal.stats(), SourceStatus { path: "journald".into(), ..status })
            }
        }
    }
}

impl Place {
    fn is_other(&self, now: Option<Vec<u8>>) -> bool {
        now.is_some_and(|now| self.stored.as_ref() != Some(&now))
    }

    /// Returns the place if it is another than the stored one, to be stored.
    fn offer(&mut self, now: Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.offered = now.filter(|now| self.stored.as_ref() != Some(now));
        self.offered.clone()
    }

    /// Notes that what was offered is stored; returns whether there was something.
    fn settle(&mut self) -> bool {
        let Some(offered) = self.offered.take() else { return false };
        self.stored = Some(offered);
        true
    }
}

fn tail_status(stats: TailStats, status: SourceStatus) -> SourceStatus {
    SourceStatus {
        records: stats.lines,
        bytes: stats.bytes,
        over_long: stats.over_long,
        rotated: stats.rotated,
        truncated: stats.truncated,
        lost_files: stats.lost_files,
        ..status
    }
}

fn listener_status(stats: ListenerStats, status: SourceStatus) -> SourceStatus {
    SourceStatus {
        records: stats.messages,
        bytes: stats.bytes,
        over_long: stats.over_long,
        dropped: stats.dropped,
        refused: stats.refused,
        ..status
    }
}

/// Returns the parts in which something is stored of the source of this name.
fn parts<'s>(stored: &'s Stored, name: &str) -> impl Iterator<Item = (&'s str, &'s [u8])> {
    let prefix = format!("{name}/");
    let from = stored.range(prefix.clone()..);
    from.map_while(move |(name, value)| Some((name.strip_prefix(&prefix)?, value.as_slice())))
}

fn begin(from: StartFrom) -> Begin {
    match from {
        StartFrom::Start => Begin::Start,
        StartFrom::End => Begin::End,
    }
}
