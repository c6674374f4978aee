//! Certificates that are renewed late, and those that came and are refused.

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
