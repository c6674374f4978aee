//! Stored things as the API shows them.

use shared::{alert::Severity, ids::TenantId, time::Timestamp};

use super::types::{self, CaseState, CaseSummary, ClaimReason, Time};
use crate::{
    command::tokens,
    store::values,
    triage::{
        case::{self, Case},
        evidence::Finding,
        queue::{QueueCounts, Reason},
    },
};

/// Returns whose data a token shows; `None` for every tenant's.
#[must_use]
pub fn scope(token: &values::Token) -> Option<Vec<String>> {
    let names = token.tenants.iter().map(ToString::to_string).collect();
    (!token.tenants.is_empty()).then_some(names)
}

/// Returns a token without its secret.
#[must_use]
pub fn token(token: &values::Token, now: Timestamp) -> types::Token {
    types::Token {
        id: token.id.clone(),
        holder: token.holder.clone(),
        role: token.role,
        tenants: scope(token),
        created_at: Time(token.created_at),
        expires_at: Time(token.expires_at),
        revoked_at: token.revoked_at.map(Time),
        is_good: tokens::is_good(token, now),
        last_used_at: token.last_used_at.map(Time),
        person: token.person.as_ref().map(types::Person::from),
    }
}

/// Returns a join token without its secret.
#[must_use]
pub fn join_token(token: &values::JoinToken, now: Timestamp) -> types::JoinToken {
    types::JoinToken {
        id: token.id.clone(),
        tenant: token.tenant.to_string(),
        max_uses: token.uses_max,
        uses: token.uses,
        created_by: (&token.created_by).into(),
        created_at: Time(token.created_at),
        expires_at: Time(token.expires_at),
        revoked_at: token.revoked_at.map(Time),
        is_good: token.is_good(now),
    }
}

/// Returns a tenant with how many cases it has in the queue.
#[must_use]
pub fn tenant(id: TenantId, tenant: &values::Tenant, counts: QueueCounts) -> types::Tenant {
    types::Tenant {
        id: id.to_string(),
        display_name: tenant.display_name.clone(),
        sla_minutes: tenant.sla.into(),
        created_at: Time(tenant.created_at),
        revision: tenant.revision,
        cases_waiting: count(counts.waiting),
        cases_claimed: count(counts.claimed),
    }
}

/// Returns a count as it stands in JSON.
#[must_use]
pub fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn seconds_left(case: &Case, now: Timestamp) -> Option<i64> {
    if matches!(case.state, case::CaseState::Closed(_)) {
        return None;
    }
    let left_ms = i128::from(case.deadline.as_ms()) - i128::from(now.as_ms());
    i64::try_from(left_ms.div_euclid(1_000)).ok()
}

fn holder(case: &Case) -> (Option<String>, Option<Time>) {
    match &case.state {
        case::CaseState::Claimed { holder, until, .. } => {
            (Some(holder.clone()), Some(Time(*until)))
        }
        case::CaseState::Open | case::CaseState::Closed(_) => (None, None),
    }
}

fn present(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns a case's state without what belongs to it.
#[must_use]
pub const fn state(case: &Case) -> CaseState {
    match case.state {
        case::CaseState::Open => CaseState::Open,
        case::CaseState::Claimed { .. } => CaseState::Claimed,
        case::CaseState::Closed(_) => CaseState::Closed,
    }
}

/// Returns a case as it stands in lists.
#[must_use]
pub fn case_summary(case: &Case, now: Timestamp) -> CaseSummary {
    let (holder, lease_until) = holder(case);
    let verdict = match &case.state {
        case::CaseState::Closed(verdict) => Some(verdict.kind),
        case::CaseState::Open | case::CaseState::Claimed { .. } => None,
    };
    CaseSummary {
        id: case.id.to_string(),
        tenant: case.tenant.to_string(),
        host: present(&case.host),
        state: state(case),
        severity: case.severity,
        risk: case.risk,
        title: case.headline.title.clone(),
        opened_at: Time(case.opened_at),
        deadline: Time(case.deadline),
        seconds_left: seconds_left(case, now),
        first_at: Time(case.first_at),
        last_at: Time(case.last_at),
        alert_count: case.alert_count,
        finding_count: case.headline.finding_count.into(),
        holder,
        lease_until,
        verdict,
        reopened_count: case.reopened_count,
        revision: case.revision,
    }
}

/// Returns a case with all that is known about it: it, and the findings that it names.
#[must_use]
pub fn case(case: &Case, findings: &[Finding], now: Timestamp) -> types::Case {
    let CaseSummary { id, tenant, host, state, severity, risk, title, .. } =
        case_summary(case, now);
    let (holder, lease_until) = holder(case);
    let verdict = match &case.state {
        case::CaseState::Closed(verdict) => Some(self::verdict(verdict)),
        case::CaseState::Open | case::CaseState::Claimed { .. } => None,
    };
    types::Case {
        id,
        tenant,
        host,
        state,
        severity,
        risk,
        title,
        opened_at: Time(case.opened_at),
        deadline: Time(case.deadline),
        seconds_left: seconds_left(case, now),
        first_at: Time(case.first_at),
        last_at: Time(case.last_at),
        alert_count: case.alert_count,
        finding_count: case.headline.finding_count.into(),
        holder,
        lease_until,
        verdict,
        reopened_count: case.reopened_count,
        revision: case.revision,
        findings: findings.iter().map(finding).collect(),
        other_count: case.other_count,
        fence: case.fence.0,
        last_holder: case.last_holder.clone(),
    }
}

fn verdict(verdict: &case::Verdict) -> types::Verdict {
    types::Verdict {
        kind: verdict.kind,
        reason: verdict.reason.clone(),
        by: verdict.by.clone(),
        at: Time(verdict.at),
        alerts_seen: verdict.alerts_seen,
        revision_seen: verdict.revision_seen,
    }
}

fn finding(finding: &Finding) -> types::Finding {
    let techniques = finding.techniques.split(',').filter(|technique| !technique.is_empty());
    types::Finding {
        fingerprint: finding.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect(),
        product: finding.product.clone(),
        rule_uid: present(&finding.rule_uid),
        title: finding.title.clone(),
        techniques: techniques.map(str::to_owned).collect(),
        severity: finding.severity,
        count: finding.count,
        first_at: Time(finding.first_at),
        last_at: Time(finding.last_at),
    }
}

/// Returns the claim that a case shows, with the findings that it names, or `None` where nobody has it.
#[must_use]
pub fn claim(
    claimed: &Case,
    findings: &[Finding],
    reasons: Vec<ClaimReason>,
    now: Timestamp,
) -> Option<types::Claim> {
    let (_, lease_until) = holder(claimed);
    let lease_until = lease_until?;
    let fence = claimed.fence.0;
    Some(types::Claim { case: case(claimed, findings, now), fence, lease_until, reasons })
}

/// Returns the lease that `case` shows, or `None` where nobody has it.
#[must_use]
pub fn lease(case: &Case) -> Option<types::Lease> {
    let (_, lease_until) = holder(case);
    Some(types::Lease { case: case.id.to_string(), fence: case.fence.0, lease_until: lease_until? })
}

impl From<Reason> for ClaimReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::EarliestDeadline { deadline, minutes_left } => {
                Self::EarliestDeadline { deadline: Time(deadline), minutes_left }
            }
            Reason::HighestRisk { risk } => Self::HighestRisk { risk },
            Reason::Waiting { cases } => Self::Waiting { cases: count(cases) },
        }
    }
}

/// Returns the severity with this name.
#[must_use]
pub fn severity_named(name: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity.as_str() == name)
}
