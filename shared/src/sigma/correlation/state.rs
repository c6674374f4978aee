//! What correlations remember of the events before.
//!
//! **Time** is that of the events, which come in any order. A group remembers what lies within the timespan before its
//! newest event. An event that is older than that is too late: it is counted and changes nothing. One that is late but
//! within it counts as if it had come in time. Whether an event's time can be believed is for the caller to say.
//!
//! **Matching once.** A correlation matches a group when its condition comes to hold. While it goes on to hold, it
//! matches again only with the first event that is a timespan or more after the last match, so that an attack that does
//! not end is neither a flood nor forgotten (L8).
//!
//! **Memory.** A group remembers only as many events as its condition can tell apart. When there are too many groups,
//! or they remember too much, the one that no event came for longest is forgotten, and counted (L7).

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::{
    super::{
        compile::RuleSet,
        event::{Event, Value},
        pattern::fold_into,
    },
    Bounds, Kind, Member, Plan, Plans,
};
use crate::{
    limits::{
        SIGMA_CORRELATION_ENTRIES_MAX, SIGMA_CORRELATION_GROUPS_MAX, SIGMA_CORRELATION_STEPS_MAX,
    },
    time::Timestamp,
};

/// What the values of several fields come to: a digest, so that long values cost no memory.
type Key = [u8; 16];

/// The memory of all correlations of one rule set. It belongs to that set: another one begins with a new memory.
#[derive(Debug, Default)]
pub struct Correlator {
    groups: BTreeMap<(u32, Key), Group>,
    /// The groups in the order in which the last event came for them.
    order: BTreeMap<u64, (u32, Key)>,
    entries: usize,
    touches: u64,
    /// Number of the event.
    arrival: u64,
    late: u64,
    forgotten: u64,
    /// Correlations and positions that the event is still to be counted for.
    work: Vec<(u32, u32)>,
    /// What the event was counted as for one of them.
    counted: Vec<(Key, u64)>,
    matched: Vec<u32>,
    text: String,
}

/// Events of one correlation that agree in its fields.
#[derive(Debug, Default)]
struct Group {
    /// By time, and by arrival where that is equal.
    entries: VecDeque<Entry>,
    newest: Timestamp,
    /// Its place in the order.
    touched: u64,
    matched_at: Option<Timestamp>,
}

/// A remembered event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Timestamp,
    arrival: u64,
    /// What is told apart: a value, or the position of a rule.
    what: u64,
}

impl Correlator {
    /// Returns how many groups of events are remembered.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Returns how many events came too late to be counted.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Returns how many groups were forgotten before their time.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Counts an event with what it matched, both of the same rule set, and returns the correlations that match with
    /// it, in ascending order.
    pub fn handle_event(
        &mut self,
        set: &RuleSet,
        event: &dyn Event,
        rules: &[u32],
        at: Timestamp,
    ) -> &[u32] {
        self.matched.clear();
        self.work.clear();
        let plans = set.plans();
        for rule in rules {
            self.work.extend(&plans.by_rule[*rule as usize]);
        }
        if self.work.is_empty() {
            return &[];
        }
        self.arrival += 1;
        self.work.sort_unstable();
        let mut next = 0;
        while let Some((number, _)) = self.work.get(next).copied() {
            // All positions of one correlation, which those that it refers to have been counted before.
            let own = self.work[next..].iter().take_while(|(other, _)| *other == number).count();
            if self.count(number, plans, next..next + own, event, at) {
                self.matched.push(number);
                self.work.extend(&plans.by_correlation[number as usize]);
                self.work[next + own..].sort_unstable();
            }
            next += own;
        }
        &self.matched
    }

    /// Counts the event for one correlation; returns whether it matches.
    fn count(
        &mut self,
        number: u32,
        plans: &Plans,
        work: std::ops::Range<usize>,
        event: &dyn Event,
        at: Timestamp,
    ) -> bool {
        let plan = &plans.plans[number as usize];
        let mut matches = false;
        self.counted.clear();
        for index in work {
            let position = self.work[index].1;
            let member = &plan.rules[position as usize];
            let Some(key) = self.digest(&member.group_by, event) else { continue };
            let Some(what) = self.what(plan, position, member, event) else { continue };
            // An event counts once, however many of the rules match it.
            if !self.counted.contains(&(key, what)) {
                self.counted.push((key, what));
                matches |= self.remember(number, plan, key, what, at);
            }
        }
        self.forget_beyond_bounds(plans, at);
        matches
    }

    /// Returns what the event is told apart by.
    fn what(
        &mut self,
        plan: &Plan,
        position: u32,
        member: &Member,
        event: &dyn Event,
    ) -> Option<u64> {
        match plan.kind {
            Kind::EventCount(_) => Some(0),
            Kind::ValueCount(..) => {
                let digest = self.digest(&member.values, event)?;
                let head = digest.first_chunk::<8>().expect("a digest is longer");
                Some(u64::from_be_bytes(*head))
            }
            Kind::Temporal(_) | Kind::TemporalOrdered(_) => Some(u64::from(position)),
        }
    }

    /// Digests the values of the fields, ignoring case; nothing where one is missing.
    fn digest(&mut self, fields: &[Vec<u32>], event: &dyn Event) -> Option<Key> {
        let mut hash = Sha256::new();
        for names in fields {
            self.text.clear();
            let found = names.iter().any(|field| first_value(event, *field, &mut self.text));
            found.then_some(())?;
            hash.update(self.text.len().to_le_bytes());
            hash.update(self.text.as_bytes());
        }
        hash.finalize().first_chunk::<16>().copied()
    }

    fn remember(&mut self, number: u32, plan: &Plan, key: Key, what: u64, at: Timestamp) -> bool {
        let id = (number, key);
        let group = self.groups.entry(id).or_default();
        if at < group.newest.saturating_sub(plan.timespan) {
            self.late += 1;
            return false;
        }
        self.order.remove(&group.touched);
        self.touches += 1;
        group.touched = self.touches;
        self.order.insert(group.touched, id);
        let before = group.entries.len();
        group.add(plan, Entry { at, arrival: self.arrival, what });
        self.entries = self.entries + group.entries.len() - before;
        group.comes_to_match(plan, at)
    }

    fn forget_beyond_bounds(&mut self, plans: &Plans, at: Timestamp) {
        while self.groups.len() > SIGMA_CORRELATION_GROUPS_MAX
            || self.entries > SIGMA_CORRELATION_ENTRIES_MAX
        {
            let Some((_, id)) = self.order.pop_first() else { return };
            if let Some(group) = self.groups.remove(&id) {
                self.entries -= group.entries.len();
                // What lies a timespan back would no longer have made a difference.
                let is_over = at.since(group.newest) > plans.plans[id.0 as usize].timespan;
                self.forgotten += u64::from(!is_over);
            }
        }
    }
}

impl Group {
    /// Adds an event, and drops what can no longer make a difference.
    fn add(&mut self, plan: &Plan, entry: Entry) {
        self.newest = self.newest.max(entry.at);
        let oldest = self.newest.saturating_sub(plan.timespan);
        while self.entries.front().is_some_and(|entry| entry.at < oldest) {
            self.entries.pop_front();
        }
        let enough = match &plan.kind {
            Kind::EventCount(bounds) => bounds.enough(),
            // Of a value, and of a rule where order does not matter, the newest event is as good as all.
            Kind::ValueCount(bounds, _) => {
                if !self.replaces(entry) {
                    return;
                }
                bounds.enough()
            }
            Kind::Temporal(_) => {
                if !self.replaces(entry) {
                    return;
                }
                plan.rules.len()
            }
            Kind::TemporalOrdered(_) => plan.rules.len() * SIGMA_CORRELATION_STEPS_MAX,
        };
        if matches!(plan.kind, Kind::TemporalOrdered(_)) {
            self.drop_oldest_of(entry.what);
        }
        let place = self.entries.partition_point(|other| *other < entry);
        self.entries.insert(place, entry);
        if self.entries.len() > enough {
            self.entries.pop_front();
        }
    }

    /// Removes an older event that is told apart by the same; returns whether there is no newer one.
    fn replaces(&mut self, entry: Entry) -> bool {
        match self.entries.iter().position(|other| other.what == entry.what) {
            Some(place) if self.entries[place].at > entry.at => false,
            Some(place) => self.entries.remove(place).is_some(),
            None => true,
        }
    }

    fn drop_oldest_of(&mut self, what: u64) {
        let own = self.entries.iter().filter(|entry| entry.what == what).count();
        if own >= SIGMA_CORRELATION_STEPS_MAX
            && let Some(place) = self.entries.iter().position(|entry| entry.what == what)
        {
            self.entries.remove(place);
        }
    }

    /// Returns whether the condition holds and is to be said now.
    fn comes_to_match(&mut self, plan: &Plan, at: Timestamp) -> bool {
        let count = self.entries.len();
        let met = |bounds: &Bounds| bounds.met_by(count);
        let holds = match &plan.kind {
            Kind::EventCount(bounds) | Kind::ValueCount(bounds, _) => met(bounds),
            Kind::Temporal(Some(bounds)) => met(bounds),
            Kind::Temporal(None) => count == plan.rules.len(),
            Kind::TemporalOrdered(Some(bounds)) => bounds.met_by(self.longest_row(plan)),
            Kind::TemporalOrdered(None) => self.longest_row(plan) == plan.rules.len(),
        };
        if !holds {
            self.matched_at = None;
            return false;
        }
        let again = |last: Timestamp| at.since(last) >= plan.timespan;
        let says = self.matched_at.is_none_or(again);
        if says {
            self.matched_at = Some(at);
        }
        says
    }

    /// Returns how many events the longest row has, each of a later rule and behind the one before.
    fn longest_row(&self, plan: &Plan) -> usize {
        // By rule: how long the longest row is that ends with one of its events so far.
        let mut rows = vec![0; plan.rules.len()];
        let mut rest = self.entries.iter().peekable();
        while let Some(first) = rest.peek().map(|entry| (entry.at, entry.arrival)) {
            // One event that several rules match is not behind itself.
            let before = rows.clone();
            while let Some(entry) = rest.next_if(|entry| (entry.at, entry.arrival) == first) {
                let position = usize::try_from(entry.what).unwrap_or(usize::MAX);
                let shorter = before.iter().take(position).max().copied().unwrap_or(0);
                if let Some(row) = rows.get_mut(position) {
                    *row = (*row).max(shorter + 1);
                }
            }
        }
        rows.into_iter().max().unwrap_or(0)
    }
}

/// Writes the first value of a field that is not null, in the case that matching ignores; returns whether there is one.
fn first_value(event: &dyn Event, field: u32, text: &mut String) -> bool {
    use std::fmt::Write as _;
    let mut found = false;
    event.values(field as usize, &mut |value| {
        if std::mem::replace(&mut found, true) {
            return;
        }
        let mut write = |value: std::fmt::Arguments<'_>| {
            text.write_fmt(value).expect("a string takes all");
        };
        match value {
            Value::Text(value) => fold_into(value, text),
            Value::Int(value) => write(format_args!("{value}")),
            Value::Float(value) => write(format_args!("{value}")),
            Value::Bool(value) => write(format_args!("{value}")),
            Value::Null => found = false,
        }
    });
    found
}
