//! Whether agents that go by a trust bundle would go on believing this coordinator, and what it issues.

use std::sync::Arc;

use certs::spki_digest_of_der;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};
use shared::{
    time::Timestamp,
    trust::{SpkiDigest, TrustBundle},
};

use super::{Issuer, TlsError, load_certificates, provider, server_name};
use crate::config::Config;

/// What this coordinator shows to agents, and what issues for them.
#[derive(Clone, Debug)]
pub struct Own {
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    /// Digest of the root under which certificates are issued, and the key that issues.
    authority: Option<([u8; 32], SpkiDigest)>,
}

impl Own {
    /// Loads what the configuration names.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn load(config: &Config, issuer: Option<&Issuer>) -> Result<Self, TlsError> {
        let path = &config.ingest.identity.certificate;
        let name = server_name(&config.ingest)?;
        let name = ServerName::try_from(name).map_err(|error| TlsError::NotCoordinator {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let authority = issuer.map(|issuer| (issuer.root_sha256(), issuer.spki()));
        Ok(Self { chain: load_certificates(path)?, name, authority })
    }

    /// Returns the key that issues agents' certificates, where one does.
    #[must_use]
    pub fn issuer(&self) -> Option<SpkiDigest> {
        self.authority.map(|(_, key)| key)
    }

    /// Looks at a bundle as an agent would that is shown this coordinator's certificate, and as a host that has joined
    /// by one of its tokens.
    ///
    /// # Errors
    /// Says who would be locked out, and what to do.
    pub fn check(&self, bundle: &TrustBundle, now: Timestamp) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        for (number, root) in (1..).zip(&bundle.roots) {
            let added = roots.add(CertificateDer::from(root.as_slice()).into_owned());
            added.map_err(|error| format!("root {number} is no root's certificate: {error}"))?;
        }
        let (leaf, intermediates) =
            self.chain.split_first().ok_or("this coordinator has no certificate")?;
        for der in intermediates {
            let key = spki_digest_of_der(der).map_err(|error| error.to_string())?;
            if bundle.distrusted.contains(&key) {
                return Err(format!(
                    "agents would not believe this coordinator any more: its own certificate \
                     ([ingest] certificate) is of the distrusted intermediate {key}; give it one \
                     of the next intermediate first"
                ));
            }
        }
        let known = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| error.to_string())?;
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.as_ms()));
        known.verify_server_cert(leaf, intermediates, &self.name, &[], at).map_err(|error| {
            format!(
                "agents would not believe this coordinator any more: its own certificate ([ingest] \
                 certificate) leads to none of the roots: {error}"
            )
        })?;
        let Some((root, key)) = self.authority else { return Ok(()) };
        if !bundle.roots.iter().any(|der| *Sha256::digest(der) == root) {
            return Err("the root of [authority] is not among the roots: hosts that join believe \
                        in that one"
                .to_owned());
        }
        if bundle.distrusted.contains(&key) {
            return Err(format!(
                "[authority] issues by the distrusted intermediate {key}: give it the next one \
                 first"
            ));
        }
        Ok(())
    }
}
