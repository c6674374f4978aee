//! What the tests of signing in share.

use super::*;

pub(in crate::api) use super::provider::tests::Fake;

/// Issuer of the fake provider.
pub(super) const ISSUER: &str = "https://id.example";
/// Our name there.
pub(super) const CLIENT: &str = "signalbox";
/// Our secret there.
pub(super) const SECRET: &str = "a secret of the client's";

/// Two groups: leads of one tenant, and analysts of all.
pub(in crate::api) fn terms() -> SignInTerms {
    SignInTerms {
        issuer: ISSUER.into(),
        client_id: CLIENT.into(),
        client_secret: Some(SECRET.into()),
        public_url: "https://box.example:8443".into(),
        scopes: vec!["profile".into(), "email".into()],
        groups_claim: "groups".into(),
        name_claim: None,
        groups: vec![
            GroupRule {
                group: "soc-leads".into(),
                role: Role::Lead,
                tenants: vec!["acme".parse().unwrap()],
            },
            GroupRule { group: "soc-analysts".into(), role: Role::Analyst, tenants: Vec::new() },
        ],
        life: Duration::from_secs(8 * 60 * 60),
        roots: Vec::new(),
    }
}

/// Lets a fake provider have somebody sign in.
pub(in crate::api) fn sign_ins(fake: &Fake) -> SignIns {
    SignIns::over(terms(), Box::new(fake.clone()))
}

/// As [`sign_ins`], but nobody waits for a place at the provider; returns the places, too.
pub(in crate::api) fn hasty_sign_ins(fake: &Fake) -> (SignIns, Arc<tokio::sync::Semaphore>) {
    let mut sign_ins = sign_ins(fake);
    let places = Arc::get_mut(&mut sign_ins.provider).unwrap().at_once();
    (sign_ins, places)
}

#[test]
fn a_code_has_no_letter_that_looks_like_another_and_is_drawn_anew() {
    let (one, other) = (draw_code(), draw_code());
    assert_eq!(one.len(), 9);
    assert_ne!(one, other);
    let is_letter = |c: char| c == '-' || CODE_LETTERS.contains(&u8::try_from(c).unwrap());
    assert!(one.chars().all(is_letter), "{one}");
}

#[test]
fn terms_show_no_secret_and_an_address_that_is_none_is_refused() {
    assert!(!format!("{:?}", terms()).contains(SECRET));
    assert!(!format!("{:?}", SignIns::new(terms()).unwrap()).contains(SECRET));
    let bad = SignInTerms { issuer: "not an address".into(), ..terms() };
    assert!(SignIns::new(bad).unwrap_err().to_string().contains("issuer"));
}
