//! Lets through the handshake whose certificate ended lately, so that it may be renewed; all else is verified as ever.
//!
//! What is let through has proved who it was, not who it is: the caller serves it nothing but the renewal.

use std::{sync::Arc, time::Duration};

use certs::CertificateInfo;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// Verifies as another does, and once more as of the certificate's end if that was within the grace.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) grace: Duration,
}

impl Late {
    /// Returns the last instant at which a certificate was good, if that is not too long ago.
    fn last_good(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
        let until = CertificateInfo::from_der(leaf).ok()?.not_after;
        let until = Duration::from_millis(until.as_ms());
        let ended_ago = Duration::from_secs(now.as_secs()).checked_sub(until)?;
        (ended_ago <= self.grace).then(|| UnixTime::since_unix_epoch(until))
    }
}

impl ClientCertVerifier for Late {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        let Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) = verified
        else {
            return verified;
        };
        match self.last_good(end_entity, now) {
            Some(then) => self.inner.verify_client_cert(end_entity, intermediates, then),
            None => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
