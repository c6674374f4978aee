use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::{fd::OwnedFd, unix::fs::symlink},
    process::{Child, Command, Stdio},
};

use super::*;

/// Ends the process when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_ok() && self.0.wait().is_ok();
    }
}

fn always() -> impl FnMut() -> bool {
    || true
}

fn find(transport: Transport, matches: impl Fn(&Socket) -> bool) -> Option<Socket> {
    let mut found = None;
    let walk = Proc::default().sockets(transport, &mut always(), &mut |socket| {
        found = matches(&socket).then_some(socket);
        found.is_none()
    });
    assert!(matches!(walk, Walk::Stopped | Walk::AtEnd), "{walk:?}");
    found
}

#[test]
fn sockets_of_this_process_are_found_with_their_owner() {
    let (proc, mut owners) = (Proc::default(), Owners::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    let client = TcpStream::connect(local).unwrap();
    let flow = Flow { local: client.local_addr().unwrap(), remote: local };
    let listening = find(Transport::Tcp4, |socket| socket.listens_at(local)).unwrap();
    let connected = find(Transport::Tcp4, |socket| socket.flow == flow).unwrap();
    assert_eq!(connected.state, SocketState::Connected);
    let udp = UdpSocket::bind("[::1]:0").unwrap();
    let udp_at = udp.local_addr().unwrap();
    let datagrams = find(Transport::Udp6, |socket| socket.listens_at(udp_at)).unwrap();
    for inode in [listening.inode, connected.inode, datagrams.inode, connected.inode] {
        let owner = owners.find(&proc, inode, &mut always());
        assert_eq!(owner, Owner::Process(std::process::id()));
    }
    drop(client);
    assert_ne!(
        owners.find(&proc, connected.inode, &mut always()),
        Owner::Process(std::process::id()),
        "what is remembered is checked"
    );
}

#[test]
fn a_process_is_told_with_its_file_its_user_its_start_and_what_started_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited = Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    let child = Command::new("sleep").arg("60").stdin(inherited).spawn().unwrap();
    let child = Running(child);
    let local = listener.local_addr().unwrap();
    drop(listener);
    let (proc, boot_at) = (Proc::default(), Proc::default().boot_at());
    let inode = find(Transport::Tcp4, |socket| socket.listens_at(local)).unwrap().inode;
    let owner = Owners::default().find(&proc, inode, &mut always());
    assert_eq!(owner, Owner::Process(child.0.id()));

    let process = proc.process(child.0.id(), boot_at).unwrap();
    assert_eq!(process.name, "sleep");
    assert!(process.path.is_some_and(|path| path.starts_with('/')));
    assert_eq!(process.ancestors[0].pid, std::process::id());
    let age = crate::clock::wall().since(process.started_at.unwrap());
    assert!(age.as_secs() < 60, "{age:?}");
    assert!(!proc.users().name(process.uid).is_empty());
    assert_eq!(proc.process(u32::MAX, boot_at), None);
}

/// Lays out a host of which `hidden` cannot be looked into.
fn host(processes: &[(u32, &[u64])]) -> (tempfile::TempDir, Proc) {
    let root = tempfile::tempdir().unwrap();
    for (pid, sockets) in processes {
        let files = root.path().join(pid.to_string()).join("fd");
        fs::create_dir_all(&files).unwrap();
        symlink("/dev/null", files.join("0")).unwrap();
        for (file, socket) in (3..).zip(*sockets) {
            symlink(format!("socket:[{socket}]"), files.join(format!("{file}"))).unwrap();
        }
    }
    let proc = Proc::at(root.path(), root.path().join("passwd"));
    (root, proc)
}

#[test]
fn nobody_holds_a_socket_only_where_all_processes_could_be_seen() {
    let (_root, proc) = host(&[(1, &[]), (7, &[70])]);
    assert_eq!(Owners::default().find(&proc, 99, &mut always()), Owner::Nobody);
    let (_root, others_are_hidden) = host(&[(7, &[70])]);
    let owner = Owners::default().find(&others_are_hidden, 99, &mut always());
    assert_eq!(owner, Owner::Hidden);
}

#[test]
fn a_walk_without_enough_time_gets_to_every_process_in_the_end() {
    let sockets: Vec<[u64; 1]> = (0..300).map(|pid| [1_000 + pid]).collect();
    let processes: Vec<(u32, &[u64])> =
        (1..).zip(&sockets).map(|(pid, sockets)| (pid, sockets.as_slice())).collect();
    let (_root, proc) = host(&processes);
    let mut owners = Owners::default();
    let mut tries = 0;
    let owner = loop {
        tries += 1;
        let mut looks = 0;
        let mut a_hundred = || {
            looks += 1;
            looks <= 100
        };
        // The oldest process: the last that a walk comes to.
        match owners.find(&proc, 1_000, &mut a_hundred) {
            Owner::OutOfTime => assert!(tries < 12),
            owner => break owner,
        }
    };
    assert_eq!((owner, tries > 1), (Owner::Process(1), true));
}

#[test]
fn a_host_without_these_files_knows_nothing() {
    let proc = Proc::at("/nonexistent", "/nonexistent/passwd");
    let walk = proc.sockets(Transport::Tcp4, &mut always(), &mut |_| true);
    assert!(matches!(walk, Walk::Unreadable(error) if error.kind() == io::ErrorKind::NotFound));
    assert_eq!(proc.boot_at(), None);
    assert_eq!(proc.users(), Users::default());
    assert_eq!(Owners::default().find(&proc, 1, &mut always()), Owner::Hidden);
}
