//! How an agent gets its next certificate: it makes a fresh key, asks for a certificate for it over its live
//! connection, and connects anew with that.
//!
//! ```text
//! agent                                   coordinator
//!   fresh key, Renew {signing request} ─▶   still served? sign
//!   key and certificate in place       ◀─   Renewed {chain}
//!   connects with them                 ─▶   from here on the certificates before are worthless
//! ```
//! An agent that slept past the end of its certificate asks over a protocol of its own ([`ALPN_RENEW`]).
//!
//! A certificate is worth something until a later one of the same agent was used: an answer that is lost costs nothing,
//! and one that was stolen ends with the next renewal. Whose it is the coordinator takes from the connection.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    limits::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX},
    time::Timestamp,
};

/// Protocol's name in TLS (ALPN) of an agent whose certificate has ended: it may show that for a while, and is served
/// nothing but this. Over one bidirectional stream one [`RenewRequest`] is answered by one [`RenewReply`], each as
/// [`crate::join::encode_frame`] makes it.
pub const ALPN_RENEW: &[u8] = b"signalbox-renew/1";

/// What an agent asks for whose certificate has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Signing request for a fresh key (PKCS #10, DER). Names in it count for nothing.
    pub signing_request: Vec<u8>,
}

/// What an agent is answered that asks for its next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenewReply {
    /// Its next certificate and those that lead to the root, without it, in DER.
    Renewed(Vec<Vec<u8>>),
    /// It gets none.
    Refused(RenewRefusal),
}

impl RenewReply {
    /// Returns whether it is within its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::Renewed(chain) => {
                (1..=CHAIN_CERTIFICATES_MAX).contains(&chain.len())
                    && chain.iter().map(Vec::len).sum::<usize>() <= CHAIN_BYTES_MAX
            }
            Self::Refused(_) => true,
        }
    }
}

/// Why an agent gets no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum RenewRefusal {
    /// The signing request is none, or is not signed by the key in it.
    #[error("the signing request is none, or not signed by its key")]
    SigningRequest,
    /// The coordinator cannot issue certificates now.
    #[error("the coordinator cannot issue certificates now")]
    Unavailable,
    /// Too many agents of the tenant had let theirs run out.
    #[error("too many agents of this tenant had let their certificates run out: later")]
    TooMany,
    /// The agent has asked too often.
    #[error("this agent has asked for certificates too often: later")]
    TooOften,
}

/// Returns when a certificate is to be renewed: at two thirds of its life, `share` of a twentieth earlier, so that
/// those who joined together do not ask together. `share` lies between 0 and 1.
#[must_use]
pub fn due_at(not_before: Timestamp, not_after: Timestamp, share: f64) -> Timestamp {
    let life = not_after.since(not_before);
    let early = life.mul_f64(share.clamp(0.0, 1.0) / 20.0);
    not_before.saturating_add(life * 2 / 3 - early)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_before() {
        let start = Timestamp::from_ms(1_790_000_000_000);
        let end = start.saturating_add(DAY * 30);
        assert_eq!(due_at(start, end, 0.0), start.saturating_add(DAY * 20));
        assert_eq!(due_at(start, end, 1.0), start.saturating_add(DAY * 37 / 2));
        assert_eq!(due_at(start, end, 7.0), due_at(start, end, 1.0));
        assert_eq!(due_at(end, start, 0.5), end, "a life that ends before it begins is none");
    }

    #[test]
    fn a_chain_has_as_many_certificates_and_bytes_as_it_may() {
        let chain = |count, bytes| RenewReply::Renewed(vec![vec![0; bytes]; count]).is_bounded();
        assert!(chain(1, 1) && chain(CHAIN_CERTIFICATES_MAX, 100) && chain(1, CHAIN_BYTES_MAX));
        assert!(!chain(0, 0) && !chain(CHAIN_CERTIFICATES_MAX + 1, 1));
        assert!(!chain(2, CHAIN_BYTES_MAX / 2 + 1));
        assert!(RenewReply::Refused(RenewRefusal::Unavailable).is_bounded());
    }
}
