//! Which file a [`Tail`] reads when it has come to the end of one.
//!
//! What comes after a file is an answer of one moment: what the path leads to was opened before the folder was listed,
//! and led there, with the same beginning, afterwards. Were the two asked for one after the other, a file that is
//! rotated between them would be in neither.

use std::{io, path::Path};

use super::{
    Tail,
    file::{Age, Facts, FileId, TailFile},
    rotation::{self, Next},
};
use crate::limits::ROTATED_LISTINGS_MAX;

impl Tail {
    /// At the end of the open file: goes on to the next one if the writer has. Returns whether to
    /// look again.
    pub(super) fn move_on(&mut self) -> io::Result<bool> {
        match Facts::at(&self.path) {
            Ok(facts) => self.move_on_from(Some(facts)),
            // The next file is not there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.move_on_from(None),
            Err(error) => Err(error),
        }
    }

    /// Does what [`Self::move_on`] says, with `at_path` as it was a moment ago.
    pub(super) fn move_on_from(&mut self, at_path: Option<Facts>) -> io::Result<bool> {
        let Some(reading) = &self.reading else { return Ok(false) };
        if reading.file.is_packed() {
            return self.move_on_from_packed(at_path);
        }
        let own = reading.file.id;
        if at_path.is_some_and(|at_path| at_path.id == own) {
            return Ok(false);
        }
        // Looked at after the path: what the writer wrote before it went on is there now.
        let facts = reading.file.facts()?;
        let newest = at_path.map_or(own, |at_path| at_path.id);
        let is_written = at_path.is_some_and(|at_path| at_path.len > 0);
        if !is_written && !self.has_gone_on_between(facts.age(), own, newest)? {
            return Ok(false);
        }
        let Some(reading) = &mut self.reading else { return Ok(false) };
        if facts.len > reading.offset {
            reading.ended = true;
            return Ok(true);
        }
        let read_to_its_end = self.place();
        let packed = self.unread_packed(facts.modified_ns)?;
        let Next { file, present, unreadable } = self.next_to(facts.age(), own)?;
        let Some(file) = packed.or(file).or_else(|| present.filter(|present| present.id == newest))
        else {
            // What was there is not any more.
            return TailFile::open(&self.path).map(|_| true);
        };
        self.stats.lost_files += unreadable;
        self.leave(&facts);
        if self.among.is_some() {
            self.left.extend(read_to_its_end);
        }
        self.stats.rotated += 1;
        self.generation += 1;
        self.start(file, 0, false)?;
        Ok(true)
    }

    /// Does what [`Self::move_on`] says at the end of a compressed file's text, to which nobody writes. Rotation
    /// compresses the oldest files, so that those that are not compressed are newer than all that are.
    fn move_on_from_packed(&mut self, at_path: Option<Facts>) -> io::Result<bool> {
        let Some(reading) = &mut self.reading else { return Ok(false) };
        if !reading.ended {
            reading.ended = true;
            return Ok(true);
        }
        let (own, written_ns) = (reading.file.id, reading.modified_ns);
        let newest = at_path.map_or(own, |at_path| at_path.id);
        if at_path.is_none() && self.waits_between == Some([own, newest]) {
            return Ok(false);
        }
        let broken = u64::from(reading.file.is_broken());
        let packed_ns = reading.file.own_modified_ns()?;
        let packed = rotation::next_packed(&self.path, packed_ns, written_ns)?;
        let mut next = Next { file: packed, ..Next::default() };
        if next.file.is_none() {
            next = self.next_after(|other| other.modified_ns > written_ns, &[own])?;
        }
        let present = next.present.filter(|present| present.id == newest);
        let file = match (next.file.or(present), at_path) {
            (Some(file), _) => file,
            (None, None) => {
                self.waits_between = Some([own, newest]);
                return Ok(false);
            }
            (None, Some(_)) => return TailFile::open(&self.path).map(|_| true),
        };
        self.stats.lost_files += broken + next.unreadable;
        if let Some(reading) = &self.reading {
            let (facts, head) = (reading.file.facts()?, reading.file.head_digest());
            self.twins.leave(&facts, head);
        }
        self.stats.rotated += 1;
        self.generation += 1;
        self.start(file, 0, false)?;
        Ok(true)
    }

    /// Notes that the open file was read to its end.
    fn leave(&mut self, facts: &Facts) {
        let Some(reading) = &self.reading else { return };
        if !self.twins.leave(facts, reading.file.head_digest()) {
            // More files of one time than can be told apart: those that come now are not read.
            self.stats.lost_files += 1;
        }
    }

    /// Returns the text of the oldest file that was compressed and that was written to after `since`, if none of it was
    /// read: it was rotated while nobody looked. The open file and the one before it are known by what they begin with,
    /// whenever they were compressed; where no file was left yet nothing is known of the others, and none is taken.
    pub(super) fn unread_packed(&self, since: i64) -> io::Result<Option<TailFile>> {
        let (Some(left), Some(reading)) = (self.twins.left(), &self.reading) else {
            return Ok(None);
        };
        let mut after = since;
        for _ in 0..ROTATED_LISTINGS_MAX {
            let Some(file) = rotation::next_packed(&self.path, after, since)? else { break };
            if !file.is_begun_copy_of(&reading.file) && file.head_digest() != left {
                return Ok(Some(file));
            }
            after = file.own_modified_ns()?;
        }
        Ok(None)
    }

    /// Returns whether a rotated file comes after the open one, `own`, although at the path there is
    /// nothing, or nothing in it: `newest`, if anything. Looks through the folder once for each such
    /// pair.
    fn has_gone_on_between(&mut self, after: Age, own: FileId, newest: FileId) -> io::Result<bool> {
        if self.waits_between == Some([own, newest]) {
            return Ok(false);
        }
        let has_gone_on = self.next_to(after, own)?.file.is_some();
        self.waits_between = (!has_gone_on).then_some([own, newest]);
        Ok(has_gone_on)
    }

    /// Returns the rotated file that comes after `own`, the open one, which is of that age. One that
    /// was last written to at the same time and begins alike is a copy that kept the time.
    fn next_to(&self, age: Age, own: FileId) -> io::Result<Next> {
        let is_later = |other: &Facts| {
            let is_told = age.created_ns.is_some() || self.twins.is_of(age.modified_ns);
            other.age().is_after(age)
                || other.age() == age && is_told && self.twins.is_unread(other)
        };
        let is_alike = |file: &TailFile| {
            file.facts().is_ok_and(|facts| facts.modified_ns == age.modified_ns)
                && self.reading.as_ref().is_some_and(|reading| file.has_head_like(&reading.file))
        };
        let mut known = vec![own];
        loop {
            let next = self.next_after(is_later, &known)?;
            match &next.file {
                Some(file) if known.len() < ROTATED_LISTINGS_MAX && is_alike(file) => {
                    known.push(file.id);
                }
                Some(_) | None => return Ok(next),
            }
        }
    }

    /// Returns the oldest rotated file that `is_later`. One that is a file of the pattern itself is
    /// read as such.
    pub(super) fn next_after(
        &self,
        is_later: impl Fn(&Facts) -> bool,
        known: &[FileId],
    ) -> io::Result<Next> {
        let is_own =
            |path: &Path| self.among.as_ref().is_none_or(|among| !among.pattern.matches(path));
        rotation::next_after(&self.path, is_later, known, is_own)
    }

    /// Returns the oldest rotated file that was made after `since`, when there was no file at the path: it was never
    /// read. One that is older was renamed, and has only been written to since.
    pub(super) fn made_after(&self, since: i64) -> io::Result<Next> {
        let is_made_after = |other: &Facts| {
            other.modified_ns > since && other.age().created_ns.is_some_and(|at| at > since)
        };
        self.next_after(is_made_after, &[])
    }

    /// Returns the oldest copy that was made after `since`, when the file at the path was left empty:
    /// of what has filled it, and was never read.
    pub(super) fn filled_after(&self, since: i64, at_path: FileId) -> io::Result<Next> {
        let is_filled_after = |other: &Facts| {
            let is_made_after = other.age().created_ns.is_some_and(|at| at >= since);
            let is_later =
                other.age().created_ns.is_some_and(|at| at > since) || self.twins.is_unread(other);
            is_made_after && other.modified_ns >= since && is_later
        };
        self.next_after(is_filled_after, &[at_path])
    }

    /// Notes which files bear the time of the first one that is read: they were there before, and are not to be read.
    /// Whoever emptied it may have copied it just before.
    pub(super) fn note_twins(&mut self, modified_ns: i64) -> io::Result<()> {
        self.twins.begin(modified_ns);
        for facts in rotation::written_at(&self.path, modified_ns)? {
            self.twins.note(&facts);
        }
        Ok(())
    }
}
