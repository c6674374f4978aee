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
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use evtx::{EvtxChunkData, ParserSettings};
use memchr::memrchr;
use thiserror::Error;

use crate::limits::EVENT_LOG_BYTES_MAX;

/// What a program exits with that has read all but some events.
pub const SOME_UNREADABLE: u8 = 3;

/// What a file begins with.
pub const FILE_MAGIC: &[u8; 8] = b"ElfFile\0";
/// What a chunk begins with.
const CHUNK_MAGIC: &[u8; 8] = b"ElfChnk\0";
/// Bytes before the first chunk.
const HEADER_BYTES: u64 = 4096;
/// Bytes of a chunk.
const CHUNK_BYTES: u64 = 64 << 10;
/// Bytes of a chunk before its first event.
const CHUNK_HEADER_BYTES: usize = 512;
/// Most events of a chunk: an event has 28 bytes, and more.
const EVENTS_MAX: u64 = CHUNK_BYTES / 28;
/// Bytes of a chunk's beginning up to the id of its last event.
const CHUNK_HEAD_BYTES: usize = 40;

/// Why a file is no event log, or cannot be read.
#[derive(Debug, Error)]
pub enum EventsError {
    /// It begins otherwise.
    #[error("it is no Windows event log (.evtx): it does not begin like one")]
    NoLog,
    /// It is larger than an event log of Windows can be.
    #[error("it has more than {EVENT_LOG_BYTES_MAX} bytes, which no Windows event log has")]
    TooLarge,
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

/// Returns the id of the last event in the chunk that has the first event behind the one with the id `after`.
///
/// # Errors
/// See [`EventsError`].
pub fn end_of_chunk_behind(
    file: &mut (impl Read + Seek),
    after: u64,
) -> Result<Option<u64>, EventsError> {
    let chunks = chunks(file)?;
    Ok(chunks.iter().filter(|chunk| chunk.last > after).min().map(|chunk| chunk.last))
}

/// Writes the events behind the one with the id `after`, the oldest first.
///
/// A chunk that the log writes over meanwhile ends it: who asks does so again, as the file has changed.
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
    let (mut found, mut last) = (Found::default(), after);
    for place in places.iter().filter(|place| place.last > after) {
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(place.at))
            .and_then(|_| file.take(CHUNK_BYTES).read_to_end(&mut bytes));
        if let Err(error) = read {
            found.note(&error);
            continue;
        }
        bytes.resize(CHUNK_BYTES as usize, 0);
        // The log may be in use: sums of a chunk that is being written are none yet.
        let chunk = match EvtxChunkData::new(bytes, false) {
            Ok(chunk) if chunk.header.first_event_record_id == place.first => chunk,
            Ok(_) => break,
            Err(error) => {
                found.note(&error);
                continue;
            }
        };
        let mut lines = Vec::new();
        // Where a panic ends the process, as in the program that is installed, whoever asked sees that, and passes the
        // chunk over.
        let write = AssertUnwindSafe(|| {
            let ids = (&mut last, place.last);
            write_chunk(chunk, &settings, form, ids, &mut found, &mut lines);
        });
        if panic::catch_unwind(write).is_err() {
            found.note(&"the reader breaks at it");
        }
        // What it wrote of a line before it broke is none.
        let whole = memrchr(b'\n', &lines).map_or(0, |end| end + 1);
        out.write_all(&lines[..whole])?;
        // What was read before the next chunk breaks the reader is not lost with it.
        out.flush()?;
    }
    Ok(found)
}

/// Writes the events of one chunk behind the one with the id `last`, which it moves on, up to `newest`.
fn write_chunk(
    mut chunk: EvtxChunkData,
    settings: &Arc<ParserSettings>,
    form: Form,
    (last, newest): (&mut u64, u64),
    found: &mut Found,
    out: &mut Vec<u8>,
) {
    let mut chunk = match chunk.parse(Arc::clone(settings)) {
        Ok(chunk) => chunk,
        Err(error) => return found.note(&error),
    };
    for event in chunk.iter() {
        let event = match event {
            // Written since the chunk was looked at, or none of it.
            Ok(event) if event.event_record_id > newest => continue,
            Ok(event) if event.event_record_id <= *last => continue,
            Ok(event) => event,
            Err(error) => {
                found.note(&error);
                continue;
            }
        };
        let id = event.event_record_id;
        match event.into_json() {
            Ok(event) => {
                if form == Form::Numbered {
                    out.extend_from_slice(format!("{id}\t").as_bytes());
                }
                out.extend_from_slice(event.data.as_bytes());
                out.push(b'\n');
                found.events += 1;
                *last = id;
            }
            Err(error) => found.note(&error),
        }
    }
}

/// Returns where a file's chunks are that have events.
fn chunks(file: &mut (impl Read + Seek)) -> Result<Vec<Place>, EventsError> {
    if file.seek(SeekFrom::End(0))? > EVENT_LOG_BYTES_MAX {
        return Err(EventsError::TooLarge);
    }
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
            break;
        }
        let number = |from: usize| {
            u64::from_le_bytes(head[from..from + 8].try_into().expect("eight bytes are eight"))
        };
        let (first, last) = (number(24), number(32));
        // A chunk that was set aside and not used yet has no ids, or all ones.
        if head.starts_with(CHUNK_MAGIC) && (1..=last).contains(&first) && last < u64::MAX {
            places.push(Place { first, last, at });
        }
        at += CHUNK_BYTES;
    }
    // The head of a chunk that is being filled, or was when its host broke off, says less than there is.
    if let Some(newest) = places.iter_mut().max() {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(newest.at))?;
        file.take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        newest.last = newest.last.max(last_of(&bytes, newest.first));
    }
    Ok(places)
}

/// Returns the id of the last event that follows the others in a chunk whose first has the id `first`; 0 where there is
/// none.
fn last_of(chunk: &[u8], first: u64) -> u64 {
    const EVENT_MAGIC: &[u8] = b"**\0\0";
    const EVENT_BYTES_MIN: usize = 28;
    let (mut at, mut last) = (CHUNK_HEADER_BYTES, 0);
    while let Some(head) = chunk.get(at..at + 16).filter(|head| head.starts_with(EVENT_MAGIC)) {
        let size = u32::from_le_bytes(head[4..8].try_into().expect("four bytes are four"));
        let id = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes are eight"));
        let is_next = (first..first.saturating_add(EVENTS_MAX)).contains(&id) && id > last;
        if !is_next || (size as usize) < EVENT_BYTES_MIN {
            break;
        }
        last = id;
        at = at.saturating_add(size as usize);
    }
    last
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
