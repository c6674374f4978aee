//! When tokens were used last: noted by the API in memory, and written down by the upkeep from time to time.
//!
//! A write for each request would make every read of the API a change. So the newest uses are here alone; a crash
//! loses those of the last minute.
//!
//! # Limits
//! At most [`TOKENS_NOTED_MAX`] tokens: beyond that those go that were not used for the longest time, and before them
//! those whose use is written.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use shared::time::Timestamp;

use crate::{limits::TOKENS_NOTED_MAX, store::schema::TokenKey};

/// A handle of what was noted; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Uses(Arc<Mutex<HashMap<TokenKey, Use>>>);

#[derive(Clone, Copy, Debug)]
struct Use {
    at: Timestamp,
    is_written: bool,
}

impl Use {
    /// Returns what puts uses in the order in which they are forgotten: a written one can be read again.
    fn worth(&self) -> (bool, Timestamp) {
        (!self.is_written, self.at)
    }
}

impl Uses {
    /// Notes that a token that is good was used.
    pub fn note(&self, key: TokenKey, now: Timestamp) {
        let mut uses = self.lock();
        if uses.len() >= TOKENS_NOTED_MAX && !uses.contains_key(&key) {
            // Half at once, so that a table that stays full is not sorted again for each.
            let mut worth: Vec<_> = uses.values().map(Use::worth).collect();
            worth.sort_unstable();
            let middle = worth[worth.len() / 2];
            uses.retain(|_, known| known.worth() > middle);
        }
        uses.insert(key, Use { at: now, is_written: false });
    }

    /// Returns when a token was used last, if that is still known here.
    #[must_use]
    pub fn last(&self, key: &TokenKey) -> Option<Timestamp> {
        self.lock().get(key).map(|known| known.at)
    }

    /// Returns all uses that were not taken before.
    #[must_use]
    pub fn take_new(&self) -> Vec<(TokenKey, Timestamp)> {
        let mut uses = self.lock();
        let new = uses.iter_mut().filter(|(_, known)| !known.is_written);
        new.map(|(key, known)| {
            known.is_written = true;
            (*key, known.at)
        })
        .collect()
    }

    /// Gives back what could not be written.
    pub fn put_back(&self, taken: &[(TokenKey, Timestamp)]) {
        let mut uses = self.lock();
        for (key, _) in taken {
            if let Some(known) = uses.get_mut(key) {
                known.is_written = false;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenKey, Use>> {
        // A panic elsewhere leaves the map whole: each change of it is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> TokenKey {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        TokenKey(digest)
    }

    fn at(ms: usize) -> Timestamp {
        Timestamp::from_ms(u64::try_from(ms).unwrap())
    }

    #[test]
    fn a_use_is_taken_once_and_again_when_it_was_put_back_or_there_is_a_newer_one() {
        let uses = Uses::default();
        uses.note(key(1), at(1));
        uses.note(key(1), at(2));
        assert_eq!(uses.take_new(), [(key(1), at(2))]);
        assert_eq!(uses.take_new(), []);
        uses.put_back(&[(key(1), at(2)), (key(7), at(2))]);
        assert_eq!(uses.take_new().len(), 1);
        uses.note(key(1), at(3));
        assert_eq!(uses.take_new(), [(key(1), at(3))]);
        assert_eq!((uses.last(&key(1)), uses.last(&key(2))), (Some(at(3)), None));
    }

    #[test]
    fn what_is_noted_does_not_grow_with_the_tokens() {
        let uses = Uses::default();
        for number in 0..=TOKENS_NOTED_MAX {
            uses.note(key(number), at(number));
        }
        assert!(uses.lock().len() <= TOKENS_NOTED_MAX, "L7");
        assert_eq!(uses.last(&key(0)), None, "the oldest goes");
        assert_eq!(uses.last(&key(TOKENS_NOTED_MAX)), Some(at(TOKENS_NOTED_MAX)));
    }

    #[test]
    fn what_is_written_is_forgotten_before_what_is_not() {
        let uses = Uses::default();
        let note = |number| uses.note(key(number), at(number));
        (0..TOKENS_NOTED_MAX).for_each(note);
        assert_eq!(uses.take_new().len(), TOKENS_NOTED_MAX);
        let old = TOKENS_NOTED_MAX / 4;
        (0..old).for_each(note);
        note(TOKENS_NOTED_MAX);
        assert_eq!(uses.last(&key(0)), Some(at(0)), "the oldest of all is not written yet");
        assert_eq!(uses.last(&key(old)), None);
        assert_eq!(uses.take_new().len(), old + 1);
    }
}
