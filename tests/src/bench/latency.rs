//! How long an alert takes from the detector's file to the queue, while half of what is possible comes beside it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{
    Figures,
    measure::scaled,
    probes::{self, Plan},
    programs::Site,
};

const SECONDS: usize = 20;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let fastest = figures.of("file_to_ack_per_s").context("the group `file` has to run before")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is far below 2^52"
    )]
    let rate = (fastest / 2.0) as usize;
    let site = Site::new()?;
    let coordinator = site.start_coordinator()?;
    let agent = site.start_agent(1, "acme", coordinator.ingest, "")?;
    agent.connected()?;
    let interval = Duration::from_millis(20);
    let plan = Plan { severity: 2, counted_as: "medium", rate, interval };
    let until = Instant::now() + Duration::from_secs(scaled(SECONDS, 2) as u64);
    let api = site.api(&coordinator)?;
    let times = probes::measure(&site.path("eve"), &api, plan, || Ok(Instant::now() > until))?;
    agent.stop()?;
    coordinator.stop()?;
    let ms = |share| times.percentile(share).as_secs_f64() * 1_000.0;
    println!("  {} probes beside {rate} alerts/s, slowest {:.1} ms", times.len(), ms(1.0));
    figures.set("alert_to_queue_p50_ms", ms(0.5));
    figures.set("alert_to_queue_p99_ms", ms(0.99));
    Ok(())
}
