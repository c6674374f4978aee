//! What every engine promises, as one suite that is run against each.

use std::{collections::BTreeMap, ops::Bound};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    test_runner::{Config, TestCaseError, TestRunner},
};

use super::*;

/// Runs of the property test an engine. 48: a few seconds with a real disk under it.
const PROPERTY_CASES: u32 = 48;

/// An engine that can be closed and opened again, or crashed.
pub(super) trait Subject {
    fn engine(&self) -> &dyn Engine;
    /// Comes back to what is durable.
    fn reopen(&mut self);
}

/// What is promised, and the check of it.
type Claim<S> = (&'static str, fn(&mut S));

/// Runs every claim against a fresh engine.
pub(super) fn contract<S: Subject>(make: impl Fn() -> S) {
    let claims: &[Claim<S>] = &[
        ("bulk reads answer in the order asked", bulk_reads_answer_in_the_order_asked),
        ("keys are ordered as bytes", keys_are_ordered_as_bytes),
        ("scans keep to range and limit", scans_keep_to_range_and_limit),
        ("spaces are apart", spaces_are_apart),
        ("changes apply in order", changes_apply_in_order),
        ("range deletes keep what is outside", range_deletes_keep_what_is_outside),
        ("large blocks come back whole", large_blocks_come_back_whole),
        ("reopening keeps what was committed", reopening_keeps_what_was_committed),
        ("bytes grow and reclaim changes nothing read", bytes_grow_and_reclaim_is_unseen),
        ("an empty commit is no commit", an_empty_commit_does_nothing),
        ("a staged group reads as it commits", a_staged_group_reads_as_it_commits),
    ];
    for (claim, check) in claims {
        println!("claim: {claim}");
        check(&mut make());
    }
}

fn bulk_reads_answer_in_the_order_asked<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    commit(engine, &[("a", "1"), ("b", ""), ("c", "3")]);
    let values = engine.read(Space::Rows, &[b"c", b"x", b"a", b"b", b"c"]).unwrap();
    let values: Vec<Option<&[u8]>> = values.iter().map(|value| value.as_deref()).collect();
    assert_eq!(values, [Some(&b"3"[..]), None, Some(b"1"), Some(b""), Some(b"3")]);
    assert_eq!(engine.read(Space::Rows, &[]).unwrap(), Vec::<Option<Bytes>>::new());
    assert_eq!(engine.read(Space::Rows, &[b"x"]).unwrap(), [None]);
}

fn keys_are_ordered_as_bytes<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    let keys: [&[u8]; 6] = [b"\0", b"\0\0", b"\x01", b"\x7f", b"\x80", b"\xff\xff"];
    let mut changes = Changes::new();
    for key in keys.iter().rev() {
        changes.put(Space::Rows, key.to_vec(), "");
    }
    engine.commit(changes).unwrap();
    let rows = engine.scan(Space::Rows, b""..b"\xff\xff\xff", Direction::Forward, 10).unwrap();
    assert_eq!(rows.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), keys);
}

fn scans_keep_to_range_and_limit<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    commit(engine, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    let scan = |from: &str, to: &str, direction, limit| {
        let range = from.as_bytes()..to.as_bytes();
        let rows = engine.scan(Space::Rows, range, direction, limit).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        rows.iter().map(|(key, value)| text(key) + &text(value)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(scan("a", "d", Direction::Forward, 10), "a1 b2 c3");
    assert_eq!(scan("a", "d", Direction::Backward, 10), "c3 b2 a1");
    assert_eq!(scan("aa", "z", Direction::Forward, 2), "b2 c3");
    assert_eq!(scan("", "cc", Direction::Backward, 2), "c3 b2");
    assert_eq!(scan("a", "z", Direction::Forward, usize::MAX), "a1 b2 c3 d4");
    for (from, to, limit) in [("b", "b", 9), ("c", "b", 9), ("e", "z", 9), ("a", "z", 0)] {
        assert_eq!(scan(from, to, Direction::Forward, limit), "");
        assert_eq!(scan(from, to, Direction::Backward, limit), "");
    }
}

fn spaces_are_apart<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    let mut changes = Changes::new();
    changes.put(Space::Rows, "k", "row");
    changes.put(Space::Blocks, "k", "block");
    engine.commit(changes).unwrap();
    let mut changes = Changes::new();
    changes.delete_range(Space::Rows, "a", "z");
    engine.commit(changes).unwrap();
    assert_eq!(engine.read(Space::Rows, &[b"k"]).unwrap(), [None]);
    assert_eq!(engine.read(Space::Blocks, &[b"k"]).unwrap(), [Some(Bytes::from("block"))]);
}

fn changes_apply_in_order<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    commit(engine, &[("a", "old"), ("b", "old"), ("c", "old")]);
    let mut changes = Changes::new();
    changes.put(Space::Rows, "a", "lost");
    changes.delete_range(Space::Rows, "a", "c");
    changes.put(Space::Rows, "b", "new");
    changes.delete(Space::Rows, "c");
    changes.put(Space::Rows, "c", "again");
    changes.put(Space::Rows, "d", "");
    changes.delete(Space::Rows, "d");
    engine.commit(changes).unwrap();
    assert_eq!(all(engine, Space::Rows), rows(&[("b", "new"), ("c", "again")]));
}

fn range_deletes_keep_what_is_outside<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    commit(engine, &[("a", "1"), ("b", "2"), ("bb", "3"), ("c", "4")]);
    let mut changes = Changes::new();
    changes.delete_range(Space::Rows, "b", "c");
    changes.delete_range(Space::Rows, "z", "a");
    changes.delete_range(Space::Rows, "c", "c");
    assert_eq!(changes.len(), 1, "an empty range is no change");
    engine.commit(changes).unwrap();
    assert_eq!(all(engine, Space::Rows), rows(&[("a", "1"), ("c", "4")]));
}

fn large_blocks_come_back_whole<S: Subject>(subject: &mut S) {
    let block: Bytes =
        (0..2 << 20).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    for round in 0..3_u8 {
        let mut changes = Changes::new();
        for number in 0..8 {
            changes.put(Space::Blocks, vec![round, number], block.clone());
        }
        assert_eq!(changes.bytes(), 8 * (2 + (2 << 20)));
        subject.engine().commit(changes).unwrap();
    }
    subject.reopen();
    let engine = subject.engine();
    let values = engine.read(Space::Blocks, &[&[0, 0], &[2, 7], &[3, 0]]).unwrap();
    assert_eq!(values, [Some(block.clone()), Some(block.clone()), None]);
    let last = engine.scan(Space::Blocks, &[0]..&[9], Direction::Backward, 1).unwrap();
    assert_eq!(last, [(Bytes::from_static(&[2, 7]), block)]);
}

fn reopening_keeps_what_was_committed<S: Subject>(subject: &mut S) {
    commit(subject.engine(), &[("a", "1"), ("b", "2")]);
    let mut changes = Changes::new();
    changes.delete(Space::Rows, "a");
    changes.put(Space::Blocks, "block", "3");
    subject.engine().commit(changes).unwrap();
    {
        let mut staged = Staged::new(subject.engine());
        staged.put(Space::Rows, b"never committed", "4");
    }
    for _ in 0..2 {
        subject.reopen();
        assert_eq!(all(subject.engine(), Space::Rows), rows(&[("b", "2")]));
        assert_eq!(all(subject.engine(), Space::Blocks), rows(&[("block", "3")]));
    }
}

fn bytes_grow_and_reclaim_is_unseen<S: Subject>(subject: &mut S) {
    let engine = subject.engine();
    for space in Space::ALL {
        let before = engine.approximate_bytes(space);
        for number in 0..64_u8 {
            let mut changes = Changes::new();
            changes.put(space, vec![number], vec![number; 64 << 10]);
            engine.commit(changes).unwrap();
        }
        let after = engine.approximate_bytes(space);
        assert!(after >= before + (4 << 20), "{space:?}: {before}, then {after}");
        let mut changes = Changes::new();
        changes.delete_range(space, vec![0], vec![60]);
        engine.commit(changes).unwrap();
        engine.reclaim(space, &[0]..&[60]);
        let reclaimed = engine.approximate_bytes(space);
        assert!(reclaimed < after / 4, "{space:?}: {after}, then {reclaimed}");
        let rest = all(engine, space);
        assert_eq!(rest.len(), 4);
        assert!(rest.iter().all(|(key, value)| **value == vec![key[0]; 64 << 10]));
    }
}

fn an_empty_commit_does_nothing<S: Subject>(subject: &mut S) {
    assert!(Changes::new().is_empty());
    subject.engine().commit(Changes::new()).unwrap();
    assert!(all(subject.engine(), Space::Rows).is_empty());
}

fn a_staged_group_reads_as_it_commits<S: Subject>(subject: &mut S) {
    let config = Config { cases: PROPERTY_CASES, failure_persistence: None, ..Config::default() };
    let groups = vec(vec(op(), 0..24), 1..4);
    TestRunner::new(config)
        .run(&groups, |groups| {
            clear(subject.engine());
            let mut model = [Model::new(), Model::new()];
            for group in groups {
                let mut staged = Staged::new(subject.engine());
                run_group(group, &mut staged, &mut model)?;
                let changes = staged.into_changes();
                subject.engine().commit(changes).unwrap();
                for space in Space::ALL {
                    same(all(subject.engine(), space), model_rows(&model, space))?;
                }
            }
            Ok(())
        })
        .unwrap();
    let kept = Space::ALL.map(|space| all(subject.engine(), space));
    subject.reopen();
    assert_eq!(Space::ALL.map(|space| all(subject.engine(), space)), kept);
}

type Model = BTreeMap<Bytes, Bytes>;

#[derive(Clone, Debug)]
enum Op {
    Put(Space, Bytes, Bytes),
    Delete(Space, Bytes),
    DeleteRange(Space, Bytes, Bytes),
    Savepoint,
    Rollback,
    Read(Space, Vec<Bytes>),
    Scan { space: Space, from: Bytes, to: Bytes, backward: bool, limit: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let space = || prop_oneof![Just(Space::Rows), Just(Space::Blocks)];
    // Few and short keys, so that operations meet; with the smallest and the largest byte.
    let key = || vec(prop_oneof![Just(0), Just(1), Just(2), Just(255)], 1..4).prop_map(Bytes::from);
    let value = vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    let read = (space(), vec(key(), 0..6));
    let scan = (space(), key(), key(), any::<bool>(), 0..8_usize);
    prop_oneof![
        6 => (space(), key(), value).prop_map(|(space, key, value)| Op::Put(space, key, value)),
        3 => (space(), key()).prop_map(|(space, key)| Op::Delete(space, key)),
        2 => (space(), key(), key()).prop_map(|(space, from, to)| Op::DeleteRange(space, from, to)),
        2 => Just(Op::Savepoint),
        1 => Just(Op::Rollback),
        2 => read.prop_map(|(space, keys)| Op::Read(space, keys)),
        4 => scan.prop_map(|(space, from, to, backward, limit)| {
            Op::Scan { space, from, to, backward, limit }
        }),
    ]
}

fn run_group(
    group: Vec<Op>,
    staged: &mut Staged<'_>,
    model: &mut [Model; 2],
) -> Result<(), TestCaseError> {
    let mut savepoints = Vec::new();
    for op in group {
        match op {
            Op::Put(space, key, value) => {
                staged.put(space, &key, value.clone());
                model[space as usize].insert(key, value);
            }
            Op::Delete(space, key) => {
                staged.delete(space, &key);
                model[space as usize].remove(&key);
            }
            Op::DeleteRange(space, from, to) => {
                staged.delete_range(space, &from..&to);
                model[space as usize].retain(|key, _| *key < from || *key >= to);
            }
            Op::Savepoint => {
                savepoints.push((staged.savepoint(), model.clone(), staged.bytes(), staged.len()));
            }
            Op::Rollback => {
                if let Some((savepoint, then, bytes, len)) = savepoints.pop() {
                    staged.rollback(savepoint);
                    *model = then;
                    same((staged.bytes(), staged.len()), (bytes, len))?;
                }
            }
            Op::Read(space, keys) => {
                let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                let expected: Vec<Option<Bytes>> =
                    keys.iter().map(|key| model[space as usize].get(key).cloned()).collect();
                same(staged.read(space, &asked).unwrap(), expected)?;
            }
            Op::Scan { space, from, to, backward, limit } => {
                let direction = if backward { Direction::Backward } else { Direction::Forward };
                let rows = staged.scan(space, &from..&to, direction, limit).unwrap();
                same(rows, model_scan(&model[space as usize], &from, &to, direction, limit))?;
            }
        }
    }
    Ok(())
}

fn model_scan(
    model: &Model,
    from: &[u8],
    to: &[u8],
    direction: Direction,
    limit: usize,
) -> Vec<Row> {
    if from >= to {
        return Vec::new();
    }
    let range = model.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
    let mut rows: Vec<Row> = range.map(|(key, value)| (key.clone(), value.clone())).collect();
    if direction == Direction::Backward {
        rows.reverse();
    }
    rows.truncate(limit);
    rows
}

fn model_rows(model: &[Model; 2], space: Space) -> Vec<Row> {
    model[space as usize].clone().into_iter().collect()
}

fn same<T: std::fmt::Debug + PartialEq>(actual: T, expected: T) -> Result<(), TestCaseError> {
    if actual == expected {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("got {actual:?}, expected {expected:?}")))
}

fn clear(engine: &dyn Engine) {
    let mut changes = Changes::new();
    for space in Space::ALL {
        changes.delete_range(space, "", vec![255; 8]);
    }
    engine.commit(changes).unwrap();
}

fn commit(engine: &dyn Engine, rows: &[(&'static str, &'static str)]) {
    let mut changes = Changes::new();
    for (key, value) in rows {
        changes.put(Space::Rows, *key, *value);
    }
    engine.commit(changes).unwrap();
}

fn all(engine: &dyn Engine, space: Space) -> Vec<Row> {
    engine.scan(space, b""..&[255; 8], Direction::Forward, usize::MAX).unwrap()
}

fn rows(rows: &[(&'static str, &'static str)]) -> Vec<Row> {
    rows.iter().map(|(key, value)| (Bytes::from(*key), Bytes::from(*value))).collect()
}
