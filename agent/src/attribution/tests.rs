use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use shared::context::{Interface, InterfaceAddress};

use super::*;
use crate::clock;

/// Ends the process when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_ok() && self.0.wait().is_ok();
    }
}

/// This host as far as the tests need it.
fn host() -> HostContext {
    let address = |ip: &str, prefix_len| InterfaceAddress { ip: ip.parse().unwrap(), prefix_len };
    let lo = Interface {
        name: "lo".into(),
        mac: String::new(),
        addresses: vec![address("127.0.0.1", 8), address("::1", 128)],
    };
    HostContext { interfaces: vec![lo], ..HostContext::default() }
}

/// A clock that stands, so that a busy machine's look-ups do not run out of time.
fn standing() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(clock::now)
}

fn attributor(policy: AttributionPolicy, proc: Proc) -> Attributor {
    let mut attributor = Attributor::new(policy, proc, standing);
    attributor.know(&host());
    attributor
}

fn this_host() -> Attributor {
    attributor(AttributionPolicy::default(), Proc::default())
}

fn alert(src: SocketAddr, dst: SocketAddr, protocol: &'static str) -> Alert<'static> {
    let mut alert = Alert::default();
    alert.observed_at = clock::wall();
    alert.set(Field::SrcIp, src.ip().to_string());
    alert.set(Field::DstIp, dst.ip().to_string());
    alert.set(Field::Protocol, protocol);
    (alert.src_port, alert.dst_port) = (Some(src.port()), Some(dst.port()));
    alert
}

/// Attributes an alert that happened when it was read.
fn attribute(attributor: &mut Attributor, alert: &mut Alert<'_>) -> Value {
    let happened_at = alert.observed_at;
    attributor.attribute(alert, Some(happened_at), clock::now());
    serde_json::from_str(alert.text(Field::Attribution).unwrap()).unwrap()
}

fn elsewhere(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], port))
}

#[test]
fn a_connections_process_is_found_by_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let stream = TcpStream::connect(server).unwrap();
    let client = stream.local_addr().unwrap();
    let inherited = Stdio::from(OwnedFd::from(stream));
    let child = Running(Command::new("sleep").arg("60").stdin(inherited).spawn().unwrap());
    let _accepted = listener.accept().unwrap();

    let mut attributor = this_host();
    let said = attribute(&mut attributor, &mut alert(client, server, "tcp"));
    let src = &said["src"];
    assert_eq!((&src["outcome"], &src["socket"]), (&"found".into(), &"connection".into()));
    assert_eq!((&src["interface"], &src["network"]), (&"lo".into(), &"127.0.0.0/8".into()));
    assert_eq!(src["process"]["pid"], child.0.id());
    assert_eq!(src["process"]["name"], "sleep");
    assert_eq!(src["process"]["user"], src["user"]);
    assert_eq!(src["process"]["parents"][0]["pid"], std::process::id());
    assert_eq!(said["dst"]["process"]["pid"], std::process::id());
    assert_eq!(attributor.counts(), Counts { found: 2, ..Counts::default() });

    // Again, and out of order: from memory, and the same.
    let again = attribute(&mut attributor, &mut alert(server, client, "tcp"));
    assert_eq!((&again["src"], &again["dst"]), (&said["dst"], &said["src"]));
}

#[test]
fn who_listens_is_found_where_the_connection_itself_is_not_there() {
    let six = UdpSocket::bind("[::]:0").unwrap();
    let port = six.local_addr().unwrap().port();
    let mut attributor = this_host();
    let mut dual = alert(elsewhere(9), SocketAddr::from(([127, 0, 0, 1], port)), "udp");
    let said = attribute(&mut attributor, &mut dual);
    let dst = &said["dst"];
    assert_eq!((&dst["outcome"], &dst["socket"]), (&"found".into(), &"listener".into()), "{said}");
    assert_eq!(dst["process"]["pid"], std::process::id());
    assert_eq!(said.get("src"), None, "the other end is not this host's");
}

#[test]
fn each_reason_why_not_is_said_and_counted() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut attributor = this_host();
    let outcome = |said: &Value| said["dst"]["outcome"].as_str().unwrap().to_owned();
    let said = attribute(&mut attributor, &mut alert(elsewhere(1), closed, "tcp"));
    assert_eq!(outcome(&said), "no_socket");
    let said = attribute(&mut attributor, &mut alert(elsewhere(1), closed, "icmp"));
    assert_eq!(outcome(&said), "unsupported");
    let said = attribute(&mut attributor, &mut alert(elsewhere(1), elsewhere(2), "tcp"));
    assert_eq!(said, serde_json::json!({"outcome": "not_local"}));

    let mut old = alert(elsewhere(1), closed, "tcp");
    let happened_at = old.observed_at.saturating_sub(ATTRIBUTION_AGE_MAX + Duration::from_secs(1));
    for happened_at in [Some(happened_at), None] {
        attributor.attribute(&mut old, happened_at, clock::now());
        let said = serde_json::from_str(old.text(Field::Attribution).unwrap()).unwrap();
        assert_eq!(outcome(&said), "stale");
    }
    let counts =
        Counts { no_socket: 1, unsupported: 1, not_local: 1, stale: 2, ..Counts::default() };
    assert_eq!(attributor.counts(), counts);
    let mut nameless = Alert::default();
    attributor.attribute(&mut nameless, None, clock::now());
    assert_eq!(nameless.text(Field::Attribution), None);
    assert_eq!(attributor.counts(), counts, "an alert without a connection is not counted");
}

#[test]
fn a_process_that_started_after_the_alert_is_not_the_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let inherited = Stdio::from(OwnedFd::from(listener));
    let child = Running(Command::new("sleep").arg("60").stdin(inherited).spawn().unwrap());
    let mut attributor = this_host();
    let mut early = alert(elsewhere(1), server, "tcp");
    let happened_at = early.observed_at.saturating_sub(Duration::from_secs(20));
    attributor.attribute(&mut early, Some(happened_at), clock::now());
    let said: Value = serde_json::from_str(early.text(Field::Attribution).unwrap()).unwrap();
    assert_eq!(said["dst"]["outcome"], "gone", "{said} of {}", child.0.id());
    assert_eq!(said["dst"]["socket"], "listener");
}

#[test]
fn beyond_the_number_a_second_the_answer_is_that_there_were_too_many() {
    let policy = AttributionPolicy { is_enabled: true, per_second_max: 2 };
    let mut attributor = attributor(policy, Proc::default());
    for (nth, port) in (1..=10).enumerate() {
        let dst = SocketAddr::from(([127, 0, 0, 1], port));
        let said = attribute(&mut attributor, &mut alert(elsewhere(1), dst, "udp"));
        assert_eq!(said["dst"]["outcome"] == "budget", nth >= 2, "{said}");
    }
    assert_eq!(attributor.counts().budget, 8);
}

#[test]
fn a_look_up_ends_when_its_time_is_over() {
    /// A clock that goes a millisecond at every look.
    fn hasty() -> Instant {
        static LOOKS: AtomicU32 = AtomicU32::new(0);
        standing() + Duration::from_millis(1) * LOOKS.fetch_add(1, Ordering::Relaxed)
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("net")).unwrap();
    let row = "   0: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000 \
               0 0 623 1 0 0\n";
    let other = row.replace(":0001", ":0002");
    std::fs::write(root.path().join("net/udp"), other.repeat(100_000)).unwrap();
    let proc = Proc::at(root.path(), root.path().join("passwd"));
    let mut attributor = Attributor::new(AttributionPolicy::default(), proc, hasty);
    attributor.know(&host());
    let dst = SocketAddr::from(([127, 0, 0, 1], 1));
    let said = attribute(&mut attributor, &mut alert(elsewhere(1), dst, "udp"));
    assert_eq!(said["dst"]["outcome"], "budget");
}

#[test]
fn what_may_not_be_seen_is_said_with_the_user_who_owns_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("net")).unwrap();
    let row = "   0: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 \
               101 0 623 1 0 0\n";
    std::fs::write(root.path().join("net/udp"), row).unwrap();
    std::fs::write(root.path().join("passwd"), "dns:x:101:101::/:/bin/false\n").unwrap();
    let proc = Proc::at(root.path(), root.path().join("passwd"));
    let mut attributor = attributor(AttributionPolicy::default(), proc);
    let dst = SocketAddr::from(([127, 0, 0, 1], 53));
    let said = attribute(&mut attributor, &mut alert(elsewhere(1), dst, "udp"));
    assert_eq!(
        (&said["dst"]["outcome"], &said["dst"]["user"]),
        (&"permission".into(), &"dns".into())
    );
    let bare = tempfile::tempdir().unwrap();
    let mut elsewhere_built = Attributor::new(
        AttributionPolicy::default(),
        Proc::at(bare.path(), bare.path().join("passwd")),
        clock::now,
    );
    elsewhere_built.know(&host());
    let said = attribute(&mut elsewhere_built, &mut alert(elsewhere(1), dst, "udp"));
    assert_eq!(said["dst"]["outcome"], "unsupported", "a system without these tables");
}

#[test]
fn nothing_is_said_where_it_is_turned_off() {
    let policy = AttributionPolicy { is_enabled: false, ..AttributionPolicy::default() };
    let mut attributor = attributor(policy, Proc::default());
    let mut about = alert(elsewhere(1), elsewhere(2), "tcp");
    attributor.attribute(&mut about, Some(Timestamp::ZERO), clock::now());
    assert_eq!(about.text(Field::Attribution), None);
    assert_eq!(attributor.counts(), Counts::default());
}

#[test]
fn the_longest_field_holds_an_answer_about_both_ends() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let server = listener.local_addr().unwrap();
    let stream = TcpStream::connect(server).unwrap();
    let mut both = alert(stream.local_addr().unwrap(), server, "tcp");
    let said = attribute(&mut this_host(), &mut both);
    assert_eq!(said["dst"]["network"], "::1/128");
    assert!(both.text(Field::Attribution).unwrap().len() <= shared::limits::FIELD_BYTES_MAX);
}
