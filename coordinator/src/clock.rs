//! The coordinator's one way to the time: drivers read it and hand it on as an argument.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use shared::time::Timestamp;

/// Where drivers have the wall clock's time from; tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns a clock that reads `now`.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the system's wall clock. A clock that stands before 1970 reads as 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where drivers have the time from")]
    pub fn wall() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let ms = since.unwrap_or_default().as_millis();
            Timestamp::from_ms(u64::try_from(ms).unwrap_or(u64::MAX))
        })
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Returns the monotonic clock's time, for time-outs and durations.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where drivers have the time from")]
pub fn instant() -> Instant {
    Instant::now()
}
