use std::time::Duration;

use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> PolicyPublicKey {
    PolicyPublicKey::from_bytes(key(seed).public_key().as_ref().try_into().unwrap())
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn policy(version: u64) -> Policy {
    Policy {
        tenant: tenant("acme"),
        version,
        not_before: NOW,
        expires_at: NOW.saturating_add(DAY * 90),
        text: "policy: acme-noise\nversion: 7\n".repeat(20),
        limits: PolicyLimits { cpu_percent: Some(20) },
        coordinators: vec!["box2.example:4433".into()],
    }
}

fn sign(policy: &Policy, seed: u8) -> Vec<u8> {
    sign_content(policy.tenant, &policy.encode().unwrap(), seed)
}

fn sign_content(tenant: TenantId, content: &[u8], seed: u8) -> Vec<u8> {
    let signature = key(seed).sign(&signed_bytes(tenant, content));
    seal(public(seed).id(), signature.as_ref().try_into().unwrap(), content)
}

fn accepted(envelope: &[u8], highest: u64, now: Timestamp) -> Result<Policy, PolicyRefusal> {
    accept(envelope, &[public(1), public(2)], tenant("acme"), highest, now)
}

#[test]
fn what_a_trusted_key_signed_for_the_own_tenant_is_taken_as_it_was_made() {
    let envelope = sign(&policy(8), 2);
    assert!(envelope.len() < policy(8).text.len(), "it is packed");
    assert_eq!(accepted(&envelope, 7, NOW), Ok(policy(8)));
    assert_eq!(peek(&envelope), Some((public(2).id(), policy(8))));
}

#[test]
fn an_envelope_of_version_1_keeps_its_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The packed text is zstd's own affair: its bytes may change with the library, and are read all the same.
    let content = Content {
        tenant: tenant("acme"),
        version: 8,
        not_before: NOW,
        expires_at: NOW.saturating_add(DAY),
        text: vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x02, 0x11, 0x00, 0x00, b'a', b'b'],
        limits: PolicyLimits { cpu_percent: Some(20) },
        coordinators: vec!["box2.example:4433".into()],
    };
    let envelope = sign_content(tenant("acme"), &codec::encode(&content).unwrap(), 1);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/policy_v1.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, hex(&envelope)).unwrap();
    }
    assert_eq!(hex(&envelope), std::fs::read_to_string(path).unwrap());
    assert_eq!(open(&envelope, &[public(1)]).unwrap().text, "ab");
}

#[test]
fn a_version_that_is_not_above_all_before_is_refused() {
    let envelope = sign(&policy(8), 1);
    for highest in [8, 9, u64::MAX] {
        assert_eq!(accepted(&envelope, highest, NOW), Err(PolicyRefusal::Rollback));
    }
}

#[test]
fn another_tenants_is_refused_although_the_key_is_trusted() {
    let foreign = Policy { tenant: tenant("globex"), ..policy(8) };
    assert_eq!(accepted(&sign(&foreign, 1), 7, NOW), Err(PolicyRefusal::ForeignTenant), "L5");
}

#[test]
fn what_has_ended_or_not_begun_is_refused() {
    let envelope = sign(&policy(8), 1);
    let end = policy(8).expires_at;
    let before = |at: Timestamp| at.saturating_sub(Duration::from_millis(1));
    assert_eq!(accepted(&envelope, 7, end), Err(PolicyRefusal::Expired));
    assert!(accepted(&envelope, 7, before(end)).is_ok());
    assert_eq!(accepted(&envelope, 7, before(NOW)), Err(PolicyRefusal::NotYet));
}

#[test]
fn a_key_that_is_not_trusted_is_told_from_one_that_did_not_sign() {
    assert_eq!(accepted(&sign(&policy(8), 3), 7, NOW), Err(PolicyRefusal::UnknownKey));
    let content = policy(8).encode().unwrap();
    let by_another = key(3).sign(&signed_bytes(tenant("acme"), &content));
    let forged = seal(public(1).id(), by_another.as_ref().try_into().unwrap(), &content);
    assert_eq!(accepted(&forged, 7, NOW), Err(PolicyRefusal::BadSignature));
}

#[test]
fn a_signature_over_the_bare_content_is_none() {
    let content = policy(8).encode().unwrap();
    let bare = key(1).sign(&content);
    let envelope = seal(public(1).id(), bare.as_ref().try_into().unwrap(), &content);
    assert_eq!(accepted(&envelope, 7, NOW), Err(PolicyRefusal::BadSignature));
}

#[test]
fn no_changed_byte_is_taken() {
    let envelope = sign(&policy(8), 1);
    for at in 0..envelope.len() {
        let mut changed = envelope.clone();
        changed[at] ^= 1;
        let refusal = accepted(&changed, 7, NOW).unwrap_err();
        let expected = match at {
            0 => PolicyRefusal::Malformed,
            1..=8 => PolicyRefusal::UnknownKey,
            _ => PolicyRefusal::BadSignature,
        };
        assert_eq!(refusal, expected, "byte {at}");
    }
    for end in 0..envelope.len() {
        assert!(accepted(&envelope[..end], 7, NOW).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_signed_and_is_no_policy_is_refused() {
    let malformed = |content: &[u8]| {
        accepted(&sign_content(tenant("acme"), content, 1), 7, NOW) == Err(PolicyRefusal::Malformed)
    };
    let content = policy(8).encode().unwrap();
    assert!(malformed(&content[..content.len() - 1]), "cut");
    assert!(malformed(&[&content[..], &[0]].concat()), "something behind it");
    // Few bytes of zstd that stand for more than may be set aside.
    let bomb = zstd::bulk::compress(&vec![b'a'; POLICY_SOURCE_BYTES_MAX + 1], LEVEL).unwrap();
    assert!(bomb.len() < 200);
    let of = |text: Vec<u8>| {
        let Policy { tenant, version, not_before, expires_at, limits, coordinators, .. } =
            policy(8);
        let content =
            Content { tenant, version, not_before, expires_at, text, limits, coordinators };
        codec::encode(&content).unwrap()
    };
    assert!(malformed(&of(bomb)));
    assert!(malformed(&of(b"no zstd".to_vec())));
    assert!(malformed(&of(zstd::bulk::compress(&[0xff, 0xfe], LEVEL).unwrap())), "no text");
}

#[test]
fn what_is_too_long_is_refused_before_anything_is_looked_at() {
    let long = vec![0; POLICY_ENVELOPE_BYTES_MAX + 1];
    assert_eq!(accepted(&long, 0, NOW), Err(PolicyRefusal::TooLarge));
    let random = |len: usize| -> String {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b' ' + u8::try_from((state >> 33) % 90).unwrap())
        };
        (0..len).map(|_| next()).collect()
    };
    let text = random(POLICY_ENVELOPE_BYTES_MAX * 2);
    let packed = Policy { text, ..policy(8) };
    assert!(matches!(packed.encode(), Err(PolicyError::Packed(_))));
    let text = "a".repeat(POLICY_SOURCE_BYTES_MAX + 1);
    assert!(matches!(Policy { text, ..policy(8) }.encode(), Err(PolicyError::Text(_))));
}

#[test]
fn a_policy_that_breaks_a_rule_is_not_signed() {
    let refused = |change: fn(&mut Policy)| {
        let mut policy = policy(8);
        change(&mut policy);
        policy.encode().unwrap_err().to_string()
    };
    assert_eq!(refused(|it| it.version = 0), "versions begin at 1");
    assert_eq!(refused(|it| it.expires_at = NOW), "it ends before it begins");
    let longer = |it: &mut Policy| it.expires_at = NOW.saturating_add(POLICY_LIFE_MAX + DAY);
    assert_eq!(refused(longer), "it ends more than 400 days after it begins");
    let address = "an address of a coordinator is none: write host:port";
    assert_eq!(refused(|it| it.coordinators = vec!["box".into()]), address);
    let many = |it: &mut Policy| it.coordinators = vec!["box:1".into(); JOIN_ADDRESSES_MAX + 1];
    assert_eq!(refused(many), "it names more coordinators than an agent tries");
    let none = |it: &mut Policy| it.limits.cpu_percent = Some(4);
    assert_eq!(refused(none), "the processor's share is 5 to 400 percent");
}

#[test]
fn a_key_reads_back_as_it_was_written_and_a_mistyped_one_is_none() {
    let text = public(1).to_string();
    assert!(text.starts_with(POLICY_KEY_PREFIX), "{text}");
    assert_eq!(text.parse(), Ok(public(1)));
    assert_eq!(key_of(&sign(&policy(8), 1)), Some(public(1).id()));
    assert_eq!(key_of(&[1; 8]), None);
    for end in 0..text.len() {
        assert!(text[..end].parse::<PolicyPublicKey>().is_err(), "{end}");
    }
    let list = format!("# the provider's\n\n{text}\n  {}  \n", public(2));
    assert_eq!(PolicyPublicKey::parse_list(&list), Ok(vec![public(1), public(2)]));
    let broken = format!("{text}\nsbjoin1_x\n");
    let error = PolicyPublicKey::parse_list(&broken).unwrap_err().to_string();
    assert!(error.starts_with("line 2 is no policy key"), "{error}");
}

#[test]
fn an_answer_takes_no_more_text_than_may_be_sent() {
    let ack = PolicyAck::refused(8, PolicyRefusal::Unusable, &"ä".repeat(1_000));
    assert!(ack.is_bounded());
    let PolicyOutcome::Refused { detail, .. } = ack.outcome else { panic!("it is refused") };
    assert_eq!(detail.len(), POLICY_DETAIL_BYTES_MAX);
    for refusal in PolicyRefusal::ALL {
        let name = serde_json::to_string(&refusal).unwrap();
        assert_eq!(name, format!("{:?}", refusal.as_str()), "one name");
    }
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        content in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        assert!(accepted(&bytes, 0, NOW).is_err());
        drop(peek(&bytes));
        // Behind a good signature, too: whoever signs may be mistaken.
        let tenant = tenant_of(&content).unwrap_or_else(|| tenant("acme"));
        drop(accepted(&sign_content(tenant, &content, 1), 0, NOW));
    }

    #[test]
    fn what_was_signed_and_then_changed_is_never_taken(
        at in any::<prop::sample::Index>(), with in 1_u8..,
    ) {
        let mut envelope = sign(&policy(8), 1);
        let at = at.index(envelope.len());
        envelope[at] ^= with;
        assert!(accepted(&envelope, 7, NOW).is_err());
    }
}
