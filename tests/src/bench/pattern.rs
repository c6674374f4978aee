//! What many files under one pattern cost an agent: how long it takes until it has read a record of each, how long it
//! takes when it is started again until it has found the one that was written to meanwhile, and its memory.

use std::{
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    Figures,
    measure::{mib, scaled},
    programs::{Agent, Site, free_udp},
};

/// As many as the logs of all containers of a large host.
const FILES: usize = 50_000;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let files = scaled(FILES, 1_000);
    let site = Site::new()?;
    fs::write(site.path("eve"), "")?;
    let folder = site.path("many");
    fs::create_dir(&folder)?;
    for number in 0..files {
        fs::write(folder.join(format!("{number}.json")), record(number))?;
    }
    let more = "[[source]]\nname = \"many\"\nkind = \"suricata_eve\"\npath = \"many/*.json\"\n\
                from = \"start\"\n";
    let coordinator = free_udp()?;

    let begun = Instant::now();
    let agent = site.start_agent(1, "acme", coordinator, more)?;
    wait(&agent, begun, files as u64)?;
    figures.set("agent_pattern_read_s", begun.elapsed().as_secs_f64());
    figures.set("agent_pattern_rss_mib", mib(agent.resident()?.max));
    drop(agent); // in order it would wait for somebody to take the spool

    let last = folder.join(format!("{}.json", files - 1));
    fs::OpenOptions::new().append(true).open(last)?.write_all(record(files).as_bytes())?;
    let begun = Instant::now();
    let agent = site.start_agent(1, "acme", coordinator, more)?;
    wait(&agent, begun, 1)?;
    figures.set("agent_pattern_restart_s", begun.elapsed().as_secs_f64());
    figures.set("agent_pattern_restart_rss_mib", mib(agent.resident()?.max));
    Ok(())
}

/// Waits until the agent, since it was started, has read so many records of the pattern's files.
fn wait(agent: &Agent, begun: Instant, records: u64) -> Result<()> {
    loop {
        ensure!(begun.elapsed() < PATIENCE, "not all is read: {:?}", agent.status());
        let status = agent.status().filter(|status| status.pid == agent.id());
        let many = status.and_then(|status| status.sources.into_iter().nth(1));
        match many.map_or(0, |many| many.records) {
            read if read == records => return Ok(()),
            read => ensure!(read < records, "{read} records are read, there are {records}"),
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn record(number: usize) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-02T09:00:00.{:06}+0000\",\"event_type\":\"alert\",\
         \"src_ip\":\"10.20.0.1\",\"alert\":{{\"signature_id\":7,\"signature\":\"of a \
         container\",\"severity\":3}}}}\n",
        number % 1_000_000
    )
}
