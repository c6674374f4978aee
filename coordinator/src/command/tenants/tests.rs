use super::*;
use crate::{command::journal::read_after, store::engine::MemoryEngine};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn lead() -> Actor {
    Actor::Person("lea".into())
}

fn name(name: &str) -> (Option<String>, Option<Sla>) {
    (Some(name.to_owned()), None)
}

#[test]
fn a_tenant_is_made_once_with_the_default_sla_and_journalled() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    ensure(&mut staged, acme(), &Actor::Coordinator, at(1_000)).unwrap();
    ensure(&mut staged, acme(), &Actor::Coordinator, at(2_000)).unwrap();
    let tenant = staged.load(&TenantKey(acme())).unwrap().unwrap();
    let (display_name, sla) = ("acme".to_owned(), Sla::default());
    assert_eq!(tenant, Tenant { display_name, sla, created_at: at(1_000), revision: 1 });
    let entries = read_after(&staged, 0, 9).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].entry.tenant, Some(acme()));
    assert_eq!(entries[0].entry.event, Event::TenantChanged { revision: 1 });
}

#[test]
fn what_is_not_given_stays_as_it_was() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let sla = Sla { minutes: [7; 7] };
    let first = set(&mut staged, acme(), (None, Some(sla)), None, &lead(), at(1_000)).unwrap();
    assert_eq!((first.display_name.as_str(), first.sla, first.revision), ("acme", sla, 1));
    let second = set(&mut staged, acme(), name("Acme Ltd"), None, &lead(), at(2_000)).unwrap();
    assert_eq!((second.display_name.as_str(), second.sla), ("Acme Ltd", sla));
    assert_eq!((second.created_at, second.revision), (at(1_000), 2));
    assert_eq!(staged.load(&TenantKey(acme())).unwrap(), Some(second));
}

#[test]
fn of_two_who_saw_the_same_revision_the_second_is_told_and_changes_nothing() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    ensure(&mut staged, acme(), &lead(), at(1_000)).unwrap();
    set(&mut staged, acme(), name("first"), Some(1), &lead(), at(2_000)).unwrap();
    let second = set(&mut staged, acme(), name("second"), Some(1), &lead(), at(3_000));
    assert_eq!(second, Err(CommandError::Changed { what: "tenant", expected: 1, is: 2 }));
    let tenant = staged.load(&TenantKey(acme())).unwrap().unwrap();
    assert_eq!(tenant.display_name, "first");
    let unheard = set(&mut staged, "new".parse().unwrap(), name("n"), Some(1), &lead(), at(1));
    assert_eq!(unheard, Err(CommandError::Changed { what: "tenant", expected: 1, is: 0 }));
}

#[test]
fn a_name_or_time_that_is_not_allowed_is_refused_by_field_and_stages_nothing() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let minutes = |minute| (None, Some(Sla { minutes: [minute, 1, 1, 1, 1, 1, 1] }));
    let cases = [
        ("display_name", name("  ")),
        ("display_name", name(&"a".repeat(TEXT_BYTES_MAX + 1))),
        ("sla_minutes", minutes(0)),
        ("sla_minutes", minutes(MINUTES_MAX + 1)),
    ];
    for (expected, change) in cases {
        let refused = set(&mut staged, acme(), change.clone(), None, &lead(), at(1_000));
        let is_named =
            matches!(&refused, Err(CommandError::Invalid { field, .. }) if *field == expected);
        assert!(is_named, "{change:?}: {refused:?}");
    }
    assert!(staged.is_empty());
    assert!(set(&mut staged, acme(), minutes(MINUTES_MAX), None, &lead(), at(1_000)).is_ok());
}
