//! What only the operating system knows of itself and of this process, processor time and resident memory; and files,
//! opened without waiting for anybody.
//!
//! Where a system does not say it, or is not known here, there is no value, and nothing is guessed.

use std::{
    fs::{File, Metadata},
    io,
    path::Path,
    time::Duration,
};

/// Returns the processor time that this process has used, all threads together.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let (seconds, nanos) =
            (u64::try_from(used.tv_sec).ok()?, u32::try_from(used.tv_nsec).ok()?);
        Some(Duration::new(seconds, nanos))
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// Returns the bytes of this process that are in memory.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

/// Returns the id of this system's installation, which tells one host from another and is not to leave it.
#[must_use]
pub fn machine_id() -> Option<String> {
    let id = std::fs::read_to_string("/etc/machine-id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Bounds the memory of this process, address space included; asking for more fails from now on.
///
/// # Errors
/// Whatever the system reports.
pub fn bound_memory(bytes_max: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::As);
        let current = current.map_or(bytes_max, |bytes| bytes.min(bytes_max));
        setrlimit(Resource::As, Rlimit { current: Some(current), maximum })?;
    }
    #[cfg(not(unix))]
    {
        let _ = bytes_max;
    }
    Ok(())
}

/// Returns a file's permission bits; nothing where files have none.
#[must_use]
pub fn mode(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        Some(metadata.permissions().mode() & 0o777)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

/// Makes a folder, and those above it, for its owner alone.
///
/// # Errors
/// Whatever the system reports.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that its owner alone may read: whoever owns `like`, if that can be given away. What was at the path is
/// removed, and nothing is written through a link: the folder's owner may not be the one who writes.
///
/// # Errors
/// Whatever the system reports.
pub fn write_private(path: &Path, bytes: &[u8], like: &Metadata) -> io::Result<()> {
    use io::Write as _;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if rustix::process::geteuid().is_root() && like.uid() != 0 {
            std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
    }
    #[cfg(not(unix))]
    let _ = like;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts a file that its owner alone may read in another's place, whole or not at all. Once it is there it counts, for
/// the next start finds it: that its name may not outlast a power failure, because the folder could not be synced, is
/// logged.
///
/// # Errors
/// What was there before is still there.
pub fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new(""));
    let next = path.with_added_extension("next");
    write_private(&next, bytes, &std::fs::metadata(dir)?)?;
    std::fs::rename(&next, path)?;
    if let Err(error) = sync_dir(dir) {
        let path = path.display();
        tracing::error!(%path, %error, "what was stored may not outlast a power failure");
    }
    Ok(())
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Whatever the system reports.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    // Windows opens no directory as a file, and its file systems journal names.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Opens a regular file to read it. Waits for nobody, whatever lies at the path, and whoever puts something else there
/// meanwhile.
///
/// # Errors
/// Whatever the system reports; `InvalidInput` for what is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    // A pipe without a writer would make the caller wait for one.
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        options.custom_flags(i32::try_from(flags).expect("flags are a C int"));
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Opens standard input without the buffer of the standard library, in which bytes could lie unseen.
///
/// # Errors
/// Whatever the system reports.
pub fn standard_input() -> io::Result<File> {
    #[cfg(unix)]
    let input = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned();
    #[cfg(windows)]
    let input = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned();
    input.map(File::from)
}

/// Reads once, from a place in a file on.
///
/// # Errors
/// Whatever the system reports.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_at(file, buffer, offset)
    }
    #[cfg(windows)]
    {
        std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let before = cpu_time().unwrap();
        let held = vec![1_u8; 16 << 20];
        let sum: u64 = held.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 16 << 20);
        assert!(cpu_time().unwrap() > before);
        assert!(resident_bytes().unwrap() > 16 << 20);
    }

    #[test]
    fn a_pipe_without_a_writer_is_refused_and_nobody_waits_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("1.ref");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(open_regular(&pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open_regular(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        std::fs::write(folder.path().join("file"), "a").unwrap();
        assert!(open_regular(&folder.path().join("file")).is_ok());
    }
}
