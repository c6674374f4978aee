//! What the agent does with each record before the spool, on one core: normalise, block, compress.

use std::hint::black_box;

use agent::{
    blocks::{BlockPolicy, Blocks, Flow},
    normalise::{Kind, LanePolicy, Normaliser, Outcome, lane_of},
};
use anyhow::Result;

use super::{
    Figures,
    measure::{median, per_second, scaled, thread_time},
    records::{ALL_SEVERITIES, Records, now},
};

const RECORDS: usize = 200_000;
const REPETITIONS: usize = 5;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let count = scaled(RECORDS, 1_000);
    let mut text = String::new();
    let mut records = Records::new(1, now(), ALL_SEVERITIES);
    (0..count).for_each(|_| records.append(&mut text));
    let rates = (0..REPETITIONS).map(|_| pass(&text, count)).collect::<Result<Vec<_>>>()?;
    figures.set("agent_parse_per_s_core", median(rates));
    Ok(())
}

/// Takes all records once; returns how many a second of processor time.
fn pass(text: &str, count: usize) -> Result<f64> {
    let normaliser = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let lanes = LanePolicy::default();
    let mut blocks = Blocks::new(BlockPolicy::default());
    let (observed_at, since) = (now(), std::time::Instant::now());
    let start = thread_time()?;
    for line in text.lines() {
        let (Outcome::Alert { alert, .. } | Outcome::Malformed { alert, .. }) =
            normaliser.normalise(line.as_bytes(), observed_at)
        else {
            continue;
        };
        let lane = lane_of(alert.severity, &lanes);
        if blocks.push(lane, &alert, line.as_bytes(), since)? == Flow::Commit {
            black_box(blocks.flush_all());
        }
    }
    black_box(blocks.flush_all());
    Ok(per_second(count, thread_time()? - start))
}
