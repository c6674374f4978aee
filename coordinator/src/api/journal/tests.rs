use serde_json::{Value, json};

use super::super::fixture::Fixture;
use super::*;
use crate::{
    command::tokens,
    store::values::{Actor, Role},
};

fn numbers(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

/// Entries 1 and 3 are acme's, 2 and 4 globex's, 5 is nobody's in particular.
async fn filled() -> (Fixture, String) {
    let fixture = Fixture::new();
    let case = fixture.block("acme", 1, 1, &[("srv1", "10.0.0.1")]).await[0];
    fixture.block("globex", 1, 1, &[("srv1", "10.0.0.1")]).await;
    fixture.block("acme", 1, 2, &[("srv2", "10.0.0.1")]).await;
    fixture.block("globex", 1, 2, &[("srv1", "10.0.0.1")]).await;
    let life = std::time::Duration::from_secs(60);
    let grant =
        tokens::Grant { holder: "bob".into(), role: Role::Analyst, tenants: Vec::new(), life };
    fixture
        .write(move |staged, now| {
            tokens::create(staged, &"s".repeat(46), grant, &Actor::Coordinator, now)
        })
        .await;
    (fixture, case.to_string())
}

#[tokio::test]
async fn only_those_who_read_the_journal_may() {
    let (fixture, _) = filled().await;
    for (role, status) in [
        (Role::Customer, 403),
        (Role::Analyst, 403),
        (Role::Auditor, 200),
        (Role::Lead, 200),
        (Role::Admin, 200),
    ] {
        let token = fixture.token(role, &["acme"]).await;
        assert_eq!(fixture.get("/v1/journal", &token).await.status, status, "{role:?}");
    }
}

#[tokio::test]
async fn pages_in_both_directions_show_each_entry_of_the_scope_once() {
    let (fixture, case) = filled().await;
    let all = fixture.token(Role::Auditor, &[]).await;
    let acme = fixture.token(Role::Auditor, &["acme"]).await;
    for limit in 1..=6 {
        for (token, query, expected) in [
            (&all, String::new(), vec![5, 4, 3, 2, 1]),
            (&all, "&after=0".into(), vec![1, 2, 3, 4, 5]),
            (&all, "&after=3".into(), vec![4, 5]),
            (&all, "&before=3".into(), vec![2, 1]),
            (&all, "&tenant=globex".into(), vec![4, 2]),
            (&all, format!("&case={case}&after=0"), vec![1]),
            (&acme, "&after=0".into(), vec![1, 3]),
            (&acme, String::new(), vec![3, 1]),
        ] {
            let items = fixture.all(&format!("/v1/journal?limit={limit}{query}"), token).await;
            assert_eq!(numbers(&items), expected, "L5 {query:?} by {limit}");
        }
    }
    assert_eq!(fixture.get("/v1/journal?tenant=globex", &acme).await.status, 404, "L5");
}

#[tokio::test]
async fn entries_carry_the_chain_so_that_an_auditor_can_check_it() {
    let (fixture, _) = filled().await;
    let token = fixture.token(Role::Auditor, &[]).await;
    let items = fixture.get("/v1/journal?after=0", &token).await.items();
    assert_eq!(items[0]["previous"], "0".repeat(64));
    for pair in items.windows(2) {
        assert_eq!(pair[1]["previous"], pair[0]["hash"]);
    }
    assert_eq!(items[0]["event"]["kind"], "block_committed");
    assert_eq!(
        items[4]["event"],
        json!({
            "kind": "token_created", "token": items[4]["event"]["token"], "holder": "bob",
            "role": "analyst",
        })
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_field() {
    let (fixture, _) = filled().await;
    let token = fixture.token(Role::Auditor, &[]).await;
    for (query, field) in
        [("after=1&before=3", "before"), ("case=abcd", "case"), ("cursor=AA", "cursor")]
    {
        let answer = fixture.get(&format!("/v1/journal?{query}"), &token).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (400, &json!(field)));
    }
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_entries_and_goes_on() {
    let fixture = Fixture::new();
    let many = JOURNAL_LOOKED_MAX + TAIL_ENTRIES_MAX;
    fixture
        .write(move |staged, now| {
            for number in 0..=many {
                let tenant = if number == 0 { "acme" } else { "globex" }.parse().ok();
                let event = crate::store::values::Event::TenantChanged { revision: 1 };
                let entry = Entry { at: now, actor: Actor::Coordinator, tenant, event };
                crate::command::journal::append(staged, &entry)?;
            }
            Ok(())
        })
        .await;
    let token = fixture.token(Role::Auditor, &["acme"]).await;
    let first = fixture.get("/v1/journal?limit=1", &token).await;
    assert_eq!(first.items(), Vec::<Value>::new());
    assert!(first.json()["next"].is_string());
    assert_eq!(numbers(&fixture.all("/v1/journal?limit=1", &token).await), [1]);
}
