use shared::{
    ids::{BootId, Epoch},
    wire::{Gap, GapReason, LaneHead},
};

use super::*;
use crate::{
    command::journal::read_after,
    store::{
        engine::{Direction, Engine, MemoryEngine},
        reader::agents::contexts,
        schema::{GapKey, TenantKey, range_of},
        tables::Rows,
    },
};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn agent() -> AgentId {
    AgentId::from_bytes([1; 16])
}

fn key() -> AgentKey {
    AgentKey { tenant: acme(), agent: agent() }
}

fn seq(n: u64) -> Option<Seq> {
    Seq::new(n)
}

/// A greeting of a spool whose normal lane holds blocks from `first` to `last`.
fn hello(first: u64, last: u64) -> Hello {
    let empty = LaneHead { first: Seq::FIRST, last: None };
    let mut heads = [empty; Lane::COUNT];
    heads[Lane::Normal.index()] = LaneHead { first: Seq::new(first).unwrap(), last: seq(last) };
    Hello {
        version: 1,
        epoch: Epoch(5),
        boot: BootId(9),
        heads,
        agent_version: "0.1.0".into(),
        context: ContextVersion::default(),
    }
}

fn beat(sent_ms: u64) -> Heartbeat {
    let stats = AgentStats { records_read: 42, ..AgentStats::default() };
    Heartbeat { sent_at: at(sent_ms), last: [seq(3); Lane::COUNT], stats }
}

fn context(hostname: &str) -> HostContext {
    HostContext { hostname: hostname.into(), ..HostContext::default() }
}

fn events(staged: &Staged<'_>) -> Vec<Event> {
    let entries = read_after(staged, 0, 99).unwrap();
    entries.into_iter().map(|chained| chained.entry.event).collect()
}

#[test]
fn the_first_greeting_makes_tenant_and_agent_and_starts_from_nothing() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let greeting = greet(&mut staged, acme(), agent(), &hello(1, 3), at(1_000)).unwrap();
    let (committed, context) = ([None; Lane::COUNT], ContextVersion::default());
    let nothing = Greeting { committed, checks: [None; Lane::COUNT], context, ledger: 0 };
    assert_eq!(greeting, nothing);
    assert!(staged.load(&TenantKey(acme())).unwrap().is_some());
    let known = staged.load(&key()).unwrap().unwrap();
    assert_eq!((known.first_seen_at, known.last_seen_at), (at(1_000), at(1_000)));
    assert_eq!(known.spooled[Lane::Normal.index()], seq(3));
    let connected = Event::AgentConnected { agent: agent(), epoch: Epoch(5), boot: BootId(9) };
    assert_eq!(events(&staged), [Event::TenantChanged { revision: 1 }, connected]);
}

#[test]
fn a_greeting_later_keeps_what_is_known_of_the_agent() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    greet(&mut staged, acme(), agent(), &hello(1, 3), at(1_000)).unwrap();
    set_context(&mut staged, acme(), agent(), &context("srv1"), at(1_500)).unwrap();
    heartbeat(&mut staged, acme(), agent(), &beat(2_000), at(2_000)).unwrap();
    let again = greet(&mut staged, acme(), agent(), &hello(1, 4), at(9_000)).unwrap();
    assert_eq!(again.context, context("srv1").version());
    let known = staged.load(&key()).unwrap().unwrap();
    assert_eq!((known.first_seen_at, known.last_seen_at), (at(1_000), at(9_000)));
    assert_eq!((known.stats.records_read, known.context), (42, again.context));
}

#[test]
fn the_same_context_again_is_confirmed_with_what_goes_on_and_makes_no_version() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    greet(&mut staged, acme(), agent(), &hello(1, 3), at(1_000)).unwrap();
    let said = |looked_at| HostContext {
        boot_id: "b".into(),
        looked_at: at(looked_at),
        ..context("srv1")
    };
    set_context(&mut staged, acme(), agent(), &said(1), at(1_500)).unwrap();
    let journal = events(&staged).len();
    set_context(&mut staged, acme(), agent(), &said(2), at(2_500)).unwrap();
    assert_eq!(events(&staged).len(), journal, "nothing has changed");
    let rows = contexts(&staged, key(), None, 9).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0.received_at, at(1_500));
    let wanted = KnownContext { context: said(2), confirmed_at: Some(at(2_500)) };
    assert_eq!(rows[0].1, wanted);
}

#[test]
fn a_spool_that_begins_behind_the_cursor_is_a_gap_that_is_shown_once() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let lane = Lane::Normal.index();
    let first = greet(&mut staged, acme(), agent(), &hello(5, 7), at(1_000)).unwrap();
    assert_eq!(first.committed[lane], seq(4), "it goes on with what the spool has");
    assert_eq!(first.committed[Lane::Urgent.index()], None, "other lanes lost nothing");
    let later = greet(&mut staged, acme(), agent(), &hello(8, 9), at(2_000)).unwrap();
    assert_eq!(later.committed[lane], seq(7));
    let again = greet(&mut staged, acme(), agent(), &hello(8, 9), at(3_000)).unwrap();
    assert_eq!(again.committed[lane], seq(7));

    let (from, to) = range_of::<GapKey>(acme().as_bytes());
    let gaps: Rows<GapKey> = staged.load_range(&from..&to, Direction::Forward, 9).unwrap();
    let shown: Vec<_> =
        gaps.iter().map(|(key, gap)| (Some(key.first), Some(gap.last), gap.reason)).collect();
    let missing = GapReason::Missing;
    assert_eq!(shown, [(seq(1), seq(4), missing), (seq(5), seq(7), missing)]);
    let stream = StreamId { agent: agent(), epoch: Epoch(5), lane: Lane::Normal };
    let gap = Gap { first: Seq::FIRST, last: Seq::new(4).unwrap(), reason: missing };
    assert!(events(&staged).contains(&Event::GapRecorded { stream, gap }), "L4");
}

#[test]
fn a_new_spool_starts_from_nothing_whatever_the_old_one_had() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    greet(&mut staged, acme(), agent(), &hello(5, 7), at(1_000)).unwrap();
    let new = Hello { epoch: Epoch(6), ..hello(1, 1) };
    let greeting = greet(&mut staged, acme(), agent(), &new, at(2_000)).unwrap();
    assert_eq!(greeting.committed, [None; Lane::COUNT]);
    assert_eq!(staged.load(&key()).unwrap().unwrap().epoch, Epoch(6));
}

#[test]
fn a_heartbeat_shows_counters_and_a_clock_that_is_wrong_either_way() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    greet(&mut staged, acme(), agent(), &hello(1, 1), at(1_000)).unwrap();
    let journalled = events(&staged).len();
    for (sent, now, ahead) in [(9_000, 4_000, 5_000), (1_000, 4_000, -3_000), (4_000, 4_000, 0)] {
        heartbeat(&mut staged, acme(), agent(), &beat(sent), at(now)).unwrap();
        let known = staged.load(&key()).unwrap().unwrap();
        assert_eq!((known.clock_ahead_ms, known.last_seen_at), (ahead, at(now)));
        assert_eq!((known.stats.records_read, known.spooled), (42, [seq(3); Lane::COUNT]));
    }
    heartbeat(&mut staged, acme(), agent(), &beat(u64::MAX), at(0)).unwrap();
    assert_eq!(staged.load(&key()).unwrap().unwrap().clock_ahead_ms, i64::MAX);
    assert_eq!(events(&staged).len(), journalled, "a sign of life changes nothing of ours");
}

#[test]
fn a_context_is_kept_each_time_it_changes_and_only_then() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    greet(&mut staged, acme(), agent(), &hello(1, 1), at(1_000)).unwrap();
    for (name, now) in [("srv1", 2_000), ("srv1", 3_000), ("srv2", 4_000)] {
        set_context(&mut staged, acme(), agent(), &context(name), at(now)).unwrap();
    }
    let (from, to) = range_of::<ContextKey>(acme().as_bytes());
    let kept: Rows<ContextKey> = staged.load_range(&from..&to, Direction::Forward, 9).unwrap();
    let kept: Vec<_> = kept
        .iter()
        .map(|(key, known)| (key.received_at, known.context.hostname.as_str()))
        .collect();
    assert_eq!(kept, [(at(2_000), "srv1"), (at(4_000), "srv2")]);
    let changed = |event: &Event| matches!(event, Event::ContextChanged { .. });
    assert_eq!(events(&staged).iter().filter(|event| changed(event)).count(), 2);
}

#[test]
fn an_agent_that_never_greeted_is_not_known_to_another_tenant_either() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    greet(&mut staged, acme(), agent(), &hello(1, 1), at(1_000)).unwrap();
    let (other, unknown) = ("globex".parse().unwrap(), CommandError::not_found("agent", agent()));
    let beaten = heartbeat(&mut staged, other, agent(), &beat(1), at(1));
    assert_eq!(beaten, Err(unknown.clone()), "L5");
    let set = set_context(&mut staged, other, agent(), &context("srv1"), at(1));
    assert_eq!(set, Err(unknown), "L5");
}

#[test]
fn a_spool_that_was_set_back_or_has_returned_is_noted_and_journalled_once() {
    let engine = MemoryEngine::new(1);
    let write = |command: &dyn Fn(&mut Staged<'_>)| {
        let mut staged = Staged::new(&engine);
        command(&mut staged);
        engine.commit(staged.into_changes()).unwrap();
    };
    let notice = || (&engine as &dyn Engine).load(&SpoolNoticeKey(key())).unwrap();
    let greets = |hello: &Hello, now| {
        write(&|staged| {
            greet(staged, acme(), agent(), hello, at(now)).unwrap();
        });
        notice().map(|notice| (notice.epoch.0, notice.fault, notice.since))
    };
    let gap = Gap { first: Seq::FIRST, last: seq(7).unwrap(), reason: GapReason::Skipped };
    let stream = StreamId { agent: agent(), epoch: Epoch(5), lane: Lane::Normal };
    assert_eq!(greets(&hello(1, 9), 1), None);
    write(&|staged| block::record_gap(staged, acme(), stream, gap, at(2)).unwrap());
    assert_eq!(greets(&hello(1, 9), 3), None, "it has more than is durable here");
    let (lane, committed) = (Lane::Normal, seq(7).unwrap());
    let behind = SpoolFault::SetBack { lane, committed, last: seq(6) };
    for now in [4, 5] {
        assert_eq!(greets(&hello(1, 6), now), Some((5, behind, at(4))));
    }
    let newer = Hello { epoch: Epoch(6), ..hello(1, 9) };
    assert_eq!(greets(&newer, 6), None, "another spool is another matter");
    let returned = SpoolFault::Returned { after: Epoch(6) };
    for now in [7, 8] {
        assert_eq!(greets(&hello(1, 9), now), Some((5, returned, at(7))));
    }
    // The numbers fit, and the blocks do not: the agent says so.
    let found = SetBack { lane, committed, last: seq(9) };
    write(&|staged| set_back(staged, key(), Epoch(5), found, at(9)).unwrap());
    let went_on = SpoolFault::SetBack { lane, committed, last: seq(9) };
    assert_eq!(greets(&hello(1, 9), 10), Some((5, went_on, at(9))));
    let events = read_after(&engine as &dyn Engine, 0, 100).unwrap();
    let noted = events.iter().filter(|it| matches!(it.entry.event, Event::Identity(_)));
    assert_eq!(noted.count(), 3);
}
