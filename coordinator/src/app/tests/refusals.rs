//! What the coordinator refuses of agents, and that it serves the others on.

use certs::testing::{impostor_of, issue_raw};
use shared::{
    ids::Lane,
    limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX},
    session::Stream,
    wire::{Frame, GoodbyeReason, Hello},
};

use super::{
    agent::{Agent, block, dial, hello},
    house::{House, blocks, eventually, seq, within},
};
use crate::{app::Outcome, counters::HandshakeRefused};

const LANE: Stream = Stream::Lane(Lane::Normal);

/// What an agent sends once it was greeted, and what the coordinator says when it closes.
type Offence = (&'static str, Stream, Vec<u8>, &'static str);

fn frame_of(len: usize, bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(len).unwrap().to_le_bytes()[..], bytes].concat()
}

fn offences(house: &House) -> Vec<Offence> {
    let bytes = |frame: &Frame| {
        let encoded = frame.encode();
        [&encoded.head[..], &encoded.tail[..]].concat()
    };
    let opened = bytes(&Frame::LaneOpen(Lane::Normal));
    let on_lane = |after: &[u8]| [&opened, after].concat();
    let good = bytes(&Frame::Block { seq: seq(1), block: block(house, "web") });
    let second = bytes(&Frame::Block { seq: seq(2), block: block(house, "web") });
    let mut unknown = block(house, "web").to_vec();
    unknown[3] = 9;
    let unknown = bytes(&Frame::Block { seq: seq(1), block: unknown.into() });
    let no_block = bytes(&Frame::Block { seq: seq(1), block: vec![7; 100].into() });
    let too_long = frame_of(CONTROL_FRAME_BYTES_MAX + 1, &[]);
    let too_long_block = on_lane(&frame_of(FRAME_BYTES_MAX + 1, &[]));
    let again = bytes(&Frame::Hello(hello(1)));
    vec![
        ("a frame that is too long", Stream::Control, too_long, "control stream: frame of 65537"),
        ("a block that is too long", LANE, too_long_block, "normal stream: frame of"),
        ("an empty frame", Stream::Control, frame_of(0, &[]), "frame of 0 bytes"),
        ("an unknown kind", Stream::Control, frame_of(1, &[200]), "unknown kind 200"),
        ("a malformed frame", Stream::Control, frame_of(3, &[3, 250, 250]), "malformed Heartbeat"),
        ("a second greeting", Stream::Control, again, "Hello frame is not allowed"),
        ("a block on the control stream", Stream::Control, good.clone(), "Block frame is not"),
        ("a block of an unknown version", LANE, on_lane(&unknown), "version 9"),
        ("a block that is none", LANE, on_lane(&no_block), "normal lane: block 1:"),
        ("a block too early", LANE, on_lane(&second), "block 2 on the normal lane, expected 1"),
        ("a lane opened twice", LANE, on_lane(&opened), "LaneOpen frame is not allowed"),
        ("a stream without a name", LANE, good, "control stream: opened twice"),
    ]
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_told_why_and_counted_and_the_others_are_served() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let offences = offences(&house);
    let count = offences.len() as u64;
    for (what, stream, bytes, said) in offences {
        let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
        agent.send_bytes(stream, &bytes).await;
        let (code, reason) = agent.closed().await;
        assert!(code == 1 && reason.contains(said), "{what}: {code} {reason}");
    }
    assert_eq!(running.counters.frames_refused.value(), count);
    assert_eq!(blocks(&running, "acme"), [0_u64; 0], "nothing of it was stored");

    let (mut other, _) = Agent::greeted(&house, &house.agent("acme", 2), &running).await;
    other.send_block(Lane::Normal, 1, &block(&house, "web")).await;
    other.acked(Lane::Normal, 1).await;
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn whoever_does_not_greet_first_is_refused() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let frames = [
        (Stream::Control, Frame::Context(Box::default()), "Context frame is not allowed"),
        (Stream::Control, Frame::Hello(Hello { version: 0, ..hello(1) }), "version 0"),
        (LANE, Frame::Block { seq: seq(1), block: block(&house, "web") }, "before the greeting"),
    ];
    for (stream, frame, said) in frames {
        let mut agent = Agent::connect(&house, &leaf, &running).await;
        agent.send(stream, &frame).await;
        let (code, reason) = agent.closed().await;
        assert!(code == 1 && reason.contains(said), "{code} {reason}");
    }
    assert_eq!(running.counters.frames_refused.value(), 3);
    let mut polite = Agent::connect(&house, &leaf, &running).await;
    polite.send(Stream::Control, &Frame::Goodbye(GoodbyeReason::Shutdown)).await;
    assert_eq!(polite.closed().await.0, 0, "who only says goodbye breaks nothing");
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn who_shows_no_certificate_of_an_agent_of_ours_is_refused_and_counted() {
    let house = House::new();
    let running = house.start().await;
    let refused = |reason| running.counters.handshakes_refused.value(reason);
    let impostor = impostor_of(&house.authority, house.now()).unwrap();
    let foreign = issue_raw(&impostor, &house.raw_agent()).unwrap();
    let expired = house.raw(|raw| raw.expired_at(house.now()));
    for (count, (what, leaf)) in
        (1..).zip([("another authority's", foreign), ("one that has expired", expired)])
    {
        let (_endpoint, connecting) = dial(&house, &leaf, running.ingest_addr.port());
        // TLS 1.3 lets a client believe that it is through before the server has looked at its certificate.
        if let Ok(connection) = within(connecting).await {
            within(connection.closed()).await;
        }
        eventually(what, || refused(HandshakeRefused::Tls) == count).await;
    }
    let coordinators = format!("spiffe://{}/coordinator/box", super::house::DOMAIN);
    let elsewhere = format!("spiffe://other.test/tenant/acme/agent/{}", super::house::agent_id(1));
    let names: [(&[&str], &str); 3] = [
        (&[], "names nobody"),
        (&[&coordinators], "not an agent of trust domain"),
        (&[&elsewhere], "not an agent of trust domain"),
    ];
    for (count, (uris, said)) in (1..).zip(names) {
        let leaf = house.raw(|raw| raw.with_uris(uris));
        let agent = Agent::connect(&house, &leaf, &running).await;
        let (code, reason) = agent.closed().await;
        assert!(code == 3 && reason.contains(said), "{code} {reason}");
        assert_eq!(refused(HandshakeRefused::Identity), count);
    }
    assert_eq!(running.counters.connections_accepted.value(), 0);
    assert_eq!(running.counters.handshakes_open.value(), 0);
    running.shut_down().await.unwrap();
}
