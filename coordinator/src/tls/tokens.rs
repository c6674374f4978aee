//! Which proofs of an address were used already.
//!
//! An agent that was let in has a token which proves its address at its next handshake (RFC 9000, section 8.1.3), and
//! so saves it a round trip. It says nothing of who the agent is and resumes nothing. Each is good once, or whoever has
//! one could have others' addresses sent to (section 8.1.4).
//!
//! Used tokens are remembered by the time in which they were issued, as long as they would be good otherwise. What
//! cannot be remembered counts as used: its address is asked again. After a restart no token is good: their key is new.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quinn::{TokenLog, TokenReuseError};

use crate::limits::ADDRESS_TOKENS_MAX;

/// The tokens that were used.
#[derive(Debug, Default)]
pub(super) struct UsedTokens(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    /// Number of the latest lifetime, since 1970, in which a used token was issued.
    period: u64,
    /// Of that lifetime.
    latest: HashSet<u128>,
    /// Of the one before.
    before: HashSet<u128>,
}

impl Used {
    /// Takes a token that was issued in this period; returns whether it is known to be used for the first time.
    fn take(&mut self, nonce: u128, period: u64) -> bool {
        if period > self.period {
            let latest = mem::take(&mut self.latest);
            self.before = if period - self.period == 1 { latest } else { HashSet::new() };
            self.period = period;
        }
        let tokens = match self.period - period {
            0 => &mut self.latest,
            1 => &mut self.before,
            _ => return false,
        };
        tokens.len() < ADDRESS_TOKENS_MAX && tokens.insert(nonce)
    }
}

impl TokenLog for UsedTokens {
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        let issued = issued.duration_since(UNIX_EPOCH).map_err(|_| TokenReuseError)?;
        let period = issued.as_secs() / lifetime.as_secs().max(1);
        // Every change is a few assignments: a panic leaves nothing broken.
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.take(nonce, period) { Ok(()) } else { Err(TokenReuseError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(100);

    /// Returns whether a token that was issued so many seconds after 1970 proves anything.
    fn proves(tokens: &UsedTokens, nonce: u128, issued: u64) -> bool {
        let issued = UNIX_EPOCH + Duration::from_secs(issued);
        tokens.check_and_insert(nonce, issued, LIFETIME).is_ok()
    }

    #[test]
    fn a_token_is_good_once_for_as_long_as_it_lives() {
        let tokens = UsedTokens::default();
        assert!(proves(&tokens, 1, 1_050) && !proves(&tokens, 1, 1_050));
        assert!(proves(&tokens, 2, 1_050), "others are good");
        assert!(proves(&tokens, 3, 1_140) && !proves(&tokens, 1, 1_050), "it lives until 1 150");
        assert!(proves(&tokens, 4, 1_099), "one from before that was not used");
        assert!(proves(&tokens, 5, 1_250) && !proves(&tokens, 3, 1_140));
        assert!(!proves(&tokens, 6, 1_050), "nobody knows any more whether it was used");
        assert!(proves(&tokens, 7, 9_000) && !proves(&tokens, 5, 1_250));
    }

    #[test]
    fn tokens_beyond_what_is_remembered_prove_nothing_until_the_next_time() {
        let tokens = UsedTokens::default();
        let good = (0..ADDRESS_TOKENS_MAX as u128 + 9).filter(|it| proves(&tokens, *it, 500));
        assert_eq!(good.count(), ADDRESS_TOKENS_MAX);
        assert!(proves(&tokens, u128::MAX, 600));
    }
}
