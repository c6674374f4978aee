//! Where the data of others lie, and how their archives are read. None of it is copied into the project.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;
use tempfile::TempDir;

/// The data, and a folder for what is unpacked.
#[derive(Debug)]
pub(super) struct Data {
    root: PathBuf,
    scratch: TempDir,
}

impl Data {
    /// Returns the data beside the project, if they are there.
    pub(super) fn find() -> Result<Option<Self>> {
        let root = super::data_folder();
        if !root.is_dir() {
            return Ok(None);
        }
        Ok(Some(Self { root, scratch: TempDir::new().context("make a folder to unpack into")? }))
    }

    /// Returns where `name` is, if it is there.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.join(name)).filter(|path| path.exists())
    }

    /// Returns the lines of a file, which may be compressed, as bytes.
    pub(super) fn lines(&self, name: &str) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(path) = self.path(name) else { return Ok(None) };
        let file = File::open(&path).with_context(|| format!("open {name}"))?;
        let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn Read> =
            if is_compressed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        let lines = BufReader::new(reader).split(b'\n').collect::<Result<_, _>>();
        Ok(Some(lines.with_context(|| format!("read {name}"))?))
    }

    /// Unpacks an archive with `tar`; returns its folder, or nothing where it is not there.
    pub(super) fn unpack(&self, name: &str) -> Result<Option<PathBuf>> {
        let Some(archive) = self.path(name) else { return Ok(None) };
        let folder = self.scratch.path().join(name.replace('/', "_"));
        fs::create_dir_all(&folder)?;
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&folder))?;
        Ok(Some(folder))
    }

    /// Writes the files of detectors that the alert data set stands for; returns their folder, or nothing where
    /// data set or tool are not there.
    pub(super) fn replay(&self) -> Result<Option<PathBuf>> {
        let names = ["ait-ads/alerts.dev.zip", "ait-ads/hosts.dev.tsv"];
        let [Some(alerts), Some(hosts)] = names.map(|name| self.path(name)) else {
            return Ok(None);
        };
        let tool = self.root.join("../tools/ait_replay.py");
        if !tool.is_file() {
            return Ok(None);
        }
        let folder = self.scratch.path().join("replay");
        let mut command = Command::new("python3");
        command.arg(tool).arg(alerts).arg(hosts).arg(&folder);
        if let Some(rules) = self.path("wazuh/wazuh-4.14.9-rules-xml.tar.gz") {
            command.arg("--wazuh-rules").arg(rules);
        }
        run(&mut command)?;
        Ok(Some(folder))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Returns all files under `folder` with one of these extensions, or of any where none is named, in order.
pub(super) fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extensions.is_empty()
                || extension.is_some_and(|extension| extensions.contains(&extension))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
