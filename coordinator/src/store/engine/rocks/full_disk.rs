//! The engine on a disk of memory that is really full, where one can be mounted (Linux, as root).

use std::{
    fs::File,
    io::Write as _,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::*;

/// Bytes of the disk: the log's first file and some tables fit, and it is filled in a moment.
const DISK_BYTES: u64 = 192 << 20;
/// Bytes of one commit.
const VALUE_BYTES: usize = 32 << 10;
/// So many commits do not fit the disk, whatever is done with them.
const LAST: u32 = 10_000;
const _: () = assert!(LAST as u64 * VALUE_BYTES as u64 > DISK_BYTES + (DISK_BYTES >> 1));
/// How long the engine may take to go on once there is room.
const PATIENCE: Duration = Duration::from_secs(60);

/// A small disk, mounted as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "signalbox"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then_some(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = File::create(self.path("ballast")).unwrap();
        let zeros = vec![0; 1 << 16];
        while ballast.write_all(&zeros).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).output());
    }
}

/// A value that no compression makes smaller, so that more than the disk holds can never lie on it.
fn noise(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next()).collect()
}

fn commit(engine: &RocksEngine, number: u32) -> Result<(), CommitError> {
    let mut changes = Changes::new();
    changes.put(Space::Rows, number.to_be_bytes().to_vec(), noise(number));
    engine.commit(changes)
}

fn has(engine: &RocksEngine, number: u32) -> bool {
    engine.read(Space::Rows, &[&number.to_be_bytes()[..]]).unwrap()[0].is_some()
}

#[test]
fn a_disk_that_is_really_full_refuses_commits_until_there_is_room_and_loses_none() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: no disk of memory can be mounted here");
        return;
    };
    let engine = RocksEngine::open(disk.path("store")).unwrap();
    commit(&engine, 0).unwrap();
    disk.fill();
    // What the log has set aside for itself is used up first.
    let mut numbers = 1..LAST;
    let first_refused = numbers.find_map(|number| Some((number, commit(&engine, number).err()?)));
    let (refused, error) = first_refused.expect("the disk is full");
    assert!(matches!(error, CommitError::Refused(Refusal::DiskFull { .. })), "{error}");
    let again = commit(&engine, refused).unwrap_err();
    assert!(matches!(again, CommitError::Refused(Refusal::DiskFull { .. })), "{again}");
    assert!(!has(&engine, refused), "it is known not to have happened");

    fs::remove_file(disk.path("ballast")).unwrap();
    let began = Instant::now();
    while let Err(error) = commit(&engine, LAST) {
        assert!(matches!(error, CommitError::Refused(Refusal::DiskFull { .. })), "{error}");
        assert!(began.elapsed() < PATIENCE, "{error}");
        thread::park_timeout(Duration::from_millis(50));
    }
    drop(engine);
    let engine = RocksEngine::open(disk.path("store")).unwrap();
    assert!((0..refused).all(|number| has(&engine, number)), "L1");
    assert!(has(&engine, LAST) && !has(&engine, refused));
}
