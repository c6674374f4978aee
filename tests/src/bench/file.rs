//! From a detector's file to acks, with both programs on this machine; and what the agent's memory does meanwhile.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Figures,
    measure::{median, mib, per_second, scaled},
    programs::{Site, eventually},
    records::{ALL_SEVERITIES, Records, now},
};

const RECORDS: usize = 1_000_000;
const REPETITIONS: usize = 3;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let count = scaled(RECORDS, 10_000);
    let mut rates = Vec::new();
    let mut resident: u64 = 0;
    for seed in 0..REPETITIONS as u64 {
        let site = Site::new()?;
        write(&site.path("eve"), seed, count)?;
        let coordinator = site.start_coordinator()?;
        let agent = site.start_agent(1, "acme", coordinator.ingest, "")?;
        // The clock starts with the first alerts that are stored, so that no program's start is measured.
        let mut first = 0;
        eventually("alerts come", || {
            first = usize::try_from(coordinator.alerts_stored()?)?;
            Ok(first > 0)
        })?;
        let start = Instant::now();
        let mut stored = first;
        while stored < count {
            std::thread::sleep(LOOK_INTERVAL);
            stored = usize::try_from(coordinator.alerts_stored()?)?;
        }
        rates.push(per_second(count - first, start.elapsed()));
        agent.acked()?;
        resident = resident.max(agent.resident()?.max);
        agent.stop()?;
        coordinator.stop()?;
    }
    figures.set("file_to_ack_per_s", median(rates));
    figures.set("agent_flood_rss_mib", mib(resident));
    Ok(())
}

/// Writes a detector's file of `count` alerts.
fn write(path: &Path, seed: u64, count: usize) -> Result<()> {
    const CHUNK_BYTES: usize = 1 << 20;
    let mut file = File::create(path)?;
    let mut records = Records::new(seed, now(), ALL_SEVERITIES);
    let mut text = String::with_capacity(CHUNK_BYTES + 4096);
    for _ in 0..count {
        records.append(&mut text);
        if text.len() >= CHUNK_BYTES {
            file.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    file.write_all(text.as_bytes())?;
    // Written back before anything is measured: the detector's past is not what is measured.
    Ok(file.sync_all()?)
}
