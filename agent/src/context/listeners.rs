//! What takes connections and datagrams on the host.
//!
//! TCP's listeners stand before all connections in their table, so the walk ends at the first connection, however many
//! there are. A datagram socket that a client opened for an answer looks like a server's; it has a port of the range
//! that the system gives away, so those are left out: they would come and go with every question to a name server.

use std::ops::RangeInclusive;

use shared::{
    context::{self, Listener},
    limits::CONTEXT_ITEMS_MAX,
};

use crate::proc::{Owner, Owners, Proc, Socket, SocketState, Transport, Users};

/// Ports that the system gives to those who ask for none, where it does not say which.
const GIVEN_AWAY: RangeInclusive<u16> = 32_768..=60_999;

/// Gathers the listeners with the processes that hold them, as far as there is time for those.
pub(super) fn gather(
    proc: &Proc,
    owners: &mut Owners,
    users: &Users,
    has_time: &mut dyn FnMut() -> bool,
) -> Vec<Listener> {
    let range = proc.text("sys/net/ipv4/ip_local_port_range");
    let given_away = range.ok().and_then(|text| parse_range(&text)).unwrap_or(GIVEN_AWAY);
    let mut sockets: Vec<(context::Transport, Socket)> = Vec::new();
    for table in Transport::ALL {
        let transport = match table {
            Transport::Tcp4 | Transport::Tcp6 => context::Transport::Tcp,
            Transport::Udp4 | Transport::Udp6 => context::Transport::Udp,
        };
        let _walk = proc.sockets(table, has_time, &mut |socket| {
            let is_open = socket.state == SocketState::Open;
            let is_clients = transport == context::Transport::Udp
                && given_away.contains(&socket.flow.local.port());
            if is_open && !is_clients {
                sockets.push((transport, socket));
            }
            // One more than is told, so that it is known that there were more.
            let is_at_end = transport == context::Transport::Tcp && !is_open;
            !is_at_end && sockets.len() <= 2 * CONTEXT_ITEMS_MAX
        });
    }
    let listener = |(transport, socket): (context::Transport, Socket)| {
        let process = match owners.find(proc, socket.inode, has_time) {
            Owner::Process(pid) => proc.process(pid, None),
            Owner::Nobody | Owner::Hidden | Owner::OutOfTime => None,
        };
        Listener {
            transport,
            ip: socket.flow.local.ip(),
            port: socket.flow.local.port(),
            user: users.name(socket.uid),
            pid: process.as_ref().map_or(0, |process| process.pid),
            process: process.map_or_else(String::new, |process| process.name),
        }
    };
    sockets.into_iter().map(listener).collect()
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn servers_are_told_and_clients_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let row = |local: &str, state: &str, uid: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 \
                 {uid:>5} 0 0 1 0 0\n"
            )
        };
        let tcp = [row("00000000:0016", "0A", 0), row("0100007F:C001", "01", 0)];
        write("net/tcp", &(tcp.concat() + &row("00000000:0050", "0A", 0)));
        write("net/udp", &(row("00000000:0035", "07", 101) + &row("00000000:9C40", "07", 0)));
        write("sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        let proc = Proc::at(root.path(), root.path().join("passwd"));
        let users = Users::parse("dns:x:101:101::/:/bin/false\n");
        let found = gather(&proc, &mut Owners::default(), &users, &mut || true);
        let shown: Vec<String> = found
            .iter()
            .map(|it| format!("{} {}:{} {}", it.transport.as_str(), it.ip, it.port, it.user))
            .collect();
        assert_eq!(shown, ["tcp 0.0.0.0:22 0", "udp 0.0.0.0:53 dns"]);
        assert!(found.iter().all(|it| it.process.is_empty() && it.pid == 0));
    }

    #[test]
    fn a_range_of_ports_has_two_ends() {
        assert_eq!(parse_range("1024\t65535\n"), Some(1024..=65535));
        assert_eq!(parse_range("1024"), None);
    }
}
