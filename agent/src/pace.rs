//! Keeps the agent to its share of the processor: says how long the sources are to wait.
//!
//! A bucket of processor time fills at the share's rate and is emptied by what the process uses. While it is below
//! nothing, the sources wait until it is even again. Pure: the time used and `now` in, a wait out.
//!
//! # Invariants
//! Over any stretch of time the pipeline begins nothing while more than share x stretch + [`PACE_BURST`] is used. What
//! the uplink uses counts, too, but is not slowed: a debt beyond [`PACE_DEBT_MAX`] is forgiven, or a long backlog that
//! is sent would keep the sources from being read at all.

use std::time::{Duration, Instant};

use crate::limits::{PACE_BURST, PACE_DEBT_MAX};

/// Share of one processor in percent: 100 is one processor, 200 are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare(u32);

impl CpuShare {
    /// Smallest share, in percent: with less, a source is hours behind after a burst of minutes.
    pub const PERCENT_MIN: u32 = 5;
    /// Largest share, in percent: more processors than any agent has threads for.
    pub const PERCENT_MAX: u32 = 400;

    /// Returns the share, if it lies between the smallest and the largest.
    #[must_use]
    pub const fn of_percent(percent: u32) -> Option<Self> {
        if percent >= Self::PERCENT_MIN && percent <= Self::PERCENT_MAX {
            Some(Self(percent))
        } else {
            None
        }
    }

    /// Returns it in percent of one processor.
    #[must_use]
    pub const fn percent(self) -> u32 {
        self.0
    }
}

/// The bucket.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    share: CpuShare,
    /// Nanoseconds of processor time that may be used at once; below nothing they are owed.
    credit_ns: i64,
    /// What the process had used, and when that was.
    last: Option<(Duration, Instant)>,
}

impl Pace {
    /// Returns a full bucket.
    #[must_use]
    pub fn new(share: CpuShare) -> Self {
        Self { share, credit_ns: ns(PACE_BURST), last: None }
    }

    /// Takes note that the process has used `used` since its start, and returns how long the sources are to wait: until
    /// what is owed has come in; no time at all if nothing is.
    pub fn wait(&mut self, used: Duration, now: Instant) -> Duration {
        if let Some((used_before, at)) = self.last.replace((used, now)) {
            let percent = i64::from(self.share.percent());
            let earned = ns(now.saturating_duration_since(at)).saturating_mul(percent) / 100;
            let spent = ns(used.saturating_sub(used_before));
            let credit = self.credit_ns.saturating_add(earned).min(ns(PACE_BURST)) - spent;
            self.credit_ns = credit.max(-ns(PACE_DEBT_MAX));
        }
        if self.credit_ns >= 0 {
            return Duration::ZERO;
        }
        let owed = self.credit_ns.unsigned_abs();
        Duration::from_nanos(owed.saturating_mul(100).div_ceil(u64::from(self.share.percent())))
    }
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own start of time")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Lets a process that would use the whole processor run for `rounds` of 5 ms, each followed by the wait that it is
    /// told; returns what it used and how long that took.
    fn flood(percent: u32, rounds: u32) -> (Duration, Duration) {
        let mut pace = Pace::new(CpuShare::of_percent(percent).unwrap());
        let start = Instant::now();
        let (mut used, mut now) = (Duration::ZERO, start);
        pace.wait(used, now);
        for _ in 0..rounds {
            used += 5 * MS;
            now += 5 * MS;
            now += pace.wait(used, now);
        }
        (used, now - start)
    }

    #[test]
    fn a_flood_is_kept_to_its_share() {
        for percent in [5, 10, 50, 90] {
            let (used, took) = flood(percent, 4_000);
            let allowed = took * percent / 100 + PACE_BURST + 5 * MS;
            assert!(used <= allowed, "{percent} %: {used:?} of {took:?}");
            assert!(
                used * 10 >= took * percent / 100 * 9,
                "{percent} %: no more than that is waited"
            );
        }
    }

    #[test]
    fn a_share_of_a_whole_processor_never_waits_for_one_thread() {
        let (used, took) = flood(100, 1_000);
        assert_eq!(used, took);
    }

    #[test]
    fn who_used_little_may_use_a_burst_at_once() {
        let mut pace = Pace::new(CpuShare::of_percent(10).unwrap());
        let now = Instant::now();
        assert_eq!(pace.wait(Duration::ZERO, now), Duration::ZERO);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.wait(PACE_BURST, later), Duration::ZERO);
        assert!(pace.wait(PACE_BURST + MS, later) > Duration::ZERO);
    }

    #[test]
    fn a_debt_that_others_made_does_not_silence_the_sources_for_long() {
        let mut pace = Pace::new(CpuShare::of_percent(10).unwrap());
        let start = Instant::now();
        pace.wait(Duration::ZERO, start);
        // An hour in which the uplink used the whole processor.
        let hour = Duration::from_secs(3_600);
        let mut now = start + hour;
        let mut waited = Duration::ZERO;
        loop {
            let wait = pace.wait(hour, now);
            if wait.is_zero() {
                break;
            }
            waited += wait;
            now += wait;
        }
        assert!(waited <= PACE_DEBT_MAX * 10, "{waited:?}");
    }

    proptest! {
        #[test]
        fn no_clock_makes_it_panic_or_wait_too_long(
            percent in CpuShare::PERCENT_MIN..=CpuShare::PERCENT_MAX,
            steps in proptest::collection::vec((0..u64::MAX / 4, 0..1_u64 << 40), 0..50),
        ) {
            let mut pace = Pace::new(CpuShare::of_percent(percent).unwrap());
            let start = Instant::now();
            for (used, at) in steps {
                let wait = pace.wait(Duration::from_nanos(used), start + Duration::from_nanos(at));
                prop_assert!(wait <= PACE_DEBT_MAX * 100 / CpuShare::PERCENT_MIN);
            }
        }
    }
}
