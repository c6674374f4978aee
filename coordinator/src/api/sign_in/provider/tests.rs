//! A provider that does what it is told, and what becomes of what it says.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    http::{Response, header},
    url::{Url, form_urlencoded},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::api::sign_in::tests::{CLIENT, ISSUER, SECRET, terms};

/// When the tests happen: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_ms(1_767_225_600_000);
const REDIRECT: &str = "https://box.example:8443/v1/sign-ins/callback";

/// A conforming provider in memory, as far as nobody has it do otherwise.
#[derive(Clone, Debug)]
pub(in crate::api) struct Fake(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Signs ID tokens; its name.
    key: (String, Ed25519KeyPair),
    /// What is said to be its keys.
    published: Vec<Value>,
    /// Claims of whoever signs in, over what every ID token has.
    claims: Value,
    /// Header of the next ID token, over what it would have.
    header: Value,
    /// What it says of the person besides.
    user_info: Value,
    /// Codes that were not redeemed, with the query of the question.
    codes: HashMap<String, HashMap<String, String>>,
    /// Answers in place of what it would say, by the path's end.
    instead: HashMap<&'static str, Option<(u16, String)>>,
    /// Paths that were asked for.
    asked: Vec<String>,
}

fn new_key() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

fn public(name: &str, key: &Ed25519KeyPair) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": name, "x": x})
}

impl Fake {
    /// Returns a provider whose person is in these groups.
    pub(in crate::api) fn new(groups: &[&str]) -> Self {
        let key = new_key();
        Self(Arc::new(Mutex::new(State {
            published: vec![public("one", &key)],
            key: ("one".to_owned(), key),
            claims: json!({"sub": "17", "name": "Ana Sanz", "email": "ana@mssp.example",
                           "email_verified": true, "groups": groups}),
            header: json!({}),
            user_info: json!({"sub": "17"}),
            codes: HashMap::new(),
            instead: HashMap::new(),
            asked: Vec::new(),
        })))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Changes claims of the next ID tokens; null takes one away.
    pub(in crate::api) fn claim(&self, name: &str, value: Value) {
        self.with(|state| match value {
            Value::Null => drop(state.claims.as_object_mut().unwrap().remove(name)),
            value => state.claims[name] = value,
        });
    }

    /// Has it not answer at all any more, or again.
    pub(in crate::api) fn set_away(&self, is_away: bool) {
        self.with(|state| match is_away {
            true => drop(state.instead.insert("", None)),
            false => drop(state.instead.remove("")),
        });
    }

    /// Answers this in place of what it would say at paths that end so.
    fn say(&self, path: &'static str, status: u16, body: &str) {
        self.with(|state| state.instead.insert(path, Some((status, body.to_owned()))));
    }

    /// Signs with another key from here on; whether it says so.
    fn rotate(&self, is_published: bool) {
        self.with(|state| {
            let key = new_key();
            if is_published {
                state.published = vec![public("two", &key)];
            }
            state.key = ("two".to_owned(), key);
        });
    }

    fn asked(&self, path: &str) -> usize {
        self.with(|state| state.asked.iter().filter(|asked| asked.ends_with(path)).count())
    }

    /// Does what a person does who opens `url` and signs in; returns the query of the way back.
    pub(in crate::api) fn browse(&self, url: &str) -> String {
        let url = Url::parse(url).unwrap();
        assert_eq!(url.path(), "/authorize");
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let state = query["state"].clone();
        let code = format!("code-{}", query["nonce"]);
        self.with(|it| it.codes.insert(code.clone(), query));
        format!("code={code}&state={state}&iss=https%3A%2F%2Fid.example&session_state=x")
    }
}

impl State {
    fn answer(&mut self, request: &HttpRequest) -> Option<(u16, String)> {
        let path = request.uri().path().to_owned();
        self.asked.push(path.clone());
        let instead = self.instead.iter().find(|(end, _)| path.ends_with(**end));
        if let Some((_, instead)) = instead {
            return instead.clone();
        }
        let said = match path.as_str() {
            "/.well-known/openid-configuration" => json!({
                "issuer": ISSUER,
                "authorization_endpoint": format!("{ISSUER}/authorize"),
                "token_endpoint": format!("{ISSUER}/token"),
                "userinfo_endpoint": format!("{ISSUER}/me"),
                "jwks_uri": format!("{ISSUER}/jwks"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "EdDSA", "HS256"],
            }),
            "/jwks" => json!({"keys": self.published}),
            "/me" => self.user_info.clone(),
            "/token" => return Some(self.token(request)),
            _ => return Some((404, String::new())),
        };
        Some((200, said.to_string()))
    }

    /// Redeems a code, as RFC 6749 and RFC 7636 have it.
    fn token(&mut self, request: &HttpRequest) -> (u16, String) {
        let form: HashMap<String, String> =
            form_urlencoded::parse(request.body()).into_owned().collect();
        let refused = |error: &str| (400, json!({"error": error}).to_string());
        let basic = base64::engine::general_purpose::STANDARD
            .encode(format!("{CLIENT}:{}", SECRET.replace(' ', "+").replace('\'', "%27")));
        if request.headers()[header::AUTHORIZATION] != format!("Basic {basic}").as_str() {
            return (401, json!({"error": "invalid_client"}).to_string());
        }
        let Some(question) = self.codes.remove(&form["code"]) else {
            return refused("invalid_grant");
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
        let is_ours = form["redirect_uri"] == question["redirect_uri"]
            && form["grant_type"] == "authorization_code"
            && question["code_challenge"] == challenge;
        if !is_ours {
            return refused("invalid_grant");
        }
        let id_token = self.id_token(&question["nonce"]);
        let answer =
            json!({"access_token": "access", "token_type": "Bearer", "id_token": id_token});
        (200, answer.to_string())
    }

    fn id_token(&self, nonce: &str) -> String {
        let mut header = json!({"alg": "EdDSA", "kid": self.key.0, "typ": "JWT"});
        let seconds = NOW.as_ms() / 1_000;
        let mut claims = json!({
            "iss": ISSUER, "aud": CLIENT, "nonce": nonce, "iat": seconds, "exp": seconds + 300
        });
        for (whole, part) in [(&mut header, &self.header), (&mut claims, &self.claims)] {
            for (name, value) in part.as_object().unwrap() {
                whole[name] = value.clone();
            }
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = match header["alg"].as_str().unwrap() {
            "none" => Vec::new(),
            "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            _ => self.key.1.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Carry for Fake {
    fn carry(&self, request: HttpRequest, _: Duration) -> Result<HttpResponse, CarryError> {
        let uri = request.uri().path().to_owned();
        let answer = self.with(|state| state.answer(&request));
        let away = CarryError::Failed { uri, error: "connection refused".to_owned() };
        let (status, body) = answer.ok_or(away)?;
        let response = Response::builder().status(status);
        let response = response.header(header::CONTENT_TYPE, "application/json");
        Ok(response.body(body.into_bytes()).unwrap())
    }
}

/// Returns some proof; of nothing.
pub(in crate::api::sign_in) fn proof() -> Proof {
    let (_, verifier) = PkceCodeChallenge::new_random_sha256();
    Proof { nonce: Nonce::new_random(), verifier }
}

fn provider(fake: &Fake) -> Provider {
    Provider::over(&terms(), REDIRECT.to_owned(), Box::new(fake.clone())).unwrap()
}

/// Has somebody sign in, and redeems what they come back with.
fn redeemed(fake: &Fake, provider: &Provider, now: Timestamp) -> Result<Shown, ProviderError> {
    let question = provider.call().question(now).unwrap();
    let back = fake.browse(&question.url);
    let code = back.split(['=', '&']).nth(1).unwrap().to_owned();
    provider.call().redeem(code, question.proof, |claims| claims.get("groups").is_some(), now)
}

#[test]
fn somebody_is_sent_with_a_question_that_only_we_can_redeem_the_answer_of() {
    let fake = Fake::new(&[]);
    let provider = provider(&fake);
    let [one, other] = [(); 2].map(|()| provider.call().question(NOW).unwrap());
    let url = Url::parse(&one.url).unwrap();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(url.host_str(), Some("id.example"));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("code_challenge_method", "S256"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid profile email"),
        ("state", one.state.as_str()),
        ("nonce", one.proof.nonce.secret().as_str()),
    ] {
        assert_eq!(query[name], value, "{name}");
    }
    assert!(one.state.len() >= 43 && query["nonce"].len() >= 43, "256 bits of chance");
    assert!(one.state != other.state && one.url != other.url);
    assert!(!one.url.contains(SECRET) && !one.url.contains(one.proof.verifier.secret().as_str()));
}

#[test]
fn an_id_token_that_holds_says_who_the_person_is() {
    let fake = Fake::new(&["soc-leads"]);
    let shown = redeemed(&fake, &provider(&fake), NOW).unwrap();
    assert_eq!((shown.subject.as_str(), &shown.user_info), ("17", &None));
    assert_eq!(shown.claims["groups"], json!(["soc-leads"]));
    assert_eq!(shown.claims["email"], "ana@mssp.example");
    assert_eq!(fake.asked("/me"), 0, "what stands in the token is not asked for");
}

#[test]
fn an_id_token_that_does_not_hold_is_refused_whatever_is_wrong_with_it() {
    let seconds = NOW.as_ms() / 1_000;
    for (claim, value) in [
        ("iss", json!("https://id.test")),
        ("aud", json!("another client")),
        ("aud", json!([CLIENT, "another client"])),
        ("nonce", json!("of another sign-in")),
        ("exp", json!(seconds - 120)),
        ("iat", json!(seconds + 600)),
    ] {
        let fake = Fake::new(&["soc-leads"]);
        fake.claim(claim, value.clone());
        let refused = redeemed(&fake, &provider(&fake), NOW).unwrap_err();
        assert!(matches!(refused, ProviderError::Untrusted(_)), "{claim} {value}: {refused}");
    }
    for header in [json!({"alg": "none"}), json!({"alg": "HS256"}), json!({"crit": ["x"]})] {
        let fake = Fake::new(&["soc-leads"]);
        fake.with(|state| state.header = header.clone());
        let refused = redeemed(&fake, &provider(&fake), NOW).unwrap_err();
        assert!(matches!(refused, ProviderError::Untrusted(_)), "{header}: {refused}");
    }
}

#[test]
fn a_clock_that_is_off_by_less_than_a_minute_keeps_nobody_out() {
    let fake = Fake::new(&["soc-leads"]);
    let seconds = NOW.as_ms() / 1_000;
    fake.claim("exp", json!(seconds - 50));
    redeemed(&fake, &provider(&fake), NOW).unwrap();
    fake.claim("exp", json!(seconds + 300));
    fake.claim("iat", json!(seconds + 50));
    redeemed(&fake, &provider(&fake), NOW).unwrap();
}

#[test]
fn keys_that_rotate_are_asked_for_once_more_and_a_key_that_nobody_published_is_not_believed() {
    let fake = Fake::new(&["soc-leads"]);
    let provider = provider(&fake);
    redeemed(&fake, &provider, NOW).unwrap();
    redeemed(&fake, &provider, NOW).unwrap();
    assert_eq!(fake.asked("/jwks"), 1, "what it says of itself is believed for a while");
    fake.rotate(true);
    redeemed(&fake, &provider, NOW).unwrap();
    assert_eq!(fake.asked("/jwks"), 2);
    redeemed(&fake, &provider, NOW).unwrap();
    assert_eq!(fake.asked("/jwks"), 2);
    fake.rotate(false);
    let refused = redeemed(&fake, &provider, NOW).unwrap_err();
    assert!(matches!(refused, ProviderError::Untrusted(_)), "{refused}");
    assert_eq!(fake.asked("/jwks"), 3, "once, and not again and again");
}

#[test]
fn a_provider_that_is_away_or_odd_is_told_apart_and_its_facts_outlive_a_short_break() {
    let fake = Fake::new(&["soc-leads"]);
    let provider = provider(&fake);
    fake.set_away(true);
    assert!(matches!(provider.call().question(NOW).unwrap_err(), ProviderError::Unreachable(_)));
    fake.set_away(false);
    provider.call().question(NOW).unwrap();
    fake.set_away(true);
    provider.call().question(NOW).unwrap();
    let later = NOW.saturating_add(PROVIDER_FACTS_LIFE);
    assert!(matches!(provider.call().question(later).unwrap_err(), ProviderError::Unreachable(_)));
    fake.set_away(false);
    for (status, body, is_away) in [
        (503, "", true),
        (404, "", false),
        (302, "", false),
        (200, "<html>", false),
        (200, "{}", false),
    ] {
        fake.say("/openid-configuration", status, body);
        let error = provider.call().question(later).unwrap_err();
        let is_told_away = matches!(error, ProviderError::Unreachable(_));
        assert!(is_told_away == is_away, "{status} {body}: {error}");
    }
}

#[test]
fn an_issuer_that_calls_itself_otherwise_is_another() {
    let fake = Fake::new(&[]);
    let other = SignInTerms { issuer: format!("{ISSUER}/"), ..terms() };
    let provider = Provider::over(&other, REDIRECT.to_owned(), Box::new(fake.clone())).unwrap();
    let error = provider.call().question(NOW).unwrap_err().to_string();
    assert!(error.contains("unexpected issuer") && error.contains(ISSUER), "{error}");
}

#[test]
fn a_code_is_redeemed_once_and_only_with_its_own_proof() {
    let fake = Fake::new(&["soc-leads"]);
    let provider = provider(&fake);
    let [one, other] = [(); 2].map(|()| provider.call().question(NOW).unwrap());
    let code = |url: &str| fake.browse(url).split(['=', '&']).nth(1).unwrap().to_owned();
    let redeem = |code: String, proof| provider.call().redeem(code, proof, |_| true, NOW);
    let refused = redeem(code(&one.url), other.proof).unwrap_err();
    assert!(matches!(refused, ProviderError::Refused(_)), "PKCE: {refused}");
    let refused = redeem("never given".to_owned(), one.proof).unwrap_err();
    assert!(matches!(refused, ProviderError::Refused(_)), "{refused}");
}

#[test]
fn what_is_wrong_with_an_answer_is_told_without_what_it_held() {
    for (body, said) in [
        ("{\"access_token\": \"hidden\", \"token_type\": \"Bearer\"}", "no id_token"),
        ("{\"access_token\": \"hidden\"}", "understood"),
        ("hidden", "understood"),
    ] {
        let fake = Fake::new(&["soc-leads"]);
        fake.say("/token", 200, body);
        let error = redeemed(&fake, &provider(&fake), NOW).unwrap_err();
        assert!(matches!(error, ProviderError::Odd(_)), "{body}: {error}");
        let error = error.to_string();
        assert!(error.contains(said) && !error.contains("hidden"), "{error}");
    }
}

#[test]
fn groups_that_no_id_token_has_are_asked_for_and_only_about_the_same_person() {
    let fake = Fake::new(&[]);
    fake.claim("groups", Value::Null);
    fake.with(|state| state.user_info = json!({"sub": "17", "groups": ["soc-leads"]}));
    let shown = redeemed(&fake, &provider(&fake), NOW).unwrap();
    assert_eq!(shown.user_info.unwrap()["groups"], json!(["soc-leads"]));
    fake.with(|state| state.user_info = json!({"sub": "18", "groups": ["soc-leads"]}));
    let refused = redeemed(&fake, &provider(&fake), NOW).unwrap_err();
    assert!(matches!(refused, ProviderError::Untrusted(_)), "{refused}");
    fake.say("/me", 500, "");
    let refused = redeemed(&fake, &provider(&fake), NOW).unwrap_err();
    assert!(matches!(refused, ProviderError::Odd(_)), "{refused}");
}

#[tokio::test]
async fn no_more_talk_to_the_provider_at_once_than_may_and_who_waits_is_told() {
    let fake = Fake::new(&[]);
    let mut provider = provider(&fake);
    provider.wait_max = Duration::from_millis(1);
    let provider = Arc::new(provider);
    let all = u32::try_from(PROVIDER_CALLS_MAX).unwrap();
    let taken = Arc::clone(&provider.places).acquire_many_owned(all).await.unwrap();
    let busy = Provider::place(Arc::clone(&provider)).await;
    assert!(matches!(busy, Err(ProviderError::Busy)));
    drop(taken);
    let place = Provider::place(provider).await.unwrap();
    let question = place.call(|call| call.question(NOW)).await.unwrap();
    assert!(question.url.starts_with(&format!("{ISSUER}/authorize?")));
}

#[test]
fn all_requests_of_one_step_have_one_end() {
    let fake = Fake::new(&[]);
    let provider = provider(&fake);
    let late = Call { provider: &provider, until: Some(instant()) }.question(NOW).unwrap_err();
    assert!(matches!(&late, ProviderError::Unreachable(why) if why.contains("in time")), "{late}");
    assert_eq!(fake.asked("/openid-configuration"), 0);
}

impl Provider {
    /// Has nobody wait for a place; returns the places.
    pub(in crate::api::sign_in) fn at_once(&mut self) -> Arc<Semaphore> {
        self.wait_max = Duration::from_millis(1);
        Arc::clone(&self.places)
    }
}
