//! Policies that come signed over the connection: taken while the agent runs, and refused.

use certs::PolicyKey;
use shared::policy::{
    Policy, PolicyAck, PolicyDigest, PolicyLimits, PolicyOffer, PolicyOutcome, PolicyRefusal,
};

use super::*;
use crate::{config::POLICY_KEYS_FILE, status::PolicySource};

/// Returns a policy of this version that is good for an hour.
fn made(version: u64, text: String) -> Policy {
    let now = clock::wall();
    Policy {
        tenant: "acme".parse().unwrap(),
        version,
        not_before: now.saturating_sub(Duration::from_secs(60)),
        expires_at: now.saturating_add(Duration::from_secs(3_600)),
        text,
        limits: PolicyLimits::default(),
        coordinators: Vec::new(),
    }
}

fn sign(key: &PolicyKey, policy: &Policy) -> PolicyOffer {
    PolicyOffer { version: policy.version, envelope: key.sign(policy).unwrap() }
}

fn signed(key: &PolicyKey, version: u64, text: String) -> PolicyOffer {
    sign(key, &made(version, text))
}

impl World {
    fn trust(&self) -> PolicyKey {
        let key = PolicyKey::generate().unwrap();
        fs::write(self.path(POLICY_KEYS_FILE), key.public_key().to_string()).unwrap();
        key
    }

    fn start_agent_with_ring(
        &self,
        coordinator: SocketAddr,
    ) -> (CancellationToken, JoinHandle<Result<Outcome>>) {
        let config = Config { policy: None, ..self.config_with_policy(coordinator) };
        let stop = CancellationToken::new();
        (stop.clone(), spawn_agent(config, stop))
    }

    fn said(&self) -> Vec<PolicyAck> {
        let said = self.stored.lock().unwrap().policy_acks.clone();
        said.into_iter().map(|ack| ack.about(PolicyDigest::default())).collect()
    }
}

fn in_force(version: u64) -> PolicyAck {
    PolicyAck { version, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() }
}

#[tokio::test]
async fn a_policy_is_taken_while_the_agent_runs_and_no_interval_is_of_two() {
    let world = World::new();
    let key = world.trust();
    let coordinator = world.start_coordinator();
    world.write(0..100);
    let (stop, agent) = world.start_agent_with_ring(coordinator.address);
    eventually("all is sent", || world.stored_count() == 100).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    let (fold, send) = (policy("fold", "expected: 1000/s"), policy("send", "owner: ada"));
    let offers = [signed(&key, 5, fold), signed(&key, 4, send)];
    world.stored.lock().unwrap().policies.extend(offers);
    let (stop, agent) = world.start_agent_with_ring(coordinator.address);
    eventually("the second is refused", || world.said().len() == 4).await;
    let refused = PolicyAck::refused(4, PolicyRefusal::Rollback, "");
    let nothing = PolicyAck::nothing();
    assert_eq!(world.said(), [nothing.clone(), nothing, in_force(5), refused]);
    world.write(100..300);
    eventually("all is read", || world.read_count() == 200).await;
    let shown = world.snapshot().unwrap().policy.unwrap();
    assert_eq!((shown.version, shown.source), (5, PolicySource::Signed));
    let channel = shown.signed.unwrap();
    assert_eq!((channel.version, channel.refused), (5, 1));
    assert_eq!(channel.last_refusal.unwrap().reason, "rollback");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    {
        let stored = world.stored.lock().unwrap();
        let read = |version| -> u64 {
            let of = stored.ledger.iter().filter(|interval| interval.policy == version);
            of.flat_map(|interval| &interval.sources).map(|sums| sums.read).sum()
        };
        assert_eq!((read(0), read(5)), (100, 200), "{:?}", stored.ledger);
        assert!(stored.ledger.iter().all(|interval| interval.imbalances().is_empty()), "L4");
    }

    let (stop, agent) = world.start_agent_with_ring(coordinator.address);
    eventually("it is in force again", || world.said().len() == 5).await;
    assert_eq!(world.said()[4], in_force(5));
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_file_of_the_hosts_own_stands_before_what_comes_signed() {
    let world = World::new();
    let key = world.trust();
    fs::write(world.path("policy.yml"), policy("send", "owner: ada")).unwrap();
    let coordinator = world.start_coordinator();
    let offer = signed(&key, 9, policy("fold", "expected: 1000/s"));
    world.stored.lock().unwrap().policies.push_back(offer);
    let (stop, agent) = world.start_agent_with_policy(coordinator.address);
    eventually("it is kept", || world.said().len() == 2).await;
    let kept = PolicyAck { version: 9, outcome: PolicyOutcome::Overridden, ..PolicyAck::nothing() };
    assert_eq!(world.said(), [PolicyAck::nothing(), kept]);
    let policy = eventually_some("it is shown", || {
        let policy = world.snapshot()?.policy?;
        policy.signed.as_ref().is_some_and(|signed| signed.version == 9).then_some(policy)
    })
    .await;
    assert_eq!((policy.version, policy.source), (1, PolicySource::File));
    assert!(policy.signed.unwrap().is_overridden);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_coordinator_that_only_a_policy_names_has_no_last_word() {
    let world = World::new();
    let key = world.trust();
    let coordinator = world.start_coordinator();
    let stored = Arc::new(Mutex::new(Stored { is_revoking: true, ..Stored::default() }));
    let revoking = Coordinator::start(&world.authority, &world.coordinator_leaf(), stored);
    let coordinators = vec![revoking.address.to_string()];
    let offer = Policy { coordinators, ..made(5, policy("send", "owner: ada")) };
    let offer = sign(&key, &offer);
    world.stored.lock().unwrap().policies.push_back(offer);
    let (stop, agent) = world.start_agent_with_ring(coordinator.address);
    eventually("it is in force", || world.said().len() == 2).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    world.write(0..10);
    let (stop, agent) = world.start_agent_with_ring(coordinator.address);
    eventually("it goes on to the configured one", || world.stored_count() == 10).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn what_has_ended_suppresses_nothing_any_more_and_the_ledger_says_so() {
    let world = World::new();
    let key = world.trust();
    let coordinator = world.start_coordinator();
    let expires_at = clock::wall().saturating_add(Duration::from_secs(3));
    let brief = Policy { expires_at, ..made(5, policy("fold", "expected: 1000/s")) };
    world.stored.lock().unwrap().policies.push_back(sign(&key, &brief));
    let (stop, agent) = world.start_agent_with_ring(coordinator.address);
    eventually("it has ended", || world.said().len() == 3).await;
    let ended = PolicyAck { version: 5, outcome: PolicyOutcome::Ended, ..PolicyAck::nothing() };
    assert_eq!(world.said(), [PolicyAck::nothing(), in_force(5), ended]);
    world.write(0..100);
    eventually("all is sent", || world.stored_count() == 100).await;
    let shown = eventually_some("it is shown", || {
        let policy = world.snapshot()?.policy?;
        let has_ended = policy.signed.as_ref().is_some_and(|signed| signed.has_ended);
        (has_ended && policy.version == 0).then_some(policy)
    })
    .await;
    assert_eq!((shown.version, shown.loaded_at), (0, None));
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    let stored = world.stored.lock().unwrap();
    for interval in &stored.ledger {
        let read: u64 = interval.sources.iter().map(|sums| sums.read).sum();
        assert!(read == 0 || interval.policy == 0, "{interval:?}");
    }
}
