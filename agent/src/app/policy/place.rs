//! Puts a file in the place of another: whole or not at all.

use std::{fs, io, path::Path};

use crate::platform;

/// Puts bytes in a file's place. Once they are there they count, for the next start finds them: that their name may not
/// outlast a power failure, because the folder could not be synced, is logged.
///
/// # Errors
/// What was there before is still there.
pub(super) fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new(""));
    let next = path.with_added_extension("next");
    platform::write_private(&next, bytes, &fs::metadata(dir)?)?;
    fs::rename(&next, path)?;
    if let Err(error) = platform::sync_dir(dir) {
        let path = path.display();
        tracing::error!(%path, %error, "what was stored may not outlast a power failure");
    }
    Ok(())
}
