//! The whole line in one thread, from one seed: agents with real spools on simulated disks, both halves of the session
//! over a simulated network, the coordinator's real commands over the crashable engine, and analysts.
//!
//! First faults, with the laws checked at every step that could break them; then the faults end, and everything must
//! arrive. There is no socket, no sleep and no other clock, so a seed that fails once fails again:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `SEEDS` | how many seeds to run; 500 where it is not set |
//! | `FIRST_SEED` | the first of them; 0 where it is not set |
//! | `SEED` | runs this one, and tells what happens |
//!
//! Beside these worlds, some in which nothing happens but that the coordinator is gone for a week.
//!
//! Not here: damage to bytes at rest, and bugs of the drivers themselves, which the system tests are for.

mod agent_side;
mod analysts;
mod checks;
mod coordinator_side;
mod network;
mod policies;
mod random;
mod world;

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::json;

use self::world::{Outcome, run, run_absence};

/// Seeds that are run where nobody says how many: about half a minute.
const SEEDS_DEFAULT: u64 = 500;
/// After so many failures the rest says nothing new.
const FAILURES_MAX: usize = 10;

#[test]
fn no_fault_schedule_loses_repeats_or_reorders_a_record() {
    let seed = number("SEED");
    let first = seed.or(number("FIRST_SEED")).unwrap_or(0);
    let count = if seed.is_some() { 1 } else { number("SEEDS").unwrap_or(SEEDS_DEFAULT) };
    let (mut seeds, mut steps, mut virtual_ms, mut repeats) = (0_u64, 0, 0, 0);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in first..first.saturating_add(count) {
        seeds += 1;
        match catch_unwind(AssertUnwindSafe(|| run(seed, count == 1))) {
            Ok(outcome) => {
                steps += outcome.steps;
                virtual_ms += outcome.virtual_ms;
                repeats += outcome.repeats;
                for (fault, times) in outcome.faults {
                    *faults.entry(fault).or_default() += times;
                }
            }
            Err(panic) => {
                println!("seed {seed} fails; replay it with:");
                println!("  SEED={seed} make simulate");
                failures.push(json!({ "seed": seed, "message": message(&*panic) }));
            }
        }
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    let report = json!({
        "seeds": seeds, "first_seed": first, "steps": steps, "virtual_ms": virtual_ms,
        "repeated_blocks": repeats, "faults": faults, "failures": failures.len(),
        "failed": failures,
    });
    tests::report::write("simulate", &report).unwrap();
    println!("{seeds} seeds, {steps} steps, {} failures", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
    if seeds >= 100 {
        assert_eq!(faults.len(), world::FAULTS.len(), "each fault was injected: {faults:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let [first, second]: [Outcome; 2] = [run(7, false), run(7, false)];
    assert_eq!(first, second);
    assert_ne!(first, run(8, false));
}

#[test]
fn a_week_without_the_coordinator_is_kept_in_the_spool_and_arrives_whole() {
    for seed in 0..4 {
        let absence = run_absence(seed, 32 << 20);
        assert_eq!(absence.unread, 0, "the spool has room for all: {absence:?}");
        assert!(absence.written > 1_000 && absence.dials > 7 * 24 * 60, "{absence:?}");
    }
}

#[test]
fn what_the_spool_cannot_keep_of_that_week_waits_in_the_detectors_files() {
    for seed in 0..4 {
        let absence = run_absence(seed, 24 << 10);
        assert!(absence.unread > absence.written / 2, "it was full early: {absence:?}");
    }
}

/// Returns the number in an environment variable, if it is set.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Returns what a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
