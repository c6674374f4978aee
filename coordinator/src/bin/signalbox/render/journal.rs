//! Entries of the journal, in lists and as they come in.

use coordinator::api::types::{JournalEntry, JournalEvent, Person};

use super::{cell, cell_or_dash, counted, table, who};
use crate::text::{instant, name_of, safe};

/// Writes a list of entries.
pub(crate) fn list(entries: &[JournalEntry], columns: usize) -> String {
    let rows = entries
        .iter()
        .map(|entry| {
            vec![
                entry.number.to_string(),
                instant(entry.at),
                who(&entry.actor),
                cell_or_dash(entry.tenant.as_deref()),
                what(&entry.event),
            ]
        })
        .collect();
    table(columns, &["NUMBER", "TIME", "WHO", "TENANT", "WHAT"], rows)
}

/// Writes an entry on one line, for the live feed.
pub(crate) fn line(entry: &JournalEntry) -> String {
    let tenant = cell_or_dash(entry.tenant.as_deref());
    format!("{}  {tenant}  {}  {}", instant(entry.at), who(&entry.actor), what(&entry.event))
}

fn what(event: &JournalEvent) -> String {
    match event {
        JournalEvent::BlockCommitted { lane, seq, alerts, cases, .. } => {
            let alerts = counted(u64::from(*alerts), "alert", "alerts");
            let cases = match cases.as_slice() {
                [] => "no case".to_owned(),
                [case] => format!("case {}", safe(case)),
                [first, rest @ ..] => {
                    let others = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                    format!("case {} and {}", safe(first), counted(others, "other", "others"))
                }
            };
            format!("block {seq} of lane {} brought {alerts} to {cases}", lane.as_str())
        }
        JournalEvent::GapRecorded { agent, lane, first, last, reason, .. } => format!(
            "blocks {first} to {last} of lane {} of agent {} are lost: {}",
            lane.as_str(),
            cell(agent),
            name_of(reason)
        ),
        JournalEvent::TenantChanged { revision } => {
            format!("tenant changed to revision {revision}")
        }
        JournalEvent::AgentConnected { agent, .. } => format!("agent {} connected", cell(agent)),
        JournalEvent::ContextChanged { agent, version } => {
            format!("host of agent {} changed to {}", cell(agent), cell(version))
        }
        JournalEvent::CaseClaimed { case, fence, until } => {
            format!("case {} claimed until {}, claim {fence}", safe(case), instant(*until))
        }
        JournalEvent::LeaseRenewed { case, until } => {
            format!("case {} held until {}", safe(case), instant(*until))
        }
        JournalEvent::CaseReleased { case, reason } => {
            format!("case {} given back: {}", safe(case), cell(reason))
        }
        JournalEvent::LeaseExpired { case } => {
            format!("case {} went back: its lease ran out", safe(case))
        }
        JournalEvent::VerdictGiven { case, verdict, reason } => {
            format!("case {} is {}: {}", safe(case), name_of(verdict), cell(reason))
        }
        JournalEvent::TokenCreated { token, holder, role } => {
            format!("token {} made for {}, {}", cell(token), cell(holder), name_of(role))
        }
        JournalEvent::TokenRevoked { token } => format!("token {} revoked", cell(token)),
        JournalEvent::RecallAsked { rule, since, until, agents, .. } => format!(
            "asked {} for what {} held back from {} until {}",
            counted(u64::from(*agents), "agent", "agents"),
            cell(rule),
            instant(*since),
            instant(*until)
        ),
        JournalEvent::RecallAnswered { agent, records, evicted, lost, .. } => format!(
            "agent {} sent {} that it had held back; {evicted} evicted, {lost} lost",
            cell(agent),
            counted(*records, "record", "records")
        ),
        JournalEvent::JoinTokenCreated { token, max_uses, expires_at } => format!(
            "join token {} made for {}, good until {}",
            cell(token),
            counted(u64::from(*max_uses), "host", "hosts"),
            instant(*expires_at)
        ),
        JournalEvent::JoinTokenRevoked { token } => format!("join token {} revoked", cell(token)),
        JournalEvent::AgentJoined { agent, token, host_name, from } => format!(
            "host {} at {} became agent {} by join token {}",
            cell(host_name),
            cell(from),
            cell(agent),
            cell(token)
        ),
        JournalEvent::JoinRefused { token, reason, from } => format!(
            "a host at {} was not let in with {}: {}",
            cell(from),
            token
                .as_ref()
                .map_or("an unknown token".to_owned(), |id| format!("join token {}", cell(id))),
            cell(reason)
        ),
        JournalEvent::AgentRevoked { agent, reason } => {
            format!("agent {} revoked: {}", cell(agent), cell(reason))
        }
        JournalEvent::AgentRenewed { agent, serial, not_after } => format!(
            "agent {} uses certificate {}, good until {}; earlier ones are refused",
            cell(agent),
            cell(serial),
            instant(*not_after)
        ),
        JournalEvent::CertificateSuperseded { agent, serial, from } => format!(
            "{} refused, with an earlier certificate ({}) of agent {}",
            cell(from),
            cell(serial),
            cell(agent)
        ),
        JournalEvent::IdentityContested { agent, process, from, served, .. } => format!(
            "a second host at {} (process {}) uses the identity of agent {}, beside process {}: \
             in quarantine",
            cell(from),
            cell(process),
            cell(agent),
            cell(served)
        ),
        JournalEvent::IdentityResolved { agent, process, reason } => format!(
            "process {} keeps the identity of agent {}: {}",
            cell(process),
            cell(agent),
            cell(reason)
        ),
        JournalEvent::IdentitySettled { agent } => {
            format!("one host alone uses the identity of agent {} again", cell(agent))
        }
        JournalEvent::SpoolSetBack { agent, spool, lane, committed, last } => format!(
            "spool {} of agent {} is an older copy: {} lane, {committed} here, {} there",
            cell(spool),
            cell(agent),
            lane.as_str(),
            last.map_or("none".to_owned(), |last| last.to_string())
        ),
        JournalEvent::SpoolReturned { agent, spool, after } => format!(
            "agent {} came back with spool {}, which it had before {}",
            cell(agent),
            cell(spool),
            cell(after)
        ),
        JournalEvent::SignedIn { person, role, group, from, browser, token, .. } => format!(
            "{} signed in from {}, browser at {}: {} by group {}, token {}",
            identity(person),
            cell(from),
            cell(browser),
            name_of(role),
            cell(group),
            cell(token)
        ),
        JournalEvent::SignInRefused { person, reason, from } => format!(
            "{} was not let in, asked for from {}: {}",
            identity(person),
            cell(from),
            cell(reason)
        ),
        JournalEvent::LockedOut { from, until } => format!(
            "{} is not listened to until {}: too many failed attempts",
            cell(from),
            instant(*until)
        ),
        JournalEvent::PolicyPushed { version, key, stage, copy_of } => format!(
            "policy version {version}, signed by {}, goes to {stage} % of the agents{}",
            cell(key),
            copy_of.map_or_else(String::new, |of| format!(", with the content of version {of}"))
        ),
        JournalEvent::PolicyAdvanced { version, stage, is_meant } => format!(
            "policy version {version} goes to {stage} % of the agents{}",
            if *is_meant { ": what it changes is meant" } else { "" }
        ),
        JournalEvent::PolicyHalted { version, reason } => {
            format!("roll-out of policy version {version} halted: {}", cell(reason))
        }
        JournalEvent::PolicyRefused { agent, version, reason, detail } => format!(
            "agent {} refuses policy version {version}: {} {}",
            cell(agent),
            cell(reason),
            cell(detail)
        ),
        JournalEvent::TrustBundlePushed { sequence, sha256, trusts_again } => {
            let again = trusts_again.iter().map(|key| cell(key)).collect::<Vec<_>>().join(", ");
            let again = if again.is_empty() { again } else { format!(", trusts again {again}") };
            let sha256 = cell(sha256);
            format!("trust bundle {sequence} is offered to all agents, sha256 {sha256}{again}")
        }
        JournalEvent::TrustBundleRefused { agent, sequence, reason, detail } => format!(
            "agent {} refuses trust bundle {sequence}: {} {}",
            cell(agent),
            cell(reason),
            cell(detail)
        ),
        JournalEvent::CertificateForged { agent, serial, from } => format!(
            "certificate {} of a distrusted issuer, not issued here, was shown for agent {} by {}",
            cell(serial),
            cell(agent),
            cell(from)
        ),
        JournalEvent::RetentionRan { before, cases } => {
            let cases = counted(u64::from(*cases), "closed case", "closed cases");
            format!("deleted what was received before {} with {cases}", instant(*before))
        }
        JournalEvent::LedgerGapsFound { agent, up_to, explained, unexplained, .. } => format!(
            "ledger of agent {} shows {} up to interval {up_to}, {unexplained} of them unexplained",
            cell(agent),
            counted(explained.saturating_add(*unexplained), "gap", "gaps")
        ),
    }
}

/// Says who a person is, so that nobody else can be meant.
pub(super) fn identity(person: &Person) -> String {
    let Person { issuer, subject, name, email } = person;
    let called = name.as_deref().or(email.as_deref());
    let subject = format!("{} at {}", cell(subject), cell(issuer));
    called.map_or_else(|| subject.clone(), |called| format!("{} ({subject})", cell(called)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::testing::{parse, plain};

    fn entry(number: u64, event: serde_json::Value) -> JournalEntry {
        parse(json!({
            "number": number, "at": "2026-01-02T03:04:05.000Z", "tenant": "acme",
            "actor": {"kind": "person", "name": "ana"}, "event": event
        }))
    }

    #[test]
    fn entries_are_told_as_sentences() {
        let entries = [
            entry(
                7,
                json!({"kind": "case_claimed", "case": "7k3m2a9c0d1e", "fence": 3,
                            "until": "2026-01-02T03:19:05.000Z"}),
            ),
            entry(
                8,
                json!({"kind": "verdict_given", "case": "7k3m2a9c0d1e",
                            "verdict": "malicious", "reason": "beacon\nhost isolated"}),
            ),
        ];
        let wanted = "\
NUMBER  TIME                  WHO  TENANT  WHAT
7       2026-01-02 03:04:05Z  ana  acme    case 7k3m2a9c0d1e claimed until 2026-01-02 \
                      03:19:05Z, claim 3
8       2026-01-02 03:04:05Z  ana  acme    case 7k3m2a9c0d1e is malicious: beacon\\nhost \
                      isolated";
        assert_eq!(plain(&list(&entries, 140)), wanted);
    }

    #[test]
    fn a_person_who_signed_in_is_told_by_name_and_by_what_nobody_else_is_called() {
        let signed_in = entry(
            8,
            json!({
                "kind": "signed_in", "token": "0011223344556677", "role": "lead", "group": "soc",
                "expires_at": "2026-01-02T03:04:05.000Z", "tenants": null, "from": "203.0.113.9",
                "browser": "203.0.113.9",
                "person": {"issuer": "https://id.example", "subject": "17", "name": "Ana Sanz"}
            }),
        );
        let wanted = "Ana Sanz (17 at https://id.example) signed in from 203.0.113.9, browser at \
                      203.0.113.9: lead by group soc, token 0011223344556677";
        assert!(plain(&line(&signed_in)).ends_with(wanted), "{}", line(&signed_in));
    }

    #[test]
    fn an_entry_of_the_feed_is_one_line_whatever_it_says() {
        let cases: Vec<String> = (0..3).map(|number| format!("{number:012}")).collect();
        let block = entry(
            9,
            json!({"kind": "block_committed", "agent": "a", "epoch": "e",
                                    "lane": "urgent", "seq": 4, "alerts": 1, "cases": cases}),
        );
        let wanted = "2026-01-02 03:04:05Z  acme  ana  block 4 of lane urgent brought 1 alert \
                      to case 000000000000 and 2 others";
        assert_eq!(line(&block), wanted);
        let released =
            entry(10, json!({"kind": "case_released", "case": "x", "reason": "a\nb\u{1b}c"}));
        assert!(line(&released).ends_with("case x given back: a\\nb\\u{1b}c"));
    }
}
