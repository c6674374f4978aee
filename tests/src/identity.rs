//! What is promised of agents' identities, with a thousand of them live: a revocation ends connections, a renewal loses
//! nothing, a copy is told from its original, an address may change, and a spool that was set back is found out.
//!
//! The coordinator and the command line are the shipped programs. The agents are connections of this process: their
//! handshakes, streams and frames are an agent's, and what it would read is prepared.
//!
//! ```text
//! renewals, lost_blocks              each sends a block, renews, connects with the next certificate, sends another
//! clones_detected                    a second process with the same certificate greets while the first lives
//! set_back_detected                  one greets with a spool that holds less than is durable
//! roamed_without_reconnect           the socket under a connection becomes another; the next block is acked
//! revoke_to_close_ms_p50, _p99       from calling `signalbox agents revoke` until the connection is closed
//! rollbacks_refused                  older policies and trust bundles, well signed, that an agent did not take
//! tcp_fallback_ms                    from an agent's start, with UDP blocked, until its first block is stored: median
//! flood_other_tenant_p99_ratio       a tenant's urgent p99 beside another's flood, over that without: median
//! flood_times_quota                  how many times its quota the flood came to where the quota was no bound
//! resume_after_revoke                sessions that a revoked agent got after that, with the state of its TLS sessions
//! ```
#![expect(clippy::disallowed_methods, reason = "what is measured is how long something takes")]
#![expect(clippy::print_stdout, reason = "whoever runs the check sees how it goes")]

mod flood;
mod rollbacks;
mod session;
mod tcp;

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use agent::{config::IdentityConfig, tls::Credentials};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use certs::{PrivateKey, certificates_to_pem};
use coordinator::clock::Clock;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quinn::Endpoint;
use serde_json::{Value, json};
use shared::{
    alert::Alert,
    block::BlockBuilder,
    ids::{AgentId, BootId, Epoch, Lane},
    renewal::RenewReply,
};
use tokio::runtime::Runtime;

use self::session::{Answer, Process, Session};
use crate::{bench::client::endpoint, cluster::Cluster, report};

const TENANT: &str = "acme";
const AGENTS: u64 = 1_000;
const CLONES: usize = 100;
const SET_BACK: usize = 100;
const ROAMING: usize = 100;
const REVOKED: usize = 200;
/// Handshakes at once.
const AT_ONCE: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(60);
/// What is promised of a revocation.
const CLOSE_MS_MAX: f64 = 2_000.0;
/// An agent behind a firewall is not to be missed for longer than a handshake may take.
const FALLBACK_MS_MAX: f64 = 10_000.0;
/// What is promised of a flood, and how large it has to be to count as one.
const FLOOD_RATIO_MAX: f64 = 1.2;
const FLOOD_TIMES_MIN: f64 = 100.0;

/// An agent of this process.
struct Member {
    agent: AgentId,
    files: IdentityConfig,
    credentials: Credentials,
    session: Session,
    acked: u64,
}

/// Runs the check and writes `target/reports/identity.json`. Returns whether all that is promised holds.
///
/// # Errors
/// The programs cannot be built or started, or an agent cannot do what it may.
pub fn run() -> Result<bool> {
    let mut cluster = Cluster::issuing(TIMEOUT)?;
    let runtime = Runtime::new()?;
    let mut report = check(&cluster, &runtime)?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    println!("== one tenant floods the coordinator");
    let flood = flood::run(&runtime)?;
    report["flood_other_tenant_p99_ratio"] = flood.ratio.into();
    report["flood_times_quota"] = flood.times.into();
    report::write("identity", &report)?;
    Ok(verdict(&report))
}

fn check(cluster: &Cluster, runtime: &Runtime) -> Result<Value> {
    let block = block()?;
    let roaming = runtime.block_on(async { endpoint() })?;
    let (mut members, renewals, lost) = runtime.block_on(async {
        let endpoint = endpoint()?;
        println!("== {AGENTS} agents connect, renew and connect anew");
        let mut members = gather(cluster, &endpoint).await?;
        send(&mut members, &block).await?;
        let renewals = renew(cluster, &endpoint, &mut members).await?;
        send(&mut members, &block).await?;
        let lost: u64 = members.iter().map(|member| 2 - member.acked).sum();
        anyhow::Ok((members, renewals, lost))
    })?;
    println!("== copies, spools that were set back, and addresses that change");
    let clones = runtime.block_on(count_clones(cluster, &members))?;
    let contested = count_shown(cluster, "conflict")?;
    runtime.block_on(set_back(cluster, &mut members))?;
    let found_out = count_shown(cluster, "spool_notice")?;
    let roamed = runtime.block_on(roam(cluster, roaming, &mut members, &block))?;
    println!("== a coordinator offers what was signed long ago");
    let (tried, refused) = rollbacks::refused(cluster, TENANT)?;
    println!("== UDP is blocked");
    let mut fallbacks = tcp::fallbacks(cluster, "globex")?;
    fallbacks.sort_by(f64::total_cmp);
    println!("== {REVOKED} of them are revoked");
    let (closed, resumed) = revoke(cluster, runtime, &mut members)?;
    Ok(json!({
        "agents": AGENTS,
        "renewals": renewals,
        "lost_blocks": lost,
        "clones_tried": CLONES,
        "clones_detected": clones.min(contested),
        "set_back_tried": SET_BACK,
        "set_back_detected": found_out,
        "roaming_tried": ROAMING,
        "roamed_without_reconnect": roamed,
        "rollbacks_tried": tried,
        "rollbacks_refused": refused,
        "tcp_fallback_ms": percentile(&fallbacks, 0.5),
        "revoked": REVOKED,
        "revoke_to_close_ms_p50": percentile(&closed, 0.5),
        "revoke_to_close_ms_p99": percentile(&closed, 0.99),
        "resume_after_revoke": resumed,
    }))
}

/// Says what does not hold of what is promised.
fn verdict(report: &Value) -> bool {
    let of = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
    let claims = [
        ("every agent renews", of("renewals") == of("agents")),
        ("no block is lost", of("lost_blocks") == 0.0),
        ("every copy is detected", of("clones_detected") == of("clones_tried")),
        ("every older spool is found out", of("set_back_detected") == of("set_back_tried")),
        ("an address may change", of("roamed_without_reconnect") == of("roaming_tried")),
        ("every rollback is refused", of("rollbacks_refused") == of("rollbacks_tried")),
        ("TCP takes over within 10 s", of("tcp_fallback_ms") <= FALLBACK_MS_MAX),
        ("a revocation closes within 2 s", of("revoke_to_close_ms_p99") <= CLOSE_MS_MAX),
        ("nobody resumes after it", of("resume_after_revoke") == 0.0),
        ("a flood is a hundred times the quota", of("flood_times_quota") >= FLOOD_TIMES_MIN),
        (
            "another tenant's urgent blocks do not wait for it",
            of("flood_other_tenant_p99_ratio") <= FLOOD_RATIO_MAX,
        ),
    ];
    let missed = claims.iter().filter(|(_, holds)| !holds);
    missed.clone().for_each(|(claim, _)| println!("missed: {claim}"));
    missed.count() == 0
}

/// Returns a small block.
fn block() -> Result<Bytes> {
    let mut builder = BlockBuilder::new();
    let mut alert = Alert::default();
    alert.observed_at = Clock::wall().now();
    builder.push(&alert, b"{}")?;
    Ok(builder.finish(1))
}

/// Lets all agents connect.
async fn gather(cluster: &Cluster, endpoint: &Endpoint) -> Result<Vec<Member>> {
    let coordinator = cluster.coordinator.ingest;
    let identities = (0..AGENTS).map(|number| cluster.identity(TENANT, number));
    let members = stream::iter(identities).map(|identity| async move {
        let (agent, files) = identity?;
        let credentials = Credentials::load(&files)?;
        let process = Process { epoch: Epoch(1), boot: BootId(1), made: 0 };
        let answer = Session::connect(endpoint, coordinator, &credentials, process).await?;
        let session = answer.welcomed().context("an agent was not welcomed")?;
        Ok(Member { agent, files, credentials, session, acked: 0 })
    });
    members.buffered(AT_ONCE).try_collect().await
}

/// Lets each send its next block.
async fn send(members: &mut [Member], block: &Bytes) -> Result<()> {
    let sends = members.iter_mut().map(|member| async move {
        member.acked = member.session.send(Lane::Normal, member.acked + 1, block).await?;
        anyhow::Ok(())
    });
    stream::iter(sends).buffer_unordered(AT_ONCE).try_collect().await
}

/// Lets each renew and connect anew; returns how many did.
async fn renew(cluster: &Cluster, endpoint: &Endpoint, members: &mut [Member]) -> Result<usize> {
    let coordinator = cluster.coordinator.ingest;
    let renewals = members.iter_mut().map(|member| async move {
        let key = PrivateKey::generate()?;
        let RenewReply::Renewed(chain) = member.session.renew(key.signing_request()?).await? else {
            return Ok(0);
        };
        std::fs::write(&member.files.key, key.to_pem())?;
        std::fs::write(&member.files.certificate, certificates_to_pem(&chain)?)?;
        member.credentials = Credentials::load(&member.files)?;
        member.session.close();
        let process = Process { epoch: Epoch(1), boot: BootId(1), made: member.acked };
        let answer = Session::connect(endpoint, coordinator, &member.credentials, process).await?;
        member.session = answer.welcomed().context("a renewed agent was not welcomed")?;
        anyhow::Ok(1)
    });
    let renewed: Vec<usize> =
        stream::iter(renewals).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(renewed.iter().sum())
}

/// Lets a copy of each of some agents greet; returns how many are in quarantine.
async fn count_clones(cluster: &Cluster, members: &[Member]) -> Result<usize> {
    let (coordinator, endpoint) = (cluster.coordinator.ingest, &endpoint()?);
    let copies = members.iter().take(CLONES).map(|member| async move {
        let process = Process { epoch: Epoch(2), boot: BootId(2), made: 0 };
        let copy = Session::connect(endpoint, coordinator, &member.credentials, process).await?;
        anyhow::Ok(usize::from(matches!(copy, Answer::Quarantined)))
    });
    let found: Vec<usize> = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.iter().sum())
}

/// Lets some agents connect anew with a spool that holds less than they have sent.
async fn set_back(cluster: &Cluster, members: &mut [Member]) -> Result<()> {
    let (coordinator, endpoint) = (cluster.coordinator.ingest, &endpoint()?);
    for member in members.iter_mut().skip(CLONES).take(SET_BACK) {
        member.session.close();
        let process = Process { epoch: Epoch(1), boot: BootId(1), made: 1 };
        let answer = Session::connect(endpoint, coordinator, &member.credentials, process).await?;
        member.session = answer.welcomed().context("it finds out by itself")?;
    }
    Ok(())
}

/// Lets some agents connect from an endpoint whose socket then becomes another; returns how many blocks were acked over
/// the same connections.
async fn roam(
    cluster: &Cluster,
    endpoint: Endpoint,
    members: &mut [Member],
    block: &Bytes,
) -> Result<usize> {
    let coordinator = cluster.coordinator.ingest;
    let roaming = members.iter_mut().skip(CLONES + SET_BACK).take(ROAMING);
    let mut roaming: Vec<&mut Member> = roaming.collect();
    for member in &mut roaming {
        member.session.close();
        let process = Process { epoch: Epoch(1), boot: BootId(1), made: member.acked };
        let answer = Session::connect(&endpoint, coordinator, &member.credentials, process).await?;
        member.session = answer.welcomed().context("it is the same agent")?;
    }
    endpoint.rebind(UdpSocket::bind(("0.0.0.0", 0))?)?;
    let mut roamed = 0;
    for member in roaming {
        member.acked = member.session.send(Lane::Normal, member.acked + 1, block).await?;
        roamed += usize::from(member.acked == 3);
    }
    Ok(roamed)
}

/// Returns how many agents are shown with something in this field.
fn count_shown(cluster: &Cluster, field: &str) -> Result<usize> {
    let agents = cluster.cli(&["agents", "--tenant", TENANT, "--all"])?;
    let agents = agents["items"].as_array().context("agents")?.clone();
    ensure!(agents.len() == usize::try_from(AGENTS)?, "{} agents are listed", agents.len());
    Ok(agents.iter().filter(|agent| !agent[field].is_null()).count())
}

/// Revokes some agents, one after the other; returns how many milliseconds after the command was called each one's
/// connection was closed, ascending, and how many of them got a session after that.
fn revoke(
    cluster: &Cluster,
    runtime: &Runtime,
    members: &mut [Member],
) -> Result<(Vec<f64>, usize)> {
    let mut closed = Vec::new();
    let last = members.len() - REVOKED;
    for member in &members[last..] {
        let closes = runtime.spawn(member.session.closes());
        let called_at = Instant::now();
        let agent = member.agent.to_string();
        cluster.cli(&["agents", "revoke", &agent, "--reason", "the check of identities"])?;
        let closed_at = runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, closes).await })
            .context("a revoked agent's connection stays open")??;
        closed.push(closed_at.saturating_duration_since(called_at).as_secs_f64() * 1_000.0);
    }
    closed.sort_by(f64::total_cmp);
    let coordinator = cluster.coordinator.ingest;
    let resumed = runtime.block_on(async {
        let endpoint = endpoint()?;
        let mut resumed = 0;
        for member in &members[last..] {
            // The same TLS settings, with whatever they remember of sessions.
            let process = Process { epoch: Epoch(1), boot: BootId(1), made: member.acked };
            let again =
                Session::connect(&endpoint, coordinator, &member.credentials, process).await;
            resumed += usize::from(again.is_ok());
        }
        anyhow::Ok(resumed)
    })?;
    Ok((closed, resumed))
}

/// Returns the value below which a share of the ascending `values` lies.
fn percentile(values: &[f64], share: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a place among a few hundred"
    )]
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied()
}
