use std::collections::BTreeMap;

use shared::ids::Lane;

use super::*;

const MINUTE: u64 = 60_000;

/// A spool as far as the ledger is concerned: what is durable.
#[derive(Clone, Default)]
struct Disk {
    state: Vec<u8>,
    pages: BTreeMap<String, Vec<u8>>,
    newest: Newest,
    skipped: Vec<(Lane, u64)>,
}

impl Disk {
    fn store(&mut self, change: Change, newest: Newest) {
        if let Some(state) = change.state {
            self.state = state;
        }
        self.pages.extend(change.pages);
        change.gone.iter().for_each(|name| drop(self.pages.remove(name)));
        self.newest = newest;
    }

    fn open(&self, policy: LedgerPolicy, now: u64) -> Ledger {
        let pages = self.pages.iter().map(|(name, page)| (name.as_str(), page.as_slice()));
        let is_skipped = |lane, first: Seq, last: Seq| {
            let is_skipped = |number| self.skipped.contains(&(lane, number));
            (first.as_u64()..=last.as_u64()).all(is_skipped)
        };
        let (state, pages, newest) = (&self.state, pages.collect(), self.newest);
        let found = Found { state, pages, newest, is_skipped: &is_skipped };
        let names = vec!["wazuh".to_owned(), "eve".to_owned()];
        Ledger::restore(policy, names, &found, Timestamp::from_ms(now)).unwrap()
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn newest(bulk: u64) -> Newest {
    [None, None, Seq::new(bulk)]
}

#[test]
fn every_record_is_counted_once_and_each_sum_closes() {
    let mut ledger = Disk::default().open(LedgerPolicy::default(), 1_000);
    let fates = [
        Fate::Sent(Lane::Urgent),
        Fate::Audited(Lane::Bulk),
        Fate::Malformed(Lane::Normal),
        Fate::Held("scan"),
        Fate::Held("scan"),
        Fate::Folded("noise"),
        Fate::Skipped,
    ];
    for fate in fates {
        ledger.read(1);
        ledger.count(1, fate);
    }
    ledger.dropped(0, DropReason::SocketBuffer, 5);
    ledger.lost(0, LossReason::LostFile, 1);
    ledger.count_summary(1, Lane::Bulk);
    ledger.set_rules_version(4);
    assert!(!ledger.is_due(at(MINUTE - 1)) && ledger.is_due(at(MINUTE)));
    ledger.close(at(MINUTE), newest(1));
    let window = ledger.window();
    let [interval] = window.as_slice() else { panic!("{window:?}") };
    assert_eq!(interval.imbalances(), []);
    assert_eq!((interval.from, interval.until), (at(1_000), at(MINUTE)));
    assert_eq!((interval.number, interval.policy, interval.blocks), (1, 4, newest(1)));
    let [eve, wazuh] = interval.sources.as_slice() else { panic!("{interval:?}") };
    assert_eq!((eve.source.as_str(), eve.read, eve.audited), ("eve", 7, 1));
    assert_eq!((eve.sent, eve.malformed, eve.summaries), ([1, 0, 1], [0, 1, 0], [0, 0, 1]));
    assert_eq!((eve.held["scan"], eve.folded["noise"], eve.skipped), (2, 1, 1));
    assert_eq!((wazuh.read, wazuh.dropped[&DropReason::SocketBuffer]), (5, 5));
    assert_eq!(wazuh.losses[&LossReason::LostFile], 1);
}

#[test]
fn a_record_whose_fate_nobody_tells_leaves_a_sum_that_does_not_close() {
    let mut ledger = Disk::default().open(LedgerPolicy::default(), 0);
    ledger.read(0);
    ledger.close(at(MINUTE), newest(0));
    assert_eq!(ledger.window()[0].imbalances().len(), 1);
}

#[test]
fn intervals_follow_one_another_and_a_restart_shows_how_long_it_took() {
    let mut disk = Disk::default();
    let mut ledger = disk.open(LedgerPolicy::default(), 0);
    ledger.close(at(MINUTE), newest(0));
    ledger.read(0);
    ledger.count(0, Fate::Skipped);
    disk.store(ledger.take_change(at(MINUTE + 500), newest(3)), newest(3));
    ledger.read(0); // not stored: read again after the crash
    let mut ledger = disk.open(LedgerPolicy::default(), MINUTE + 9_000);
    ledger.close(at(2 * MINUTE), newest(3));
    let window = ledger.window();
    let bounds: Vec<_> = window.iter().map(|i| (i.from.as_ms(), i.until.as_ms())).collect();
    assert_eq!(bounds, [(0, MINUTE), (MINUTE, MINUTE + 500), (MINUTE + 9_000, 2 * MINUTE)]);
    assert_eq!(window.iter().map(|i| i.restarts).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!(window[1].sources[1].read, 1, "a crash neither loses nor repeats a count");
    assert!(window.iter().all(|i| i.imbalances().is_empty() && !i.unaccounted));
    assert!(window.windows(2).all(|pair| pair[1].previous == pair[0].hash()));
}

#[test]
fn blocks_that_were_made_without_the_ledger_are_said_so() {
    let mut disk = Disk { newest: newest(7), ..Disk::default() };
    let mut ledger = disk.open(LedgerPolicy::default(), 0);
    disk.store(ledger.take_change(at(1), newest(7)), newest(7));
    let mut ledger = disk.open(LedgerPolicy::default(), 2);
    disk.store(ledger.take_change(at(3), newest(7)), newest(7));
    disk.newest = newest(9); // by a program that knows no ledger
    let mut ledger = disk.open(LedgerPolicy::default(), 4);
    ledger.close(at(5), newest(9));
    let unaccounted: Vec<_> = ledger.window().iter().map(|i| i.unaccounted).collect();
    assert_eq!(unaccounted, [true, false, true]);
}

#[test]
fn numbers_that_no_block_ever_had_are_no_blocks_without_the_ledger() {
    let mut disk = Disk::default();
    let mut ledger = disk.open(LedgerPolicy::default(), 0);
    disk.store(ledger.take_change(at(1), newest(7)), newest(7));
    disk.newest = newest(9); // a crash in the middle of a write
    disk.skipped = vec![(Lane::Bulk, 8), (Lane::Bulk, 9)];
    for (skipped, expected) in [(2, false), (1, true)] {
        disk.skipped.truncate(skipped);
        let mut ledger = disk.open(LedgerPolicy::default(), 2);
        ledger.close(at(3), newest(9));
        assert_eq!(ledger.window()[1].unaccounted, expected);
    }
}

#[test]
fn what_is_acked_goes_and_what_is_not_keeps_its_number_and_hash() {
    let mut disk = Disk::default();
    let mut ledger = disk.open(LedgerPolicy::default(), 0);
    (1..=5).for_each(|n| ledger.close(at(n * MINUTE), newest(n)));
    disk.store(ledger.take_change(at(5 * MINUTE), newest(5)), newest(5));
    let before = ledger.window();
    ledger.handle_acked(3);
    ledger.handle_acked(2); // an older ack says nothing new
    assert_eq!(ledger.window(), before[3..]);
    // The ack was not stored: after a crash the same intervals are offered again.
    let again = disk.open(LedgerPolicy::default(), 9 * MINUTE);
    assert_eq!(again.window()[..5], before);
    disk.store(ledger.take_change(at(5 * MINUTE), newest(5)), newest(5));
    assert_eq!((disk.pages.len(), ledger.acked()), (2, 3));
    let again = disk.open(LedgerPolicy::default(), 9 * MINUTE);
    assert_eq!(again.window()[..2], before[3..]);
}

#[test]
fn an_ack_of_what_was_never_offered_loses_nothing_and_breaks_the_chain() {
    let mut ledger = Disk::default().open(LedgerPolicy::default(), 0);
    (1..=2).for_each(|n| ledger.close(at(n * MINUTE), newest(n)));
    ledger.handle_acked(50);
    let numbers: Vec<_> = ledger.window().iter().map(|i| i.number).collect();
    assert_eq!(numbers, [51, 52]);
    assert_eq!(ledger.window()[0].previous, Hash::default());
}

#[test]
fn a_clock_that_is_set_back_closes_the_interval_and_begins_anew() {
    let mut ledger = Disk::default().open(LedgerPolicy::default(), 10 * MINUTE);
    assert!(ledger.is_due(at(9 * MINUTE)));
    ledger.close(at(9 * MINUTE), newest(0));
    ledger.close(at(9 * MINUTE + 1), newest(0));
    let window = ledger.window();
    assert_eq!((window[0].from, window[0].until), (at(10 * MINUTE), at(10 * MINUTE)));
    assert_eq!((window[1].from, window[1].until), (at(9 * MINUTE), at(9 * MINUTE + 1)));
    assert!(window.iter().all(|interval| interval.check().is_ok()));
}

#[test]
fn a_week_offline_fits_and_every_count_of_it_is_there() {
    let mut disk = Disk::default();
    let mut ledger = disk.open(LedgerPolicy::default(), 0);
    let minutes = 7 * 24 * 60;
    for minute in 1..=minutes {
        for source in 0..2 {
            ledger.read(source);
            ledger.count(source, Fate::Sent(Lane::Bulk));
        }
        let (now, newest) = (at(minute * MINUTE), newest(minute));
        ledger.close(now, newest);
        disk.store(ledger.take_change(now, newest), newest);
    }
    assert!(ledger.waiting() <= LEDGER_WAITING_MAX);
    assert_eq!(disk.pages.len(), ledger.waiting());
    let bytes: usize = disk.pages.values().map(Vec::len).sum();
    assert!(bytes < 128 << 10, "{bytes}");
    // Everything arrives, without a gap between.
    let (mut read, mut until, mut previous) = (0, at(0), Hash::default());
    while ledger.waiting() > 0 {
        let window = ledger.window();
        for interval in &window {
            assert_eq!((interval.from, interval.previous), (until, previous));
            assert!(interval.until.since(interval.from) <= LEDGER_MERGED_MAX);
            (until, previous) = (interval.until, interval.hash());
            read += interval.sources.iter().map(|sums| sums.read).sum::<u64>();
        }
        ledger.handle_acked(window.last().unwrap().number);
    }
    assert_eq!((read, until), (2 * minutes, at(minutes * MINUTE)));
}

#[test]
fn intervals_of_two_versions_of_the_policy_are_not_merged_while_there_are_others() {
    let mut ledger = Disk::default().open(LedgerPolicy::default(), 0);
    let day = 24 * 60;
    for minute in 1..=day {
        ledger.read(0).count(Fate::Sent(Lane::Bulk));
        // Two hours each of three versions.
        ledger.set_rules_version(1 + (minute / 120) % 3);
        ledger.close(at(minute * MINUTE), newest(minute));
    }
    let mut read = BTreeMap::<u64, u64>::new();
    while ledger.waiting() > 0 {
        let window = ledger.window();
        for interval in &window {
            let sums = interval.sources.iter().map(|sums| sums.read).sum::<u64>();
            *read.entry(interval.policy).or_default() += sums;
        }
        ledger.handle_acked(window.last().unwrap().number);
    }
    let expected = (1..=day).fold(BTreeMap::new(), |mut all, minute| {
        *all.entry(1 + (minute / 120) % 3).or_default() += 1;
        all
    });
    assert_eq!(read, expected);
}

#[test]
fn what_may_have_been_sent_is_never_merged() {
    let policy = LedgerPolicy { waiting_bytes_max: 10_000, ..LedgerPolicy::default() };
    let mut ledger = Disk::default().open(policy, 0);
    ledger.close(at(MINUTE), newest(1));
    let mut seen: Vec<Interval> = ledger.window();
    for minute in 2..2_000 {
        ledger.close(at(minute * MINUTE), newest(minute));
        let window = ledger.window();
        assert_eq!(window[..seen.len()], seen);
        seen = window;
    }
    assert!(ledger.waiting() < 200, "{}", ledger.waiting());
}

#[test]
fn an_interval_that_names_many_rules_is_closed_early() {
    let mut ledger = Disk::default().open(LedgerPolicy::default(), 0);
    let mut closed = 0;
    for rule in 0..1_000 {
        if ledger.is_full() {
            ledger.close(at(1), newest(0));
            closed += 1;
        }
        ledger.read(0);
        ledger.count(0, Fate::Held(&format!("a-rule-with-a-long-name-{rule}")));
    }
    ledger.close(at(2), newest(0));
    let window = ledger.window();
    assert!(closed > 2 && window.len() == closed + 1);
    assert!(window.iter().all(|interval| interval.encode().len() <= LEDGER_INTERVAL_BYTES_MAX));
    let held = window.iter().flat_map(|interval| interval.sources[1].held.values());
    assert_eq!(held.sum::<u64>(), 1_000);
}

#[test]
fn what_a_later_version_wrote_is_refused() {
    let policy = LedgerPolicy::default();
    let restore = |state: &[u8], pages| {
        let found = Found { state, pages, ..Found::nothing() };
        Ledger::restore(policy, vec![], &found, at(0)).unwrap_err()
    };
    assert_eq!(restore(&[9], vec![]), RestoreError::Version(9));
    assert!(matches!(restore(&[1, 0], vec![]), RestoreError::State(_)));
    let name = "/ledger/0000000000000001";
    assert!(matches!(restore(&[], vec![(name, &[9])]), RestoreError::Page { .. }));
    assert!(matches!(restore(&[], vec![("/ledger/x", &[])]), RestoreError::Page { .. }));
}
