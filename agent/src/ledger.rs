//! Counts what becomes of every record, and keeps the sums until the coordinator has them.
//!
//! A source's sums are changed in the same step that decides about a record, and stored in the same transaction as the
//! block and the checkpoint that cover it (L3): a crash neither loses nor repeats a count. About once a minute the
//! interval closes, in the commit that stores its last records; closed intervals wait for their ack.
//!
//! ```text
//! read(), count() ... ─▶ open interval ── close() ─▶ waiting ── window() ─▶ uplink ── acked() ─▶ gone
//!                              └────── take_change() ─▶ the spool's next commit ◀──────┘
//! ```
//!
//! # Invariants
//! - L4: what is read and what is counted are told apart until the interval is checked: a record that is forgotten on
//!   the way leaves a sum that does not close.
//! - Only the oldest [`LEDGER_WINDOW`] intervals that are durable are offered for sending, and none of them is ever
//!   changed. So a number that the coordinator has seen never gets other content, whatever crashes.
//!
//! # Limits
//! Closed intervals wait in at most [`LEDGER_WAITING_BYTES_MAX`]; then neighbours behind the window are merged, at
//! first into hours. A week offline is some 200 intervals. What cannot be named is still counted.

mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use shared::{
    ids::{Lane, Seq},
    ledger::{DropReason, Hash, Interval, LossReason, SourceSums},
    limits::{LEDGER_INTERVAL_BYTES_MAX, LEDGER_SOURCES_MAX},
    time::Timestamp,
};

pub use self::state::{PAGE_PREFIX, RestoreError};
use self::state::{Stored, page_name};
use crate::limits::{
    LEDGER_MERGED_MAX, LEDGER_WAITING_BYTES_MAX, LEDGER_WAITING_MAX, LEDGER_WINDOW,
};

/// The newest block of each lane.
pub type Newest = [Option<Seq>; Lane::COUNT];

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It is an alert in a block.
    Sent(Lane),
    /// It is an alert in a block although a rule holds its like: a sample.
    Audited(Lane),
    /// It could not be parsed, and is in a block as it is.
    Malformed(Lane),
    /// It is held back by the rule of this id.
    Held(&'a str),
    /// It is folded by the rule of this id: the count of an alert goes up.
    Folded(&'a str),
    /// It is no alert.
    Skipped,
}

/// The counts of one source.
#[derive(Debug)]
pub struct Tally<'l> {
    ledger: &'l mut Ledger,
    source: usize,
}

impl Tally<'_> {
    /// Notes what became of a record.
    pub fn count(&mut self, fate: Fate<'_>) {
        self.ledger.count(self.source, fate);
    }
}

/// How intervals are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerPolicy {
    /// How long an interval is; it begins and ends at a multiple of that.
    pub interval: Duration,
    /// Most bytes that closed intervals may wait in.
    pub waiting_bytes_max: usize,
}

impl Default for LedgerPolicy {
    /// A minute, and [`LEDGER_WAITING_BYTES_MAX`].
    fn default() -> Self {
        let interval = Duration::from_secs(60);
        Self { interval, waiting_bytes_max: LEDGER_WAITING_BYTES_MAX }
    }
}

/// What a spool holds when the ledger is restored from it.
#[derive(Clone)]
pub struct Found<'a> {
    /// The ledger's state; empty where there is none.
    pub state: &'a [u8],
    /// The closed intervals, by name: what is kept under names that begin with [`PAGE_PREFIX`].
    pub pages: Vec<(&'a str, &'a [u8])>,
    /// The newest block of each lane.
    pub newest: Newest,
    /// Whether all numbers of a lane from one to another are skipped: no block ever had them.
    pub is_skipped: &'a dyn Fn(Lane, Seq, Seq) -> bool,
}

impl Found<'_> {
    /// Returns what a new spool holds.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            state: &[],
            pages: Vec::new(),
            newest: [None; Lane::COUNT],
            is_skipped: &|_, _, _| false,
        }
    }

    /// Returns whether the lanes hold blocks behind `counted`, or lack some of those.
    fn has_others(&self, counted: &Newest) -> bool {
        Lane::ALL.into_iter().any(|lane| {
            let (counted, newest) = (counted[lane.index()], self.newest[lane.index()]);
            match newest {
                Some(last) if newest > counted => {
                    !(self.is_skipped)(lane, Seq::after(counted), last)
                }
                _ => newest != counted,
            }
        })
    }
}

/// What the next commit stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The ledger's state, if it changed.
    pub state: Option<Vec<u8>>,
    /// Closed intervals that are new or have changed, by name.
    pub pages: Vec<(String, Vec<u8>)>,
    /// Names of intervals that are not needed any more.
    pub gone: Vec<String>,
    /// Whether [`Ledger::window`] is another once this is stored.
    pub has_moved: bool,
}

/// An interval that waits for its ack. It has no number yet.
#[derive(Debug)]
struct Page {
    id: u64,
    interval: Interval,
    bytes: usize,
}

/// The interval that is being counted.
#[derive(Debug)]
struct Open {
    from: Timestamp,
    /// By the order of the sources.
    sums: Vec<SourceSums>,
    restarts: u32,
    unaccounted: bool,
    /// About how long it is when it is encoded.
    bytes: usize,
}

/// The ledger of one agent.
#[derive(Debug)]
pub struct Ledger {
    policy: LedgerPolicy,
    names: Vec<String>,
    open: Open,
    /// Number and hash of the newest interval that is acked.
    head: (u64, Hash),
    waiting: VecDeque<Page>,
    next_page: u64,
    /// Pages to be stored with the next commit, and to be let go.
    dirty: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    /// The newest block of each lane that the counts cover.
    newest: Newest,
    rules_version: u64,
    is_changed: bool,
    has_moved: bool,
}

impl Ledger {
    /// Returns the ledger that the spool holds, for the sources of these names. An interval that was open when the
    /// agent stopped is closed with what its last commit counted.
    ///
    /// # Errors
    /// [`RestoreError`], on what only a later version can have written.
    pub fn restore(
        policy: LedgerPolicy,
        names: Vec<String>,
        found: &Found<'_>,
        now: Timestamp,
    ) -> Result<Self, RestoreError> {
        let stored = Stored::decode(found.state)?;
        let waiting = found.pages.iter().map(|(name, bytes)| state::decode_page(name, bytes));
        let mut waiting: Vec<Page> = waiting.collect::<Result<_, _>>()?;
        waiting.sort_by_key(|page| page.id);
        let counted = stored.as_ref().map_or([None; Lane::COUNT], |stored| stored.newest);
        let unaccounted = found.has_others(&counted);
        let newest_page = waiting.last().map_or(0, |page| page.id + 1);
        let mut ledger = Self {
            policy,
            open: Open::new(&names, now, 1, unaccounted),
            names,
            head: stored.as_ref().map_or((0, Hash::default()), |stored| stored.head),
            waiting: waiting.into(),
            next_page: stored.as_ref().map_or(0, |stored| stored.next_page).max(newest_page),
            dirty: BTreeSet::new(),
            gone: BTreeSet::new(),
            newest: found.newest,
            rules_version: 0,
            is_changed: true,
            has_moved: true,
        };
        if let Some(stored) = stored {
            ledger.push(stored.into_interval());
        }
        Ok(ledger)
    }

    /// Notes that a record of the source was taken; what becomes of it is told to the tally, or by [`Self::count`].
    pub fn read(&mut self, source: usize) -> Tally<'_> {
        self.open.sums[source].read += 1;
        self.is_changed = true;
        Tally { ledger: self, source }
    }

    /// Notes what became of a record of the source.
    pub fn count(&mut self, source: usize, fate: Fate<'_>) {
        let sums = &mut self.open.sums[source];
        match fate {
            Fate::Sent(lane) => sums.sent[lane.index()] += 1,
            Fate::Audited(lane) => {
                sums.sent[lane.index()] += 1;
                sums.audited += 1;
            }
            Fate::Malformed(lane) => sums.malformed[lane.index()] += 1,
            Fate::Skipped => sums.skipped += 1,
            Fate::Held(rule) | Fate::Folded(rule) => {
                let is_held = matches!(fate, Fate::Held(_));
                let rules = if is_held { &mut sums.held } else { &mut sums.folded };
                if let Some(count) = rules.get_mut(rule) {
                    *count += 1;
                } else {
                    rules.insert(rule.to_owned(), 1);
                    self.open.bytes += rule.len() + RULE_BYTES;
                }
            }
        }
        self.is_changed = true;
    }

    /// Notes that records which a rule was to hold are in blocks of `lane` after all, as no place could hold them.
    pub fn sent_instead(&mut self, source: usize, rule: &str, lane: Lane, count: u64) {
        let sums = &mut self.open.sums[source];
        if let Some(held) = sums.held.get_mut(rule) {
            let count = count.min(*held);
            *held -= count;
            sums.sent[lane.index()] += count;
            if *held == 0 {
                sums.held.remove(rule);
            }
            self.is_changed = true;
        }
    }

    /// Notes that an alert was put into a block of `lane` that says how many of the source's records were folded.
    pub fn count_summary(&mut self, source: usize, lane: Lane) {
        self.open.sums[source].summaries[lane.index()] += 1;
        self.is_changed = true;
    }

    /// Notes that records of the source came and are not in our hands.
    pub fn dropped(&mut self, source: usize, reason: DropReason, count: u64) {
        if count > 0 {
            let sums = &mut self.open.sums[source];
            sums.read += count;
            *sums.dropped.entry(reason).or_default() += count;
            self.is_changed = true;
        }
    }

    /// Notes that something of the source is lost, and nobody knows how many records that were.
    pub fn lost(&mut self, source: usize, reason: LossReason, count: u64) {
        if count > 0 {
            *self.open.sums[source].losses.entry(reason).or_default() += count;
            self.is_changed = true;
        }
    }

    /// Notes which version of the policy decides from here on.
    pub fn set_rules_version(&mut self, version: u64) {
        self.is_changed |= self.rules_version != version;
        self.rules_version = version;
    }

    /// Returns whether the open interval is to be closed with the next commit.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let interval = u64::try_from(self.policy.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let of = |at: Timestamp| at.as_ms() / interval;
        of(now) != of(self.open.from) || now < self.open.from || self.is_full()
    }

    /// Returns whether the open interval names so much that it must be closed before the next record.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.open.bytes > LEDGER_INTERVAL_BYTES_MAX / 2
    }

    /// Returns whether something was counted or acked that is not stored yet.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Closes the open interval at `until` and begins the next; `newest` are the newest blocks once the commit is
    /// stored that this change goes with.
    pub fn close(&mut self, until: Timestamp, newest: Newest) {
        self.newest = newest;
        let next = Open::new(&self.names, until, 0, false);
        let open = std::mem::replace(&mut self.open, next);
        let stored =
            Stored::of(&open, self.head, self.next_page, newest, self.rules_version, until);
        self.push(stored.into_interval());
    }

    /// Returns what the next commit has to store, which makes the blocks up to `newest`. The caller commits it or ends:
    /// it is not returned again.
    pub fn take_change(&mut self, now: Timestamp, newest: Newest) -> Change {
        if !self.is_changed && self.newest == newest {
            return Change::default();
        }
        self.newest = newest;
        self.is_changed = false;
        let (head, version) = (self.head, self.rules_version);
        let stored = Stored::of(&self.open, head, self.next_page, newest, version, now);
        let dirty = std::mem::take(&mut self.dirty);
        let pages = self.waiting.iter().filter(|page| dirty.contains(&page.id));
        let pages = pages.map(|page| (page_name(page.id), page.interval.encode())).collect();
        let gone = std::mem::take(&mut self.gone).into_iter().map(page_name).collect();
        let has_moved = std::mem::take(&mut self.has_moved);
        Change { state: Some(stored.encode()), pages, gone, has_moved }
    }

    /// Returns the oldest intervals that wait, numbered and chained. To be offered only once they are stored.
    #[must_use]
    pub fn window(&self) -> Vec<Interval> {
        let mut head = self.head;
        let link = |page: &Page| {
            let interval = chained(&page.interval, head);
            head = (interval.number, interval.hash());
            interval
        };
        self.waiting.iter().take(LEDGER_WINDOW).map(link).collect()
    }

    /// Returns how many intervals wait for their ack.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of the newest interval that is acked.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.head.0
    }

    /// Lets go of the intervals up to `up_to`, which the coordinator has. More than were ever offered means that this
    /// ledger was set back: then what waits keeps waiting under new numbers, and the chain shows that it broke.
    pub fn handle_acked(&mut self, up_to: u64) {
        if up_to <= self.head.0 {
            return;
        }
        (self.is_changed, self.has_moved) = (true, true);
        let offered = self.waiting.len().min(LEDGER_WINDOW) as u64;
        if up_to > self.head.0 + offered {
            self.head = (up_to, Hash::default());
            return;
        }
        while self.head.0 < up_to
            && let Some(page) = self.waiting.pop_front()
        {
            let interval = chained(&page.interval, self.head);
            self.head = (interval.number, interval.hash());
            self.dirty.remove(&page.id);
            self.gone.insert(page.id);
        }
    }

    /// Puts a closed interval behind those that wait, and makes room where there are too many.
    fn push(&mut self, interval: Interval) {
        let id = self.next_page;
        self.next_page += 1;
        let bytes = interval.encode().len();
        self.waiting.push_back(Page { id, interval, bytes });
        self.dirty.insert(id);
        (self.is_changed, self.has_moved) = (true, true);
        while self.is_over() && self.merge_one() {}
    }

    fn is_over(&self) -> bool {
        let bytes: usize = self.waiting.iter().map(|page| page.bytes).sum();
        self.waiting.len() > LEDGER_WAITING_MAX || bytes > self.policy.waiting_bytes_max
    }

    /// Merges two neighbours behind the window: of one version of the policy the oldest that are an hour together at
    /// most, else those that are shortest together; of two versions only where no others are left. Returns whether
    /// there were two.
    fn merge_one(&mut self) -> bool {
        let span = |at: usize| {
            let (first, next) = (&self.waiting[at].interval, &self.waiting[at + 1].interval);
            next.until.since(first.from)
        };
        // An interval with more sources than may be could not be read again.
        let fits = |at: &usize| {
            let (first, next) = (&self.waiting[*at].interval, &self.waiting[at + 1].interval);
            let is_new = |it: &&SourceSums| !first.sources.iter().any(|of| of.source == it.source);
            first.sources.len() + next.sources.iter().filter(is_new).count() <= LEDGER_SOURCES_MAX
        };
        let policy = |at: usize| self.waiting[at].interval.policy;
        let pairs = (LEDGER_WINDOW..self.waiting.len().saturating_sub(1)).filter(fits);
        let alike = pairs.clone().filter(|at| policy(*at) == policy(at + 1));
        let within_hour = alike.clone().find(|at| span(*at) <= LEDGER_MERGED_MAX);
        let shortest = || alike.min_by_key(|at| span(*at));
        let any = || pairs.min_by_key(|at| span(*at));
        let Some(at) = within_hour.or_else(shortest).or_else(any) else { return false };
        let next = self.waiting.remove(at + 1).expect("the pair is there");
        let page = &mut self.waiting[at];
        page.interval.merge(&next.interval);
        page.bytes = page.interval.encode().len();
        self.dirty.remove(&next.id);
        self.dirty.insert(page.id);
        self.gone.insert(next.id);
        true
    }
}

/// About how many bytes a rule's count takes beside its name.
const RULE_BYTES: usize = 6;

impl Open {
    fn new(names: &[String], from: Timestamp, restarts: u32, unaccounted: bool) -> Self {
        let sums: Vec<_> = names.iter().map(|name| SourceSums::of(name)).collect();
        let bytes = names.iter().map(|name| name.len() + size_of::<SourceSums>() / 2).sum();
        Self { from, sums, restarts, unaccounted, bytes }
    }
}

/// Returns the interval as it follows from `head`.
fn chained(interval: &Interval, head: (u64, Hash)) -> Interval {
    Interval { number: head.0 + 1, previous: head.1, ..interval.clone() }
}
