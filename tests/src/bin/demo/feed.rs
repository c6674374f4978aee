//! Feeding: writes the recordings line by line, as detectors do, and waits until the queue holds what comes of them.

use std::{
    fs::{self, File},
    io::Write as _,
    time::Duration,
};

use agent::status::{LinkState, Snapshot};
use anyhow::{Context as _, Result, bail};
use tokio::time::sleep;

use crate::{
    children::{Children, shown},
    show::Show,
    tenants::Tenant,
};

/// How long the recordings are written for: long enough to see the agents follow, short enough to watch.
const FEED_STEPS: usize = 60;
const FEED_INTERVAL: Duration = Duration::from_millis(100);
/// How often the state is printed, in intervals.
const PRINT_STEPS: usize = 10;
/// Longest wait for the agents, in intervals, after the last line was written: a minute.
const SETTLE_STEPS: usize = 600;
/// Own files may be written to without end; once nothing was read for so many intervals they count as read. It is also
/// the time in which agents begin, where there is nothing to write.
const QUIET_STEPS: usize = 30;

/// The recordings that are still to be written.
#[derive(Debug)]
pub(crate) struct Feed {
    files: Vec<Fed>,
}

#[derive(Debug)]
struct Fed {
    file: File,
    recording: Vec<u8>,
    /// Where each line of the recording ends, in bytes.
    line_ends: Vec<usize>,
    /// Lines that are written.
    written: usize,
}

impl Feed {
    /// Opens the files that the agents will read, and makes them where they are missing. What an earlier demo wrote
    /// into them is not written again.
    ///
    /// # Errors
    /// A file cannot be read or made.
    pub(crate) fn open(tenants: &[Tenant]) -> Result<Self> {
        let mut files = Vec::new();
        for source in tenants.iter().flat_map(|tenant| &tenant.sources) {
            let Some(path) = &source.recording else { continue };
            let recording = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let ends = recording.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let line_ends: Vec<usize> = ends.map(|(place, _)| place + 1).collect();
            let folder = source.path.parent().context("an input lies in a folder")?;
            fs::create_dir_all(folder)?;
            let file = File::options().create(true).append(true).open(&source.path);
            let file = file.with_context(|| format!("open {}", source.path.display()))?;
            let present = usize::try_from(file.metadata()?.len())?;
            let written = line_ends.iter().filter(|end| **end <= present).count();
            files.push(Fed { file, recording, line_ends, written });
        }
        Ok(Self { files })
    }

    /// Writes the lines that are due at `step` of [`FEED_STEPS`].
    fn write(&mut self, step: usize) -> Result<()> {
        for fed in &mut self.files {
            let due = fed.line_ends.len() * step / FEED_STEPS;
            if due > fed.written {
                let from = fed.written.checked_sub(1).map_or(0, |line| fed.line_ends[line]);
                fed.file.write_all(&fed.recording[from..fed.line_ends[due - 1]])?;
                fed.written = due;
            }
        }
        Ok(())
    }

    /// Returns how many lines are written, and how many there are.
    fn progress(&self) -> (usize, usize) {
        let written = self.files.iter().map(|fed| fed.written).sum();
        (written, self.files.iter().map(|fed| fed.line_ends.len()).sum())
    }
}

/// What the agents say of themselves, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Agents that have a session with the coordinator.
    connected: usize,
    records: u64,
    /// Bytes that are read and safe in the spools.
    bytes: u64,
    /// Blocks that are not acked.
    waiting: u64,
}

/// Writes the recordings and waits until all of them is acked, saying how far it is.
///
/// # Errors
/// A program died, a source cannot be read, or nothing arrives.
///
/// # Cancel safety
/// Dropped early, the recordings are written up to a line's end.
pub(crate) async fn run(
    feed: &mut Feed,
    tenants: &[Tenant],
    show: &Show<'_>,
    children: &mut Children,
) -> Result<()> {
    let is_recorded = !feed.files.is_empty();
    let (written, lines) = feed.progress();
    let feed_steps = if written < lines {
        println!("  {} recorded lines are written into the files that they read", lines - written);
        FEED_STEPS
    } else {
        QUIET_STEPS
    };
    let (mut last, mut quiet) = (State::default(), 0);
    for step in 1..=feed_steps + SETTLE_STEPS {
        children.check()?;
        feed.write(step.min(FEED_STEPS))?;
        sleep(FEED_INTERVAL).await;
        let state = state(tenants)?;
        quiet = if state == last { quiet + 1 } else { 0 };
        last = state;
        let is_read = if is_recorded { state.bytes >= size(tenants) } else { quiet >= QUIET_STEPS };
        let is_settled =
            step >= feed_steps && is_read && state.waiting == 0 && state.connected == tenants.len();
        if is_settled || step % PRINT_STEPS == 0 {
            print(feed, state, show.waiting()?);
        }
        if is_settled {
            return Ok(());
        }
    }
    if is_recorded || last.connected < tenants.len() {
        let logs: Vec<_> = tenants.iter().map(|t| format!("agent-{}.log", t.name)).collect();
        let logs = logs.join(" and ");
        bail!("not everything has arrived after a minute: see coordinator.log and {logs}");
    }
    println!("  the agents are still reading; the show goes on meanwhile");
    Ok(())
}

fn print(feed: &Feed, state: State, waiting: u64) {
    let (written, lines) = feed.progress();
    let written =
        if lines == 0 { String::new() } else { format!("{written} of {lines} written, ") };
    let State { records, waiting: blocks, connected, .. } = state;
    println!(
        "  {written}{records} read, {blocks} blocks not acknowledged, \
         {connected} agents connected, \
         {waiting} cases wait"
    );
}

/// Returns how many bytes the recorded files have now.
fn size(tenants: &[Tenant]) -> u64 {
    let sources = tenants.iter().flat_map(|tenant| &tenant.sources);
    sources.map(|source| fs::metadata(&source.path).map_or(0, |found| found.len())).sum()
}

fn state(tenants: &[Tenant]) -> Result<State> {
    let mut state = State::default();
    for tenant in tenants {
        // Before its first second an agent has written nothing.
        let Ok(snapshot) = Snapshot::load(&tenant.status) else { continue };
        for source in &snapshot.sources {
            if let Some(error) = &source.error {
                bail!("{}'s agent cannot read {}: {error}", tenant.name, shown(&source.path));
            }
            state.records += source.records;
            state.bytes += source.offset;
        }
        state.waiting += snapshot.lanes.iter().map(|lane| lane.waiting).sum::<u64>();
        state.connected += usize::from(snapshot.link.state == LinkState::Connected);
    }
    Ok(state)
}
