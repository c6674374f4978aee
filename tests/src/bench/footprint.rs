//! What the agent takes of its host: memory and threads while nothing happens with four sources, and its program's
//! size.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Figures,
    measure::{mib, scratch},
    programs::{Site, free_udp, path_of},
};

/// How long the agent is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let site = Site::new()?;
    fs::write(site.path("eve"), "")?;
    let coordinator = site.start_coordinator()?;
    let more = sources(free_udp()?.port());
    let agent = site.start_agent(1, "acme", coordinator.ingest, &more)?;
    agent.connected()?;
    std::thread::sleep(SETTLE);
    figures.set("agent_idle_rss_mib", mib(agent.resident()?.now));
    figures.set("agent_threads", f64::from(u32::try_from(agent.threads()?)?));
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

/// Returns three sources more, of three kinds: a file, files by a pattern, and what comes by UDP.
fn sources(port: u16) -> String {
    format!(
        "[[source]]\nname = \"wazuh\"\nkind = \"wazuh\"\npath = \"alerts.json\"\n\
         [[source]]\nname = \"falco\"\nkind = \"falco\"\npath = \"falco-*.json\"\n\
         [[source]]\nname = \"gateway\"\nkind = \"syslog\"\nlisten = \"udp://127.0.0.1:{port}\"\n"
    )
}
