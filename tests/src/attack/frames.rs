//! Frames out of turn, of the wrong side, cut off, too large, too many; and what a frame says of whose it is.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    context::{ContextVersion, HostContext},
    ids::{Lane, Seq},
    limits::{CONTEXT_TEXT_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX},
    policy::{PolicyAck, PolicyDigest, PolicyOffer},
    recall::{Recall, RecallId},
    renewal::{RenewRefusal, RenewReply},
    time::Timestamp,
    trust::{TrustAck, TrustOffer, TrustRefusal},
    wire::{
        AgentStats, Frame, Gap, GapReason, GoodbyeReason, Heartbeat, LaneHead, Quarantined,
        SetBack, Welcome,
    },
};

use super::{
    Must, Suite,
    arena::{ATTACKER, Arena, Member, NEIGHBOUR, VICTIM, now},
    client::{Line, Session, bytes, ending, greet, hello, raw_frame},
};

/// What breaks the protocol.
pub(super) const BREACH: Must = Must::new(
    "the connection is closed for a breach of the protocol",
    &["closed 1"],
    &["signalbox_frames_refused_total"],
);
const SILENT: Must = Must::new(
    "the connection is closed when the greeting is overdue",
    &["closed 1"],
    &["signalbox_sessions_silent_total"],
);
const OWN: Must = Must::new("it is the attacker's own, and nobody else's", &["its own"], &[]);

/// Many: more than any buffer of the coordinator's holds.
const FLOOD: usize = 2_000;

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    first_frames(suite)?;
    greetings(suite)?;
    control_frames(suite)?;
    lengths(suite)?;
    lanes(suite)?;
    streams(suite)?;
    floods(suite)?;
    claims(suite)
}

/// Runs what an attacker does in a session of its own; returns how the connection ends.
async fn session(
    arena: &Arena,
    acts: impl AsyncFnOnce(Session) -> Result<Session>,
) -> Result<String> {
    let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
    let session = acts(Session::open(&line, &member).await?).await?;
    Ok(ending(&session.connection).await)
}

/// Sends bytes over the first stream of a connection without a greeting; returns how the connection ends.
async fn ungreeted(arena: &Arena, sent: &[u8]) -> Result<String> {
    let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
    let connection = line.dial(&member.tls).await?.map_err(anyhow::Error::msg)?;
    let (mut send, _recv) = connection.open_bi().await?;
    let _closed = send.write_all(sent).await.is_err();
    Ok(ending(&connection).await)
}

fn heartbeat() -> Frame {
    let (last, stats) = ([None; Lane::COUNT], AgentStats::default());
    Frame::Heartbeat(Heartbeat { sent_at: now(), last, stats })
}

fn block(number: u64) -> Result<Frame> {
    let mut builder = BlockBuilder::new();
    builder.push(&Alert::default(), b"{}")?;
    Ok(Frame::Block { seq: Seq::new(number).context("a number")?, block: builder.finish(1) })
}

fn gap(first: u64, last: u64) -> Result<Frame> {
    let number = |number| Seq::new(number).context("a number");
    let reason = GapReason::Missing;
    Ok(Frame::Gap(Gap { first: number(first)?, last: number(last)?, reason }))
}

fn set_back(committed: u64) -> Frame {
    let committed = Seq::new(committed).unwrap_or(Seq::FIRST);
    Frame::SetBack(SetBack { lane: Lane::Normal, committed, last: None })
}

/// Returns the frames that only a coordinator sends.
fn coordinators() -> Vec<Frame> {
    let (version, since, context) = (4, now(), ContextVersion::default());
    let recall = Recall {
        id: RecallId::from_bytes([7; 16]),
        rule: "r".to_owned(),
        since,
        until: Timestamp::MAX,
        bytes_max: 1,
    };
    let refused = RenewReply::Refused(RenewRefusal::Unavailable);
    let (committed, policy) = ([None; Lane::COUNT], 0);
    let (window_blocks, window_bytes) = (1, 1);
    vec![
        Frame::Welcome(Welcome {
            version,
            committed,
            window_blocks,
            window_bytes,
            policy,
            context,
        }),
        Frame::Ack { up_to: Seq::FIRST },
        Frame::LedgerAck { up_to: 1 },
        Frame::Recall(Box::new(recall)),
        Frame::Renewed(Box::new(refused)),
        Frame::Probe,
        Frame::Quarantined(Quarantined { version, since }),
        Frame::RenewNow,
        Frame::Checks([None; Lane::COUNT]),
        Frame::Policy(Box::new(PolicyOffer { version: 1, envelope: vec![1] })),
        Frame::Trust(Box::new(TrustOffer { sequence: 1, envelope: vec![1] })),
    ]
}

/// A refusal of a trust bundle that nobody has offered.
fn refusal() -> Frame {
    let (digest, reason) = (PolicyDigest::default(), TrustRefusal::NotStored);
    Frame::TrustAck(Box::new(TrustAck::refused(9, digest, reason, "disk full")))
}

/// What comes before the greeting.
fn first_frames(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let mut first = vec![
        heartbeat(),
        Frame::Context(Box::default()),
        Frame::LaneOpen(Lane::Urgent),
        block(1)?,
        gap(1, 2)?,
        Frame::Renew { signing_request: vec![1] },
        Frame::Alive,
        set_back(1),
        refusal(),
        Frame::PolicyAck(Box::new(PolicyAck::nothing())),
        Frame::RecallOpen { id: RecallId::from_bytes([7; 16]) },
    ];
    first.extend(coordinators());
    for frame in first {
        let name = format!("{:?} before Hello", frame.kind());
        let sent = bytes(&frame);
        suite.attempt(name, &BREACH, ungreeted(arena, &sent))?;
    }
    suite.attempt("nothing at all after the handshake", &SILENT, async {
        let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
        let connection = line.dial(&member.tls).await?.map_err(anyhow::Error::msg)?;
        Ok(ending(&connection).await)
    })?;
    suite.attempt("half a Hello and then nothing", &SILENT, async {
        let whole = bytes(&Frame::Hello(hello(1, 1)));
        ungreeted(arena, &whole[..whole.len() / 2]).await
    })
}

/// Greetings that are none.
fn greetings(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let good = bytes(&Frame::Hello(hello(1, 1)));
    let mut none = hello(1, 1);
    none.version = 0;
    let mut long = hello(1, 1);
    long.agent_version = "v".repeat(CONTEXT_TEXT_BYTES_MAX + 1);
    let mut backwards = hello(1, 1);
    let last = Seq::new(3);
    backwards.heads[0] = LaneHead { first: Seq::new(9).context("a number")?, last };
    let cut = raw_frame(1, &good[5..good.len() - 1]);
    let more = raw_frame(1, &[&good[5..], b"x"].concat());
    let broken = [
        ("a Hello of version 0", bytes(&Frame::Hello(none))),
        ("a Hello with an over-long text", bytes(&Frame::Hello(long))),
        ("a Hello whose first block is behind its last", bytes(&Frame::Hello(backwards))),
        ("a Hello that lacks its last byte", cut),
        ("a Hello with a byte too many", more),
        ("a Hello without fields", raw_frame(1, &[])),
        ("Hello and Hello again before the welcome", [&good[..], &good[..]].concat()),
    ];
    for (name, sent) in broken {
        suite.attempt(name, &BREACH, ungreeted(arena, &sent))?;
    }
    suite.attempt(
        "Hello again after the welcome",
        &BREACH,
        session(arena, async |mut it| {
            it.send(&Frame::Hello(hello(1, 1))).await;
            Ok(it)
        }),
    )?;
    suite.attempt(
        "Hello again with another epoch",
        &BREACH,
        session(arena, async |mut it| {
            it.send(&Frame::Hello(hello(2, 1))).await;
            Ok(it)
        }),
    )?;
    suite.attempt(
        "Hello again on a stream of its own",
        &BREACH,
        session(arena, async |mut it| {
            it.say(&bytes(&Frame::Hello(hello(1, 1)))).await?;
            Ok(it)
        }),
    )
}

/// What does not belong on the control stream of a session.
fn control_frames(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let mut wrong = coordinators();
    wrong.extend([block(1)?, gap(1, 2)?, Frame::LaneOpen(Lane::Bulk)]);
    wrong.extend([Frame::RecallBlock { block: Bytes::from_static(b"x") }, refusal()]);
    for frame in wrong {
        let name = format!("{:?} on the control stream", frame.kind());
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.send(&frame).await;
                Ok(it)
            }),
        )?;
    }
    for kind in [0, 10, 15, 29, 31, 38, 127, 255] {
        let sent = raw_frame(kind, b"whatever");
        let name = format!("a frame of the unknown kind {kind}");
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.raw(&sent).await;
                Ok(it)
            }),
        )?;
    }
    let name = "a host's name that is longer than any";
    let long = HostContext { hostname: "h".repeat(4_000), ..HostContext::default() };
    let sent = bytes(&Frame::Context(Box::new(long)));
    suite.attempt(
        name,
        &BREACH,
        session(arena, async |mut it| {
            it.raw(&sent).await;
            Ok(it)
        }),
    )
}

/// Lengths that are not allowed, and frames that end early.
fn lengths(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    for (name, sent) in [
        ("a control frame of no length", len(0)),
        ("a control frame a byte too long", len(CONTROL_FRAME_BYTES_MAX + 1)),
        ("a control frame of four gigabytes", len(usize::MAX)),
    ] {
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.raw(&sent).await;
                Ok(it)
            }),
        )?;
    }
    for (name, sent) in [
        ("a block of no length", len(0)),
        ("a block a byte too long", len(FRAME_BYTES_MAX + 1)),
        ("a block of four gigabytes", len(usize::MAX)),
    ] {
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.say(&[bytes(&Frame::LaneOpen(Lane::Normal)), sent.to_vec()].concat()).await?;
                Ok(it)
            }),
        )?;
    }
    let beat = bytes(&heartbeat());
    for (name, end) in [("half a length", 2), ("half a frame", beat.len() / 2)] {
        let cut = &beat[..end];
        let name = format!("{name}, and the control stream ends");
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.raw(cut).await;
                let _finished = it.control.finish().is_ok();
                Ok(it)
            }),
        )?;
    }
    let name = "half a frame, and the control stream is reset";
    suite.attempt(
        name,
        &BREACH,
        session(arena, async |mut it| {
            it.raw(&beat[..7]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _reset = it.control.reset(9_u32.into()).is_ok();
            Ok(it)
        }),
    )
}

/// Lanes: opened wrongly, and with numbers that do not follow.
fn lanes(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let normal = Frame::LaneOpen(Lane::Normal);
    let first = block(1)?;
    let orders: [(&str, Vec<Frame>); 11] = [
        ("a lane opened twice on its stream", vec![normal.clone(), normal.clone()]),
        ("a lane that becomes another", vec![normal.clone(), Frame::LaneOpen(Lane::Urgent)]),
        ("a block before its lane is named", vec![first.clone()]),
        ("blocks from the second on", vec![normal.clone(), block(2)?]),
        ("a block sent twice", vec![normal.clone(), first.clone(), first.clone()]),
        ("blocks in reverse order", vec![normal.clone(), first.clone(), block(3)?, block(2)?]),
        ("a block with the last number there is", vec![normal.clone(), block(u64::MAX)?]),
        ("a gap over what was sent", vec![normal.clone(), first.clone(), gap(1, 1)?]),
        ("a gap that leaves numbers out", vec![normal.clone(), first.clone(), gap(3, 4)?]),
        ("a greeting on a lane", vec![normal.clone(), Frame::Hello(hello(1, 1))]),
        ("an ack on a lane", vec![normal.clone(), Frame::Ack { up_to: Seq::FIRST }]),
    ];
    for (name, frames) in orders {
        let sent: Vec<u8> = frames.iter().flat_map(bytes).collect();
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.say(&sent).await?;
                Ok(it)
            }),
        )?;
    }
    let raw = [
        ("a lane that there is not", raw_frame(6, &[9])),
        ("a block without a number", [bytes(&normal), raw_frame(7, &[0; 8])].concat()),
        ("a block of four bytes", [bytes(&normal), raw_frame(7, &[1; 4])].concat()),
        ("a gap that ends before it begins", [bytes(&normal), raw_frame(8, &[9, 3, 1])].concat()),
        ("a gap without a reason of ours", [bytes(&normal), raw_frame(8, &[1, 3, 77])].concat()),
    ];
    for (name, sent) in raw {
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |mut it| {
                it.say(&sent).await?;
                Ok(it)
            }),
        )?;
    }
    suite.attempt(
        "a lane opened on two streams",
        &BREACH,
        session(arena, async |mut it| {
            let open = bytes(&Frame::LaneOpen(Lane::Bulk));
            it.say(&open).await?;
            it.say(&open).await?;
            Ok(it)
        }),
    )
}

/// Streams that nobody has asked for.
fn streams(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let id = RecallId::from_bytes([7; 16]);
    let uni = [
        ("an answer to a recall that nobody asked", Frame::RecallOpen { id }),
        ("a greeting on a stream of one way", Frame::Hello(hello(1, 1))),
        ("a block on a stream of one way", block(1)?),
        ("a lane on a stream of one way", Frame::LaneOpen(Lane::Normal)),
    ];
    for (name, frame) in uni {
        suite.attempt(
            name,
            &BREACH,
            session(arena, async |it| {
                let mut send = it.connection.open_uni().await?;
                let _closed = send.write_all(&bytes(&frame)).await.is_err();
                Ok(it)
            }),
        )?;
    }
    suite.attempt(
        "an answer over a stream of two ways",
        &BREACH,
        session(arena, async |mut it| {
            it.say(&bytes(&Frame::RecallOpen { id })).await?;
            Ok(it)
        }),
    )?;
    let must = Must::new("no more streams are let in than there are lanes", &["4 streams"], &[]);
    suite.attempt("a thousand streams", &must, async {
        let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
        let connection = line.dial(&member.tls).await?.map_err(anyhow::Error::msg)?;
        let mut open = Vec::new();
        while open.len() < 1_000 {
            let one = tokio::time::timeout(Duration::from_secs(1), connection.open_bi()).await;
            let Ok(stream) = one else { break };
            open.push(stream?);
        }
        Ok(format!("{} streams", open.len()))
    })
}

/// More than can be stored, as fast as it can be sent.
fn floods(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let beats: Vec<u8> = bytes(&heartbeat()).repeat(FLOOD);
    let contexts: Vec<u8> = (0..FLOOD)
        .flat_map(|number| {
            let hostname = format!("host-{number}");
            bytes(&Frame::Context(Box::new(HostContext { hostname, ..HostContext::default() })))
        })
        .collect();
    let set_backs: Vec<u8> = (1..=FLOOD as u64).flat_map(|it| bytes(&set_back(it))).collect();
    let renewals = bytes(&Frame::Renew { signing_request: vec![1; 300] }).repeat(FLOOD);
    for (name, sent) in [
        ("a flood of heartbeats", beats),
        ("a flood of contexts", contexts),
        ("a flood of spools that were set back", set_backs),
        ("a flood of renewals", renewals),
    ] {
        let journalled = arena.numbers()?.of("signalbox_journal_entries");
        let must =
            Must::new("it is closed, and the journal is not filled", &["closed 1"], BREACH.counted);
        suite.attempt(name, &must, async {
            let ended = session(arena, async |mut it| {
                it.raw(&sent).await;
                Ok(it)
            });
            let ended = ended.await?;
            let more = arena.numbers()?.of("signalbox_journal_entries") - journalled;
            let is_filled = more > 50;
            Ok(if is_filled { format!("{more} entries, then {ended}") } else { ended })
        })?;
    }
    let must = Must::new("others are served meanwhile", &["acked 1"], &[]);
    suite.attempt("a flood of signs of life", &must, async {
        let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
        let mut flooding = Session::open(&line, &member).await?;
        let alive = bytes(&Frame::Alive).repeat(FLOOD);
        let flood = tokio::spawn(async move {
            for _ in 0..100 {
                flooding.raw(&alive).await;
            }
        });
        let (line, other) = (Line::udp(arena).await?, arena.member(NEIGHBOUR)?);
        let Frame::Block { block, .. } = block(1)? else { return Ok(String::new()) };
        let stored = Session::open(&line, &other).await?.store(&block).await?;
        flood.abort();
        Ok(stored)
    })?;
    suite.attempt(
        "a frame after the goodbye",
        &closed_in_order(),
        session(arena, async |mut it| {
            let goodbye = bytes(&Frame::Goodbye(GoodbyeReason::Shutdown));
            it.raw(&[goodbye, bytes(&heartbeat())].concat()).await;
            Ok(it)
        }),
    )
}

const fn closed_in_order() -> Must {
    Must::new("it is not looked at: the session ends", &["closed 0"], &[])
}

/// Frames that say whose they are: who sends them is what counts.
fn claims(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    suite.attempt("another agent's epoch", &OWN, async {
        let (line, victim) = (Line::udp(arena).await?, arena.member(VICTIM)?);
        let Frame::Block { block, .. } = block(1)? else { return Ok(String::new()) };
        let session = Session::open_as(&line, &victim, hello(77, 77)).await?;
        let stored = session.store(&block).await?;
        let attacker = arena.member(VICTIM)?;
        let other = Session::open_as(&line, &attacker, hello(77, 77)).await?;
        let is_empty = other.welcome.committed == [None; Lane::COUNT];
        Ok(if is_empty { "its own".to_owned() } else { format!("{stored}, and the other's") })
    })?;
    suite.attempt("another tenant's agent's id", &OWN, twin(arena))?;
    suite.attempt("another tenant's name and host in alerts", &OWN, async {
        let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
        let block = forged_block()?;
        let stored = Session::open(&line, &member).await?.store(&block).await?;
        let found = arena.cluster.cli(&["search", "--tenant", VICTIM, "--record", "--all"])?;
        let is_there = found.to_string().contains(FORGED);
        Ok(if is_there { format!("{stored}, and {VICTIM} has it") } else { "its own".to_owned() })
    })?;
    let name = "a block that is stored, sent again by the next session";
    let must = Must::new("it is refused, and stored once", &["closed 1, 1 stored"], BREACH.counted);
    suite.attempt(name, &must, async {
        let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
        let Frame::Block { block, .. } = block(1)? else { return Ok(String::new()) };
        let stored =
            || Ok::<_, anyhow::Error>(arena.numbers()?.of("signalbox_blocks_stored_total"));
        let before = stored()?;
        let session = Session::open(&line, &member).await?;
        session.store(&block).await?;
        session.leave().await;
        let connection = line.dial(&member.tls).await?.map_err(anyhow::Error::msg)?;
        let greeted = greet(connection, hello(1, 1)).await?.map_err(anyhow::Error::msg)?;
        let ended = greeted.store(&block).await?;
        let ended = ended.split(':').next().unwrap_or_default();
        Ok(format!("{ended}, {} stored", stored()? - before))
    })
}

const FORGED: &str = "forged-by-mallory";

fn forged_block() -> Result<Bytes> {
    let mut alert = Alert::default();
    (alert.observed_at, alert.severity) = (now(), Severity::High);
    alert.set(Field::DeviceHostname, "globex-host");
    let record = format!("{{\"tenant\":\"{VICTIM}\",\"host\":\"globex-host\",\"x\":\"{FORGED}\"}}");
    let mut builder = BlockBuilder::new();
    builder.push(&alert, record.as_bytes())?;
    Ok(builder.finish(1))
}

/// An agent of the attacker's has the id of one of the victim's: its certificate says so.
async fn twin(arena: &Arena) -> Result<String> {
    let (line, victim) = (Line::udp(arena).await?, arena.member(VICTIM)?);
    let Frame::Block { block, .. } = block(1)? else { return Ok(String::new()) };
    let session = Session::open(&line, &victim).await?;
    session.store(&block).await?;
    let raw = arena.raw(ATTACKER)?;
    let raw = raw.with_uris(&[&arena.identity(ATTACKER, victim.agent)?.to_string()]);
    let leaf = arena.leaf(&raw)?;
    let tls = super::client::tls(arena, Some(&leaf), shared::wire::ALPN)?;
    let twin = Member { tenant: ATTACKER.parse()?, agent: victim.agent, leaf, tls };
    let other = Session::open(&line, &twin).await?;
    if other.welcome.committed != [None; Lane::COUNT] {
        return Ok("the victim's cursors".to_owned());
    }
    let forged = other.store(&forged_block()?).await?;
    let found = arena.cluster.cli(&["search", "--tenant", VICTIM, "--record", "--all"])?;
    let list = arena.cluster.cli(&["agents", "--tenant", VICTIM, "--all"])?;
    let of_victim = |it: &Value| it["agent"] == victim.agent.to_string() && it["tenant"] == VICTIM;
    let is_shown = list["items"].as_array().is_some_and(|items| items.iter().any(of_victim));
    let is_mixed =
        found.to_string().contains(FORGED) || session.connection.close_reason().is_some();
    Ok(match (is_mixed, is_shown) {
        (false, true) => "its own".to_owned(),
        _ => format!("{forged}; mixed: {is_mixed}, shown: {is_shown}"),
    })
}
