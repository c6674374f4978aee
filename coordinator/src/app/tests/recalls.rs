//! Recalls over a real connection: asked for once an agent is there, begun anew where a connection was lost.

use shared::{
    recall::{Recall, RecallEnd, RecallId, RecallOutcome},
    time::Timestamp,
};

use super::{
    agent::{Agent, block},
    house::{House, agent_id, eventually, tenant, waiting, within},
    *,
};
use crate::{
    command::recalls,
    store::{
        reader::recalls::{answers, records},
        schema::RecallKey,
        values::{Actor, RecallState},
    },
};

/// Asks acme's agents, and rings if they are to hear of it at once.
async fn ask(running: &Running, house: &House, rings: bool) -> RecallId {
    let (since, until) = (Timestamp::ZERO, Timestamp::MAX);
    let (tenant, rule) = (tenant("acme"), "dns-noise".to_owned());
    let ask = recalls::Ask { tenant, agent: None, rule, since, until, bytes_max: 1 << 20 };
    let now = house.now();
    let actor = Actor::Person("ann".into());
    let asked = running.store.write(move |staged| recalls::ask(staged, ask, &actor, now)).await;
    if rings {
        running.bells.recalls.ring();
    }
    asked.unwrap().0
}

/// Receives what the agent is asked for.
async fn asked(agent: &mut Agent) -> Recall {
    loop {
        match agent.receive(Stream::Control).await {
            Frame::Recall(recall) => return *recall,
            Frame::LedgerAck { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Sends frames of an answer, and finishes its stream if that is its end.
async fn answer(agent: &Agent, frames: &[Frame]) {
    let mut send = within(agent.connection.open_uni()).await.unwrap();
    for frame in frames {
        let encoded = frame.encode();
        let bytes = [encoded.head, encoded.tail].concat();
        within(send.write_all(&bytes)).await.unwrap();
    }
    if matches!(frames.last(), Some(Frame::RecallEnd(_))) {
        send.finish().unwrap();
    } else {
        std::mem::forget(send); // it would be finished otherwise
    }
}

fn state(running: &Running, recall: RecallId) -> (RecallState, u64) {
    let answers = answers(running.store.engine(), recall).unwrap();
    (answers[0].1.state, answers[0].1.records)
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_begun_anew_and_stored_once() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    drop(Agent::greeted(&house, &leaf, &running).await); // so that it is known
    let id = ask(&running, &house, false).await;
    let (mut first, _) = Agent::greeted(&house, &leaf, &running).await;
    let recall = asked(&mut first).await;
    assert_eq!((recall.id, recall.rule.as_str()), (id, "dns-noise"));
    let part = || Frame::RecallBlock { block: block(&house, "web") };
    let open = || Frame::RecallOpen { id };
    answer(&first, &[open(), part(), part()]).await;
    eventually("two blocks are stored", || state(&running, id).1 == 2).await;
    assert_eq!(state(&running, id).0, RecallState::Answering);
    drop(first);

    let (mut second, _) = Agent::greeted(&house, &leaf, &running).await;
    assert_eq!(asked(&mut second).await, recall);
    let bytes = block(&house, "web").len() as u64;
    let end = RecallEnd { records: 1, bytes, ..RecallEnd::empty(id, RecallOutcome::Answered) };
    answer(&second, &[open(), part(), Frame::RecallEnd(Box::new(end))]).await;
    eventually("it is answered", || state(&running, id).0 == RecallState::Answered(end)).await;
    let engine = running.store.engine();
    let page = records(engine, (tenant("acme"), id), None, None, 10).unwrap();
    assert_eq!((page.records.len(), page.next), (1, None), "what came twice counts once");
    assert_eq!(page.records[0].record, "record of web");
    assert!(waiting(&running, "acme").await.is_empty(), "recalled records open no case");

    let next = ask(&running, &house, true).await;
    assert_eq!(asked(&mut second).await.id, next, "who is connected is asked at once");
    let end = RecallEnd::empty(next, RecallOutcome::NoRing);
    let frames = [Frame::RecallOpen { id: next }, Frame::RecallEnd(Box::new(end))];
    answer(&second, &frames).await;
    eventually("it is answered", || {
        let record = engine.load(&RecallKey(next)).unwrap();
        record.is_some_and(|record| record.answered == 1)
    })
    .await;
    assert_eq!(running.counters.recalls_asked.value(), 3);
    assert_eq!(running.counters.records_recalled.value(), 1);
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_answers_with_what_is_no_block_or_lies_about_it_is_refused() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    drop(Agent::greeted(&house, &leaf, &running).await);
    let id = ask(&running, &house, false).await;
    let open = Frame::RecallOpen { id };
    let end = RecallEnd { records: 9, ..RecallEnd::empty(id, RecallOutcome::Answered) };
    for (frame, reason) in [
        (Frame::RecallBlock { block: "no block".into() }, "recalled block: "),
        (Frame::RecallEnd(Box::new(end)), "0 records of 0 bytes came, 9 of 0 were sent"),
        (open.clone(), "not the answer's next"),
    ] {
        let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
        asked(&mut agent).await;
        answer(&agent, &[open.clone(), frame]).await;
        let (_, said) = agent.closed().await;
        assert!(said.contains(reason), "{reason} in {said}");
    }
    assert_eq!(running.counters.frames_refused.value(), 3);
    assert_eq!(state(&running, id), (RecallState::Answering, 0));
    assert_eq!(agent_id(1), answers(running.store.engine(), id).unwrap()[0].0.agent);
    running.shut_down().await.unwrap();
}
