//! A rate with a burst, held by a virtual clock (as GCRA of ITU-T I.371 holds it): whatever is taken moves the clock
//! on by what it costs, and more may be taken once the clock is no more ahead than the burst allows.

use std::time::{Duration, Instant};

/// What was taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    /// When all of it would have come at the rate.
    at: Option<Instant>,
}

impl Meter {
    /// Returns when the next may be taken, whatever it costs.
    pub(super) fn due(&self, now: Instant, burst: Duration) -> Instant {
        let due = self.at.and_then(|at| at.checked_sub(burst));
        due.map_or(now, |due| due.max(now))
    }

    /// Takes what costs as much.
    pub(super) fn take(&mut self, now: Instant, cost: Duration) {
        self.at = Some(self.at.map_or(now, |at| at.max(now)) + cost);
    }

    /// Returns whether it is as if nothing had been taken.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const BURST: Duration = Duration::from_secs(4);

    /// Returns how often something that costs `cost` may be taken within a time, if it always is.
    fn within(time: Duration, cost: Duration) -> u32 {
        let (start, mut meter, mut count) = (clock::instant(), Meter::default(), 0);
        let mut now = start;
        loop {
            now = meter.due(now, BURST);
            if now - start > time {
                return count;
            }
            meter.take(now, cost);
            count += 1;
        }
    }

    #[test]
    fn as_much_comes_as_the_rate_and_a_burst_allow_whether_in_large_pieces_or_in_many() {
        let minute = Duration::from_secs(60);
        assert_eq!(within(minute, Duration::from_millis(500)), 2 * 64 + 1);
        assert_eq!(within(minute, Duration::from_millis(100)), 10 * 64 + 1);
    }

    #[test]
    fn whoever_was_silent_may_take_a_burst_and_no_more() {
        let (start, mut meter) = (clock::instant(), Meter::default());
        meter.take(start, Duration::from_secs(1_000));
        let later = start + Duration::from_secs(3_600);
        assert!(!meter.is_at_rest(start) && meter.is_at_rest(later));
        for _ in 0..=BURST.as_secs() {
            assert_eq!(meter.due(later, BURST), later);
            meter.take(later, Duration::from_secs(1));
        }
        assert_eq!(meter.due(later, BURST), later + Duration::from_secs(1));
    }
}
