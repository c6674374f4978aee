//! Agents: listed, shown, with what was known of their hosts and which blocks will never come.

mod host;

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use shared::{
    ids::{AgentId, BootId, Lane, Seq, TenantId},
    time::Timestamp,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, LEADS},
    extract::{Asked, Named, Sent},
    idempotency::{self, Answer},
    json, ocsf,
    page::{self, Filter, Page, PageQuery},
    problem::Problem,
    read, show,
    types::{
        Agent, AgentCertificate, AgentRevocation, AgentStats, ClaimingHost, Context, Gap,
        IdentityConflict, IdentityDecision, LaneState, Lanes, ResolveRequest, RevokeRequest,
        Revoked, SpoolFault, SpoolNotice, Time, process,
    },
};
use crate::{
    command::{CommandError, claims, identities},
    store::{
        engine::Engine,
        reader::{
            agents::{self, AgentStanding, LaneStanding},
            gaps,
        },
        schema::{AgentKey, GapKey, Key, TenantKey},
        tables::{LoadError, Source},
        values::{self, Conflict, GapRecord, KnownCertificate, Revocation},
    },
    triage::queue::TenantScope,
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(list_contexts))
        .routes(routes!(list_gaps))
        .routes(routes!(revoke))
        .routes(routes!(resolve))
}

/// Which agents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct AgentQuery {
    /// Only this tenant's.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Agents that the caller may see, by tenant and id.
#[utoipa::path(
    get, path = "/v1/agents", operation_id = "list_agents", tag = "agents", params(AgentQuery),
    responses((status = 200, description = "A page", body = Page<Agent>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<AgentQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let filter = Filter::new("agents", &[query.tenant.as_ref().map(TenantId::as_str)]);
    let after =
        filter.start(query.cursor.as_deref(), |position| AgentKey::decode(position).ok())?;
    let scope = match query.tenant {
        Some(tenant) => {
            caller.see(tenant)?;
            TenantScope::Only([tenant].into())
        }
        None => caller.scope,
    };
    let rows =
        read::blocking(&api.store, move |engine| agents::page(engine, &scope, after, limit + 1));
    let mut rows = rows.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| filter.cursor(&row.key.encode()));
    let now = api.clock.now();
    json(&Page { items: rows.iter().map(|row| agent(row, now)).collect(), next })
}

/// One agent.
#[utoipa::path(
    get, path = "/v1/agents/{agent}", operation_id = "show_agent", tag = "agents",
    params(("agent" = String, Path, description = "Its id, a UUID")),
    responses((status = 200, description = "The agent", body = Agent))
)]
async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Response, Problem> {
    let (id, scope) = (name.parse()?, caller.scope);
    let found = read::blocking(&api.store, move |engine| find(engine, &scope, id)).await?;
    json(&agent(&found, api.clock.now()))
}

/// Contexts of an agent's host, newest first.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/contexts", operation_id = "list_contexts", tag = "agents",
    params(("agent" = String, Path, description = "The agent's id, a UUID"), PageQuery),
    responses((status = 200, description = "A page", body = Page<Context>))
)]
async fn list_contexts(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let id: AgentId = name.parse()?;
    let filter = Filter::new("contexts", &[Some(&id.to_string())]);
    let before = filter.start(query.cursor.as_deref(), |position| {
        Some(Timestamp::from_ms(u64::from_be_bytes(position.try_into().ok()?)))
    })?;
    let rows = read::blocking(&api.store, move |engine| {
        let found = find(engine, &caller.scope, id)?;
        Ok::<_, Problem>(agents::contexts(engine, found.key, before, limit + 1)?)
    });
    let mut rows = rows.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|(key, _)| filter.cursor(&key.received_at.as_ms().to_be_bytes()));
    let items = rows.into_iter().map(|(key, known)| Context {
        version: ocsf::version(known.context.version()),
        received_at: Time(key.received_at),
        confirmed_at: known.confirmed_at.map(Time),
        context: host::shown(known.context),
    });
    json(&Page { items: items.collect(), next })
}

/// Blocks of an agent that will never come, by spool, lane and number.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/gaps", operation_id = "list_gaps", tag = "agents",
    params(("agent" = String, Path, description = "The agent's id, a UUID"), PageQuery),
    responses((status = 200, description = "A page", body = Page<Gap>))
)]
async fn list_gaps(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let id: AgentId = name.parse()?;
    let filter = Filter::new("gaps", &[Some(&id.to_string())]);
    let after = filter.start(query.cursor.as_deref(), |position| {
        GapKey::decode(position).ok().filter(|key| key.stream.agent == id)
    })?;
    let rows = read::blocking(&api.store, move |engine| {
        let AgentKey { tenant, agent } = find(engine, &caller.scope, id)?.key;
        let after = after.filter(|after| after.tenant == tenant);
        Ok::<_, Problem>(gaps::page(engine, tenant, agent, after.as_ref(), limit + 1)?)
    });
    let mut rows = rows.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(key, _)| filter.cursor(&key.encode()));
    json(&Page { items: rows.iter().map(|(key, record)| gap(key, record)).collect(), next })
}

/// Makes an agent's identity worthless, for good: its connections are ended, and it is let in no more.
/// What it sent stays. A second revocation changes nothing, and returns the first.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/revoke", operation_id = "revoke_agent", tag = "agents",
    params(("agent" = String, Path, description = "Its id, a UUID")), request_body = RevokeRequest,
    responses((status = 200, description = "Since when, by whom and why", body = AgentRevocation))
)]
async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<RevokeRequest>,
) -> Result<Answer, Problem> {
    caller.require(LEADS)?;
    let id: AgentId = name.parse()?;
    if let Some(tenant) = body.tenant {
        caller.see(tenant)?;
    }
    let answer = idempotency::write(&api, once, move |staged, now| {
        let key = match body.tenant {
            Some(tenant) if staged.load(&TenantKey(tenant))?.is_some() => {
                AgentKey { tenant, agent: id }
            }
            Some(tenant) => return Err(CommandError::not_found("tenant", tenant).into()),
            None => {
                let found = agents::find(&*staged, &caller.scope, id)?;
                found.ok_or_else(|| CommandError::not_found("agent", id))?.key
            }
        };
        let revocation = identities::revoke(staged, key, &body.reason, &caller.actor(), now)?;
        let (tenant, agent) = (key.tenant.to_string(), key.agent.to_string());
        let body = AgentRevocation { tenant, agent, revoked: revoked(&revocation) };
        Answer::json(StatusCode::OK, &body)
    });
    let answer = answer.await?;
    api.bells.revocations.ring();
    Ok(answer)
}

/// Decides which of several hosts keeps an agent's identity. It is served from its next heartbeat on, and made to renew
/// its certificate; with that the others' copies are worth nothing, and they have to join as agents of their own.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/resolve", operation_id = "resolve_agent", tag = "agents",
    params(("agent" = String, Path, description = "Its id, a UUID")),
    request_body = ResolveRequest,
    responses((status = 200, description = "The conflict, decided", body = IdentityConflict))
)]
async fn resolve(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<ResolveRequest>,
) -> Result<Answer, Problem> {
    caller.require(LEADS)?;
    let id: AgentId = name.parse()?;
    let is_process = body.process.len() == 16;
    let boot = u64::from_str_radix(&body.process, 16).ok().filter(|_| is_process).map(BootId);
    let boot = boot.ok_or_else(|| Problem::invalid("process", "16 of 0-9 and a-f"))?;
    let answer = idempotency::write(&api, once, move |staged, now| {
        let found = agents::find(&*staged, &caller.scope, id)?;
        let key = found.ok_or_else(|| CommandError::not_found("agent", id))?.key;
        let conflict = claims::resolve(staged, key, boot, &body.reason, &caller.actor(), now)?;
        Answer::json(StatusCode::OK, &contested(&conflict, None))
    });
    answer.await
}

/// Returns a conflict as the API shows it. What is known of the host that is served stands with the agent.
fn contested(conflict: &Conflict, agent: Option<&AgentStanding>) -> IdentityConflict {
    let served = claims::served(conflict);
    let decision = conflict.kept.as_ref().map(|kept| IdentityDecision {
        process: process(conflict.hosts[served].claimant.boot),
        at: Time(kept.at),
        by: (&kept.by).into(),
        reason: kept.reason.clone(),
    });
    let hosts = conflict.hosts.iter().enumerate().map(|(place, it)| {
        let it_serves = |of: &&AgentStanding| place == served && of.agent.boot == it.claimant.boot;
        let agent = agent.filter(it_serves);
        let context = it.context.as_ref().or(agent.and_then(|agent| agent.host.as_ref()));
        ClaimingHost {
            process: process(it.claimant.boot),
            spool: it.claimant.epoch.to_string(),
            is_served: place == served,
            from: it.claimant.from.clone(),
            version: it.claimant.version.clone(),
            first_seen_at: Time(it.first_seen_at),
            last_seen_at: Time(agent.map_or(it.last_seen_at, |agent| agent.agent.last_seen_at)),
            context: context.cloned().map(host::shown),
        }
    });
    IdentityConflict { since: Time(conflict.since), decision, hosts: hosts.collect() }
}

fn noticed(notice: &values::SpoolNotice) -> SpoolNotice {
    let fault = match notice.fault {
        values::SpoolFault::SetBack { lane, committed, last } => {
            SpoolFault::SetBack { lane, committed: committed.as_u64(), last: last.map(Seq::as_u64) }
        }
        values::SpoolFault::Returned { after } => SpoolFault::Returned { after: after.to_string() },
    };
    SpoolNotice { spool: notice.epoch.to_string(), since: Time(notice.since), fault }
}

fn revoked(revocation: &Revocation) -> Revoked {
    let Revocation { at, by, reason } = revocation;
    Revoked { at: Time(*at), by: by.into(), reason: reason.clone() }
}

/// Finds an agent that the scope holds; one that it does not hold is as if it were not there (L5).
fn find(engine: &dyn Engine, scope: &TenantScope, id: AgentId) -> Result<AgentStanding, Problem> {
    let found: Result<_, LoadError> = agents::find(engine, scope, id);
    found?.ok_or_else(|| Problem::not_found("agent", id))
}

/// Returns an agent as the API shows it.
fn agent(standing: &AgentStanding, now: Timestamp) -> Agent {
    let AgentStanding { key, agent, host, lanes, gaps, certificate, .. } = standing;
    let [urgent, normal, bulk] = lanes.map(|lane| lane_state(&lane));
    let stats = &agent.stats;
    let lag_blocks = standing.lag_blocks();
    let lag_seconds = stats.oldest_unacked.filter(|_| lag_blocks > 0).map(|oldest| {
        // The agent's own clock, so what it is ahead of ours is taken off.
        let age_ms = i128::from(now.as_ms()) - i128::from(oldest.as_ms());
        let age_ms = age_ms + i128::from(agent.clock_ahead_ms);
        u64::try_from(age_ms.max(0) / 1_000).unwrap_or(u64::MAX)
    });
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let has_context = agent.context.0 != 0;
    Agent {
        tenant: key.tenant.to_string(),
        agent: key.agent.to_string(),
        hostname: host.as_ref().and_then(|host| text(&host.hostname)),
        os: host.as_ref().and_then(|host| text(&host.os)),
        version: agent.version.clone(),
        first_seen_at: Time(agent.first_seen_at),
        last_seen_at: Time(agent.last_seen_at),
        silent_seconds: now.since(agent.last_seen_at).as_secs(),
        epoch: agent.epoch.to_string(),
        boot: process(agent.boot),
        context: has_context.then(|| ocsf::version(agent.context)),
        clock_ahead_ms: agent.clock_ahead_ms,
        stats: AgentStats {
            records_read: stats.records_read,
            bytes_read: stats.bytes_read,
            malformed: stats.malformed,
            over_long: stats.over_long,
            spool_full: stats.spool_full,
            spool_bytes: stats.spool_bytes,
        },
        lanes: Lanes { urgent, normal, bulk },
        lag_blocks,
        lag_seconds,
        gaps: show::count(*gaps),
        revoked: standing.revoked.as_ref().map(revoked),
        certificate: certificate.as_ref().map(shown),
        conflict: standing.conflict.as_ref().map(|it| contested(it, Some(standing))),
        spool_notice: standing.spool_notice.as_ref().map(noticed),
    }
}

fn shown(known: &KnownCertificate) -> AgentCertificate {
    AgentCertificate {
        serial: known.serial.iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: Time(known.not_before),
        not_after: Time(known.not_after),
        shown_at: Time(known.shown_at),
    }
}

const _: () = assert!(Lane::COUNT == 3, "every lane is shown");

fn lane_state(lane: &LaneStanding) -> LaneState {
    LaneState {
        spooled: lane.spooled.map(Seq::as_u64),
        committed: lane.committed.map(Seq::as_u64),
        lag_blocks: lane.lag_blocks(),
        alerts: lane.alerts,
    }
}

fn gap(key: &GapKey, record: &GapRecord) -> Gap {
    let (first, last) = (key.first.as_u64(), record.last.as_u64());
    Gap {
        epoch: key.stream.epoch.to_string(),
        lane: key.stream.lane,
        first,
        last,
        blocks: (last - first.min(last)).saturating_add(1),
        reason: record.reason,
        noticed_at: Time(record.noticed_at),
    }
}

#[cfg(test)]
mod tests;
