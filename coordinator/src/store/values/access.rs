//! Who may use the API: bearer tokens, the people behind them, and what happened at the door.

use serde::{Deserialize, Serialize};
use shared::{ids::TenantId, time::Timestamp};

use super::{Role, Value, ValueError, decode_as, decode_newest};

/// A person, as the provider that they signed in at names them. Issuer and subject together never mean anybody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The provider.
    pub issuer: String,
    /// Its name for the person, which it gives to nobody else.
    pub subject: String,
    /// Their name for people.
    pub name: Option<String>,
    /// Their e-mail address, where the provider says that it was verified.
    pub email: Option<String>,
}

impl Person {
    /// Returns whether both are the same person, whatever they are called by now.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.issuer, &self.subject) == (&other.issuer, &other.subject)
    }
}

/// A bearer token, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Public name of the token: the first eight bytes of its digest in hex.
    pub id: String,
    /// Whose: the name that stands in the journal.
    pub holder: String,
    /// What it allows.
    pub role: Role,
    /// Whose cases; empty for every tenant.
    pub tenants: Vec<TenantId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Since when it is not good any more.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, as far as that was noted; the newest uses are noted a moment later.
    pub last_used_at: Option<Timestamp>,
    /// Who signed in for it; absent where somebody made it for somebody.
    pub person: Option<Person>,
}

/// The same as version 1 has it.
#[derive(Deserialize)]
struct TokenV1 {
    id: String,
    holder: String,
    role: Role,
    tenants: Vec<TenantId>,
    created_at: Timestamp,
    expires_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

impl Value for Token {
    const VERSION: u8 = 2;
    const NAME: &'static str = "token";

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        match bytes.split_first() {
            Some((1, rest)) => {
                let TokenV1 { id, holder, role, tenants, created_at, expires_at, revoked_at } =
                    decode_as::<Self, TokenV1>(rest)?;
                let (last_used_at, person) = (None, None);
                Ok(Self {
                    id,
                    holder,
                    role,
                    tenants,
                    created_at,
                    expires_at,
                    revoked_at,
                    last_used_at,
                    person,
                })
            }
            _ => decode_newest(bytes),
        }
    }
}

/// Why somebody who has shown the provider who they are gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInRefusal {
    /// They are in none of the groups that may sign in.
    NoGroup,
    /// They said in the browser that they have not asked for it.
    Disowned,
}

impl SignInRefusal {
    /// Returns its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoGroup => "no_group",
            Self::Disowned => "disowned",
        }
    }
}

/// What happened at the API's door. Append, never reorder (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessEvent {
    /// A person signed in and has a token.
    SignedIn {
        /// Its public name.
        token: String,
        /// Until when it is good.
        expires_at: Timestamp,
        /// Who.
        person: Person,
        /// What it allows.
        role: Role,
        /// Whose cases; empty for every tenant.
        tenants: Vec<TenantId>,
        /// The group of theirs that decided.
        group: String,
        /// From which address they asked for it.
        from: String,
        /// At which address their browser was.
        browser: String,
    },
    /// A person has shown who they are, and has no token.
    SignInRefused {
        /// Who.
        person: Person,
        /// Why.
        reason: SignInRefusal,
        /// From which address it was asked for.
        from: String,
    },
    /// So much that was not good came from an address that it is not listened to for a while.
    LockedOut {
        /// Which.
        from: String,
        /// Until when.
        until: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_version_1_stays_readable_and_was_never_used_by_anybody_known() {
        // "ab", "ana", analyst, no tenant, 1, 2, revoked at 3.
        let first = [1, 2, b'a', b'b', 3, b'a', b'n', b'a', 2, 0, 1, 2, 1, 3];
        let token = Token::decode(&first).unwrap();
        assert_eq!((token.id.as_str(), token.holder.as_str()), ("ab", "ana"));
        assert_eq!((token.role, token.revoked_at), (Role::Analyst, Some(Timestamp::from_ms(3))));
        assert_eq!((token.last_used_at, &token.person), (None, &None));
        let encoded = token.encode();
        assert_eq!(encoded[0], 2);
        assert_eq!(Token::decode(&encoded), Ok(token));
        for bytes in [&[][..], &[3, 0], &first[..5]] {
            assert!(Token::decode(bytes).is_err());
        }
    }

    #[test]
    fn a_person_stays_the_same_whatever_they_are_called_and_a_subject_is_of_one_issuer() {
        let ana = Person {
            issuer: "https://id.example".into(),
            subject: "17".into(),
            name: Some("Ana".into()),
            email: None,
        };
        assert!(ana.is(&Person { name: Some("Ana Sanz".into()), ..ana.clone() }));
        assert!(!ana.is(&Person { issuer: "https://id.test".into(), ..ana.clone() }));
        assert!(!ana.is(&Person { subject: "18".into(), ..ana.clone() }));
    }
}
