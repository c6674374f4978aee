//! What the agent knows of its host, gathered from the operating system.
//!
//! A context is gathered at the start and then every [`REFRESH_INTERVAL`]; it travels only when it
//! changed. What the system does not say stays empty.

use std::{path::Path, time::Duration};

use shared::context::{HostContext, Interface, InterfaceAddress};
use sysinfo::{Networks, System};

/// How often the host is looked at. Addresses and names change by a person's hand or a lease; a
/// minute is soon enough for a brief, and the look costs about a millisecond.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Largest hosts file that is read, in bytes: lists of blocked names can have megabytes, and
/// aliases stand on top.
const HOSTS_BYTES_MAX: usize = 64 << 10;

/// Gathers the host's context, cut to its bounds.
#[must_use]
pub fn gather() -> HostContext {
    let hostname = System::host_name().unwrap_or_default();
    HostContext {
        names: names(&hostname, &read_hosts(Path::new("/etc/hosts"))),
        hostname,
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        arch: System::cpu_arch(),
        interfaces: interfaces(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
    .bounded()
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
    networks.iter().map(interface).collect()
}

/// Returns the host's further names: those that the hosts file gives on a line with the host's own
/// name.
fn names(hostname: &str, hosts: &str) -> Vec<String> {
    if hostname.is_empty() {
        return Vec::new();
    }
    let mut names = vec![hostname.to_owned()];
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let on_line: Vec<&str> = line.split_whitespace().skip(1).collect();
        let is_ours = |name: &&str| {
            name.eq_ignore_ascii_case(hostname)
                || name.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(hostname))
        };
        if on_line.iter().any(is_ours) {
            let ours = on_line.into_iter().filter(|name| !name.starts_with("localhost"));
            names.extend(ours.map(str::to_ascii_lowercase));
        }
    }
    names
}

fn read_hosts(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(HOSTS_BYTES_MAX as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(), // a host without the file has no further names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_hosts_context_is_bounded_and_the_same_twice() {
        let context = gather();
        assert!(context.is_bounded());
        assert!(!context.arch.is_empty());
        assert_eq!(context.agent_version, env!("CARGO_PKG_VERSION"));
        assert_eq!(context.version(), gather().version());
    }

    #[test]
    fn further_names_come_from_the_hosts_files_lines_that_name_the_host() {
        let hosts = "127.0.0.1 localhost\n\
                     127.0.1.1 Web1.acme.example web1 www # the shop\n\
                     10.0.0.9 db1.acme.example db1\n\
                     # 10.0.0.8 web1 old\n";
        let found = names("web1", hosts);
        assert_eq!(found, ["web1", "web1.acme.example", "web1", "www"]);
        assert_eq!(names("", hosts), Vec::<String>::new());
        assert_eq!(names("mail", hosts), ["mail"]);
    }

    #[test]
    fn a_host_without_a_hosts_file_has_no_further_names() {
        assert_eq!(read_hosts(Path::new("/nonexistent/hosts")), "");
    }
}
