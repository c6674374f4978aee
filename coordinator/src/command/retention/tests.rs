use shared::{
    alert::Severity,
    ids::{AgentId, Epoch, Lane, Seq, StreamId},
};

use super::*;
use crate::{
    command::journal::read_after,
    limits::LEASE_DEFAULT,
    store::{
        engine::{Engine, MemoryEngine},
        schema::BlockPlace,
        tables::{put, put_evidence, put_key},
        values::{Positions, Remembered},
    },
    triage::{
        case::{CaseId, Judgement, VerdictKind, tests::group},
        entity::{EntityKind, EntityRef},
        evidence::Evidence,
        fold::HostCases,
        sla::Sla,
    },
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn place(ms: u64) -> BlockPlace {
    let stream =
        StreamId { agent: AgentId::from_bytes([1; 16]), epoch: Epoch(1), lane: Lane::Normal };
    BlockPlace { received_at: at(ms), stream, seq: Seq::new(ms + 1).unwrap() }
}

/// Stages a block with one entity.
fn put_block(staged: &mut Staged<'_>, name: &str, ms: u64) {
    let (tenant, place) = (tenant(name), place(ms));
    staged.put(Space::Blocks, &BlockKey { tenant, place }.encode(), "block");
    let entity = EntityRef { kind: EntityKind::ALL[0], digest: [3; 16] };
    put_key(staged, &EntityKey { tenant, day: EntityKey::day_of(at(ms)), entity, place });
}

/// Stages a case that was opened at `ms`, and decided at `decided` if at all.
fn put_case(staged: &mut Staged<'_>, n: u64, ms: u64, decided: Option<u64>) -> CaseId {
    let id = CaseId::from_u64(n);
    let group = group("scan", Severity::High, ms);
    let mut rows = Evidence::open(id, tenant("acme"), &group, &Sla::default(), at(ms));
    if let Some(decided) = decided {
        let claimed = rows.case.claim("ann", LEASE_DEFAULT, at(decided)).unwrap();
        let kind = VerdictKind::BenignExpected;
        let judgement = Judgement { kind, reason: "known", revision_read: None };
        rows.case = claimed.decide("ann", claimed.fence, judgement, at(decided)).unwrap();
    }
    put_evidence(staged, rows);
    put_key(staged, &TenantCaseKey { tenant: tenant("acme"), opened_at: at(ms), case: id });
    put(staged, &CaseBlockKey { case: id, place: place(ms) }, Positions(vec![0]));
    id
}

/// Runs until all cases were looked at; returns whether anything was deleted.
fn run_all(staged: &mut Staged<'_>, name: &str, before: u64) -> bool {
    let (mut deleted, mut after) = (false, None);
    loop {
        let ran =
            run(staged, tenant(name), (at(before), Scope::All), after, at(9 * DAY_MS)).unwrap();
        deleted |= ran.deleted;
        after = ran.next;
        if after.is_none() {
            return deleted;
        }
    }
}

fn count<K: Key>(staged: &Staged<'_>) -> usize {
    let (from, to) = range_of::<K>(&[]);
    let keys: Vec<K> = staged.load_keys(&from..&to, Direction::Forward, 10_000).unwrap();
    keys.len()
}

#[test]
fn blocks_go_by_the_millisecond_and_entities_by_whole_days() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let received = [0, DAY_MS + 5, DAY_MS + 6, 2 * DAY_MS];
    received.iter().for_each(|ms| put_block(&mut staged, "acme", *ms));
    assert!(run_all(&mut staged, "acme", DAY_MS + 6));
    assert_eq!(oldest_block(&staged, tenant("acme")), Ok(Some(at(DAY_MS + 6))));
    assert_eq!(count::<EntityKey>(&staged), 3, "the first day's are gone");
}

#[test]
fn another_tenants_data_stays() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    for name in ["acme", "acme-2", "globex"] {
        put_block(&mut staged, name, 1_000);
    }
    assert!(run_all(&mut staged, "acme", 5 * DAY_MS));
    assert_eq!(oldest_block(&staged, tenant("acme")), Ok(None));
    for name in ["acme-2", "globex"] {
        assert_eq!(oldest_block(&staged, tenant(name)), Ok(Some(at(1_000))), "L5: {name}");
    }
    assert_eq!(count::<EntityKey>(&staged), 2);
}

#[test]
fn only_cases_that_were_decided_before_the_cut_go_and_all_of_them_goes() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    put_case(&mut staged, 1, 10, Some(20));
    let stay = [
        put_case(&mut staged, 2, 10, None),
        put_case(&mut staged, 3, 10, Some(100)),
        put_case(&mut staged, 4, 100, Some(100)),
    ];
    assert!(run_all(&mut staged, "acme", 100));
    let loaded = staged.load_many(&stay.map(CaseKey)).unwrap();
    assert!(loaded.iter().all(Option::is_some));
    let left = (
        count::<CaseKey>(&staged),
        count::<TenantCaseKey>(&staged),
        count::<CaseBlockKey>(&staged),
        count::<KnownKey>(&staged),
        count::<FindingKey>(&staged),
    );
    assert_eq!(left, (3, 3, 3, 3, 3), "all rows of a case go with it");
}

#[test]
fn for_room_blocks_go_and_cases_and_ledgers_stay() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    put_block(&mut staged, "acme", 10);
    put_case(&mut staged, 1, 10, Some(20));
    let ledger = LedgerKey {
        tenant: tenant("acme"),
        at: at(10),
        agent: AgentId::from_bytes([1; 16]),
        epoch: Epoch(1),
        number: 1,
    };
    put_key(&mut staged, &ledger);
    let run = |staged: &mut Staged<'_>, scope| {
        run(staged, tenant("acme"), (at(5 * DAY_MS), scope), None, at(9 * DAY_MS)).unwrap()
    };
    assert_eq!(run(&mut staged, Scope::Room), Ran { deleted: true, next: None });
    assert_eq!((oldest_block(&staged, tenant("acme")), count::<EntityKey>(&staged)), (Ok(None), 0));
    assert_eq!((count::<CaseKey>(&staged), count::<LedgerKey>(&staged)), (1, 1));
    assert!(!run(&mut staged, Scope::Room).deleted);
    assert!(run(&mut staged, Scope::All).deleted);
    assert_eq!((count::<CaseKey>(&staged), count::<LedgerKey>(&staged)), (0, 0));
}

#[test]
fn a_host_is_remembered_as_long_as_one_of_its_cases_is_there() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let cases = [
        put_case(&mut staged, 1, 10, Some(20)),
        put_case(&mut staged, 2, 10, Some(30)),
        put_case(&mut staged, 3, 10, Some(2_000)),
    ];
    let host = staged.load(&CaseKey(cases[0])).unwrap().unwrap().host;
    let key = host_key(tenant("acme"), &host);
    let mut known = HostCases::default();
    cases.iter().for_each(|case| known.cover(*case, at(10), at(10)));
    put(&mut staged, &key, known);
    run_all(&mut staged, "acme", 1_000);
    let left = staged.load(&key).unwrap().unwrap();
    assert_eq!(left.cases.iter().map(|known| known.case).collect::<Vec<_>>(), [cases[2]]);
    run_all(&mut staged, "acme", 3_000);
    assert_eq!(staged.load(&key).unwrap(), None);
}

#[test]
fn old_cases_that_nobody_decided_do_not_hide_the_decided_ones_behind_them() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let many = CASES_PER_RUN as u64 + 10;
    for n in 0..many {
        put_case(&mut staged, n, n, None);
    }
    let decided = put_case(&mut staged, many, many, Some(many));
    assert!(run_all(&mut staged, "acme", many + 1));
    assert_eq!(staged.load(&CaseKey(decided)).unwrap(), None);
    assert_eq!(count::<CaseKey>(&staged), CASES_PER_RUN + 10);
}

#[test]
fn a_run_is_journalled_if_and_only_if_it_deletes() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    put_block(&mut staged, "acme", 1_000);
    put_case(&mut staged, 1, 10, Some(20));
    engine.commit(staged.into_changes()).unwrap();
    let mut staged = Staged::new(&engine);
    assert!(!run_all(&mut staged, "acme", 10));
    assert!(staged.is_empty(), "nothing is that old");
    assert!(run_all(&mut staged, "acme", 2_000));
    let entries = read_after(&staged, 0, 9).unwrap();
    let ran = Event::RetentionRan { before: at(2_000), cases: 1 };
    assert_eq!(entries.iter().map(|c| &c.entry.event).collect::<Vec<_>>(), [&ran]);
    assert!(!run_all(&mut staged, "acme", 2_000));
    assert_eq!(read_after(&staged, 0, 9).unwrap().len(), 1);
}

#[test]
fn an_answer_that_was_renewed_meanwhile_is_not_forgotten() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let keys = [1, 2, 3].map(|n| IdempotencyKey([n; 32]));
    for (key, ms) in keys.iter().zip([10, 100]) {
        let answer = Remembered { request: [0; 32], status: 200, body: vec![], at: at(ms) };
        put(&mut staged, key, answer);
    }
    assert_eq!(forget(&mut staged, &keys, at(100)), Ok(1));
    let left = staged.load_many(&keys).unwrap();
    assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
}
