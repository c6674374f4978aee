//! Alerts that come again and again: which of them are let through, and how many each stands for.
//!
//! Of alerts with the same key the first is let through, then the 10th, the 100th and so on, and at least one a
//! period. Each that is let through says how many it stands for: itself, and those that were folded since the one
//! before. Where folded ones are left when the period ends, the last of them is handed out with the count, so that
//! none stays uncounted because no further one came.
//!
//! # Key
//! The rule, the host, the destination and the user that the alert names, and the fields of the rule's
//! [`Terms`]. So an alert about another host, destination or user is the first of its key and let through, and no
//! alert stands for others than its like. One of a higher severity than any before it is let through, too.
//!
//! # Invariants
//! - Nothing vanishes: the counts of what was let through and handed out, and what [`Fold::uncounted`] says, are
//!   together what was taken.
//! - No key starves (L8): from one that is let through to the next alike, or to the end of the period, is at most a
//!   period, however many come; those that are folded do not renew it.
//! - L7: keys and what is kept of them have bounds; beyond them alerts are let through.
//!
//! Not here: which alerts a rule folds (see [`crate::filter`]). What is uncounted is in memory only: a process that
//! ends in good order hands it out before, one that is killed leaves it to the ledger.

mod kept;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use shared::alert::{Alert, Field, Severity};

pub use self::kept::Kept;
use crate::limits::{FOLD_BYTES_MAX, FOLD_KEYS_MAX, FOLD_PERIOD_DEFAULT, FOLD_TIDY_INTERVAL};

/// Fields that always tell keys apart.
const ALWAYS: [Field; 10] = [
    Field::DeviceHostname,
    Field::DeviceIp,
    Field::DstIp,
    Field::DstHostname,
    Field::User,
    Field::UserDomain,
    Field::UserUid,
    Field::TargetUser,
    Field::TargetUserDomain,
    Field::TargetUserUid,
];

/// How a rule folds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What tells alerts apart, besides the host, the destination and the user.
    pub by: Vec<Part>,
    /// How long the like of one that was let through are folded at most.
    pub period: Duration,
}

/// One part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A text.
    Text(Field),
    /// The names that were asked for, by whichever protocol.
    NamesAskedFor,
    /// The port that a connection came from.
    SrcPort,
    /// The port that a connection went to.
    DstPort,
}

impl Default for Terms {
    /// By product, its rule and the source; an hour.
    fn default() -> Self {
        let by = [Field::Product, Field::RuleUid, Field::SrcIp, Field::SrcHostname];
        Self { by: by.map(Part::Text).to_vec(), period: FOLD_PERIOD_DEFAULT }
    }
}

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It is let through, and stands for so many.
    Through(u64),
    /// It is folded.
    Folded,
}

/// An alert that is handed out because a period ended.
#[derive(Debug)]
pub struct HandedOut {
    /// The place of the rule that folded it.
    pub rule: u32,
    /// The last of those that were folded.
    pub kept: Kept,
    /// How many it stands for.
    pub count: u64,
}

/// What is remembered of one key.
#[derive(Debug)]
struct Entry {
    rule: u32,
    /// Number of the key, in the order in which they came.
    number: u64,
    /// How many came.
    seen: u64,
    /// The next that is let through for its number.
    next_through: u64,
    /// How many were folded since the last that was let through.
    uncounted: u64,
    /// The worst of all.
    severity: Severity,
    /// When one is let through whatever its number.
    due_at: Instant,
    /// How long it is from one that is let through to that.
    period: Duration,
    /// The last that was folded.
    kept: Kept,
}

/// The keys that are being folded.
#[derive(Debug, Default)]
pub struct Fold {
    entries: HashMap<Box<[u8]>, Entry>,
    /// Where a key is put together.
    key: Vec<u8>,
    /// Bytes of keys and of what is kept.
    bytes: usize,
    /// No folded one is due before; absent where none is.
    next_due: Option<Instant>,
    tidied_at: Option<Instant>,
    keys_made: u64,
    /// How many were let through because there was no room.
    no_room: u64,
}

impl Fold {
    /// Takes an alert that `rule` folds.
    pub fn take(
        &mut self,
        rule: u32,
        terms: &Terms,
        alert: &Alert<'_>,
        record: &[u8],
        now: Instant,
    ) -> Taken {
        write_key(&mut self.key, rule, terms, alert);
        let Some(entry) = self.entries.get_mut(self.key.as_slice()) else {
            self.open(rule, terms, alert.severity, now);
            return Taken::Through(1);
        };
        if entry.uncounted == 0 && now >= entry.due_at {
            entry.restart(); // nothing of its like came for a period
        }
        entry.seen += 1;
        let is_worse = alert.severity > entry.severity;
        entry.severity = entry.severity.max(alert.severity);
        let is_number = entry.seen == entry.next_through;
        if is_number {
            entry.next_through = entry.next_through.saturating_mul(10);
        }
        let size = Kept::size_of(alert, record);
        let bytes = self.bytes - entry.kept.bytes();
        let has_room = bytes + size <= FOLD_BYTES_MAX;
        self.no_room += u64::from(!has_room);
        if is_number || is_worse || !has_room || now >= entry.due_at {
            self.bytes = bytes;
            return Taken::Through(entry.let_through(now));
        }
        entry.kept.put(alert, record);
        entry.uncounted += 1;
        self.bytes = bytes + size;
        self.next_due = Some(self.next_due.map_or(entry.due_at, |due| due.min(entry.due_at)));
        Taken::Folded
    }

    /// Returns when something is due to be handed out, at the earliest.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.next_due
    }

    /// Hands out what is left of periods that have ended, in the order in which their keys came.
    #[must_use = "what is handed out is nowhere else"]
    pub fn take_due(&mut self, now: Instant) -> Vec<HandedOut> {
        if self.next_due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.hand_out(now, |entry| now >= entry.due_at)
    }

    /// Hands out all that is uncounted, and forgets every key.
    #[must_use = "what is handed out is nowhere else"]
    pub fn take_all(&mut self, now: Instant) -> Vec<HandedOut> {
        let out = self.hand_out(now, |_| true);
        self.entries.clear();
        self.bytes = 0;
        out
    }

    /// Returns how many were folded and neither let through nor handed out since.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.entries.values().map(|entry| entry.uncounted).sum()
    }

    /// Returns how many keys there are.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many were let through only because a bound was reached.
    #[must_use]
    pub fn no_room(&self) -> u64 {
        self.no_room
    }

    /// Begins a key, if there is room for it; without, its like are all let through.
    fn open(&mut self, rule: u32, terms: &Terms, severity: Severity, now: Instant) {
        if !self.has_room_for_key() {
            self.tidy(now);
        }
        if !self.has_room_for_key() {
            self.no_room += 1;
            return;
        }
        self.keys_made += 1;
        let entry = Entry {
            rule,
            number: self.keys_made,
            seen: 1,
            next_through: 10,
            uncounted: 0,
            severity,
            due_at: now + terms.period,
            period: terms.period,
            kept: Kept::default(),
        };
        self.bytes += self.key.len();
        self.entries.insert(self.key.as_slice().into(), entry);
    }

    fn has_room_for_key(&self) -> bool {
        self.entries.len() < FOLD_KEYS_MAX && self.bytes + self.key.len() <= FOLD_BYTES_MAX
    }

    /// Forgets keys of which nothing came for a period.
    fn tidy(&mut self, now: Instant) {
        let is_soon = |at| now.duration_since(at) < FOLD_TIDY_INTERVAL;
        if self.tidied_at.is_some_and(is_soon) {
            return;
        }
        self.tidied_at = Some(now);
        let bytes = &mut self.bytes;
        self.entries.retain(|key, entry| {
            let stays = entry.uncounted > 0 || now < entry.due_at;
            *bytes -= if stays { 0 } else { key.len() };
            stays
        });
    }

    fn hand_out(&mut self, now: Instant, is_due: impl Fn(&Entry) -> bool) -> Vec<HandedOut> {
        let mut out = Vec::new();
        self.next_due = None;
        for entry in self.entries.values_mut().filter(|entry| entry.uncounted > 0) {
            if is_due(entry) {
                self.bytes -= entry.kept.bytes();
                let (number, rule, count) = (entry.number, entry.rule, entry.uncounted);
                let kept = std::mem::take(&mut entry.kept);
                entry.let_through(now);
                out.push((number, HandedOut { rule, kept, count }));
            } else {
                self.next_due =
                    Some(self.next_due.map_or(entry.due_at, |due| due.min(entry.due_at)));
            }
        }
        out.sort_unstable_by_key(|(number, _)| *number);
        out.into_iter().map(|(_, handed_out)| handed_out).collect()
    }
}

impl Entry {
    /// Notes that one is let through; returns how many it stands for, if it is none of the folded.
    fn let_through(&mut self, now: Instant) -> u64 {
        self.due_at = now + self.period;
        self.kept = Kept::default();
        std::mem::take(&mut self.uncounted) + 1
    }

    /// Begins as if none had come yet.
    fn restart(&mut self) {
        self.seen = 0;
        self.next_through = 1;
        self.severity = Severity::Unknown;
    }
}

/// Writes what tells an alert's key apart.
fn write_key(key: &mut Vec<u8>, rule: u32, terms: &Terms, alert: &Alert<'_>) {
    key.clear();
    key.extend_from_slice(&rule.to_be_bytes());
    let always = ALWAYS.into_iter().map(Part::Text);
    for part in always.chain(terms.by.iter().copied()) {
        match part {
            Part::Text(field) => write_text(key, alert.text(field)),
            Part::NamesAskedFor => {
                Field::NAMES_ASKED_FOR.iter().for_each(|it| write_text(key, alert.text(*it)));
            }
            Part::SrcPort => write_port(key, alert.src_port),
            Part::DstPort => write_port(key, alert.dst_port),
        }
    }
}

fn write_text(key: &mut Vec<u8>, text: Option<&str>) {
    // The length first, so that no two lists of texts are written alike; absent is not empty.
    let len = text.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1));
    key.extend_from_slice(&len.to_be_bytes());
    key.extend_from_slice(text.unwrap_or_default().as_bytes());
}

fn write_port(key: &mut Vec<u8>, port: Option<u16>) {
    key.push(u8::from(port.is_some()));
    key.extend_from_slice(&port.unwrap_or_default().to_be_bytes());
}

#[cfg(test)]
mod tests;
