//! What an agent's policy holds back comes back byte for byte when somebody asks for it, and what it had to let go of
//! is told: with the shipped programs, over real files, while the agent is killed in between.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, ensure};
use shared::time::Timestamp;
use tests::cluster::{Agent, Cluster, Kind, Recalled, Source, eventually, records_of};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Id of the rule that holds, and of those alerts of which it holds all but a few samples.
pub(crate) const RULE: &str = "11111111-2222-4333-8444-555555555555";
/// Its policy; the date on which it ends, soon enough to be taken, is put in.
pub(crate) const POLICY: &str = "policy: noise
version: 1
owner: soc@mssp.example
---
title: Noise that the customer knows
id: 11111111-2222-4333-8444-555555555555
status: stable
logsource:
  product: suricata
detection:
  noise:
    finding_info.analytic.uid: '7'
  condition: noise
level: low
signalbox:
  action: hold
  expires: ENDS
  expected: 1000000/s
  audit: 1/200
";

struct World {
    cluster: Cluster,
    agent: Agent,
    eve: PathBuf,
    written: Vec<String>,
}

impl World {
    fn new() -> Result<Self> {
        let mut cluster = Cluster::new()?;
        let eve = cluster.folder().join("eve.json");
        fs::write(&eve, "")?;
        let mut agent = cluster.agent("acme", &[Source::new("eve", Kind::SuricataEve, &eve)])?;
        let policy = cluster.folder().join("policy.yml");
        fs::write(&policy, POLICY.replace("ENDS", &in_a_month()))?;
        let text =
            format!("[held]\ndir = \"held\"\nmax_bytes = \"16MiB\"\n[policy]\npath = {policy:?}\n");
        File::options().append(true).open(agent.process.config())?.write_all(text.as_bytes())?;
        cluster.coordinator.process.start()?;
        cluster.coordinator.wait_until_ready(TIMEOUT)?;
        agent.process.start()?;
        Ok(Self { cluster, agent, eve, written: Vec::new() })
    }

    /// Has the detector write `count` records that the rule holds, with so many letters that hardly shrink.
    fn write(&mut self, count: usize, letters: usize) -> Result<()> {
        let mut text = String::new();
        for _ in 0..count {
            let number = self.written.len();
            let random = (0..letters).map(|_| char::from(b'!' + rand::random_range(0..=90_u8)));
            let noise: String =
                random.map(|c| if c == '\\' || c == '"' { '.' } else { c }).collect();
            let record = format!(
                "{{\"timestamp\":\"2025-01-01T00:00:00.{:06}+0000\",\"event_type\":\"alert\",\
                 \"src_ip\":\"10.0.0.1\",\"flow_id\":{number},\"noise\":\"{noise}\",\
                 \"alert\":{{\"signature_id\":7,\"signature\":\"noise\",\"severity\":3}}}}",
                number % 1_000_000
            );
            text.push_str(&record);
            text.push('\n');
            self.written.push(record);
        }
        File::options().append(true).open(&self.eve)?.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Waits until all that was written is held, evicted or was sent as a sample.
    fn wait_until_held(&self, samples: impl Fn() -> Result<usize>) -> Result<()> {
        eventually("all to be held", TIMEOUT, || {
            let Some(held) = self.agent.status()?.and_then(|status| status.held) else {
                return Ok(None);
            };
            let told = usize::try_from(held.records + held.evicted)? + samples()?;
            ensure!(told <= self.written.len(), "L3: {told} of {}", self.written.len());
            Ok((told == self.written.len()).then_some(()))
        })
    }

    /// Returns the records that were sent although the rule holds their like.
    fn samples(&self) -> Result<Vec<String>> {
        let found = self.cluster.cli(&["search", "--tenant", "acme", "--record", "--all"])?;
        records_of(&found["items"])
    }

    fn recall(&self) -> Result<Recalled> {
        self.cluster.recalled(&self.cluster.ask_recall("acme", RULE, None)?)
    }
}

/// Returns the day in a month's time.
#[expect(clippy::disallowed_methods, reason = "a policy's end is compared with the agent's clock")]
pub(crate) fn in_a_month() -> String {
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let at = std::time::SystemTime::now() + MONTH;
    let at = at.duration_since(std::time::UNIX_EPOCH).expect("clocks are past 1970");
    let text = Timestamp::from_ms(at.as_millis().try_into().expect("a time of today")).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Checks that what came, the samples and the tombstone are all that was written, and nothing twice (L3, L4).
fn check(world: &World, recalled: &Recalled, samples: &[String]) -> Result<u64> {
    let Recalled { details, records: came } = recalled;
    let written: BTreeSet<&String> = world.written.iter().collect();
    let told: BTreeSet<&String> = came.iter().chain(samples).collect();
    ensure!(told.len() == came.len() + samples.len(), "L3: nothing comes twice");
    ensure!(told.is_subset(&written), "byte for byte");
    let (evicted, records) = (recalled.count("evicted")?, recalled.count("records")?);
    ensure!(records == came.len() as u64, "{records} of {}", came.len());
    ensure!(recalled.count("lost")? == 0, "nothing was damaged");
    let missing = (written.len() - told.len()) as u64;
    ensure!(missing == evicted, "L4: {missing} are missing, {evicted} were evicted: {details}");
    ensure!(details["recall"]["is_complete"] == (evicted == 0), "{details}");
    Ok(evicted)
}

#[test]
fn what_is_held_back_comes_back_byte_for_byte_and_what_was_evicted_is_told() -> Result<()> {
    let mut world = World::new()?;
    for _ in 0..4 {
        world.write(600, 200)?;
        world.agent.process.kill()?; // wherever it is
        world.agent.process.start()?;
    }
    world.wait_until_held(|| Ok(world.samples()?.len()))?;
    let recalled = world.recall()?;
    let samples = world.samples()?;
    ensure!(samples.len() < 100 && recalled.records.len() > 2_000, "{} samples", samples.len());
    ensure!(check(&world, &recalled, &samples)? == 0, "there was room for all");

    world.write(20_000, 1_400)?;
    world.wait_until_held(|| Ok(world.samples()?.len()))?;
    world.agent.process.kill()?;
    world.agent.process.start()?;
    let recalled = world.recall()?;
    let evicted = check(&world, &recalled, &world.samples()?)?;
    ensure!(evicted > 2_000, "the ring has room for less than what was written: {evicted}");
    let tombstone = &recalled.details["answers"][0]["evicted"];
    ensure!(tombstone["from"] == "2025-01-01T00:00:00.000Z", "{tombstone}");
    let journal = world.cluster.cli(&["journal", "--tenant", "acme", "--limit", "50"])?.to_string();
    ensure!(journal.contains("recall_asked") && journal.contains("recall_answered"), "{journal}");
    for (program, errors) in [
        ("agent", world.agent.process.errors()?),
        ("coordinator", world.cluster.coordinator.process.errors()?),
    ] {
        ensure!(errors.is_empty(), "{program}: {errors:#?}");
    }
    Ok(())
}
