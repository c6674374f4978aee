use std::collections::BTreeSet;

use shared::{
    ids::{BootId, Epoch},
    wire::{AgentStats, Hello, LaneHead},
};

use super::*;
use crate::{
    command::agents::{greet, set_context},
    store::engine::{Engine, MemoryEngine, Staged},
};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn key(tenant: &str, agent: u8) -> AgentKey {
    AgentKey { tenant: tenant.parse().unwrap(), agent: AgentId::from_bytes([agent; 16]) }
}

fn context(hostname: &str) -> HostContext {
    HostContext { hostname: hostname.into(), ..HostContext::default() }
}

fn write(engine: &MemoryEngine, change: impl FnOnce(&mut Staged<'_>)) {
    let mut staged = Staged::new(engine);
    change(&mut staged);
    engine.commit(staged.into_changes()).unwrap();
}

/// Lets an agent greet whose normal lane begins at 5 and whose urgent lane is empty.
fn connect(engine: &MemoryEngine, AgentKey { tenant, agent }: AgentKey) {
    let mut heads = [LaneHead { first: Seq::FIRST, last: None }; Lane::COUNT];
    heads[Lane::Normal.index()] =
        LaneHead { first: Seq::new(5).unwrap(), last: Some(Seq::new(7).unwrap()) };
    let hello = Hello {
        epoch: Epoch(3),
        boot: BootId(4),
        heads,
        version: 1,
        agent_version: "1.2.3".into(),
        context: ContextVersion::default(),
    };
    write(engine, |staged| {
        greet(staged, tenant, agent, &hello, at(1_000)).unwrap();
    });
}

fn only(tenants: &[&str]) -> TenantScope {
    TenantScope::Only(tenants.iter().map(|tenant| tenant.parse().unwrap()).collect())
}

fn keys(standings: &[AgentStanding]) -> Vec<AgentKey> {
    standings.iter().map(|standing| standing.key).collect()
}

#[test]
fn an_agent_shows_where_its_lanes_stand_and_what_is_missing() {
    let engine = MemoryEngine::new(1);
    let agent = key("acme", 1);
    connect(&engine, agent);
    write(&engine, |staged| {
        set_context(staged, agent.tenant, agent.agent, &context("srv1"), at(2_000)).unwrap();
    });
    let engine: &dyn Engine = &engine;
    let standing = find(engine, &TenantScope::All, agent.agent).unwrap().unwrap();
    let normal = standing.lanes[Lane::Normal.index()];
    assert_eq!((normal.committed, normal.spooled), (Seq::new(4), Seq::new(7)));
    assert_eq!(standing.lag_blocks(), 3);
    assert_eq!(standing.lanes[Lane::Urgent.index()], LaneStanding::default());
    assert_eq!(standing.gaps, 1, "L4: what the spool had lost is shown");
    assert_eq!(standing.host, Some(context("srv1")));
    assert_eq!(standing.agent.stats, AgentStats::default());
}

#[test]
fn pages_of_agents_go_through_the_scope_in_order_and_never_beyond_it() {
    let engine = MemoryEngine::new(1);
    let all = [key("acme", 1), key("acme", 2), key("globex", 1), key("initech", 9)];
    all.into_iter().for_each(|agent| connect(&engine, agent));
    let engine: &dyn Engine = &engine;
    for (scope, expected) in [
        (TenantScope::All, all.to_vec()),
        (only(&["acme", "initech"]), vec![all[0], all[1], all[3]]),
        (only(&["globex"]), vec![all[2]]),
        (TenantScope::Only(BTreeSet::new()), Vec::new()),
    ] {
        for limit in 1..=5 {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let page = page(engine, &scope, after, limit).unwrap();
                seen.extend(keys(&page));
                after = page.last().map(|standing| standing.key);
                if page.len() < limit {
                    break;
                }
            }
            assert_eq!(seen, expected, "{scope:?} by {limit}");
        }
    }
    assert!(find(engine, &only(&["acme"]), all[3].agent).unwrap().is_none(), "L5");
    assert_eq!(find(engine, &TenantScope::All, all[3].agent).unwrap().unwrap().key, all[3]);
}

#[test]
fn an_alert_is_shown_under_the_context_that_it_names_even_if_that_came_later() {
    let engine = MemoryEngine::new(1);
    let agent = key("acme", 1);
    connect(&engine, agent);
    for (ms, name) in [(2_000, "old"), (3_000, "new"), (4_000, "old"), (5_000, "newest")] {
        write(&engine, |staged| {
            set_context(staged, agent.tenant, agent.agent, &context(name), at(ms)).unwrap();
        });
    }
    let engine: &dyn Engine = &engine;
    let received = |row: Option<(ContextKey, KnownContext)>| row.map(|(key, _)| key.received_at);
    let of = |name: &str, ms| {
        received(context_of_alert(engine, agent, context(name).version(), at(ms)).unwrap())
    };
    assert_eq!(of("old", 3_500), Some(at(2_000)));
    assert_eq!(of("old", 4_000), Some(at(4_000)));
    assert_eq!(of("newest", 2_500), Some(at(5_000)), "the context came behind the alert");
    assert_eq!(of("never", 2_500), None);
    let current = |ms| received(context_at(engine, agent, at(ms)).unwrap());
    assert_eq!(current(1_999), None);
    assert_eq!((current(3_000), current(3_999)), (Some(at(3_000)), Some(at(3_000))));

    let page = contexts(engine, agent, Some(at(5_000)), 2).unwrap();
    let names: Vec<_> = page.iter().map(|(_, known)| known.context.hostname.as_str()).collect();
    assert_eq!(names, ["old", "new"], "newest first, behind the position");
}
