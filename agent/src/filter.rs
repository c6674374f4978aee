//! What becomes of an alert that rules of the policy match: a pure decision.
//!
//! ```text
//! rules that match ─▶ in force? ─▶ spared? ─▶ within its expected rate? ─▶ the most sending one decides
//! ```
//! Of the rules that match, the one that sends most decides, and among equals the one that stands first:
//! `send_urgent`, `send`, a rule beyond its expected rate, `fold`, `hold`. So no rule can silence what another wants
//! seen, and the order of a policy's rules means little.
//!
//! # Invariants
//! - L8: a rule that suppresses has an end, a rate that it expects, and a share of what it holds goes up all the same.
//!   After its end it does nothing; above its rate what it would suppress is sent, until the rate falls again.
//! - An alert of severity critical or fatal is neither held nor folded, unless the rule says so expressly.
//! - L9: the decision follows from the rules, what was decided before, the alert and `now`.
//!
//! Not here: which rules match (see [`shared::sigma`]), folding itself (see [`crate::fold`]), where what is held is
//! kept.

mod rate;
mod sample;

use std::{num::NonZeroU32, time::Instant};

use shared::{alert::Severity, ids::Epoch, time::Timestamp};

pub use self::rate::Rate;
use self::{rate::Meter, sample::is_sample};
use crate::fold;

/// A rule of the policy, without its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id, which stands in every alert that it decided about.
    pub id: Box<str>,
    /// What it is about, in one line.
    pub title: Box<str>,
    /// Who answers for it.
    pub owner: Box<str>,
    /// From this instant on it does nothing.
    pub expires_at: Timestamp,
    /// What it has done with the alerts that it matches.
    pub action: Action,
}

/// What a rule has done with the alerts that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it, whatever others say, on the urgent lane.
    SendUrgent,
    /// Send it, whatever others say.
    Send,
    /// Let through the first, the 10th, the 100th and so on, and at least one a period, each with its count.
    Fold(Bounds, fold::Terms),
    /// Keep it back, but for a share.
    Hold(Bounds, Audit),
    /// Nothing by itself: correlations count what it matches.
    Count,
}

/// What every rule has that suppresses (L8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The rate above which it stops suppressing.
    pub expected: Rate,
    /// Whether it suppresses alerts of severity critical and fatal, too.
    pub even_critical: bool,
}

/// The share of what is held that is sent all the same: one in so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit(pub NonZeroU32);

impl Default for Audit {
    /// One in 200.
    fn default() -> Self {
        Self(NonZeroU32::new(200).expect("it is not zero"))
    }
}

impl Action {
    /// Returns the name in policies and tables.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SendUrgent => "send_urgent",
            Self::Send => "send",
            Self::Fold(..) => "fold",
            Self::Hold(..) => "hold",
            Self::Count => "count",
        }
    }

    /// Returns the bounds of an action that suppresses.
    #[must_use]
    pub const fn bounds(&self) -> Option<&Bounds> {
        match self {
            Self::SendUrgent | Self::Send | Self::Count => None,
            Self::Fold(bounds, _) | Self::Hold(bounds, _) => Some(bounds),
        }
    }
}

/// What becomes of an alert; the rule that decided is named by its place in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No rule has a say: it goes its own way.
    Pass,
    /// A rule wants it sent.
    Send(u32),
    /// A rule wants it sent on the urgent lane.
    SendUrgent(u32),
    /// A rule would suppress it, but there are more than it expects: sent.
    BeyondExpected(u32),
    /// A rule holds its like; this one is sent as a sample.
    AuditSample(u32),
    /// A rule folds it.
    Fold(u32),
    /// A rule holds it.
    Hold(u32),
}

/// What a rule did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Alerts that it matched while it was in force.
    pub matched: u64,
    /// Alerts that it matched after its end.
    pub expired: u64,
    /// Alerts that it did not suppress because they were critical or fatal.
    pub spared: u64,
    /// Alerts sent because it says so, urgent ones included.
    pub sent: u64,
    /// Alerts sent because there were more than it expects.
    pub beyond_expected: u64,
    /// Alerts sent as samples of what it holds.
    pub audit_samples: u64,
    /// Alerts held.
    pub held: u64,
    /// Alerts that it had folded, those that were let through at once included.
    pub folded: u64,
    /// Alerts that were let through, at once or at a period's end, to stand for those that were not.
    pub let_through: u64,
}

/// How a rule would decide, the least sending first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Voice {
    Hold,
    Fold,
    BeyondExpected,
    Send,
    SendUrgent,
}

/// What is remembered of one rule.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    meter: Meter,
    counts: Counts,
}

/// Rules, and what they did so far.
#[derive(Debug)]
pub struct Filter {
    rules: Vec<Rule>,
    states: Vec<State>,
    key: Epoch,
}

impl Filter {
    /// Returns a filter that has decided nothing yet. `key` decides which of the held alerts are samples: whoever
    /// knows it can tell them beforehand, and nobody else.
    #[must_use]
    pub fn new(rules: Vec<Rule>, key: Epoch) -> Self {
        let states = vec![State::default(); rules.len()];
        Self { rules, states, key }
    }

    /// Takes over what `earlier` remembers of rules that have not changed, and its counts of all that are still here.
    pub fn remember(&mut self, earlier: &Self) {
        for (rule, state) in self.rules.iter().zip(&mut self.states) {
            let Some(place) = earlier.rules.iter().position(|other| other.id == rule.id) else {
                continue;
            };
            let old = &earlier.states[place];
            state.counts = old.counts;
            if earlier.rules[place].action == rule.action {
                state.meter = old.meter;
            }
        }
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns each rule with what it did so far.
    pub fn counts(&self) -> impl Iterator<Item = (&Rule, Counts)> {
        self.rules.iter().zip(self.states.iter().map(|state| state.counts))
    }

    /// Returns whether more came lately than this rule expects, as of `now`.
    #[must_use]
    pub fn is_beyond_expected(&self, rule: usize, now: Instant) -> bool {
        let bounds = self.rules[rule].action.bounds();
        bounds.is_some_and(|bounds| self.states[rule].meter.is_beyond(&bounds.expected, now))
    }

    /// Counts one that was let through of those that a rule folds.
    pub fn note_let_through(&mut self, rule: u32) {
        self.states[rule as usize].counts.let_through += 1;
    }

    /// Decides about an alert that the rules at the places `matched` match, in ascending order.
    ///
    /// # Panics
    /// If a place is no rule's.
    pub fn decide(
        &mut self,
        matched: impl IntoIterator<Item = u32>,
        severity: Severity,
        record: &[u8],
        now: Instant,
        wall: Timestamp,
    ) -> Decision {
        let mut loudest: Option<(Voice, u32)> = None;
        for place in matched {
            let (rule, state) = (&self.rules[place as usize], &mut self.states[place as usize]);
            if let Some(voice) = voice(rule, state, severity, now, wall)
                && loudest.is_none_or(|(other, _)| voice > other)
            {
                loudest = Some((voice, place));
            }
        }
        let Some((voice, place)) = loudest else { return Decision::Pass };
        let (rule, counts) = (&self.rules[place as usize], &mut self.states[place as usize].counts);
        let (count, decision) = match (voice, &rule.action) {
            (Voice::SendUrgent, _) => (&mut counts.sent, Decision::SendUrgent(place)),
            (Voice::Send, _) => (&mut counts.sent, Decision::Send(place)),
            (Voice::BeyondExpected, _) => {
                (&mut counts.beyond_expected, Decision::BeyondExpected(place))
            }
            (Voice::Hold, Action::Hold(_, audit))
                if is_sample(self.key, &rule.id, record, *audit) =>
            {
                (&mut counts.audit_samples, Decision::AuditSample(place))
            }
            (Voice::Hold, _) => (&mut counts.held, Decision::Hold(place)),
            (Voice::Fold, _) => (&mut counts.folded, Decision::Fold(place)),
        };
        *count += 1;
        decision
    }
}

/// Returns how a rule that matches would decide; nothing if it has no say.
fn voice(
    rule: &Rule,
    state: &mut State,
    severity: Severity,
    now: Instant,
    wall: Timestamp,
) -> Option<Voice> {
    if wall >= rule.expires_at {
        state.counts.expired += 1;
        return None;
    }
    state.counts.matched += 1;
    let (bounds, voice) = match &rule.action {
        Action::SendUrgent => return Some(Voice::SendUrgent),
        Action::Send => return Some(Voice::Send),
        Action::Count => return None,
        Action::Fold(bounds, _) => (bounds, Voice::Fold),
        Action::Hold(bounds, _) => (bounds, Voice::Hold),
    };
    if severity >= Severity::Critical && !bounds.even_critical {
        state.counts.spared += 1;
        return None;
    }
    let is_beyond = state.meter.note(&bounds.expected, now);
    Some(if is_beyond { Voice::BeyondExpected } else { voice })
}

#[cfg(test)]
mod tests;
