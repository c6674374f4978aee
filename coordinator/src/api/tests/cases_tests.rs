//! Cases through the API: lists, names, and what is done with a claim.

use super::*;

async fn claim(house: &House, token: &str) -> (String, u64) {
    let claim = house.post("/v1/queue/next", token, json!({})).await.ok();
    let id = claim["case"]["id"].as_str().unwrap().to_owned();
    (id, claim["fence"].as_u64().unwrap())
}

#[tokio::test]
async fn a_case_goes_from_the_list_to_a_verdict_that_shows_what_it_was_based_on() {
    let house = House::new();
    let id = house.case("acme", "srv1", Severity::High).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let (claimed, fence) = claim(&house, &ann).await;
    assert_eq!(claimed, id);
    let shown = house.get(&format!("/v1/cases/{id}"), &ann).await;
    assert_eq!(shown.header("etag"), format!("\"{}\"", shown.body["revision"]));
    let shown = shown.ok();
    assert_eq!((&shown["state"], &shown["holder"]), (&json!("claimed"), &json!("analyst")));
    assert_eq!(shown["title"], "scan of srv1");
    assert_eq!(shown["findings"][0]["product"], "suricata");

    house.advance(60);
    let lease =
        house.post(&format!("/v1/cases/{id}/renew"), &ann, json!({"fence": fence})).await.ok();
    assert_eq!(lease["lease_until"], "2026-01-01T00:16:00.000Z");

    let verdict = json!({"fence": fence, "verdict": "benign_expected", "reason": "their scanner"});
    let closed = house.post(&format!("/v1/cases/{id}/verdict"), &ann, verdict).await.ok();
    assert_eq!(closed["verdict"]["kind"], "benign_expected");
    assert_eq!(
        (&closed["verdict"]["alerts_seen"], &closed["seconds_left"]),
        (&json!(1), &Value::Null)
    );
    let listed = house.get("/v1/cases?state=closed", &ann).await.ok();
    assert_eq!(listed["items"][0]["verdict"], "benign_expected");
}

#[tokio::test]
async fn every_refusal_of_a_claim_has_its_own_problem() {
    let house = House::new();
    let id = house.case("acme", "srv1", Severity::High).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let lead = house.token(Role::Lead, &[]).await;
    let (_, fence) = claim(&house, &ann).await;
    let path = |what: &str| format!("/v1/cases/{id}/{what}");
    let verdict = |fence| json!({"fence": fence, "verdict": "malicious", "reason": "c2 seen"});

    house.post(&path("claim"), &lead, json!({})).await.is_problem(409, "already-claimed");
    house.post(&path("verdict"), &lead, verdict(fence)).await.is_problem(409, "fenced");
    house.advance(16 * 60);
    let late = house.post(&path("renew"), &ann, json!({"fence": fence})).await;
    late.is_problem(409, "lease-expired");

    let second = house.post(&path("claim"), &lead, json!({"lease_seconds": 60})).await.ok();
    assert_eq!(second["reasons"], json!([{"reason": "named"}]));
    house.post(&path("verdict"), &ann, verdict(fence)).await.is_problem(409, "fenced");
    let mut unread = verdict(fence + 1);
    unread["revision"] = json!(0);
    house.post(&path("verdict"), &lead, unread).await.is_problem(409, "new-evidence");
    house.post(&path("verdict"), &lead, verdict(fence + 1)).await.ok();
    house.post(&path("claim"), &lead, json!({})).await.is_problem(409, "closed");
}

#[tokio::test]
async fn a_case_that_is_given_back_waits_again() {
    let house = House::new();
    house.case("acme", "srv1", Severity::High).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let (id, fence) = claim(&house, &ann).await;
    let path = format!("/v1/cases/{id}/release");
    let blank = house.post(&path, &ann, json!({"fence": fence, "reason": " "})).await;
    blank.is_problem(400, "invalid");
    assert_eq!(blank.body["field"], "reason");
    let open = house.post(&path, &ann, json!({"fence": fence, "reason": "needs windows"})).await;
    let open = open.ok();
    assert_eq!((&open["state"], &open["fence"]), (&json!("open"), &json!(fence + 1)));
    assert_eq!(claim(&house, &ann).await, (id, fence + 2));
}

#[tokio::test]
async fn an_analyst_may_not_choose_and_is_told_what_does() {
    let house = House::new();
    let id = house.case("acme", "srv1", Severity::High).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let refused = house.post(&format!("/v1/cases/{id}/claim"), &ann, json!({})).await;
    refused.is_problem(403, "forbidden");
    assert!(refused.body["hint"].as_str().unwrap().contains("the queue chooses"));
}

#[tokio::test]
async fn four_letters_name_a_case_where_they_fit_one_only() {
    let house = House::new();
    let id = house.case("acme", "srv1", Severity::High).await;
    let token = house.token(Role::Customer, &["acme"]).await;
    let short = house.get(&format!("/v1/cases/{}", id[..4].to_uppercase()), &token).await.ok();
    assert_eq!(short["id"], id);
    for bad in [&id[..3], "illu", "0123456789abc", "%20%20%20%20", "../x"] {
        let answer = house.get(&format!("/v1/cases/{bad}"), &token).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{bad}: {answer:?}");
    }
    house.get("/v1/cases/%FF%FF", &token).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn an_ambiguous_beginning_lists_what_fits() {
    use crate::{
        store::{engine::Staged, tables::put_evidence},
        triage::{case::tests::group, evidence::Evidence, sla::Sla},
    };
    let house = House::new();
    let mut staged = Staged::new(&house.engine);
    for n in 0..7 {
        let (group, tenant) = (group("scan", Severity::Low, 0), "acme".parse().unwrap());
        let (id, now) = (CaseId::from_u64(n), Timestamp::ZERO);
        put_evidence(&mut staged, Evidence::open(id, tenant, &group, &Sla::default(), now));
    }
    house.engine.commit(staged.into_changes()).unwrap();
    let token = house.token(Role::Customer, &["acme"]).await;
    let answer = house.get("/v1/cases/0000", &token).await;
    answer.is_problem(409, "ambiguous-case");
    assert_eq!(answer.body["matches"].as_array().unwrap().len(), 5);
    assert_eq!(answer.body["matches"][1], "000000000001");
}

#[tokio::test]
async fn lists_are_followed_by_their_cursor_and_filtered() {
    let house = House::new();
    let mut ids = Vec::new();
    for n in 0..5 {
        let tenant = if n % 2 == 0 { "acme" } else { "globex" };
        let severity = if n < 2 { Severity::Critical } else { Severity::Low };
        ids.push(house.case(tenant, &format!("srv{n}"), severity).await);
        house.advance(60);
    }
    ids.reverse();
    let token = house.token(Role::Auditor, &[]).await;
    let (mut seen, mut path) = (Vec::new(), "/v1/cases?limit=2".to_owned());
    for _ in 0..5 {
        let page = house.get(&path, &token).await.ok();
        seen.extend(each(&page, "id").into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/cases?limit=2&cursor={next}");
    }
    assert_eq!(seen, ids);
    for (query, expected) in [
        ("tenant=globex", vec![&ids[1], &ids[3]]),
        ("severity=high", vec![&ids[3], &ids[4]]),
        ("host=SRV3", vec![&ids[1]]),
        ("since=2026-01-01T00:03:00Z", vec![&ids[0], &ids[1]]),
        ("until=2026-01-01T00:01:00.000Z", vec![&ids[4]]),
        ("state=claimed", vec![]),
    ] {
        let page = house.get(&format!("/v1/cases?{query}"), &token).await.ok();
        assert_eq!(each(&page, "id"), expected, "{query}");
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_filter() {
    let house = House::new();
    for n in 0..3 {
        house.case("acme", &format!("srv{n}"), Severity::Low).await;
    }
    let token = house.token(Role::Auditor, &[]).await;
    let next = house.get("/v1/cases?limit=1", &token).await.ok()["next"].clone();
    let next = next.as_str().unwrap();
    for path in ["/v1/cases?state=open", "/v1/cases?tenant=acme", "/v1/tenants?limit=1"] {
        let refused = house.get(&format!("{path}&cursor={next}"), &token).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], "cursor");
    }
    house.get("/v1/cases?cursor=AAAA", &token).await.is_problem(400, "invalid");
}
