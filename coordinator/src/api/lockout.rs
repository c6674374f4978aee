//! Addresses from which so much came that is not good that they are not listened to for a while.
//!
//! What counts is what only a guesser sends: different secrets that nobody was ever given, of tokens and of sign-ins.
//! The same one again says nothing new: a program that asks each minute with a token which is long forgotten must not
//! lock out the office that it stands in. Nor does a token that has expired or was revoked count. What a page of
//! anybody's can have a browser send counts for nothing and is never refused, which is the way back from the
//! provider, its form, and everything without a bearer token: else any page could lock out whoever looks at it.
//!
//! Who is locked out is answered without a look into the store; but a token that was used within
//! [`LOCKOUT_KNOWN`](crate::limits::LOCKOUT_KNOWN) stays good, so that whoever works goes on working beside a guesser.
//!
//! # States
//! ```text
//! nothing ─▶ counting ─(LOCKOUT_FAILURES_MAX within LOCKOUT_WINDOW)─▶ locked out ─(LOCKOUT_LENGTH)─▶ nothing
//! ```
//!
//! # Limits
//! At most [`LOCKOUT_SITES_MAX`] addresses; of IPv6 the first 64 bits. Where there are more, what comes from further
//! ones is refused as ever and not counted. Secrets have 256 bits of chance, so this is against noise and not what
//! keeps anybody out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use shared::time::Timestamp;

use super::{
    Api,
    peer::Origin,
    problem::{Kind, Problem},
};
use crate::{
    command::access,
    limits::{
        LOCKOUT_FAILURES_MAX, LOCKOUT_LENGTH, LOCKOUT_SITES_MAX, LOCKOUT_SWEEP_INTERVAL,
        LOCKOUT_WINDOW, LOCKOUTS_NOTED_MAX,
    },
    rate::{self, site},
    store::writer::Priority,
};

/// Counts for as long as a failure does.
type Window = rate::Window<{ LOCKOUT_WINDOW.as_secs() }>;

/// How many different failures are remembered of a site.
const FAILURES_MAX: usize = LOCKOUT_FAILURES_MAX as usize;

/// A secret that was not good, as far as it takes to know it again: the first eight bytes of its SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure([u8; 8]);

impl Failure {
    pub(super) fn new(secret: &[u8]) -> Self {
        let digest = Sha256::digest(secret);
        Self(std::array::from_fn(|at| digest[at]))
    }
}

/// What came lately that was not good, by address.
#[derive(Debug, Default)]
pub(super) struct Lockouts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sites: HashMap<IpAddr, Site>,
    /// When those that are over were forgotten last.
    swept_at: Timestamp,
    /// Of all sites: how many lockouts were told to the journal.
    noted: Window,
}

#[derive(Clone, Copy, Debug, Default)]
struct Site {
    /// How many different ones.
    failures: Window,
    /// Which; only as many as were counted hold.
    known: [Failure; FAILURES_MAX],
    locked_until: Option<Timestamp>,
}

impl Site {
    /// Returns for how long it is locked out yet.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let left = self.locked_until?.since(now);
        // A clock that was set back must not lock out for longer.
        (!left.is_zero() && left <= LOCKOUT_LENGTH).then_some(left)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.left(now).is_none() && self.failures.is_over(now)
    }
}

impl State {
    /// Returns whether one more address can be remembered; forgets those that are over, if that was not done just now.
    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.sites.len() < LOCKOUT_SITES_MAX {
            return true;
        }
        // A clock that was set back must not keep them for long.
        if now < self.swept_at || now.since(self.swept_at) >= LOCKOUT_SWEEP_INTERVAL {
            self.swept_at = now;
            self.sites.retain(|_, known| !known.is_over(now));
        }
        self.sites.len() < LOCKOUT_SITES_MAX
    }
}

/// An address was locked out just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LockedOut {
    until: Timestamp,
    /// Whether the journal is to be told.
    is_noted: bool,
}

impl Lockouts {
    /// Returns for how long an address is locked out yet.
    fn left(&self, from: Origin, now: Timestamp) -> Option<Duration> {
        self.lock().sites.get(&site(from.0?))?.left(now)
    }

    /// Notes that something came that is not good; returns whether that was one too many.
    fn fail(&self, from: Origin, failure: Failure, now: Timestamp) -> Option<LockedOut> {
        let site = site(from.0?);
        let mut state = self.lock();
        if !state.sites.contains_key(&site) && !state.has_room(now) {
            return None;
        }
        let known = state.sites.entry(site).or_default();
        if known.left(now).is_some() {
            return None;
        }
        let count = known.failures.value(now) as usize;
        if known.known[..count].contains(&failure) {
            return None;
        }
        known.known[count] = failure;
        known.failures.count(now);
        if count + 1 < FAILURES_MAX {
            return None;
        }
        let until = now.saturating_add(LOCKOUT_LENGTH);
        *known = Site { locked_until: Some(until), ..Site::default() };
        let is_noted = state.noted.value(now) < LOCKOUTS_NOTED_MAX;
        if is_noted {
            state.noted.count(now);
        }
        Some(LockedOut { until, is_noted })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the map whole: each change of it is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses whoever is locked out.
///
/// # Errors
/// Answers `locked-out`, with when to come again.
pub(super) fn check(api: &Api, from: Origin, now: Timestamp) -> Result<(), Problem> {
    match api.lockouts.left(from, now) {
        None => Ok(()),
        Some(left) => {
            api.counters.requests_locked_out.add_one();
            Err(problem(left))
        }
    }
}

fn problem(left: Duration) -> Problem {
    let seconds = u32::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    let detail = format!("too much that is not good came from your address; {seconds} s are left");
    Problem::new(Kind::LockedOut, detail).retry_after(seconds).hint(
        "wait, and use a token that is good; those that were used lately go on working meanwhile",
    )
}

/// Notes that something came that is not good. If that was one too many, the journal is told, once.
pub(super) async fn fail(api: &Api, from: Origin, failure: Failure, now: Timestamp) {
    let Some(LockedOut { until, is_noted }) = api.lockouts.fail(from, failure, now) else { return };
    api.counters.lockouts.add_one();
    tracing::warn!(from = from.shown(), %until, "an address is locked out of the API");
    if !is_noted {
        return;
    }
    let shown = from.shown();
    let note = api
        .store
        .submit(Priority::Normal, move |staged| access::lock_out(staged, shown, until, now));
    let noted = match note.await {
        Ok(submitted) => submitted.await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "the journal does not have a lockout");
    }
}

#[cfg(test)]
mod tests;
