//! How long an agent takes that finds UDP blocked, from its start until its first block is stored.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::cluster::{Cluster, Kind, Relay, Source, append_alerts, eventually};

const RUNS: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns how long each run took, in milliseconds. Each is a new agent of the shipped program.
pub(super) fn fallbacks(cluster: &Cluster, tenant: &str) -> Result<Vec<f64>> {
    let relay = Relay::new(cluster.coordinator.ingest)?;
    relay.block_udp(true);
    (0..RUNS).map(|run| fall_back(cluster, tenant, &relay, run)).collect()
}

fn fall_back(cluster: &Cluster, tenant: &str, relay: &Relay, run: usize) -> Result<f64> {
    let eve = cluster.folder().join(format!("blocked-{run}.json"));
    append_alerts(&eve, 0..10)?;
    let mut agent = cluster.agent(tenant, &[Source::new("eve", Kind::SuricataEve, &eve)])?;
    let (config, ingest) = (agent.process.config().to_owned(), cluster.coordinator.ingest);
    let text = fs::read_to_string(&config)?;
    fs::write(&config, text.replace(&ingest.to_string(), &relay.address.to_string()))?;
    let before = stored(cluster)?;
    let start = Instant::now();
    agent.process.start()?;
    eventually("a block that came over TCP", TIMEOUT, || {
        Ok((stored(cluster)? > before).then_some(()))
    })?;
    let took = start.elapsed();
    agent.process.terminate(TIMEOUT)?;
    Ok(took.as_secs_f64() * 1e3)
}

fn stored(cluster: &Cluster) -> Result<u64> {
    let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("signalbox_blocks_stored_total "));
    line.context("no count of blocks")?.parse().context("a count of blocks")
}
