//! A way to the coordinator that may let no UDP through, as some customers' firewalls do.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, bail};

use super::{PORT_DRAWS_MAX, PORTS};

/// Largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// How long its threads wait before they look whether it is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Carries UDP and TCP from a port of its own to another address, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it takes both.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    to: SocketAddr,
    is_udp_blocked: AtomicBool,
    is_over: AtomicBool,
}

impl Relay {
    /// Starts one that lets both through.
    ///
    /// # Errors
    /// The system gives no port.
    pub fn new(to: SocketAddr) -> Result<Self> {
        let (is_udp_blocked, is_over) = Default::default();
        let state = Arc::new(State { to, is_udp_blocked, is_over });
        let (udp, tcp) = bind()?;
        let address = tcp.local_addr()?;
        udp.set_read_timeout(Some(LOOK_INTERVAL))?;
        let (of_udp, of_tcp) = (Arc::clone(&state), Arc::clone(&state));
        thread::spawn(move || of_udp.relay_udp(&udp));
        thread::spawn(move || of_tcp.relay_tcp(&tcp));
        Ok(Self { address, state })
    }

    /// Lets UDP through no more, or again. Nobody is told.
    pub fn block_udp(&self, is_blocked: bool) {
        self.state.is_udp_blocked.store(is_blocked, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.is_over.store(true, Relaxed);
        // Wakes the thread that waits for connections.
        let _gone = TcpStream::connect(self.address).is_err();
    }
}

fn bind() -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..PORT_DRAWS_MAX {
        let address = (Ipv4Addr::LOCALHOST, rand::random_range(PORTS));
        if let (Ok(udp), Ok(tcp)) = (UdpSocket::bind(address), TcpListener::bind(address)) {
            return Ok((udp, tcp));
        }
    }
    bail!("no port is free for both UDP and TCP")
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl State {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Relaxed)
    }

    fn relay_udp(self: &Arc<Self>, socket: &UdpSocket) {
        let mut clients: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while self.goes_on() {
            let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
            if self.is_udp_blocked.load(Relaxed) {
                continue;
            }
            let onward = match clients.entry(from) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let Ok(onward) = self.answer_to(from, socket) else { continue };
                    new.insert(onward)
                }
            };
            // What cannot be sent is lost, as UDP may be.
            let _lost = onward.send(&buffer[..len]).is_err();
        }
    }

    /// Opens the socket behind which a client is, and brings it the answers.
    fn answer_to(
        self: &Arc<Self>,
        client: SocketAddr,
        socket: &UdpSocket,
    ) -> io::Result<UdpSocket> {
        let onward = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        onward.connect(self.to)?;
        onward.set_read_timeout(Some(LOOK_INTERVAL))?;
        let (state, back, from) = (Arc::clone(self), socket.try_clone()?, onward.try_clone()?);
        thread::spawn(move || {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            while state.goes_on() {
                let Ok(len) = from.recv(&mut buffer) else { continue };
                if !state.is_udp_blocked.load(Relaxed) {
                    let _lost = back.send_to(&buffer[..len], client).is_err();
                }
            }
        });
        Ok(onward)
    }

    fn relay_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept()
            && self.goes_on()
        {
            self.join(client);
        }
    }

    /// Carries a connection both ways; nothing, if there is nobody at the other end.
    fn join(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.to) else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let ready = from.set_read_timeout(Some(LOOK_INTERVAL)).and_then(|()| {
                to.set_nodelay(true)?;
                Ok((from.try_clone()?, to.try_clone()?))
            });
            let Ok((from, to)) = ready else { return };
            let state = Arc::clone(self);
            thread::spawn(move || state.carry(from, to));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        use io::{Read as _, Write as _};
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while self.goes_on() {
            let written = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => to.write_all(&buffer[..len]),
                Err(error) if is_for_later(&error) => Ok(()),
                Err(error) => Err(error),
            };
            if written.is_err() {
                break;
            }
        }
        // Either end may be gone already.
        let _gone = [from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)];
    }
}
