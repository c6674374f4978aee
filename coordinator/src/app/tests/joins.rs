//! Hosts that join over a real connection: what they get, and what they do not get without a token or with one alone.

use std::{net::Ipv4Addr, sync::Arc};

use certs::{CertificateInfo, Leaf, PolicyKey, PrivateKey};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig,
};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use shared::{
    identity::Role,
    ids::AgentId,
    join::{
        ALPN_JOIN, ALPN_JOIN_2, JoinAnswer, JoinRefusal, JoinReply, JoinRequest, JoinSecret,
        encode_frame,
    },
    limits::JOIN_FRAME_BYTES_MAX,
    wire::{ALPN, LEN_BYTES, codec},
};

use super::{
    house::{House, eventually, tenant, within},
    renewals::leaf_of,
    *,
};
use crate::{
    command::joins::{self, Invitation},
    counters::{HandshakeRefused, JoinRefused},
    limits::{JOIN_REFUSALS_MAX, JOINS_OF_SITE_MAX},
    store::values::{Actor, JoinToken},
};

/// A connection without a certificate, of the protocol that is named.
async fn connect(house: &House, running: &Running, alpn: &[u8]) -> (Endpoint, Connection) {
    try_connect(house, running, alpn).await.unwrap()
}

async fn try_connect(
    house: &House,
    running: &Running,
    alpn: &[u8],
) -> Result<(Endpoint, Connection), ConnectionError> {
    let mut roots = RootCertStore::empty();
    let root = house.authority.root_pem();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let quic = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let to = (Ipv4Addr::LOCALHOST, running.ingest_addr.port()).into();
    let connection = within(endpoint.connect_with(quic, to, "box").unwrap()).await?;
    Ok((endpoint, connection))
}

async fn invite(running: &Running, secret: u8, uses: u32) -> JoinToken {
    let life = Duration::from_secs(60 * 60);
    let invitation = Invitation { tenant: tenant("acme"), uses, life };
    let now = Clock::wall().now();
    let made = running.store.write(move |staged| {
        let ann = Actor::Person("ann".into());
        crate::command::tenants::ensure(staged, tenant("acme"), &ann, now)?;
        joins::create(staged, &JoinSecret::from_bytes([secret; 16]), invitation, &ann, now)
    });
    made.await.unwrap()
}

fn request(secret: u8, key: &PrivateKey) -> JoinRequest {
    JoinRequest {
        secret: JoinSecret::from_bytes([secret; 16]),
        signing_request: key.signing_request().unwrap(),
        host_name: "web-1".into(),
        agent_version: "0.1.0".into(),
    }
}

async fn ask(house: &House, running: &Running, request: &JoinRequest) -> JoinReply {
    codec::decode(&answer(house, running, ALPN_JOIN, request).await).unwrap()
}

/// Returns what follows the length of the answer.
async fn answer(house: &House, running: &Running, alpn: &[u8], request: &JoinRequest) -> Vec<u8> {
    let (_endpoint, connection) = connect(house, running, alpn).await;
    let (mut send, mut recv) = within(connection.open_bi()).await.unwrap();
    within(send.write_all(&encode_frame(request).unwrap())).await.unwrap();
    send.finish().unwrap();
    within(recv.read_to_end(JOIN_FRAME_BYTES_MAX)).await.unwrap().split_off(LEN_BYTES)
}

/// Has a host join; returns which agent it is.
pub(super) async fn joined(house: &House, running: &Running) -> (AgentId, Leaf) {
    invite(running, 1, 1).await;
    let key = PrivateKey::generate().unwrap();
    match ask(house, running, &request(1, &key)).await {
        JoinReply::Joined(joined) => (joined.agent, leaf_of(&joined.chain, &key)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_host_gets_a_certificate_for_its_own_key_and_a_name_that_the_coordinator_chose() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    invite(&running, 1, 2).await;
    let key = PrivateKey::generate().unwrap();
    let JoinReply::Joined(joined) = ask(&house, &running, &request(1, &key)).await else {
        panic!("it is let in")
    };
    let info = CertificateInfo::from_der(&joined.chain[0]).unwrap();
    let role = info.identity().unwrap().role;
    assert_eq!(role, Role::Agent { tenant: tenant("acme"), agent: joined.agent });
    assert_eq!((joined.chain.len(), joined.tenant), (2, tenant("acme")));

    let JoinReply::Joined(again) = ask(&house, &running, &request(1, &key)).await else {
        panic!("it is let in again")
    };
    assert_eq!(again.agent, joined.agent, "the same key is the same agent");
    let other = PrivateKey::generate().unwrap();
    let JoinReply::Joined(second) = ask(&house, &running, &request(1, &other)).await else {
        panic!("there was a second use")
    };
    assert_ne!(second.agent, joined.agent);
    let third = PrivateKey::generate().unwrap();
    let refused = ask(&house, &running, &request(1, &third)).await;
    assert_eq!(refused, JoinReply::Refused(JoinRefusal::Used));
    assert_eq!(running.counters.agents_joined.value(), 3);
    assert_eq!(running.counters.joins_refused.value(JoinRefused::Used), 1);
    eventually("all have gone", || running.counters.joins_open.value() == 0).await;
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_host_that_can_be_told_so_learns_which_keys_sign_policies_and_an_older_one_joins_too() {
    let mut house = House::new();
    house.let_hosts_join();
    let keys = [PolicyKey::generate().unwrap(), PolicyKey::generate().unwrap()];
    let keys = keys.map(|key| key.public_key());
    let path = house.path("policy.pub");
    fs::write(&path, format!("{}\n# the next one\n{}\n", keys[0], keys[1])).unwrap();
    house.config.policy_keys = Some(path);
    let running = house.start().await;
    invite(&running, 1, 1).await;
    let request = request(1, &PrivateKey::generate().unwrap());
    let told = answer(&house, &running, ALPN_JOIN_2, &request).await;
    let told: JoinAnswer = codec::decode(&told).unwrap();
    assert_eq!(told.keys(), keys);
    let JoinReply::Joined(joined) = told.reply else { panic!("it is let in") };
    let JoinReply::Joined(again) = ask(&house, &running, &request).await else {
        panic!("it is let in")
    };
    assert_eq!(again.agent, joined.agent);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn who_has_no_certificate_gets_no_session_where_hosts_can_join() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    let (_endpoint, connection) = connect(&house, &running, ALPN).await;
    let closed = within(connection.closed()).await.to_string();
    assert!(closed.contains("names nobody"), "{closed}");
    assert_eq!(running.counters.handshakes_refused.value(HandshakeRefused::Identity), 1);
    assert_eq!(running.counters.connections_accepted.value(), 0);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn where_hosts_cannot_join_their_protocol_is_not_spoken() {
    let house = House::new();
    let running = house.start().await;
    let refused = try_connect(&house, &running, ALPN_JOIN).await.unwrap_err().to_string();
    assert!(refused.contains("known protocol"), "{refused}");
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_nothing_is_set_aside_for_what_it_claims() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    invite(&running, 1, 1).await;
    let key = PrivateKey::generate().unwrap();
    let unsigned = JoinRequest { signing_request: vec![0x30, 0], ..request(1, &key) };
    let refused = ask(&house, &running, &unsigned).await;
    assert_eq!(refused, JoinReply::Refused(JoinRefusal::SigningRequest));

    let too_long = u32::try_from(JOIN_FRAME_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec();
    let garbage = [&4_u32.to_le_bytes()[..], &[255; 4]].concat();
    for bytes in [too_long, garbage, vec![0; 4]] {
        let (_endpoint, connection) = connect(&house, &running, ALPN_JOIN).await;
        let (mut send, _recv) = within(connection.open_bi()).await.unwrap();
        within(send.write_all(&bytes)).await.unwrap();
        within(connection.closed()).await;
    }
    let JoinReply::Joined(_) = ask(&house, &running, &request(1, &key)).await else {
        panic!("a token is not used up by what was no request")
    };
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_host_that_says_nothing_does_not_hold_up_the_shutdown() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    let (_endpoint, connection) = connect(&house, &running, ALPN_JOIN).await;
    eventually("it is met", || running.counters.joins_open.value() == 1).await;
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);
    within(connection.closed()).await;
}

#[tokio::test]
async fn a_site_that_takes_all_its_places_is_told_to_come_again() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    let mut silent = Vec::new();
    for _ in 0..JOINS_OF_SITE_MAX {
        silent.push(connect(&house, &running, ALPN_JOIN).await);
    }
    eventually("all are met", || running.counters.joins_open.value() == JOINS_OF_SITE_MAX as u64)
        .await;
    let (_endpoint, connection) = connect(&house, &running, ALPN_JOIN).await;
    let closed = within(connection.closed()).await.to_string();
    assert!(closed.contains("try again in a minute"), "{closed}");
    assert_eq!(running.counters.handshakes_refused.value(HandshakeRefused::Full), 1);
    drop(silent);
    eventually("they have gone", || running.counters.joins_open.value() == 0).await;
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn who_has_a_token_is_let_in_however_often_others_at_the_address_have_guessed() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    invite(&running, 1, 1).await;
    let key = PrivateKey::generate().unwrap();
    for number in 0..=JOIN_REFUSALS_MAX {
        let refused = ask(&house, &running, &request(9, &key)).await;
        let is_last = number == JOIN_REFUSALS_MAX;
        let refusal = if is_last { JoinRefusal::TooMany } else { JoinRefusal::Unknown };
        assert_eq!(refused, JoinReply::Refused(refusal), "{number}");
    }
    let JoinReply::Joined(_) = ask(&house, &running, &request(1, &key)).await else {
        panic!("it is let in")
    };
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn an_authority_of_another_trust_domain_or_root_than_the_coordinators_is_refused() {
    let mut house = House::new();
    house.let_hosts_join();
    house.config.trust_domain = "other.test".into();
    let issuer = Issuer::load(house.config.authority.as_ref().unwrap(), &house.config);
    let error = issuer.unwrap_err().to_string();
    assert!(error.contains("box.test") && error.contains("other.test"), "{error}");
}

#[tokio::test]
async fn an_authority_under_another_root_is_refused_at_the_start() {
    let mut house = House::new();
    house.let_hosts_join();
    let other = House::new();
    fs::write(house.path("authority/intermediate.pem"), other.authority.intermediate_pem())
        .unwrap();
    let error = format!("{:#}", start(house.config.clone(), Clock::wall()).await.unwrap_err());
    assert!(error.contains("[authority]") && error.contains("issues nothing under"), "{error}");
}

#[tokio::test]
async fn what_is_no_request_is_not_answered_and_counted() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    for bytes in [&[0; 4][..], &[255; 4], &[4, 0, 0, 0, 7, 7], b""] {
        let (_endpoint, connection) = connect(&house, &running, ALPN_JOIN).await;
        let (mut send, mut recv) = within(connection.open_bi()).await.unwrap();
        within(send.write_all(bytes)).await.unwrap();
        send.finish().unwrap();
        let answer = within(recv.read_to_end(JOIN_FRAME_BYTES_MAX)).await;
        assert!(!answer.is_ok_and(|answer| !answer.is_empty()), "{bytes:?}");
    }
    let refused = || running.counters.joins_refused.value(JoinRefused::NoRequest);
    eventually("all are counted", || refused() == 4).await;
    running.shut_down().await.unwrap();
}
