//! A detector: writes its records to a file in bursts and in parts of lines, and has it rotated.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::Result;
use rand::{RngExt as _, rngs::StdRng};

/// Bursts of one detector; with the pauses between them they take some three seconds.
const BURSTS: usize = 250;
const PAUSE_MS_MAX: u64 = 22;

/// One line as a detector writes it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Without the newline. No other record of the source is equal.
    pub(super) bytes: Vec<u8>,
    /// Whether an agent makes an alert of it: most of Suricata's events are none.
    pub(super) is_alert: bool,
}

/// What one file gets, and when it is rotated.
#[derive(Clone, Debug)]
pub(super) struct Detector {
    path: PathBuf,
    records: Vec<Record>,
    /// Before which record the file is renamed.
    rename_at: usize,
    /// Before which record it is copied and truncated.
    copy_at: usize,
    /// What is there once the agent has stored where it begins. Before that it promises nothing: which of the rotated
    /// files it ought to read nobody has told it, so none is rotated.
    begun: PathBuf,
}

impl Detector {
    pub(super) fn new(
        path: PathBuf,
        records: Vec<Record>,
        begun: PathBuf,
        rng: &mut StdRng,
    ) -> Self {
        let count = records.len().max(8);
        let (early, late) =
            (rng.random_range(count / 8..count / 2), rng.random_range(count * 5 / 8..count));
        let (rename_at, copy_at) = if rng.random_bool(0.5) { (early, late) } else { (late, early) };
        Self { path, records, rename_at, copy_at, begun }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the records of which alerts are made, in the order in which they are written.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().filter(|record| record.is_alert).map(|record| record.bytes.as_slice())
    }

    /// Writes everything, unless `stop` is set before.
    pub(super) fn write(&self, rng: &mut StdRng, stop: &AtomicBool) -> Result<()> {
        let mut file = open(&self.path)?;
        let burst_max = (2 * self.records.len() / BURSTS).max(1);
        let mut at = 0;
        while at < self.records.len() && !stop.load(Relaxed) {
            let end = (at + rng.random_range(1..=burst_max)).min(self.records.len());
            let is_within = |point: usize| (at..end).contains(&point);
            let bytes = lines(&self.records[at..end]);
            let is_rotated = is_within(self.copy_at) || is_within(self.rename_at);
            while is_rotated && !self.begun.exists() && !stop.load(Relaxed) {
                pause(rng);
            }
            if is_within(self.copy_at) {
                self.copy_and_truncate(&file)?;
            }
            // A detector that is told to begin a new file first ends its line.
            let cut = rng.random_range(0..bytes.len());
            let (head, rest) = bytes.split_at(if rng.random_ratio(1, 3) { cut } else { 0 });
            file.write_all(head)?;
            if is_within(self.rename_at) {
                fs::rename(&self.path, self.rotated("1"))?;
                pause(rng);
                file.write_all(rest)?;
                pause(rng);
                file = open(&self.path)?;
            } else {
                if !head.is_empty() {
                    pause(rng);
                }
                file.write_all(rest)?;
            }
            at = end;
            pause(rng);
        }
        Ok(())
    }

    fn copy_and_truncate(&self, file: &File) -> Result<()> {
        fs::copy(&self.path, self.rotated("2"))?;
        file.set_len(0)?;
        Ok(())
    }

    fn rotated(&self, mark: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(mark);
        path.into()
    }
}

fn open(path: &Path) -> Result<File> {
    Ok(File::options().create(true).append(true).open(path)?)
}

fn lines(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(|record| [record.bytes.as_slice(), b"\n"]).flatten().copied().collect()
}

fn pause(rng: &mut StdRng) {
    thread::sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS_MAX)));
}
