//! Cases: listed, shown, claimed by name, and what is done with a claim.

use std::time::Duration;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use shared::ids::TenantId;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, LEADS, WORKERS},
    extract::{Asked, MaybeSent, Named, Sent},
    idempotency::{self, Answer, Refusal, etag},
    json,
    page::{self, Filter, Page},
    problem::{Kind, Problem},
    read, show,
    types::{
        Case, CaseName, CaseState, CaseSummary, Claim, ClaimReason, ClaimRequest, Lease,
        ReleaseRequest, RenewRequest, SeverityName, TenantName, Time, VerdictRequest,
    },
};
use crate::{
    command,
    limits::{CASE_LETTERS_MIN, LEASE_DEFAULT, LEASE_MAX, LEASE_MIN, TEXT_BYTES_MAX},
    store::reader::cases::{self as reader, CaseFilter, CasePlace, StateIs},
    triage::{
        case::{self, CaseId, Fence, Judgement},
        queue::TenantScope,
    },
};

/// Most matches that an ambiguous name lists.
const MATCHES_MAX: usize = 5;

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(claim))
        .routes(routes!(renew))
        .routes(routes!(release))
        .routes(routes!(decide))
}

/// Which cases a list shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct CasesQuery {
    /// Of this tenant; of all that the token shows where absent.
    #[param(value_type = Option<TenantName>)]
    tenant: Option<String>,
    /// In this state.
    state: Option<CaseState>,
    /// At least this severe.
    #[param(value_type = Option<SeverityName>)]
    severity: Option<String>,
    /// About this host; upper and lower case are the same.
    #[param(max_length = 4096)]
    host: Option<String>,
    /// Opened then or later: RFC 3339.
    #[param(value_type = Option<Time>)]
    since: Option<String>,
    /// Opened before: RFC 3339.
    #[param(value_type = Option<Time>)]
    until: Option<String>,
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

impl CasesQuery {
    fn filter(&self) -> Result<CaseFilter, Problem> {
        let severity = self.severity.as_deref().map(|name| {
            let unknown = || Problem::invalid("severity", format!("there is no severity {name:?}"));
            show::severity_named(name).ok_or_else(unknown)
        });
        if self.host.as_ref().is_some_and(|host| host.len() > TEXT_BYTES_MAX) {
            return Err(Problem::invalid("host", format!("has at most {TEXT_BYTES_MAX} bytes")));
        }
        Ok(CaseFilter {
            state: self.state.map(|state| match state {
                CaseState::Open => StateIs::Open,
                CaseState::Claimed => StateIs::Claimed,
                CaseState::Closed => StateIs::Closed,
            }),
            severity: severity.transpose()?,
            host: self.host.clone(),
            since: instant("since", self.since.as_deref())?.map(|time| time.0),
            until: instant("until", self.until.as_deref())?.map(|time| time.0),
        })
    }

    /// Returns what a cursor of this list is bound to.
    fn bound(&self) -> Filter {
        let state = self.state.map(|state| match state {
            CaseState::Open => "open",
            CaseState::Claimed => "claimed",
            CaseState::Closed => "closed",
        });
        let Self { tenant, severity, host, since, until, .. } = self;
        let [tenant, severity, host, since, until] =
            [tenant, severity, host, since, until].map(Option::as_deref);
        Filter::new("cases", &[tenant, state, severity, host, since, until])
    }
}

/// Reads an instant of the query.
///
/// # Errors
/// Answers `invalid` for what is none.
pub fn instant(field: &str, text: Option<&str>) -> Result<Option<Time>, Problem> {
    let parsed = text.map(|text| text.parse::<Time>());
    parsed.transpose().map_err(|error| Problem::invalid(field, error.to_string()))
}

/// Cases, newest opened first.
#[utoipa::path(
    get, path = "/v1/cases", operation_id = "list_cases", tag = "cases", params(CasesQuery),
    responses((status = 200, description = "A page", body = Page<CaseSummary>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<CasesQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let (cases, bound) = (query.filter()?, query.bound());
    let after = bound.start(query.cursor.as_deref(), CasePlace::from_bytes)?;
    let scope = narrowed(&caller, query.tenant.as_deref())?;
    let page = read::blocking(&api.store, move |engine| {
        let tenants = reader::tenants(engine, &scope)?;
        reader::page(engine, &tenants, &cases, after, limit)
    });
    let page = page.await?;
    let now = api.clock.now();
    json(&Page {
        items: page.cases.iter().map(|case| show::case_summary(case, now)).collect(),
        next: page.next.map(|place| bound.cursor(&place.to_bytes())),
    })
}

/// Returns the caller's scope, or the named tenant of it.
///
/// # Errors
/// Answers `not-found` for a tenant outside the scope, and `invalid` for what is no tenant's name.
pub fn narrowed(caller: &Caller, tenant: Option<&str>) -> Result<TenantScope, Problem> {
    let Some(tenant) = tenant else { return Ok(caller.scope.clone()) };
    let tenant: TenantId = tenant.parse()?;
    caller.see(tenant)?;
    Ok(TenantScope::Only([tenant].into()))
}

/// Finds the case that a path names by its id or the beginning of it.
///
/// # Errors
/// Answers `invalid` for what cannot begin an id, `not-found`, or `ambiguous-case` with what fits.
pub async fn named(api: &Api, caller: &Caller, name: &str) -> Result<case::Case, Problem> {
    let letters = name.to_ascii_lowercase();
    let range =
        (letters.len() >= CASE_LETTERS_MIN).then(|| reader::ids_beginning_with(&letters)).flatten();
    let range = range.ok_or_else(|| {
        let detail = "must be at least 4 letters of a case's id: 0-9 and a-z without i, l, o, u";
        Problem::invalid("case", detail)
    })?;
    let scope = caller.scope.clone();
    let found = read::blocking(&api.store, move |engine| reader::named(engine, &scope, range));
    match found.await? {
        reader::Named::One(case) => Ok(*case),
        reader::Named::None => Err(Problem::not_found("case", letters)),
        reader::Named::Several(ids) => {
            let detail = format!("more than one case may begin with {letters}");
            let matches = ids.iter().take(MATCHES_MAX).map(ToString::to_string).collect();
            Err(Problem::new(Kind::AmbiguousCase, detail)
                .field("case")
                .hint("give more letters of the id")
                .matches(matches))
        }
    }
}

/// One case, with all that is known about it.
#[utoipa::path(
    get, path = "/v1/cases/{case}", operation_id = "show_case", tag = "cases",
    params(("case" = CaseName, Path, description = "Its id, or the first 4 or more letters of it")),
    responses((
        status = 200, description = "The case", body = Case,
        headers(("ETag" = String, description = "Its revision"))
    ))
)]
async fn one(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
) -> Result<Response, Problem> {
    let case = named(&api, &caller, &name).await?;
    let read = read::blocking(&api.store, move |engine| {
        reader::findings(engine, &case).map(|findings| (case, findings))
    });
    let (case, findings) = read.await?;
    let mut response = json(&show::case(&case, &findings, api.clock.now()))?;
    response.headers_mut().insert(header::ETAG, etag(case.revision));
    Ok(response)
}

/// Returns the lease that was asked for.
///
/// # Errors
/// Answers `invalid` outside 30 to 3600 seconds.
pub fn lease(seconds: Option<u64>) -> Result<Duration, Problem> {
    let lease = seconds.map_or(LEASE_DEFAULT, Duration::from_secs);
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return Ok(lease);
    }
    let (min, max) = (LEASE_MIN.as_secs(), LEASE_MAX.as_secs());
    Err(Problem::invalid("lease_seconds", format!("must be {min} to {max}")))
}

/// Returns that a claim shows no lease, which the rules of cases make impossible.
pub(super) fn unleased(id: CaseId) -> Refusal {
    command::CommandError::not_found("lease of case", id).into()
}

/// Claims a named case. Analysts get theirs from the queue.
#[utoipa::path(
    post, path = "/v1/cases/{case}/claim", operation_id = "claim_case", tag = "cases",
    params(("case" = CaseName, Path, description = "Its id, or the first 4 or more letters of it")),
    request_body = Option<ClaimRequest>,
    responses((status = 200, description = "The claim", body = Claim))
)]
async fn claim(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    MaybeSent(Sent { body, once }): MaybeSent<ClaimRequest>,
) -> Result<Answer, Problem> {
    if caller.require(LEADS).is_err() && caller.require(WORKERS).is_ok() {
        return Err(Problem::forbidden(caller.role(), LEADS)
            .hint("the queue chooses: ask for the next case with POST /v1/queue/next"));
    }
    caller.require(LEADS)?;
    let lease = lease(body.lease_seconds)?;
    let id = named(&api, &caller, &name).await?.id;
    idempotency::write(&api, once, move |staged, now| {
        let case = command::cases::claim(staged, &caller.command(), id, lease, now)?;
        let findings = reader::findings(&*staged, &case)?;
        let claim = show::claim(&case, &findings, vec![ClaimReason::Named], now);
        Answer::json(StatusCode::OK, &claim.ok_or_else(|| unleased(id))?)
    })
    .await
}

/// Extends the caller's lease.
#[utoipa::path(
    post, path = "/v1/cases/{case}/renew", operation_id = "renew_lease", tag = "cases",
    params(("case" = CaseName, Path, description = "Its id, or the first 4 or more letters of it")),
    request_body = RenewRequest,
    responses((status = 200, description = "The lease", body = Lease))
)]
async fn renew(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<RenewRequest>,
) -> Result<Answer, Problem> {
    caller.require(WORKERS)?;
    let lease = lease(body.lease_seconds)?;
    let id = named(&api, &caller, &name).await?.id;
    idempotency::write(&api, once, move |staged, now| {
        let claim = (id, Fence(body.fence));
        let case = command::cases::renew(staged, &caller.command(), claim, lease, now)?;
        Answer::json(StatusCode::OK, &show::lease(&case).ok_or_else(|| unleased(id))?)
    })
    .await
}

/// Gives a case back to the queue.
#[utoipa::path(
    post, path = "/v1/cases/{case}/release", operation_id = "release_case", tag = "cases",
    params(("case" = CaseName, Path, description = "Its id, or the first 4 or more letters of it")),
    request_body = ReleaseRequest,
    responses((status = 200, description = "The case", body = Case))
)]
async fn release(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<ReleaseRequest>,
) -> Result<Answer, Problem> {
    caller.require(WORKERS)?;
    let id = named(&api, &caller, &name).await?.id;
    idempotency::write(&api, once, move |staged, now| {
        let claim = (id, Fence(body.fence));
        let case = command::cases::release(staged, &caller.command(), claim, &body.reason, now)?;
        let findings = reader::findings(&*staged, &case)?;
        Answer::json(StatusCode::OK, &show::case(&case, &findings, now))
    })
    .await
}

/// Closes a case with a verdict.
#[utoipa::path(
    post, path = "/v1/cases/{case}/verdict", operation_id = "decide_case", tag = "cases",
    params(("case" = CaseName, Path, description = "Its id, or the first 4 or more letters of it")),
    request_body = VerdictRequest,
    responses((status = 200, description = "The case", body = Case))
)]
async fn decide(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named,
    Sent { body, once }: Sent<VerdictRequest>,
) -> Result<Answer, Problem> {
    caller.require(WORKERS)?;
    let id = named(&api, &caller, &name).await?.id;
    idempotency::write(&api, once, move |staged, now| {
        let (kind, reason) = (body.verdict.into(), body.reason.as_str());
        let judgement = Judgement { kind, reason, revision_read: body.revision };
        let claim = (id, Fence(body.fence));
        let case = command::cases::decide(staged, &caller.command(), claim, judgement, now)?;
        let findings = reader::findings(&*staged, &case)?;
        Answer::json(StatusCode::OK, &show::case(&case, &findings, now))
    })
    .await
}
