//! Puts a file in the place of another: whole or not at all.

use std::{fs, io, path::Path};

use crate::platform;

/// Puts bytes in a file's place.
///
/// # Errors
/// What was there before is still there.
pub(super) fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new(""));
    let next = path.with_added_extension("next");
    platform::write_private(&next, bytes, &fs::metadata(dir)?)?;
    fs::rename(&next, path)?;
    platform::sync_dir(dir)
}
