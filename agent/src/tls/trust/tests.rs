use std::{fs, time::Duration};

use certs::{
    AlternativeNames, Authority, COORDINATOR_VALIDITY, INTERMEDIATE_VALIDITY, PolicyKey,
    PrivateKey, Root, certificates_of_pem,
};
use shared::trust::TrustOutcome;

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);
const DOMAIN: &str = "box.test";

/// A folder, a key that signs bundles, and two authorities: the present one and the next.
struct World {
    folder: tempfile::TempDir,
    key: PolicyKey,
    old: Root,
    new: Root,
}

impl World {
    fn new() -> Self {
        let [old, new] = [0; 2].map(|_| Root::create(DOMAIN, NOW).unwrap());
        let (folder, key) = (tempfile::tempdir().unwrap(), PolicyKey::generate().unwrap());
        Self { folder, key, old, new }
    }

    /// Trust in the present root, as a start of the agent finds it.
    fn trust(&self) -> Arc<Trust> {
        self.trust_with(vec![self.key.public_key()])
    }

    /// The same where these keys are trusted.
    fn trust_with(&self, keys: Vec<PolicyPublicKey>) -> Arc<Trust> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(der_of(&self.old))).unwrap();
        let trust = Trust::in_roots(roots, DOMAIN.into()).unwrap();
        trust.begin(keys, self.folder.path());
        trust
    }

    fn bundle(&self, sequence: u64, roots: &[&Root]) -> TrustBundle {
        let roots = roots.iter().map(|root| der_of(root)).collect();
        TrustBundle { trust_domain: DOMAIN.into(), sequence, roots, distrusted: Vec::new() }
    }

    fn offer(&self, bundle: &TrustBundle) -> TrustOffer {
        let envelope = self.key.sign_trust(bundle).unwrap();
        TrustOffer { sequence: bundle.sequence, envelope }
    }
}

fn der_of(root: &Root) -> Vec<u8> {
    certificates_of_pem(root.root_pem()).unwrap().swap_remove(0)
}

fn intermediate(root: &Root) -> Authority {
    root.issue_intermediate(NOW, INTERMEDIATE_VALIDITY).unwrap()
}

/// The chain of a coordinator under an authority.
fn chain(authority: &Authority) -> Vec<CertificateDer<'static>> {
    let key = PrivateKey::generate().unwrap();
    let names = AlternativeNames::default();
    let leaf = authority.issue_coordinator("box1.test", &names, NOW, COORDINATOR_VALIDITY, &key);
    let chain = certificates_of_pem(&leaf.unwrap().chain_pem).unwrap();
    chain.into_iter().map(CertificateDer::from).collect()
}

fn believes(trust: &Trust, chain: &[CertificateDer<'_>]) -> bool {
    let later = NOW.saturating_add(Duration::from_secs(600)).as_ms();
    let later = UnixTime::since_unix_epoch(Duration::from_millis(later));
    trust.verify(chain, &ServerName::try_from("box1.test").unwrap(), later).is_ok()
}

fn in_force(offer: &TrustOffer) -> TrustAck {
    TrustAck::in_force(offer.sequence, PolicyDigest::of(&offer.envelope))
}

fn reason(ack: &TrustAck) -> Option<TrustRefusal> {
    match ack.outcome {
        TrustOutcome::Refused { reason, .. } => Some(reason),
        TrustOutcome::Nothing | TrustOutcome::InForce => None,
    }
}

#[test]
fn a_bundle_takes_the_place_of_the_configured_root() {
    let world = World::new();
    let trust = world.trust();
    let [of_old, of_new] = [&world.old, &world.new].map(|root| chain(&intermediate(root)));
    assert!(believes(&trust, &of_old) && !believes(&trust, &of_new));
    assert_eq!(trust.standing(), TrustAck::nothing());

    let both = world.offer(&world.bundle(1, &[&world.old, &world.new]));
    assert_eq!(trust.take(&both, NOW), in_force(&both));
    assert!(believes(&trust, &of_old) && believes(&trust, &of_new), "the overlap");

    let next = world.offer(&world.bundle(2, &[&world.new]));
    assert_eq!(trust.take(&next, NOW), in_force(&next));
    assert!(!believes(&trust, &of_old) && believes(&trust, &of_new));
    assert_eq!(trust.standing(), in_force(&next));
    assert!(!believes(&trust, &[]), "nobody");
}

#[test]
fn a_stolen_intermediate_is_believed_no_more_although_its_root_is() {
    let world = World::new();
    let trust = world.trust();
    let (stolen, next) = (intermediate(&world.old), intermediate(&world.old));
    let [of_stolen, of_next] = [&stolen, &next].map(chain);
    let stolen_der = &certificates_of_pem(stolen.intermediate_pem()).unwrap()[0];
    let distrusted = vec![spki_digest_of_der(stolen_der).unwrap()];
    let offer = world.offer(&TrustBundle { distrusted, ..world.bundle(1, &[&world.old]) });
    assert_eq!(trust.take(&offer, NOW), in_force(&offer));
    assert!(!believes(&trust, &of_stolen) && believes(&trust, &of_next));
    let beside = [&of_stolen[..1], &of_next[1..], &of_stolen[1..]].concat();
    assert!(!believes(&trust, &beside), "wherever it is shown");
    let garbled = [&of_next[..], &[CertificateDer::from(vec![0x30, 0])]].concat();
    assert!(!believes(&trust, &garbled), "what cannot be read may be the stolen one");
}

#[test]
fn a_certificate_of_this_agent_is_verified_by_whom_is_believed_and_as_a_clients() {
    let world = World::new();
    let trust = world.trust();
    let (of_old, of_new) = (intermediate(&world.old), intermediate(&world.new));
    let later = NOW.saturating_add(Duration::from_secs(600)).as_ms();
    let later = UnixTime::since_unix_epoch(Duration::from_millis(later));
    let verified = |trust: &Trust, authority: &Authority| {
        let (tenant, key) = ("acme".parse().unwrap(), PrivateKey::generate().unwrap());
        let agent = shared::ids::AgentId::from_bytes([7; 16]);
        let leaf = authority.issue_agent(tenant, agent, NOW, certs::AGENT_VALIDITY, &key).unwrap();
        let chain = certificates_of_pem(&leaf.chain_pem).unwrap();
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        assert!(!believes(trust, &chain), "it is no server's");
        trust.verify_own(&chain, later).is_ok()
    };
    assert!(verified(&trust, &of_old) && !verified(&trust, &of_new));
    trust.take(&world.offer(&world.bundle(1, &[&world.old, &world.new])), NOW);
    assert!(verified(&trust, &of_old) && verified(&trust, &of_new));
    let stolen = &certificates_of_pem(of_old.intermediate_pem()).unwrap()[0];
    let distrusted = vec![spki_digest_of_der(stolen).unwrap()];
    let bundle = TrustBundle { distrusted, ..world.bundle(2, &[&world.old]) };
    trust.take(&world.offer(&bundle), NOW);
    assert!(!verified(&trust, &of_old) && !verified(&trust, &of_new));
    assert!(verified(&trust, &intermediate(&world.old)), "the next of the same root");
    assert!(trust.verify_own(&[], later).is_err(), "nobody");
}

#[test]
fn only_what_is_signed_for_this_domain_and_above_all_before_is_taken() {
    let world = World::new();
    let trust = world.trust();
    let taken = world.offer(&world.bundle(5, &[&world.old]));
    assert_eq!(trust.take(&taken, NOW), in_force(&taken));
    assert_eq!(trust.take(&taken, NOW), in_force(&taken), "its answer was lost");
    let refused = |offer: &TrustOffer| reason(&trust.take(offer, NOW)).unwrap();
    for sequence in [4, 5] {
        let earlier = world.offer(&world.bundle(sequence, &[&world.new]));
        let about = PolicyDigest::of(&earlier.envelope);
        let refused = TrustAck::refused(sequence, about, TrustRefusal::Rollback, "");
        assert_eq!(trust.take(&earlier, NOW), refused);
    }
    assert_eq!(trust.standing(), in_force(&taken), "which of that number it has");
    let foreign = TrustBundle { trust_domain: "x".into(), ..world.bundle(6, &[&world.new]) };
    assert_eq!(refused(&world.offer(&foreign)), TrustRefusal::ForeignDomain);
    let other = World::new();
    let unknown = other.offer(&other.bundle(6, &[&other.new]));
    assert_eq!(refused(&unknown), TrustRefusal::UnknownKey);
    let no_root = TrustBundle { roots: vec![vec![1, 2]], ..world.bundle(6, &[&world.new]) };
    assert_eq!(refused(&world.offer(&no_root)), TrustRefusal::Malformed);
    let misnamed = TrustOffer { sequence: 7, ..world.offer(&world.bundle(6, &[&world.new])) };
    assert_eq!(refused(&misnamed), TrustRefusal::Malformed);
    let status = trust.status().unwrap();
    assert_eq!((status.sequence, status.roots, status.refused), (5, 1, 6));
    assert_eq!(status.last_refusal.unwrap().reason, "malformed");
    assert!(believes(&trust, &chain(&intermediate(&world.old))), "the one before stays");
}

#[test]
fn a_bundle_that_cannot_be_stored_is_refused_and_not_believed() {
    let world = World::new();
    let trust = world.trust();
    fs::remove_dir(world.folder.path()).unwrap();
    let ack = trust.take(&world.offer(&world.bundle(1, &[&world.new])), NOW);
    let TrustOutcome::Refused { reason, detail } = &ack.outcome else { panic!("{ack:?}") };
    assert_eq!(*reason, TrustRefusal::NotStored);
    assert!(detail.contains(TRUST_FILE), "{detail}");
    assert!(believes(&trust, &chain(&intermediate(&world.old))));
    assert_eq!(trust.standing(), TrustAck::nothing());
    fs::create_dir(world.folder.path()).unwrap();
}

#[test]
fn a_start_takes_up_what_is_stored_and_checks_its_signature_anew() {
    let world = World::new();
    let taken = world.offer(&world.bundle(3, &[&world.new]));
    assert_eq!(world.trust().take(&taken, NOW), in_force(&taken));
    let (of_old, of_new) = (chain(&intermediate(&world.old)), chain(&intermediate(&world.new)));
    let trust = world.trust();
    assert_eq!(trust.standing(), in_force(&taken));
    assert!(believes(&trust, &of_new) && !believes(&trust, &of_old));
    let earlier = world.offer(&world.bundle(3, &[&world.old]));
    assert_eq!(reason(&trust.take(&earlier, NOW)), Some(TrustRefusal::Rollback));

    let path = world.folder.path().join(TRUST_FILE);
    let whole = fs::read(&path).unwrap();
    for at in [0, 1, 5, 40, 90, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        let trust = world.trust();
        let error = trust.status().unwrap().error.unwrap();
        assert!(error.contains(TRUST_FILE), "{error}");
        assert!(believes(&trust, &of_old), "the configured root counts");
        if at >= 90 {
            for sequence in [1, 3] {
                let earlier = world.offer(&world.bundle(sequence, &[&world.old]));
                let reason = reason(&trust.take(&earlier, NOW));
                assert_eq!(reason, Some(TrustRefusal::Rollback), "what was taken counts");
            }
            assert_eq!(trust.take(&taken, NOW), in_force(&taken), "again");
        }
        assert_eq!(trust.take(&world.offer(&world.bundle(4, &[&world.new])), NOW).sequence, 4);
        assert_eq!(trust.status().unwrap().error, None, "the next takes its place");
    }
}

#[test]
fn what_is_stored_and_intact_counts_although_its_key_is_gone_and_no_further_one_is_taken() {
    let world = World::new();
    let bundle = world.offer(&world.bundle(3, &[&world.new]));
    assert_eq!(world.trust().take(&bundle, NOW), in_force(&bundle));
    let (of_old, of_new) = (chain(&intermediate(&world.old)), chain(&intermediate(&world.new)));
    let other = PolicyKey::generate().unwrap();
    // The keys cannot be read, or the bundle's is not among them.
    for keys in [vec![], vec![other.public_key()]] {
        let trust = world.trust_with(keys);
        assert!(believes(&trust, &of_new) && !believes(&trust, &of_old), "what was taken away");
        assert_eq!(trust.standing(), in_force(&bundle));
        let status = trust.status().unwrap();
        let error = status.error.unwrap();
        assert!(error.contains(TRUST_FILE) && error.contains("not trusted here"), "{error}");
        assert_eq!((status.sequence, status.roots), (3, 1));
        let next = world.offer(&world.bundle(4, &[&world.old]));
        assert_eq!(reason(&trust.take(&next, NOW)), Some(TrustRefusal::UnknownKey));
        assert!(!believes(&trust, &of_old));
        assert_eq!(trust.take(&bundle, NOW), in_force(&bundle), "it is there already");
    }
    let trust = world.trust_with(vec![other.public_key()]);
    let bundle = world.bundle(3, &[&world.old]);
    let below = TrustOffer { sequence: 3, envelope: other.sign_trust(&bundle).unwrap() };
    assert_eq!(reason(&trust.take(&below, NOW)), Some(TrustRefusal::Rollback));
    let bundle = TrustBundle { sequence: 4, ..bundle };
    let next = TrustOffer { sequence: 4, envelope: other.sign_trust(&bundle).unwrap() };
    assert_eq!(trust.take(&next, NOW), in_force(&next), "a key that is trusted signed it");
    assert_eq!(trust.status().unwrap().error, None);
    assert_eq!(world.trust().status().unwrap().sequence, 4, "and now its key is gone");
}

#[test]
fn what_is_damaged_counts_for_nothing_whether_its_key_is_known_or_not() {
    let world = World::new();
    let bundle = world.offer(&world.bundle(3, &[&world.new]));
    assert_eq!(world.trust().take(&bundle, NOW), in_force(&bundle));
    let path = world.folder.path().join(TRUST_FILE);
    let whole = fs::read(&path).unwrap();
    let of_old = chain(&intermediate(&world.old));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        let trust = world.trust_with(vec![]);
        let status = trust.status().unwrap();
        assert!(status.sequence == 0 && status.error.is_some(), "{at}: {status:?}");
        if at == whole.len() - 1 {
            assert!(believes(&trust, &of_old), "the configured root counts");
        }
    }
}

#[test]
fn what_follows_a_certificate_goes_by_the_same_trust() {
    let world = super::super::next::tests::World::new();
    let credentials = super::super::Credentials::load(&world.config).unwrap();
    let key = PrivateKey::generate().unwrap();
    let chain = world.certify("acme", &key);
    let next = credentials.replace(&world.config, (&key, &chain), NOW).unwrap();
    assert!(Arc::ptr_eq(&credentials.trust, &next.trust));
}

#[test]
fn what_an_identity_went_by_is_thrown_away_or_it_is_said_which_file_stays() {
    let world = super::super::next::tests::World::new();
    let forget = || super::super::forget_trust(&world.config);
    let path = world.config.certificate.with_file_name(TRUST_FILE);
    fs::write(&path, "of the identity before").unwrap();
    forget().unwrap();
    assert!(!path.exists(), "joining again begins anew");
    forget().unwrap();
    fs::create_dir(&path).unwrap();
    let error = forget().unwrap_err().to_string();
    assert!(error.contains(TRUST_FILE), "{error}");
}

#[test]
fn it_is_shown_whether_the_configured_root_still_counts() {
    let world = World::new();
    let is_replaced = |trust: &Trust| trust.status().unwrap().is_root_replaced;
    let trust = world.trust();
    assert!(!is_replaced(&trust), "there is no bundle");
    trust.take(&world.offer(&world.bundle(1, &[&world.old, &world.new])), NOW);
    assert!(!is_replaced(&trust));
    trust.take(&world.offer(&world.bundle(2, &[&world.new])), NOW);
    assert!(is_replaced(&trust) && is_replaced(&world.trust()), "also after a start");
}
