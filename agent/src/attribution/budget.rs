//! How many look-ups there may be, and how long they may take.

use std::time::{Duration, Instant};

/// The second in which what is spent is counted.
const WINDOW: Duration = Duration::from_secs(1);

/// What may be spent in a second, and what has been.
#[derive(Debug)]
pub(super) struct Budget {
    number_max: u32,
    time_max: Duration,
    each_max: Duration,
    since: Option<Instant>,
    number: u32,
    time: Duration,
}

impl Budget {
    /// Returns a budget of `number_max` look-ups and `time_max` for all of them a second, and `each_max` for one.
    pub(super) fn new(number_max: u32, time_max: Duration, each_max: Duration) -> Self {
        Self { number_max, time_max, each_max, since: None, number: 0, time: Duration::ZERO }
    }

    /// Begins a look-up at `now`, and returns until when it may run; nothing where no more is left.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.number = 0;
            self.time = Duration::ZERO;
        }
        let left = self.time_max.saturating_sub(self.time).min(self.each_max);
        if self.number >= self.number_max || left.is_zero() {
            return None;
        }
        self.number += 1;
        Some(now + left)
    }

    /// Takes how long the look-up took that was begun last.
    pub(super) fn end(&mut self, took: Duration) {
        self.time += took;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own start of time")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_has_so_many_look_ups_and_the_next_has_them_anew() {
        let (mut budget, now) = (Budget::new(3, WINDOW, MS), Instant::now());
        let begun = |budget: &mut Budget, at| (0..9).filter_map(|_| budget.begin(at)).count();
        assert_eq!(begun(&mut budget, now), 3);
        assert_eq!(begun(&mut budget, now + WINDOW - MS), 0);
        assert_eq!(begun(&mut budget, now + WINDOW), 3);
    }

    #[test]
    fn one_look_up_gets_its_share_and_all_together_get_theirs() {
        let (mut budget, now) = (Budget::new(99, 25 * MS, 10 * MS), Instant::now());
        let mut given = Vec::new();
        while let Some(until) = budget.begin(now) {
            given.push(until.duration_since(now));
            budget.end(until.duration_since(now));
        }
        assert_eq!(given, [10 * MS, 10 * MS, 5 * MS]);
        assert!(budget.begin(now + WINDOW).is_some());
    }
}
