//! Rules, events and expectations as they lie in the data folder.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use shared::sigma::{Node, Source};
use tempfile::TempDir;

/// The data folder, with what was unpacked of it.
pub struct Corpus {
    data: PathBuf,
    unpacked: TempDir,
}

/// A file of rules.
pub struct RuleFile {
    /// Its path below the archive's top.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl RuleFile {
    /// Returns it as a source to compile.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.text }
    }

    /// Returns whether its rules are for Windows alone.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let logsource = |document: &Node| document.get("logsource")?.get("product").cloned();
        let documents = self.source().documents();
        let mut products = documents.iter().flatten().filter_map(logsource);
        products.any(|product| product.text() == Some("windows"))
    }
}

/// A recorded Windows event.
#[derive(Deserialize)]
pub struct Recorded {
    /// The file that it is from.
    pub evtx: String,
    /// Its number there.
    pub rid: u64,
    /// The event as JSON.
    pub event: Value,
}

/// Events of which a rule must match so many at least.
pub struct RegressionSet {
    /// Its folder's name.
    pub name: String,
    /// The rule's id.
    pub rule: String,
    /// How many events the rule must match.
    pub expected: u64,
    /// The events.
    pub events: Vec<Value>,
}

/// A rule's match of an event, as another implementation found it: rule, file, number.
pub type Hit = (String, String, u64);

impl Corpus {
    /// Opens the data folder beside the project; nothing where it is missing.
    ///
    /// # Errors
    /// An archive that cannot be unpacked.
    pub fn open() -> Result<Option<Self>> {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        if !data.join("sigma/sigmahq-rules.tar.gz").is_file() {
            return Ok(None);
        }
        let unpacked = tempfile::tempdir().context("make a folder to unpack into")?;
        for archive in ["sigmahq-rules.tar.gz", "sigmahq-regression.dev.tar.xz"] {
            let path = data.join("sigma").join(archive);
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(&path).arg("-C").arg(unpacked.path());
            let status = tar.status().context("run tar")?;
            ensure!(status.success(), "tar could not unpack {}", path.display());
        }
        Ok(Some(Self { data, unpacked }))
    }

    /// Returns all files of rules, by name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn rules(&self) -> Result<Vec<RuleFile>> {
        let top = self.unpacked.path();
        let mut files = Vec::new();
        for entry in fs::read_dir(top)? {
            let path = entry?.path();
            let is_rules = |name: &str| name.starts_with("rules");
            if path.file_name().and_then(|name| name.to_str()).is_some_and(is_rules) {
                walk(&path, "yml", &mut files)?;
            }
        }
        files.sort();
        let read = |path: PathBuf| {
            let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            let text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
            Ok(RuleFile { name, text })
        };
        files.into_iter().map(read).collect()
    }

    /// Returns all recorded events.
    ///
    /// # Errors
    /// A line that is no event.
    pub fn events(&self) -> Result<Vec<Recorded>> {
        let lines = self.gzip("evtx/hayabusa_sample_events.dev.jsonl.gz")?.lines();
        lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
    }

    /// Returns what another implementation matched over the same events.
    ///
    /// # Errors
    /// A line that is none.
    pub fn reference(&self) -> Result<BTreeSet<Hit>> {
        let lines = self.gzip("sigma/pysigma-sqlite_hits_on_hayabusa_evtx.dev.tsv.gz")?.lines();
        let hit = |line: std::io::Result<String>| {
            let line = line?;
            let [rule, file, number] = line.split('\t').collect::<Vec<_>>()[..] else {
                bail!("{line:?} is no hit");
            };
            Ok((rule.to_owned(), file.to_owned(), number.parse()?))
        };
        lines.skip(1).map(hit).collect()
    }

    /// Returns the ids of the rules that the other implementation did not run.
    ///
    /// # Errors
    /// A file that is no list.
    pub fn not_in_reference(&self) -> Result<BTreeSet<String>> {
        let text = fs::read(self.data.join("sigma/rules_not_run.json"))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Returns the table of log sources over Windows events.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn logsources(&self) -> Result<String> {
        Ok(fs::read_to_string(self.data.join("sigma/thor-logsource-mapping.yml"))?)
    }

    /// Returns all regression sets.
    ///
    /// # Errors
    /// A set without a rule or events.
    pub fn regressions(&self) -> Result<Vec<RegressionSet>> {
        let mut files = Vec::new();
        walk(&self.unpacked.path().join("regression_data"), "yml", &mut files)?;
        files.sort();
        files.iter().map(|path| regression(path)).collect()
    }

    fn gzip(&self, path: &str) -> Result<BufReader<GzDecoder<fs::File>>> {
        let file = fs::File::open(self.data.join(path)).with_context(|| format!("open {path}"))?;
        Ok(BufReader::new(GzDecoder::new(file)))
    }
}

fn regression(info: &Path) -> Result<RegressionSet> {
    let folder = info.parent().context("a file is in a folder")?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(info)?;
    let documents = Source { name: &name, text: &text }.documents();
    let first = |key: &str| documents.first()?.as_ref().ok()?.get(key)?.items()?.first().cloned();
    let rule = first("rule_metadata").and_then(|rule| Some(rule.get("id")?.scalar()?.into_owned()));
    let tests = first("regression_tests_info");
    let count = tests.and_then(|test| test.get("match_count")?.scalar()?.parse().ok());
    let mut files = Vec::new();
    walk(folder, "json", &mut files)?;
    let mut events = Vec::new();
    for file in files {
        let text = fs::read(&file)?;
        let read = serde_json::Deserializer::from_slice(&text).into_iter();
        for event in read {
            events.push(event.with_context(|| format!("read {}", file.display()))?);
        }
    }
    ensure!(!events.is_empty(), "{name} has no events");
    let rule = rule.with_context(|| format!("{name} names no rule"))?;
    // A set that does not say how many is there because there is one.
    Ok(RegressionSet { name, rule, expected: count.unwrap_or(1), events })
}

fn walk(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, extension, files)?;
        } else if path.extension().is_some_and(|own| own == extension) {
            files.push(path);
        }
    }
    Ok(())
}
