//! Whom this agent believes to be a coordinator: by its configured root, or by the trust bundle that it took in the
//! root's place.
//!
//! ```text
//! offer ─▶ accept (signature, trust domain, sequence) ─▶ roots read ─▶ stored and synced ─▶ believed
//!       ◀─ refused, with the reason ◀──┘◀─────────────────┘◀──────────────┘
//! ```
//! It is stored beside the certificate, and not with the spool: a spool may be moved aside on good grounds, and whom
//! the agent believes must not change by that. Joining again throws it away, as the token's root takes its place.
//!
//! Its signature was good when it was taken, and what is stored is as well guarded as the root's file. So one that is
//! intact goes on counting where its key is not known here any more: the configured root would bring back what the
//! bundle took away. Only what is damaged counts for nothing.
//!
//! Every connection that the agent dials asks here in its handshake, so a bundle counts for the next one at once.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use certs::spki_digest_of_der;
use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest as _, Sha256};
use shared::{
    limits::TRUST_ENVELOPE_BYTES_MAX,
    policy::{PolicyDigest, PolicyPublicKey},
    time::Timestamp,
    trust::{SpkiDigest, TrustAck, TrustBundle, TrustOffer, TrustRefusal, accept, open, peek},
};

use super::CredentialsError;
use crate::{
    envelope::{Floor, Stored, Whose},
    status::{RefusalStatus, TrustStatus},
};

/// Name of the file in the folder of the certificate.
pub const TRUST_FILE: &str = "trust.signed";

/// Whom this agent believes. All of its connections share one.
#[derive(Debug)]
pub struct Trust {
    /// Name space in which coordinators are believed.
    trust_domain: String,
    provider: Arc<CryptoProvider>,
    /// By the configured root.
    anchor: Verifiers,
    /// The configured root itself, or what else is in its file.
    anchors: Vec<TrustAnchor<'static>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The keys that sign bundles.
    keys: Vec<PolicyPublicKey>,
    /// Where a bundle is stored; none is taken before it is said.
    path: Option<PathBuf>,
    taken: Option<Taken>,
    /// What none that is taken may be below.
    floor: Floor,
    /// What is wrong with what is stored.
    error: Option<String>,
    refused: u64,
    last_refusal: Option<RefusalStatus>,
}

/// A bundle that is believed.
#[derive(Clone, Debug)]
struct Taken {
    sequence: u64,
    digest: PolicyDigest,
    roots: usize,
    /// Whether the configured root is none of them.
    is_root_replaced: bool,
    distrusted: Vec<SpkiDigest>,
    verifiers: Verifiers,
}

/// Verification by the same roots of either side's certificates.
#[derive(Clone, Debug)]
struct Verifiers {
    of_servers: Arc<WebPkiServerVerifier>,
    of_clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Returns trust in a configured root alone.
    ///
    /// # Errors
    /// [`CredentialsError::Tls`]: it is none.
    pub(super) fn in_roots(
        roots: RootCertStore,
        trust_domain: String,
    ) -> Result<Arc<Self>, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let anchors = roots.roots.clone();
        let anchor = Verifiers::by(roots, &provider).map_err(rustls::Error::General)?;
        let state = Mutex::default();
        Ok(Arc::new(Self { trust_domain, provider, anchor, anchors, state }))
    }

    /// Takes up what is stored in a folder, and takes what `keys` sign from here on. A file that is damaged is as none,
    /// and that is shown; so is that the key of what counts is not among `keys`.
    pub(crate) fn begin(&self, keys: Vec<PolicyPublicKey>, folder: &Path) {
        let path = folder.join(TRUST_FILE);
        let mut state = self.lock();
        match self.stored(&mut state, &path, &keys) {
            Ok(None) => {}
            Ok(Some((taken, unknown))) => {
                let (sequence, roots) = (taken.sequence, taken.roots);
                tracing::info!(sequence, roots, "trust bundle says whom this agent believes");
                if let Some(refusal) = unknown {
                    let error = format!("{}: {refusal}", path.display());
                    tracing::error!(error, "trust bundle counts on, and no further one is taken");
                    state.error = Some(error);
                }
                state.taken = Some(taken);
            }
            Err(error) => {
                let error = format!("{}: {error}", path.display());
                tracing::error!(error, "trust bundle is not taken up: the configured root counts");
                state.error = Some(error);
            }
        }
        (state.keys, state.path) = (keys, Some(path));
    }

    /// Reads what is stored, and says besides if its key is not among `keys`.
    fn stored(
        &self,
        state: &mut State,
        path: &Path,
        keys: &[PolicyPublicKey],
    ) -> Result<Option<(Taken, Option<TrustRefusal>)>, String> {
        let loaded = Stored::load(path, &self.whose(), TRUST_ENVELOPE_BYTES_MAX);
        let Some(stored) = loaded.map_err(|error| error.to_string())? else { return Ok(None) };
        state.floor = stored.floor;
        let (bundle, unknown) = match open(&stored.envelope, keys) {
            Ok(bundle) => (bundle, None),
            Err(refusal @ TrustRefusal::UnknownKey) if stored.floor.is_of(&stored.envelope) => {
                let (_, bundle) = peek(&stored.envelope).ok_or_else(|| refusal.to_string())?;
                (bundle, Some(refusal))
            }
            Err(refusal) => return Err(refusal.to_string()),
        };
        if bundle.trust_domain != self.trust_domain {
            return Err(TrustRefusal::ForeignDomain.to_string());
        }
        self.taken(&bundle, &stored.envelope).map(|taken| Some((taken, unknown)))
    }

    /// Returns what the trust domain is called in the file.
    fn whose(&self) -> Whose {
        Sha256::digest(&self.trust_domain).into()
    }

    /// Takes an offered bundle, or refuses it; returns what the coordinator is answered.
    pub(crate) fn take(&self, offer: &TrustOffer, now: Timestamp) -> TrustAck {
        let mut state = self.lock();
        let (sequence, digest) = (offer.sequence, PolicyDigest::of(&offer.envelope));
        if state.taken.is_some() && state.floor.is_of(&offer.envelope) {
            return TrustAck::in_force(sequence, digest); // the answer to it was lost
        }
        match self.accept(&state, offer) {
            Ok(taken) => {
                let (roots, distrusted) = (taken.roots, taken.distrusted.len());
                tracing::info!(sequence, roots, distrusted, "trust bundle is taken");
                state.floor = Floor::of(taken.sequence, &offer.envelope);
                state.taken = Some(taken);
                (state.error, state.last_refusal) = (None, None);
                TrustAck::in_force(sequence, digest)
            }
            Err((reason, detail)) => {
                let text = if detail.is_empty() { reason.to_string() } else { detail.clone() };
                tracing::warn!(sequence, reason = reason.as_str(), text, "trust bundle is refused");
                let name = reason.as_str().to_owned();
                state.refused += 1;
                state.last_refusal =
                    Some(RefusalStatus { version: sequence, reason: name, text, at: now });
                TrustAck::refused(sequence, digest, reason, &detail)
            }
        }
    }

    fn accept(&self, state: &State, offer: &TrustOffer) -> Result<Taken, (TrustRefusal, String)> {
        let bare = |reason| (reason, String::new());
        let highest = state.floor.below(&offer.envelope);
        let bundle = accept(&offer.envelope, &state.keys, &self.trust_domain, highest);
        let bundle = bundle.map_err(bare)?;
        if bundle.sequence != offer.sequence {
            return Err(bare(TrustRefusal::Malformed));
        }
        let taken = self.taken(&bundle, &offer.envelope);
        let taken = taken.map_err(|error| (TrustRefusal::Malformed, error))?;
        // What is not durable could be taken back by a crash, and an older one be taken after it.
        let nowhere = || io::Error::other("there is no folder for it");
        let path = state.path.as_deref().ok_or_else(nowhere);
        let floor = Floor::of(bundle.sequence, &offer.envelope);
        let place = |path: &Path| {
            Stored::place(path, &self.whose(), floor, &offer.envelope)
                .map_err(|error| named(path, &error))
        };
        path.and_then(place).map_err(|error| (TrustRefusal::NotStored, error.to_string()))?;
        Ok(taken)
    }

    /// Reads the roots of a bundle, which came in this envelope.
    fn taken(&self, bundle: &TrustBundle, envelope: &[u8]) -> Result<Taken, String> {
        let mut roots = RootCertStore::empty();
        for (number, root) in (1..).zip(&bundle.roots) {
            let added = roots.add(CertificateDer::from(root.as_slice()).into_owned());
            added.map_err(|error| format!("root {number} is none: {error}"))?;
        }
        Ok(Taken {
            sequence: bundle.sequence,
            digest: PolicyDigest::of(envelope),
            roots: bundle.roots.len(),
            is_root_replaced: !self.anchors.iter().all(|anchor| roots.roots.contains(anchor)),
            distrusted: bundle.distrusted.clone(),
            verifiers: Verifiers::by(roots, &self.provider)?,
        })
    }

    /// Returns what the coordinator is told behind each greeting.
    pub(crate) fn standing(&self) -> TrustAck {
        let state = self.lock();
        let taken = state.taken.as_ref();
        taken.map_or_else(TrustAck::nothing, |it| TrustAck::in_force(it.sequence, it.digest))
    }

    /// Returns what is shown; nothing where there is no key, nothing was taken and nothing refused.
    pub(crate) fn status(&self) -> Option<TrustStatus> {
        let state = self.lock();
        let is_used = !state.keys.is_empty() || state.taken.is_some() || state.refused > 0;
        (is_used || state.error.is_some()).then(|| TrustStatus {
            sequence: state.taken.as_ref().map_or(0, |taken| taken.sequence),
            roots: state.taken.as_ref().map_or(0, |taken| taken.roots as u64),
            is_root_replaced: state.taken.as_ref().is_some_and(|taken| taken.is_root_replaced),
            distrusted: state.taken.as_ref().map_or(0, |taken| taken.distrusted.len() as u64),
            error: state.error.clone(),
            refused: state.refused,
            last_refusal: state.last_refusal.clone(),
        })
    }

    /// Verifies a server's chain as it is believed now.
    ///
    /// # Errors
    /// It does not lead to a root that is believed, or shows an intermediate that was stolen.
    pub(crate) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (leaf, intermediates) =
            chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let verifiers = self.verifiers_of(intermediates)?;
        verifiers.of_servers.verify_server_cert(leaf, intermediates, server_name, &[], now)
    }

    /// Verifies a chain of this agent's own, as a coordinator does that believes the same.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) fn verify_own(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (leaf, intermediates) =
            chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let verifiers = self.verifiers_of(intermediates)?;
        verifiers.of_clients.verify_client_cert(leaf, intermediates, now).map(drop)
    }

    /// Returns what verifies now, if these intermediates show none that was stolen. Signatures are not verified under
    /// the lock, for they take their time.
    fn verifiers_of(
        &self,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Verifiers, rustls::Error> {
        let taken = self.lock().taken.clone();
        let Some(Taken { distrusted, verifiers, .. }) = taken else {
            return Ok(self.anchor.clone());
        };
        if !distrusted.is_empty() {
            for der in intermediates {
                // What cannot be read cannot be told from one that was stolen.
                let key = spki_digest_of_der(der).map_err(|_| CertificateError::BadEncoding)?;
                if distrusted.contains(&key) {
                    return Err(CertificateError::Revoked.into());
                }
            }
        }
        Ok(verifiers)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves it whole: what is taken is put in its place by one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves out no step of the usual verification: it is done by the roots that count now, and a chain that shows a
/// stolen intermediate is refused besides.
#[derive(Debug)]
pub(super) struct Believed(pub(super) Arc<Trust>);

impl ServerCertVerifier for Believed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<CertificateDer<'_>> =
            std::iter::once(end_entity).chain(intermediates).cloned().collect();
        self.0.verify(&chain, server_name, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Verifiers {
    fn by(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let of_servers = servers.build().map_err(|error| error.to_string())?;
        let of_clients = clients.build().map_err(|error| error.to_string())?;
        Ok(Self { of_servers, of_clients })
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
