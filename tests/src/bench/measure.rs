//! How things are measured: processor time, resident memory, percentiles, medians, and how much of everything.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

const MIB: f64 = 1_048_576.0;

/// Returns `full`, or the share of it that `SCALE` says (0 to 1), at least `least`.
pub(super) fn scaled(full: usize, least: usize) -> usize {
    let share = std::env::var("SCALE").ok().and_then(|text| text.parse::<f64>().ok());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "amounts are far below 2^52"
    )]
    let amount = (full as f64 * share.unwrap_or(1.0).clamp(0.0, 1.0)) as usize;
    amount.clamp(least.min(full), full)
}

/// Returns how many a second.
#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
pub(super) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// Returns `bytes` in MiB.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// Returns the median.
///
/// # Panics
/// If there are no values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times of one kind.
#[derive(Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the time that `share` of all are not above (nearest rank); zero where there is none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts are far below 2^52"
    )]
    pub(super) fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Returns the processor time that the calling thread has used.
///
/// # Errors
/// The system does not say: this is Linux only.
pub(super) fn thread_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("read schedstat")?;
    let used = text.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
    Ok(Duration::from_nanos(used.context("schedstat without a number")?))
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// Now.
    pub(super) now: u64,
    /// At its largest.
    pub(super) max: u64,
}

impl Resident {
    /// Reads that of process `pid`.
    ///
    /// # Errors
    /// There is no such process, or this is not Linux.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        };
        let (now, max) = (field("VmRSS:"), field("VmHWM:"));
        Ok(Self { now: now.context("no VmRSS")?, max: max.context("no VmHWM")? })
    }
}

/// Makes a folder for what a group writes, on the disk of the build and not in memory.
///
/// # Errors
/// Whatever the system reports.
pub(super) fn scratch() -> Result<tempfile::TempDir> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let target = target.canonicalize().context("the target folder")?;
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(target)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_that_so_many_are_not_above() {
        let mut times = Times::default();
        assert_eq!(times.percentile(0.99), Duration::ZERO);
        (1..=200).rev().for_each(|ms| times.push(Duration::from_millis(ms)));
        assert_eq!(times.percentile(0.5), Duration::from_millis(100));
        assert_eq!(times.percentile(0.99), Duration::from_millis(198));
        assert_eq!(times.percentile(1.0), Duration::from_millis(200));
    }
}
