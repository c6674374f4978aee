//! When a look at the host is worth sending.
//!
//! A change is said at once, unless too many were: a host on which something comes and goes makes no history of its
//! own. The same context is said again at least once a day, so that the coordinator knows since when it has held and
//! until when it did, and has who is logged in; sooner where that has changed.

use std::time::{Duration, Instant};

use shared::context::HostContext;

use crate::limits::{
    CONTEXT_AGAIN_INTERVAL, CONTEXT_CHANGES_INTERVAL, CONTEXT_CHANGES_MAX, CONTEXT_USERS_INTERVAL,
};

/// What was said last, and how many changes may be said.
#[derive(Debug)]
pub struct Watch {
    said: HostContext,
    said_at: Instant,
    /// When the changes were said that count against the bound, oldest first.
    changes: Vec<Instant>,
}

impl Watch {
    /// Returns a watch over a host whose context is said now.
    #[must_use]
    pub fn new(said: HostContext, now: Instant) -> Self {
        Self { said, said_at: now, changes: Vec::new() }
    }

    /// Takes a look at the host; returns it if it is to be said.
    pub fn take(&mut self, look: HostContext, now: Instant) -> Option<HostContext> {
        let since = now.saturating_duration_since(self.said_at);
        let is_worth_it = if look.version() == self.said.version() {
            let have_users_changed = look.users != self.said.users;
            since >= CONTEXT_AGAIN_INTERVAL
                || (have_users_changed && since >= CONTEXT_USERS_INTERVAL)
        } else {
            self.may_change(now)
        };
        if !is_worth_it {
            return None;
        }
        self.said = look.clone();
        self.said_at = now;
        Some(look)
    }

    fn may_change(&mut self, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        self.changes.retain(is_recent);
        if self.changes.len() >= CONTEXT_CHANGES_MAX {
            return false;
        }
        self.changes.push(now);
        true
    }
}

const WINDOW: Duration = CONTEXT_CHANGES_INTERVAL;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own start of time")]
mod tests {
    use shared::context::LoggedIn;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn host(name: &str, user: &str) -> HostContext {
        let user = LoggedIn {
            user: user.into(),
            terminal: String::new(),
            from: String::new(),
            since: None,
        };
        HostContext { hostname: name.into(), users: vec![user], ..HostContext::default() }
    }

    #[test]
    fn a_change_is_said_at_once_and_what_stays_is_said_again_within_a_day() {
        let start = Instant::now();
        let mut watch = Watch::new(host("a", "eve"), start);
        assert_eq!(watch.take(host("a", "eve"), start + MINUTE), None);
        assert_eq!(watch.take(host("b", "eve"), start + MINUTE), Some(host("b", "eve")));
        let day = Duration::from_secs(24 * 60 * 60);
        let said = (2..=3 * 24 * 60)
            .filter(|minute| watch.take(host("b", "eve"), start + MINUTE * *minute).is_some());
        let said: Vec<u32> = said.collect();
        assert!(said.len() >= 3 && MINUTE * said[0] < day, "{said:?}");
    }

    #[test]
    fn who_is_logged_in_is_said_again_after_a_while_and_makes_no_change() {
        let start = Instant::now();
        let mut watch = Watch::new(host("a", "eve"), start);
        assert_eq!(watch.take(host("a", "bob"), start + MINUTE), None);
        let later = start + CONTEXT_USERS_INTERVAL;
        assert_eq!(watch.take(host("a", "bob"), later), Some(host("a", "bob")));
        assert_eq!(watch.take(host("a", "eve"), later + MINUTE), None);
    }

    #[test]
    fn what_comes_and_goes_every_minute_makes_few_versions_and_the_last_is_said() {
        let start = Instant::now();
        let mut watch = Watch::new(host("0", "eve"), start);
        let mut said = 0;
        for minute in 1..=24 * 60_u32 {
            let name = (minute % 2).to_string();
            said += usize::from(watch.take(host(&name, "eve"), start + MINUTE * minute).is_some());
        }
        let hours = 24 * 60 * 60 / CONTEXT_CHANGES_INTERVAL.as_secs();
        assert!(said <= (usize::try_from(hours).unwrap() + 1) * CONTEXT_CHANGES_MAX, "{said}");
        let later = start + MINUTE * (24 * 60) + CONTEXT_CHANGES_INTERVAL;
        assert!(watch.take(host("end", "eve"), later).is_some(), "what is held back is not lost");
    }
}
