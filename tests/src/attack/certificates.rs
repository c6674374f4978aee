//! Certificates that are not to be believed, over UDP and through a tunnel, for each of the three protocols.
//!
//! Over that of joining a certificate counts for nothing, good or bad: a token is asked for. One that does not lead to
//! the root does not come so far.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use certs::{Authority, Leaf, PrivateKey, testing::RawLeaf, testing::impostor_of};
use rustls::ClientConfig;
use shared::{
    identity::{Identity, Role},
    join::{ALPN_JOIN, JoinSecret},
    renewal::ALPN_RENEW,
    wire::ALPN,
};

use super::{
    Must, Suite,
    arena::{Arena, NEIGHBOUR, VICTIM, now},
    client::{Line, Session, Way, ask_for_renewal, ask_to_join, greet, hello, tls},
};

/// Guesses of join tokens are counted by address; these are not to stand in others' way.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const TLS: Must =
    Must::new("TLS refuses it", &["tls"], &["signalbox_handshakes_refused_total{reason=\"tls\"}"]);
const NOBODY: Must = Must::new(
    "it names no agent of ours: the connection is closed",
    &["closed 3"],
    &["signalbox_handshakes_refused_total{reason=\"identity\"}"],
);
const NOBODY_OR_TLS: Must = Must::new(
    "it names no agent of ours: TLS refuses it, or the connection is closed",
    &["closed 3", "tls"],
    &[
        "signalbox_handshakes_refused_total{reason=\"identity\"}",
        "signalbox_handshakes_refused_total{reason=\"tls\"}",
    ],
);
const ENDED: Must = Must::new(
    "it has ended: the connection is closed, and it may be renewed",
    &["closed 6"],
    &["signalbox_handshakes_refused_total{reason=\"expired\"}"],
);
const REVOKED: Must = Must::new(
    "the agent was revoked: the connection is closed",
    &["closed 4"],
    &["signalbox_handshakes_refused_total{reason=\"revoked\"}"],
);
const SUPERSEDED: Must = Must::new(
    "a later one was shown: the connection is closed",
    &["closed 5"],
    &["signalbox_handshakes_refused_total{reason=\"superseded\"}"],
);
const NO_TOKEN: Must = Must::new(
    "it counts for nothing, and the token is unknown",
    &["refused unknown", "refused too_many"],
    &["signalbox_joins_refused_total"],
);
const RENEWED: Must = Must::new(
    "its own next certificate is all that it is given",
    &["renewed as its own"],
    &["signalbox_certificates_renewed_total"],
);

/// A certificate, or none, and what must come of it with each protocol.
struct Shown {
    name: String,
    leaf: Option<Leaf>,
    session: Must,
    join: Must,
    renewal: Must,
}

impl Shown {
    fn new(name: &str, leaf: Leaf, session: Must, join: Must, renewal: Must) -> Self {
        Self { name: name.to_owned(), leaf: Some(leaf), session, join, renewal }
    }

    /// One that TLS refuses.
    fn for_tls(name: &str, leaf: Leaf) -> Self {
        Self::new(name, leaf, TLS, TLS, TLS)
    }
}

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let mut all = of_authorities(arena)?;
    all.extend(of_times_and_uses(arena)?);
    all.extend(of_names(arena)?);
    all.extend(of_the_past(arena)?);
    for shown in &all {
        for way in Way::ALL {
            show(suite, shown, way)?;
        }
    }
    protocols(suite)?;
    resumption(suite)
}

/// Of whoever is no authority of ours.
fn of_authorities(arena: &Arena) -> Result<Vec<Shown>> {
    let raw = arena.raw(VICTIM)?;
    let impostor = impostor_of(arena.cluster.authority(), now())?;
    let stranger = Authority::create("stranger.example", now())?;
    let leaf = |authority| certs::testing::issue_raw(authority, &raw);
    let none = Shown {
        name: "none at all".to_owned(),
        leaf: None,
        session: NOBODY,
        join: NO_TOKEN,
        renewal: NOBODY,
    };
    Ok(vec![
        none,
        Shown::for_tls("another root's", leaf(&stranger)?),
        Shown::for_tls("an impostor's, with the same names", leaf(&impostor)?),
    ])
}

fn of_times_and_uses(arena: &Arena) -> Result<Vec<Shown>> {
    let raw = arena.raw(NEIGHBOUR)?;
    let at = |from: Duration, until: Duration| {
        let not_before = now().saturating_sub(from);
        arena.leaf(&RawLeaf { not_before, not_after: now().saturating_sub(until), ..raw.clone() })
    };
    let later = RawLeaf {
        not_before: now().saturating_add(DAY),
        not_after: now().saturating_add(DAY * 2),
        ..raw.clone()
    };
    let server = RawLeaf { server_auth: true, client_auth: false, ..raw.clone() };
    let (ended, box1) = (at(DAY * 7, HOUR)?, coordinator(arena, &raw));
    Ok(vec![
        Shown::new("one that ended an hour ago", ended, ENDED, NO_TOKEN, RENEWED),
        Shown::for_tls("one that ended forty days ago", at(DAY * 70, DAY * 40)?),
        Shown::for_tls("one that is not valid yet", arena.leaf(&later)?),
        Shown::for_tls("one for servers only", arena.leaf(&server)?),
        Shown::new("a coordinator's", arena.leaf(&box1)?, NOBODY, NO_TOKEN, NOBODY),
    ])
}

fn coordinator(arena: &Arena, raw: &RawLeaf) -> RawLeaf {
    let trust_domain = arena.cluster.authority().trust_domain().to_owned();
    let identity = Identity { trust_domain, role: Role::Coordinator { name: "box1".to_owned() } };
    RawLeaf { server_auth: true, ..raw.clone().with_uris(&[&identity.to_string()]) }
}

/// Whose names are not those of one agent of ours.
fn of_names(arena: &Arena) -> Result<Vec<Shown>> {
    const AGENT: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";
    let raw = arena.raw(VICTIM)?;
    let domain = arena.cluster.authority().trust_domain();
    let good = format!("spiffe://{domain}/tenant/{VICTIM}/agent/{AGENT}");
    let other = format!("spiffe://{domain}/tenant/{NEIGHBOUR}/agent/{AGENT}");
    let of = |tenant: &str, agent: &str| format!("spiffe://{domain}/tenant/{tenant}/agent/{agent}");
    let malformed = [
        ("a trust domain of somebody else", good.replace(domain, "stranger.example")),
        ("a trust domain with a port", good.replace(domain, &format!("{domain}:443"))),
        ("a trust domain behind a user", good.replace(domain, &format!("{domain}@evil.example"))),
        ("a trust domain in capitals", good.replace(domain, &domain.to_uppercase())),
        ("another scheme", good.replace("spiffe:", "https:")),
        ("a tenant in capitals", of("GLOBEX", AGENT)),
        ("a tenant that is empty", of("", AGENT)),
        ("a tenant of dots", of("..", AGENT)),
        ("a tenant that is escaped", of("%67lobex", AGENT)),
        ("a tenant that is too long", of(&"g".repeat(33), AGENT)),
        ("a tenant with a NUL", of("globex\0x", AGENT)),
        ("a tenant with a path", of("acme/../globex", AGENT)),
        ("an agent in capitals", of(VICTIM, &AGENT.to_uppercase())),
        ("an agent in braces", of(VICTIM, &format!("{{{AGENT}}}"))),
        ("an agent without dashes", of(VICTIM, &AGENT.replace('-', ""))),
        ("an agent that is no UUID", of(VICTIM, "srv1")),
        ("an agent and a query", of(VICTIM, &format!("{AGENT}?tenant=acme"))),
        ("an agent and a slash", of(VICTIM, &format!("{AGENT}/"))),
        ("an agent of no tenant", format!("spiffe://{domain}/agent/{AGENT}")),
        ("the trust domain alone", format!("spiffe://{domain}")),
    ];
    let mut all = Vec::new();
    for (name, uri) in malformed {
        let (name, leaf) =
            (format!("one with {name}"), arena.leaf(&raw.clone().with_uris(&[&uri]))?);
        all.push(Shown::new(&name, leaf, NOBODY_OR_TLS, NO_TOKEN, NOBODY_OR_TLS));
    }
    let none = arena.leaf(&raw.clone().with_uris(&[]))?;
    let two = arena.leaf(&raw.clone().with_uris(&[&good, &other]))?;
    let twice = arena.leaf(&raw.with_uris(&[&good, &good]))?;
    for (name, leaf) in [("no URI", none), ("two URIs", two), ("the same URI twice", twice)] {
        all.push(Shown::new(&format!("one with {name}"), leaf, NOBODY, NO_TOKEN, NOBODY));
    }
    Ok(all)
}

/// What was good once.
fn of_the_past(arena: &Arena) -> Result<Vec<Shown>> {
    let revoked = arena.member(NEIGHBOUR)?;
    let raw = arena.raw(NEIGHBOUR)?;
    let earlier = RawLeaf { not_before: now().saturating_sub(DAY), ..raw.clone() };
    let (stolen, later) = (arena.leaf(&earlier)?, arena.leaf(&raw)?);
    let late = RawLeaf { not_before: now().saturating_sub(DAY * 3), ..earlier };
    let late = arena.leaf(&RawLeaf { not_after: now().saturating_sub(HOUR), ..late })?;
    let later = tls(arena, Some(&later), ALPN)?;
    arena.runtime.block_on(async {
        let line = Line::udp(arena).await?;
        Session::open(&line, &revoked).await?.leave().await;
        let connection = line.dial(&later).await?.map_err(anyhow::Error::msg)?;
        let greeted = greet(connection, hello(1, 1)).await?;
        greeted.map_err(anyhow::Error::msg)?.leave().await;
        anyhow::Ok(())
    })?;
    revoke(arena, &revoked.agent.to_string())?;
    Ok(vec![
        Shown::new("a revoked agent's", revoked.leaf, REVOKED, NO_TOKEN, REVOKED),
        Shown::new("one that was renewed since", stolen, SUPERSEDED, NO_TOKEN, SUPERSEDED),
        Shown::new("one that has ended and was renewed since", late, ENDED, NO_TOKEN, SUPERSEDED),
    ])
}

fn revoke(arena: &Arena, agent: &str) -> Result<()> {
    let revoked = arena.cluster.cli(&["agents", "revoke", agent, "--reason", "stolen"])?;
    ensure!(revoked["revoked"].is_object(), "{revoked}");
    Ok(())
}

/// Shows a certificate with each protocol.
fn show(suite: &mut Suite<'_>, shown: &Shown, way: Way) -> Result<()> {
    let arena = suite.arena;
    let own = shown.leaf.as_ref().map(own_name).transpose()?.unwrap_or_default();
    for (alpn, must) in
        [(ALPN, &shown.session), (ALPN_JOIN, &shown.join), (ALPN_RENEW, &shown.renewal)]
    {
        let name = format!("{}, {}, {}", shown.name, String::from_utf8_lossy(alpn), way.as_str());
        let tls = tls(arena, shown.leaf.as_ref(), alpn)?;
        let tried = async {
            let happened = knock(arena, way, alpn, &tls).await?;
            let is_own = !own.is_empty() && happened == format!("renewed as {own}");
            Ok(if is_own { "renewed as its own".to_owned() } else { happened })
        };
        suite.attempt(name, must, tried)?;
    }
    Ok(())
}

/// Returns who a certificate names, if that is an identity at all.
fn own_name(leaf: &Leaf) -> Result<String> {
    let chain = certs::certificates_of_pem(&leaf.chain_pem)?;
    let identity = certs::identity_of_der(chain.first().context("a certificate")?);
    Ok(identity.map(|identity| identity.to_string()).unwrap_or_default())
}

/// Connects, and asks for what this protocol gives.
async fn knock(arena: &Arena, way: Way, alpn: &[u8], tls: &Arc<ClientConfig>) -> Result<String> {
    let line = Line::open(arena, way, FROM).await?;
    let connection = match line.dial(tls).await? {
        Ok(connection) => connection,
        Err(ending) => return Ok(ending),
    };
    let signing_request = PrivateKey::generate()?.signing_request()?;
    match alpn {
        ALPN_JOIN => {
            let secret = JoinSecret::from_bytes(rand::random());
            ask_to_join(&connection, secret, signing_request).await
        }
        ALPN_RENEW => ask_for_renewal(&connection, signing_request).await,
        _ => Ok(match greet(connection, hello(1, 1)).await? {
            Ok(_) => "welcomed".to_owned(),
            Err(ending) => ending,
        }),
    }
}

/// Protocols that are not spoken, by an agent that is let in otherwise.
fn protocols(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let member = arena.member(NEIGHBOUR)?;
    let protocols: [&[u8]; 5] = [b"", b"h3", b"signalbox/2", b"signalbox-tcp/1", b"SIGNALBOX/1"];
    for way in Way::ALL {
        for alpn in protocols {
            let tls = tls(arena, Some(&member.leaf), alpn)?;
            let said = String::from_utf8_lossy(alpn);
            let name = format!("a good one, protocol {said:?}, {}", way.as_str());
            suite.attempt(name, &TLS, knock(arena, way, ALPN, &tls))?;
        }
    }
    Ok(())
}

/// An agent that keeps all it can of its TLS session comes back after it was revoked.
fn resumption(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    for way in Way::ALL {
        let member = arena.member(NEIGHBOUR)?;
        arena.runtime.block_on(async {
            let line = Line::open(arena, way, FROM).await?;
            Session::open(&line, &member).await?.leave().await;
            anyhow::Ok(())
        })?;
        revoke(arena, &member.agent.to_string())?;
        let name = format!("a revoked agent's, resumed, {}", way.as_str());
        suite.attempt(name, &REVOKED, async {
            let line = Line::open(arena, way, FROM).await?;
            let connection = match line.knock(&member.tls)?.into_0rtt() {
                Ok(_) => return Ok("early data is taken".to_owned()),
                Err(connecting) => connecting.await.map_err(|error| super::client::shut(&error)),
            };
            let connection = match connection {
                Ok(connection) => connection,
                Err(ending) => return Ok(ending),
            };
            Ok(match greet(connection, hello(1, 1)).await? {
                Ok(_) => "welcomed".to_owned(),
                Err(ending) => ending,
            })
        })?;
    }
    Ok(())
}
