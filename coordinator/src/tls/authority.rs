//! What the coordinator issues: agents' certificates, by an intermediate whose root is elsewhere.
//!
//! The intermediate's key is in this process's memory, or behind a command ([`certs::ExternalSigner`]). Whom a
//! certificate names is decided by whoever calls; what a request says beside its key is not read.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use certs::{
    Authority, CertificateError, IssueError, LoadError, PrivateKey, SigningRequest,
    certificates_of_pem, spki_digest_of_der,
};
use sha2::{Digest, Sha256};
use shared::{
    ids::{AgentId, TenantId},
    time::Timestamp,
    trust::SpkiDigest,
};
use thiserror::Error;

use super::{Exposed, TlsError, check_permissions, read};
use crate::config::{AuthorityConfig, AuthorityKey, Config, authority_passphrase};

/// Issues certificates for agents. Its `Debug` shows nothing of the key.
#[derive(Clone, Debug)]
pub struct Issuer {
    authority: Arc<Authority>,
    validity: Duration,
    root_sha256: [u8; 32],
    spki: SpkiDigest,
}

/// Why the authority cannot be used.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others than its owner may read the key.
    #[error("{} may be read by others (mode {mode:03o}): run chmod 600 on it", path.display())]
    KeyExposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret's file is empty.
    #[error("the first line of {} is empty: write the secret into it", .0.display())]
    NoSecret(PathBuf),
    /// The key cannot be read.
    #[error("{}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: certs::KeyError,
    },
    /// A certificate cannot be read.
    #[error("{}: {error}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        error: CertificateError,
    },
    /// What it issues would not be let in here.
    #[error("{} is of trust domain {is}, and trust_domain is {expected}", certificate.display())]
    TrustDomain {
        /// The intermediate's certificate.
        certificate: PathBuf,
        /// What it issues under.
        is: String,
        /// What is let in.
        expected: String,
    },
    /// It is one of those that are not to be believed.
    #[error(
        "{} is of the key {key}, which distrusted names: \"certs intermediate\" makes the next",
        certificate.display()
    )]
    Distrusted {
        /// The intermediate's certificate.
        certificate: PathBuf,
        /// Its key.
        key: SpkiDigest,
    },
    /// What is named as distrusted is not asked for.
    #[error(
        "{}: distrusted names the key {key} of a certificate there, and a chain need not show \
         that one: take it out of the file", roots.display()
    )]
    DistrustedRoot {
        /// The roots.
        roots: PathBuf,
        /// The key.
        key: SpkiDigest,
    },
    /// The files make no authority.
    #[error(
        "{} issues nothing under any root of {}: {error}", certificate.display(), roots.display()
    )]
    Invalid {
        /// The intermediate's certificate.
        certificate: PathBuf,
        /// The roots.
        roots: PathBuf,
        /// What is wrong with the last of them.
        error: LoadError,
    },
}

/// Why no certificate was issued.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The authority did not sign.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// What it signed does not read back.
    #[error("the chain just issued is not readable: {0}")]
    ReadBack(#[from] CertificateError),
}

/// Checks that no root is one that is distrusted: chains end below it, so it would be believed all the same.
fn check_roots(roots: &Path, distrusted: &[SpkiDigest]) -> Result<(), AuthorityError> {
    let unreadable = |error| AuthorityError::Certificate { path: roots.to_owned(), error };
    for root in certificates(&text_of(roots)?) {
        let ders = certificates_of_pem(root).map_err(unreadable)?;
        let key = spki_digest_of_der(&ders[0]).map_err(unreadable)?;
        if distrusted.contains(&key) {
            return Err(AuthorityError::DistrustedRoot { roots: roots.to_owned(), key });
        }
    }
    Ok(())
}

impl Issuer {
    /// Loads the authority, which must stand under one of the roots that agents' certificates must lead to.
    ///
    /// # Errors
    /// Each [`AuthorityError`]; the text says which file and what to do.
    pub fn load(config: &AuthorityConfig, whole: &Config) -> Result<Self, AuthorityError> {
        let (certificate, roots) = (&config.certificate, &whole.ingest.roots);
        let intermediate = text_of(certificate)?;
        let spki = certificates_of_pem(&intermediate)
            .and_then(|ders| spki_digest_of_der(&ders[0]))
            .map_err(|error| AuthorityError::Certificate { path: certificate.clone(), error })?;
        if config.distrusted.contains(&spki) {
            return Err(AuthorityError::Distrusted { certificate: certificate.clone(), key: spki });
        }
        check_roots(roots, &config.distrusted)?;
        let signer = match &config.key {
            AuthorityKey::Command(command) => Signer::Command(command),
            AuthorityKey::File { path, passphrase_file } => {
                let passphrase = match passphrase_file {
                    Some(path) => {
                        check_secret(path)?;
                        Some(first_line(path)?)
                    }
                    None => authority_passphrase(),
                };
                check_secret(path)?;
                let key = PrivateKey::from_pem_with(&text_of(path)?, passphrase.as_deref())
                    .map_err(|error| AuthorityError::Key { path: path.clone(), error })?;
                Signer::Key(key.to_pem())
            }
        };
        let mut last = None;
        let unreadable = |error| AuthorityError::Certificate { path: roots.clone(), error };
        for root in certificates(&text_of(roots)?) {
            match signer.authority(root, &intermediate) {
                Ok(authority) if authority.trust_domain() != whole.trust_domain => {
                    return Err(AuthorityError::TrustDomain {
                        certificate: certificate.clone(),
                        is: authority.trust_domain().to_owned(),
                        expected: whole.trust_domain.clone(),
                    });
                }
                Ok(authority) => {
                    let ders = certificates_of_pem(root).map_err(unreadable)?;
                    let root_sha256 = Sha256::digest(&ders[0]).into();
                    let authority = Arc::new(authority);
                    return Ok(Self { authority, validity: config.validity, root_sha256, spki });
                }
                Err(error) => last = Some(error),
            }
        }
        let Some(error) = last else { return Err(unreadable(CertificateError::NotPem)) };
        Err(AuthorityError::Invalid {
            certificate: certificate.clone(),
            roots: roots.clone(),
            error,
        })
    }

    /// Issues an agent's certificate; returns it and the intermediate's, in DER.
    ///
    /// # Errors
    /// [`ChainError`]. A signer elsewhere may take seconds.
    pub fn issue(
        &self,
        (tenant, agent): (TenantId, AgentId),
        request: &SigningRequest,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, ChainError> {
        let chain = self.authority.sign_agent(tenant, agent, now, self.validity, request)?;
        Ok(certificates_of_pem(&chain.pem)?)
    }

    /// Returns the SHA-256 of the root's certificate, by which a host that joins knows the coordinator.
    #[must_use]
    pub const fn root_sha256(&self) -> [u8; 32] {
        self.root_sha256
    }

    /// Returns the digest of the key that issues.
    #[must_use]
    pub const fn spki(&self) -> SpkiDigest {
        self.spki
    }
}

/// What signs.
enum Signer<'a> {
    Key(String),
    Command(&'a [String]),
}

impl Signer<'_> {
    fn authority(&self, root: &str, intermediate: &str) -> Result<Authority, LoadError> {
        match self {
            Self::Key(pem) => Authority::from_pem(root, intermediate, pem),
            Self::Command(command) => Authority::from_command(root, intermediate, command),
        }
    }
}

/// Returns the certificates of a text, each as it stands.
fn certificates(pem: &str) -> impl Iterator<Item = &str> {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END).filter(|text| text.ends_with(END))
}

/// Refuses a secret that others than its owner may read.
pub(super) fn check_secret(path: &Path) -> Result<(), AuthorityError> {
    check_permissions(path).map_err(|refused| match refused {
        Exposed::Unknown(error) => AuthorityError::Read { path: path.to_owned(), error },
        Exposed::To(mode) => AuthorityError::KeyExposed { path: path.to_owned(), mode },
    })
}

fn text_of(path: &Path) -> Result<String, AuthorityError> {
    let failed = |error| AuthorityError::Read { path: path.to_owned(), error };
    let bytes = read(path).map_err(|error| match error {
        TlsError::Read { error, .. } => failed(error),
        other => failed(io::Error::other(other.to_string())),
    })?;
    String::from_utf8(bytes).map_err(|_| failed(io::Error::other("it is no text")))
}

/// Reads a secret: a file's first line.
pub(super) fn first_line(path: &Path) -> Result<String, AuthorityError> {
    match text_of(path)?.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(AuthorityError::NoSecret(path.to_owned())),
    }
}
