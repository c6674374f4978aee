//! Two hosts with one identity, and a host that was set back, are told from the agent that they are copies of: with the
//! shipped programs, real QUIC and real files.

use std::{fs, time::Duration};

use agent::status::{LinkState, Snapshot};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::{
    Agent, Cluster, Kind, Source, append_alerts, copy_folder, eventually, records_of,
};

/// Longer than two heartbeats and the longest wait between two dials.
const TIMEOUT: Duration = Duration::from_secs(120);

fn found(cluster: &Cluster) -> Result<usize> {
    let found = cluster.cli(&["search", "--tenant", "acme", "--record", "--all"])?;
    Ok(records_of(&found["items"])?.len())
}

fn stored(cluster: &Cluster, count: usize) -> Result<()> {
    eventually("the records to be stored", TIMEOUT, || {
        let found = found(cluster)?;
        ensure!(found <= count, "{found} records, of {count} at most");
        Ok((found == count).then_some(()))
    })
}

fn status(what: &str, agent: &Agent, is: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
    eventually(what, TIMEOUT, || Ok(agent.status()?.filter(|snapshot| is(snapshot))))
}

fn is(state: LinkState) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| snapshot.link.state == state
}

fn shown(cluster: &Cluster, agent: &Agent) -> Result<Value> {
    Ok(cluster.cli(&["agents", "show", &agent.id.to_string()])?["agent"].clone())
}

fn journalled(cluster: &Cluster, kind: &str) -> Result<usize> {
    let journal = cluster.cli(&["journal", "--all"])?;
    let entries = journal["items"].as_array().context("entries")?;
    Ok(entries.iter().filter(|entry| entry["event"]["kind"] == kind).count())
}

fn waiting(snapshot: &Snapshot) -> u64 {
    snapshot.lanes.iter().map(|lane| lane.waiting).sum()
}

#[test]
fn a_copy_of_a_host_waits_beside_it_until_a_person_decides_and_nothing_of_either_is_lost()
-> Result<()> {
    let mut cluster = Cluster::issuing(TIMEOUT)?;
    let [eve, copied] = ["acme.json", "copy.json"].map(|name| cluster.folder().join(name));
    let mut agent = cluster.agent("acme", &[Source::new("eve", Kind::SuricataEve, &eve)])?;
    let mut copy = cluster.copy_of(&agent, &eve, &copied)?;
    append_alerts(&eve, 0..10)?;
    agent.process.start()?;
    stored(&cluster, 10)?;

    append_alerts(&copied, 20..30)?;
    copy.process.start()?;
    status("the copy to be in quarantine", &copy, |it| {
        it.link.state == LinkState::Quarantined && waiting(it) > 0
    })?;
    append_alerts(&eve, 10..20)?;
    stored(&cluster, 20)?; // the first goes on, and nothing comes of the copy
    let hosts = eventually("both hosts to be shown", TIMEOUT, || {
        let hosts = shown(&cluster, &agent)?["conflict"]["hosts"].clone();
        let names = [0, 1].map(|place| hosts[place]["context"]["hostname"].is_string());
        Ok((names == [true; 2]).then_some(hosts))
    })?;
    ensure!(hosts[0]["is_served"] == true && hosts[1]["is_served"] == false, "{hosts}");
    ensure!(hosts[0]["spool"] != hosts[1]["spool"], "{hosts}");

    // Over restarts of everybody, whoever comes first.
    cluster.coordinator.process.kill()?;
    agent.process.kill()?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    status("the copy to be in quarantine again", &copy, is(LinkState::Quarantined))?;
    agent.process.start()?;
    status("the first to be served", &agent, is(LinkState::Connected))?;
    ensure!(found(&cluster)? == 20);

    let hosts = shown(&cluster, &agent)?["conflict"]["hosts"].clone();
    let process = hosts[1]["process"].as_str().context("a process")?;
    let id = agent.id.to_string();
    let decided =
        ["agents", "resolve", &id, "--keep", process, "--reason", "the first is to be scrapped"];
    let decided = cluster.cli(&decided)?;
    ensure!(decided["hosts"][1]["is_served"] == true, "{decided}");
    stored(&cluster, 30)?;
    status("the first to be told that it is not it any more", &agent, is(LinkState::Superseded))?;
    eventually("the conflict to be over", TIMEOUT, || {
        Ok(shown(&cluster, &agent)?["conflict"].is_null().then_some(()))
    })?;
    for kind in ["identity_contested", "identity_resolved", "identity_settled", "agent_renewed"] {
        ensure!(journalled(&cluster, kind)? == 1, "{kind}");
    }
    copy.process.terminate(TIMEOUT)?;
    agent.process.kill()?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}

#[test]
fn a_host_that_was_set_back_and_went_on_is_found_out_and_its_spool_is_not_mixed_up() -> Result<()> {
    let mut cluster = Cluster::issuing(TIMEOUT)?;
    let eve = cluster.folder().join("acme.json");
    let mut agent = cluster.agent("acme", &[Source::new("eve", Kind::SuricataEve, &eve)])?;
    append_alerts(&eve, 0..10)?;
    agent.process.start()?;
    stored(&cluster, 10)?;
    agent.process.terminate(TIMEOUT)?;
    let snapshot = cluster.folder().join("snapshot");
    copy_folder(&agent.spool, &snapshot)?;
    append_alerts(&eve, 10..20)?;
    agent.process.start()?;
    stored(&cluster, 20)?;
    agent.process.terminate(TIMEOUT)?;

    // The host is set back, and goes on before it reaches its coordinator again.
    cluster.coordinator.process.terminate(TIMEOUT)?;
    fs::remove_dir_all(&agent.spool)?;
    copy_folder(&snapshot, &agent.spool)?;
    fs::remove_file(agent.status_path())?;
    agent.process.start()?;
    status("a block of its own to be durable", &agent, |it| waiting(it) > 0)?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    status("the agent to know that it was set back", &agent, is(LinkState::SetBack))?;
    let notice = eventually("the coordinator to know, too", TIMEOUT, || {
        let notice = shown(&cluster, &agent)?["spool_notice"].clone();
        Ok((!notice.is_null()).then_some(notice))
    })?;
    ensure!(notice["fault"] == "set_back", "{notice}");
    ensure!(found(&cluster)? == 20 && journalled(&cluster, "spool_set_back")? == 1);

    // What is advised: the folder is moved aside, and the agent makes a new one.
    agent.process.kill()?;
    fs::rename(&agent.spool, agent.spool.with_extension("aside"))?;
    agent.process.start()?;
    eventually("the new spool to be taken", TIMEOUT, || {
        Ok(shown(&cluster, &agent)?["spool_notice"].is_null().then_some(()))
    })?;
    agent.process.terminate(TIMEOUT)?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}
