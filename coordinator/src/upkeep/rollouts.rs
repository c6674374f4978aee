//! Watches roll-outs of policies, and stops those that go wrong: what is wrong is decided by
//! [`crate::triage::rollout`].
//!
//! Each stage is watched for a day. That agents fell silent is not looked at until a while after the start: who is away
//! because the coordinator was is back by then.

use std::time::Duration;

use shared::{ids::TenantId, time::Timestamp};
use thiserror::Error;
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    command::{CommandError, policies},
    counters::Counters,
    limits::{PAGE_ITEMS_MAX, ROLLOUT_LOOK_INTERVAL, ROLLOUT_SILENT_AFTER, ROLLOUT_WATCH},
    store::{
        engine::Engine,
        reader::policies::{rollouts, seen},
        tables::LoadError,
        values::{Actor, HaltReason, Rollout},
        writer::{Store, WriteError},
    },
    triage::rollout::{Fault, judge},
};

/// How long after the start agents may still be on their way back.
const SETTLED_AFTER: Duration = ROLLOUT_SILENT_AFTER.saturating_mul(2);

/// Why a look at roll-outs was given up; the next one goes on.
#[derive(Debug, Error)]
pub enum LookError {
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store did not take a halt.
    #[error(transparent)]
    Write(#[from] WriteError<CommandError>),
    /// A read was given up, because it panicked or the process ends.
    #[error("a read of the store was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
}

/// Looks at all roll-outs that go on, each [`ROLLOUT_LOOK_INTERVAL`], until cancelled.
pub async fn watch(store: &Store, clock: &Clock, counters: &Counters, cancel: &CancellationToken) {
    let mut ticks = interval(ROLLOUT_LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut started: Option<Instant> = None;
    while let Some(tick) = cancel.run_until_cancelled(ticks.tick()).await {
        let since = tick.duration_since(*started.get_or_insert(tick));
        let look = look(store, clock.now(), since >= SETTLED_AFTER);
        match cancel.run_until_cancelled(look).await {
            Some(Ok(halted)) => counters.rollouts_halted.add(halted),
            Some(Err(error)) => tracing::warn!(%error, "roll-outs are not looked at for now"),
            None => return,
        }
    }
}

/// Looks at all roll-outs that go on at `now`, and stops those that go wrong; returns how many.
///
/// # Errors
/// The store cannot be read, or did not take a halt.
pub async fn look(store: &Store, now: Timestamp, is_settled: bool) -> Result<u64, LookError> {
    let (mut halted, mut after) = (0, None);
    loop {
        let engine = store.engine_handle();
        let found = spawn_blocking(move || faults(&*engine, after, now, is_settled)).await??;
        for (tenant, version, fault) in found.faults {
            tracing::error!(%tenant, version, why = %fault, "roll-out of a policy is halted");
            let why = HaltReason::Found(fault);
            store
                .write(move |staged| {
                    let whose = (tenant, Some(version));
                    policies::halt(staged, whose, why, &Actor::Coordinator, now)
                })
                .await?;
            halted += 1;
        }
        after = found.next;
        if after.is_none() {
            return Ok(halted);
        }
    }
}

/// What is wrong with some roll-outs, and behind which tenant to go on.
struct Faults {
    faults: Vec<(TenantId, u64, Fault)>,
    next: Option<TenantId>,
}

fn faults(
    engine: &dyn Engine,
    after: Option<TenantId>,
    now: Timestamp,
    is_settled: bool,
) -> Result<Faults, LoadError> {
    let rows = rollouts(engine, after, PAGE_ITEMS_MAX)?;
    let next = rows.last().filter(|_| rows.len() == PAGE_ITEMS_MAX).map(|(key, _)| key.0);
    let mut faults = Vec::new();
    for (key, rollout) in rows.iter().filter(|(_, rollout)| is_watched(rollout, now)) {
        let mut seen = seen(engine, key.0, rollout, now)?;
        if !is_settled {
            seen.silent = 0;
        }
        faults.extend(judge(&seen).map(|fault| (key.0, rollout.version, fault)));
    }
    Ok(Faults { faults, next })
}

fn is_watched(rollout: &Rollout, now: Timestamp) -> bool {
    let is_fresh = now.since(rollout.stage_at) < ROLLOUT_WATCH;
    rollout.halted.is_none() && !rollout.is_meant && is_fresh
}

#[cfg(test)]
mod tests;
