//! Bytes that changed on disk.

use super::*;

/// A spool of several segments, each block of its own length; the disk, and the length of each
/// block by lane.
fn example() -> (SimDisk, Vec<(Lane, Seq, usize)>) {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    let mut made = Vec::new();
    for round in 0..24_usize {
        let lanes = [(Lane::Normal, 200 + round), (Lane::ALL[round % 3], 300 + round)];
        let mut commit = blocks(&lanes);
        commit.checkpoints = vec![("eve".into(), vec![u8::try_from(round).unwrap(); 8])];
        commit.ledger = Some(vec![u8::try_from(round).unwrap()]);
        let appended = spool.append(&commit).unwrap();
        let lens = lanes.iter().map(|(_, len)| *len);
        made.extend(appended.seqs.into_iter().zip(lens).map(|((lane, seq), len)| (lane, seq, len)));
        spool.sync().unwrap();
    }
    assert!(disk.list().unwrap().len() >= 4);
    (disk, made)
}

/// Where the newest record begins: in which segment, and at which byte.
fn newest_record(disk: &SimDisk) -> (SegmentId, u64) {
    let (id, size) = disk.list().unwrap().into_iter().max().unwrap();
    let mut scan = scan::Scan::new(disk, id, size, None);
    let (mut at, mut next) = (0, 0);
    while let Some((head, _)) = scan.record_from(next).unwrap() {
        (at, next) = (head.offset, head.end_offset());
    }
    (id, at)
}

/// Checks that nothing is wrong silently, and returns how many blocks are lost.
fn check(disk: &SimDisk, made: &[(Lane, Seq, usize)], cut_newest: bool) -> usize {
    let (mut spool, opened) = open_again(disk);
    let reader = spool.reader();
    let mut lost = 0;
    for (lane, seq, len) in made {
        match reader.read(*lane, *seq) {
            Ok(ReadBlock::Block(read)) => assert_eq!(read, bytes(*len), "{lane} {seq}"),
            Ok(ReadBlock::Lost { first, last, reason }) => {
                assert!(first == *seq && last >= first);
                let is_skipped = reason == LostReason::Skipped;
                assert!(!is_skipped || (cut_newest && opened.torn_bytes > 0), "{opened:?}");
                lost += 1;
            }
            Err(error) => panic!("{lane} {seq}: {error} {opened:?}"),
        }
    }
    assert!(cut_newest || opened.torn_bytes == 0, "{opened:?}");
    let newest = if opened.torn_bytes > 0 { 22 } else { 23 };
    if !opened.is_stale {
        assert_eq!(opened.checkpoints["eve"], [newest; 8]);
        assert_eq!(opened.ledger, [newest]);
    }
    for (lane, first, last) in opened.damage.iter().flat_map(|damage| &damage.lost) {
        for number in first.as_u64()..=last.as_u64() {
            let read = reader.read(*lane, seq(number)).unwrap();
            assert!(matches!(read, ReadBlock::Lost { .. }), "{lane} {number}");
        }
    }
    // The spool goes on, and says the same the next time.
    let appended = spool.append(&blocks(&[(Lane::Bulk, 77)])).unwrap();
    let made_last = made.iter().rev().find(|(lane, ..)| *lane == Lane::Bulk).unwrap().1;
    assert!(appended.seqs[0].1 > made_last, "a number is used again: {opened:?}");
    spool.sync().unwrap();
    drop(spool);
    let (spool, again) = open_again(disk);
    assert_eq!(spool.reader().read(Lane::Bulk, appended.seqs[0].1).unwrap(), block(77));
    assert_eq!(again.torn_bytes, 0);
    lost
}

#[test]
fn no_flipped_byte_gives_wrong_data_or_cuts_off_what_follows_it() {
    let (disk, made) = example();
    let newest = newest_record(&disk);
    let mut flipped = 0;
    for (id, size) in disk.list().unwrap() {
        for offset in (0..size).step_by(3) {
            let copy = disk.copy();
            assert!(copy.flip(id, offset, 1 << (offset % 8)));
            let in_newest = (id, offset) >= newest;
            let lost = check(&copy, &made, in_newest);
            assert!(lost <= 2, "one place hits one commit: {lost} at {id} {offset}");
            flipped += 1;
        }
    }
    assert!(flipped > 4000, "{flipped}");
}

#[test]
fn numbers_of_a_cut_tail_are_never_used_again() {
    let (disk, made) = example();
    let (id, begin) = newest_record(&disk);
    let size = disk.size(id).unwrap();
    let last = |lane| made.iter().rev().find(|made| made.0 == lane).map(|made| made.1);
    for offset in begin..size {
        let copy = disk.copy();
        copy.flip(id, offset, 1);
        let (spool, opened) = open_again(&copy);
        assert_eq!(opened.torn_bytes, size - begin);
        let most = opened.torn_bytes / 9 + 1;
        for (lane, head) in Lane::ALL.into_iter().zip(spool.reader().heads()) {
            let (_, first, end) = *opened.skipped.iter().find(|(of, ..)| *of == lane).unwrap();
            assert!(end >= last(lane).unwrap() && head.last == Some(end), "{lane} {opened:?}");
            assert_eq!(end.as_u64() - first.as_u64() + 1, most, "no more than could be in it");
        }
        // What is skipped stays so, also once all before it is acked and gone.
        let skipped = opened.skipped.clone();
        let mut spool = spool;
        for (lane, first, end) in &skipped {
            spool.reader().advance(*lane, seq(first.as_u64() - 1)).unwrap();
            let lost = |first| ReadBlock::Lost { first, last: *end, reason: LostReason::Skipped };
            let inside = first.next().unwrap();
            assert_eq!(spool.reader().read(*lane, *first).unwrap(), lost(*first));
            assert_eq!(spool.reader().read(*lane, inside).unwrap(), lost(inside));
        }
        store(&mut spool, Lane::Normal, 9, 1000);
        spool.collect().unwrap();
        assert!(!copy.list().unwrap().iter().any(|(other, _)| *other <= id));
        drop(spool);
        let (spool, opened) = open_again(&copy);
        assert_eq!((opened.torn_bytes, opened.skipped), (0, vec![]));
        for (lane, first, end) in &skipped {
            assert_eq!(spool.reader().heads()[lane.index()].first, *first);
            let lost = ReadBlock::Lost { first: *first, last: *end, reason: LostReason::Skipped };
            assert_eq!(spool.reader().read(*lane, *first).unwrap(), lost);
        }
        let after = skipped.iter().find(|(lane, ..)| *lane == Lane::Normal).unwrap().2;
        assert_eq!(spool.reader().read(Lane::Normal, after.next().unwrap()).unwrap(), block(1000));
    }
}

#[test]
fn skipped_numbers_are_acked_and_let_their_segment_go_like_blocks() {
    let (disk, _) = example();
    let (id, begin) = newest_record(&disk);
    disk.flip(id, begin, 1);
    let (mut spool, opened) = open_again(&disk);
    let reader = spool.reader();
    for (lane, first, last) in &opened.skipped {
        // A coordinator that had some of them: what is between its block and the end is left.
        let inside = seq(first.as_u64() + 2);
        reader.advance(*lane, inside).unwrap();
        let next = inside.next().unwrap();
        let lost = ReadBlock::Lost { first: next, last: *last, reason: LostReason::Skipped };
        assert_eq!(reader.read(*lane, next).unwrap(), lost);
        assert!(reader.advance(*lane, last.next().unwrap()).is_err(), "that was never made");
        reader.advance(*lane, *last).unwrap();
        assert!(matches!(reader.read(*lane, *last), Err(ReadError::Acked { .. })));
    }
    store(&mut spool, Lane::Urgent, 20, 900);
    let last = reader.heads()[0].last.unwrap();
    reader.advance(Lane::Urgent, last).unwrap();
    spool.collect().unwrap();
    assert_eq!(spool.usage().segments, 2);
}

#[test]
fn a_clean_end_skips_nothing() {
    let (disk, made) = example();
    let (mut spool, opened) = open_again(&disk);
    assert_eq!((opened.torn_bytes, opened.skipped), (0, vec![]));
    let last = made.iter().rev().find(|(lane, ..)| *lane == Lane::Normal).unwrap().1;
    let appended = spool.append(&blocks(&[(Lane::Normal, 10)])).unwrap();
    assert_eq!(appended.seqs, [(Lane::Normal, last.next().unwrap())]);
}

#[test]
fn a_skip_whose_note_is_damaged_is_not_forgotten() {
    let (disk, _) = example();
    let (id, begin) = newest_record(&disk);
    disk.flip(id, begin + 100, 1);
    let (spool, first) = open_again(&disk);
    let heads = spool.reader().heads();
    drop(spool);
    let (note, size) = disk.list().unwrap().into_iter().max().unwrap();
    for offset in 92..size {
        let copy = disk.copy();
        copy.flip(note, offset, 1);
        let (spool, opened) = open_again(&copy);
        assert_eq!((opened.torn_bytes, opened.skipped.len()), (0, 0), "its head says it");
        assert_eq!(spool.reader().heads(), heads);
        let (lane, skipped, last) = first.skipped[0];
        let lost = ReadBlock::Lost { first: skipped, last, reason: LostReason::Skipped };
        assert_eq!(spool.reader().read(lane, skipped).unwrap(), lost);
    }
}

#[test]
fn what_can_be_read_again_after_its_numbers_were_skipped_stays_skipped() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    store(&mut spool, Lane::Normal, 3, 100);
    drop(spool);
    // The medium gives none of the two newest back when the spool is opened, and cannot be cut.
    let (id, whole) = (SegmentId(1), disk.contents(SegmentId(1)).unwrap());
    let mut scan = scan::Scan::new(&disk, id, whole.len() as u64, None);
    let (first, _) = scan.record_from(1).unwrap().unwrap();
    let (second, _) = scan.record_from(first.end_offset()).unwrap().unwrap();
    let mut unread = whole.clone();
    unread[usize::try_from(second.offset).unwrap()..].fill(0);
    disk.put(id, unread);
    disk.fail_truncates(9);
    let (mut spool, opened) = open_again(&disk);
    assert_eq!(opened.skipped[1].1, seq(2));
    let after = spool.append(&blocks(&[(Lane::Normal, 200)])).unwrap().seqs[0].1;
    spool.sync().unwrap();
    drop(spool);
    disk.put(id, whole);
    disk.fail_truncates(0);
    for round in 0..3 {
        let (spool, opened) = open_again(&disk);
        assert_eq!((opened.damage, opened.skipped), (vec![], vec![]), "{round}");
        let read = |number| spool.reader().read(Lane::Normal, number).unwrap();
        assert_eq!((read(seq(1)), read(after)), (block(100), block(200)), "{round}");
        let last = seq(after.as_u64() - 1);
        let reason = LostReason::Skipped;
        assert_eq!(read(seq(2)), ReadBlock::Lost { first: seq(2), last, reason }, "{round}");
    }
}

#[test]
fn a_gap_ends_within_the_spool_whatever_a_head_claims_when_it_is_read_again() {
    let (disk, _) = example();
    let (id, begin) = newest_record(&disk);
    disk.flip(id, begin, 1);
    let (spool, opened) = open_again(&disk);
    let (lane, first, last) = opened.skipped[0];
    let (note, _) = disk.list().unwrap().into_iter().max().unwrap();
    let mut bytes = disk.contents(note).unwrap();
    let mut head = Head::decode(&bytes).unwrap();
    head.counts = [1 << 30; 3];
    bytes[..HEAD_BYTES].copy_from_slice(&head.encode());
    disk.put(note, bytes);
    let lost = ReadBlock::Lost { first, last, reason: LostReason::Skipped };
    assert_eq!(spool.reader().read(lane, first).unwrap(), lost);
}

#[test]
fn a_flipped_byte_is_told_unless_it_is_told_when_the_block_is_read() {
    let (disk, made) = example();
    for (id, size) in disk.list().unwrap() {
        for offset in (0..size).step_by(7) {
            let copy = disk.copy();
            copy.flip(id, offset, 0x10);
            let (spool, opened) = open_again(&copy);
            let told = !opened.damage.is_empty() || opened.torn_bytes > 0;
            let lost = made.iter().any(|(lane, seq, _)| {
                !matches!(spool.reader().read(*lane, *seq), Ok(ReadBlock::Block(_)))
            });
            assert!(told || lost, "{id} {offset}");
        }
    }
}

#[test]
fn lost_stretches_of_any_length_lose_what_is_in_them_and_no_more() {
    let (disk, made) = example();
    let newest = newest_record(&disk);
    for (id, size) in disk.list().unwrap() {
        for begin in (0..size).step_by(97) {
            for len in [17, 333, 1500, size] {
                let end = (begin + len).min(size);
                let copy = disk.copy();
                (begin..end).for_each(|offset| _ = copy.flip(id, offset, 0xff));
                let reaches_newest = id == newest.0 && end > newest.1;
                if reaches_newest && begin < newest.1 {
                    // All at the end is wrong: it cannot be told from a write that was not
                    // finished.
                    drop(Spool::open(Arc::new(copy), CONFIG, 1).unwrap());
                    continue;
                }
                check(&copy, &made, reaches_newest);
            }
        }
    }
}

#[test]
fn bad_sectors_are_damage_and_no_error() {
    let (disk, made) = example();
    let ids: Vec<_> = disk.list().unwrap().into_iter().map(|(id, _)| id).collect();
    for id in &ids[..ids.len() - 1] {
        let copy = disk.copy();
        copy.make_unreadable(*id, 1000..1001);
        assert!(check(&copy, &made, false) > 0);
    }
}

#[test]
fn a_bad_sector_before_a_cut_end_does_not_keep_the_spool_from_opening() {
    let disk = SimDisk::new(0);
    let config = SpoolConfig { segment_bytes: 64 << 10, total_bytes_max: 1 << 20 };
    let (mut spool, _) = open_with(&disk, config);
    store(&mut spool, Lane::Normal, 10, 5000);
    drop(spool);
    let size = disk.size(SegmentId(1)).unwrap();
    disk.flip(SegmentId(1), size - 1, 1);
    disk.make_unreadable(SegmentId(1), 20_000..20_001);
    let (spool, opened) = open_with(&disk, config);
    assert!(opened.torn_bytes > 5000);
    let is_lost = |number| {
        let read = spool.reader().read(Lane::Normal, seq(number)).unwrap();
        matches!(read, ReadBlock::Lost { reason: LostReason::Damaged, .. })
    };
    assert_eq!((1..=9).filter(|number| is_lost(*number)).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_shortened_or_missing_segment_is_a_gap() {
    let (disk, made) = example();
    let ids: Vec<_> = disk.list().unwrap().into_iter().collect();
    for (id, size) in &ids[1..ids.len() - 1] {
        for len in [0, 50, 92, 700, size - 1] {
            let copy = disk.copy();
            copy.put(*id, disk.contents(*id).unwrap()[..usize::try_from(len).unwrap()].to_vec());
            assert!(check(&copy, &made, false) > 0);
        }
        let copy = disk.copy();
        copy.delete(*id).unwrap();
        assert!(check(&copy, &made, false) > 0);
    }
}

#[test]
fn blocks_lost_with_the_oldest_segments_beginning_are_before_the_first() {
    let (disk, made) = example();
    disk.delete(SegmentId(1)).unwrap();
    let (spool, _) = open_again(&disk);
    let before = spool.reader().heads();
    drop(spool);
    (0..1000).for_each(|offset| _ = disk.flip(SegmentId(2), offset, 0xff));
    let (spool, opened) = open_again(&disk);
    assert_eq!((opened.damage[0].offset, opened.damage[0].segment), (0, SegmentId(2)));
    let first = spool.reader().heads()[1].first;
    assert!(first > before[1].first);
    for (lane, seq, len) in made.iter().filter(|(lane, ..)| *lane == Lane::Normal) {
        match spool.reader().read(*lane, *seq) {
            Ok(read) => assert_eq!(read, block(*len)),
            Err(error) => assert!(*seq < first && matches!(error, ReadError::Acked { .. })),
        }
    }
}

#[test]
fn a_record_cut_at_its_border_is_missed() {
    let (disk, _) = example();
    let (_, opened) = {
        let copy = disk.copy();
        let bytes = disk.contents(SegmentId(2)).unwrap();
        let mut scan = scan::Scan::new(&disk, SegmentId(2), bytes.len() as u64, None);
        let (mut last, mut next) = (0, 0);
        while let Some((head, _)) = scan.record_from(next).unwrap() {
            (last, next) = (head.offset, head.end_offset());
        }
        copy.put(SegmentId(2), bytes[..usize::try_from(last).unwrap()].to_vec());
        open_again(&copy)
    };
    assert_eq!(opened.damage.len(), 1);
    assert_eq!((opened.damage[0].segment, opened.damage[0].bytes), (SegmentId(2), 0));
    assert!(!opened.damage[0].lost.is_empty());
}

#[test]
fn a_block_that_looks_like_a_record_is_not_taken_for_one() {
    let (disk, _) = example();
    let foreign = Bytes::from(disk.contents(SegmentId(1)).unwrap());
    let disk = SimDisk::new(0);
    let (mut spool, _) = Spool::open(Arc::new(disk.clone()), CONFIG, 0xe90c).unwrap();
    for _ in 0..3 {
        let commit = Commit { blocks: vec![(Lane::Bulk, foreign.clone())], ..Commit::default() };
        spool.append(&commit).unwrap();
        spool.sync().unwrap();
    }
    drop(spool);
    disk.flip(SegmentId(2), 150, 1);
    let (spool, opened) = open_again(&disk);
    let read = |number| spool.reader().read(Lane::Bulk, seq(number)).unwrap();
    assert_eq!(opened.checkpoints, BTreeMap::new());
    assert_eq!(read(1), ReadBlock::Block(foreign.clone()));
    assert!(matches!(read(2), ReadBlock::Lost { reason: LostReason::Damaged, .. }));
    assert_eq!(read(3), ReadBlock::Block(foreign));
}

#[test]
fn the_newest_snapshot_may_be_damaged() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Bulk, 100)])).unwrap();
    for round in 0..40_u8 {
        let mut commit = blocks(&[(Lane::Normal, 1000)]);
        commit.checkpoints = vec![("eve".into(), vec![round])];
        spool.append(&commit).unwrap();
        spool.sync().unwrap();
    }
    spool.reader().advance(Lane::Normal, seq(40)).unwrap();
    spool.collect().unwrap();
    drop(spool);
    let newest = newest_record(&disk).0;
    for offset in 0..100 {
        let copy = disk.copy();
        copy.flip(newest, offset, 4);
        let (spool, opened) = open_again(&copy);
        assert!(!opened.is_stale, "the segment before it says the same");
        assert_eq!(opened.checkpoints["eve"], [39]);
        assert_eq!(spool.reader().heads()[1].last, Some(seq(40)));
    }
}

#[test]
fn a_spool_without_one_sound_record_begins_again_in_another_epoch() {
    let disk = SimDisk::new(0);
    for id in [3, 4] {
        disk.put(SegmentId(id), vec![0xa5; 3000]);
    }
    let (spool, opened) = Spool::open(Arc::new(disk.clone()), CONFIG, 9).unwrap();
    assert!(opened.created && opened.is_stale);
    assert_eq!(spool.epoch(), Epoch(9));
    assert_eq!(opened.damage.iter().map(|damage| damage.bytes).collect::<Vec<_>>(), [3000; 2]);
    let ids: Vec<_> = disk.list().unwrap().iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [5]);
}

#[test]
fn a_segment_that_can_be_read_again_does_not_take_the_place_of_the_spool_begun_without_it() {
    let disk = SimDisk::new(0);
    let (mut old, _) = open(&disk);
    old.append(&blocks(&[(Lane::Normal, 300)])).unwrap();
    old.sync().unwrap();
    drop(old);
    let sound = disk.contents(SegmentId(1)).unwrap();
    disk.put(SegmentId(1), vec![0xa5; sound.len()]);
    disk.fail_deletes(1);
    let (mut new, opened) = Spool::open(Arc::new(disk.clone()), CONFIG, 9).unwrap();
    assert!(opened.created && opened.is_stale);
    assert_eq!(opened.damage.len(), 1);
    assert_eq!(disk.list().unwrap().len(), 2, "the unreadable segment cannot be deleted");
    new.append(&blocks(&[(Lane::Normal, 200)])).unwrap();
    new.sync().unwrap();
    drop(new);
    disk.put(SegmentId(1), sound);
    for _ in 0..2 {
        let (spool, opened) = open_again(&disk);
        assert_eq!(spool.epoch(), Epoch(9));
        assert_eq!((opened.torn_bytes, opened.is_stale), (0, false));
        assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(200));
    }
}

#[test]
fn a_report_of_damage_everywhere_stays_short() {
    let disk = SimDisk::new(0);
    let config = SpoolConfig { segment_bytes: 1 << 20, total_bytes_max: 8 << 20 };
    let (mut spool, _) = open_with(&disk, config);
    store(&mut spool, Lane::Normal, 2000, 20);
    drop(spool);
    let bytes = disk.contents(SegmentId(1)).unwrap();
    let heads: Vec<_> = bytes.windows(4).enumerate().filter(|(_, w)| w == b"SBSL").collect();
    assert_eq!(heads.len(), 2001);
    for (offset, _) in heads.iter().step_by(2) {
        disk.flip(SegmentId(1), *offset as u64, 1);
    }
    let (_, opened) = open_with(&disk, config);
    assert_eq!(opened.damage.len(), 256);
    let lost = opened.damage.iter().flat_map(|damage| &damage.lost);
    assert_eq!(lost.map(|(_, _, last)| last.as_u64()).max(), Some(1998));
}
