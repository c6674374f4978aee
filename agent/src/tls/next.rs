//! Putting the next certificate, and its key, in the place of those before: whenever this is broken off, one pair is
//! whole.
//!
//! ```text
//! key.next, certificate.next are written and tried ─▶ the key takes its place ─▶ the certificate takes its place
//! ```
//! What is there of them at a start says how far it came, and [`finish`] goes on from there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use certs::{CertificateError, PrivateKey, certificates_to_pem};
use shared::ids::{AgentId, TenantId};
use thiserror::Error;

use super::{Credentials, CredentialsError, TRUST_FILE};
use crate::{config::IdentityConfig, platform};

/// What the names of files end with that are to take the place of others.
const NEXT: &str = ".next";

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
    /// It cannot be used with this key and root.
    #[error("the coordinator's answer cannot be used: {0}")]
    Unusable(#[from] CredentialsError),
    /// It is somebody else's.
    #[error("the coordinator has certified {0}, not this agent")]
    Foreign(String),
}

impl Credentials {
    /// Puts a key and the certificates for it in the place of those of `config`, and returns what they are now.
    ///
    /// # Errors
    /// [`ReplaceError`]: the identity is as it was.
    pub fn replace(
        &self,
        config: &IdentityConfig,
        key: &PrivateKey,
        chain: &[Vec<u8>],
    ) -> Result<Self, ReplaceError> {
        // What an earlier one could not end may be the only certificate for the key in place.
        finish(config).map_err(|error| ReplaceError::Write { path: config.key.clone(), error })?;
        let next = next_of(config);
        let written = write(&next.key, config, &key.to_pem())
            .and_then(|()| write(&next.certificate, config, &certificates_to_pem(chain)?))
            .and_then(|()| self.successor(&next));
        match written {
            Ok(credentials) => {
                let placed = put_in_place(config, &next);
                placed.map_err(|error| ReplaceError::Write { path: config.key.clone(), error })?;
                Ok(credentials)
            }
            Err(error) => {
                discard(&next);
                Err(error)
            }
        }
    }

    /// Loads what is to follow this, if it is the same agent's.
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
/// pair in place is. Returns whether it did.
///
/// # Errors
/// Whatever the system reports, and that neither pair can be used: nothing is thrown away then.
pub fn finish(config: &IdentityConfig) -> io::Result<bool> {
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
    put_in_place(config, &next)?;
    Ok(true)
}

/// Throws away what was to take the place of an identity, because another is put there. The identity is whole after it
/// if it was before.
///
/// # Errors
/// Whatever the system reports, with the file's name.
pub fn forget_next(config: &IdentityConfig) -> io::Result<()> {
    // The only certificate for the key in place may be the next one; whether there is any to save is not the question.
    let _is_whole = finish(config).is_ok();
    let next = next_of(config);
    remove(&next.certificate).and_then(|()| remove(&next.key))
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
    let next = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(NEXT);
        PathBuf::from(name)
    };
    IdentityConfig {
        certificate: next(&config.certificate),
        key: next(&config.key),
        trust_anchor: config.trust_anchor.clone(),
    }
}

/// Writes a file for whoever owns the key that is there.
fn write(path: &Path, config: &IdentityConfig, text: &str) -> Result<(), ReplaceError> {
    let owner = fs::metadata(&config.key);
    let written = owner.and_then(|owner| platform::write_private(path, text.as_bytes(), &owner));
    written.map_err(|error| ReplaceError::Write { path: path.to_owned(), error })
}

/// Puts the next pair in place, the key first: a certificate that is still beside says that the key has taken its
/// place.
fn put_in_place(config: &IdentityConfig, next: &IdentityConfig) -> io::Result<()> {
    match fs::rename(&next.key, &config.key) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {} // it was put there before
        renamed => renamed?,
    }
    sync_folder(&config.key)?;
    fs::rename(&next.certificate, &config.certificate)?;
    sync_folder(&config.certificate)
}

fn sync_folder(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), platform::sync_dir)
}

/// Throws away what is of no use; what stays is written over by the next.
fn discard(next: &IdentityConfig) {
    for path in [&next.certificate, &next.key] {
        let _gone = fs::remove_file(path).is_ok();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use certs::{AGENT_VALIDITY, Authority};
    use shared::time::Timestamp;

    use super::*;

    pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);
    const AGENT: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";

    /// An agent's identity on disk, and who certifies it.
    pub(crate) struct World {
        folder: tempfile::TempDir,
        authority: Authority,
        pub(crate) config: IdentityConfig,
    }

    impl World {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name| folder.path().join(name);
            let [certificate, key, trust_anchor] =
                ["certificate.pem", "key.pem", "root.pem"].map(path);
            let authority = Authority::create("box.test", NOW).unwrap();
            fs::write(&trust_anchor, authority.root_pem()).unwrap();
            let config = IdentityConfig { certificate, key, trust_anchor };
            let world = Self { folder, authority, config };
            let key = PrivateKey::generate().unwrap();
            let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
            world.write_private(&world.config.key, &key.to_pem());
            world.write_private(&world.config.certificate, &chain);
            world
        }

        fn write_private(&self, path: &Path, text: &str) {
            let like = fs::metadata(self.folder.path()).unwrap();
            platform::write_private(path, text.as_bytes(), &like).unwrap();
        }

        pub(crate) fn certify(&self, tenant: &str, key: &PrivateKey) -> Vec<Vec<u8>> {
            let (tenant, agent) = (tenant.parse().unwrap(), AGENT.parse().unwrap());
            let later = NOW.saturating_add(Duration::from_secs(60));
            let leaf = self.authority.issue_agent(tenant, agent, later, AGENT_VALIDITY, key);
            certs::certificates_of_pem(&leaf.unwrap().chain_pem).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn texts(&self) -> (String, String) {
            let read = |path| fs::read_to_string(path).unwrap();
            (read(&self.config.key), read(&self.config.certificate))
        }
    }

    const NAMES: [&str; 3] = ["certificate.pem", "key.pem", "root.pem"];

    #[test]
    fn the_next_pair_takes_the_place_of_the_one_before() {
        let world = World::new();
        let old = Credentials::load(&world.config).unwrap();
        let key = PrivateKey::generate().unwrap();
        let chain = world.certify("acme", &key);
        let new = old.replace(&world.config, &key, &chain).unwrap();
        assert_eq!(new.not_after, old.not_after);
        assert_eq!(world.texts(), (key.to_pem(), certificates_to_pem(&chain).unwrap()));
        assert_eq!(world.names(), NAMES);
        assert!(Credentials::load(&world.config).is_ok());
        assert!(!finish(&world.config).unwrap(), "there is nothing to finish");
    }

    #[test]
    fn an_answer_that_cannot_be_used_changes_nothing() {
        let world = World::new();
        let old = Credentials::load(&world.config).unwrap();
        let before = world.texts();
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let refused = |chain: &[Vec<u8>]| {
            let error = old.replace(&world.config, &key, chain).unwrap_err();
            assert_eq!(
                (world.texts(), world.names()),
                (before.clone(), NAMES.map(str::to_owned).to_vec())
            );
            error
        };
        assert!(matches!(refused(&world.certify("globex", &key)), ReplaceError::Foreign(_)), "L5");
        assert!(matches!(refused(&world.certify("acme", &other)), ReplaceError::Unusable(_)));
        assert!(matches!(refused(&[vec![1, 2, 3]]), ReplaceError::Unusable(_)));
        assert!(matches!(refused(&[]), ReplaceError::Unusable(_)));
    }

    #[test]
    fn the_only_certificate_for_the_key_in_place_is_kept_while_nothing_can_be_loaded() {
        let world = World::new();
        let key = PrivateKey::generate().unwrap();
        let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
        let next = next_of(&world.config);
        world.write_private(&next.certificate, &chain);
        world.write_private(&world.config.key, &key.to_pem());
        let root = fs::read(&world.config.trust_anchor).unwrap();
        fs::write(&world.config.trust_anchor, "mistyped").unwrap();
        assert!(finish(&world.config).is_err());
        fs::write(&world.config.trust_anchor, root).unwrap();
        assert!(finish(&world.config).unwrap());
        assert_eq!(world.texts(), (key.to_pem(), chain));
    }

    #[test]
    fn what_was_to_follow_an_earlier_identity_does_not_follow_another() {
        let world = World::new();
        let before = world.texts();
        let next = next_of(&world.config);
        let key = PrivateKey::generate().unwrap();
        let chain = certificates_to_pem(&world.certify("globex", &key)).unwrap();
        world.write_private(&next.key, &key.to_pem());
        world.write_private(&next.certificate, &chain);
        assert!(!finish(&world.config).unwrap());
        assert_eq!((world.texts(), world.names()), (before, NAMES.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_one_renewal_could_not_end_the_next_ends_first() {
        let world = World::new();
        let old = Credentials::load(&world.config).unwrap();
        let key = PrivateKey::generate().unwrap();
        let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
        world.write_private(&next_of(&world.config).certificate, &chain);
        world.write_private(&world.config.key, &key.to_pem());
        let other = PrivateKey::generate().unwrap();
        assert!(old.replace(&world.config, &other, &[]).is_err());
        assert_eq!(world.texts(), (key.to_pem(), chain));
        assert!(Credentials::load(&world.config).is_ok());
    }

    #[test]
    fn wherever_it_was_broken_off_one_pair_is_whole_and_the_next_is_taken_if_it_is() {
        let (key_of, certificate_of) = (|n: usize| n & 1 == 1, |n: usize| n & 2 == 2);
        // Which of the next files are there, whether the key is in place, and whether the certificate is torn.
        for (beside, is_placed, is_torn, is_taken) in [
            (0, false, false, false),
            (1, false, false, false),
            (3, false, true, false),
            (3, false, false, true),
            (2, true, false, true),
        ] {
            let world = World::new();
            let before = world.texts();
            let key = PrivateKey::generate().unwrap();
            let mut chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
            let next = next_of(&world.config);
            if is_torn {
                chain.truncate(chain.len() / 3);
            }
            if key_of(beside) {
                world.write_private(&next.key, &key.to_pem());
            }
            if certificate_of(beside) {
                world.write_private(&next.certificate, &chain);
            }
            if is_placed {
                world.write_private(&world.config.key, &key.to_pem());
            }
            assert_eq!(finish(&world.config).unwrap(), is_taken, "{beside} {is_placed}");
            let expected = if is_taken { (key.to_pem(), chain) } else { before };
            assert_eq!(
                (world.texts(), world.names()),
                (expected, NAMES.map(str::to_owned).to_vec())
            );
            assert!(Credentials::load(&world.config).is_ok());
        }
    }
}
