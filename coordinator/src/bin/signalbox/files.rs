//! Files that hold secrets or must not be torn: read with a bound, written whole or not at all, for the owner only.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use crate::{failure::Failure, limits::FILE_BYTES_MAX};

/// Reads a whole file of at most [`FILE_BYTES_MAX`] bytes.
///
/// # Errors
/// It cannot be read, or is longer.
pub(crate) fn load(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(File::open(path)?)
}

/// Reads all that comes, at most [`FILE_BYTES_MAX`] bytes.
///
/// # Errors
/// It cannot be read, or is longer.
pub(crate) fn read_bounded(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// Creates a new file that only its owner may read.
///
/// # Errors
/// It exists, or cannot be made.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Puts `bytes` in the place of the file at `path`, readable for its owner only; makes the folders that lead to it.
///
/// # Errors
/// It cannot be written; then what stood there stands there still.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    make_folder(path)?;
    let written = create_private(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _removed = std::fs::remove_file(&temporary).is_ok();
    }
    written
}

/// Makes the folder of `path`, for its owner only.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Returns whether others than the owner may read an open file.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    return std::fs::metadata(path)
        .is_ok_and(|data| std::os::unix::fs::MetadataExt::mode(&data) & 0o077 != 0);
    #[cfg(not(unix))]
    return {
        let _ = path;
        false
    };
}

/// Returns the failure of doing `what` with the file at `path`.
pub(crate) fn failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::File { what: format!("{what} {}", path.display()), cause: error.to_string() }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_readable_for_its_owner_only_and_so_is_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("file");
        replace_private(&path, b"one").unwrap();
        replace_private(&path, b"two").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(load(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(!is_open_to_others(&path));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_into_memory() {
        let error = read_bounded(io::repeat(b'x')).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_secret_is_never_written_over_an_existing_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(create_private(file.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
