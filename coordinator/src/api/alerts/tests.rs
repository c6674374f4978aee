use bytes::Bytes;
use serde_json::{Value, json};
use shared::block::{BlockBuilder, HEADER_BYTES};

use super::super::fixture::{Fixture, START_MS};
use super::*;
use crate::store::{
    engine::{Engine, Space, Staged},
    values::Role,
};

fn titles(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["finding"]["finding_info"]["title"].as_str().unwrap()).collect()
}

/// Three blocks of acme a minute apart, and one of globex.
async fn filled() -> (Fixture, String) {
    let fixture = Fixture::new();
    let mut case = None;
    let blocks: [&[(&str, &str)]; 3] = [
        &[("srv1", "10.0.0.1"), ("srv2", "10.0.0.1")],
        &[("srv3", "10.0.0.2")],
        &[("SRV1", "10.0.0.2"), ("srv1", "10.0.0.1")],
    ];
    for (seq, alerts) in (1..).zip(blocks) {
        let cases = fixture.block("acme", 1, seq, alerts).await;
        case = case.or_else(|| cases.first().copied());
        fixture.advance(60_000);
    }
    fixture.block("globex", 1, 1, &[("srv1", "10.0.0.1")]).await;
    let admin = fixture.token(Role::Admin, &[]).await;
    let cases = fixture.get("/v1/cases?tenant=acme&host=srv1", &admin).await.items();
    let case = cases[0]["id"].as_str().unwrap().to_owned();
    (fixture, case)
}

#[tokio::test]
async fn a_search_finds_an_entity_in_any_case_newest_first_for_every_role() {
    let (fixture, _) = filled().await;
    for role in [Role::Customer, Role::Auditor, Role::Analyst, Role::Lead, Role::Admin] {
        let token = fixture.token(role, &["acme"]).await;
        for (entity, expected) in [
            ("host:Srv1", vec!["scan of srv1", "scan of SRV1", "scan of srv1"]),
            ("ip:10.0.0.2", vec!["scan of SRV1", "scan of srv3"]),
            ("user:nobody", vec![]),
        ] {
            for limit in 1..=4 {
                let path = format!("/v1/alerts?entity={entity}&limit={limit}");
                let items = fixture.all(&path, &token).await;
                assert_eq!(titles(&items), expected, "{role:?} {entity} by {limit}");
                assert!(items.iter().all(|item| item["tenant"] == "acme"), "L5");
            }
        }
        assert_eq!(fixture.all("/v1/alerts?limit=2", &token).await.len(), 5);
        assert_eq!(fixture.get("/v1/alerts?tenant=globex", &token).await.status, 404, "L5");
    }
    assert_eq!(fixture.get("/v1/alerts", "none").await.status, 401);
}

#[tokio::test]
async fn time_bounds_count_from_when_the_coordinator_had_the_alert() {
    let (fixture, _) = filled().await;
    let token = fixture.token(Role::Auditor, &["acme"]).await;
    let at = |minutes: u64| Time(Timestamp::from_ms(START_MS + minutes * 60_000)).to_string();
    let found = |query: String| {
        let (fixture, token) = (&fixture, &token);
        async move { titles(&fixture.all(&format!("/v1/alerts?{query}"), token).await).len() }
    };
    assert_eq!(found(format!("from={}", at(1))).await, 3);
    assert_eq!(found(format!("to={}", at(1))).await, 2, "the end is not in it");
    assert_eq!(found(format!("from={}&to={}&entity=host:srv1", at(1), at(9))).await, 2);
    for (query, field) in [
        (format!("from={}&to={}", at(2), at(1)), "from"),
        ("from=yesterday".to_owned(), "from"),
        ("entity=10.0.0.1".to_owned(), "entity"),
        ("entity=port:80".to_owned(), "entity"),
        ("entity=ip:".to_owned(), "entity"),
        ("limit=501".to_owned(), "limit"),
    ] {
        let answer = fixture.get(&format!("/v1/alerts?{query}"), &token).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (400, &json!(field)));
    }
}

#[tokio::test]
async fn a_token_for_several_tenants_names_the_one_that_it_searches() {
    let (fixture, _) = filled().await;
    for scope in [&[][..], &["acme", "globex"]] {
        let token = fixture.token(Role::Analyst, scope).await;
        let answer = fixture.get("/v1/alerts", &token).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (400, &json!("tenant")));
        let items = fixture.get("/v1/alerts?tenant=globex", &token).await.items();
        assert_eq!(titles(&items), ["scan of srv1"]);
        let page = fixture.get("/v1/alerts?tenant=acme&limit=1", &token).await.json();
        let path = format!("/v1/alerts?tenant=globex&cursor={}", page["next"].as_str().unwrap());
        assert_eq!(fixture.get(&path, &token).await.status, 400, "L5: a cursor stays in its list");
    }
}

#[tokio::test]
async fn a_case_shows_its_own_alerts_with_records_where_asked() {
    let (fixture, case) = filled().await;
    let token = fixture.token(Role::Customer, &["acme"]).await;
    let items = fixture.all(&format!("/v1/cases/{case}/alerts?limit=2&record=true"), &token).await;
    assert_eq!(titles(&items), ["scan of srv1", "scan of SRV1", "scan of srv1"]);
    let first = &items[0];
    assert_eq!((&first["case"], &first["position"]), (&json!(case), &json!(1)));
    assert_eq!((&first["seq"], &first["lane"]), (&json!(3), &json!("normal")));
    assert_eq!((&first["record"], first.get("record_base64")), (&json!("record of srv1"), None));
    assert_eq!(first["finding"]["class_uid"], 2004);
    let short = fixture.get(&format!("/v1/cases/{}/alerts", &case[..8]), &token).await.items();
    assert_eq!((short.len(), short[0].get("record")), (3, None));
    let other = fixture.token(Role::Lead, &["globex"]).await;
    assert_eq!(fixture.get(&format!("/v1/cases/{case}/alerts"), &other).await.status, 404, "L5");
}

#[tokio::test]
async fn a_record_that_is_no_text_is_given_in_base64_too() {
    let fixture = Fixture::new();
    let mut builder = BlockBuilder::new();
    builder.push(&shared::alert::Alert::default(), b"a\xffb").unwrap();
    fixture.block_of("acme", 1, 1, &mut builder).await;
    let token = fixture.token(Role::Analyst, &["acme"]).await;
    let items = fixture.get("/v1/alerts?record=true", &token).await.items();
    assert_eq!(
        (&items[0]["record"], &items[0]["record_base64"]),
        (&json!("a\u{fffd}b"), &json!("Yf9i"))
    );
}

/// Returns a block whose records are no zstd frame, under a checksum that is right.
fn with_broken_records() -> Bytes {
    let mut builder = BlockBuilder::new();
    let mut alert = shared::alert::Alert::default();
    alert.set(shared::alert::Field::Title, "scan of srv9");
    builder.push(&alert, b"a record that nobody will see").unwrap();
    let mut block = builder.finish(1).to_vec();
    let fields = u32::from_le_bytes(block[12..16].try_into().unwrap()) as usize;
    block[HEADER_BYTES + fields] ^= 0xff;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&block[..24]), &block[HEADER_BYTES..]);
    block[24..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    block.into()
}

#[tokio::test]
async fn an_alert_whose_record_cannot_be_unpacked_is_shown_without_it_and_says_why() {
    let (fixture, case) = filled().await;
    fixture.block_bytes("acme", 2, 1, with_broken_records()).await;
    let token = fixture.token(Role::Analyst, &["acme"]).await;
    let items = fixture.all("/v1/alerts?record=true&limit=2", &token).await;
    assert_eq!(items.len(), 6, "the others are found as ever");
    assert_eq!(titles(&items)[0], "scan of srv9");
    let said = "block's records cannot be decompressed to their size";
    assert_eq!((items[0].get("record"), &items[0]["record_unreadable"]), (None, &json!(said)));
    assert_eq!(
        (&items[1]["record"], items[1].get("record_unreadable")),
        (&json!("record of srv1"), None)
    );
    assert_eq!(fixture.api.counters.records_unreadable.value(), 1);
    let items = fixture.all("/v1/alerts", &token).await;
    assert_eq!(items[0].get("record_unreadable"), None, "nobody asked");
    let path = format!("/v1/cases/{case}/alerts?record=true");
    assert!(fixture.get(&path, &token).await.items().iter().all(|it| it["record"].is_string()));
    assert_eq!(fixture.api.counters.records_unreadable.value(), 1);
}

#[tokio::test]
async fn a_stored_block_whose_checksum_is_wrong_is_our_own_damage_and_no_answer() {
    let (fixture, _) = filled().await;
    let token = fixture.token(Role::Analyst, &["acme"]).await;
    let tenant = "acme".parse().unwrap();
    let search = Search { tenant, entity: None, from: Timestamp::ZERO, to: Timestamp::MAX };
    let engine: &dyn Engine = &*fixture.engine;
    let page = alerts::search(engine, &search, Window::first(1)).unwrap();
    let mut block = with_broken_records().to_vec();
    *block.last_mut().unwrap() ^= 1;
    let mut staged = Staged::new(&*fixture.engine);
    let key = BlockKey { tenant, place: page.alerts[0].place.block }.encode();
    staged.put(Space::Blocks, &key, Bytes::from(block));
    fixture.engine.commit(staged.into_changes()).unwrap();
    assert_eq!(fixture.get("/v1/alerts?record=true", &token).await.status, 500);
    assert_eq!(fixture.api.counters.records_unreadable.value(), 0);
}

#[tokio::test]
async fn a_case_says_that_retention_took_its_records() {
    let (fixture, case) = filled().await;
    let token = fixture.token(Role::Analyst, &[]).await;
    let path = format!("/v1/cases/{case}/alerts");
    assert_eq!(fixture.get(&path, &token).await.json()["records_gone"], false);
    let mut staged = Staged::new(&*fixture.engine);
    staged.delete_range(Space::Blocks, &[0][..]..&[0xff][..]);
    fixture.engine.commit(staged.into_changes()).unwrap();
    let page = fixture.get(&path, &token).await.json();
    assert_eq!((&page["records_gone"], &page["items"]), (&json!(true), &json!([])));
}
