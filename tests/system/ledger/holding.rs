//! An agent whose policy holds back and folds, on a disk that is small: what it does not send must come when somebody
//! asks for it, or a tombstone must say how much is gone.
//!
//! It reads noise, which a rule holds back and its ring has no room for, and an attack that never ends, which a rule
//! folds. While the troubles go on it is asked for both, and in the end for all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, rngs::StdRng};
use shared::time::Timestamp;
use tests::cluster::{Cluster, Kind, Recalled, Source, eventually};

use super::{
    ARRIVAL_TIMEOUT, Site,
    load::{FileLoad, Shape, time_of},
};
use crate::recall::{POLICY, RULE, in_a_month};

pub(super) const TENANT: &str = "globex";
/// How long the like of an attack's alert that was let through are folded at most: the shortest that may be.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
/// Size of the disk: the agent's spool and rings fit, and what else is put there takes all that is left.
const DISK_BYTES: u64 = 96 << 20;
/// How long the disk is full.
const FULL_FOR: Duration = Duration::from_secs(3);
/// How long an agent takes at most from its start, or from room on its disk, until it reads again.
const RESTART_MAX: Duration = Duration::from_secs(1);
/// Most recalls before the last ones: each is stored, and a tenant has 256 of them in three days.
const RECALLS_MAX: usize = 100;
/// Records that a recall asks for by their time.
const WINDOW: u64 = 2_000;
const FOLD_RULE: &str = "11111111-2222-4333-8444-000000000008";
/// What the policy says besides that the noise is held; the date on which it ends is put in.
const FOLD_POLICY: &str = "---
title: An attack that comes again and again
id: 11111111-2222-4333-8444-000000000008
status: stable
logsource:
  product: suricata
detection:
  attack:
    finding_info.analytic.uid: '8'
  condition: attack
level: low
signalbox:
  action: fold
  expires: ENDS
  expected: 1000000/s
  by: [src_ip]
  period: 10s
";

/// What the agent with the policy was asked for, and its disk.
#[derive(Debug, Default)]
pub(super) struct Holding {
    disk: Option<SmallDisk>,
    asked: Vec<Asked>,
    /// From when until when the agent did not run, or had no room on its disk.
    pub(super) troubles: Vec<(Timestamp, Timestamp)>,
    /// Recalls that the coordinator did not take, because it was just being started.
    pub(super) refused: u64,
    /// Recalls that were asked for anew in the end, as an analyst would: they had broken off so often that they paused.
    pub(super) asked_again: u64,
    /// What came, once all is over.
    pub(super) answers: Vec<Answer>,
}

/// A recall that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    id: String,
    shape: Shape,
    /// From which number on, and before which.
    window: Option<(u64, u64)>,
    is_last: bool,
}

/// What came of a recall.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) shape: Shape,
    pub(super) window: Option<(u64, u64)>,
    /// Whether it was asked for when all was over.
    pub(super) is_last: bool,
    /// Whether the agent answered, and not broke off too often.
    pub(super) is_answered: bool,
    pub(super) is_complete: bool,
    /// Whether a tombstone says when the first and the last happened that are gone.
    pub(super) has_tombstone: bool,
    /// Numbers of the records that came, as they came.
    pub(super) numbers: Vec<u64>,
    /// Records that came and that nobody wrote.
    pub(super) strange: u64,
    pub(super) evicted: u64,
    pub(super) lost: u64,
}

impl Shape {
    fn rule(self) -> &'static str {
        if self == Self::Noise { RULE } else { FOLD_RULE }
    }
}

/// Sets up the agent.
pub(super) fn site(cluster: &Cluster) -> Result<Site> {
    let folder = cluster.folder().join("detectors/holding");
    let loads = [("one", Shape::Noise), ("two", Shape::Attack)];
    let loads =
        loads.map(|(name, shape)| FileLoad::new(name, shape, folder.join(format!("{name}.json"))));
    fs::create_dir_all(&folder)?;
    let sources =
        loads.each_ref().map(|load| Source::new(load.source(), Kind::SuricataEve, load.path()));
    let mut agent = cluster.agent(TENANT, &sources)?;
    let disk = SmallDisk::mount(&cluster.folder().join("small-disk"))?;
    if let Some(disk) = &disk {
        agent.spool = disk.path.join("spool");
    }
    let (spool, held) = (agent.spool.clone(), agent.spool.with_file_name("held"));
    let policy = cluster.folder().join("policy.yml");
    fs::write(&policy, [POLICY, FOLD_POLICY].concat().replace("ENDS", &in_a_month()))?;
    let text = fs::read_to_string(agent.process.config())?;
    let bounds = format!("dir = {spool:?}\nmax_bytes = \"32MiB\"\nsegment_bytes = \"8MiB\"");
    let mut text = text.replace("dir = \"spool\"", &bounds);
    text.push_str(&format!(
        "[held]\ndir = {held:?}\nmax_bytes = \"16MiB\"\nfolded_max_bytes = \"16MiB\"\n\
         [policy]\npath = {policy:?}\n"
    ));
    fs::write(agent.process.config(), text)?;
    let holding = Some(Holding { disk, ..Holding::default() });
    Ok(Site { holding, ..Site::new(agent, loads.into()) })
}

impl Holding {
    /// Asks for what is held or folded, all of it or what happened within two seconds.
    pub(super) fn ask(&mut self, cluster: &Cluster, files: &[FileLoad], rng: &mut StdRng) {
        if self.asked.len() >= RECALLS_MAX {
            return;
        }
        let file = &files[rng.random_range(0..files.len())];
        let written = file.written();
        let window = rng.random_bool(0.5).then(|| {
            let from = rng.random_range(0..=written.saturating_sub(WINDOW));
            (from, from + WINDOW)
        });
        match self.ask_for(cluster, file.shape(), window, false) {
            Ok(()) => {}
            Err(_) => self.refused += 1,
        }
    }

    fn ask_for(
        &mut self,
        cluster: &Cluster,
        shape: Shape,
        window: Option<(u64, u64)>,
        is_last: bool,
    ) -> Result<()> {
        let times = window.map(|(from, until)| (time_of(from), time_of(until)));
        let times = times.map(|(from, until)| (from.to_string(), until.to_string()));
        let texts = times.as_ref().map(|(from, until)| (from.as_str(), until.as_str()));
        let id = cluster.ask_recall(TENANT, shape.rule(), texts)?;
        self.asked.push(Asked { id, shape, window, is_last });
        Ok(())
    }

    /// Asks anew for what pauses, which may take hours: the agent is there now.
    fn ask_again(&mut self, cluster: &Cluster) -> Result<()> {
        for asked in std::mem::take(&mut self.asked) {
            if cluster.is_recall_paused(&asked.id)? {
                self.ask_for(cluster, asked.shape, asked.window, asked.is_last)?;
                self.asked_again += 1;
            } else {
                self.asked.push(asked);
            }
        }
        Ok(())
    }

    /// Asks for all that was not sent, now that nothing is written any more, and takes in what came of each recall.
    pub(super) fn finish(&mut self, cluster: &Cluster, files: &[FileLoad]) -> Result<()> {
        self.ask_again(cluster)?;
        for file in files {
            let half = file.written() / 2;
            self.ask_for(cluster, file.shape(), None, true)?;
            self.ask_for(cluster, file.shape(), Some((half, half + WINDOW)), true)?;
        }
        for asked in std::mem::take(&mut self.asked) {
            let found = cluster.recalled(&asked.id).with_context(|| format!("{asked:?}"))?;
            self.answers.push(Answer::of(&asked, &found)?);
        }
        Ok(())
    }

    /// Tells whether the agent has a small disk.
    pub(super) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Has the disk be full for a while; false where there is none that can be filled, because nobody may mount one.
    pub(super) fn fill_disk(&self) -> Result<bool> {
        let Some(disk) = &self.disk else { return Ok(false) };
        disk.fill(FULL_FOR)?;
        Ok(true)
    }
}

impl Answer {
    fn of(asked: &Asked, found: &Recalled) -> Result<Self> {
        let answers = found.details["answers"].as_array().context("answers")?;
        let [answer] = answers.as_slice() else {
            anyhow::bail!("one agent is asked: {}", found.details);
        };
        ensure!(found.count("records")? == found.records.len() as u64, "{}", found.details);
        let numbers: Vec<Option<u64>> =
            found.records.iter().map(|record| asked.shape.number_of(record)).collect();
        Ok(Self {
            shape: asked.shape,
            window: asked.window,
            is_last: asked.is_last,
            is_answered: answer["state"] == "answered",
            is_complete: answer["is_complete"] == true,
            has_tombstone: answer["evicted"]["evicted_at"].is_string(),
            strange: numbers.iter().filter(|number| number.is_none()).count() as u64,
            numbers: numbers.into_iter().flatten().collect(),
            evicted: found.count("evicted")?,
            lost: found.count("lost")?,
        })
    }
}

/// Returns the machine's time.
pub(super) fn now() -> Timestamp {
    coordinator::clock::Clock::wall().now()
}

/// Returns how many milliseconds lie between the two, without those in which there was trouble; a restart has the agent
/// begin anew, and takes it a moment.
pub(super) fn ms_without(
    troubles: &[(Timestamp, Timestamp)],
    from: Timestamp,
    until: Timestamp,
) -> u64 {
    let (from, until) = (from.as_ms(), until.as_ms());
    let moment = u64::try_from(RESTART_MAX.as_millis()).unwrap_or(u64::MAX);
    let (mut counted, mut at) = (0, from);
    for (begun, ended) in troubles {
        let (begun, ended) = (begun.as_ms().clamp(at, until.max(at)), ended.as_ms() + moment);
        counted += begun - at;
        at = ended.clamp(begun, until.max(begun));
    }
    counted + until.saturating_sub(at)
}

/// A disk of its own for an agent, as memory that is mounted; only an administrator can make one.
#[derive(Debug)]
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(path)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES},mode=0700"), "signalbox"]);
        let is_mounted = command.arg(path).output().is_ok_and(|output| output.status.success());
        Ok(is_mounted.then(|| Self { path: path.to_owned() }))
    }

    /// Takes all the room there is, for so long.
    fn fill(&self, time: Duration) -> Result<()> {
        let path = self.path.join("ballast");
        let mut file = File::create(&path)?;
        let (zeros, mut outcome) = (vec![0; 1 << 16], Ok(()));
        while outcome.is_ok() {
            outcome = file.write_all(&zeros);
        }
        let error = outcome.expect_err("the disk is small");
        ensure!(error.kind() == io::ErrorKind::StorageFull, "{error}");
        thread::sleep(time);
        fs::remove_file(path)?;
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = || {
            let output = Command::new("umount").arg(&self.path).output()?;
            Ok(output.status.success().then_some(()))
        };
        // What was killed a moment ago may still hold it. Memory that stays mounted is seen by who looks.
        drop(eventually("the disk to be unmounted", ARRIVAL_TIMEOUT / 60, unmount));
    }
}
