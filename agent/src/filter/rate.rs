//! How many a rule expects in how much time, and whether there are more.
//!
//! Two numbers a rule: how many came in the window that runs, and in the one before. What came within the last
//! length of a window is estimated from both, as if those of the one before had come evenly. So after a flood the rate
//! falls within two windows, and no list of instants is kept.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// A number in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In which time; at least a second.
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            0..60 => "s",
            60..3_600 => "m",
            3_600..86_400 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// Counts what comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    /// When the present window began; absent before the first.
    since: Option<Instant>,
    before: u64,
    present: u64,
}

impl Meter {
    /// Counts one more; returns whether there are now more than expected.
    pub(super) fn note(&mut self, expected: &Rate, now: Instant) -> bool {
        let (since, before, present) = self.at(expected, now);
        *self = Self { since: Some(since), before, present: present + 1 };
        self.is_beyond(expected, now)
    }

    /// Returns whether more came lately than expected.
    pub(super) fn is_beyond(&self, expected: &Rate, now: Instant) -> bool {
        let (since, before, present) = self.at(expected, now);
        let (per, elapsed) = (expected.per.as_millis(), now.duration_since(since).as_millis());
        let left = per.saturating_sub(elapsed);
        u128::from(before) * left + u128::from(present) * per > u128::from(expected.count) * per
    }

    /// Returns the window at `now`: its beginning, how many came in the one before, and in it.
    fn at(&self, expected: &Rate, now: Instant) -> (Instant, u64, u64) {
        let Some(since) = self.since else { return (now, 0, 0) };
        let elapsed = now.duration_since(since);
        if elapsed < expected.per {
            (since, self.before, self.present)
        } else if elapsed < expected.per * 2 {
            (since + expected.per, self.present, 0)
        } else {
            (now, 0, 0)
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own start of time")]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const TEN: Rate = Rate { count: 10, per: MINUTE };

    #[test]
    fn as_many_as_expected_are_within_and_one_more_is_beyond() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let beyond: Vec<bool> = (0..12).map(|_| meter.note(&TEN, start)).collect();
        assert_eq!(beyond.iter().filter(|beyond| **beyond).count(), 2);
        assert!(!beyond[9] && beyond[10]);
    }

    #[test]
    fn a_steady_rate_below_the_bound_is_never_beyond() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        for number in 0..1_000 {
            let now = start + Duration::from_millis(6_667) * number;
            assert!(!meter.note(&TEN, now), "at number {number}");
        }
    }

    #[test]
    fn a_flood_stays_beyond_until_it_is_over_and_then_the_rate_falls() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut now = start;
        for _ in 0..10 {
            meter.note(&TEN, now);
        }
        while now < start + MINUTE * 5 {
            assert!(meter.note(&TEN, now), "the flood goes on");
            now += Duration::from_secs(1);
        }
        assert!(meter.is_beyond(&TEN, now));
        assert!(!meter.is_beyond(&TEN, now + MINUTE * 2), "the flood is over");
        assert!(!meter.note(&TEN, now + MINUTE * 2));
    }

    #[test]
    fn a_rule_that_expects_nothing_is_beyond_at_once() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert!(!meter.is_beyond(&Rate { count: 0, per: MINUTE }, start));
        assert!(meter.note(&Rate { count: 0, per: MINUTE }, start));
    }

    #[test]
    fn a_rate_is_written_as_in_a_policy() {
        let rates = [(1, "7/s"), (60, "7/m"), (3_600, "7/h"), (86_400, "7/d")];
        for (seconds, text) in rates {
            let per = Duration::from_secs(seconds);
            assert_eq!(Rate { count: 7, per }.to_string(), text);
        }
    }
}
