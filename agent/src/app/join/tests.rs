use certs::{AGENT_VALIDITY, Authority, Leaf};

use super::*;

/// A folder, and an authority that certifies what its key asks for.
struct World {
    dir: tempfile::TempDir,
    home: Home,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home {
            identity: dir.path().join("identity"),
            stores: vec![dir.path().join("spool"), dir.path().join("held")],
        };
        let authority = Authority::create("signalbox.internal", clock::wall()).unwrap();
        Self { dir, home, authority }
    }

    fn folder(&self) -> Folder {
        Folder::open(&self.home).unwrap()
    }

    /// Writes all parts as they are once a coordinator has answered.
    fn answered(&self) -> Folder {
        self.answered_as(7)
    }

    /// The same, where it has made this host the agent of this number.
    fn answered_as(&self, number: u8) -> Folder {
        let folder = self.folder();
        let key = folder.pending_key().unwrap();
        let leaf = self.leaf_of(number, &key);
        folder.write(ROOT, self.authority.root_pem()).unwrap();
        folder.write(COORDINATOR_FILE, "addresses = []").unwrap();
        folder.write(TOKEN, "secret").unwrap();
        folder.write(CERTIFICATE, &leaf.chain_pem).unwrap();
        folder
    }

    fn leaf(&self, key: &PrivateKey) -> Leaf {
        self.leaf_of(7, key)
    }

    fn leaf_of(&self, number: u8, key: &PrivateKey) -> Leaf {
        let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([number; 16]));
        self.authority.issue_agent(tenant, agent, clock::wall(), AGENT_VALIDITY, key).unwrap()
    }
}

#[test]
fn what_was_broken_off_at_any_step_is_finished_by_the_same_token_and_by_no_other() {
    let last = STEPS.iter().position(|step| matches!(step, Step::Place(CERTIFICATE))).unwrap();
    for steps in 0..=last {
        let world = World::new();
        let folder = world.answered();
        STEPS[..steps].iter().try_for_each(|step| folder.take(*step)).unwrap();
        assert_eq!(folder.finish("another").unwrap(), None);
        let member = folder.finish("secret").unwrap().unwrap();
        assert_eq!(member.tenant, "acme".parse().unwrap());
        let mut names: Vec<_> = fs::read_dir(&folder.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [CERTIFICATE, COORDINATOR_FILE, KEY, ROOT], "{steps}");
        assert_eq!(folder.finish("secret").unwrap(), None, "once");
    }
}

#[test]
fn wherever_joining_again_is_broken_off_each_identity_has_only_its_own_bundle_and_root() {
    let mut found = Vec::new();
    for steps in 0..=STEPS.len() {
        let world = World::new();
        world.answered_as(1).put_in_place().unwrap();
        let folder = world.answered_as(2);
        folder.write(ROOT, &format!("{}\n", world.authority.root_pem())).unwrap();
        let (trust, root) = (folder.placed(tls::TRUST_FILE), folder.placed(ROOT));
        fs::write(&trust, "of the first").unwrap();
        let of_the_first = fs::read(&root).unwrap();

        STEPS[..steps].iter().try_for_each(|step| folder.take(*step)).unwrap();
        let has_its_own = (trust.exists(), fs::read(&root).unwrap() == of_the_first);
        let agent = Credentials::load(&folder.identity()).map(|it| it.agent.as_bytes()[0]).ok();
        match agent {
            Some(1) => assert_eq!(has_its_own, (true, true), "{steps}"),
            Some(_) => assert_eq!(has_its_own, (false, false), "{steps}"),
            None => assert_eq!(folder.finish("secret").unwrap().unwrap().agent.as_bytes()[0], 2),
        }
        found.push(agent);
    }
    found.dedup();
    assert_eq!(found, [Some(1), None, Some(2)], "and neither in between");
}

#[test]
fn a_bundle_that_cannot_be_removed_is_named_and_the_next_identity_waits_for_it() {
    let world = World::new();
    world.answered_as(1).put_in_place().unwrap();
    let folder = world.answered_as(2);
    let trust = folder.placed(tls::TRUST_FILE);
    fs::create_dir(&trust).unwrap();
    let error = format!("{:#}", folder.finish("secret").unwrap_err());
    assert!(error.contains(tls::TRUST_FILE) && error.contains("same token"), "{error}");
    assert!(Credentials::load(&folder.identity()).is_err(), "it does not begin with the bundle");
    fs::remove_dir(&trust).unwrap();
    assert_eq!(folder.finish("secret").unwrap().unwrap().agent, AgentId::from_bytes([2; 16]));
    assert!(Credentials::load(&folder.identity()).is_ok());
}

#[test]
fn whoever_is_told_no_keys_for_policies_keeps_those_that_are_there() {
    let world = World::new();
    let [key, other] = [1, 2].map(|byte| PolicyPublicKey::from_bytes([byte; 32]));
    let folder = world.answered();
    folder.write_policy_keys(&[key]).unwrap();
    folder.put_in_place().unwrap();
    let text = || fs::read_to_string(folder.placed(POLICY_KEYS_FILE)).unwrap();
    assert!(text().contains(&key.to_string()));

    let folder = world.answered();
    folder.write_policy_keys(&[other]).unwrap(); // and that is broken off
    folder.write_policy_keys(&[]).unwrap();
    folder.put_in_place().unwrap();
    assert!(text().contains(&key.to_string()), "{}", text());
}

#[test]
fn a_certificate_for_another_key_is_not_put_in_place() {
    let world = World::new();
    let folder = world.answered();
    let other = PrivateKey::generate().unwrap();
    folder.write(CERTIFICATE, &world.leaf(&other).chain_pem).unwrap();
    assert!(folder.check().is_err());
    assert_eq!(folder.finish("secret").unwrap(), None);
    assert!(!folder.placed(CERTIFICATE).exists());
}

#[test]
fn a_key_whose_certificate_did_not_come_is_used_again_but_not_by_a_copy_of_the_host() {
    let world = World::new();
    let key = world.folder().pending_key().unwrap().to_pem();
    assert_eq!(world.folder().pending_key().unwrap().to_pem(), key);
    let copy = Folder { pending_key: "key.pem.another.part".into(), ..world.folder() };
    assert_ne!(copy.pending_key().unwrap().to_pem(), key);
}

#[test]
fn what_waits_for_one_agent_is_not_sent_by_another() {
    let world = World::new();
    let spool = &world.home.stores[0];
    check_empty(spool).unwrap();
    fs::create_dir(spool).unwrap();
    fs::write(spool.join(STATUS), "{}").unwrap();
    check_empty(spool).unwrap();
    fs::write(spool.join("00000001.segment"), "").unwrap();
    let error = check_empty(spool).unwrap_err().to_string();
    assert!(error.contains("belongs to the agent that this host was"), "{error}");
    drop(world.dir);
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link_that_somebody_put_into_the_folder() {
    let world = World::new();
    let folder = world.folder();
    let target = world.dir.path().join("shadow");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, folder.part(ROOT)).unwrap();
    folder.write(ROOT, "root").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(fs::read_to_string(folder.part(ROOT)).unwrap(), "root");
}
