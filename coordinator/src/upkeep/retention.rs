//! Runs retention: by age, by bytes, and for remembered answers.
//!
//! By age everything goes that was received longer ago than is agreed, cut at whole hours, so that
//! a quiet store is not cut each minute anew. By bytes the oldest blocks of all tenants go first, but neither cases nor
//! ledgers, in steps of half of what would be too much if blocks came evenly, until the engine says that the
//! rest fits. If its measure does not fall although something was deleted, the room has not been
//! given back yet, and the next run looks again: a wrong measure must not empty the store.
//!
//! Each step is a command of its own, so that the writer serves others in between.
//!
//! A clock that jumps forward makes everything old at once. Whether it was wrong before or is now cannot be told, so
//! for a day after that time goes on here as if it had not: long enough for whoever is warned to set it right. A
//! coordinator that is started with a wrong clock is not helped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{ids::TenantId, time::Timestamp};
use thiserror::Error;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    command::{
        CommandError,
        retention::{self, Scope},
    },
    limits::{
        CLOCK_JUMP_GRACE, CLOCK_JUMP_MAX, IDEMPOTENCY_RETENTION, RETENTION_INTERVAL,
        RETENTION_PASSES_MAX, RETENTION_ROWS_MAX, RETENTION_STEP, RETENTION_STEP_MIN,
    },
    store::{
        engine::{Direction, Engine, Space, Staged},
        schema::{IdempotencyKey, Key, TenantKey, range_of},
        tables::{LoadError, Rows, Source},
        writer::{Store, WriteError},
    },
};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how long.
    pub age: Duration,
    /// Most bytes of blocks; `None` for no such bound.
    pub bytes_max: Option<u64>,
}

/// Why a run of retention stopped; what it deleted until then stays deleted.
#[derive(Debug, Error)]
pub enum RunError {
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store did not take a deletion.
    #[error(transparent)]
    Write(#[from] WriteError<CommandError>),
    /// A rule of retention could not be applied.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A read was given up, because it panicked or the process ends.
    #[error("a read of the store was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
}

/// Runs retention at once and then each minute, until cancelled. A run that fails is logged, and
/// the next one goes on.
pub async fn retain(store: &Store, policy: Policy, clock: &Clock, cancel: &CancellationToken) {
    let mut ticks = interval(RETENTION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut forgot_at = None;
    let mut believed = Believed::default();
    while let Some(tick) = cancel.run_until_cancelled(ticks.tick()).await {
        let now = believed.take(clock.now(), tick.into_std());
        // Finding old answers reads all of them, so that is done once a step and not each minute.
        let forgets = forgot_at.is_none_or(|at| now.since(at) >= RETENTION_STEP);
        let run = async {
            run_once(store, policy, now).await?;
            if forgets { forget_answers(store, now).await.map(drop) } else { Ok(()) }
        };
        match cancel.run_until_cancelled(run).await {
            Some(Ok(())) if forgets => forgot_at = Some(now),
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "retention stopped; the next run goes on"),
            None => return,
        }
    }
}

/// What time it is as far as deleting goes.
#[derive(Debug, Default)]
struct Believed {
    /// What the clock said last while it was believed, and when.
    last: Option<(Timestamp, Instant)>,
    /// Since when it is ahead of what can be.
    ahead_since: Option<Instant>,
}

impl Believed {
    /// Takes in what the clock says at `at`; returns that, or, for a while after it jumped forward, what it would say
    /// had it not.
    fn take(&mut self, now: Timestamp, at: Instant) -> Timestamp {
        if let Some((before, before_at)) = self.last {
            let expected = before.saturating_add(at.saturating_duration_since(before_at));
            let ahead = now.since(expected);
            if ahead > CLOCK_JUMP_MAX {
                let since = *self.ahead_since.get_or_insert_with(|| {
                    let (seconds, hours) = (ahead.as_secs(), CLOCK_JUMP_GRACE.as_secs() / 3_600);
                    tracing::error!(seconds, "the clock jumped forward: check it within {hours} h");
                    at
                });
                if at.saturating_duration_since(since) < CLOCK_JUMP_GRACE {
                    return expected;
                }
            }
        }
        (self.last, self.ahead_since) = (Some((now, at)), None);
        now
    }
}

/// Deletes what is too old, and then what is too much; returns whether anything was deleted.
///
/// # Errors
/// [`RunError`]; what was deleted until then stays deleted.
///
/// # Cancel safety
/// Dropping it leaves the rest for the next run.
pub async fn run_once(store: &Store, policy: Policy, now: Timestamp) -> Result<bool, RunError> {
    let before = on_step(now.saturating_sub(policy.age));
    let mut deleted = delete_before(store, (before, Scope::All), now).await?;
    if let Some(max) = policy.bytes_max {
        deleted |= shrink(store, max, now).await?;
    }
    Ok(deleted)
}

/// Deletes the oldest blocks until those that are left take at most `max` bytes.
async fn shrink(store: &Store, max: u64, now: Timestamp) -> Result<bool, RunError> {
    let mut deleted = false;
    let mut bytes = block_bytes(store).await?;
    for _ in 0..RETENTION_PASSES_MAX {
        if bytes <= max {
            break;
        }
        let Some(oldest) = oldest_block(store).await? else { break };
        let half_excess =
            u128::from(bytes - max) * now.since(oldest).as_millis() / (2 * u128::from(bytes));
        let step = Duration::from_millis(u64::try_from(half_excess).unwrap_or(u64::MAX));
        let before = oldest.saturating_add(step.max(RETENTION_STEP_MIN));
        deleted |= delete_before(store, (before, Scope::Room), now).await?;
        let left = block_bytes(store).await?;
        if left >= bytes {
            tracing::warn!(bytes, left, max, "deleted blocks have not given back their room yet");
            break;
        }
        bytes = left;
    }
    Ok(deleted)
}

/// Deletes what every tenant received before a time, as far as the scope goes, and gives back the room.
async fn delete_before(
    store: &Store,
    (before, scope): (Timestamp, Scope),
    now: Timestamp,
) -> Result<bool, RunError> {
    let mut deleted_any = false;
    for tenant in tenants(store).await? {
        let mut from = None;
        let mut deleted = false;
        loop {
            let command = move |staged: &mut Staged<'_>| {
                retention::run(staged, tenant, (before, scope), from, now)
            };
            let ran = store.write(command).await?;
            deleted |= ran.deleted;
            if ran.next.is_none() {
                break;
            }
            from = ran.next;
        }
        if deleted {
            tracing::info!(%tenant, before_ms = before.as_ms(), "deleted what was old");
            reclaim(store, retention::ranges(tenant, before, scope)).await?;
        }
        deleted_any |= deleted;
    }
    Ok(deleted_any)
}

async fn reclaim(store: &Store, ranges: Vec<(Space, Vec<u8>, Vec<u8>)>) -> Result<(), RunError> {
    let engine = store.engine_handle();
    let give_back = move || {
        for (space, from, to) in ranges {
            engine.reclaim(space, &from..&to);
        }
    };
    Ok(spawn_blocking(give_back).await?)
}

/// Deletes answers that were remembered longer ago than [`IDEMPOTENCY_RETENTION`]; returns how many.
///
/// # Errors
/// As [`run_once`].
///
/// # Cancel safety
/// As [`run_once`].
pub async fn forget_answers(store: &Store, now: Timestamp) -> Result<usize, RunError> {
    let before = now.saturating_sub(IDEMPOTENCY_RETENTION);
    let (mut from, to) = range_of::<IdempotencyKey>(&[]);
    let mut forgotten = 0;
    loop {
        let (engine, to) = (store.engine_handle(), to.clone());
        let page = spawn_blocking(move || answers(&engine, &from, &to, before)).await??;
        if !page.old.is_empty() {
            let command =
                move |staged: &mut Staged<'_>| retention::forget(staged, &page.old, before);
            forgotten += store.write(command).await?;
        }
        let Some(next) = page.next else { return Ok(forgotten) };
        from = next;
    }
}

/// A page of remembered answers: which are old, and where the next page begins.
struct Page {
    old: Vec<IdempotencyKey>,
    next: Option<Vec<u8>>,
}

fn answers(
    engine: &Arc<dyn Engine>,
    from: &[u8],
    to: &[u8],
    before: Timestamp,
) -> Result<Page, LoadError> {
    let rows: Rows<IdempotencyKey> =
        (**engine).load_range(from..to, Direction::Forward, RETENTION_ROWS_MAX)?;
    let last = rows.last().filter(|_| rows.len() == RETENTION_ROWS_MAX);
    let next = last.map(|(key, _)| [key.encode(), vec![0]].concat());
    let old = rows.iter().filter(|(_, answer)| answer.at < before).map(|(key, _)| *key);
    Ok(Page { old: old.collect(), next })
}

async fn tenants(store: &Store) -> Result<Vec<TenantId>, RunError> {
    let engine = store.engine_handle();
    let read = move || {
        let (mut from, to) = range_of::<TenantKey>(&[]);
        let mut tenants = Vec::new();
        loop {
            let page: Vec<TenantKey> =
                (*engine).load_keys(&from..&to, Direction::Forward, RETENTION_ROWS_MAX)?;
            tenants.extend(page.iter().map(|key| key.0));
            match page.last() {
                Some(last) if page.len() == RETENTION_ROWS_MAX => {
                    from = [last.encode(), vec![0]].concat();
                }
                _ => return Ok::<_, LoadError>(tenants),
            }
        }
    };
    Ok(spawn_blocking(read).await??)
}

/// Returns when the oldest block of all tenants was received.
async fn oldest_block(store: &Store) -> Result<Option<Timestamp>, RunError> {
    let tenants = tenants(store).await?;
    let engine = store.engine_handle();
    let read = move || {
        let mut oldest = None;
        for tenant in tenants {
            let of_tenant = retention::oldest_block(&*engine, tenant)?;
            oldest = oldest.into_iter().chain(of_tenant).min();
        }
        Ok::<_, CommandError>(oldest)
    };
    Ok(spawn_blocking(read).await??)
}

async fn block_bytes(store: &Store) -> Result<u64, RunError> {
    let engine = store.engine_handle();
    Ok(spawn_blocking(move || engine.approximate_bytes(Space::Blocks)).await?)
}

/// Returns the last whole step at or before `at`.
fn on_step(at: Timestamp) -> Timestamp {
    let step = u64::try_from(RETENTION_STEP.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_ms(at.as_ms() / step * step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_clock_that_jumps_forward_is_not_believed_for_a_day_and_one_that_is_set_right_at_once() {
        let (hour, day) = (Duration::from_secs(3_600), CLOCK_JUMP_GRACE);
        let (mut believed, at) = (Believed::default(), tokio::time::Instant::now().into_std());
        let (start, year) = (Clock::wall().now(), 365 * day);
        assert_eq!(believed.take(start, at), start);
        assert_eq!(
            believed.take(start.saturating_add(hour), at + hour),
            start.saturating_add(hour)
        );

        let (wrong, later) = (start.saturating_add(year), start.saturating_add(2 * hour));
        assert_eq!(believed.take(wrong, at + 2 * hour), later);
        assert_eq!(
            believed.take(later.saturating_add(hour), at + 3 * hour),
            later.saturating_add(hour)
        );

        let (wrong, at) = (start.saturating_add(year), at + 4 * hour);
        let last = start.saturating_add(4 * hour);
        assert_eq!(believed.take(wrong, at), last);
        assert_eq!(believed.take(wrong.saturating_add(hour), at + hour), last.saturating_add(hour));
        let right = wrong.saturating_add(day);
        assert_eq!(
            believed.take(right, at + day),
            right,
            "nobody set it back: it was wrong before"
        );
        assert_eq!(believed.take(start, at + day), start, "back is believed: it deletes less");
    }
}
