//! The programs that the demo runs: each with its log, watched, and stopped in order.
//!
//! Each is in a process group of its own, so that Ctrl-C reaches the demo alone, which then stops them one after the
//! other as a service manager would.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};
use tests::cluster::terminate;
use tokio::time::sleep;

/// Longest time that a program may take to stop: more than any of them allows itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Lines of a log that are shown when its program died.
const LOG_LINES_SHOWN: usize = 8;

/// The programs that run.
#[derive(Debug)]
pub(crate) struct Children {
    log_dir: PathBuf,
    /// In the order in which they were started.
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Children {
    /// Returns none, which will log into `log_dir`.
    pub(crate) const fn new(log_dir: PathBuf) -> Self {
        Self { log_dir, running: Vec::new() }
    }

    /// Starts `program`; what it says is added to `NAME.log`. Returns the log's path.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(&mut self, name: &str, program: &Path, arguments: &[&str]) -> Result<()> {
        let log = self.log_dir.join(format!("{name}.log"));
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("open {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        println!("  {name} runs as process {}; its log: {}", child.id(), shown(&log));
        self.running.push(Running { name: name.to_owned(), child, log });
        Ok(())
    }

    /// Checks that all still run.
    ///
    /// # Errors
    /// One has ended; the error shows the end of its log.
    pub(crate) fn check(&mut self) -> Result<()> {
        for running in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                let log = shown(&running.log);
                let end = log_end(&running.log);
                bail!("{} ended by itself ({status}); the end of {log}:\n{end}", running.name);
            }
        }
        Ok(())
    }

    /// Tells all to stop, the one that was started last first, and waits for each.
    ///
    /// # Errors
    /// One had to be killed, or had failed.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        while let Some(running) = self.running.last_mut() {
            if running.child.try_wait()?.is_none() {
                // That there is none any more is as good.
                let _told = terminate(running.child.id()).is_ok();
            }
            let stopped = tokio::time::timeout(STOP_TIMEOUT, ended(&mut running.child)).await;
            let problem = match stopped {
                Ok(status) if status.success() => None,
                Ok(status) => Some(status.to_string()),
                Err(_) => {
                    running.child.kill()?;
                    running.child.wait()?;
                    Some(format!("killed: it did not stop in {} s", STOP_TIMEOUT.as_secs()))
                }
            };
            if let Some(problem) = problem {
                failed.push(format!("{} ({problem}, see {})", running.name, shown(&running.log)));
            }
            self.running.pop();
        }
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("did not stop in good order: {}", failed.join(", "))
        }
    }
}

impl Drop for Children {
    /// Whatever went wrong, no program outlives the demo.
    fn drop(&mut self) {
        for running in &mut self.running {
            let _ended = running.child.kill().and_then(|()| running.child.wait()).is_ok();
        }
    }
}

/// Waits for the end of a program.
///
/// # Cancel safety
/// Cancel-safe: it only looks.
async fn ended(child: &mut Child) -> std::process::ExitStatus {
    loop {
        // A child of ours can be waited for as long as nobody else has done so.
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return status;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Stops what an earlier demo in the same folder left behind because it was killed, and waits for it.
///
/// # Errors
/// Something of it does not stop.
pub(crate) async fn stop_leftovers(folder: &Path) -> Result<()> {
    let told = leftovers(folder)?;
    for pid in &told {
        println!("stopping process {pid}, which an earlier demo left behind");
        let _told = terminate(*pid).is_ok();
    }
    let gone = async {
        while !leftovers(folder)?.is_empty() {
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    };
    if told.is_empty() {
        return Ok(());
    }
    match tokio::time::timeout(STOP_TIMEOUT, gone).await {
        Ok(gone) => gone,
        Err(_) => bail!("processes of an earlier demo do not stop: {told:?}"),
    }
}

/// Returns the agents and coordinators whose configuration lies in `folder`.
fn leftovers(folder: &Path) -> Result<Vec<u32>> {
    let mut system = System::new().context("look at processes")?;
    let kind = ProcessRefreshKind::nothing().without_tasks().with_cmd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let is_ours = |line: &[std::ffi::OsString]| {
        let name = line.first().and_then(|program| Path::new(program).file_name());
        name.is_some_and(|name| name == "signalbox-coordinator" || name == "signalbox-agent")
            && line.iter().any(|argument| Path::new(argument).starts_with(folder))
    };
    let found = system.processes().iter().filter(|(_, process)| is_ours(process.cmd()));
    Ok(found.map(|(pid, _)| pid.as_u32()).collect())
}

fn log_end(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    shown.iter().map(|line| format!("  {line}\n")).collect()
}

/// Returns a path as one would type it here.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(here) {
        Ok(inside) => format!("./{}", inside.display()),
        Err(_) => path.display().to_string(),
    }
}
