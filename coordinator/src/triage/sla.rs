//! By when a case must be decided.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::{alert::Severity, time::Timestamp};

/// A tenant's agreed time to decide, by severity, counted from when the coordinator has the alert (L11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sla {
    /// Minutes, by `severity_id` from 0 (unknown) to 6 (fatal); each from 1 to [`MINUTES_MAX`].
    pub minutes: [u32; Severity::ALL.len()],
}

/// Longest time to decide: 90 days.
pub const MINUTES_MAX: u32 = 90 * 24 * 60;

impl Default for Sla {
    /// Unknown is taken as medium: a product that does not say must not be the last to be looked at.
    fn default() -> Self {
        Self { minutes: [4 * 60, 72 * 60, 24 * 60, 4 * 60, 60, 15, 15] }
    }
}

impl Sla {
    /// Returns by when an alert of `severity` that was received at `received_at` must be decided.
    #[must_use]
    pub fn deadline(&self, severity: Severity, received_at: Timestamp) -> Timestamp {
        let minutes = self.minutes[usize::from(severity.id())];
        received_at.saturating_add(Duration::from_secs(u64::from(minutes) * 60))
    }

    /// Returns whether every time is within its bounds.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.minutes.iter().all(|minutes| (1..=MINUTES_MAX).contains(minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_the_severity_the_sooner_the_deadline() {
        let sla = Sla::default();
        let now = Timestamp::from_ms(1_000);
        let deadlines = Severity::ALL[1..].iter().map(|severity| sla.deadline(*severity, now));
        assert!(deadlines.collect::<Vec<_>>().is_sorted_by(|a, b| a >= b));
        assert_eq!(sla.deadline(Severity::Critical, now).since(now), Duration::from_secs(900));
        assert!(sla.is_valid());
    }
}
