//! Tenants: listed, shown, made and changed.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use shared::ids::TenantId;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, LEADS},
    extract::{Asked, Named, Sent},
    idempotency::{self, Answer, Refusal, etag},
    json,
    page::{self, Filter, Page, PageQuery},
    problem::{Kind, Problem},
    read, show,
    types::{Tenant, TenantChange, TenantName},
};
use crate::{
    command::{CommandError, tenants},
    store::{
        engine::{Direction, Engine},
        schema::{Key, TenantKey, range_of},
        tables::{LoadError, Rows, Source},
        values,
    },
    triage::queue::{QueueCounts, TenantScope},
    view::View,
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, put))
}

/// Tenants that the caller may see, by name.
#[utoipa::path(
    get, path = "/v1/tenants", operation_id = "list_tenants", tag = "tenants", params(PageQuery),
    responses((status = 200, description = "A page", body = Page<Tenant>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let filter = Filter::new("tenants", &[]);
    let after = filter.start(query.cursor.as_deref(), |position| {
        TenantId::from_bytes(position.try_into().ok()?)
    })?;
    let (scope, view) = (caller.scope, api.view.clone());
    let page = read::blocking(&api.store, move |engine| {
        let mut rows = load(engine, &scope, after, limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(key, _)| filter.cursor(key.0.as_bytes()));
        let items = rows.iter().map(|(key, row)| show::tenant(key.0, row, counts(&view, key.0)));
        Ok::<_, LoadError>(Page { items: items.collect(), next })
    });
    json(&page.await?)
}

/// Reads at most `limit` tenants of the scope behind `after`.
fn load(
    engine: &dyn Engine,
    scope: &TenantScope,
    after: Option<TenantId>,
    limit: usize,
) -> Result<Rows<TenantKey>, LoadError> {
    let TenantScope::Only(tenants) = scope else {
        let (mut from, to) = range_of::<TenantKey>(&[]);
        if let Some(after) = after {
            from = TenantKey(after).encode();
            from.push(0);
        }
        return engine.load_range(&from..&to, Direction::Forward, limit);
    };
    let keys: Vec<TenantKey> = tenants
        .iter()
        .filter(|tenant| after.is_none_or(|after| **tenant > after))
        .map(|tenant| TenantKey(*tenant))
        .collect();
    let rows = keys.iter().copied().zip(engine.load_many(&keys)?);
    Ok(rows.filter_map(|(key, row)| Some((key, row?))).take(limit).collect())
}

fn counts(view: &View, tenant: TenantId) -> QueueCounts {
    view.with(|view| view.counts(&TenantScope::Only([tenant].into())))
}

/// One tenant.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}", operation_id = "show_tenant", tag = "tenants",
    params(("tenant" = TenantName, Path, description = "Its id")),
    responses((
        status = 200, description = "The tenant", body = Tenant,
        headers(("ETag" = String, description = "Its revision"))
    ))
)]
async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Response, Problem> {
    let id: TenantId = name.parse()?;
    caller.see(id)?;
    let row = read::blocking(&api.store, move |engine| engine.load(&TenantKey(id))).await?;
    let row = row.ok_or_else(|| Problem::not_found("tenant", id))?;
    let mut response = json(&show::tenant(id, &row, counts(&api.view, id)))?;
    response.headers_mut().insert(header::ETAG, etag(row.revision));
    Ok(response)
}

/// Changes a tenant, or makes it. What the body leaves out stays as it is.
#[utoipa::path(
    put, path = "/v1/tenants/{tenant}", operation_id = "put_tenant", tag = "tenants",
    params(
        ("tenant" = TenantName, Path, description = "Its id: 1 to 32 of a-z, 0-9 and inner `-`"),
        ("If-Match" = Option<String>, Header,
            description = "The ETag that was read: refuses the change if somebody was faster"),
    ),
    request_body = TenantChange,
    responses(
        (
            status = 200, description = "The changed tenant", body = Tenant,
            headers(("ETag" = String, description = "Its revision"))
        ),
        (
            status = 201, description = "The tenant, made", body = Tenant,
            headers(("ETag" = String, description = "Its revision"))
        ),
    )
)]
async fn put(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    headers: HeaderMap,
    Sent { body, once }: Sent<TenantChange>,
) -> Result<Answer, Problem> {
    caller.require(LEADS)?;
    let id: TenantId = name.parse()?;
    caller.see(id)?;
    let condition = Condition::new(&headers)?;
    let (counts, actor) = (counts(&api.view, id), caller.actor());
    let answer = idempotency::write(&api, once, move |staged, now| {
        let known = staged.load(&TenantKey(id))?;
        condition.check(known.as_ref())?;
        let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        let before = tenants::load_or_default(staged, id, now)?;
        let change = (body.display_name, body.sla_minutes.map(|change| change.apply(before.sla)));
        let changed = tenants::set(staged, id, change, None, &actor, now)?;
        Answer::json(status, &show::tenant(id, &changed, counts))
    });
    Ok(answer.await?.with_etag())
}

/// What `If-Match` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// Nothing.
    None,
    /// That it is there.
    Any,
    /// That it is at one of these revisions.
    OneOf(Vec<u64>),
}

impl Condition {
    fn new(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(header::IF_MATCH) else { return Ok(Self::None) };
        let invalid =
            || Problem::new(Kind::Invalid, "must be `*` or ETags such as \"7\"").field("If-Match");
        let text = value.to_str().map_err(|_| invalid())?.trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let mut revisions = Vec::new();
        for tag in text.split(',') {
            let inner = tag.trim().strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            // A tag that is none of ours is well-formed and fits nothing.
            revisions.extend(inner.ok_or_else(invalid)?.parse::<u64>());
        }
        Ok(Self::OneOf(revisions))
    }

    fn check(&self, known: Option<&values::Tenant>) -> Result<(), Refusal> {
        let is = known.map_or(0, |tenant| tenant.revision);
        let (fits, expected) = match self {
            Self::None => (true, is),
            Self::Any => (known.is_some(), 1),
            Self::OneOf(revisions) => {
                (revisions.contains(&is), revisions.first().copied().unwrap_or_default())
            }
        };
        if fits {
            return Ok(());
        }
        Err(CommandError::Changed { what: "tenant", expected, is }.into())
    }
}
