//! Makes the agent a service of systemd on a machine without the package, and takes that away again.
//!
//! What is to be done is a plan, which is shown or carried out. Only files are written: users are made and services
//! started by the system's own commands, which are shown to whoever installs. The configuration, the certificates and
//! the spool are never removed.
//!
//! # Invariants
//! A file that a person may have changed is not written over: only the unit and the user's description are ours.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The unit, as the package ships it.
pub const UNIT: &str = include_str!("../packaging/signalbox-agent.service");
/// The description of the user, as the package ships it.
const USER: &str = include_str!("../packaging/sysusers.conf");

/// The program in the packaged unit.
const PACKAGED_PROGRAM: &str = "/usr/bin/signalbox-agent";
/// Where the package puts its unit.
const PACKAGED_UNIT: &str = "usr/lib/systemd/system/signalbox-agent.service";
const UNIT_PATH: &str = "etc/systemd/system/signalbox-agent.service";
const USER_PATH: &str = "etc/sysusers.d/signalbox-agent.conf";
const CONFIG_DIR: &str = "etc/signalbox";
const CONFIG_PATH: &str = "etc/signalbox/agent.toml";

/// Folders that the unit hides from the program (`ProtectHome`, `PrivateTmp`), so it cannot lie there.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// One thing to be done, with a path below the system's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a folder.
    Folder(PathBuf),
    /// Write a file, whatever it holds now.
    Write(PathBuf, String),
    /// Write a file unless there is one.
    Offer(PathBuf, String),
    /// Remove a file if there is one.
    Remove(PathBuf),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was carried out, or would be.
    Carried,
    /// There was nothing to do.
    Already,
}

/// Why there is no service.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The unit would not see its program.
    #[error(
        "{} lies where the service cannot see it: move it to /usr/local/bin and run it from there",
        _0.display()
    )]
    Hidden(PathBuf),
    /// systemd would read the path otherwise than it is meant.
    #[error("{} cannot stand in a unit: only letters, digits and . _ + - / may", _0.display())]
    Unwritable(PathBuf),
    /// Two units of one name would be there.
    #[error("the package has installed the service: its unit is {}", _0.display())]
    Packaged(PathBuf),
    /// A step failed; those before it are done.
    #[error("{} cannot be written: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Returns what installs the service of `program`, an absolute path, into the system at `root`; `config` is offered
/// as its configuration.
///
/// # Errors
/// [`ServiceError::Hidden`], [`ServiceError::Unwritable`] and [`ServiceError::Packaged`].
pub fn plan_install(root: &Path, program: &Path, config: &str) -> Result<Vec<Step>, ServiceError> {
    if HIDDEN.iter().any(|hidden| program.starts_with(hidden)) {
        return Err(ServiceError::Hidden(program.to_owned()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+-/".contains(c);
    let shown = program.to_str().filter(|text| text.starts_with('/') && text.chars().all(allowed));
    let shown = shown.ok_or_else(|| ServiceError::Unwritable(program.to_owned()))?;
    let packaged = root.join(PACKAGED_UNIT);
    if packaged.exists() {
        return Err(ServiceError::Packaged(packaged));
    }
    let unit = UNIT.replace(PACKAGED_PROGRAM, shown);
    Ok(vec![
        Step::Folder(root.join(CONFIG_DIR)),
        Step::Offer(root.join(CONFIG_PATH), config.to_owned()),
        Step::Write(root.join(USER_PATH), USER.to_owned()),
        Step::Write(root.join(UNIT_PATH), unit),
    ])
}

/// Returns what takes the service from the system at `root`.
#[must_use]
pub fn plan_uninstall(root: &Path) -> Vec<Step> {
    vec![Step::Remove(root.join(UNIT_PATH)), Step::Remove(root.join(USER_PATH))]
}

impl Step {
    /// Returns what carrying it out would come to, and changes nothing.
    #[must_use]
    pub fn foresee(&self) -> Done {
        let is_done = match self {
            Self::Folder(path) => path.is_dir(),
            Self::Write(path, text) => fs::read(path).is_ok_and(|held| held == text.as_bytes()),
            Self::Offer(path, _) => path.exists(),
            Self::Remove(path) => !path.exists(),
        };
        if is_done { Done::Already } else { Done::Carried }
    }

    /// Carries it out.
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub fn carry_out(&self) -> Result<Done, ServiceError> {
        if self.foresee() == Done::Already {
            return Ok(Done::Already);
        }
        let done = match self {
            Self::Folder(path) => fs::create_dir_all(path),
            Self::Write(path, text) | Self::Offer(path, text) => write(path, text),
            Self::Remove(path) => fs::remove_file(path),
        };
        done.map(|()| Done::Carried)
            .map_err(|error| ServiceError::Io { path: self.path().to_owned(), error })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(path)
            | Self::Write(path, _)
            | Self::Offer(path, _)
            | Self::Remove(path) => path,
        }
    }

    /// Says what was done, or is to be done.
    #[must_use]
    pub fn say(&self, done: Done) -> String {
        let what = match (self, done) {
            (Self::Folder(_), Done::Carried) => "make",
            (Self::Write(..) | Self::Offer(..), Done::Carried) => "write",
            (Self::Remove(_), Done::Carried) => "remove",
            (Self::Remove(_), Done::Already) => "not there",
            (_, Done::Already) => "keep",
        };
        format!("{what:<10} {}", self.path().display())
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

/// What a person does after the installation.
#[derive(Clone, Copy, Debug)]
pub struct AfterInstall;

impl fmt::Display for AfterInstall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "next, with the token that your provider gave you:\n  \
             systemd-sysusers\n  \
             systemctl daemon-reload\n  \
             install -d -m 700 -o signalbox-agent /var/lib/signalbox/identity\n  \
             editor /etc/signalbox/agent.toml\n  \
             signalbox-agent join TOKEN\n  \
             signalbox-agent status",
        )
    }
}

/// What a person does after the service was taken away, and what is left.
#[derive(Clone, Copy, Debug)]
pub struct AfterUninstall;

impl fmt::Display for AfterUninstall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "next:\n  \
             systemctl disable --now signalbox-agent\n  \
             systemctl daemon-reload\n\
             left, for you to remove:\n  \
             /etc/signalbox                configuration, and what you put there\n  \
             /var/lib/signalbox/identity   the private key and certificate that joining made\n  \
             /var/lib/signalbox/spool      alerts that no coordinator has acknowledged\n  \
             /var/lib/signalbox/held       alerts that the agent holds back\n  \
             the user signalbox-agent      userdel signalbox-agent\n  \
             the program itself",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/usr/local/bin/signalbox-agent";

    fn carry_out(steps: &[Step]) -> Vec<Done> {
        steps.iter().map(|step| step.carry_out().unwrap()).collect()
    }

    #[test]
    fn what_is_installed_runs_the_program_and_is_taken_away_again() {
        let root = tempfile::tempdir().unwrap();
        let steps = plan_install(root.path(), Path::new(PROGRAM), "a = 1\n").unwrap();
        assert_eq!(carry_out(&steps), [Done::Carried; 4]);
        let unit = fs::read_to_string(root.path().join(UNIT_PATH)).unwrap();
        assert!(unit.contains(&format!("\nExecStart={PROGRAM} run\n")), "{unit}");
        assert_eq!(carry_out(&steps), [Done::Already; 4]);

        assert_eq!(carry_out(&plan_uninstall(root.path())), [Done::Carried; 2]);
        assert!(!root.path().join(UNIT_PATH).exists());
        assert!(root.path().join(CONFIG_PATH).exists(), "a person's files stay");
        assert_eq!(carry_out(&plan_uninstall(root.path())), [Done::Already; 2]);
    }

    #[test]
    fn a_configuration_that_is_there_is_kept_and_an_older_unit_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(CONFIG_DIR)).unwrap();
        fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
        fs::write(root.path().join(CONFIG_PATH), "mine").unwrap();
        fs::write(root.path().join(UNIT_PATH), "old").unwrap();
        carry_out(&plan_install(root.path(), Path::new(PROGRAM), "theirs").unwrap());
        assert_eq!(fs::read_to_string(root.path().join(CONFIG_PATH)).unwrap(), "mine");
        assert_ne!(fs::read_to_string(root.path().join(UNIT_PATH)).unwrap(), "old");
    }

    #[test]
    fn foreseeing_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let steps = plan_install(root.path(), Path::new(PROGRAM), "").unwrap();
        assert!(steps.iter().all(|step| step.foresee() == Done::Carried));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let said: Vec<String> = steps.iter().map(|step| step.say(step.foresee())).collect();
        assert!(said[0].starts_with("make ") && said[3].starts_with("write "), "{said:?}");
    }

    #[test]
    fn a_program_that_the_unit_cannot_see_or_name_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let plan = |program: &str| plan_install(root.path(), Path::new(program), "");
        assert!(matches!(plan("/root/signalbox-agent"), Err(ServiceError::Hidden(_))));
        assert!(matches!(plan("/home/a/signalbox-agent"), Err(ServiceError::Hidden(_))));
        assert!(matches!(plan("/opt/a b/signalbox-agent"), Err(ServiceError::Unwritable(_))));
        assert!(matches!(plan("signalbox-agent"), Err(ServiceError::Unwritable(_))));
        assert!(plan("/opt/signalbox/signalbox-agent").is_ok());
    }

    #[test]
    fn where_the_package_has_a_unit_none_is_written_beside_it() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join(PACKAGED_UNIT), "").unwrap();
        let refused = plan_install(root.path(), Path::new(PROGRAM), "");
        assert!(matches!(refused, Err(ServiceError::Packaged(_))));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("etc"), "a file where a folder should be").unwrap();
        let steps = plan_install(root.path(), Path::new(PROGRAM), "").unwrap();
        let error = steps[0].carry_out().unwrap_err().to_string();
        assert!(error.contains("etc/signalbox cannot be written"), "{error}");
    }

    #[test]
    fn the_unit_gives_no_right_that_the_agent_does_not_need() {
        for line in [
            "CapabilityBoundingSet=\n",
            "NoNewPrivileges=yes\n",
            "ProtectSystem=strict\n",
            "User=signalbox-agent\n",
            "MemoryMax=192M\n",
            "CPUQuota=100%\n",
            "WatchdogSec=2min\n",
        ] {
            assert!(UNIT.contains(&format!("\n{line}")), "{line}");
        }
        assert!(UNIT.contains(&format!("\nExecStart={PACKAGED_PROGRAM} run\n")));
    }
}
