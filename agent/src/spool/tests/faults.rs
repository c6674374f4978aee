//! A disk that is full or fails.

use super::*;

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
    spool.sync().unwrap();
    let len = disk.size(SegmentId(1)).unwrap();
    disk.set_capacity(Some(len + 200));
    spool.append(&blocks(&[(Lane::Normal, 600)])).unwrap();
    for _ in 0..3 {
        assert!(matches!(spool.sync(), Err(SyncError::DiskFull)));
        assert_eq!(disk.size(SegmentId(1)).unwrap(), len, "the write was cut back");
    }
    assert_eq!(spool.append(&blocks(&[(Lane::Urgent, 1)])), Err(AppendError::DiskFull));
    assert_eq!(spool.reader().heads()[1].last, Some(seq(1)));
    disk.set_capacity(None);
    spool.sync().unwrap();
    spool.append(&blocks(&[(Lane::Normal, 700)])).unwrap();
    spool.sync().unwrap();
    assert_eq!(disk.list().unwrap().len(), 1);
    drop(spool);
    let (spool, opened) = open_again(&disk);
    assert_eq!((opened.damage, opened.torn_bytes), (vec![], 0));
    for (number, len) in [(1, 500), (2, 600), (3, 700)] {
        assert_eq!(spool.reader().read(Lane::Normal, seq(number)).unwrap(), block(len));
    }
}

#[test]
fn a_partial_write_that_cannot_be_cut_back_closes_its_segment() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    let len = disk.size(SegmentId(1)).unwrap();
    disk.set_capacity(Some(len + 200));
    disk.fail_truncates(1);
    spool.append(&blocks(&[(Lane::Normal, 600)])).unwrap();
    assert!(matches!(spool.sync(), Err(SyncError::DiskFull)));
    assert_eq!(spool.usage().bytes, len + 200);
    disk.set_capacity(None);
    spool.sync().unwrap();
    assert_eq!(disk.size(SegmentId(1)).unwrap(), len + 200);
    drop(spool);
    let (spool, opened) = open_again(&disk);
    assert_eq!((opened.damage, opened.torn_bytes), (vec![], 0), "what was left over is no damage");
    assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(600));
}

#[test]
fn after_a_failed_sync_the_same_commits_go_to_a_new_segment() {
    for failing_truncates in 0..2 {
        let disk = SimDisk::new(0);
        let (mut spool, _) = open(&disk);
        spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
        spool.sync().unwrap();
        disk.fail_syncs(1);
        disk.fail_truncates(failing_truncates);
        spool.append(&blocks(&[(Lane::Normal, 600)])).unwrap();
        assert!(matches!(spool.sync(), Err(SyncError::Io { .. })));
        assert_eq!(spool.reader().heads()[1].last, Some(seq(1)), "it may not be durable");
        spool.append(&blocks(&[(Lane::Normal, 700)])).unwrap();
        spool.sync().unwrap();
        assert_eq!(spool.reader().heads()[1].last, Some(seq(3)));
        drop(spool);
        disk.crash();
        let (spool, opened) = open_again(&disk);
        assert_eq!((opened.damage, opened.is_stale), (vec![], false));
        for (number, len) in [(1, 500), (2, 600), (3, 700)] {
            assert_eq!(spool.reader().read(Lane::Normal, seq(number)).unwrap(), block(len));
        }
    }
}

#[test]
fn a_new_segment_that_cannot_be_made_durable_is_not_used() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Normal, 3900)])).unwrap();
    spool.sync().unwrap();
    spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
    disk.fail_dir_syncs(1);
    assert!(matches!(spool.sync(), Err(SyncError::Io { doing: "syncing the folder", .. })));
    disk.fail_syncs(1);
    disk.fail_deletes(1);
    assert!(matches!(spool.sync(), Err(SyncError::Io { doing: "syncing a new segment", .. })));
    assert_eq!(spool.usage().segments, 2, "one could not be deleted and still counts");
    spool.sync().unwrap();
    spool.collect().unwrap();
    let ids: Vec<_> = disk.list().unwrap().iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [1, 4]);
    assert_eq!(spool.reader().read(Lane::Normal, seq(2)).unwrap(), block(500));
}

#[test]
fn what_failed_writes_leave_never_takes_more_than_the_bound() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    disk.fail_syncs(1000);
    disk.fail_deletes(1000);
    spool.append(&blocks(&[(Lane::Normal, 3000)])).unwrap();
    for _ in 0..50 {
        assert!(matches!(spool.sync(), Err(SyncError::Io { .. })));
        assert!(spool.usage().bytes <= CONFIG.total_bytes_max, "L7: {:?}", spool.usage());
    }
    disk.fail_syncs(0);
    assert!(spool.sync().is_err(), "there is no room while nothing can be deleted");
    disk.fail_deletes(0);
    spool.sync().unwrap();
    assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(3000));
    assert_eq!(spool.usage().segments, 2);
}

#[test]
fn a_failed_deletion_is_tried_again() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    store(&mut spool, Lane::Normal, 20, 1000);
    spool.reader().advance(Lane::Normal, seq(20)).unwrap();
    disk.fail_deletes(1);
    assert!(spool.collect().is_err());
    assert!(spool.collect().unwrap() > 0);
    assert_eq!(spool.usage().segments, 2);
    assert_eq!(disk.list().unwrap().len(), 2);
}

#[test]
fn a_spool_that_cannot_be_created_says_so_and_can_be_later() {
    let disk = SimDisk::new(0);
    disk.fail_syncs(1);
    let result = Spool::open(Arc::new(disk.clone()), CONFIG, 1);
    assert!(matches!(result, Err(OpenError::Create(_))));
    let (_, opened) = open(&disk);
    assert!(opened.created);
}

#[test]
fn an_error_while_reading_back_is_no_empty_spool() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
    spool.sync().unwrap();
    drop(spool);
    disk.fail_syncs(1);
    let result = Spool::open(Arc::new(disk.clone()), CONFIG, 1);
    assert!(matches!(result, Err(OpenError::Io { .. })));
    let (spool, _) = open_again(&disk);
    assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(500));
}

#[test]
fn what_was_synced_before_a_restart_without_success_is_durable_after_it() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let (mut spool, _) = open(&disk);
        spool.append(&blocks(&[(Lane::Normal, 1500)])).unwrap();
        disk.fail_syncs(1);
        disk.fail_truncates(1);
        assert!(spool.sync().is_err());
        drop(spool);
        let (spool, _) = open_again(&disk);
        assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(1500));
        drop(spool);
        disk.crash();
        let (spool, opened) = open_again(&disk);
        assert_eq!((opened.damage, opened.torn_bytes), (vec![], 0));
        assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(1500));
    }
}

#[test]
fn a_failed_record_does_not_come_back_when_what_replaced_it_is_gone() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Bulk, 10)])).unwrap();
    spool.sync().unwrap();
    disk.fail_syncs(1);
    disk.fail_truncates(1);
    spool.append(&blocks(&[(Lane::Normal, 600)])).unwrap();
    assert!(spool.sync().is_err());
    for len in 700..720 {
        spool.append(&blocks(&[(Lane::Normal, len)])).unwrap();
        spool.sync().unwrap();
    }
    spool.reader().advance(Lane::Normal, seq(21)).unwrap();
    disk.fail_truncates(1);
    assert!(spool.collect().is_err(), "the left-over is still there");
    assert!(disk.list().unwrap().iter().any(|(id, _)| id.0 == 2));
    assert!(spool.collect().unwrap() > 0);
    assert!(!disk.list().unwrap().iter().any(|(id, _)| id.0 == 2));
    drop(spool);
    let (spool, opened) = open_again(&disk);
    assert_eq!(opened.damage, []);
    assert_eq!(spool.reader().read(Lane::Bulk, seq(1)).unwrap(), block(10));
    let read = spool.reader().read(Lane::Normal, seq(1));
    assert!(!matches!(read, Ok(ReadBlock::Block(_))), "it was acked, and never in segment 1");
}

#[test]
fn a_read_that_fails_for_want_of_something_is_no_damage() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
    spool.sync().unwrap();
    disk.fail_reads(1);
    let read = spool.reader().read(Lane::Normal, seq(1));
    assert!(matches!(read, Err(ReadError::Io { .. })));
    assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(500));
    drop(spool);
    disk.fail_reads(1);
    let result = Spool::open(Arc::new(disk), CONFIG, 1);
    assert!(matches!(result, Err(OpenError::Io { .. })));
}

/// A disk on which the newest record, the second of the normal lane, was not finished.
fn torn() -> SimDisk {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    for len in [500, 600] {
        spool.append(&blocks(&[(Lane::Normal, len)])).unwrap();
        spool.sync().unwrap();
    }
    let size = disk.size(SegmentId(1)).unwrap();
    disk.flip(SegmentId(1), size - 1, 1);
    disk
}

#[test]
fn a_full_disk_puts_the_note_of_a_skip_off_and_forgets_nothing() {
    let disk = torn();
    let size = disk.size(SegmentId(1)).unwrap();
    for _ in 0..3 {
        disk.set_capacity(Some(size + 50));
        let (mut spool, opened) = open_again(&disk);
        assert_eq!(opened.skipped.len(), 3);
        assert_eq!(spool.reader().heads()[1].last, Some(seq(1)), "it is not durable yet");
        assert!(matches!(spool.sync(), Err(SyncError::DiskFull)));
        spool.collect().unwrap();
        assert_eq!(disk.size(SegmentId(1)).unwrap(), size, "the end is all that tells of it");
        drop(spool);
        disk.crash();
    }
    let (mut spool, opened) = open_again(&disk);
    disk.set_capacity(None);
    spool.sync().unwrap();
    let appended = spool.append(&blocks(&[(Lane::Normal, 700)])).unwrap();
    spool.sync().unwrap();
    let (_, first, last) = opened.skipped[1];
    assert_eq!((first, appended.seqs[0].1), (seq(2), last.next().unwrap()));
    assert!(disk.size(SegmentId(1)).unwrap() < size, "now it is cut off");
    let heads = spool.reader().heads();
    drop(spool);
    disk.crash();
    let (spool, opened) = open_again(&disk);
    assert_eq!((opened.damage, opened.torn_bytes), (vec![], 0));
    assert_eq!(spool.reader().heads(), heads);
    let lost = ReadBlock::Lost { first, last, reason: LostReason::Skipped };
    assert_eq!(spool.reader().read(Lane::Normal, first).unwrap(), lost);
}

#[test]
fn blocks_appended_before_a_skip_is_noted_come_after_it() {
    let disk = torn();
    disk.set_capacity(Some(disk.size(SegmentId(1)).unwrap() + 50));
    let (mut spool, opened) = open_again(&disk);
    disk.set_capacity(None);
    spool.sync().unwrap();
    let appended = spool.append(&blocks(&[(Lane::Normal, 700)])).unwrap();
    assert_eq!(appended.seqs[0].1, opened.skipped[1].2.next().unwrap());
    spool.sync().unwrap();
    drop(spool);
    let (spool, _) = open_again(&disk);
    assert_eq!(spool.reader().read(Lane::Normal, appended.seqs[0].1).unwrap(), block(700));
}

#[test]
fn an_end_is_cut_off_only_after_its_skip_is_noted() {
    let disk = torn();
    let size = disk.size(SegmentId(1)).unwrap();
    let expected = open_again(&disk.copy()).1.skipped;
    // The first sync is of what is kept, the second of the note.
    disk.fail_syncs(0);
    disk.fail_dir_syncs(1);
    let failed = Spool::open(Arc::new(disk.clone()), CONFIG, 1);
    assert!(matches!(failed, Err(OpenError::Io { .. })));
    assert_eq!(disk.size(SegmentId(1)).unwrap(), size);
    disk.fail_truncates(9);
    let (spool, opened) = open_again(&disk);
    assert_eq!(opened.skipped, expected);
    assert_eq!(disk.size(SegmentId(1)).unwrap(), size, "it could not be cut off");
    let heads = spool.reader().heads();
    drop(spool);
    disk.fail_truncates(0);
    disk.crash();
    let (spool, opened) = open_again(&disk);
    assert_eq!((opened.damage, opened.torn_bytes), (vec![], 0), "the note says it already");
    assert_eq!(spool.reader().heads(), heads);
    assert!(disk.size(SegmentId(1)).unwrap() < size);
}

#[test]
fn a_note_that_may_not_be_durable_is_made_so_before_the_end_that_it_speaks_of_is_cut_off() {
    let disk = torn();
    let size = disk.size(SegmentId(1)).unwrap();
    let heads = || open_again(&disk).0.reader().heads();
    disk.fail_truncates(9);
    let expected = heads(); // the note is written, and the end stays
    disk.fail_truncates(0);
    disk.fail_syncs(1);
    assert!(Spool::open(Arc::new(disk.clone()), CONFIG, 1).is_err());
    assert_eq!(disk.size(SegmentId(1)).unwrap(), size, "the note may be lost yet");
    assert_eq!(heads(), expected);
    assert!(disk.size(SegmentId(1)).unwrap() < size);
    assert_eq!(heads(), expected);
}

#[test]
fn a_record_that_counts_after_all_is_not_lost_by_the_remains_that_said_it_does_not() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
    disk.fail_syncs(1);
    disk.fail_truncates(1);
    assert!(spool.sync().is_err());
    // The next segment says that the record does not count, and is not finished.
    disk.set_capacity(Some(disk.size(SegmentId(1)).unwrap() + 96));
    disk.fail_deletes(1);
    assert!(spool.sync().is_err());
    assert_eq!(disk.size(SegmentId(2)).unwrap(), 96);
    drop(spool);
    disk.set_capacity(None);
    disk.fail_deletes(1);
    let refused = Spool::open(Arc::new(disk.clone()), CONFIG, 1);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "what is left would count again");
    for round in 0..3 {
        let (mut spool, opened) = open_again(&disk);
        assert_eq!((opened.damage, opened.is_stale), (vec![], false), "{round}");
        assert_eq!(spool.reader().read(Lane::Normal, seq(1)).unwrap(), block(500));
        spool.append(&blocks(&[(Lane::Normal, 600)])).unwrap();
        spool.sync().unwrap();
    }
}

#[test]
fn a_skip_whose_summary_was_not_written_keeps_the_segment_that_it_follows() {
    let disk = SimDisk::new(0);
    let (mut spool, _) = open(&disk);
    spool.append(&blocks(&[(Lane::Normal, 500)])).unwrap();
    spool.sync().unwrap();
    drop(spool);
    disk.flip(SegmentId(1), disk.size(SegmentId(1)).unwrap() - 1, 1);
    let noted = disk.copy();
    drop(open_again(&noted));
    let mut note = noted.contents(SegmentId(2)).expect("it notes the skip");
    note.truncate(HEAD_BYTES + 2);
    disk.put(SegmentId(2), note);
    for _ in 0..2 {
        let (_, opened) = open_again(&disk);
        assert!(!opened.is_stale, "the checkpoints are known");
        assert!(opened.damage.iter().all(|damage| damage.lost.is_empty()));
        assert!(disk.size(SegmentId(1)).is_ok());
        disk.crash();
    }
}

#[test]
fn segments_that_failed_go_although_a_skip_is_not_noted_yet() {
    let disk = torn();
    let size = disk.size(SegmentId(1)).unwrap();
    disk.set_capacity(Some(size + 50));
    disk.fail_deletes(1);
    let (mut spool, _) = open_again(&disk);
    assert_eq!(disk.list().unwrap().len(), 2, "it could not be deleted");
    spool.collect().unwrap();
    assert_eq!(disk.list().unwrap(), [(SegmentId(1), size)], "the end still tells of the skip");
}

#[test]
fn what_tells_of_a_skip_neither_goes_before_it_is_noted_nor_stands_in_its_way() {
    let disk = torn();
    let size = disk.size(SegmentId(1)).unwrap();
    // A whole segment that does not count, and no room for the note when the spool is opened.
    disk.put(SegmentId(2), vec![1; usize::try_from(CONFIG.total_bytes_max).unwrap()]);
    let torn_len = CONFIG.total_bytes_max;
    disk.set_capacity(Some(size + torn_len + 50));
    let (mut spool, opened) = open_again(&disk);
    assert_eq!(opened.skipped.len(), 3);
    spool.collect().unwrap();
    assert_eq!(disk.list().unwrap(), [(SegmentId(1), size), (SegmentId(2), torn_len)]);
    drop(spool);
    let (mut spool, again) = open_again(&disk);
    assert_eq!(again.skipped, opened.skipped);
    disk.set_capacity(None);
    spool.sync().unwrap();
    let appended = spool.append(&blocks(&[(Lane::Normal, 700)])).unwrap();
    spool.sync().unwrap();
    assert_eq!(appended.seqs[0].1, opened.skipped[1].2.next().unwrap());
    assert!(spool.usage().bytes <= CONFIG.total_bytes_max);
}

#[test]
fn the_checkpoints_stay_while_no_newer_segment_has_them_whole() {
    let disk = torn();
    let commit = Commit { checkpoints: vec![("eve".into(), vec![7])], ..Commit::default() };
    let full = |disk: &SimDisk, room: u64| {
        let used: u64 = disk.list().unwrap().iter().map(|(_, size)| size).sum();
        disk.set_capacity(Some(used + room));
    };
    let (mut spool, _) = open_again(&disk);
    for commit in [commit, blocks(&[(Lane::Normal, 600)])] {
        spool.append(&commit).unwrap();
        spool.sync().unwrap();
    }
    drop(spool);
    let newest = *disk.list().unwrap().last().unwrap();
    disk.flip(newest.0, newest.1 - 1, 1);
    // Of the note only the head is written, twice.
    full(&disk, HEAD_BYTES as u64 + 2);
    disk.fail_deletes(1);
    drop(open_again(&disk));
    let id = disk.list().unwrap().last().unwrap().0;
    let head = Head::decode(&disk.contents(id).unwrap()).unwrap();
    let again = SegmentId(id.0 + 1);
    disk.put(again, Head { segment: again, ..head }.encode().to_vec());
    full(&disk, 0);
    let (mut spool, opened) = open_again(&disk);
    let expected = opened.checkpoints;
    assert_eq!(expected["eve"], [7]);
    for lane in Lane::ALL {
        if let Some(last) = spool.reader().heads()[lane.index()].last {
            spool.reader().advance(lane, last).unwrap();
        }
    }
    spool.collect().unwrap();
    drop(spool);
    disk.crash();
    let (_, opened) = open_again(&disk);
    assert_eq!((opened.checkpoints, opened.is_stale), (expected, false));
}
