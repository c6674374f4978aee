use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::policy;

const DOMAIN_NAME: &str = "mssp.example";

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> PolicyPublicKey {
    PolicyPublicKey::from_bytes(key(seed).public_key().as_ref().try_into().unwrap())
}

fn digest(byte: u8) -> SpkiDigest {
    SpkiDigest::from_bytes([byte; 32])
}

fn bundle(sequence: u64) -> TrustBundle {
    TrustBundle {
        trust_domain: DOMAIN_NAME.into(),
        sequence,
        roots: vec![vec![0x30, 1, 2], vec![0x30; 600]],
        distrusted: vec![digest(7)],
    }
}

fn sign(bundle: &TrustBundle, seed: u8) -> Vec<u8> {
    sign_content(&bundle.encode().unwrap(), seed)
}

fn sign_content(content: &[u8], seed: u8) -> Vec<u8> {
    let signature = key(seed).sign(&signed_bytes(content));
    seal(public(seed).id(), signature.as_ref().try_into().unwrap(), content)
}

fn accepted(envelope: &[u8], highest: u64) -> Result<TrustBundle, TrustRefusal> {
    accept(envelope, &[public(1), public(2)], DOMAIN_NAME, highest)
}

#[test]
fn what_a_trusted_key_signed_for_the_own_trust_domain_is_taken_as_it_was_made() {
    let envelope = sign(&bundle(8), 2);
    assert_eq!(accepted(&envelope, 7), Ok(bundle(8)));
    assert_eq!(peek(&envelope), Some((public(2).id(), bundle(8))));
}

#[test]
fn an_envelope_of_version_1_keeps_its_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bundle = TrustBundle { roots: vec![vec![0x30, 1, 2]], ..bundle(300) };
    let envelope = sign(&bundle, 1);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/trust_v1.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, hex(&envelope)).unwrap();
    }
    assert_eq!(hex(&envelope), std::fs::read_to_string(path).unwrap());
    assert_eq!(open(&envelope, &[public(1)]), Ok(bundle));
}

#[test]
fn a_sequence_that_is_not_above_all_before_is_refused() {
    let envelope = sign(&bundle(8), 1);
    for highest in [8, 9, u64::MAX] {
        assert_eq!(accepted(&envelope, highest), Err(TrustRefusal::Rollback));
    }
}

#[test]
fn another_trust_domains_is_refused_although_the_key_is_trusted() {
    for trust_domain in ["mssp.example.org", "mssp"] {
        let foreign = TrustBundle { trust_domain: trust_domain.into(), ..bundle(8) };
        assert_eq!(accepted(&sign(&foreign, 1), 7), Err(TrustRefusal::ForeignDomain));
    }
}

#[test]
fn a_key_that_is_not_trusted_is_told_from_one_that_did_not_sign() {
    assert_eq!(accepted(&sign(&bundle(8), 3), 7), Err(TrustRefusal::UnknownKey));
    let content = bundle(8).encode().unwrap();
    let by_another = key(3).sign(&signed_bytes(&content));
    let forged = seal(public(1).id(), by_another.as_ref().try_into().unwrap(), &content);
    assert_eq!(accepted(&forged, 7), Err(TrustRefusal::BadSignature));
}

#[test]
fn no_signature_of_a_policy_stands_for_one_of_a_trust_bundle_nor_the_other_way_round() {
    let content = bundle(8).encode().unwrap();
    let tenant = "acme".parse().unwrap();
    let as_policy = key(1).sign(&policy::signed_bytes(tenant, &content));
    let bare = key(1).sign(&content);
    for signature in [as_policy, bare] {
        let envelope = seal(public(1).id(), signature.as_ref().try_into().unwrap(), &content);
        assert_eq!(accepted(&envelope, 7), Err(TrustRefusal::BadSignature));
    }
    let refused = policy::open(&sign(&bundle(8), 1), &[public(1)]);
    assert_eq!(refused, Err(policy::PolicyRefusal::BadSignature));
}

#[test]
fn no_changed_byte_is_taken() {
    let envelope = sign(&bundle(8), 1);
    for at in 0..envelope.len() {
        let mut changed = envelope.clone();
        changed[at] ^= 1;
        let expected = match at {
            0 => TrustRefusal::Malformed,
            1..=8 => TrustRefusal::UnknownKey,
            _ => TrustRefusal::BadSignature,
        };
        assert_eq!(accepted(&changed, 7), Err(expected), "byte {at}");
    }
    for end in 0..envelope.len() {
        assert!(accepted(&envelope[..end], 7).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_signed_and_is_no_trust_bundle_is_refused() {
    let malformed =
        |content: &[u8]| accepted(&sign_content(content, 1), 7) == Err(TrustRefusal::Malformed);
    let content = bundle(8).encode().unwrap();
    assert!(malformed(&content[..content.len() - 1]), "cut");
    assert!(malformed(&[&content[..], &[0]].concat()), "something behind it");
    let of = |change: fn(&mut TrustBundle)| {
        let mut bundle = bundle(8);
        change(&mut bundle);
        codec::encode(&bundle).unwrap()
    };
    assert!(malformed(&of(|it| it.roots.clear())), "agents would believe nobody");
    assert!(malformed(&of(|it| it.roots.push(Vec::new()))));
    assert!(malformed(&of(|it| it.sequence = 0)));
}

#[test]
fn what_is_too_long_is_refused_before_anything_is_looked_at() {
    let long = vec![0; TRUST_ENVELOPE_BYTES_MAX + 1];
    assert_eq!(accepted(&long, 0), Err(TrustRefusal::TooLarge));
    let full = TrustBundle {
        trust_domain: "x".repeat(255),
        sequence: u64::MAX,
        roots: (0..4).map(|byte| vec![byte; TRUST_ROOT_BYTES_MAX]).collect(),
        distrusted: (0..16).map(digest).collect(),
    };
    let envelope = sign(&full, 1);
    assert!(envelope.len() <= TRUST_ENVELOPE_BYTES_MAX);
    assert_eq!(open(&envelope, &[public(1)]), Ok(full));
}

#[test]
fn a_bundle_that_breaks_a_rule_is_not_signed() {
    let refused = |change: fn(&mut TrustBundle)| {
        let mut bundle = bundle(8);
        change(&mut bundle);
        bundle.encode().unwrap_err().to_string()
    };
    assert_eq!(refused(|it| it.sequence = 0), "sequences begin at 1");
    assert_eq!(refused(|it| it.roots.clear()), "it holds no root: agents would believe nobody");
    let many = |it: &mut TrustBundle| it.roots = (0..5).map(|byte| vec![byte]).collect();
    assert_eq!(refused(many), "it holds more roots than an agent takes, which is 4");
    let long = |it: &mut TrustBundle| it.roots[0] = vec![0; TRUST_ROOT_BYTES_MAX + 1];
    assert_eq!(refused(long), "a root's certificate is empty, or longer than 4096 bytes");
    assert_eq!(refused(|it| it.roots[0] = it.roots[1].clone()), "it holds a root twice");
    let many = |it: &mut TrustBundle| it.distrusted = (0..17).map(digest).collect();
    let expected = "it names more stolen intermediates than an agent takes, which is 16";
    assert_eq!(refused(many), expected);
    let twice = |it: &mut TrustBundle| it.distrusted = vec![digest(7); 2];
    assert_eq!(refused(twice), "it names a stolen intermediate twice");
    let domain = "its trust domain is none: 1-255 of a-z, 0-9, '.', '-' and '_'";
    assert_eq!(refused(|it| it.trust_domain = "Mssp".into()), domain);
}

#[test]
fn a_digest_reads_back_as_it_was_written_and_nothing_else_is_one() {
    let text = digest(0xa7).to_string();
    assert_eq!((text.len(), text.parse()), (64, Ok(digest(0xa7))));
    assert_eq!(text.to_uppercase().parse(), Ok(digest(0xa7)));
    for none in ["", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..]), &"ä".repeat(32)]
    {
        assert_eq!(none.parse::<SpkiDigest>(), Err(SpkiDigestError), "{none}");
    }
}

#[test]
fn an_answer_takes_no_more_text_than_may_be_sent() {
    let ack =
        TrustAck::refused(8, PolicyDigest::default(), TrustRefusal::NotStored, &"ä".repeat(1_000));
    assert!(ack.is_bounded());
    let TrustOutcome::Refused { detail, .. } = ack.outcome else { panic!("it is refused") };
    assert_eq!(detail.len(), POLICY_DETAIL_BYTES_MAX);
    for refusal in TrustRefusal::ALL {
        let name = serde_json::to_string(&refusal).unwrap();
        assert_eq!(name, format!("{:?}", refusal.as_str()), "one name");
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        content in prop::collection::vec(any::<u8>(), 0..200),
        text in "[0-9a-f]{62}.*|.*",
    ) {
        assert!(accepted(&bytes, 0).is_err());
        drop(peek(&bytes));
        // Behind a good signature, too: whoever signs may be mistaken.
        drop(accepted(&sign_content(&content, 1), 0));
        assert_eq!(text.parse::<SpkiDigest>().is_ok(), text.len() == 64 && is_hex(&text));
    }

    #[test]
    fn what_was_signed_and_then_changed_is_never_taken(
        at in any::<prop::sample::Index>(), with in 1_u8..,
    ) {
        let mut envelope = sign(&bundle(8), 1);
        let at = at.index(envelope.len());
        envelope[at] ^= with;
        assert!(accepted(&envelope, 7).is_err());
    }
}
