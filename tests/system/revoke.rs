//! An agent is let in no more with one command: with the shipped programs, real QUIC and real files.

use std::{fs, time::Duration};

use agent::status::LinkState;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::{Agent, Cluster, Kind, Source, append_alerts, eventually, records_of};

const TIMEOUT: Duration = Duration::from_secs(60);

fn stored(cluster: &Cluster, tenant: &str) -> Result<usize> {
    let found = cluster.cli(&["search", "--tenant", tenant, "--record", "--all"])?;
    Ok(records_of(&found["items"])?.len())
}

fn is_link(agent: &Agent, state: LinkState) -> Result<Option<()>> {
    Ok(agent.status()?.filter(|snapshot| snapshot.link.state == state).map(|_| ()))
}

#[test]
fn a_revoked_agent_says_so_sends_nothing_more_and_keeps_what_it_reads() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    let path = |tenant: &str| cluster.folder().join(format!("{tenant}.json"));
    let (acme, globex) = (path("acme"), path("globex"));
    let mut stolen = cluster.agent("acme", &[Source::new("eve", Kind::SuricataEve, &acme)])?;
    let mut other = cluster.agent("globex", &[Source::new("eve", Kind::SuricataEve, &globex)])?;
    for (agent, path, tenant) in [(&mut stolen, &acme, "acme"), (&mut other, &globex, "globex")] {
        append_alerts(path, 0..10)?;
        agent.process.start()?;
        eventually("ten records to be stored", TIMEOUT, || {
            Ok((stored(&cluster, tenant)? == 10).then_some(()))
        })?;
    }

    let id = stolen.id.to_string();
    let revoked = cluster.cli(&["agent", "revoke", &id, "--reason", "laptop stolen"])?;
    ensure!(revoked["revoked"]["reason"] == "laptop stolen", "{revoked}");
    eventually("the agent to say so", TIMEOUT, || is_link(&stolen, LinkState::Revoked))?;
    let said = stolen.status()?.context("it runs")?.link.last_error.unwrap_or_default();
    ensure!(said.contains("has revoked this agent") && !said.contains("stolen"), "{said}");

    append_alerts(&acme, 10..20)?;
    append_alerts(&globex, 10..20)?;
    eventually("the agent to keep what it reads", TIMEOUT, || {
        let snapshot = stolen.status()?.context("it runs")?;
        let waiting: u64 = snapshot.lanes.iter().map(|lane| lane.waiting).sum();
        Ok((waiting > 0).then_some(()))
    })?;
    eventually("the other agent to go on", TIMEOUT, || {
        Ok((stored(&cluster, "globex")? == 20).then_some(()))
    })?;
    // A process that starts anew is refused at its first handshake.
    stolen.process.kill()?;
    fs::remove_file(stolen.status_path())?;
    stolen.process.start()?;
    eventually("the agent to be refused again", TIMEOUT, || is_link(&stolen, LinkState::Revoked))?;
    ensure!(stored(&cluster, "acme")? == 10, "nothing came after the revocation");

    let journal = cluster.cli(&["journal", "--all"])?;
    let entries = journal["items"].as_array().context("entries")?;
    let is_it = |entry: &&Value| entry["event"]["kind"] == "agent_revoked";
    let entry = entries.iter().find(is_it).context("it is journalled")?;
    ensure!(entry["event"]["agent"] == id.as_str() && entry["tenant"] == "acme", "{entry}");
    let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
    ensure!(metrics.contains("signalbox_sessions_revoked_total 1"), "{metrics}");
    stolen.process.kill()?;
    other.process.terminate(TIMEOUT)?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}
