//! The two clocks, for the drivers; everything else takes the time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use shared::time::Timestamp;

/// Returns the instant that timers count from.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the drivers' one way to the monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the wall clock's time; a clock before 1970 counts as 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the drivers' one way to the wall clock")]
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
