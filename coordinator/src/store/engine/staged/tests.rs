use super::*;
use crate::store::engine::{Change, MemoryEngine};

#[test]
fn a_group_that_writes_a_key_often_commits_it_once() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    for count in 0..100_u8 {
        staged.put(Space::Rows, b"counter", vec![count]);
    }
    assert_eq!((staged.len(), staged.bytes()), (100, 8));

    let changes = staged.into_changes();
    assert_eq!((changes.len(), changes.bytes()), (1, 8));
}

#[test]
fn a_delete_inside_a_range_delete_is_not_committed_twice() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    staged.put(Space::Rows, b"b", "dropped");
    staged.delete_range(Space::Rows, b"a"..b"m");
    staged.delete_range(Space::Rows, b"m"..b"z");
    staged.delete(Space::Rows, b"c");
    staged.put(Space::Rows, b"d", "kept");

    let changes: Vec<Change> = staged.into_changes().into_iter().collect();
    let (from, to) = (Bytes::from("a"), Bytes::from("z"));
    let (key, value) = (Bytes::from("d"), Bytes::from("kept"));
    let space = Space::Rows;
    assert_eq!(
        changes,
        [Change::DeleteRange { space, from, to }, Change::Put { space, key, value }]
    );
}

#[test]
fn a_value_is_shared_and_not_copied() {
    let engine = MemoryEngine::new(1);
    let block = Bytes::from(vec![1; 60_000]);
    let mut staged = Staged::new(&engine);
    staged.put(Space::Blocks, b"block", block.clone());
    let read = staged.read_one(Space::Blocks, b"block").unwrap().unwrap();
    assert_eq!(read.as_ptr(), block.as_ptr());

    engine.commit(staged.into_changes()).unwrap();
    let stored = engine.read(Space::Blocks, &[b"block"]).unwrap().remove(0).unwrap();
    assert_eq!(stored.as_ptr(), block.as_ptr());
}

#[test]
fn a_rolled_back_command_stages_nothing_and_earlier_ones_stay() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    staged.put(Space::Rows, b"kept", "1");
    let before = staged.savepoint();
    staged.put(Space::Rows, b"kept", "2");
    staged.delete_range(Space::Rows, b"a"..b"z");
    staged.put(Space::Rows, b"other", "3");
    staged.rollback(before);

    assert_eq!((staged.len(), staged.bytes()), (1, 5));
    assert_eq!(staged.read_one(Space::Rows, b"kept").unwrap(), Some(Bytes::from("1")));
    assert_eq!(staged.read_one(Space::Rows, b"other").unwrap(), None);
    staged.rollback(before);
    assert_eq!(staged.into_changes().len(), 1);
}

#[test]
#[should_panic(expected = "a savepoint ends with those before it")]
fn a_savepoint_ends_with_those_before_it() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let first = staged.savepoint();
    staged.put(Space::Rows, b"a", "1");
    let second = staged.savepoint();
    staged.rollback(first);
    staged.rollback(second);
}

#[test]
fn a_scan_gets_past_any_number_of_staged_deletes() {
    let engine = MemoryEngine::new(1);
    let key = |number: u32| number.to_be_bytes();
    let mut changes = Changes::new();
    for number in 0..1000 {
        changes.put(Space::Rows, key(number).to_vec(), "");
    }
    engine.commit(changes).unwrap();
    let mut staged = Staged::new(&engine);
    for number in 10..990 {
        staged.delete(Space::Rows, &key(number));
    }
    staged.put(Space::Rows, &key(500), "back");
    let scan = |direction| {
        let rows = staged.scan(Space::Rows, &key(5)..&key(995), direction, 8).unwrap();
        let number = |key: &Bytes| u32::from_be_bytes(key[..].try_into().unwrap());
        rows.iter().map(|(key, _)| number(key)).collect::<Vec<_>>()
    };
    assert_eq!(scan(Direction::Forward), [5, 6, 7, 8, 9, 500, 990, 991]);
    assert_eq!(scan(Direction::Backward), [994, 993, 992, 991, 990, 500, 9, 8]);
}

#[test]
fn what_is_staged_can_be_read_while_the_engine_cannot() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    staged.put(Space::Rows, b"a", "1");
    staged.delete_range(Space::Rows, b"m"..b"n");
    engine.set_unreadable(true);

    assert_eq!(staged.read_one(Space::Rows, b"a").unwrap(), Some(Bytes::from("1")));
    assert_eq!(staged.read_one(Space::Rows, b"m").unwrap(), None);
    staged.read(Space::Rows, &[b"a", b"b"]).unwrap_err();
    staged.scan(Space::Rows, b"a"..b"z", Direction::Forward, 5).unwrap_err();
}
