//! Cases, claims and the queue.

use coordinator::api::types::{
    BySeverity, Case, CaseState, CaseSummary, Claim, ClaimReason, Finding, Lease, Queue,
};
use shared::{alert::Severity, time::Timestamp};

use super::{cell, cell_or_dash, counted, fields, heading, table};
use crate::text::{
    Paint, ago, instant, name_of, paint, painted_time_left, safe, severity, time_left,
};

/// Writes a claim: why this case, the case, and what to do with it.
pub(crate) fn claim(claim: &Claim, now: Timestamp, columns: usize) -> String {
    let mut text = case(&claim.case, now, columns);
    text.push_str(&heading("Why this case"));
    for reason in &claim.reasons {
        text.push_str(&format!("  - {}\n", self::reason(reason)));
    }
    text
}

/// Writes the commands that can follow a claim.
pub(crate) fn next_steps(claim: &Claim, now: Timestamp) -> String {
    let case = safe(&claim.case.id);
    let until = format!("{} ({})", instant(claim.lease_until), ago(now, claim.lease_until));
    let mut text = heading(&format!("Yours until {until}, claim {}", claim.fence));
    for outcome in ["malicious", "suspicious", "benign-expected", "benign-false-positive"] {
        text.push_str(&format!("  signalbox verdict {case} {outcome} --reason '...'\n"));
    }
    text.push_str(&format!("  signalbox release {case} --reason '...'\n"));
    text.push_str(&format!("  signalbox renew {case}\n"));
    text.push_str(&format!("  signalbox show {case} --alerts 50 --record\n"));
    text
}

fn reason(reason: &ClaimReason) -> String {
    match reason {
        // How long that is stands above, to the second.
        ClaimReason::EarliestDeadline { deadline, .. } => {
            format!("no waiting case has an earlier deadline: {}", instant(*deadline))
        }
        ClaimReason::HighestRisk { risk } => {
            format!("it looks worst of those with this deadline: risk {risk} of 999")
        }
        ClaimReason::Waiting { cases } => {
            format!("{}, this one included", counted(*cases, "case waits", "cases wait"))
        }
        ClaimReason::Named => "you named it".to_owned(),
    }
}

/// Writes a case with its findings.
pub(crate) fn case(case: &Case, now: Timestamp, columns: usize) -> String {
    let when = |at| format!("{}, {}", instant(at), ago(now, at));
    let mut text = format!(
        "{} {}  {}\n",
        paint(Paint::Bold, "Case"),
        paint(Paint::Bold, &safe(&case.id)),
        cell(&case.title)
    );
    let deadline = match case.seconds_left {
        Some(_) => format!("{}, {}", instant(case.deadline), deadline_left(case.seconds_left)),
        None => instant(case.deadline),
    };
    let alerts = format!(
        "{} of {}",
        counted(case.alert_count, "alert", "alerts"),
        counted(case.finding_count, "finding", "findings")
    );
    let reopened = u64::from(case.reopened_count);
    text.push_str(&fields(&[
        ("tenant", Some(cell(&case.tenant))),
        ("host", Some(cell_or_dash(case.host.as_deref()))),
        ("severity", Some(format!("{}, risk {} of 999", severity(case.severity), case.risk))),
        ("state", Some(state(case, now))),
        ("deadline", Some(deadline)),
        ("opened", Some(when(case.opened_at))),
        ("activity", Some(format!("{} to {}", instant(case.first_at), instant(case.last_at)))),
        ("alerts", Some(alerts)),
        ("re-opened", (reopened > 0).then(|| counted(reopened, "time", "times"))),
        ("claim", (case.fence > 0).then(|| last_claim(case))),
        ("revision", Some(case.revision.to_string())),
    ]));
    if let Some(verdict) = &case.verdict {
        text.push_str(&heading("Verdict"));
        text.push_str(&fields(&[
            ("outcome", Some(paint(Paint::Bold, &name_of(&verdict.kind)))),
            ("reason", Some(safe(&verdict.reason))),
            ("by", Some(format!("{}, {}", cell(&verdict.by), when(verdict.at)))),
            (
                "seen",
                Some(format!(
                    "{}, revision {}",
                    counted(verdict.alerts_seen, "alert", "alerts"),
                    verdict.revision_seen
                )),
            ),
        ]));
    }
    text.push_str(&heading("Findings"));
    text.push_str(&findings(&case.findings, columns));
    text.push('\n');
    if case.other_count > 0 {
        let others = counted(case.other_count, "alert", "alerts");
        text.push_str(&format!("and {others} of further findings\n"));
    }
    text
}

fn last_claim(case: &Case) -> String {
    match case.last_holder.as_deref() {
        Some(holder) => format!("{}, by {}", case.fence, cell(holder)),
        None => case.fence.to_string(),
    }
}

fn deadline_left(seconds: Option<i64>) -> String {
    match seconds {
        Some(0..) => format!("{} left", painted_time_left(seconds)),
        Some(_) | None => painted_time_left(seconds),
    }
}

fn state(case: &Case, now: Timestamp) -> String {
    match case.state {
        CaseState::Open => paint(Paint::Yellow, "open"),
        CaseState::Claimed => {
            let holder = cell_or_dash(case.holder.as_deref());
            let until = case.lease_until.map_or_else(String::new, |until| {
                format!(" until {} ({})", instant(until), ago(now, until))
            });
            format!("claimed by {holder}{until}")
        }
        CaseState::Closed => paint(Paint::Green, "closed"),
    }
}

fn findings(findings: &[Finding], columns: usize) -> String {
    let rows = findings
        .iter()
        .map(|finding| {
            vec![
                finding.count.to_string(),
                severity(finding.severity),
                cell(&finding.title),
                cell(&finding.product),
                cell_or_dash(finding.rule_uid.as_deref()),
                cell_or_dash(Some(&finding.techniques.join(" "))),
                instant(finding.last_at),
            ]
        })
        .collect();
    let header = ["COUNT", "SEVERITY", "FINDING", "PRODUCT", "RULE", "TECHNIQUES", "LAST"];
    table(columns, &header, rows)
}

/// Writes a list of cases.
pub(crate) fn list(cases: &[CaseSummary], columns: usize) -> String {
    let rows = cases
        .iter()
        .map(|case| {
            vec![
                safe(&case.id),
                cell(&case.tenant),
                cell_or_dash(case.host.as_deref()),
                severity(case.severity),
                standing(case),
                painted_time_left(case.seconds_left),
                case.alert_count.to_string(),
                cell(&case.title),
            ]
        })
        .collect();
    let header = ["CASE", "TENANT", "HOST", "SEVERITY", "STATE", "LEFT", "ALERTS", "TITLE"];
    table(columns, &header, rows)
}

fn standing(case: &CaseSummary) -> String {
    match (case.state, &case.holder, &case.verdict) {
        (CaseState::Claimed, Some(holder), _) => cell(holder),
        (CaseState::Closed, _, Some(verdict)) => name_of(verdict),
        (state, _, _) => name_of(&state),
    }
}

/// Writes the queue: the numbers and the next cases.
pub(crate) fn queue(queue: &Queue, columns: usize) -> String {
    let late = match queue.late {
        0 => "none late".to_owned(),
        late => paint(Paint::Red, &format!("{late} late")),
    };
    let waiting = paint(Paint::Bold, &format!("{} waiting", queue.waiting));
    let mut text = format!("{waiting} ({late}), {} claimed\n", queue.claimed);
    let by_severity: Vec<_> = counts(&queue.by_severity)
        .filter(|(_, count)| *count > 0)
        .map(|(of, count)| format!("{count} {}", severity(of)))
        .collect();
    if !by_severity.is_empty() {
        text.push_str(&format!("{}\n", by_severity.join(", ")));
    }
    if !queue.head.is_empty() {
        text.push_str(&heading("Next"));
        text.push_str(&list(&queue.head, columns));
        text.push('\n');
    }
    text
}

/// The worst first.
fn counts(of: &BySeverity) -> impl Iterator<Item = (Severity, u64)> {
    let counts = [of.unknown, of.informational, of.low, of.medium, of.high, of.critical, of.fatal];
    Severity::ALL.into_iter().zip(counts).rev()
}

/// Writes what became of a case that was decided.
pub(crate) fn decided(case: &Case) -> String {
    let outcome = case.verdict.as_ref().map_or_else(|| "closed".to_owned(), |v| name_of(&v.kind));
    let left = case.deadline;
    let in_time = case.verdict.as_ref().is_none_or(|verdict| verdict.at <= left);
    let in_time = if in_time { "in time" } else { "after its deadline" };
    format!(
        "case {} is {}: {} on {}, decided {in_time}",
        safe(&case.id),
        paint(Paint::Bold, &outcome),
        counted(case.alert_count, "alert", "alerts"),
        cell_or_dash(case.host.as_deref()),
    )
}

/// Writes what became of a case that was given back.
pub(crate) fn released(case: &Case) -> String {
    let left = time_left(case.seconds_left);
    format!("case {} waits in the queue again; time left: {left}", safe(&case.id))
}

/// Writes until when a lease goes now.
pub(crate) fn renewed(lease: &Lease, now: Timestamp) -> String {
    let (case, until) = (safe(&lease.case), lease.lease_until);
    format!("case {case} is yours until {} ({})", instant(until), ago(now, until))
}

#[cfg(test)]
mod tests;
