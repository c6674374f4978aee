//! Working the queue: taking a case, deciding it, giving it back, holding it for longer.

use std::time::Duration;

use coordinator::api::types::{
    Case, Claim, ClaimRequest, Lease, NextRequest, Outcome as ApiOutcome, Queue, ReleaseRequest,
    RenewRequest, VerdictRequest,
};

use super::Desk;
use crate::{
    args::{ClaimArgs, NextArgs, Outcome, QueueArgs, ReleaseArgs, RenewArgs, VerdictArgs},
    claims::Remembered,
    client::{
        Answer, Ask,
        path::{Query, escape},
    },
    commands::cases::{ALERTS_SHOWN, newest_alerts},
    failure::{About, Failure},
    render::cases,
};

/// Status of an answer without a document.
const NO_CONTENT: u16 = 204;

impl From<Outcome> for ApiOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Malicious => Self::Malicious,
            Outcome::Suspicious => Self::Suspicious,
            Outcome::BenignExpected => Self::BenignExpected,
            Outcome::BenignFalsePositive => Self::BenignFalsePositive,
        }
    }
}

fn case_path(case: &str, what: &str) -> String {
    format!("/v1/cases/{}{what}", escape(case))
}

fn about(case: &str) -> About {
    About::Case(case.to_owned())
}

/// Takes the next case and shows it.
pub(super) fn next(args: &NextArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let seconds = |length: Option<Duration>| length.map(|length| length.as_secs());
    let body = NextRequest { lease_seconds: seconds(args.lease), wait_seconds: seconds(args.wait) };
    let ask =
        Ask::post("/v1/queue/next", &body).about(About::Queue).wait(args.wait.unwrap_or_default());
    let answer = desk.client.ask(&ask)?;
    if answer.status == NO_CONTENT {
        return Err(Failure::NothingWaits);
    }
    show_claim(&answer, desk)
}

/// Takes a named case and shows it.
pub(super) fn claim(args: &ClaimArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let body = ClaimRequest { lease_seconds: args.lease.map(|lease| lease.as_secs()) };
    let ask = Ask::post(case_path(&args.case, "/claim"), &body).about(about(&args.case));
    let answer = desk.client.ask(&ask)?;
    show_claim(&answer, desk)
}

fn show_claim(answer: &Answer, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let claim: Claim = answer.parse()?;
    // The case is ours from here on: what fails below must not hide that.
    remember(desk, &claim.case.id, claim.fence, claim.lease_until, Some(claim.case.revision));
    if desk.output.is_json() {
        return desk.output.json(&answer.text);
    }
    let (now, columns) = (desk.now, desk.output.columns());
    desk.output.text(&cases::claim(&claim, now, columns))?;
    match newest_alerts(&claim.case.id, ALERTS_SHOWN, false, desk) {
        Ok(alerts) => desk.output.text(&alerts.text)?,
        Err(failure) => desk.output.note(&failure.render()),
    }
    desk.output.text(&cases::next_steps(&claim, now))
}

fn remember(
    desk: &Desk<'_>,
    case: &str,
    fence: u64,
    lease_until: coordinator::api::types::Time,
    revision: Option<u64>,
) {
    let coordinator = desk.client.coordinator().to_owned();
    let claim = Remembered { coordinator, case: case.to_owned(), fence, lease_until, revision };
    if let Err(failure) = desk.claims.remember(claim) {
        desk.output.note(&failure.render());
        desk.output.note(&format!("The claim's number is not remembered: give --fence {fence}"));
    }
}

/// What a write about a held case needs.
struct Held {
    case: String,
    fence: u64,
    /// Revision of the case that was shown last.
    revision: Option<u64>,
}

/// Returns the named fence, or the remembered one with what was shown.
fn held(case: &str, fence: Option<u64>, desk: &Desk<'_>) -> Result<Held, Failure> {
    match fence {
        Some(fence) => {
            // What was shown is what a verdict is on, also where the number is given by hand.
            let claim = desk.claims.find(desk.client.coordinator(), case).ok();
            let revision = claim.and_then(|claim| claim.revision);
            Ok(Held { case: case.to_owned(), fence, revision })
        }
        None => {
            let claim = desk.claims.find(desk.client.coordinator(), case)?;
            Ok(Held { case: claim.case, fence: claim.fence, revision: claim.revision })
        }
    }
}

fn forget(desk: &Desk<'_>, case: &str) {
    if let Err(failure) = desk.claims.forget(desk.client.coordinator(), case) {
        desk.output.note(&failure.render());
    }
}

/// Decides a case.
pub(super) fn verdict(args: &VerdictArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let held = held(&args.case, args.fence, desk)?;
    let (fence, verdict, reason) = (held.fence, args.outcome.into(), args.reason.clone());
    let revision = args.revision.or(held.revision);
    let body = VerdictRequest { fence, verdict, reason, revision };
    let ask = Ask::post(case_path(&held.case, "/verdict"), &body).about(about(&held.case));
    let (answer, case) = desk.client.read::<Case>(&ask)?;
    forget(desk, &case.id);
    desk.print(&answer, |_, _| cases::decided(&case))
}

/// Gives a case back.
pub(super) fn release(args: &ReleaseArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let held = held(&args.case, args.fence, desk)?;
    let body = ReleaseRequest { fence: held.fence, reason: args.reason.clone() };
    let ask = Ask::post(case_path(&held.case, "/release"), &body).about(about(&held.case));
    let (answer, case) = desk.client.read::<Case>(&ask)?;
    forget(desk, &case.id);
    desk.print(&answer, |_, _| cases::released(&case))
}

/// Holds a case for longer.
pub(super) fn renew(args: &RenewArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let held = held(&args.case, args.fence, desk)?;
    let lease_seconds = args.lease.map(|lease| lease.as_secs());
    let body = RenewRequest { fence: held.fence, lease_seconds };
    let ask = Ask::post(case_path(&held.case, "/renew"), &body).about(about(&held.case));
    let (answer, lease) = desk.client.read::<Lease>(&ask)?;
    remember(desk, &lease.case, lease.fence, lease.lease_until, held.revision);
    desk.print(&answer, |now, _| cases::renewed(&lease, now))
}

/// Shows the queue.
pub(super) fn show(args: &QueueArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let path = Query::default().with("limit", Some(args.limit)).on("/v1/queue");
    let (answer, queue) = desk.client.read::<Queue>(&Ask::read(path))?;
    desk.print(&answer, |_, columns| cases::queue(&queue, columns))
}
