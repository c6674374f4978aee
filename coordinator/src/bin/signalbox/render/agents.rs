//! Agents, what they know of their hosts, and what is missing of them.

use coordinator::api::types::{
    Agent, AgentCertificate, AgentRevocation, Context, Gap, IdentityConflict, JournalActor,
    LaneState, Revoked,
};
use shared::{limits::SILENCE_TIMEOUT, time::Timestamp};

use super::{cell, cell_or_dash, claims, counted, fields, heading, hosts, table};
use crate::text::{Paint, ago, bytes, instant, length, name_of, paint, safe};

/// Most different from the coordinator's that a clock may be before it is pointed at, in milliseconds: beyond it,
/// alerts of several hosts stand in the wrong order for a person who compares them.
const CLOCK_AHEAD_MS_MAX: u64 = 5_000;

/// Writes a list of agents.
pub(crate) fn list(agents: &[Agent], columns: usize) -> String {
    let rows = agents
        .iter()
        .map(|agent| {
            vec![
                cell(&agent.tenant),
                safe(&agent.agent),
                cell_or_dash(agent.hostname.as_deref()),
                cell_or_dash(agent.os.as_deref()),
                cell(&agent.version),
                standing(agent),
                lag(agent),
                gaps(agent.gaps),
            ]
        })
        .collect();
    let header = ["TENANT", "AGENT", "HOST", "OS", "VERSION", "HEARD", "BEHIND", "GAPS"];
    table(columns, &header, rows)
}

fn standing(agent: &Agent) -> String {
    match (&agent.revoked, &agent.conflict) {
        (Some(_), _) => paint(Paint::Red, "revoked"),
        (None, Some(conflict)) => paint(Paint::Red, &format!("{} hosts", conflict.hosts.len())),
        (None, None) => heard(agent.silent_seconds),
    }
}

/// Says what was decided about an agent's identity.
pub(crate) fn resolved(
    agent: &str,
    conflict: &IdentityConflict,
    now: Timestamp,
    columns: usize,
) -> String {
    claims::conflict(agent, conflict, now, columns)
}

/// Says of an agent that it is let in no more.
pub(crate) fn revoked(revocation: &AgentRevocation) -> String {
    let AgentRevocation { tenant, agent, revoked } = revocation;
    let (agent, tenant) = (cell(agent), cell(tenant));
    format!("agent {agent} of {tenant} is let in no more, {}", since(revoked))
}

fn since(Revoked { at, by, reason }: &Revoked) -> String {
    let by = match by {
        JournalActor::Coordinator => "the coordinator".to_owned(),
        JournalActor::Agent { name } | JournalActor::Person { name, .. } => cell(name),
    };
    format!("since {} by {by}: {}", instant(*at), cell(reason))
}

fn certificate(shown: &AgentCertificate, now: Timestamp) -> String {
    let until = instant(shown.not_after);
    if shown.not_after.0 <= now {
        return paint(Paint::Red, &format!("ended {until}, {}", ago(now, shown.not_after)));
    }
    let left = length(shown.not_after.0.since(now).as_secs());
    format!("until {until}, {left} left ({})", safe(&shown.serial))
}

fn heard(silent_seconds: u64) -> String {
    let text = format!("{} ago", length(silent_seconds));
    if silent_seconds > SILENCE_TIMEOUT.as_secs() { paint(Paint::Red, &text) } else { text }
}

fn lag(agent: &Agent) -> String {
    match (agent.lag_blocks, agent.lag_seconds) {
        (0, _) => "-".to_owned(),
        (blocks, Some(seconds)) => {
            format!("{}, {}", counted(blocks, "block", "blocks"), length(seconds))
        }
        (blocks, None) => counted(blocks, "block", "blocks"),
    }
}

fn gaps(count: u64) -> String {
    if count == 0 { "-".to_owned() } else { paint(Paint::Red, &count.to_string()) }
}

/// Writes one agent with its host's contexts, the newest first, and its gaps.
pub(crate) fn agent(
    agent: &Agent,
    contexts: &[Context],
    gaps: &[Gap],
    now: Timestamp,
    columns: usize,
) -> String {
    let when = |at| format!("{}, {}", instant(at), ago(now, at));
    let stats = &agent.stats;
    let mut text =
        format!("{} {}\n", paint(Paint::Bold, "Agent"), paint(Paint::Bold, &safe(&agent.agent)));
    text.push_str(&fields(&[
        ("tenant", Some(cell(&agent.tenant))),
        ("host", Some(cell_or_dash(agent.hostname.as_deref()))),
        ("os", Some(cell_or_dash(agent.os.as_deref()))),
        ("version", Some(cell(&agent.version))),
        (
            "heard",
            Some(format!("{} ({})", heard(agent.silent_seconds), instant(agent.last_seen_at))),
        ),
        ("since", Some(when(agent.first_seen_at))),
        ("revoked", agent.revoked.as_ref().map(|revoked| paint(Paint::Red, &since(revoked)))),
        ("cert", agent.certificate.as_ref().map(|it| certificate(it, now))),
        ("clock", Some(clock(agent.clock_ahead_ms))),
        ("behind", Some(lag(agent))),
        (
            "spool",
            Some(format!(
                "{}, full {}",
                bytes(stats.spool_bytes),
                counted(stats.spool_full, "time", "times")
            )),
        ),
        (
            "read",
            Some(format!(
                "{} ({}), {} malformed, {} over long",
                counted(stats.records_read, "record", "records"),
                bytes(stats.bytes_read),
                stats.malformed,
                stats.over_long
            )),
        ),
        ("spool id", Some(format!("{}, process {}", safe(&agent.epoch), safe(&agent.boot)))),
        ("notice", agent.spool_notice.as_ref().map(claims::notice)),
    ]));
    if let Some(conflict) = &agent.conflict {
        text.push_str(&heading("Hosts with this identity"));
        text.push_str(&claims::conflict(&agent.agent, conflict, now, columns));
    }
    text.push_str(&heading("Lanes"));
    let lanes = [
        ("urgent", agent.lanes.urgent),
        ("normal", agent.lanes.normal),
        ("bulk", agent.lanes.bulk),
    ];
    let rows = lanes.iter().map(|(name, lane)| lane_row(name, lane)).collect();
    text.push_str(&table(columns, &["LANE", "SPOOLED", "DURABLE", "BEHIND", "ALERTS"], rows));
    text.push('\n');
    text.push_str(&heading("Gaps: blocks that will never come"));
    text.push_str(&gap_table(gaps, columns));
    for (place, context) in contexts.iter().enumerate() {
        let what = if place == 0 { "Host" } else { "Host before" };
        text.push_str(&heading(what));
        text.push_str(&hosts::context(context, now, columns));
    }
    text
}

fn lane_row(name: &str, lane: &LaneState) -> Vec<String> {
    let number = |seq: Option<u64>| seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
    vec![
        name.to_owned(),
        number(lane.spooled),
        number(lane.committed),
        lane.lag_blocks.to_string(),
        lane.alerts.to_string(),
    ]
}

fn clock(ahead_ms: i64) -> String {
    let size = length(ahead_ms.unsigned_abs() / 1_000);
    match ahead_ms {
        _ if ahead_ms.unsigned_abs() <= CLOCK_AHEAD_MS_MAX => format!("right ({ahead_ms} ms)"),
        1.. => paint(Paint::Yellow, &format!("{size} ahead")),
        _ => paint(Paint::Yellow, &format!("{size} behind")),
    }
}

fn gap_table(gaps: &[Gap], columns: usize) -> String {
    if gaps.is_empty() {
        return "none\n".to_owned();
    }
    let rows = gaps
        .iter()
        .map(|gap| {
            vec![
                gap.lane.as_str().to_owned(),
                format!("{} to {}", gap.first, gap.last),
                gap.blocks.to_string(),
                name_of(&gap.reason),
                instant(gap.noticed_at),
                safe(&gap.epoch),
            ]
        })
        .collect();
    let header = ["LANE", "BLOCKS", "COUNT", "REASON", "NOTICED", "SPOOL"];
    format!("{}\n", table(columns, &header, rows))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::testing::{NOW, parse, plain};

    /// An agent that has been silent for two minutes.
    pub(in crate::render) fn sample() -> Agent {
        let lane = |alerts: u64| {
            json!({"spooled": 9, "committed": null, "lag_blocks": 9,
                                        "alerts": alerts})
        };
        parse(json!({
            "tenant": "acme", "agent": "018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01", "hostname": "w",
            "os": null, "version": "0.1.0", "first_seen_at": "2026-01-01T03:04:05.000Z",
            "last_seen_at": "2026-01-02T03:02:05.000Z", "silent_seconds": 120, "epoch": "a1",
            "boot": "b1", "context": null, "clock_ahead_ms": -90_000,
            "stats": {"records_read": 10, "bytes_read": 4096, "malformed": 1, "over_long": 0,
                      "spool_full": 0, "spool_bytes": 2_097_152},
            "lanes": {"urgent": lane(0), "normal": lane(5), "bulk": lane(0)},
            "lag_blocks": 27, "lag_seconds": 61, "gaps": 1, "revoked": null, "certificate": null,
            "conflict": null, "spool_notice": null
        }))
    }

    #[test]
    fn a_list_shows_who_is_silent_behind_or_has_lost_something() {
        let wanted = "\
TENANT  AGENT                                 HOST  OS  VERSION  HEARD       BEHIND             GAPS
acme    018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01  w     -   0.1.0    2m 00s ago  27 blocks, 1m 01s  1";
        assert_eq!(plain(&list(&[sample()], 140)), wanted);
        assert!(list(&[sample()], 140).contains(&paint(Paint::Red, "2m 00s ago")));
    }

    #[test]
    fn an_agent_shows_how_long_its_certificate_is_good() {
        let until = |not_after: &str| {
            let certificate = parse(json!({
                "serial": "0a0b", "not_before": "2026-01-01T00:00:00.000Z",
                "not_after": not_after, "shown_at": "2026-01-01T00:00:00.000Z"
            }));
            plain(&super::certificate(&certificate, NOW))
        };
        let (good, over) = (until("2026-01-09T03:04:05.000Z"), until("2026-01-01T03:04:05.000Z"));
        assert!(
            good.starts_with("until 2026-01-09 03:04:05Z, ") && good.ends_with("(0a0b)"),
            "{good}"
        );
        assert!(over.starts_with("ended 2026-01-01 03:04:05Z, "), "{over}");
    }

    #[test]
    fn a_revoked_agent_says_so_before_when_it_was_heard() {
        let person = JournalActor::Person { name: "ann".to_owned(), issuer: None, subject: None };
        let revoked =
            Revoked { at: sample().last_seen_at, by: person, reason: "stolen".to_owned() };
        let gone = Agent { revoked: Some(revoked), ..sample() };
        let line = plain(&list(std::slice::from_ref(&gone), 140));
        assert!(line.contains("0.1.0    revoked  27 blocks"), "{line}");
        let text = plain(&agent(&gone, &[], &[], NOW, 120));
        let wanted = "  revoked   since 2026-01-02 03:02:05Z by ann: stolen\n";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn an_agent_whose_identity_several_hosts_use_shows_them() {
        let contested = Agent { conflict: Some(claims::tests::sample()), ..sample() };
        let line = plain(&list(std::slice::from_ref(&contested), 140));
        assert!(line.contains("0.1.0    2 hosts  27 blocks"), "{line}");
        let text = plain(&agent(&contested, &[], &[], NOW, 140));
        assert!(text.contains("Hosts with this identity\n") && text.contains("IN QUARANTINE"));
    }

    #[test]
    fn an_agent_is_shown_with_its_host_and_its_gaps() {
        let contexts: Vec<Context> = parse(json!([{
            "version": "c1", "received_at": "2026-01-02T03:03:05.000Z", "confirmed_at": null,
            "context": hosts::tests::sample()
        }]));
        let gaps: Vec<Gap> = parse(json!([{
            "epoch": "a1", "lane": "bulk", "first": 3, "last": 5, "blocks": 3, "reason": "damaged",
            "noticed_at": "2026-01-02T03:03:05.000Z"
        }]));
        let text = plain(&agent(&sample(), &contexts, &gaps, NOW, 120));
        for part in [
            "  clock     1m 30s behind\n",
            "  read      10 records (4 KiB), 1 malformed, 0 over long\n",
            "urgent  9        -        9       0\n",
            "bulk  3 to 5  3      damaged  2026-01-02 03:03:05Z  a1\n",
            "Debian 13, 6.12, x86_64\n",
            "10.0.0.3/24 fe80::1/64",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_clock_that_is_nearly_right_is_right() {
        assert_eq!(clock(-5_000), "right (-5000 ms)");
        assert_eq!(plain(&clock(i64::MIN)), format!("{} behind", length((1_u64 << 63) / 1_000)));
    }
}
