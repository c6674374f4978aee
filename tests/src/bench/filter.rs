//! What the agent does with each record before the spool when a policy of 100 rules is in force, on one core:
//! normalise, match, fold, block, compress.
//!
//! The rules are of every action and ask for what such rules ask for: the detector's rule, networks, beginnings and
//! parts of texts, ports. They suppress about a tenth of the alerts, so that the figure is not that of writing less;
//! how much they do is a figure of its own. Rules that look into the record cost a second walk along it, and have their
//! own figure, too.

use std::{fmt::Write as _, hint::black_box};

use agent::{
    blocks::{BlockPolicy, Blocks, Flow},
    normalise::{Kind, LanePolicy, Normaliser, Outcome, lane_of},
    policy::Policy,
    prefilter::{Prefilter, Read, Verdict},
};
use anyhow::{Context as _, Result};
use shared::{ids::Epoch, time::Timestamp};

use super::{
    Figures,
    measure::{median, per_second, scaled, thread_time},
    records::{ALL_SEVERITIES, Records, now},
};

const RECORDS: usize = 200_000;
const REPETITIONS: usize = 5;
const RULES: usize = 100;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let count = scaled(RECORDS, 1_000);
    let mut text = String::new();
    let mut records = Records::new(1, now(), ALL_SEVERITIES);
    (0..count).for_each(|_| records.append(&mut text));
    for (name, record_paths) in
        [("parse_filter_fold_per_s_core", 0), ("parse_filter_fold_record_paths_per_s_core", 10)]
    {
        let rules = rules(record_paths, now());
        let (mut rates, mut suppressed) = (Vec::new(), 0);
        for _ in 0..REPETITIONS {
            let (rate, of_these) = pass(&text, count, &rules)?;
            rates.push(rate);
            suppressed = of_these;
        }
        figures.set(name, median(rates));
        if record_paths == 0 {
            #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
            figures.set("filter_suppressed_share", suppressed as f64 / count as f64);
        }
    }
    Ok(())
}

/// Takes all records once; returns how many a second of processor time, and how many of them were suppressed.
fn pass(text: &str, count: usize, rules: &str) -> Result<(f64, usize)> {
    let policy = Policy::parse(rules, now()).context("the benchmark's own policy")?;
    let mut prefilter = Prefilter::new(policy, Epoch(7));
    let normaliser = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let lanes = LanePolicy::default();
    let mut blocks = Blocks::new(BlockPolicy::default());
    let (observed_at, since) = (now(), std::time::Instant::now());
    let mut suppressed = 0;
    let start = thread_time()?;
    for line in text.lines() {
        let record = line.as_bytes();
        let (Outcome::Alert { mut alert, .. } | Outcome::Malformed { mut alert, .. }) =
            normaliser.normalise(record, observed_at)
        else {
            continue;
        };
        let verdict = prefilter.judge(
            Read { alert: &alert, record, reader: &normaliser },
            since,
            observed_at,
        );
        if !matches!(verdict, Verdict::Send { .. }) {
            suppressed += 1;
            continue;
        }
        prefilter.mark(&verdict, &mut alert);
        let lane = lane_of(alert.severity, &lanes);
        if blocks.push(lane, &alert, record, since)? == Flow::Commit {
            black_box(blocks.flush_all());
        }
    }
    black_box(blocks.flush_all());
    Ok((per_second(count, thread_time()? - start), suppressed))
}

/// Writes a policy, some of whose rules look into the record.
pub(super) fn rules(record_paths: usize, now: Timestamp) -> String {
    let mut text = "policy: benchmark\nversion: 1\nowner: benchmark\n".to_owned();
    // A day from now, so that the policy is good whenever this runs.
    let until = now.saturating_add(std::time::Duration::from_secs(86_400));
    for number in 0..RULES {
        let uid = 2_020_000 + 200 + number * 4;
        let asked = match number % 5 {
            _ if number < record_paths => format!("{{flow.pkts_toserver: {}}}", 900 + number),
            0 => format!("{{rule_uid: {uid}, src_ip|cidr: 10.20.0.0/16}}"),
            1 => format!("{{rule_uid: [{uid}, {}], dst_port: 443}}", uid + 1),
            2 => format!("{{title|startswith: ET SCAN, title|endswith: ' M{}'}}", 100 + number),
            3 => format!("{{domain|endswith: '{}.example.org', url|contains: '/v1/'}}", number),
            _ => format!("{{src_ip: 203.{}.0.9, dst_ip|startswith: '10.20.'}}", number % 7),
        };
        let terms = match number % 4 {
            0 | 1 => "action: hold, expected: 4000000000/h",
            2 => "action: fold, expected: 4000000000/h",
            _ if number % 8 == 3 => "action: send_urgent",
            _ => "action: send",
        };
        let written = write!(
            text,
            "---\ntitle: rule {number}\nid: rule-{number}\nlogsource: {{product: suricata}}\n\
             detection: {{s: {asked}, condition: s}}\nsignalbox: {{expires: '{until}', {terms}}}\n"
        );
        written.expect("a text takes all that is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benchmarks_policy_is_one_and_suppresses_a_small_part() {
        let mut text = String::new();
        let mut records = Records::new(1, now(), ALL_SEVERITIES);
        (0..3_000).for_each(|_| records.append(&mut text));
        for record_paths in [0, 10] {
            let (_, suppressed) = pass(&text, 3_000, &rules(record_paths, now())).unwrap();
            assert!((30..900).contains(&suppressed), "{suppressed}");
        }
    }
}
