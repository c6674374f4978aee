use certs::PolicyKey;
use shared::{ids::AgentId, trust::TrustBundle};

use super::*;
use crate::{
    command::journal::read_after,
    store::engine::{Engine, MemoryEngine},
};

const DOMAIN: &str = "mssp.example";

/// A store, and the key that signs.
struct World {
    engine: MemoryEngine,
    key: PolicyKey,
}

impl World {
    fn new() -> Self {
        Self { engine: MemoryEngine::new(1), key: PolicyKey::generate().unwrap() }
    }

    fn envelope(&self, sequence: u64, trust_domain: &str) -> Vec<u8> {
        let roots = vec![vec![0x30, 0]];
        let trust_domain = trust_domain.to_owned();
        let bundle = TrustBundle { trust_domain, sequence, roots, distrusted: Vec::new() };
        self.key.sign_trust(&bundle).unwrap()
    }

    fn run<T>(
        &self,
        command: impl FnOnce(&mut Staged<'_>) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let mut staged = Staged::new(&self.engine);
        let done = command(&mut staged)?;
        self.engine.commit(staged.into_changes()).unwrap();
        Ok(done)
    }

    fn push(&self, envelope: Vec<u8>) -> Result<TrustRecord, CommandError> {
        let keys = [self.key.public_key()];
        let by = Actor::Person("ann".into());
        self.run(|staged| push(staged, envelope, (&keys, DOMAIN), &by, Timestamp::from_ms(5)))
    }

    fn say(&self, ack: TrustAck, at: u64) {
        self.run(|staged| acknowledge(staged, agent(), ack, Timestamp::from_ms(at))).unwrap();
    }

    fn due(&self, tried: Option<u64>) -> Option<u64> {
        let engine: &dyn Engine = &self.engine;
        due(engine, agent(), tried).unwrap().map(|offer| offer.sequence)
    }

    fn known(&self) -> AgentTrust {
        let engine: &dyn Engine = &self.engine;
        engine.load(&AgentTrustKey(agent())).unwrap().unwrap()
    }

    fn events(&self) -> Vec<TrustEvent> {
        let engine: &dyn Engine = &self.engine;
        let entries = read_after(engine, 0, 100).unwrap().into_iter();
        let event = |it: journal::Chained| match it.entry.event {
            Event::Trust(event) => event,
            other => panic!("{other:?}"),
        };
        entries.map(event).collect()
    }
}

fn agent() -> AgentKey {
    AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) }
}

#[test]
fn a_bundle_is_stored_if_agents_would_take_it_and_the_refusal_says_what_to_do() {
    let world = World::new();
    let stored = world.push(world.envelope(3, DOMAIN)).unwrap();
    assert_eq!((stored.sequence, stored.by), (3, Actor::Person("ann".into())));
    let refused = |envelope| world.push(envelope).unwrap_err().to_string();
    assert_eq!(
        refused(world.envelope(3, DOMAIN)),
        "sequence: must be above 3, the newest; sign it again"
    );
    let told = refused(world.envelope(4, "other.example"));
    assert_eq!(told, "envelope: it is another trust domain's; this one is mssp.example");
    let told = refused(World::new().envelope(4, DOMAIN));
    assert_eq!(told, "envelope: the key that it names is not trusted here");
    assert!(refused(vec![1, 2, 3]).starts_with("envelope: its bytes are no trust bundle"));
    let by = Actor::Coordinator;
    let without_keys = world
        .run(|staged| push(staged, world.envelope(4, DOMAIN), (&[], DOMAIN), &by, Timestamp::ZERO));
    let told = without_keys.unwrap_err().to_string();
    assert_eq!(told, "envelope: this coordinator trusts no key: name them in [policy] keys");
    world.push(world.envelope(4, DOMAIN)).unwrap();
    let pushed: Vec<u64> = world
        .events()
        .iter()
        .map(|event| match event {
            TrustEvent::Pushed { sequence, digest } => {
                assert_eq!(digest.len(), 64);
                *sequence
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pushed, [3, 4], "what stores nothing is not journalled");
}

#[test]
fn an_agent_is_offered_the_newest_until_it_has_it_and_once_a_session() {
    let world = World::new();
    assert_eq!(world.due(None), None, "there is none");
    world.push(world.envelope(3, DOMAIN)).unwrap();
    assert_eq!(world.due(None), Some(3), "it has not said what it has");
    assert_eq!(world.due(Some(3)), None);
    world.say(TrustAck::in_force(3), 6);
    assert_eq!((world.due(None), world.known().since), (None, Timestamp::from_ms(6)));
    world.push(world.envelope(9, DOMAIN)).unwrap();
    assert_eq!(world.due(Some(3)), Some(9));
    world.say(TrustAck::nothing(), 7);
    assert_eq!((world.due(None), world.known().sequence), (Some(9), 0), "it has lost what it had");
}

#[test]
fn a_refusal_is_journalled_once_and_forgotten_with_the_next_that_is_taken() {
    let world = World::new();
    world.push(world.envelope(3, DOMAIN)).unwrap();
    let refusal = || TrustAck::refused(3, TrustRefusal::NotStored, "full");
    world.say(refusal(), 6);
    world.say(TrustAck::nothing(), 7);
    world.say(refusal(), 8);
    let refused = world.known().refused.unwrap();
    assert_eq!((refused.sequence, refused.at), (3, Timestamp::from_ms(6)));
    assert_eq!(world.events().len(), 2, "one push, one refusal");
    world.say(TrustAck::in_force(3), 9);
    assert_eq!(world.known().refused, None);
}

#[test]
fn whose_certificate_an_agent_greets_with_is_known_beside_what_it_believes() {
    let world = World::new();
    world.say(TrustAck::in_force(3), 6);
    let issuer = Some(SpkiDigest::from_bytes([7; 32]));
    world.run(|staged| greet(staged, agent(), (issuer, true), Timestamp::from_ms(9))).unwrap();
    let known = world.known();
    assert_eq!((known.sequence, known.issuer), (3, issuer));
}
