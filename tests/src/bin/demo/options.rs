//! What the caller asked for, in the environment: `make` hands its own variables on there.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// What the caller asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Suricata's output for tenant acme; an absolute path.
    pub(crate) eve: Option<PathBuf>,
    /// Wazuh's output for tenant globex; an absolute path.
    pub(crate) wazuh: Option<PathBuf>,
    /// Whether to go on with what the last demo left.
    pub(crate) keep: bool,
    /// Whether to end after the show.
    pub(crate) is_short: bool,
}

impl Options {
    /// Reads the environment. A variable that is set to nothing is not set.
    ///
    /// # Errors
    /// A file that was named cannot be read.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self {
            eve: file("EVE")?,
            wazuh: file("WAZUH")?,
            keep: var("KEEP").is_some(),
            is_short: var("DEMO_EXIT").is_some(),
        })
    }
}

fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty() && value != "0")
}

fn file(name: &str) -> Result<Option<PathBuf>> {
    let Some(value) = var(name) else { return Ok(None) };
    let mut path = PathBuf::from(value);
    // Not every shell expands it behind `EVE=`.
    let inside = path.strip_prefix("~").ok().zip(var("HOME"));
    if let Some(expanded) = inside.map(|(rest, home)| Path::new(&home).join(rest)) {
        path = expanded;
    }
    let shown = path.display().to_string();
    let opened = File::open(&path).with_context(|| format!("{name}: cannot read {shown}"))?;
    if !opened.metadata()?.is_file() {
        bail!("{name}: {shown} is no file");
    }
    Ok(Some(std::path::absolute(&path)?))
}
