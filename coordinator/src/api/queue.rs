//! The queue: how it stands, and the next case.
//!
//! The view may be a moment behind the store. So a claim takes the first of some candidates, in the dispatcher's
//! order, that the store still holds as waiting; when all of them are gone, it looks again once the view has caught
//! up. A view that is behind costs a retry and never a double claim (L6).

use std::time::Duration;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use shared::time::Timestamp;
use tokio::{sync::watch, time::Instant};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, WORKERS},
    cases::{lease, unleased},
    extract::{Asked, MaybeSent, Sent},
    idempotency::{self, Answer, Once, Refusal},
    json, page,
    problem::{Kind, Problem},
    read, show,
    types::{Claim, ClaimReason, NextRequest, Queue, Time},
};
use crate::{
    command::{self, CommandError},
    limits::{CLAIM_TRIES_MAX, QUEUE_WAIT_MAX, VIEW_WAIT_MAX},
    store::{engine::Staged, reader::cases as reader, values::Role},
    triage::{
        case::{Case, CaseId, CaseState, Refused},
        queue,
    },
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(stand)).routes(routes!(next))
}

/// How much of the queue is shown.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct QueueQuery {
    /// Most cases of the head; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// How the queue stands. Customers see the numbers of their own tenant.
#[utoipa::path(
    get, path = "/v1/queue", operation_id = "show_queue", tag = "queue", params(QueueQuery),
    responses((status = 200, description = "The queue", body = Queue))
)]
async fn stand(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<QueueQuery>,
) -> Result<Response, Problem> {
    let limit = page::limit(query.limit)?;
    let limit = if caller.role() == Role::Customer { 0 } else { limit };
    let now = api.clock.now();
    let view = api.view.clone();
    let stand = read::blocking(&api.store, move |engine| {
        let scope = &caller.scope;
        let (counts, (by_severity, late), head) = view
            .with(|view| (view.counts(scope), view.totals_of(scope, now), view.head(scope, limit)));
        let head = reader::by_ids(engine, &head)?;
        let waiting = head.iter().filter(|case| matches!(case.state, CaseState::Open));
        Ok::<_, crate::store::tables::LoadError>(Queue {
            waiting: show::count(counts.waiting),
            claimed: show::count(counts.claimed),
            late: show::count(late),
            by_severity: by_severity.into(),
            head: waiting.map(|case| show::case_summary(case, now)).collect(),
        })
    });
    json(&stand.await?)
}

/// Gives the caller the next case, chosen by the dispatcher, and says why.
#[utoipa::path(
    post, path = "/v1/queue/next", operation_id = "next_case", tag = "queue",
    request_body = Option<NextRequest>,
    responses(
        (status = 200, description = "The claim", body = Claim),
        (status = 204, description = "Nothing waits"),
    )
)]
async fn next(
    State(api): State<Api>,
    caller: Caller,
    MaybeSent(Sent { body, once }): MaybeSent<NextRequest>,
) -> Result<Response, Problem> {
    caller.require(WORKERS)?;
    let lease = lease(body.lease_seconds)?;
    let wait = Duration::from_secs(body.wait_seconds.unwrap_or_default());
    if wait > QUEUE_WAIT_MAX {
        let detail = format!("must be 0 to {}", QUEUE_WAIT_MAX.as_secs());
        return Err(Problem::invalid("wait_seconds", detail));
    }
    let until = Instant::now() + wait;
    // Subscribed before the view is read, so that nothing that comes in between is missed.
    let mut news = api.view.applied();
    let mut once_was_checked = !once.has_key();
    let mut tries = 0;
    loop {
        news.mark_unchanged();
        let candidates = Candidates::of(&api, &caller);
        if !candidates.cases.is_empty() || !once_was_checked {
            once_was_checked = true;
            let found_some = !candidates.cases.is_empty();
            if let Some(answer) = try_claim(&api, &caller, candidates, lease, once).await? {
                return Ok(answer.into_response());
            }
            if found_some {
                tries += 1;
                if tries == CLAIM_TRIES_MAX {
                    let detail = "the queue changes faster than it can be followed";
                    return Err(Problem::new(Kind::StoreUnavailable, detail).hint("try again"));
                }
                caught_up(&mut news).await;
                continue;
            }
        }
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return Ok(nothing_waits()) },
            () = tokio::time::sleep_until(until) => return Ok(nothing_waits()),
            () = api.stopping.cancelled() => return Ok(nothing_waits()),
        }
    }
}

fn nothing_waits() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Waits a moment for the view to take in what made its candidates old.
async fn caught_up(news: &mut watch::Receiver<u64>) {
    // Whether it did or not, the next try finds out.
    drop(tokio::time::timeout(VIEW_WAIT_MAX, news.changed()).await);
}

/// The first waiting cases that the caller may see, in the dispatcher's order.
#[derive(Debug)]
struct Candidates {
    cases: Vec<CaseId>,
    waiting: usize,
}

impl Candidates {
    fn of(api: &Api, caller: &Caller) -> Self {
        let now = api.clock.now();
        api.view.with(|view| {
            let Some((_, reasons)) = queue::next(view, &caller.scope, now) else {
                return Self { cases: Vec::new(), waiting: 0 };
            };
            let waiting = reasons.iter().find_map(|reason| match reason {
                queue::Reason::Waiting { cases } => Some(*cases),
                _ => None,
            });
            let cases = view.head(&caller.scope, CLAIM_TRIES_MAX);
            Self { cases, waiting: waiting.unwrap_or_default() }
        })
    }
}

/// Claims the first candidate that still waits; `None` where none does.
async fn try_claim(
    api: &Api,
    caller: &Caller,
    candidates: Candidates,
    lease: Duration,
    once: Once,
) -> Result<Option<Answer>, Problem> {
    let caller = caller.command();
    let outcome = idempotency::write(api, once, move |staged, now| {
        for id in candidates.cases {
            if let Some(case) = claim_if_waiting(staged, &caller, id, lease, now)? {
                let reasons = reasons(&case, candidates.waiting, now);
                let findings = reader::findings(&*staged, &case)?;
                let claim = show::claim(&case, &findings, reasons, now);
                return Answer::json(StatusCode::OK, &claim.ok_or_else(|| unleased(id))?);
            }
        }
        Err(Refusal::NothingWaits)
    });
    match outcome.await {
        Ok(answer) => Ok(Some(answer)),
        Err(problem) if problem.kind() == Kind::Conflict => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn claim_if_waiting(
    staged: &mut Staged<'_>,
    caller: &command::cases::Caller,
    id: CaseId,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<Case>, CommandError> {
    match command::cases::claim(staged, caller, id, lease, now) {
        Ok(case) => Ok(Some(case)),
        Err(
            CommandError::NotFound { .. }
            | CommandError::Refused(Refused::Held { .. } | Refused::Closed),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says why this case, as it was stored when it was claimed.
fn reasons(case: &Case, waiting: usize, now: Timestamp) -> Vec<ClaimReason> {
    let left_ms = i128::from(case.deadline.as_ms()) - i128::from(now.as_ms());
    let minutes_left = i64::try_from(left_ms.div_euclid(60_000)).unwrap_or(i64::MAX);
    vec![
        ClaimReason::EarliestDeadline { deadline: Time(case.deadline), minutes_left },
        ClaimReason::HighestRisk { risk: case.risk },
        ClaimReason::Waiting { cases: show::count(waiting) },
    ]
}
