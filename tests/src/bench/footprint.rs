//! What the agent takes of its host: memory while nothing happens, and its program's size.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Figures,
    measure::{mib, scratch},
    programs::{Site, path_of},
};

/// How long the agent is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let site = Site::new()?;
    fs::write(site.path("eve"), "")?;
    let coordinator = site.start_coordinator()?;
    let agent = site.start_agent(1, "acme", coordinator.ingest)?;
    agent.connected()?;
    std::thread::sleep(SETTLE);
    figures.set("agent_idle_rss_mib", mib(agent.resident()?.now));
    agent.stop()?;
    coordinator.stop()?;

    let folder = scratch()?;
    let stripped = folder.path().join("signalbox-agent");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&stripped).arg(path_of("signalbox-agent")?);
    if !strip.status().context("run strip")?.success() {
        bail!("strip failed");
    }
    figures.set("agent_binary_mib", mib(fs::metadata(&stripped)?.len()));
    Ok(())
}
