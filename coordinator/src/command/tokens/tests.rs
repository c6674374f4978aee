use super::*;
use crate::{
    command::journal::read_after,
    store::engine::{Engine, MemoryEngine},
};

const LIFE: Duration = Duration::from_secs(60);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn admin() -> Actor {
    Actor::Person("root".into())
}

fn grant(holder: &str) -> Grant {
    Grant { holder: holder.into(), role: Role::Analyst, tenants: vec![], life: LIFE }
}

fn make(staged: &mut Staged<'_>, secret: &str, grant: Grant) -> Result<Token, CommandError> {
    create(staged, secret, grant, &admin(), at(1_000))
}

#[test]
fn a_token_is_found_by_its_secret_and_the_secret_is_kept_nowhere() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let token = make(&mut staged, "sbx_secret_of_ann", grant("ann")).unwrap();
    assert_eq!((token.created_at, token.expires_at), (at(1_000), at(61_000)));
    assert_eq!(staged.load(&key_of("sbx_secret_of_ann")).unwrap(), Some(token));
    assert_eq!(staged.load(&key_of("sbx_secret_of_bob")).unwrap(), None);
    let changes = format!("{:?}", staged.into_changes());
    assert!(!changes.contains("secret_of_ann"), "{changes}");
}

#[test]
fn tokens_are_listed_with_whose_they_are_and_making_one_is_journalled() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    for holder in ["ann", "bob"] {
        make(&mut staged, holder, grant(holder)).unwrap();
    }
    let mut holders: Vec<String> =
        list(&staged).unwrap().into_iter().map(|(_, token)| token.holder).collect();
    holders.sort();
    assert_eq!(holders, ["ann", "bob"]);
    let entries = read_after(&staged, 0, 9).unwrap();
    assert!(entries.iter().all(|chained| chained.entry.actor == admin()));
    assert!(matches!(
        &entries[1].entry.event,
        Event::TokenCreated { holder, role: Role::Analyst, .. } if holder == "bob"
    ));
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let token = make(&mut staged, "s", grant("ann")).unwrap();
    assert!(is_good(&token, at(60_999)));
    assert!(!is_good(&token, at(61_000)), "its last instant is the one before");
    let revoked = revoke(&mut staged, &token.id, &admin(), at(2_000)).unwrap();
    assert!(!is_good(&revoked, at(2_000)));
    assert_eq!(staged.load(&key_of("s")).unwrap(), Some(revoked));
}

#[test]
fn revoking_twice_changes_nothing_and_an_unknown_token_is_not_found() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let token = make(&mut staged, "s", grant("ann")).unwrap();
    let first = revoke(&mut staged, &token.id, &admin(), at(2_000)).unwrap();
    let second = revoke(&mut staged, &token.id, &admin(), at(9_000)).unwrap();
    assert_eq!((second.revoked_at, second), (Some(at(2_000)), first));
    assert_eq!(read_after(&staged, 0, 9).unwrap().len(), 2, "made once and revoked once");
    let unknown = revoke(&mut staged, "0000000000000000", &admin(), at(9_000));
    assert_eq!(unknown, Err(CommandError::not_found("token", "0000000000000000")));
}

#[test]
fn a_grant_that_is_not_allowed_is_refused_by_field_and_stages_nothing() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let customer = |tenants: &[&str]| Grant {
        role: Role::Customer,
        tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
        ..grant("ann")
    };
    let too_long = TOKEN_LIFE_MAX + Duration::from_millis(1);
    let cases = [
        ("holder", grant("")),
        ("holder", grant(&"a".repeat(65))),
        ("holder", grant("ann lee")),
        ("holder", grant("ann\u{e9}")),
        ("expires", Grant { life: Duration::ZERO, ..grant("ann") }),
        ("expires", Grant { life: too_long, ..grant("ann") }),
        ("tenants", customer(&[])),
        ("tenants", customer(&["acme", "globex"])),
    ];
    for (expected, grant) in cases {
        let refused = make(&mut staged, "s", grant.clone());
        let is_named =
            matches!(&refused, Err(CommandError::Invalid { field, .. }) if *field == expected);
        assert!(is_named, "{grant:?}: {refused:?}");
    }
    assert!(staged.is_empty());
    let longest = Grant { life: TOKEN_LIFE_MAX, ..customer(&["acme"]) };
    assert!(make(&mut staged, "s", Grant { holder: "a".repeat(64), ..longest }).is_ok());
    let engine: &dyn Engine = &engine;
    assert_eq!(list(engine).unwrap(), []);
}

#[test]
fn there_is_an_end_of_tokens_and_those_that_are_worth_nothing_make_room() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let token = make(&mut staged, "secret", grant("ann")).unwrap();
    for number in 1..TOKENS_MAX {
        let key = key_of(&format!("secret {number}"));
        put(&mut staged, &key, Token { id: id_of(&key), ..token.clone() });
    }
    let refused = make(&mut staged, "one more", grant("bob"));
    let is_named = matches!(&refused, Err(CommandError::Invalid { field: "token", .. }));
    assert!(is_named, "{refused:?}");
    let first = create_first(&mut staged, "first", LIFE, at(1_000)).unwrap();
    assert_eq!((first.role, first.holder.as_str()), (Role::Admin, FIRST_HOLDER));
    let over = at(61_000);
    create(&mut staged, "one more", grant("bob"), &admin(), over).unwrap();
    assert!(list(&staged).unwrap().len() <= 2, "what is listed, and perhaps one beyond");
    let retention = over.saturating_add(TOKEN_RETENTION).saturating_add(LIFE);
    create(&mut staged, "the last", grant("bob"), &admin(), retention).unwrap();
    assert_eq!(staged.load(&key_of("one more")).unwrap(), None, "long after their end");
}

#[test]
fn any_token_is_found_by_its_name_however_many_there_are() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let token = make(&mut staged, "secret", grant("ann")).unwrap();
    let stored = |n: usize| {
        let key = key_of(&format!("secret {n}"));
        let token = Token { id: id_of(&key), ..token.clone() };
        put(&mut staged, &key, token.clone());
        token.id
    };
    let names: Vec<String> = (0..=TOKENS_MAX).map(stored).collect();
    let last = names.iter().max().unwrap();
    assert!(revoke(&mut staged, last, &admin(), at(2_000)).unwrap().revoked_at.is_some());
    for wrong in ["", "zz", "00", &last[..8], &format!("{last}00"), "\u{fc}\u{fc}aaaaaaaaaaaaaa"] {
        let refused = revoke(&mut staged, wrong, &admin(), at(2_000));
        assert_eq!(refused, Err(CommandError::not_found("token", wrong)), "{wrong:?}");
    }
}

#[test]
fn somebody_can_administrate_while_an_administrators_token_for_all_tenants_is_good() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let has = |staged: &Staged<'_>, ms| has_administrator(staged, at(ms)).unwrap();
    make(&mut staged, "a", grant("ann")).unwrap();
    let of_one =
        Grant { role: Role::Admin, tenants: vec!["acme".parse().unwrap()], ..grant("bob") };
    make(&mut staged, "b", of_one).unwrap();
    assert!(!has(&staged, 2_000));
    let token = make(&mut staged, "c", Grant { role: Role::Admin, ..grant("root") }).unwrap();
    assert!(has(&staged, 2_000) && !has(&staged, 61_000), "it runs out");
    revoke(&mut staged, &token.id, &admin(), at(2_000)).unwrap();
    assert!(!has(&staged, 2_000));
}
