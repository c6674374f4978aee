//! An agent's life while the authority over it is replaced, and when one is stolen: with the shipped programs, real
//! QUIC and real files, and nothing done on the agent's host but that it is restarted.

use std::{fs, path::PathBuf, time::Duration};

use agent::status::{LinkState, Snapshot};
use anyhow::{Context as _, Result, ensure};
use certs::{PolicyKey, Root};
use coordinator::clock::Clock;
use serde_json::Value;
use tests::cluster::{
    Cluster, Host, Kind, Relay, Source, append_alerts, eventually, records_of, whose,
};

/// Longer than it takes to find a connection dead over which nothing comes.
const TIMEOUT: Duration = Duration::from_secs(150);
const DAY: Duration = Duration::from_secs(86_400);

/// A host that has joined by one command, behind a relay, and what it sends.
struct Life {
    cluster: Cluster,
    relay: Relay,
    host: Host,
    key: PolicyKey,
    eve: PathBuf,
    /// How many alerts were written.
    written: usize,
    /// How often its certificate was renewed.
    renewals: usize,
}

impl Life {
    fn begin() -> Result<Self> {
        let mut cluster = Cluster::new()?;
        let key = cluster.policy_key()?;
        let relay = Relay::new(cluster.coordinator.ingest)?;
        cluster.let_hosts_join()?;
        let addresses = |address| format!("addresses = [\"{address}\"]");
        let (direct, relayed) = (addresses(cluster.coordinator.ingest), addresses(relay.address));
        cluster.reconfigure(&direct, &relayed)?;
        cluster.coordinator.process.start()?;
        cluster.coordinator.wait_until_ready(TIMEOUT)?;
        cluster.cli(&["tenant", "set", "acme", "--display-name", "ACME"])?;
        let eve = cluster.folder().join("acme.json");
        let host = cluster.host("acme", &[Source::new("eve", Kind::SuricataEve, &eve)])?;
        let joined = host.join(&[&cluster.join_token("acme", 1)?])?;
        ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        Ok(Self { cluster, relay, host, key, eve, written: 0, renewals: 0 })
    }

    /// Writes ten alerts, and waits until all that were written are stored, each once.
    fn alerts(&mut self) -> Result<()> {
        append_alerts(&self.eve, self.written..self.written + 10)?;
        self.written += 10;
        let (written, cluster) = (self.written, &self.cluster);
        eventually("the records to be stored", TIMEOUT, || {
            let found = cluster.cli(&["search", "--tenant", "acme", "--record", "--all"])?;
            let mut records = records_of(&found["items"])?;
            let count = records.len();
            records.sort();
            records.dedup();
            ensure!(records.len() == count && count <= written, "L2: {count} of {written}");
            Ok((count == written).then_some(()))
        })
    }

    /// Waits until the certificate was renewed once more.
    fn renewed(&mut self) -> Result<()> {
        self.renewals += 1;
        let (expected, cluster) = (self.renewals, &self.cluster);
        eventually("the next certificate to be in use", TIMEOUT, || {
            Ok((journalled(cluster, "agent_renewed")? == expected).then_some(()))
        })
    }

    fn restart_coordinator(&mut self) -> Result<()> {
        self.cluster.coordinator.process.terminate(TIMEOUT)?;
        self.cluster.coordinator.process.start()?;
        self.cluster.coordinator.wait_until_ready(TIMEOUT)
    }

    /// Restarts the agent: it renews again without waiting for a while.
    fn restart_agent(&mut self) -> Result<()> {
        self.host.process.terminate(TIMEOUT)?;
        self.host.process.start()
    }

    /// Waits until the authority is shown as it should be.
    fn shown(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        eventually(what, TIMEOUT, || {
            let shown = self.cluster.cli(&["authority", "show"])?;
            Ok(is(&shown).then_some(()))
        })
    }

    fn is_trusted(&self) -> Result<()> {
        self.shown("the bundle to be trusted", |shown| {
            shown["trusting"] == 1 && shown["behind"] == 0
        })
    }

    fn status(&self, what: &str, is: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
        let path = self.host.spool.join("status.json");
        eventually(what, TIMEOUT, || {
            let snapshot = if path.exists() { Some(Snapshot::load(&path)?) } else { None };
            Ok(snapshot.filter(|snapshot| is(snapshot)))
        })
    }

    fn end(mut self) -> Result<()> {
        self.host.process.terminate(TIMEOUT)?;
        self.cluster.coordinator.process.terminate(TIMEOUT)?;
        Ok(())
    }
}

fn journalled(cluster: &Cluster, kind: &str) -> Result<usize> {
    let journal = cluster.cli(&["journal", "--all"])?;
    let entries = journal["items"].as_array().context("entries")?;
    Ok(entries.iter().filter(|entry| entry["event"]["kind"] == kind).count())
}

fn counted(cluster: &Cluster, line: &str) -> Result<()> {
    eventually("it to be counted", TIMEOUT, || {
        let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
        Ok(metrics.contains(line).then_some(()))
    })
}

#[test]
fn an_agent_joins_by_one_command_and_lives_through_all_that_happens_to_authorities_and_networks()
-> Result<()> {
    let mut life = Life::begin()?;
    let now = Clock::wall().now();
    let aged = now.saturating_sub(DAY * 5)..now.saturating_add(DAY * 2);
    life.cluster.age(&life.host.identity, aged)?;
    life.host.process.start()?;
    life.renewed()?; // by its age
    life.alerts()?;
    let root = life.cluster.root();
    let first: &Root = &root;
    for _ in 0..2 {
        life.cluster.replace_authority(first, &[first])?;
        life.restart_coordinator()?;
        life.restart_agent()?;
        life.renewed()?; // by the next intermediate
        life.alerts()?;
    }

    // The root and the intermediate, with an overlap.
    let next = life.cluster.next_root()?;
    life.cluster.push_trust(&life.key, 1, &[first, &next], &[])?;
    life.is_trusted()?;
    life.cluster.replace_authority(&next, &[&next, first])?;
    life.restart_coordinator()?;
    life.alerts()?;
    life.restart_agent()?;
    life.renewed()?;
    life.shown("all certificates to be of the next", |shown| {
        let issuers = shown["issuers"].as_array();
        issuers.is_some_and(|all| all.len() == 1 && all[0]["is_present"] == true)
    })?;
    life.cluster.push_trust(&life.key, 2, &[&next], &[])?;
    life.is_trusted()?;
    life.cluster.replace_authority(&next, &[&next])?;
    life.restart_coordinator()?;
    life.alerts()?;

    life.relay.block_udp(true);
    life.alerts()?;
    life.relay.block_udp(false);
    life.cluster.coordinator.process.kill()?;
    life.cluster.coordinator.process.start()?;
    life.cluster.coordinator.wait_until_ready(TIMEOUT)?;
    life.alerts()?;
    let snapshot = life.status("it to be shown", |it| it.link.state == LinkState::Connected)?;
    let trust = snapshot.trust.context("what it trusts")?;
    ensure!((trust.sequence, trust.roots, trust.refused) == (2, 1, 0), "{trust:?}");
    life.end()
}

#[test]
fn after_a_theft_forgeries_are_refused_and_the_true_agent_is_re_keyed_by_itself() -> Result<()> {
    let mut life = Life::begin()?;
    life.host.process.start()?;
    life.alerts()?;
    let id = whose(&life.host.identity)?;
    let root = life.cluster.root();
    let stolen = life.cluster.replace_authority(&root, &[&*root])?;
    life.cluster.distrust(&stolen)?;
    life.restart_coordinator()?;
    life.renewed()?;
    life.alerts()?;
    let forged = life.cluster.folder().join("forged.json");
    append_alerts(&forged, 0..10)?;
    let source = Source::new("eve", Kind::SuricataEve, &forged);
    let mut impostor = life.cluster.impostor(id, &stolen, &[source])?;
    impostor.process.start()?;
    counted(&life.cluster, "handshakes_refused_total{reason=\"distrusted_issuer\"}")?;
    eventually("the forgery to be journalled", TIMEOUT, || {
        Ok((journalled(&life.cluster, "certificate_forged")? == 1).then_some(()))
    })?;
    impostor.process.kill()?;

    life.cluster.push_trust(&life.key, 1, &[&*root], &[&stolen])?;
    life.is_trusted()?;
    life.alerts()?; // and none of the impostor's

    // Whoever has the stolen key plays the coordinator, under the root that is believed.
    let mut false_one = life.cluster.false_coordinator(&stolen)?;
    false_one.process.start()?;
    false_one.wait_until_ready(TIMEOUT)?;
    let config = life.host.identity.join("coordinator.toml");
    let text = fs::read_to_string(&config)?;
    let (true_one, other) = (life.relay.address.to_string(), false_one.ingest.to_string());
    fs::write(&config, text.replace(&true_one, &other))?;
    life.restart_agent()?;
    let refused = life.status("it to stay away", |it| {
        it.link.state == LinkState::Waiting && it.link.last_error.is_some()
    })?;
    let said = refused.link.last_error.unwrap_or_default();
    ensure!(said.contains("evoked"), "{said}");
    let (_, metrics) = false_one.look_at("/metrics")?;
    ensure!(metrics.contains("\nsignalbox_connections_accepted_total 0\n"), "{metrics}");
    false_one.process.kill()?;
    fs::write(&config, text)?;
    life.restart_agent()?;
    life.alerts()?;
    life.end()
}
