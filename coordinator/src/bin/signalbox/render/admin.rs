//! Tenants, tokens, and who one is.

use coordinator::api::types::{JoinToken, Me, SlaMinutes, Tenant, Token};
use shared::{alert::Severity, time::Timestamp};

use super::{cell, counted, fields, heading, journal::identity, table, who};
use crate::text::{Paint, ago, instant, length, name_of, paint, safe, severity};

/// Writes whom the coordinator takes the caller for.
pub(crate) fn me(me: &Me, coordinator: &str, now: Timestamp) -> String {
    fields(&[
        ("coordinator", Some(safe(coordinator))),
        ("name", Some(paint(Paint::Bold, &cell(&me.holder)))),
        ("person", me.person.as_ref().map(identity)),
        ("role", Some(name_of(&me.role))),
        ("tenants", Some(scope(me.tenants.as_deref()))),
        ("token", Some(format!("{}, good until {}", cell(&me.token), until(me.expires_at, now)))),
    ])
}

fn until(at: coordinator::api::types::Time, now: Timestamp) -> String {
    format!("{} ({})", instant(at), ago(now, at))
}

fn scope(tenants: Option<&[String]>) -> String {
    tenants.map_or_else(|| "all".to_owned(), |tenants| cell(&tenants.join(" ")))
}

/// Writes a list of tokens.
pub(crate) fn tokens(tokens: &[Token], columns: usize) -> String {
    let rows = tokens
        .iter()
        .map(|token| {
            vec![
                cell(&token.id),
                cell(&token.holder),
                name_of(&token.role),
                scope(token.tenants.as_deref()),
                instant(token.created_at),
                instant(token.expires_at),
                token.last_used_at.map_or_else(|| "never".to_owned(), instant),
                standing(token),
            ]
        })
        .collect();
    let header = ["TOKEN", "HOLDER", "ROLE", "TENANTS", "MADE", "EXPIRES", "USED", "STATE"];
    table(columns, &header, rows)
}

fn standing(token: &Token) -> String {
    match token.revoked_at {
        _ if token.is_good => paint(Paint::Green, "good"),
        Some(_) => "revoked".to_owned(),
        None => "expired".to_owned(),
    }
}

/// Writes what became of a token that was revoked.
pub(crate) fn revoked(token: &Token) -> String {
    format!("token {} of {} is worth nothing any more", cell(&token.id), cell(&token.holder))
}

/// Writes a list of join tokens.
pub(crate) fn join_tokens(tokens: &[JoinToken], columns: usize) -> String {
    let rows = tokens
        .iter()
        .map(|token| {
            vec![
                cell(&token.id),
                cell(&token.tenant),
                format!("{} of {}", token.uses, token.max_uses),
                who(&token.created_by),
                instant(token.created_at),
                instant(token.expires_at),
                join_standing(token),
            ]
        })
        .collect();
    let header = ["JOIN TOKEN", "TENANT", "USED", "BY", "MADE", "EXPIRES", "STATE"];
    table(columns, &header, rows)
}

fn join_standing(token: &JoinToken) -> String {
    match token.revoked_at {
        _ if token.is_good => paint(Paint::Green, "good"),
        Some(_) => "revoked".to_owned(),
        None if token.uses >= token.max_uses => "used".to_owned(),
        None => "expired".to_owned(),
    }
}

/// Writes a join token that was made, this once, with what to do with it.
pub(crate) fn invited(token: &JoinToken, text: &str) -> String {
    let hosts = counted(u64::from(token.max_uses), "host", "hosts");
    format!(
        "Join token {} for {hosts} of {}, good until {}. It is shown this once. On the host:\n\n  \
         signalbox-agent join {}",
        cell(&token.id),
        cell(&token.tenant),
        instant(token.expires_at),
        safe(text)
    )
}

/// Writes what became of a join token that was revoked.
pub(crate) fn join_revoked(token: &JoinToken) -> String {
    let joined = counted(u64::from(token.uses), "agent", "agents");
    format!("join token {} lets no host in any more; {joined} joined by it stay", cell(&token.id))
}

/// Writes a list of tenants.
pub(crate) fn tenants(tenants: &[Tenant], columns: usize) -> String {
    let rows = tenants
        .iter()
        .map(|tenant| {
            vec![
                cell(&tenant.id),
                cell(&tenant.display_name),
                tenant.cases_waiting.to_string(),
                tenant.cases_claimed.to_string(),
                tenant.revision.to_string(),
            ]
        })
        .collect();
    table(columns, &["TENANT", "NAME", "WAITING", "CLAIMED", "REVISION"], rows)
}

/// Writes one tenant with its agreed times.
pub(crate) fn tenant(tenant: &Tenant, now: Timestamp, columns: usize) -> String {
    let created = tenant.created_at;
    let mut text = fields(&[
        ("tenant", Some(paint(Paint::Bold, &cell(&tenant.id)))),
        ("name", Some(cell(&tenant.display_name))),
        (
            "cases",
            Some(format!("{} waiting, {} claimed", tenant.cases_waiting, tenant.cases_claimed)),
        ),
        ("since", Some(format!("{}, {}", instant(created), ago(now, created)))),
        ("revision", Some(tenant.revision.to_string())),
    ]);
    text.push_str(&heading("Agreed time from receipt to verdict"));
    let rows = agreed(&tenant.sla_minutes)
        .map(|(of, minutes)| {
            vec![severity(of), length(u64::from(minutes) * 60), minutes.to_string()]
        })
        .collect();
    text.push_str(&table(columns, &["SEVERITY", "TIME", "MINUTES"], rows));
    text
}

/// The worst first.
fn agreed(sla: &SlaMinutes) -> impl Iterator<Item = (Severity, u32)> {
    let minutes =
        [sla.unknown, sla.informational, sla.low, sla.medium, sla.high, sla.critical, sla.fatal];
    Severity::ALL.into_iter().zip(minutes).rev()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::testing::{NOW, parse, plain};

    #[test]
    fn a_person_sees_who_they_are_and_for_how_long() {
        let who: Me = parse(json!({
            "holder": "ana", "role": "analyst", "tenants": ["acme", "globex"],
            "expires_at": "2026-01-03T03:04:05.000Z", "token": "0011223344556677"
        }));
        let wanted = "  coordinator  https://box\n  name         ana\n  role         analyst\n  \
            tenants      acme globex\n  \
            token        0011223344556677, good until 2026-01-03 03:04:05Z (in 1d 00h)";
        assert_eq!(plain(&me(&who, "https://box", NOW)), wanted);
    }

    #[test]
    fn whoever_signed_in_sees_as_whom() {
        let who: Me = parse(json!({
            "holder": "ana@mssp.example", "role": "analyst", "tenants": null,
            "expires_at": "2026-01-03T03:04:05.000Z", "token": "0011223344556677",
            "person": {"issuer": "https://id.example", "subject": "17", "email": "ana@mssp.example"}
        }));
        let text = plain(&me(&who, "https://box", NOW));
        let wanted = "  person       ana@mssp.example (17 at https://id.example)\n";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn a_token_is_good_revoked_or_expired() {
        let token = |is_good: bool, revoked_at: Option<&str>| {
            json!({"id": "00112233", "holder": "ana", "role": "lead", "tenants": null,
                   "created_at": "2026-01-01T00:00:00.000Z",
                   "expires_at": "2026-04-01T00:00:00.000Z",
                   "revoked_at": revoked_at, "is_good": is_good,
                   "last_used_at": revoked_at})
        };
        let list: Vec<Token> = parse(json!([
            token(true, None),
            token(false, Some("2026-01-02T00:00:00.000Z")),
            token(false, None)
        ]));
        let wanted = "\
TOKEN     HOLDER  ROLE  TENANTS  MADE                  EXPIRES               USED                  \
                      STATE
00112233  ana     lead  all      2026-01-01 00:00:00Z  2026-04-01 00:00:00Z  never                 \
                      good
00112233  ana     lead  all      2026-01-01 00:00:00Z  2026-04-01 00:00:00Z  2026-01-02 00:00:00Z  \
                      revoked
00112233  ana     lead  all      2026-01-01 00:00:00Z  2026-04-01 00:00:00Z  never                 \
                      expired";
        assert_eq!(plain(&tokens(&list, 140)), wanted);
    }

    #[test]
    fn a_tenant_is_shown_with_its_agreed_times_the_most_urgent_first() {
        let acme: Tenant = parse(json!({
            "id": "acme", "display_name": "ACME", "created_at": "2026-01-01T03:04:05.000Z",
            "sla_minutes": {"unknown": 480, "informational": 4320, "low": 1440, "medium": 480,
                            "high": 60, "critical": 30, "fatal": 15},
            "revision": 4, "cases_waiting": 2, "cases_claimed": 1
        }));
        let text = plain(&tenant(&acme, NOW, 120));
        let wanted = "SEVERITY       TIME     MINUTES\nfatal          15m 00s  15\n\
                      critical       30m 00s  30\nhigh           1h 00m   60\n";
        assert!(text.contains(wanted), "{text}");
    }
}
