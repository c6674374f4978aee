//! Tells a torn end of RocksDB's write-ahead log from damage to what was synced.
//!
//! RocksDB has no mode that cuts the first and refuses the second: one of its modes refuses both,
//! the next one cuts both without a word, which loses commits that were answered for (L1). A record
//! that was being written when the power went is the last one, because a commit starts only after
//! the one before it was synced. So damage that a whole start of a later record follows is damage
//! to synced data, and anything else is a torn end.
//!
//! A record so damaged that is the very last one looks like a torn end: nothing in the file tells
//! them apart.
//!
//! # Format
//! ```text
//! log:      block*                  of 32 KiB, the last one shorter; no fragment crosses its end
//! fragment: masked crc32c u32 LE (kind, payload) | length u16 LE | kind u8 | payload [length]
//! kind:     1 whole record   2 first   3 middle   4 last         0 with length 0: never written
//! ```
//! A block's last bytes stay zero where a fragment's head does not fit.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;
const KIND_NONE: u8 = 0;
const KIND_WHOLE: u8 = 1;
const KIND_FIRST: u8 = 2;
/// Highest kind that a fragment can have.
const KIND_MAX: u8 = 131;

/// What is wrong with the logs of a database folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that this check can see.
    Sound,
    /// The last record was not written to its end.
    TornEnd { path: PathBuf, offset: u64 },
    /// A record is damaged, and records that were synced after it follow.
    Damaged { path: PathBuf, offset: u64 },
}

/// Checks all logs in `folder`, oldest first. Reads one log at a time into memory.
pub(super) fn check(folder: &Path) -> io::Result<Verdict> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == "log")
        {
            logs.push((number, path));
        }
    }
    logs.sort();
    let mut verdict = Verdict::Sound;
    for (_, path) in logs {
        let bytes = fs::read(&path)?;
        let found = Log { bytes: &bytes }.check();
        if let Verdict::TornEnd { path, offset } = verdict {
            if found.records {
                return Ok(Verdict::Damaged { path, offset });
            }
            verdict = Verdict::TornEnd { path, offset };
            continue;
        }
        if let Some(at) = found.damage {
            let offset = at as u64;
            if found.record_after_damage {
                return Ok(Verdict::Damaged { path, offset });
            }
            verdict = Verdict::TornEnd { path, offset };
        }
    }
    Ok(verdict)
}

struct Log<'a> {
    bytes: &'a [u8],
}

#[derive(Default)]
struct Found {
    /// Whether any record starts in the log.
    records: bool,
    /// Where the first fragment stands that is not what was written.
    damage: Option<usize>,
    record_after_damage: bool,
}

enum Fragment {
    Good {
        kind: u8,
        end: usize,
    },
    /// Too little is left of the block for a fragment.
    Rest,
    Bad,
}

impl Log<'_> {
    fn check(&self) -> Found {
        let mut found = Found::default();
        // Room that was reserved and not written reads as zeros.
        let written = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for block in (0..written).step_by(BLOCK_BYTES) {
            let mut at = block;
            while at < written.min(block + BLOCK_BYTES) {
                match self.fragment(at, block + BLOCK_BYTES) {
                    Fragment::Good { kind, end } => {
                        let starts = kind == KIND_WHOLE || kind == KIND_FIRST;
                        found.records |= starts;
                        found.record_after_damage |= starts && found.damage.is_some();
                        at = end;
                    }
                    Fragment::Rest => break,
                    Fragment::Bad => {
                        // A damaged length does not say where the next fragment is: try each byte.
                        found.damage.get_or_insert(at);
                        at += 1;
                    }
                }
            }
        }
        found
    }

    fn fragment(&self, at: usize, block_end: usize) -> Fragment {
        if block_end - at < HEADER_BYTES {
            return Fragment::Rest;
        }
        let rest = &self.bytes[at..self.bytes.len().min(block_end)];
        let Some((header, payload)) = rest.split_at_checked(HEADER_BYTES) else {
            return Fragment::Bad;
        };
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let kind = header[6];
        if kind == KIND_NONE || kind > KIND_MAX || length > payload.len() {
            return Fragment::Bad;
        }
        if masked(crc32c::crc32c(&rest[HEADER_BYTES - 1..HEADER_BYTES + length])) != stored {
            return Fragment::Bad;
        }
        Fragment::Good { kind, end: at + HEADER_BYTES + length }
    }
}

/// RocksDB stores checksums masked, so that a checksum over stored checksums means something.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
