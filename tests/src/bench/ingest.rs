//! How fast the coordinator's program makes blocks durable that were prepared before, and what it keeps of them.

use std::time::Instant;

use anyhow::Result;
use coordinator::store::engine::{Engine as _, RocksEngine, Space};
use futures_util::future::try_join_all;
use shared::{ids::Lane, limits::BLOCK_ALERTS_MAX};

use super::{
    Figures, blocks,
    client::{Client, LaneClient, endpoint},
    measure::{median, per_second, scaled},
    programs::Site,
    records::{ALL_SEVERITIES, Records, now},
};

const CONNECTIONS: u64 = 4;
/// Different blocks of one connection, which are sent again and again under numbers of their own.
const DIFFERENT: usize = 64;
/// Blocks of one connection in one repetition.
const BLOCKS: usize = 1_024;
const REPETITIONS: usize = 3;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let site = Site::new()?;
    let coordinator = site.start_coordinator()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sent, alerts) = runtime.block_on(async {
        let endpoint = endpoint()?;
        let mut clients = Vec::new();
        let mut lanes = Vec::new();
        let mut prepared = Vec::new();
        for number in 0..CONNECTIONS {
            let tenant = ["acme", "globex"][usize::from(number % 2 == 1)];
            let credentials = site.credentials(tenant, number)?;
            prepared
                .push(blocks::full(&mut Records::new(number, now(), ALL_SEVERITIES), DIFFERENT)?);
            let client = Client::connect(&endpoint, coordinator.ingest, &credentials).await?;
            lanes.push(client.open_lane(Lane::Normal).await?);
            clients.push(client);
        }
        // Once through all, so that the cases are open and the caches warm.
        exchange(&mut lanes, &prepared, DIFFERENT).await?;
        let count = scaled(BLOCKS, DIFFERENT);
        let mut rates = Vec::new();
        for _ in 0..REPETITIONS {
            let start = Instant::now();
            exchange(&mut lanes, &prepared, count).await?;
            rates.push(per_second(count * lanes.len() * BLOCK_ALERTS_MAX, start.elapsed()));
        }
        figures.set("ingest_acks_per_s", median(rates));
        let alerts = (DIFFERENT + count * REPETITIONS) * lanes.len() * BLOCK_ALERTS_MAX;
        anyhow::Ok((clients.iter().map(Client::bytes_sent).sum::<u64>(), alerts))
    })?;
    coordinator.stop()?;
    let engine = RocksEngine::open(site.path("store"))?;
    let stored = engine.approximate_bytes(Space::Rows) + engine.approximate_bytes(Space::Blocks);
    figures.set("bytes_per_alert_on_wire", each(sent, alerts));
    figures.set("bytes_per_alert_stored", each(stored, alerts));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes and counts are far below 2^52")]
fn each(bytes: u64, alerts: usize) -> f64 {
    bytes as f64 / alerts as f64
}

/// Sends `count` blocks on each lane at once and waits until all are acked.
async fn exchange(
    lanes: &mut [LaneClient],
    prepared: &[Vec<bytes::Bytes>],
    count: usize,
) -> Result<()> {
    let all = lanes.iter_mut().zip(prepared).map(|(lane, blocks)| lane.exchange(blocks, count));
    try_join_all(all).await.map(drop)
}
