//! Authorities: whom agents believe, and how far they have got with it.

use coordinator::api::types::{AgentTrustState, Authority, TrustBundle};
use shared::time::Timestamp;

use super::{counted, fields, table, who};
use crate::text::{Paint, ago, instant, paint, safe};

/// Writes whom agents believe, how many do, and whose certificates they have.
pub(crate) fn shown(shown: &Authority, now: Timestamp, columns: usize) -> String {
    let mut text = match &shown.bundle {
        Some(found) => bundle(found, now, columns),
        None => format!(
            "{}: each agent believes the root that it was given\n",
            paint(Paint::Bold, "No trust bundle")
        ),
    };
    let Authority { behind, revoked, .. } = shown;
    let refused = shown.refused.iter().map(|it| format!("{} {}", it.agents, safe(&it.reason)));
    let refused = refused.collect::<Vec<_>>().join(", ");
    text.push('\n');
    text.push_str(&fields(&[
        ("agents", Some(looked_at(shown))),
        ("trusting", shown.bundle.as_ref().map(|_| progress(shown))),
        ("behind", shown.bundle.as_ref().map(|_| behind.to_string())),
        ("other", (shown.other > 0).then(|| other(shown))),
        ("refusing", Some(refused).filter(|text| !text.is_empty())),
        ("not of here", (shown.not_of_here > 0).then(|| not_of_here(shown))),
        ("revoked", (*revoked > 0).then(|| revoked.to_string())),
        ("issuer", shown.issuer.as_deref().map(safe)),
    ]));
    if shown.issuers.is_empty() {
        return text;
    }
    text.push_str("\n\n");
    let rows = shown
        .issuers
        .iter()
        .map(|it| {
            let state = match (it.is_present, it.is_distrusted) {
                (true, _) => "issues now",
                (false, true) => "DISTRUSTED",
                (false, false) => "",
            };
            let key = it.key.as_deref().map_or_else(|| "not known yet".to_owned(), safe);
            vec![key, it.agents.to_string(), state.to_owned()]
        })
        .collect();
    text.push_str(&table(columns, &["CERTIFICATES OF", "AGENTS", "STATE"], rows));
    text
}

fn looked_at(Authority { agents, is_partial, .. }: &Authority) -> String {
    if *is_partial {
        format!("the first {agents}; there are more: signalbox authority agents --behind --all")
    } else {
        agents.to_string()
    }
}

fn progress(Authority { agents, is_partial, trusting, .. }: &Authority) -> String {
    let percent = trusting * 100 / (*agents).max(1);
    match (is_partial, trusting == agents) {
        (true, true) => format!("{trusting} of the first {agents}"),
        (true, false) => format!("{trusting} of the first {agents}, {percent} %"),
        (false, true) => format!("{trusting}, which is all"),
        // Never 100 % before it is all.
        (false, false) => format!("{trusting} of {agents}, {percent} %"),
    }
}

/// Says who would refuse the newest bundle, and what to do.
fn other(Authority { other, highest, bundle, .. }: &Authority) -> String {
    let has = match bundle {
        Some(bundle) => format!("another bundle of number {} or above", bundle.sequence),
        None => "a bundle that is not known here".to_owned(),
    };
    let agents = counted(*other, "agent has", "agents have");
    format!(
        "{agents} {has}, up to {highest}, and would refuse this one: sign it anew with a number \
         above {highest}, and push that; signalbox authority agents --other names them"
    )
}

/// Says who could not be re-keyed after a theft.
fn not_of_here(Authority { not_of_here, .. }: &Authority) -> String {
    let agents = counted(*not_of_here, "agent has", "agents have");
    format!(
        "{agents} a certificate that began with no join here: after a theft of its issuer the host \
         has to join again"
    )
}

fn bundle(bundle: &TrustBundle, now: Timestamp, columns: usize) -> String {
    let pushed = format!(
        "{} by {}, {}",
        instant(bundle.pushed_at),
        who(&bundle.pushed_by),
        ago(now, bundle.pushed_at)
    );
    let mut text = format!("{} {}\n", paint(Paint::Bold, "Trust bundle"), bundle.sequence);
    let distrusted = bundle.distrusted.iter().map(|key| safe(key)).collect::<Vec<_>>();
    text.push_str(&fields(&[
        ("pushed", Some(pushed)),
        ("key", Some(safe(&bundle.key))),
        ("sha256", Some(safe(&bundle.sha256))),
        ("distrusts", Some(distrusted.join(", ")).filter(|text| !text.is_empty())),
    ]));
    text.push_str("\n\n");
    let rows = bundle
        .roots
        .iter()
        .map(|root| vec![safe(&root.subject), instant(root.not_after), safe(&root.sha256)])
        .collect();
    text.push_str(&table(columns, &["ROOT", "UNTIL", "SHA256"], rows));
    text
}

/// Writes how agents stand to the authorities.
pub(crate) fn agents(agents: &[AgentTrustState], now: Timestamp, columns: usize) -> String {
    let rows = agents
        .iter()
        .map(|agent| {
            let refused = agent
                .refused
                .as_ref()
                .map(|refused| format!("refuses {}: {}", refused.sequence, safe(&refused.text)));
            let bundle = match (agent.sequence, agent.is_other) {
                (0, _) => "none".to_owned(),
                (sequence, true) => format!("{sequence} (another)"),
                (sequence, false) => sequence.to_string(),
            };
            let issuer = agent.issuer.as_deref().map_or_else(|| "-".to_owned(), safe);
            vec![
                safe(&agent.tenant),
                safe(&agent.agent),
                bundle,
                issuer.chars().take(16).collect(),
                ago(now, agent.last_seen_at),
                refused.unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["TENANT", "AGENT", "BUNDLE", "CERTIFICATE OF", "LAST SEEN", "REFUSED"];
    let behind = agents.iter().filter(|agent| agent.is_behind).count() as u64;
    let other = agents.iter().filter(|agent| agent.is_other).count() as u64;
    let text = table(columns, &header, rows);
    let text = format!("{text}\n{}", counted(behind, "agent is behind", "agents are behind"));
    if other == 0 {
        return text;
    }
    format!("{text}, {}", counted(other, "has another bundle", "have another bundle"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(trusting: u64, agents: u64, is_partial: bool) -> Authority {
        let authority = serde_json::json!({
            "trust_domain": "x", "bundle": null, "issuer": null, "distrusted": [],
            "agents": agents, "is_partial": is_partial, "trusting": trusting, "behind": 0,
            "other": 0, "highest": 0, "refused": [], "not_of_here": 0, "revoked": 0, "issuers": []
        });
        serde_json::from_value(authority).unwrap()
    }

    #[test]
    fn progress_is_not_called_whole_before_it_is() {
        let progress = |trusting, agents| progress(&of(trusting, agents, false));
        assert_eq!(progress(999, 1_000), "999 of 1000, 99 %");
        assert_eq!(progress(1_000, 1_000), "1000, which is all");
        assert_eq!(progress(0, 0), "0, which is all");
    }

    #[test]
    fn a_part_of_the_agents_is_never_called_all() {
        let progress = |trusting| progress(&of(trusting, 20_000, true));
        assert_eq!(progress(20_000), "20000 of the first 20000");
        assert_eq!(progress(19_999), "19999 of the first 20000, 99 %");
        let text = shown(&of(20_000, 20_000, true), Timestamp::from_ms(0), 100);
        assert!(text.contains("the first 20000; there are more"), "{text}");
    }

    #[test]
    fn whoever_has_another_bundle_is_shown_with_the_way_on() {
        let authority = Authority { other: 2, highest: 9, ..of(0, 3, false) };
        let text = shown(&authority, Timestamp::from_ms(0), 100);
        assert!(text.contains("2 agents have a bundle that is not known here, up to 9"), "{text}");
        assert!(text.contains("sign it anew with a number above 9"), "{text}");
    }

    #[test]
    fn what_agents_say_drives_no_terminal() {
        let authority: Authority = serde_json::from_str(
            r#"{"trust_domain": "x", "bundle": null, "issuer": "ab", "distrusted": [],
                "agents": 3, "is_partial": false, "trusting": 0, "behind": 0, "other": 0,
                "highest": 0, "refused": [], "not_of_here": 1, "revoked": 1,
                "issuers": [{"key": "ab", "agents": 2, "is_present": true, "is_distrusted": false},
                            {"key": null, "agents": 1, "is_present": false,
                             "is_distrusted": false}]}"#,
        )
        .unwrap();
        let text = shown(&authority, Timestamp::from_ms(1_790_000_000_000), 100);
        assert!(text.contains("each agent believes the root that it was given"), "{text}");
        assert!(text.contains("1 agent has a certificate that began with no join here"), "{text}");
        assert!(text.contains("issues now") && text.contains("not known yet"), "{text}");
        let agent: AgentTrustState = serde_json::from_str(
            r#"{"tenant": "acme", "agent": "7d", "sequence": 0, "is_behind": true,
                "is_other": false, "issuer": null,
                "last_seen_at": "2026-01-02T00:00:00.000Z",
                "refused": {"sequence": 3, "reason": "not_stored", "text": "\u001b[2Jfull",
                            "at": "2026-01-02T00:00:00.000Z"}}"#,
        )
        .unwrap();
        let text = agents(&[agent], Timestamp::from_ms(1_790_000_000_000), 200);
        assert!(text.contains("1 agent is behind") && !text.contains("\u{1b}[2J"), "{text}");
    }
}
