//! Names of the host and what it asks for the names of others.

use std::net::IpAddr;

/// Longest NetBIOS name of a host, in letters.
const NETBIOS_LETTERS_MAX: usize = 15;
/// The name server that systemd runs on the host itself; it says nothing about where names come from.
const STUB: &str = "127.0.0.53";

/// What Samba's configuration says, on a host that stands among Windows hosts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Samba {
    pub(super) netbios_name: Option<String>,
    pub(super) realm: Option<String>,
}

/// What the host's resolver asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolver {
    pub(super) search: Vec<String>,
    pub(super) servers: Vec<IpAddr>,
}

/// Returns the host's further names: those that the hosts file gives on a line with the host's own
/// name.
pub(super) fn further(hostname: &str, hosts: &str) -> Vec<String> {
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

/// Returns the name with its domain: the host's own if it has one, else the first of its further names that is the
/// host's own with a domain behind it. The name server is not asked, and no domain is guessed.
pub(super) fn fqdn(hostname: &str, names: &[String]) -> String {
    let label = hostname.split('.').next().unwrap_or_default();
    let is_ours = |name: &&str| {
        let of_name = name.split_once('.').filter(|(_, domain)| !domain.is_empty());
        of_name.is_some_and(|(first, _)| first.eq_ignore_ascii_case(label))
    };
    let mut names = [hostname].into_iter().chain(names.iter().map(String::as_str));
    names.find(is_ours).map(str::to_ascii_lowercase).unwrap_or_default()
}

/// Returns the domain that the host belongs to: that of its name, else the one that it joined.
pub(super) fn domain(fqdn: &str, samba: &Samba) -> String {
    match fqdn.split_once('.') {
        Some((_, domain)) => domain.to_owned(),
        None => samba.realm.as_deref().map(str::to_ascii_lowercase).unwrap_or_default(),
    }
}

/// Returns the host's name as Windows' older protocols write it.
pub(super) fn netbios(hostname: &str, samba: &Samba) -> String {
    let label = hostname.split('.').next().unwrap_or_default();
    let name = samba.netbios_name.as_deref().unwrap_or(label);
    name.chars().take(NETBIOS_LETTERS_MAX).flat_map(char::to_uppercase).collect()
}

impl Samba {
    /// Parses `smb.conf`, as far as it is about the host's names.
    pub(super) fn parse(text: &str) -> Self {
        let mut samba = Self::default();
        let mut is_global = true;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                is_global = section.trim_end_matches(']').trim().eq_ignore_ascii_case("global");
            }
            let Some((key, value)) = line.split_once('=').filter(|_| is_global) else { continue };
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            // Samba compares keys without regard to case and spaces.
            let key: String = key.chars().filter(|letter| !letter.is_whitespace()).collect();
            match key.to_ascii_lowercase().as_str() {
                "netbiosname" => samba.netbios_name = value,
                "realm" => samba.realm = value,
                _ => {}
            }
        }
        samba
    }
}

impl Resolver {
    /// Parses `resolv.conf`; where it names only the host's own stub, `behind` is what that asks.
    pub(super) fn of(text: &str, behind: impl FnOnce() -> String) -> Self {
        let own = Self::parse(text);
        let stub: Option<IpAddr> = STUB.parse().ok();
        if own.servers.is_empty() || own.servers.iter().any(|server| Some(*server) != stub) {
            return own;
        }
        let real = Self::parse(&behind());
        if real.servers.is_empty() { own } else { real }
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().map(|word| word.split('%').next().unwrap_or(word));
                    resolver.servers.extend(server.and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last line of its kind counts.
                Some("search" | "domain") => {
                    resolver.search = words
                        .map(|word| word.trim_end_matches('.').to_ascii_lowercase())
                        .filter(|word| !word.is_empty())
                        .collect();
                }
                _ => {}
            }
        }
        resolver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_names_come_from_the_hosts_files_lines_that_name_the_host() {
        let hosts = "127.0.0.1 localhost\n\
                     127.0.1.1 Web1.acme.example web1 www # the shop\n\
                     10.0.0.9 db1.acme.example db1\n\
                     # 10.0.0.8 web1 old\n";
        let found = further("web1", hosts);
        assert_eq!(found, ["web1", "web1.acme.example", "web1", "www"]);
        assert_eq!(further("", hosts), Vec::<String>::new());
        assert_eq!(further("mail", hosts), ["mail"]);
    }

    #[test]
    fn the_full_name_is_the_hosts_own_with_a_domain_and_never_guessed() {
        let names = ["web1", "shop.acme.example", "Web1.acme.example"].map(str::to_owned);
        assert_eq!(fqdn("web1", &names), "web1.acme.example");
        assert_eq!(fqdn("WEB1.corp.example", &names), "web1.corp.example");
        assert_eq!(fqdn("web2", &names), "");
        assert_eq!(fqdn("", &[]), "");
        assert_eq!(domain("web1.acme.example", &Samba::default()), "acme.example");
        assert_eq!(domain("", &Samba::default()), "");
    }

    #[test]
    fn windows_names_are_short_and_in_capitals_or_what_samba_says() {
        let none = Samba::default();
        assert_eq!(netbios("web1.acme.example", &none), "WEB1");
        assert_eq!(netbios("a-very-long-host-name", &none), "A-VERY-LONG-HOS");
        let text = "[global]\n  NetBIOS Name = FILES\n; realm = X\nrealm = CORP.EXAMPLE\n\
                    [share]\n netbios name = no\n";
        let samba = Samba::parse(text);
        assert_eq!(netbios("web1", &samba), "FILES");
        assert_eq!(domain("", &samba), "corp.example");
    }

    #[test]
    fn the_resolvers_servers_and_domains_are_taken_in_their_order() {
        let text = "# made by hand\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\n\
                    domain old.example\nsearch Acme.example. example\noptions ndots:2\n";
        let resolver = Resolver::of(text, || unreachable!("no stub"));
        assert_eq!(resolver.search, ["acme.example", "example"]);
        let servers: Vec<IpAddr> = ["10.0.0.53", "fe80::1"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(resolver.servers, servers);
        let stub = "nameserver 127.0.0.53\nsearch acme.example\n";
        let behind = Resolver::of(stub, || "nameserver 10.0.0.1\nsearch .\n".to_owned());
        assert_eq!(behind.servers, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        let alone = Resolver::of(stub, String::new);
        assert_eq!(alone.servers, [STUB.parse::<IpAddr>().unwrap()]);
    }
}
