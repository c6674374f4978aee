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
    command::policies,
    counters::Counters,
    limits::{PAGE_ITEMS_MAX, ROLLOUT_LOOK_INTERVAL, ROLLOUT_SILENT_AFTER, ROLLOUT_WATCH},
    store::{
        engine::Engine,
        reader::policies::{seen, tenants},
        schema::RolloutKey,
        tables::{LoadError, Source as _},
        values::{Actor, HaltReason, Rollout},
        writer::Store,
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
            Some(Ok(Looked { halted, failed })) => {
                counters.rollouts_halted.add(halted);
                counters.upkeep_failed.add(failed);
            }
            Some(Err(error)) => tracing::warn!(%error, "roll-outs are not looked at for now"),
            None => return,
        }
    }
}

/// What came of a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// How many roll-outs were stopped.
    pub halted: u64,
    /// How many could not be looked at, or not be stopped.
    pub failed: u64,
}

/// Looks at all roll-outs that go on at `now`, and stops those that go wrong. One that cannot be looked at is logged,
/// and keeps nobody from the others.
///
/// # Errors
/// The store cannot be read.
pub async fn look(store: &Store, now: Timestamp, is_settled: bool) -> Result<Looked, LookError> {
    let (mut looked, mut after) = (Looked::default(), None);
    loop {
        let engine = store.engine_handle();
        let found = spawn_blocking(move || faults(&*engine, after, now, is_settled)).await??;
        looked.failed += found.failed;
        for (tenant, version, fault) in found.faults {
            tracing::error!(%tenant, version, why = %fault, "roll-out of a policy is halted");
            let why = HaltReason::Found(fault);
            let halt = store.write(move |staged| {
                let whose = (tenant, Some(version));
                policies::halt(staged, whose, why, &Actor::Coordinator, now)
            });
            match halt.await {
                Ok(_) => looked.halted += 1,
                Err(error) => {
                    tracing::warn!(%tenant, version, %error, "roll-out of a policy goes on");
                    looked.failed += 1;
                }
            }
        }
        after = found.next;
        if after.is_none() {
            return Ok(looked);
        }
    }
}

/// What is wrong with some roll-outs, and behind which tenant to go on.
struct Faults {
    faults: Vec<(TenantId, u64, Fault)>,
    failed: u64,
    next: Option<TenantId>,
}

fn faults(
    engine: &dyn Engine,
    after: Option<TenantId>,
    now: Timestamp,
    is_settled: bool,
) -> Result<Faults, LoadError> {
    let keys = tenants(engine, after, PAGE_ITEMS_MAX)?;
    let next = keys.last().filter(|_| keys.len() == PAGE_ITEMS_MAX).map(|key| key.0);
    let mut found = Faults { faults: Vec::new(), failed: 0, next };
    for RolloutKey(tenant) in keys {
        match fault(engine, tenant, now, is_settled) {
            Ok(fault) => found.faults.extend(fault),
            Err(error) => {
                tracing::warn!(%tenant, %error, "roll-out of a policy is not looked at");
                found.failed += 1;
            }
        }
    }
    Ok(found)
}

/// Returns what is wrong with the roll-out of a tenant, if it is watched and something is.
fn fault(
    engine: &dyn Engine,
    tenant: TenantId,
    now: Timestamp,
    is_settled: bool,
) -> Result<Option<(TenantId, u64, Fault)>, LoadError> {
    let rollout = engine.load(&RolloutKey(tenant))?;
    let Some(rollout) = rollout.filter(|rollout| is_watched(rollout, now)) else {
        return Ok(None);
    };
    let mut seen = seen(engine, tenant, &rollout, now)?;
    if !is_settled {
        seen.silent = 0;
    }
    Ok(judge(&seen).map(|fault| (tenant, rollout.version, fault)))
}

fn is_watched(rollout: &Rollout, now: Timestamp) -> bool {
    let is_fresh = now.since(rollout.stage_at) < ROLLOUT_WATCH;
    rollout.halted.is_none() && !rollout.is_meant && is_fresh
}

#[cfg(test)]
mod tests;
