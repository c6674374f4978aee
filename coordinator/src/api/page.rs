//! Pages of lists: how many items, and from where on.
//!
//! ```text
//! cursor: base64url(version u8 = 1 | filter digest [8] | position)
//! ```
//!
//! The position is the list's own: the place of the last item that was looked at. The digest binds it to the list and
//! the filter that it came from. A cursor grants nothing: the caller's scope is checked on every page.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::problem::Problem;
pub use super::types::{Page, PageQuery};
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};

const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 8;
/// Longest cursor in letters; the longest position is 105 bytes.
const CURSOR_LETTERS_MAX: usize = 512;

/// A list with its filter: what a cursor is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter([u8; DIGEST_BYTES]);

impl Filter {
    /// Returns the filter of `list` with these values; an absent value is told from an empty one.
    #[must_use]
    pub fn new(list: &str, values: &[Option<&str>]) -> Self {
        let mut digest = Sha256::new();
        for value in std::iter::once(Some(list)).chain(values.iter().copied()) {
            match value {
                Some(value) => {
                    digest.update([1]);
                    digest.update((value.len() as u64).to_be_bytes());
                    digest.update(value);
                }
                None => digest.update([0]),
            }
        }
        let digest: [u8; 32] = digest.finalize().into();
        Self(*digest.first_chunk().expect("32 bytes have 8"))
    }

    /// Returns the cursor that goes on behind `position`.
    #[must_use]
    pub fn cursor(&self, position: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([&[VERSION], self.0.as_slice(), position].concat())
    }

    /// Returns the position in `cursor`.
    ///
    /// # Errors
    /// Answers `invalid` for what is no cursor, or one of another list or filter.
    pub fn position(&self, cursor: &str) -> Result<Vec<u8>, Problem> {
        let broken = || Problem::invalid("cursor", "this is no cursor of this version");
        if cursor.len() > CURSOR_LETTERS_MAX {
            return Err(broken());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| broken())?;
        let (version, rest) = bytes.split_first().ok_or_else(broken)?;
        let (digest, position) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or_else(broken)?;
        if *version != VERSION {
            return Err(broken());
        }
        if *digest != self.0 {
            return Err(Problem::invalid(
                "cursor",
                "this cursor belongs to another list or filter",
            )
            .hint("keep the filter while you follow `next`, or start without a cursor"));
        }
        Ok(position.to_vec())
    }

    /// Returns the position in `cursor`, if there is one, read by `read`.
    ///
    /// # Errors
    /// As [`Self::position`], and `invalid` where `read` does not understand the position.
    pub fn start<T>(
        &self,
        cursor: Option<&str>,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(cursor) = cursor else { return Ok(None) };
        let position = read(&self.position(cursor)?);
        let broken = || Problem::invalid("cursor", "this is no cursor of this version");
        position.map(Some).ok_or_else(broken)
    }
}

/// Returns how many items a page shall have.
///
/// # Errors
/// Answers `invalid` outside 1 to [`PAGE_ITEMS_MAX`].
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE_ITEMS_DEFAULT);
    if (1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid("limit", format!("must be 1 to {PAGE_ITEMS_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_position_in_its_own_list_only() {
        let filter = Filter::new("cases", &[Some("acme"), None]);
        let cursor = filter.cursor(b"here");
        assert_eq!(filter.position(&cursor).unwrap(), b"here");
        for other in [
            Filter::new("tenants", &[Some("acme"), None]),
            Filter::new("cases", &[Some("globex"), None]),
            Filter::new("cases", &[None, Some("acme")]),
            Filter::new("cases", &[Some("acme"), Some("")]),
        ] {
            assert!(other.position(&cursor).is_err());
        }
        for broken in ["", "x", "!!", "AA", &"A".repeat(513)] {
            assert!(filter.position(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_page_has_fifty_items_unless_asked_and_five_hundred_at_most() {
        assert_eq!(limit(None).unwrap(), 50);
        assert_eq!(limit(Some(500)).unwrap(), 500);
        assert!(limit(Some(0)).is_err() && limit(Some(501)).is_err());
    }
}
