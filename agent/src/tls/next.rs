//! Putting the next certificate, and its key, in the place of those before: whenever this is broken off, one pair is
//! whole. Those before are kept until a coordinator has welcomed the agent with the next ones: whoever issued these may
//! not have been believed anywhere else.
//!
//! ```text
//! key.next, certificate.next are written and tried ─▶ key.before, certificate.before are written
//!    ─▶ the key takes its place ─▶ the certificate takes its place
//!         ├─ welcomed: certificate.before is removed ─▶ key.before is removed
//!         └─ refused: key.before takes its place ─▶ certificate.before takes its place
//! ```
//! What is there of them at a start says how far it came, and [`finish`] goes on from there: a certificate is written
//! after its key and removed before it, so one that is beside alone says that its key has taken its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use certs::{CertificateError, CertificateInfo, PrivateKey, certificates_to_pem};
use rustls::pki_types::{CertificateDer, UnixTime};
use shared::{
    ids::{AgentId, TenantId},
    time::Timestamp,
};
use thiserror::Error;

use super::{Credentials, CredentialsError, TRUST_FILE};
use crate::{config::IdentityConfig, platform};

/// What the names of files end with that are to take the place of others.
const NEXT: &str = ".next";
/// What the names of those end with whose place was taken.
const BEFORE: &str = ".before";

/// Why the identity stays as it is.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// The files cannot be written.
    #[error(
        "{}: {error}; let the agent's user write into that folder", path.display()
    )]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What the coordinator has certified is no certificate.
    #[error("the coordinator's answer is no certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// It leads to nobody who is believed: another coordinator would refuse it.
    #[error("the coordinator's answer leads to nobody whom this agent believes: {0}")]
    Disbelieved(rustls::Error),
    /// It cannot be used with this key and root.
    #[error("the coordinator's answer cannot be used: {0}")]
    Unusable(#[from] CredentialsError),
    /// It is somebody else's.
    #[error("the coordinator has certified {0}, not this agent")]
    Foreign(String),
}

impl Credentials {
    /// Puts a key and the certificates for it in the place of those of `config`, and returns what they are now. Those
    /// before are kept beside.
    ///
    /// # Errors
    /// [`ReplaceError`]: the identity is as it was.
    pub fn replace(
        &self,
        config: &IdentityConfig,
        (key, chain): (&PrivateKey, &[Vec<u8>]),
        now: Timestamp,
    ) -> Result<Self, ReplaceError> {
        self.check_issuer(chain, now)?;
        // What an earlier one could not end may be the only certificate for the key in place.
        finish(config).map_err(|error| ReplaceError::Write { path: config.key.clone(), error })?;
        let next = next_of(config);
        let written = write(&next.key, config, &key.to_pem())
            .and_then(|()| write(&next.certificate, config, &certificates_to_pem(chain)?))
            .and_then(|()| self.successor(&next));
        match written {
            Ok(credentials) => {
                let placed = keep(config).and_then(|()| put_in_place(config, &next));
                placed.map_err(|error| ReplaceError::Write { path: config.key.clone(), error })?;
                Ok(credentials)
            }
            Err(error) => {
                discard(&next);
                Err(error)
            }
        }
    }

    /// Puts the pair that is kept back in its place, and returns what it is.
    ///
    /// # Errors
    /// [`ReplaceError`]: it cannot be used, or be put there.
    pub fn go_back(&self, config: &IdentityConfig) -> Result<Self, ReplaceError> {
        let failed = |error| ReplaceError::Write { path: config.key.clone(), error };
        finish(config).map_err(failed)?;
        let before = before_of(config);
        let credentials = self.successor(&before)?;
        put_in_place(config, &before).map_err(failed)?;
        Ok(credentials)
    }

    /// Refuses a chain that leads to nobody who is believed: with it the agent could go to no other coordinator.
    fn check_issuer(&self, chain: &[Vec<u8>], now: Timestamp) -> Result<(), ReplaceError> {
        let disbelieved = ReplaceError::Disbelieved;
        let leaf = chain.first();
        let leaf = leaf.ok_or(disbelieved(rustls::Error::NoCertificatesPresented))?;
        let CertificateInfo { not_before, not_after, .. } = CertificateInfo::from_der(leaf)?;
        // This host's clock may be wrong, and the certificate good: when it is, is the coordinator's matter.
        let at = now.min(not_after).max(not_before);
        let at = UnixTime::since_unix_epoch(Duration::from_millis(at.as_ms()));
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        self.trust.verify_own(&chain, at).map_err(disbelieved)
    }

    /// Loads what is to take the place of this, if it is the same agent's.
    fn successor(&self, next: &IdentityConfig) -> Result<Self, ReplaceError> {
        let credentials = Self::load_for(next, Some(&self.trust))?;
        if credentials.whose() == self.whose() {
            return Ok(credentials);
        }
        let Self { tenant, agent, trust_domain, .. } = credentials;
        Err(ReplaceError::Foreign(format!("agent {agent} of {tenant} in {trust_domain}")))
    }

    fn whose(&self) -> (TenantId, AgentId, &str) {
        (self.tenant, self.agent, &self.trust_domain)
    }
}

/// Ends what was broken off before: the next pair takes its place if it is whole, and is thrown away if not, and the
/// pair in place is. Returns whether it did. What was on its way back comes back before that.
///
/// # Errors
/// Whatever the system reports, and that neither pair can be used: nothing is thrown away then.
pub fn finish(config: &IdentityConfig) -> io::Result<bool> {
    finish_return(config)?;
    let next = next_of(config);
    if !next.certificate.exists() {
        discard(&next);
        return Ok(false);
    }
    let key = if next.key.exists() { &next.key } else { &config.key };
    let pair = IdentityConfig { key: key.clone(), ..next.clone() };
    if let Err(error) = Credentials::load(&pair) {
        // The key may have been put in place, so that this certificate is the only one for it.
        Credentials::load(config).map_err(|_| io::Error::other(error))?;
        discard(&next);
        return Ok(false);
    }
    // Where another identity was put in place meanwhile, or a later certificate, that is meant.
    if let (Ok(next_one), Ok(placed)) = (Credentials::load(&pair), Credentials::load(config))
        && (next_one.whose() != placed.whose() || next_one.not_before < placed.not_before)
    {
        discard(&next);
        return Ok(false);
    }
    if next.key.exists() {
        keep(config)?;
    }
    put_in_place(config, &next)?;
    Ok(true)
}

/// Ends a return to the pair before that was broken off. A pair that is kept stays where it is.
fn finish_return(config: &IdentityConfig) -> io::Result<()> {
    let before = before_of(config);
    match (before.key.exists(), before.certificate.exists()) {
        (true, true) | (false, false) => return Ok(()),
        (true, false) => {
            discard(&before);
            return Ok(());
        }
        (false, true) => {}
    }
    let pair = IdentityConfig { key: config.key.clone(), ..before.clone() };
    match Credentials::load(&pair) {
        Ok(_) => put_in_place(config, &before),
        Err(error) => {
            Credentials::load(config).map_err(|_| io::Error::other(error))?;
            discard(&before);
            Ok(())
        }
    }
}

/// Keeps the pair in place, until [`drop_kept`]. One that is kept already stays: that in place was never welcomed.
fn keep(config: &IdentityConfig) -> io::Result<()> {
    // Nobody could come back to what cannot be used.
    let Ok(placed) = Credentials::load(config) else { return Ok(()) };
    let before = before_of(config);
    if Credentials::load(&before).is_ok_and(|kept| kept.whose() == placed.whose()) {
        return Ok(());
    }
    discard(&before);
    let owner = fs::metadata(&config.key)?;
    for (from, to) in [(&config.key, &before.key), (&config.certificate, &before.certificate)] {
        platform::write_private(to, &fs::read(from)?, &owner)?;
        sync_folder(to)?;
    }
    Ok(())
}

/// Returns whether the pair before is kept: no coordinator has welcomed the agent with the one in place.
#[must_use]
pub fn is_kept(config: &IdentityConfig) -> bool {
    let before = before_of(config);
    before.key.exists() && before.certificate.exists()
}

/// Removes the pair that is kept: the one in place was welcomed.
///
/// # Errors
/// Whatever the system reports, with the file's name.
pub fn drop_kept(config: &IdentityConfig) -> io::Result<()> {
    let before = before_of(config);
    remove(&before.certificate)?;
    sync_folder(&before.certificate)?;
    remove(&before.key)
}

/// Throws away what was to take the place of an identity, and what it was before, because another is put there. The
/// identity is whole after it if it was before.
///
/// # Errors
/// Whatever the system reports, with the file's name.
pub fn forget_next(config: &IdentityConfig) -> io::Result<()> {
    // The only certificate for the key in place may be one beside; whether there is any to save is not the question.
    let _is_whole = finish(config).is_ok();
    let next = next_of(config);
    remove(&next.certificate).and_then(|()| remove(&next.key))?;
    drop_kept(config)
}

/// Throws away the trust bundle that an identity goes by, because another is put there, with a root of its own.
///
/// # Errors
/// Whatever the system reports, with the file's name.
pub fn forget_trust(config: &IdentityConfig) -> io::Result<()> {
    remove(&config.certificate.with_file_name(TRUST_FILE))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let text = format!("{} cannot be removed: {error}", path.display());
            Err(io::Error::new(error.kind(), text))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn next_of(config: &IdentityConfig) -> IdentityConfig {
    beside(config, NEXT)
}

fn before_of(config: &IdentityConfig) -> IdentityConfig {
    beside(config, BEFORE)
}

fn beside(config: &IdentityConfig, ending: &str) -> IdentityConfig {
    let beside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    IdentityConfig {
        certificate: beside(&config.certificate),
        key: beside(&config.key),
        trust_anchor: config.trust_anchor.clone(),
    }
}

/// Writes a file for whoever owns the key that is there.
fn write(path: &Path, config: &IdentityConfig, text: &str) -> Result<(), ReplaceError> {
    let owner = fs::metadata(&config.key);
    let written = owner.and_then(|owner| platform::write_private(path, text.as_bytes(), &owner));
    written.map_err(|error| ReplaceError::Write { path: path.to_owned(), error })
}

/// Puts a pair that is beside in place, the key first: a certificate that is still beside says that the key has taken
/// its place.
fn put_in_place(config: &IdentityConfig, beside: &IdentityConfig) -> io::Result<()> {
    match fs::rename(&beside.key, &config.key) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {} // it was put there before
        renamed => renamed?,
    }
    sync_folder(&config.key)?;
    fs::rename(&beside.certificate, &config.certificate)?;
    sync_folder(&config.certificate)
}

fn sync_folder(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), platform::sync_dir)
}

/// Throws away what is of no use; what stays is written over by the next.
fn discard(beside: &IdentityConfig) {
    for path in [&beside.certificate, &beside.key] {
        let _gone = fs::remove_file(path).is_ok();
    }
}

#[cfg(test)]
pub(crate) mod tests;
