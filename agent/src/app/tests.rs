#![expect(clippy::disallowed_methods, reason = "a test has no task set of its own")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use certs::{
    AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, Leaf, PrivateKey,
    testing::{RawLeaf, issue_raw},
};
use shared::{
    alert::{Alert, Field, Handling},
    identity::{Identity, Role},
    ids::{Epoch, Lane, Seq},
    ledger::SourceSums,
    recall::{Recall, RecallId, RecallOutcome},
    time::Timestamp,
};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    app::check::{Verdict, check},
    config::{HeldSettings, ListenerIdentity},
    held::{Flushed, Held, HeldConfig},
    limits::POLICY_LOOK_INTERVAL,
    normalise::Kind,
    status::{LinkState, Snapshot},
    uplink::testing::{Coordinator, Stored},
};

mod inputs;
mod policies;
mod renewals;
mod trust;

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_is_written_to_the_file_is_acked_once_and_a_restart_goes_on_behind_it() {
    let world = World::new();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..2_000);
    eventually("all is stored", || world.stored_count() == 2_000).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    assert_eq!(world.stored.lock().unwrap().goodbyes, 1);

    world.write(2_000..2_500); // while the agent is down
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("the rest is stored", || world.stored_count() == 2_500).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    let stored = world.stored.lock().unwrap();
    let mut urgent = (0..2_500).filter(|number| number % 10 == 0).map(line);
    assert!(stored.records[Lane::Urgent.index()].iter().cloned().eq(urgent.by_ref()));
    assert!(stored.context.as_ref().is_some_and(|context| !context.arch.is_empty()));
    let snapshot = Snapshot::load(&world.path("spool/status.json")).unwrap();
    assert_eq!(snapshot.process, ProcessState::Stopped);
    assert_eq!(snapshot.sources[0].records, 500);
    assert!(snapshot.lanes.iter().all(|lane| lane.waiting == 0), "{snapshot:?}");

    // L4: the ledger tells the same, up to the last record.
    let ledger = &stored.ledger;
    assert!(ledger.len() >= 2 && ledger.iter().all(|it| it.imbalances().is_empty()), "{ledger:?}");
    assert!(ledger.windows(2).all(|pair| pair[1].previous == pair[0].hash()));
    let sums = |of: fn(&SourceSums) -> u64| ledger.iter().flat_map(|it| &it.sources).map(of).sum();
    let (read, urgent): (u64, u64) = (sums(|it| it.read), sums(|it| it.sent[0]));
    assert_eq!((read, urgent), (2_500, 250));
    assert_eq!(ledger.last().unwrap().blocks, stored.committed);
}

#[tokio::test]
async fn what_a_device_sends_by_syslog_is_stored_with_what_files_hold() {
    let world = World::new();
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    for (name, input) in [("tcp", Input::Tcp(LOOPBACK)), ("udp", Input::Udp(LOOPBACK))] {
        let kind = Kind::of_product("syslog").unwrap();
        config.sources.push(SourceConfig { name: name.to_owned(), kind, input, utc_offset: None });
    }
    let stop = CancellationToken::new();
    let agent = spawn_agent(config, stop.clone());
    let address = |source: usize| {
        let place = world.snapshot()?.sources.get(source)?.path.to_str()?.to_owned();
        place.split_once("://")?.1.parse::<SocketAddr>().ok()
    };
    let tcp = eventually_some("it listens by TCP", || address(1)).await;
    let udp = eventually_some("it listens by UDP", || address(2)).await;
    world.write(0..10);
    let mut device = TcpStream::connect(tcp).unwrap();
    device.write_all(b"28 <10>1 - gw ids - - - counted24 <10>Nov  2 09:12:33 gw a").unwrap();
    device.write_all(b"<10>out of step\n24 <10>Nov  2 09:12:34 gw b").unwrap();
    let sender = UdpSocket::bind(LOOPBACK).unwrap();
    sender.send_to(b"CEF:0|Acme|Wall|1|4711|Port scan|9|src=10.0.0.5", udp).unwrap();
    eventually("all is stored", || world.stored_count() == 15).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    let stored = world.stored.lock().unwrap();
    let urgent = &stored.records[Lane::Urgent.index()];
    for record in [
        "<10>1 - gw ids - - - counted",
        "<10>Nov  2 09:12:33 gw a",
        "<10>out of step",
        "<10>Nov  2 09:12:34 gw b",
        "CEF:0|Acme|Wall|1|4711|Port scan|9|src=10.0.0.5",
    ] {
        assert!(urgent.iter().any(|stored| stored == record), "{record}: {urgent:?}");
    }
    let sources = Snapshot::load(&world.path("spool/status.json")).unwrap().sources;
    let counts: Vec<_> = sources.iter().map(|it| (it.records, it.malformed, it.dropped)).collect();
    assert_eq!(counts, [(10, 0, 0), (4, 1, 0), (1, 0, 0)]);
}

#[tokio::test]
async fn what_a_policy_folds_arrives_with_its_exact_count_and_its_originals_can_be_recalled() {
    let world = World::new();
    fs::write(world.path("policy.yml"), policy("fold", "expected: 1000/s")).unwrap();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent_with_policy(coordinator.address);
    world.write(0..500);
    eventually("all is read", || world.read_count() == 500).await;
    let rule = world.snapshot().unwrap().policy.unwrap().rules[0].clone();
    assert_eq!((rule.matched, rule.folded), (500, 500));
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);

    let (folded, let_through) = {
        let stored = world.stored.lock().unwrap();
        let handled = stored.handled.iter().map(|(handling, count, rule)| {
            assert_eq!((*handling, rule.as_deref()), (Handling::Folded, Some("r-1")));
            *count
        });
        let counts: Vec<u64> = handled.collect();
        assert!(
            counts.len() <= 5,
            "the first, a worse one, the 10th, the 100th, the rest: {counts:?}"
        );
        assert_eq!(counts.iter().sum::<u64>(), 500, "{counts:?}");

        // L4: the ledger says of each record that it was sent or folded, and under which policy.
        let ledger = &stored.ledger;
        assert!(ledger.iter().all(|it| it.imbalances().is_empty() && it.policy == 1), "{ledger:?}");
        let sources = ledger.iter().flat_map(|it| &it.sources);
        let folded: u64 = sources.flat_map(|it| it.folded.values()).sum();
        assert_eq!(folded, 500 - (counts.len() as u64 - 1), "all but those let through at once");
        (folded, counts.len() as u64)
    };
    let policy = world.snapshot().unwrap().policy.unwrap();
    assert_eq!((policy.uncounted, policy.rules[0].let_through), (0, let_through));

    // L8: the originals of all that was folded can be had.
    let (since, until) = (Timestamp::ZERO, Timestamp::MAX);
    let id = RecallId::first_at(clock::wall());
    let recall = Recall { id, rule: "r-1".to_owned(), since, until, bytes_max: 1 << 20 };
    world.stored.lock().unwrap().recall = Some(recall);
    let (stop, agent) = world.start_agent_with_policy(coordinator.address);
    eventually("it is answered", || !world.stored.lock().unwrap().recall_ends.is_empty()).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    let stored = world.stored.lock().unwrap();
    let end = stored.recall_ends[0];
    assert_eq!((end.records, end.is_complete()), (folded, true));
    let originals: BTreeSet<&String> = stored.recalled.iter().collect();
    assert_eq!(originals.len() as u64, folded, "none is there twice");
    assert!((0..500).map(line).filter(|line| originals.contains(line)).count() as u64 == folded);
}

#[tokio::test]
async fn a_policy_that_cannot_be_taken_lets_everything_through_and_says_so() {
    let world = World::new();
    fs::write(world.path("policy.yml"), policy("fold", "expected: often")).unwrap();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent_with_policy(coordinator.address);
    world.write(0..20);
    eventually("all is stored", || world.stored_count() == 20).await;
    let policy = eventually_some("it is shown", || world.snapshot()?.policy).await;
    assert_eq!(policy.loaded_at, None);
    let error = policy.error.unwrap();
    assert!(error.contains("policy.yml:9:") && error.contains("expected: \"often\""), "{error}");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    let passed = (Handling::Sent, 1, None);
    assert!(world.stored.lock().unwrap().handled.iter().all(|handled| *handled == passed));
}

#[test]
fn a_changed_policy_is_taken_over_and_a_bad_one_leaves_the_one_before_in_force() {
    let world = World::new();
    let path = world.path("policy.yml");
    fs::write(&path, policy("fold", "expected: 7/h")).unwrap();
    let (start, wall) = (clock::now(), clock::wall());
    let config = world.config_with_policy((Ipv4Addr::LOCALHOST, 1).into());
    let (_offer, offered) = watch::channel(None);
    let channel = Channel { offered, word: watch::channel(PolicyWord::default()).0 };
    let whose = ("acme".parse().unwrap(), Epoch(7));
    let mut enforcement = Enforcement::begin(&config, whose, channel, start, wall);
    let first = enforcement.status(start, wall).unwrap();
    assert_eq!((first.version, first.rules.len(), first.error), (1, 1, None));
    let look = |number| start + POLICY_LOOK_INTERVAL * number;
    assert!(enforcement.poll(look(1), wall).is_none(), "nothing has changed");

    fs::write(&path, policy("fold", "expected: often")).unwrap();
    assert!(enforcement.poll(look(1), wall).is_none(), "it is too soon to look again");
    assert!(enforcement.poll(look(2), wall).is_none());
    let bad = enforcement.status(look(2), wall).unwrap();
    assert!(bad.error.is_some() && bad.version == 1 && bad.rules == first.rules);

    fs::write(&path, policy("send", "owner: ada").replace("version: 1", "version: 22")).unwrap();
    let changed = enforcement.poll(look(3), wall).unwrap();
    enforcement.put_in_force(changed, wall);
    let good = enforcement.status(look(3), wall).unwrap();
    assert_eq!((good.version, good.error, &*good.rules[0].action), (22, None, "send"));

    fs::remove_file(&path).unwrap();
    assert!(enforcement.poll(look(4), wall).is_none());
    let gone = enforcement.status(look(4), wall).unwrap();
    assert!(gone.version == 22 && gone.error.unwrap().contains("cannot be read"));
}

#[test]
fn a_policy_that_holds_or_folds_needs_a_place_for_the_originals() {
    let world = World::new();
    let path = world.path("policy.yml");
    let wall = clock::wall();
    for action in ["hold", "fold"] {
        fs::write(&path, policy(action, "expected: 7/h")).unwrap();
        assert!(policy::load(&path, true, wall).is_ok());
        let error = policy::load(&path, false, wall).unwrap_err().to_string();
        assert!(error.contains("nowhere to keep the originals"), "{error}");
    }
    fs::write(&path, policy("send", "owner: ada")).unwrap();
    assert!(policy::load(&path, false, wall).is_ok());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_alert_about_a_connection_of_this_host_says_whose_it_is() {
    let world = World::new();
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    let kind = Kind::of_product("syslog").unwrap();
    let input = Input::Udp(LOOPBACK);
    config.sources.push(SourceConfig { name: "udp".to_owned(), kind, input, utc_offset: None });
    let stop = CancellationToken::new();
    let agent = spawn_agent(config, stop.clone());
    let udp = eventually_some("it listens", || {
        let place = world.snapshot()?.sources.get(1)?.path.to_str()?.to_owned();
        place.split_once("://")?.1.parse::<SocketAddr>().ok()
    })
    .await;
    let server = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let ports = (client.local_addr().unwrap().port(), server.local_addr().unwrap().port());
    let event = format!(
        "CEF:0|Acme|Wall|1|4711|Beacon|9|src=127.0.0.1 spt={} dst=127.0.0.1 dpt={} proto=TCP",
        ports.0, ports.1
    );
    let sender = UdpSocket::bind(LOOPBACK).unwrap();
    eventually("both ends are found", || {
        // A busy machine may need more than one try to be within the time of a look-up.
        sender.send_to(event.as_bytes(), udp).unwrap();
        world.snapshot().is_some_and(|snapshot| snapshot.attribution.found >= 2)
    })
    .await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_coordinator_that_comes_back_gets_what_was_spooled_without_it() {
    let world = World::new();
    let first = world.start_coordinator();
    let (stop, agent) = world.start_agent(first.address);
    world.write(0..100);
    eventually("the first are stored", || world.stored_count() == 100).await;
    first.close();
    world.write(100..200);
    let (address, leaf) = (first.address, world.coordinator_leaf());
    drop(first);
    let second = eventually_some("the port is free again", || {
        Coordinator::try_start(&world.authority, &leaf, Arc::clone(&world.stored), address)
    })
    .await;
    eventually("all is stored", || world.stored_count() == 200).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    second.close();
}

#[tokio::test]
async fn another_agents_certificate_is_no_coordinators_although_the_root_signed_it() {
    let world = World::new();
    let (tenant, agent) = ("acme".parse().unwrap(), AGENT.parse().unwrap());
    let role = Role::Agent { tenant, agent };
    let identity = Identity { trust_domain: DOMAIN.to_owned(), role };
    let mut raw = RawLeaf::of(&identity, clock::wall());
    raw.dns_names = vec!["coordinator".to_owned()];
    let leaf = issue_raw(&world.authority, &raw).unwrap();
    let coordinator = Coordinator::start(&world.authority, &leaf, Arc::clone(&world.stored));
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..10);
    eventually("the refusal is shown", || {
        world.last_error().contains("not a coordinator of trust domain")
    })
    .await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::GraceExceeded);
    assert_eq!(world.stored.lock().unwrap().sessions, 0);
}

#[tokio::test]
async fn a_spool_that_was_set_back_is_shown_with_what_to_do() {
    let world = World::new();
    world.stored.lock().unwrap().committed[0] = Seq::new(1_000_000);
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..10);
    eventually("the state is shown", || {
        world.snapshot().is_some_and(|snapshot| snapshot.link.state == LinkState::SetBack)
    })
    .await;
    assert!(world.last_error().contains("move the folder"), "{}", world.last_error());
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::GraceExceeded);
}

#[tokio::test]
async fn a_spool_that_was_set_back_and_went_on_sends_nothing_and_tells_the_coordinator() {
    let world = World::new();
    world.write(0..100);
    let nobody = UdpSocket::bind(LOOPBACK).unwrap();
    let (stop, agent) = world.start_agent(nobody.local_addr().unwrap());
    eventually("a block of each lane is durable", || {
        world.snapshot().is_some_and(|snapshot| {
            snapshot.lanes.iter().filter(|lane| lane.waiting > 0).count() >= 2
        })
    })
    .await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::GraceExceeded);

    let normal = Lane::Normal.index();
    {
        let mut stored = world.stored.lock().unwrap();
        (stored.committed[normal], stored.checks[normal]) = (Some(Seq::FIRST), Some(0xbad));
    }
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("the coordinator is told", || {
        let stored = world.stored.lock().unwrap();
        stored.set_backs.iter().any(|it| it.lane == Lane::Normal && it.committed == Seq::FIRST)
    })
    .await;
    eventually("the state is shown", || {
        world.snapshot().is_some_and(|snapshot| snapshot.link.state == LinkState::SetBack)
    })
    .await;
    assert_eq!(world.stored_count(), 0);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::GraceExceeded);
}

#[tokio::test]
async fn in_quarantine_an_agent_keeps_all_and_goes_on_at_once_when_it_is_decided() {
    let world = World::new();
    world.stored.lock().unwrap().is_contested = true;
    let coordinator = world.start_coordinator();
    world.write(0..10);
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("what was kept is stored", || world.stored_count() == 10).await;
    assert!(!world.stored.lock().unwrap().is_contested, "it was in quarantine before");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn an_agent_renews_when_the_coordinator_wants_it_though_it_is_not_due() {
    let world = World::new();
    let (tenant, agent) = ("acme".parse().unwrap(), AGENT.parse().unwrap());
    {
        let mut stored = world.stored.lock().unwrap();
        stored.issuer = Some((Arc::clone(&world.authority), tenant, agent));
        stored.is_renewal_wanted = true;
    }
    let key = || fs::read_to_string(world.path("agent.key")).unwrap();
    let old = key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it connects anew", || world.stored.lock().unwrap().sessions == 2).await;
    assert_ne!(key(), old);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn an_agent_that_was_revoked_says_so_keeps_all_and_goes_on_asking() {
    let world = World::new();
    world.stored.lock().unwrap().is_revoking = true;
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..10);
    eventually("the state is shown", || {
        world.snapshot().is_some_and(|snapshot| {
            let waiting: u64 = snapshot.lanes.iter().map(|lane| lane.waiting).sum();
            snapshot.link.state == LinkState::Revoked && waiting > 0
        })
    })
    .await;
    let said = world.last_error();
    assert!(
        said.contains("has revoked this agent") && said.contains("join --again TOKEN"),
        "{said}"
    );
    assert!(world.snapshot().unwrap().link.retry_at.is_some(), "it does not give up");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::GraceExceeded);

    world.stored.lock().unwrap().is_revoking = false;
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("what was kept is stored", || world.stored_count() == 10).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_connection_with_a_fresh_key_and_nothing_is_lost() {
    let day = Duration::from_secs(86_400);
    let world = World::aged(AGENT_VALIDITY * 2 / 3 + day);
    let (tenant, agent) = ("acme".parse().unwrap(), AGENT.parse().unwrap());
    world.stored.lock().unwrap().issuer = Some((Arc::clone(&world.authority), tenant, agent));
    let key = || fs::read_to_string(world.path("agent.key")).unwrap();
    let old = key();
    let coordinator = world.start_coordinator();
    world.write(0..1_000);
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it connects anew", || world.stored.lock().unwrap().sessions == 2).await;
    world.write(1_000..1_500);
    eventually("all is stored", || world.stored_count() == 1_500).await;
    eventually("the next one is shown", || {
        let until = world.snapshot().unwrap().certificate_until;
        until.since(clock::wall()) > AGENT_VALIDITY - day
    })
    .await;
    assert_ne!(key(), old);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    {
        let stored = world.stored.lock().unwrap();
        let expected = (0..1_500).filter(|number| number % 10 != 0).map(line);
        assert!(stored.records[Lane::Normal.index()].iter().cloned().eq(expected));
    }

    // The next start has it, and asks for none.
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it connects", || world.stored.lock().unwrap().sessions == 3).await;
    world.write(1_500..1_510);
    eventually("all is stored", || world.stored_count() == 1_510).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    assert_eq!(world.stored.lock().unwrap().sessions, 3);
}

#[tokio::test]
async fn a_certificate_that_ended_by_the_coordinators_clock_is_renewed_by_an_agent_that_is_behind()
{
    let world = World::new();
    let (tenant, agent) = ("acme".parse().unwrap(), AGENT.parse().unwrap());
    {
        let mut stored = world.stored.lock().unwrap();
        stored.issuer = Some((Arc::clone(&world.authority), tenant, agent));
        stored.is_ended = true;
    }
    let key = || fs::read_to_string(world.path("agent.key")).unwrap();
    let old = key();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..10);
    eventually("all is stored", || world.stored_count() == 10).await;
    assert_ne!(key(), old);
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_certificate_that_is_not_renewed_is_shown_and_used_on() {
    let world = World::aged(AGENT_VALIDITY - Duration::from_secs(86_400 * 5));
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    world.write(0..10);
    let shown = || world.snapshot()?.renewal_error;
    let error = eventually_some("it is shown", shown).await;
    assert!(error.contains("cannot issue certificates now"), "{error}");
    eventually("all is stored", || world.stored_count() == 10).await;
    let snapshot = world.snapshot().unwrap();
    let matters = snapshot.matters(clock::wall());
    assert!(format!("{matters:?}").contains("was not renewed"), "{matters:?}");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_bound_slows_the_sources_says_so_and_loses_nothing() {
    let world = World::new();
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    config.limits.memory_bytes_max = 1 << 10; // less than any process has
    world.write(0..20_000);
    let stop = CancellationToken::new();
    let agent = spawn_agent(config, stop.clone());
    let slowed = || {
        let snapshot = world.snapshot()?;
        (snapshot.limits.at == Some(crate::status::Bound::Memory)).then_some(snapshot)
    };
    let snapshot = eventually_some("the sources are slowed", slowed).await;
    assert!(snapshot.limits.slowed_ms > 0, "{:?}", snapshot.limits);
    assert!(snapshot.render(clock::wall()).contains("AT THE MEMORY'S BOUND"));
    eventually("all is stored", || world.stored_count() == 20_000).await;
    let slowed_ms = world.snapshot().unwrap().limits.slowed_ms;
    assert!(slowed_ms >= 500, "it waits after each read: {slowed_ms} ms");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn what_is_recalled_comes_out_of_the_ring_byte_for_byte() {
    let world = World::new();
    let disk = Arc::new(RealDisk::open(&world.path("held")).unwrap());
    let bounds = HeldConfig { bytes_max: 16 << 20, age_max: Duration::from_secs(3_600), level: 1 };
    let (mut held, _) = Held::open(disk, bounds, 7, None).unwrap();
    let (now, at) = (clock::now(), clock::wall());
    for number in 0..2_000 {
        let rule = if number % 2 == 0 { "even" } else { "odd" };
        let mut alert = Alert::default();
        alert.observed_at = at;
        alert.set(Field::PolicyRule, rule);
        let _flow = held.push(&alert, line(number).as_bytes(), now, at).unwrap();
    }
    assert!(matches!(held.flush(now, at), Flushed::Held));
    held.confirm();
    drop(held);

    let id = RecallId::first_at(at);
    let (since, until) = (Timestamp::ZERO, Timestamp::MAX);
    let recall = Recall { id, rule: "odd".to_owned(), since, until, bytes_max: 1 << 20 };
    world.stored.lock().unwrap().recall = Some(recall);
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    let HeldConfig { bytes_max, age_max, .. } = bounds;
    let (dir, folded_bytes_max) = (world.path("held"), bytes_max);
    config.held = Some(HeldSettings { dir, bytes_max, folded_bytes_max, age_max });
    world.write(0..100);
    let stop = CancellationToken::new();
    let agent = spawn_agent(config, stop.clone());
    eventually("it is answered", || !world.stored.lock().unwrap().recall_ends.is_empty()).await;
    eventually("what is sent is stored, too", || world.stored_count() == 100).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    {
        let mut stored = world.stored.lock().unwrap();
        let wanted = (0..2_000).filter(|number| number % 2 == 1).map(line);
        assert!(stored.recalled.iter().cloned().eq(wanted));
        let end = stored.recall_ends.remove(0);
        assert_eq!((end.id, end.records, end.is_complete()), (id, 1_000, true));
    }
    let snapshot = Snapshot::load(&world.path("spool/status.json")).unwrap();
    assert_eq!(snapshot.held.map(|held| held.records), Some(2_000));

    // Without a ring it says so.
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("it is answered", || !world.stored.lock().unwrap().recall_ends.is_empty()).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    let end = world.stored.lock().unwrap().recall_ends.remove(0);
    assert_eq!((end.outcome, end.records), (RecallOutcome::NoRing, 0));
}

#[tokio::test]
async fn a_second_agent_on_one_spool_is_refused() {
    let world = World::new();
    let coordinator = world.start_coordinator();
    let (stop, agent) = world.start_agent(coordinator.address);
    eventually("the first runs", || world.snapshot().is_some()).await;
    let config = world.config(coordinator.address);
    let error = run(config, Notifier::default(), CancellationToken::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("in use by another process"), "{error:#}");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_check_says_of_each_part_whether_it_works() {
    let world = World::new();
    let config = world.config("127.0.0.1:1".parse().unwrap());
    let verdicts = |config| -> Vec<Verdict> {
        check(config, clock::wall()).into_iter().map(|finding| finding.verdict).collect()
    };
    assert_eq!(verdicts(&config), [Verdict::Ok; 4]);
    assert!(!world.path("spool").exists(), "a check changes nothing");
    fs::remove_file(world.path("eve.json")).unwrap();
    fs::write(world.path("spool"), "a file").unwrap();
    fs::remove_file(world.path("agent.pem")).unwrap();
    let expected = [Verdict::Problem, Verdict::Problem, Verdict::Ok, Verdict::Warning];
    assert_eq!(verdicts(&config), expected);
}

/// Any free port of this host alone.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DOMAIN: &str = "signalbox.internal";
const AGENT: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";

/// An authority, an agent's folder, and what a coordinator has.
struct World {
    dir: tempfile::TempDir,
    authority: Arc<Authority>,
    stored: Arc<Mutex<Stored>>,
}

impl World {
    fn new() -> Self {
        Self::aged(Duration::ZERO)
    }

    /// Returns one in which the agent has had its certificate for so long.
    fn aged(age: Duration) -> Self {
        let then = clock::wall().saturating_sub(age);
        let authority = Arc::new(Authority::create(DOMAIN, then).unwrap());
        let world = Self { dir: tempfile::tempdir().unwrap(), authority, stored: Arc::default() };
        let key = PrivateKey::generate().unwrap();
        let (tenant, agent) = ("acme".parse().unwrap(), AGENT.parse().unwrap());
        let leaf = world.authority.issue_agent(tenant, agent, then, AGENT_VALIDITY, &key).unwrap();
        fs::write(world.path("agent.pem"), &leaf.chain_pem).unwrap();
        write_key(&world.path("agent.key"), &leaf.key_pem);
        fs::write(world.path("root.pem"), world.authority.root_pem()).unwrap();
        fs::write(world.path("eve.json"), "").unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn coordinator_leaf(&self) -> Leaf {
        let key = PrivateKey::generate().unwrap();
        let (names, now) = (AlternativeNames::default(), clock::wall());
        let issued = self.authority.issue_coordinator(
            "coordinator",
            &names,
            now,
            COORDINATOR_VALIDITY,
            &key,
        );
        issued.unwrap()
    }

    fn start_coordinator(&self) -> Coordinator {
        Coordinator::start(&self.authority, &self.coordinator_leaf(), Arc::clone(&self.stored))
    }

    fn config(&self, coordinator: SocketAddr) -> Config {
        let text = format!(
            "[coordinator]\naddresses = [\"{coordinator}\"]\n\
             [identity]\ncertificate = \"agent.pem\"\nkey = \"agent.key\"\n\
             trust_anchor = \"root.pem\"\n\
             [spool]\ndir = \"spool\"\n\
             [[source]]\nname = \"eve\"\nkind = \"suricata_eve\"\npath = \"eve.json\"\n\
             from = \"start\"\n\
             [shutdown]\ngrace = \"2s\"\n"
        );
        Config::parse(&text, self.dir.path()).unwrap()
    }

    fn start_agent(
        &self,
        coordinator: SocketAddr,
    ) -> (CancellationToken, JoinHandle<Result<Outcome>>) {
        let stop = CancellationToken::new();
        let agent = spawn_agent(self.config(coordinator), stop.clone());
        (stop, agent)
    }

    fn start_agent_with_policy(
        &self,
        coordinator: SocketAddr,
    ) -> (CancellationToken, JoinHandle<Result<Outcome>>) {
        let stop = CancellationToken::new();
        let config = self.config_with_policy(coordinator);
        (stop.clone(), spawn_agent(config, stop))
    }

    /// Returns a configuration with a policy's file and a place for what it holds.
    fn config_with_policy(&self, coordinator: SocketAddr) -> Config {
        let (dir, age_max) = (self.path("held"), Duration::from_secs(3_600));
        let (bytes_max, folded_bytes_max) = (16 << 20, 16 << 20);
        let held = Some(HeldSettings { dir, bytes_max, folded_bytes_max, age_max });
        let policy = Some(self.path("policy.yml"));
        Config { policy, held, ..self.config(coordinator) }
    }

    fn write(&self, numbers: std::ops::Range<u64>) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path("eve.json")).unwrap();
        let lines: String = numbers.map(|number| line(number) + "\n").collect();
        file.write_all(lines.as_bytes()).unwrap();
    }

    fn read_count(&self) -> u64 {
        self.snapshot().map_or(0, |snapshot| snapshot.sources[0].records)
    }

    fn stored_count(&self) -> usize {
        self.stored.lock().unwrap().records.iter().map(Vec::len).sum()
    }

    fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::load(&self.path("spool/status.json")).ok()
    }

    fn last_error(&self) -> String {
        self.snapshot().and_then(|snapshot| snapshot.link.last_error).unwrap_or_default()
    }
}

/// Returns a policy whose one rule is about all that [`line`] returns.
fn policy(action: &str, terms: &str) -> String {
    let day = clock::wall().saturating_add(Duration::from_secs(86_400));
    format!(
        "policy: acme\nversion: 1\nowner: soc\n---\ntitle: the noise\nid: r-1\n\
         logsource: {{product: suricata}}\ndetection: {{s: {{rule_uid: 1}}, condition: s}}\n\
         signalbox: {{action: {action}, expires: '{day}', {terms}}}\n"
    )
}

/// Returns an alert of Suricata's; each tenth is of its highest severity.
fn line(number: u64) -> String {
    let severity = if number.is_multiple_of(10) { 1 } else { 2 };
    format!(
        "{{\"timestamp\":\"2025-01-01T00:00:00.000000+0000\",\"event_type\":\"alert\",\
         \"src_ip\":\"10.0.0.1\",\"flow_id\":{number},\"alert\":{{\"signature_id\":1,\
         \"signature\":\"s\",\"severity\":{severity}}}}}"
    )
}

fn write_key(path: &Path, key: &str) {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path).unwrap();
    file.write_all(key.as_bytes()).unwrap();
}

/// Runs an agent, and says it if it ends with an error while a test waits for something else.
fn spawn_agent(config: Config, stop: CancellationToken) -> JoinHandle<Result<Outcome>> {
    tokio::spawn(async move {
        let outcome = run(config, Notifier::default(), stop).await;
        outcome.inspect_err(|error| println!("the agent ended by itself: {error:#}"))
    })
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    eventually_some(what, || holds().then_some(())).await;
}

async fn eventually_some<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    let deadline = clock::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(clock::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
