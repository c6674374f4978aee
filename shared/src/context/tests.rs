use std::fmt::Write as _;

use super::*;

fn address(ip: &str, prefix_len: u8) -> InterfaceAddress {
    InterfaceAddress { ip: ip.parse().unwrap(), prefix_len }
}

/// A host as an agent of the first form described it.
fn of_first_form() -> HostContext {
    HostContext {
        hostname: "srv1".into(),
        names: vec!["srv1.acme.example".into(), "srv1".into()],
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            addresses: vec![address("10.0.0.2", 24), address("10.0.0.1", 24)],
        }],
        ..HostContext::default()
    }
}

/// A host with something in every field.
fn host() -> HostContext {
    let listener = |port, pid| Listener {
        transport: Transport::Tcp,
        ip: "0.0.0.0".parse().unwrap(),
        port,
        user: "root".into(),
        process: "sshd".into(),
        pid,
    };
    HostContext {
        os: "Debian GNU/Linux 13".into(),
        kernel: "6.12.0".into(),
        arch: "x86_64".into(),
        agent_version: "0.1.0".into(),
        fqdn: "srv1.acme.example".into(),
        netbios_name: "SRV1".into(),
        domain: "acme.example".into(),
        search_domains: vec!["acme.example".into(), "example".into()],
        dns_servers: vec!["10.0.0.53".parse().unwrap()],
        routes: vec![Route {
            network: address("0.0.0.0", 0),
            gateway: Some("10.0.0.254".parse().unwrap()),
            interface: "eth0".into(),
        }],
        boot_id: "b".into(),
        machine_id: "m".into(),
        hardware: Hardware {
            vendor: "QEMU".into(),
            model: "Standard PC".into(),
            processor: "Some CPU".into(),
            processors: 4,
            memory_bytes: 8 << 30,
            virtualization: "kvm".into(),
        },
        listeners: vec![listener(80, 8), listener(22, 7)],
        is_cut: false,
        users: vec![LoggedIn {
            user: "eve".into(),
            terminal: "pts/0".into(),
            from: "10.0.0.9".into(),
            since: Some(Timestamp::from_ms(1_760_000_000_000)),
        }],
        looked_at: Timestamp::from_ms(1_760_000_000_001),
        ..of_first_form()
    }
}

#[test]
fn the_version_depends_on_content_and_not_on_the_order_it_was_found_in() {
    for host in [of_first_form(), host()] {
        let mut shuffled = host.clone();
        shuffled.names.reverse();
        shuffled.interfaces[0].addresses.reverse();
        shuffled.listeners.reverse();
        assert_eq!(host.clone().bounded().version(), shuffled.bounded().version());
        let mut other = host.clone();
        other.interfaces[0].addresses[0].prefix_len = 16;
        assert_ne!(host.bounded().version(), other.bounded().version());
    }
    let mut other = host();
    other.search_domains.reverse(); // here the order says something
    assert_ne!(host().bounded().version(), other.bounded().version());
}

#[test]
fn what_goes_on_just_now_makes_no_version() {
    let mut later = host();
    later.users.clear();
    later.looked_at = Timestamp::MAX;
    later.listeners.iter_mut().for_each(|listener| listener.pid += 1);
    assert_eq!(host().bounded().version(), later.bounded().version());
    let mut other = host();
    other.listeners[0].port = 4444;
    assert_ne!(host().bounded().version(), other.bounded().version());
}

#[test]
fn a_context_of_the_first_form_keeps_its_bytes_and_its_version() {
    let first = of_first_form().bounded();
    let bytes = first.encode().unwrap();
    assert_eq!(hex(&bytes), golden("context_v1.txt", &bytes));
    assert_eq!(first.version(), ContextVersion(0x131d_3f7a_141c_b38e));
    assert_eq!(HostContext::decode_first(&bytes), Ok(first.clone()));
    assert_eq!(host().bounded().in_first_form().hostname, "srv1");
    assert!(host().bounded().in_first_form().is_of_first_form());
    assert!(!host().is_of_first_form());
}

#[test]
fn a_context_of_the_second_form_keeps_its_bytes() {
    let context = host().bounded();
    let bytes = context.encode().unwrap();
    assert_eq!(hex(&bytes), golden("context_v2.txt", &bytes));
    assert_eq!(codec::decode(&bytes), Ok(context));
}

#[test]
fn a_host_with_too_much_of_everything_is_cut_to_its_bounds_and_says_so() {
    let mut large = host();
    large.hostname = "ä".repeat(1_000);
    large.names = (0..1_000).map(|n| format!("{n}{}", "n".repeat(300))).collect();
    large.interfaces = (0..1_000).map(|_| host().interfaces[0].clone()).collect();
    large.search_domains = (0..1_000).map(|n| format!("{n}{}", "d".repeat(300))).collect();
    large.listeners = (0..1_000)
        .map(|port| Listener { port, process: "p".repeat(300), ..host().listeners[0].clone() })
        .collect();
    large.users =
        (0..1_000).map(|_| LoggedIn { from: "f".repeat(300), ..host().users[0].clone() }).collect();
    assert!(!large.is_bounded() && !large.is_cut);
    let cut = large.bounded();
    assert!(cut.is_bounded() && cut.is_cut);
    assert!(cut.encode().unwrap().len() <= CONTEXT_BYTES_MAX);
    assert!(!cut.interfaces.is_empty() && !cut.listeners.is_empty());
    assert!(!host().bounded().is_cut);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// Returns the text of a golden file, which is `bytes` where it is to be made anew.
fn golden(name: &str, bytes: &[u8]) -> String {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{}\n", hex(bytes))).unwrap();
    }
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}
