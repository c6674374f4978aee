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
        let bundle = TrustBundle { trust_domain: trust_domain.to_owned(), ..bundle(sequence, &[]) };
        self.key.sign_trust(&bundle).unwrap()
    }

    /// Returns a bundle of this trust domain that distrusts these.
    fn distrusting(&self, sequence: u64, distrusted: &[SpkiDigest]) -> Vec<u8> {
        self.key.sign_trust(&bundle(sequence, distrusted)).unwrap()
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
        self.push_by(Push { envelope, ..Push::default() }, Terms::default())
    }

    /// Pushes by these terms, of which the keys and the trust domain are this world's.
    fn push_by(&self, brought: Push, terms: Terms<'_>) -> Result<TrustRecord, CommandError> {
        let keys = [self.key.public_key()];
        let terms = Terms { keys: &keys, trust_domain: DOMAIN, ..terms };
        let by = Actor::Person("ann".into());
        self.run(|staged| push(staged, brought, terms, &by, Timestamp::from_ms(5)))
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

fn bundle(sequence: u64, distrusted: &[SpkiDigest]) -> TrustBundle {
    let (trust_domain, roots) = (DOMAIN.to_owned(), vec![vec![0x30, 0]]);
    TrustBundle { trust_domain, sequence, roots, distrusted: distrusted.to_vec() }
}

fn in_force(sequence: u64) -> TrustAck {
    TrustAck::in_force(sequence, PolicyDigest::of(&[7]))
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
    let without_keys = world.run(|staged| {
        let brought = Push { envelope: world.envelope(4, DOMAIN), ..Push::default() };
        let terms = Terms { trust_domain: DOMAIN, ..Terms::default() };
        push(staged, brought, terms, &by, Timestamp::ZERO)
    });
    let told = without_keys.unwrap_err().to_string();
    assert_eq!(told, "envelope: this coordinator trusts no key: name them in [policy] keys");
    world.push(world.envelope(4, DOMAIN)).unwrap();
    let pushed: Vec<u64> = world
        .events()
        .iter()
        .map(|event| match event {
            TrustEvent::Pushed { sequence, digest, trusts_again } => {
                assert_eq!((digest.len(), trusts_again.len()), (64, 0));
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
    world.say(in_force(3), 6);
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
    let about = PolicyDigest::of(&[7]);
    let refusal = || TrustAck::refused(3, about, TrustRefusal::NotStored, "full");
    world.say(refusal(), 6);
    world.say(TrustAck::nothing(), 7);
    world.say(refusal(), 8);
    let refused = world.known().refused.unwrap();
    assert_eq!((refused.sequence, refused.at), (3, Timestamp::from_ms(6)));
    assert_eq!(world.events().len(), 2, "one push, one refusal");
    world.say(in_force(3), 9);
    assert_eq!(world.known().refused, None);
}

#[test]
fn whose_certificate_an_agent_greets_with_is_known_beside_what_it_believes() {
    let world = World::new();
    world.say(in_force(3), 6);
    let issuer = Some(SpkiDigest::from_bytes([7; 32]));
    world.run(|staged| greet(staged, agent(), (issuer, true), Timestamp::from_ms(9))).unwrap();
    let known = world.known();
    assert_eq!((known.sequence, known.issuer), (3, issuer));
}

#[test]
fn no_bundle_has_a_stolen_intermediate_believed_again_but_on_somebodys_word() {
    let world = World::new();
    let [first, second] = [1, 2].map(|byte| SpkiDigest::from_bytes([byte; 32]));
    world.push(world.distrusting(3, &[first])).unwrap();
    let own = Terms { distrusted: &[second, first], ..Terms::default() };
    let brought = |sequence, named: &[SpkiDigest], trusts_again| Push {
        envelope: world.distrusting(sequence, named),
        trusts_again,
        ..Push::default()
    };
    for (named, missing, terms) in [
        (&[][..], first.to_string(), Terms::default()),
        (&[second], first.to_string(), Terms::default()),
        (&[first], second.to_string(), own),
        (&[], format!("{first}, {second}"), own),
    ] {
        let refused = world.push_by(brought(4, named, false), terms).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("distrusted: it does not name {missing},")),
            "{refused}"
        );
        for step in ["certs trust-bundle --distrust", "signalbox authority push --trust-again"] {
            assert!(refused.contains(step), "{refused}");
        }
    }
    world.push_by(brought(4, &[first, second], false), own).unwrap();
    world.push_by(brought(5, &[second], true), Terms::default()).unwrap();
    world.push_by(brought(6, &[second], false), Terms::default()).unwrap();
    let dropped: Vec<_> = world
        .events()
        .into_iter()
        .map(|event| match event {
            TrustEvent::Pushed { sequence, trusts_again, .. } => (sequence, trusts_again),
            other => panic!("{other:?}"),
        })
        .collect();
    let none = Vec::new;
    assert_eq!(dropped, [(3, none()), (4, none()), (5, vec![first]), (6, none())]);
}

#[test]
fn a_sequence_that_is_not_above_what_agents_have_is_refused_unless_they_are_said_to_lie() {
    let world = World::new();
    let terms = Terms { highest: 9, ..Terms::default() };
    let brought = |sequence, anyway| Push {
        envelope: world.envelope(sequence, DOMAIN),
        anyway,
        ..Push::default()
    };
    for sequence in [8, 9] {
        let refused = world.push_by(brought(sequence, false), terms).unwrap_err().to_string();
        assert!(refused.starts_with("sequence: agents have a bundle of up to 9"), "{refused}");
        assert!(refused.contains("sign it with one above 9"), "{refused}");
    }
    world.push_by(brought(8, true), terms).unwrap();
    world.push_by(brought(10, false), terms).unwrap();
}

#[test]
fn whoever_has_another_bundle_of_the_newest_number_or_a_higher_one_is_offered_none() {
    let world = World::new();
    let newest = world.push(world.envelope(5, DOMAIN)).unwrap();
    world.say(in_force(5), 6);
    assert_eq!(world.due(None), None, "it would refuse it");
    assert_eq!((world.known().sequence, world.known().digest), (5, PolicyDigest::of(&[7])));
    world.say(in_force(7), 7);
    assert_eq!(world.due(None), None);
    let taken = PolicyDigest::of(&newest.envelope);
    world.say(TrustAck::in_force(5, taken), 8);
    assert_eq!((world.known().digest, world.known().since), (taken, Timestamp::from_ms(8)));
    world.say(TrustAck::in_force(5, taken), 9);
    assert_eq!(world.known().since, Timestamp::from_ms(8), "it says the same");
}
