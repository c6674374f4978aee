use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use serde_json::Value;

use super::super::fixture::{Fixture, answer};
use super::*;
use crate::command::tokens;
use crate::store::values::Role;

/// How long a client waits for the feed: longer than a keep-alive on the slowest machine.
const PATIENCE: std::time::Duration = FEED_KEEP_ALIVE.saturating_mul(4);

/// A client that reads events as they come.
struct Client {
    body: BodyDataStream,
    text: String,
}

/// One event: id, kind and data.
type Got = (u64, String, Value);

impl Client {
    async fn connect(fixture: &Fixture, token: &str, last: Option<u64>) -> Self {
        let last = last.map(|last| last.to_string());
        let headers: Vec<_> = last.iter().map(|last| ("Last-Event-ID", last.as_str())).collect();
        let response = fixture.open("/v1/events", token, &headers).await;
        assert_eq!(response.status(), 200);
        let body: Body = response.into_body();
        Self { body: body.into_data_stream(), text: String::new() }
    }

    /// Returns the next event with data; `None` at the end of the feed.
    async fn next(&mut self) -> Option<Got> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned())
                };
                let got = field("data:").map(|data| {
                    let id = field("id:").unwrap().parse().unwrap();
                    (id, field("event:").unwrap(), serde_json::from_str(&data).unwrap())
                });
                self.text = rest.to_owned();
                if got.is_some() {
                    return got;
                }
            }
            // Only so that a feed which never says what it should fails the test, and does not hang it.
            let bytes = timeout(PATIENCE, self.body.next()).await.expect("the feed says something");
            let bytes = bytes?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn take(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.next().await.expect("the feed goes on").0);
        }
        ids
    }
}

async fn blocks(fixture: &Fixture, tenant: &str, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        fixture.block(tenant, 1, seq, &[("srv1", "10.0.0.1")]).await;
    }
}

#[tokio::test]
async fn a_client_that_comes_back_misses_no_entry_and_sees_none_twice() {
    let fixture = Fixture::new();
    let token = fixture.token(Role::Analyst, &[]).await;
    blocks(&fixture, "acme", 1..=3).await;
    let mut client = Client::connect(&fixture, &token, Some(0)).await;
    assert_eq!(client.take(2).await, [1, 2]);
    drop(client);
    blocks(&fixture, "acme", 4..=5).await;
    let mut client = Client::connect(&fixture, &token, Some(2)).await;
    assert_eq!(client.take(3).await, [3, 4, 5]);
    blocks(&fixture, "acme", 6..=6).await;
    let (id, kind, data) = client.next().await.unwrap();
    assert_eq!((id, kind.as_str(), &data["number"]), (6, "block_committed", &6.into()));
}

#[tokio::test]
async fn without_a_number_the_feed_begins_at_the_head_and_names_it() {
    let fixture = Fixture::new();
    let token = fixture.token(Role::Analyst, &[]).await;
    blocks(&fixture, "acme", 1..=3).await;
    let mut client = Client::connect(&fixture, &token, None).await;
    let begin = client.body.next().await.unwrap().unwrap();
    let begin = std::str::from_utf8(&begin).unwrap();
    assert!(begin.contains("id: 3\n") && !begin.contains("data"), "{begin:?}");
    blocks(&fixture, "acme", 4..=4).await;
    assert_eq!(client.take(1).await, [4]);
}

#[tokio::test]
async fn a_backlog_longer_than_one_read_comes_whole_and_in_order() {
    let fixture = Fixture::new();
    let token = fixture.token(Role::Auditor, &[]).await;
    let many = u64::try_from(TAIL_ENTRIES_MAX).unwrap() * 2 + 3;
    fixture
        .write(move |staged, now| {
            for revision in 1..=many {
                let event = crate::store::values::Event::TenantChanged { revision };
                let actor = crate::store::values::Actor::Coordinator;
                let entry = crate::store::values::Entry { at: now, actor, tenant: None, event };
                crate::command::journal::append(staged, &entry)?;
            }
            Ok(())
        })
        .await;
    let mut client = Client::connect(&fixture, &token, Some(0)).await;
    let ids = client.take(usize::try_from(many).unwrap()).await;
    assert!(ids.into_iter().eq(1..=many));
    assert_eq!(fixture.api.counters.feed_entries.value(), many);
}

#[tokio::test]
async fn nobody_is_told_of_a_tenant_outside_their_scope_nor_hashes_without_the_role() {
    let fixture = Fixture::new();
    blocks(&fixture, "globex", 1..=2).await;
    blocks(&fixture, "acme", 1..=1).await;
    let grant = tokens::Grant {
        holder: "bob".into(),
        role: Role::Analyst,
        tenants: Vec::new(),
        life: std::time::Duration::from_secs(60),
    };
    let actor = crate::store::values::Actor::Coordinator;
    fixture
        .write(move |staged, now| tokens::create(staged, &"s".repeat(46), grant, &actor, now))
        .await;
    blocks(&fixture, "acme", 2..=2).await;
    for (role, scope, expected, with_hashes) in [
        (Role::Customer, &["acme"][..], vec![3, 5], false),
        (Role::Analyst, &["acme"], vec![3, 5], false),
        (Role::Analyst, &[], vec![1, 2, 3, 5], false),
        (Role::Auditor, &["acme"], vec![3, 5], true),
        (Role::Lead, &[], vec![1, 2, 3, 4, 5], true),
    ] {
        let token = fixture.token(role, scope).await;
        let mut client = Client::connect(&fixture, &token, Some(0)).await;
        let mut ids = Vec::new();
        while ids.last() != Some(&5) {
            let (id, _, data) = client.next().await.unwrap();
            assert_eq!(data.get("hash").is_some(), with_hashes, "{role:?}");
            ids.push(id);
        }
        assert_eq!(ids, expected, "L5 {role:?} {scope:?}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_told_nothing_more() {
    let fixture = Fixture::new();
    let secret = fixture.token(Role::Analyst, &[]).await;
    let mut client = Client::connect(&fixture, &secret, None).await;
    blocks(&fixture, "acme", 1..=1).await;
    assert_eq!(client.take(1).await, [1]);
    let key = tokens::key_of(&secret);
    let engine: &dyn crate::store::engine::Engine = &*fixture.engine;
    let mut token = crate::store::tables::Source::load(engine, &key).unwrap().unwrap();
    token.revoked_at = Some(fixture.api.clock.now());
    fixture.put_token(key, token).await;
    blocks(&fixture, "acme", 2..=2).await;
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn a_stop_ends_the_feed_and_gives_its_place_back() {
    let fixture = Fixture::new();
    let token = fixture.token(Role::Analyst, &[]).await;
    let mut client = Client::connect(&fixture, &token, None).await;
    assert_eq!(fixture.api.counters.feed_clients.value(), 1);
    fixture.api.stopping.cancel();
    assert_eq!(client.next().await, None);
    drop(client);
    assert_eq!(fixture.api.counters.feed_clients.value(), 0);
}

#[tokio::test]
async fn there_are_as_many_clients_as_may_be_and_one_more_is_refused() {
    let fixture = Fixture::new();
    let token = fixture.token(Role::Analyst, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..FEED_CLIENTS_MAX {
        clients.push(Client::connect(&fixture, &token, None).await);
    }
    let refused = answer(fixture.open("/v1/events", &token, &[]).await).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["type"], "urn:signalbox:problem:too-many-clients");
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    clients.pop();
    Client::connect(&fixture, &token, None).await;
}

#[tokio::test]
async fn an_entry_that_is_not_there_yet_or_no_number_is_refused() {
    let fixture = Fixture::new();
    let token = fixture.token(Role::Analyst, &[]).await;
    for (value, field) in [("1", "after"), ("x", "Last-Event-ID"), ("-1", "Last-Event-ID")] {
        let response = fixture.open("/v1/events", &token, &[("Last-Event-ID", value)]).await;
        let refused = answer(response).await;
        assert_eq!((refused.status.as_u16(), refused.json()["field"].as_str()), (400, Some(field)));
    }
    assert_eq!(fixture.get("/v1/events", "none").await.status, 401);
}
