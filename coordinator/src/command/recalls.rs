//! Recalls: what agents are asked for of that which their policies hold back, and what they answer.
//!
//! ```text
//! ask ─▶ waiting ─▶ begin ─▶ answering: store ... ─▶ finish ─▶ answered
//!           ▲                    └ connection lost: asked again, after a pause if that goes on, and begun anew
//!           └ until it expires
//! ```
//! Who asked for what, and what came of it, stands in the journal. Recalled blocks are no alerts: they open no case.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::{
    ids::{AgentId, TenantId},
    limits::{RECALL_BYTES_MAX, RULE_ID_BYTES_MAX},
    recall::{Recall, RecallEnd, RecallId},
    time::Timestamp,
};

use crate::{
    command::{CommandError, journal},
    limits::{
        RECALL_AGENTS_MAX, RECALL_ATTEMPTS_MAX, RECALL_ATTEMPTS_QUICK, RECALL_LIFE,
        RECALL_PAUSE_MAX, RECALL_PAUSE_MIN, RECALLS_MAX,
    },
    store::{
        engine::{Direction, Space, Staged},
        schema::{
            AgentKey, Key, MetaKey, RecallAgentKey, RecallKey, RecalledKey, TenantKey,
            TenantRecallKey, range_of,
        },
        tables::{LoadError, Source, put, put_key},
        values::{Actor, Entry, Event, RecallAnswer, RecallRecord, RecallState},
    },
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose agents are asked.
    pub tenant: TenantId,
    /// The only agent that is asked; all of the tenant's where absent.
    pub agent: Option<AgentId>,
    /// Id of the policy rule that held the records.
    pub rule: String,
    /// From when on they happened.
    pub since: Timestamp,
    /// Before when they happened; now where that is earlier.
    pub until: Timestamp,
    /// Most bytes of blocks from one agent.
    pub bytes_max: u64,
}

/// What an agent is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// This, now.
    Now(Box<Recall>),
    /// Nothing yet: an answer that broke off is asked for again after so long.
    In(Duration),
    /// Nothing.
    Nothing,
}

/// Asks agents for what a rule held back. They answer when they are connected, within [`RECALL_LIFE`].
///
/// # Errors
/// There is no such tenant or agent, a value is not allowed, or too much was asked for lately.
pub fn ask(
    staged: &mut Staged<'_>,
    mut ask: Ask,
    actor: &Actor,
    now: Timestamp,
) -> Result<(RecallId, RecallRecord), CommandError> {
    ask.until = ask.until.min(now);
    check(&ask)?;
    let tenant = ask.tenant;
    if staged.load(&TenantKey(tenant))?.is_none() {
        return Err(CommandError::not_found("tenant", tenant));
    }
    let agents = agents_of(staged, &ask)?;
    let lately = recent(staged, tenant, now)?.len();
    if lately >= RECALLS_MAX {
        let hours = RECALL_LIFE.as_secs() / 3_600;
        let problem = format!("has been recalled from {lately} times within {hours} hours");
        return Err(CommandError::Invalid { field: "tenant", problem });
    }
    let number = staged.load(&MetaKey::JOURNAL)?.map_or(0, |head| head.number);
    let id = RecallId::new(now, digest(&ask, number));
    let record = RecallRecord {
        tenant,
        rule: ask.rule.clone(),
        since: ask.since,
        until: ask.until,
        bytes_max: ask.bytes_max,
        asked_by: actor.clone(),
        expires_at: now.saturating_add(RECALL_LIFE),
        agents: u32::try_from(agents.len()).unwrap_or(u32::MAX),
        answered: 0,
        incomplete: 0,
        records: 0,
        evicted: 0,
        lost: 0,
    };
    put(staged, &RecallKey(id), record.clone());
    put_key(staged, &TenantRecallKey { tenant, recall: id });
    for agent in agents {
        put(staged, &RecallAgentKey { recall: id, agent }, RecallAnswer::waiting(now));
    }
    let (Ask { rule, since, until, .. }, agents) = (ask, record.agents);
    let event = Event::RecallAsked { recall: id, rule, since, until, agents };
    journal::append(staged, &Entry { at: now, actor: actor.clone(), tenant: Some(tenant), event })?;
    Ok((id, record))
}

fn check(ask: &Ask) -> Result<(), CommandError> {
    let invalid = |field, problem| Err(CommandError::Invalid { field, problem });
    if !Recall::is_rule(&ask.rule) {
        return invalid("rule", format!("must have 1 to {RULE_ID_BYTES_MAX} bytes"));
    }
    if ask.since >= ask.until {
        return invalid("since", "must lie before `until`, and before now".to_owned());
    }
    if !(1..=RECALL_BYTES_MAX).contains(&ask.bytes_max) {
        return invalid("max_bytes", format!("must be 1 to {RECALL_BYTES_MAX}"));
    }
    Ok(())
}

fn agents_of(staged: &Staged<'_>, ask: &Ask) -> Result<Vec<AgentId>, CommandError> {
    let tenant = ask.tenant;
    if let Some(agent) = ask.agent {
        return match staged.load(&AgentKey { tenant, agent })? {
            Some(_) => Ok(vec![agent]),
            None => Err(CommandError::not_found("agent", agent)),
        };
    }
    let (from, to) = range_of::<AgentKey>(tenant.as_bytes());
    let keys: Vec<AgentKey> =
        staged.load_keys(&from..&to, Direction::Forward, RECALL_AGENTS_MAX + 1)?;
    if (1..=RECALL_AGENTS_MAX).contains(&keys.len()) {
        return Ok(keys.into_iter().map(|key| key.agent).collect());
    }
    let problem = match keys.len() {
        0 => "the tenant has none".to_owned(),
        _ => format!("the tenant has more than {RECALL_AGENTS_MAX}: name one"),
    };
    Err(CommandError::Invalid { field: "agent", problem })
}

fn digest(ask: &Ask, journal: u64) -> [u8; 8] {
    let mut digest = Sha256::new();
    let times = [ask.since, ask.until].map(|at| at.as_ms().to_be_bytes());
    for part in [ask.tenant.as_str().as_bytes(), ask.rule.as_bytes(), &times.concat()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.update(journal.to_be_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().expect("32 bytes have 8")
}

/// Returns the tenant's recalls that may wait for answers, the oldest first.
fn recent<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    now: Timestamp,
) -> Result<Vec<TenantRecallKey>, LoadError> {
    let recall = RecallId::first_at(now.saturating_sub(RECALL_LIFE));
    let from = TenantRecallKey { tenant, recall }.encode();
    let (_, to) = range_of::<TenantRecallKey>(tenant.as_bytes());
    source.load_keys(&from..&to, Direction::Forward, RECALLS_MAX)
}

/// Returns the oldest recall that the agent has not answered and is to be asked for now, or when it is to be asked
/// again.
///
/// # Errors
/// The store cannot be read.
pub fn due<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    agent: AgentId,
    now: Timestamp,
) -> Result<Due, LoadError> {
    let recalls: Vec<RecallId> =
        recent(source, tenant, now)?.into_iter().map(|key| key.recall).collect();
    let key = |recall: &RecallId| RecallAgentKey { recall: *recall, agent };
    let answers = source.load_many(&recalls.iter().map(key).collect::<Vec<_>>())?;
    let mut pause: Option<Duration> = None;
    for (id, answer) in recalls.into_iter().zip(answers) {
        let Some(wait) = answer.and_then(|answer| answer.due_in(now)) else { continue };
        if !wait.is_zero() {
            pause = Some(pause.map_or(wait, |pause| pause.min(wait)));
            continue;
        }
        let record = source.load(&RecallKey(id))?;
        if let Some(record) = record.filter(|record| now < record.expires_at) {
            let RecallRecord { rule, since, until, bytes_max, .. } = record;
            return Ok(Due::Now(Box::new(Recall { id, rule, since, until, bytes_max })));
        }
    }
    Ok(pause.map_or(Due::Nothing, Due::In))
}

/// Notes that an agent begins to answer; what it sent before, over a connection that was lost, is dropped.
///
/// # Errors
/// The agent was not asked for this, or has answered.
pub fn begin(
    staged: &mut Staged<'_>,
    (tenant, agent): (TenantId, AgentId),
    recall: RecallId,
    now: Timestamp,
) -> Result<(), CommandError> {
    let (key, _, answer) = asked(staged, (tenant, agent), recall)?;
    let (from, to) = RecalledKey::range(tenant, recall, agent);
    staged.delete_range(Space::Blocks, &from..&to);
    let attempts = answer.attempts + 1;
    let state = RecallState::Answering;
    put(staged, &key, RecallAnswer { state, attempts, ..RecallAnswer::waiting(now) });
    Ok(())
}

/// Stores a block of an answer, which holds so many records.
///
/// # Errors
/// The agent does not answer this.
pub fn store(
    staged: &mut Staged<'_>,
    (tenant, agent): (TenantId, AgentId),
    recall: RecallId,
    (block, records): (Bytes, u16),
    now: Timestamp,
) -> Result<(), CommandError> {
    let (key, _, mut answer) = asked(staged, (tenant, agent), recall)?;
    answer.blocks += 1;
    answer.records += u64::from(records);
    answer.bytes += block.len() as u64;
    answer.changed_at = now;
    let block_key = RecalledKey { tenant, recall, agent, number: answer.blocks };
    staged.put(Space::Blocks, &block_key.encode(), block);
    put(staged, &key, answer);
    Ok(())
}

/// Notes the end of an agent's answer.
///
/// # Errors
/// The agent does not answer this, or says that it sent something else than what came.
pub fn finish(
    staged: &mut Staged<'_>,
    (tenant, agent): (TenantId, AgentId),
    end: &RecallEnd,
    now: Timestamp,
) -> Result<(), CommandError> {
    let (key, mut record, answer) = asked(staged, (tenant, agent), end.id)?;
    if (answer.records, answer.bytes) != (end.records, end.bytes) {
        let problem = format!(
            "{} records of {} bytes came, {} of {} were sent",
            answer.records, answer.bytes, end.records, end.bytes
        );
        return Err(CommandError::Invalid { field: "records", problem });
    }
    let evicted = end.evicted.map_or(0, |evicted| evicted.count);
    record.answered += 1;
    record.incomplete += u32::from(!end.is_complete());
    record.records = record.records.saturating_add(end.records);
    record.evicted = record.evicted.saturating_add(evicted);
    record.lost = record.lost.saturating_add(end.lost);
    put(staged, &RecallKey(end.id), record);
    let state = RecallState::Answered(*end);
    put(staged, &key, RecallAnswer { state, changed_at: now, ..answer });
    let event = Event::RecallAnswered {
        recall: end.id,
        agent,
        records: end.records,
        evicted,
        lost: end.lost,
        is_complete: end.is_complete(),
    };
    let actor = Actor::Agent(agent);
    journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    Ok(())
}

/// Returns what stands of an answer that is not finished. The recall must be of the agent's own tenant (L5).
fn asked(
    staged: &Staged<'_>,
    (tenant, agent): (TenantId, AgentId),
    recall: RecallId,
) -> Result<(RecallAgentKey, RecallRecord, RecallAnswer), CommandError> {
    let key = RecallAgentKey { recall, agent };
    let record = staged.load(&RecallKey(recall))?.filter(|record| record.tenant == tenant);
    let answer = staged.load(&key)?;
    let answer = answer.filter(|answer| !matches!(answer.state, RecallState::Answered(_)));
    match (record, answer) {
        (Some(record), Some(answer)) => Ok((key, record, answer)),
        _ => Err(CommandError::not_found("recall", recall)),
    }
}

impl RecallAnswer {
    /// An agent that was not asked yet, or whose answer was lost.
    pub(crate) const fn waiting(now: Timestamp) -> Self {
        Self {
            state: RecallState::Waiting,
            attempts: 0,
            blocks: 0,
            records: 0,
            bytes: 0,
            changed_at: now,
        }
    }

    /// Returns how long it is until the agent is to be asked, again if need be; `None` if it is not.
    ///
    /// The first attempts follow on each other at once, the later ones after pauses that double: a connection that
    /// breaks for an hour shall not use them up.
    #[must_use]
    pub fn due_in(&self, now: Timestamp) -> Option<Duration> {
        if matches!(self.state, RecallState::Answered(_)) || self.attempts >= RECALL_ATTEMPTS_MAX {
            return None;
        }
        let Some(doublings) = self.attempts.checked_sub(RECALL_ATTEMPTS_QUICK) else {
            return Some(Duration::ZERO);
        };
        let pause = RECALL_PAUSE_MIN.saturating_mul(1 << doublings).min(RECALL_PAUSE_MAX);
        Some(pause.saturating_sub(now.since(self.changed_at)))
    }
}

#[cfg(test)]
mod tests;
