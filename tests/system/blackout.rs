//! Agents whose networks let no UDP out are served over TCP, and over UDP as soon as that is let out: with the shipped
//! programs, real QUIC and TLS, through a relay that drops UDP in silence.

use std::{fs, time::Duration};

use agent::status::{LinkState, Snapshot};
use anyhow::{Result, ensure};
use tests::cluster::{Agent, Cluster, Kind, Relay, Source, append_alerts, eventually, records_of};

/// Longer than it takes to find a connection dead over which nothing comes.
const TIMEOUT: Duration = Duration::from_secs(150);

/// An agent behind a relay to the coordinator, both running.
fn behind_relay(cluster: &Cluster, source: Source, relay: &Relay) -> Result<Agent> {
    let mut agent = cluster.agent("acme", &[source])?;
    let (config, ingest) = (agent.process.config().to_owned(), cluster.coordinator.ingest);
    let text = fs::read_to_string(&config)?;
    fs::write(&config, text.replace(&ingest.to_string(), &relay.address.to_string()))?;
    agent.process.start()?;
    Ok(agent)
}

fn stored(cluster: &Cluster, count: usize) -> Result<()> {
    eventually("the records to be stored", TIMEOUT, || {
        let found = cluster.cli(&["search", "--tenant", "acme", "--record", "--all"])?;
        let found = records_of(&found["items"])?.len();
        ensure!(found <= count, "{found} records, of {count} at most");
        Ok((found == count).then_some(()))
    })
}

fn connected(agent: &Agent, over_tcp: bool) -> Result<Snapshot> {
    let what = if over_tcp { "a connection over TCP" } else { "a connection over UDP" };
    eventually(what, TIMEOUT, || {
        let is = |it: &Snapshot| {
            it.link.state == LinkState::Connected && it.link.udp_error.is_some() == over_tcp
        };
        Ok(agent.status()?.filter(is))
    })
}

#[test]
fn where_udp_is_blocked_all_goes_over_tcp_and_over_udp_again_once_it_is_not() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    let relay = Relay::new(cluster.coordinator.ingest)?;
    relay.block_udp(true);
    let eve = cluster.folder().join("acme.json");
    append_alerts(&eve, 0..10)?;
    let mut agent = behind_relay(&cluster, Source::new("eve", Kind::SuricataEve, &eve), &relay)?;
    stored(&cluster, 10)?;
    let shown = connected(&agent, true)?;
    let shown = shown.render(shown.link.since);
    ensure!(shown.contains("over TCP (UDP failed: no answer within 3 s"), "{shown}");
    let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
    ensure!(metrics.contains("\nsignalbox_tunnels_open 1\n"), "{metrics}");

    // A coordinator that was killed is found again the same way.
    cluster.coordinator.process.kill()?;
    append_alerts(&eve, 10..20)?;
    cluster.coordinator.process.start()?;
    stored(&cluster, 20)?;

    relay.block_udp(false);
    connected(&agent, false)?;
    append_alerts(&eve, 20..30)?;
    stored(&cluster, 30)?;
    eventually("the tunnel to be closed", TIMEOUT, || {
        let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
        Ok(metrics.contains("\nsignalbox_tunnels_open 0\n").then_some(()))
    })?;

    relay.block_udp(true);
    append_alerts(&eve, 30..40)?;
    stored(&cluster, 40)?;
    connected(&agent, true)?;
    agent.process.terminate(TIMEOUT)?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}
