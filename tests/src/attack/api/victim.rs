//! Two tenants with data of every kind: one that is attacked, whose texts nobody else has, and the attacker's own.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    context::HostContext,
    ids::{Lane, Seq},
    ledger::{Hash, Interval, SourceSums},
    recall::{RecallEnd, RecallOutcome},
    wire::{Frame, Gap, GapReason},
};
use tokio::task::JoinSet;

use super::{Client, requests::Known};
use crate::{
    attack::{
        arena::{Arena, Member, NEIGHBOUR, VICTIM, now},
        client::{Line, Session, bytes, greet, hello},
    },
    cluster::eventually,
};

/// What only the victim has.
pub(super) const HOST: &str = "globex-srv-7f3a";
pub(super) const ADDRESS: &str = "203.0.113.77";
pub(super) const RECORD: &str = "only-in-a-record-5d1c";

/// The process of a copy of the victim's agent: a number that nobody else has.
const COPY: u64 = 0x9d3c_51fe_0a77_b2e4;
const RULE: &str = "noise";
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of the victim, and the sessions that keep it alive.
pub(super) struct Victim {
    pub(super) known: Known,
    _line: Line,
    _sessions: JoinSet<()>,
}

/// Fills both tenants.
pub(super) fn prepare(arena: &Arena, client: &Client, admin: &str) -> Result<Victim> {
    let (a, b) = (arena.member(VICTIM)?, arena.member(VICTIM)?);
    let own = arena.member(NEIGHBOUR)?;
    let mut sessions = JoinSet::new();
    let line = arena.runtime.block_on(async {
        let line = Line::udp(arena).await?;
        let mut first = Session::open(&line, &a).await?;
        fill(&mut first, HOST, ADDRESS, RECORD).await?;
        answer_recalls(&mut first, client, admin, &a).await?;
        let mut second = Session::open(&line, &b).await?;
        fill(&mut second, &format!("{HOST}-b"), ADDRESS, RECORD).await?;
        let mut third = Session::open(&line, &own).await?;
        fill(&mut third, "acme-srv", "192.0.2.9", "an own record").await?;
        for mut session in [first, second, third] {
            sessions.spawn(async move {
                while let Ok(frame) = session.next().await {
                    if frame == Frame::Probe {
                        session.send(&Frame::Alive).await;
                    }
                }
            });
        }
        let copy = line.dial(&a.tls).await?.map_err(anyhow::Error::msg)?;
        match greet(copy.clone(), hello(2, COPY)).await? {
            Err(said) if said == "quarantined" => {}
            Ok(_) => bail!("a copy of an agent is welcomed"),
            Err(said) => bail!("a copy of an agent: {said}"),
        }
        sessions.spawn(async move { drop(copy.closed().await) });
        anyhow::Ok(line)
    })?;
    push(arena, client, admin)?;
    let mut known = known(client, admin, &a)?;
    let (policy, bundle) = (arena.policy(VICTIM, 2, &format!("# {HOST}, again"))?, arena.trust(9)?);
    let (policy, bundle) = (arena.policy_key.sign(&policy)?, arena.policy_key.sign_trust(&bundle)?);
    known.envelopes = BTreeMap::from([
        ("/v1/tenants/{tenant}/policies", STANDARD.encode(policy)),
        ("/v1/authority/trust", STANDARD.encode(bundle)),
    ]);
    Ok(Victim { known, _line: line, _sessions: sessions })
}

/// Makes data of every kind in an agent's name.
async fn fill(session: &mut Session, host: &str, address: &str, record: &str) -> Result<()> {
    for number in 0..2 {
        let context = HostContext {
            hostname: host.to_owned(),
            names: vec![format!("{host}-{number}")],
            os: "Debian 13".to_owned(),
            ..HostContext::default()
        };
        session.send(&Frame::Context(Box::new(context))).await;
    }
    let mut normal = session.lane(Lane::Normal).await?;
    for number in 1..3 {
        normal.block(number, &block(&format!("{host}-{number}"), address, record)?).await;
        expect(&normal.answer(&session.connection).await, &format!("acked {number}"))?;
    }
    let mut bulk = session.lane(Lane::Bulk).await?;
    for (first, reason) in [(1, GapReason::Missing), (3, GapReason::Damaged)] {
        let number = |number| Seq::new(number).context("a number");
        let gap = Gap { first: number(first)?, last: number(first + 1)?, reason };
        bulk.raw(&bytes(&Frame::Gap(gap))).await;
        expect(&bulk.answer(&session.connection).await, &format!("acked {}", first + 1))?;
    }
    let mut sums = SourceSums::of(host);
    sums.read = 9;
    let mut previous = Hash::default();
    for number in 1..3 {
        let (from, sources) = (now(), vec![sums.clone()]);
        let interval =
            Interval { number, previous, from, until: from, sources, ..Interval::default() };
        previous = interval.hash();
        session.send(&Frame::Ledger(vec![interval])).await;
        loop {
            match session.next().await {
                Ok(Frame::LedgerAck { up_to }) if up_to == number => break,
                Ok(_) => {}
                Err(ending) => bail!("an interval: {ending}"),
            }
        }
    }
    Ok(())
}

fn expect(is: &str, must: &str) -> Result<()> {
    if is == must { Ok(()) } else { bail!("{is} in place of {must}") }
}

fn block(host: &str, address: &str, record: &str) -> Result<Bytes> {
    let mut builder = BlockBuilder::new();
    for _ in 0..2 {
        let mut alert = Alert::default();
        (alert.observed_at, alert.severity) = (now(), Severity::High);
        alert.set(Field::DeviceHostname, host);
        alert.set(Field::SrcIp, address);
        alert.set(Field::Title, format!("{host} was seen"));
        builder.push(&alert, record.as_bytes())?;
    }
    Ok(builder.finish(1))
}

/// Begins to roll out policies.
fn push(arena: &Arena, client: &Client, admin: &str) -> Result<()> {
    for (tenant, host) in [(VICTIM, HOST), (NEIGHBOUR, "acme-srv")] {
        let envelope = arena.policy_key.sign(&arena.policy(tenant, 1, &format!("# {host}"))?)?;
        let body = json!({ "envelope": STANDARD.encode(envelope) });
        let path = format!("/v1/tenants/{tenant}/policies");
        let pushed = client.ask("POST", &path, admin, Some(&body))?;
        expect(&pushed.status.to_string(), "201").with_context(|| pushed.text.clone())?;
    }
    Ok(())
}

/// Asks for two recalls, and has the agent answer them.
async fn answer_recalls(
    session: &mut Session,
    client: &Client,
    admin: &str,
    member: &Member,
) -> Result<()> {
    for _ in 0..2 {
        let body = json!({
            "tenant": VICTIM, "agent": member.agent.to_string(), "rule": RULE,
        });
        let asked = client.ask("POST", "/v1/recalls", admin, Some(&body))?;
        let id = asked.json()["id"].as_str().context("a recall")?.parse()?;
        loop {
            match session.next().await {
                Ok(Frame::Recall(recall)) if recall.id == id => break,
                Ok(_) => {}
                Err(ending) => bail!("a recall: {ending}"),
            }
        }
        let block = block(HOST, ADDRESS, RECORD)?;
        let end = RecallEnd {
            records: 2,
            bytes: block.len() as u64,
            ..RecallEnd::empty(id, RecallOutcome::Answered)
        };
        let frames = [
            Frame::RecallOpen { id },
            Frame::RecallBlock { block },
            Frame::RecallEnd(Box::new(end)),
        ];
        let mut send = session.connection.open_uni().await?;
        send.write_all(&frames.iter().flat_map(bytes).collect::<Vec<u8>>()).await?;
        let _finished = send.finish().is_ok();
        eventually("an answer to a recall", TIMEOUT, || {
            let recall = client.ask("GET", &format!("/v1/recalls/{id}"), admin, None)?;
            Ok((recall.json()["recall"]["answered"] == 1).then_some(()))
        })?;
    }
    Ok(())
}

/// Finds out what everything of the victim's is called.
fn known(client: &Client, admin: &str, agent: &Member) -> Result<Known> {
    let read =
        |path: &str| Ok::<Value, anyhow::Error>(client.ask("GET", path, admin, None)?.json());
    let cases = eventually("the victim's cases", TIMEOUT, || {
        let cases = read(&format!("/v1/cases?tenant={VICTIM}"))?;
        Ok((cases["items"].as_array().map_or(0, Vec::len) > 1).then_some(cases))
    })?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    let recalls = read(&format!("/v1/recalls?tenant={VICTIM}"))?;
    let shown = read(&format!("/v1/agents/{}", agent.agent))?;
    let body = json!({ "holder": "globex-analyst", "role": "analyst", "tenants": [VICTIM] });
    let token = client.ask("POST", "/v1/tokens", admin, Some(&body))?.json();
    let body = json!({ "tenant": VICTIM });
    let join = client.ask("POST", "/v1/join-tokens", admin, Some(&body))?.json();
    let is_of = |it: &&Value| it["title"].as_str().is_none_or(|title| title.contains(HOST));
    let case = cases["items"].as_array().and_then(|it| it.iter().find(is_of)).context("a case")?;
    let values = [
        ("tenant", VICTIM.to_owned()),
        ("tenants", VICTIM.to_owned()),
        ("agent", agent.agent.to_string()),
        ("case", text(&case["id"])?),
        ("recall", text(&recalls["items"][0]["id"])?),
        (
            "process",
            text(&shown["agent"]["conflict"]["hosts"][1]["process"])
                .or_else(|_| text(&shown["conflict"]["hosts"][1]["process"]))
                .with_context(|| shown.to_string())?,
        ),
        ("rule", RULE.to_owned()),
        ("host", format!("{HOST}-1")),
        ("entity", format!("ip:{ADDRESS}")),
        ("record", "true".to_owned()),
        ("from", "2020-01-01T00:00:00.000Z".to_owned()),
        ("since", "2020-01-01T00:00:00.000Z".to_owned()),
        ("after", "0".to_owned()),
        ("before", "9000000".to_owned()),
        ("limit", "1".to_owned()),
        ("Last-Event-ID", "0".to_owned()),
        ("state", "waiting".to_owned()),
        ("fence", "1".to_owned()),
    ];
    let id = |made: &Value| text(&made["id"]).or_else(|_| text(&made["token"]["id"]));
    let ids = [
        ("/v1/join-tokens", id(&join).with_context(|| join.to_string())?),
        ("/v1/tokens", id(&token).with_context(|| token.to_string())?),
    ];
    let (values, ids) = (BTreeMap::from(values), BTreeMap::from(ids));
    Ok(Known { values, ids, ..Known::default() })
}
