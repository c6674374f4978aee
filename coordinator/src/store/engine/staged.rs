//! The overlay through which one group of commands reads and writes.
//!
//! Commands of a group run one after the other against the same `Staged`: each sees the engine's
//! state with what earlier ones staged laid over it. A command that is refused is rolled back to
//! the savepoint taken before it and so stages nothing. At the end [`Staged::into_changes`] gives
//! what to commit: at most one change a key, in key order, however often the group wrote it.
//!
//! ```text
//! value of a key = its staged put or delete, if it has one
//!                  otherwise nothing, if a staged range delete covers it
//!                  otherwise the engine's value
//! ```
//!
//! Staging a range delete drops the staged puts and deletes that it covers, so those that remain
//! are always later than every range delete. Values are shared, not copied; keys are copied once.
//!
//! A value may be staged decoded ([`Stored`]): it is encoded when the group is committed, once,
//! however often the group wrote it. What a commit made true stays decoded in [`Kept`] for the
//! groups after it.
//!
//! Not here: bounds on a group ([`Staged::len`] and [`Staged::bytes`] are there for them).

use std::{
    any::Any,
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    ops::{
        Bound::{Excluded, Included},
        Range,
    },
    sync::Arc,
    vec,
};

use bytes::Bytes;

use super::{
    Changes, CommitError, Direction, Engine, ReadError, Row, Space,
    kept::Kept,
    ranges::{Ranges, Replaced},
};

/// Most rows that a scan asks of the engine beyond its limit, to make up for rows that are staged
/// as deleted. 64: one more page is asked for where that is not enough, and rows asked for in vain
/// cost little.
const SPARE_ROWS_MAX: usize = 64;

/// A value of [`Space::Rows`] that is not encoded yet.
pub trait Stored: Any + Send + Sync {
    /// Returns its bytes.
    fn to_bytes(&self) -> Bytes;

    /// Returns how many bytes it takes in memory, which is at least about as many as those are.
    fn weight(&self) -> usize;
}

/// What is known of a key without asking the engine.
pub enum Found<'s> {
    /// Its value, decoded.
    Value(&'s dyn Stored),
    /// Its value.
    Bytes(&'s Bytes),
    /// It does not exist.
    Nothing,
    /// Only the engine knows.
    Unknown,
}

/// What a group has staged over an engine.
pub struct Staged<'e> {
    engine: &'e dyn Engine,
    /// What the engine's rows are known to be.
    kept: Kept,
    rows: Overlay,
    blocks: Overlay,
    undo: Vec<Undo>,
    bytes: usize,
}

/// A point to roll back to. It is good until a roll-back to an earlier one.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    undo_len: usize,
}

#[derive(Default)]
struct Overlay {
    entries: BTreeMap<Bytes, Entry>,
    /// Keys that a range delete covers; an entry wins over it.
    gone: Ranges,
}

#[derive(Clone)]
enum Entry {
    Put(Bytes),
    Value(Arc<dyn Stored>),
    Deleted,
}

impl Entry {
    fn value(&self) -> Option<Bytes> {
        match self {
            Self::Put(value) => Some(value.clone()),
            Self::Value(value) => Some(value.to_bytes()),
            Self::Deleted => None,
        }
    }
}

/// How to take one change back.
enum Undo {
    Entry { space: Space, key: Bytes, previous: Option<Entry> },
    Range { space: Space, replaced: Replaced, entries: BTreeMap<Bytes, Entry> },
}

impl<'e> Staged<'e> {
    /// Returns an overlay with nothing staged over `engine`.
    #[must_use]
    pub fn new(engine: &'e dyn Engine) -> Self {
        Self::over(engine, Kept::default())
    }

    /// Returns an overlay with nothing staged over `engine`, of which `kept` is known: what a
    /// commit of an overlay over the same engine gave back, with none between that it has not seen.
    #[must_use]
    pub fn over(engine: &'e dyn Engine, kept: Kept) -> Self {
        let (rows, blocks) = Default::default();
        Self { engine, kept, rows, blocks, undo: Vec::new(), bytes: 0 }
    }

    /// Returns what is known of a key without asking the engine.
    #[must_use]
    pub fn find(&self, space: Space, key: &[u8]) -> Found<'_> {
        let overlay = self.overlay(space);
        match overlay.entries.get(key) {
            Some(Entry::Value(value)) => Found::Value(&**value),
            Some(Entry::Put(bytes)) => Found::Bytes(bytes),
            Some(Entry::Deleted) => Found::Nothing,
            None if overlay.gone.covers(key) => Found::Nothing,
            None if space == Space::Rows => {
                self.kept.find(key).map_or(Found::Unknown, Found::Value)
            }
            None => Found::Unknown,
        }
    }

    /// Returns the values of `keys`, in their order, with `None` for a key that does not exist.
    ///
    /// # Errors
    /// Fails as [`Engine::read`] does. Keys that are staged are not asked of the engine.
    pub fn read(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let overlay = self.overlay(space);
        if overlay.is_empty() {
            return self.engine.read(space, keys);
        }
        let mut values = vec![None; keys.len()];
        let mut asked = Vec::new();
        let mut asked_at = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            if let Some(entry) = overlay.entries.get(*key) {
                values[at] = entry.value();
            } else if !overlay.gone.covers(key) {
                asked.push(*key);
                asked_at.push(at);
            }
        }
        if !asked.is_empty() {
            for (at, value) in asked_at.into_iter().zip(self.engine.read(space, &asked)?) {
                values[at] = value;
            }
        }
        Ok(values)
    }

    /// Returns the engine's values of `keys`, whatever is staged.
    ///
    /// # Errors
    /// Fails as [`Engine::read`] does.
    pub fn read_below(
        &self,
        space: Space,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.engine.read(space, keys)
    }

    /// Returns the value of one key.
    ///
    /// # Errors
    /// Fails as [`Engine::read`] does.
    pub fn read_one(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.read(space, &[key])?.pop().flatten())
    }

    /// Returns at most `limit` rows of `[range.start, range.end)`, from the end that `direction`
    /// names.
    ///
    /// # Errors
    /// Fails as [`Engine::scan`] does.
    pub fn scan(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, ReadError> {
        if limit == 0 || range.start >= range.end {
            return Ok(Vec::new());
        }
        let overlay = self.overlay(space);
        let gaps = overlay.gone.gaps(range.start, range.end);
        let entries =
            overlay.entries.range::<[u8], _>((Included(range.start), Excluded(range.end)));
        if overlay.gone.is_empty() && entries.clone().next().is_none() {
            return self.engine.scan(space, range, direction, limit);
        }
        let hidden = entries.clone().filter(|(_, entry)| matches!(entry, Entry::Deleted));
        let page = limit.saturating_add(hidden.take(SPARE_ROWS_MAX).count());
        let below = Pages::new(self.engine, space, gaps, direction, page);
        match direction {
            Direction::Forward => merge(entries, below, Ord::cmp, limit),
            Direction::Backward => merge(entries.rev(), below, |a, b| b.cmp(a), limit),
        }
    }

    /// Stages a put.
    pub fn put(&mut self, space: Space, key: &[u8], value: impl Into<Bytes>) {
        self.set(space, key, Entry::Put(value.into()));
    }

    /// Stages a put of a row that is encoded when the group is committed.
    pub fn put_value(&mut self, key: &[u8], value: Arc<dyn Stored>) {
        self.set(Space::Rows, key, Entry::Value(value));
    }

    /// Stages a delete.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        self.set(space, key, Entry::Deleted);
    }

    /// Stages a delete of all keys in `[range.start, range.end)`. An empty range stages nothing.
    pub fn delete_range(&mut self, space: Space, range: Range<&[u8]>) {
        if range.start >= range.end {
            return;
        }
        let (from, to) = (Bytes::copy_from_slice(range.start), Bytes::copy_from_slice(range.end));
        let overlay = self.overlay_mut(space);
        let covered: Vec<Bytes> = overlay
            .entries
            .range::<[u8], _>((Included(range.start), Excluded(range.end)))
            .map(|(key, _)| key.clone())
            .collect();
        let take = |key: Bytes| overlay.entries.remove(&key).map(|entry| (key, entry));
        let entries: BTreeMap<Bytes, Entry> = covered.into_iter().filter_map(take).collect();
        let replaced = overlay.gone.insert(from, to);
        self.bytes -= entries.iter().map(|(key, entry)| weight(key, entry)).sum::<usize>();
        self.undo.push(Undo::Range { space, replaced, entries });
    }

    /// Returns a point that [`Staged::rollback`] can return to.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { undo_len: self.undo.len() }
    }

    /// Forgets what was staged since `savepoint` was taken.
    ///
    /// # Panics
    /// Panics if what was staged before `savepoint` has been rolled back itself.
    pub fn rollback(&mut self, savepoint: Savepoint) {
        assert!(savepoint.undo_len <= self.undo.len(), "a savepoint ends with those before it");
        for undo in self.undo.split_off(savepoint.undo_len).into_iter().rev() {
            match undo {
                Undo::Entry { space, key, previous } => self.restore(space, key, previous),
                Undo::Range { space, replaced, entries } => {
                    self.bytes += entries.iter().map(|(key, e)| weight(key, e)).sum::<usize>();
                    let overlay = self.overlay_mut(space);
                    overlay.gone.undo(replaced);
                    overlay.entries.extend(entries);
                }
            }
        }
    }

    /// Returns the number of changes staged and not rolled back, counting each write of a key.
    #[must_use]
    pub fn len(&self) -> usize {
        self.undo.len()
    }

    /// Returns whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.undo.is_empty()
    }

    /// Returns the bytes of the keys and values that a commit would write now; of values that are
    /// not encoded yet, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Commits what is staged, and returns what is kept decoded from here on.
    ///
    /// # Errors
    /// Fails as [`Engine::commit`] does.
    pub fn commit(mut self) -> (Kept, Result<(), CommitError>) {
        let mut kept = std::mem::take(&mut self.kept);
        let news = self.news(&kept);
        let engine = self.engine;
        let committed = engine.commit(self.into_changes());
        match &committed {
            Ok(()) => kept.take_in(news),
            Err(CommitError::Refused(_)) => {}
            Err(CommitError::Unknown { .. }) => kept.clear(),
        }
        (kept, committed)
    }

    /// Returns the rows that are staged and concern what is `kept`, in order, with their values where
    /// those are decoded.
    fn news(&self, kept: &Kept) -> Vec<(Bytes, Option<Arc<dyn Stored>>)> {
        let Overlay { entries, gone } = &self.rows;
        let mut news = if gone.is_empty() { Vec::new() } else { kept.covered_by(gone) };
        news.extend(entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Value(value) => Some((key.clone(), Some(Arc::clone(value)))),
            Entry::Put(_) | Entry::Deleted => kept.find(key).map(|_| (key.clone(), None)),
        }));
        news
    }

    /// Returns what to commit.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let mut changes = Changes::new();
        for (space, overlay) in [(Space::Rows, self.rows), (Space::Blocks, self.blocks)] {
            let gone = &overlay.gone;
            let needed = |key: &Bytes, entry: &Entry| match entry {
                Entry::Put(_) | Entry::Value(_) => true,
                Entry::Deleted => !gone.covers(key),
            };
            let entries: Vec<(Bytes, Entry)> =
                overlay.entries.into_iter().filter(|(key, entry)| needed(key, entry)).collect();
            for (from, to) in overlay.gone.into_ranges() {
                changes.delete_range(space, from, to);
            }
            for (key, entry) in entries {
                match entry {
                    Entry::Put(value) => changes.put(space, key, value),
                    Entry::Value(value) => changes.put(space, key, value.to_bytes()),
                    Entry::Deleted => changes.delete(space, key),
                }
            }
        }
        changes
    }

    fn set(&mut self, space: Space, key: &[u8], entry: Entry) {
        let key = Bytes::copy_from_slice(key);
        self.bytes += weight(&key, &entry);
        let previous = self.overlay_mut(space).entries.insert(key.clone(), entry);
        self.bytes -= previous.as_ref().map_or(0, |entry| weight(&key, entry));
        self.undo.push(Undo::Entry { space, key, previous });
    }

    fn restore(&mut self, space: Space, key: Bytes, previous: Option<Entry>) {
        self.bytes += previous.as_ref().map_or(0, |entry| weight(&key, entry));
        let entries = &mut self.overlay_mut(space).entries;
        let undone = match previous {
            Some(entry) => entries.insert(key.clone(), entry),
            None => entries.remove(&key),
        };
        self.bytes -= undone.map_or(0, |entry| weight(&key, &entry));
    }

    fn overlay(&self, space: Space) -> &Overlay {
        match space {
            Space::Rows => &self.rows,
            Space::Blocks => &self.blocks,
        }
    }

    fn overlay_mut(&mut self, space: Space) -> &mut Overlay {
        match space {
            Space::Rows => &mut self.rows,
            Space::Blocks => &mut self.blocks,
        }
    }
}

impl Overlay {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.gone.is_empty()
    }
}

fn weight(key: &Bytes, entry: &Entry) -> usize {
    let value = match entry {
        Entry::Put(bytes) => bytes.len(),
        Entry::Value(value) => value.weight(),
        Entry::Deleted => 0,
    };
    key.len() + value
}

/// Merges staged entries with the engine's rows, both in the order that `compare` gives; an entry
/// wins.
fn merge<'a>(
    entries: impl Iterator<Item = (&'a Bytes, &'a Entry)>,
    mut below: Pages<'_>,
    compare: impl Fn(&Bytes, &Bytes) -> Ordering,
    limit: usize,
) -> Result<Vec<Row>, ReadError> {
    let mut rows = Vec::new();
    let mut entries = entries.peekable();
    let mut row = below.next()?;
    while rows.len() < limit {
        let order = match (entries.peek(), &row) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((staged, _)), Some((stored, _))) => compare(staged, stored),
        };
        if order.is_le()
            && let Some((key, entry)) = entries.next()
            && let Some(value) = entry.value()
        {
            rows.push((key.clone(), value));
        }
        if order.is_ge()
            && let Some(stored) = row.take()
        {
            if order.is_gt() {
                rows.push(stored);
            }
            if rows.len() < limit {
                row = below.next()?;
            }
        }
    }
    Ok(rows)
}

/// The engine's rows in what range deletes have left, a page at a time.
struct Pages<'e> {
    engine: &'e dyn Engine,
    space: Space,
    direction: Direction,
    /// Rows asked for at once; at least 1.
    page: usize,
    /// What is still to be scanned, in the order of the scan.
    gaps: VecDeque<(Bytes, Bytes)>,
    rows: vec::IntoIter<Row>,
}

impl<'e> Pages<'e> {
    fn new(
        engine: &'e dyn Engine,
        space: Space,
        gaps: Vec<(&[u8], &[u8])>,
        direction: Direction,
        page: usize,
    ) -> Self {
        let owned = |(from, to)| (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
        let gaps = match direction {
            Direction::Forward => gaps.into_iter().map(owned).collect(),
            Direction::Backward => gaps.into_iter().rev().map(owned).collect(),
        };
        Self { engine, space, direction, page, gaps, rows: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<Row>, ReadError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            let Some((from, to)) = self.gaps.pop_front() else { return Ok(None) };
            let rows = self.engine.scan(self.space, &from..&to, self.direction, self.page)?;
            if rows.len() >= self.page
                && let Some((last, _)) = rows.last()
            {
                self.gaps.push_front(match self.direction {
                    Direction::Forward => (after(last), to),
                    Direction::Backward => (from, last.clone()),
                });
            }
            self.rows = rows.into_iter();
        }
    }
}

/// Returns the smallest key that is larger than `key`.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests;
