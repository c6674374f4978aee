//! How a host becomes an agent: the token that a customer is given, and the two frames that are exchanged for it.
//!
//! # Format
//! ```text
//! token:  "sbjoin1_" | base64url, unpadded, of  bincode of the fields | crc32c u32 LE of them
//! frames: len u32 LE (of what follows) | bincode of JoinRequest, answered by that of JoinReply, or of JoinAnswer
//! ```
//! They are exchanged over one bidirectional stream of a connection whose ALPN is [`ALPN_JOIN`]. The host believes the
//! coordinator when its chain leads to the root whose digest stands in the token; the coordinator believes whoever has
//! the token's secret, and decides whose agent it becomes: nothing in a request says so.
//!
//! A host offers [`ALPN_JOIN_2`], too. A coordinator that knows it chooses that, and tells by it which keys sign
//! policies; an earlier one does not, and the host trusts none until it is told otherwise.
//!
//! A token is a secret. Its `Debug` shows nothing of it, and the coordinator keeps a digest only.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ids::{AgentId, TenantId},
    limits::{JOIN_ADDRESS_BYTES_MAX, JOIN_ADDRESSES_MAX, JOIN_FRAME_BYTES_MAX, POLICY_KEYS_MAX},
    policy::PolicyPublicKey,
    time::Timestamp,
    wire::codec::{self, CodecError},
};

/// Protocol's name in TLS (ALPN).
pub const ALPN_JOIN: &[u8] = b"signalbox-join/1";

/// The same with [`JoinAnswer`] for an answer.
pub const ALPN_JOIN_2: &[u8] = b"signalbox-join/2";

/// What a token's text begins with; scanners for leaked secrets can look for it.
pub const JOIN_TOKEN_PREFIX: &str = "sbjoin1_";

/// What proves that a host was invited; 128 bits of chance.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinSecret([u8; Self::LEN]);

impl JoinSecret {
    /// Its length, in bytes.
    pub const LEN: usize = 16;

    /// Returns the secret of these bytes, which a driver drew.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(..)")
    }
}

/// All that a host needs to become an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Where coordinators are, as `host:port`: 1 to [`JOIN_ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// DNS name that the coordinator's certificate carries.
    pub server_name: String,
    /// SHA-256 of the root's certificate in DER.
    pub root_sha256: [u8; 32],
    /// What proves that the host was invited.
    pub secret: JoinSecret,
}

/// Why a text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoinTokenError {
    /// It begins with something else: it is another kind of secret, or of a later version.
    #[error("a join token begins with {JOIN_TOKEN_PREFIX}")]
    Prefix,
    /// Characters are missing, doubled or changed.
    #[error(
        "the token was not copied whole, or was changed: copy it again, from {JOIN_TOKEN_PREFIX} \
         to its end"
    )]
    Damaged,
    /// It is whole, and what it says is not allowed.
    #[error("the token names no address of a coordinator, or too many")]
    Addresses,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = codec::encode(self).map_err(|_| fmt::Error)?;
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        write!(f, "{JOIN_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let text = text.trim().strip_prefix(JOIN_TOKEN_PREFIX).ok_or(JoinTokenError::Prefix)?;
        if text.len() > JOIN_FRAME_BYTES_MAX {
            return Err(JoinTokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| JoinTokenError::Damaged)?;
        let (bytes, sum) = bytes.split_last_chunk().ok_or(JoinTokenError::Damaged)?;
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*sum) {
            return Err(JoinTokenError::Damaged);
        }
        let token: Self = codec::decode(bytes).map_err(|_| JoinTokenError::Damaged)?;
        if token.has_addresses() { Ok(token) } else { Err(JoinTokenError::Addresses) }
    }
}

impl JoinToken {
    /// Returns whether it names as many addresses as a token may, and none that is too long.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        let is_short = |text: &String| (1..=JOIN_ADDRESS_BYTES_MAX).contains(&text.len());
        (1..=JOIN_ADDRESSES_MAX).contains(&self.addresses.len())
            && self.addresses.iter().all(is_short)
            && is_short(&self.server_name)
    }
}

/// What a host asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token's secret.
    pub secret: JoinSecret,
    /// Signing request for the key that was made on the host (PKCS #10, DER). Names in it count for nothing.
    pub signing_request: Vec<u8>,
    /// What the host calls itself: shown to people until its context is there, and believed by nobody.
    pub host_name: String,
    /// Version of the agent's program.
    pub agent_version: String,
}

/// What a host is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// It is an agent now.
    Joined(Joined),
    /// It is none.
    Refused(JoinRefusal),
}

/// What a host is answered over [`ALPN_JOIN_2`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// Whether it is an agent now.
    pub reply: JoinReply,
    /// Public keys that sign the policies of its tenant: it takes no others, whatever a coordinator says later.
    pub policy_keys: Vec<[u8; PolicyPublicKey::LEN]>,
}

impl JoinAnswer {
    /// Returns the keys.
    #[must_use]
    pub fn keys(&self) -> Vec<PolicyPublicKey> {
        let keys = self.policy_keys.iter().take(POLICY_KEYS_MAX);
        keys.map(|key| PolicyPublicKey::from_bytes(*key)).collect()
    }
}

/// A new agent's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Whose agent it is.
    pub tenant: TenantId,
    /// Which agent it is.
    pub agent: AgentId,
    /// Its certificate and those that lead to the root, without it, in DER.
    pub chain: Vec<Vec<u8>>,
}

/// Why a host is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRefusal {
    /// No token has this secret, at this coordinator.
    Unknown,
    /// The token was good until then.
    Expired(Timestamp),
    /// The token has been used as often as it may be.
    Used,
    /// Somebody has revoked the token.
    Revoked,
    /// The signing request is none, or is not signed by the key in it.
    SigningRequest,
    /// Too many from the host's address were refused lately.
    TooMany,
    /// The coordinator cannot issue certificates now.
    Unavailable,
}

impl JoinRefusal {
    /// Returns its name in counters and documents, which is its serde name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired(_) => "expired",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::SigningRequest => "signing_request",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
        }
    }

    /// Returns whether the same request may be granted later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::TooMany | Self::Unavailable)
    }
}

impl fmt::Display for JoinRefusal {
    /// Says what is wrong and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "the coordinator does not know this token: is it for another coordinator?",
            ),
            Self::Expired(at) => {
                write!(f, "the token was good until {at}: ask your provider for a new one")
            }
            Self::Used => f.write_str(
                "the token has been used as often as it may be: ask your provider for a new one",
            ),
            Self::Revoked => f.write_str("the token was revoked: ask your provider for a new one"),
            Self::SigningRequest => f.write_str("the coordinator cannot read the signing request"),
            Self::TooMany => f.write_str(
                "too many from this address were refused lately: try again in some minutes",
            ),
            Self::Unavailable => f.write_str(
                "the coordinator cannot issue certificates now: try later, or tell your provider",
            ),
        }
    }
}

/// Encodes one frame of the exchange, its length first.
///
/// # Errors
/// It is longer than [`JOIN_FRAME_BYTES_MAX`].
pub fn encode_frame<T: Serialize>(frame: &T) -> Result<Vec<u8>, CodecError> {
    let body = codec::encode(frame)?;
    match u32::try_from(body.len()) {
        Ok(len) if body.len() <= JOIN_FRAME_BYTES_MAX => {
            Ok([&len.to_le_bytes()[..], &body].concat())
        }
        Ok(_) | Err(_) => Err(CodecError::Encode(format!("{} bytes are too many", body.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            addresses: vec!["signalbox.example.net:4433".into(), "[2001:db8::1]:4433".into()],
            server_name: "box1.example.net".into(),
            root_sha256: [7; 32],
            secret: JoinSecret::from_bytes([9; 16]),
        }
    }

    #[test]
    fn a_token_reads_back_as_it_was_written() {
        let text = token().to_string();
        assert!(text.starts_with(JOIN_TOKEN_PREFIX) && text.len() < 250, "{text}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(text.chars().all(is_plain), "it is one word in any shell: {text}");
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()), "as pasted");
    }

    #[test]
    fn a_token_that_was_not_copied_whole_is_told_from_one_that_is_unknown() {
        let text = token().to_string();
        for end in JOIN_TOKEN_PREFIX.len()..text.len() {
            assert_eq!(text[..end].parse::<JoinToken>(), Err(JoinTokenError::Damaged), "{end}");
        }
        for at in JOIN_TOKEN_PREFIX.len()..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            // Of the last character some bits stand for nothing, and base64 refuses or ignores them.
            let read = changed.parse::<JoinToken>();
            assert!(read == Err(JoinTokenError::Damaged) || read == Ok(token()), "{at}");
        }
        assert_eq!("sb_0123".parse::<JoinToken>(), Err(JoinTokenError::Prefix));
        assert_eq!("".parse::<JoinToken>(), Err(JoinTokenError::Prefix));
    }

    #[test]
    fn a_token_without_an_address_or_with_too_many_is_refused() {
        for addresses in [vec![], vec![String::new()], vec!["a:1".into(); JOIN_ADDRESSES_MAX + 1]] {
            let text = JoinToken { addresses, ..token() }.to_string();
            assert_eq!(text.parse::<JoinToken>(), Err(JoinTokenError::Addresses));
        }
    }

    #[test]
    fn nothing_of_the_secret_is_shown_by_accident() {
        assert!(!format!("{:?}", token()).contains('9'), "{:?}", token());
    }

    #[test]
    fn an_answer_of_the_second_protocol_keeps_its_bytes() {
        let reply = JoinReply::Refused(JoinRefusal::Used);
        let answer = JoinAnswer { reply, policy_keys: vec![[7; 32]] };
        let bytes = codec::encode(&answer).unwrap();
        assert_eq!(bytes, [&[1, 2, 1][..], &[7; 32]].concat());
        assert_eq!(codec::decode(&bytes), Ok(answer.clone()));
        assert_eq!(answer.keys(), [PolicyPublicKey::from_bytes([7; 32])]);
        let many = JoinAnswer { policy_keys: vec![[7; 32]; POLICY_KEYS_MAX + 1], ..answer };
        assert_eq!(many.keys().len(), POLICY_KEYS_MAX);
    }

    #[test]
    fn the_frames_bytes_are_what_they_were() {
        let request = JoinRequest {
            secret: JoinSecret::from_bytes([9; 16]),
            signing_request: vec![1, 2, 3],
            host_name: "web-1".into(),
            agent_version: "0.1.0".into(),
        };
        let bytes = encode_frame(&request).unwrap();
        let mut golden = vec![32, 0, 0, 0];
        golden.extend([9; 16]);
        golden.extend([3, 1, 2, 3]);
        golden.extend(b"\x05web-1\x050.1.0");
        assert_eq!(bytes, golden);
        let refused = JoinReply::Refused(JoinRefusal::Expired(Timestamp::from_ms(5)));
        assert_eq!(encode_frame(&refused).unwrap(), [3, 0, 0, 0, 1, 1, 5]);
        assert_eq!(codec::decode(&[1, 1, 5]), Ok(refused));
        let long = JoinRequest { signing_request: vec![0; JOIN_FRAME_BYTES_MAX], ..request };
        assert!(encode_frame(&long).is_err(), "L7");
    }
}
