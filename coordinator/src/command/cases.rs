//! What people do with cases.

use std::time::Duration;

use shared::{ids::TenantId, time::Timestamp};

use crate::{
    command::{CommandError, journal},
    limits::TEXT_BYTES_MAX,
    store::{
        engine::Staged,
        schema::CaseKey,
        tables::{Source, put},
        values::{Actor, Entry, Event, Person},
    },
    triage::{
        case::{Case, CaseId, CaseState, Fence, Judgement, VerdictKind},
        queue::TenantScope,
    },
};

/// Who asks, and whose cases they may touch (L5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name on their token.
    pub name: String,
    /// Whose cases.
    pub scope: TenantScope,
    /// Who that is, if they signed in.
    pub person: Option<Person>,
}

impl Caller {
    /// Returns the caller as the journal names them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match &self.person {
            Some(Person { issuer, subject, .. }) => Actor::SignedIn {
                name: self.name.clone(),
                issuer: issuer.clone(),
                subject: subject.clone(),
            },
            None => Actor::Person(self.name.clone()),
        }
    }
}

/// Reads a case that the caller may touch.
fn load(staged: &Staged<'_>, caller: &Caller, id: CaseId) -> Result<Case, CommandError> {
    let case = staged.load(&CaseKey(id))?.filter(|case| caller.scope.allows(case.tenant));
    case.ok_or_else(|| CommandError::not_found("case", id))
}

/// Stages a case and the journal entry of its change.
fn store(
    staged: &mut Staged<'_>,
    case: Case,
    actor: Actor,
    event: Event,
    now: Timestamp,
) -> Result<Case, CommandError> {
    put(staged, &CaseKey(case.id), case.clone());
    let tenant: Option<TenantId> = Some(case.tenant);
    journal::append(staged, &Entry { at: now, actor, tenant, event })?;
    Ok(case)
}

/// Gives a case to the caller (L6).
///
/// # Errors
/// There is no such case for this caller, or somebody has it, or it is closed.
pub fn claim(
    staged: &mut Staged<'_>,
    caller: &Caller,
    id: CaseId,
    lease: Duration,
    now: Timestamp,
) -> Result<Case, CommandError> {
    let case = load(staged, caller, id)?.claim(&caller.name, lease, now)?;
    let until = lease_end(&case);
    let event = Event::CaseClaimed { case: id, fence: case.fence.0, until };
    store(staged, case, caller.actor(), event, now)
}

/// Extends the caller's lease.
///
/// # Errors
/// There is no such case for this caller, or the claim is not the newest, or has run out.
pub fn renew(
    staged: &mut Staged<'_>,
    caller: &Caller,
    (id, fence): (CaseId, Fence),
    lease: Duration,
    now: Timestamp,
) -> Result<Case, CommandError> {
    let case = load(staged, caller, id)?.renew(&caller.name, fence, lease, now)?;
    let event = Event::LeaseRenewed { case: id, until: lease_end(&case) };
    store(staged, case, caller.actor(), event, now)
}

/// Gives a case back to the queue.
///
/// # Errors
/// There is no such case for this caller, or the claim is not the newest, or the reason is missing or too long.
pub fn release(
    staged: &mut Staged<'_>,
    caller: &Caller,
    (id, fence): (CaseId, Fence),
    reason: &str,
    now: Timestamp,
) -> Result<Case, CommandError> {
    let reason = checked_reason(reason)?;
    let case = load(staged, caller, id)?.release(&caller.name, fence)?;
    let event = Event::CaseReleased { case: id, reason };
    store(staged, case, caller.actor(), event, now)
}

/// Closes a case with a verdict.
///
/// # Errors
/// There is no such case for this caller, or the claim is not the newest, or the reason is missing or too long, or the
/// verdict is not a person's to give, or evidence came that they have not read.
pub fn decide(
    staged: &mut Staged<'_>,
    caller: &Caller,
    (id, fence): (CaseId, Fence),
    judgement: Judgement<'_>,
    now: Timestamp,
) -> Result<Case, CommandError> {
    let (verdict, reason) = (judgement.kind, checked_reason(judgement.reason)?);
    let judgement = Judgement { reason: &reason, ..judgement };
    if verdict == VerdictKind::OutOfTime {
        let problem = "out_of_time is the clock's to give, never a person's".to_owned();
        return Err(CommandError::Invalid { field: "verdict", problem });
    }
    let case = load(staged, caller, id)?.decide(&caller.name, fence, judgement, now)?;
    let event = Event::VerdictGiven { case: id, verdict, reason };
    store(staged, case, caller.actor(), event, now)
}

/// Brings cases whose lease has run out back to the queue; returns how many.
///
/// # Errors
/// The store cannot be read.
pub fn expire(
    staged: &mut Staged<'_>,
    ids: &[CaseId],
    now: Timestamp,
) -> Result<usize, CommandError> {
    let keys: Vec<CaseKey> = ids.iter().copied().map(CaseKey).collect();
    let cases = staged.load_many(&keys)?;
    let expired: Vec<Case> = cases.into_iter().flatten().filter_map(|c| c.expire(now)).collect();
    let count = expired.len();
    for case in expired {
        let event = Event::LeaseExpired { case: case.id };
        store(staged, case, Actor::Coordinator, event, now)?;
    }
    Ok(count)
}

/// Returns a reason as it is kept: not empty, and bounded.
pub(super) fn checked_reason(reason: &str) -> Result<String, CommandError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > TEXT_BYTES_MAX {
        let problem = format!("say why, in 1 to {TEXT_BYTES_MAX} bytes");
        return Err(CommandError::Invalid { field: "reason", problem });
    }
    Ok(reason.to_owned())
}

fn lease_end(case: &Case) -> Timestamp {
    match case.state {
        CaseState::Claimed { until, .. } => until,
        CaseState::Open | CaseState::Closed(_) => Timestamp::ZERO,
    }
}

#[cfg(test)]
mod tests;
