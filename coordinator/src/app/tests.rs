//! The whole coordinator in one process: RocksDB, QUIC and TLS are real, only the agent is the test's.

mod addresses;
mod agent;
mod authorities;
pub(super) mod house;
mod joins;
mod lifetime;
mod policies;
mod recalls;
mod refusals;
mod renewals;
mod revocations;
mod tunnels;

use futures_util::FutureExt as _;
use shared::{
    ids::{Lane, StreamId},
    session::Stream,
    wire::{Frame, Gap, GapReason, GoodbyeReason},
};

use self::{
    agent::{Agent, EPOCH, block, hello},
    house::{Gate, House, agent_id, blocks, eventually, seq, tenant, waiting},
};
use super::*;
use crate::store::{
    reader::gaps,
    schema::{CursorKey, GapKey},
    tables::Source as _,
};

const NORMAL: usize = Lane::Normal.index();

#[tokio::test]
async fn a_greeted_agent_is_welcomed_with_what_is_durable_of_each_lane() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (mut agent, welcome) = Agent::greeted(&house, &leaf, &running).await;
    assert_eq!(welcome.committed, [None; Lane::COUNT]);
    for number in 1..=3 {
        agent.send_block(Lane::Normal, number, &block(&house, "web")).await;
    }
    agent.send_block(Lane::Urgent, 1, &block(&house, "web")).await;
    agent.acked(Lane::Normal, 3).await;
    agent.acked(Lane::Urgent, 1).await;
    drop(agent);
    let (_agent, welcome) = Agent::greeted(&house, &leaf, &running).await;
    let mut expected = [None; Lane::COUNT];
    expected[NORMAL] = Some(seq(3));
    expected[Lane::Urgent.index()] = Some(seq(1));
    assert_eq!(welcome.committed, expected);
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_block_is_acked_only_when_it_can_be_read_and_its_case_waits_in_the_queue() {
    let house = House::new();
    let running = house.start().await;
    let (mut agent, _) = Agent::greeted(&house, &house.agent("acme", 1), &running).await;
    let gate = Gate::close(&running).await;
    agent.send_block(Lane::Normal, 1, &block(&house, "web")).await;
    eventually("the block waits for the writer", || running.store.backlog().0 == 1).await;
    let ack = agent.acked(Lane::Normal, 1).now_or_never();
    assert!(ack.is_none() && blocks(&running, "acme").is_empty(), "L1: not durable, not acked");
    drop(gate);
    agent.acked(Lane::Normal, 1).await;
    assert_eq!(blocks(&running, "acme"), [1]);
    assert_eq!(waiting(&running, "acme").await.len(), 1);
    let counters = &running.counters;
    assert_eq!((counters.blocks_stored.value(), counters.alerts_stored.value()), (1, 1));
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_block_that_comes_again_over_a_newer_connection_is_acked_and_stored_once() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (mut first, _) = Agent::greeted(&house, &leaf, &running).await;
    // The newer connection learns its cursors before the older one's block is stored.
    let gate = Gate::close(&running).await;
    let mut second = Agent::connect(&house, &leaf, &running).await;
    second.send(Stream::Control, &Frame::Hello(hello(1))).await;
    eventually("the greeting waits", || running.store.backlog().0 == 1).await;
    let block = block(&house, "web");
    first.send_block(Lane::Normal, 1, &block).await;
    eventually("the block waits behind it", || running.store.backlog().0 == 2).await;
    drop(gate);
    let Frame::Welcome(welcome) = second.receive(Stream::Control).await else { panic!("welcome") };
    assert_eq!(welcome.committed[NORMAL], None);
    second.send_block(Lane::Normal, 1, &block).await;
    second.acked(Lane::Normal, 1).await;
    assert_eq!(blocks(&running, "acme"), [1], "L2");
    assert_eq!(waiting(&running, "acme").await.len(), 1);
    assert_eq!(running.counters.blocks_repeated.value(), 1);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn blocks_that_will_never_come_are_recorded_and_acked() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    let gap = Gap { first: seq(1), last: seq(4), reason: GapReason::Damaged };
    agent.send(Stream::Lane(Lane::Normal), &Frame::Gap(gap)).await;
    agent.send_block(Lane::Normal, 5, &block(&house, "web")).await;
    agent.acked(Lane::Normal, 5).await;
    drop(agent);
    // This time the spool begins further on than it should.
    let mut agent = Agent::connect(&house, &leaf, &running).await;
    agent.send(Stream::Control, &Frame::Hello(hello(8))).await;
    let Frame::Welcome(welcome) = agent.receive(Stream::Control).await else { panic!("welcome") };
    assert_eq!(welcome.committed[NORMAL], Some(seq(7)));
    let engine = running.store.engine();
    let gaps = gaps::page(engine, tenant("acme"), agent_id(1), None, 10).unwrap();
    let gaps: Vec<(u64, u64, GapReason)> = gaps
        .into_iter()
        .map(|(GapKey { first, .. }, gap)| (first.as_u64(), gap.last.as_u64(), gap.reason))
        .collect();
    assert_eq!(gaps, [(1, 4, GapReason::Damaged), (6, 7, GapReason::Missing)], "L4");
    assert_eq!(blocks(&running, "acme"), [5]);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_connects_anew_replaces_its_older_connection() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (mut older, _) = Agent::greeted(&house, &leaf, &running).await;
    let (mut newer, _) = Agent::greeted(&house, &leaf, &running).await;
    assert_eq!(older.receive(Stream::Control).await, Frame::Goodbye(GoodbyeReason::Replaced));
    assert_eq!(older.closed().await.0, 0);
    newer.send_block(Lane::Normal, 1, &block(&house, "web")).await;
    newer.acked(Lane::Normal, 1).await;
    assert_eq!(running.counters.sessions_replaced.value(), 1);
    assert_eq!(running.counters.frames_refused.value(), 0);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn agents_of_two_tenants_with_one_number_do_not_mix() {
    let house = House::new();
    let running = house.start().await;
    let (mut acme, _) = Agent::greeted(&house, &house.agent("acme", 1), &running).await;
    let (mut globex, welcome) = Agent::greeted(&house, &house.agent("globex", 1), &running).await;
    assert_eq!(welcome.committed, [None; Lane::COUNT]);
    let block = block(&house, "web");
    for number in 1..=2 {
        acme.send_block(Lane::Normal, number, &block).await;
    }
    acme.acked(Lane::Normal, 2).await;
    globex.send_block(Lane::Normal, 1, &block).await;
    globex.acked(Lane::Normal, 1).await;
    assert_eq!((blocks(&running, "acme"), blocks(&running, "globex")), (vec![1, 2], vec![1]), "L5");
    let (of_acme, of_globex) = (waiting(&running, "acme").await, waiting(&running, "globex").await);
    assert!(of_acme.len() == 1 && of_globex.len() == 1 && of_acme != of_globex, "L5");
    assert_eq!(running.counters.sessions_replaced.value(), 0);
    let stream = StreamId { agent: agent_id(1), epoch: EPOCH, lane: Lane::Normal };
    let cursor = |name| {
        let key = CursorKey { tenant: tenant(name), stream };
        running.store.engine().load(&key).unwrap().unwrap().committed
    };
    assert_eq!((cursor("acme"), cursor("globex")), (seq(2), seq(1)), "L5");
    running.shut_down().await.unwrap();
}
