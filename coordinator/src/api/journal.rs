//! The journal in pages, and who may see which of its entries.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use shared::ids::TenantId;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, JOURNAL_READERS},
    extract::Asked,
    json,
    page::{self, Filter, Page},
    problem::Problem,
    read,
    types::JournalEntry,
};
use crate::{
    command::journal::{Chained, read_after, read_before},
    limits::{JOURNAL_LOOKED_MAX, TAIL_ENTRIES_MAX},
    store::{
        engine::Engine,
        schema::MetaKey,
        tables::{LoadError, Source},
        values::Entry,
    },
    triage::{case::CaseId, queue::TenantScope},
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which entries, and in which direction.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct JournalQuery {
    /// Entries with greater numbers, oldest first.
    after: Option<u64>,
    /// Entries with smaller numbers, newest first. With neither, the list begins at the newest.
    before: Option<u64>,
    /// Only about this tenant.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Only about this case: its whole id.
    #[param(min_length = 12, max_length = 12)]
    case: Option<String>,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Returns whether the caller may see an entry: those of their tenants, and those that are nobody's in particular if
/// they may read the journal and see every tenant (L5).
pub(super) fn shows(caller: &Caller, entry: &Entry) -> bool {
    match entry.tenant {
        Some(tenant) => caller.scope.allows(tenant),
        None => caller.scope == TenantScope::All && JOURNAL_READERS.contains(&caller.role()),
    }
}

/// Entries of the journal that the caller may see.
#[utoipa::path(
    get, path = "/v1/journal", operation_id = "list_journal", tag = "journal",
    params(JournalQuery),
    responses((status = 200, description = "A page", body = Page<JournalEntry>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<JournalQuery>,
) -> Result<Response, Problem> {
    caller.require(JOURNAL_READERS)?;
    let limit = page::limit(query.limit)?;
    if query.after.is_some() && query.before.is_some() {
        return Err(Problem::invalid("before", "`after` and `before` exclude each other"));
    }
    if let Some(tenant) = query.tenant {
        caller.see(tenant)?;
    }
    let case = query.case.as_deref().map(str::parse::<CaseId>).transpose();
    let case = case.map_err(|error| Problem::invalid("case", error.to_string()))?;
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let (after, before) = (number(query.after), number(query.before));
    let filter = Filter::new(
        "journal",
        &[
            after.as_deref(),
            before.as_deref(),
            query.tenant.as_ref().map(TenantId::as_str),
            query.case.as_deref(),
        ],
    );
    let from = filter.start(query.cursor.as_deref(), |position| {
        Some(u64::from_be_bytes(position.try_into().ok()?))
    })?;
    let start = match (query.after, from) {
        (Some(after), from) => Start::After(from.unwrap_or(after)),
        (None, from) => Start::Before(from.or(query.before).unwrap_or(u64::MAX)),
    };
    let tenant = query.tenant;
    let page = read::blocking(&api.store, move |engine| {
        load(engine, start, limit, |entry| {
            shows(&caller, entry)
                && tenant.is_none_or(|tenant| entry.tenant == Some(tenant))
                && case.is_none_or(|case| entry.event.cases().contains(&case))
        })
    });
    let (entries, next) = page.await?;
    let items = entries.iter().map(|entry| JournalEntry::new(entry, true)).collect();
    json(&Page { items, next: next.map(|number| filter.cursor(&number.to_be_bytes())) })
}

/// From where on, and in which direction.
#[derive(Clone, Copy, Debug)]
enum Start {
    After(u64),
    Before(u64),
}

/// Reads at most `limit` entries that `wanted` takes, looking at no more than [`JOURNAL_LOOKED_MAX`]. Returns the
/// number of the last that was looked at, if there is more behind it.
fn load(
    engine: &dyn Engine,
    mut start: Start,
    limit: usize,
    wanted: impl Fn(&Entry) -> bool,
) -> Result<(Vec<Chained>, Option<u64>), LoadError> {
    let head = engine.load(&MetaKey::JOURNAL)?.map_or(0, |head| head.number);
    let mut entries = Vec::new();
    let mut looked = 0;
    while looked < JOURNAL_LOOKED_MAX {
        let batch = match start {
            Start::After(number) => read_after(engine, number, TAIL_ENTRIES_MAX)?,
            Start::Before(number) => read_before(engine, number, TAIL_ENTRIES_MAX)?,
        };
        if batch.is_empty() {
            return Ok((entries, None));
        }
        looked += batch.len();
        for chained in batch {
            let number = chained.number;
            let is_last = match &mut start {
                Start::After(after) => {
                    *after = number;
                    number >= head
                }
                Start::Before(before) => {
                    *before = number;
                    number == 1
                }
            };
            entries.extend(Some(chained).filter(|chained| wanted(&chained.entry)));
            if is_last {
                return Ok((entries, None));
            }
            if entries.len() == limit {
                return Ok((entries, Some(number)));
            }
        }
    }
    let (Start::After(number) | Start::Before(number)) = start;
    Ok((entries, Some(number)))
}

#[cfg(test)]
mod tests;
