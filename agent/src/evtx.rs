//! The events of a Windows event log file (`.evtx`) as JSON lines.
//!
//! A file is a header and chunks of 64 KiB, each with the events of a range of ids. A log that has reached its largest
//! size is written over from its start, so chunks are read in the order of their ids and not of their places. What an
//! event says is told by the `evtx` crate, a chunk at a time; which chunks there are is read here.
//!
//! The format is Microsoft's; it is described in MS-EVEN6 and by libevtx. Bytes may come from anywhere: what cannot be
//! read is counted, and the rest is read.
//!
//! Not here: who asks, and from which event on (see [`crate::source`]).

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use evtx::{EvtxChunkData, ParserSettings};
use thiserror::Error;

/// What a program exits with that has read all but some events.
pub const SOME_UNREADABLE: u8 = 3;

/// What a file begins with.
const FILE_MAGIC: &[u8; 8] = b"ElfFile\0";
/// What a chunk begins with.
const CHUNK_MAGIC: &[u8; 8] = b"ElfChnk\0";
/// Bytes before the first chunk.
const HEADER_BYTES: u64 = 4096;
/// Bytes of a chunk.
const CHUNK_BYTES: u64 = 64 << 10;
/// Bytes of a chunk's beginning up to the id of its last event.
const CHUNK_HEAD_BYTES: usize = 40;

/// Why a file is no event log, or cannot be read.
#[derive(Debug, Error)]
pub enum EventsError {
    /// It begins otherwise.
    #[error("it is no Windows event log (.evtx): it does not begin like one")]
    NoLog,
    /// The system does not read it, or does not take what is written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Events that were written.
    pub events: u64,
    /// Events, or chunks of which nothing can be read.
    pub unreadable: u64,
    /// Why the first of those cannot be read.
    pub reason: Option<String>,
}

impl Found {
    fn note(&mut self, error: &dyn std::fmt::Display) {
        self.unreadable += 1;
        self.reason.get_or_insert_with(|| error.to_string());
    }
}

/// Where a chunk is, and which events it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    first: u64,
    last: u64,
    at: u64,
}

/// Returns the ids of the oldest and of the newest event in a file, if it has any.
///
/// # Errors
/// See [`EventsError`].
pub fn range(file: &mut (impl Read + Seek)) -> Result<Option<(u64, u64)>, EventsError> {
    let chunks = chunks(file)?;
    let oldest = chunks.iter().map(|chunk| chunk.first).min();
    Ok(oldest.zip(chunks.iter().map(|chunk| chunk.last).max()))
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Each as JSON on a line of its own.
    Json,
    /// So, with its id in the log and a tab before. The id that stands in the event is another where the log has events
    /// that other hosts have forwarded.
    Numbered,
}

/// Writes the events behind the one with the id `after`, the oldest first.
///
/// # Errors
/// See [`EventsError`]. Events that cannot be read are no error but counted.
pub fn write_events(
    file: &mut (impl Read + Seek),
    after: u64,
    form: Form,
    out: &mut impl Write,
) -> Result<Found, EventsError> {
    let mut places = chunks(file)?;
    places.sort_unstable();
    let settings = Arc::new(ParserSettings::new().num_threads(1).indent(false));
    let mut found = Found::default();
    for place in places.iter().filter(|place| place.last > after) {
        file.seek(SeekFrom::Start(place.at))?;
        let mut bytes = Vec::new();
        file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        bytes.resize(CHUNK_BYTES as usize, 0);
        // The log may be in use: sums of a chunk that is being written are none yet.
        let chunk = EvtxChunkData::new(bytes, false);
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                found.note(&error);
                continue;
            }
        };
        let mut chunk = match chunk.parse(Arc::clone(&settings)) {
            Ok(chunk) => chunk,
            Err(error) => {
                found.note(&error);
                continue;
            }
        };
        for event in chunk.iter() {
            match event.map(|event| (event.event_record_id, event)) {
                Ok((id, _)) if id <= after => {}
                Ok((_, event)) => match event.into_json() {
                    Ok(event) => {
                        if form == Form::Numbered {
                            write!(out, "{}\t", event.event_record_id)?;
                        }
                        writeln!(out, "{}", event.data)?;
                        found.events += 1;
                    }
                    Err(error) => found.note(&error),
                },
                Err(error) => found.note(&error),
            }
        }
    }
    Ok(found)
}

/// Returns where a file's chunks are that have events.
fn chunks(file: &mut (impl Read + Seek)) -> Result<Vec<Place>, EventsError> {
    file.seek(SeekFrom::Start(0))?;
    let mut magic = [0; 8];
    if read_full(file, &mut magic)? < magic.len() || magic != *FILE_MAGIC {
        return Err(EventsError::NoLog);
    }
    let (mut places, mut at) = (Vec::new(), HEADER_BYTES);
    loop {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; CHUNK_HEAD_BYTES];
        if read_full(file, &mut head)? < head.len() {
            return Ok(places);
        }
        let number = |from: usize| {
            u64::from_le_bytes(head[from..from + 8].try_into().expect("eight bytes are eight"))
        };
        let (first, last) = (number(24), number(32));
        // A chunk that was set aside and not used yet has no ids, or all ones.
        if head.starts_with(CHUNK_MAGIC) && first <= last && last < u64::MAX {
            places.push(Place { first, last, at });
        }
        at += CHUNK_BYTES;
    }
}

/// Reads until `bytes` is full or there is nothing more; returns how many were read.
fn read_full(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match from.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
