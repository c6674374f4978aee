//! The coordinator is gone for a week, while detectors go on and hosts lose power; then it is back.
//!
//! What an agent then owes: its spool stays within its bound; where it is full the files are read no further, and the
//! rest waits in them; it never stops dialling; and once somebody answers, everything arrives, each record once.

use agent::spool::SpoolConfig;

use super::{AgentSide, Event, Weather, World, checks};

const MINUTE_MS: u64 = 60_000;
/// How long the coordinator is gone.
const WEEK_MS: u64 = 7 * 24 * 60 * MINUTE_MS;
/// How long all is well before: agents are connected, and some records arrive.
const BEFORE_MS: u64 = 2 * MINUTE_MS;
/// Longest until all agents are connected again: the longest wait between two dials, and a fair network's frames.
const BACK_MS_MAX: u64 = 31_000;

/// Longest until what a week left has arrived, in virtual milliseconds: a record takes a block of its own at times, and
/// a block some 30 ms.
const CATCH_UP_MS_MAX: u64 = 60 * MINUTE_MS;
/// Most steps until then.
const CATCH_UP_STEPS_MAX: u64 = 1_000_000;

/// How long agents have to read what was just written before it counts as waiting: at the week's pace they look once a
/// minute, and read some.
const LOOK_MS: u64 = 10 * MINUTE_MS;

/// How it was at the week's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    /// Records that the detectors wrote until some minutes before.
    pub(crate) written: usize,
    /// Of these, records that waited in the detectors' files, because the spool was full.
    pub(crate) unread: usize,
    /// How often the agents dialled in vain.
    pub(crate) dials: u64,
    /// How long it took until all were connected again, in virtual milliseconds.
    pub(crate) back_ms: u64,
}

/// Lives a world without another fault than that week, in which each spool holds `spool_bytes_max`.
///
/// # Panics
/// If a law is broken, or not everything arrives.
pub(crate) fn run_absence(seed: u64, spool_bytes_max: u64) -> Absence {
    let mut world = World::new(seed, false);
    world.faults.clear();
    world.network.weather = Weather::FAIR;
    for agent in &mut world.agents {
        agent.config = SpoolConfig { total_bytes_max: spool_bytes_max, ..agent.config };
    }
    world.run_until(BEFORE_MS);
    assert!(world.agents.iter().all(|agent| agent.session.is_some()), "all are connected");

    for id in world.coordinator.crash() {
        world.lose(id, None);
    }
    let dialled = world.dials;
    world.pace = 60;
    world.run_until(BEFORE_MS + WEEK_MS / 2);
    // Its next process takes up what the spool holds, and what is left unread.
    (0..world.agents.len()).for_each(|index| world.crash_agent(index));
    world.run_until(BEFORE_MS + WEEK_MS - LOOK_MS);
    let lengths: Vec<usize> = world.agents.iter().map(|agent| agent.file.len()).collect();
    world.run_until(BEFORE_MS + WEEK_MS);
    let dials = world.dials - dialled;
    let written = lengths.iter().sum();
    let waits = |(agent, length): (&AgentSide, &usize)| length.saturating_sub(agent.checkpoint);
    let unread = world.agents.iter().zip(&lengths).map(waits).sum();

    world.pace = 1;
    let returned_ms = world.now_ms;
    world.after(1, Event::StartCoordinator);
    while world.agents.iter().any(|agent| agent.session.is_none()) {
        assert!(world.now_ms < returned_ms + BACK_MS_MAX, "liveness: not all dialled again");
        world.step();
    }
    let back_ms = world.now_ms - returned_ms;
    world.heal();
    world.run_until_all_arrived(CATCH_UP_MS_MAX, CATCH_UP_STEPS_MAX);
    for agent in &world.agents {
        assert_eq!(agent.checkpoint, agent.file.len(), "all that was written is read");
        checks::records_are_whole(agent, &world.coordinator.engine);
    }
    Absence { written, unread, dials, back_ms }
}
