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
    let Authority { agents, trusting, behind, revoked, .. } = shown;
    let refused = shown.refused.iter().map(|it| format!("{} {}", it.agents, safe(&it.reason)));
    let refused = refused.collect::<Vec<_>>().join(", ");
    text.push('\n');
    text.push_str(&fields(&[
        ("agents", Some(agents.to_string())),
        ("trusting", shown.bundle.as_ref().map(|_| progress(*trusting, *agents))),
        ("behind", shown.bundle.as_ref().map(|_| behind.to_string())),
        ("refusing", Some(refused).filter(|text| !text.is_empty())),
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

fn progress(trusting: u64, agents: u64) -> String {
    if trusting == agents {
        format!("{trusting}, which is all")
    } else {
        // Never 100 % before it is all.
        format!("{trusting} of {agents}, {} %", trusting * 100 / agents.max(1))
    }
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
            let bundle = match agent.sequence {
                0 => "none".to_owned(),
                sequence => sequence.to_string(),
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
    let text = table(columns, &header, rows);
    format!("{text}\n{}", counted(behind, "agent is behind", "agents are behind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_not_called_whole_before_it_is() {
        assert_eq!(progress(999, 1_000), "999 of 1000, 99 %");
        assert_eq!(progress(1_000, 1_000), "1000, which is all");
        assert_eq!(progress(0, 0), "0, which is all");
    }

    #[test]
    fn what_agents_say_drives_no_terminal() {
        let authority: Authority = serde_json::from_str(
            r#"{"trust_domain": "x", "bundle": null, "issuer": "ab", "distrusted": [],
                "agents": 3, "trusting": 0, "behind": 0, "refused": [], "revoked": 1,
                "issuers": [{"key": "ab", "agents": 2, "is_present": true, "is_distrusted": false},
                            {"key": null, "agents": 1, "is_present": false,
                             "is_distrusted": false}]}"#,
        )
        .unwrap();
        let text = shown(&authority, Timestamp::from_ms(1_790_000_000_000), 100);
        assert!(text.contains("each agent believes the root that it was given"), "{text}");
        assert!(text.contains("issues now") && text.contains("not known yet"), "{text}");
        let agent: AgentTrustState = serde_json::from_str(
            r#"{"tenant": "acme", "agent": "7d", "sequence": 0, "is_behind": true, "issuer": null,
                "last_seen_at": "2026-01-02T00:00:00.000Z",
                "refused": {"sequence": 3, "reason": "not_stored", "text": "\u001b[2Jfull",
                            "at": "2026-01-02T00:00:00.000Z"}}"#,
        )
        .unwrap();
        let text = agents(&[agent], Timestamp::from_ms(1_790_000_000_000), 200);
        assert!(text.contains("1 agent is behind") && !text.contains("\u{1b}[2J"), "{text}");
    }
}
