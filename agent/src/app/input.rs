//! What a source's records come from: one kind of input for each way that the configuration knows.
//!
//! An input is polled and read by the pipeline's thread alone. What it stores stands in the spool
//! behind the source's name: an input with one place has the name for itself, one with many adds a
//! slash and a part to it.

use std::{collections::BTreeMap, io, time::Instant};

use crate::{
    config::{self, SourceConfig, StartFrom},
    source::{
        Batch, Begin, CheckpointError, FileId, Files, Listener, Opening, Pattern, ReadBuffer,
        Status, Tail, TailStats,
    },
    status::{FilesStatus, SourceStatus},
};

/// What is stored of all sources, by name.
pub(super) type Stored = BTreeMap<String, Vec<u8>>;

/// What the records come from.
#[derive(Debug)]
pub(super) enum Input {
    File(Place),
    Files(Files),
    Listener(Listener),
}

/// A file, and what of its place is stored.
#[derive(Debug)]
pub(super) struct Place {
    tail: Tail,
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
    /// Files that were gone before they were read to their end.
    pub(super) lost_files: u64,
}

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
                Self::File(Place { tail, stored: own.cloned(), offered: None, stored_offset })
            }
            config::Input::Files { pattern, from } => {
                let prefix = format!("{}/", config.name);
                let parts = stored.range(prefix.clone()..).map_while(|(name, value)| {
                    Some((name.strip_prefix(&prefix)?, value.as_slice()))
                });
                let opening = Opening { begin: begin(*from), ..opening };
                Self::Files(Files::open(pattern, others, own.map(Vec::as_slice), parts, opening)?)
            }
            config::Input::Udp(address) => Self::Listener(Listener::udp(*address)),
            config::Input::Tcp(address) => Self::Listener(Listener::tcp(*address)),
        })
    }

    /// Returns how it is.
    pub(super) fn status(&self) -> &Status {
        match self {
            Self::File(place) => place.tail.status(),
            Self::Files(files) => files.status(),
            Self::Listener(listener) => listener.status(),
        }
    }

    /// Returns whether there is something to read.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        match self {
            Self::File(place) => place.tail.poll(now),
            Self::Files(files) => files.poll(now),
            Self::Listener(listener) => listener.poll(now),
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
        match self {
            Self::File(place) => {
                place.tail.read_batch(buffer, bytes_max).map_err(|error| error.to_string())
            }
            Self::Files(files) => {
                files.read_batch(buffer, bytes_max).map_err(|error| error.to_string())
            }
            Self::Listener(listener) => {
                listener.read_batch(now, buffer).map_err(|error| error.to_string())
            }
        }
    }

    /// Returns whether records are read as they come, and nothing that lay about before.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Listener(_))
    }

    /// Returns the file whose lines were read last.
    pub(super) fn tail(&self) -> Option<&Tail> {
        match self {
            Self::File(place) => Some(&place.tail),
            Self::Files(files) => files.current(),
            Self::Listener(_) => None,
        }
    }

    /// Returns how many bytes were not looked at yet of the files that are open.
    pub(super) fn behind_bytes(&self) -> u64 {
        match self {
            Self::File(place) => place.tail.behind_bytes(),
            Self::Files(files) => files.behind_bytes(),
            Self::Listener(_) => 0,
        }
    }

    /// Returns which file the source has for itself, if one is open.
    pub(super) fn file_id(&self) -> Option<FileId> {
        match self {
            Self::File(place) => place.tail.file_id(),
            Self::Files(_) | Self::Listener(_) => None,
        }
    }

    /// Returns what the file whose lines were read last begins with; nothing where there is none.
    pub(super) fn head(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.tail().map_or_else(|| Ok(Vec::new()), |tail| tail.head(bytes_max))
    }

    /// Returns whether there is another place to be stored than the last.
    pub(super) fn has_changed(&self) -> bool {
        match self {
            Self::File(place) => {
                place.tail.checkpoint().is_some_and(|now| place.stored.as_ref() != Some(&now))
            }
            Self::Files(files) => files.has_changed(),
            Self::Listener(_) => false, // nothing can be read twice from a socket
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
            Self::File(place) => {
                let now = match end {
                    Some(end) => place.tail.checkpoint_at(end),
                    None => place.tail.checkpoint(),
                };
                place.offered = now.filter(|now| place.stored.as_ref() != Some(now));
                place.offered.iter().map(|now| (name.to_owned(), now.clone())).collect()
            }
            Self::Files(files) => {
                let changed = files.changed(end).into_iter();
                changed.map(|(part, value)| (format!("{name}/{part}"), value)).collect()
            }
            Self::Listener(_) => Vec::new(),
        }
    }

    /// Notes that what was to be stored is.
    pub(super) fn stored(&mut self) {
        match self {
            Self::File(place) => {
                if let Some(offered) = place.offered.take() {
                    place.stored = Some(offered);
                    place.stored_offset = place.tail.offset();
                }
            }
            Self::Files(files) => files.stored(),
            Self::Listener(_) => {}
        }
    }

    /// Returns what was lost.
    pub(super) fn losses(&self) -> Losses {
        let of_tails = |stats: TailStats| Losses { lost_files: stats.lost_files, dropped: 0 };
        match self {
            Self::File(place) => of_tails(place.tail.stats()),
            Self::Files(files) => of_tails(files.stats().tails),
            Self::Listener(listener) => Losses { dropped: listener.stats().dropped, lost_files: 0 },
        }
    }

    /// Returns what is shown of the input, in addition to what is shown of its source.
    pub(super) fn show(&self, status: SourceStatus) -> SourceStatus {
        match self {
            Self::File(place) => {
                let path = place.tail.path().to_owned();
                let offset = place.stored_offset;
                tail_status(place.tail.stats(), SourceStatus { path, offset, ..status })
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
                let stats = listener.stats();
                SourceStatus {
                    path: listener.to_string().into(),
                    records: stats.messages,
                    bytes: stats.bytes,
                    over_long: stats.over_long,
                    dropped: stats.dropped,
                    refused: stats.refused,
                    ..status
                }
            }
        }
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

fn begin(from: StartFrom) -> Begin {
    match from {
        StartFrom::Start => Begin::Start,
        StartFrom::End => Begin::End,
    }
}
