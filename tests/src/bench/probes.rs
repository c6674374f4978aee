//! Single alerts in a stream of others, and when each can be seen in the queue.
//!
//! A probe is about a host of its own and of a severity that nothing else has, so each opens a case, and the number of
//! waiting cases of that severity says how many can be seen. Probes of one lane keep their order. The API is asked
//! again and again on one connection: what is measured is what an analyst's program would see.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    measure::Times,
    programs::Api,
    records::{LOW, Records, now},
};

/// What is written, and how often.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Suricata's severity of the probes.
    pub(super) severity: u8,
    /// The name under which the queue counts cases of that severity.
    pub(super) counted_as: &'static str,
    /// Other alerts a second.
    pub(super) rate: usize,
    /// Time between two probes, a multiple of [`TICK`].
    pub(super) interval: Duration,
}

/// How often lines are written.
const TICK: Duration = Duration::from_millis(10);
/// Time between two looks at the queue.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How long the last probes may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes to the file at `path` until `is_over`, and returns how long each probe took to be seen.
pub(super) fn measure(
    path: &Path,
    api: &Api,
    plan: Plan,
    mut is_over: impl FnMut() -> Result<bool>,
) -> Result<Times> {
    let file = File::options().append(true).create(true).open(path)?;
    let written: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (written, stop) = (Arc::clone(&written), Arc::clone(&stop));
        thread::spawn(move || write(file, plan, &written, &stop))
    };
    let seen = watch(api, plan, &written, &stop, &mut is_over);
    stop.store(true, Relaxed);
    let wrote = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
    wrote.context("write the detector's file")?;
    seen
}

fn watch(
    api: &Api,
    plan: Plan,
    written: &Mutex<Vec<Instant>>,
    stop: &AtomicBool,
    is_over: &mut impl FnMut() -> Result<bool>,
) -> Result<Times> {
    let mut times = Times::default();
    let mut over_since: Option<Instant> = None;
    loop {
        let queue = api.read("/v1/queue?limit=1")?;
        let seen_at = Instant::now();
        let count = queue["by_severity"][plan.counted_as].as_u64();
        let seen = usize::try_from(count.context("the queue counts no such severity")?)?;
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        for at in written.iter().take(seen).skip(times.len()) {
            times.push(seen_at - *at);
        }
        let all = written.len();
        drop(written);
        match over_since {
            None if is_over()? => {
                stop.store(true, Relaxed);
                over_since = Some(seen_at);
            }
            Some(_) if seen >= all => return Ok(times),
            Some(since) if since.elapsed() > PATIENCE => {
                bail!("{seen} of {all} probes were seen");
            }
            None | Some(_) => {}
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn write(
    mut file: File,
    plan: Plan,
    written: &Mutex<Vec<Instant>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut records = Records::new(77, now(), LOW);
    let mut text = String::new();
    let start = Instant::now();
    let mut lines: usize = 0;
    let mut probes = 0;
    while !stop.load(Relaxed) {
        text.clear();
        records.set_time(now());
        let elapsed = start.elapsed();
        let due = usize::try_from(elapsed.as_millis())? * plan.rate / 1_000;
        (lines..due).for_each(|_| records.append(&mut text));
        lines = due;
        let is_probe = elapsed >= plan.interval * (probes + 1);
        if is_probe {
            probes += 1;
            records.append_probe(&mut text, plan.severity, u64::from(probes));
            written.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        file.write_all(text.as_bytes())?;
        thread::sleep(TICK.saturating_sub(start.elapsed() - elapsed));
    }
    Ok(())
}
