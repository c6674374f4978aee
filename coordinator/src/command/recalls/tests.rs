use shared::{
    ids::{BootId, Epoch, Lane},
    recall::{Evicted, RecallOutcome},
    wire::{Hello, LaneHead},
};

use super::*;
use crate::{
    command::{agents, journal::read_after, retention},
    store::engine::{Engine, MemoryEngine},
};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_704_067_200_000 + ms)
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn agent(number: u8) -> AgentId {
    AgentId::from_bytes([number; 16])
}

/// A store in which two agents of acme and one of globex have greeted.
struct World(MemoryEngine);

impl World {
    fn new() -> Self {
        let world = Self(MemoryEngine::new(1));
        for (name, number) in [("acme", 1), ("acme", 2), ("globex", 3)] {
            let hello = Hello {
                version: 2,
                epoch: Epoch(1),
                boot: BootId(1),
                heads: [LaneHead::EMPTY; Lane::COUNT],
                agent_version: String::new(),
                context: Default::default(),
            };
            world
                .run(|staged| agents::greet(staged, tenant(name), agent(number), &hello, at(0)))
                .unwrap();
        }
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

    fn ask(&self, question: Ask, now: Timestamp) -> Result<RecallId, CommandError> {
        let actor = Actor::Person("ann".into());
        self.run(|staged| ask(staged, question, &actor, now)).map(|(id, _)| id)
    }

    fn due(&self, name: &str, number: u8, now: Timestamp) -> Option<Recall> {
        match self.look(name, number, now) {
            Due::Now(recall) => Some(*recall),
            Due::In(_) | Due::Nothing => None,
        }
    }

    fn look(&self, name: &str, number: u8, now: Timestamp) -> Due {
        due(&self.0 as &dyn Engine, tenant(name), agent(number), now).unwrap()
    }

    fn load<K: crate::store::tables::Table>(&self, key: &K) -> Option<K::Value> {
        (&self.0 as &dyn Engine).load(key).unwrap()
    }

    fn blocks(&self, recall: RecallId, number: u8) -> usize {
        let (from, to) = RecalledKey::range(tenant("acme"), recall, agent(number));
        self.0.scan(Space::Blocks, &from..&to, Direction::Forward, 100).unwrap().len()
    }
}

fn question() -> Ask {
    let (since, until) = (at(0), Timestamp::MAX);
    Ask {
        tenant: tenant("acme"),
        agent: None,
        rule: "dns-noise".into(),
        since,
        until,
        bytes_max: 1_000,
    }
}

const ACME_1: fn() -> (TenantId, AgentId) = || (tenant("acme"), agent(1));

#[test]
fn a_recall_is_due_for_each_agent_of_the_tenant_until_it_has_answered() {
    let world = World::new();
    assert_eq!(world.due("acme", 1, at(10)), None);
    let first = world.ask(question(), at(10)).unwrap();
    let second = world.ask(question(), at(10)).unwrap();
    assert_ne!(first, second, "the same question again is another recall");
    let due = world.due("acme", 1, at(20)).unwrap();
    assert_eq!((due.rule.as_str(), due.until, due.bytes_max), ("dns-noise", at(10), 1_000));
    let oldest = first.min(second);
    assert_eq!(due.id, oldest);
    assert_eq!(world.due("globex", 3, at(20)), None, "L5");

    let block = || (Bytes::from_static(b"block"), 3);
    world.run(|staged| begin(staged, ACME_1(), oldest, at(21))).unwrap();
    world.run(|staged| store(staged, ACME_1(), oldest, block(), at(22))).unwrap();
    world.run(|staged| store(staged, ACME_1(), oldest, block(), at(23))).unwrap();
    assert_eq!(world.blocks(oldest, 1), 2);
    assert_eq!(world.due("acme", 1, at(24)).unwrap().id, oldest, "it is asked again");
    world.run(|staged| begin(staged, ACME_1(), oldest, at(25))).unwrap();
    assert_eq!(world.blocks(oldest, 1), 0, "what came before is not doubled");
    world.run(|staged| store(staged, ACME_1(), oldest, block(), at(26))).unwrap();

    let evicted = Evicted { count: 7, from: at(1), until: at(2), evicted_at: at(3) };
    let end = RecallEnd {
        records: 3,
        bytes: 5,
        evicted: Some(evicted),
        ..RecallEnd::empty(oldest, RecallOutcome::Answered)
    };
    world.run(|staged| finish(staged, ACME_1(), &end, at(27))).unwrap();
    assert_eq!(world.due("acme", 1, at(28)).unwrap().id, first.max(second));
    assert_eq!(world.due("acme", 2, at(28)).unwrap().id, oldest);
    let record = world.load(&RecallKey(oldest)).unwrap();
    assert_eq!((record.agents, record.answered, record.incomplete), (2, 1, 1));
    assert_eq!((record.records, record.evicted, record.lost), (3, 7, 0));
    let entries = read_after(&world.0 as &dyn Engine, 0, 100).unwrap();
    let events: Vec<_> = entries.iter().map(|entry| &entry.entry.event).collect();
    assert!(matches!(events[events.len() - 3], Event::RecallAsked { agents: 2, .. }));
    let Event::RecallAnswered { records: 3, evicted: 7, is_complete: false, .. } =
        events[events.len() - 1]
    else {
        panic!("{events:?}")
    };
    assert_eq!(entries[entries.len() - 2].entry.actor, Actor::Person("ann".into()));
}

#[test]
fn what_nobody_asked_an_agent_for_is_not_stored() {
    let world = World::new();
    let only = Ask { agent: Some(agent(1)), ..question() };
    let recall = world.ask(only, at(10)).unwrap();
    for peer in [(tenant("acme"), agent(2)), (tenant("globex"), agent(1))] {
        let block = (Bytes::from_static(b"block"), 1);
        let stored = world.run(|staged| store(staged, peer, recall, block, at(11)));
        assert!(matches!(stored, Err(CommandError::NotFound { .. })), "L5 {peer:?}");
    }
    world.run(|staged| begin(staged, ACME_1(), recall, at(11))).unwrap();
    let end = RecallEnd { records: 1, ..RecallEnd::empty(recall, RecallOutcome::Answered) };
    let lying = world.run(|staged| finish(staged, ACME_1(), &end, at(12)));
    assert!(matches!(lying, Err(CommandError::Invalid { field: "records", .. })));
    let end = RecallEnd::empty(recall, RecallOutcome::NoRing);
    world.run(|staged| finish(staged, ACME_1(), &end, at(12))).unwrap();
    let again = world.run(|staged| finish(staged, ACME_1(), &end, at(13)));
    assert!(matches!(again, Err(CommandError::NotFound { .. })), "an answer counts once");
}

#[test]
fn an_agent_is_asked_for_days_and_not_for_ever() {
    let world = World::new();
    let recall = world.ask(question(), at(10)).unwrap();
    let end = at(10).saturating_add(RECALL_LIFE);
    assert!(world.due("acme", 1, end.saturating_sub(Duration::from_secs(1))).is_some());
    assert_eq!(world.due("acme", 1, end), None);
    for _ in 0..RECALL_ATTEMPTS_MAX {
        world.run(|staged| begin(staged, ACME_1(), recall, at(11))).unwrap();
    }
    let last = end.saturating_sub(Duration::from_millis(1));
    assert_eq!(world.look("acme", 1, last), Due::Nothing, "it fails each time");
    assert!(world.due("acme", 2, at(12)).is_some());
}

#[test]
fn attempts_that_break_off_at_once_spread_over_more_than_a_day() {
    let world = World::new();
    let only = |rule: &str| Ask { agent: Some(agent(1)), rule: rule.into(), ..question() };
    let recall = world.ask(only("dns-noise"), at(10)).unwrap();
    let (mut now, mut pauses) = (at(10), Vec::new());
    loop {
        match world.look("acme", 1, now) {
            Due::Now(due) => {
                assert_eq!(due.id, recall);
                world.run(|staged| begin(staged, ACME_1(), recall, now)).unwrap();
            }
            Due::In(pause) => {
                pauses.push(pause.as_secs() / 60);
                let early = now.saturating_add(pause).saturating_sub(Duration::from_millis(1));
                assert_eq!(world.look("acme", 1, early), Due::In(Duration::from_millis(1)));
                now = now.saturating_add(pause);
            }
            Due::Nothing => break,
        }
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 480, 480, 480]);
    assert!(now.since(at(10)) > Duration::from_secs(24 * 60 * 60));
    assert!(now.since(at(10)) < RECALL_LIFE);

    let recall = world.ask(only("dns-noise"), now).unwrap();
    for _ in 0..RECALL_ATTEMPTS_QUICK {
        world.run(|staged| begin(staged, ACME_1(), recall, now)).unwrap();
    }
    assert_eq!(world.due("acme", 1, now), None);
    assert_eq!(world.look("acme", 1, at(0)), Due::In(RECALL_PAUSE_MIN), "the clock went back");
    let other = world.ask(only("scans"), now).unwrap();
    assert_eq!(world.due("acme", 1, now).unwrap().id, other, "one that pauses holds no other up");
}

#[test]
fn a_question_that_is_not_allowed_says_which_part_of_it() {
    let world = World::new();
    let field = |question: Ask| match world.ask(question, at(10)) {
        Err(CommandError::Invalid { field, .. }) => field,
        Err(CommandError::NotFound { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(Ask { rule: String::new(), ..question() }), "rule");
    assert_eq!(field(Ask { since: at(10), ..question() }), "since");
    assert_eq!(field(Ask { bytes_max: 0, ..question() }), "max_bytes");
    assert_eq!(field(Ask { tenant: tenant("nobody"), ..question() }), "tenant");
    assert_eq!(field(Ask { agent: Some(agent(3)), ..question() }), "agent");
    for _ in 0..RECALLS_MAX {
        world.ask(question(), at(10)).unwrap();
    }
    assert_eq!(field(question()), "tenant", "L7");
}

#[test]
fn retention_drops_old_recalls_with_what_came_of_them() {
    let world = World::new();
    let recall = world.ask(question(), at(10)).unwrap();
    let kept = world.ask(question(), at(5_000)).unwrap();
    for recall in [recall, kept] {
        world.run(|staged| begin(staged, ACME_1(), recall, at(6_000))).unwrap();
        let block = (Bytes::from_static(b"block"), 1);
        world.run(|staged| store(staged, ACME_1(), recall, block, at(6_000))).unwrap();
    }
    let ran = world.run(|staged| {
        retention::run(staged, tenant("acme"), (at(20), retention::Scope::All), None, at(7_000))
    });
    assert!(ran.unwrap().deleted);
    assert_eq!(world.load(&RecallKey(recall)), None);
    assert_eq!(world.load(&RecallAgentKey { recall, agent: agent(1) }), None);
    assert_eq!((world.blocks(recall, 1), world.blocks(kept, 1)), (0, 1));
    assert!(world.load(&RecallKey(kept)).is_some());
}
