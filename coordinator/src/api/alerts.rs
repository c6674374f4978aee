//! Alerts of a case, and the search for alerts by entity and by when they were received.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use shared::{ids::TenantId, time::Timestamp};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    cases,
    extract::{Asked, Named},
    json, ocsf,
    page::{self, Filter},
    problem::Problem,
    read,
    types::{Alert, AlertPage, Time},
};
use crate::{
    counters::Counters,
    limits::{SEARCH_BLOCKS_MAX, TEXT_BYTES_MAX},
    store::{
        reader::alerts::{self, AlertPlace, Found, Search, Window},
        schema::{BlockKey, Key},
    },
    triage::{
        entity::{EntityKind, EntityRef},
        queue::TenantScope,
    },
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_of_case)).routes(routes!(search))
}

/// Which part of a case's alerts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct CaseAlertsQuery {
    /// Whether the records are shown, too.
    record: bool,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Which alerts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// Whose; may be left out by a token for one tenant.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// What they name, such as `ip:10.0.0.1`: host, ip, user, hash, rule or domain, and its name; upper and lower case
    /// are the same, and so are an address's spellings.
    #[param(max_length = 4096, pattern = "^(host|ip|user|hash|rule|domain):.+$")]
    entity: Option<String>,
    /// Received by the coordinator at this time or later: RFC 3339.
    #[param(value_type = Option<Time>)]
    from: Option<String>,
    /// Received by the coordinator before: RFC 3339.
    #[param(value_type = Option<Time>)]
    to: Option<String>,
    /// Whether the records are shown, too.
    record: bool,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Alerts of a case, those newest that the coordinator received last.
#[utoipa::path(
    get, path = "/v1/cases/{case}/alerts", operation_id = "list_alerts_of_case", tag = "alerts",
    params(
        ("case" = String, Path, description = "Its id, or the first 4 or more letters of it"),
        CaseAlertsQuery,
    ),
    responses((status = 200, description = "A page", body = AlertPage))
)]
async fn list_of_case(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<CaseAlertsQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let case = cases::named(&api, &caller, &name).await?;
    let (tenant, id) = (case.tenant, case.id);
    let name = id.to_string();
    let filter = Filter::new("alerts of case", &[Some(&name)]);
    let before = filter.start(query.cursor.as_deref(), |at| position(tenant, at))?;
    let window = Window { before, limit, blocks: SEARCH_BLOCKS_MAX, records: query.record };
    let counters = Arc::clone(&api.counters);
    let page = read::blocking(&api.store, move |engine| {
        let page = alerts::of_case(engine, tenant, id, window)?;
        count_unreadable(&counters, &page);
        Ok::<_, Problem>(show(tenant, Some(&name), page, filter))
    });
    json(&page.await?)
}

/// Alerts of a tenant that name an entity, or all of them, those newest that the coordinator received last.
#[utoipa::path(
    get, path = "/v1/alerts", operation_id = "search_alerts", tag = "alerts",
    params(SearchQuery),
    responses((
        status = 200, body = AlertPage,
        description = "A page. A search looks at a bounded number of blocks: a page may be short, \
            even empty, and still have a `next`"
    ))
)]
async fn search(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<SearchQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let tenant = tenant_of(&caller, query.tenant)?;
    let entity = query.entity.as_deref().map(entity_named).transpose()?;
    let (from, to) = (query.from.as_deref(), query.to.as_deref());
    let filter = Filter::new("alerts", &[Some(tenant.as_str()), query.entity.as_deref(), from, to]);
    let from = cases::instant("from", from)?.map_or(Timestamp::ZERO, |time| time.0);
    let to = cases::instant("to", to)?.map_or(Timestamp::MAX, |time| time.0);
    if from > to {
        return Err(Problem::invalid("from", "must not lie behind `to`"));
    }
    let before = filter.start(query.cursor.as_deref(), |at| position(tenant, at))?;
    let window = Window { before, limit, blocks: SEARCH_BLOCKS_MAX, records: query.record };
    let search = Search { tenant, entity, from, to };
    let counters = Arc::clone(&api.counters);
    let page = read::blocking(&api.store, move |engine| {
        let page = alerts::search(engine, &search, window)?;
        count_unreadable(&counters, &page);
        Ok::<_, Problem>(show(tenant, None, page, filter))
    });
    json(&page.await?)
}

/// Returns whose alerts are searched (L5).
fn tenant_of(caller: &Caller, asked: Option<TenantId>) -> Result<TenantId, Problem> {
    if let Some(tenant) = asked {
        caller.see(tenant)?;
        return Ok(tenant);
    }
    match &caller.scope {
        TenantScope::Only(tenants) if tenants.len() == 1 => tenants.first().copied(),
        TenantScope::Only(_) | TenantScope::All => None,
    }
    .ok_or_else(|| {
        Problem::invalid("tenant", "your token is for several tenants: name one")
            .hint("GET /v1/tenants lists them")
    })
}

/// Returns the entity that `KIND:VALUE` names.
fn entity_named(text: &str) -> Result<EntityRef, Problem> {
    let invalid = |detail: String| Problem::invalid("entity", detail);
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid(format!("has at most {TEXT_BYTES_MAX} bytes")));
    }
    let named = text.split_once(':').and_then(|(kind, name)| {
        Some((EntityKind::from_name(kind)?, name.trim())).filter(|(_, name)| !name.is_empty())
    });
    let (kind, name) = named.ok_or_else(|| {
        let kinds = EntityKind::ALL.map(EntityKind::as_str).join(", ");
        invalid("must be KIND:NAME, such as ip:10.0.0.1".to_owned())
            .hint(format!("kinds are {kinds}"))
    })?;
    Ok(EntityRef::new(kind, name))
}

/// Returns a place as a cursor holds it: the block's key, which names the tenant, and the position.
fn position_bytes(tenant: TenantId, AlertPlace { block, position }: AlertPlace) -> Vec<u8> {
    let mut bytes = BlockKey { tenant, place: block }.encode();
    bytes.extend_from_slice(&position.to_be_bytes());
    bytes
}

fn position(tenant: TenantId, bytes: &[u8]) -> Option<AlertPlace> {
    let (key, position) = bytes.split_last_chunk()?;
    let key = BlockKey::decode(key).ok().filter(|key| key.tenant == tenant)?;
    Some(AlertPlace { block: key.place, position: u16::from_be_bytes(*position) })
}

/// Counts the records that were asked for and cannot be shown: an operator learns that an agent sends such.
fn count_unreadable(counters: &Counters, page: &alerts::AlertPage) {
    let unreadable = page.alerts.iter().filter(|found| matches!(found.record, Some(Err(_))));
    counters.records_unreadable.add(unreadable.count() as u64);
}

/// Returns a page as the API shows it.
fn show(
    tenant: TenantId,
    case: Option<&str>,
    page: alerts::AlertPage,
    filter: Filter,
) -> AlertPage {
    AlertPage {
        items: page.alerts.iter().map(|found| alert(tenant, case, found)).collect(),
        next: page.next.map(|place| filter.cursor(&position_bytes(tenant, place))),
        records_gone: page.blocks_gone,
    }
}

fn alert(tenant: TenantId, case: Option<&str>, found: &Found) -> Alert {
    let AlertPlace { block, position } = found.place;
    let (record, unreadable) = match found.record.as_ref() {
        Some(Ok(record)) => (Some(record), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    let text = record.map(|record| String::from_utf8_lossy(record));
    let is_lossy = matches!(&text, Some(std::borrow::Cow::Owned(_)));
    let bytes = record.filter(|_| is_lossy);
    Alert {
        case: case.map(str::to_owned),
        tenant: tenant.to_string(),
        agent: block.stream.agent.to_string(),
        epoch: block.stream.epoch.to_string(),
        lane: block.stream.lane,
        seq: block.seq.as_u64(),
        position,
        received_at: Time(block.received_at),
        finding: ocsf::finding(tenant, found),
        record_base64: bytes.map(|bytes| STANDARD.encode(bytes)),
        record: text.map(std::borrow::Cow::into_owned),
        record_unreadable: unreadable,
    }
}

#[cfg(test)]
mod tests;
