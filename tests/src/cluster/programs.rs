//! The programs under test: built once a test run, found beside the test's own executable.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};

/// Where the programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `signalbox-agent`.
    pub agent: PathBuf,
    /// `signalbox-coordinator`.
    pub coordinator: PathBuf,
    /// `signalbox`, the command line.
    pub cli: PathBuf,
}

impl Programs {
    /// Builds the programs in the profile of the running test, once a process, and returns where they are.
    ///
    /// Cargo gives a test only the programs of its own package, and those of another as they were built last: a test
    /// of yesterday's programs would prove nothing.
    ///
    /// # Errors
    /// Cargo cannot build them; what is wrong stands on standard error.
    pub fn build() -> Result<&'static Self> {
        static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
        built.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

fn build() -> Result<Programs> {
    let own = env::current_exe().context("find the test's own executable")?;
    // target/PROFILE/deps/system-0123, or target/PROFILE/identity_check
    let folder = own.parent().context("the test lies in no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let folder = folder.context("the test lies in no target folder")?;
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let profile = if profile == "debug" { "dev" } else { profile };
    let target = folder.parent().context("the profile lies in no target folder")?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the outer cargo says of the running test's package would make build scripts run again, here and there.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"].iter().any(|s| text.starts_with(s)) {
            command.env_remove(&name);
        }
    }
    // With the whole workspace the dependencies have the features with which they were built for the tests.
    let built = command
        .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .context("run cargo")?;
    ensure!(built.success(), "cargo does not build the programs: {built}");
    let named = |name: &str| {
        let path = folder.join(name).with_extension(env::consts::EXE_EXTENSION);
        ensure!(path.is_file(), "cargo built no {}", path.display());
        Ok(path)
    };
    Ok(Programs {
        agent: named("signalbox-agent")?,
        coordinator: named("signalbox-coordinator")?,
        cli: named("signalbox")?,
    })
}
