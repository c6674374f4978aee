use bytes::Bytes;
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    ids::{AgentId, Epoch, Lane},
};

use super::*;
use crate::{
    command::journal::{ChainCheck, check, read_after},
    store::{
        engine::{Change, Engine, MemoryEngine},
        reader::cases::findings,
        tables::delete,
    },
};

fn block(title: &str, host: &str, count: usize) -> Bytes {
    let mut builder = BlockBuilder::new();
    for _ in 0..count {
        let mut alert = Alert::default();
        alert.observed_at = Timestamp::from_ms(1_000_000);
        alert.severity = Severity::High;
        alert.set(Field::Title, title.to_owned());
        alert.set(Field::DeviceHostname, host.to_owned());
        builder.push(&alert, b"record").unwrap();
    }
    builder.finish(1)
}

fn stream() -> StreamId {
    StreamId { agent: AgentId::from_bytes([1; 16]), epoch: Epoch(1), lane: Lane::Normal }
}

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn commit_one(
    engine: &MemoryEngine,
    tenant: &str,
    n: u64,
    bytes: Bytes,
) -> Result<Committed, CommandError> {
    let now = Timestamp::from_ms(2_000_000 + n);
    let prepared = Prepared::new(tenant.parse().unwrap(), stream(), seq(n), bytes).unwrap();
    let mut staged = Staged::new(engine);
    let outcome = commit(&mut staged, &prepared, now)?;
    engine.commit(staged.into_changes()).unwrap();
    Ok(outcome)
}

fn case_of(engine: &MemoryEngine, id: CaseId) -> Case {
    let engine: &dyn Engine = engine;
    engine.load(&CaseKey(id)).unwrap().unwrap()
}

fn only_case(outcome: &Committed) -> CaseId {
    let Committed::Stored(cases) = outcome else { panic!("stored") };
    assert_eq!(cases.len(), 1);
    cases[0]
}

#[test]
fn a_block_that_is_sent_again_takes_effect_once() {
    let engine = MemoryEngine::new(1);
    let first = commit_one(&engine, "acme", 1, block("scan", "srv1", 3)).unwrap();
    let again = commit_one(&engine, "acme", 1, block("scan", "srv1", 3)).unwrap();
    assert_eq!(again, Committed::Before, "L2");
    assert_eq!(case_of(&engine, only_case(&first)).alert_count, 3);
    let engine: &dyn Engine = &engine;
    let entries = read_after(engine, 0, 10).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(check(&entries, 0, [0; 32]), ChainCheck::Whole);
}

#[test]
fn a_block_whose_forerunner_is_missing_is_refused() {
    let engine = MemoryEngine::new(1);
    let refused = commit_one(&engine, "acme", 2, block("scan", "srv1", 1));
    assert_eq!(refused, Err(CommandError::OutOfOrder { got: 2, committed: 0 }));
}

#[test]
fn alerts_of_one_host_become_one_case_and_another_tenants_their_own() {
    let engine = MemoryEngine::new(1);
    let scan = only_case(&commit_one(&engine, "acme", 1, block("scan", "srv1", 2)).unwrap());
    let next = only_case(&commit_one(&engine, "acme", 2, block("exploit", "SRV1", 1)).unwrap());
    let other = only_case(&commit_one(&engine, "globex", 1, block("scan", "srv1", 1)).unwrap());
    assert_eq!(scan, next);
    assert_ne!(scan, other, "L5: no fold crosses a tenant");
    let case = case_of(&engine, scan);
    assert_eq!((case.alert_count, case.headline.finding_count), (3, 2));
}

#[test]
fn a_block_writes_of_a_case_what_it_changes_and_not_its_other_findings() {
    let engine = MemoryEngine::new(1);
    let mut id = None;
    for n in 1..=9 {
        let block = block(&format!("rule {n}"), "srv1", 1);
        id = Some(only_case(&commit_one(&engine, "acme", n, block).unwrap()));
    }
    let id = id.unwrap();
    let bytes = block("rule 3", "srv1", 2);
    let prepared = Prepared::new("acme".parse().unwrap(), stream(), seq(10), bytes).unwrap();
    let mut staged = Staged::new(&engine);
    commit(&mut staged, &prepared, Timestamp::from_ms(3_000_000)).unwrap();
    let changes = staged.into_changes();
    let of_findings = changes.iter().filter_map(|change| match change {
        Change::Put { key, .. } if key[0] == FindingKey::FAMILY => Some(FindingKey::decode(key)),
        Change::Put { key, .. } => {
            assert_ne!(key[0], KnownKey::FAMILY, "nothing new is known");
            None
        }
        Change::Delete { .. } | Change::DeleteRange { .. } => panic!("nothing is deleted"),
    });
    assert_eq!(of_findings.collect::<Vec<_>>(), [Ok(FindingKey { case: id, number: 2 })]);
    engine.commit(changes).unwrap();
    let engine: &dyn Engine = &engine;
    let case = engine.load(&CaseKey(id)).unwrap().unwrap();
    let findings = findings(engine, &case).unwrap();
    let counts: Vec<u64> = findings.iter().map(|finding| finding.count).collect();
    assert_eq!((counts, case.alert_count), (vec![1, 1, 3, 1, 1, 1, 1, 1, 1], 11));
}

#[test]
fn a_case_without_what_it_knows_takes_nothing_in_and_the_block_is_not_stored() {
    let engine = MemoryEngine::new(1);
    let id = only_case(&commit_one(&engine, "acme", 1, block("scan", "srv1", 1)).unwrap());
    let mut staged = Staged::new(&engine);
    delete(&mut staged, &FindingKey { case: id, number: 0 });
    engine.commit(staged.into_changes()).unwrap();
    let refused = commit_one(&engine, "acme", 2, block("scan", "srv1", 1)).unwrap_err();
    let text = format!("stored finding cannot be read: case {id} has none");
    assert_eq!(refused.to_string(), text);
    let mut staged = Staged::new(&engine);
    delete(&mut staged, &KnownKey(id));
    engine.commit(staged.into_changes()).unwrap();
    let refused = commit_one(&engine, "acme", 2, block("exploit", "srv1", 1)).unwrap_err();
    let text = format!("stored known findings cannot be read: case {id} has none");
    assert_eq!(refused.to_string(), text);
}

#[test]
fn a_case_that_was_deleted_is_not_opened_again_with_its_old_fences() {
    let engine = MemoryEngine::new(1);
    let first = only_case(&commit_one(&engine, "acme", 1, block("scan", "srv1", 1)).unwrap());
    let mut staged = Staged::new(&engine);
    delete(&mut staged, &CaseKey(first));
    engine.commit(staged.into_changes()).unwrap();
    let second = only_case(&commit_one(&engine, "acme", 2, block("scan", "srv1", 1)).unwrap());
    assert_ne!(second, first, "L6");
    let third = only_case(&commit_one(&engine, "acme", 3, block("scan", "srv1", 1)).unwrap());
    assert_eq!((third, case_of(&engine, second).alert_count), (second, 2));
}

#[test]
fn an_id_that_another_tenants_case_has_is_passed_over() {
    let id = {
        let engine = MemoryEngine::new(1);
        only_case(&commit_one(&engine, "acme", 1, block("scan", "srv1", 1)).unwrap())
    };
    let engine = MemoryEngine::new(1);
    let other = only_case(&commit_one(&engine, "globex", 1, block("scan", "srv1", 1)).unwrap());
    let foreign = Case { id, ..case_of(&engine, other) };
    let mut staged = Staged::new(&engine);
    put(&mut staged, &CaseKey(id), foreign.clone());
    engine.commit(staged.into_changes()).unwrap();
    for n in 1..=2 {
        let own = only_case(&commit_one(&engine, "acme", n, block("scan", "srv1", 1)).unwrap());
        assert_ne!(own, id, "L5");
        let own = case_of(&engine, own);
        assert_eq!((own.tenant.as_str(), own.alert_count), ("acme", n));
    }
    assert_eq!(case_of(&engine, id), foreign);
}

#[test]
fn a_gap_moves_the_cursor_and_is_kept_to_be_shown() {
    let engine = MemoryEngine::new(1);
    let tenant = "acme".parse().unwrap();
    let head = LaneHead { first: seq(5), last: Some(seq(7)) };
    let mut staged = Staged::new(&engine);
    let committed = resume(&mut staged, tenant, stream(), head, Timestamp::ZERO).unwrap();
    assert_eq!(committed, Some((seq(4), None)));
    let gap = staged.load(&GapKey { tenant, stream: stream(), first: seq(1) }).unwrap().unwrap();
    assert_eq!((gap.last, gap.reason), (seq(4), GapReason::Missing));
    engine.commit(staged.into_changes()).unwrap();
    assert!(commit_one(&engine, "acme", 5, block("scan", "srv1", 1)).is_ok());
}
