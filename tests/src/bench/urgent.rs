//! How long an urgent alert takes to the queue while a backlog drains that lay in the agent's spool.

use std::{
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use agent::spool::{Commit, RealDisk, Spool, SpoolConfig};
use anyhow::Result;
use shared::{ids::Lane, limits::BLOCK_ALERTS_MAX};

use super::{
    Figures, blocks,
    measure::scaled,
    probes::{self, Plan},
    programs::{Site, eventually},
    records::{LOW, Records, now},
};

/// Different blocks of the backlog, which come again and again under numbers of their own.
const DIFFERENT: usize = 128;
/// Blocks that share one commit of the spool, as those of a flood do.
const COMMIT_BLOCKS: usize = 8;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let asked = std::env::var("BACKLOG_MIB").ok().and_then(|text| text.parse().ok());
    let backlog_bytes = asked.unwrap_or_else(|| scaled(1_024, 8)) << 20;
    let site = Site::new()?;
    let alerts = fill_spool(&site, backlog_bytes)?;
    File::create(site.path("eve"))?;
    let coordinator = site.start_coordinator()?;
    let agent = site.start_agent(1, "acme", coordinator.ingest, "")?;
    eventually("the backlog drains", || Ok(coordinator.alerts_stored()? > 0))?;
    let start = Instant::now();
    let mut looked_at = start;
    let interval = Duration::from_millis(20);
    let plan = Plan { severity: 1, counted_as: "high", rate: 0, interval };
    let api = site.api(&coordinator)?;
    let times = probes::measure(&site.path("eve"), &api, plan, || {
        if looked_at.elapsed() < LOOK_INTERVAL {
            return Ok(false);
        }
        looked_at = Instant::now();
        Ok(coordinator.alerts_stored()? >= alerts)
    })?;
    agent.acked()?;
    agent.stop()?;
    coordinator.stop()?;
    let ms = |share| times.percentile(share).as_secs_f64() * 1_000.0;
    println!(
        "  {} probes while {alerts} alerts drained in {:.1} s, half within {:.1} ms, \
         slowest {:.1} ms",
        times.len(),
        start.elapsed().as_secs_f64(),
        ms(0.5),
        ms(1.0)
    );
    figures.set("urgent_p99_ms_during_backlog", ms(0.99));
    Ok(())
}

/// Fills the agent's spool with `bytes` of blocks in bulk, as an agent does that has no coordinator for long; returns
/// how many alerts these are.
fn fill_spool(site: &Site, bytes: usize) -> Result<u64> {
    let different = blocks::full(&mut Records::new(3, now(), LOW), DIFFERENT)?;
    let folder = site.path("spool");
    std::fs::create_dir_all(&folder)?;
    let config = SpoolConfig { segment_bytes: 16 << 20, total_bytes_max: 4 << 30 };
    let (mut spool, _) = Spool::open(Arc::new(RealDisk::open(&folder)?), config, 1)?;
    let mut next = different.iter().cycle();
    let (mut filled, mut alerts) = (0, 0);
    while filled < bytes {
        let blocks: Vec<_> =
            next.by_ref().take(COMMIT_BLOCKS).map(|block| (Lane::Bulk, block.clone())).collect();
        filled += blocks.iter().map(|(_, block)| block.len()).sum::<usize>();
        alerts += blocks.len() * BLOCK_ALERTS_MAX;
        spool.append(&Commit { blocks, ..Commit::default() })?;
        spool.sync()?;
    }
    Ok(alerts as u64)
}
