use certs::{PolicyKey, Root, certificates_of_pem};
use serde_json::{Value, json};
use shared::{
    ids::AgentId,
    policy::PolicyDigest,
    trust::{TrustAck, TrustRefusal},
};

use super::{
    super::fixture::{Answer as Answered, Fixture, agent_id},
    *,
};
use crate::{command::identities, store::values::Role};

const DOMAIN: &str = "mssp.example";

/// A fixture that trusts a key, and thinks that whatever distrusts this intermediate locks it out.
struct House {
    fixture: Fixture,
    key: PolicyKey,
    root: Vec<u8>,
}

fn present() -> SpkiDigest {
    SpkiDigest::from_bytes([1; 32])
}

fn stolen() -> SpkiDigest {
    SpkiDigest::from_bytes([2; 32])
}

impl House {
    async fn new() -> Self {
        let key = PolicyKey::generate().unwrap();
        let check = |bundle: &trust::TrustBundle, _| {
            let locks_out = bundle.distrusted.contains(&present());
            if locks_out { Err("agents would stay away".to_owned()) } else { Ok(()) }
        };
        let terms = AuthorityTerms {
            trust_domain: DOMAIN.to_owned(),
            issuer: Some(present()),
            distrusted: vec![stolen()],
            check: BundleCheck::new(check),
        };
        let fixture = Fixture::new().with_policy_keys(&[key.public_key()]).with_authority(terms);
        for (tenant, agent) in [("acme", 1), ("acme", 2), ("globex", 3), ("globex", 4)] {
            fixture.greet(tenant, agent, 1).await;
        }
        let root = Root::create(DOMAIN, fixture.api.clock.now()).unwrap();
        let root = certificates_of_pem(root.root_pem()).unwrap().swap_remove(0);
        Self { fixture, key, root }
    }

    /// Pushes a bundle that names the stolen intermediate of the configuration, and these.
    async fn push(&self, token: &str, sequence: u64, distrusted: &[SpkiDigest]) -> Answered {
        let body =
            json!({ "envelope": self.envelope(sequence, &[&[stolen()], distrusted].concat()) });
        self.fixture.post("/v1/authority/trust", token, &body).await
    }

    fn envelope(&self, sequence: u64, distrusted: &[SpkiDigest]) -> String {
        let (trust_domain, roots) = (DOMAIN.to_owned(), vec![self.root.clone()]);
        let distrusted = distrusted.to_vec();
        let bundle = trust::TrustBundle { trust_domain, sequence, roots, distrusted };
        STANDARD.encode(self.key.sign_trust(&bundle).unwrap())
    }

    /// Returns the digest of the newest bundle.
    fn newest(&self) -> PolicyDigest {
        let record = self.fixture.api.store.engine().load(&TrustKey).unwrap();
        Newest::of(record.as_ref()).digest
    }

    async fn says(&self, (tenant, agent): (&str, u8), ack: TrustAck, issuer: u8) {
        let tenant = tenant.parse().unwrap();
        let key = AgentKey { tenant, agent: AgentId::from_bytes([agent; 16]) };
        let issuer = Some(SpkiDigest::from_bytes([issuer; 32]));
        let says = move |staged: &mut crate::store::engine::Staged<'_>, now| {
            commands::greet(staged, key, (issuer, true), now)?;
            commands::acknowledge(staged, key, ack, now)
        };
        self.fixture.write(says).await;
    }

    async fn names(&self, path: &str, token: &str) -> Vec<String> {
        let items = self.fixture.all(path, token).await;
        items.iter().map(|item| item["agent"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_bundle_is_pushed_and_its_progress_shown_until_all_trust_it() {
    let house = House::new().await;
    let admin = house.fixture.token(Role::Admin, &[]).await;
    let before = house.fixture.get("/v1/authority", &admin).await.json();
    assert_eq!((&before["bundle"], &before["behind"]), (&Value::Null, &json!(0)));
    let pushed = house.push(&admin, 3, &[]).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    let shown = pushed.json();
    let counts = |shown: &Value| ["agents", "trusting", "behind"].map(|name| shown[name].clone());
    assert_eq!(counts(&shown), [4, 0, 4]);
    assert_eq!(shown["bundle"]["sequence"], 3);
    assert_eq!(shown["bundle"]["pushed_by"], json!({ "kind": "person", "name": "ann" }));
    assert_eq!(shown["bundle"]["roots"].as_array().unwrap().len(), 1);

    let newest = house.newest();
    let refused = TrustAck::refused(3, newest, TrustRefusal::NotStored, "full");
    house.says(("acme", 1), TrustAck::in_force(3, newest), 1).await;
    house.says(("acme", 2), refused, 2).await;
    house.says(("globex", 3), TrustAck::in_force(3, newest), 2).await;
    let shown = house.fixture.get("/v1/authority", &admin).await.json();
    assert_eq!((&shown["trusting"], &shown["behind"]), (&json!(2), &json!(2)));
    assert_eq!((&before["not_of_here"], &shown["not_of_here"]), (&json!(4), &json!(1)));
    let none = (&json!(false), &json!(0), &json!(3));
    assert_eq!((&shown["is_partial"], &shown["other"], &shown["highest"]), none);
    assert_eq!(shown["refused"], json!([{ "reason": "not_stored", "agents": 1 }]));
    let issuer = |key: Option<u8>, agents, is_present, is_distrusted| {
        let key = key.map(|key| SpkiDigest::from_bytes([key; 32]).to_string());
        json!({ "key": key, "agents": agents, "is_present": is_present,
                "is_distrusted": is_distrusted })
    };
    let expected = [
        issuer(None, 1, false, false),
        issuer(Some(1), 1, true, false),
        issuer(Some(2), 2, false, true),
    ];
    assert_eq!(shown["issuers"], json!(expected));
    let behind = "/v1/authority/agents?state=behind&limit=1";
    assert_eq!(house.names(behind, &admin).await, [agent_id(2), agent_id(4)]);
    let listed = house.fixture.get("/v1/authority/agents?limit=10", &admin).await.items();
    assert_eq!(listed[1]["refused"]["text"], "full");
    assert_eq!(listed.len(), 4);
}

#[tokio::test]
async fn whoever_was_revoked_is_waited_for_by_nobody() {
    let house = House::new().await;
    let admin = house.fixture.token(Role::Admin, &[]).await;
    house.push(&admin, 3, &[]).await;
    let key = AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) };
    let by = crate::store::values::Actor::Coordinator;
    let revoke = move |staged: &mut crate::store::engine::Staged<'_>, now| {
        identities::revoke(staged, key, "stolen", &by, now).map(drop)
    };
    house.fixture.write(revoke).await;
    let shown = house.fixture.get("/v1/authority", &admin).await.json();
    let counts = ["agents", "behind", "revoked"].map(|name| shown[name].clone());
    assert_eq!(counts, [3, 3, 1]);
}

#[tokio::test]
async fn a_bundle_that_agents_refuse_or_that_locks_them_out_is_not_stored() {
    let house = House::new().await;
    let admin = house.fixture.token(Role::Admin, &[]).await;
    assert_eq!(house.push(&admin, 3, &[]).await.status, StatusCode::CREATED);
    let refused = house.push(&admin, 3, &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains("must be above 3"), "{}", refused.text);
    let refused = house.push(&admin, 4, &[present()]).await;
    assert!(refused.text.contains("agents would stay away"), "{}", refused.text);
    let body = json!({ "envelope": "AAAA" });
    let refused = house.fixture.post("/v1/authority/trust", &admin, &body).await;
    assert!(refused.text.contains("it is no trust bundle"), "{}", refused.text);
    let shown = house.fixture.get("/v1/authority", &admin).await.json();
    assert_eq!(shown["bundle"]["sequence"], 3, "the one before stays");
}

#[tokio::test]
async fn no_token_of_some_tenants_changes_whom_all_believe_or_counts_others_agents() {
    let house = House::new().await;
    let scoped = house.fixture.token(Role::Admin, &["acme"]).await;
    let refused = house.push(&scoped, 3, &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let shown = house.fixture.get("/v1/authority", &scoped).await.json();
    assert_eq!(shown["agents"], 2, "L5");
    let names = house.names("/v1/authority/agents?limit=1", &scoped).await;
    assert_eq!(names, [agent_id(1), agent_id(2)], "L5");
}

#[tokio::test]
async fn agents_with_another_bundle_of_a_number_are_not_counted_as_trusting() {
    let house = House::new().await;
    let admin = house.fixture.token(Role::Admin, &[]).await;
    let other = PolicyDigest::of(&[7]);
    house.says(("acme", 1), TrustAck::in_force(3, other), 1).await;
    let shown = house.fixture.get("/v1/authority", &admin).await.json();
    let counts =
        |shown: &Value| ["trusting", "behind", "other", "highest"].map(|name| shown[name].clone());
    assert_eq!(counts(&shown), [0, 0, 1, 3], "it was put back to before the first");

    let refused = house.push(&admin, 3, &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains("sign it with one above 3"), "{}", refused.text);
    let body = json!({ "envelope": house.envelope(3, &[stolen()]), "anyway": true });
    let pushed = house.fixture.post("/v1/authority/trust", &admin, &body).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    house.says(("acme", 2), TrustAck::in_force(5, other), 1).await;
    house.says(("globex", 3), TrustAck::in_force(3, house.newest()), 1).await;
    let shown = house.fixture.get("/v1/authority", &admin).await.json();
    assert_eq!(counts(&shown), [1, 1, 2, 5]);
    let others = "/v1/authority/agents?state=other&limit=1";
    assert_eq!(house.names(others, &admin).await, [agent_id(1), agent_id(2)]);
    let listed = house.fixture.get("/v1/authority/agents?limit=10", &admin).await.items();
    let states: Vec<_> = listed.iter().map(|it| (&it["is_behind"], &it["is_other"])).collect();
    let (yes, no) = (&json!(true), &json!(false));
    assert_eq!(states, [(no, yes), (no, yes), (no, no), (yes, no)]);

    let pushed = house.push(&admin, 6, &[]).await;
    assert_eq!(counts(&pushed.json()), [0, 4, 0, 5], "all are offered it");
}

#[tokio::test]
async fn what_is_believed_again_is_said_by_whoever_pushes_and_journalled() {
    let house = House::new().await;
    let admin = house.fixture.token(Role::Admin, &[]).await;
    let path = "/v1/authority/trust";
    let mut body = json!({ "envelope": house.envelope(3, &[]) });
    let refused = house.fixture.post(path, &admin, &body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains(&stolen().to_string()), "{}", refused.text);
    body["trusts_again"] = json!(true);
    let pushed = house.fixture.post(path, &admin, &body).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    let journal = house.fixture.all("/v1/journal?limit=100", &admin).await;
    let pushed = journal.iter().find(|it| it["event"]["kind"] == "trust_bundle_pushed").unwrap();
    assert_eq!(pushed["event"]["trusts_again"], json!([stolen().to_string()]));
}
