//! From what a provider says of a person to what they get here. Pure.
//!
//! The first configured group that the person is in decides alone, both the role and whose cases: a role of one group
//! over the tenants of another would be more than anybody configured.

use serde_json::Value;

use super::{GroupRule, SignInTerms, provider::Shown};
use crate::{
    command::{access::Admission, tokens::HOLDER_LETTERS_MAX},
    store::values::Person,
};

/// Longest subject that the standard allows, in bytes.
const SUBJECT_BYTES_MAX: usize = 255;
/// Longest text of a person that is kept, in characters.
const TEXT_LETTERS_MAX: usize = 128;
/// The claim that anybody may have written anything into, unless the one beside it says that it was verified.
const EMAIL_CLAIM: &str = "email";
/// Claims that a name is taken from where none is configured, the most telling first.
const NAME_CLAIMS: [&str; 2] = [EMAIL_CLAIM, "preferred_username"];

/// What becomes of a person who has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are let in.
    Admitted(Box<Admission>),
    /// They are in no group that may sign in; how many they are in.
    NoGroup(Person, usize),
    /// What the provider says of them cannot be used.
    Unusable(&'static str),
}

/// Decides what a person gets who asked from one address and has a browser at another.
pub(super) fn decide(
    terms: &SignInTerms,
    issuer: &str,
    shown: &Shown,
    (from, browser): (String, String),
) -> Verdict {
    if shown.subject.is_empty() || shown.subject.len() > SUBJECT_BYTES_MAX {
        return Verdict::Unusable("its name for you is empty or too long");
    }
    let person = Person {
        issuer: issuer.to_owned(),
        subject: shown.subject.clone(),
        name: claim(shown, "name").and_then(text_of),
        email: said_by(shown, |claims| vouched(claims, EMAIL_CLAIM)).and_then(text_of),
    };
    let groups = claim(shown, &terms.groups_claim).map(texts).unwrap_or_default();
    let rule = terms.groups.iter().find(|rule| groups.contains(&rule.group.as_str()));
    let Some(GroupRule { group, role, tenants }) = rule else {
        return Verdict::NoGroup(person, groups.len());
    };
    let name = name(terms, shown);
    Verdict::Admitted(Box::new(Admission {
        person,
        name,
        role: *role,
        tenants: tenants.clone(),
        life: terms.life,
        group: group.clone(),
        from,
        browser,
    }))
}

/// Returns whether an ID token says groups and a name, so that nothing more has to be asked.
pub(super) fn tells_enough(terms: &SignInTerms, claims: &Value) -> bool {
    let mut names = name_claims(terms);
    let tells_name = names.any(|name| vouched(claims, name).is_some());
    tells_name && at(claims, &terms.groups_claim).is_some()
}

/// Returns which claims a name is taken from.
fn name_claims(terms: &SignInTerms) -> impl Iterator<Item = &str> {
    let configured = terms.name_claim.as_deref();
    configured.into_iter().chain(NAME_CLAIMS.into_iter().filter(move |_| configured.is_none()))
}

/// Returns what stands at a claim that a name is taken from. An e-mail address only counts if the same claims say that
/// it was verified; many providers let people write into it what they like, and some say nothing of that.
fn vouched<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    let is_verified = || at(claims, "email_verified") == Some(&Value::Bool(true));
    at(claims, name).filter(|_| name != EMAIL_CLAIM || is_verified())
}

/// Returns what a person is called, in the letters of a token's holder.
fn name(terms: &SignInTerms, shown: &Shown) -> String {
    name_claims(terms)
        .filter_map(|name| said_by(shown, |claims| vouched(claims, name))?.as_str())
        .find_map(in_letters)
        .or_else(|| in_letters(&shown.subject))
        .unwrap_or_else(|| "somebody".to_owned())
}

/// Returns a name in the letters that a token's holder may have; others become `-`.
fn in_letters(text: &str) -> Option<String> {
    let letters = text.trim().chars().take(HOLDER_LETTERS_MAX);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let name: String = letters.map(|c| if is_plain(c) { c } else { '-' }).collect();
    name.contains(|c: char| c.is_ascii_alphanumeric()).then_some(name)
}

/// Returns a text of a person as it is kept: of a bounded length, and without what controls a terminal.
fn text_of(value: &Value) -> Option<String> {
    let letters = value.as_str()?.chars().filter(|c| !c.is_control());
    let text: String = letters.take(TEXT_LETTERS_MAX).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns a claim of the ID token's, or of what was told besides.
fn claim<'a>(shown: &'a Shown, path: &str) -> Option<&'a Value> {
    said_by(shown, |claims| at(claims, path))
}

/// Returns what is found in the ID token, or in what was told besides; never part of it in one and part in the other.
fn said_by<'a>(
    shown: &'a Shown,
    find: impl Fn(&'a Value) -> Option<&'a Value>,
) -> Option<&'a Value> {
    find(&shown.claims).or_else(|| find(shown.user_info.as_ref()?))
}

/// Returns what stands at a claim's name, or where a path with dots leads to, as in `realm_access.roles`. A name with
/// dots in it, as URLs have, is looked for first.
fn at<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    let found = claims
        .get(path)
        .or_else(|| path.split('.').try_fold(claims, |value, name| value.get(name)));
    found.filter(|value| !value.is_null())
}

/// Returns the texts of a list; a text alone is a list of one.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::sign_in::tests::terms, store::values::Role};

    fn shown(claims: Value) -> Shown {
        Shown { subject: "17".into(), claims, user_info: None }
    }

    fn addresses() -> (String, String) {
        ("203.0.113.9".into(), "203.0.113.10".into())
    }

    fn decided(claims: Value) -> Verdict {
        decide(&terms(), "https://id.example", &shown(claims), addresses())
    }

    fn admitted(claims: Value) -> Admission {
        match decided(claims) {
            Verdict::Admitted(admission) => *admission,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_group_of_theirs_decides_the_role_and_whose_cases() {
        // In the order of the configuration, whatever the provider's is.
        let both = admitted(json!({"groups": ["soc-analysts", "soc-leads"]}));
        assert_eq!((both.role, both.group.as_str()), (Role::Lead, "soc-leads"));
        assert_eq!(both.tenants, ["acme".parse().unwrap()], "not every tenant's lead");
        let one = admitted(json!({"groups": "soc-analysts"}));
        assert_eq!((one.role, one.tenants.as_slice()), (Role::Analyst, &[][..]));
    }

    #[test]
    fn whoever_is_in_no_group_is_not_let_in() {
        for (claims, count) in [
            (json!({}), 0),
            (json!({"groups": null}), 0),
            (json!({"groups": []}), 0),
            (json!({"groups": ["SOC-ANALYSTS", "soc"]}), 2),
            (json!({"groups": {"soc-analysts": true}}), 0),
            (json!({"roles": ["soc-analysts"]}), 0),
        ] {
            let verdict = decided(claims.clone());
            assert!(
                matches!(&verdict, Verdict::NoGroup(person, c)
                if person.subject == "17" && *c == count),
                "{claims}: {verdict:?}"
            );
        }
        let nobody = Shown { subject: String::new(), ..shown(json!({"groups": "soc-analysts"})) };
        assert!(matches!(decide(&terms(), "x", &nobody, addresses()), Verdict::Unusable(_)));
    }

    #[test]
    fn groups_may_stand_deeper_or_under_an_address_or_be_told_besides() {
        let groups = |claim: &str, claims: Value| {
            let terms = SignInTerms { groups_claim: claim.into(), ..terms() };
            let info = claims.as_object().unwrap().is_empty();
            let mut shown = shown(claims);
            shown.user_info = info.then(|| json!({"groups": ["soc-leads"]}));
            matches!(decide(&terms, "x", &shown, addresses()), Verdict::Admitted(_))
        };
        assert!(groups("realm_access.roles", json!({"realm_access": {"roles": ["soc-leads"]}})));
        assert!(groups(
            "https://mssp.example/roles",
            json!({"https://mssp.example/roles": "soc-leads"})
        ));
        assert!(groups("groups", json!({})));
    }

    #[test]
    fn more_is_asked_where_groups_or_a_name_are_missing() {
        let enough = |claims: Value| tells_enough(&terms(), &claims);
        assert!(enough(json!({"groups": [], "email": "a@b", "email_verified": true})));
        assert!(!enough(json!({"groups": [], "email": "a@b"})));
        assert!(enough(json!({"groups": "x", "preferred_username": "ana"})));
        assert!(!enough(json!({"groups": ["x"], "name": "Ana"})));
        assert!(!enough(json!({"groups": null, "preferred_username": "ana"})));
        let terms = SignInTerms { name_claim: Some("upn".into()), ..terms() };
        assert!(!tells_enough(&terms, &json!({"groups": [], "email": "a@b"})));
        assert!(tells_enough(&terms, &json!({"groups": [], "upn": "a"})));
    }

    #[test]
    fn a_person_is_called_what_their_provider_vouches_for_in_letters_of_a_token() {
        let name = |claims: Value| {
            let mut claims = claims;
            claims["groups"] = json!("soc-leads");
            admitted(claims).name
        };
        assert_eq!(
            name(json!({"email": "ana@mssp.example", "email_verified": true,
            "preferred_username": "ana"})),
            "ana@mssp.example"
        );
        for verified in [json!(false), json!(null), json!("true"), json!(1)] {
            let claims = json!({"email": "ana@mssp.example", "email_verified": verified,
                                "preferred_username": "eve"});
            assert_eq!(name(claims), "eve", "{verified}");
        }
        assert_eq!(name(json!({"email": "ana@mssp.example"})), "17", "nobody vouches for it");
        assert_eq!(name(json!({"preferred_username": "José\u{1b}[2J/x"})), "Jos---2J-x");
        assert_eq!(name(json!({"preferred_username": " \u{1b} "})), "17", "the subject's");
        assert_eq!(name(json!({"preferred_username": "x".repeat(99)})).len(), HOLDER_LETTERS_MAX);
        let terms = SignInTerms { name_claim: Some("upn".into()), ..terms() };
        let shown = shown(json!({"groups": "soc-leads", "upn": "ana@corp", "email": "a@b"}));
        let Verdict::Admitted(admission) = decide(&terms, "x", &shown, addresses()) else {
            panic!("admitted")
        };
        assert_eq!(admission.name, "ana@corp");
    }

    #[test]
    fn an_address_and_that_it_was_verified_are_said_in_one_place() {
        let decided = |claims: Value, info: Value| {
            let shown = Shown { user_info: Some(info), ..shown(claims) };
            match decide(&terms(), "x", &shown, addresses()) {
                Verdict::Admitted(admission) => *admission,
                other => panic!("{other:?}"),
            }
        };
        let (address, verified) = (json!("ana@mssp.example"), json!(true));
        for (claims, info) in [
            (json!({"email": address}), json!({"email_verified": verified})),
            (json!({"email_verified": verified}), json!({"email": address})),
        ] {
            let mut claims = claims;
            claims["groups"] = json!("soc-leads");
            let admission = decided(claims, info);
            assert_eq!((admission.name.as_str(), admission.person.email), ("17", None));
        }
        let info = json!({"email": address, "email_verified": verified});
        let admission = decided(json!({"groups": "soc-leads", "email": "eve@x"}), info);
        assert_eq!(admission.name, "ana@mssp.example");
        assert_eq!(admission.person.email.as_deref(), Some("ana@mssp.example"));
    }

    #[test]
    fn what_is_kept_of_a_person_is_short_and_controls_no_terminal() {
        let claims = json!({
            "groups": "soc-leads", "name": format!("A\u{1b}na {}", "x".repeat(500)), "email": 7
        });
        let person = admitted(claims).person;
        assert!(person.name.as_deref().unwrap().starts_with("Ana x"));
        assert_eq!(person.name.unwrap().chars().count(), TEXT_LETTERS_MAX);
        assert_eq!(person.email, None);
    }
}
