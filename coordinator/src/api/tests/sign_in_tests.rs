//! Signing in of people, from what the command line asks to what the journal says.

use super::*;
use crate::{
    api::sign_in::tests::{Fake, hasty_sign_ins, sign_ins},
    counters::SignInEnd,
    limits::{
        LOCKOUT_FAILURES_MAX, PROVIDER_CALLS_MAX, SIGN_IN_LIFE, SIGN_IN_REFUSALS_NOTED_MAX,
        SIGN_INS_OF_SITE_MAX,
    },
    store::engine::Fault,
};

const TERMINAL: &str = "198.51.100.7";
const BROWSER: &str = "203.0.113.9";
const CALLBACK: &str = "/v1/sign-ins/callback";

/// A page as a browser has it.
struct Seen {
    status: u16,
    html: String,
}

impl House {
    fn with_provider(fake: &Fake) -> Self {
        let mut house = Self::new();
        house.api = house.api.clone().with_sign_in(Some(sign_ins(fake)));
        house.router = router(house.api.clone());
        house
    }

    async fn begin(&self) -> Answered {
        self.send(from(request("POST", "/v1/sign-ins", "", Some(json!({}))), TERMINAL)).await
    }

    async fn poll(&self, begun: &Value) -> Answered {
        let path = format!("/v1/sign-ins/{}/poll", begun["id"].as_str().unwrap());
        let body = json!({"secret": begun["secret"]});
        self.send(from(request("POST", &path, "", Some(body)), TERMINAL)).await
    }

    async fn see(&self, request: Request<Body>) -> Seen {
        let response = self.router.clone().oneshot(from(request, BROWSER)).await.unwrap();
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        Seen { status: parts.status.as_u16(), html: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    async fn come_back(&self, query: &str) -> Seen {
        self.see(request("GET", &format!("{CALLBACK}?{query}"), "", None)).await
    }

    async fn answer(&self, asked: &Seen, answer: &str) -> Seen {
        let confirm = asked.html.split("name=\"confirm\" value=\"").nth(1).unwrap();
        let confirm = confirm.split('"').next().unwrap();
        let mut form = request("POST", "/v1/sign-ins/confirm", "", None);
        *form.body_mut() = Body::from(format!("confirm={confirm}&answer={answer}"));
        self.see(with_header(form, "content-type", "application/x-www-form-urlencoded")).await
    }

    /// Has the fake provider's person sign in; returns the secret of their token.
    async fn signed_in(&self, fake: &Fake) -> String {
        let begun = self.begin().await.ok();
        let asked = self.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
        assert_eq!(asked.status, 200, "{}", asked.html);
        assert_eq!(self.answer(&asked, "yes").await.status, 200);
        let done = self.poll(&begun).await.ok();
        done["secret"].as_str().unwrap().to_owned()
    }

    fn entries(&self) -> Vec<types::JournalEntry> {
        let engine: &dyn Engine = &self.engine;
        let entries = journal::read_after(engine, 0, usize::MAX).unwrap();
        entries.iter().map(|chained| types::JournalEntry::new(chained, false)).collect()
    }
}

#[tokio::test]
async fn somebody_signs_in_and_has_a_token_that_says_who_they_are() {
    let fake = Fake::new(&["everybody", "soc-analysts"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await;
    assert_eq!(begun.status, StatusCode::CREATED);
    let begun = begun.ok();
    assert_eq!(begun["expires_at"], "2026-01-01T00:10:00.000Z");
    assert_eq!(begun["expires_in_seconds"], 600);
    assert_eq!(house.poll(&begun).await.ok(), json!({"state": "waiting"}));

    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    assert_eq!(asked.status, 200);
    for said in [begun["code"].as_str().unwrap(), "Ana Sanz", TERMINAL, "analyst", "every tenant"] {
        assert!(asked.html.contains(said), "{said} in {}", asked.html);
    }
    assert_eq!(house.poll(&begun).await.ok()["state"], "waiting", "they have not said yes");
    let done = house.answer(&asked, "yes").await;
    assert!(done.html.contains("go back to the terminal"), "{}", done.html);

    let told = house.poll(&begun).await.ok();
    assert_eq!(told["state"], "done");
    let secret = told["secret"].as_str().unwrap();
    house.poll(&begun).await.is_problem(404, "not-found");
    let me = house.get("/v1/me", secret).await.ok();
    assert_eq!((&me["holder"], &me["role"]), (&json!("ana@mssp.example"), &json!("analyst")));
    assert_eq!(me["person"]["subject"], "17");
    assert_eq!(me["expires_at"], "2026-01-01T08:00:00.000Z");
    assert_eq!(house.api.counters.sign_ins.value(SignInEnd::Admitted), 1);
    assert_eq!(house.api.counters.sign_ins_open.value(), 0);
    house.advance(8 * 60 * 60);
    house.get("/v1/me", secret).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn the_journal_names_the_person_in_all_that_they_do() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let case = house.case("acme", "srv1", Severity::High).await;
    let secret = house.signed_in(&fake).await;
    let claim = format!("/v1/cases/{case}/claim");
    house.post(&claim, &secret, json!({})).await.ok();
    house.write("PUT", "/v1/tenants/acme", &secret, json!({"display_name": "ACME"})).await.ok();
    let entries = house.entries();
    for kind in ["signed_in", "case_claimed", "tenant_changed"] {
        let entry = entries.iter().rfind(|entry| entry.event.kind() == kind).unwrap();
        let types::JournalActor::Person { name, issuer, subject } = &entry.actor else {
            panic!("{kind}: {:?}", entry.actor)
        };
        assert_eq!(name, "ana@mssp.example");
        assert_eq!(
            (issuer.as_deref(), subject.as_deref()),
            (Some("https://id.example"), Some("17"))
        );
    }
    let types::JournalEvent::SignedIn { group, from, browser, tenants, person, .. } =
        &entries.iter().find(|entry| entry.event.kind() == "signed_in").unwrap().event
    else {
        panic!("somebody signed in")
    };
    assert_eq!(group, "soc-leads");
    assert_eq!((from.as_str(), browser.as_str()), (TERMINAL, BROWSER));
    assert_eq!(tenants.as_deref(), Some(&["acme".to_owned()][..]));
    assert_eq!(person.name.as_deref(), Some("Ana Sanz"));
}

#[tokio::test]
async fn whoever_is_in_no_group_sees_why_and_has_no_token() {
    let fake = Fake::new(&["everybody"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await.ok();
    let refused = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    assert_eq!(refused.status, 403);
    assert!(refused.html.contains("none of the groups") && refused.html.contains("Ana Sanz"));
    let told = house.poll(&begun).await;
    told.is_problem(403, "sign-in-refused");
    house.poll(&begun).await.is_problem(404, "not-found");
    let entry = house.entries().pop().unwrap();
    let types::JournalEvent::SignInRefused { person, reason, from } = entry.event else {
        panic!("{entry:?}")
    };
    assert_eq!(
        (person.subject.as_str(), reason.as_str(), from.as_str()),
        ("17", "no_group", TERMINAL)
    );
    let admin = house.token(Role::Admin, &[]).await;
    assert_eq!(house.get("/v1/tokens", &admin).await.ok()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_journal_does_not_grow_with_those_who_are_refused() {
    let fake = Fake::new(&["everybody"]);
    let house = House::with_provider(&fake);
    let refuse = async || {
        let begun = house.begin().await.ok();
        let page = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
        assert_eq!(page.status, 403);
        house.poll(&begun).await.is_problem(403, "sign-in-refused");
    };
    for _ in 0..SIGN_IN_REFUSALS_NOTED_MAX + 5 {
        refuse().await;
    }
    let noted = || house.entries().len();
    assert_eq!(noted(), SIGN_IN_REFUSALS_NOTED_MAX as usize, "L7");
    let refused = u64::from(SIGN_IN_REFUSALS_NOTED_MAX + 5);
    assert_eq!(house.api.counters.sign_ins.value(SignInEnd::Refused), refused);

    // Another kind is told all the same.
    fake.claim("groups", json!(["soc-leads"]));
    let begun = house.begin().await.ok();
    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    house.answer(&asked, "no").await;
    assert_eq!(noted(), SIGN_IN_REFUSALS_NOTED_MAX as usize + 1);
}

#[tokio::test]
async fn a_link_that_somebody_else_sent_lets_nobody_in_who_says_no() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await.ok();
    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    let answered = house.answer(&asked, "no").await;
    assert!(answered.html.contains("got nothing"), "{}", answered.html);
    house.poll(&begun).await.is_problem(403, "sign-in-refused");
    let entry = house.entries().pop().unwrap();
    assert!(
        matches!(&entry.event, types::JournalEvent::SignInRefused { reason, .. }
        if reason == "disowned"),
        "{entry:?}"
    );
    let again = house.answer(&asked, "yes").await;
    assert_eq!(again.status, 400, "an answer is given once");
}

#[tokio::test]
async fn a_browser_elsewhere_than_the_terminal_is_warned_with_both_addresses_and_no_comes_first() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let places = |page: &Seen| {
        let place = |text: &str| page.html.find(text);
        (place("not where you are"), place("value=\"no\""), place("value=\"yes\""))
    };
    let begun = house.begin().await.ok();
    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    let (warning, no, yes) = places(&asked);
    assert!(warning.is_some() && warning < no && no < yes, "{}", asked.html);
    assert!(asked.html.contains(TERMINAL) && asked.html.contains(BROWSER), "{}", asked.html);

    let here = from(request("POST", "/v1/sign-ins", "", Some(json!({}))), BROWSER);
    let begun = house.send(here).await.ok();
    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    let (warning, no, yes) = places(&asked);
    assert!(warning.is_none() && yes < no, "{}", asked.html);
}

#[tokio::test]
async fn tokens_go_on_working_while_the_provider_is_away_and_whoever_signs_in_is_told() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let secret = house.signed_in(&fake).await;
    let begun = house.begin().await.ok();
    let back = fake.browse(begun["url"].as_str().unwrap());
    fake.set_away(true);
    house.get("/v1/me", &secret).await.ok();
    let page = house.come_back(&back).await;
    assert_eq!(page.status, 502);
    assert!(page.html.contains("does not answer") && page.html.contains("go on working"));
    house.poll(&begun).await.is_problem(403, "sign-in-refused");

    house.advance(60 * 60);
    let refused = house.begin().await;
    refused.is_problem(502, "provider-unavailable");
    assert_eq!(refused.header("retry-after"), "30");
    assert!(refused.body["hint"].as_str().unwrap().contains("go on working"), "{refused:?}");
    assert_eq!(house.api.counters.sign_ins.value(SignInEnd::Provider), 2);
    house.get("/v1/me", &secret).await.ok();
    fake.set_away(false);
    house.begin().await.ok();
}

#[tokio::test]
async fn what_the_provider_says_against_it_is_shown_as_text_and_told_to_the_terminal() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    for (query, said) in [
        ("error=access_denied&error_description=%3Cb%3Eno%3C%2Fb%3E", "&lt;b&gt;no&lt;/b&gt;"),
        ("error=access_denied&code=x", "access_denied"),
        ("iss=https%3A%2F%2Fevil.example&code=x", "no code"),
        ("x=y", "no code"),
    ] {
        let begun = house.begin().await.ok();
        let back = fake.browse(begun["url"].as_str().unwrap());
        let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
        let page = house.come_back(&format!("{query}&state={state}")).await;
        assert!(page.status == 403 && page.html.contains(said), "{query}: {}", page.html);
        house.poll(&begun).await.is_problem(403, "sign-in-refused");
    }
    let odd = house.come_back("state=a&state=b").await;
    assert_eq!(odd.status, 400);
}

#[tokio::test]
async fn what_any_page_can_have_a_browser_send_locks_no_office_out() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let admin = house.token(Role::Admin, &[]).await;
    for number in 0..2 * LOCKOUT_FAILURES_MAX {
        let page = house.come_back(&format!("code=x&state=guess{number}")).await;
        assert_eq!(page.status, 400, "{}", page.html);
        let asked = format!("name=\"confirm\" value=\"guess{number}\"");
        let answered = house.answer(&Seen { status: 200, html: asked }, "yes").await;
        assert_eq!(answered.status, 400, "{}", answered.html);
    }
    assert_eq!(house.api.counters.lockouts.value(), 0);
    // A token that was not used before is good at the browser's address.
    house.send(from(request("GET", "/v1/me", &admin, None), BROWSER)).await.ok();
}

#[tokio::test]
async fn whoever_guesses_at_sign_ins_is_locked_out_but_not_whoever_comes_back_from_the_provider() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await.ok();
    let guess = |number: u32| json!({"id": begun["id"], "secret": format!("guess{number}")});
    for _ in 0..2 * LOCKOUT_FAILURES_MAX {
        house.poll(&guess(0)).await.is_problem(404, "not-found");
    }
    for number in 1..LOCKOUT_FAILURES_MAX {
        house.poll(&guess(number)).await.is_problem(404, "not-found");
    }
    house.poll(&guess(0)).await.is_problem(429, "locked-out");
    house.begin().await.is_problem(429, "locked-out");
    assert_eq!(house.api.counters.lockouts.value(), 1);
    let back = format!("{CALLBACK}?{}", fake.browse(begun["url"].as_str().unwrap()));
    let response = from(request("GET", &back, "", None), TERMINAL);
    let response = house.router.clone().oneshot(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_more_sign_in_at_once_than_may_and_they_make_room_when_they_are_over() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    for _ in 0..SIGN_INS_OF_SITE_MAX {
        house.begin().await.ok();
    }
    let of_a_page = request("POST", "/v1/sign-ins", "", None);
    house.send(from(of_a_page, BROWSER)).await.is_problem(415, "unsupported-media-type");
    let refused = house.begin().await;
    refused.is_problem(503, "too-many-clients");
    assert_eq!(refused.header("retry-after"), "60");
    house.advance(SIGN_IN_LIFE.as_secs());
    let begun = house.begin().await.ok();
    house.advance(SIGN_IN_LIFE.as_secs());
    house.poll(&begun).await.is_problem(404, "not-found");
    let late = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    assert!(late.status == 400 && late.html.contains("is over"), "{}", late.html);
}

#[tokio::test]
async fn a_token_that_the_store_did_not_take_is_made_at_the_next_poll() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await.ok();
    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    house.answer(&asked, "yes").await;
    house.engine.fail_next_commit(Fault::Refused);
    house.poll(&begun).await.is_problem(503, "store-unavailable");
    assert_eq!(house.poll(&begun).await.ok()["state"], "done");
}

#[tokio::test]
async fn a_terminal_that_goes_away_with_its_poll_has_its_token_at_the_next() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await.ok();
    let asked = house.come_back(&fake.browse(begun["url"].as_str().unwrap())).await;
    house.answer(&asked, "yes").await;
    drop_once_begun(house.poll(&begun)).await;
    let state = loop {
        let polled = house.poll(&begun).await;
        if polled.status.is_success() {
            break polled.ok()["state"].clone();
        }
        // The token of the first is being stored still.
        polled.is_problem(404, "not-found");
        tokio::task::yield_now().await;
    };
    assert_eq!(state, "done");
}

#[tokio::test]
async fn a_browser_that_goes_away_ends_the_sign_in_for_the_terminal() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let begun = house.begin().await.ok();
    let back = fake.browse(begun["url"].as_str().unwrap());
    drop_once_begun(house.come_back(&back)).await;
    let refused = loop {
        let polled = house.poll(&begun).await;
        if polled.body["state"] != "waiting" {
            break polled;
        }
        tokio::task::yield_now().await;
    };
    refused.is_problem(403, "sign-in-refused");
    assert!(refused.body["detail"].as_str().unwrap().contains("went away"), "{refused:?}");
}

#[tokio::test]
async fn who_comes_back_while_many_sign_in_reloads_the_page_and_is_asked() {
    let fake = Fake::new(&["soc-leads"]);
    let (hasty, places) = hasty_sign_ins(&fake);
    let mut house = House::new();
    house.api = house.api.clone().with_sign_in(Some(hasty));
    house.router = router(house.api.clone());
    let begun = house.begin().await.ok();
    let back = fake.browse(begun["url"].as_str().unwrap());
    let all = u32::try_from(PROVIDER_CALLS_MAX).unwrap();
    let taken = places.acquire_many(all).await.unwrap();
    let page = house.come_back(&back).await;
    assert!(page.status == 502 && page.html.contains("reload"), "{}", page.html);
    assert_eq!(house.poll(&begun).await.ok()["state"], "waiting");
    drop(taken);
    assert_eq!(house.come_back(&back).await.status, 200);
}

/// Lets a request begin, and goes away before it is answered.
async fn drop_once_begun(request: impl Future) {
    tokio::select! {
        biased;
        _ = request => panic!("it is not answered at once"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn whoever_signs_out_has_a_token_no_more_whatever_it_allowed() {
    let fake = Fake::new(&["soc-leads"]);
    let house = House::with_provider(&fake);
    let lead = house.signed_in(&fake).await;
    let customer = house.token(Role::Customer, &["acme"]).await;
    for token in [lead, customer] {
        let gone = house.send(request("DELETE", "/v1/me/token", &token, None)).await.ok();
        assert_eq!(gone["is_good"], false);
        house.get("/v1/me", &token).await.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn where_no_provider_is_configured_nobody_signs_in_and_is_told() {
    let house = House::new();
    house.begin().await.is_problem(409, "conflict");
    let begun = json!({"id": "0".repeat(32), "secret": "x"});
    house.poll(&begun).await.is_problem(409, "conflict");
    assert_eq!(house.come_back("code=x&state=y").await.status, 409);
}
