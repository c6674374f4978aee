//! Revoking over real connections: whoever was let in is cut off, and comes in no more.

use quinn::ConnectionError;
use shared::{ids::Lane, wire::CLOSE_REVOKED};

use super::{
    agent::{Agent, block, dial},
    house::{House, agent_id, eventually, tenant, within},
    *,
};
use crate::{
    command::{CommandError, identities},
    counters::HandshakeRefused,
    store::{
        engine::{Space, Staged},
        schema::{AgentKey, Key as _, RevokedKey},
        values::{Actor, Revocation},
    },
};

fn key(of: &str, agent: u8) -> AgentKey {
    AgentKey { tenant: tenant(of), agent: agent_id(agent) }
}

async fn revoke(running: &Running, house: &House, agent: AgentKey) -> Revocation {
    let (now, actor) = (house.now(), Actor::Person("ann".into()));
    let revoke =
        move |staged: &mut Staged<'_>| identities::revoke(staged, agent, "stolen", &actor, now);
    let revocation = running.store.write(revoke).await.unwrap();
    running.bells.revocations.ring();
    revocation
}

#[tokio::test]
async fn a_revoked_agent_is_cut_off_and_let_in_no_more_by_any_certificate() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (greeted, _) = Agent::greeted(&house, &leaf, &running).await;
    let silent = Agent::connect(&house, &leaf, &running).await;
    let (mut neighbour, _) = Agent::greeted(&house, &house.agent("acme", 2), &running).await;
    let (mut foreign, _) = Agent::greeted(&house, &house.agent("globex", 1), &running).await;
    eventually("all are let in", || running.counters.sessions_open.value() == 4).await;
    revoke(&running, &house, key("acme", 1)).await;
    for agent in [&greeted, &silent] {
        let (code, said) = agent.closed().await;
        assert_eq!(code, u64::from(CLOSE_REVOKED), "{said}");
        assert!(said.contains("revoked") && !said.contains("stolen"), "{said}");
    }
    eventually("both are counted", || running.counters.sessions_revoked.value() == 2).await;

    for leaf in [leaf, house.agent("acme", 1)] {
        let again = Agent::connect(&house, &leaf, &running).await;
        assert_eq!(again.closed().await.0, u64::from(CLOSE_REVOKED));
    }
    assert_eq!(running.counters.handshakes_refused.value(HandshakeRefused::Revoked), 2);
    for agent in [&mut neighbour, &mut foreign] {
        agent.send_block(Lane::Normal, 1, &block(&house, "web")).await;
        agent.acked(Lane::Normal, 1).await;
    }
    running.shut_down().await.unwrap();

    let running = house.start().await;
    let again = Agent::connect(&house, &house.agent("acme", 1), &running).await;
    assert_eq!(again.closed().await.0, u64::from(CLOSE_REVOKED), "a restart forgets nothing");
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_was_revoked_between_its_handshake_and_its_greeting_is_not_greeted() {
    let house = House::new();
    let running = house.start().await;
    let mut agent = Agent::connect(&house, &house.agent("acme", 1), &running).await;
    eventually("it is let in", || running.counters.sessions_open.value() == 1).await;
    // Nobody rings: the write in which it greets looks, too.
    let (now, actor) = (house.now(), Actor::Coordinator);
    let revoke = move |staged: &mut Staged<'_>| {
        identities::revoke(staged, key("acme", 1), "stolen", &actor, now)
    };
    running.store.write(revoke).await.unwrap();
    agent.send(Stream::Control, &Frame::Hello(hello(1))).await;
    assert_eq!(agent.closed().await.0, u64::from(CLOSE_REVOKED));
    let known = running.store.engine().load(&key("acme", 1)).unwrap();
    assert!(known.is_none(), "it is not noted as connected");
    eventually("it is counted", || running.counters.sessions_revoked.value() == 1).await;
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn no_session_is_resumed_and_none_that_could_be_gets_in_after_a_revocation() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let mut config = agent::client_tls(&house, &leaf);
    config.enable_early_data = true;
    let client = agent::Client::new(config);
    let first = within(client.dial(&running)).await.unwrap();
    // Tickets come behind the handshake, if any do: a stream's round trip is behind them.
    let mut stream = within(first.open_bi()).await.unwrap();
    let encoded = Frame::Hello(hello(1)).encode();
    within(stream.0.write_all(&[encoded.head, encoded.tail].concat())).await.unwrap();
    within(stream.1.read_exact(&mut [0; 4])).await.unwrap();
    first.close(0_u32.into(), b"");
    assert!(client.dial(&running).into_0rtt().is_err(), "there is nothing to resume");

    revoke(&running, &house, key("acme", 1)).await;
    let again = within(client.dial(&running)).await.unwrap();
    let ConnectionError::ApplicationClosed(closed) = within(again.closed()).await else { panic!() };
    assert_eq!(closed.error_code.into_inner(), u64::from(CLOSE_REVOKED));
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn whoever_cannot_be_told_not_to_be_revoked_is_refused() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (agent, _) = Agent::greeted(&house, &leaf, &running).await;
    let damage = |staged: &mut Staged<'_>| {
        staged.put(Space::Rows, &RevokedKey(key("acme", 1)).encode(), vec![200, 1, 2]);
        Ok::<_, CommandError>(())
    };
    running.store.write(damage).await.unwrap();
    running.bells.revocations.ring();
    let (code, said) = agent.closed().await;
    assert!(code == 2 && said.contains("cannot be told"), "{code} {said}");
    let (_endpoint, connecting) = dial(&house, &leaf, running.ingest_addr.port());
    let again = within(connecting).await.unwrap();
    within(again.closed()).await;
    assert_eq!(running.counters.handshakes_refused.value(HandshakeRefused::Unknown), 1);
    running.shut_down().await.unwrap();
}
