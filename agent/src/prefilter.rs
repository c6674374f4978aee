//! Asks the policy about an alert: which rules match, what the loudest of them wants, and what folding makes of it.
//!
//! ```text
//! alert, record ─▶ rules that match ─▶ correlations that it completes ─▶ Decision ─▶ fold ─▶ Verdict: sent, how,
//!                                                                                  for how many; held; folded
//! ```
//! Everything is pure: time comes in as an argument, and what is remembered (rates, folded keys, counts, what
//! correlations have seen) is the [`Prefilter`]'s own.
//!
//! Correlations go by the alerts' own time, so that a backlog counts as it would have live; a time ahead of the clock
//! by more than clocks differ counts as now, since who sends it could else have all others come too late.
//!
//! Not here: what is done with a verdict (see [`crate::app`]).

mod record;
mod view;

use std::time::Instant;

use shared::{
    alert::{Alert, Field, Handling},
    ids::Epoch,
    sigma::{Correlator, Scratch},
    time::Timestamp,
};

use self::view::Fields;
use crate::{
    filter::{Action, Decision, Filter},
    fold::{Fold, HandedOut, Taken},
    limits::CORRELATION_AHEAD_MAX,
    normalise::Normaliser,
    policy::Policy,
};

/// An alert, and what it was read out of.
#[derive(Clone, Copy, Debug)]
pub struct Read<'r> {
    /// The alert.
    pub alert: &'r Alert<'r>,
    /// Its record.
    pub record: &'r [u8],
    /// What read it, and knows how the record is written.
    pub reader: &'r Normaliser,
}

/// What becomes of an alert, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send {
        /// Why.
        handling: Handling,
        /// How many it stands for.
        count: u64,
        /// The place of the rule that decided, if one did.
        rule: Option<u32>,
    },
    /// It is held back.
    Hold {
        /// The place of the rule that holds it.
        rule: u32,
    },
    /// It is folded: a later one stands for it.
    Fold {
        /// The place of the rule that folds it.
        rule: u32,
    },
}

impl Verdict {
    /// That of an alert that no rule has a say about.
    pub const PASS: Self = Self::Send { handling: Handling::Sent, count: 1, rule: None };
}

/// A policy at work.
#[derive(Debug)]
pub struct Prefilter {
    policy: Policy,
    fields: Fields,
    scratch: Scratch,
    correlator: Correlator,
    /// The places of what the alert in hand matches and completes; kept for its memory.
    matched: Vec<u32>,
    filter: Filter,
    fold: Fold,
}

impl Prefilter {
    /// Returns a policy that has judged nothing yet; `key` is the spool's epoch (see [`Filter::new`]).
    #[must_use]
    pub fn new(policy: Policy, key: Epoch) -> Self {
        let fields = Fields::new(policy.sigma().fields().iter().map(|name| &**name));
        let filter = Filter::new(policy.rules().to_vec(), key);
        Self {
            policy,
            fields,
            scratch: Scratch::default(),
            correlator: Correlator::default(),
            matched: Vec::new(),
            filter,
            fold: Fold::default(),
        }
    }

    /// Takes over what `earlier` remembers of the rules that are still here; what it folded must have been taken out
    /// of it before.
    pub fn remember(&mut self, earlier: &Self) {
        self.filter.remember(&earlier.filter);
    }

    /// Returns the policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the rules and what they did.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Returns the id of the rule at a place that a verdict names.
    #[must_use]
    pub fn rule_id(&self, rule: u32) -> &str {
        &self.filter.rules()[rule as usize].id
    }

    /// Returns what correlations remember.
    #[must_use]
    pub fn correlator(&self) -> &Correlator {
        &self.correlator
    }

    /// Returns what is being folded.
    #[must_use]
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// Says what becomes of an alert that was read at `now`; `wall` decides which rules have ended.
    pub fn judge(&mut self, read: Read<'_>, now: Instant, wall: Timestamp) -> Verdict {
        let Read { alert, record, .. } = read;
        self.find_matches(read, wall);
        let matched = self.matched.iter().copied();
        let decision = self.filter.decide(matched, alert.severity, record, now, wall);
        let sent = |handling, rule| Verdict::Send { handling, count: 1, rule: Some(rule) };
        match decision {
            Decision::Pass => Verdict::PASS,
            Decision::Send(rule) => sent(Handling::Sent, rule),
            Decision::SendUrgent(rule) => sent(Handling::Urgent, rule),
            Decision::BeyondExpected(rule) => sent(Handling::BeyondExpected, rule),
            Decision::AuditSample(rule) => sent(Handling::AuditSample, rule),
            Decision::Hold(rule) => Verdict::Hold { rule },
            Decision::Fold(rule) => self.take_into_fold(rule, alert, record, now),
        }
    }

    /// Finds the rules that match an alert, and the correlations that it completes.
    fn find_matches(&mut self, read: Read<'_>, wall: Timestamp) {
        let Self { policy, fields, scratch, correlator, matched, .. } = self;
        let (view, sigma, alert) = (fields.view(read), policy.sigma(), read.alert);
        let found = sigma.matches(&view, scratch).iter().copied();
        matched.clear();
        matched.extend(found.filter(|rule| policy.is_meant(*rule, alert)));
        if !matched.is_empty() && !sigma.correlations().is_empty() {
            // One that lies ahead would have all that come before it be late.
            let at = alert.event_time().min(wall.saturating_add(CORRELATION_AHEAD_MAX));
            let completed = correlator.handle_event(sigma, &view, matched, at);
            matched.extend(completed.iter().map(|index| policy.place_of_correlation(*index)));
        }
    }

    /// Writes a verdict into its alert.
    pub fn mark<'p>(&'p self, verdict: &Verdict, alert: &mut Alert<'p>) {
        let rule = match *verdict {
            Verdict::Send { handling, count, rule } => {
                alert.handling = handling;
                alert.count = count;
                rule
            }
            Verdict::Hold { rule } | Verdict::Fold { rule } => Some(rule),
        };
        if let Some(rule) = rule {
            alert.set(Field::PolicyRule, &*self.filter.rules()[rule as usize].id);
        }
    }

    /// Returns when something folded is due, at the earliest.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.fold.due_at()
    }

    /// Hands out what was folded and whose period has ended.
    #[must_use = "what is handed out is nowhere else"]
    pub fn take_due(&mut self, now: Instant) -> Vec<HandedOut> {
        let out = self.fold.take_due(now);
        out.iter().for_each(|out| self.filter.note_let_through(out.rule));
        out
    }

    /// Hands out all that was folded and that nothing stands for yet.
    #[must_use = "what is handed out is nowhere else"]
    pub fn take_all(&mut self, now: Instant) -> Vec<HandedOut> {
        let out = self.fold.take_all(now);
        out.iter().for_each(|out| self.filter.note_let_through(out.rule));
        out
    }

    /// Returns the alert that stands for what was folded.
    #[must_use]
    pub fn alert_of<'p>(&'p self, out: &'p HandedOut) -> Alert<'p> {
        let mut alert = out.kept.alert();
        let (handling, count, rule) = (Handling::Folded, out.count, Some(out.rule));
        self.mark(&Verdict::Send { handling, count, rule }, &mut alert);
        alert
    }

    fn take_into_fold(
        &mut self,
        rule: u32,
        alert: &Alert<'_>,
        record: &[u8],
        now: Instant,
    ) -> Verdict {
        let Action::Fold(_, terms) = &self.filter.rules()[rule as usize].action else {
            unreachable!("only a rule that folds decides so")
        };
        match self.fold.take(rule, terms, alert, record, now) {
            Taken::Through(count) => {
                self.filter.note_let_through(rule);
                Verdict::Send { handling: Handling::Folded, count, rule: Some(rule) }
            }
            Taken::Folded => Verdict::Fold { rule },
        }
    }
}

#[cfg(test)]
mod tests;
