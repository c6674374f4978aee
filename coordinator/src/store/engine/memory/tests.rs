use super::*;
use crate::store::engine::contract::{Subject, contract};

impl Subject for MemoryEngine {
    fn engine(&self) -> &dyn Engine {
        self
    }

    fn reopen(&mut self) {
        assert_eq!(self.crash(), None);
    }
}

#[test]
fn the_memory_engine_keeps_the_contract() {
    contract(|| MemoryEngine::new(7));
}

#[test]
fn a_refused_commit_leaves_nothing_and_the_next_one_goes_through() {
    let engine = MemoryEngine::new(1);
    engine.fail_next_commit(Fault::Refused);

    let refused = engine.commit(put("a"));
    assert!(matches!(refused, Err(CommitError::Refused(Refusal::Rejected { .. }))));
    assert!(!has(&engine, "a"));
    engine.commit(put("b")).unwrap();
    assert!(has(&engine, "b"));
}

#[test]
fn an_unknown_commit_has_happened_or_not_as_planned() {
    let engine = MemoryEngine::new(1);
    engine.fail_next_commit(Fault::UnknownApplied);
    engine.fail_next_commit(Fault::UnknownLost);

    for key in ["applied", "lost"] {
        assert!(matches!(engine.commit(put(key)), Err(CommitError::Unknown { .. })));
    }
    assert_eq!(engine.crash(), None);
    assert!(has(&engine, "applied"));
    assert!(!has(&engine, "lost"));
}

#[test]
fn a_torn_commit_is_kept_whole_or_lost_whole_as_the_seed_decides() {
    let mut outcomes = Vec::new();
    for seed in 0..16 {
        let run = || {
            let engine = MemoryEngine::new(seed);
            engine.commit(put("before")).unwrap();
            engine.fail_next_commit(Fault::Torn);
            let mut changes = put("torn");
            changes.put(Space::Blocks, "block", "b");
            changes.delete(Space::Rows, "before");
            assert!(matches!(engine.commit(changes), Err(CommitError::Unknown { .. })));
            assert!(has(&engine, "before") && !has(&engine, "torn"));
            let stopped = engine.commit(put("after"));
            assert!(matches!(stopped, Err(CommitError::Refused(Refusal::Stopped { .. }))));

            let kept = engine.crash() == Some(Torn::Kept);
            assert_eq!(has(&engine, "torn"), kept);
            assert_eq!(has(&engine, "before"), !kept);
            assert_eq!(engine.read(Space::Blocks, &[b"block"]).unwrap()[0].is_some(), kept);
            engine.commit(put("after")).unwrap();
            kept
        };
        let kept = run();
        assert_eq!(run(), kept, "seed {seed} gives one outcome");
        outcomes.push(kept);
    }
    assert!(outcomes.contains(&true) && outcomes.contains(&false));
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_room() {
    let engine = MemoryEngine::new(1);
    engine.commit(put("a")).unwrap();
    engine.fail_next_commit(Fault::UnknownLost);
    engine.set_disk_full(true);

    let mut delete = Changes::new();
    delete.delete(Space::Rows, "a");
    for changes in [put("b"), delete] {
        let full = engine.commit(changes);
        assert!(matches!(full, Err(CommitError::Refused(Refusal::DiskFull { .. }))));
    }
    assert!(has(&engine, "a") && !has(&engine, "b"));
    engine.set_disk_full(false);
    assert!(matches!(engine.commit(put("b")), Err(CommitError::Unknown { .. })), "the plan waited");
    engine.commit(put("b")).unwrap();
}

#[test]
fn an_unreadable_engine_says_which_space_it_could_not_read() {
    let engine = MemoryEngine::new(1);
    engine.set_unreadable(true);

    let error = engine.read(Space::Blocks, &[b"a"]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read blocks: made unreadable");
    engine.scan(Space::Rows, b"a"..b"z", Direction::Forward, 1).unwrap_err();
    engine.set_unreadable(false);
    assert!(!has(&engine, "a"));
}

#[test]
fn clones_share_one_state() {
    let engine = MemoryEngine::new(1);
    engine.clone().commit(put("a")).unwrap();
    assert!(has(&engine, "a"));
}

fn put(key: &'static str) -> Changes {
    let mut changes = Changes::new();
    changes.put(Space::Rows, key, "value");
    changes
}

fn has(engine: &MemoryEngine, key: &str) -> bool {
    engine.read(Space::Rows, &[key.as_bytes()]).unwrap()[0].is_some()
}
