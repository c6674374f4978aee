use super::*;
use crate::{
    command::{journal::read_after, tenants},
    store::engine::{Engine, MemoryEngine},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_704_067_200_000 + ms)
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn secret(number: u8) -> JoinSecret {
    JoinSecret::from_bytes([number; 16])
}

fn agent(number: u8) -> AgentId {
    AgentId::from_bytes([number; 16])
}

/// A host with this number's key, which becomes the agent of that number.
fn candidate(secret_of: u8, number: u8) -> Candidate {
    Candidate {
        secret: secret(secret_of),
        key: [number; 32],
        agent: agent(number),
        host_name: format!("host-{number}"),
        from: "203.0.113.9".into(),
    }
}

/// A store with the tenant acme.
struct World(MemoryEngine);

impl World {
    fn new() -> Self {
        let world = Self(MemoryEngine::new(1));
        let ann = Actor::Person("ann".into());
        world.run(|staged| tenants::ensure(staged, acme(), &ann, at(0))).unwrap();
        world
    }

    fn run<T>(
        &self,
        command: impl FnOnce(&mut Staged<'_>) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let mut staged = Staged::new(&self.0);
        let outcome = command(&mut staged)?;
        self.0.commit(staged.into_changes()).unwrap();
        Ok(outcome)
    }

    fn invite(&self, number: u8, uses: u32) -> JoinToken {
        let invitation = Invitation { tenant: acme(), uses, life: HOUR };
        self.try_invite(number, invitation).unwrap()
    }

    fn try_invite(&self, number: u8, invitation: Invitation) -> Result<JoinToken, CommandError> {
        let ann = Actor::Person("ann".into());
        self.run(|staged| create(staged, &secret(number), invitation, &ann, at(10)))
    }

    fn redeem(&self, candidate: &Candidate, now: Timestamp) -> Result<AgentId, JoinRefusal> {
        let joined = self.run(|staged| redeem(staged, candidate, true, now)).unwrap();
        joined.map(|(tenant, agent)| {
            assert_eq!(tenant, acme());
            agent
        })
    }

    fn last_event(&self) -> JoinEvent {
        let entries = read_after(&self.0 as &dyn Engine, 0, 1_000).unwrap();
        match &entries.last().unwrap().entry.event {
            Event::Join(event) => event.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_token_lets_as_many_hosts_in_as_it_says_and_each_becomes_an_agent_of_its_own() {
    let world = World::new();
    let token = world.invite(1, 2);
    assert!(matches!(world.last_event(), JoinEvent::TokenCreated { uses_max: 2, .. }));
    assert_eq!(world.redeem(&candidate(1, 1), at(20)), Ok(agent(1)));
    let JoinEvent::Joined { agent: joined, host_name, from, token: by } = world.last_event() else {
        panic!("{:?}", world.last_event());
    };
    assert_eq!((joined, host_name.as_str(), by), (agent(1), "host-1", token.id.clone()));
    assert_eq!(from, "203.0.113.9");
    assert_eq!(world.redeem(&candidate(1, 2), at(20)), Ok(agent(2)));
    assert_eq!(world.redeem(&candidate(1, 3), at(20)), Err(JoinRefusal::Used));
    let used = JoinEvent::Refused { token: Some(token.id), reason: "used".into(), from };
    assert_eq!(world.last_event(), used, "who was refused is in the journal");
}

#[test]
fn a_host_whose_answer_was_lost_is_the_same_agent_when_it_asks_again_with_its_key() {
    let world = World::new();
    world.invite(1, 1);
    let first = candidate(1, 1);
    assert_eq!(world.redeem(&first, at(20)), Ok(agent(1)));
    let again = Candidate { agent: agent(9), ..first.clone() };
    assert_eq!(world.redeem(&again, at(30)), Ok(agent(1)), "the use is not counted twice");
    let other = Candidate { key: [9; 32], ..again.clone() };
    assert_eq!(world.redeem(&other, at(30)), Err(JoinRefusal::Used), "another key is another host");
    let late = at(10).saturating_add(HOUR);
    assert_eq!(world.redeem(&again, late), Err(JoinRefusal::Expired(late)));
}

#[test]
fn a_token_and_a_key_are_not_a_way_to_ever_new_certificates() {
    let world = World::new();
    world.invite(1, 1);
    for _ in 0..JOIN_ANSWERS_MAX {
        assert_eq!(world.redeem(&candidate(1, 1), at(20)), Ok(agent(1)));
        assert!(matches!(world.last_event(), JoinEvent::Joined { .. }), "each is in the journal");
    }
    assert_eq!(world.redeem(&candidate(1, 1), at(20)), Err(JoinRefusal::Used));

    let day = Invitation { tenant: acme(), uses: 1, life: 24 * HOUR };
    world.try_invite(2, day).unwrap();
    assert_eq!(world.redeem(&candidate(2, 2), at(20)), Ok(agent(2)));
    let late = at(20).saturating_add(JOIN_ANSWERS_WINDOW);
    assert_eq!(world.redeem(&candidate(2, 2), late), Err(JoinRefusal::Used));
}

#[test]
fn a_token_that_is_unknown_expired_or_revoked_lets_nobody_in() {
    let world = World::new();
    let token = world.invite(1, 5);
    assert_eq!(world.redeem(&candidate(2, 1), at(20)), Err(JoinRefusal::Unknown));
    assert!(matches!(world.last_event(), JoinEvent::Refused { token: None, .. }));
    let end = at(10).saturating_add(HOUR);
    assert_eq!(world.redeem(&candidate(1, 1), end), Err(JoinRefusal::Expired(end)));
    assert_eq!(world.redeem(&candidate(1, 1), at(20)), Ok(agent(1)));
    let ann = Actor::Person("ann".into());
    world.run(|staged| revoke(staged, &token.id, &ann, at(30))).unwrap();
    assert_eq!(world.last_event(), JoinEvent::TokenRevoked { token: token.id.clone() });
    for number in [1, 2] {
        assert_eq!(world.redeem(&candidate(1, number), at(40)), Err(JoinRefusal::Revoked));
    }
    world.run(|staged| revoke(staged, &token.id, &ann, at(50))).unwrap();
    assert!(matches!(world.last_event(), JoinEvent::Refused { .. }), "once is enough");
    let unknown = world.run(|staged| revoke(staged, "0123456789abcdef", &ann, at(50)));
    assert!(matches!(unknown, Err(CommandError::NotFound { what: "join token", .. })));
}

#[test]
fn a_refusal_that_is_not_to_be_noted_leaves_the_journal_as_it_is() {
    let world = World::new();
    world.invite(1, 1);
    let unknown = candidate(2, 1);
    let refused = world.run(|staged| redeem(staged, &unknown, false, at(20))).unwrap();
    assert_eq!(refused, Err(JoinRefusal::Unknown));
    assert!(matches!(world.last_event(), JoinEvent::TokenCreated { .. }));
}

#[test]
fn a_token_that_is_not_allowed_says_which_part_of_it() {
    let world = World::new();
    let good = Invitation { tenant: acme(), uses: 1, life: HOUR };
    let field = |invitation| match world.try_invite(1, invitation) {
        Err(CommandError::Invalid { field, .. }) => field,
        Err(CommandError::NotFound { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(Invitation { uses: 0, ..good }), "uses");
    assert_eq!(field(Invitation { uses: JOIN_USES_MAX + 1, ..good }), "uses");
    assert_eq!(field(Invitation { life: Duration::ZERO, ..good }), "expires_in_hours");
    assert_eq!(field(Invitation { life: JOIN_TOKEN_LIFE_MAX * 2, ..good }), "expires_in_hours");
    assert_eq!(field(Invitation { tenant: "typo".parse().unwrap(), ..good }), "tenant");
}

#[test]
fn tokens_that_ended_long_ago_are_forgotten_with_the_hosts_that_they_let_in() {
    let world = World::new();
    world.invite(1, 5);
    world.redeem(&candidate(1, 1), at(20)).unwrap();
    let late = at(10).saturating_add(HOUR).saturating_add(JOIN_TOKEN_RETENTION);
    let ann = Actor::Person("ann".into());
    let invitation = Invitation { tenant: acme(), uses: 1, life: HOUR };
    let early = late.saturating_sub(Duration::from_millis(1));
    world.run(|staged| create(staged, &secret(2), invitation, &ann, early)).unwrap();
    assert_eq!(list(&world.0 as &dyn Engine).unwrap().len(), 2);
    world.run(|staged| create(staged, &secret(3), invitation, &ann, late)).unwrap();
    assert_eq!(list(&world.0 as &dyn Engine).unwrap().len(), 2);
    let (from, to) = range_of::<JoinedKey>(&[]);
    assert!(world.0.scan(Space::Rows, &from..&to, Direction::Forward, 9).unwrap().is_empty());
    assert_eq!(world.redeem(&candidate(1, 1), late), Err(JoinRefusal::Unknown));
}

#[test]
fn what_a_host_says_of_itself_is_cut_and_the_secret_is_kept_nowhere() {
    let world = World::new();
    world.invite(1, 1);
    let long = Candidate { host_name: "ä".repeat(1_000), ..candidate(1, 1) };
    world.redeem(&long, at(20)).unwrap();
    let JoinEvent::Joined { host_name, .. } = world.last_event() else { panic!() };
    assert!(host_name.len() <= CONTEXT_TEXT_BYTES_MAX);
    let (from, to) = range_of::<JoinTokenKey>(&[]);
    for (key, value) in world.0.scan(Space::Rows, &from..&to, Direction::Forward, 10).unwrap() {
        for bytes in [key, value] {
            assert!(!bytes.windows(16).any(|window| window == [1; 16]));
        }
    }
}
