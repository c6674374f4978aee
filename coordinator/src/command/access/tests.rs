use super::*;
use crate::{
    command::{journal::read_after, tokens::Grant},
    limits::TOKEN_RETENTION,
    store::engine::MemoryEngine,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn at(hours: u64) -> Timestamp {
    Timestamp::from_ms(1_790_000_000_000 + hours * 3_600_000)
}

fn person(subject: &str) -> Person {
    Person {
        issuer: "https://id.example".into(),
        subject: subject.into(),
        name: Some("Ana Sanz".into()),
        email: None,
    }
}

fn admission(subject: &str) -> Admission {
    Admission {
        person: person(subject),
        name: "ana".into(),
        role: Role::Analyst,
        tenants: vec!["acme".parse().unwrap()],
        life: 8 * HOUR,
        group: "soc".into(),
        from: "203.0.113.9".into(),
        browser: "203.0.113.10".into(),
    }
}

fn enter(staged: &mut Staged<'_>, secret: &str, subject: &str, hours: u64) -> Token {
    sign_in(staged, secret, admission(subject), at(hours)).unwrap()
}

#[test]
fn a_person_who_signs_in_has_an_ordinary_token_and_the_journal_says_who_they_are() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let token = enter(&mut staged, "s", "17", 0);
    assert_eq!(staged.load(&tokens::key_of("s")).unwrap(), Some(token.clone()));
    assert!(tokens::is_good(&token, at(7)) && !tokens::is_good(&token, at(8)));
    assert_eq!((token.holder.as_str(), token.person), ("ana", Some(person("17"))));

    let entry = read_after(&staged, 0, 9).unwrap().remove(0).entry;
    assert!(matches!(&entry.actor, Actor::SignedIn { name, subject, .. }
        if name == "ana" && subject == "17"));
    assert!(
        matches!(&entry.event, Event::Access(AccessEvent::SignedIn { group, from, browser, .. })
        if group == "soc" && from == "203.0.113.9" && browser == "203.0.113.10")
    );
    let revoked = tokens::revoke(&mut staged, &token.id, &entry.actor, at(1)).unwrap();
    assert!(!tokens::is_good(&revoked, at(1)));
}

#[test]
fn a_name_belongs_to_whom_it_is_known_of_and_another_person_of_that_name_has_a_mark() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    assert_eq!(enter(&mut staged, "a", "17", 0).holder, "ana");
    let other = enter(&mut staged, "b", "18", 1).holder;
    assert!(other.starts_with("ana.") && other.len() == "ana.".len() + 8, "{other}");
    assert_eq!(enter(&mut staged, "c", "17", 2).holder, "ana", "still theirs");
    assert_eq!(enter(&mut staged, "d", "18", 2).holder, other, "the same each time");

    let made = Grant { holder: "bob".into(), role: Role::Lead, tenants: vec![], life: HOUR };
    tokens::create(&mut staged, "made", made, &Actor::Coordinator, at(2)).unwrap();
    let named = Admission { name: "bob".into(), ..admission("19") };
    let token = sign_in(&mut staged, "e", named, at(2)).unwrap();
    assert!(token.holder.starts_with("bob."), "nobody signs in as who has a token: {token:?}");
    let long = Admission { name: "x".repeat(HOLDER_LETTERS_MAX), ..admission("20") };
    sign_in(&mut staged, "f", long.clone(), at(2)).unwrap();
    let long = Admission { person: person("21"), ..long };
    let token = sign_in(&mut staged, "g", long, at(2)).unwrap();
    assert_eq!(token.holder.len(), HOLDER_LETTERS_MAX);
}

#[test]
fn a_mark_that_somebody_has_on_purpose_is_not_given_twice() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    enter(&mut staged, "a", "17", 0);
    // Somebody of another provider may be called what the next one's mark will be.
    let mut other = Staged::new(&engine);
    enter(&mut other, "a", "17", 0);
    let marked = enter(&mut other, "b", "18", 1).holder;
    let squatter = Admission { name: marked.clone(), ..admission("19") };
    assert_eq!(sign_in(&mut staged, "c", squatter, at(1)).unwrap().holder, marked);
    let longer = enter(&mut staged, "d", "18", 1).holder;
    assert!(longer.starts_with(&marked) && longer.len() == "ana.".len() + 16, "{longer}");
    assert_eq!(enter(&mut staged, "e", "18", 2).holder, longer, "the same each time");
    let admin = Admission { name: "admin".into(), ..admission("20") };
    let token = sign_in(&mut staged, "f", admin, at(2)).unwrap();
    assert!(token.holder.starts_with("admin."), "that of the first token: {token:?}");
}

#[test]
fn no_token_is_made_with_the_name_of_a_person_who_signs_in() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    enter(&mut staged, "a", "17", 0);
    let grant = |holder: &str| Grant {
        holder: holder.into(),
        role: Role::Lead,
        tenants: vec![],
        life: HOUR,
    };
    let mut make = |holder: &str| {
        tokens::create(&mut staged, holder, grant(holder), &Actor::Coordinator, at(9))
    };
    let refused = make("ana");
    assert!(matches!(&refused, Err(CommandError::Invalid { field: "holder", .. })), "{refused:?}");
    make("ana-of-the-backup").unwrap();
    make("admin").unwrap();
}

#[test]
fn an_administrator_who_signed_in_is_none_for_the_day_on_which_the_provider_is_away() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let admin = Admission { role: Role::Admin, tenants: vec![], ..admission("17") };
    sign_in(&mut staged, "s", admin, at(0)).unwrap();
    assert!(!tokens::has_administrator(&staged, at(0)).unwrap());
}

#[test]
fn a_token_is_for_some_hours_and_a_customers_for_one_tenant() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    for (field, admission) in [
        ("expires", Admission { life: Duration::ZERO, ..admission("17") }),
        ("expires", Admission { life: SIGN_IN_TOKEN_LIFE_MAX + HOUR, ..admission("17") }),
        ("tenants", Admission { role: Role::Customer, tenants: vec![], ..admission("17") }),
    ] {
        let refused = sign_in(&mut staged, "s", admission, at(0));
        assert!(matches!(&refused, Err(CommandError::Invalid { field: f, .. }) if *f == field));
    }
    assert!(staged.is_empty());
}

#[test]
fn a_person_has_so_many_good_tokens_at_once_and_with_one_more_the_oldest_is_revoked() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let secret = |number: usize| format!("secret {number}");
    let sign_in_at = |staged: &mut Staged<'_>, number: usize| {
        let now = Timestamp::from_ms(at(0).as_ms() + number as u64);
        sign_in(staged, &secret(number), admission("17"), now).unwrap()
    };
    let other = enter(&mut staged, "another person's", "18", 0);
    (0..SIGN_IN_TOKENS_OF_PERSON_MAX).for_each(|number| drop(sign_in_at(&mut staged, number)));
    let good = |staged: &Staged<'_>| {
        let all = tokens::list(staged).unwrap();
        all.iter().filter(|(_, token)| tokens::is_good(token, at(1))).count()
    };
    assert_eq!(good(&staged), 1 + SIGN_IN_TOKENS_OF_PERSON_MAX);
    let oldest = staged.load(&tokens::key_of(&secret(0))).unwrap().unwrap();
    sign_in_at(&mut staged, SIGN_IN_TOKENS_OF_PERSON_MAX);
    assert_eq!(good(&staged), 1 + SIGN_IN_TOKENS_OF_PERSON_MAX);
    let revoked = staged.load(&tokens::key_of(&secret(0))).unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(staged.load(&tokens::key_of("another person's")).unwrap(), Some(other));
    let entries = read_after(&staged, 0, 99).unwrap();
    let ended = entries.iter().rev().nth(1).unwrap();
    assert_eq!(ended.entry.event, Event::TokenRevoked { token: oldest.id });
    assert_eq!(ended.entry.actor, Actor::Coordinator);
}

#[test]
fn tokens_are_forgotten_long_after_their_end_and_not_before() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let retention = TOKEN_RETENTION.as_secs() / HOUR.as_secs();
    enter(&mut staged, "old", "17", 0);
    enter(&mut staged, "new", "17", 1);
    enter(&mut staged, "later", "18", 8 + retention - 1);
    assert!(staged.load(&tokens::key_of("old")).unwrap().is_some());
    enter(&mut staged, "latest", "18", 8 + retention);
    assert!(staged.load(&tokens::key_of("old")).unwrap().is_none());
    assert!(staged.load(&tokens::key_of("new")).unwrap().is_some());
}

#[test]
fn a_use_is_stored_unless_a_later_one_is_or_the_token_is_gone() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    enter(&mut staged, "s", "17", 0);
    let (key, gone) = (tokens::key_of("s"), tokens::key_of("never made"));
    note_uses(&mut staged, &[(key, at(2)), (gone, at(2))]).unwrap();
    note_uses(&mut staged, &[(key, at(1))]).unwrap();
    assert_eq!(staged.load(&key).unwrap().unwrap().last_used_at, Some(at(2)));
    assert_eq!(staged.load(&gone).unwrap(), None);
    assert_eq!(read_after(&staged, 0, 9).unwrap().len(), 1, "a use is no entry of the journal");
}

#[test]
fn who_was_refused_and_which_address_was_locked_out_is_journalled() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let from = || "203.0.113.9".to_owned();
    refuse(&mut staged, person("17"), SignInRefusal::NoGroup, from(), at(0)).unwrap();
    lock_out(&mut staged, from(), at(1), at(0)).unwrap();
    let entries = read_after(&staged, 0, 9).unwrap();
    assert!(matches!(&entries[0].entry.event,
        Event::Access(AccessEvent::SignInRefused { person, .. }) if person.subject == "17"));
    assert!(matches!(&entries[1].entry.event,
        Event::Access(AccessEvent::LockedOut { until, .. }) if *until == at(1)));
}
