use std::sync::Arc;

use shared::{alert::Severity, time::Timestamp};

use super::*;
use crate::{
    limits::FINDINGS_MAX,
    store::{
        engine::{Fault, MemoryEngine},
        reader::cases as reader,
        schema::KnownKey,
        values::case::encode_whole,
        writer,
    },
    triage::{
        case::{CaseId, tests::group},
        evidence::Evidence,
        sla::Sla,
    },
};

/// Cases of all sizes, some of which have more findings than they name.
fn cases() -> Vec<Evidence> {
    (0..2 * UPGRADE_CASES_MAX as u64 + 10).map(case).collect()
}

fn case(n: u64) -> Evidence {
    let (sla, now) = (Sla::default(), Timestamp::from_ms(1_000));
    let (id, tenant) = (CaseId::from_u64(n), "acme".parse().unwrap());
    let mut rows = Evidence::open(id, tenant, &group("scan", Severity::Medium, 5), &sla, now);
    for rule in 0..usize::try_from(n).unwrap() % (FINDINGS_MAX + 20) {
        let severity = Severity::ALL[rule % Severity::ALL.len()];
        let mut more = group(&format!("rule {rule}"), severity, 6);
        more.techniques = format!("T{rule},T{n}");
        rows.absorb(&more, &sla, now);
    }
    rows
}

/// A store as version 1 of the schema left it, with cases of both versions that they had then.
fn old_store(cases: &[Evidence]) -> MemoryEngine {
    let engine = MemoryEngine::new(1);
    let mut changes = Changes::new();
    for rows in cases {
        let key = CaseKey(rows.case.id).encode();
        changes.put(Space::Rows, key, encode_whole(value_version(rows), rows));
    }
    engine.commit(changes).unwrap();
    engine
}

/// One case in five is as old as can be, if that had a form for all that it holds.
fn value_version(rows: &Evidence) -> u8 {
    let is_oldest = rows.case.id.as_u64().is_multiple_of(5) && rows.known.others.is_empty();
    if is_oldest { 1 } else { 2 }
}

/// Checks that the store is of this version and holds these cases.
fn assert_holds(engine: &MemoryEngine, cases: &[Evidence]) {
    assert_eq!(version(engine), Ok(SCHEMA_VERSION));
    let engine: &dyn Engine = engine;
    for rows in cases {
        let mut expected = rows.case.clone();
        if value_version(rows) == 1 {
            expected.news_revision = 0;
        }
        let case = engine.load(&CaseKey(expected.id)).unwrap().unwrap();
        assert_eq!(case, expected);
        assert_eq!(engine.load(&KnownKey(case.id)), Ok(Some(rows.known.clone())));
        assert!(reader::findings(engine, &case).unwrap().iter().eq(rows.findings.values()));
    }
}

#[test]
fn a_new_store_says_its_version_and_is_left_alone_afterwards() {
    let engine = MemoryEngine::new(1);
    assert_eq!(version(&engine), Ok(1));
    run(&engine).unwrap();
    assert_eq!(version(&engine), Ok(SCHEMA_VERSION));
    engine.set_disk_full(true);
    assert_eq!(run(&engine), Ok(()), "nothing is written");
}

#[test]
fn a_store_of_the_first_version_is_rewritten_whole() {
    let cases = cases();
    let engine = old_store(&cases);
    run(&engine).unwrap();
    assert_holds(&engine, &cases);
    writer::start(Arc::new(engine)).unwrap();
}

#[test]
fn a_store_of_the_second_version_only_says_a_later_one() {
    let engine = MemoryEngine::new(1);
    let mut changes = Changes::new();
    changes.put(Space::Rows, MetaKey::SCHEMA.encode(), SPLIT_VERSION.encode());
    // It would be an error if it was read.
    changes.put(Space::Rows, CaseKey(CaseId::from_u64(3)).encode(), "no case");
    engine.commit(changes).unwrap();
    run(&engine).unwrap();
    assert_eq!(version(&engine), Ok(SCHEMA_VERSION));
}

#[test]
fn a_rewrite_that_was_cut_off_anywhere_is_finished_by_the_next() {
    let cases = cases();
    // Three commits of cases, and that of the version.
    for cut in 0..4 {
        for fault in [Fault::Refused, Fault::UnknownApplied, Fault::UnknownLost, Fault::Torn] {
            let engine = old_store(&cases);
            let done = &cases[..(cut * UPGRADE_CASES_MAX).min(cases.len())];
            cut_off(&engine, done, fault);
            let cut_off = run(&engine);
            assert!(matches!(cut_off, Err(UpgradeError::Commit(_))), "{cut_off:?}");
            engine.crash();
            run(&engine).unwrap();
            assert_holds(&engine, &cases);
        }
    }
}

/// Rewrites `done` as a start would have, and lets the next commit fail that changes anything.
fn cut_off(engine: &MemoryEngine, done: &[Evidence], fault: Fault) {
    let mut staged = Staged::new(engine);
    for rows in done {
        let whole = encode_whole(value_version(rows), rows);
        put_evidence(&mut staged, decode_whole(&whole).unwrap().unwrap());
    }
    engine.commit(staged.into_changes()).unwrap();
    engine.fail_next_commit(fault);
}

#[test]
fn a_store_of_a_later_version_is_refused_and_says_both_versions_and_what_to_do() {
    let engine = MemoryEngine::new(1);
    let mut changes = Changes::new();
    changes.put(Space::Rows, MetaKey::SCHEMA.encode(), (SCHEMA_VERSION + 1).encode());
    engine.commit(changes).unwrap();
    engine.set_disk_full(true);
    let refused = run(&engine).unwrap_err();
    let known = SCHEMA_VERSION;
    assert_eq!(refused, UpgradeError::Later { stored: known + 1, known });
    let text = refused.to_string();
    assert!(text.contains("version 4") && text.contains("beyond 3"), "{text}");
    assert!(text.contains("start the program that wrote it"), "{text}");
}

#[test]
fn a_store_that_cannot_be_read_is_not_taken_for_a_new_one() {
    let engine = old_store(&cases());
    engine.set_unreadable(true);
    assert!(matches!(run(&engine), Err(UpgradeError::Load(_))));
    engine.set_unreadable(false);
    let mut changes = Changes::new();
    changes.put(Space::Rows, CaseKey(CaseId::from_u64(3)).encode(), "no case");
    engine.commit(changes).unwrap();
    assert!(matches!(run(&engine), Err(UpgradeError::Load(LoadError::Value(_)))));
    assert_eq!(version(&engine), Ok(1), "what is damaged is not passed over");
}
