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
/// Entries that a walk over the whole journal reads at a time.
const WALK_ENTRIES: usize = 4096;

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

/// Walks the whole journal, and returns its head; or what does not follow, as text for a person.
///
/// A journal that was rewritten from some entry on follows, too: compare the head with one that was noted before.
///
/// # Errors
/// The store cannot be read, or an entry is damaged.
pub fn walk<S: Source + ?Sized>(source: &S) -> Result<Result<JournalHead, String>, LoadError> {
    let mut end = JournalHead { number: 0, hash: [0; HASH_BYTES] };
    loop {
        let entries = read_after(source, end.number, WALK_ENTRIES)?;
        if let ChainCheck::BrokenAt(number) = check(&entries, end.number, end.hash) {
            let what = format!("entry {number} is missing, or does not follow from the one before");
            return Ok(Err(what));
        }
        let Some(last) = entries.last() else { break };
        end = JournalHead { number: last.number, hash: last.hash };
    }
    let noted = source.load(&MetaKey::JOURNAL)?;
    let is_whole = noted.map_or(end.number == 0, |noted| noted == end);
    let noted = noted.map_or(0, |noted| noted.number);
    Ok(if is_whole {
        Ok(end)
    } else {
        Err(format!(
            "it ends with entry {}, but {noted} were written, or the last was changed",
            end.number
        ))
    })
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

    #[test]
    fn a_walk_finds_what_was_changed_taken_out_or_cut_off_and_else_gives_the_head() {
        let count = u64::try_from(WALK_ENTRIES).unwrap() + 5;
        let engine = MemoryEngine::new(1);
        let walk = || walk(&engine as &dyn Engine).unwrap();
        assert_eq!(walk(), Ok(JournalHead { number: 0, hash: [0; 32] }), "an empty one is whole");
        let mut staged = Staged::new(&engine);
        (1..=count).for_each(|n| append(&mut staged, &entry(n)).unwrap());
        engine.commit(staged.into_changes()).unwrap();
        let head = (&engine as &dyn Engine).load(&MetaKey::JOURNAL).unwrap().unwrap();
        assert_eq!(walk(), Ok(head));

        let replace = |number: u64, value: Option<Vec<u8>>| {
            let mut staged = Staged::new(&engine);
            let key = JournalKey(number).encode();
            match value {
                Some(value) => staged.put(Space::Rows, &key, value),
                None => staged.delete(Space::Rows, &key),
            }
            engine.commit(staged.into_changes()).unwrap();
        };
        let stored = |number: u64| {
            let key = JournalKey(number).encode();
            engine.read(Space::Rows, &[&key]).unwrap().remove(0).unwrap().to_vec()
        };
        let forged = |number: u64| [&stored(number)[..HASH_BYTES], &entry(7).encode()].concat();
        for number in [1, count - 5, count - 2] {
            let honest = stored(number);
            replace(number, Some(forged(number)));
            assert!(walk().unwrap_err().contains(&format!("entry {} ", number + 1)), "{number}");
            replace(number, None);
            assert!(walk().unwrap_err().contains(&format!("entry {number} ")), "{number}");
            replace(number, Some(honest));
            assert_eq!(walk(), Ok(head));
        }
        let honest = stored(count);
        replace(count, Some(forged(count)));
        assert!(walk().unwrap_err().contains("the last was changed"));
        replace(count, None);
        assert!(walk().unwrap_err().contains(&format!("ends with entry {}", count - 1)));
        replace(count, Some(honest));
        assert_eq!(walk(), Ok(head));
    }
}
