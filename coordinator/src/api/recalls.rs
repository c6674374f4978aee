//! Recalls: agents are asked for what a rule of their policy held back, and what they answer is read.

use axum::{extract::State, http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::{
    alert::Field,
    ids::{AgentId, TenantId},
    recall::RecallId,
    time::Timestamp,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, WORKERS},
    extract::{Asked, Named, Sent},
    idempotency::{self, Answer},
    json,
    page::{self, Filter, Page},
    problem::Problem,
    read,
    types::{
        Evicted, Recall, RecallAnswer, RecallAnswerState, RecallDetails, RecallRequest,
        RecalledRecord, Time,
    },
};
use crate::{
    command::recalls as commands,
    limits::{RECALL_ATTEMPTS_MAX, RECALL_SILENCE_MAX},
    store::{
        engine::Engine,
        reader::recalls::{self, Recalled, RecordPlace},
        schema::{RecallAgentKey, RecallKey},
        tables::Source,
        values::{self, RecallRecord, RecallState},
    },
};

/// Most bytes from one agent where nothing is said: a hundred thousand records.
const BYTES_DEFAULT: u64 = 16 << 20;

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, ask))
        .routes(routes!(one))
        .routes(routes!(list_records))
}

/// Which recalls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecallsQuery {
    /// Whose.
    #[param(value_type = String)]
    tenant: TenantId,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Which records of a recall.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct RecordsQuery {
    /// Only this agent's.
    #[param(value_type = Option<String>)]
    agent: Option<AgentId>,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Asks a tenant's agents for what a rule held back. They answer when they are connected, within three days.
#[utoipa::path(
    post, path = "/v1/recalls", operation_id = "ask_recall", tag = "recalls",
    request_body = RecallRequest,
    responses((status = 201, description = "The recall", body = Recall))
)]
async fn ask(
    State(api): State<Api>,
    caller: Caller,
    Sent { body, once }: Sent<RecallRequest>,
) -> Result<Answer, Problem> {
    caller.require(WORKERS)?;
    caller.see(body.tenant)?;
    let ask = commands::Ask {
        tenant: body.tenant,
        agent: body.agent,
        rule: body.rule,
        since: body.since.map_or(Timestamp::ZERO, |time| time.0),
        until: body.until.map_or(Timestamp::MAX, |time| time.0),
        bytes_max: body.max_bytes.unwrap_or(BYTES_DEFAULT),
    };
    let actor = caller.actor();
    let answer = idempotency::write(&api, once, move |staged, now| {
        let (id, record) = commands::ask(staged, ask, &actor, now)?;
        Answer::json(StatusCode::CREATED, &shown(id, &record, now))
    });
    let answer = answer.await?;
    api.bells.recalls.ring();
    Ok(answer)
}

/// Recalls of a tenant, newest first.
#[utoipa::path(
    get, path = "/v1/recalls", operation_id = "list_recalls", tag = "recalls",
    params(RecallsQuery),
    responses((status = 200, description = "A page", body = Page<Recall>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<RecallsQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let tenant = query.tenant;
    caller.see(tenant)?;
    let filter = Filter::new("recalls", &[Some(tenant.as_str())]);
    let before = filter.start(query.cursor.as_deref(), |position| {
        Some(RecallId::from_bytes(position.try_into().ok()?))
    })?;
    let rows =
        read::blocking(&api.store, move |engine| recalls::page(engine, tenant, before, limit + 1));
    let mut rows = rows.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(id, _)| filter.cursor(id.as_bytes()));
    let now = api.clock.now();
    json(&Page { items: rows.iter().map(|(id, record)| shown(*id, record, now)).collect(), next })
}

/// A recall with what each agent answered.
#[utoipa::path(
    get, path = "/v1/recalls/{recall}", operation_id = "show_recall", tag = "recalls",
    params(("recall" = String, Path, description = "Its id: 32 hex digits")),
    responses((status = 200, description = "The recall", body = RecallDetails))
)]
async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Response, Problem> {
    let (id, now) = (named(&name)?, api.clock.now());
    let details = read::blocking(&api.store, move |engine| {
        let record = find(engine, &caller, id)?;
        let answers = recalls::answers(engine, id)?;
        let answers: Vec<RecallAnswer> =
            answers.iter().map(|(key, row)| answer(key, row, &record, now)).collect();
        let mut recall = shown(id, &record, now);
        recall.is_finished |= answers.iter().all(|answer| answer.state.is_final());
        Ok::<_, Problem>(RecallDetails { recall, answers })
    });
    json(&details.await?)
}

/// Records that came, by agent and in the order in which it held them.
#[utoipa::path(
    get, path = "/v1/recalls/{recall}/records", operation_id = "list_recalled_records",
    tag = "recalls",
    params(("recall" = String, Path, description = "Its id: 32 hex digits"), RecordsQuery),
    responses((
        status = 200, body = Page<RecalledRecord>,
        description = "A page; it may be short and still not be the last"
    ))
)]
async fn list_records(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<RecordsQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let id = named(&name)?;
    let agent = query.agent.map(|agent| agent.to_string());
    let filter = Filter::new("recalled", &[Some(&id.to_string()), agent.as_deref()]);
    let after = filter.start(query.cursor.as_deref(), place)?;
    let page = read::blocking(&api.store, move |engine| {
        let record = find(engine, &caller, id)?;
        let place = (record.tenant, id);
        let page = recalls::records(engine, place, query.agent, after, limit)?;
        let next = page.next.map(|place| filter.cursor(&place_bytes(place)));
        Ok::<_, Problem>(Page { items: page.records.iter().map(recalled).collect(), next })
    });
    json(&page.await?)
}

fn named(name: &str) -> Result<RecallId, Problem> {
    name.parse().map_err(|error: shared::recall::RecallIdError| {
        Problem::invalid("recall", error.to_string())
    })
}

/// Finds a recall that the caller may see; one that they may not is as if it were not there (L5).
fn find(engine: &dyn Engine, caller: &Caller, id: RecallId) -> Result<RecallRecord, Problem> {
    let record = engine.load(&RecallKey(id))?;
    let record = record.filter(|record| caller.scope.allows(record.tenant));
    record.ok_or_else(|| Problem::not_found("recall", id))
}

fn place_bytes(RecordPlace { agent, number, position }: RecordPlace) -> Vec<u8> {
    let mut bytes = agent.as_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&position.to_be_bytes());
    bytes
}

fn place(bytes: &[u8]) -> Option<RecordPlace> {
    let (agent, rest) = bytes.split_first_chunk()?;
    let (number, position) = rest.split_first_chunk()?;
    let position = u16::from_be_bytes(position.try_into().ok()?);
    let (agent, number) = (AgentId::from_bytes(*agent), u32::from_be_bytes(*number));
    Some(RecordPlace { agent, number, position })
}

/// Returns a recall as the API shows it.
fn shown(id: RecallId, record: &RecallRecord, now: Timestamp) -> Recall {
    let has_answers = record.answered == record.agents;
    Recall {
        id: id.to_string(),
        tenant: record.tenant.to_string(),
        rule: record.rule.clone(),
        since: Time(record.since),
        until: Time(record.until),
        max_bytes: record.bytes_max,
        asked_by: (&record.asked_by).into(),
        asked_at: Time(id.asked_at()),
        expires_at: Time(record.expires_at),
        agents: record.agents,
        answered: record.answered,
        is_finished: has_answers || now >= record.expires_at,
        is_complete: has_answers && record.incomplete == 0,
        records: record.records,
        evicted: record.evicted,
        lost: record.lost,
    }
}

fn answer(
    key: &RecallAgentKey,
    row: &values::RecallAnswer,
    record: &RecallRecord,
    now: Timestamp,
) -> RecallAnswer {
    let end = match row.state {
        RecallState::Answered(end) => Some(end),
        RecallState::Waiting | RecallState::Answering => None,
    };
    let state = match row.state {
        RecallState::Answered(end) => RecallAnswerState::of(end.outcome),
        _ if row.attempts >= RECALL_ATTEMPTS_MAX
            && now.since(row.changed_at) >= RECALL_SILENCE_MAX =>
        {
            RecallAnswerState::GivenUp
        }
        _ if now >= record.expires_at => RecallAnswerState::Expired,
        RecallState::Waiting => RecallAnswerState::Waiting,
        RecallState::Answering => RecallAnswerState::Answering,
    };
    let evicted = end.and_then(|end| end.evicted).map(|evicted| Evicted {
        records: evicted.count,
        from: Time(evicted.from),
        until: Time(evicted.until),
        evicted_at: Time(evicted.evicted_at),
    });
    RecallAnswer {
        agent: key.agent.to_string(),
        state,
        changed_at: Time(row.changed_at),
        attempts: row.attempts,
        records: row.records,
        bytes: row.bytes,
        evicted,
        lost: end.map_or(0, |end| end.lost),
        is_truncated: end.is_some_and(|end| end.truncated),
        is_complete: end.is_some_and(|end| end.is_complete()),
    }
}

fn recalled(found: &Recalled) -> RecalledRecord {
    let Recalled { place, alert, record } = found;
    let text = |field| alert.text(field).map(str::to_owned);
    let shown = String::from_utf8_lossy(record);
    let is_lossy = matches!(&shown, std::borrow::Cow::Owned(_));
    let digest: [u8; 32] = Sha256::digest(record).into();
    RecalledRecord {
        agent: place.agent.to_string(),
        source: text(Field::LogName),
        rule: text(Field::PolicyRule),
        happened_at: Time(alert.event_time()),
        observed_at: Time(alert.observed_at),
        severity: alert.severity,
        title: text(Field::Title),
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        record_base64: is_lossy.then(|| STANDARD.encode(record)),
        record: shown.into_owned(),
    }
}

#[cfg(test)]
mod tests;
