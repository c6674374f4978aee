//! Join tokens that let nobody in, and what a host asks for that has one.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use certs::{PrivateKey, testing::signing_request_for};
use shared::{
    identity::{Identity, Role},
    join::{ALPN_JOIN, JoinSecret, JoinToken},
    limits::{CONTEXT_TEXT_BYTES_MAX, JOIN_FRAME_BYTES_MAX},
};

use super::{
    Must, Suite,
    arena::{Arena, NEIGHBOUR, VICTIM, new_agent},
    client::{Line, Way, ask_to_join, ending, exchange, tls},
};
use crate::cluster::Cluster;

/// Guesses are counted by address: each part has one of its own.
const GUESSER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 21);
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 22);
const OTHERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 23);

/// More than an address may guess within its window.
const GUESSES: usize = 30;

const USED: Must = Must::new(
    "it is used up",
    &["refused used"],
    &["signalbox_joins_refused_total{reason=\"used\"}"],
);
const EXPIRED: Must = Must::new(
    "it has expired",
    &["refused expired"],
    &["signalbox_joins_refused_total{reason=\"expired\"}"],
);
const REVOKED: Must = Must::new(
    "it was revoked",
    &["refused revoked"],
    &["signalbox_joins_refused_total{reason=\"revoked\"}"],
);
const NO_REQUEST: Must = Must::new(
    "the connection is closed without an answer",
    &["closed 0"],
    &["signalbox_joins_refused_total{reason=\"no_request\"}"],
);
const NO_SIGNING_REQUEST: Must = Must::new(
    "it is none that can be signed",
    &["refused signing_request"],
    &["signalbox_joins_refused_total{reason=\"signing_request\"}"],
);
const OWN: Must = Must::new(
    "the certificate names a new agent of the token's tenant",
    &["joined acme as an agent of its own"],
    &["signalbox_agents_joined_total"],
);
const HOST_REFUSES: Must =
    Must::new("the host refuses it and keeps nothing", &["the host refuses"], &[]);

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    tokens(suite)?;
    requests(suite)?;
    names(suite)?;
    guesses(suite)?;
    hosts(suite)
}

/// Asks to join with a fresh key.
async fn join(arena: &Arena, way: Way, from: Ipv4Addr, secret: JoinSecret) -> Result<String> {
    let request = PrivateKey::generate()?.signing_request()?;
    join_with(arena, way, from, secret, request).await
}

async fn join_with(
    arena: &Arena,
    way: Way,
    from: Ipv4Addr,
    secret: JoinSecret,
    signing_request: Vec<u8>,
) -> Result<String> {
    let line = Line::open(arena, way, from).await?;
    let connection = line.dial(&tls(arena, None, ALPN_JOIN)?).await?;
    let connection = connection.map_err(anyhow::Error::msg)?;
    ask_to_join(&connection, secret, signing_request).await
}

fn tokens(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    for way in Way::ALL {
        let how = way.as_str();
        let used = arena.join_token(NEIGHBOUR)?.secret;
        let first = arena.runtime.block_on(join(arena, way, HOST, used))?;
        ensure!(first.starts_with("joined acme"), "{first}");
        let name = format!("a token that another host has used, {how}");
        suite.attempt(name, &USED, join(arena, way, HOST, used))?;
        let name = format!("a token that has expired, {how}");
        suite.attempt(name, &EXPIRED, join(arena, way, HOST, arena.expired.join))?;
        let revoked = arena.join_token(NEIGHBOUR)?.secret;
        let list = arena.cluster.cli(&["token", "list", "--join", "--all"])?;
        let items = list["items"].as_array().context("tokens")?;
        let is_fresh = |it: &&serde_json::Value| it["uses"] == 0 && it["is_good"] == true;
        let id = items.iter().find(is_fresh).and_then(|it| it["id"].as_str()).context("a token")?;
        arena.cluster.cli(&["token", "revoke", id])?;
        let name = format!("a token that was revoked, {how}");
        suite.attempt(name, &REVOKED, join(arena, way, HOST, revoked))?;
    }
    let once = arena.join_token(NEIGHBOUR)?.secret;
    let must = Must::new("one host of twenty is let in", &["1 of 20 let in"], USED.counted);
    suite.attempt("a token that twenty hosts use at once", &must, async {
        let line = Line::open(arena, Way::Udp, HOST).await?;
        let tls = tls(arena, None, ALPN_JOIN)?;
        let mut hosts = Vec::new();
        // As many as may be met at once from one address, and some that wait for their places.
        for chunk in [10, 10] {
            let tried = (0..chunk).map(|_| async {
                let connection = line.dial(&tls).await?.map_err(anyhow::Error::msg)?;
                let request = PrivateKey::generate()?.signing_request()?;
                ask_to_join(&connection, once, request).await
            });
            hosts.extend(futures_util::future::join_all(tried).await);
        }
        let all: Vec<String> = hosts.into_iter().collect::<Result<_>>()?;
        let joined = all.iter().filter(|it| it.starts_with("joined")).count();
        Ok(format!("{joined} of {} let in", all.len()))
    })
}

/// Requests that are none.
fn requests(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    let noise: Vec<u8> = (0..1_000).map(|_| rand::random()).collect();
    let requests = [
        ("a request of no length", len(0)),
        ("a request a byte too long", len(JOIN_FRAME_BYTES_MAX + 1)),
        ("a request of four gigabytes", len(usize::MAX)),
        ("a request of noise", [len(noise.len()), noise].concat()),
        ("a request that ends early", [len(100), vec![1; 50]].concat()),
        ("no request on its stream", Vec::new()),
    ];
    for (name, sent) in requests {
        suite.attempt(name, &NO_REQUEST, async {
            let line = Line::open(arena, Way::Udp, OTHERS).await?;
            let connection = line.dial(&tls(arena, None, ALPN_JOIN)?).await?;
            let connection = connection.map_err(anyhow::Error::msg)?;
            let answered = exchange::<u8>(&connection, &sent).await?;
            Ok(answered.map_or_else(|ending| ending, |_| "it is answered".to_owned()))
        })?;
    }
    suite.attempt("nothing at all after the handshake", &NO_REQUEST, async {
        let line = Line::open(arena, Way::Udp, OTHERS).await?;
        let connection = line.dial(&tls(arena, None, ALPN_JOIN)?).await?;
        Ok(ending(&connection.map_err(anyhow::Error::msg)?).await)
    })?;
    let token = arena.join_token(NEIGHBOUR)?.secret;
    let good = PrivateKey::generate()?.signing_request()?;
    let mut unsigned = good.clone();
    let last = unsigned.last_mut().context("a signature")?;
    *last ^= 1;
    for (name, request) in [
        ("a signing request of noise", vec![7; 300]),
        ("an empty signing request", Vec::new()),
        ("a signing request that its key did not sign", unsigned),
        ("a signing request that is too long", [good, vec![0; 5_000]].concat()),
    ] {
        let tried = join_with(arena, Way::Udp, OTHERS, token, request);
        suite.attempt(name, &NO_SIGNING_REQUEST, tried)?;
    }
    Ok(())
}

/// Signing requests and hosts that say who they want to be.
fn names(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let trust_domain = arena.cluster.authority().trust_domain().to_owned();
    let coordinator = Role::Coordinator { name: "coordinator".to_owned() };
    let names = [
        ("another tenant's agent", arena.identity(VICTIM, new_agent())?),
        ("a coordinator", Identity { trust_domain, role: coordinator }),
    ];
    for (name, identity) in names {
        let token = arena.join_token(NEIGHBOUR)?.secret;
        let request = signing_request_for(&PrivateKey::generate()?, &identity)?;
        let asked = identity.to_string();
        suite.attempt(format!("a signing request for {name}"), &OWN, async {
            let joined = join_with(arena, Way::Udp, HOST, token, request).await?;
            let own = format!("joined acme as spiffe://{}/tenant/acme/agent/", domain(arena));
            let is_own = joined.starts_with(&own) && !joined.ends_with(&asked);
            Ok(if is_own { "joined acme as an agent of its own".to_owned() } else { joined })
        })?;
    }
    let token = arena.join_token(NEIGHBOUR)?.secret;
    let must = Must::new(
        "it is refused, or cut before it is kept",
        &["closed 0", "joined acme", "refused"],
        &["signalbox_joins_refused_total", "signalbox_agents_joined_total"],
    );
    suite.attempt("a host whose name is longer than any", &must, async {
        let line = Line::open(arena, Way::Udp, HOST).await?;
        let connection = line.dial(&tls(arena, None, ALPN_JOIN)?).await?;
        let connection = connection.map_err(anyhow::Error::msg)?;
        let request = shared::join::JoinRequest {
            secret: token,
            signing_request: PrivateKey::generate()?.signing_request()?,
            host_name: "h".repeat(10_000),
            agent_version: String::new(),
        };
        let sent = shared::join::encode_frame(&request)?;
        let answer = exchange::<shared::join::JoinReply>(&connection, &sent).await?;
        let journal = arena.cluster.cli(&["journal"])?.to_string();
        if journal.contains(&"h".repeat(CONTEXT_TEXT_BYTES_MAX + 1)) {
            return Ok("its name is in the journal".to_owned());
        }
        Ok(match answer {
            Ok(shared::join::JoinReply::Joined(joined)) => format!("joined {}", joined.tenant),
            Ok(shared::join::JoinReply::Refused(refusal)) => {
                format!("refused {}", refusal.as_str())
            }
            Err(ending) => ending,
        })
    })
}

fn domain(arena: &Arena) -> &str {
    arena.cluster.authority().trust_domain()
}

/// Secrets that are guessed, as fast as one can.
fn guesses(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let must = Must::new(
        "ten are looked at, the rest are not",
        &["10 looked at, 20 not, 0 let in"],
        &["signalbox_joins_refused_total{reason=\"too_many\"}"],
    );
    suite.attempt("thirty guesses from one address", &must, async {
        let (mut looked, mut not, mut joined) = (0, 0, 0);
        for _ in 0..GUESSES {
            let secret = JoinSecret::from_bytes(rand::random());
            match join(arena, Way::Udp, GUESSER, secret).await?.as_str() {
                "refused unknown" => looked += 1,
                "refused too_many" => not += 1,
                _ => joined += 1,
            }
        }
        Ok(format!("{looked} looked at, {not} not, {joined} let in"))
    })?;
    let must = Must::new("it is not looked at either", &["refused too_many"], must.counted);
    let secret = JoinSecret::from_bytes(rand::random());
    suite.attempt(
        "a guess from that address through a tunnel",
        &must,
        join(arena, Way::Tunnel, GUESSER, secret),
    )?;
    let token = arena.join_token(NEIGHBOUR)?.secret;
    let must = Must::new("it is let in", &["joined acme"], &["signalbox_agents_joined_total"]);
    suite.attempt("a good token from that address", &must, join(arena, Way::Udp, GUESSER, token))
}

/// Tokens that lead a host astray, with the shipped agent.
fn hosts(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let mut other = Cluster::new()?;
    other.let_hosts_join()?;
    other.coordinator.process.start()?;
    other.coordinator.wait_until_ready(std::time::Duration::from_secs(60))?;
    let token = arena.join_token(NEIGHBOUR)?;
    let foreign = other.coordinator.ingest.to_string();
    let text = token.to_string();
    let wrong_root = JoinToken { root_sha256: [7; 32], ..token.clone() };
    let wrong_name = JoinToken { server_name: "evil.example".to_owned(), ..token.clone() };
    let elsewhere = JoinToken { addresses: vec![foreign], ..token.clone() };
    let nowhere = JoinToken { addresses: Vec::new(), ..token.clone() };
    let texts = [
        ("a token that leads to another coordinator", elsewhere.to_string()),
        ("a token of another root", wrong_root.to_string()),
        ("a token of another server's name", wrong_name.to_string()),
        ("a token without addresses", nowhere.to_string()),
        ("a token that was not copied whole", text[..text.len() - 5].to_owned()),
        ("a token with a letter changed", text.replacen("sbjoin1_", "sbjoin1_A", 1)),
        ("an API token in place of a join token", arena.expired.api.clone()),
        ("a token of 100 kB", format!("sbjoin1_{}", "A".repeat(100_000))),
        ("no token", String::new()),
    ];
    for (number, (name, text)) in texts.iter().enumerate() {
        let host = arena.cluster.host(&format!("astray-{number}"), &[])?;
        suite.attempt(*name, &HOST_REFUSES, async {
            let output = host.join(&[text.as_str()])?;
            let kept = fs::read_dir(&host.identity).is_ok_and(|mut it| {
                it.any(|entry| entry.is_ok_and(|it| it.file_name() == "certificate.pem"))
            });
            Ok(match (output.status.success(), kept) {
                (false, false) => "the host refuses".to_owned(),
                outcome => format!("success and kept: {outcome:?}"),
            })
        })?;
    }
    other.coordinator.process.terminate(std::time::Duration::from_secs(60))?;
    Ok(())
}
