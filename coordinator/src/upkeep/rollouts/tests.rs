use std::{collections::BTreeMap, sync::Arc};

use certs::PolicyKey;
use shared::{
    ids::{AgentId, BootId, Epoch, Lane},
    ledger::{Interval, SourceSums},
    policy::{Policy, PolicyAck, PolicyLimits, PolicyOutcome, PolicyRefusal},
    wire::{AgentStats, Heartbeat, Hello, LaneHead},
};

use super::*;
use crate::{
    command::{CommandError, agents, ledger},
    limits::ROLLOUT_RECORDS_MIN,
    store::{
        engine::{MemoryEngine, Space, Staged},
        reader::policies::agents,
        schema::{AgentKey, Key as _},
        values::Halted,
        writer::{Writer, start},
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const EPOCH: Epoch = Epoch(1);

/// When roll-outs begin.
const NOW: Timestamp = Timestamp::from_ms(1_704_067_200_000);

/// A store with one agent of acme, which trusts a key.
struct House {
    store: Store,
    key: PolicyKey,
    intervals: Vec<Interval>,
    _writer: Writer,
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn one() -> AgentKey {
    AgentKey { tenant: acme(), agent: AgentId::from_bytes([1; 16]) }
}

impl House {
    async fn new() -> Self {
        let (store, writer) = start(Arc::new(MemoryEngine::new(1))).unwrap();
        let key = PolicyKey::generate().unwrap();
        let house = Self { store, key, intervals: Vec::new(), _writer: writer };
        let hello = Hello {
            version: 5,
            epoch: EPOCH,
            boot: BootId(1),
            heads: [LaneHead::EMPTY; Lane::COUNT],
            agent_version: String::new(),
            context: Default::default(),
        };
        let AgentKey { tenant, agent } = one();
        house.write(move |staged| agents::greet(staged, tenant, agent, &hello, NOW)).await;
        house
    }

    async fn write<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Staged<'_>) -> Result<T, CommandError> + Send + 'static,
    ) -> T {
        self.store.write(command).await.unwrap()
    }

    async fn push(&self, version: u64) {
        self.push_of(version, None).await;
    }

    async fn push_of(&self, version: u64, copy_of: Option<u64>) {
        let policy = Policy {
            tenant: acme(),
            version,
            not_before: NOW,
            expires_at: NOW.saturating_add(MINUTE * 100_000),
            text: String::new(),
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        };
        let envelope = self.key.sign(&policy).unwrap();
        let push = policies::Push { tenant: acme(), envelope, percent: 10, copy_of };
        let keys = [self.key.public_key()];
        let by = Actor::Person("ann".into());
        let push = move |staged: &mut Staged<'_>| {
            let fleet = agents(&*staged, acme(), None, 10)?;
            policies::push(staged, push, (&keys, &fleet), &by, NOW)
        };
        self.write(push).await;
    }

    async fn says(&self, ack: PolicyAck, at: Timestamp) {
        let rollout = self.store.engine().load(&RolloutKey(acme())).unwrap().unwrap();
        let ack = ack.about(rollout.digest);
        let keys = [self.key.public_key()];
        let offer = move |staged: &mut Staged<'_>| {
            policies::offer(staged, one(), None, policies::Terms { keys: &keys, now: NOW })
        };
        self.write(offer).await;
        self.write(move |staged| policies::acknowledge(staged, one(), ack, at)).await;
    }

    async fn lives(&self, at: Timestamp) {
        let beat =
            Heartbeat { sent_at: at, last: [None; Lane::COUNT], stats: AgentStats::default() };
        let AgentKey { tenant, agent } = one();
        self.write(move |staged| agents::heartbeat(staged, tenant, agent, &beat, at)).await;
    }

    /// Counts a minute's records that ended at `until` under a version, of which so many were held.
    async fn count(&mut self, until: Timestamp, policy: u64, records: u64, held: u64) {
        let sums = SourceSums {
            read: records,
            held: BTreeMap::from([("rule".to_owned(), held)]),
            skipped: records - held,
            ..SourceSums::of("eve")
        };
        let interval = Interval {
            number: self.intervals.len() as u64 + 1,
            previous: self.intervals.last().map(Interval::hash).unwrap_or_default(),
            from: until.saturating_sub(MINUTE),
            until,
            policy,
            sources: vec![sums],
            ..Interval::default()
        };
        self.intervals.push(interval.clone());
        let AgentKey { tenant, agent } = one();
        let record = move |staged: &mut Staged<'_>| {
            ledger::record(staged, tenant, agent, EPOCH, &[interval], until).map(drop)
        };
        self.write(record).await;
    }

    async fn look(&self, at: Timestamp) -> u64 {
        let looked = look(&self.store, at, true).await.unwrap();
        assert_eq!(looked.failed, 0);
        looked.halted
    }

    fn halted(&self) -> Option<Halted> {
        self.store.engine().load(&RolloutKey(acme())).unwrap().unwrap().halted
    }
}

fn in_force(version: u64) -> PolicyAck {
    PolicyAck { version, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() }
}

/// A minute before they begin.
fn before() -> Timestamp {
    NOW.saturating_sub(MINUTE)
}

fn later(minutes: u32) -> Timestamp {
    NOW.saturating_add(MINUTE * minutes)
}

#[tokio::test]
async fn a_roll_out_stops_when_far_more_is_held_than_before() {
    let mut house = House::new().await;
    house.count(before(), 0, 1_000, 10).await;
    house.push(3).await;
    house.says(in_force(3), NOW).await;
    house.lives(later(2)).await;
    assert_eq!(house.look(later(1)).await, 0, "nothing is known yet");
    house.count(later(1), 3, ROLLOUT_RECORDS_MIN - 1, 0).await;
    house.count(later(2), 3, 800, 700).await;
    assert_eq!(house.look(later(2)).await, 1);
    let halted = house.halted().unwrap();
    assert_eq!(halted.by, Actor::Coordinator);
    let fault = Fault::Held { before: 10, after: 700 };
    assert_eq!(halted.why, HaltReason::Found(fault));
    assert_eq!(house.look(later(3)).await, 0, "once");
}

#[tokio::test]
async fn one_that_is_meant_or_changes_nothing_goes_on() {
    let mut house = House::new().await;
    house.count(before(), 0, 1_000, 400).await;
    house.push(3).await;
    house.says(in_force(3), NOW).await;
    house.lives(later(2)).await;
    house.count(later(1), 3, 1_000, 600).await;
    assert_eq!(house.look(later(2)).await, 0, "somewhat more is what it is for");
    house.count(later(2), 3, 9_000, 9_000).await;
    house
        .write(|staged| {
            let by = Actor::Person("ann".into());
            let go = policies::Advance {
                tenant: acme(),
                is_meant: true,
                anyway: false,
                seen: None,
                fleet: Vec::new(),
            };
            policies::advance(staged, go, &by, later(2))
        })
        .await;
    assert_eq!(house.look(later(2)).await, 0);
    assert_eq!(house.halted(), None);
}

#[tokio::test]
async fn one_that_takes_another_back_is_not_stopped_by_what_it_holds_again() {
    let mut house = House::new().await;
    house.push(2).await;
    house.push(3).await;
    house.count(before(), 3, 1_000, 0).await;
    house.push_of(4, Some(2)).await;
    house.says(in_force(4), NOW).await;
    house.lives(later(2)).await;
    house.count(later(1), 4, 1_000, 1_000).await;
    assert_eq!(house.look(later(2)).await, 0, "2 held it, too");
    assert_eq!(house.halted(), None);
}

#[tokio::test]
async fn a_file_of_the_host_says_nothing_about_the_version_although_it_may_bear_its_number() {
    let mut house = House::new().await;
    house.count(before(), 0, 1_000, 0).await;
    house.push(3).await;
    let ack = PolicyAck { version: 3, outcome: PolicyOutcome::Overridden, ..PolicyAck::nothing() };
    house.says(ack, NOW).await;
    house.lives(later(2)).await;
    house.count(later(1), 3, 1_000, 1_000).await;
    assert_eq!(house.look(later(2)).await, 0);
}

#[tokio::test]
async fn a_refusal_or_a_silence_soon_after_stops_it() {
    let house = House::new().await;
    house.push(3).await;
    house.says(PolicyAck::refused(3, PolicyRefusal::Unusable, "3:1: no"), NOW).await;
    assert_eq!(house.look(later(1)).await, 1);
    let refused = Fault::Refused { refused: 1, answered: 1 };
    assert_eq!(house.halted().unwrap().why, HaltReason::Found(refused));

    let house = House::new().await;
    house.push(3).await;
    house.says(in_force(3), NOW).await;
    house.lives(later(1)).await;
    assert_eq!(house.look(later(3)).await, 0);
    let unsettled = look(&house.store, later(4), false).await.unwrap();
    assert_eq!(unsettled, Looked::default(), "the coordinator has just begun");
    assert_eq!(house.look(later(4)).await, 1);
    let silent = Fault::Silent { silent: 1, answered: 1 };
    assert_eq!(house.halted().unwrap().why, HaltReason::Found(silent));

    let house = House::new().await;
    house.push(3).await;
    house.says(in_force(3), NOW).await;
    house.lives(later(30)).await;
    assert_eq!(house.look(later(60)).await, 0, "it went on for long: that is another matter");
}

#[tokio::test]
async fn a_stage_is_watched_for_a_day() {
    let mut house = House::new().await;
    house.count(before(), 0, 1_000, 0).await;
    house.push(3).await;
    house.says(in_force(3), NOW).await;
    house.count(later(1), 3, 1_000, 1_000).await;
    let after = NOW.saturating_add(ROLLOUT_WATCH);
    house.lives(after).await;
    assert_eq!(house.look(after).await, 0);
}

#[tokio::test]
async fn one_tenant_that_is_damaged_keeps_nobody_from_the_others() {
    let mut house = House::new().await;
    house.count(before(), 0, 1_000, 10).await;
    house.push(3).await;
    house.says(in_force(3), NOW).await;
    house.lives(later(2)).await;
    house.count(later(1), 3, 1_000, 900).await;
    // Before acme in the order of names, and behind it.
    for name in ["aaa", "zzz"] {
        let key = RolloutKey(name.parse().unwrap());
        house
            .write(move |staged| {
                staged.put(Space::Rows, &key.encode(), vec![9_u8; 3]);
                Ok(())
            })
            .await;
    }
    let looked = look(&house.store, later(2), true).await.unwrap();
    assert_eq!(looked, Looked { halted: 1, failed: 2 });
    assert!(house.halted().is_some());
}
