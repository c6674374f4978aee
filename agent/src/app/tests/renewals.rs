//! Certificates that are renewed late, and those that came and are refused.

use shared::wire::CLOSE_SUPERSEDED;

use super::*;

impl World {
    /// Lets the coordinator issue certificates.
    fn issues(&self) {
        self.issues_by(&self.authority);
    }

    /// Lets it issue certificates of this authority.
    fn issues_by(&self, authority: &Arc<Authority>) {
        let (tenant, agent) = ("acme".parse().unwrap(), AGENT.parse().unwrap());
        self.stored.lock().unwrap().issuer = Some((Arc::clone(authority), tenant, agent));
    }

    fn key(&self) -> String {
        fs::read_to_string(self.path("agent.key")).unwrap()
    }

    /// Returns whether anything of the pair before is kept.
    fn is_kept(&self) -> bool {
        ["agent.key.before", "agent.pem.before"].into_iter().any(|name| self.path(name).exists())
    }

    fn renewal_error(&self) -> String {
        self.snapshot().and_then(|snapshot| snapshot.renewal_error).unwrap_or_default()
    }
}

/// What coordinators close with who do not know a certificate as one of theirs.
const CLOSE_UNAUTHORISED: u32 = 3;

#[tokio::test]
async fn an_agent_whose_next_certificate_is_refused_goes_back_to_the_one_before_and_says_so() {
    for code in [CLOSE_UNAUTHORISED, CLOSE_SUPERSEDED] {
        let world = World::new();
        world.issues();
        {
            let mut stored = world.stored.lock().unwrap();
            (stored.is_renewal_wanted, stored.refused_with) = (true, Some(code));
        }
        let old = world.key();
        let coordinator = world.start_coordinator();
        let (stop, agent) = world.start_agent(coordinator.address);
        world.write(0..10);
        eventually("it is there again", || world.stored.lock().unwrap().sessions == 2).await;
        assert_eq!((world.key(), world.is_kept()), (old, false));
        eventually("all is stored", || world.stored_count() == 10).await;
        eventually("it is shown", || world.renewal_error().contains("went back")).await;
        assert_eq!(world.stored.lock().unwrap().renewed.len(), 1);
        stop.cancel();
        assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    }
}

#[tokio::test]
async fn an_agent_whose_next_certificate_tls_refuses_goes_back_to_the_one_before() {
    let world = World::new();
    // The agent believes another root, too, and the coordinator does not: of that its next certificate is.
    let other = Arc::new(Authority::create(DOMAIN, clock::wall()).unwrap());
    let roots = format!("{}{}", world.authority.root_pem(), other.root_pem());
    fs::write(world.path("root.pem"), roots).unwrap();
    world.issues_by(&other);
    world.stored.lock().unwrap().is_renewal_wanted = true;
    let old = world.key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it is there again", || world.stored.lock().unwrap().sessions == 2).await;
    assert_eq!((world.key(), world.is_kept()), (old, false));
    assert_eq!(world.stored.lock().unwrap().renewed.len(), 1);
    eventually("it is shown", || world.renewal_error().contains("went back")).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn an_agent_that_is_refused_with_the_certificate_before_too_says_so_as_ever() {
    let world = World::new();
    world.issues();
    {
        let mut stored = world.stored.lock().unwrap();
        (stored.is_renewal_wanted, stored.is_refusing_all) = (true, true);
        stored.refused_with = Some(CLOSE_SUPERSEDED);
    }
    let old = world.key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("the state is shown", || {
        world.snapshot().is_some_and(|it| it.link.state == LinkState::Superseded)
    })
    .await;
    assert_eq!((world.key(), world.is_kept()), (old, false));
    let stored = world.stored.lock().unwrap().renewed.len();
    assert_eq!((stored, world.stored.lock().unwrap().sessions), (1, 1));
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_was_welcomed_is_not_left_and_the_one_before_is_not_kept() {
    let world = World::new();
    world.issues();
    world.stored.lock().unwrap().is_renewal_wanted = true;
    let old = world.key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it connects anew", || world.stored.lock().unwrap().sessions == 2).await;
    eventually("the one before is removed", || !world.is_kept()).await;
    let new = world.key();
    assert_ne!(new, old);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    world.stored.lock().unwrap().refused_with = Some(CLOSE_SUPERSEDED);
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("the state is shown", || {
        world.snapshot().is_some_and(|it| it.link.state == LinkState::Superseded)
    })
    .await;
    assert_eq!(world.key(), new);
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_of_somebody_who_is_not_believed_is_not_taken_and_the_session_goes_on() {
    let world = World::new();
    world.issues_by(&Arc::new(Authority::create(DOMAIN, clock::wall()).unwrap()));
    world.stored.lock().unwrap().is_renewal_wanted = true;
    let old = world.key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it is shown", || world.renewal_error().contains("nobody whom this agent")).await;
    world.write(0..10);
    eventually("all is stored", || world.stored_count() == 10).await;
    assert_eq!((world.key(), world.is_kept()), (old, false));
    assert_eq!(world.stored.lock().unwrap().sessions, 1);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn an_agent_that_was_turned_away_from_renewing_late_comes_again_with_its_next_dial() {
    let world = World::new();
    world.issues();
    {
        let mut stored = world.stored.lock().unwrap();
        (stored.is_ended, stored.turned_away) = (true, 2);
    }
    let old = world.key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..10);
    eventually("all is stored", || world.stored_count() == 10).await;
    assert_ne!(world.key(), old);
    assert_eq!(world.stored.lock().unwrap().turned_away, 0);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}
