//! Policies: a signed version is brought, rolled out in stages, halted, and taken back by a new version with the old
//! content; agents are offered the one that is theirs, and say what became of it.
//!
//! ```text
//! push ─▶ stage 1 % ─ advance ─▶ 10 % ─ advance ─▶ all          agents in the stage: offered the newest
//!            └──────── halt ────────┘                           all others: the one before it
//! agent says what it has ─▶ due ─▶ offer ─▶ agent says what became of it ─▶ due ...
//! ```
//! The coordinator signs nothing: it takes what a key of its configuration signed, for the tenant that it is brought
//! for and with a version above all before, and hands it on as it came. Agents check the same once more.

use sha2::{Digest, Sha256};
use shared::{
    ids::TenantId,
    policy::{
        Policy, PolicyAck, PolicyDigest, PolicyOffer, PolicyOutcome, PolicyPublicKey,
        PolicyRefusal, accept, key_of, peek,
    },
    time::Timestamp,
};

use crate::{
    command::{CommandError, journal},
    limits::{POLICY_VERSIONS_MAX, ROLLOUT_SEEN_WITHIN, TEXT_BYTES_MAX},
    store::{
        engine::{Direction, Staged},
        reader::policies::AgentStanding,
        schema::{AgentKey, AgentPolicyKey, PolicyKey, RolloutKey, TenantKey, range_of},
        tables::{LoadError, Source, delete, put},
        values::{
            Actor, AgentPolicy, Entry, Event, HaltReason, Halted, PolicyEvent, PolicyRecord,
            RefusedPolicy, Rollout,
        },
    },
    triage::rollout::{STAGES, Seen, cut, judge, next_stage, place},
};

/// A signed policy that is brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// For whose agents.
    pub tenant: TenantId,
    /// What is signed, with its signature.
    pub envelope: Vec<u8>,
    /// Percent of the first stage: one of [`STAGES`].
    pub percent: u8,
    /// The version whose content it must have again.
    pub copy_of: Option<u64>,
}

/// Stores a signed version above all before, and begins to roll it out among `fleet`, the tenant's agents as they were
/// read before this: whoever has come since comes after the stage began.
///
/// # Errors
/// There is no such tenant, a stage is none, or agents would refuse it.
pub fn push(
    staged: &mut Staged<'_>,
    push: Push,
    (keys, fleet): (&[PolicyPublicKey], &[AgentStanding]),
    actor: &Actor,
    now: Timestamp,
) -> Result<Rollout, CommandError> {
    let Push { tenant, envelope, percent, copy_of } = push;
    if staged.load(&TenantKey(tenant))?.is_none() {
        return Err(CommandError::not_found("tenant", tenant));
    }
    if !STAGES.contains(&percent) {
        return Err(invalid("stage", "must be 1, 10 or 100"));
    }
    let versions = versions(&*staged, tenant)?;
    let newest = versions.last().copied().unwrap_or(0);
    let policy = accept(&envelope, keys, tenant, newest, now)
        .map_err(|refusal| refused(refusal, newest, keys))?;
    if let Some(of) = copy_of {
        check_copy(staged, &policy, of)?;
    }
    let (version, key) = (policy.version, peek(&envelope).map(|(key, _)| key.to_string()));
    check_number(fleet, version)?;
    // Who does not get a copy yet gets what it is a copy of, and never what is taken back with it.
    let base = match copy_of {
        Some(of) => of,
        None => base_of(staged.load(&RolloutKey(tenant))?),
    };
    let rollout = Rollout {
        version,
        base,
        percent,
        cut: cut_of(fleet, (tenant, version), percent, now),
        began_at: now,
        stage_at: now,
        halted: None,
        is_meant: false,
        digest: PolicyDigest::of(&envelope),
    };
    let (by, expires_at) = (actor.clone(), policy.expires_at);
    let record = PolicyRecord { envelope, by, at: now, copy_of, expires_at };
    put(staged, &PolicyKey { tenant, version }, record);
    put(staged, &RolloutKey(tenant), rollout.clone());
    let surplus = (versions.len() + 1).saturating_sub(POLICY_VERSIONS_MAX);
    for version in versions.into_iter().filter(|version| *version != base).take(surplus) {
        delete(staged, &PolicyKey { tenant, version });
    }
    let key = key.unwrap_or_default();
    note(staged, tenant, PolicyEvent::Pushed { version, key, percent, copy_of }, actor, now)?;
    Ok(rollout)
}

/// Refuses what is said to have the content of an earlier version, and has another.
fn check_copy(staged: &Staged<'_>, policy: &Policy, of: u64) -> Result<(), CommandError> {
    let copied = staged.load(&PolicyKey { tenant: policy.tenant, version: of })?;
    let copied = copied.ok_or_else(|| CommandError::not_found("version", of))?;
    let is_same = peek(&copied.envelope).is_some_and(|(_, copied)| {
        (&copied.text, copied.limits, &copied.coordinators)
            == (&policy.text, policy.limits, &policy.coordinators)
    });
    if is_same {
        Ok(())
    } else {
        Err(invalid("copy_of", &format!("its content is not that of version {of}")))
    }
}

/// Refuses a number under which an agent has something already: this coordinator was set back since.
fn check_number(fleet: &[AgentStanding], version: u64) -> Result<(), CommandError> {
    let has = fleet.iter().filter_map(|standing| Some(standing.policy.as_ref()?.version));
    if !has.clone().any(|has| has == version) {
        return Ok(());
    }
    let highest = has.max().unwrap_or(version);
    let problem = format!(
        "an agent has another policy of this number already, and would not take it: sign it with \
         one above {highest}"
    );
    Err(invalid("version", &problem))
}

/// Returns the version of those that do not get the next one yet: the newest that was meant for all.
fn base_of(rollout: Option<Rollout>) -> u64 {
    rollout.map_or(0, |rollout| {
        let is_for_all = rollout.percent >= 100 && rollout.halted.is_none();
        if is_for_all { rollout.version } else { rollout.base }
    })
}

fn refused(refusal: PolicyRefusal, newest: u64, keys: &[PolicyPublicKey]) -> CommandError {
    match refusal {
        PolicyRefusal::Rollback => {
            invalid("version", &format!("must be above {newest}, the newest; sign it again"))
        }
        PolicyRefusal::UnknownKey if keys.is_empty() => {
            invalid("envelope", "this coordinator trusts no key: name them in [policy] keys")
        }
        other => invalid("envelope", &other.to_string()),
    }
}

fn invalid(field: &'static str, problem: &str) -> CommandError {
    CommandError::Invalid { field, problem: problem.to_owned() }
}

/// Returns the versions of a tenant's policy that are kept, the oldest first.
///
/// # Errors
/// The store cannot be read.
pub fn versions<S: Source + ?Sized>(source: &S, tenant: TenantId) -> Result<Vec<u64>, LoadError> {
    let (from, to) = range_of::<PolicyKey>(tenant.as_bytes());
    // What a base keeps beyond the bound is one.
    let most = POLICY_VERSIONS_MAX + 1;
    let keys: Vec<PolicyKey> = source.load_keys(&from..&to, Direction::Forward, most)?;
    Ok(keys.into_iter().map(|key| key.version).collect())
}

/// Returns up to which place a stage reaches among the agents that were heard of lately: of those who are gone for good
/// nobody would learn anything.
fn cut_of(
    fleet: &[AgentStanding],
    (tenant, version): (TenantId, u64),
    percent: u8,
    now: Timestamp,
) -> u64 {
    let lately = |it: &&AgentStanding| now.since(it.last_seen_at) < ROLLOUT_SEEN_WITHIN;
    let lately = fleet.iter().filter(lately);
    cut(percent, lately.map(|it| place(tenant, version, it.agent)).collect())
}

/// How a roll-out is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Whose.
    pub tenant: TenantId,
    /// Whether a person says that what it changes is meant: one that was halted goes on, and it does not stop by itself
    /// any more.
    pub is_meant: bool,
    /// Whether it goes on although nobody has answered.
    pub anyway: bool,
    /// What was seen of it before this, and of which version.
    pub seen: Option<(u64, Seen)>,
    /// The tenant's agents as they were read before this.
    pub fleet: Vec<AgentStanding>,
}

/// Takes the roll-out to its next stage, if agents of the stage have answered and nothing is wrong with it.
///
/// # Errors
/// There is nothing to roll out, all have it, it is halted, nobody has answered, or something is found that would halt
/// it; what a person says to that is in [`Advance`].
pub fn advance(
    staged: &mut Staged<'_>,
    advance: Advance,
    actor: &Actor,
    now: Timestamp,
) -> Result<Rollout, CommandError> {
    let Advance { tenant, is_meant, anyway, seen, fleet } = advance;
    let mut rollout = rollout(staged, tenant)?;
    if rollout.halted.is_some() && !is_meant {
        let problem = "the roll-out is halted: take it back with a new version, or say that what \
                       it changes is meant";
        return Err(CommandError::Conflict { problem: problem.to_owned() });
    }
    match next_stage(rollout.percent) {
        Some(percent) => rollout.percent = percent,
        None if rollout.halted.is_some() => {}
        None => {
            let problem = format!("version {} is rolled out to all already", rollout.version);
            return Err(CommandError::Conflict { problem });
        }
    }
    if !is_meant {
        check_seen(tenant, rollout.version, anyway, seen.as_ref())?;
    }
    // Whoever was in the stage stays in it, whoever has gone or come meanwhile.
    let reaches = cut_of(&fleet, (tenant, rollout.version), rollout.percent, now);
    rollout.cut = rollout.cut.max(reaches);
    (rollout.stage_at, rollout.halted) = (now, None);
    rollout.is_meant |= is_meant;
    put(staged, &RolloutKey(tenant), rollout.clone());
    let Rollout { version, percent, is_meant, .. } = rollout;
    note(staged, tenant, PolicyEvent::Advanced { version, percent, is_meant }, actor, now)?;
    Ok(rollout)
}

/// Refuses to go on from what nobody has tried, or from what would be halted.
fn check_seen(
    tenant: TenantId,
    version: u64,
    anyway: bool,
    seen: Option<&(u64, Seen)>,
) -> Result<(), CommandError> {
    let Some((_, seen)) = seen.filter(|(of, _)| *of == version) else {
        let problem = format!(
            "version {version} has come meanwhile: look at it first, signalbox policy status \
             {tenant}"
        );
        return Err(CommandError::Conflict { problem });
    };
    if seen.answered == 0 && !anyway {
        let problem = format!(
            "no agent of the stage has answered yet: wait until one has it, which signalbox policy \
             status {tenant} shows, or go on all the same: signalbox policy advance {tenant} \
             --anyway"
        );
        return Err(CommandError::Conflict { problem });
    }
    match judge(seen) {
        None => Ok(()),
        Some(fault) => {
            let problem = format!(
                "{fault}: take it back, signalbox policy rollback {tenant}, or, if that is what is \
                 meant, go on: signalbox policy advance {tenant} --meant"
            );
            Err(CommandError::Conflict { problem })
        }
    }
}

/// Stops a roll-out: nobody further is offered the newest version. `version` is the one that is meant; where another is
/// the newest by now, nothing is done.
///
/// # Errors
/// There is nothing to roll out, or it is halted already.
pub fn halt(
    staged: &mut Staged<'_>,
    (tenant, version): (TenantId, Option<u64>),
    why: HaltReason,
    actor: &Actor,
    now: Timestamp,
) -> Result<Rollout, CommandError> {
    let mut rollout = rollout(staged, tenant)?;
    if version.is_some_and(|version| version != rollout.version) {
        return Ok(rollout);
    }
    if rollout.halted.is_some() {
        let problem = format!("the roll-out of version {} is halted already", rollout.version);
        return Err(CommandError::Conflict { problem });
    }
    if let HaltReason::Asked(reason) = &why
        && !(1..=TEXT_BYTES_MAX).contains(&reason.len())
    {
        return Err(invalid("reason", &format!("must have 1 to {TEXT_BYTES_MAX} bytes")));
    }
    rollout.halted = Some(Halted { at: now, by: actor.clone(), why: why.clone() });
    put(staged, &RolloutKey(tenant), rollout.clone());
    let event = PolicyEvent::Halted { version: rollout.version, why };
    note(staged, tenant, event, actor, now)?;
    Ok(rollout)
}

fn rollout(staged: &Staged<'_>, tenant: TenantId) -> Result<Rollout, CommandError> {
    let rollout = staged.load(&RolloutKey(tenant))?;
    rollout.ok_or_else(|| CommandError::not_found("policy of tenant", tenant))
}

/// Returns the version that an agent of the tenant is to have, which was first seen at this time.
#[must_use]
pub fn target(rollout: &Rollout, agent: AgentKey, first_seen_at: Timestamp) -> u64 {
    if rollout.halted.is_none() && rollout.has_in_stage(agent, first_seen_at) {
        rollout.version
    } else {
        rollout.base
    }
}

/// By what it is decided whether a stored version is offered still.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The keys that policies may be signed by now: one that was taken out signs for nobody any more.
    pub keys: &'a [PolicyPublicKey],
    /// When it is.
    pub now: Timestamp,
}

/// Returns the version that an agent is to be offered: above the one that it says it has, not `tried`, which it was
/// offered in this session, not ended, and signed by a key that is still one.
///
/// # Errors
/// The store cannot be read.
pub fn due<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    tried: Option<u64>,
    terms: Terms<'_>,
) -> Result<Option<u64>, LoadError> {
    Ok(due_record(source, agent, tried, terms)?.map(|(version, _)| version))
}

fn due_record<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    tried: Option<u64>,
    Terms { keys, now }: Terms<'_>,
) -> Result<Option<(u64, PolicyRecord)>, LoadError> {
    let tenant = agent.tenant;
    let Some(rollout) = source.load(&RolloutKey(tenant))? else { return Ok(None) };
    let Some(seen) = source.load(&agent)? else { return Ok(None) };
    let version = target(&rollout, agent, seen.first_seen_at);
    let known = source.load(&AgentPolicyKey(agent))?;
    let has = known.map_or(0, |known| known.version);
    if version <= has || tried == Some(version) {
        return Ok(None);
    }
    let record = source.load(&PolicyKey { tenant, version })?;
    let is_good = |record: &PolicyRecord| {
        let is_of = |id| keys.iter().any(|key| key.id() == id);
        now < record.expires_at && key_of(&record.envelope).is_some_and(is_of)
    };
    Ok(record.filter(is_good).map(|record| (version, record)))
}

/// Notes that an agent is offered what is due, and returns it; nothing, if nothing is due any more.
///
/// # Errors
/// The store cannot be read.
pub fn offer(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    tried: Option<u64>,
    terms: Terms<'_>,
) -> Result<Option<PolicyOffer>, CommandError> {
    let Some((version, record)) = due_record(&*staged, agent, tried, terms)? else {
        return Ok(None);
    };
    let (key, now) = (AgentPolicyKey(agent), terms.now);
    let mut known = staged.load(&key)?.unwrap_or_else(|| AgentPolicy::unheard(now));
    known.offered = Some((version, now));
    put(staged, &key, known);
    Ok(Some(PolicyOffer { version, envelope: record.envelope }))
}

/// Notes what an agent says of a version. A refusal is taken of the version that it was offered and once an offer, and
/// is journalled once for each reason: what one agent says fills no journal.
///
/// # Errors
/// The store cannot be read.
pub fn acknowledge(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    ack: PolicyAck,
    now: Timestamp,
) -> Result<(), CommandError> {
    let key = AgentPolicyKey(agent);
    let known = staged.load(&key)?;
    let mut next = known.clone().unwrap_or_else(|| AgentPolicy::unheard(now));
    let PolicyAck { version, digest, outcome } = ack;
    let PolicyOutcome::Refused { reason, detail } = outcome else {
        if (next.version, next.digest, &next.outcome) != (version, digest, &outcome) {
            (next.version, next.digest) = (version, digest);
            (next.outcome, next.since) = (outcome, now);
        }
        next.refused.take_if(|refused| refused.version <= version);
        if known.as_ref() != Some(&next) {
            put(staged, &key, next);
        }
        return Ok(());
    };
    if (next.version, next.digest) == (version, digest) {
        // It has it, and cannot go by it any more.
        let outcome = PolicyOutcome::Refused { reason, detail: detail.clone() };
        if next.outcome != outcome {
            (next.outcome, next.since) = (outcome, now);
        }
    }
    let is_answered = |at: Timestamp| {
        next.refused.as_ref().is_some_and(|before| before.version == version && before.at >= at)
    };
    let offered = next.offered.filter(|(offered, _)| *offered == version);
    let is_answer = offered.is_some_and(|(_, at)| !is_answered(at));
    let is_news = is_answer && next.note(version, reason);
    if is_answer {
        next.refused = Some(RefusedPolicy { version, reason, detail: detail.clone(), at: now });
    }
    if known.as_ref() != Some(&next) {
        put(staged, &key, next);
    }
    if !is_news {
        return Ok(());
    }
    let AgentKey { tenant, agent } = agent;
    let reason = reason.as_str().to_owned();
    let event = PolicyEvent::Refused { agent, version, reason, detail };
    note(staged, tenant, event, &Actor::Agent(agent), now)
}

impl AgentPolicy {
    /// An agent that has not said which policy it has.
    pub(crate) const fn unheard(now: Timestamp) -> Self {
        let outcome = PolicyOutcome::Nothing;
        let digest = PolicyDigest::from_bytes([0; PolicyDigest::LEN]);
        let (offered, refused, noted) = (None, None, None);
        Self { version: 0, outcome, since: now, offered, refused, digest, noted }
    }
}

fn note(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    event: PolicyEvent,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), CommandError> {
    let (actor, event) = (actor.clone(), Event::Policy(event));
    Ok(journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?)
}

/// Returns the digest by which people compare a policy's text.
#[must_use]
pub fn digest(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
