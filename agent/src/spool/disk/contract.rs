//! What both disks must do alike.

use std::io;

use super::{Disk, RealDisk, SegmentId, SimDisk};

#[test]
fn the_real_disk_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    keeps_the_contract(&RealDisk::open(folder.path()).unwrap());
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    keeps_the_contract(&SimDisk::new(1));
}

fn keeps_the_contract(disk: &dyn Disk) {
    let (one, two) = (SegmentId(1), SegmentId(0xabc));
    assert_eq!(disk.list().unwrap(), []);
    creates_once(disk, one);
    appends_at_the_end(disk, one);
    reads_anywhere(disk, one);
    cuts_and_goes_on(disk, one);
    rewrites_in_place(disk, one);
    disk.create(two).unwrap();
    disk.append(two, &[b"second"]).unwrap();
    disk.sync(one).unwrap();
    disk.sync(two).unwrap();
    disk.sync_dir().unwrap();
    let mut listed = disk.list().unwrap();
    listed.sort();
    assert_eq!(listed, [(one, 10), (two, 6)]);
    deletes_for_good(disk, one);
    assert_eq!(disk.list().unwrap(), [(two, 6)]);
}

fn creates_once(disk: &dyn Disk, id: SegmentId) {
    disk.create(id).unwrap();
    assert_eq!(disk.create(id).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(disk.size(id).unwrap(), 0);
}

fn appends_at_the_end(disk: &dyn Disk, id: SegmentId) {
    disk.append(id, &[b"ab", b"", b"cde"]).unwrap();
    disk.append(id, &[]).unwrap();
    disk.append(id, &[b"fg"]).unwrap();
    assert_eq!(disk.size(id).unwrap(), 7);
    let many: Vec<&[u8]> = vec![b"x"; 3000];
    disk.append(id, &many).unwrap();
    assert_eq!(disk.size(id).unwrap(), 3007);
}

fn reads_anywhere(disk: &dyn Disk, id: SegmentId) {
    let mut buffer = [0; 4];
    assert_eq!(disk.read_at(id, 2, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"cdef");
    assert_eq!(disk.read_at(id, 3005, &mut buffer).unwrap(), 2);
    assert_eq!(&buffer, b"xxef");
    assert_eq!(disk.read_at(id, 3007, &mut buffer).unwrap(), 0);
    assert_eq!(disk.read_at(id, 9000, &mut buffer).unwrap(), 0);
}

fn cuts_and_goes_on(disk: &dyn Disk, id: SegmentId) {
    disk.truncate(id, 7).unwrap();
    assert_eq!(disk.size(id).unwrap(), 7);
    disk.append(id, &[b"hi"]).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(disk.read_at(id, 0, &mut buffer).unwrap(), 9);
    assert_eq!(&buffer[..9], b"abcdefghi");
}

fn rewrites_in_place(disk: &dyn Disk, id: SegmentId) {
    disk.rewrite(id, 1, b"bcd").unwrap();
    disk.append(id, &[b"j"]).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(disk.read_at(id, 0, &mut buffer).unwrap(), 10);
    assert_eq!(&buffer[..10], b"abcdefghij");
}

fn deletes_for_good(disk: &dyn Disk, id: SegmentId) {
    disk.delete(id).unwrap();
    disk.sync_dir().unwrap();
    let missing = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    };
    missing(disk.delete(id));
    missing(disk.size(id).map(drop));
    missing(disk.read_at(id, 0, &mut [0]).map(drop));
    missing(disk.append(id, &[b"x"]));
    missing(disk.sync(id));
    missing(disk.truncate(id, 0));
    missing(disk.rewrite(id, 0, b"x"));
}
