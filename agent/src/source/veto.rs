//! What the host's owner lets the agent read: a list of paths that everything is held against which is opened here.
//!
//! The list is put in force once, before anything is opened, and then for the life of the process: nothing that comes
//! later, such as a policy from elsewhere, can take it back or widen it. Without a list everything may be read that the
//! system allows.
//!
//! # How a file is held against it
//! It is opened first, and then asked where it really is, with all links followed; so nobody can put another one in its
//! place between the question and the opening. Links on the way to a listed *folder* count as the host's owner set
//! them up, and are followed when the list is put in force; a file that is itself a link is what it leads to.
//!
//! Not seen: a hard link within a listed folder to a file elsewhere. Linux forbids users to make one to a file that
//! they may not read (`fs.protected_hardlinks`).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use thiserror::Error;

use super::Pattern;
use crate::platform::open_regular;

/// What is in force in this process.
static IN_FORCE: OnceLock<Veto> = OnceLock::new();

/// A list of the paths that may be read; without one, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Veto {
    paths: Option<Vec<Pattern>>,
}

/// Another list is in force already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another veto is in force in this process, and is never taken back")]
pub struct InForce;

impl Veto {
    /// Returns the veto against everything but these paths.
    #[must_use]
    pub fn of(paths: Vec<Pattern>) -> Self {
        Self { paths: Some(paths) }
    }

    /// Returns whether a path is listed, as it stands.
    #[must_use]
    pub fn lists(&self, path: &Path) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|pattern| pattern.matches(path)))
    }

    /// Puts it in force for the life of this process. One that lists nothing and allows all is not put in force.
    ///
    /// # Errors
    /// Fails if another one is in force.
    pub fn put_in_force(&self) -> Result<(), InForce> {
        if self.paths.is_none() {
            return Ok(());
        }
        let resolved = self.resolved();
        if IN_FORCE.get_or_init(|| resolved.clone()) == &resolved { Ok(()) } else { Err(InForce) }
    }

    /// Opens a regular file, if it is listed.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] for one that is not; else what the system reports.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let file = open_regular(path)?;
        if self.paths.is_none() || self.lists(&place_of(&file, path)?) {
            return Ok(file);
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "this host's configuration does not list it in veto.paths",
        ))
    }

    /// Returns it with the links on the way to the listed folders followed.
    #[must_use]
    pub fn resolved(&self) -> Self {
        let paths = self.paths.as_ref();
        Self { paths: paths.map(|paths| paths.iter().map(resolve).collect()) }
    }
}

/// Opens a regular file, if what is in force allows it: the one way in which sources open files.
pub(super) fn open(path: &Path) -> io::Result<File> {
    match IN_FORCE.get() {
        Some(veto) => veto.open(path),
        None => Veto::default().open(path),
    }
}

/// Follows the links on the way to a pattern's folder. The last name of a path without signs is a file's, and may be a
/// link that somebody else has made.
fn resolve(pattern: &Pattern) -> Pattern {
    let text = PathBuf::from(pattern.to_string());
    if Pattern::is_pattern(&text) {
        return pattern.resolved();
    }
    let folder = text.parent().and_then(|folder| fs::canonicalize(folder).ok());
    match folder.zip(text.file_name()) {
        Some((folder, name)) => Pattern::of_path(&folder.join(name)),
        None => pattern.clone(),
    }
}

/// Returns where an open file really is. The system says so of the open file itself; where it does not, its path is
/// followed, and must still lead to it.
fn place_of(file: &File, path: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        if let Ok(place) = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
            return Ok(place);
        }
    }
    let place = fs::canonicalize(path)?;
    let same = super::file::Facts::of_entry(&place)?.id == super::file::Facts::of(file)?.id;
    if same { Ok(place) } else { Err(io::Error::other("it was moved while it was opened")) }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn veto(paths: &[PathBuf]) -> Veto {
        let pattern = |path: &PathBuf| Pattern::parse(path).unwrap();
        Veto::of(paths.iter().map(pattern).collect()).resolved()
    }

    fn refused(veto: &Veto, path: &Path) -> bool {
        match veto.open(path) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => true,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    /// Makes a folder with a log, and one with a secret.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let (log, secret) = (root.path().join("log/eve.json"), root.path().join("etc/shadow"));
        for file in [&log, &secret] {
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        (root, log, secret)
    }

    #[test]
    fn without_a_list_everything_may_be_read() {
        let (_root, log, secret) = folders();
        assert!(!refused(&Veto::default(), &log) && !refused(&Veto::default(), &secret));
        assert!(Veto::default().lists(&secret));
    }

    #[test]
    fn with_an_empty_list_nothing_may_be_read() {
        let (_root, log, _) = folders();
        assert!(refused(&veto(&[]), &log));
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        let (root, log, secret) = folders();
        for listed in ["log/eve.json", "log/*.json", "**/eve.json"] {
            let veto = veto(&[root.path().join(listed)]);
            assert!(!refused(&veto, &log) && refused(&veto, &secret), "{listed}");
        }
    }

    #[test]
    fn a_link_in_a_listed_folder_is_what_it_leads_to() {
        let (root, log, secret) = folders();
        let veto = veto(&[root.path().join("log/*.json"), root.path().join("log/plain")]);
        let (out, within) = (root.path().join("log/out.json"), root.path().join("log/in.json"));
        symlink(&secret, &out).unwrap();
        symlink(&log, &within).unwrap();
        assert!(refused(&veto, &out) && !refused(&veto, &within));
        symlink(&secret, root.path().join("log/plain")).unwrap();
        assert!(refused(&veto, &root.path().join("log/plain")), "also by its own name");
    }

    #[test]
    fn a_way_around_is_no_way_in() {
        let (root, log, secret) = folders();
        let veto = veto(&[root.path().join("log/**/*")]);
        assert!(refused(&veto, &root.path().join("log/../etc/shadow")));
        assert!(!refused(&veto, &root.path().join("etc/../log/eve.json")));
        // A folder that is a link, put into a listed one.
        symlink(secret.parent().unwrap(), root.path().join("log/sub")).unwrap();
        assert!(refused(&veto, &root.path().join("log/sub/shadow")));
        assert!(!refused(&veto, &log));
    }

    #[test]
    fn links_on_the_way_to_a_listed_folder_are_the_owners() {
        let (root, log, _) = folders();
        let linked = root.path().join("var");
        symlink(log.parent().unwrap(), &linked).unwrap();
        for listed in [linked.join("*.json"), linked.join("eve.json")] {
            assert!(!refused(&veto(std::slice::from_ref(&listed)), &log), "{}", listed.display());
        }
    }

    #[test]
    fn a_file_that_is_deleted_is_no_longer_where_it_was() {
        let (root, log, _) = folders();
        let file = File::open(&log).unwrap();
        fs::remove_file(&log).unwrap();
        let veto = veto(&[root.path().join("log/eve.json")]);
        assert!(place_of(&file, &log).map_or(true, |place| !veto.lists(&place)));
    }
}
