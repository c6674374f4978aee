//! Who the caller is, and signing in.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RoleName, Time, Token};
use crate::store::values::{self, Role};

/// Who the caller's token says that they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Name that stands in the journal.
    pub holder: String,
    /// What the token allows.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Whose data; null for every tenant's.
    #[schema(required)]
    pub tenants: Option<Vec<String>>,
    /// Until when the token is good.
    pub expires_at: Time,
    /// Public name of the token.
    pub token: String,
    /// Who signed in for the token; absent where somebody made it for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
}

/// A person, as the provider that they signed in at names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// The provider.
    pub issuer: String,
    /// Its name for the person, which it gives to nobody else.
    pub subject: String,
    /// Their name for people; absent where the provider did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their e-mail address; absent where the provider did not say that it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl From<&values::Person> for Person {
    fn from(person: &values::Person) -> Self {
        let values::Person { issuer, subject, name, email } = person.clone();
        Self { issuer, subject, name, email }
    }
}

/// Begins to sign somebody in. It says nothing; that it is JSON keeps pages of others from having browsers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {}

/// A sign-in that was begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInBegun {
    /// Its public name.
    pub id: String,
    /// What the person opens in a browser.
    pub url: String,
    /// What the person compares with what the browser shows.
    pub code: String,
    /// What to poll with: whoever has it gets the token.
    pub secret: String,
    /// Until when the person can sign in.
    pub expires_at: Time,
    /// How many seconds that is, for a clock that is wrong.
    pub expires_in_seconds: u32,
    /// How many seconds to wait before each poll.
    pub poll_seconds: u32,
}

impl fmt::Debug for SignInBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SignInBegun");
        shown.field("id", &self.id).field("expires_at", &self.expires_at);
        shown.finish_non_exhaustive() // the secret least of all
    }
}

/// Asks where a sign-in stands.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInPoll {
    /// The `secret` that it was begun with.
    pub secret: String,
}

impl fmt::Debug for SignInPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInPoll(..)")
    }
}

/// Where a sign-in stands.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum SignInState {
    /// The person is not done.
    Waiting,
    /// The person is signed in. This is told once.
    Done {
        /// The token.
        token: Box<Token>,
        /// Its secret, kept nowhere.
        secret: String,
    },
}

impl fmt::Debug for SignInState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("Waiting"),
            Self::Done { token, secret: _ } => {
                f.debug_struct("Done").field("token", token).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::time::Timestamp;

    use super::*;

    #[test]
    fn no_log_has_a_secret_of_a_sign_in() {
        let hidden = || "hidden".to_owned();
        let at = Time(Timestamp::ZERO);
        let begun = SignInBegun {
            id: "17".to_owned(),
            url: hidden(),
            code: hidden(),
            secret: hidden(),
            expires_at: at,
            expires_in_seconds: 600,
            poll_seconds: 2,
        };
        let token = Token {
            id: "18".to_owned(),
            holder: "ana".to_owned(),
            role: Role::Analyst,
            tenants: None,
            created_at: at,
            expires_at: at,
            revoked_at: None,
            last_used_at: None,
            person: None,
            is_good: true,
        };
        let done = SignInState::Done { token: Box::new(token), secret: hidden() };
        let shown = format!("{begun:?} {:?} {done:?}", SignInPoll { secret: hidden() });
        assert!(shown.contains("17") && shown.contains("18"), "{shown}");
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
