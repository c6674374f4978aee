//! What a spool promises, on a simulated disk.

mod damage;
mod faults;
mod golden;
mod model;
mod numbers;

use std::{collections::BTreeMap, sync::Arc};

use super::{disk::Disk, *};

const CONFIG: SpoolConfig = SpoolConfig { segment_bytes: 4 << 10, total_bytes_max: 64 << 10 };

#[test]
fn a_block_is_seen_after_its_sync_and_not_before() {
    let (mut spool, opened) = open(&SimDisk::new(0));
    assert!(opened.created);
    let reader = spool.reader();
    let appended = spool.append(&blocks(&[(Lane::Normal, 100), (Lane::Urgent, 50)])).unwrap();
    assert_eq!(appended.seqs, [(Lane::Normal, Seq::FIRST), (Lane::Urgent, Seq::FIRST)]);
    let error = reader.read(Lane::Normal, Seq::FIRST).unwrap_err();
    assert!(matches!(error, ReadError::NotDurable { .. }));
    assert_eq!(reader.heads()[1], LaneHead { first: Seq::FIRST, last: None });
    spool.sync().unwrap();
    assert_eq!(reader.heads()[1], LaneHead { first: Seq::FIRST, last: Some(Seq::FIRST) });
    assert_eq!(reader.heads()[2], LaneHead { first: Seq::FIRST, last: None });
    assert_eq!(reader.read(Lane::Normal, Seq::FIRST).unwrap(), block(100));
    assert_eq!(reader.read(Lane::Urgent, Seq::FIRST).unwrap(), block(50));
}

#[test]
fn a_sync_is_one_write_and_one_sync_however_much_was_appended() {
    let disk = SimDisk::new(0);
    let (mut spool, _) =
        open_with(&disk, SpoolConfig { segment_bytes: 1 << 20, total_bytes_max: 8 << 20 });
    let before = disk.call_counts();
    for _ in 0..5 {
        spool.append(&blocks(&[(Lane::Normal, 60_000)])).unwrap();
    }
    spool.sync().unwrap();
    spool.sync().unwrap();
    assert_eq!(disk.call_counts(), (before.0 + 1, before.1 + 1));
}

#[test]
fn a_reopened_spool_is_what_it_was() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    for round in 0..40_u8 {
        let mut commit = blocks(&[(Lane::Bulk, 300), (Lane::Normal, 20 + usize::from(round))]);
        commit.checkpoints = vec![(format!("source-{}", round % 3), vec![round; 4])];
        commit.ledger = Some(vec![round]);
        spool.append(&commit).unwrap();
        spool.sync().unwrap();
    }
    spool.forget("source-1").unwrap();
    spool.forget("never seen").unwrap();
    spool.sync().unwrap();
    let heads = spool.reader().heads();
    drop(spool);
    let (spool, opened) = open_again(&disk);
    let expected = [("source-0", 39), ("source-2", 38)];
    let expected = expected.map(|(name, value)| (name.to_owned(), vec![value; 4]));
    assert_eq!(opened.checkpoints, BTreeMap::from(expected));
    assert_eq!(opened.ledger, [39]);
    assert_eq!((opened.damage, opened.torn_bytes, opened.is_stale), (vec![], 0, false));
    assert_eq!(spool.reader().heads(), heads);
    assert_eq!(spool.epoch(), Epoch(0xe90c));
    for number in 1..=40 {
        let read = spool.reader().read(Lane::Normal, seq(number)).unwrap();
        assert_eq!(read, block(19 + usize::try_from(number).unwrap()));
    }
}

#[test]
fn reopening_without_news_adds_no_segment() {
    let disk = SimDisk::new(0);
    drop(open(&disk));
    for _ in 0..5 {
        drop(open_again(&disk));
    }
    assert_eq!(disk.list().unwrap().len(), 1);
    let (mut spool, _) = open_again(&disk);
    spool.append(&blocks(&[(Lane::Bulk, 10)])).unwrap();
    spool.sync().unwrap();
    assert_eq!(disk.list().unwrap().len(), 1);
}

#[test]
fn acked_segments_are_deleted_also_between_others() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Bulk, 100)])).unwrap();
    store(&mut spool, Lane::Normal, 40, 1000);
    let reader = spool.reader();
    let before = spool.usage();
    reader.advance(Lane::Normal, seq(40)).unwrap();
    assert!(spool.collect().unwrap() > 30_000);
    assert!(spool.usage().bytes < before.bytes - 30_000);
    assert_eq!(spool.usage().segments, 3, "one with the bulk block, and the two newest");
    assert_eq!(reader.read(Lane::Bulk, seq(1)).unwrap(), block(100));
    assert!(matches!(reader.read(Lane::Normal, seq(40)), Err(ReadError::Acked { .. })));
    drop(spool);
    let (spool, opened) = open_again(&disk);
    assert_eq!(opened.damage, []);
    assert_eq!(spool.reader().read(Lane::Bulk, seq(1)).unwrap(), block(100));
    assert_eq!(spool.reader().heads()[1].last, Some(seq(40)));
}

#[test]
fn an_ack_for_a_block_never_made_is_refused() {
    let (mut spool, _) = open(&SimDisk::new(0));
    spool.append(&blocks(&[(Lane::Bulk, 10)])).unwrap();
    let error = spool.reader().advance(Lane::Bulk, seq(1)).unwrap_err();
    assert_eq!(error, AdvanceError { lane: Lane::Bulk, up_to: seq(1), last: None });
    spool.sync().unwrap();
    spool.reader().advance(Lane::Bulk, seq(1)).unwrap();
    assert_eq!(spool.reader().heads()[2], LaneHead { first: seq(2), last: Some(seq(1)) });
    spool.reader().advance(Lane::Bulk, seq(1)).unwrap();
}

#[test]
fn a_full_spool_still_takes_urgent_blocks_and_checkpoints() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    let full = loop {
        match spool.append(&blocks(&[(Lane::Normal, 900)])) {
            Ok(_) => spool.sync().unwrap(),
            Err(error) => break error,
        }
    };
    let AppendError::Full { limit, .. } = full else { panic!("{full:?}") };
    assert!(limit < CONFIG.total_bytes_max && spool.usage().bytes <= limit);
    spool.append(&blocks(&[(Lane::Urgent, 900)])).unwrap();
    spool.sync().unwrap();
    for round in 0..5000_u16 {
        let checkpoints = vec![("eve".into(), round.to_le_bytes().to_vec())];
        spool.append(&Commit { checkpoints, ..Commit::default() }).unwrap();
        spool.sync().unwrap();
        assert!(spool.usage().bytes <= CONFIG.total_bytes_max);
    }
    let last = spool.reader().heads()[1].last.unwrap();
    spool.reader().advance(Lane::Normal, last).unwrap();
    spool.append(&blocks(&[(Lane::Normal, 900)])).unwrap();
}

#[test]
fn what_breaks_a_bound_is_refused_and_changes_nothing() {
    let disk = SimDisk::new(0);
    let (mut spool, _) =
        open_with(&disk, SpoolConfig { segment_bytes: 16 << 20, total_bytes_max: 64 << 20 });
    let too_large = |result: Result<Appended, AppendError>| {
        assert!(matches!(result, Err(AppendError::TooLarge { .. })), "{result:?}");
    };
    too_large(spool.append(&blocks(&[(Lane::Bulk, BLOCK_BYTES_MAX + 1)])));
    too_large(spool.append(&blocks(&[(Lane::Bulk, BLOCK_BYTES_MAX); 4])));
    let named =
        |name: String, len| Commit { checkpoints: vec![(name, vec![0; len])], ..Commit::default() };
    too_large(spool.append(&named("x".repeat(65_536), 1)));
    too_large(spool.append(&named("x".into(), META_BYTES_MAX)));
    spool.append(&named("x".repeat(65_535), META_BYTES_MAX / 2)).unwrap();
    spool.sync().unwrap();
    too_large(spool.append(&named("y".into(), META_BYTES_MAX / 2)));
    spool.append(&blocks(&[(Lane::Bulk, BLOCK_BYTES_MAX); 3])).unwrap();
    let result = spool.append(&blocks(&[(Lane::Bulk, BLOCK_BYTES_MAX)]));
    assert!(matches!(result, Err(AppendError::Unsynced { .. })), "{result:?}");
    spool.sync().unwrap();
    assert_eq!(spool.reader().read(Lane::Bulk, seq(3)).unwrap(), block(BLOCK_BYTES_MAX));
    assert_eq!(spool.reader().heads()[2].last, Some(seq(3)));
}

#[test]
fn many_small_blocks_are_found_in_any_order() {
    let (mut spool, _) = open_with(
        &SimDisk::new(0),
        SpoolConfig { segment_bytes: 1 << 20, total_bytes_max: 8 << 20 },
    );
    for number in 1..=3000 {
        let lane = if number % 3 == 0 { Lane::Urgent } else { Lane::Normal };
        spool.append(&blocks(&[(lane, number)])).unwrap();
        if number % 2 == 0 {
            spool.sync().unwrap();
        }
    }
    let reader = spool.reader();
    for number in (1..=2000).rev().chain((1..=2000).step_by(7)) {
        let nth = usize::try_from((number - 1) / 2 * 3 + (number - 1) % 2 + 1).unwrap();
        assert_eq!(reader.read(Lane::Normal, seq(number)).unwrap(), block(nth));
    }
    for number in 1..=1000 {
        let nth = 3 * usize::try_from(number).unwrap();
        assert_eq!(reader.read(Lane::Urgent, seq(number)).unwrap(), block(nth));
    }
}

#[test]
fn bounds_that_do_not_fit_together_are_refused() {
    for (segment_bytes, total_bytes_max) in
        [(4095, 1 << 20), (4096, 4 * 4096 - 1), (2 << 30, 9 << 30)]
    {
        let config = SpoolConfig { segment_bytes, total_bytes_max };
        let result = Spool::open(Arc::new(SimDisk::new(0)), config, 1);
        assert!(matches!(result, Err(OpenError::Config { .. })));
    }
}

#[test]
fn a_spool_of_a_newer_version_is_refused_and_left_alone() {
    let disk = SimDisk::new(0);
    drop(open(&disk));
    let mut bytes = disk.contents(SegmentId(1)).unwrap();
    bytes[4] = 3;
    let crc = crc32c::crc32c(&bytes[..HEAD_BYTES - 4]);
    bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    disk.put(SegmentId(1), bytes.clone());
    let result = Spool::open(Arc::new(disk.clone()), CONFIG, 1);
    assert!(matches!(result, Err(OpenError::Version { version: 3, .. })));
    assert_eq!(disk.contents(SegmentId(1)), Some(bytes));
}

#[test]
fn a_spool_works_in_a_real_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for round in 1..=3 {
        let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
        let (mut spool, opened) = Spool::open(disk, CONFIG, 7).unwrap();
        assert_eq!((opened.created, opened.damage, opened.torn_bytes), (round == 1, vec![], 0));
        for _ in 0..15 {
            count += 1;
            spool.append(&blocks(&[(Lane::Normal, count)])).unwrap();
            spool.append(&blocks(&[(Lane::Bulk, 500)])).unwrap();
            spool.sync().unwrap();
        }
        for number in 1..=count {
            let read = spool.reader().read(Lane::Normal, seq(number as u64)).unwrap();
            assert_eq!(read, block(number));
        }
    }
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    let (mut spool, _) = Spool::open(disk, CONFIG, 7).unwrap();
    spool.reader().advance(Lane::Normal, seq(45)).unwrap();
    spool.reader().advance(Lane::Bulk, seq(45)).unwrap();
    assert!(spool.collect().unwrap() > 10_000);
    assert_eq!(spool.usage().segments, 2);
}

#[test]
fn reading_goes_on_while_another_thread_writes() {
    let (mut spool, _) = open_with(
        &SimDisk::new(0),
        SpoolConfig { segment_bytes: 16 << 10, total_bytes_max: 256 << 10 },
    );
    let reader = spool.reader();
    let sender = std::thread::spawn(move || {
        let mut next = Seq::FIRST;
        while next.as_u64() <= 2000 {
            match reader.read(Lane::Normal, next) {
                Ok(read) => {
                    assert_eq!(read, block(400));
                    reader.advance(Lane::Normal, next).unwrap();
                    next = next.next().unwrap();
                }
                Err(ReadError::NotDurable { .. }) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut made = 0;
    while made < 2000 {
        match spool.append(&blocks(&[(Lane::Normal, 400)])) {
            Ok(_) => made += 1,
            Err(AppendError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
        spool.sync().unwrap();
    }
    sender.join().unwrap();
}

fn open(disk: &SimDisk) -> (Spool, Opened) {
    open_with(disk, CONFIG)
}

fn open_again(disk: &SimDisk) -> (Spool, Opened) {
    let (spool, opened) = open_with(disk, CONFIG);
    assert!(!opened.created);
    (spool, opened)
}

fn open_with(disk: &SimDisk, config: SpoolConfig) -> (Spool, Opened) {
    Spool::open(Arc::new(disk.clone()), config, 0xe90c).unwrap()
}

/// Makes `count` blocks of `len` bytes durable, each by a sync of its own.
fn store(spool: &mut Spool, lane: Lane, count: usize, len: usize) {
    for _ in 0..count {
        spool.append(&blocks(&[(lane, len)])).unwrap();
        spool.sync().unwrap();
    }
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

/// Returns bytes that tell their length, and where they were cut.
fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 + len) as u8 ^ (at >> 8) as u8).collect()
}

fn block(len: usize) -> ReadBlock {
    ReadBlock::Block(bytes(len))
}

fn blocks(blocks: &[(Lane, usize)]) -> Commit {
    let blocks = blocks.iter().map(|(lane, len)| (*lane, bytes(*len))).collect();
    Commit { blocks, ..Commit::default() }
}
