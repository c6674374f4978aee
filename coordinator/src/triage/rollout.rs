//! The staged roll-out of a policy: which agents get it first, and whether it stops by itself.
//!
//! ```text
//! 1 % ─▶ 10 % ─▶ all          by a person, each step
//!  └──────┴───────┴─▶ halted  by a person, or by itself: agents that have it differ from before, refuse or fall silent
//! ```
//! Which agents are in a stage is decided by a digest of tenant, version and agent: nobody picks them, they are others
//! for each version, and who is in a stage is in every later one. A halt takes nothing back: agents go only forward,
//! so what is to be undone is a new version with the old content.
//!
//! Everything is pure: who is there, and sums of their ledgers before and after, to a place, a cut and a fault.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::{
    ids::{AgentId, TenantId},
    ledger::{Interval, LossReason},
};
use thiserror::Error;

use crate::limits::{
    ROLLOUT_BEYOND_MAX, ROLLOUT_CRASHING_MAX, ROLLOUT_DROPPED_RISE, ROLLOUT_HELD_RISE,
    ROLLOUT_LOST_RISE, ROLLOUT_MALFORMED_RISE, ROLLOUT_RECORDS_MIN, ROLLOUT_REFUSED_MAX,
    ROLLOUT_RESTARTS_RISE, ROLLOUT_SILENT_MAX,
};

/// Percents of the stages; the last is everybody.
pub const STAGES: [u8; 3] = [1, 10, 100];

/// Returns the stage behind one, if there is a further one.
#[must_use]
pub fn next_stage(percent: u8) -> Option<u8> {
    STAGES.into_iter().find(|stage| *stage > percent)
}

/// Returns where an agent stands in the order in which a tenant's version is rolled out.
#[must_use]
pub fn place(tenant: TenantId, version: u64, agent: AgentId) -> u64 {
    let mut digest = Sha256::new();
    digest.update(b"signalbox rollout v1");
    digest.update(tenant.as_bytes());
    digest.update(version.to_be_bytes());
    digest.update(agent.as_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    u64::from_be_bytes(*digest.first_chunk().expect("32 bytes have 8"))
}

/// Returns up to which place a stage of `percent` reaches among agents at these places: at least one of them, or there
/// would be nobody to learn from. Where there is nobody, it is that share of all places.
#[must_use]
pub fn cut(percent: u8, mut places: Vec<u64>) -> u64 {
    if percent >= 100 {
        return u64::MAX;
    }
    places.sort_unstable();
    let count = (places.len() * usize::from(percent)).div_ceil(100).max(1);
    places.get(count - 1).copied().unwrap_or_else(|| cut_of_newcomers(percent, u64::MAX))
}

/// Returns up to which place of those who come after a stage began are in it, where it reaches up to `cut` among those
/// who were there. The one agent of a small tenant may stand anywhere: not everybody below it is one percent.
#[must_use]
pub fn cut_of_newcomers(percent: u8, cut: u64) -> u64 {
    if percent >= 100 { cut } else { cut.min(u64::MAX / 100 * u64::from(percent)) }
}

/// What became of records, as ledgers say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records that came.
    pub records: u64,
    /// Of those, how many could not be parsed.
    pub malformed: u64,
    /// How many were held back or folded.
    pub held: u64,
    /// How many came and could not be kept.
    pub dropped: u64,
    /// What else is known to be lost: lines that were cut, files that were gone. What had to make room among the held
    /// is not in it: it was held, and counts as that.
    pub lost: u64,
    /// How often agents were started again, or had made blocks that no interval counts.
    pub restarts: u64,
}

impl Sums {
    /// Adds an interval.
    pub fn add(&mut self, interval: &Interval) {
        let restarts = u64::from(interval.restarts) + u64::from(interval.unaccounted);
        self.restarts = self.restarts.saturating_add(restarts);
        for sums in &interval.sources {
            let all = |counts: &mut dyn Iterator<Item = &u64>| {
                counts.fold(0, |sum: u64, count| sum.saturating_add(*count))
            };
            let add = |to: &mut u64, count: u64| *to = to.saturating_add(count);
            add(&mut self.records, sums.read);
            add(&mut self.malformed, all(&mut sums.malformed.iter()));
            add(&mut self.held, all(&mut sums.held.values().chain(sums.folded.values())));
            add(&mut self.dropped, all(&mut sums.dropped.values()));
            let losses = sums.losses.iter().filter(|(reason, _)| match reason {
                LossReason::Cut | LossReason::LostFile | LossReason::ReadError => true,
                LossReason::HeldEvicted => false,
            });
            add(&mut self.lost, all(&mut losses.map(|(_, count)| count)));
        }
    }

    /// Adds up sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            malformed: self.malformed.saturating_add(other.malformed),
            held: self.held.saturating_add(other.held),
            dropped: self.dropped.saturating_add(other.dropped),
            lost: self.lost.saturating_add(other.lost),
            restarts: self.restarts.saturating_add(other.restarts),
        }
    }
}

/// What is seen of the agents that a version was offered to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many have answered.
    pub answered: u64,
    /// Of those, how many refuse it.
    pub refused: u64,
    /// Of those that took it, how many were not heard of since soon after that.
    pub silent: u64,
    /// What became of records of those in which it is in force, before.
    pub before: Sums,
    /// And since.
    pub after: Sums,
    /// The same of each of them, before and since.
    pub each: Vec<(Sums, Sums)>,
    /// Whether its content is that of an earlier version, which was good before: that it holds more is what it is for.
    pub is_copy: bool,
}

/// Why a roll-out stops by itself; shares are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Agents refuse it.
    #[error("{refused} of {answered} agents refuse it")]
    Refused {
        /// How many.
        refused: u64,
        /// Of how many that answered.
        answered: u64,
    },
    /// Agents fell silent soon after they took it.
    #[error("{silent} of {answered} agents were not heard of since soon after they took it")]
    Silent {
        /// How many.
        silent: u64,
        /// Of how many that answered.
        answered: u64,
    },
    /// More records cannot be parsed.
    #[error(
        "{} of records cannot be parsed, before it were {}",
        percent(*.after), percent(*.before)
    )]
    Malformed {
        /// Share before.
        before: u16,
        /// Share since.
        after: u16,
    },
    /// More is held back or folded than a policy is expected to change.
    #[error(
        "{} of records are held or folded, before it were {}",
        percent(*.after), percent(*.before)
    )]
    Held {
        /// Share before.
        before: u16,
        /// Share since.
        after: u16,
    },
    /// More records come and cannot be kept.
    #[error("{} of records are dropped, before it were {}", percent(*.after), percent(*.before))]
    Dropped {
        /// Share before.
        before: u16,
        /// Share since.
        after: u16,
    },
    /// More is lost besides, such as lines that are cut.
    #[error("{} of records are lost, before it were {}", percent(*.after), percent(*.before))]
    Lost {
        /// Share before.
        before: u16,
        /// Share since.
        after: u16,
    },
    /// Agents are started again and again.
    #[error("{crashing} of {agents} agents were started again and again since")]
    Crashing {
        /// How many.
        crashing: u64,
        /// Of how many in which it is in force.
        agents: u64,
    },
    /// Of many agents, each by itself, far more is held, malformed, dropped or lost.
    #[error("{beyond} of {judged} agents hold, drop, lose or cannot parse far more than before")]
    Beyond {
        /// How many.
        beyond: u64,
        /// Of how many with enough records.
        judged: u64,
    },
}

/// Writes thousandths as percent.
fn percent(share: u16) -> String {
    format!("{}.{} %", share / 10, share % 10)
}

/// Returns what share of `whole` a part is, in thousandths.
fn share(part: u64, whole: u64) -> u16 {
    let share = u128::from(part.min(whole)) * 1_000 / u128::from(whole.max(1));
    u16::try_from(share).unwrap_or(1_000)
}

/// Returns why a roll-out is to stop, if it is. What agents say themselves goes first; shares of records are compared
/// once there are [`ROLLOUT_RECORDS_MIN`] of them on either side.
#[must_use]
pub fn judge(seen: &Seen) -> Option<Fault> {
    let Seen { answered, refused, silent, before, after, is_copy, .. } = *seen;
    if refused > 0 && share(refused, answered) > ROLLOUT_REFUSED_MAX {
        return Some(Fault::Refused { refused, answered });
    }
    if silent > 0 && share(silent, answered) > ROLLOUT_SILENT_MAX {
        return Some(Fault::Silent { silent, answered });
    }
    let crashes = |(before, after): &&(Sums, Sums)| {
        after.restarts >= before.restarts.saturating_add(ROLLOUT_RESTARTS_RISE)
    };
    let (crashing, agents) =
        (seen.each.iter().filter(crashes).count() as u64, seen.each.len() as u64);
    if crashing > 0 && share(crashing, agents) > ROLLOUT_CRASHING_MAX {
        return Some(Fault::Crashing { crashing, agents });
    }
    // A few hosts that write most of it must not hide what becomes of the others, nor the others what becomes of a few.
    let has_enough = |(before, after): &&(Sums, Sums)| is_enough(before, after);
    let judged = seen.each.iter().filter(has_enough);
    let beyond = judged.clone().filter(|(before, after)| rise(before, after, is_copy).is_some());
    let (beyond, judged) = (beyond.count() as u64, judged.count() as u64);
    rise(&before, &after, is_copy).or_else(|| {
        let are_many = beyond > 0 && share(beyond, judged) > ROLLOUT_BEYOND_MAX;
        are_many.then_some(Fault::Beyond { beyond, judged })
    })
}

fn is_enough(before: &Sums, after: &Sums) -> bool {
    before.records.min(after.records) >= ROLLOUT_RECORDS_MIN
}

/// Returns which share of records has risen beyond its bound, if there are enough of them and one has.
fn rise(before: &Sums, after: &Sums, is_copy: bool) -> Option<Fault> {
    if !is_enough(before, after) {
        return None;
    }
    let shares =
        |of: fn(&Sums) -> u64| (share(of(before), before.records), share(of(after), after.records));
    let rises = |(before, after): (u16, u16), bound: u16| after > before.saturating_add(bound);
    let dropped = shares(|sums| sums.dropped);
    if rises(dropped, ROLLOUT_DROPPED_RISE) {
        return Some(Fault::Dropped { before: dropped.0, after: dropped.1 });
    }
    let lost = shares(|sums| sums.lost);
    if rises(lost, ROLLOUT_LOST_RISE) {
        return Some(Fault::Lost { before: lost.0, after: lost.1 });
    }
    let malformed = shares(|sums| sums.malformed);
    if rises(malformed, ROLLOUT_MALFORMED_RISE) {
        return Some(Fault::Malformed { before: malformed.0, after: malformed.1 });
    }
    let held = shares(|sums| sums.held);
    let is_unexpected = !is_copy && rises(held, ROLLOUT_HELD_RISE);
    is_unexpected.then_some(Fault::Held { before: held.0, after: held.1 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::ledger::{DropReason, SourceSums};

    use super::*;

    fn agent(number: u32) -> AgentId {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    fn places(version: u64, count: u32) -> Vec<u64> {
        let tenant = "acme".parse().unwrap();
        (0..count).map(|number| place(tenant, version, agent(number))).collect()
    }

    fn within(percent: u8, version: u64, count: u32) -> Vec<u32> {
        let places = places(version, count);
        let cut = cut(percent, places.clone());
        let numbered = (0..count).zip(places);
        numbered.filter(|(_, place)| *place <= cut).map(|(number, _)| number).collect()
    }

    #[test]
    fn a_stage_has_its_share_of_agents_and_each_later_stage_has_them_too() {
        for (count, one, ten) in [(1_000, 10, 100), (150, 2, 15), (20, 1, 2), (1, 1, 1)] {
            let stages = STAGES.map(|percent| within(percent, 3, count));
            let sizes = stages.each_ref().map(Vec::len);
            assert_eq!(sizes, [one, ten, count as usize], "{count}");
            assert!(stages[0].iter().all(|it| stages[1].contains(it)));
        }
    }

    #[test]
    fn each_version_begins_with_other_agents_and_always_with_the_same() {
        let first: Vec<_> = (1..=8).map(|version| within(1, version, 300)).collect();
        assert!(first.windows(2).any(|pair| pair[0] != pair[1]), "{first:?}");
        assert_eq!(within(1, 5, 300), first[4]);
        let other = place("globex".parse().unwrap(), 3, agent(1));
        assert_ne!(place("acme".parse().unwrap(), 3, agent(1)), other);
    }

    #[test]
    fn where_nobody_is_there_yet_those_who_come_are_cut_by_share() {
        let cut = cut(10, Vec::new());
        let count = places(3, 10_000).into_iter().filter(|place| *place <= cut).count();
        assert!((900..1_100).contains(&count), "{count}");
        assert_eq!(super::cut(100, Vec::new()), u64::MAX);
    }

    #[test]
    fn of_those_who_come_after_a_stage_began_no_more_than_its_share_are_in_it() {
        let alone = cut(1, vec![u64::MAX / 10 * 9]);
        let newcomers = places(3, 10_000);
        let within = |cut: u64| newcomers.iter().filter(|place| **place <= cut).count();
        assert!(within(alone) > 8_000, "by the cut of who was there");
        assert!((50..200).contains(&within(cut_of_newcomers(1, alone))));
        assert_eq!(cut_of_newcomers(1, 7), 7, "nor beyond it");
        assert_eq!(cut_of_newcomers(100, u64::MAX), u64::MAX);
    }

    #[test]
    fn stages_follow_each_other_to_their_end() {
        let stages = [0, 1, 10, 100].map(next_stage);
        assert_eq!(stages, [Some(1), Some(10), Some(100), None]);
    }

    fn sums(records: u64, malformed: u64, held: u64, dropped: u64) -> Sums {
        Sums { records, malformed, held, dropped, ..Sums::default() }
    }

    fn of_records(before: Sums, after: Sums) -> Option<Fault> {
        judge(&Seen { answered: 10, before, after, ..Seen::default() })
    }

    #[test]
    fn what_a_policy_is_for_does_not_stop_it() {
        assert_eq!(judge(&Seen::default()), None);
        assert_eq!(of_records(sums(5_000, 9, 0, 0), sums(5_000, 9, 1_200, 0)), None);
        assert_eq!(of_records(sums(5_000, 0, 4_000, 0), sums(5_000, 0, 0, 0)), None, "less");
    }

    #[test]
    fn a_share_that_rises_beyond_its_bound_stops_it() {
        let before = sums(1_000, 10, 100, 0);
        let held = Fault::Held { before: 100, after: 351 };
        assert_eq!(of_records(before, sums(1_000, 10, 351, 0)), Some(held));
        assert_eq!(of_records(before, sums(1_000, 10, 350, 0)), None);
        let malformed = Fault::Malformed { before: 10, after: 31 };
        assert_eq!(of_records(before, sums(1_000, 31, 100, 0)), Some(malformed));
        assert_eq!(of_records(before, sums(1_000, 30, 100, 0)), None);
        let dropped = Fault::Dropped { before: 0, after: 11 };
        assert_eq!(of_records(before, sums(1_000, 10, 100, 11)), Some(dropped));
        assert_eq!(of_records(before, sums(1_000, 10, 100, 10)), None);
        assert_eq!(held.to_string(), "35.1 % of records are held or folded, before it were 10.0 %");
    }

    #[test]
    fn what_takes_a_version_back_holds_again_what_was_held_and_is_watched_for_the_rest() {
        let (before, after) = (sums(1_000, 0, 0, 0), sums(1_000, 0, 1_000, 0));
        let back =
            |after| judge(&Seen { answered: 10, before, after, is_copy: true, ..Seen::default() });
        assert!(of_records(before, after).is_some());
        assert_eq!(back(after), None);
        let dropped = Fault::Dropped { before: 0, after: 11 };
        assert_eq!(back(sums(1_000, 0, 900, 11)), Some(dropped));
    }

    #[test]
    fn a_handful_of_records_says_nothing() {
        let few = ROLLOUT_RECORDS_MIN - 1;
        assert_eq!(of_records(sums(few, 0, 0, 0), sums(9_999, 0, 9_999, 0)), None);
        assert_eq!(of_records(sums(9_999, 0, 0, 0), sums(few, 0, few, 0)), None);
        let enough = sums(ROLLOUT_RECORDS_MIN, 0, ROLLOUT_RECORDS_MIN, 0);
        assert!(of_records(sums(9_999, 0, 0, 0), enough).is_some());
    }

    #[test]
    fn one_agent_that_refuses_or_falls_silent_stops_a_small_stage_and_not_a_large_one() {
        let seen = |answered, refused, silent| {
            judge(&Seen { answered, refused, silent, ..Seen::default() })
        };
        assert_eq!(seen(1, 1, 0), Some(Fault::Refused { refused: 1, answered: 1 }));
        assert_eq!(seen(20, 1, 0), None);
        assert_eq!(seen(19, 1, 0), Some(Fault::Refused { refused: 1, answered: 19 }));
        assert_eq!(seen(1, 0, 1), Some(Fault::Silent { silent: 1, answered: 1 }));
        assert_eq!(seen(10, 0, 1), None);
    }

    #[test]
    fn many_agents_of_which_each_holds_far_more_stop_it_although_the_sum_does_not_rise() {
        let of = |beyond: usize, agents: usize| {
            let loud = (sums(1_000_000, 0, 0, 0), sums(1_000_000, 0, 0, 0));
            let each = (0..agents).map(|at| {
                let held = if at < beyond { 900 } else { 0 };
                (sums(1_000, 0, 0, 0), sums(1_000, 0, held, 0))
            });
            let each: Vec<_> = each.chain([loud]).collect();
            let all = |of: fn(&(Sums, Sums)) -> Sums| {
                each.iter().map(of).fold(Sums::default(), Sums::plus)
            };
            let (before, after) = (all(|it| it.0), all(|it| it.1));
            judge(&Seen { answered: 10, before, after, each, ..Seen::default() })
        };
        assert_eq!(of(1, 4), None, "one of five: rules are for noisy hosts");
        assert_eq!(of(2, 4), Some(Fault::Beyond { beyond: 2, judged: 5 }));
        let few = ROLLOUT_RECORDS_MIN - 1;
        let each = vec![(sums(few, 0, 0, 0), sums(few, 0, few, 0)); 3];
        assert_eq!(judge(&Seen { answered: 3, each, ..Seen::default() }), None);
    }

    #[test]
    fn agents_that_are_started_again_and_again_stop_it_whatever_they_read() {
        let of = |crashing: usize, agents: usize, restarts: u64| {
            let after = Sums { restarts, ..Sums::default() };
            let each = (0..agents)
                .map(|at| (Sums::default(), if at < crashing { after } else { Sums::default() }));
            judge(&Seen { answered: 40, each: each.collect(), ..Seen::default() })
        };
        assert_eq!(of(1, 1, ROLLOUT_RESTARTS_RISE - 1), None);
        let crashing = Fault::Crashing { crashing: 1, agents: 1 };
        assert_eq!(of(1, 1, ROLLOUT_RESTARTS_RISE), Some(crashing));
        assert_eq!(of(1, 20, 9), None, "one of many is unwell");
        assert_eq!(of(2, 20, 9), Some(Fault::Crashing { crashing: 2, agents: 20 }));
        let (before, after) =
            (Sums { restarts: 9, ..Sums::default() }, Sums { restarts: 11, ..Sums::default() });
        let each = vec![(before, after)];
        assert_eq!(judge(&Seen { answered: 1, each, ..Seen::default() }), None, "as before");
    }

    #[test]
    fn what_is_lost_besides_is_added_and_stops_it_and_what_made_room_does_not() {
        let losses =
            [(LossReason::Cut, 3), (LossReason::ReadError, 4), (LossReason::HeldEvicted, 900)];
        let losses = BTreeMap::from(losses);
        let sums = SourceSums { read: 500, losses, ..SourceSums::of("eve") };
        let interval =
            Interval { sources: vec![sums], restarts: 2, unaccounted: true, ..Interval::default() };
        let mut added = Sums::default();
        added.add(&interval);
        assert_eq!((added.lost, added.restarts), (7, 3));
        let before = Sums { records: 500, ..Sums::default() };
        assert_eq!(of_records(before, added), Some(Fault::Lost { before: 0, after: 14 }));
    }

    #[test]
    fn sums_of_a_liar_do_not_overflow() {
        let sums = SourceSums {
            read: u64::MAX,
            malformed: [u64::MAX; 3],
            held: BTreeMap::from([("a".into(), u64::MAX), ("b".into(), 1)]),
            dropped: BTreeMap::from([(DropReason::Bound, u64::MAX)]),
            ..SourceSums::of("eve")
        };
        let interval = Interval { sources: vec![sums.clone(), sums], ..Interval::default() };
        let mut added = Sums::default();
        added.add(&interval);
        added.add(&interval);
        assert_eq!(added, Sums { records: u64::MAX, ..added });
        assert!(of_records(Sums { records: 1_000, ..Sums::default() }, added).is_some());
    }
}
