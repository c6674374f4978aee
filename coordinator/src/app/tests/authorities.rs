//! Authorities over real connections: bundles that agents are offered, and agents that are re-keyed when an
//! intermediate is replaced or was stolen.

use std::time::Duration;

use certs::{AGENT_VALIDITY, Authority, Leaf, PolicyKey, PrivateKey};
use shared::{
    ids::AgentId,
    policy::PolicyDigest,
    renewal::RenewReply,
    trust::{TrustAck, TrustBundle, TrustOffer, TrustRefusal},
    wire::CLOSE_ENDED,
};

use super::{
    agent::Agent,
    house::{DOMAIN, House, agent_id, eventually, spki_of, tenant},
    joins::joined,
    renewals::{ask, ask_late, close_code, dial_late, leaf_of},
    *,
};
use crate::{
    command::{journal::read_after, trust},
    counters::{HandshakeRefused, TrustRefused},
    store::{
        schema::{AgentKey, AgentTrustKey},
        values::{Actor, AgentTrust, Event, TrustEvent},
    },
    tls::{AuthorityError, Issuer, Own},
};

async fn push(running: &Running, house: &House, key: &PolicyKey, sequence: u64) {
    let bundle = bundle(house, sequence);
    let envelope = key.sign_trust(&bundle).unwrap();
    let (keys, by, now) = ([key.public_key()], Actor::Person("ann".into()), house.now());
    let pushed = running.store.write(move |staged| {
        let push = trust::Push { envelope, ..trust::Push::default() };
        let terms = trust::Terms { keys: &keys, trust_domain: DOMAIN, ..trust::Terms::default() };
        trust::push(staged, push, terms, &by, now).map(drop)
    });
    pushed.await.unwrap();
    running.bells.trust.ring();
}

/// Returns what an agent says that takes an offer.
fn in_force(offer: &TrustOffer) -> TrustAck {
    TrustAck::in_force(offer.sequence, PolicyDigest::of(&offer.envelope))
}

fn bundle(house: &House, sequence: u64) -> TrustBundle {
    let (trust_domain, roots) = (DOMAIN.to_owned(), vec![house.root_der()]);
    TrustBundle { trust_domain, sequence, roots, distrusted: Vec::new() }
}

async fn say(agent: &mut Agent, ack: TrustAck) {
    agent.send(Stream::Control, &Frame::TrustAck(Box::new(ack))).await;
}

async fn offered(agent: &mut Agent) -> TrustOffer {
    loop {
        match agent.receive(Stream::Control).await {
            Frame::Trust(offer) => return *offer,
            Frame::LedgerAck { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn known(running: &Running) -> Option<AgentTrust> {
    known_of(running, agent_id(1))
}

fn known_of(running: &Running, agent: AgentId) -> Option<AgentTrust> {
    let key = AgentKey { tenant: tenant("acme"), agent };
    running.store.engine().load(&AgentTrustKey(key)).unwrap()
}

fn events(running: &Running) -> Vec<TrustEvent> {
    let entries = read_after(running.store.engine(), 0, 1_000).unwrap().into_iter();
    let events = entries.map(|it| it.entry.event);
    events.filter_map(|event| if let Event::Trust(it) = event { Some(it) } else { None }).collect()
}

/// Returns a certificate of an agent that an intermediate makes, whoever has it.
fn made_by(authority: &Authority, house: &House, (agent, validity): (AgentId, Duration)) -> Leaf {
    let key = PrivateKey::generate().unwrap();
    // Later than what was issued in these seconds.
    let now = house.now().saturating_add(Duration::from_secs(60));
    authority.issue_agent(tenant("acme"), agent, now, validity, &key).unwrap()
}

/// Has an agent's certificate renewed over its connection.
async fn renewed(house: &House, leaf: &Leaf, running: &Running) -> Leaf {
    let (mut agent, _) = Agent::greeted(house, leaf, running).await;
    let key = PrivateKey::generate().unwrap();
    match ask(&mut agent, key.signing_request().unwrap()).await {
        RenewReply::Renewed(chain) => leaf_of(&chain, &key),
        RenewReply::Refused(refusal) => panic!("{refusal}"),
    }
}

#[tokio::test]
async fn an_agent_is_offered_the_bundle_when_it_greets_and_each_later_one_at_once() {
    let house = House::new();
    let running = house.start().await;
    let key = PolicyKey::generate().unwrap();
    let leaf = house.agent("acme", 1);
    push(&running, &house, &key, 3).await;
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    assert_eq!(known(&running).and_then(|it| it.issuer), Some(spki_of(&house.authority)));
    say(&mut agent, TrustAck::nothing()).await;
    let offer = offered(&mut agent).await;
    let opened = shared::trust::open(&offer.envelope, &[key.public_key()]).unwrap();
    assert_eq!((offer.sequence, opened), (3, bundle(&house, 3)));
    let taken = in_force(&offer);
    say(&mut agent, taken.clone()).await;
    let has = |it: AgentTrust| (it.sequence, it.digest) == (3, taken.digest);
    eventually("it is known", || known(&running).is_some_and(has)).await;
    push(&running, &house, &key, 4).await;
    let next = offered(&mut agent).await;
    assert_eq!(next.sequence, 4);
    let about = PolicyDigest::of(&next.envelope);
    say(&mut agent, TrustAck::refused(4, about, TrustRefusal::NotStored, "full")).await;
    eventually("it is journalled", || events(&running).len() == 3).await;
    assert_eq!(running.counters.trust_refused.value(TrustRefused::NotStored), 1);
    drop(agent);

    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    say(&mut agent, taken).await;
    assert_eq!(offered(&mut agent).await.sequence, 4, "once more in each session");
    assert_eq!(running.counters.trust_offered.value(), 3);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn an_agent_of_an_earlier_intermediate_is_asked_to_renew_as_soon_as_it_greets() {
    let mut house = House::new();
    house.let_hosts_join();
    let before = house.replace_intermediate();
    let running = house.start().await;
    let validity = AGENT_VALIDITY - Duration::from_secs(86_400);
    let old = made_by(&before, &house, (agent_id(1), validity));
    let (mut agent, _) = Agent::greeted(&house, &old, &running).await;
    assert_eq!(agent.receive(Stream::Control).await, Frame::RenewNow);
    let key = PrivateKey::generate().unwrap();
    let reply = ask(&mut agent, key.signing_request().unwrap()).await;
    let RenewReply::Renewed(chain) = reply else { panic!("{reply:?}") };
    let (mut agent, _) = Agent::greeted(&house, &leaf_of(&chain, &key), &running).await;
    assert_eq!(known(&running).and_then(|it| it.issuer), Some(spki_of(&house.authority)));
    let asked = tokio::time::timeout(Duration::from_millis(200), agent.receive(Stream::Control));
    assert!(asked.await.is_err(), "its issuer is the present one");
    assert_eq!(running.counters.reissues_asked.value(), 1);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn of_a_stolen_intermediate_only_what_was_issued_here_is_worth_a_renewal_and_nothing_else() {
    let mut house = House::new();
    house.let_hosts_join();
    let running = house.start().await;
    let (agent, joined) = joined(&house, &running).await;
    let ours = renewed(&house, &joined, &running).await;
    drop(Agent::greeted(&house, &ours, &running).await);
    assert!(known_of(&running, agent).unwrap().is_of_here);

    // It is stolen: a certificate of the same agent is made elsewhere, and renewed and shown while nobody knows.
    let validity = AGENT_VALIDITY + Duration::from_secs(60);
    let forged = made_by(&house.authority, &house, (agent, validity));
    let laundered = renewed(&house, &forged, &running).await;
    drop(Agent::greeted(&house, &laundered, &running).await);
    assert!(!known_of(&running, agent).unwrap().is_of_here);
    running.shut_down().await.unwrap();
    let stolen = house.replace_intermediate();
    house.distrust(&stolen);
    let running = house.start().await;
    for (purpose, leaf) in [
        ("session", &forged),
        ("renewal", &forged),
        ("session", &laundered),
        ("renewal", &laundered),
    ] {
        let connection = match purpose {
            "session" => Agent::connect(&house, leaf, &running).await.connection.clone(),
            _ => dial_late(&house, leaf, &running).await.unwrap(),
        };
        let lost = connection.closed().await;
        assert_eq!(close_code(&lost), 3, "{purpose}: {lost}");
    }
    let refused = running.counters.handshakes_refused.value(HandshakeRefused::DistrustedIssuer);
    assert_eq!(refused, 4);
    eventually("it is journalled, once", || events(&running).len() == 1).await;
    assert!(matches!(events(&running)[0], TrustEvent::Forged { .. }));

    let late = Agent::connect(&house, &ours, &running).await;
    let (code, said) = late.closed().await;
    assert_eq!(code, u64::from(CLOSE_ENDED), "it is sent to renew: {said}");
    let connection = dial_late(&house, &ours, &running).await.unwrap();
    let key = PrivateKey::generate().unwrap();
    let reply = ask_late(&connection, &key).await.unwrap();
    let RenewReply::Renewed(chain) = reply else { panic!("{reply:?}") };
    let (_agent, _) = Agent::greeted(&house, &leaf_of(&chain, &key), &running).await;
    let known = known_of(&running, agent).unwrap();
    assert_eq!((known.issuer, known.is_of_here), (Some(spki_of(&house.authority)), true));
    assert_eq!(running.counters.reissues_forced.value(), 1);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_bundle_that_would_lock_agents_out_is_told_from_one_that_would_not() {
    let mut house = House::new();
    house.let_hosts_join();
    let load = |house: &House| {
        let authority = house.config.authority.as_ref().unwrap();
        let issuer = Issuer::load(authority, &house.config).unwrap();
        Own::load(&house.config, Some(&issuer)).unwrap()
    };
    let (own, now) = (load(&house), house.now());
    let good = bundle(&house, 1);
    assert_eq!(own.check(&good, now), Ok(()));
    let refused = |own: &Own, bundle: &TrustBundle| own.check(bundle, now).unwrap_err();
    let foreign = TrustBundle { roots: vec![House::new().root_der()], ..good.clone() };
    let told = refused(&own, &foreign);
    assert!(told.contains("[ingest] certificate) leads to none of the roots"), "{told}");
    let no_root = TrustBundle { roots: vec![vec![1, 2]], ..good.clone() };
    assert!(refused(&own, &no_root).starts_with("root 1 is no root's certificate"));
    let present = vec![spki_of(&house.authority)];
    let told = refused(&own, &TrustBundle { distrusted: present.clone(), ..good.clone() });
    assert!(told.contains("of the distrusted intermediate"), "{told}");
    house.replace_intermediate();
    let next = TrustBundle { distrusted: present.clone(), ..good };
    assert_eq!(load(&house).check(&next, now), Ok(()), "once it is replaced");

    let root = house.root_der();
    let authority = house.config.authority.as_mut().unwrap();
    authority.distrusted = vec![spki_of(&house.authority)];
    let authority = house.config.authority.as_ref().unwrap();
    let refused = Issuer::load(authority, &house.config).unwrap_err();
    assert!(matches!(refused, AuthorityError::Distrusted { .. }), "{refused}");
    let authority = house.config.authority.as_mut().unwrap();
    authority.distrusted = vec![certs::spki_digest_of_der(&root).unwrap()];
    let authority = house.config.authority.as_ref().unwrap();
    let refused = Issuer::load(authority, &house.config).unwrap_err();
    assert!(matches!(refused, AuthorityError::DistrustedRoot { .. }), "{refused}");
}
