use std::collections::BTreeSet;

use shared::alert::Severity;

use super::*;
use crate::{
    command::journal::read_after,
    limits::LEASE_DEFAULT,
    store::{
        engine::{Engine, MemoryEngine},
        tables::put_evidence,
    },
    triage::{
        case::{Refused, tests::group},
        evidence::Evidence,
        sla::Sla,
    },
};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn caller(name: &str, tenant: &str) -> Caller {
    let scope = TenantScope::Only(BTreeSet::from([tenant.parse().unwrap()]));
    Caller { name: name.into(), scope, person: None }
}

/// A store that holds one open case of acme.
fn store_with_case() -> (MemoryEngine, CaseId) {
    let engine = MemoryEngine::new(1);
    let id = CaseId::from_u64(7);
    let group = group("scan", Severity::High, 5);
    let rows = Evidence::open(id, "acme".parse().unwrap(), &group, &Sla::default(), at(1_000));
    let mut staged = Staged::new(&engine);
    put_evidence(&mut staged, rows);
    engine.commit(staged.into_changes()).unwrap();
    (engine, id)
}

#[test]
fn a_case_is_claimed_once_and_closed_with_a_verdict_that_the_journal_shows() {
    let (engine, id) = store_with_case();
    let (ann, bob) = (caller("ann", "acme"), caller("bob", "acme"));
    let mut staged = Staged::new(&engine);
    let case = claim(&mut staged, &ann, id, LEASE_DEFAULT, at(2_000)).unwrap();
    let second = claim(&mut staged, &bob, id, LEASE_DEFAULT, at(2_001));
    assert!(matches!(second, Err(CommandError::Refused(Refused::Held { .. }))), "L6");
    let (kind, reason) = (VerdictKind::BenignExpected, "their own scanner");
    let judgement = Judgement { kind, reason, revision_read: None };
    decide(&mut staged, &ann, (id, case.fence), judgement, at(3_000)).unwrap();
    engine.commit(staged.into_changes()).unwrap();
    let engine: &dyn Engine = &engine;
    let events: Vec<Event> =
        read_after(engine, 0, 9).unwrap().into_iter().map(|chained| chained.entry.event).collect();
    assert!(matches!(
        events.as_slice(),
        [Event::CaseClaimed { fence: 1, .. }, Event::VerdictGiven { .. }]
    ));
}

#[test]
fn a_case_of_a_tenant_outside_the_scope_does_not_exist() {
    let (engine, id) = store_with_case();
    let mut staged = Staged::new(&engine);
    let outsider = caller("eve", "globex");
    let refused = claim(&mut staged, &outsider, id, LEASE_DEFAULT, at(2_000));
    assert_eq!(refused, Err(CommandError::not_found("case", id)), "L5");
    assert!(staged.is_empty());
}

#[test]
fn a_verdict_needs_a_reason_and_out_of_time_is_nobodys_to_give() {
    let (engine, id) = store_with_case();
    let ann = caller("ann", "acme");
    let mut staged = Staged::new(&engine);
    let fence = claim(&mut staged, &ann, id, LEASE_DEFAULT, at(2_000)).unwrap().fence;
    for (kind, reason) in [(VerdictKind::Malicious, "  "), (VerdictKind::OutOfTime, "late")] {
        let verdict = Judgement { kind, reason, revision_read: None };
        let refused = decide(&mut staged, &ann, (id, fence), verdict, at(2_500));
        assert!(matches!(refused, Err(CommandError::Invalid { .. })));
    }
}

#[test]
fn a_lease_that_ran_out_brings_the_case_back_and_says_so() {
    let (engine, id) = store_with_case();
    let mut staged = Staged::new(&engine);
    claim(&mut staged, &caller("ann", "acme"), id, LEASE_DEFAULT, at(2_000)).unwrap();
    assert_eq!(expire(&mut staged, &[id], at(2_001)), Ok(0));
    assert_eq!(expire(&mut staged, &[id], at(u64::MAX)), Ok(1));
    let case = staged.load(&CaseKey(id)).unwrap().unwrap();
    assert_eq!(case.state, CaseState::Open);
}
