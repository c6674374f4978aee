//! Connection ids that are known again after a restart, and of which no two are the same.
//!
//! ```text
//! id: random [8] | the beginning of their HMAC-SHA-256 [4]
//! ```
//! An id that a peer is told with the question for its address is not among those of connections yet, and nothing looks
//! whether it is one of theirs: of the three random bytes that the library's own generator draws, one in some thousand
//! would be, where thousands of agents are connected, and that handshake would wait for its end. The tag tells packets
//! for connections of the process before, which are answered with a reset, from noise, which is answered with nothing.

use std::{fmt, time::Duration};

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use ring::hmac;

const RANDOM_BYTES: usize = 8;
const TAG_BYTES: usize = 4;

/// Makes them, with a key that outlives the process.
#[derive(Clone)]
pub(super) struct ConnectionIds(hmac::Key);

impl ConnectionIds {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn id(&self, random: [u8; RANDOM_BYTES]) -> [u8; RANDOM_BYTES + TAG_BYTES] {
        let tag = hmac::sign(&self.0, &random);
        let mut id = [0; RANDOM_BYTES + TAG_BYTES];
        id[..RANDOM_BYTES].copy_from_slice(&random);
        id[RANDOM_BYTES..].copy_from_slice(&tag.as_ref()[..TAG_BYTES]);
        id
    }
}

impl fmt::Debug for ConnectionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionIds(..)")
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.id(rand::random()))
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        let random = cid.first_chunk().ok_or(InvalidCid)?;
        if cid[..] == self.id(*random) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        RANDOM_BYTES + TAG_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn of_as_many_ids_as_a_busy_day_has_no_two_are_the_same() {
        let mut ids = ConnectionIds::new(b"key");
        let drawn: HashSet<Vec<u8>> = (0..100_000).map(|_| ids.generate_cid().to_vec()).collect();
        assert_eq!(drawn.len(), 100_000);
    }

    #[test]
    fn ids_of_the_process_before_are_known_again_and_others_are_not() {
        let id = ConnectionIds::new(b"key").generate_cid();
        let (same, other) = (ConnectionIds::new(b"key"), ConnectionIds::new(b"another"));
        assert_eq!(id.len(), same.cid_len());
        assert!(same.validate(&id).is_ok() && other.validate(&id).is_err());
        for at in 0..id.len() {
            let mut changed = id.to_vec();
            changed[at] ^= 1;
            assert!(same.validate(&ConnectionId::new(&changed)).is_err());
        }
        assert!(same.validate(&ConnectionId::new(&id[..7])).is_err());
        assert!(same.validate(&ConnectionId::new(&id[..11])).is_err());
    }
}
