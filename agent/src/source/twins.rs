//! Files that were read to their ends and that bear one time: that of the file which is being read, as long as it bears
//! it, too.
//!
//! Which file comes next is told by when files were last written to, and that is as coarse as the system's ticks (some
//! milliseconds, on old file systems a second). Files that were begun and left within one tick bear one time, so that
//! of them only this says which were read.
//!
//! # Format
//! ```text
//! <source>/twins    bincode( version u8 = 1 | (since_ns i64, inode u64*) )
//! ```
//! It is committed with the place that it belongs to. Programs that do not know it go on as if there was none.

use shared::wire::codec;

use super::{checkpoint::CheckpointError, file::Facts};
use crate::limits::TWINS_MAX;

const VERSION: u8 = 1;

/// The files that were read and were last written to at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Twins {
    /// The time, in nanoseconds since the epoch, and the files' inodes. Nothing before a first file was left: of those
    /// that were there before nothing is known.
    known: Option<(i64, Vec<u64>)>,
}

impl Twins {
    /// Takes what is stored.
    ///
    /// # Errors
    /// Fails if it is something else, or of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(CheckpointError::Version(*other)),
            None => return Err(CheckpointError::Malformed),
        }
        let decoded: Result<(u8, (i64, Vec<u64>)), _> = codec::decode(bytes);
        let (_, known) = decoded.map_err(|_| CheckpointError::Malformed)?;
        Ok(Self { known: Some(known) })
    }

    /// Returns what is to be stored, if something is known.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let known = self.known.as_ref()?;
        Some(codec::encode(&(VERSION, known)).expect("numbers have an encoding"))
    }

    /// Notes that a file was read to its end. Returns whether there is room for more of that time: if not, none of them
    /// is told from those that were read.
    pub(super) fn leave(&mut self, facts: &Facts) -> bool {
        self.begin(facts.modified_ns);
        let Some((_, read)) = &mut self.known else { return true };
        if !read.contains(&facts.id.inode) {
            read.push(facts.id.inode);
        }
        read.len() < TWINS_MAX
    }

    /// Notes that the file that is read now bears this time; where a file was left, all of that time that were read are
    /// noted.
    pub(super) fn go_on(&mut self, modified_ns: i64) {
        if self.known.is_some() {
            self.begin(modified_ns);
        }
    }

    /// Notes that of the files of this time those are read that are noted.
    pub(super) fn begin(&mut self, modified_ns: i64) {
        if self.known.as_ref().is_none_or(|(since, _)| *since != modified_ns) {
            self.known = Some((modified_ns, Vec::new()));
        }
    }

    /// Returns whether it is known that a file was not read, of which nothing but its time and its inode is known.
    pub(super) fn is_unread(&self, facts: &Facts) -> bool {
        self.known.as_ref().is_some_and(|(since, read)| {
            *since != facts.modified_ns || read.len() < TWINS_MAX && !read.contains(&facts.id.inode)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_known_again() {
        assert_eq!(Twins::default().encode(), None);
        let twins = Twins { known: Some((1_793_610_753_123_456_789, vec![7, 300])) };
        let bytes = twins.encode().unwrap();
        let mut golden = vec![1, 253];
        golden.extend((2 * 1_793_610_753_123_456_789_u64).to_le_bytes());
        golden.extend([2, 7, 251, 0x2c, 0x01]);
        assert_eq!(bytes, golden);
        assert_eq!(Twins::decode(&bytes), Ok(twins));
        assert_eq!(Twins::decode(&[]), Err(CheckpointError::Malformed));
        assert_eq!(Twins::decode(&[2, 0, 0]), Err(CheckpointError::Version(2)));
        assert_eq!(Twins::decode(&bytes[..9]), Err(CheckpointError::Malformed));
    }
}
