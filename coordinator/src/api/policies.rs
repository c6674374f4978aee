//! Policies: signed versions are brought and shown, rolled out in stages, halted; and where they stand at agents.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use shared::{
    ids::{AgentId, TenantId},
    policy::{PolicyOutcome, PolicyPublicKey, peek},
    time::Timestamp,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, LEADS},
    extract::{Asked, MaybeSent, Named, Sent},
    idempotency::{self, Answer},
    json,
    page::{self, Filter, Page, PageQuery},
    problem::Problem,
    read,
    types::{
        AgentPolicyState, PolicyOutcomeName, PolicyPush, PolicyRefusedBy, PolicyRollout,
        PolicyVersion, RolloutAdvance, RolloutCounts, RolloutHalt, RolloutHalted, RolloutState,
        RolloutSums, TenantName, Time,
    },
};
use crate::{
    command::policies as commands,
    limits::ROLLOUT_AGENTS_MAX,
    store::{
        reader::policies::{self, AgentStanding},
        schema::{AgentKey, PolicyKey, RolloutKey},
        tables::{LoadError, Source},
        values::{HaltReason, Halted, PolicyRecord, RefusedPolicy, Rollout, ValueError},
    },
    triage::rollout::{STAGES, Seen, Sums},
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, push))
        .routes(routes!(one))
        .routes(routes!(rollout))
        .routes(routes!(list_agents))
        .routes(routes!(advance))
        .routes(routes!(halt))
}

/// Which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct VersionQuery {
    /// Its number; the newest where absent.
    version: Option<u64>,
}

/// Brings a signed version, and begins to roll it out.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/policies", operation_id = "push_policy", tag = "policies",
    params(("tenant" = TenantName, Path, description = "Whose agents it is for")),
    request_body = PolicyPush,
    responses((status = 201, description = "How far it is rolled out", body = PolicyRollout))
)]
async fn push(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<PolicyPush>,
) -> Result<Answer, Problem> {
    caller.require(LEADS)?;
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    let envelope = STANDARD.decode(&body.envelope);
    let envelope = envelope.map_err(|error| Problem::invalid("envelope", error.to_string()))?;
    let percent = body.stage.unwrap_or(STAGES[0]);
    let push = commands::Push { tenant, envelope, percent, copy_of: body.copy_of };
    let (actor, keys) = (caller.actor(), Arc::clone(&api.policy_keys));
    let fleet = read::blocking(&api.store, move |engine| {
        policies::agents(engine, tenant, None, ROLLOUT_AGENTS_MAX)
    });
    let fleet = fleet.await?;
    let answer = idempotency::write(&api, once, move |staged, now| {
        let rollout = commands::push(staged, push, (&keys, &fleet), &actor, now)?;
        Answer::json(StatusCode::CREATED, &rollout.version)
    });
    let answer = answer.await?;
    api.bells.policies.ring();
    show_after(&api, tenant, answer).await
}

/// Versions of a tenant's policy that are kept, the newest first, without their rules.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/policies", operation_id = "list_policies", tag = "policies",
    params(("tenant" = TenantName, Path, description = "Whose"), PageQuery),
    responses((status = 200, description = "A page", body = Page<PolicyVersion>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    let filter = Filter::new("policies", &[Some(tenant.as_str())]);
    let before = filter.start(query.cursor.as_deref(), |position| {
        Some(u64::from_be_bytes(position.try_into().ok()?))
    })?;
    let page = read::blocking(&api.store, move |engine| {
        let mut rows = policies::page(engine, tenant, before, limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next = last.map(|(key, _)| filter.cursor(&key.version.to_be_bytes()));
        let items = rows.iter().map(|(_, record)| version(record, false));
        Ok::<_, LoadError>(Page { items: items.collect::<Result<_, _>>()?, next })
    });
    json(&page.await?)
}

/// One version of a tenant's policy, with its rules and as it was signed.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/policy", operation_id = "show_policy", tag = "policies",
    params(("tenant" = TenantName, Path, description = "Whose"), VersionQuery),
    responses((status = 200, description = "The version", body = PolicyVersion))
)]
async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<VersionQuery>,
) -> Result<Response, Problem> {
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    let found = read::blocking(&api.store, move |engine| {
        let newest = || Ok(commands::versions(engine, tenant)?.last().copied());
        let number = query.version.map_or_else(newest, |version| Ok::<_, LoadError>(Some(version)));
        let number = number?.ok_or_else(|| Problem::not_found("policy of tenant", tenant))?;
        let record = engine.load(&PolicyKey { tenant, version: number })?;
        let record = record.ok_or_else(|| Problem::not_found("version", number))?;
        Ok::<_, Problem>(version(&record, true)?)
    });
    json(&found.await?)
}

/// How far a tenant's newest policy is rolled out, and what is seen of it.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/rollout", operation_id = "show_rollout", tag = "policies",
    params(("tenant" = TenantName, Path, description = "Whose")),
    responses((status = 200, description = "The roll-out", body = PolicyRollout))
)]
async fn rollout(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Response, Problem> {
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    json(&read_rollout(&api, tenant).await?)
}

/// Agents of a tenant with where the policy stands at each, by id.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/rollout/agents", operation_id = "list_rollout_agents",
    tag = "policies",
    params(("tenant" = TenantName, Path, description = "Whose"), PageQuery),
    responses((status = 200, description = "A page", body = Page<AgentPolicyState>))
)]
async fn list_agents(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    let filter = Filter::new("rollout agents", &[Some(tenant.as_str())]);
    let after = filter.start(query.cursor.as_deref(), |position| {
        Some(AgentId::from_bytes(position.try_into().ok()?))
    })?;
    let page = read::blocking(&api.store, move |engine| {
        let rollout = engine.load(&RolloutKey(tenant))?;
        let mut rows = policies::agents(engine, tenant, after, limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next = last.map(|standing| filter.cursor(standing.agent.as_bytes()));
        let items = rows.iter().map(|standing| agent_state(tenant, rollout.as_ref(), standing));
        Ok::<_, LoadError>(Page { items: items.collect(), next })
    });
    json(&page.await?)
}

/// Takes a roll-out to its next stage: 1, 10, then 100 percent of the agents. It is a conflict while no agent of the
/// stage has answered, and where something is found that would halt it.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/rollout/advance", operation_id = "advance_rollout",
    tag = "policies", params(("tenant" = TenantName, Path, description = "Whose")),
    request_body = Option<RolloutAdvance>,
    responses((status = 200, description = "The roll-out", body = PolicyRollout))
)]
async fn advance(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    MaybeSent(Sent { body, once }): MaybeSent<RolloutAdvance>,
) -> Result<Answer, Problem> {
    caller.require(LEADS)?;
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    let (actor, now) = (caller.actor(), api.clock.now());
    // What agents did with it is read before, beside the writer.
    let looked = read::blocking(&api.store, move |engine| {
        let fleet = policies::agents(engine, tenant, None, ROLLOUT_AGENTS_MAX)?;
        let Some(rollout) = engine.load(&RolloutKey(tenant))? else { return Ok((fleet, None)) };
        let seen = policies::seen(engine, tenant, &rollout, now)?;
        Ok::<_, LoadError>((fleet, Some((rollout.version, seen))))
    });
    let (fleet, seen) = looked.await?;
    let RolloutAdvance { is_meant, anyway } = body;
    let advance = commands::Advance { tenant, is_meant, anyway, seen, fleet };
    let answer = idempotency::write(&api, once, move |staged, now| {
        let rollout = commands::advance(staged, advance, &actor, now)?;
        Answer::json(StatusCode::OK, &rollout.version)
    });
    let answer = answer.await?;
    api.bells.policies.ring();
    show_after(&api, tenant, answer).await
}

/// Stops a roll-out: nobody further is offered the newest version. Agents that have it keep it.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/rollout/halt", operation_id = "halt_rollout",
    tag = "policies", params(("tenant" = TenantName, Path, description = "Whose")),
    request_body = RolloutHalt,
    responses((status = 200, description = "The roll-out", body = PolicyRollout))
)]
async fn halt(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<RolloutHalt>,
) -> Result<Answer, Problem> {
    caller.require(LEADS)?;
    let tenant: TenantId = name.parse()?;
    caller.see(tenant)?;
    let actor = caller.actor();
    let answer = idempotency::write(&api, once, move |staged, now| {
        let why = HaltReason::Asked(body.reason);
        let rollout = commands::halt(staged, (tenant, None), why, &actor, now)?;
        Answer::json(StatusCode::OK, &rollout.version)
    });
    show_after(&api, tenant, answer.await?).await
}

/// Answers a write with how the roll-out stands after it. That is read beside the writer, which is not kept waiting
/// while each agent and its ledger is looked at.
async fn show_after(api: &Api, tenant: TenantId, answer: Answer) -> Result<Answer, Problem> {
    answer.showing(&read_rollout(api, tenant).await?)
}

async fn read_rollout(api: &Api, tenant: TenantId) -> Result<PolicyRollout, Problem> {
    let now = api.clock.now();
    let found = read::blocking(&api.store, move |engine| {
        let rollout = engine.load(&RolloutKey(tenant))?;
        let rollout = rollout.ok_or_else(|| Problem::not_found("policy of tenant", tenant))?;
        Ok::<_, Problem>(shown(engine, tenant, &rollout, now)?)
    });
    found.await
}

/// Returns a version as the API shows it.
fn version(record: &PolicyRecord, with_text: bool) -> Result<PolicyVersion, LoadError> {
    let damaged = ValueError { what: "policy", detail: "its envelope is none".to_owned() };
    let (key, policy) = peek(&record.envelope).ok_or(damaged)?;
    Ok(PolicyVersion {
        version: policy.version,
        not_before: Time(policy.not_before),
        expires_at: Time(policy.expires_at),
        key: key.to_string(),
        pushed_by: (&record.by).into(),
        pushed_at: Time(record.at),
        copy_of: record.copy_of,
        sha256: commands::digest(&policy.text),
        cpu_percent: policy.limits.cpu_percent,
        coordinators: policy.coordinators,
        text: with_text.then_some(policy.text),
        envelope: with_text.then(|| STANDARD.encode(&record.envelope)),
    })
}

/// Returns a roll-out as the API shows it.
fn shown<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    rollout: &Rollout,
    now: Timestamp,
) -> Result<PolicyRollout, LoadError> {
    let seen = policies::seen(source, tenant, rollout, now)?;
    let agents = policies::agents(source, tenant, None, ROLLOUT_AGENTS_MAX)?;
    let state = if rollout.halted.is_some() { RolloutState::Halted } else { RolloutState::Running };
    Ok(PolicyRollout {
        tenant: tenant.to_string(),
        version: rollout.version,
        base: rollout.base,
        stage: rollout.percent,
        state,
        began_at: Time(rollout.began_at),
        stage_at: Time(rollout.stage_at),
        is_meant: rollout.is_meant,
        halted: rollout.halted.as_ref().map(|halted| halted_as_shown(tenant, rollout, halted)),
        counts: counts(tenant, rollout, &agents, &seen),
        before: sums(seen.before),
        after: sums(seen.after),
    })
}

fn sums(Sums { records, malformed, held, dropped, lost, restarts }: Sums) -> RolloutSums {
    RolloutSums { records, malformed, held, dropped, lost, restarts }
}

fn halted_as_shown(tenant: TenantId, rollout: &Rollout, halted: &Halted) -> RolloutHalted {
    let reason = match &halted.why {
        HaltReason::Asked(reason) => reason.clone(),
        HaltReason::Found(fault) => fault.to_string(),
    };
    let back = match rollout.base {
        0 => format!("push a version that holds nothing for {tenant}"),
        base => format!("take it back to version {base}: signalbox policy rollback {tenant}"),
    };
    let next_step = format!(
        "{back}; or, if this is what was meant, go on: signalbox policy advance {tenant} --meant"
    );
    RolloutHalted { at: Time(halted.at), by: (&halted.by).into(), reason, next_step }
}

fn counts(
    tenant: TenantId,
    rollout: &Rollout,
    agents: &[AgentStanding],
    seen: &Seen,
) -> RolloutCounts {
    let mut counts = RolloutCounts {
        agents: agents.len() as u64,
        refused: seen.refused,
        silent: seen.silent,
        ..RolloutCounts::default()
    };
    for AgentStanding { agent, first_seen_at, policy, .. } in agents {
        let in_stage = rollout.has_in_stage(AgentKey { tenant, agent: *agent }, *first_seen_at);
        counts.in_stage += u64::from(in_stage);
        let other = policy.as_ref().is_some_and(|policy| policy.is_other(rollout));
        counts.other += u64::from(other);
        let has = policy.as_ref().filter(|policy| policy.is_of(rollout));
        let count = match has.map(|policy| &policy.outcome) {
            Some(PolicyOutcome::InForce) => &mut counts.in_force,
            Some(PolicyOutcome::Overridden) => &mut counts.overridden,
            Some(PolicyOutcome::Ended) => &mut counts.ended,
            Some(PolicyOutcome::Nothing | PolicyOutcome::Refused { .. }) | None => {
                let refuses = policy.as_ref().is_some_and(|policy| policy.refuses(rollout));
                counts.waiting += u64::from(in_stage && !refuses && !other);
                continue;
            }
        };
        *count += 1;
    }
    counts
}

fn agent_state(
    tenant: TenantId,
    rollout: Option<&Rollout>,
    standing: &AgentStanding,
) -> AgentPolicyState {
    let AgentStanding { agent, first_seen_at, .. } = *standing;
    let (key, row) = (AgentKey { tenant, agent }, standing.policy.as_ref());
    let is_other = row.zip(rollout).is_some_and(|(row, rollout)| row.is_other(rollout));
    let outcome = match row.map(|row| &row.outcome) {
        Some(_) if is_other => PolicyOutcomeName::Other,
        None => PolicyOutcomeName::Unheard,
        Some(PolicyOutcome::InForce) => PolicyOutcomeName::InForce,
        Some(PolicyOutcome::Overridden) => PolicyOutcomeName::Overridden,
        Some(PolicyOutcome::Ended) => PolicyOutcomeName::Ended,
        Some(PolicyOutcome::Nothing | PolicyOutcome::Refused { .. }) => PolicyOutcomeName::Nothing,
    };
    let offered = row.and_then(|row| row.offered);
    AgentPolicyState {
        agent: agent.to_string(),
        in_stage: rollout.is_some_and(|rollout| rollout.has_in_stage(key, first_seen_at)),
        target: rollout.map_or(0, |rollout| commands::target(rollout, key, first_seen_at)),
        version: row.map_or(0, |row| row.version),
        outcome,
        since: row.map(|row| Time(row.since)),
        offered: offered.map(|(version, _)| version),
        offered_at: offered.map(|(_, at)| Time(at)),
        refused: row.and_then(|row| row.refused.as_ref()).map(refused_as_shown),
    }
}

fn refused_as_shown(refused: &RefusedPolicy) -> PolicyRefusedBy {
    let RefusedPolicy { version, reason, detail, at } = refused;
    let text = if detail.is_empty() { reason.to_string() } else { detail.clone() };
    let reason = reason.as_str().to_owned();
    PolicyRefusedBy { version: *version, reason, text, at: Time(*at) }
}

impl Api {
    /// Returns the API with the keys that policies may be signed by.
    #[must_use]
    pub fn with_policy_keys(mut self, keys: Arc<[PolicyPublicKey]>) -> Self {
        self.policy_keys = keys;
        self
    }
}

#[cfg(test)]
mod tests;
