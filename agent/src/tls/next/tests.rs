use certs::{AGENT_VALIDITY, Authority};

use super::*;

pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);
const AGENT: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";

/// An agent's identity on disk, and who certifies it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    pub(crate) config: IdentityConfig,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let [certificate, key, trust_anchor] = ["certificate.pem", "key.pem", "root.pem"].map(path);
        let authority = Authority::create("box.test", NOW).unwrap();
        fs::write(&trust_anchor, authority.root_pem()).unwrap();
        let config = IdentityConfig { certificate, key, trust_anchor };
        let world = Self { folder, authority, config };
        let key = PrivateKey::generate().unwrap();
        let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
        world.write_private(&world.config.key, &key.to_pem());
        world.write_private(&world.config.certificate, &chain);
        world
    }

    fn write_private(&self, path: &Path, text: &str) {
        let like = fs::metadata(self.folder.path()).unwrap();
        platform::write_private(path, text.as_bytes(), &like).unwrap();
    }

    pub(crate) fn certify(&self, tenant: &str, key: &PrivateKey) -> Vec<Vec<u8>> {
        let (tenant, agent) = (tenant.parse().unwrap(), AGENT.parse().unwrap());
        let later = NOW.saturating_add(Duration::from_secs(60));
        let leaf = self.authority.issue_agent(tenant, agent, later, AGENT_VALIDITY, key);
        certs::certificates_of_pem(&leaf.unwrap().chain_pem).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn texts(&self) -> (String, String) {
        let read = |path| fs::read_to_string(path).unwrap();
        (read(&self.config.key), read(&self.config.certificate))
    }
}

const NAMES: [&str; 3] = ["certificate.pem", "key.pem", "root.pem"];
/// With the pair that is kept.
const NAMES_KEPT: [&str; 5] =
    ["certificate.pem", "certificate.pem.before", "key.pem", "key.pem.before", "root.pem"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_next_pair_takes_the_place_of_the_one_before() {
    let world = World::new();
    let old = Credentials::load(&world.config).unwrap();
    let key = PrivateKey::generate().unwrap();
    let chain = world.certify("acme", &key);
    let new = old.replace(&world.config, (&key, &chain), NOW).unwrap();
    assert_eq!(new.not_after, old.not_after);
    assert_eq!(world.texts(), (key.to_pem(), certificates_to_pem(&chain).unwrap()));
    assert_eq!(world.names(), NAMES_KEPT);
    assert!(Credentials::load(&world.config).is_ok());
    assert!(!finish(&world.config).unwrap(), "there is nothing to finish");
}

#[test]
fn an_answer_that_cannot_be_used_changes_nothing() {
    let world = World::new();
    let old = Credentials::load(&world.config).unwrap();
    let before = world.texts();
    let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let refused = |chain: &[Vec<u8>]| {
        let error = old.replace(&world.config, (&key, chain), NOW).unwrap_err();
        assert_eq!((world.texts(), world.names()), (before.clone(), names(&NAMES)));
        error
    };
    assert!(matches!(refused(&world.certify("globex", &key)), ReplaceError::Foreign(_)), "L5");
    assert!(matches!(refused(&world.certify("acme", &other)), ReplaceError::Unusable(_)));
    assert!(matches!(refused(&[vec![1, 2, 3]]), ReplaceError::Certificate(_)));
    assert!(matches!(refused(&[]), ReplaceError::Disbelieved(_)));
}

#[test]
fn a_certificate_of_somebody_who_is_not_believed_takes_no_place_whatever_the_clock_says() {
    let (world, other) = (World::new(), World::new());
    let old = Credentials::load(&world.config).unwrap();
    let before = world.texts();
    let key = PrivateKey::generate().unwrap();
    let foreign = other.certify("acme", &key);
    let own = world.certify("acme", &key);
    let without_issuer = &own[..1];
    let year = Duration::from_secs(365 * 86_400);
    let clocks = [NOW.saturating_sub(year), NOW, NOW.saturating_add(year)];
    for now in clocks {
        for chain in [&foreign[..], without_issuer, &[&own[..1], &foreign[1..]].concat()] {
            let error = old.replace(&world.config, (&key, chain), now).unwrap_err();
            assert!(matches!(error, ReplaceError::Disbelieved(_)), "{error}");
            assert_eq!((world.texts(), world.names()), (before.clone(), names(&NAMES)));
        }
    }
    for now in clocks {
        old.replace(&world.config, (&key, &own), now).unwrap();
    }
}

#[test]
fn the_pair_before_is_kept_until_the_next_was_welcomed_whoever_renews_meanwhile() {
    let world = World::new();
    let before = world.texts();
    let mut credentials = Credentials::load(&world.config).unwrap();
    for _ in 0..3 {
        let key = PrivateKey::generate().unwrap();
        let chain = world.certify("acme", &key);
        credentials = credentials.replace(&world.config, (&key, &chain), NOW).unwrap();
        assert_eq!(world.names(), NAMES_KEPT);
        assert!(is_kept(&world.config) && !finish(&world.config).unwrap());
    }
    let kept = before_of(&world.config);
    crate::tls::check_key_permissions(&kept.key).unwrap();
    let last = world.texts();
    assert_ne!(last, before);
    let back = credentials.go_back(&world.config).unwrap();
    assert_eq!(world.texts(), before, "the last that was welcomed");
    assert_eq!((back.agent, world.names()), (credentials.agent, names(&NAMES)));
    assert!(back.go_back(&world.config).is_err(), "once");
    assert_eq!(world.texts(), before);

    let key = PrivateKey::generate().unwrap();
    back.replace(&world.config, (&key, &world.certify("acme", &key)), NOW).unwrap();
    drop_kept(&world.config).unwrap();
    assert_eq!((world.texts().0, world.names()), (key.to_pem(), names(&NAMES)));
    assert!(!is_kept(&world.config));
    drop_kept(&world.config).unwrap();
}

#[test]
fn a_pair_that_is_kept_of_another_identity_takes_no_place() {
    let world = World::new();
    let credentials = Credentials::load(&world.config).unwrap();
    let kept = before_of(&world.config);
    let key = PrivateKey::generate().unwrap();
    let chain = certificates_to_pem(&world.certify("globex", &key)).unwrap();
    world.write_private(&kept.key, &key.to_pem());
    world.write_private(&kept.certificate, &chain);
    let before = world.texts();
    let error = credentials.go_back(&world.config).unwrap_err();
    assert!(matches!(error, ReplaceError::Foreign(_)), "L5: {error}");
    assert_eq!(world.texts(), before);
    let key = PrivateKey::generate().unwrap();
    credentials.replace(&world.config, (&key, &world.certify("acme", &key)), NOW).unwrap();
    Credentials::load(&world.config).unwrap().go_back(&world.config).unwrap();
    assert_eq!(world.texts(), before, "it gave way to one of this identity");
}

#[test]
fn wherever_keeping_dropping_or_going_back_was_broken_off_one_pair_is_whole() {
    /// What has become of the pair that was kept, and whether the one before is in place after the next start.
    const CASES: [(&str, bool, bool); 5] = [
        ("all", false, true),
        ("the key alone was written", false, false),
        ("the certificate is torn", false, true),
        ("its certificate was removed", false, false),
        ("its key was put back", true, false),
    ];
    for (case, is_back, is_kept_on) in CASES {
        let world = World::new();
        let before = world.texts();
        let old = Credentials::load(&world.config).unwrap();
        let key = PrivateKey::generate().unwrap();
        let chain = world.certify("acme", &key);
        let new = old.replace(&world.config, (&key, &chain), NOW).unwrap();
        let after = world.texts();
        let kept = before_of(&world.config);
        match case {
            "all" => {}
            "the key alone was written" | "its certificate was removed" => {
                fs::remove_file(&kept.certificate).unwrap();
            }
            "the certificate is torn" => {
                world.write_private(&kept.certificate, &before.1[..before.1.len() / 3]);
            }
            _ => fs::rename(&kept.key, &world.config.key).unwrap(),
        }
        assert!(!finish(&world.config).unwrap(), "{case}");
        let expected = if is_back { &before } else { &after };
        assert_eq!(&world.texts(), expected, "{case}");
        assert!(Credentials::load(&world.config).is_ok(), "{case}");
        assert_eq!(is_kept(&world.config), is_kept_on, "{case}");
        assert_eq!(new.go_back(&world.config).is_ok(), case == "all", "{case}");
        assert!(Credentials::load(&world.config).is_ok(), "{case}");
    }
}

#[test]
fn a_next_pair_that_came_before_a_stop_is_taken_and_the_one_before_it_is_kept() {
    let world = World::new();
    let before = world.texts();
    let key = PrivateKey::generate().unwrap();
    let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
    let next = next_of(&world.config);
    world.write_private(&next.key, &key.to_pem());
    world.write_private(&next.certificate, &chain);
    assert!(finish(&world.config).unwrap());
    assert_eq!((world.texts(), world.names()), ((key.to_pem(), chain), names(&NAMES_KEPT)));
    Credentials::load(&world.config).unwrap().go_back(&world.config).unwrap();
    assert_eq!(world.texts(), before);
}

#[test]
fn what_an_identity_was_before_is_forgotten_with_it_and_its_own_pair_is_whole() {
    let world = World::new();
    let old = Credentials::load(&world.config).unwrap();
    let key = PrivateKey::generate().unwrap();
    let chain = world.certify("acme", &key);
    old.replace(&world.config, (&key, &chain), NOW).unwrap();
    // The next renewal was broken off: the only certificate for its key is beside.
    let key = PrivateKey::generate().unwrap();
    let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
    world.write_private(&next_of(&world.config).certificate, &chain);
    world.write_private(&world.config.key, &key.to_pem());
    forget_next(&world.config).unwrap();
    assert_eq!((world.texts(), world.names()), ((key.to_pem(), chain), names(&NAMES)));
    let kept = before_of(&world.config).certificate;
    fs::create_dir(&kept).unwrap();
    let error = forget_next(&world.config).unwrap_err().to_string();
    assert!(error.contains("certificate.pem.before"), "{error}");
}

#[test]
fn the_only_certificate_for_the_key_in_place_is_kept_while_nothing_can_be_loaded() {
    let world = World::new();
    let key = PrivateKey::generate().unwrap();
    let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
    let next = next_of(&world.config);
    world.write_private(&next.certificate, &chain);
    world.write_private(&world.config.key, &key.to_pem());
    let root = fs::read(&world.config.trust_anchor).unwrap();
    fs::write(&world.config.trust_anchor, "mistyped").unwrap();
    assert!(finish(&world.config).is_err());
    fs::write(&world.config.trust_anchor, root).unwrap();
    assert!(finish(&world.config).unwrap());
    assert_eq!(world.texts(), (key.to_pem(), chain));
}

#[test]
fn what_was_to_follow_an_earlier_identity_does_not_follow_another() {
    let world = World::new();
    let before = world.texts();
    let next = next_of(&world.config);
    let key = PrivateKey::generate().unwrap();
    let chain = certificates_to_pem(&world.certify("globex", &key)).unwrap();
    world.write_private(&next.key, &key.to_pem());
    world.write_private(&next.certificate, &chain);
    assert!(!finish(&world.config).unwrap());
    assert_eq!((world.texts(), world.names()), (before, names(&NAMES)));
}

#[test]
fn what_one_renewal_could_not_end_the_next_ends_first() {
    let world = World::new();
    let old = Credentials::load(&world.config).unwrap();
    let key = PrivateKey::generate().unwrap();
    let chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
    world.write_private(&next_of(&world.config).certificate, &chain);
    world.write_private(&world.config.key, &key.to_pem());
    let other = PrivateKey::generate().unwrap();
    assert!(old.replace(&world.config, (&other, &world.certify("acme", &key)), NOW).is_err());
    assert_eq!(world.texts(), (key.to_pem(), chain));
    assert!(Credentials::load(&world.config).is_ok());
}

#[test]
fn wherever_it_was_broken_off_one_pair_is_whole_and_the_next_is_taken_if_it_is() {
    let (key_of, certificate_of) = (|n: usize| n & 1 == 1, |n: usize| n & 2 == 2);
    // Which of the next files are there, whether the key is in place, and whether the certificate is torn.
    for (beside, is_placed, is_torn, is_taken) in [
        (0, false, false, false),
        (1, false, false, false),
        (3, false, true, false),
        (3, false, false, true),
        (2, true, false, true),
    ] {
        let world = World::new();
        let before = world.texts();
        let key = PrivateKey::generate().unwrap();
        let mut chain = certificates_to_pem(&world.certify("acme", &key)).unwrap();
        let next = next_of(&world.config);
        if is_torn {
            chain.truncate(chain.len() / 3);
        }
        if key_of(beside) {
            world.write_private(&next.key, &key.to_pem());
        }
        if certificate_of(beside) {
            world.write_private(&next.certificate, &chain);
        }
        if is_placed {
            world.write_private(&world.config.key, &key.to_pem());
        }
        assert_eq!(finish(&world.config).unwrap(), is_taken, "{beside} {is_placed}");
        let expected = if is_taken { (key.to_pem(), chain) } else { before };
        // Of one whose key was put in place before, by an earlier version, nothing could be kept.
        let kept = if is_taken && !is_placed { &NAMES_KEPT[..] } else { &NAMES };
        assert_eq!((world.texts(), world.names()), (expected, names(kept)));
        assert!(Credentials::load(&world.config).is_ok());
    }
}
