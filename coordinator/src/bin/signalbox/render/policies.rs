//! Policies: their versions, how far the newest is rolled out, and where it stands at agents.

use std::path::Path;

use coordinator::api::types::{
    AgentPolicyState, PolicyRollout, PolicyVersion, RolloutState, RolloutSums,
};
use shared::{policy::Policy, time::Timestamp};

use super::{cell, counted, fields, table, who};
use crate::text::{Paint, ago, instant, name_of, paint, safe};

/// Says what was signed, and how to go on.
pub(crate) fn signed(policy: &Policy, key: &str, out: &Path) -> String {
    let (tenant, version) = (policy.tenant, policy.version);
    format!(
        "Version {version} for {tenant} is signed by {key}, good until {}, in {}\n\
         Bring it to the coordinator: signalbox policy push {tenant} {}",
        policy.expires_at,
        out.display(),
        out.display()
    )
}

/// Writes the versions of a policy.
pub(crate) fn list(versions: &[PolicyVersion], columns: usize) -> String {
    let rows = versions
        .iter()
        .map(|version| {
            vec![
                version.version.to_string(),
                instant(version.pushed_at),
                who(&version.pushed_by),
                version.copy_of.map_or_else(|| "-".to_owned(), |of| format!("version {of}")),
                instant(version.expires_at),
                safe(&version.key),
                safe(&version.sha256).chars().take(16).collect(),
            ]
        })
        .collect();
    let header = ["VERSION", "PUSHED", "BY", "AGAIN", "UNTIL", "KEY", "SHA256"];
    table(columns, &header, rows)
}

/// Writes a version with its rules.
pub(crate) fn version(version: &PolicyVersion, now: Timestamp) -> String {
    let pushed = format!(
        "{} by {}, {}",
        instant(version.pushed_at),
        who(&version.pushed_by),
        ago(now, version.pushed_at)
    );
    let coordinators = version.coordinators.iter().map(|text| cell(text)).collect::<Vec<_>>();
    let mut text = format!("{} {}\n", paint(Paint::Bold, "Version"), version.version);
    text.push_str(&fields(&[
        ("pushed", Some(pushed)),
        ("again", version.copy_of.map(|of| format!("the content of version {of}"))),
        (
            "good",
            Some(format!("{} until {}", instant(version.not_before), instant(version.expires_at))),
        ),
        ("key", Some(safe(&version.key))),
        ("sha256", Some(safe(&version.sha256))),
        ("cpu", version.cpu_percent.map(|percent| format!("{percent} % of a processor at most"))),
        ("addresses", Some(coordinators.join(", ")).filter(|text| !text.is_empty())),
    ]));
    text.push('\n');
    for line in version.text.as_deref().unwrap_or_default().lines() {
        text.push_str(&safe(line));
        text.push('\n');
    }
    text
}

/// Writes how far a roll-out is.
pub(crate) fn rollout(rollout: &PolicyRollout, now: Timestamp) -> String {
    let PolicyRollout { version, base, stage, counts, .. } = rollout;
    let state = match rollout.state {
        RolloutState::Running if *stage == 100 => "rolled out to all".to_owned(),
        RolloutState::Running => format!("running, {stage} % of the agents"),
        RolloutState::Halted => paint(Paint::Red, &format!("HALTED at {stage} % of the agents")),
    };
    let others = match base {
        0 => "none".to_owned(),
        base => format!("version {base}"),
    };
    let agents = format!(
        "{} in the stage, of {}: {} in force, {} waiting, {} refused, {} by a file of their host, \
         {} ended, {} silent, {} with another one of this number",
        counts.in_stage,
        counted(counts.agents, "agent", "agents"),
        counts.in_force,
        counts.waiting,
        counts.refused,
        counts.overridden,
        counts.ended,
        counts.silent,
        counts.other
    );
    let mut text =
        format!("{} {version} of {}\n", paint(Paint::Bold, "Version"), cell(&rollout.tenant));
    let halted = rollout.halted.as_ref();
    let meant =
        rollout.is_meant.then(|| "a person has said that what it changes is meant".to_owned());
    text.push_str(&fields(&[
        ("state", Some(state)),
        ("since", Some(format!("{}, {}", instant(rollout.stage_at), ago(now, rollout.stage_at)))),
        ("others", Some(others)),
        ("agents", Some(agents)),
        ("before", Some(sums(&rollout.before))),
        ("since then", Some(sums(&rollout.after))),
        ("meant", meant),
        (
            "why",
            halted.map(|halted| {
                format!("{}, {} by {}", safe(&halted.reason), instant(halted.at), who(&halted.by))
            }),
        ),
        ("next", halted.map(|halted| safe(&halted.next_step))),
    ]));
    if halted.is_none() && *stage < 100 {
        let next = format!("signalbox policy advance {}", cell(&rollout.tenant));
        text.push_str(&fields(&[("next", Some(next))]));
    }
    text
}

fn sums(sums: &RolloutSums) -> String {
    let RolloutSums { records, malformed, held, dropped, lost, restarts } = sums;
    format!(
        "{records} records, {held} held or folded, {malformed} malformed, {dropped} dropped, \
         {lost} lost, {restarts} restarts"
    )
}

/// Writes where the policy stands at agents.
pub(crate) fn agents(agents: &[AgentPolicyState], now: Timestamp, columns: usize) -> String {
    let rows = agents
        .iter()
        .map(|state| {
            let number = |version: u64| match version {
                0 => "-".to_owned(),
                version => version.to_string(),
            };
            let refused = state.refused.as_ref().map(|refused| {
                let text = format!("version {}: {}", refused.version, cell(&refused.text));
                paint(Paint::Yellow, &text)
            });
            vec![
                safe(&state.agent),
                if state.in_stage { "yes".to_owned() } else { "-".to_owned() },
                number(state.target),
                number(state.version),
                name_of(&state.outcome),
                state.since.map_or_else(|| "-".to_owned(), |since| ago(now, since)),
                refused.unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let header = ["AGENT", "IN STAGE", "SHOULD HAVE", "HAS", "STATE", "SINCE", "REFUSED"];
    table(columns, &header, rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::testing::{NOW, parse, plain};

    fn shown(state: &str, halted: serde_json::Value) -> PolicyRollout {
        parse(json!({
            "tenant": "acme", "version": 9, "base": 8, "stage": 10, "state": state,
            "began_at": "2026-01-02T02:04:05.000Z", "stage_at": "2026-01-02T03:00:00.000Z",
            "is_meant": false, "halted": halted,
            "counts": {
                "agents": 30, "in_stage": 3, "in_force": 1, "overridden": 1, "ended": 0,
                "refused": 1, "waiting": 0, "silent": 0, "other": 0
            },
            "before": {
                "records": 500, "malformed": 1, "held": 20, "dropped": 0, "lost": 0, "restarts": 1
            },
            "after": {
                "records": 300, "malformed": 0, "held": 200, "dropped": 0, "lost": 2, "restarts": 0
            }
        }))
    }

    #[test]
    fn a_roll_out_is_told_with_its_counts_and_the_next_step() {
        let text = plain(&rollout(&shown("running", json!(null)), NOW));
        for line in [
            "Version 9 of acme",
            "running, 10 % of the agents",
            "3 in the stage, of 30 agents: 1 in force, 0 waiting, 1 refused",
            "500 records, 20 held or folded, 1 malformed, 0 dropped, 0 lost, 1 restarts",
            "next  signalbox policy advance acme",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_halted_one_says_why_and_what_can_be_done() {
        let halted = json!({
            "at": "2026-01-02T03:04:00.000Z", "by": {"kind": "coordinator"},
            "reason": "66.6 % of records are held or folded, before it were 4.0 %",
            "next_step": "take it back to version 8: signalbox policy rollback acme"
        });
        let text = plain(&rollout(&shown("halted", halted), NOW));
        for line in [
            "HALTED at 10 % of the agents",
            "66.6 % of records are held or folded, before it were 4.0 %, 2026-01-02 03:04:00Z by \
             coordinator",
            "take it back to version 8: signalbox policy rollback acme",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn agents_are_told_with_what_they_refuse_and_text_of_theirs_is_harmless() {
        let state: AgentPolicyState = parse(json!({
            "agent": "0a0b", "in_stage": true, "target": 9, "version": 8, "outcome": "in_force",
            "since": "2026-01-02T03:04:00.000Z", "offered": 9,
            "offered_at": "2026-01-02T03:04:00.000Z",
            "refused": {
                "version": 9, "reason": "unusable", "text": "3:1: \u{1b}[2J",
                "at": "2026-01-02T03:04:01.000Z"
            }
        }));
        let text = plain(&agents(&[state], NOW, 200));
        assert!(text.contains("0a0b   yes       9            8    in_force"), "{text}");
        assert!(text.contains("version 9: 3:1: \\u{1b}[2J"), "{text}");
    }
}
