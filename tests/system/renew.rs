//! An agent's certificate is renewed by itself, also when it was late, and an old copy of one is told from it: with the
//! shipped programs, real QUIC and real files.

use std::{fs, path::PathBuf, time::Duration};

use agent::status::{LinkState, Snapshot};
use anyhow::{Context as _, Result, ensure};
use coordinator::clock::Clock;
use tests::cluster::{Agent, Cluster, Kind, Source, append_alerts, eventually, records_of};

const TIMEOUT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn stored(cluster: &Cluster, tenant: &str, count: usize) -> Result<()> {
    eventually("the records to be stored", TIMEOUT, || {
        let found = cluster.cli(&["search", "--tenant", tenant, "--record", "--all"])?;
        let found = records_of(&found["items"])?.len();
        ensure!(found <= count, "L2: {found} records");
        Ok((found == count).then_some(()))
    })
}

/// Waits until the agent's status is as it should be, and returns it.
fn status(what: &str, agent: &Agent, is: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
    eventually(what, TIMEOUT, || Ok(agent.status()?.filter(|snapshot| is(snapshot))))
}

fn renewed(snapshot: &Snapshot) -> bool {
    snapshot.certificate_until.since(Clock::wall().now()) > DAY * 6
}

fn identity(agent: &Agent) -> [PathBuf; 2] {
    let folder = agent.spool.parent().expect("it lies in the agent's folder");
    ["certificate.pem", "key.pem"].map(|name| folder.join(name))
}

fn journalled(cluster: &Cluster, kind: &str) -> Result<usize> {
    let journal = cluster.cli(&["journal", "--all"])?;
    let entries = journal["items"].as_array().context("entries")?;
    Ok(entries.iter().filter(|entry| entry["event"]["kind"] == kind).count())
}

#[test]
fn an_agent_renews_itself_and_an_old_copy_of_its_identity_is_worth_nothing() -> Result<()> {
    let mut cluster = Cluster::issuing(TIMEOUT)?;
    let (now, eve) = (Clock::wall().now(), cluster.folder().join("acme.json"));
    let valid = now.saturating_sub(DAY * 5)..now.saturating_add(DAY * 2);
    let source = Source::new("eve", Kind::SuricataEve, &eve);
    let mut agent = cluster.agent_certified("acme", &[source], valid)?;
    let read = |agent: &Agent| -> Result<Vec<Vec<u8>>> {
        identity(agent).iter().map(|path| Ok(fs::read(path)?)).collect()
    };
    let put = |agent: &Agent, files: &[Vec<u8>]| -> Result<()> {
        identity(agent).iter().zip(files).try_for_each(|(path, bytes)| Ok(fs::write(path, bytes)?))
    };
    let old = read(&agent)?;
    append_alerts(&eve, 0..10)?;
    agent.process.start()?;
    status("the next certificate to be in use", &agent, renewed)?;
    stored(&cluster, "acme", 10)?;
    ensure!(journalled(&cluster, "agent_renewed")? == 1);
    agent.process.terminate(TIMEOUT)?;
    let new = read(&agent)?;
    ensure!(new[0] != old[0] && new[1] != old[1], "the key is a fresh one");

    // A backup of the folder is put back, or another host has a copy of it.
    put(&agent, &old)?;
    fs::remove_file(agent.status_path())?;
    agent.process.start()?;
    let is_superseded = |it: &Snapshot| it.link.state == LinkState::Superseded;
    let snapshot = status("the old copy to be refused", &agent, is_superseded)?;
    let said = snapshot.link.last_error.unwrap_or_default();
    ensure!(said.contains("knows a later certificate"), "{said}");
    append_alerts(&eve, 10..20)?;
    agent.process.kill()?;
    agent.process.start()?; // it is refused again, and journalled once
    eventually("the second refusal to be counted", TIMEOUT, || {
        let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
        let refused = "signalbox_handshakes_refused_total{reason=\"superseded\"} 2";
        Ok(metrics.contains(refused).then_some(()))
    })?;
    ensure!(journalled(&cluster, "certificate_superseded")? == 1);
    agent.process.kill()?;

    put(&agent, &new)?;
    agent.process.start()?;
    stored(&cluster, "acme", 20)?;
    agent.process.terminate(TIMEOUT)?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}

#[test]
fn an_agent_that_slept_past_its_certificate_renews_it_unless_it_slept_too_long() -> Result<()> {
    let mut cluster = Cluster::issuing(TIMEOUT)?;
    let now = Clock::wall().now();
    let agent = |tenant: &str, days: u32, ended: Duration| -> Result<Agent> {
        let path = cluster.folder().join(format!("{tenant}.json"));
        append_alerts(&path, 0..10)?;
        let until = now.saturating_sub(ended);
        let source = Source::new("eve", Kind::SuricataEve, &path);
        let mut agent =
            cluster.agent_certified(tenant, &[source], until.saturating_sub(DAY * days)..until)?;
        agent.process.start()?;
        Ok(agent)
    };
    let mut late = agent("acme", 7, HOUR)?;
    let mut too_late = agent("globex", 7, DAY * 31)?;
    status("the next certificate to be in use", &late, renewed)?;
    stored(&cluster, "acme", 10)?;
    let is_told = |it: &Snapshot| {
        let said = it.link.last_error.as_deref().unwrap_or_default();
        said.contains("does not take it any more") && said.contains("join --again TOKEN")
    };
    status("the other to say that it joins again", &too_late, is_told)?;
    late.process.terminate(TIMEOUT)?;
    too_late.process.kill()?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}
