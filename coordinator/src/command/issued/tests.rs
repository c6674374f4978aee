use shared::ids::{AgentId, BootId, Epoch};

use super::*;
use crate::{
    command::{agents, identities::show, journal::read_after},
    store::{
        engine::{Engine, MemoryEngine},
        values::{Claimant, ClaimingHost, Conflict, Event, Kept},
    },
};

fn agent() -> AgentKey {
    AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) }
}

fn certificate(serial: u8, not_before: u64) -> Certificate {
    let [not_before, not_after] = [not_before, not_before + 100].map(Timestamp::from_ms);
    Certificate { serial: vec![serial], not_before, not_after }
}

fn issued(serial: u8) -> IssuedCertificate {
    let (issuer, at) = (SpkiDigest::from_bytes([9; 32]), Timestamp::from_ms(u64::from(serial)));
    IssuedCertificate { serial: vec![serial], holder: holder(serial), issuer, at, is_shown: false }
}

fn proof(serial: u8) -> Proof {
    Proof { serial: vec![serial], holder: holder(serial) }
}

/// The key that the certificate of this number certifies.
fn holder(serial: u8) -> SpkiDigest {
    SpkiDigest::from_bytes([serial; 32])
}

struct World(MemoryEngine);

impl World {
    fn new() -> Self {
        Self(MemoryEngine::new(1))
    }

    fn run<T>(&self, command: impl FnOnce(&mut Staged<'_>) -> Result<T, CommandError>) -> T {
        let mut staged = Staged::new(&self.0);
        let done = command(&mut staged).unwrap();
        self.0.commit(staged.into_changes()).unwrap();
        done
    }

    /// Issues a certificate to a host that joins.
    fn join(&self, serial: u8) {
        self.run(|staged| record(staged, agent(), issued(serial), None));
    }

    /// Issues a certificate to who shows another.
    fn renew(&self, before: u8, serial: u8) {
        self.run(|staged| record(staged, agent(), issued(serial), Some(&proof(before))));
    }

    /// Lets in who shows a certificate, which begins at this time; returns whether it is of the line.
    fn greet(&self, serial: u8, not_before: u64) -> bool {
        let now = Timestamp::from_ms(5);
        self.run(|staged| show(staged, agent(), &certificate(serial, not_before), now));
        self.run(|staged| greet(staged, agent(), &proof(serial)))
    }

    fn check(&self, serial: u8) -> Result<Standing, CommandError> {
        check(&self.0 as &dyn Engine, agent(), &proof(serial))
    }

    fn kept(&self) -> Vec<u8> {
        let engine: &dyn Engine = &self.0;
        let IssuedCertificates(kept) = engine.load(&IssuedKey(agent())).unwrap().unwrap();
        kept.iter().map(|it| it.serial[0]).collect()
    }

    fn is_contested(&self) -> bool {
        is_contested(&self.0 as &dyn Engine, agent()).unwrap()
    }
}

#[test]
fn only_what_was_issued_here_is_worth_a_renewal() {
    let world = World::new();
    assert_eq!(world.check(1), Ok(Standing::Forged), "nothing was issued");
    world.join(1);
    assert_eq!(world.check(1), Ok(Standing::Ours));
    assert_eq!(world.check(2), Ok(Standing::Forged));
    let other = AgentKey { tenant: "globex".parse().unwrap(), ..agent() };
    let engine: &dyn Engine = &world.0;
    let of_other = check(engine, other, &proof(1));
    assert_eq!(of_other, Ok(Standing::Forged), "L5: another tenant's agent of the same id");
    let numbered = check(engine, agent(), &Proof { holder: holder(66), ..proof(1) });
    assert_eq!(numbered, Ok(Standing::Forged), "a forgery under a true one's number");
}

#[test]
fn what_a_thief_renewed_before_the_theft_was_known_is_worth_nothing() {
    let world = World::new();
    world.join(1);
    assert!(world.greet(1, 10));
    // A forgery is shown, and renewed again and again.
    assert!(!world.greet(66, 20));
    for serial in 67..90 {
        world.renew(serial - 1, serial);
        assert!(!world.greet(serial, u64::from(serial)));
        assert_eq!(world.check(serial), Ok(Standing::Forged));
    }
    assert_eq!(world.check(1), Ok(Standing::Ours), "the true one is good all the same");
    world.renew(1, 2);
    assert!(world.greet(2, 200));
    assert_eq!(world.check(2), Ok(Standing::Ours));
}

#[test]
fn the_one_in_use_is_kept_whatever_was_issued_since_and_never_arrived() {
    let world = World::new();
    world.join(1);
    world.greet(1, 10);
    (2..=9).for_each(|serial| world.renew(1, serial));
    assert_eq!(world.kept(), [1, 7, 8, 9]);
    assert_eq!(world.kept().len(), ISSUED_CERTIFICATES_MAX);
    world.greet(9, 20);
    world.renew(9, 10);
    assert_eq!(world.kept(), [7, 8, 9, 10]);
    assert_eq!(world.check(1), Ok(Standing::Forged), "long replaced");
}

#[test]
fn the_one_by_which_the_next_is_asked_for_is_kept_also_where_another_was_shown_or_none() {
    let world = World::new();
    world.join(1);
    (2..=9).for_each(|serial| world.renew(1, serial));
    assert_eq!(world.kept(), [1, 7, 8, 9], "it has never greeted");
    world.greet(66, 30); // by a thief
    (10..=19).for_each(|serial| world.renew(1, serial));
    assert_eq!(world.kept(), [1, 17, 18, 19]);
    world.greet(19, 40);
    (20..=29).for_each(|serial| world.renew(19, serial));
    assert_eq!(world.kept(), [19, 27, 28, 29]);
}

#[test]
fn only_a_later_one_of_the_line_that_was_shown_supersedes() {
    let world = World::new();
    world.join(1);
    world.greet(1, 10);
    world.renew(1, 2);
    assert_eq!(world.check(1), Ok(Standing::Ours), "the next one may not have arrived");
    world.greet(2, 20);
    assert_eq!(world.check(1), Err(CommandError::Superseded));
    world.greet(66, 30); // by a thief, before the theft was known
    assert_eq!(world.check(2), Ok(Standing::Ours));
    assert_eq!(world.check(1), Err(CommandError::Superseded), "of an old copy of the host");
    assert_eq!(world.check(66), Ok(Standing::Forged));
}

#[test]
fn a_revoked_agent_renews_nothing() {
    let world = World::new();
    world.join(1);
    let by = Actor::Person("ann".into());
    let now = Timestamp::from_ms(9);
    world.run(|staged| {
        crate::command::identities::revoke(staged, agent(), "stolen", &by, now).map(drop)
    });
    assert_eq!(world.check(1), Err(CommandError::Revoked));
}

#[test]
fn a_conflict_keeps_an_agent_from_renewing_unless_it_is_a_thiefs() {
    let world = World::new();
    let host = || ClaimingHost {
        claimant: Claimant {
            epoch: Epoch(1),
            boot: BootId(1),
            from: String::new(),
            version: String::new(),
        },
        first_seen_at: Timestamp::ZERO,
        last_seen_at: Timestamp::ZERO,
        context: None,
    };
    let conflict = |kept| Conflict { since: Timestamp::ZERO, hosts: vec![host(), host()], kept };
    let set = |kept| {
        world.run(|staged| {
            put(staged, &ConflictKey(agent()), conflict(kept));
            Ok(())
        });
    };
    assert!(!world.is_contested());
    world.join(1);
    world.greet(1, 10);
    set(None);
    assert!(world.is_contested(), "two hosts with a certificate that was issued here");
    let (by, reason) = (Actor::Coordinator, String::new());
    set(Some(Kept { host: 0, at: Timestamp::ZERO, by, reason }));
    assert!(world.is_contested(), "a person has decided, and a renewal does not say whose it is");
    set(None);
    world.run(|staged| {
        let forged = certificate(66, 30);
        let Certificate { serial, not_before, not_after } = forged;
        let known = crate::store::values::KnownCertificate {
            serial,
            not_before,
            not_after,
            shown_at: Timestamp::ZERO,
            refused: None,
        };
        put(staged, &CertificateKey(agent()), known);
        Ok(())
    });
    assert!(!world.is_contested(), "a thief's is no host of the agent's");
}

#[test]
fn forged_certificates_of_known_agents_are_journalled_once_and_once_an_hour_for_others() {
    let world = World::new();
    let note = |serial, at: u64| {
        let at = Timestamp::from_ms(at * 1_000);
        let forged = certificate(serial, 10);
        world.run(|staged| note_forged(staged, agent(), &forged, "192.0.2.1:7", at));
    };
    let events = || read_after(&world.0 as &dyn Engine, 0, 100).unwrap();
    note(1, 0);
    assert_eq!(events().len(), 0, "whoever makes up agents fills no journal");
    world.run(|staged| {
        let hello = shared::wire::Hello {
            version: shared::wire::WIRE_VERSION,
            epoch: Epoch(1),
            boot: BootId(1),
            heads: [shared::wire::LaneHead::EMPTY; shared::ids::Lane::COUNT],
            agent_version: String::new(),
            context: shared::context::ContextVersion(0),
        };
        let AgentKey { tenant, agent } = agent();
        agents::greet(staged, tenant, agent, &hello, Timestamp::ZERO).map(drop)
    });
    let before = events().len();
    for (serial, at) in [(1, 0), (1, 9), (2, 9), (1, 3_600), (2, 3_600), (1, 3_601), (1, 7_200)] {
        note(serial, at);
    }
    let forged: Vec<String> = events()[before..]
        .iter()
        .map(|it| match &it.entry.event {
            Event::Trust(TrustEvent::Forged { serial, .. }) => serial.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(forged, ["01", "02", "01"]);
    assert_eq!(events()[before].entry.actor, Actor::Coordinator, "nobody knows who it was");
}
