use std::time::Duration;

use certs::PolicyKey;
use shared::{
    ids::{AgentId, BootId, Epoch, Lane},
    policy::{Policy, PolicyLimits},
    wire::{Hello, LaneHead},
};

use super::*;
use crate::{
    command::{agents, journal::read_after},
    store::{
        engine::{Engine, MemoryEngine},
        reader::policies::{agents, seen},
    },
    triage::rollout::Fault,
};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_704_067_200_000 + ms)
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn agent(number: u8) -> AgentKey {
    AgentKey { tenant: tenant("acme"), agent: AgentId::from_bytes([number; 16]) }
}

/// A store in which twenty agents of acme have greeted, and a key that is trusted.
struct World {
    engine: MemoryEngine,
    key: PolicyKey,
}

impl World {
    fn new() -> Self {
        let world = Self { engine: MemoryEngine::new(1), key: PolicyKey::generate().unwrap() };
        (1..=20).for_each(|number| world.greet(agent(number)));
        world
    }

    fn greet(&self, key: AgentKey) {
        self.greet_at(key, at(0));
    }

    fn greet_at(&self, key: AgentKey, when: Timestamp) {
        let hello = Hello {
            version: 5,
            epoch: Epoch(1),
            boot: BootId(1),
            heads: [LaneHead::EMPTY; Lane::COUNT],
            agent_version: String::new(),
            context: Default::default(),
        };
        self.run(|staged| agents::greet(staged, key.tenant, key.agent, &hello, when)).unwrap();
    }

    fn run<T>(
        &self,
        command: impl FnOnce(&mut Staged<'_>) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let mut staged = Staged::new(&self.engine);
        let outcome = command(&mut staged)?;
        self.engine.commit(staged.into_changes()).unwrap();
        Ok(outcome)
    }

    fn policy(version: u64, text: &str) -> Policy {
        Policy {
            tenant: tenant("acme"),
            version,
            not_before: at(0),
            expires_at: at(0).saturating_add(Duration::from_secs(86_400)),
            text: text.to_owned(),
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        }
    }

    fn push_of(&self, policy: &Policy, percent: u8) -> Push {
        let envelope = self.key.sign(policy).unwrap();
        Push { tenant: tenant("acme"), envelope, percent, copy_of: None }
    }

    fn bring(&self, bring: Push) -> Result<Rollout, CommandError> {
        let keys = [self.key.public_key()];
        let fleet = self.fleet();
        self.run(|staged| push(staged, bring, (&keys, &fleet), &ann(), at(1)))
    }

    fn fleet(&self) -> Vec<AgentStanding> {
        agents(&self.engine as &dyn Engine, tenant("acme"), None, 1_000).unwrap()
    }

    fn push(&self, version: u64, percent: u8) -> Rollout {
        let text = format!("text of {version}");
        self.bring(self.push_of(&Self::policy(version, &text), percent)).unwrap()
    }

    fn advance(&self, is_meant: bool) -> Result<Rollout, CommandError> {
        self.advance_at(is_meant, true, at(2))
    }

    fn advance_at(
        &self,
        is_meant: bool,
        anyway: bool,
        now: Timestamp,
    ) -> Result<Rollout, CommandError> {
        let tenant = tenant("acme");
        let engine = &self.engine as &dyn Engine;
        let seen = self
            .load(&RolloutKey(tenant))
            .map(|rollout| (rollout.version, seen(engine, tenant, &rollout, now).unwrap()));
        let go = Advance { tenant, is_meant, anyway, seen, fleet: self.fleet() };
        self.run(|staged| advance(staged, go, &ann(), now))
    }

    fn halt(&self, why: HaltReason) -> Result<Rollout, CommandError> {
        self.run(|staged| halt(staged, (tenant("acme"), None), why, &Actor::Coordinator, at(3)))
    }

    fn offered(&self, key: AgentKey, tried: Option<u64>) -> Option<u64> {
        let keys = [self.key.public_key()];
        let terms = Terms { keys: &keys, now: at(4) };
        let offered = self.run(|staged| offer(staged, key, tried, terms)).unwrap();
        offered.map(|offer| {
            let (_, policy) = peek(&offer.envelope).unwrap();
            assert_eq!((policy.version, policy.tenant), (offer.version, key.tenant));
            offer.version
        })
    }

    fn says(&self, key: AgentKey, version: u64, outcome: PolicyOutcome) {
        let record = self.load(&crate::store::schema::PolicyKey { tenant: key.tenant, version });
        let digest = record.map(|record| PolicyDigest::of(&record.envelope)).unwrap_or_default();
        let ack = PolicyAck { version, digest, outcome };
        self.run(|staged| acknowledge(staged, key, ack, at(5))).unwrap();
    }

    fn load<K: crate::store::tables::Table>(&self, key: &K) -> Option<K::Value> {
        (&self.engine as &dyn Engine).load(key).unwrap()
    }

    /// Returns which version each agent would be offered.
    fn due(&self) -> Vec<Option<u64>> {
        (1..=20).map(|number| self.due_of(agent(number))).collect()
    }

    fn due_of(&self, key: AgentKey) -> Option<u64> {
        let keys = [self.key.public_key()];
        let terms = Terms { keys: &keys, now: at(4) };
        due(&self.engine as &dyn Engine, key, None, terms).unwrap()
    }

    fn events(&self) -> Vec<PolicyEvent> {
        let entries = read_after(&self.engine as &dyn Engine, 0, 1_000).unwrap();
        let events = entries.into_iter().filter_map(|chained| match chained.entry.event {
            Event::Policy(event) => Some(event),
            _ => None,
        });
        events.collect()
    }
}

fn ann() -> Actor {
    Actor::Person("ann".into())
}

fn count(due: &[Option<u64>], version: u64) -> usize {
    due.iter().filter(|due| **due == Some(version)).count()
}

#[test]
fn a_version_goes_to_one_agent_then_to_a_tenth_then_to_all() {
    let world = World::new();
    world.push(3, 1);
    assert_eq!(count(&world.due(), 3), 1);
    assert_eq!(world.advance(false).unwrap().percent, 10);
    assert_eq!(count(&world.due(), 3), 2);
    assert_eq!(world.advance(false).unwrap().percent, 100);
    assert_eq!(count(&world.due(), 3), 20);
    let refused = world.advance(false).unwrap_err().to_string();
    assert_eq!(refused, "version 3 is rolled out to all already");
    world.greet(AgentKey { agent: AgentId::from_bytes([99; 16]), ..agent(1) });
    let newcomer = AgentKey { agent: AgentId::from_bytes([99; 16]), ..agent(1) };
    assert_eq!(world.due_of(newcomer), Some(3), "who comes later gets it, too");
}

#[test]
fn newcomers_are_in_a_stage_by_its_share_and_not_by_the_place_of_who_was_there() {
    let world = World { engine: MemoryEngine::new(1), key: PolicyKey::generate().unwrap() };
    world.greet(agent(1));
    // The one agent is the stage, wherever it stands: in some version far up.
    let far = |rollout: &Rollout| rollout.cut > u64::MAX / 2;
    let rollout = (1..).map(|version| world.push(version, 1)).find(far).unwrap();
    (2..=200).for_each(|number| world.greet_at(agent(number), at(10)));
    let of = |number| world.due_of(agent(number));
    assert_eq!(of(1), Some(rollout.version));
    let newcomers = (2..=200).filter(|number| of(*number) == Some(rollout.version)).count();
    assert!(newcomers < 10, "{newcomers} of 199 at one percent");
}

#[test]
fn a_stage_is_chosen_among_agents_that_were_heard_of_lately_and_never_shrinks() {
    let day = Duration::from_secs(86_400);
    let world = World { engine: MemoryEngine::new(1), key: PolicyKey::generate().unwrap() };
    let old = Timestamp::from_ms(at(1).as_ms() - 2 * 86_400_000);
    (1..=40).for_each(|number| world.greet_at(agent(number), old));
    (41..=60).for_each(|number| world.greet(agent(number)));
    let rollout = world.push(3, 10);
    let places = |numbers: std::ops::RangeInclusive<u8>| {
        let of = |number| place(tenant("acme"), 3, agent(number).agent);
        numbers.map(of).filter(|place| *place <= rollout.cut).count()
    };
    assert_eq!(places(41..=60), 2, "a tenth of those who are there");
    // Two days later nobody of them is there, and others are.
    let late = at(2).saturating_add(2 * day);
    (61..=80).for_each(|number| world.greet_at(agent(number), late));
    let wide = Rollout { percent: 1, cut: u64::MAX - 1, ..rollout };
    world
        .run(|staged| {
            put(staged, &RolloutKey(tenant("acme")), wide);
            Ok(())
        })
        .unwrap();
    let advanced = world.advance_at(false, true, late).unwrap();
    assert_eq!((advanced.percent, advanced.cut), (10, u64::MAX - 1), "it never shrinks");
}

#[test]
fn a_roll_out_goes_on_from_what_agents_have_tried_and_nothing_is_wrong_with() {
    let world = World::new();
    world.push(3, 10);
    let in_stage = (1..=20).find(|number| world.due()[usize::from(*number) - 1] == Some(3));
    let one = agent(in_stage.unwrap());
    let refused = |anyway| world.advance_at(false, anyway, at(2)).unwrap_err().to_string();
    assert!(
        refused(false).contains("signalbox policy advance acme --anyway"),
        "{}",
        refused(false)
    );
    assert_eq!(world.offered(one, None), Some(3));
    let reason = PolicyRefusal::Unusable;
    world.says(one, 3, PolicyOutcome::Refused { reason, detail: String::new() });
    for anyway in [false, true] {
        let problem = refused(anyway);
        assert!(problem.starts_with("1 of 1 agents refuse it: take it back"), "{problem}");
        assert!(problem.contains("signalbox policy advance acme --meant"), "{problem}");
    }
    let engine = &world.engine as &dyn Engine;
    let rollout = world.load(&RolloutKey(tenant("acme"))).unwrap();
    let seen = seen(engine, tenant("acme"), &rollout, at(6)).unwrap();
    world.says(one, 3, PolicyOutcome::InForce);
    let stale = Advance {
        tenant: tenant("acme"),
        is_meant: false,
        anyway: false,
        seen: Some((2, seen)),
        fleet: Vec::new(),
    };
    let stale = world.run(|staged| advance(staged, stale, &ann(), at(6))).unwrap_err();
    assert!(stale.to_string().starts_with("version 3 has come meanwhile"), "{stale}");
    assert_eq!(world.advance_at(false, false, at(6)).unwrap().percent, 100);
}

#[test]
fn those_who_do_not_get_the_next_one_yet_get_the_one_before() {
    let world = World::new();
    world.push(3, 100);
    let rollout = world.push(4, 10);
    assert_eq!(rollout.base, 3);
    let due = world.due();
    assert_eq!((count(&due, 3), count(&due, 4)), (18, 2));
    let rollout = world.push(5, 1);
    assert_eq!(rollout.base, 3, "version 4 was never meant for all");
    world.halt(HaltReason::Asked("no".into())).unwrap();
    assert_eq!(count(&world.due(), 3), 20, "nobody further gets the newest");
    assert_eq!(world.push(6, 100).base, 3);
    assert_eq!(world.push(7, 1).base, 6);
}

#[test]
fn an_agent_is_offered_what_is_above_its_own_once_a_session() {
    let world = World::new();
    world.push(3, 100);
    let one = agent(1);
    assert_eq!(world.offered(one, None), Some(3));
    assert_eq!(world.load(&AgentPolicyKey(one)).unwrap().offered, Some((3, at(4))));
    assert_eq!(world.offered(one, Some(3)), None, "not again in this session");
    assert_eq!(world.offered(one, Some(2)), Some(3));
    world.says(one, 3, PolicyOutcome::InForce);
    assert_eq!(world.offered(one, None), None);
    world.says(one, 0, PolicyOutcome::Nothing);
    assert_eq!(world.offered(one, None), Some(3), "its host was set up anew");
    world.says(one, 9, PolicyOutcome::InForce);
    assert_eq!(world.offered(one, None), None, "it would refuse an older one");
    let foreign = AgentKey { tenant: tenant("globex"), ..one };
    assert_eq!(world.offered(foreign, None), None, "L5");
}

#[test]
fn what_has_ended_or_was_signed_by_a_key_that_is_none_any_more_is_offered_to_nobody() {
    let world = World::new();
    world.push(3, 100);
    let keys = [world.key.public_key()];
    let of = |keys: &[PolicyPublicKey], now| {
        due(&world.engine as &dyn Engine, agent(1), None, Terms { keys, now }).unwrap()
    };
    let end = World::policy(3, "x").expires_at;
    assert_eq!(of(&keys, at(4)), Some(3));
    assert_eq!(of(&keys, end), None);
    assert_eq!(of(&[PolicyKey::generate().unwrap().public_key()], at(4)), None);
    assert_eq!(of(&[], at(4)), None);
}

#[test]
fn an_agent_whose_clock_is_behind_stops_no_roll_out() {
    let world = World::new();
    let rollout = world.push(3, 100);
    assert_eq!(world.offered(agent(1), None), Some(3));
    let early = PolicyOutcome::Refused { reason: PolicyRefusal::NotYet, detail: String::new() };
    world.says(agent(1), 3, early);
    let seen = seen(&world.engine as &dyn Engine, tenant("acme"), &rollout, at(5)).unwrap();
    assert_eq!((seen.answered, seen.refused), (0, 0));
}

#[test]
fn what_an_agent_says_is_kept_and_a_refusal_is_journalled_once() {
    let world = World::new();
    world.push(3, 100);
    let one = agent(1);
    let refusal =
        || PolicyOutcome::Refused { reason: PolicyRefusal::Unusable, detail: "3:1: no".into() };
    world.says(one, 0, PolicyOutcome::Nothing);
    world.says(one, 3, refusal());
    assert_eq!(world.load(&AgentPolicyKey(one)).unwrap().refused, None, "nobody has offered it");
    assert_eq!(world.offered(one, None), Some(3));
    world.says(one, 3, refusal());
    world.says(one, 3, refusal());
    let other = PolicyOutcome::Refused { reason: PolicyRefusal::UnknownKey, detail: "x".into() };
    world.says(one, 3, other);
    let known = world.load(&AgentPolicyKey(one)).unwrap();
    assert_eq!((known.version, known.outcome), (0, PolicyOutcome::Nothing));
    assert_eq!(known.refused.unwrap().detail, "3:1: no");
    let refusals = world.events().into_iter().filter(|event| {
        matches!(event, PolicyEvent::Refused { version: 3, reason, .. } if reason == "unusable")
    });
    assert_eq!(refusals.count(), 1);
    world.says(one, 3, PolicyOutcome::Overridden);
    let known = world.load(&AgentPolicyKey(one)).unwrap();
    assert_eq!((known.version, known.refused), (3, None));
}

#[test]
fn one_agent_fills_no_journal_and_stops_no_roll_out_of_which_it_is_not_a_part() {
    let world = World::new();
    let rollout = world.push(3, 10);
    let is_in = |number: u8| rollout.has_in_stage(agent(number), at(0));
    let (inside, outside) = ((1..=20).find(|it| is_in(*it)), (1..=20).find(|it| !is_in(*it)));
    let (inside, outside) = (agent(inside.unwrap()), agent(outside.unwrap()));
    let seen = || seen(&world.engine as &dyn Engine, tenant("acme"), &rollout, at(5)).unwrap();
    let refuse = |key, version, reason| {
        world.says(key, version, PolicyOutcome::Refused { reason, detail: String::new() });
    };
    refuse(outside, 3, PolicyRefusal::Unusable);
    world.says(outside, 3, PolicyOutcome::InForce);
    assert_eq!((seen().answered, seen().refused), (0, 0), "it was not asked");
    let journalled = || {
        let refused = |event: &PolicyEvent| matches!(event, PolicyEvent::Refused { .. });
        world.events().into_iter().filter(refused).count()
    };
    assert_eq!(journalled(), 0);
    for session in 0..6 {
        assert_eq!(world.offered(inside, None), Some(3), "each session anew");
        for time in 0..6 {
            let reason = PolicyRefusal::ALL[(session + time) % 3];
            refuse(inside, 3, reason);
            refuse(inside, 1_000 + time as u64, reason);
        }
        assert_eq!((seen().answered, seen().refused), (1, 1));
    }
    assert_eq!(journalled(), 1, "an offer is answered once, and all were made at one instant");
    world.says(inside, 3, PolicyOutcome::InForce);
    assert_eq!((seen().answered, seen().refused), (1, 0));
    refuse(inside, 3, PolicyRefusal::Crashed);
    assert_eq!((seen().answered, seen().refused), (1, 1), "it has it, and cannot go by it");
    let known = world.load(&AgentPolicyKey(inside)).unwrap();
    assert!(matches!(known.outcome, PolicyOutcome::Refused { .. }), "{known:?}");
}

#[test]
fn what_agents_would_refuse_is_not_stored() {
    let world = World::new();
    world.push(3, 1);
    let refused = |push: Push| world.bring(push).unwrap_err().to_string();
    let of = |policy: &Policy| world.push_of(policy, 1);
    let older = refused(of(&World::policy(3, "x")));
    assert_eq!(older, "version: must be above 3, the newest; sign it again");
    let foreign = Policy { tenant: tenant("globex"), ..World::policy(4, "x") };
    assert_eq!(refused(of(&foreign)), "envelope: it is another tenant's");
    let ended = Policy { expires_at: at(1), ..World::policy(4, "x") };
    assert_eq!(refused(of(&ended)), "envelope: it has ended");
    let mut forged = of(&World::policy(4, "x"));
    *forged.envelope.last_mut().unwrap() ^= 1;
    assert!(refused(forged).contains("signature"));
    let other = World { key: PolicyKey::generate().unwrap(), ..World::new() };
    let unknown = refused(other.push_of(&World::policy(4, "x"), 1));
    assert_eq!(unknown, "envelope: the key that it names is not trusted here");
    assert_eq!(refused(world.push_of(&World::policy(4, "x"), 50)), "stage: must be 1, 10 or 100");
    let without = world.run(|staged| {
        push(staged, world.push_of(&World::policy(4, "x"), 1), (&[], &[]), &ann(), at(1))
    });
    assert!(without.unwrap_err().to_string().contains("trusts no key"));
    let nobody = Push { tenant: tenant("initech"), ..of(&World::policy(4, "x")) };
    assert_eq!(refused(nobody), "there is no tenant initech");
    assert_eq!(versions(&world.engine as &dyn Engine, tenant("acme")).unwrap(), [3]);
}

#[test]
fn another_policy_of_the_same_number_is_seen_and_none_is_pushed_under_a_number_that_an_agent_has() {
    let world = World::new();
    let one = agent(1);
    world.says(one, 4, PolicyOutcome::InForce);
    let of = |version| world.push_of(&World::policy(version, "x"), 100);
    let refused = world.bring(of(4)).unwrap_err().to_string();
    assert!(refused.starts_with("version: ") && refused.ends_with("above 4"), "{refused}");
    let rollout = world.bring(of(5)).unwrap();
    assert_eq!(
        rollout.digest,
        PolicyDigest::of(
            &world
                .load(&crate::store::schema::PolicyKey { tenant: one.tenant, version: 5 })
                .unwrap()
                .envelope
        )
    );
    let said = |digest| {
        let ack = PolicyAck { version: 5, digest, outcome: PolicyOutcome::InForce };
        world.run(|staged| acknowledge(staged, one, ack, at(5))).unwrap();
        let known = world.load(&AgentPolicyKey(one)).unwrap();
        let seen = seen(&world.engine as &dyn Engine, one.tenant, &rollout, at(5)).unwrap();
        (known.is_of(&rollout), known.is_other(&rollout), seen.answered)
    };
    assert_eq!(said(PolicyDigest::default()), (false, true, 0));
    assert_eq!(said(rollout.digest), (true, false, 1));
}

#[test]
fn what_is_taken_back_has_a_new_number_and_the_old_content() {
    let world = World::new();
    world.push(3, 100);
    world.push(4, 10);
    let back = |text: &str, of: u64| Push {
        copy_of: Some(of),
        ..world.push_of(&World::policy(5, text), 100)
    };
    let other = world.bring(back("something else", 3)).unwrap_err().to_string();
    assert_eq!(other, "copy_of: its content is not that of version 3");
    assert_eq!(world.bring(back("x", 2)).unwrap_err().to_string(), "there is no version 2");
    world.bring(back("text of 3", 3)).unwrap();
    assert_eq!(count(&world.due(), 5), 20);
    world.halt(HaltReason::Asked("no".into())).unwrap();
    assert_eq!(count(&world.due(), 3), 20, "who has none gets what it is a copy of");
    let key = world.key.public_key().id().to_string();
    let expected = PolicyEvent::Pushed { version: 5, key, percent: 100, copy_of: Some(3) };
    assert_eq!(world.events().iter().rev().nth(1), Some(&expected), "the last is the halt");
}

#[test]
fn what_was_taken_back_is_nobodys_although_all_had_it() {
    let world = World::new();
    world.push(3, 100);
    world.push(4, 100);
    let back = world.push_of(&World::policy(5, "text of 3"), 1);
    let rollout = world.bring(Push { copy_of: Some(3), ..back }).unwrap();
    assert_eq!(rollout.base, 3);
    assert_eq!((count(&world.due(), 5), count(&world.due(), 3)), (1, 19));
    world.halt(HaltReason::Asked("no".into())).unwrap();
    assert_eq!(count(&world.due(), 3), 20);
    assert_eq!(world.push(6, 1).base, 3, "nor after it");
}

#[test]
fn a_halted_roll_out_goes_on_only_if_a_person_says_that_it_is_meant() {
    let world = World::new();
    assert!(world.halt(HaltReason::Asked("x".into())).is_err(), "there is none");
    world.push(3, 10);
    let fault = Fault::Held { before: 10, after: 400 };
    let halted = world.halt(HaltReason::Found(fault)).unwrap().halted.unwrap();
    assert_eq!((halted.by, halted.at), (Actor::Coordinator, at(3)));
    assert_eq!(count(&world.due(), 3), 0);
    let again = world.halt(HaltReason::Asked("x".into())).unwrap_err();
    assert!(matches!(again, CommandError::Conflict { .. }));
    assert!(matches!(world.advance(false), Err(CommandError::Conflict { .. })));
    let rollout = world.advance(true).unwrap();
    assert!(rollout.is_meant && rollout.halted.is_none() && rollout.percent == 100);
    assert_eq!(count(&world.due(), 3), 20);
    world.halt(HaltReason::Asked("x".into())).unwrap();
    assert_eq!(world.advance(true).unwrap().percent, 100, "also at the last stage");
}

#[test]
fn a_halt_is_about_the_version_that_was_looked_at() {
    let world = World::new();
    world.push(3, 10);
    world.push(4, 10);
    let why = HaltReason::Found(Fault::Refused { refused: 1, answered: 1 });
    let of = |version| {
        let (whose, why) = ((tenant("acme"), Some(version)), why.clone());
        world.run(|staged| halt(staged, whose, why, &Actor::Coordinator, at(3))).unwrap()
    };
    assert_eq!(of(3).halted, None);
    assert!(of(4).halted.is_some());
    let empty = world.halt(HaltReason::Asked(String::new()));
    assert!(empty.is_err());
}

#[test]
fn versions_are_kept_up_to_a_bound_and_the_one_that_agents_go_by_stays() {
    let world = World::new();
    world.push(1, 100);
    let last = u64::try_from(POLICY_VERSIONS_MAX).unwrap() + 5;
    for version in 2..=last {
        assert_eq!(world.push(version, 1).base, 1);
    }
    let kept = versions(&world.engine as &dyn Engine, tenant("acme")).unwrap();
    assert_eq!(kept.len(), POLICY_VERSIONS_MAX);
    assert_eq!((kept[0], kept.last()), (1, Some(&last)));
    assert_eq!(count(&world.due(), 1), 19, "they are still offered it");
}
