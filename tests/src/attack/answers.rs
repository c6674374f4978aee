//! What an agent says that the coordinator did not ask for, or that does not follow: ledgers, answers to recalls, and
//! requests for the next certificate.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use certs::{PrivateKey, testing::signing_request_for};
use serde_json::json;
use shared::{
    alert::Alert,
    block::BlockBuilder,
    identity::{Identity, Role},
    ids::Lane,
    ledger::{Hash, Interval, SourceSums},
    limits::{JOIN_FRAME_BYTES_MAX, LEDGER_FRAME_INTERVALS_MAX, SIGNING_REQUEST_BYTES_MAX},
    recall::{RecallEnd, RecallId, RecallOutcome},
    renewal::{ALPN_RENEW, RenewReply},
    time::Timestamp,
    wire::Frame,
};

use super::{
    Must, Suite,
    api::Client,
    arena::{ATTACKER, Arena, Member, VICTIM, now},
    client::{
        Line, Session, Way, ask_for_renewal, bytes, ending, exchange, hello, raw_frame, renewed,
        tls,
    },
    frames::BREACH,
};
use crate::cluster::eventually;

const SHOWN: Must = Must::new(
    "it is stored, and what does not follow is shown as a gap",
    &["acked"],
    &["signalbox_ledger_gaps_unexplained_total"],
);
const NO_CERTIFICATE: Must =
    Must::new("it gets none", &["refused SigningRequest"], &["signalbox_renewals_refused_total"]);
const OWN: Must = Must::new(
    "the certificate names the agent itself",
    &["renewed as its own"],
    &["signalbox_certificates_renewed_total"],
);

/// Renewals that an agent may ask for within an hour.
const RENEWALS: usize = 8;

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    intervals(suite)?;
    chains(suite)?;
    recalls(suite)?;
    renewals(suite)?;
    late_renewals(suite)
}

fn interval(number: u64, previous: Hash) -> Interval {
    let from = now();
    Interval { number, previous, from, until: from, ..Interval::default() }
}

/// Returns the bytes of a frame of the ledger, whatever is in it.
fn ledger(intervals: &[Interval]) -> Result<Vec<u8>> {
    Ok(raw_frame(16, &shared::wire::codec::encode(&intervals.to_vec())?))
}

async fn fresh(arena: &Arena) -> Result<(Line, Member, Session)> {
    let (line, member) = (Line::udp(arena).await?, arena.member(ATTACKER)?);
    let session = Session::open(&line, &member).await?;
    Ok((line, member, session))
}

/// Sends bytes on the control stream; returns how the connection ends.
async fn closed(arena: &Arena, sent: &[u8]) -> Result<String> {
    let (_line, _member, mut session) = fresh(arena).await?;
    session.raw(sent).await;
    Ok(ending(&session.connection).await)
}

/// Frames of the ledger that are none.
fn intervals(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let one = |number| interval(number, Hash::default());
    let backwards = Interval { until: Timestamp::from_ms(1), ..one(1) };
    let sources = |names: &[&str]| Interval {
        sources: names.iter().map(|name| SourceSums::of(name)).collect(),
        ..one(1)
    };
    let many: Vec<Interval> = (1..=LEDGER_FRAME_INTERVALS_MAX as u64 + 1).map(one).collect();
    let names: Vec<String> = (0..100).map(|number| format!("s{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let frames = [
        ("a ledger without intervals", vec![]),
        ("a ledger with too many intervals", many),
        ("an interval of number 0", vec![one(0)]),
        ("intervals with a number between them", vec![one(1), one(3)]),
        ("intervals with one number", vec![one(1), one(1)]),
        ("intervals behind the last number", vec![one(u64::MAX), one(1)]),
        ("an interval that ends before it begins", vec![backwards]),
        ("an interval with sources out of order", vec![sources(&["b", "a"])]),
        ("an interval with a source twice", vec![sources(&["a", "a"])]),
        ("an interval with a source without a name", vec![sources(&[""])]),
        ("an interval with too many sources", vec![sources(&names)]),
    ];
    for (name, intervals) in frames {
        let sent = ledger(&intervals)?;
        suite.attempt(name, &BREACH, closed(arena, &sent))?;
    }
    let flood = (1..500).map(|number| ledger(&[one(number)])).collect::<Result<Vec<_>>>()?;
    suite.attempt("five hundred intervals without waiting", &BREACH, closed(arena, &flood.concat()))
}

/// Sends frames of the ledger one after the other; returns up to where the last is acked.
async fn acked(session: &mut Session, frames: &[Vec<Interval>]) -> Result<String> {
    let mut up_to = 0;
    for intervals in frames {
        session.raw(&ledger(intervals)?).await;
        loop {
            match session.next().await {
                Ok(Frame::LedgerAck { up_to: acked }) => {
                    up_to = acked;
                    break;
                }
                Ok(_) => {}
                Err(ending) => return Ok(ending),
            }
        }
    }
    Ok(format!("acked {up_to}"))
}

/// Ledgers whose intervals do not follow each other.
fn chains(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let first = interval(1, Hash::default());
    let next = interval(2, first.hash());
    let other = Interval { policy: 9, ..first.clone() };
    let mut sums = SourceSums::of("eve");
    sums.read = 10;
    let open = Interval { sources: vec![sums], ..first.clone() };
    let mut claimed = interval(1, Hash::default());
    claimed.blocks[Lane::Normal.index()] = shared::ids::Seq::new(5);
    let ledgers = [
        ("a hash of another interval", vec![vec![first.clone()], vec![interval(2, Hash([7; 32]))]]),
        ("an interval that is left out", vec![vec![first.clone()], vec![interval(3, next.hash())]]),
        ("an interval that comes again as another", vec![vec![first.clone()], vec![other]]),
        ("a first interval that follows on something", vec![vec![interval(1, Hash([7; 32]))]]),
        ("a sum that does not close", vec![vec![open]]),
        ("a ledger that begins at the last number", vec![vec![interval(u64::MAX, Hash([7; 32]))]]),
    ];
    for (name, frames) in ledgers {
        suite.attempt(name, &SHOWN, async {
            let (_line, _member, mut session) = fresh(arena).await?;
            acked(&mut session, &frames).await
        })?;
    }
    suite.attempt("intervals of another epoch's ledger", &SHOWN, async {
        let (line, member, mut session) = fresh(arena).await?;
        acked(&mut session, &[vec![first.clone()]]).await?;
        session.leave().await;
        let mut session = Session::open_as(&line, &member, hello(2, 2)).await?;
        acked(&mut session, &[vec![next.clone()]]).await
    })?;
    let must = Must::new(
        "it is stored as the attacker's, and the victim's goes on",
        &["acked 2, and the victim's goes on"],
        SHOWN.counted,
    );
    suite.attempt("intervals of another agent's ledger", &must, async {
        let (line, victim) = (Line::udp(arena).await?, arena.member(VICTIM)?);
        let mut victims = Session::open_as(&line, &victim, hello(5, 5)).await?;
        acked(&mut victims, &[vec![first.clone()]]).await?;
        let member = arena.member(ATTACKER)?;
        let mut session = Session::open_as(&line, &member, hello(5, 5)).await?;
        let stored = acked(&mut session, &[vec![next.clone()]]).await?;
        let before = arena.numbers()?.of("signalbox_ledger_gaps_unexplained_total");
        let goes_on = acked(&mut victims, &[vec![next.clone()]]).await? == "acked 2";
        let after = arena.numbers()?.of("signalbox_ledger_gaps_unexplained_total");
        let is_clean = goes_on && before == after;
        Ok(format!("{stored}, and the victim's {}", if is_clean { "goes on" } else { "is broken" }))
    })
}

/// Asks for a recall as an administrator; returns its id.
fn ask(arena: &Arena, member: &Member) -> Result<RecallId> {
    let client = Client::new(arena)?;
    let body = json!({
        "tenant": member.tenant.as_str(), "agent": member.agent.to_string(), "rule": "r",
        "max_bytes": 10_000,
    });
    let token = arena.cluster.coordinator.admin_token()?;
    let answer = client.ask("POST", "/v1/recalls", &token, Some(&body))?;
    let id = answer.json()["id"].as_str().map(str::to_owned);
    Ok(id.with_context(|| answer.text.clone())?.parse()?)
}

/// Has an agent asked for a recall; returns which, or how the connection has ended.
async fn asked(
    arena: &Arena,
    member: &Member,
    session: &mut Session,
) -> Result<Result<RecallId, String>> {
    let id = ask(arena, member)?;
    loop {
        match session.next().await {
            Ok(Frame::Recall(recall)) if recall.id == id => return Ok(Ok(id)),
            Ok(_) => {}
            Err(ending) => return Ok(Err(ending)),
        }
    }
}

/// Has an agent asked for a recall, and sends this over a stream of one way; returns how the connection ends.
async fn answer(arena: &Arena, sent: impl FnOnce(RecallId) -> Vec<u8>) -> Result<String> {
    let (_line, member, mut session) = fresh(arena).await?;
    let id = match asked(arena, &member, &mut session).await? {
        Ok(id) => id,
        Err(ending) => return Ok(ending),
    };
    let mut send = session.connection.open_uni().await?;
    let _closed = send.write_all(&sent(id)).await.is_err();
    Ok(ending(&session.connection).await)
}

fn frames(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(bytes).collect()
}

fn block() -> Result<Bytes> {
    let mut builder = BlockBuilder::new();
    builder.push(&Alert::default(), b"held")?;
    Ok(builder.finish(1))
}

/// Answers that do not fit what was asked.
fn recalls(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let block = block()?;
    let open = |id| Frame::RecallOpen { id };
    let of = |block: &Bytes| Frame::RecallBlock { block: block.clone() };
    let end = |id| Frame::RecallEnd(Box::new(RecallEnd::empty(id, RecallOutcome::Answered)));
    let other = RecallId::from_bytes([9; 16]);
    type Sent<'a> = Box<dyn Fn(RecallId) -> Vec<u8> + 'a>;
    let answers: Vec<(&str, Sent<'_>)> = vec![
        ("an answer to another recall", Box::new(move |_| frames(&[open(other)]))),
        ("a block before its answer is opened", Box::new(|_| frames(&[of(&block)]))),
        ("an end before its answer is opened", Box::new(|id| frames(&[end(id)]))),
        ("an answer opened twice", Box::new(move |id| frames(&[open(id), open(id)]))),
        ("an end of another recall", Box::new(move |id| frames(&[open(id), end(other)]))),
        (
            "more bytes than were asked for",
            Box::new(|id| {
                let large = Bytes::from(vec![7; 20_000]);
                frames(&[open(id), of(&large)])
            }),
        ),
        (
            "a block that is none",
            Box::new(|id| frames(&[open(id), of(&Bytes::from_static(b"no block"))])),
        ),
        (
            "an end that counts what did not come",
            Box::new(move |id| {
                let end =
                    RecallEnd { records: 99, ..RecallEnd::empty(id, RecallOutcome::Answered) };
                frames(&[open(id), Frame::RecallEnd(Box::new(end))])
            }),
        ),
        (
            "an answer with a ledger in it",
            Box::new(move |id| frames(&[open(id), Frame::LedgerAck { up_to: 1 }])),
        ),
    ];
    for (name, sent) in answers {
        suite.attempt(name, &BREACH, answer(arena, sent))?;
    }
    let must = Must::new("it is not looked at", &["0 records"], &[]);
    suite.attempt("a block behind an answer's end", &must, async {
        let (_line, member, mut session) = fresh(arena).await?;
        let id = asked(arena, &member, &mut session).await?.map_err(anyhow::Error::msg)?;
        let mut send = session.connection.open_uni().await?;
        send.write_all(&frames(&[open(id), end(id), of(&block)])).await?;
        let client = Client::new(arena)?;
        let token = arena.cluster.coordinator.admin_token()?;
        let recall = eventually("an answer to a recall", Duration::from_secs(10), || {
            let recall = client.ask("GET", &format!("/v1/recalls/{id}"), &token, None)?.json();
            Ok((recall["recall"]["answered"] == 1).then_some(recall))
        })?;
        Ok(format!("{} records", recall["recall"]["records"]))
    })?;
    suite.attempt("an answer to another tenant's recall", &BREACH, async {
        let (line, victim) = (Line::udp(arena).await?, arena.member(VICTIM)?);
        Session::open(&line, &victim).await?.leave().await;
        let id = ask(arena, &victim)?;
        let (_line, _member, session) = fresh(arena).await?;
        let mut send = session.connection.open_uni().await?;
        let _closed = send.write_all(&frames(&[open(id), of(&block), end(id)])).await.is_err();
        Ok(ending(&session.connection).await)
    })
}

/// Returns what comes of a request for the next certificate in a session.
async fn renew(session: &mut Session, signing_request: Vec<u8>) -> Result<String> {
    session.send(&Frame::Renew { signing_request }).await;
    loop {
        match session.next().await {
            Ok(Frame::Renewed(reply)) => return renewed(&reply),
            Ok(_) => {}
            Err(ending) => return Ok(ending),
        }
    }
}

/// Says whether a certificate is the agent's own, and nobody else's.
fn own(arena: &Arena, member: &Member, happened: String) -> Result<String> {
    let own = arena.identity(member.tenant.as_str(), member.agent)?;
    let is_own = happened == format!("renewed as {own}");
    Ok(if is_own { "renewed as its own".to_owned() } else { happened })
}

/// Requests for certificates that nobody may get, over a session.
fn renewals(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    for (name, request) in bad_requests()? {
        suite.attempt(format!("{name}, in a session"), &NO_CERTIFICATE, async {
            renew(&mut fresh(arena).await?.2, request).await
        })?;
    }
    for (name, identity) in wishes(arena)? {
        let request = signing_request_for(&PrivateKey::generate()?, &identity)?;
        suite.attempt(format!("{name}, in a session"), &OWN, async {
            let (_line, member, mut session) = fresh(arena).await?;
            let happened = renew(&mut session, request).await?;
            own(arena, &member, happened)
        })?;
    }
    let good = PrivateKey::generate()?.signing_request()?;
    let both = bytes(&Frame::Renew { signing_request: good.clone() }).repeat(2);
    suite.attempt("two renewals at once", &BREACH, closed(arena, &both))?;
    for len in [0, SIGNING_REQUEST_BYTES_MAX + 1] {
        let sent = raw_frame(22, &shared::wire::codec::encode(&vec![1_u8; len])?);
        let name = format!("a signing request of {len} bytes");
        suite.attempt(name, &BREACH, closed(arena, &sent))?;
    }
    let must = Must::new("the ninth is too many", &["refused TooOften"], NO_CERTIFICATE.counted);
    suite.attempt("nine renewals within an hour", &must, async {
        let (_line, _member, mut session) = fresh(arena).await?;
        for _ in 0..RENEWALS {
            renew(&mut session, good.clone()).await?;
        }
        renew(&mut session, good.clone()).await
    })
}

fn bad_requests() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut unsigned = PrivateKey::generate()?.signing_request()?;
    let last = unsigned.last_mut().context("a signature")?;
    *last ^= 1;
    let cut = PrivateKey::generate()?.signing_request()?;
    Ok(vec![
        ("a signing request of noise", vec![7; 300]),
        ("a signing request that its key did not sign", unsigned),
        ("a signing request that is cut", cut[..cut.len() / 2].to_vec()),
        ("a signing request with bytes behind it", [cut, vec![0; 9]].concat()),
    ])
}

/// Who an agent may wish to be.
fn wishes(arena: &Arena) -> Result<Vec<(&'static str, Identity)>> {
    let trust_domain = arena.cluster.authority().trust_domain().to_owned();
    let coordinator = Role::Coordinator { name: "coordinator".to_owned() };
    let victim = arena.member(VICTIM)?;
    Ok(vec![
        ("a renewal as another tenant's agent", arena.identity(VICTIM, victim.agent)?),
        ("a renewal as another agent of the tenant", arena.identity(ATTACKER, victim.agent)?),
        ("a renewal as a coordinator", Identity { trust_domain, role: coordinator }),
    ])
}

/// The same over the protocol for those whose certificates have ended.
fn late_renewals(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    for way in Way::ALL {
        let how = way.as_str();
        for (name, request) in bad_requests()? {
            let tried =
                late(arena, way, async |connection| ask_for_renewal(connection, request).await);
            let tried = async { Ok(tried.await?.1) };
            suite.attempt(format!("{name}, late, {how}"), &NO_CERTIFICATE, tried)?;
        }
        for (name, identity) in wishes(arena)? {
            let request = signing_request_for(&PrivateKey::generate()?, &identity)?;
            suite.attempt(format!("{name}, late, {how}"), &OWN, async {
                let asked =
                    late(arena, way, async |connection| ask_for_renewal(connection, request).await);
                let (member, happened) = asked.await?;
                own(arena, &member, happened)
            })?;
        }
    }
    let must = Must::new(
        "the connection is closed without an answer",
        &["closed 0"],
        &["signalbox_renewals_refused_total"],
    );
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    for (name, sent) in [
        ("a late renewal a byte too long", len(JOIN_FRAME_BYTES_MAX + 1)),
        ("a late renewal of noise", [len(100), vec![7; 100]].concat()),
        ("a late renewal that ends early", [len(100), vec![7; 50]].concat()),
        ("a late renewal that is none", Vec::new()),
    ] {
        suite.attempt(name, &must, async {
            let asked = late(arena, Way::Udp, async |connection| {
                let answer = exchange::<RenewReply>(connection, &sent).await?;
                Ok(answer.map_or_else(|ending| ending, |_| "it is answered".to_owned()))
            });
            Ok(asked.await?.1)
        })?;
    }
    Ok(())
}

/// Connects as an agent that renews late, and asks; returns who asked, and what came of it.
async fn late(
    arena: &Arena,
    way: Way,
    asks: impl AsyncFnOnce(&quinn::Connection) -> Result<String>,
) -> Result<(Member, String)> {
    let member = arena.member(ATTACKER)?;
    let tls = tls(arena, Some(&member.leaf), ALPN_RENEW)?;
    let line = Line::open(arena, way, Ipv4Addr::LOCALHOST).await?;
    let connection = line.dial(&tls).await?.map_err(anyhow::Error::msg)?;
    let happened = asks(&connection).await?;
    Ok((member, happened))
}
