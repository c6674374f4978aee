//! The journal: everything that changed and who changed it, each entry chained to the one before by its hash.
//!
//! ```text
//! value: hash of the entry before [32] | entry (versioned, see store::values)
//! hash:  SHA-256 over the value
//! ```

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::store::{
    engine::{Direction, Space, Staged},
    schema::{JournalKey, Key, MetaKey},
    tables::{LoadError, Source, put},
    values::{Entry, JournalHead, Value, ValueError},
};

const HASH_BYTES: usize = 32;

/// Stages `entry` behind the newest.
///
/// # Errors
/// The head of the journal cannot be read.
pub fn append(staged: &mut Staged<'_>, entry: &Entry) -> Result<(), LoadError> {
    let head = staged.load(&MetaKey::JOURNAL)?.unwrap_or(JournalHead { number: 0, hash: [0; 32] });
    let value = [head.hash.as_slice(), &entry.encode()].concat();
    let number = head.number + 1;
    let head = JournalHead { number, hash: Sha256::digest(&value).into() };
    staged.put(Space::Rows, &JournalKey(number).encode(), value);
    put(staged, &MetaKey::JOURNAL, head);
    Ok(())
}

/// An entry with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chained {
    /// Its number, from 1.
    pub number: u64,
    /// Hash of the entry before it; zeros for the first.
    pub previous: [u8; HASH_BYTES],
    /// Its own hash.
    pub hash: [u8; HASH_BYTES],
    /// The entry.
    pub entry: Entry,
}

/// Reads at most `limit` entries with numbers above `after`, oldest first.
///
/// # Errors
/// The store cannot be read, or an entry is damaged.
pub fn read_after<S: Source + ?Sized>(
    source: &S,
    after: u64,
    limit: usize,
) -> Result<Vec<Chained>, LoadError> {
    let (from, to) = (JournalKey(after.saturating_add(1)).encode(), JournalKey(u64::MAX).encode());
    let rows = source.scan_raw(Space::Rows, &from..&to, Direction::Forward, limit)?;
    rows.into_iter().map(|(key, value)| chained(&key, &value)).collect()
}

/// Reads at most `limit` entries with numbers below `before`, newest first.
///
/// # Errors
/// The store cannot be read, or an entry is damaged.
pub fn read_before<S: Source + ?Sized>(
    source: &S,
    before: u64,
    limit: usize,
) -> Result<Vec<Chained>, LoadError> {
    let (from, to) = (JournalKey(0).encode(), JournalKey(before).encode());
    let rows = source.scan_raw(Space::Rows, &from..&to, Direction::Backward, limit)?;
    rows.into_iter().map(|(key, value)| chained(&key, &value)).collect()
}

fn chained(key: &[u8], value: &Bytes) -> Result<Chained, LoadError> {
    let JournalKey(number) = JournalKey::decode(key)?;
    let (previous, entry) = value.split_first_chunk::<HASH_BYTES>().ok_or(ValueError {
        what: Entry::NAME,
        detail: format!("entry {number} is shorter than a hash"),
    })?;
    let hash = Sha256::digest(value).into();
    Ok(Chained { number, previous: *previous, hash, entry: Entry::decode(entry)? })
}

/// What a check of the chain found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainCheck {
    /// Each entry follows from the one before.
    Whole,
    /// This entry does not follow from the one before, or is missing.
    BrokenAt(u64),
}

/// Checks that `entries` follow one another behind entry `after` with hash `previous`.
#[must_use]
pub fn check(entries: &[Chained], after: u64, previous: [u8; HASH_BYTES]) -> ChainCheck {
    let mut expected = (after + 1, previous);
    for entry in entries {
        if (entry.number, entry.previous) != expected {
            return ChainCheck::BrokenAt(expected.0);
        }
        expected = (entry.number + 1, entry.hash);
    }
    ChainCheck::Whole
}

#[cfg(test)]
mod tests {
    use shared::time::Timestamp;

    use super::*;
    use crate::store::{
        engine::{Engine, MemoryEngine},
        values::{Actor, Event},
    };

    fn entry(revision: u64) -> Entry {
        Entry {
            at: Timestamp::from_ms(revision),
            actor: Actor::Coordinator,
            tenant: None,
            event: Event::TenantChanged { revision },
        }
    }

    #[test]
    fn a_changed_or_missing_entry_breaks_the_chain_where_it_stands() {
        let engine = MemoryEngine::new(1);
        let mut staged = Staged::new(&engine);
        (1..=5).for_each(|n| append(&mut staged, &entry(n)).unwrap());
        engine.commit(staged.into_changes()).unwrap();
        let engine: &dyn Engine = &engine;
        let entries = read_after(engine, 0, 10).unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!(check(&entries, 0, [0; 32]), ChainCheck::Whole);
        assert_eq!(read_after(engine, 3, 10).unwrap()[0].number, 4);
        assert_eq!(read_before(engine, 3, 1).unwrap()[0].number, 2);

        let mut missing = entries.clone();
        missing.remove(2);
        assert_eq!(check(&missing, 0, [0; 32]), ChainCheck::BrokenAt(3));
        let mut changed = entries;
        changed[1].hash[0] ^= 1;
        assert_eq!(check(&changed, 0, [0; 32]), ChainCheck::BrokenAt(3));
    }
}
