//! What the agent knows of its host, gathered from the operating system.
//!
//! A context is gathered at the start and then every [`REFRESH_INTERVAL`]; [`Watch`] says when it travels. What the
//! system does not say stays empty. Nothing is asked over the network, not even the name server for the host's own
//! name, so a look takes some milliseconds; only to find the processes that listen it may look through all of them,
//! and that has its own bound.

mod listeners;
mod machine;
mod names;
mod routes;
mod sessions;
mod watch;

pub use watch::Watch;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use shared::{
    context::{HostContext, Interface, InterfaceAddress},
    time::Timestamp,
};
use sysinfo::{Networks, System};

use self::names::Resolver;
use crate::{
    limits::OWNERS_TIME_MAX,
    proc::{Owners, Proc, read_text},
};

/// How often the host is looked at. Addresses and names change by a person's hand or a lease; a
/// minute is soon enough for a brief.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Looks at a host; remembers which process holds which socket.
#[derive(Debug)]
pub struct Looker {
    root: PathBuf,
    proc: Proc,
    owners: Owners,
    clock: fn() -> Instant,
}

/// Returns what the host calls itself; empty where it does not say.
#[must_use]
pub fn host_name() -> String {
    System::host_name().unwrap_or_default()
}

impl Looker {
    /// Returns one that looks at this host; `clock` is asked while it looks through processes.
    #[must_use]
    pub fn new(clock: fn() -> Instant) -> Self {
        Self::at("/", clock)
    }

    /// Returns one that looks at the files of a host that lie below `root`.
    fn at(root: impl Into<PathBuf>, clock: fn() -> Instant) -> Self {
        let root = root.into();
        let proc = Proc::at(root.join("proc"), root.join("etc/passwd"));
        Self { root, proc, owners: Owners::default(), clock }
    }

    /// Gathers the host's context, cut to its bounds.
    #[must_use]
    pub fn look(&mut self, now: Timestamp) -> HostContext {
        let hostname = System::host_name().unwrap_or_default();
        let resolver = Resolver::of(&self.text("etc/resolv.conf"), || {
            self.text("run/systemd/resolve/resolv.conf")
        });
        let names = names::further(&hostname, &self.text("etc/hosts"));
        let samba = names::Samba::parse(&self.text("etc/samba/smb.conf"));
        let fqdn = names::fqdn(&hostname, &names);
        let until = (self.clock)() + OWNERS_TIME_MAX;
        let clock = self.clock;
        let users = self.proc.users();
        let mut has_time = || clock() < until;
        let listeners = listeners::gather(&self.proc, &mut self.owners, &users, &mut has_time);
        HostContext {
            domain: names::domain(&fqdn, &samba),
            netbios_name: names::netbios(&hostname, &samba),
            fqdn,
            names,
            os: System::long_os_version().unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
            arch: System::cpu_arch(),
            interfaces: interfaces(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            search_domains: resolver.search,
            dns_servers: resolver.servers,
            routes: self.routes(),
            boot_id: self.text("proc/sys/kernel/random/boot_id").trim().to_owned(),
            machine_id: machine::id(&self.text("etc/machine-id")),
            hardware: machine::hardware(&|path| self.text(path), &|path| self.has(path)),
            listeners,
            is_cut: false,
            users: sessions::gather(&self.root),
            looked_at: now,
            hostname,
        }
        .bounded()
    }

    fn routes(&self) -> Vec<shared::context::Route> {
        let mut found = routes::parse_v4(&self.text("proc/net/route"));
        found.extend(routes::parse_v6(&self.text("proc/net/ipv6_route")));
        found
    }

    /// Returns the beginning of a file; a host without it says nothing.
    fn text(&self, path: &str) -> String {
        read_text(&self.root.join(path)).unwrap_or_default()
    }

    fn has(&self, path: &str) -> bool {
        Path::exists(&self.root.join(path))
    }
}

fn interfaces() -> Vec<Interface> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let interface = |(name, data): (&std::ffi::OsString, &sysinfo::NetworkData)| {
        let mac = data.mac_address();
        let addresses = data.ip_networks().iter();
        Interface {
            name: name.to_string_lossy().into_owned(),
            mac: if mac.is_unspecified() { String::new() } else { mac.to_string() },
            addresses: addresses
                .map(|network| InterfaceAddress { ip: network.addr, prefix_len: network.prefix })
                .collect(),
        }
    };
    networks.iter().map(interface).filter(|interface| !is_containers_end(interface)).collect()
}

/// Returns whether this is the host's end of a container's cable: it comes and goes with the container, and has no
/// address that anybody talks to.
fn is_containers_end(interface: &Interface) -> bool {
    let is_link_local = |address: &InterfaceAddress| match address.ip {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    interface.name.starts_with("veth") && interface.addresses.iter().all(is_link_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn this_hosts_context_is_bounded_and_the_same_twice() {
        let mut looker = Looker::new(clock::now);
        let context = looker.look(Timestamp::from_ms(1));
        assert!(context.is_bounded());
        assert!(!context.arch.is_empty());
        assert_eq!(context.agent_version, env!("CARGO_PKG_VERSION"));
        assert_eq!(context.looked_at, Timestamp::from_ms(1));
        // What other tests listen at comes and goes.
        let still = |mut context: HostContext| {
            context.listeners.clear();
            context.version()
        };
        assert_eq!(still(context), still(looker.look(Timestamp::from_ms(2))));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_listens_on_this_host_is_seen_with_its_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut looker = Looker::new(clock::now);
        // A busy machine may need more than one look to get through all processes.
        let seen = (0..50).find_map(|_| {
            let context = looker.look(Timestamp::ZERO);
            let ours = |found: &&shared::context::Listener| {
                (found.ip, found.port) == (at.ip(), at.port()) && found.pid != 0
            };
            context.listeners.iter().find(ours).cloned()
        });
        let seen = seen.unwrap();
        assert_eq!(seen.pid, std::process::id());
        assert!(!seen.process.is_empty() && !seen.user.is_empty());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn what_the_files_of_a_host_say_of_it_is_gathered_each_from_its_own() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let hostname = host_name();
        let label = hostname.split('.').next().unwrap().to_ascii_lowercase();
        write("etc/hosts", &format!("127.0.1.1 {label}.acme.example {label} www\n"));
        write("etc/samba/smb.conf", "[global]\nnetbios name = FILES\nrealm = CORP.EXAMPLE\n");
        write("etc/resolv.conf", "nameserver 127.0.0.53\n");
        write("run/systemd/resolve/resolv.conf", "nameserver 10.0.0.53\nsearch acme.example\n");
        write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        write("etc/passwd", "dns:x:101:101::/:/bin/false\n");
        write("proc/sys/kernel/random/boot_id", "7d444840-9dc0-41d1-b245-5ffdce74fad2\n");
        write(
            "proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
             eth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
        );
        write(
            "proc/net/udp",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
             0: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101 0 7 \
             1 0 0\n",
        );
        write("proc/meminfo", "MemTotal:        8000000 kB\n");
        write("sys/class/dmi/id/sys_vendor", "A maker\n");
        write("run/systemd/sessions/7", "USER=eve\nSTATE=active\nCLASS=user\nTTY=pts/0\n");
        let context = Looker::at(root.path(), clock::now).look(Timestamp::ZERO);
        assert!(context.names.contains(&"www".to_owned()), "{:?}", context.names);
        assert!(context.fqdn.starts_with(&format!("{label}.")), "{}", context.fqdn);
        assert!(!context.domain.is_empty());
        assert_eq!(context.netbios_name, "FILES");
        assert_eq!(context.search_domains, ["acme.example"]);
        assert_eq!(context.dns_servers, ["10.0.0.53".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(context.boot_id, "7d444840-9dc0-41d1-b245-5ffdce74fad2");
        assert!(!context.machine_id.is_empty() && !context.machine_id.contains("01234567"));
        assert_eq!(context.routes[0].gateway, Some("10.0.2.1".parse().unwrap()));
        let [dns] = context.listeners.as_slice() else { panic!("{:?}", context.listeners) };
        assert_eq!((dns.port, dns.user.as_str()), (53, "dns"));
        assert_eq!(
            (context.hardware.memory_bytes, &*context.hardware.vendor),
            (8_000_000 << 10, "A maker")
        );
        assert_eq!((&*context.users[0].user, &*context.users[0].terminal), ("eve", "pts/0"));
        assert!(!context.os.is_empty() && !context.kernel.is_empty());
        assert_eq!(context.hostname, hostname);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_hosts_interfaces_have_their_networks_and_hardware_addresses() {
        let interfaces = interfaces();
        let loopback = InterfaceAddress { ip: [127, 0, 0, 1].into(), prefix_len: 8 };
        let lo = interfaces.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.addresses.contains(&loopback), "{lo:?}");
        assert_eq!(lo.mac, "", "it has none");
        for interface in &interfaces {
            let said =
                std::fs::read_to_string(format!("/sys/class/net/{}/address", interface.name));
            let said = said.unwrap_or_default();
            let said = said.trim().trim_start_matches("00:00:00:00:00:00");
            assert_eq!(interface.mac, said, "{}", interface.name);
        }
    }

    #[test]
    fn a_host_without_any_of_the_files_has_what_the_system_says() {
        let root = tempfile::tempdir().unwrap();
        let context = Looker::at(root.path(), clock::now).look(Timestamp::ZERO);
        assert!(context.routes.is_empty() && context.listeners.is_empty());
        assert_eq!((context.machine_id, context.boot_id), (String::new(), String::new()));
        assert!(!context.hostname.is_empty());
    }

    #[test]
    fn a_containers_end_of_a_cable_is_left_out() {
        let interface = |name: &str, ips: &[&str]| Interface {
            name: name.into(),
            mac: String::new(),
            addresses: ips
                .iter()
                .map(|ip| InterfaceAddress { ip: ip.parse().unwrap(), prefix_len: 64 })
                .collect(),
        };
        assert!(is_containers_end(&interface("veth3f2a", &["fe80::1"])));
        assert!(is_containers_end(&interface("veth3f2a", &[])));
        assert!(!is_containers_end(&interface("veth3f2a", &["10.0.0.1"])));
        assert!(!is_containers_end(&interface("eth0", &["fe80::1"])));
    }
}
