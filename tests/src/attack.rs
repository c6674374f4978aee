//! Attempts to get what nobody may get, against the shipped coordinator: who one is, what one sends, what one asks for,
//! where one says that one is, and how one knocks.
//!
//! Each attempt has a name and says what must happen. It is wrong if anything else happens, and also if a refusal is
//! counted nowhere: an operator who cannot see an attack does not know of it.
//!
//! **A further suite** is a file in `attack/` and a line in `SUITES`.
//!
//! ```text
//! attempts              how many were made; at least 150
//! refused_as_expected   refused for the right reason, and counted
//! held_as_expected      what was no refusal: done for whoever asks alone, or answered without a trace of others
//! wrong                 all others; must be 0
//! by_suite              the same by suite
//! ```
#![expect(clippy::disallowed_methods, reason = "an attacker has a clock, tasks and pauses")]
#![expect(clippy::print_stdout, reason = "whoever runs the suite sees how it goes")]

mod addresses;
mod answers;
mod api;
mod arena;
mod blocks;
mod certificates;
mod client;
mod frames;
mod joins;
mod lies;
mod listener;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use self::arena::{Arena, Numbers};
use crate::report;

type Run = fn(&mut Suite<'_>) -> Result<()>;

/// All suites, in the order in which they are run: the last one makes the most trouble.
const SUITES: &[(&str, Run)] = &[
    ("certificates", certificates::run),
    ("frames", frames::run),
    ("blocks", blocks::run),
    ("answers", answers::run),
    ("joins", joins::run),
    ("lies", lies::run),
    ("api", api::run),
    ("addresses", addresses::run),
    ("listener", listener::run),
];

/// Fewer would leave out what is known to be tried.
const ATTEMPTS_MIN: usize = 150;
/// Longer than any time that the coordinator gives a peer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Until what a peer sees of a refusal is counted, too.
const COUNT_TIMEOUT: Duration = Duration::from_secs(3);

/// What stands in the names of numbers that count what was refused, or taken and shown as wrong.
const REFUSALS: [&str; 5] = ["refused", "unexplained", "silent", "unreadable", "addresses_asked"];

/// What must happen.
#[derive(Clone, Copy, Debug)]
struct Must {
    /// In words.
    says: &'static str,
    /// How the text of what happened begins, in one of these ways.
    happens: &'static [&'static str],
    /// Numbers of which one goes up; none where nothing is refused.
    counted: &'static [&'static str],
}

impl Must {
    const fn new(
        says: &'static str,
        happens: &'static [&'static str],
        counted: &'static [&'static str],
    ) -> Self {
        Self { says, happens, counted }
    }
}

/// What was tried, and what came of it.
#[derive(Clone, Debug)]
struct Attempt {
    name: String,
    must: String,
    happened: String,
    /// What was counted, with how much more it is.
    counted: Vec<String>,
    is_refusal: bool,
    is_wrong: bool,
}

/// The attempts of one kind.
struct Suite<'a> {
    arena: &'a Arena,
    attempts: Vec<Attempt>,
}

impl Suite<'_> {
    /// Makes one attempt, which returns what happened in words.
    fn attempt(
        &mut self,
        name: impl Into<String>,
        must: &Must,
        tried: impl Future<Output = Result<String>>,
    ) -> Result<()> {
        let before = self.arena.numbers()?;
        let tried = async { tokio::time::timeout(ATTEMPT_TIMEOUT, tried).await };
        let happened = match self.arena.runtime.block_on(tried) {
            Ok(Ok(happened)) => happened,
            Ok(Err(error)) => format!("error: {error:#}"),
            Err(late) => format!("nothing: {late}"),
        };
        self.judge(name, must, happened, &before)
    }

    /// Notes an attempt that was made since the numbers were `before`.
    fn judge(
        &mut self,
        name: impl Into<String>,
        must: &Must,
        happened: String,
        before: &Numbers,
    ) -> Result<()> {
        let counted = self.counted(must.counted, before)?;
        let is_refusal =
            must.counted.iter().any(|name| REFUSALS.iter().any(|it| name.contains(it)));
        let is_expected = must.happens.iter().any(|beginning| happened.starts_with(beginning));
        let is_wrong = !is_expected || (!must.counted.is_empty() && counted.is_empty());
        let (name, must) = (name.into(), must.says.to_owned());
        self.note(Attempt { name, must, happened, counted, is_refusal, is_wrong });
        Ok(())
    }

    /// Waits until one of these numbers has gone up; returns which, and by how much.
    fn counted(&self, names: &[&str], before: &Numbers) -> Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let after = self.arena.numbers()?;
            let more = names.iter().filter_map(|name| {
                let more = after.of(name).checked_sub(before.of(name)).filter(|more| *more > 0)?;
                Some(format!("{name} +{more}"))
            });
            let more: Vec<String> = more.collect();
            if !more.is_empty() || names.is_empty() || start.elapsed() > COUNT_TIMEOUT {
                return Ok(more);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn note(&mut self, attempt: Attempt) {
        if attempt.is_wrong {
            let Attempt { name, must, happened, counted, .. } = &attempt;
            println!("  wrong: {name}");
            println!("    must happen: {must}");
            println!("    happened: {happened}; counted: {counted:?}");
        }
        self.attempts.push(attempt);
    }
}

/// Runs the suites of these names, all where there is none, and writes `target/reports/attack.json`. Returns whether
/// nothing is wrong and, of all suites, whether there were enough attempts.
///
/// # Errors
/// The programs cannot be built or started, or an attempt cannot be made.
pub fn run(only: &[String]) -> Result<bool> {
    if let Some(unknown) = only.iter().find(|name| SUITES.iter().all(|(known, _)| known != name)) {
        bail!("there is no suite {unknown}");
    }
    let mut arena = Arena::new()?;
    let (mut all, mut by_suite) = (Vec::new(), serde_json::Map::new());
    for (name, run) in SUITES {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        let start = Instant::now();
        let mut suite = Suite { arena: &arena, attempts: Vec::new() };
        run(&mut suite).with_context(|| format!("the suite {name}"))?;
        let attempts = suite.attempts;
        let seconds = start.elapsed().as_secs();
        println!("   {} attempts, {} wrong, {seconds} s", attempts.len(), wrong(&attempts));
        by_suite.insert((*name).to_owned(), summary(&attempts));
        all.extend(attempts);
    }
    all.push(survival(&mut arena)?);
    let mut report = summary(&all);
    report["by_suite"] = by_suite.into();
    report["wrong_attempts"] = all.iter().filter(|it| it.is_wrong).map(shown).collect();
    report["all"] = all.iter().map(shown).collect();
    report::write("attack", &report)?;
    let is_enough = all.len() >= ATTEMPTS_MIN || !only.is_empty();
    if !is_enough {
        println!("missed: {} attempts, at least {ATTEMPTS_MIN} are known", all.len());
    }
    let wrong = wrong(&all);
    println!("{} attempts, {wrong} wrong", all.len());
    Ok(wrong == 0 && is_enough)
}

/// Returns whether the coordinator has lived through all of it, and stops as it is told.
fn survival(arena: &mut Arena) -> Result<Attempt> {
    let process = &mut arena.cluster.coordinator.process;
    let panics: Vec<String> =
        process.errors()?.into_iter().filter(|line| line.contains("panicked")).collect();
    let happened = match (process.is_running()?, panics.first()) {
        (false, _) => "it has ended".to_owned(),
        (true, Some(panic)) => panic.clone(),
        (true, None) => match process.terminate(ATTEMPT_TIMEOUT) {
            Ok(status) if status.success() => "it stopped in order".to_owned(),
            Ok(status) => format!("it stopped with {status}"),
            Err(error) => format!("{error:#}"),
        },
    };
    let is_wrong = happened != "it stopped in order";
    if is_wrong {
        println!("wrong: the coordinator after all of it: {happened}");
    }
    Ok(Attempt {
        name: "all of it".to_owned(),
        must: "the coordinator lives without a panic, and stops in order".to_owned(),
        happened,
        counted: Vec::new(),
        is_refusal: false,
        is_wrong,
    })
}

fn wrong(attempts: &[Attempt]) -> usize {
    attempts.iter().filter(|attempt| attempt.is_wrong).count()
}

fn summary(attempts: &[Attempt]) -> Value {
    let good = |is_refusal| {
        attempts.iter().filter(|it| !it.is_wrong && it.is_refusal == is_refusal).count()
    };
    json!({
        "attempts": attempts.len(),
        "refused_as_expected": good(true),
        "held_as_expected": good(false),
        "wrong": wrong(attempts),
    })
}

fn shown(attempt: &Attempt) -> Value {
    let Attempt { name, must, happened, counted, is_wrong, .. } = attempt;
    json!({
        "name": name, "must": must, "happened": happened, "counted": counted, "is_wrong": is_wrong,
    })
}
