//! Which of the held alerts are sent as samples.
//!
//! Chosen by a keyed hash of the rule and the record, so that whoever knows the key, the spool's epoch, can tell
//! beforehand and check afterwards, and a sender cannot choose his records so that none is a sample.
//!
//! ```text
//! sample: SHA-256("signalbox audit" | epoch u64 BE | rule id | 0 | SHA-256(record)), first 8 bytes BE, modulo N, is 0
//! ```

use sha2::{Digest as _, Sha256};
use shared::ids::Epoch;

use super::Audit;

/// Returns whether this record, which this rule holds, is sent as a sample.
pub(super) fn is_sample(key: Epoch, rule: &str, record: &[u8], audit: Audit) -> bool {
    let share = u64::from(audit.0.get());
    if share == 1 {
        return true;
    }
    let mut hash = Sha256::new();
    hash.update(b"signalbox audit");
    hash.update(key.0.to_be_bytes());
    hash.update(rule.as_bytes());
    hash.update([0]);
    hash.update(Sha256::digest(record));
    let digest = hash.finalize();
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    first.is_multiple_of(share)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn one_in(share: u32) -> Audit {
        Audit(NonZeroU32::new(share).unwrap())
    }

    fn samples(key: u64, rule: &str, share: u32) -> Vec<u32> {
        let is_it = |number: &u32| {
            is_sample(Epoch(key), rule, format!("record {number}").as_bytes(), one_in(share))
        };
        (0..20_000).filter(is_it).collect()
    }

    #[test]
    fn about_the_asked_share_is_sampled_and_always_the_same_records() {
        let chosen = samples(7, "a", 200);
        assert!((70..130).contains(&chosen.len()), "{}", chosen.len());
        assert_eq!(samples(7, "a", 200), chosen);
        assert_ne!(samples(8, "a", 200), chosen, "another key chooses others");
        assert_ne!(samples(7, "b", 200), chosen, "another rule chooses others");
    }

    #[test]
    fn a_share_of_one_is_all() {
        assert_eq!(samples(7, "a", 1).len(), 20_000);
    }
}
