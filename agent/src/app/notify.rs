//! Tells the service manager how the agent is: ready, alive, stopping.
//!
//! The protocol is systemd's: a datagram of lines to the socket that `NOTIFY_SOCKET` names. Where no manager asked for
//! it, nothing is sent. A message that cannot be sent is passed over: the manager then acts as if the agent hung, which
//! is what it is there for.
//!
//! "Alive" is said by a task on the runtime, and only while the pipeline's thread has shown its counters lately: so
//! either of the two threads that hangs lets the watchdog bite.

use std::{convert::Infallible, ffi::OsStr, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    status::{Status, WRITE_INTERVAL},
};

/// How often the manager's line about the agent is renewed where no watchdog asks for more.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long the pipeline may show nothing before it counts as hanging: thirty missed chances, so that a slow sync is
/// none.
const PIPELINE_SILENCE_MAX: Duration = Duration::from_secs(30);

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    #[cfg(unix)]
    socket: Option<std::os::unix::net::UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Returns the way to the manager that listens at `socket` (a path, or behind `@` an abstract name) and restarts
    /// an agent that says nothing for `watchdog`. Without a socket, or one that cannot be reached, nothing is sent.
    #[must_use]
    pub fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        #[cfg(unix)]
        {
            Self { socket: socket.and_then(connect), watchdog }
        }
        #[cfg(not(unix))]
        {
            let _no_such_manager = socket;
            Self { watchdog }
        }
    }

    /// Sends lines; returns whether they were sent.
    fn send(&self, lines: &str) -> bool {
        #[cfg(unix)]
        {
            self.socket.as_ref().is_some_and(|socket| socket.send(lines.as_bytes()).is_ok())
        }
        #[cfg(not(unix))]
        {
            let _nobody_listens = lines;
            false
        }
    }

    fn interval(&self) -> Duration {
        self.watchdog.map_or(INTERVAL, |watchdog| (watchdog / 3).min(INTERVAL)).max(WRITE_INTERVAL)
    }

    /// Says that the agent is ready, then that it is alive and what it does, and at `stop` that it stops; then waits
    /// to be dropped.
    ///
    /// # Cancel safety
    /// Cancel-safe: each message is sent whole and at once.
    pub(super) async fn run(self, status: Arc<Status>, stop: CancellationToken) -> Infallible {
        self.send("READY=1");
        loop {
            let silence = clock::now().duration_since(status.updated_at());
            if silence < PIPELINE_SILENCE_MAX {
                self.send(&format!("WATCHDOG=1\nSTATUS={}", status.line()));
            } else {
                self.send("STATUS=the pipeline hangs");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.interval()) => {}
            }
        }
        self.send("STOPPING=1\nSTATUS=stopping: waiting for the coordinator's acknowledgements");
        std::future::pending().await
    }
}

#[cfg(unix)]
fn connect(name: &OsStr) -> Option<std::os::unix::net::UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
    // A manager that does not read must not hold the agent up.
    socket.set_nonblocking(true).ok()?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = name.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
        socket.connect_addr(&address).ok()?;
        return Some(socket);
    }
    socket.connect(name).ok()?;
    Some(socket)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use tokio::time::timeout;

    use super::*;
    use crate::status::Facts;

    fn board() -> Arc<Status> {
        Arc::new(Status::new(Facts {
            tenant: "acme".parse().unwrap(),
            agent: "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().unwrap(),
            epoch: shared::ids::Epoch(7),
            certificate_from: shared::time::Timestamp::ZERO,
            certificate_until: shared::time::Timestamp::from_ms(1_800_000_000_000),
            spool_dir: "spool".into(),
            spool_bytes_max: 1 << 30,
            spool_damage: 0,
        }))
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_manager_hears_that_the_agent_is_ready_alive_and_stopping() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str()), Some(Duration::from_secs(6)));
        assert_eq!(notifier.interval(), Duration::from_secs(2));
        let stop = CancellationToken::new();
        let mut run = std::pin::pin!(notifier.run(board(), stop.clone()));
        assert!(timeout(Duration::ZERO, &mut run).await.is_err());
        assert_eq!(heard(&manager), "READY=1");
        let alive = heard(&manager);
        assert!(alive.starts_with("WATCHDOG=1\nSTATUS=connecting"), "{alive}");
        stop.cancel();
        assert!(timeout(Duration::ZERO, &mut run).await.is_err());
        assert!(heard(&manager).starts_with("STOPPING=1\n"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_reached_by_its_name() {
        use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};
        let name = format!("signalbox-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(OsStr::new(&format!("@{name}"))), None);
        assert!(notifier.send("READY=1"));
        assert_eq!(heard(&manager), "READY=1");
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        assert!(!Notifier::default().send("READY=1"));
        assert!(!Notifier::new(Some(OsStr::new("/not/there")), None).send("READY=1"));
    }
}
