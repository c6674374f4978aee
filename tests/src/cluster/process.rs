//! One program that is started, killed and started again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A program with one configuration file, running or not. Its log goes on over restarts.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(program: &Path, config: &Path, log: PathBuf) -> Self {
        Self { program: program.to_owned(), config: config.to_owned(), log, child: None }
    }

    /// Returns the file that its standard error is appended to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the configuration file, which may be changed while it does not run.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Returns the number of the running process.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it; does not wait until it works.
    ///
    /// # Errors
    /// It runs already, or the system does not start it.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.program.display());
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("run {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Returns whether it runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else { return Ok(false) };
        Ok(child.try_wait()?.is_none())
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It had ended by itself before, which no program does.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it was not started")?;
        if let Some(status) = child.try_wait()? {
            ensure!(false, "{} ended by itself: {status}", self.program.display());
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it with SIGTERM to stop, and waits until it has.
    ///
    /// # Errors
    /// It had ended by itself before, or does not end within `timeout`; then it still runs.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let program = self.program.display();
        let child = self.child.as_mut().context("it was not started")?;
        if let Some(status) = child.try_wait()? {
            ensure!(false, "{program} ended by itself: {status}");
        }
        terminate(child.id()).with_context(|| format!("stop {program}"))?;
        let what = format!("{program} to stop");
        let status = eventually(&what, timeout, || Ok(child.try_wait()?))?;
        self.child = None;
        Ok(status)
    }

    /// Returns the lines of the log that tell of a bug: errors and panics.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn errors(&self) -> Result<Vec<String>> {
        let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let is_bad = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
        Ok(log.lines().filter(is_bad).map(str::to_owned).collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _was_running = child.kill().is_ok();
            let _is_gone = child.wait().is_ok();
        }
    }
}

/// Asks a process with SIGTERM to stop. The standard library sends SIGKILL only, and not every machine has `kill`.
///
/// # Errors
/// There is no such process.
pub fn terminate(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process has this id")?;
    kill_process(pid, Signal::TERM).with_context(|| format!("SIGTERM to process {pid:?}"))
}
