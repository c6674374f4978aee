use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use tempfile::TempDir;

use super::*;
use crate::store::engine::contract::{Subject, contract};

#[test]
fn the_rocks_engine_keeps_the_contract() {
    contract(OnDisk::new);
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let disk = OnDisk::new();
    let error = RocksEngine::open(disk.folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(disk.engine);
    RocksEngine::open(disk.folder.path()).unwrap();
}

#[test]
fn a_store_that_cannot_be_made_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = RocksEngine::open(path).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
    }
}

#[test]
fn a_folder_with_a_damaged_or_missing_head_is_refused_and_left_alone() {
    for (name, damage) in [
        ("garbage in CURRENT", Some(("CURRENT", &b"garbage"[..]))),
        ("CURRENT names no file", Some(("CURRENT", b"MANIFEST-999999\n"))),
        ("CURRENT is gone", None),
        ("the manifest is cut", Some(("MANIFEST", b"MANIFEST"))),
    ] {
        let disk = OnDisk::with_flushed_rows();
        let folder = disk.close();
        match damage {
            Some((file, bytes)) => fs::write(find(folder.path(), file), bytes).unwrap(),
            None => fs::remove_file(folder.path().join("CURRENT")).unwrap(),
        }
        let error = RocksEngine::open(folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{name}: {error}");
        let again = RocksEngine::open(folder.path()).unwrap_err();
        assert!(matches!(again, OpenError::Corrupt { .. }), "{name}, again: {again}");
    }
}

#[test]
fn a_lost_table_file_is_named_when_the_store_is_opened() {
    let folder = OnDisk::with_flushed_rows().close();
    let table = find(folder.path(), ".sst");
    fs::remove_file(&table).unwrap();
    let error = RocksEngine::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(table.file_name().unwrap().to_str().unwrap()), "{error}");
}

#[test]
fn a_flipped_bit_in_a_file_is_a_damaged_read_and_never_a_wrong_value() {
    for (space, file) in [(Space::Rows, ".sst"), (Space::Blocks, ".blob")] {
        let disk = OnDisk::new();
        let mut changes = Changes::new();
        changes.put(space, "key", vec![7; 100_000]);
        disk.engine().commit(changes).unwrap();
        disk.flush();
        let folder = disk.close();
        flip(&find(folder.path(), file), 60);

        let engine = RocksEngine::open(folder.path()).unwrap();
        let error = engine.read(space, &[b"key"]).unwrap_err();
        assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
        let bulk = engine.read(space, &[b"absent", b"key"]).unwrap_err();
        assert!(matches!(bulk, ReadError::Corrupt { .. }), "{bulk}");
        engine.scan(space, b"a"..b"z", Direction::Forward, 5).unwrap_err();
    }
}

#[test]
fn a_torn_end_of_the_log_is_cut_and_said() {
    for cut in [1, 50, 3000, 39_000] {
        let disk = OnDisk::new();
        commit(&disk, "first", 100);
        commit(&disk, "last", 40_000);
        let folder = disk.close();
        let log = find(folder.path(), ".log");
        let length = fs::metadata(&log).unwrap().len();
        fs::File::options().write(true).open(&log).unwrap().set_len(length - cut).unwrap();
        assert_only_the_first(&folder);
    }
}

#[test]
fn a_last_record_with_a_hole_is_cut_and_said() {
    let disk = OnDisk::new();
    commit(&disk, "first", 100);
    commit(&disk, "last", 200_000);
    let folder = disk.close();
    let log = find(folder.path(), ".log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[65_536..98_304].fill(0);
    fs::write(&log, bytes).unwrap();

    let engine = assert_only_the_first(&folder);
    assert!(engine.cut_at_open().unwrap().ends_with(" at byte 65536"));
    drop(engine);
    assert_eq!(RocksEngine::open(folder.path()).unwrap().cut_at_open(), None, "cut once");
}

#[test]
fn damage_to_a_synced_commit_before_the_last_refuses_to_open() {
    let disk = OnDisk::new();
    commit(&disk, "first", 100);
    commit(&disk, "middle", 100);
    commit(&disk, "last", 100);
    let folder = disk.close();
    flip(&find(folder.path(), ".log"), 180);

    let error = RocksEngine::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("with sound records after it"), "{error}");
}

#[test]
fn a_failed_write_is_sorted_by_what_is_known_of_it() {
    let sorted = |kind: ErrorKind, detail: &str| commit_error(&kind, detail.to_owned());
    let append = "No space left on device: While appending to file: /store/000004.log";
    let full = sorted(ErrorKind::IOError, append);
    assert!(matches!(full, CommitError::Refused(Refusal::DiskFull { .. })));
    for (kind, detail) in [
        (ErrorKind::IOError, "No space left on device: While fdatasync: /store/000004.log"),
        (ErrorKind::IOError, "Input/output error: While appending to file: /store/000004.log"),
        (ErrorKind::Corruption, "checksum mismatch"),
        (ErrorKind::Unknown, "something new"),
    ] {
        assert!(matches!(sorted(kind, detail), CommitError::Unknown { .. }), "{detail}");
    }
    let busy = sorted(ErrorKind::Busy, "later");
    assert!(matches!(busy, CommitError::Refused(Refusal::Rejected { .. })));
    let closing = sorted(ErrorKind::ShutdownInProgress, "closing");
    assert!(matches!(closing, CommitError::Refused(Refusal::Stopped { .. })));
}

#[test]
fn after_an_unknown_outcome_no_commit_is_taken() {
    let disk = OnDisk::new();
    disk.engine.as_ref().unwrap().stopped.set("unknown".to_owned()).unwrap();
    let mut changes = Changes::new();
    changes.put(Space::Rows, "a", "1");
    let error = disk.engine().commit(changes).unwrap_err();
    assert!(matches!(error, CommitError::Refused(Refusal::Stopped { .. })));
}

#[test]
fn a_lookup_reads_little_however_many_rows_there_are() {
    const ROWS: u32 = 2_000_000;
    const COMMITS: u32 = 8;
    let disk = OnDisk::new();
    for commit in 0..COMMITS {
        let mut changes = Changes::new();
        for row in (commit..ROWS).step_by(COMMITS as usize) {
            changes.put(Space::Rows, row.to_be_bytes().to_vec(), "1");
        }
        disk.engine().commit(changes).unwrap();
    }
    disk.flush();
    disk.engine().reclaim(Space::Rows, &[0]..&[255]);

    // Rows far apart, present and absent ones, in turns: what one reads does not help the next.
    let lookups = || (0..1_000_u32).map(|at| at.wrapping_mul(7_919 * 104_729) % ROWS);
    for row in lookups() {
        disk.engine().read(Space::Rows, &[&row.to_be_bytes()]).unwrap();
    }
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut read = PerfContext::default();
    read.reset();
    for row in lookups() {
        let absent = [row.to_be_bytes().as_slice(), &[1]].concat();
        let keys: [&[u8]; 1] = [if row % 2 == 0 { &absent } else { &row.to_be_bytes() }];
        let found = disk.engine().read(Space::Rows, &keys).unwrap();
        assert_eq!(found[0].is_some(), row % 2 == 1);
    }
    let bytes = read.metric(PerfMetric::BlockReadByte) / 1_000;
    set_perf_stats(PerfStatsLevel::Disable);
    assert!(bytes < 32 << 10, "a lookup reads {bytes} bytes");
}

struct OnDisk {
    // Before the folder: closed first.
    engine: Option<RocksEngine>,
    folder: TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Some(RocksEngine::open(folder.path()).unwrap());
        Self { engine, folder }
    }

    fn with_flushed_rows() -> Self {
        let disk = Self::new();
        commit(&disk, "row", 100);
        disk.flush();
        disk
    }

    fn flush(&self) {
        let engine = self.engine.as_ref().unwrap();
        for space in Space::ALL {
            engine.db.flush_cf(engine.family(space)).unwrap();
        }
    }

    fn close(self) -> TempDir {
        drop(self.engine);
        self.folder
    }
}

impl Subject for OnDisk {
    fn engine(&self) -> &dyn Engine {
        self.engine.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        drop(self.engine.take());
        self.engine = Some(RocksEngine::open(self.folder.path()).unwrap());
    }
}

/// Commits a row of `length` bytes and a block beside it.
fn commit(disk: &OnDisk, key: &'static str, length: usize) {
    let mut changes = Changes::new();
    changes.put(Space::Rows, key, vec![1; length]);
    changes.put(Space::Blocks, key, "block");
    disk.engine().commit(changes).unwrap();
}

fn assert_only_the_first(folder: &TempDir) -> RocksEngine {
    let engine = RocksEngine::open(folder.path()).unwrap();
    for space in Space::ALL {
        let values = engine.read(space, &[b"first", b"last"]).unwrap();
        assert_eq!(values.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    }
    engine
}

/// Returns the one file in `folder` whose name contains `part`; the newest, if there are more.
fn find(folder: &Path, part: &str) -> PathBuf {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(part);
    paths.filter(named).max().unwrap_or_else(|| panic!("no {part} in {}", folder.display()))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 16;
    fs::write(path, bytes).unwrap();
}
