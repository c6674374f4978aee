//! Addresses from which too much came that is not good.

use super::*;
use crate::{
    limits::{LOCKOUT_FAILURES_MAX, LOCKOUT_KNOWN, LOCKOUT_LENGTH, TOKEN_RETENTION},
    upkeep::uses,
};

const GUESSER: &str = "203.0.113.9";

impl House {
    async fn me_from(&self, address: &str, token: &str) -> Answered {
        self.send(from(request("GET", "/v1/me", token, None), address)).await
    }

    /// Guesses until the address is locked out.
    async fn lock_out(&self, address: &str) {
        for _ in 0..LOCKOUT_FAILURES_MAX {
            let guess = tokens::draw_secret();
            self.me_from(address, &guess).await.is_problem(401, "unauthorized");
        }
    }

    fn journalled(&self, kind: &str) -> usize {
        let engine: &dyn Engine = &self.engine;
        let entries = journal::read_after(engine, 0, usize::MAX).unwrap();
        let kinds = entries.iter().map(|it| types::JournalEvent::from(&it.entry.event).kind());
        kinds.filter(|known| *known == kind).count()
    }
}

#[tokio::test]
async fn whoever_guesses_is_not_listened_to_for_a_while_and_the_journal_says_so_once() {
    let house = House::new();
    house.lock_out(GUESSER).await;
    for _ in 0..3 {
        let refused = house.me_from(GUESSER, &tokens::draw_secret()).await;
        refused.is_problem(429, "locked-out");
        assert_eq!(refused.header("retry-after"), LOCKOUT_LENGTH.as_secs().to_string());
        assert!(refused.body["hint"].is_string());
    }
    let admin = house.token(Role::Admin, &[]).await;
    let refused = house.me_from(GUESSER, &admin).await;
    refused.is_problem(429, "locked-out");
    house.me_from("203.0.113.10", &admin).await.ok();
    assert_eq!(house.journalled("locked_out"), 1);
    let counters = &house.api.counters;
    assert_eq!((counters.lockouts.value(), counters.requests_locked_out.value()), (1, 4));

    house.advance(LOCKOUT_LENGTH.as_secs());
    house.me_from(GUESSER, &tokens::draw_secret()).await.is_problem(401, "unauthorized");
    house.me_from(GUESSER, &admin).await.ok();
}

#[tokio::test]
async fn whoever_works_goes_on_working_beside_a_guesser_at_the_same_address() {
    let house = House::new();
    let analyst = house.token(Role::Analyst, &[]).await;
    let lead = house.token(Role::Lead, &[]).await;
    house.me_from(GUESSER, &analyst).await.ok();
    house.me_from("203.0.113.10", &lead).await.ok();
    house.lock_out(GUESSER).await;
    house.me_from(GUESSER, &analyst).await.ok();
    house.me_from(GUESSER, &lead).await.ok();
    // But no longer than a token is known to be used.
    house.advance(LOCKOUT_KNOWN.as_secs() + 1);
    house.lock_out(GUESSER).await;
    house.me_from(GUESSER, &analyst).await.is_problem(429, "locked-out");
}

#[tokio::test]
async fn a_program_with_an_old_token_locks_nobody_out_and_neither_does_one_without() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let expired = house.token(Role::Analyst, &[]).await;
    let revoked = house.token(Role::Lead, &[]).await;
    let id = house.get("/v1/me", &revoked).await.ok()["token"].as_str().unwrap().to_owned();
    let path = format!("/v1/tokens/{id}");
    house.send(request("DELETE", &path, &admin, None)).await.ok();
    house.advance(24 * 60 * 60);
    for _ in 0..2 * LOCKOUT_FAILURES_MAX {
        for token in [expired.as_str(), &revoked, ""] {
            house.me_from(GUESSER, token).await.is_problem(401, "unauthorized");
        }
    }
    assert_eq!(house.api.counters.lockouts.value(), 0);
    for number in 0..LOCKOUT_FAILURES_MAX {
        let guess = format!("no token of ours {number}");
        house.me_from(GUESSER, &guess).await.is_problem(401, "unauthorized");
    }
    house.me_from(GUESSER, "no token of ours").await.is_problem(429, "locked-out");
}

#[tokio::test]
async fn a_program_whose_token_is_long_forgotten_locks_nobody_out() {
    let house = House::new();
    let analyst = house.token(Role::Analyst, &[]).await;
    let forgotten = tokens::draw_secret();
    for _ in 0..2 * LOCKOUT_FAILURES_MAX {
        house.me_from(GUESSER, &forgotten).await.is_problem(401, "unauthorized");
        house.advance(1);
    }
    house.me_from(GUESSER, &analyst).await.ok();
    assert_eq!(house.api.counters.lockouts.value(), 0);
}

#[tokio::test]
async fn what_a_browser_sends_for_any_pages_sake_locks_nobody_out() {
    let house = House::new();
    let analyst = house.token(Role::Analyst, &[]).await;
    for number in 0..2 * LOCKOUT_FAILURES_MAX {
        let basic = format!("Basic {number}");
        let asked = with_header(request("GET", "/v1/me", "", None), "authorization", &basic);
        house.send(from(asked, GUESSER)).await.is_problem(401, "unauthorized");
    }
    house.me_from(GUESSER, &analyst).await.ok();
}

#[tokio::test]
async fn a_tokens_last_use_is_shown_at_once_and_stays_once_it_is_written_down() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let used_at = |listed: &Value| {
        let items = listed["items"].as_array().unwrap();
        items.iter().find(|item| item["role"] == "analyst").unwrap()["last_used_at"].clone()
    };
    let analyst = house.token(Role::Analyst, &[]).await;
    assert_eq!(used_at(&house.get("/v1/tokens", &admin).await.ok()), Value::Null);
    house.advance(7);
    house.get("/v1/me", &analyst).await.ok();
    let shown = used_at(&house.get("/v1/tokens", &admin).await.ok());
    assert_eq!(shown, "2026-01-01T00:00:07.000Z");

    let before = *house.api.store.journal_head().borrow();
    uses::write_all(&house.api.store, &house.api.uses).await.unwrap();
    assert_eq!(*house.api.store.journal_head().borrow(), before, "no entry of the journal");
    let restarted = router(house.api.clone().with_uses(crate::uses::Uses::default()));
    let asked = request("GET", "/v1/tokens", &admin, None);
    let answer = restarted.oneshot(asked).await.unwrap();
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    assert_eq!(used_at(&serde_json::from_slice(&bytes).unwrap()), shown);
}

#[tokio::test]
async fn a_use_that_the_store_does_not_take_is_written_later() {
    use crate::store::engine::Fault;
    let house = House::new();
    let analyst = house.token(Role::Analyst, &[]).await;
    house.get("/v1/me", &analyst).await.ok();
    house.engine.fail_next_commit(Fault::Refused);
    let (store, noted) = (&house.api.store, &house.api.uses);
    assert!(uses::write_all(store, noted).await.is_err());
    uses::write_all(store, noted).await.unwrap();
    let key = token_commands::key_of(&analyst);
    let engine: &dyn Engine = &house.engine;
    let token = crate::store::tables::Source::load(engine, &key).unwrap().unwrap();
    assert_eq!(token.last_used_at, Some(Timestamp::from_ms(START_MS)));
    assert!(TOKEN_RETENTION > LOCKOUT_KNOWN);
}
