//! What agents' ledgers cover, and their gaps.

use std::collections::BTreeMap;

use coordinator::api::types::{
    Agent, LaneCounts, LedgerCoverage, LedgerGap, LedgerGapKind as GapKind,
};
use shared::time::Timestamp;

use super::{cell, counted, heading, table};
use crate::text::{Paint, ago, instant, length, name_of, paint, safe};

/// Most gaps that are shown; programs get all.
const GAPS_SHOWN: usize = 100;

/// Writes coverage, each source in a line, the agents that say nothing, and the gaps, the newest first.
pub(crate) fn show(
    coverage: Vec<LedgerCoverage>,
    gaps: &[LedgerGap],
    silent: &[Agent],
    now: Timestamp,
    columns: usize,
) -> String {
    let rows = put_together(coverage).iter().map(|it| coverage_row(it, now)).collect();
    let header = [
        "AGENT",
        "SOURCE",
        "UNTIL",
        "READ",
        "SENT",
        "HELD",
        "FOLDED",
        "SKIPPED",
        "MALFORMED",
        "DROPPED",
        "SUM",
    ];
    let mut text = format!("{}\n", table(columns, &header, rows));
    if !silent.is_empty() {
        text.push_str(&heading("Silent agents: nothing is known of their sources since"));
        let rows = silent.iter().map(|agent| silent_row(agent, now)).collect();
        text.push_str(&format!("{}\n", table(columns, &["AGENT", "HOST", "SINCE", "NEXT"], rows)));
    }
    text.push_str(&heading("Gaps: where it is not known what became of everything"));
    if gaps.is_empty() {
        text.push_str("none\n");
        return text;
    }
    let rows = gaps.iter().rev().take(GAPS_SHOWN).map(gap_row).collect();
    let header = ["FROM", "UNTIL", "AGENT", "SOURCE", "GAP", "HOW MUCH", "EXPLAINED"];
    text.push_str(&format!("{}\n", table(columns, &header, rows)));
    if gaps.len() > GAPS_SHOWN {
        let others = u64::try_from(gaps.len() - GAPS_SHOWN).unwrap_or(u64::MAX);
        text.push_str(&format!("and {} before\n", counted(others, "other", "others")));
    }
    text
}

/// Puts items of one source together: pages sum up one stretch of time after the other.
fn put_together(items: Vec<LedgerCoverage>) -> Vec<LedgerCoverage> {
    let mut sources: BTreeMap<(String, String), LedgerCoverage> = BTreeMap::new();
    for item in items {
        let key = (item.agent.clone(), item.source.clone());
        match sources.get_mut(&key) {
            Some(sum) => add(sum, &item),
            None => drop(sources.insert(key, item)),
        }
    }
    sources.into_values().collect()
}

fn add(sum: &mut LedgerCoverage, item: &LedgerCoverage) {
    sum.from = sum.from.min(item.from);
    sum.until = sum.until.max(item.until);
    sum.intervals += item.intervals;
    sum.policy = item.policy;
    sum.read += item.read;
    sum.audited += item.audited;
    sum.skipped += item.skipped;
    sum.closes &= item.closes;
    for (sum, item) in [
        (&mut sum.sent, item.sent),
        (&mut sum.malformed, item.malformed),
        (&mut sum.summaries, item.summaries),
    ] {
        sum.urgent += item.urgent;
        sum.normal += item.normal;
        sum.bulk += item.bulk;
    }
    for (sum, item) in [
        (&mut sum.held, &item.held),
        (&mut sum.folded, &item.folded),
        (&mut sum.dropped, &item.dropped),
        (&mut sum.losses, &item.losses),
    ] {
        item.iter().for_each(|(name, count)| *sum.entry(name.clone()).or_default() += count);
    }
}

fn coverage_row(item: &LedgerCoverage, now: Timestamp) -> Vec<String> {
    let lanes = |counts: LaneCounts| (counts.urgent + counts.normal + counts.bulk).to_string();
    let all = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let dropped = all(&item.dropped);
    vec![
        safe(&item.agent),
        cell(&item.source),
        ago(now, item.until),
        item.read.to_string(),
        lanes(item.sent),
        all(&item.held).to_string(),
        all(&item.folded).to_string(),
        item.skipped.to_string(),
        lanes(item.malformed),
        if dropped == 0 { "0".to_owned() } else { paint(Paint::Yellow, &dropped.to_string()) },
        if item.closes { "closes".to_owned() } else { paint(Paint::Red, "DOES NOT CLOSE") },
    ]
}

fn silent_row(agent: &Agent, now: Timestamp) -> Vec<String> {
    vec![
        safe(&agent.agent),
        cell(agent.hostname.as_deref().unwrap_or("-")),
        paint(Paint::Red, &ago(now, agent.last_seen_at)),
        "on the host: signalbox-agent status".to_owned(),
    ]
}

fn gap_row(gap: &LedgerGap) -> Vec<String> {
    let source = match (&gap.source, gap.lane) {
        (Some(source), _) => cell(source),
        (None, Some(lane)) => format!("lane {lane}"),
        (None, None) => "all".to_owned(),
    };
    vec![
        instant(gap.from),
        instant(gap.until),
        safe(&gap.agent),
        source,
        name_of(&gap.kind),
        how_much(gap),
        if gap.explained { "yes".to_owned() } else { paint(Paint::Red, "NO") },
    ]
}

fn how_much(gap: &LedgerGap) -> String {
    match gap.kind {
        GapKind::Stopped => length(gap.count.div_ceil(1_000)),
        GapKind::Missing | GapKind::Broken | GapKind::Rewritten | GapKind::Uncounted => {
            counted(gap.count, "interval", "intervals")
        }
        GapKind::BlocksLost | GapKind::BlocksDiffer => counted(gap.count, "alert", "alerts"),
        GapKind::LostFile => counted(gap.count, "file", "files"),
        GapKind::ReadError => counted(gap.count, "attempt", "attempts"),
        GapKind::Unclosed
        | GapKind::SocketBuffer
        | GapKind::Bound
        | GapKind::SourceLost
        | GapKind::Cut
        | GapKind::HeldEvicted => counted(gap.count, "record", "records"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::{
        agents,
        testing::{NOW, parse, plain},
    };

    fn item(source: &str, read: u64, closes: bool) -> LedgerCoverage {
        let lanes = json!({"urgent": 1, "normal": 2, "bulk": 0});
        parse(json!({
            "agent": "a1", "source": source, "from": "2026-01-02T03:00:05.000Z",
            "until": "2026-01-02T03:03:05.000Z", "intervals": 3, "policy": 0, "read": read,
            "sent": lanes, "malformed": {"urgent": 0, "normal": 0, "bulk": 0},
            "summaries": {"urgent": 0, "normal": 0, "bulk": 0}, "audited": 0,
            "held": {"scan": 4}, "folded": {}, "skipped": 3, "dropped": {"socket_buffer": 2},
            "losses": {}, "closes": closes
        }))
    }

    #[test]
    fn a_source_is_one_line_and_says_whether_its_sum_closes() {
        let coverage = vec![item("eve", 12, true), item("wazuh", 5, false), item("eve", 12, true)];
        let text = plain(&show(coverage, &[], &[], NOW, 140));
        let wanted = "\
AGENT  SOURCE  UNTIL       READ  SENT  HELD  FOLDED  SKIPPED  MALFORMED  DROPPED  SUM
a1     eve     1m 00s ago  24    6     8     0       6        0          4        closes
a1     wazuh   1m 00s ago  5     3     4     0       3        0          2        DOES NOT CLOSE

Gaps: where it is not known what became of everything
none";
        assert_eq!(text, wanted);
    }

    #[test]
    fn an_agent_that_says_nothing_is_told_with_since_when() {
        let text =
            plain(&show(vec![item("eve", 12, true)], &[], &[agents::tests::sample()], NOW, 140));
        let wanted = "\
Silent agents: nothing is known of their sources since
AGENT                                 HOST  SINCE       NEXT
018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01  w     2m 00s ago  on the host: signalbox-agent status

Gaps";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn gaps_are_told_with_their_measure() {
        let gap = |kind: &str, source: Option<&str>, lane: Option<&str>, count: u64| -> LedgerGap {
            parse(json!({
                "agent": "a1", "epoch": "e", "interval": 4, "source": source, "lane": lane,
                "kind": kind, "explained": kind == "stopped", "from": "2026-01-02T03:00:05.000Z",
                "until": "2026-01-02T03:01:05.000Z", "count": count,
                "noticed_at": "2026-01-02T03:03:05.000Z"
            }))
        };
        let gaps = [
            gap("stopped", None, None, 60_000),
            gap("blocks_differ", None, Some("bulk"), 1),
            gap("unclosed", Some("eve"), None, 7),
        ];
        let text = plain(&show(vec![], &gaps, &[], NOW, 140));
        for part in ["eve        unclosed", "7 records  NO", "lane bulk  blocks", "1m 00s", "yes"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
