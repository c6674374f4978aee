//! How fast a tenant's agents, and each of them, may send blocks: one that sends more waits, and nobody else with it.
//!
//! A frame of a lane waits between its length and its body, before it takes a place in [`super::room`]: so whoever is
//! over its quota holds no room that another needs, and its own window does the rest. Each lane has as much, so that
//! none waits for another's backlog. Nothing is refused or lost: what waits is in the agent's spool. What waits and
//! goes away has taken nothing; what was taken stays taken when an agent dials anew.

use std::{
    collections::HashMap,
    sync::{self, Arc, PoisonError},
    time::{Duration, Instant},
};

use shared::ids::{AgentId, Lane, TenantId};
use tokio::{sync::Mutex, time::sleep_until};

use super::meter::Meter;
use crate::{
    clock,
    config::{QuotaConfig, Rate},
    counters::Counters,
    limits::{CONTROL_FRAME_COST, QUOTA_BURST},
};

/// The quotas of all tenants and agents that send, or have sent of late.
#[derive(Debug)]
pub struct Quotas {
    config: QuotaConfig,
    known: sync::Mutex<Known>,
    counters: Arc<Counters>,
}

/// What a session may take, for its tenant and its agent.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    quotas: Arc<Quotas>,
    tenant: Arc<Meters>,
    agent: Arc<Meters>,
}

/// Whose meters these are: a tenant's, or one of its agents'.
type Owner = (TenantId, Option<AgentId>);

/// Those whose meters are held by a session, or do not stand still yet.
#[derive(Debug, Default)]
struct Known {
    meters: HashMap<Owner, Arc<Meters>>,
    /// At how many those that rest are forgotten next.
    sweep_at: usize,
}

/// Whoever holds one is the next; those after it wait in order.
#[derive(Debug, Default)]
struct Meters {
    lanes: [Mutex<Meter>; Lane::COUNT],
    /// Of the control stream, for an agent alone.
    control: Mutex<Meter>,
}

/// So many are known before the first are forgotten.
const KNOWN_MIN: usize = 64;

/// Returns how long a frame of `len` bytes takes at a rate.
fn cost(rate: Rate, len: usize) -> Duration {
    let nanos = |count: u64, a_second: u64| {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(a_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    nanos(len as u64, rate.bytes).max(nanos(1, rate.blocks))
}

impl Quotas {
    /// Returns the quotas, of which nothing is taken.
    #[must_use]
    pub fn new(config: QuotaConfig, counters: Arc<Counters>) -> Self {
        Self { config, known: sync::Mutex::default(), counters }
    }

    /// Returns what a session of an agent may take.
    pub(super) fn of(self: &Arc<Self>, tenant: TenantId, agent: AgentId) -> Allowance {
        // Every change leaves the table whole: a panic leaves nothing broken.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep(clock::instant());
        let [tenant, agent] = [(tenant, None), (tenant, Some(agent))]
            .map(|owner| Arc::clone(known.meters.entry(owner).or_default()));
        Allowance { quotas: Arc::clone(self), tenant, agent }
    }
}

impl Known {
    /// Forgets those of whom nothing is to be known, at each doubling: that costs a connection little.
    fn sweep(&mut self, now: Instant) {
        if self.meters.len() < self.sweep_at {
            return;
        }
        self.meters.retain(|_, meters| Arc::strong_count(meters) > 1 || !meters.are_at_rest(now));
        self.sweep_at = (2 * self.meters.len()).max(KNOWN_MIN);
    }
}

impl Meters {
    /// Returns whether they are as new ones. Nobody else has them.
    fn are_at_rest(&self, now: Instant) -> bool {
        let mut all = self.lanes.iter().chain([&self.control]);
        all.all(|meter| meter.try_lock().is_ok_and(|meter| meter.is_at_rest(now)))
    }
}

impl Allowance {
    /// Waits until a frame of a lane may be taken.
    ///
    /// # Cancel safety
    /// Dropped, it has taken nothing, and has lost its turn.
    pub(super) async fn take(&self, lane: Lane, len: usize) {
        let QuotaConfig { tenant, agent } = self.quotas.config;
        let mut has_waited = false;
        // The agent's first: whoever waits for its own quota is not in its tenant's way.
        for (meters, rate) in [(&self.agent, agent), (&self.tenant, tenant)] {
            let mut meter = meters.lanes[lane.index()].lock().await;
            let now = clock::instant();
            let due = meter.due(now, QUOTA_BURST);
            if due > now {
                if !std::mem::replace(&mut has_waited, true) {
                    self.quotas.counters.frames_over_quota.add_one();
                }
                sleep_until(due.into()).await;
            }
            meter.take(due, cost(rate, len));
        }
    }

    /// Waits until the next frame of the control stream may be taken.
    ///
    /// # Cancel safety
    /// As [`Self::take`].
    pub(super) async fn take_control(&self) {
        let mut meter = self.agent.control.lock().await;
        let now = clock::instant();
        let due = meter.due(now, QUOTA_BURST);
        if due > now {
            self.quotas.counters.frames_over_quota.add_one();
            sleep_until(due.into()).await;
        }
        meter.take(due, CONTROL_FRAME_COST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { bytes: 1_000, blocks: 10 };

    fn of(quotas: &Arc<Quotas>, tenant: TenantId, agent: u16) -> Allowance {
        let agent = AgentId::from_bytes(std::array::from_fn(|at| agent.to_be_bytes()[at % 2]));
        quotas.of(tenant, agent)
    }

    #[test]
    fn a_frame_costs_what_its_bytes_do_or_what_a_frame_does() {
        assert_eq!(cost(RATE, 500), Duration::from_millis(500));
        assert_eq!(cost(RATE, 1), Duration::from_millis(100));
    }

    #[tokio::test]
    async fn one_tenants_flood_makes_no_other_wait_and_no_lane_another() {
        let counters = Arc::new(Counters::default());
        let config = QuotaConfig { tenant: RATE, agent: RATE };
        let quotas = Arc::new(Quotas::new(config, Arc::clone(&counters)));
        let [acme, globex] = ["acme", "globex"].map(|name| name.parse().unwrap());
        let [first, second, other] =
            [(acme, 1), (acme, 2), (globex, 3)].map(|(tenant, agent)| of(&quotas, tenant, agent));
        let burst = usize::try_from(QUOTA_BURST.as_secs()).unwrap();
        first.take(Lane::Bulk, (burst + 1) * 1_000).await;
        assert_eq!(counters.frames_over_quota.value(), 0);
        let mut waiting = std::pin::pin!(second.take(Lane::Bulk, 100));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "its tenant has sent enough");
        first.take(Lane::Urgent, 100).await;
        first.take(Lane::Normal, 100).await;
        other.take(Lane::Bulk, 100).await;
        assert_eq!(counters.frames_over_quota.value(), 1);
    }

    #[tokio::test]
    async fn an_agent_that_says_more_than_it_has_to_say_waits_with_that_and_not_with_its_blocks() {
        let config = QuotaConfig { tenant: RATE, agent: RATE };
        let quotas = Arc::new(Quotas::new(config, Arc::default()));
        let agent = of(&quotas, "acme".parse().unwrap(), 1);
        let mut count = 0;
        while futures_util::poll!(std::pin::pin!(agent.take_control())).is_ready() {
            count += 1;
        }
        assert_eq!(count, QUOTA_BURST.as_millis() / CONTROL_FRAME_COST.as_millis() + 1);
        agent.take(Lane::Urgent, 1).await;
    }

    #[tokio::test]
    async fn who_dials_anew_has_taken_what_it_took() {
        let config = QuotaConfig { tenant: Rate { bytes: 1 << 30, blocks: 1 << 20 }, agent: RATE };
        let (quotas, acme) =
            (Arc::new(Quotas::new(config, Arc::default())), "acme".parse().unwrap());
        of(&quotas, acme, 1).take(Lane::Bulk, 100_000).await;
        for number in 2..1_000 {
            drop(of(&quotas, acme, number));
        }
        let again = of(&quotas, acme, 1);
        let mut waiting = std::pin::pin!(again.take(Lane::Bulk, 1));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }

    #[test]
    fn those_who_are_gone_and_have_taken_nothing_of_late_are_forgotten() {
        let config = QuotaConfig { tenant: RATE, agent: RATE };
        let quotas = Arc::new(Quotas::new(config, Arc::default()));
        for number in 0..1_000 {
            drop(of(&quotas, format!("tenant-{number}").parse().unwrap(), 1));
        }
        assert!(quotas.known.lock().unwrap().meters.len() <= KNOWN_MIN + 2);
    }
}
