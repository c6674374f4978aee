//! Renewing over a live connection: what an agent gets, and from when on the certificate before is worth nothing.

use std::time::Duration;

use certs::{
    AGENT_VALIDITY, CertificateInfo, Leaf, PrivateKey, certificates_to_pem,
    testing::{impostor_of, signing_request_for},
};
use quinn::{Connection, ConnectionError};
use shared::{
    identity::{Identity, Role},
    ids::Lane,
    join::encode_frame,
    limits::JOIN_FRAME_BYTES_MAX,
    renewal::{ALPN_RENEW, RenewRefusal, RenewReply, RenewRequest},
    time::Timestamp,
    wire::{CLOSE_ENDED, CLOSE_REVOKED, CLOSE_SUPERSEDED, GoodbyeReason, LEN_BYTES, codec},
};

use super::{
    agent::{self, Agent, block},
    house::{DOMAIN, House, agent_id, eventually, tenant, within},
    *,
};
use crate::{
    command::{identities, journal::read_after},
    counters::HandshakeRefused,
    store::{
        schema::AgentKey,
        values::{Actor, Event, IdentityEvent},
    },
};

/// Returns a certificate that is a day older than those that are issued now.
fn old_certificate(house: &House) -> Leaf {
    let (key, day) = (PrivateKey::generate().unwrap(), Duration::from_secs(86_400));
    let validity = AGENT_VALIDITY - day;
    house.authority.issue_agent(tenant("acme"), agent_id(1), house.now(), validity, &key).unwrap()
}

pub(super) async fn ask(agent: &mut Agent, signing_request: Vec<u8>) -> RenewReply {
    agent.send(Stream::Control, &Frame::Renew { signing_request }).await;
    match agent.receive(Stream::Control).await {
        Frame::Renewed(reply) => *reply,
        other => panic!("not an answer: {other:?}"),
    }
}

/// Returns a certificate of the agent that ended so long ago.
fn ended(house: &House, ago: Duration) -> Leaf {
    house.raw(|raw| raw.expired_at(house.now().saturating_sub(ago)))
}

pub(super) async fn dial_late(
    house: &House,
    leaf: &Leaf,
    running: &Running,
) -> Result<Connection, ConnectionError> {
    let mut tls = agent::client_tls(house, leaf);
    tls.alpn_protocols = vec![ALPN_RENEW.to_vec()];
    within(agent::Client::new(tls).dial(running)).await
}

/// Asks for a certificate over the protocol of renewals; an error if the connection is closed instead.
pub(super) async fn ask_late(
    connection: &Connection,
    key: &PrivateKey,
) -> Result<RenewReply, ConnectionError> {
    let request = RenewRequest { signing_request: key.signing_request().unwrap() };
    let asked = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        // A coordinator that has closed says why in what it answers.
        let _unsent = send.write_all(&encode_frame(&request).unwrap()).await.is_err();
        let _unfinished = send.finish().is_err();
        match recv.read_to_end(JOIN_FRAME_BYTES_MAX).await {
            Ok(answer) => Ok(codec::decode(&answer[LEN_BYTES..]).unwrap()),
            Err(_) => Err(connection.closed().await),
        }
    };
    within(asked).await
}

pub(super) fn close_code(lost: &ConnectionError) -> u64 {
    match lost {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("the coordinator says why it closes, but: {other}"),
    }
}

pub(super) fn leaf_of(chain: &[Vec<u8>], key: &PrivateKey) -> Leaf {
    let info = CertificateInfo::from_der(&chain[0]).unwrap();
    Leaf {
        chain_pem: certificates_to_pem(chain).unwrap(),
        key_pem: key.to_pem(),
        serial: info.serial,
        not_after: info.not_after,
    }
}

fn identity_events(running: &Running) -> Vec<IdentityEvent> {
    let entries = read_after(running.store.engine(), 0, 1_000).unwrap();
    let events = entries.into_iter().map(|it| it.entry.event);
    events
        .filter_map(|event| if let Event::Identity(it) = event { Some(it) } else { None })
        .collect()
}

#[tokio::test]
async fn the_next_certificate_comes_over_the_connection_and_ends_the_one_before_when_it_is_used() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    let old = old_certificate(&house);
    let (mut agent, _) = Agent::greeted(&house, &old, &running).await;
    // A request that names another agent of another tenant gets a certificate of whom the connection is.
    let key = PrivateKey::generate().unwrap();
    let role = Role::Agent { tenant: tenant("globex"), agent: agent_id(2) };
    let foreign = Identity { trust_domain: DOMAIN.to_owned(), role };
    let request = signing_request_for(&key, &foreign).unwrap();
    let RenewReply::Renewed(chain) = ask(&mut agent, request).await else {
        panic!("it is refused")
    };
    let info = CertificateInfo::from_der(&chain[0]).unwrap();
    let role = Role::Agent { tenant: tenant("acme"), agent: agent_id(1) };
    assert_eq!(info.identity().unwrap().role, role);
    agent.send_block(Lane::Normal, 1, &block(&house, "web")).await;
    agent.acked(Lane::Normal, 1).await;

    // It may be lost on its way: until it was used the one before is good.
    let (mut agent, _) = Agent::greeted(&house, &old, &running).await;
    let new = leaf_of(&chain, &key);
    let (mut renewed, welcome) = Agent::greeted(&house, &new, &running).await;
    assert_eq!(welcome.committed[Lane::Normal.index()].map(|seq| seq.as_u64()), Some(1));
    let goodbye = agent.receive(Stream::Control).await;
    assert_eq!(goodbye, Frame::Goodbye(GoodbyeReason::Replaced), "one connection an agent");
    for _ in 0..2 {
        let late = Agent::connect(&house, &old, &running).await;
        let (code, said) = late.closed().await;
        assert_eq!(code, u64::from(CLOSE_SUPERSEDED), "{said}");
    }
    let refused = || running.counters.handshakes_refused.value(HandshakeRefused::Superseded);
    assert_eq!(refused(), 2);
    renewed.send_block(Lane::Normal, 2, &block(&house, "web")).await;
    renewed.acked(Lane::Normal, 2).await;
    eventually("both are journalled", || identity_events(&running).len() == 2).await;
    let events = identity_events(&running);
    let IdentityEvent::Renewed { serial, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*serial, info.serial.to_string());
    assert!(matches!(events[1], IdentityEvent::Superseded { .. }), "{events:?}");
    assert_eq!(running.counters.certificates_renewed.value(), 1);
    running.shut_down().await.unwrap();

    let running = house.start().await;
    let late = Agent::connect(&house, &old, &running).await;
    assert_eq!(late.closed().await.0, u64::from(CLOSE_SUPERSEDED), "a restart forgets nothing");
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_certified_is_refused_and_the_session_goes_on() {
    let mut house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let key = PrivateKey::generate().unwrap();
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    let reply = ask(&mut agent, key.signing_request().unwrap()).await;
    assert_eq!(reply, RenewReply::Refused(RenewRefusal::Unavailable), "nothing issues here");
    running.shut_down().await.unwrap();

    house.let_hosts_join();
    let running = house.start().await;
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    let mut forged = key.signing_request().unwrap();
    *forged.last_mut().unwrap() ^= 1;
    for request in [b"no request".to_vec(), forged] {
        let reply = ask(&mut agent, request).await;
        assert_eq!(reply, RenewReply::Refused(RenewRefusal::SigningRequest));
    }
    agent.send_block(Lane::Normal, 1, &block(&house, "web")).await;
    agent.acked(Lane::Normal, 1).await;
    assert_eq!(running.counters.renewals_refused.value(), 2);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_ended_lately_is_good_for_its_renewal_and_for_nothing_else() {
    let (hour, mut house) = (Duration::from_secs(3_600), House::new());
    house.let_hosts_join(); // with a grace of a day
    let running = house.start().await;
    let late = ended(&house, hour);
    let refused = Agent::connect(&house, &late, &running).await;
    let (code, said) = refused.closed().await;
    assert!(code == u64::from(CLOSE_ENDED) && said.contains("ended"), "{code} {said}");
    assert_eq!(running.counters.handshakes_refused.value(HandshakeRefused::Expired), 1);

    let key = PrivateKey::generate().unwrap();
    let connection = dial_late(&house, &late, &running).await.unwrap();
    let RenewReply::Renewed(chain) = ask_late(&connection, &key).await.unwrap() else {
        panic!("it is refused")
    };
    let new = leaf_of(&chain, &key);
    let (mut renewed, _) = Agent::greeted(&house, &new, &running).await;
    renewed.send_block(Lane::Normal, 1, &block(&house, "web")).await;
    renewed.acked(Lane::Normal, 1).await;

    // Once: from here on it is worth nothing at all.
    let again = dial_late(&house, &late, &running).await.unwrap();
    let lost = ask_late(&again, &key).await.unwrap_err();
    assert_eq!(close_code(&lost), u64::from(CLOSE_SUPERSEDED));
    // Nothing but a renewal is served over that protocol, whoever comes.
    let session = dial_late(&house, &new, &running).await.unwrap();
    let (mut send, mut recv) = within(session.open_bi()).await.unwrap();
    let hello = Frame::Hello(hello(1)).encode();
    within(send.write_all(&[hello.head, hello.tail].concat())).await.unwrap();
    assert!(!within(recv.read_to_end(1 << 10)).await.is_ok_and(|answer| !answer.is_empty()));
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn who_slept_too_long_or_was_revoked_or_never_was_an_agent_is_not_renewed() {
    let (hour, mut house) = (Duration::from_secs(3_600), House::new());
    house.let_hosts_join();
    let running = house.start().await;
    let tls_refuses = |leaf: Leaf| {
        let (house, running) = (&house, &running);
        async move {
            // The client is done with the handshake before it hears that the coordinator is not.
            let lost = match dial_late(house, &leaf, running).await {
                Ok(connection) => within(connection.closed()).await,
                Err(lost) => lost,
            };
            assert!(!matches!(lost, ConnectionError::ApplicationClosed(_)), "{lost}");
        }
    };
    tls_refuses(ended(&house, hour * 25)).await;
    let impostor = impostor_of(&house.authority, house.now()).unwrap();
    let raw = house.raw_agent().expired_at(house.now().saturating_sub(hour));
    tls_refuses(certs::testing::issue_raw(&impostor, &raw).unwrap()).await;

    let late = ended(&house, hour);
    let key = AgentKey { tenant: tenant("acme"), agent: agent_id(1) };
    let revoke = move |staged: &mut crate::store::engine::Staged<'_>| {
        identities::revoke(staged, key, "stolen", &Actor::Coordinator, Timestamp::ZERO)
    };
    running.store.write(revoke).await.unwrap();
    let connection = dial_late(&house, &late, &running).await.unwrap();
    let lost = ask_late(&connection, &PrivateKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(close_code(&lost), u64::from(CLOSE_REVOKED));
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn what_is_no_request_for_a_late_renewal_is_not_answered_and_counted() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    let late = ended(&house, Duration::from_secs(3_600));
    for bytes in [&[255; 4][..], &[4, 0, 0, 0, 7, 7], b""] {
        let connection = dial_late(&house, &late, &running).await.unwrap();
        let (mut send, mut recv) = within(connection.open_bi()).await.unwrap();
        within(send.write_all(bytes)).await.unwrap();
        send.finish().unwrap();
        let answer = within(recv.read_to_end(1 << 10)).await;
        assert!(!answer.is_ok_and(|answer| !answer.is_empty()), "{bytes:?}");
    }
    eventually("all are counted", || running.counters.renewals_refused.value() == 3).await;
    running.shut_down().await.unwrap();
}
