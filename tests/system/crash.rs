//! Agents read detectors' files while they and the coordinator are killed with SIGKILL at random moments: in the end
//! every alert is stored once, in order within its lane.
//!
//! Two tenants have one agent each, with files that grow in bursts and in parts of lines, are rotated by renaming and
//! by copying and truncating. Nobody waits for anybody: a program may be killed while it starts, and another while
//! the first is gone. When all is written the kills end, and all must arrive. What is then in the store is compared
//! byte for byte with what was written.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `RUNS` | how many runs; 10 where it is not set |
//! | `CRASH_SEED` | seed of the first run; by chance where it is not set, and then one run unless `RUNS` says more |
//! | `SIGNALBOX_DATA` | folder of real alerts, `../shared/data` by default; where it is, the last run replays them |
//!
//! A seed fixes what is written and the pauses between kills. What a program was doing when it was killed is up to the
//! machine.
//!
//! Not here: power failures, which lose what was written and not synced; those are the simulation's.
#![expect(clippy::disallowed_methods, reason = "the moments of kills are the machine's time")]

mod checks;
mod detector;
mod inputs;

use std::{
    fs::{self, File},
    panic,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tests::cluster::{Agent, Cluster, Source, eventually};

use self::{
    checks::Found,
    detector::Detector,
    inputs::{Input, Network},
};

const RUNS_DEFAULT: u64 = 10;
/// After so many failures the rest says nothing new.
const FAILURES_MAX: usize = 5;
/// Time within which all must have arrived after the last kill; many times what it takes, but less than the
/// [`shared::limits::ACK_TIMEOUT`] after which an agent gives up a connection: it must learn before that its
/// coordinator is another process.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(25);
/// More than the grace of either program.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How often each was killed.
#[derive(Clone, Copy, Debug, Default)]
struct Kills {
    agent: u64,
    coordinator: u64,
}

/// An agent, the files that it reads, and what writes them.
struct Site {
    agent: Agent,
    detectors: Vec<Detector>,
    /// How often the coordinator was killed since the agent was started last.
    lost_links: u32,
}

#[test]
fn no_kill_loses_repeats_or_reorders_an_alert() {
    let first = number("CRASH_SEED");
    let runs = number("RUNS").unwrap_or(if first.is_some() { 1 } else { RUNS_DEFAULT });
    let first = first.unwrap_or_else(|| rand::random_range(0..1_000_000_000));
    let network = Network::find();
    if network.is_none() {
        println!("no run replays a whole network: there is no folder of real alert data");
    }
    let begun = Instant::now();
    let (mut total, mut kills, mut done) = (Found::default(), Kills::default(), 0_u64);
    let mut failures = Vec::new();
    for index in 0..runs {
        let seed = first.wrapping_add(index);
        let network = network.as_ref().filter(|_| index + 1 == runs && runs > 1);
        let run_begun = Instant::now();
        let outcome = run(seed, network, &mut total, &mut kills);
        done += 1;
        let seconds = run_begun.elapsed().as_secs_f32();
        println!(
            "run {}/{runs}, seed {seed}: {seconds:.1} s, so far {kills:?}, {total:?}",
            index + 1
        );
        if let Err(error) = outcome {
            println!("seed {seed} fails; choose the same moments again with:");
            println!("  CRASH_SEED={seed} RUNS=1 make crash");
            println!("{error:#}");
            failures.push(json!({ "seed": seed, "message": format!("{error:#}") }));
        }
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    let report = json!({
        "runs": done, "first_seed": first, "records": total.records,
        "lost": total.lost, "doubled": total.doubled, "out_of_order": total.out_of_order,
        "foreign": total.foreign, "gaps_reported": total.gaps,
        "kills_agent": kills.agent, "kills_coordinator": kills.coordinator,
        "seconds": begun.elapsed().as_secs(), "whole_network": network.is_some() && runs > 1,
        "failures": failures.len(), "failed": failures,
    });
    tests::report::write("crash", &report).unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(kills.agent > 0 && kills.coordinator > 0, "both were killed: {kills:?}");
}

/// Runs once; adds to the totals whatever came of it. The files of a failed run are kept.
fn run(seed: u64, network: Option<&Network>, total: &mut Found, kills: &mut Kills) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::new()?;
    let mut sites = sites(&cluster, network, &mut rng)?;
    let outcome = live(&mut cluster, &mut sites, &mut rng, kills)
        .and_then(|()| stop(&mut cluster, &mut sites))
        .context("not all has arrived");
    // What is in the store says more than why it was not all.
    if outcome.is_err() {
        sites.iter_mut().for_each(|site| drop(site.agent.process.kill()));
        drop(cluster.coordinator.process.kill());
    }
    let checked = checks::check(&cluster.coordinator, &sites);
    let checked = checked.and_then(|(found, faults)| {
        total.add(found);
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        ensure!(found.is_clean(), "{found:?}");
        Ok(())
    });
    let outcome = match (outcome, checked) {
        (Err(first), Err(second)) => Err(first.context(format!("{second:#}"))),
        (first, second) => first.and(second),
    };
    outcome.map_err(|error| {
        let kept = cluster.keep();
        error.context(format!("its files are kept in {}", kept.display()))
    })
}

/// Sets up two tenants' agents with their files.
fn sites(cluster: &Cluster, network: Option<&Network>, rng: &mut StdRng) -> Result<Vec<Site>> {
    let mut sites = Vec::new();
    for tenant in ["acme", "globex"] {
        let inputs: Vec<Input> = match network {
            Some(network) if tenant == "acme" => network.inputs()?,
            _ => inputs::recorded(tenant)?,
        };
        let folder = cluster.folder().join("detectors").join(tenant);
        fs::create_dir_all(&folder)?;
        let path_of = |input: &Input| folder.join(input.name).join("events.json");
        let sources: Vec<Source> =
            inputs.iter().map(|it| Source::new(it.name, it.kind.clone(), path_of(it))).collect();
        let agent = cluster.agent(tenant, &sources)?;
        let mut detectors = Vec::new();
        for input in inputs {
            let path = path_of(&input);
            fs::create_dir_all(path.parent().context("it was just joined")?)?;
            File::create(&path)?; // is there before the agent begins
            detectors.push(Detector::new(path, input.records, agent.status_path(), rng));
        }
        sites.push(Site { agent, detectors, lost_links: 0 });
    }
    Ok(sites)
}

/// Lets the detectors write while programs are killed, then waits until all has arrived.
fn live(
    cluster: &mut Cluster,
    sites: &mut [Site],
    rng: &mut StdRng,
    kills: &mut Kills,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let work: Vec<(Detector, StdRng)> = sites
        .iter()
        .flat_map(|site| &site.detectors)
        .map(|detector| (detector.clone(), StdRng::seed_from_u64(rng.random())))
        .collect();
    thread::scope(|scope| {
        let stop = &stop;
        let writers: Vec<_> = work
            .into_iter()
            .map(|(detector, mut rng)| scope.spawn(move || detector.write(&mut rng, stop)))
            .collect();
        let is_written = || writers.iter().all(thread::ScopedJoinHandle::is_finished);
        let killed = kill_at_random(cluster, sites, rng, kills, is_written);
        // A failed run need not be written to its end.
        stop.store(killed.is_err(), Relaxed);
        for writer in writers {
            writer.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        }
        killed
    })?;
    for site in sites.iter_mut() {
        wait_until_stored(site)?;
    }
    Ok(())
}

/// Kills and restarts programs until all is written. In the end all run.
fn kill_at_random(
    cluster: &mut Cluster,
    sites: &mut [Site],
    rng: &mut StdRng,
    kills: &mut Kills,
    is_written: impl Fn() -> bool,
) -> Result<()> {
    cluster.coordinator.process.start()?;
    sites.iter_mut().try_for_each(|site| site.agent.process.start())?;
    loop {
        // One in four hits a program that has hardly started.
        let wait = if rng.random_ratio(1, 4) { 0..60 } else { 60..900 };
        let until = Instant::now() + Duration::from_millis(rng.random_range(wait));
        while Instant::now() < until && !is_written() {
            thread::sleep(Duration::from_millis(1));
        }
        if is_written() {
            break;
        }
        let victims = rng.random_range(1..8_u8);
        let pause = Duration::from_millis(rng.random_range(0..250));
        if victims & 4 != 0 {
            cluster.coordinator.process.kill().context("kill the coordinator")?;
            kills.coordinator += 1;
            sites.iter_mut().for_each(|site| site.lost_links += 1);
        }
        let is_hit = |index: usize| victims & 1 << index != 0;
        for (index, site) in sites.iter_mut().enumerate().filter(|(index, _)| is_hit(*index)) {
            site.agent.process.kill().with_context(|| format!("kill agent {index}"))?;
            kills.agent += 1;
            site.lost_links = 0;
        }
        thread::sleep(pause);
        let agents_first = rng.random_bool(0.5);
        if victims & 4 != 0 && !agents_first {
            cluster.coordinator.process.start()?;
        }
        for (_, site) in sites.iter_mut().enumerate().filter(|(index, _)| is_hit(*index)) {
            site.agent.process.start()?;
        }
        if victims & 4 != 0 && agents_first {
            cluster.coordinator.process.start()?;
        }
    }
    // An agent that lost several links in a row waits longer and longer before it dials again; the last kill spares
    // the test the wait.
    for site in sites.iter_mut().filter(|site| site.lost_links > 1) {
        site.agent.process.kill()?;
        kills.agent += 1;
        site.agent.process.start()?;
    }
    Ok(())
}

/// Waits until the agent says that it has read its files to their ends and that all of it is acked.
fn wait_until_stored(site: &mut Site) -> Result<()> {
    let written_at = coordinator::clock::Clock::wall().now();
    let mut last = None;
    let waited = eventually("an agent's alerts to be acked", ARRIVAL_TIMEOUT, || {
        ensure!(site.agent.process.is_running()?, "the agent of {} has ended", site.agent.tenant);
        let Some(status) = site.agent.status()? else { return Ok(None) };
        let is_fresh =
            status.written_at > written_at && Some(status.pid) == site.agent.process.id();
        let mut is_read = status.sources.len() == site.detectors.len();
        for (source, detector) in status.sources.iter().zip(&site.detectors) {
            // After a rotation the agent stays with the old file until the new one has something.
            let len = fs::metadata(detector.path())?.len();
            is_read &= len == 0 || source.offset == len;
        }
        let is_acked = status.lanes.iter().all(|lane| lane.waiting == 0);
        last = Some(status);
        Ok((is_fresh && is_read && is_acked).then_some(()))
    });
    waited.with_context(|| format!("{last:#?}"))
}

/// Stops all in order: agents that have nothing left say so, and the coordinator closes its store.
fn stop(cluster: &mut Cluster, sites: &mut [Site]) -> Result<()> {
    for site in sites.iter_mut() {
        let status = site.agent.process.terminate(STOP_TIMEOUT)?;
        ensure!(status.success(), "the agent of {} stops with {status}", site.agent.tenant);
    }
    let status = cluster.coordinator.process.terminate(STOP_TIMEOUT)?;
    ensure!(status.success(), "the coordinator stops with {status}");
    Ok(())
}

/// Returns the number in an environment variable, if it is set.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
