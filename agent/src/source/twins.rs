//! What was read of the files before the one that is being read, where their times do not tell.
//!
//! Which file comes next is told by when files were last written to, and that is as coarse as the system's ticks (some
//! milliseconds, on old file systems a second). Files that were begun and left within one tick bear one time, so that
//! of them only this says which were read. And a file that is compressed after it was read may bear the time of that:
//! the one that was left last is known by what it begins with.
//!
//! # Format
//! ```text
//! <source>/twins    bincode( version u8 = 1 | (since_ns i64, inode u64*, head [u8; 16]?) )
//! ```
//! It is committed with the place that it belongs to. Programs that do not know it go on as if there was none.

use shared::wire::codec;

use super::{checkpoint::CheckpointError, file::Facts};
use crate::limits::TWINS_MAX;

const VERSION: u8 = 1;

/// The files that were read and bear one time: that of the file that was left last, or of an empty one that was begun
/// since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Twins {
    /// Nothing before something was noted: of files that were there before nothing is known.
    known: Option<Known>,
}

/// The time, in nanoseconds since the epoch; the files' inodes; the digest of what the file begins with that was left
/// last, if one was.
type Known = (i64, Vec<u64>, Option<[u8; 16]>);

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
        let decoded: Result<(u8, Known), _> = codec::decode(bytes);
        let (_, known) = decoded.map_err(|_| CheckpointError::Malformed)?;
        Ok(Self { known: Some(known) })
    }

    /// Returns what is to be stored, if something is known.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let known = self.known.as_ref()?;
        Some(codec::encode(&(VERSION, known)).expect("numbers have an encoding"))
    }

    /// Notes that a file was read to its end, which begins with this. Returns whether there is room for more of its
    /// time: if not, none of them is told from those that were read.
    pub(super) fn leave(&mut self, facts: &Facts, head: [u8; 16]) -> bool {
        let has_room = self.note(facts);
        if let Some((.., left)) = &mut self.known {
            *left = Some(head);
        }
        has_room
    }

    /// Notes that a file is not to be read. Returns whether there is room for more of its time.
    pub(super) fn note(&mut self, facts: &Facts) -> bool {
        self.begin(facts.modified_ns);
        let Some((_, read, _)) = &mut self.known else { return true };
        if read.len() < TWINS_MAX && !read.contains(&facts.id.inode) {
            read.push(facts.id.inode);
        }
        read.len() < TWINS_MAX
    }

    /// Notes that an empty file bears this time. Where nothing is known nothing is noted.
    pub(super) fn go_on(&mut self, modified_ns: i64) {
        if self.known.is_some() {
            self.begin(modified_ns);
        }
    }

    /// Notes that of the files of this time those are read that are noted.
    pub(super) fn begin(&mut self, modified_ns: i64) {
        let (since, read, _) = self.known.get_or_insert_with(|| (modified_ns, Vec::new(), None));
        if *since != modified_ns {
            *since = modified_ns;
            read.clear();
        }
    }

    /// Returns whether files of this time are noted one by one.
    pub(super) fn is_of(&self, modified_ns: i64) -> bool {
        self.known.as_ref().is_some_and(|(since, ..)| *since == modified_ns)
    }

    /// Returns whether it is known that a file was not read, of which nothing but its time and its inode is known.
    pub(super) fn is_unread(&self, facts: &Facts) -> bool {
        self.known.as_ref().is_some_and(|(since, read, _)| {
            *since != facts.modified_ns || read.len() < TWINS_MAX && !read.contains(&facts.id.inode)
        })
    }

    /// Returns the digest of what the file begins with that was left last, if one was.
    pub(super) fn left(&self) -> Option<[u8; 16]> {
        self.known.as_ref().and_then(|(.., left)| *left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_known_again() {
        assert_eq!(Twins::default().encode(), None);
        let since = 1_793_610_753_123_456_789;
        let twins = Twins { known: Some((since, vec![7, 300], Some([9; 16]))) };
        let bytes = twins.encode().unwrap();
        let mut golden = vec![1, 253];
        golden.extend((2 * 1_793_610_753_123_456_789_u64).to_le_bytes());
        golden.extend([2, 7, 251, 0x2c, 0x01, 1]);
        golden.extend([9; 16]);
        assert_eq!(bytes, golden);
        assert_eq!(Twins::decode(&bytes), Ok(twins));
        assert_eq!(Twins::decode(&[]), Err(CheckpointError::Malformed));
        assert_eq!(Twins::decode(&[2, 0, 0]), Err(CheckpointError::Version(2)));
        assert_eq!(Twins::decode(&bytes[..9]), Err(CheckpointError::Malformed));
    }
}
