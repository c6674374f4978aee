//! The benchmark: what the product does in figures, each held against its target.
//!
//! A group measures what belongs together and may run alone; its figures are merged into
//! `target/reports/bench.json`. `SCALE` makes every amount smaller, to try the benchmark itself; its figures then mean
//! little. All runs on one machine: where a figure says "coordinator alone", the client's work was done beforehand.
//!
//! ```text
//! parse      agent_parse_per_s_core                       one thread, its processor time
//! filter     parse_filter_fold_*                          the same with a policy of 100 rules in force
//! sigma      sigma_events_per_s_core, _10_rules ...       one core, recorded events; others beside it
//! ceiling    engine_ceiling_per_s                         the engine trait, block bytes only
//! ingest     ingest_acks_per_s, bytes_per_alert_*         the coordinator's program, prepared blocks
//! file       file_to_ack_per_s, agent_flood_rss_mib       both programs
//! latency    alert_to_queue_p50_ms, _p99_ms               both programs, the API; after `file`
//! urgent     urgent_p99_ms_during_backlog                 both programs, the API
//! claim      claim_*                                      the view, the command, the engine
//! backlog    agent_backlog_rss_mib, _growth_mib           the agent's program, nobody answers
//! pattern    agent_pattern_*                              the agent's program, 50,000 files, nobody answers
//! footprint  agent_idle_rss_mib, _threads, _binary_mib    both programs, four sources
//! idle       idle_connection_bytes, handshakes_per_s      the coordinator's program, clients beside it
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark reads clocks and paces itself")]
#![expect(clippy::print_stdout, reason = "whoever runs the benchmark sees how it goes")]

mod backlog;
mod blocks;
mod ceiling;
mod claim;
pub(crate) mod client;
mod file;
mod filter;
mod footprint;
mod idle;
mod ingest;
mod latency;
mod measure;
mod parse;
mod pattern;
mod probes;
mod programs;
mod records;
mod sigma;
mod urgent;

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::report;

pub use idle::run_clients;

/// A group's name and what it runs.
type Group = (&'static str, fn(&mut Figures) -> Result<()>);

/// All groups, in the order in which they run.
const GROUPS: &[Group] = &[
    ("parse", parse::run),
    ("filter", filter::run),
    ("sigma", sigma::run),
    ("ceiling", ceiling::run),
    ("ingest", ingest::run),
    ("file", file::run),
    ("latency", latency::run),
    ("urgent", urgent::run),
    ("claim", claim::run),
    ("backlog", backlog::run),
    ("pattern", pattern::run),
    ("footprint", footprint::run),
    ("idle", idle::run),
];

/// Which side of its target a figure must be on.
#[derive(Clone, Copy)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

use Target::{AtLeast, AtMost};

/// What is promised.
const TARGETS: &[(&str, Target)] = &[
    ("file_to_ack_per_s", AtLeast(130_000.0)),
    ("ingest_acks_per_s", AtLeast(300_000.0)),
    ("ratio", AtLeast(0.4)),
    ("alert_to_queue_p99_ms", AtMost(100.0)),
    ("urgent_p99_ms_during_backlog", AtMost(100.0)),
    ("claim_p99_us_1m", AtMost(1_000.0)),
    ("agent_idle_rss_mib", AtMost(8.0)),
    ("agent_threads", AtMost(4.0)),
    ("agent_flood_rss_mib", AtMost(32.0)),
    ("agent_backlog_rss_mib", AtMost(32.0)),
    // What a measurement of memory varies by.
    ("agent_backlog_rss_growth_mib", AtMost(1.0)),
    // A flood's, whatever the number of files.
    ("agent_pattern_rss_mib", AtMost(32.0)),
    ("agent_pattern_restart_rss_mib", AtMost(32.0)),
    // Within the time in which the service manager wants to hear that it runs, by far.
    ("agent_pattern_read_s", AtMost(30.0)),
    ("agent_pattern_restart_s", AtMost(10.0)),
    ("agent_binary_mib", AtMost(8.0)),
    ("agent_parse_per_s_core", AtLeast(150_000.0)),
    ("parse_filter_fold_per_s_core", AtLeast(150_000.0)),
    ("idle_connection_bytes", AtMost(45_000.0)),
];

/// What was measured, by name; begins with what earlier runs left.
struct Figures(Map<String, Value>);

impl Figures {
    /// Notes a figure, to three significant digits behind the point where it is small.
    fn set(&mut self, name: &str, value: f64) {
        let rounded = if value.abs() >= 1_000.0 {
            value.round()
        } else {
            (value * 1_000.0).round() / 1_000.0
        };
        println!("  {name:<32} {rounded}");
        self.0.insert(name.to_owned(), json!(rounded));
    }

    fn of(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }
}

/// Runs the groups with these names, all where there are none, and writes the report.
///
/// # Errors
/// A name that is no group's, or a group that could not measure.
pub fn run(names: &[String]) -> Result<()> {
    let known = |name: &&String| GROUPS.iter().any(|(group, _)| group == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let groups: Vec<_> = GROUPS.iter().map(|(group, _)| *group).collect();
        bail!("{unknown:?} is no group; there are {}", groups.join(", "));
    }
    let mut figures = Figures(earlier()?);
    for (name, group) in GROUPS {
        if names.is_empty() || names.iter().any(|asked| asked == name) {
            println!("== {name}");
            group(&mut figures).with_context(|| format!("group {name}"))?;
            conclude(&mut figures);
            report::write("bench", &Value::Object(figures.0.clone()))?;
        }
    }
    for missed in missed(&figures) {
        println!("missed: {missed}");
    }
    Ok(())
}

/// Adds what follows from the figures, and the machine.
fn conclude(figures: &mut Figures) {
    if let (Some(ingest), Some(ceiling)) =
        (figures.of("ingest_acks_per_s"), figures.of("engine_ceiling_per_s"))
    {
        figures.0.insert("ratio".to_owned(), json!((ingest / ceiling * 1_000.0).round() / 1_000.0));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    figures.0.insert("machine".to_owned(), json!({ "cores": cores, "profile": profile }));
    figures.0.insert("missed".to_owned(), json!(missed(figures)));
}

/// Says in words which targets were missed.
fn missed(figures: &Figures) -> Vec<String> {
    let words = |(name, target): &(&str, Target)| {
        let value = figures.of(name)?;
        match target {
            AtLeast(least) if value < *least => {
                Some(format!("{name} is {value}, the target is at least {least}"))
            }
            AtMost(most) if value > *most => {
                Some(format!("{name} is {value}, the target is at most {most}"))
            }
            AtLeast(_) | AtMost(_) => None,
        }
    };
    TARGETS.iter().filter_map(words).collect()
}

fn earlier() -> Result<Map<String, Value>> {
    let path = report::folder().join("bench.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no earlier report: delete it", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_wrong_side_of_its_target_is_missed_and_said_in_words() {
        let mut figures = Figures(Map::new());
        figures.set("ratio", 0.39);
        figures.set("agent_idle_rss_mib", 8.001);
        figures.set("agent_flood_rss_mib", 32.0);
        figures.set("ingest_acks_per_s", 300_000.0);
        assert_eq!(
            missed(&figures),
            [
                "ratio is 0.39, the target is at least 0.4",
                "agent_idle_rss_mib is 8.001, the target is at most 8",
            ]
        );
    }

    #[test]
    fn the_ratio_follows_from_both_its_figures() {
        let mut figures = Figures(Map::new());
        figures.set("ingest_acks_per_s", 250_000.0);
        conclude(&mut figures);
        assert_eq!(figures.of("ratio"), None);
        figures.set("engine_ceiling_per_s", 1_000_000.0);
        conclude(&mut figures);
        assert_eq!(figures.of("ratio"), Some(0.25));
    }
}
