//! A spool as the first version left it opens, is read, and goes on (L10).
//!
//! `testdata/spool_v1` is never written again: `UPDATE_GOLDEN` makes it only where there is none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

const SETTINGS: SpoolConfig = SpoolConfig { segment_bytes: 64 << 10, total_bytes_max: 1 << 20 };

/// What the newest checkpoints of the golden spool are.
const CHECKPOINTS: [(&str, u8); 2] = [("eve", 2), ("wazuh", 1)];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/spool_v1")
}

/// Returns a block as the first version made it.
fn block_of_version_1() -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/block_v1.bin");
    fs::read(path).unwrap().into()
}

fn open_folder(folder: &Path) -> (Spool, Opened) {
    let disk = RealDisk::open(folder).unwrap();
    Spool::open(Arc::new(disk), SETTINGS, 0xe90c).unwrap()
}

fn make(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let (mut spool, _) = open_folder(folder);
    for (name, value, lane) in
        [("eve", 1, Lane::Normal), ("wazuh", 1, Lane::Urgent), ("eve", 2, Lane::Normal)]
    {
        let blocks = vec![(lane, block_of_version_1())];
        let checkpoints = vec![(name.to_owned(), vec![value; 4])];
        spool.append(&Commit { blocks, checkpoints, ..Commit::default() }).unwrap();
        spool.sync().unwrap();
    }
    drop(spool);
    fs::remove_file(folder.join("lock")).unwrap();
}

#[test]
fn a_spool_of_the_first_version_is_read_and_gone_on_with() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !golden().exists() {
        make(&golden());
    }
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let expected: BTreeMap<String, Vec<u8>> =
        CHECKPOINTS.into_iter().map(|(name, value)| (name.to_owned(), vec![value; 4])).collect();

    let (mut spool, opened) = open_folder(folder.path());
    assert!(!opened.created && !opened.is_stale);
    assert_eq!((opened.damage, opened.torn_bytes), (vec![], 0));
    assert_eq!((opened.checkpoints, spool.epoch()), (expected, Epoch(0xe90c)));
    let reader = spool.reader();
    for (lane, number) in [(Lane::Urgent, 1), (Lane::Normal, 1), (Lane::Normal, 2)] {
        let ReadBlock::Block(block) = reader.read(lane, seq(number)).unwrap() else {
            panic!("{lane} {number} is lost")
        };
        assert_eq!(block, block_of_version_1());
        assert!(shared::block::Block::parse(block).unwrap().alerts() > 0);
    }
    let appended = spool.append(&blocks(&[(Lane::Normal, 100)])).unwrap();
    assert_eq!(appended.seqs, [(Lane::Normal, seq(3))]);
    spool.sync().unwrap();
    drop((spool, reader));
    let (spool, opened) = open_folder(folder.path());
    assert_eq!(opened.damage, []);
    assert_eq!(spool.reader().heads()[Lane::Normal.index()].last, Some(seq(3)));
}
