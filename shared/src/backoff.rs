//! How long an agent waits before it dials again.

use std::time::Duration;

/// Exponential backoff with full jitter: attempt `n` waits between `min` and `min * 2^n`, at most `max`.
///
/// Full jitter spreads a restarted coordinator's agents over the whole interval (Brooker, "Exponential Backoff
/// And Jitter"). The schedule is a pure function: the caller brings the random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Returns a schedule between `min` and `max`; `max` is raised to `min` if it lies below.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), attempt: 0 }
    }

    /// Returns the next wait; `unit` is uniform in `0.0..1.0` and is clamped to it.
    pub fn next_wait(&mut self, unit: f64) -> Duration {
        let ceiling = self.min.saturating_mul(1 << self.attempt.min(20)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        self.min + (ceiling - self.min).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// Starts over, after a connection that did its work.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_never_leave_the_bounds() {
        let (min, max) = (Duration::from_millis(250), Duration::from_secs(30));
        let mut backoff = Backoff::new(min, max);
        let highest: Vec<Duration> = (0..40).map(|_| backoff.next_wait(1.0)).collect();
        assert!(highest.is_sorted());
        assert_eq!((highest[0], highest[39]), (min, max));
        assert_eq!(backoff.next_wait(0.0), min);
        backoff.reset();
        assert_eq!(backoff.next_wait(7.0), min);
    }
}
