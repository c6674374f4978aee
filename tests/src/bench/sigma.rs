//! Sigma rules over recorded Windows events, on one core: how fast, how that grows with the rules, and how fast others
//! are with the same rules over the same events.
//!
//! Events are taken apart beforehand, for everybody. The others get every 29th event, because they take a second for
//! what takes us a millisecond; our own rate over those is measured, too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};
use shared::sigma::{Mapping, RuleSet, Scratch, Source, Unmapped};

use super::{
    Figures,
    measure::{median, per_second, thread_time},
};
use crate::sigma::{
    check,
    corpus::{Corpus, Recorded, RuleFile},
    windows::{Fields, WindowsEvent, flat},
};

const REPETITIONS: usize = 5;

/// Sizes of rule sets, besides all.
const SIZES: [usize; 3] = [10, 100, 1_000];

/// Another implementation: its name, and what runs it over a folder.
type Other = (&'static str, fn(&Path) -> Result<Value>);

/// Of so many events the others get one.
const SAMPLE: usize = 29;

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let Some(corpus) = Corpus::open()? else {
        println!("  skipped: there is no ../shared/data beside the project");
        return Ok(());
    };
    let files = corpus.rules()?;
    let mapping = Mapping { unmapped: Unmapped::Refuse, ..check::mapping(&corpus, &files)? };
    let windows: Vec<&RuleFile> = files.iter().filter(|file| file.is_windows()).collect();
    let events = corpus.events()?;
    let events: Vec<&Recorded> = events.iter().collect();
    for size in SIZES {
        // Spread over all, since neighbours ask for the same.
        let some: Vec<_> =
            windows.iter().step_by(windows.len() / size).take(size).copied().collect();
        let rate = rate(&some, &events, &mapping)?;
        figures.set(&format!("sigma_events_per_s_core_{size}_rules"), rate);
    }
    let all = rate(&windows, &events, &mapping)?;
    figures.set("sigma_events_per_s_core", all);
    if let Some(few) = figures.of("sigma_events_per_s_core_10_rules") {
        figures.set("sigma_growth_from_10_to_all_rules", few / all);
    }
    let sample: Vec<_> = events.iter().step_by(SAMPLE).copied().collect();
    figures.set("sigma_sample_events_per_s_core", rate(&windows, &sample, &mapping)?);
    let folder = tempfile::tempdir()?;
    export(folder.path(), &windows, &sample)?;
    let others: [Other; 2] = [("sigma_rust", sigma_rust), ("pysigma_sqlite", pysigma)];
    for (name, run) in others {
        match run(folder.path()) {
            Ok(report) => {
                println!("  {name}: {report}");
                let rate = report.get("events_per_s").and_then(Value::as_f64);
                figures.set(&format!("{name}_events_per_s_core"), rate.context("no rate")?);
            }
            Err(error) => println!("  {name} is skipped: {error:#}"),
        }
    }
    Ok(())
}

/// Returns how many events a second of processor time all rules are matched against.
fn rate(files: &[&RuleFile], events: &[&Recorded], mapping: &Mapping) -> Result<f64> {
    let sources: Vec<Source<'_>> = files.iter().map(|file| file.source()).collect();
    let (set, _) = RuleSet::compile(&sources, mapping);
    let fields = Fields::of(&set);
    let events: Vec<_> =
        events.iter().map(|event| WindowsEvent::new(&event.event, &fields)).collect();
    let mut scratch = Scratch::default();
    let mut pass = || -> Result<f64> {
        let start = thread_time()?;
        let matches: usize =
            events.iter().map(|event| set.matches(event, &mut scratch).len()).sum();
        std::hint::black_box(matches);
        Ok(per_second(events.len(), thread_time()? - start))
    };
    pass()?; // Warms what is allocated once.
    Ok(median((0..REPETITIONS).map(|_| pass()).collect::<Result<Vec<_>>>()?))
}

/// Writes rules and events where the others find them.
fn export(folder: &Path, rules: &[&RuleFile], events: &[&Recorded]) -> Result<()> {
    let own = folder.join("rules");
    fs::create_dir(&own)?;
    for (number, rule) in rules.iter().enumerate() {
        fs::write(own.join(format!("{number}.yml")), &rule.text)?;
    }
    let mut lines = String::new();
    for event in events {
        // A flat object has each name once: of several values the first is left.
        let mut object = Map::new();
        for (name, value) in flat(&event.event) {
            object.entry(name).or_insert(value);
        }
        lines.push_str(&Value::Object(object).to_string());
        lines.push('\n');
    }
    Ok(fs::write(folder.join("events.jsonl"), lines)?)
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("comparison")
}

fn sigma_rust(folder: &Path) -> Result<Value> {
    let manifest = here().join("Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "--quiet", "--manifest-path"]).arg(manifest).arg("--");
    outcome(cargo.arg(folder.join("rules")).arg(folder.join("events.jsonl")))
}

fn pysigma(folder: &Path) -> Result<Value> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pysigma");
    let python = venv.join("bin/python");
    if !python.is_file() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let wanted = ["pysigma>=2,<3", "pysigma-backend-sqlite>=2,<3"];
        done(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(wanted))?;
    }
    let mut script = Command::new(python);
    script.arg(here().join("pysigma.py"));
    outcome(script.arg(folder.join("rules")).arg(folder.join("events.jsonl")))
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Runs a program that prints one JSON object.
fn outcome(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.lines().last().unwrap_or("it failed"));
    Ok(serde_json::from_slice(&output.stdout)?)
}
