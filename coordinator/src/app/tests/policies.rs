//! Policies over a real connection: offered once the agent has said what it has, and as soon as there is one.

use std::{fs, time::Duration};

use certs::PolicyKey;
use shared::policy::{Policy, PolicyAck, PolicyLimits, PolicyOffer, PolicyOutcome, PolicyRefusal};

use super::{
    agent::Agent,
    house::{House, agent_id, eventually, tenant},
    *,
};
use crate::{
    command::policies,
    counters::PolicyRefused,
    store::{
        reader::policies::agents,
        schema::{AgentKey, AgentPolicyKey},
        values::{Actor, AgentPolicy},
    },
};

impl House {
    /// Returns a new key that policies may be signed by.
    fn trust(&mut self) -> PolicyKey {
        let (key, path) = (PolicyKey::generate().unwrap(), self.path("policy.pub"));
        fs::write(&path, key.public_key().to_string()).unwrap();
        self.config.policy_keys = Some(path);
        key
    }
}

async fn push(running: &Running, house: &House, key: &PolicyKey, version: u64, percent: u8) {
    let now = house.now();
    let policy = Policy {
        tenant: tenant("acme"),
        version,
        not_before: now,
        expires_at: now.saturating_add(Duration::from_secs(3_600)),
        text: "x".repeat(100),
        limits: PolicyLimits::default(),
        coordinators: Vec::new(),
    };
    let envelope = key.sign(&policy).unwrap();
    let push = policies::Push { tenant: tenant("acme"), envelope, percent, copy_of: None };
    let (keys, by) = ([key.public_key()], Actor::Person("ann".into()));
    let pushed = running.store.write(move |staged| {
        let fleet = agents(&*staged, tenant("acme"), None, 10)?;
        policies::push(staged, push, (&keys, &fleet), &by, now)
    });
    pushed.await.unwrap();
    running.bells.policies.ring();
}

async fn say(agent: &mut Agent, ack: PolicyAck) {
    agent.send(Stream::Control, &Frame::PolicyAck(Box::new(ack))).await;
}

async fn offered(agent: &mut Agent) -> PolicyOffer {
    loop {
        match agent.receive(Stream::Control).await {
            Frame::Policy(offer) => return *offer,
            Frame::LedgerAck { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn known(running: &Running) -> Option<AgentPolicy> {
    let key = AgentKey { tenant: tenant("acme"), agent: agent_id(1) };
    running.store.engine().load(&AgentPolicyKey(key)).unwrap()
}

fn in_force(version: u64) -> PolicyAck {
    PolicyAck { version, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() }
}

#[tokio::test]
async fn an_agent_is_offered_its_tenants_policy_at_once_and_each_later_one() {
    let mut house = House::new();
    let key = house.trust();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    say(&mut agent, PolicyAck::nothing()).await;
    eventually("it has said what it has", || known(&running).is_some()).await;
    push(&running, &house, &key, 3, 100).await;
    let offer = offered(&mut agent).await;
    assert_eq!(offer.version, 3);
    let opened = shared::policy::open(&offer.envelope, &[key.public_key()]).unwrap();
    assert_eq!(opened.tenant, tenant("acme"));
    say(&mut agent, in_force(3)).await;
    eventually("it is known", || known(&running).is_some_and(|known| known.version == 3)).await;

    push(&running, &house, &key, 4, 100).await;
    assert_eq!(offered(&mut agent).await.version, 4);
    push(&running, &house, &key, 5, 100).await; // while that is not answered
    say(&mut agent, PolicyAck::refused(4, PolicyRefusal::Unusable, "3:1: no")).await;
    assert_eq!(offered(&mut agent).await.version, 5);
    say(&mut agent, in_force(5)).await;
    eventually("it is known", || known(&running).is_some_and(|known| known.version == 5)).await;
    assert_eq!(running.counters.policies_offered.value(), 3);
    assert_eq!(running.counters.policies_refused.value(PolicyRefused::Unusable), 1);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn what_an_agent_refused_it_is_offered_again_when_it_comes_back_and_not_before() {
    let mut house = House::new();
    let key = house.trust();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    drop(Agent::greeted(&house, &leaf, &running).await); // so that its tenant is known
    push(&running, &house, &key, 3, 100).await;
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    say(&mut agent, PolicyAck::nothing()).await;
    assert_eq!(offered(&mut agent).await.version, 3);
    say(&mut agent, PolicyAck::refused(3, PolicyRefusal::UnknownKey, "")).await;
    eventually("it is known", || known(&running).is_some_and(|it| it.refused.is_some())).await;
    running.bells.policies.ring();
    say(&mut agent, PolicyAck::nothing()).await;
    let again = tokio::time::timeout(Duration::from_millis(200), offered(&mut agent)).await;
    assert!(again.is_err(), "once a session");
    drop(agent);

    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    say(&mut agent, PolicyAck::nothing()).await;
    assert_eq!(offered(&mut agent).await.version, 3);
    say(&mut agent, in_force(3)).await;
    eventually("it is known", || known(&running).is_some_and(|it| it.refused.is_none())).await;
    drop(agent);
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    say(&mut agent, in_force(3)).await;
    let again = tokio::time::timeout(Duration::from_millis(200), offered(&mut agent)).await;
    assert!(again.is_err(), "it has it");
    running.shut_down().await.unwrap();
}
