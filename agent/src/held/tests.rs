//! What a ring promises, on a simulated disk beside the spool's.

use shared::{
    alert::Alert,
    ids::Epoch,
    recall::{Recall, RecallEnd, RecallId, RecallOutcome},
};

use super::*;
use crate::{
    clock,
    limits::TOMBSTONE_SHARED_MAX,
    spool::{SegmentId, SimDisk},
};

const CONFIG: HeldConfig =
    HeldConfig { bytes_max: 64 << 10, age_max: Duration::from_secs(3_600), level: 1 };
const SPOOL: SpoolConfig = SpoolConfig { segment_bytes: 4 << 10, total_bytes_max: 64 << 10 };

/// A ring beside a spool, as the pipeline has them.
struct World {
    ring_disk: SimDisk,
    spool_disk: SimDisk,
    held: Held,
    spool: Spool,
    /// How many records the source has, and up to where the spool's checkpoint is.
    read: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (ring_disk, spool_disk) = (SimDisk::new(seed), SimDisk::new(seed + 1));
        let mut world = Self::open(ring_disk, spool_disk).unwrap();
        world.commit_spool(0).unwrap(); // where "from now on" begins
        world
    }

    fn open(ring_disk: SimDisk, spool_disk: SimDisk) -> Option<Self> {
        let (spool, opened) = Spool::open(Arc::new(spool_disk.clone()), SPOOL, 7).ok()?;
        let mark = opened.checkpoints.get(MARK_NAME).map(Vec::as_slice);
        let (held, _) = Held::open(Arc::new(ring_disk.clone()), CONFIG, 9, mark).ok()?;
        let read = opened
            .checkpoints
            .get("source")
            .map_or(0, |bytes| u64::from_le_bytes(bytes.as_slice().try_into().unwrap()));
        Some(Self { ring_disk, spool_disk, held, spool, read })
    }

    fn restart(self) -> Self {
        let Self { ring_disk, spool_disk, held, spool, .. } = self;
        drop((held, spool));
        Self::open(ring_disk, spool_disk).unwrap()
    }

    /// Loses power, and begins anew.
    fn crash(self) -> Self {
        let Self { ring_disk, spool_disk, held, spool, .. } = self;
        drop((held, spool));
        ring_disk.crash();
        spool_disk.crash();
        Self::open(ring_disk, spool_disk).unwrap()
    }

    /// Reads and holds the next `count` records, of two rules in turns.
    fn push(&mut self, count: u64) {
        for number in self.read..self.read + count {
            let _flow =
                self.held.push(&alert(number), &record(number), clock::now(), at(number)).unwrap();
        }
    }

    fn flush(&mut self, count: u64) -> Flushed {
        self.held.flush(clock::now(), at(self.read + count))
    }

    fn commit_spool(&mut self, count: u64) -> Result<(), SyncError> {
        let read = (self.read + count).to_le_bytes().to_vec();
        let checkpoints =
            vec![("source".to_owned(), read), (MARK_NAME.to_owned(), self.held.mark())];
        self.spool.append(&Commit { checkpoints, ..Commit::default() }).unwrap();
        self.spool.sync()?;
        self.read += count;
        self.held.confirm();
        Ok(())
    }

    /// Holds the next `count` records for good.
    fn hold(&mut self, count: u64) {
        self.push(count);
        assert!(matches!(self.flush(count), Flushed::Held));
        self.commit_spool(count).unwrap();
    }

    /// Returns what is found of a rule, in order.
    fn recall(&self, rule: &str) -> (Vec<u64>, RecallEnd) {
        recall(&self.held.reader(), ask(rule))
    }

    /// Checks that each record that was read is held once or has a tombstone, and none is twice (L3, L4).
    fn check(&self) {
        let mut told = 0;
        for parity in 0..2 {
            let (found, answer) = self.recall(rule(parity));
            let expected: Vec<u64> = (0..self.read).filter(|n| n % 2 == parity).collect();
            let evicted = answer.evicted.map_or(0, |evicted| evicted.count);
            assert_eq!(answer.lost, 0);
            assert_eq!(found.len() as u64 + evicted, expected.len() as u64, "L4: {answer:?}");
            assert_eq!(found, expected[usize::try_from(evicted).unwrap()..], "L3");
            told += found.len() as u64 + evicted;
        }
        assert_eq!(told, self.read);
        let usage = self.held.usage();
        assert_eq!(usage.records + usage.evicted, self.read);
        assert!(usage.bytes <= CONFIG.bytes_max, "L7: {usage:?}");
    }
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000 + number * 1_000)
}

fn rule(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "even" } else { "odd" }
}

fn alert(number: u64) -> Alert<'static> {
    let mut alert = Alert::default();
    (alert.observed_at, alert.time) = (at(number + 5), Some(at(number)));
    alert.set(Field::PolicyRule, rule(number));
    alert.set(Field::LogName, "eve");
    alert
}

/// Records hardly shrink, so that rings fill.
fn record(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let mut state = number;
    for _ in 0..16 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend(state.to_be_bytes());
    }
    bytes
}

fn nothing() -> RecallEnd {
    RecallEnd::empty(RecallId::first_at(Timestamp::ZERO), RecallOutcome::Answered)
}

fn ask(rule: &str) -> Recall {
    let (since, until) = (Timestamp::ZERO, Timestamp::MAX);
    let id = nothing().id;
    Recall { id, rule: rule.to_owned(), since, until, bytes_max: u64::MAX }
}

fn recall(reader: &HeldReader, ask: Recall) -> (Vec<u64>, RecallEnd) {
    let mut query = Query::new(std::slice::from_ref(reader), ask);
    let mut found = Vec::new();
    loop {
        match query.step().unwrap() {
            Step::Again => {}
            Step::Block(block) => {
                for bytes in Block::parse(block).unwrap().records().unwrap() {
                    let number = u64::from_le_bytes(*bytes.first_chunk().unwrap());
                    assert_eq!(bytes, record(number), "byte for byte");
                    found.push(number);
                }
            }
            Step::End(answer) => {
                assert_eq!(answer.records, found.len() as u64);
                return (found, answer);
            }
        }
    }
}

#[test]
fn what_a_rule_held_is_found_byte_for_byte_and_nothing_else() {
    let mut world = World::new(1);
    for count in [1, 3, 40, 2] {
        world.hold(count);
    }
    world.check();
    let since = |since, until| Recall { since: at(since), until: at(until), ..ask("odd") };
    let reader = world.held.reader();
    assert_eq!(recall(&reader, since(5, 12)).0, [5, 7, 9, 11]);
    assert_eq!(recall(&reader, since(100, 200)), (vec![], nothing()));
    assert_eq!(recall(&reader, ask("of nobody")), (vec![], nothing()));
}

#[test]
fn what_the_spool_has_not_confirmed_is_not_found() {
    let mut world = World::new(2);
    world.push(4);
    assert!(matches!(world.flush(4), Flushed::Held));
    assert!(world.recall("even").0.is_empty());
    world.commit_spool(4).unwrap();
    assert_eq!(world.recall("even").0, [0, 2]);
}

#[test]
fn a_crash_between_ring_and_spool_makes_void_what_is_read_again() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.hold(10);
        world.push(6);
        assert!(matches!(world.flush(6), Flushed::Held));
        let mut world = world.crash(); // before the spool's commit
        assert_eq!(world.read, 10);
        world.check();
        world.hold(6);
        world.check();
        let mut world = world.restart();
        world.check();
        world.hold(3);
        world.restart().crash().check();
    }
}

#[test]
fn a_crash_at_any_step_neither_loses_nor_repeats_a_record() {
    for seed in 0..300_u64 {
        let mut world = World::new(seed);
        let mut random = seed;
        for _ in 0..12 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let count = 1 + (random >> 33) % 30;
            match (random >> 40) % 8 {
                // Nothing of it is durable, or half of it is.
                0 => {
                    world.push(count);
                    world = world.crash();
                }
                1 => {
                    world.push(count);
                    world.ring_disk.fail_syncs(1);
                    assert!(matches!(world.flush(count), Flushed::Refused { .. }));
                    world = world.crash();
                }
                2 => {
                    world.push(count);
                    assert!(matches!(world.flush(count), Flushed::Held));
                    world = world.crash();
                }
                3 => {
                    world.push(count);
                    assert!(matches!(world.flush(count), Flushed::Held));
                    world.spool_disk.fail_syncs(1);
                    assert!(world.commit_spool(count).is_err());
                    world = world.crash(); // it was durable or not: the spool decides
                }
                4 => world = world.restart(),
                5 => {
                    world.hold(count);
                    world = world.crash();
                }
                _ => world.hold(count),
            }
            world.check();
        }
    }
}

#[test]
fn a_full_ring_evicts_its_oldest_records_and_says_how_many_and_of_when() {
    let mut world = World::new(4);
    for _ in 0..60 {
        world.hold(20);
    }
    world.check();
    let (found, answer) = world.recall("odd");
    let evicted = answer.evicted.unwrap();
    assert!(evicted.count > 300 && found.len() > 100, "{answer:?}");
    assert_eq!((evicted.from, evicted.until), (at(1), at(found[0] - 2)));
    assert!(evicted.evicted_at <= at(1_220));
    let world = world.crash();
    world.check();
    assert_eq!(world.recall("odd"), (found, answer), "tombstones are durable");
    let late = Recall { since: at(1_100), ..ask("odd") };
    assert_eq!(recall(&world.held.reader(), late).1.evicted, None, "nothing of that time is gone");
}

#[test]
fn what_is_too_old_is_evicted_with_a_tombstone() {
    let mut world = World::new(5);
    world.hold(20);
    let later = at(25).saturating_add(CONFIG.age_max);
    world.held.expire(later);
    world.check();
    assert_eq!(world.held.usage().records, 0);
    let stone = world.recall("even").1.evicted.unwrap();
    assert_eq!((stone.count, stone.evicted_at), (10, later));
    world.hold(2);
    world.held.expire(at(22).saturating_add(CONFIG.age_max));
    assert_eq!(world.restart().held.usage().records, 2, "it is just not too old");
}

#[test]
fn what_the_ring_does_not_take_is_given_back_and_is_not_in_it() {
    let mut world = World::new(6);
    world.hold(10);
    world.ring_disk.set_capacity(Some(0));
    world.push(4);
    let Flushed::Refused { blocks, error, .. } = world.flush(4) else { panic!("there is no room") };
    assert!(matches!(error, HoldError::Sync(SyncError::DiskFull)));
    let records = Block::parse(blocks[0].clone()).unwrap().records().unwrap();
    assert_eq!((blocks.len(), records.len()), (1, 4));
    assert_eq!(records[1], record(11));
    let counts = counts_of(&blocks);
    assert_eq!(counts[&("eve".to_owned(), "even".to_owned())], 2);
    let now = clock::now();
    let refused = world.held.push(&alert(14), &record(14), now, at(14));
    assert_eq!(refused, Err(NotHeld::Failing), "it is left alone for a while");
    let unnamed = world.held.push(&Alert::default(), &record(14), now, at(14));
    assert_eq!(unnamed, Err(NotHeld::NoRule));
    assert_eq!(world.held.usage().refused_blocks, 1);

    world.ring_disk.set_capacity(None);
    let later = now + HELD_RETRY_WAIT;
    let _flow = world.held.push(&alert(20), &record(20), later, at(20)).unwrap();
    assert!(matches!(world.held.flush(later, at(20)), Flushed::Held));
    world.commit_spool(11).unwrap();
    assert_eq!(world.held.usage().error, None);
    for world in [Some(world.restart())].into_iter().flatten() {
        assert_eq!(world.recall("even").0, [0, 2, 4, 6, 8, 20], "L3: what was sent is not held");
        assert_eq!(world.recall("even").1.lost, 0);
    }
}

#[test]
fn what_is_forgone_has_a_tombstone_that_outlives_a_restart() {
    let mut world = World::new(9);
    world.hold(10);
    world.ring_disk.set_capacity(Some(0));
    world.push(4);
    let Flushed::Refused { spans, .. } = world.flush(4) else { panic!("there is no room") };
    world.held.forgo_refused(spans, at(14));
    let mut late = alert(15);
    let now = clock::now();
    assert_eq!(world.held.push(&late, &record(15), now, at(15)), Err(NotHeld::Failing));
    world.held.forgo(&late, at(15));
    let evicted = world.recall("odd").1.evicted.unwrap();
    assert_eq!((evicted.count, evicted.from, evicted.until), (3, at(11), at(15)));

    world.ring_disk.set_capacity(None);
    let _flow = world.held.push(&alert(20), &record(20), now + HELD_RETRY_WAIT, at(20)).unwrap();
    assert!(matches!(world.held.flush(now + HELD_RETRY_WAIT, at(20)), Flushed::Held));
    world.commit_spool(11).unwrap();
    late.set(Field::PolicyRule, "odd");
    world.held.forgo(&late, at(20).saturating_add(TOMBSTONE_SHARED_MAX));
    let answer = world.recall("odd").1;
    assert_eq!((answer.evicted.unwrap().count, answer.lost), (4, 0));
    let world = world.restart();
    assert_eq!(world.recall("odd").1.evicted.unwrap().count, 3, "the last was not stored yet");
    assert_eq!(world.recall("even").0, [0, 2, 4, 6, 8, 20]);
    assert_eq!(world.recall("even").1.evicted.unwrap().count, 2);
}

#[test]
fn one_answer_has_what_several_rings_have() {
    let (mut first, mut second) = (World::new(10), World::new(12));
    first.hold(4);
    second.hold(4);
    second.hold(4);
    let readers = [first.held.reader(), second.held.reader()];
    let mut query = Query::new(&readers, ask("even"));
    let (mut records, mut bytes) = (0, 0);
    let end = loop {
        match query.step().unwrap() {
            Step::Again => {}
            Step::Block(block) => {
                bytes += block.len() as u64;
                records += u64::from(Block::parse(block).unwrap().alerts());
            }
            Step::End(end) => break end,
        }
    };
    assert_eq!((records, end.records, end.is_complete()), (6, 6, true));
    assert_eq!(bytes, end.bytes);

    // The bound is of both together.
    let little = Recall { bytes_max: bytes - 1, ..ask("even") };
    let mut query = Query::new(&readers, little);
    let end = loop {
        if let Step::End(end) = query.step().unwrap() {
            break end;
        }
    };
    assert_eq!((end.records, end.truncated), (2, true));
    assert_eq!(query.give_up(RecallOutcome::Unreadable).records, 2);
}

#[test]
fn a_query_says_when_it_must_stop_early() {
    let mut world = World::new(7);
    world.hold(100);
    let (_, whole) = recall(&world.held.reader(), ask("even"));
    let little = Recall { bytes_max: whole.bytes - 1, ..ask("even") };
    let (found, answer) = recall(&world.held.reader(), little);
    assert!(found.is_empty() && answer.truncated && answer.bytes == 0, "{answer:?}");
}

#[test]
fn damage_is_counted_as_lost() {
    let mut world = World::new(8);
    world.hold(10);
    world.hold(10);
    let id = SegmentId(1);
    let len = world.ring_disk.contents(id).unwrap().len() as u64;
    assert!(world.ring_disk.flip(id, len - 20, 1));
    let (found, answer) = world.recall("odd");
    assert_eq!((found, answer.lost), (vec![1, 3, 5, 7, 9], 5));
}

#[test]
fn a_ring_that_is_gone_is_told_of() {
    let mut world = World::new(9);
    world.hold(10);
    let World { spool_disk, .. } = world;
    let mut world = World::open(SimDisk::new(99), spool_disk).unwrap();
    assert_eq!(world.held.usage().lost, 10);
    world.hold(2);
    let (found, answer) = world.recall("even");
    assert_eq!((found, answer.lost), (vec![10], 10), "of which rule they were nobody knows");
    assert_eq!(world.restart().held.usage().lost, 10, "it is counted once");
}

#[test]
fn a_ring_of_a_spool_that_is_gone_counts_as_a_whole() {
    let mut world = World::new(10);
    world.hold(10);
    world.push(2);
    assert!(matches!(world.flush(2), Flushed::Held));
    let World { ring_disk, held, .. } = world;
    drop(held);
    let world = World::open(ring_disk, SimDisk::new(3)).unwrap();
    assert_eq!(world.recall("even").0, [0, 2, 4, 6, 8, 10]);
}

#[test]
fn a_ring_of_another_version_is_not_opened() {
    let disk = SimDisk::new(11);
    let later = Some(&[9, 1, 1, 1][..]);
    let error = Held::open(Arc::new(disk.clone()), CONFIG, 9, later).unwrap_err();
    assert!(matches!(error, OpenHeldError::Mark));
    let (spool_config, epoch) = (SpoolConfig { segment_bytes: 8 << 10, ..SPOOL }, Epoch(9));
    let (mut spool, _) = Spool::open(Arc::new(disk.clone()), spool_config, epoch.0).unwrap();
    let checkpoints = vec![("t".to_owned(), vec![9])];
    spool.append(&Commit { checkpoints, ..Commit::default() }).unwrap();
    spool.sync().unwrap();
    drop(spool);
    let error = Held::open(Arc::new(disk), CONFIG, 9, None).unwrap_err();
    assert!(matches!(error, OpenHeldError::State(_)), "{error}");
}
