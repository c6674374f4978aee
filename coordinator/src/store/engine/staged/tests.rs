use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::{
    limits::KEPT_BYTES_MAX,
    store::engine::{Change, Fault, MemoryEngine},
};

const FAULTS: [Fault; 4] = [Fault::Refused, Fault::UnknownApplied, Fault::UnknownLost, Fault::Torn];

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

/// What fills half a generation of what is kept.
const HEAVY: usize = KEPT_BYTES_MAX / 4;

/// A value that counts how often it is encoded.
struct Counted(u8, Arc<AtomicUsize>);

impl Stored for Counted {
    fn to_bytes(&self) -> Bytes {
        self.1.fetch_add(1, Relaxed);
        vec![self.0].into()
    }

    fn weight(&self) -> usize {
        if self.0.is_multiple_of(4) { HEAVY } else { 1 }
    }
}

#[test]
fn a_decoded_value_is_encoded_once_a_group_however_often_it_is_written() {
    let engine = MemoryEngine::new(1);
    let encoded = Arc::new(AtomicUsize::new(0));
    let mut staged = Staged::new(&engine);
    for number in 0..100 {
        staged.put_value(b"counter", Arc::new(Counted(number, Arc::clone(&encoded))));
    }
    assert_eq!((staged.bytes(), encoded.load(Relaxed)), (8, 0));
    let (kept, committed) = staged.commit();
    committed.unwrap();
    assert_eq!(encoded.load(Relaxed), 1);
    assert_eq!(engine.read(Space::Rows, &[b"counter"]).unwrap(), [Some(Bytes::from(vec![99]))]);

    engine.set_unreadable(true);
    let staged = Staged::over(&engine, kept);
    let Found::Value(value) = staged.find(Space::Rows, b"counter") else { panic!("it is kept") };
    assert_eq!(value.to_bytes(), vec![99]);
}

#[derive(Clone, Debug)]
enum Step {
    PutValue(u8, u8),
    Put(u8, u8),
    Delete(u8),
    DeleteRange(u8, u8),
    Refuse(Vec<Self>),
    Commit(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        4 => (0..6_u8, any::<u8>()).prop_map(|(key, value)| Step::PutValue(key, value)),
        1 => (0..6_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        1 => (0..6_u8).prop_map(Step::Delete),
        1 => (0..6_u8, 0..7_u8).prop_map(|(from, to)| Step::DeleteRange(from, to)),
    ];
    prop_oneof![
        6 => change.clone(),
        1 => prop::collection::vec(change, 1..4).prop_map(Step::Refuse),
        2 => prop::option::of(0..4_u8).prop_map(Step::Commit),
    ]
}

fn stage(staged: &mut Staged<'_>, step: &Step) {
    match step {
        Step::PutValue(key, value) => {
            staged.put_value(&[*key], Arc::new(Counted(*value, Arc::default())));
        }
        Step::Put(key, value) => staged.put(Space::Rows, &[*key], vec![*value]),
        Step::Delete(key) => staged.delete(Space::Rows, &[*key]),
        Step::DeleteRange(from, to) => staged.delete_range(Space::Rows, &[*from]..&[*to]),
        Step::Refuse(steps) => {
            let before = staged.savepoint();
            steps.iter().for_each(|step| stage(staged, step));
            staged.rollback(before);
        }
        Step::Commit(_) => {}
    }
}

fn follow(model: &mut BTreeMap<u8, u8>, step: &Step) {
    match step {
        Step::PutValue(key, value) | Step::Put(key, value) => drop(model.insert(*key, *value)),
        Step::Delete(key) => drop(model.remove(key)),
        Step::DeleteRange(from, to) => model.retain(|key, _| key < from || key >= to),
        Step::Refuse(_) | Step::Commit(_) => {}
    }
}

proptest! {
    #[test]
    fn what_is_kept_is_what_the_engine_has(steps in prop::collection::vec(step(), 1..60)) {
        let engine = MemoryEngine::new(1);
        let mut kept = Kept::default();
        let mut model = BTreeMap::new();
        for group in steps.split_inclusive(|step| matches!(step, Step::Commit(_))) {
            let mut staged = Staged::over(&engine, kept);
            for step in group {
                stage(&mut staged, step);
                follow(&mut model, step);
                for key in 0..6 {
                    let found = match staged.find(Space::Rows, &[key]) {
                        Found::Value(value) => Some(value.to_bytes()),
                        Found::Bytes(bytes) => Some(bytes.clone()),
                        Found::Nothing => None,
                        Found::Unknown => {
                            staged.read_below(Space::Rows, &[&[key]]).unwrap().remove(0)
                        }
                    };
                    let expected = model.get(&key).map(|value| Bytes::from(vec![*value]));
                    prop_assert_eq!(found, expected);
                }
            }
            if let Some(Step::Commit(Some(fault))) = group.last() {
                engine.fail_next_commit(FAULTS[usize::from(*fault)]);
            }
            let committed;
            (kept, committed) = staged.commit();
            if matches!(committed, Err(CommitError::Unknown { .. })) {
                engine.crash();
            }
            if committed.is_err() {
                model.clear();
                for key in 0..6 {
                    let stored = engine.read(Space::Rows, &[&[key]]).unwrap().remove(0);
                    if let Some(stored) = stored {
                        model.insert(key, stored[0]);
                    }
                }
            }
            for key in 0..6 {
                let Some(value) = kept.find(&[key]) else { continue };
                let stored = engine.read(Space::Rows, &[&[key]]).unwrap().remove(0);
                prop_assert_eq!(Some(value.to_bytes()), stored);
            }
        }
    }
}
