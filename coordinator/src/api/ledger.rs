//! Agents' ledgers: what became of every record, and where that cannot be told.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use shared::{
    ids::{AgentId, TenantId},
    time::Timestamp,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    cases::instant,
    extract::{Asked, Named},
    json,
    page::{self, Filter, Page},
    problem::Problem,
    read,
    types::{AgentName, LedgerCoverage, LedgerGap, TenantName, Time},
};
use crate::{
    limits::LEDGER_INTERVALS_MAX,
    store::{
        engine::Engine,
        reader::ledger::{self, Found, Window},
        schema::{Key, LedgerGapKey, LedgerKey, TenantKey},
        tables::{LoadError, Source},
    },
    triage::coverage::Coverage,
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(cover)).routes(routes!(list_gaps))
}

/// Which part of the ledgers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct LedgerQuery {
    /// Only of this agent.
    #[param(value_type = Option<AgentName>)]
    agent: Option<String>,
    /// Intervals that ended at this time or later, by their agent's clock: RFC 3339.
    #[param(value_type = Option<Time>)]
    from: Option<String>,
    /// Intervals that ended before: RFC 3339.
    #[param(value_type = Option<Time>)]
    to: Option<String>,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// A query that was understood.
struct Query {
    tenant: TenantId,
    window: Window,
    limit: usize,
    filter: Filter,
}

impl LedgerQuery {
    fn read(&self, list: &str, tenant: &str, caller: &Caller) -> Result<Query, Problem> {
        let tenant: TenantId = tenant.parse()?;
        caller.see(tenant)?;
        let agent: Option<AgentId> = self.agent.as_deref().map(str::parse).transpose()?;
        let (from, to) = (self.from.as_deref(), self.to.as_deref());
        let filter = Filter::new(list, &[Some(tenant.as_str()), self.agent.as_deref(), from, to]);
        let window = Window {
            from: instant("from", from)?.map_or(Timestamp::ZERO, |time| time.0),
            until: instant("to", to)?.map_or(Timestamp::MAX, |time| time.0),
            agent,
        };
        Ok(Query { tenant, window, limit: page::limit(self.limit)?, filter })
    }
}

/// What the ledgers of a tenant's agents cover, by agent and source.
///
/// Each page sums up one stretch of time after the other, so that a source may stand on several pages: its items add
/// up. An interval is never divided, so a page may have a few items more than were asked for.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/ledger", operation_id = "show_ledger", tag = "ledger",
    params(("tenant" = TenantName, Path, description = "Its id"), LedgerQuery),
    responses((status = 200, description = "A page", body = Page<LedgerCoverage>))
)]
async fn cover(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<LedgerQuery>,
) -> Result<Response, Problem> {
    let Query { tenant, window, limit, filter } = query.read("ledger", &name, &caller)?;
    let after = filter.start(query.cursor.as_deref(), |position| {
        LedgerKey::decode(position).ok().filter(|key| key.tenant == tenant)
    })?;
    let page = read::blocking(&api.store, move |engine| {
        known(engine, tenant)?;
        let most = LEDGER_INTERVALS_MAX;
        let found = ledger::intervals(engine, tenant, window, after.as_ref(), most + 1)?;
        let rows = found.rows;
        let mut coverage = Coverage::default();
        let mut taken = 0;
        for (key, interval) in rows.iter().take(most) {
            if coverage.len() >= limit {
                break;
            }
            coverage.add(key.agent, interval);
            taken += 1;
        }
        let last = rows.get(taken.max(1) - 1).filter(|_| taken < rows.len());
        let next = last.map(|(key, _)| *key).or(found.looked_up_to);
        let next = next.map(|key| filter.cursor(&key.encode()));
        let items = coverage.iter().map(|(agent, covered)| LedgerCoverage::new(agent, covered));
        Ok::<_, Problem>(Page { items: items.collect(), next })
    });
    json(&page.await?)
}

/// Gaps in the ledgers of a tenant's agents, by when the interval ended that shows them.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/ledger/gaps", operation_id = "list_ledger_gaps",
    tag = "ledger",
    params(("tenant" = TenantName, Path, description = "Its id"), LedgerQuery),
    responses((status = 200, description = "A page", body = Page<LedgerGap>))
)]
async fn list_gaps(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Asked(query): Asked<LedgerQuery>,
) -> Result<Response, Problem> {
    let Query { tenant, window, limit, filter } = query.read("ledger gaps", &name, &caller)?;
    let after = filter.start(query.cursor.as_deref(), |position| {
        LedgerGapKey::decode(position).ok().filter(|key| key.tenant == tenant)
    })?;
    let found = read::blocking(&api.store, move |engine| {
        known(engine, tenant)?;
        Ok::<_, Problem>(ledger::gaps(engine, tenant, window, after.as_ref(), limit + 1)?)
    });
    let Found { mut rows, looked_up_to } = found.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|(key, _)| *key);
    let next = last.or(looked_up_to).map(|key| filter.cursor(&key.encode()));
    json(&Page { items: rows.iter().map(|(key, row)| LedgerGap::new(key, row)).collect(), next })
}

/// Checks that there is such a tenant.
fn known(engine: &dyn Engine, tenant: TenantId) -> Result<(), Problem> {
    let found: Result<_, LoadError> = engine.load(&TenantKey(tenant));
    found?.map(drop).ok_or_else(|| Problem::not_found("tenant", tenant))
}

#[cfg(test)]
mod tests;
