//! Who a certificate says its holder is (L5).
//!
//! Identities are SPIFFE-style URIs in the certificate's subject alternative name:
//!
//! ```text
//! spiffe://<trust-domain>/tenant/<tenant>/agent/<agent>      an agent
//! spiffe://<trust-domain>/coordinator/<name>                 a coordinator
//! ```
//!
//! Source: the SPIFFE ID specification, section 2. A certificate carries exactly one such URI.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::ids::{AgentId, IdError, TenantId};

/// Trust domain used where none is configured.
pub const TRUST_DOMAIN_DEFAULT: &str = "signalbox.internal";

/// What a verified certificate proves about its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The authority's name space: 1-255 of `a-z`, `0-9`, `.`, `-` and `_`.
    pub trust_domain: String,
    /// The role and name within it.
    pub role: Role,
}

/// Role and name of a certificate's holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// An agent on a host of a tenant.
    Agent {
        /// Whose data it sends.
        tenant: TenantId,
        /// Which agent.
        agent: AgentId,
    },
    /// A coordinator of the MSSP.
    Coordinator {
        /// Its name: 1-63 of `a-z`, `0-9`, `.` and `-`.
        name: String,
    },
}

/// Why a URI is not an identity of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Another scheme, or no authority.
    #[error("{0:?} is not a spiffe:// URI with a valid trust domain")]
    NotSpiffe(String),
    /// A path that names no role of ours.
    #[error("{0:?} names neither an agent nor a coordinator")]
    UnknownRole(String),
    /// A tenant or agent that cannot be one.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let shown = || uri.chars().take(256).collect::<String>();
        let not_spiffe = || IdentityError::NotSpiffe(shown());
        let rest = uri.strip_prefix("spiffe://").ok_or_else(not_spiffe)?;
        let (trust_domain, path) = rest.split_once('/').ok_or_else(not_spiffe)?;
        if !is_trust_domain(trust_domain) {
            return Err(not_spiffe());
        }
        let segments: Vec<&str> = path.splitn(6, '/').collect();
        let role = match segments.as_slice() {
            ["tenant", tenant, "agent", agent] => {
                Role::Agent { tenant: tenant.parse()?, agent: agent.parse()? }
            }
            ["coordinator", name] if is_coordinator_name(name) => {
                Role::Coordinator { name: (*name).to_owned() }
            }
            _ => return Err(IdentityError::UnknownRole(shown())),
        };
        let identity = Self { trust_domain: trust_domain.to_owned(), role };
        // One identity has one spelling: a UUID in braces or capitals is another string for the same agent.
        if identity.to_string() == uri {
            Ok(identity)
        } else {
            Err(IdentityError::UnknownRole(shown()))
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/", self.trust_domain)?;
        match &self.role {
            Role::Agent { tenant, agent } => write!(f, "tenant/{tenant}/agent/{agent}"),
            Role::Coordinator { name } => write!(f, "coordinator/{name}"),
        }
    }
}

/// Returns whether `name` can name a trust domain: 1 to 255 of a-z, 0-9, '.', '-' and '_'.
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(allowed)
}

/// Returns whether `name` can name a coordinator: a DNS name in lower case of at most 63 bytes.
#[must_use]
pub fn is_coordinator_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
    (1..=63).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str =
        "spiffe://signalbox.internal/tenant/acme/agent/7d444840-9dc0-41d1-b245-5ffdce74fad2";

    #[test]
    fn identities_read_back_as_they_were_written() {
        for uri in [AGENT, "spiffe://mssp.example/coordinator/box1.mssp.example"] {
            assert_eq!(uri.parse::<Identity>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn a_uri_that_is_not_exactly_ours_is_refused() {
        let refused = [
            "https://signalbox.internal/coordinator/a",
            "spiffe://signalbox.internal",
            "spiffe:///coordinator/a",
            "spiffe://UPPER/coordinator/a",
            "spiffe://d/coordinator/",
            "spiffe://d/coordinator/a/b",
            "spiffe://d/tenant/acme/agent/not-a-uuid",
            "spiffe://d/tenant/ACME/agent/7d444840-9dc0-41d1-b245-5ffdce74fad2",
            "spiffe://d/tenant/acme/agent/7D444840-9DC0-41D1-B245-5FFDCE74FAD2",
            "spiffe://d/tenant/acme/agent/7d444840-9dc0-41d1-b245-5ffdce74fad2/",
            "spiffe://d/tenant/../agent/7d444840-9dc0-41d1-b245-5ffdce74fad2",
        ];
        for uri in refused {
            assert!(uri.parse::<Identity>().is_err(), "{uri}");
        }
    }
}
