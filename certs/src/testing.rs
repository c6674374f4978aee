//! Certificates that no authority should issue, for tests of those who must refuse them.
//!
//! Nothing here is used by a program: [`Authority`] issues only names of its trust domain that are
//! valid now, so a test that needs an expired, nameless or foreign certificate makes it here.

use std::net::IpAddr;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use shared::{identity::Identity, time::Timestamp};

use crate::{
    authority::{AGENT_VALIDITY, Authority, CreateError, IssueError, Leaf, SKEW, dns_san, params},
    key::PrivateKey,
};

/// A leaf exactly as a test wants it; nothing is checked or cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLeaf {
    /// URIs, in this order.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// First instant at which it is valid.
    pub not_before: Timestamp,
    /// Last instant at which it is valid.
    pub not_after: Timestamp,
    /// Whether it is good for a server.
    pub server_auth: bool,
    /// Whether it is good for a client.
    pub client_auth: bool,
}

impl RawLeaf {
    /// Returns what a good certificate of `identity` would be: valid at `now`, for a client and a
    /// server.
    #[must_use]
    pub fn of(identity: &Identity, now: Timestamp) -> Self {
        Self {
            uris: vec![identity.to_string()],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            not_before: now.saturating_sub(SKEW),
            not_after: now.saturating_add(AGENT_VALIDITY),
            server_auth: true,
            client_auth: true,
        }
    }

    /// Returns it with an end one minute before `now`, and a start a month before that.
    #[must_use]
    pub fn expired_at(mut self, now: Timestamp) -> Self {
        self.not_after = now.saturating_sub(std::time::Duration::from_secs(60));
        self.not_before = self.not_after.saturating_sub(AGENT_VALIDITY);
        self
    }

    /// Returns it with these URIs in place of its own.
    #[must_use]
    pub fn with_uris(mut self, uris: &[&str]) -> Self {
        self.uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        self
    }
}

/// Issues `raw` with a new key, whatever it says: expired, without a URI, of another tenant or
/// trust domain.
///
/// # Errors
/// [`IssueError`] where it cannot be encoded.
pub fn issue_raw(authority: &Authority, raw: &RawLeaf) -> Result<Leaf, IssueError> {
    let mut params =
        params(raw.not_before, raw.not_after).ok_or(IssueError::Time(raw.not_after))?;
    params.distinguished_name.push(DnType::CommonName, "raw");
    for uri in &raw.uris {
        let uri = uri.as_str().try_into().map_err(IssueError::Sign)?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    for name in &raw.dns_names {
        params.subject_alt_names.push(dns_san(name)?);
    }
    params.subject_alt_names.extend(raw.ip_addresses.iter().copied().map(SanType::IpAddress));
    if raw.server_auth {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if raw.client_auth {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    }
    let key = PrivateKey::generate()?;
    Ok(authority.sign(params, key.pair())?.with_key(&key))
}

/// Returns a signing request of `key` that asks for a name, which nobody may believe.
///
/// # Errors
/// [`IssueError`] where it cannot be encoded.
pub fn signing_request_for(key: &PrivateKey, identity: &Identity) -> Result<Vec<u8>, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, identity.to_string());
    let uri = identity.to_string().as_str().try_into().map_err(IssueError::Sign)?;
    params.subject_alt_names.push(SanType::URI(uri));
    let request = params.serialize_request(key.pair()).map_err(IssueError::Sign)?;
    Ok(request.der().to_vec())
}

/// Returns another authority of the same trust domain as `authority`: what an impostor would make.
///
/// # Errors
/// As [`Authority::create`].
pub fn impostor_of(authority: &Authority, now: Timestamp) -> Result<Authority, CreateError> {
    Authority::create(authority.trust_domain(), now)
}
