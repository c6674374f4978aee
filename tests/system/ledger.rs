//! Agents under every trouble that can be made here: in the end every interval of their ledgers closes or shows its
//! gap, and what was written, what was counted and what is stored are the same (L4).
//!
//! Four agents read files that grow and are rotated. One takes datagrams besides, the spool of one is small, one has a
//! policy that holds back and folds, rings that are too small for it, and a small disk, and one reads all files of a
//! pattern, a file that is copied away and emptied, and what is pushed to it by HTTP. Meanwhile programs are
//! killed and stopped in order, the coordinator is away for a while, a spool is flooded until it is full, a disk is
//! full, and what is held back is asked for. Then all must arrive, and the store and what came of each recall are
//! compared with what was written.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `LEDGER_SECONDS` | how long the trouble lasts; 20 where it is not set |
//! | `LEDGER_SEED` | what is written, and the pauses; by chance where it is not set |
#![expect(clippy::disallowed_methods, reason = "the moments of kills are the machine's time")]

mod checks;
mod holding;
mod load;
mod pushes;

use std::{
    fs,
    net::UdpSocket,
    panic,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use shared::time::Timestamp;
use tests::cluster::{Agent, Cluster, Kind, Source, eventually};

use self::{
    holding::Holding,
    load::{Datagrams, FileLoad, Load, Rotation, Shape},
    pushes::Pushes,
};

const SECONDS_DEFAULT: u64 = 20;
/// Time within which all must have arrived after the last trouble: a full spool drains in a few seconds.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(240);
/// More than the grace of either program.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// For how long an agent has to say that it has read and sent all.
const STILL: Duration = Duration::from_millis(2_500);
/// How long an agent takes at most from its first status until its first look is stored.
const LOOKED: Duration = Duration::from_secs(2);
/// With more than this unread no further flood begins: a slow machine would be behind all of them in the end.
const BEHIND_BYTES_MAX: u64 = 16 << 20;
/// A run of at least this length must have had each trouble.
const WHOLE_RUN: Duration = Duration::from_secs(120);
/// How long an interval is here, so that a short run has many.
const INTERVAL: &str = "1s";
/// Files that one pattern of the collecting agent matches.
const SPREAD_FILES: usize = 3;

/// An agent and what writes for it.
struct Site {
    agent: Agent,
    files: Vec<FileLoad>,
    datagrams: Option<Datagrams>,
    pushes: Option<Pushes>,
    /// What the agent with a policy is asked for.
    holding: Option<Holding>,
    /// How often its agent was killed.
    kills: u64,
}

impl Site {
    fn new(agent: Agent, files: Vec<FileLoad>) -> Self {
        Self { agent, files, datagrams: None, pushes: None, holding: None, kills: 0 }
    }

    /// Notes that its agent could not read or store from then until now.
    fn note_trouble(&mut self, begun_at: Timestamp) {
        if let Some(holding) = &mut self.holding {
            holding.troubles.push((begun_at, holding::now()));
        }
    }

    fn has_disk(&self) -> bool {
        self.holding.as_ref().is_some_and(Holding::has_disk)
    }

    /// Kills the agent and starts it again, after so long.
    fn kill(&mut self, pause: Duration, troubles: &mut Troubles) -> Result<()> {
        self.agent.process.kill().context("kill an agent")?;
        self.kills += 1;
        troubles.kills_agent += 1;
        thread::sleep(pause);
        self.agent.process.start()
    }
}

/// How often each trouble was made.
#[derive(Clone, Copy, Debug, Default)]
struct Troubles {
    kills_agent: u64,
    kills_coordinator: u64,
    stops: u64,
    floods: u64,
    full_disks: u64,
}

#[test]
fn every_interval_of_a_ledger_closes_or_shows_its_gap() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("LEDGER_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number("LEDGER_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000_000));
    println!("LEDGER_SEED={seed} chooses the same load again");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::new().unwrap();
    let mut sites = sites(&cluster).unwrap();
    let mut troubles = Troubles::default();
    let length = Duration::from_secs(seconds);
    let outcome = live(&mut cluster, &mut sites, &mut rng, length, &mut troubles)
        .and_then(|()| stop_agents(&mut sites))
        .and_then(|()| shown(&cluster, &sites))
        .and_then(|()| stop_coordinator(&mut cluster));
    if outcome.is_err() {
        sites.iter_mut().for_each(|site| drop(site.agent.process.kill()));
        drop(cluster.coordinator.process.kill());
    }
    let checked = checks::check(&cluster.coordinator, &sites);
    let (found, mut faults) = checked.unwrap_or_else(|error| panic!("{error:#}, {outcome:?}"));
    faults.extend(outcome.err().map(|error| format!("{error:#}")));
    let has_disk = sites.iter().any(Site::has_disk);
    if !has_disk {
        println!("skipped: no disk was full, since none may be mounted here");
    }
    if length >= WHOLE_RUN {
        faults.extend(not_seen(&troubles, &found, has_disk));
    }
    let report = json!({
        "seconds": seconds, "seed": seed, "intervals": found.intervals, "closed": found.closed,
        "gaps_by_reason": found.gaps_by_reason, "unexplained": found.unexplained,
        "records_written": found.written, "records_read": found.read, "records_sent": found.sent,
        "alerts_stored": found.stored, "datagrams_not_read": found.datagrams_not_read,
        "pushes_answered": found.pushes_answered, "pushes_unsure": found.pushes_unsure,
        "files_rotated": found.rotated,
        "kills_agent": troubles.kills_agent, "kills_coordinator": troubles.kills_coordinator,
        "stops": troubles.stops, "floods": troubles.floods, "full_disks": troubles.full_disks,
        "spool_waits": found.spool_waits, "held": found.held, "folded": found.folded,
        "evicted": found.evicted, "recalls": found.recalls, "recalls_whole": found.recalls_whole,
        "recalls_with_tombstones": found.recalls_with_tombstones,
        "recalls_given_up": found.recalls_given_up, "recalls_refused": found.recalls_refused,
        "recalls_asked_again": found.recalls_asked_again,
        "fold_gap_ms_max": found.fold_gap_ms_max,
        "fold_gap_ms_max_with_troubles": found.fold_gap_ms_max_with_troubles,
        "fold_counts_compared": found.fold_counts_compared,
        "fold_counts_ended_by_kills": found.fold_counts_ended_by_kills,
        "fold_period_ms": holding::PERIOD.as_millis(), "starved_keys": found.starved_keys,
        "faults": faults,
    });
    tests::report::write("ledger", &report).unwrap();
    println!("{report:#}");
    if !faults.is_empty() {
        let kept = cluster.keep();
        panic!("its files are kept in {}: {faults:#?}", kept.display());
    }
    assert!(found.intervals > 0 && found.closed == found.intervals && found.unexplained == 0);
}

/// Returns what a run that is long enough must have had and did not: what was not tried holds nothing up.
fn not_seen(troubles: &Troubles, found: &checks::Found, has_disk: bool) -> Vec<String> {
    let counts = [
        ("an agent killed", troubles.kills_agent),
        ("a coordinator killed", troubles.kills_coordinator),
        ("an agent stopped", troubles.stops),
        ("a spool flooded", troubles.floods),
        ("a disk full", if has_disk { troubles.full_disks } else { 1 }),
        ("a file rotated", found.rotated),
        ("a record pushed", found.pushes_answered),
        ("a record evicted", found.evicted),
        ("a whole recall", found.recalls_whole),
        ("a recall with a tombstone", found.recalls_with_tombstones),
        ("a folded alert that stands for others", found.fold_counts_compared),
    ];
    let none = counts.into_iter().filter(|(_, count)| *count == 0);
    none.map(|(what, _)| format!("there was not once {what}")).collect()
}

/// Sets up two agents of one tenant, one with a small spool, one that listens; one of another tenant with a policy; and
/// one that reads what neither does.
fn sites(cluster: &Cluster) -> Result<Vec<Site>> {
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let mut sites = Vec::new();
    for (name, is_small) in [("quiet", false), ("flooded", true)] {
        let folder = cluster.folder().join("detectors").join(name);
        fs::create_dir_all(&folder)?;
        let loads = ["one", "two"]
            .map(|file| FileLoad::new(file, Shape::Mixed, folder.join(file).join("eve.json")));
        for load in &loads {
            fs::create_dir_all(load.path().parent().context("it was just joined")?)?;
        }
        let source = |load: &FileLoad| Source::new(load.source(), Kind::SuricataEve, load.path());
        let sources: Vec<Source> = loads.iter().map(source).collect();
        let agent = cluster.agent("acme", &sources)?;
        let mut text = fs::read_to_string(agent.process.config())?;
        let datagrams = if is_small {
            let bounds = "dir = \"spool\"\nmax_bytes = \"32MiB\"\nsegment_bytes = \"8MiB\"";
            text = text.replace("dir = \"spool\"", bounds);
            None
        } else {
            text.push_str(&format!(
                "[[source]]\nname = \"gateway\"\nkind = \"syslog\"\nlisten = \"udp://{port}\"\n"
            ));
            Some(Datagrams::new(port)?)
        };
        fs::write(agent.process.config(), text)?;
        sites.push(Site { datagrams, ..Site::new(agent, loads.into()) });
    }
    sites.push(holding::site(cluster)?);
    sites.push(collecting(cluster)?);
    for site in &sites {
        let config = site.agent.process.config();
        let text = fs::read_to_string(config)?;
        fs::write(config, format!("{text}[ledger]\ninterval = {INTERVAL:?}\n"))?;
    }
    Ok(sites)
}

/// Sets up an agent that reads all files of a pattern, a file that is copied away and emptied, and what is pushed.
fn collecting(cluster: &Cluster) -> Result<Site> {
    let folder = cluster.folder().join("detectors/collecting");
    let (spread, copied) = (folder.join("spread"), folder.join("copied/eve.json"));
    fs::create_dir_all(&spread)?;
    fs::create_dir_all(copied.parent().context("it was just joined")?)?;
    let mut loads = vec![FileLoad::new("copied", Shape::Mixed, copied.clone())];
    loads[0].rotation = Rotation::CopiedAndEmptied;
    let of_pattern = (0..SPREAD_FILES).map(|file| spread.join(format!("{file}.json")));
    loads.extend(of_pattern.map(|path| FileLoad::new("spread", Shape::Mixed, path)));
    let sources = [
        Source::new("copied", Kind::SuricataEve, copied),
        Source::new("spread", Kind::SuricataEve, spread.join("*.json")),
    ];
    let agent = cluster.agent("acme", &sources)?;
    let pushes = Pushes::new("pushed", &folder.join("token"))?;
    let text = fs::read_to_string(agent.process.config())?;
    fs::write(agent.process.config(), text + &pushes.to_toml())?;
    Ok(Site { pushes: Some(pushes), ..Site::new(agent, loads) })
}

/// Lets everything write while troubles come, then waits until all has arrived.
fn live(
    cluster: &mut Cluster,
    sites: &mut [Site],
    rng: &mut StdRng,
    length: Duration,
    troubles: &mut Troubles,
) -> Result<()> {
    cluster.coordinator.process.start()?;
    sites.iter_mut().try_for_each(|site| site.agent.process.start())?;
    // What was written and rotated away before an agent first looked is none of its business.
    for site in sites.iter() {
        eventually("an agent to look at its files", STOP_TIMEOUT, || site.agent.status())?;
    }
    thread::sleep(LOOKED); // and it has stored that there were none
    let (stop, flood) = (AtomicBool::new(false), AtomicBool::new(false));
    let work: Vec<(Load, StdRng)> = sites
        .iter()
        .flat_map(|site| {
            let files = site.files.iter().cloned().map(Load::File);
            let datagrams = site.datagrams.clone().map(Load::Datagrams);
            files.chain(datagrams).chain(site.pushes.clone().map(Load::Pushes))
        })
        .map(|load| (load, StdRng::seed_from_u64(rng.random())))
        .collect();
    thread::scope(|scope| {
        let (stop, flood) = (&stop, &flood);
        let is_flooded = |index: usize| (3..5).contains(&index); // the files of the second agent
        let writers: Vec<_> = work
            .into_iter()
            .enumerate()
            .map(|(index, (load, mut rng))| {
                let flood = is_flooded(index).then_some(flood);
                scope.spawn(move || load.run(&mut rng, stop, flood))
            })
            .collect();
        let troubled = trouble(cluster, sites, rng, length, flood, troubles);
        stop.store(true, Relaxed);
        for writer in writers {
            writer.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        }
        troubled
    })?;
    // An agent that lost several links in a row waits long before it dials again.
    for site in sites.iter_mut() {
        site.kill(Duration::ZERO, troubles)?;
    }
    sites.iter_mut().try_for_each(wait_until_stored)?;
    for Site { files, holding, .. } in sites.iter_mut() {
        holding.as_mut().map_or(Ok(()), |holding| holding.finish(cluster, files))?;
    }
    Ok(())
}

/// Makes trouble for `length`. In the end all run.
fn trouble(
    cluster: &mut Cluster,
    sites: &mut [Site],
    rng: &mut StdRng,
    length: Duration,
    flood: &AtomicBool,
    troubles: &mut Troubles,
) -> Result<()> {
    let end = Instant::now() + length;
    let mut next = 0;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(rng.random_range(200..1_500)));
        let index = rng.random_range(0..sites.len());
        let site = &mut sites[index];
        let begun_at = holding::now();
        match next % 6 {
            0 | 3 => site.kill(Duration::from_millis(rng.random_range(0..500)), troubles)?,
            1 => {
                cluster.coordinator.process.kill().context("kill the coordinator")?;
                troubles.kills_coordinator += 1;
                thread::sleep(Duration::from_millis(rng.random_range(0..1_000)));
                cluster.coordinator.process.start()?;
            }
            2 => {
                let status = site.agent.process.terminate(STOP_TIMEOUT)?;
                // With a backlog it does not drain within its grace, and says so.
                ensure!(matches!(status.code(), Some(0 | 3)), "an agent stops with {status}");
                troubles.stops += 1;
                site.agent.process.start()?;
            }
            4 => {
                // The coordinator is away until a spool is full.
                let status = cluster.coordinator.process.terminate(STOP_TIMEOUT)?;
                // In the middle of the load it may take longer to end than its grace; it says so, too.
                ensure!(
                    matches!(status.code(), Some(0 | 3)),
                    "the coordinator stops with {status}"
                );
                // One after the other: what is behind all of them must arrive in the end.
                let is_behind = behind_bytes(sites)? > BEHIND_BYTES_MAX;
                flood.store(!is_behind, Relaxed);
                thread::sleep(Duration::from_secs(4));
                flood.store(false, Relaxed);
                troubles.floods += u64::from(!is_behind);
                cluster.coordinator.process.start()?;
            }
            _ => {
                for Site { files, holding, .. } in sites.iter_mut() {
                    let Some(holding) = holding else { continue };
                    holding.ask(cluster, files, rng);
                    troubles.full_disks += u64::from(holding.fill_disk()?);
                }
            }
        }
        // While an agent does not run, or its disk is full, nothing of it can surface.
        match next % 6 {
            0 | 2 | 3 => sites[index].note_trouble(begun_at),
            5 => sites.iter_mut().for_each(|site| site.note_trouble(begun_at)),
            _ => {}
        }
        next += 1;
    }
    Ok(())
}

/// Returns how much of the files is not read, as far as the agents have said.
fn behind_bytes(sites: &[Site]) -> Result<u64> {
    let mut behind = 0;
    for site in sites {
        let sources = site.agent.status()?.map(|status| status.sources).unwrap_or_default();
        behind += sources.iter().map(|source| source.behind_bytes).sum::<u64>();
    }
    Ok(behind)
}

/// Waits until the agent says that it has read its files to their ends and that all of it is acked.
fn wait_until_stored(site: &mut Site) -> Result<()> {
    let written_at = coordinator::clock::Clock::wall().now();
    let (mut last, mut since) = (None, None);
    let waited = eventually("an agent's alerts to be acked", ARRIVAL_TIMEOUT, || {
        ensure!(site.agent.process.is_running()?, "an agent has ended");
        let Some(status) = site.agent.status()? else { return Ok(None) };
        let is_fresh =
            status.written_at > written_at && Some(status.pid) == site.agent.process.id();
        let mut is_read = true;
        for file in &site.files {
            let source = status.sources.iter().find(|source| source.name == file.source());
            let source = source.with_context(|| format!("no source {}", file.source()))?;
            let len = fs::metadata(file.path())?.len();
            is_read &= match source.files {
                Some(files) => {
                    files.known >= SPREAD_FILES as u64
                        && files.waiting == 0
                        && source.behind_bytes == 0
                }
                None => len == 0 || source.offset == len,
            };
        }
        let is_acked = status.lanes.iter().all(|lane| lane.waiting == 0);
        last = Some(status);
        // An agent says it before it has looked through the files of a pattern: so it must say it for a while.
        if !(is_fresh && is_read && is_acked) {
            since = None;
            return Ok(None);
        }
        let since = *since.get_or_insert_with(Instant::now);
        Ok((since.elapsed() > STILL).then_some(()))
    });
    waited.with_context(|| format!("{last:#?}"))
}

/// Stops the agents in order: they close their last interval and wait until it is acked.
fn stop_agents(sites: &mut [Site]) -> Result<()> {
    for site in sites.iter_mut() {
        let status = site.agent.process.terminate(STOP_TIMEOUT)?;
        ensure!(status.success(), "an agent stops with {status}");
    }
    Ok(())
}

/// Checks that `signalbox ledger` shows each tenant as many records as were written, as far as that is certain.
fn shown(cluster: &Cluster, sites: &[Site]) -> Result<()> {
    for tenant in ["acme", holding::TENANT] {
        let shown = cluster.cli(&["ledger", tenant])?;
        let coverage = shown["coverage"]["items"].as_array().context("coverage")?;
        for site in sites.iter().filter(|site| site.agent.tenant.as_str() == tenant) {
            for file in &site.files {
                let (agent, source) = (site.agent.id.to_string(), file.source());
                let row = |row: &&Value| row["agent"] == agent && row["source"] == source;
                // A source stands in several rows where there are many intervals: they add up.
                let rows: Vec<&Value> = coverage.iter().filter(row).collect();
                let read: u64 = rows.iter().filter_map(|row| row["read"].as_u64()).sum();
                let of_source = site.files.iter().filter(|file| file.source() == source);
                let written: u64 = of_source.map(FileLoad::written).sum();
                ensure!(read == written, "{source}: {written} were written, shown is {rows:?}");
            }
        }
    }
    Ok(())
}

fn stop_coordinator(cluster: &mut Cluster) -> Result<()> {
    let status = cluster.coordinator.process.terminate(STOP_TIMEOUT)?;
    ensure!(status.success(), "the coordinator stops with {status}");
    Ok(())
}
