//! What a tenant's flood does to another's urgent alerts.
//!
//! One tenant's agents send as fast as the coordinator takes it, which without a quota is more than a hundred times
//! what they may; another tenant's agent sends small urgent blocks all the while. How long these take is compared
//! with how long they take when nobody else sends, in turns.

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use agent::tls::Credentials;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use quinn::Endpoint;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use shared::{
    alert::Alert,
    block::BlockBuilder,
    ids::{BootId, Epoch, Lane},
};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{
    percentile,
    session::{Process, Session},
};
use crate::{bench::client::endpoint, cluster::Cluster};

const PAIRS: usize = 5;
/// How long each half of a pair takes.
const HALF: Duration = Duration::from_secs(6);
/// Between two urgent blocks.
const PACE: Duration = Duration::from_millis(5);
const FLOODING: u64 = 16;
/// KiB a second of each tenant, and of each agent.
const QUOTA_KIB: usize = 512;
const RECORD_BYTES: usize = 600;
const RECORDS: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What came of it.
pub(super) struct Flood {
    /// The p99 of urgent blocks beside the flood over that without it: the median of the pairs.
    pub(super) ratio: f64,
    /// How many times as much as its quota the flooding tenant would have sent, as fast as the coordinator takes it
    /// where the quota is no bound.
    pub(super) times: f64,
}

/// Runs a coordinator with small quotas, and floods it.
pub(super) fn run(runtime: &Runtime) -> Result<Flood> {
    let times = {
        let (mut cluster, block) = (cluster(1 << 20)?, block()?);
        let times = runtime.block_on(offered(&cluster, &block))?;
        cluster.coordinator.process.terminate(TIMEOUT)?;
        times
    };
    let mut cluster = cluster(QUOTA_KIB)?;
    let mut ratios = runtime.block_on(pairs(&cluster))?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    ratios.sort_by(f64::total_cmp);
    Ok(Flood { ratio: percentile(&ratios, 0.5).context("no pair")?, times })
}

fn cluster(kib: usize) -> Result<Cluster> {
    let mut cluster = Cluster::new()?;
    let config = cluster.coordinator.process.config();
    let text = format!(
        "[quota]\ntenant_kib_per_second = {kib}\nagent_kib_per_second = {kib}\n\
         tenant_blocks_per_second = 100000\nagent_blocks_per_second = 100000\n"
    );
    File::options().append(true).open(config)?.write_all(text.as_bytes())?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    Ok(cluster)
}

/// Returns a block of which no compression makes much less.
fn block() -> Result<Bytes> {
    let (mut builder, mut rng) = (BlockBuilder::new(), StdRng::seed_from_u64(7));
    for _ in 0..RECORDS {
        let record: String =
            (0..RECORD_BYTES).map(|_| char::from(rng.random_range(b'0'..=b'z'))).collect();
        builder.push(&Alert::default(), record.as_bytes())?;
    }
    Ok(builder.finish(1))
}

/// Connects the agent that is `number` of a tenant's.
async fn connect(
    cluster: &Cluster,
    endpoint: &Endpoint,
    tenant: &str,
    number: u64,
) -> Result<Session> {
    let (_, files) = cluster.identity(tenant, number)?;
    let credentials = Credentials::load(&files)?;
    let process = Process { epoch: Epoch(1), boot: BootId(1), made: 0 };
    let coordinator = cluster.coordinator.ingest;
    let answer = Session::connect(endpoint, coordinator, &credentials, process).await?;
    answer.welcomed().context("an agent was not welcomed")
}

/// Lets agents send blocks on a lane, each the next one as soon as one is acked; returns the tasks, each of which says
/// how many blocks were acked when it is over.
async fn flood(
    cluster: &Cluster,
    block: &Bytes,
    first: u64,
    time: Duration,
) -> Result<JoinSet<Result<u64>>> {
    let mut tasks = JoinSet::new();
    let endpoint = endpoint()?;
    for number in first..first + FLOODING {
        let mut session = connect(cluster, &endpoint, "globex", number).await?;
        let (block, until) = (block.clone(), Instant::now() + time);
        tasks.spawn(async move {
            let mut acked = 0;
            while Instant::now() < until {
                acked = session.send(Lane::Bulk, acked + 1, &block).await?;
            }
            session.close();
            Ok(acked)
        });
    }
    Ok(tasks)
}

/// Returns how many times the quota the flood comes to where there is no bound.
async fn offered(cluster: &Cluster, block: &Bytes) -> Result<f64> {
    let mut tasks = flood(cluster, block, 100, HALF).await?;
    let mut blocks = 0;
    while let Some(acked) = tasks.join_next().await {
        blocks += acked??;
    }
    let bytes = blocks as f64 * block.len() as f64;
    Ok(bytes / HALF.as_secs_f64() / (QUOTA_KIB << 10) as f64)
}

async fn pairs(cluster: &Cluster) -> Result<Vec<f64>> {
    let (endpoint, large) = (endpoint()?, block()?);
    let mut urgent = Urgent {
        session: connect(cluster, &endpoint, "acme", 1).await?,
        block: super::block()?,
        acked: 0,
    };
    urgent.p99().await?; // warms what is made once
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        let quiet = urgent.p99().await?;
        let first = 100 + pair as u64 * FLOODING;
        let mut tasks = flood(cluster, &large, first, HALF + Duration::from_secs(2)).await?;
        tokio::time::sleep(Duration::from_secs(2)).await; // until the burst is over
        let flooded = urgent.p99().await?;
        println!("  urgent p99: {quiet:.2} ms, beside the flood {flooded:.2} ms");
        let mut blocks = 0;
        while let Some(acked) = tasks.join_next().await {
            blocks += acked?.context("an agent of the flood was not served")?;
        }
        let bytes = blocks * large.len() as u64;
        let quota = HALF.as_secs() * (QUOTA_KIB << 10) as u64;
        ensure!(bytes >= quota, "the flood came to {bytes} bytes, its quota is {quota}");
        ratios.push(flooded / quiet);
    }
    Ok(ratios)
}

/// An agent with urgent blocks.
struct Urgent {
    session: Session,
    block: Bytes,
    acked: u64,
}

impl Urgent {
    /// Sends blocks for a while; returns the p99 of the milliseconds until each was acked.
    async fn p99(&mut self) -> Result<f64> {
        let (start, mut took) = (Instant::now(), Vec::new());
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while start.elapsed() < HALF {
            pace.tick().await;
            let sent = Instant::now();
            let acked = self.session.send(Lane::Urgent, self.acked + 1, &self.block).await?;
            ensure!(acked == self.acked + 1, "{acked} is acked");
            self.acked = acked;
            took.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        percentile(&took, 0.99).context("nothing was sent")
    }
}
