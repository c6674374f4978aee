//! Policies and trust bundles that nobody may take: an agent from its coordinator, a coordinator from whoever pushes.
//!
//! To the agent this process is its coordinator, with the right certificate: whoever has taken a coordinator over can
//! say whatever it likes. What it can say is what was signed once, and anything that it makes of that.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use certs::{PolicyKey, Root, certificates_of_pem, spki_digest_of_der};
use serde_json::json;
use shared::{
    limits::{POLICY_ENVELOPE_BYTES_MAX, TRUST_ENVELOPE_BYTES_MAX},
    policy::{self, Policy, PolicyKeyId, PolicyOffer, PolicyOutcome, SIGNATURE_BYTES},
    trust::{self, TrustBundle, TrustOffer, TrustOutcome},
};

use super::{
    ATTEMPT_TIMEOUT, Attempt, Must, Suite,
    api::Client,
    arena::{ATTACKER, Arena, DAY, NEIGHBOUR, VICTIM, now},
};
use crate::cluster::{Deceived, Kind, Lie, Said, Source, eventually};

/// Bytes before the content of what is signed: a version, the key's name and the signature.
const HEAD_BYTES: usize = 1 + PolicyKeyId::LEN + SIGNATURE_BYTES;
/// What agents have before they are lied to.
const VERSION: u64 = 5;

const REFUSED_PUSH: Must = Must::new(
    "it is refused, and why is said",
    &["refused: "],
    &["signalbox_api_requests_total{class=\"refused\"}"],
);
const PUSHED: Must = Must::new("it is taken", &["taken"], &[]);

/// What is offered, and how what happens must begin.
struct Trial {
    name: String,
    lie: Lie,
    happens: &'static str,
}

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    agents(suite)?;
    pushes(suite)
}

/// Lies to an agent.
fn agents(suite: &mut Suite<'_>) -> Result<()> {
    let cluster = &suite.arena.cluster;
    let eve = Source::new("eve", Kind::SuricataEve, cluster.folder().join("deceived.json"));
    let mut deceived = Deceived::new(cluster, NEIGHBOUR, &[eve])?;
    deceived.agent.process.start()?;
    let (policy, bundle) = (deceived.policy(VERSION), deceived.bundle(VERSION));
    let first = [deceived.signed(&policy)?, deceived.signed_trust(&bundle)?];
    let heard = deceived.lie(&first)?;
    let is_taken = heard.answers.iter().all(|said| is_in_force(said, VERSION));
    ensure!(is_taken, "it takes what is good: {heard:?}");

    let mut trials = policies(&deceived)?;
    trials.extend(bundles(&deceived)?);
    attempt_all(suite, &deceived, trials)?;

    // What is good is taken still, and what was good until then no more, whatever happens to the process.
    let next = VERSION + 1;
    let (policy, bundle) = (deceived.policy(next), deceived.bundle(next));
    let good = [deceived.signed(&policy)?, deceived.signed_trust(&bundle)?];
    let heard = deceived.lie(&good)?;
    let is_taken = heard.answers.iter().all(|said| is_in_force(said, next));
    held(suite, "what is good, after all of that", "it is taken", is_taken, format!("{heard:?}"));
    let [old_policy, old_bundle] = first;
    for when in ["after a newer one", "after a newer one and a kill"] {
        let trials = vec![
            Trial::new(
                format!("a policy that was good, {when}"),
                old_policy.clone(),
                "refused rollback",
            ),
            Trial::new(
                format!("a trust bundle that was good, {when}"),
                old_bundle.clone(),
                "refused rollback",
            ),
        ];
        attempt_all(suite, &deceived, trials)?;
        deceived.agent.process.kill()?;
        deceived.agent.process.start()?;
    }
    damaged(suite, &mut deceived)
}

/// Lies to an agent that has lost the files in which it keeps what it took last.
fn damaged(suite: &mut Suite<'_>, deceived: &mut Deceived) -> Result<()> {
    deceived.agent.process.kill()?;
    let folder = deceived.agent.spool.parent().context("the agent's folder")?.to_owned();
    let damage = |path: &Path| -> Result<()> {
        let mut bytes = fs::read(path).with_context(|| path.display().to_string())?;
        *bytes.last_mut().context("bytes")? ^= 1;
        Ok(fs::write(path, bytes)?)
    };
    damage(&deceived.agent.spool.join("policy.signed"))?;
    damage(&folder.join("trust.signed"))?;
    deceived.agent.process.start()?;
    let trials = vec![
        Trial::new(
            "an older policy, after the newest was damaged",
            deceived.signed(&deceived.policy(VERSION))?,
            "refused rollback",
        ),
        Trial::new(
            "an older trust bundle, after the newest was damaged",
            deceived.signed_trust(&deceived.bundle(VERSION))?,
            "refused rollback",
        ),
    ];
    attempt_all(suite, deceived, trials)?;
    deceived.agent.process.terminate(ATTEMPT_TIMEOUT)?;
    Ok(())
}

/// Offers all in one session; each answer is an attempt, and all are counted by the agent.
fn attempt_all(suite: &mut Suite<'_>, deceived: &Deceived, trials: Vec<Trial>) -> Result<()> {
    let before = deceived.refused()?;
    let lies: Vec<Lie> = trials.iter().map(|trial| trial.lie.clone()).collect();
    let heard = deceived.lie(&lies)?;
    let tried = u64::try_from(trials.len())?;
    let shown = eventually("the agent to show what it refused", ATTEMPT_TIMEOUT, || {
        let more = deceived.refused()?.saturating_sub(before);
        Ok((more >= tried).then_some(more))
    });
    let counted: Vec<String> =
        shown.iter().map(|more| format!("refused in the agent's status +{more}")).collect();
    for (trial, said) in trials.into_iter().zip(&heard.answers) {
        let happened = in_words(said);
        let is_wrong = !happened.starts_with(trial.happens) || counted.is_empty();
        suite.note(Attempt {
            name: format!("an agent is offered {}", trial.name),
            must: format!("it is not taken: {}", trial.happens),
            happened,
            counted: counted.clone(),
            is_refusal: true,
            is_wrong,
        });
    }
    Ok(())
}

fn held(suite: &mut Suite<'_>, name: &str, must: &str, is_so: bool, happened: String) {
    let (name, must) = (name.to_owned(), must.to_owned());
    let counted = Vec::new();
    suite.note(Attempt { name, must, happened, counted, is_refusal: false, is_wrong: !is_so });
}

impl Trial {
    fn new(name: impl Into<String>, lie: Lie, happens: &'static str) -> Self {
        Self { name: name.into(), lie, happens }
    }

    fn policy(name: &str, version: u64, envelope: Vec<u8>, happens: &'static str) -> Self {
        Self::new(name, Lie::Policy(PolicyOffer { version, envelope }), happens)
    }

    fn trust(name: &str, sequence: u64, envelope: Vec<u8>, happens: &'static str) -> Self {
        Self::new(name, Lie::Trust(TrustOffer { sequence, envelope }), happens)
    }
}

fn is_in_force(said: &Said, version: u64) -> bool {
    match said {
        Said::Policy(ack) => (ack.version, &ack.outcome) == (version, &PolicyOutcome::InForce),
        Said::Trust(ack) => (ack.sequence, &ack.outcome) == (version, &TrustOutcome::InForce),
    }
}

fn in_words(said: &Said) -> String {
    match said {
        Said::Policy(ack) => match &ack.outcome {
            PolicyOutcome::Refused { reason, .. } => format!("refused {}", reason.as_str()),
            other => format!("{other:?}"),
        },
        Said::Trust(ack) => match &ack.outcome {
            TrustOutcome::Refused { reason, .. } => format!("refused {}", reason.as_str()),
            other => format!("{other:?}"),
        },
    }
}

/// Returns what an agent with version 5 must not take for a policy.
fn policies(deceived: &Deceived) -> Result<Vec<Trial>> {
    let next = VERSION + 1;
    let of = |version| deceived.policy(version);
    let mut trials = Vec::new();
    for (name, policy, happens) in [
        ("the version before", of(VERSION - 1), "refused rollback"),
        ("the first version", of(1), "refused rollback"),
        (
            "its own version with another content",
            Policy { text: format!("{}# other\n", of(VERSION).text), ..of(VERSION) },
            "refused rollback",
        ),
        (
            "another tenant's policy",
            Policy { tenant: VICTIM.parse()?, ..of(next) },
            "refused foreign_tenant",
        ),
        (
            "another tenant's policy of the highest number",
            Policy { tenant: VICTIM.parse()?, ..of(u64::MAX) },
            "refused foreign_tenant",
        ),
        ("a policy that has ended", Policy { expires_at: now(), ..of(next) }, "refused expired"),
        (
            "a policy that has not begun",
            Policy {
                not_before: now().saturating_add(DAY),
                expires_at: now().saturating_add(2 * DAY),
                ..of(next)
            },
            "refused not_yet",
        ),
        (
            "a policy whose rules are none",
            Policy { text: "rules that are none".to_owned(), ..of(next) },
            "refused unusable",
        ),
    ] {
        trials.push(Trial::new(name, deceived.signed(&policy)?, happens));
    }
    trials.extend(envelopes(deceived)?);
    Ok(trials)
}

/// Returns envelopes that hold no policy which the trusted key signed for it under this number.
fn envelopes(deceived: &Deceived) -> Result<Vec<Trial>> {
    let next = VERSION + 1;
    let of = |version| deceived.policy(version);
    let good = deceived.key.sign(&of(next))?;
    let other = PolicyKey::generate()?;
    let mut trials = Vec::new();
    let named = renamed(other.sign(&of(next))?, &good);
    // The same length, so that nothing but the name differs.
    let mut foreign = deceived.key.sign(&Policy { tenant: "acmf".parse()?, ..of(next) })?;
    let at = foreign.windows(4).position(|part| part == b"acmf").context("the tenant's name")?;
    foreign[at..at + 4].copy_from_slice(b"acme");
    let content = &good[HEAD_BYTES..];
    let zeroes = policy::seal(deceived.key.public_key().id(), &[0; SIGNATURE_BYTES], content);
    let trust = deceived.key.sign_trust(&deceived.bundle(next))?;
    for (name, envelope, happens) in [
        ("a policy that a stranger's key signed", other.sign(&of(next))?, "refused unknown_key"),
        (
            "a policy that a stranger's key signed, by the right key's name",
            named,
            "refused bad_signature",
        ),
        ("a policy with a signature of zeroes", zeroes, "refused bad_signature"),
        ("another tenant's policy under the own tenant's name", foreign, "refused bad_signature"),
        ("a trust bundle for a policy", trust, "refused bad_signature"),
        ("bytes of noise for a policy", vec![7; 400], "refused malformed"),
        (
            "the longest policy that may be sent, of zeroes",
            [&good[..HEAD_BYTES], &vec![0; POLICY_ENVELOPE_BYTES_MAX - HEAD_BYTES]].concat(),
            "refused bad_signature",
        ),
    ] {
        trials.push(Trial::policy(name, next, envelope, happens));
    }
    trials.push(Trial::policy(
        "a good policy under the next number",
        next + 1,
        good.clone(),
        "refused malformed",
    ));
    trials.push(Trial::policy(
        "an older policy under a newer number",
        next,
        deceived.key.sign(&of(2))?,
        "refused rollback",
    ));
    for (name, envelope, happens) in changed(&good) {
        trials.push(Trial::policy(&format!("a policy {name}"), next, envelope, happens));
    }
    Ok(trials)
}

/// Returns what an agent with sequence 5 must not take for a trust bundle.
fn bundles(deceived: &Deceived) -> Result<Vec<Trial>> {
    let next = VERSION + 1;
    let of = |sequence| deceived.bundle(sequence);
    let root = Root::create("signalbox.internal", now())?;
    let strange = certificates_of_pem(root.root_pem())?;
    let mut trials = Vec::new();
    for (name, bundle, happens) in [
        ("the trust bundle before", of(VERSION - 1), "refused rollback"),
        ("the first trust bundle", of(1), "refused rollback"),
        (
            "its own trust bundle's number with another root",
            TrustBundle { roots: strange.clone(), ..of(VERSION) },
            "refused rollback",
        ),
        (
            "another trust domain's bundle",
            TrustBundle { trust_domain: "elsewhere.example".to_owned(), ..of(next) },
            "refused foreign_domain",
        ),
        (
            "a trust bundle with a root that is no certificate",
            TrustBundle { roots: vec![vec![0x30, 0]], ..of(next) },
            "refused malformed",
        ),
    ] {
        trials.push(Trial::new(name, deceived.signed_trust(&bundle)?, happens));
    }
    trials.extend(strange_envelopes(deceived, strange)?);
    Ok(trials)
}

/// Returns envelopes that hold no trust bundle which the trusted key signed under this number; `strange` are roots of
/// somebody else.
fn strange_envelopes(deceived: &Deceived, strange: Vec<Vec<u8>>) -> Result<Vec<Trial>> {
    let next = VERSION + 1;
    let of = |sequence| deceived.bundle(sequence);
    let good = deceived.key.sign_trust(&of(next))?;
    let other = PolicyKey::generate()?;
    let mut trials = Vec::new();
    let theirs = TrustBundle { roots: strange, ..of(next) };
    let named = renamed(other.sign_trust(&theirs)?, &good);
    let swapped = trust::seal(
        deceived.key.public_key().id(),
        good[HEAD_BYTES - SIGNATURE_BYTES..HEAD_BYTES].try_into()?,
        &theirs.encode()?,
    );
    let policy = deceived.key.sign(&deceived.policy(next))?;
    for (name, envelope, happens) in [
        (
            "a stranger's root that a stranger's key signed",
            other.sign_trust(&theirs)?,
            "refused unknown_key",
        ),
        ("a stranger's root, by the right key's name", named, "refused bad_signature"),
        ("a stranger's root under another bundle's signature", swapped, "refused bad_signature"),
        ("a policy for a trust bundle", policy, "refused bad_signature"),
        ("bytes of noise for a trust bundle", vec![7; 400], "refused malformed"),
        (
            "the longest trust bundle that may be sent, of zeroes",
            [&good[..HEAD_BYTES], &vec![0; TRUST_ENVELOPE_BYTES_MAX - HEAD_BYTES]].concat(),
            "refused bad_signature",
        ),
    ] {
        trials.push(Trial::trust(name, next, envelope, happens));
    }
    trials.push(Trial::trust(
        "a good trust bundle under the next number",
        next + 1,
        good.clone(),
        "refused malformed",
    ));
    trials.push(Trial::trust(
        "an older trust bundle under a newer number",
        next,
        deceived.key.sign_trust(&of(2))?,
        "refused rollback",
    ));
    for (name, envelope, happens) in changed(&good) {
        trials.push(Trial::trust(&format!("a trust bundle {name}"), next, envelope, happens));
    }
    Ok(trials)
}

/// Returns what is made of an envelope that was good.
fn changed(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let flipped = |at: usize| flipped(good, at);
    let last = good.len() - 1;
    vec![
        ("of another version of the envelope", flipped(0), "refused malformed"),
        ("with a bit changed in the key's name", flipped(1), "refused unknown_key"),
        ("with a bit changed at the signature's beginning", flipped(9), "refused bad_signature"),
        (
            "with a bit changed at the signature's end",
            flipped(HEAD_BYTES - 1),
            "refused bad_signature",
        ),
        (
            "with a bit changed in the middle",
            flipped(HEAD_BYTES + (last - HEAD_BYTES) / 2),
            "refused bad_signature",
        ),
        ("with a bit changed at the end", flipped(last), "refused bad_signature"),
        ("cut by a byte", good[..last].to_vec(), "refused bad_signature"),
        ("cut behind its signature", good[..HEAD_BYTES].to_vec(), "refused "),
        ("cut within its signature", good[..HEAD_BYTES / 2].to_vec(), "refused malformed"),
        ("of one byte", good[..1].to_vec(), "refused malformed"),
        ("with a byte behind it", [good, &[0]].concat(), "refused bad_signature"),
        ("twice in one", [good, good].concat(), "refused bad_signature"),
    ]
}

/// Pushes to the coordinator, as an administrator of all, what no agent may be offered.
fn pushes(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let (client, admin) = (Client::new(arena)?, arena.cluster.coordinator.admin_token()?);
    let read = |path: &str| anyhow::Ok(client.ask("GET", path, &admin, None)?.json());
    let path = format!("/v1/tenants/{ATTACKER}/policies");
    let rollout = read(&format!("/v1/tenants/{ATTACKER}/rollout"))?;
    // Above what others have pushed, and above the first: what is older has to be signed.
    let version = rollout["version"].as_u64().unwrap_or(1) + 1;
    let sequence = read("/v1/authority")?["bundle"]["sequence"].as_u64().unwrap_or(1) + 1;
    let policies = policy_pushes(arena, version)?.into_iter().map(|push| (path.as_str(), push));
    let bundles = trust_pushes(arena, sequence)?.into_iter();
    let bundles = bundles.map(|push| ("/v1/authority/trust", push));
    for (path, (name, envelope, says)) in policies.chain(bundles) {
        let before = arena.numbers()?;
        let body = json!({ "envelope": STANDARD.encode(&envelope) });
        let answer = client.ask("POST", path, &admin, Some(&body))?;
        let happened = match (answer.status, says) {
            (201, "") => "taken".to_owned(),
            (400 | 422, says) if !says.is_empty() && answer.text.contains(says) => {
                format!("refused: {says}")
            }
            (status, _) => format!("{status}: {}", answer.text),
        };
        let must = if says.is_empty() { &PUSHED } else { &REFUSED_PUSH };
        suite.judge(format!("a push of {name}"), must, happened, &before)?;
    }
    Ok(())
}

/// What is pushed: its name, its bytes, and what the refusal says; nothing where it is good.
type Push = (&'static str, Vec<u8>, &'static str);

fn policy_pushes(arena: &Arena, version: u64) -> Result<Vec<Push>> {
    let good = arena.policy(ATTACKER, version, "# noise")?;
    let (key, other) = (&arena.policy_key, PolicyKey::generate()?);
    let signed = key.sign(&good)?;
    let foreign = Policy { tenant: VICTIM.parse()?, version: version + 9, ..good.clone() };
    let ended = Policy { expires_at: now(), ..good.clone() };
    let begins = now().saturating_add(DAY);
    let early =
        Policy { not_before: begins, expires_at: begins.saturating_add(DAY), ..good.clone() };
    Ok(vec![
        ("a policy of another tenant", key.sign(&foreign)?, "another tenant's"),
        ("a policy that a stranger's key signed", other.sign(&good)?, "not trusted here"),
        (
            "a policy that a stranger's key signed, by the right key's name",
            renamed(other.sign(&good)?, &signed),
            "its signature is not the key's",
        ),
        ("a changed policy", flipped(&signed, signed.len() - 1), "its signature is not the key's"),
        ("a cut policy", signed[..signed.len() - 1].to_vec(), "its signature is not the key's"),
        (
            "a trust bundle for a policy",
            key.sign_trust(&arena.trust(9)?)?,
            "its signature is not the key's",
        ),
        ("a policy that has ended", key.sign(&ended)?, "it has ended"),
        ("a policy that has not begun", key.sign(&early)?, "it is not good yet"),
        ("no policy", Vec::new(), "no policy"),
        ("noise for a policy", vec![7; 300], "no policy"),
        ("a policy longer than any", vec![1; POLICY_ENVELOPE_BYTES_MAX + 1], "longer than any"),
        ("a good policy", signed.clone(), ""),
        ("the same policy once more", signed, "must be above"),
        ("an older policy", key.sign(&Policy { version: version - 1, ..good })?, "must be above"),
    ])
}

fn trust_pushes(arena: &Arena, sequence: u64) -> Result<Vec<Push>> {
    let good = arena.trust(sequence)?;
    let (key, other) = (&arena.policy_key, PolicyKey::generate()?);
    let signed = key.sign_trust(&good)?;
    let policy = key.sign(&arena.policy(ATTACKER, 99, "# noise")?)?;
    let domain = "elsewhere.example".to_owned();
    let foreign = TrustBundle { trust_domain: domain, ..good.clone() };
    let root = Root::create("signalbox.internal", now())?;
    let theirs = certificates_of_pem(root.root_pem())?;
    let strange = TrustBundle { roots: theirs, ..good.clone() };
    let own = certificates_of_pem(arena.cluster.authority().intermediate_pem())?;
    let distrusted = [&good.distrusted[..], &[spki_digest_of_der(&own[0])?]].concat();
    let again = TrustBundle { sequence: sequence + 1, distrusted: Vec::new(), ..good.clone() };
    let severed = TrustBundle { distrusted, ..good.clone() };
    let broken = TrustBundle { roots: vec![vec![0x30, 0]], ..good.clone() };
    let older = TrustBundle { sequence: sequence - 1, ..good };
    Ok(vec![
        ("another trust domain's bundle", key.sign_trust(&foreign)?, "another trust domain's"),
        (
            "a trust bundle that a stranger's key signed",
            other.sign_trust(&strange)?,
            "not trusted here",
        ),
        (
            "a trust bundle that a stranger's key signed, by the right key's name",
            renamed(other.sign_trust(&strange)?, &signed),
            "its signature is not the key's",
        ),
        ("a changed trust bundle", flipped(&signed, 20), "its signature is not the key's"),
        ("a policy for a trust bundle", policy, "it is no trust bundle"),
        ("no trust bundle", Vec::new(), "it is no trust bundle"),
        ("noise for a trust bundle", vec![7; 300], "it is no trust bundle"),
        (
            "a trust bundle longer than any",
            vec![1; TRUST_ENVELOPE_BYTES_MAX + 1],
            "it is no trust bundle",
        ),
        (
            "a trust bundle with a root that is none",
            key.sign_trust(&broken)?,
            "no root's certificate",
        ),
        (
            "a trust bundle that locks all agents out",
            key.sign_trust(&strange)?,
            "would not believe",
        ),
        (
            "a trust bundle that distrusts what issues",
            key.sign_trust(&severed)?,
            "would not believe",
        ),
        ("a good trust bundle", signed.clone(), ""),
        (
            "a trust bundle that believes a stolen intermediate again",
            key.sign_trust(&again)?,
            "would believe whoever has that key",
        ),
        ("the same trust bundle once more", signed, "must be above"),
        ("an older trust bundle", key.sign_trust(&older)?, "must be above"),
    ])
}

/// Returns an envelope under the name of the key that signed another one.
fn renamed(mut envelope: Vec<u8>, by: &[u8]) -> Vec<u8> {
    let name = 1..HEAD_BYTES - SIGNATURE_BYTES;
    envelope[name.clone()].copy_from_slice(&by[name]);
    envelope
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}
