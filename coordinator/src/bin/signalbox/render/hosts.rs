//! What an agent knew of its host.

use coordinator::api::types::{Context, HostContext, Listener, LoggedIn, Route};
use shared::time::Timestamp;

use super::{cell, cell_or_dash, counted, fields, table};
use crate::text::{ago, bytes, instant, safe};

/// Writes a context: what the host is, then its networks, what listens on it, and who was logged in.
pub(super) fn context(context: &Context, now: Timestamp, columns: usize) -> String {
    let host = &context.context;
    let when = |at| format!("{}, {}", instant(at), ago(now, at));
    let list = |items: &[String]| (!items.is_empty()).then(|| cell(&items.join(" ")));
    let text = |text: &str| (!text.is_empty()).then(|| cell(text));
    let mut out = fields(&[
        ("name", Some(cell(&host.hostname))),
        ("full name", text(&host.fqdn)),
        ("windows", text(&host.netbios_name)),
        ("further", list(&host.names)),
        ("domain", text(&host.domain)),
        ("os", Some(format!("{}, {}, {}", cell(&host.os), cell(&host.kernel), cell(&host.arch)))),
        ("hardware", hardware(host)),
        ("resolver", list(&host.dns_servers)),
        ("searches", list(&host.search_domains)),
        ("machine", text(&host.machine_id)),
        ("boot", text(&host.boot_id)),
        ("version", Some(safe(&context.version))),
        ("received", Some(when(context.received_at))),
        ("confirmed", context.confirmed_at.map(when)),
        ("cut", host.is_cut.then(|| "there was more than fits, and it is left out".to_owned())),
    ]);
    let interfaces = host.interfaces.iter().map(|interface| {
        let addresses = cell(&interface.addresses.join(" "));
        vec![cell(&interface.name), cell_or_dash(interface.mac.as_deref()), addresses]
    });
    part(&mut out, columns, &["INTERFACE", "MAC", "ADDRESSES"], interfaces.collect());
    let routes = host.routes.iter().map(route);
    part(&mut out, columns, &["ROUTE", "VIA", "INTERFACE"], routes.collect());
    let listeners = host.listeners.iter().map(listener);
    part(&mut out, columns, &["LISTENS", "USER", "PROCESS"], listeners.collect());
    let users = host.users.iter().map(user);
    part(&mut out, columns, &["LOGGED IN", "TERMINAL", "FROM", "SINCE"], users.collect());
    if let Some(at) = host.looked_at.filter(|_| !host.users.is_empty()) {
        out.push_str(&format!("as of {}\n", when(at)));
    }
    out
}

fn part(out: &mut String, columns: usize, header: &[&str], rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        out.push_str(&format!("\n{}\n", table(columns, header, rows)));
    }
}

fn hardware(host: &HostContext) -> Option<String> {
    let hardware = &host.hardware;
    let maker = format!("{} {}", hardware.vendor, hardware.model);
    let count = u64::from(hardware.processors);
    let processors = (count > 0).then(|| {
        format!("{} {}", counted(count, "processor", "processors"), cell(&hardware.processor))
    });
    let parts = [
        Some(cell(maker.trim())),
        processors,
        (hardware.memory_bytes > 0).then(|| bytes(hardware.memory_bytes)),
        match hardware.virtualization.as_str() {
            "" => None,
            "none" => Some("not virtual".to_owned()),
            other => Some(format!("in {}", cell(other))),
        },
    ];
    let parts = parts.into_iter().flatten().map(|part| part.trim().to_owned());
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn route(route: &Route) -> Vec<String> {
    vec![cell(&route.network), cell_or_dash(route.gateway.as_deref()), cell(&route.interface)]
}

fn listener(listener: &Listener) -> Vec<String> {
    let ip =
        if listener.ip.contains(':') { format!("[{}]", listener.ip) } else { listener.ip.clone() };
    let process = match (&listener.process, listener.pid) {
        (Some(name), Some(pid)) => format!("{} ({pid})", cell(name)),
        (name, _) => cell_or_dash(name.as_deref()),
    };
    let at = format!("{} {}:{}", cell(&listener.transport), cell(&ip), listener.port);
    vec![at, cell(&listener.user), process]
}

fn user(user: &LoggedIn) -> Vec<String> {
    vec![
        cell(&user.user),
        cell_or_dash(user.terminal.as_deref()),
        cell_or_dash(user.from.as_deref()),
        user.since.map_or_else(|| "-".to_owned(), instant),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::testing::{NOW, parse, plain};

    /// A host with something in every part.
    pub(crate) fn sample() -> Value {
        json!({
            "hostname": "web-3", "names": ["www"], "os": "Debian 13", "kernel": "6.12",
            "arch": "x86_64", "agent_version": "0.1.0",
            "interfaces": [
                {"name": "eth0", "mac": null, "addresses": ["10.0.0.3/24", "fe80::1/64"]}],
            "fqdn": "web-3.acme.example", "netbios_name": "WEB-3", "domain": "acme.example",
            "search_domains": ["acme.example"], "dns_servers": ["10.0.0.53"],
            "routes": [{"network": "0.0.0.0/0", "gateway": "10.0.0.1", "interface": "eth0"}],
            "boot_id": "b7", "machine_id": "m7",
            "hardware": {"vendor": "QEMU", "model": "Standard PC", "processor": "Some CPU",
                "processors": 4, "memory_bytes": 8_589_934_592_u64, "virtualization": "kvm"},
            "listeners": [{"transport": "tcp", "ip": "::", "port": 22, "user": "root",
                "process": "sshd", "pid": 7}],
            "is_cut": false,
            "users": [{"user": "eve\u{1b}[2J", "terminal": "pts/0", "from": "10.0.0.9",
                "since": "2026-01-02T03:03:05.000Z"}],
            "looked_at": "2026-01-02T03:03:05.000Z"
        })
    }

    #[test]
    fn a_host_is_shown_with_its_networks_what_listens_and_who_is_there() {
        let shown: Context = parse(json!({
            "version": "c1", "received_at": "2026-01-02T03:03:05.000Z",
            "confirmed_at": "2026-01-02T03:04:05.000Z", "context": sample()
        }));
        let text = plain(&context(&shown, NOW, 120));
        for part in [
            "  full name  web-3.acme.example\n",
            "  windows    WEB-3\n",
            "  hardware   QEMU Standard PC, 4 processors Some CPU, 8 GiB, in kvm\n",
            "  confirmed  2026-01-02 03:04:05Z, ",
            "\neth0       -    10.0.0.3/24 fe80::1/64\n",
            "\n0.0.0.0/0  10.0.0.1  eth0\n",
            "\ntcp [::]:22  root  sshd (7)\n",
            "eve\\u{1b}[2J  pts/0     10.0.0.9  2026-01-02 03:03:05Z\n",
            "as of 2026-01-02 03:03:05Z",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn what_is_not_known_leaves_no_line() {
        let mut host = sample();
        for list in ["routes", "listeners", "users", "dns_servers", "search_domains"] {
            host[list] = json!([]);
        }
        for text in ["fqdn", "netbios_name", "domain", "boot_id", "machine_id"] {
            host[text] = json!("");
        }
        host["hardware"] = json!({"vendor": "", "model": "", "processor": "", "processors": 0,
            "memory_bytes": 0, "virtualization": ""});
        let shown: Context = parse(json!({
            "version": "c1", "received_at": "2026-01-02T03:03:05.000Z", "confirmed_at": null,
            "context": host
        }));
        let text = plain(&context(&shown, NOW, 120));
        for part in ["full name", "hardware", "confirmed", "ROUTE", "LISTENS", "LOGGED", "as of"] {
            assert!(!text.contains(part), "{part:?} in\n{text}");
        }
    }
}
