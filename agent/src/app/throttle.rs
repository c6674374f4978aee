//! Keeps the pipeline within the bounds of `[limits]`: says how long the sources wait, and what the agent takes.
//!
//! The processor's share is [`Pace`]'s. Memory is bounded by the buffers themselves; should the process have more in
//! memory all the same, the sources are read slowly until it has not.

use std::time::{Duration, Instant};

use crate::{
    config::Limits,
    pace::{CpuShare, Pace},
    platform,
    status::{Bound, LimitsStatus},
};

/// Wait after each read while more is in memory than allowed: what was read is sent and let go of meanwhile.
const MEMORY_WAIT: Duration = Duration::from_millis(250);

/// The bounds, and what was taken so far.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: Limits,
    /// What of the processor the sources may take now: the host's share, or less.
    share: Option<CpuShare>,
    pace: Option<Pace>,
    /// As of the last look; where the system does not say it, nothing.
    resident_bytes: u64,
    slowed: Duration,
    /// The bound that made the sources wait since the last look.
    at: Option<Bound>,
    /// Whether they waited since that was asked last.
    has_waited: bool,
    shown: LimitsStatus,
    last_look: Option<(Duration, Instant)>,
}

impl Throttle {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            share: limits.cpu,
            pace: limits.cpu.map(Pace::new),
            resident_bytes: 0,
            slowed: Duration::ZERO,
            at: None,
            has_waited: false,
            shown: LimitsStatus::default(),
            last_look: None,
        }
    }

    /// Takes the most of a processor that a policy lets the sources have: where the host allows less, that stays.
    pub(super) fn bound(&mut self, percent: Option<u16>) {
        let of_policy = percent.and_then(|percent| CpuShare::of_percent(percent.into()));
        let least = [self.limits.cpu, of_policy].into_iter().flatten();
        let share = least.min_by_key(|share| share.percent());
        if share != self.share {
            self.share = share;
            self.pace = share.map(Pace::new);
        }
    }

    /// Returns how long the sources are to wait after a read; no time at all while the agent is within its bounds.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let used = self.pace.is_some().then(platform::cpu_time).flatten();
        let for_cpu = self.pace.as_mut().zip(used).map(|(pace, used)| pace.wait(used, now));
        let is_large = self.resident_bytes > self.limits.memory_bytes_max;
        let for_memory = if is_large { MEMORY_WAIT } else { Duration::ZERO };
        let wait = for_cpu.unwrap_or_default().max(for_memory);
        if !wait.is_zero() {
            self.at = Some(if is_large { Bound::Memory } else { Bound::Cpu });
            self.slowed += wait;
            self.has_waited = true;
        }
        wait
    }

    /// Returns whether the sources have waited since this was asked last: what the system dropped meanwhile it dropped
    /// because of that.
    pub(super) fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.has_waited)
    }

    /// Looks at what the process takes, once in a while, and returns what is shown of it.
    pub(super) fn look(&mut self, now: Instant) -> LimitsStatus {
        self.resident_bytes = platform::resident_bytes().unwrap_or(0);
        let used = platform::cpu_time();
        if let (Some(used), Some((before, at))) = (used, self.last_look) {
            let nanos = now.saturating_duration_since(at).as_nanos().max(1);
            let percent = used.saturating_sub(before).as_nanos() * 100 / nanos;
            self.shown.cpu_percent = u32::try_from(percent).unwrap_or(u32::MAX);
        }
        self.last_look = used.map(|used| (used, now));
        LimitsStatus {
            cpu_percent_max: self.share.map(|share| share.percent()),
            memory_bytes: self.resident_bytes,
            memory_bytes_max: self.limits.memory_bytes_max,
            disk_bytes_max: self.limits.disk_bytes_max,
            slowed_ms: u64::try_from(self.slowed.as_millis()).unwrap_or(u64::MAX),
            at: self.at.take(),
            ..self.shown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn limits(cpu: Option<u32>, memory_bytes_max: u64) -> Limits {
        let cpu = cpu.and_then(CpuShare::of_percent);
        Limits { cpu, memory_bytes_max, disk_bytes_max: 1 << 30 }
    }

    #[test]
    fn a_policy_lowers_the_share_and_never_raises_it() {
        let share = |throttle: &mut Throttle, percent| {
            throttle.bound(percent);
            throttle.look(clock::now()).cpu_percent_max
        };
        let mut throttle = Throttle::new(limits(Some(20), 1 << 40));
        for (percent, expected) in [(Some(10), 10), (Some(50), 20), (None, 20), (Some(1), 20)] {
            assert_eq!(share(&mut throttle, percent), Some(expected), "{percent:?}");
        }
        let mut throttle = Throttle::new(limits(None, 1 << 40));
        assert_eq!(share(&mut throttle, Some(30)), Some(30));
        assert_eq!(share(&mut throttle, None), None);
    }

    #[test]
    fn without_a_share_and_within_its_memory_nobody_waits() {
        let mut throttle = Throttle::new(limits(None, 1 << 40));
        let shown = throttle.look(clock::now());
        assert_eq!((shown.at, shown.slowed_ms, shown.cpu_percent_max), (None, 0, None));
        assert_eq!(throttle.wait(clock::now()), Duration::ZERO);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_memory_than_allowed_slows_the_sources_and_is_shown() {
        let mut throttle = Throttle::new(limits(None, 1 << 10));
        assert_eq!(throttle.wait(clock::now()), Duration::ZERO, "nobody has looked yet");
        throttle.look(clock::now());
        assert!(!throttle.take_waited());
        assert_eq!(throttle.wait(clock::now()), MEMORY_WAIT);
        assert!(throttle.take_waited() && !throttle.take_waited());
        let shown = throttle.look(clock::now());
        assert_eq!((shown.at, shown.slowed_ms), (Some(Bound::Memory), 250));
        assert!(shown.memory_bytes > shown.memory_bytes_max);
        assert_eq!(throttle.look(clock::now()).at, None, "nobody has waited since");
    }

    #[cfg(unix)]
    #[test]
    fn more_of_the_processor_than_the_share_slows_the_sources_and_is_shown() {
        let mut throttle = Throttle::new(limits(Some(CpuShare::PERCENT_MIN), 1 << 40));
        let start = clock::now();
        throttle.wait(start);
        throttle.look(start);
        let mut number = 1_u64;
        while throttle.wait(start + start.elapsed()).is_zero() {
            for _ in 0..100_000 {
                number = std::hint::black_box(number.wrapping_mul(3) ^ 7);
            }
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        let shown = throttle.look(clock::now());
        assert_eq!((shown.at, shown.cpu_percent_max), (Some(Bound::Cpu), Some(5)));
        assert!(shown.cpu_percent > 5, "{shown:?}");
    }
}
