//! The authority's directory.
//!
//! ```text
//! <dir>/root.pem root.key                  the root; root.key belongs offline
//! <dir>/intermediate.pem intermediate.key  what issuing needs
//! <dir>/policy.key policy.pub              the key that signs policies, and its public half
//! <dir>/coordinator-<name>.pem .key        leaf and intermediate; its key
//! <dir>/agents/<tenant>-<agent>.pem .key   leaf and intermediate; its key
//! ```
//!
//! Files are created with mode 0600 in directories of mode 0700 and synced with their directory. A
//! file that exists is never written: of a group of files all are written or none.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use shared::ids::{AgentId, TenantId};
use thiserror::Error;

use crate::{
    authority::{Authority, Leaf, LoadError, Root},
    key::{KeyError, PrivateKey},
    policy::PolicyKey,
};

const ROOT_PEM: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const INTERMEDIATE_PEM: &str = "intermediate.pem";
const INTERMEDIATE_KEY: &str = "intermediate.key";
const POLICY_KEY: &str = "policy.key";
const POLICY_PUB: &str = "policy.pub";
const AGENTS_DIR: &str = "agents";

/// A directory that an authority's files are kept in. Its `Debug` shows nothing of the passphrase.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
    passphrase: Option<String>,
}

/// Where a leaf was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafPaths {
    /// The leaf followed by the intermediate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Returns the store in `dir`, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), passphrase: None }
    }

    /// Encrypts the intermediate's key with `passphrase` when it is written, and opens it with that.
    #[must_use]
    pub fn with_passphrase(mut self, passphrase: Option<String>) -> Self {
        self.passphrase = passphrase;
        self
    }

    /// Returns the directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns where the root's key is written.
    #[must_use]
    pub fn root_key_path(&self) -> PathBuf {
        self.dir.join(ROOT_KEY)
    }

    /// Writes a new root and its intermediate; returns the paths.
    ///
    /// # Errors
    /// [`WriteError`]; then none of the four files was left.
    pub fn write_authority(
        &self,
        root: &Root,
        authority: &Authority,
    ) -> Result<Vec<PathBuf>, WriteError> {
        let key_pem = authority.key_pem(self.passphrase.as_deref())?;
        write_new(
            &self.dir,
            &[
                (ROOT_KEY, &root.key_pem()),
                (ROOT_PEM, root.root_pem()),
                (INTERMEDIATE_KEY, &key_pem),
                (INTERMEDIATE_PEM, authority.intermediate_pem()),
            ],
        )
    }

    /// Writes another intermediate of the root that is there; returns the paths.
    ///
    /// # Errors
    /// [`WriteError`]; then neither file was left.
    pub fn write_intermediate(&self, authority: &Authority) -> Result<Vec<PathBuf>, WriteError> {
        let key_pem = authority.key_pem(self.passphrase.as_deref())?;
        let pem = authority.intermediate_pem();
        write_new(&self.dir, &[(INTERMEDIATE_KEY, &key_pem), (INTERMEDIATE_PEM, pem)])
    }

    /// Writes a key that signs policies, encrypted if there is a passphrase, and its public half; returns the paths.
    ///
    /// # Errors
    /// [`WriteError`]; then neither file was left.
    pub fn write_policy_key(&self, key: &PolicyKey) -> Result<Vec<PathBuf>, WriteError> {
        let pem = key.to_pem(self.passphrase.as_deref())?;
        let public = format!("{}\n", key.public_key());
        write_new(&self.dir, &[(POLICY_KEY, &pem), (POLICY_PUB, &public)])
    }

    /// Writes what was signed, as a text, into a new file.
    ///
    /// # Errors
    /// [`WriteError`]; then nothing was left.
    pub fn write_signed(path: &Path, text: &str) -> Result<(), WriteError> {
        let mut written = Vec::new();
        write_file(path.to_owned(), text, &mut written).inspect_err(|_| {
            for path in written {
                drop(fs::remove_file(path));
            }
        })
    }

    /// Writes a coordinator's certificate and key.
    ///
    /// # Errors
    /// [`WriteError`]; then neither file was left.
    pub fn write_coordinator(&self, name: &str, leaf: &Leaf) -> Result<LeafPaths, WriteError> {
        write_leaf(&self.dir, &format!("coordinator-{name}"), leaf)
    }

    /// Writes an agent's certificate and key.
    ///
    /// # Errors
    /// [`WriteError`]; then neither file was left.
    pub fn write_agent(
        &self,
        tenant: TenantId,
        agent: AgentId,
        leaf: &Leaf,
    ) -> Result<LeafPaths, WriteError> {
        write_leaf(&self.dir.join(AGENTS_DIR), &format!("{tenant}-{agent}"), leaf)
    }

    /// Writes what one host needs into this directory: `certificate.pem`, `key.pem`, and the root
    /// to trust, `root.pem`.
    ///
    /// # Errors
    /// [`WriteError`]; then none of the three was left.
    pub fn write_bundle(&self, leaf: &Leaf, root_pem: &str) -> Result<LeafPaths, WriteError> {
        let files = [
            ("key.pem", &*leaf.key_pem),
            ("certificate.pem", &leaf.chain_pem),
            (ROOT_PEM, root_pem),
        ];
        write_new(&self.dir, &files)?;
        let (certificate, key) = (self.dir.join("certificate.pem"), self.dir.join("key.pem"));
        Ok(LeafPaths { certificate, key })
    }

    /// Reads the authority. The root's key is not needed.
    ///
    /// # Errors
    /// Each [`OpenError`].
    pub fn load(&self) -> Result<Authority, OpenError> {
        let root_pem = self.read(&self.dir.join(ROOT_PEM))?;
        let intermediate_pem = self.read(&self.dir.join(INTERMEDIATE_PEM))?;
        let key_pem = self.read(&self.dir.join(INTERMEDIATE_KEY))?;
        PrivateKey::from_pem_with(&key_pem, self.passphrase.as_deref())
            .map_err(LoadError::from)
            .and_then(|key| Authority::from_key(&root_pem, &intermediate_pem, key))
            .map_err(|source| OpenError::Invalid { dir: self.dir.clone(), source })
    }

    /// Reads the root, with its key from `root_key`: wherever it is kept offline.
    ///
    /// # Errors
    /// Each [`OpenError`].
    pub fn load_root(&self, root_key: &Path) -> Result<Root, OpenError> {
        let root_pem = self.read(&self.dir.join(ROOT_PEM))?;
        let key_pem = self.read(root_key)?;
        Root::from_pem(&root_pem, &key_pem)
            .map_err(|source| OpenError::Invalid { dir: self.dir.clone(), source })
    }

    fn read(&self, path: &Path) -> Result<String, OpenError> {
        fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                OpenError::Missing { path: path.to_owned(), dir: self.dir.clone() }
            }
            _ => OpenError::Read { path: path.to_owned(), source },
        })
    }
}

impl Authority {
    /// Reads the authority that [`Store`] keeps in `dir`.
    ///
    /// # Errors
    /// Each [`OpenError`].
    pub fn load(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Store::new(dir).load()
    }
}

/// Why an authority's directory could not be read.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file is not there.
    #[error(
        "{} does not exist; `certs init` makes an authority in {}, --dir names another",
        path.display(),
        dir.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The authority's directory.
        dir: PathBuf,
    },
    /// A file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files do not make an authority.
    #[error("the files in {} are no authority that can be used", dir.display())]
    Invalid {
        /// The authority's directory.
        dir: PathBuf,
        /// What is wrong.
        source: LoadError,
    },
}

/// Why files were not written. Nothing of the group is left behind.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A file is there already, and keys are never overwritten.
    #[error(
        "{} exists and is not overwritten; move it away, or write to another directory",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be encrypted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A directory cannot be made or synced.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written or synced.
    #[error(
        "cannot write {}; check the directory's owner and the space left",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn write_leaf(dir: &Path, stem: &str, leaf: &Leaf) -> Result<LeafPaths, WriteError> {
    let (certificate, key) = (format!("{stem}.pem"), format!("{stem}.key"));
    write_new(dir, &[(&key, &leaf.key_pem), (&certificate, &leaf.chain_pem)])?;
    Ok(LeafPaths { certificate: dir.join(certificate), key: dir.join(key) })
}

/// Writes all of `files` (name, text) into `dir`, or none.
fn write_new(dir: &Path, files: &[(&str, &str)]) -> Result<Vec<PathBuf>, WriteError> {
    // Before anything is written, so that the usual mistake leaves no trace; creation below
    // decides.
    for (name, _) in files {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(WriteError::Exists { path });
        }
    }
    let refused = |source| WriteError::Directory { path: dir.to_owned(), source };
    create_dir(dir).map_err(refused)?;
    let mut written = Vec::new();
    let result = files
        .iter()
        .try_for_each(|(name, text)| write_file(dir.join(name), text, &mut written))
        .and_then(|()| sync_dir(dir).map_err(refused));
    match result {
        Ok(()) => Ok(written),
        Err(error) => {
            for path in written {
                // The error that led here is the one to tell; a file that stays is named by the
                // next attempt.
                drop(fs::remove_file(path));
            }
            Err(error)
        }
    }
}

fn write_file(path: PathBuf, text: &str, written: &mut Vec<PathBuf>) -> Result<(), WriteError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(WriteError::Exists { path });
        }
        Err(source) => return Err(WriteError::Write { path, source }),
    };
    written.push(path.clone());
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| WriteError::Write { path, source })
}

fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the names in `dir` durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    // Windows opens no directory as a file, and its file systems journal names.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{AGENT_VALIDITY, INTERMEDIATE_VALIDITY, PrivateKey};

    const NOW: shared::time::Timestamp = shared::time::Timestamp::from_ms(1_790_000_000_000);

    fn created(dir: &Path) -> (Store, Root, Authority) {
        let root = Root::create("signalbox.internal", NOW).unwrap();
        let authority = root.issue_intermediate(NOW, INTERMEDIATE_VALIDITY).unwrap();
        let store = Store::new(dir.join("store"));
        store.write_authority(&root, &authority).unwrap();
        (store, root, authority)
    }

    fn leaf(authority: &Authority) -> (TenantId, AgentId, Leaf) {
        let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([7; 16]));
        let key = PrivateKey::generate().unwrap();
        let leaf = authority.issue_agent(tenant, agent, NOW, AGENT_VALIDITY, &key).unwrap();
        (tenant, agent, leaf)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_authority_reads_back_without_the_roots_key() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _, authority) = created(dir.path());
        fs::remove_file(store.root_key_path()).unwrap();
        let loaded = Authority::load(store.dir()).unwrap();
        assert_eq!(loaded.info(), authority.info());
        assert_eq!(loaded.root_pem(), authority.root_pem());
        assert_eq!(loaded.key_pem(None).unwrap(), authority.key_pem(None).unwrap());
    }

    #[test]
    fn an_authority_whose_key_is_encrypted_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create("signalbox.internal", NOW).unwrap();
        let authority = root.issue_intermediate(NOW, INTERMEDIATE_VALIDITY).unwrap();
        let store = Store::new(dir.path()).with_passphrase(Some("correct horse".into()));
        store.write_authority(&root, &authority).unwrap();
        let key = fs::read_to_string(dir.path().join("intermediate.key")).unwrap();
        assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{key}");
        assert_eq!(store.load().unwrap().info(), authority.info());
        for (passphrase, says) in
            [(None, "give its passphrase"), (Some("battery".to_owned()), "is another one")]
        {
            let refused = Store::new(dir.path()).with_passphrase(passphrase).load().unwrap_err();
            let OpenError::Invalid { source: LoadError::Key(key), .. } = refused else {
                panic!("{refused:?}")
            };
            assert!(key.to_string().contains(says), "{key}");
        }
    }

    #[test]
    fn a_root_reads_back_with_a_key_from_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (store, root, _) = created(dir.path());
        let offline = dir.path().join("stick.key");
        fs::rename(store.root_key_path(), &offline).unwrap();
        assert_eq!(store.load_root(&offline).unwrap().info(), root.info());
        assert!(matches!(
            store.load_root(&store.root_key_path()),
            Err(OpenError::Missing { path, .. }) if path == store.root_key_path()
        ));
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let (store, _, authority) = created(dir.path());
        let (tenant, agent, leaf) = leaf(&authority);
        let paths = store.write_agent(tenant, agent, &leaf).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for name in ["root.key", "root.pem", "intermediate.key", "intermediate.pem"] {
            assert_eq!(mode(&store.dir().join(name)), 0o600, "{name}");
        }
        assert_eq!((mode(&paths.key), mode(&paths.certificate)), (0o600, 0o600));
        assert_eq!((mode(store.dir()), mode(paths.key.parent().unwrap())), (0o700, 0o700));
    }

    #[test]
    fn no_file_is_ever_overwritten_and_none_of_a_refused_group_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (store, root, authority) = created(dir.path());
        let before = fs::read(store.root_key_path()).unwrap();
        let again = store.write_authority(&root, &authority);
        assert!(matches!(again, Err(WriteError::Exists { path }) if path == store.root_key_path()));
        assert_eq!(fs::read(store.root_key_path()).unwrap(), before);

        let other = Store::new(dir.path().join("other"));
        fs::create_dir(other.dir()).unwrap();
        fs::write(other.dir().join("intermediate.pem"), "mine").unwrap();
        assert!(matches!(other.write_authority(&root, &authority), Err(WriteError::Exists { .. })));
        assert!(matches!(other.write_intermediate(&authority), Err(WriteError::Exists { .. })));
        assert_eq!(names(other.dir()), ["intermediate.pem"]);
        assert_eq!(fs::read_to_string(other.dir().join("intermediate.pem")).unwrap(), "mine");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept_and_the_rest_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        // The same name twice stands for a second writer that comes between the check and the
        // creation.
        let twice = write_new(dir.path(), &[("a", "1"), ("b", "2"), ("b", "3")]);
        assert!(matches!(twice, Err(WriteError::Exists { path }) if path.ends_with("b")));
        assert!(names(dir.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join("a")).unwrap();
        assert!(matches!(write_new(dir.path(), &[("a", "1")]), Err(WriteError::Exists { .. })));
        assert!(!target.exists());
    }

    #[test]
    fn a_bundle_has_all_that_a_host_needs() {
        let dir = tempfile::tempdir().unwrap();
        let (_, _, authority) = created(dir.path());
        let (_, _, leaf) = leaf(&authority);
        let bundle = Store::new(dir.path().join("host/etc"));
        let paths = bundle.write_bundle(&leaf, authority.root_pem()).unwrap();
        assert_eq!(names(bundle.dir()), ["certificate.pem", "key.pem", "root.pem"]);
        assert_eq!(fs::read_to_string(paths.certificate).unwrap(), leaf.chain_pem);
        assert_eq!(fs::read_to_string(paths.key).unwrap(), leaf.key_pem);
        assert!(bundle.write_bundle(&leaf, authority.root_pem()).is_err());
    }

    #[test]
    fn a_store_that_is_missing_unreadable_or_mixed_up_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Store::new(dir.path().join("nowhere")).load().unwrap_err();
        assert!(missing.to_string().contains("certs init"), "{missing}");

        let (store, _, _) = created(dir.path());
        let key = store.dir().join("intermediate.key");
        fs::copy(store.root_key_path(), &key).unwrap();
        assert!(matches!(
            store.load(),
            Err(OpenError::Invalid { source: LoadError::KeyMismatch(_), .. })
        ));
        fs::write(&key, [0xff]).unwrap();
        assert!(matches!(store.load(), Err(OpenError::Read { path, .. }) if path == key));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let authority = Authority::create("d", NOW).unwrap();
        let (tenant, agent, leaf) = leaf(&authority);
        let refused = Store::new(&file).write_agent(tenant, agent, &leaf);
        assert!(
            matches!(refused, Err(WriteError::Directory { path, .. }) if path.starts_with(&file))
        );
        let refused = Store::new(dir.path()).write_coordinator(&"x".repeat(300), &leaf);
        assert!(matches!(refused, Err(WriteError::Write { .. })));
    }

    #[test]
    fn an_old_intermediate_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (store, root, old) = created(dir.path());
        for name in ["intermediate.pem", "intermediate.key"] {
            fs::rename(store.dir().join(name), store.dir().join(format!("old-{name}"))).unwrap();
        }
        let later = NOW.saturating_add(Duration::from_secs(600 * 86_400));
        let new = root.issue_intermediate(later, INTERMEDIATE_VALIDITY).unwrap();
        store.write_intermediate(&new).unwrap();
        let loaded = store.load().unwrap();
        assert_eq!(loaded.info(), new.info());
        assert!(loaded.info().not_after > old.info().not_after);
    }
}
