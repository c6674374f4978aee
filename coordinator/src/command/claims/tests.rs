use shared::ids::AgentId;

use super::*;
use crate::{
    command::journal::read_after,
    store::engine::{Engine, MemoryEngine},
};

/// One agent's identity, and the hosts that use it.
struct Identity {
    engine: MemoryEngine,
    agent: AgentKey,
}

fn claimant(epoch: u64, boot: u64) -> Claimant {
    let (from, version) = (format!("192.0.2.{boot}:7"), "0.1.0".to_owned());
    Claimant { epoch: Epoch(epoch), boot: BootId(boot), from, version }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ms(seconds * 1_000)
}

impl Identity {
    fn new() -> Self {
        let agent =
            AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) };
        Self { engine: MemoryEngine::new(1), agent }
    }

    fn write<T>(&self, command: impl FnOnce(&mut Staged<'_>) -> T) -> T {
        let mut staged = Staged::new(&self.engine);
        let result = command(&mut staged);
        self.engine.commit(staged.into_changes()).unwrap();
        result
    }

    /// Lets `who` greet while `rival` lives; returns whether it is served.
    fn greets(&self, who: &Claimant, rival: Option<&Claimant>, now: u64) -> bool {
        let admitted = self.write(|staged| admit(staged, self.agent, who, rival, at(now)).unwrap());
        admitted == Admission::Served
    }

    fn standing(&self, who: &Claimant, now: u64) -> Standing {
        let process = (who.epoch, who.boot);
        self.write(|staged| standing(staged, self.agent, process, at(now)).unwrap())
    }

    fn is_to_greet_again(&self, who: &Claimant, now: u64) -> bool {
        self.write(|staged| wait(staged, self.agent, (who.epoch, who.boot), at(now)).unwrap())
    }

    fn resolve(&self, boot: u64, now: u64) -> Result<Conflict, CommandError> {
        let ann = Actor::Person("ann".into());
        self.write(|staged| {
            resolve(staged, self.agent, BootId(boot), "the original", &ann, at(now))
        })
    }

    fn conflict(&self) -> Option<Conflict> {
        (&self.engine as &dyn Engine).load(&ConflictKey(self.agent)).unwrap()
    }

    fn events(&self) -> Vec<String> {
        let entries = read_after(&self.engine as &dyn Engine, 0, 100).unwrap();
        let names = entries.iter().map(|it| match &it.entry.event {
            Event::Identity(event) => {
                format!("{event:?}").split([' ', '{']).next().unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        });
        names.collect()
    }
}

#[test]
fn a_restart_and_a_reconnect_are_no_conflict() {
    let identity = Identity::new();
    assert!(identity.greets(&claimant(1, 1), None, 1));
    assert!(identity.greets(&claimant(1, 2), None, 2), "the process before is gone");
    assert!(identity.greets(&claimant(1, 2), Some(&claimant(1, 2)), 3), "the same process");
    assert!(identity.greets(&claimant(2, 3), None, 4), "a new spool");
    assert_eq!(identity.conflict(), None);
    assert_eq!(identity.standing(&claimant(2, 3), 5), Standing::Holds);
    assert!(identity.events().is_empty());
}

#[test]
fn a_second_living_host_waits_beside_the_first_over_restarts_of_both_until_a_person_decides() {
    let identity = Identity::new();
    let (first, second) = (claimant(1, 1), claimant(2, 2));
    assert!(!identity.greets(&second, Some(&first), 1));
    let context = HostContext { hostname: "copy".into(), ..HostContext::default() };
    identity.write(|staged| {
        describe(staged, identity.agent, (second.epoch, second.boot), &context).unwrap();
    });
    assert_eq!(identity.standing(&first, 2), Standing::Holds);
    assert!(!identity.is_to_greet_again(&second, 30));
    // Whichever comes first after the coordinator was restarted, or after it was restarted itself.
    let (first, second) = (claimant(1, 11), claimant(2, 12));
    assert!(!identity.greets(&second, None, 40));
    assert!(identity.greets(&first, None, 41));
    assert!(!identity.greets(&second, Some(&first), 42));
    let conflict = identity.conflict().unwrap();
    let known: Vec<_> = conflict.hosts.iter().map(|it| it.claimant.boot.0).collect();
    assert_eq!((known, conflict.since), (vec![11, 12], at(1)));
    assert_eq!(conflict.hosts[1].context, Some(context), "which host it is stays known");

    assert!(matches!(
        identity.resolve(99, 50),
        Err(CommandError::Invalid { field: "process", .. })
    ));
    identity.resolve(12, 51).unwrap();
    assert_eq!(identity.standing(&first, 52), Standing::Lost(at(1)));
    assert!(identity.is_to_greet_again(&second, 53));
    assert!(identity.greets(&second, None, 54) && !identity.greets(&first, None, 55));
    assert_eq!(identity.standing(&second, 56), Standing::HoldsAndRenews);
    identity.write(|staged| settle_renewed(staged, identity.agent, at(57)).unwrap());
    assert_eq!((identity.conflict(), identity.is_to_greet_again(&first, 58)), (None, true));
    assert_eq!(identity.events(), ["Contested", "Resolved", "Settled"]);
}

#[test]
fn hosts_with_copies_of_one_spool_are_told_apart_by_their_processes_alone() {
    let identity = Identity::new();
    let (first, copy) = (claimant(1, 1), claimant(1, 2));
    assert!(!identity.greets(&copy, Some(&first), 1));
    assert!(identity.greets(&first, None, 2) && !identity.greets(&copy, None, 3));
    let restarted = claimant(1, 3);
    assert!(!identity.greets(&restarted, None, 4), "nobody can tell which of the two it is");
    assert_eq!(identity.standing(&restarted, 5), Standing::Lost(at(1)));
    identity.resolve(3, 6).unwrap();
    assert!(identity.greets(&restarted, None, 7) && !identity.greets(&first, None, 8));
    assert_eq!(identity.events(), ["Contested", "Contested", "Resolved"]);
}

#[test]
fn a_conflict_is_of_one_agent_and_remembers_a_bounded_number_of_hosts() {
    let identity = Identity::new();
    let first = claimant(1, 1);
    for boot in 2..200 {
        assert!(!identity.greets(&claimant(boot, boot), Some(&first), boot));
    }
    let conflict = identity.conflict().unwrap();
    assert_eq!(conflict.hosts.len(), CLAIMING_HOSTS_MAX);
    let known: Vec<_> = conflict.hosts.iter().map(|it| it.claimant.boot.0).collect();
    assert_eq!(known[0], 1, "the first is served");
    assert!(known.contains(&199), "and the newest is known: {known:?}");
    let tenant = "globex".parse().unwrap();
    let other = AgentKey { tenant, ..identity.agent };
    let met = identity.write(|staged| admit(staged, other, &claimant(2, 2), None, at(9)).unwrap());
    assert_eq!(met, Admission::Served, "L5");
    let missing = identity.write(|staged| {
        resolve(staged, other, BootId(2), "x", &Actor::Coordinator, at(9)).unwrap_err()
    });
    assert!(matches!(missing, CommandError::NotFound { .. }));
}

#[test]
fn a_decided_conflict_whose_other_hosts_are_gone_ends_by_itself_and_an_open_one_stays() {
    let identity = Identity::new();
    let (first, second) = (claimant(1, 1), claimant(2, 2));
    assert!(!identity.greets(&second, Some(&first), 0));
    let later = CONFLICT_QUIET.as_secs();
    assert_eq!(identity.standing(&first, later), Standing::Holds);
    identity.write(|staged| settle_renewed(staged, identity.agent, at(later)).unwrap());
    assert!(identity.conflict().is_some(), "nobody has decided");
    identity.resolve(1, later).unwrap();
    assert_eq!(identity.standing(&first, later), Standing::Holds);
    assert!(identity.conflict().is_none());
}
