//! Trust bundles that come over the connection: taken while the agent runs, and what becomes of the connection.

use certs::{Authority, PolicyKey, certificates_of_pem};
use shared::{
    policy::PolicyDigest,
    trust::{TrustAck, TrustBundle, TrustOffer},
};

use super::*;
use crate::{config::POLICY_KEYS_FILE, status::LinkState, tls::TRUST_FILE};

impl World {
    /// Has a bundle of the roots of these authorities offered; returns what an agent says that takes it.
    fn offers(&self, sequence: u64, roots: &[&Authority]) -> TrustAck {
        let key = PolicyKey::generate().unwrap();
        fs::write(self.path(POLICY_KEYS_FILE), key.public_key().to_string()).unwrap();
        let root = |it: &&Authority| certificates_of_pem(it.root_pem()).unwrap().swap_remove(0);
        let trust_domain = self.authority.trust_domain().to_owned();
        let roots = roots.iter().map(root).collect();
        let bundle = TrustBundle { trust_domain, sequence, roots, distrusted: Vec::new() };
        let envelope = key.sign_trust(&bundle).unwrap();
        let in_force = TrustAck::in_force(sequence, PolicyDigest::of(&envelope));
        self.stored.lock().unwrap().bundles.push_back(TrustOffer { sequence, envelope });
        in_force
    }

    fn told(&self) -> Vec<TrustAck> {
        self.stored.lock().unwrap().trust_acks.clone()
    }
}

#[tokio::test]
async fn a_bundle_is_taken_while_the_agent_runs_and_the_connection_goes_on_that_it_vouches_for() {
    let world = World::new();
    let next = Authority::create(world.authority.trust_domain(), clock::wall()).unwrap();
    let taken = world.offers(3, &[&world.authority, &next]);
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it is taken", || world.told().len() == 2).await;
    assert_eq!(world.told(), [TrustAck::nothing(), taken.clone()]);
    world.write(0..100);
    eventually("all is sent", || world.stored_count() == 100).await;
    assert_eq!(world.stored.lock().unwrap().sessions, 1, "the session goes on");
    eventually("it is shown", || {
        let shown = world.snapshot().and_then(|it| it.trust);
        shown.is_some_and(|it| (it.sequence, it.roots) == (3, 2))
    })
    .await;
    assert!(world.path(TRUST_FILE).exists());
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it says what it has", || world.told().len() == 3).await;
    assert_eq!(world.told()[2], taken);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_coordinator_that_the_bundle_takes_away_is_left_at_once_and_the_spool_keeps_all() {
    let world = World::new();
    let next = Authority::create(world.authority.trust_domain(), clock::wall()).unwrap();
    let taken = world.offers(3, &[&next]);
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it is taken, and the coordinator told", || world.told().len() == 2).await;
    assert_eq!(world.told()[1], taken);
    eventually("it stays away", || {
        world.snapshot().is_some_and(|it| it.link.state == LinkState::Waiting)
    })
    .await;
    world.write(0..100);
    eventually("all is read", || world.read_count() == 100).await;
    assert_eq!(world.stored.lock().unwrap().sessions, 1, "there is no second session");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::GraceExceeded);
}

#[test]
fn a_check_says_that_a_root_counts_for_nothing_that_is_not_in_the_bundle() {
    let world = World::new();
    let next = Authority::create(world.authority.trust_domain(), clock::wall()).unwrap();
    let config = world.config("127.0.0.1:1".parse().unwrap());
    let mut found = Vec::new();
    for (sequence, roots) in [(1, vec![&*world.authority, &next]), (2, vec![&next])] {
        world.offers(sequence, &roots);
        let offer = world.stored.lock().unwrap().bundles.pop_front().unwrap();
        let credentials = Credentials::load(&config.identity).unwrap();
        begin_trust(&config, &credentials);
        let taken = TrustAck::in_force(sequence, PolicyDigest::of(&offer.envelope));
        assert_eq!(credentials.trust.take(&offer, clock::wall()), taken);
        let mut findings = check(&config, clock::wall());
        findings.retain(|finding| finding.part == "trust");
        found.push((findings[0].verdict, findings[0].text.contains("root.pem is none of them")));
    }
    assert_eq!(found, [(Verdict::Ok, false), (Verdict::Warning, true)]);

    // The key of the bundle is lost: it counts on, and a person should put the key back.
    fs::remove_file(world.path(POLICY_KEYS_FILE)).unwrap();
    let mut findings = check(&config, clock::wall());
    findings.retain(|finding| finding.part == "trust");
    let text = &findings[0].text;
    assert!(
        findings[0].verdict == Verdict::Warning && text.contains("bundle 2 counts on"),
        "{text}"
    );
    assert!(text.contains(POLICY_KEYS_FILE), "{text}");
}
