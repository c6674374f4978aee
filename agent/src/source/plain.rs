//! The file at one path as what a source's records come from: a [`Tail`], and where it stood when that was stored last.

use std::{io, path::Path, time::Instant};

use super::{
    Batch, Begin, CheckpointError, Counts, Intake, ReadBuffer, Status, Tail, TailStats, Wake,
    intake::Place,
};

/// What is stored behind a source's name of the files that were read and bear the time of the one that is.
const TWINS: &str = "twins";

/// Follows the file at one path.
#[derive(Debug)]
pub struct PlainFile {
    tail: Tail,
    place: Place,
    twins: Place,
    stored_offset: u64,
}

impl PlainFile {
    /// Returns the follower of the file at `path`; see [`Tail::open`]. What else was stored of it is among `parts`.
    ///
    /// # Errors
    /// Fails if what was stored is something else, or of a later version.
    pub fn open<'s>(
        path: &Path,
        checkpoint: Option<&[u8]>,
        mut parts: impl Iterator<Item = (&'s str, &'s [u8])>,
        begin: Begin,
    ) -> Result<Self, CheckpointError> {
        let twins = parts.find(|(part, _)| *part == TWINS).map(|(_, stored)| stored);
        let tail = Tail::go_on(path.to_owned(), checkpoint, twins, begin)?;
        let (place, stored_offset) = (Place::new(checkpoint), tail.offset());
        Ok(Self { tail, place, twins: Place::new(twins), stored_offset })
    }
}

impl Intake for PlainFile {
    fn label(&self) -> String {
        self.tail.path().display().to_string()
    }

    fn status(&self) -> &Status {
        self.tail.status()
    }

    fn counts(&self) -> Counts {
        self.tail.stats().into()
    }

    fn poll(&mut self, now: Instant) -> bool {
        self.tail.poll(now)
    }

    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        wakes(Wake::File(self.tail.path()));
    }

    fn read_batch<'b>(
        &mut self,
        _now: Instant,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        self.tail.read_batch(buffer, bytes_max).map_err(io::Error::other)
    }

    fn tail(&self) -> Option<&Tail> {
        Some(&self.tail)
    }

    fn sole_tail(&self) -> Option<&Tail> {
        Some(&self.tail)
    }

    fn behind_bytes(&self) -> u64 {
        self.tail.behind_bytes()
    }

    fn stored_offset(&self) -> u64 {
        self.stored_offset
    }

    fn has_changed(&self) -> bool {
        self.place.is_other(self.tail.checkpoint().as_ref())
            || self.twins.is_other(self.tail.encoded_twins().as_ref())
    }

    fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        let now = end.map_or_else(|| self.tail.checkpoint(), |end| self.tail.checkpoint_at(end));
        let twins = self.twins.offer(TWINS, self.tail.encoded_twins());
        self.place.offer("", now).into_iter().chain(twins).collect()
    }

    fn stored(&mut self) {
        self.twins.settle();
        if self.place.settle() {
            self.stored_offset = self.tail.offset();
        }
    }
}

impl From<TailStats> for Counts {
    fn from(stats: TailStats) -> Self {
        Self {
            records: stats.lines,
            bytes: stats.bytes,
            over_long: stats.over_long,
            rotated: stats.rotated,
            truncated: stats.truncated,
            lost_files: stats.lost_files,
            unread: stats.read_errors,
            ..Self::default()
        }
    }
}
