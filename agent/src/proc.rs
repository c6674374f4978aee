//! What Linux says of sockets, processes and users, read with bounds.
//!
//! [`sockets`], [`process`] and [`users`] take texts apart and are pure; [`Owners`] finds the process that holds a
//! socket. All reading goes through [`Proc`], whose folders a test may lay out itself. On other systems the files
//! are not there, and every answer is "nothing known".
//!
//! Nothing here waits: these files are made by the kernel while they are read. What takes long on a host with many
//! sockets or processes is the amount, so every walk asks its caller whether there is time left.

pub mod owners;
pub mod process;
pub mod sockets;
pub mod users;

pub use owners::{Owner, Owners};
pub use process::{Ancestor, Process};
pub use sockets::{Flow, Socket, SocketState, Transport};
pub use users::Users;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use shared::time::Timestamp;

use crate::{
    limits::{PROC_FILE_BYTES_MAX, SOCKET_LINE_BYTES_MAX},
    platform::open_regular,
};

/// How many rows of a table of sockets are read between two looks at the clock: some 100 µs.
const ROWS_A_LOOK: usize = 256;

/// The folders that answers come from.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
    passwd: PathBuf,
}

impl Default for Proc {
    /// This host's own.
    fn default() -> Self {
        Self::at("/proc", "/etc/passwd")
    }
}

/// How the walk over a table of sockets ended.
#[derive(Debug)]
pub enum Walk {
    /// The caller has what it wanted.
    Stopped,
    /// There are no more.
    AtEnd,
    /// The caller's time was over first.
    OutOfTime,
    /// The table cannot be read.
    Unreadable(io::Error),
}

impl Proc {
    /// Returns the folders of a host whose `/proc` lies at `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>, passwd: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), passwd: passwd.into() }
    }

    /// Returns the beginning of the file at `path` below the root, as text.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        read_text(&self.root.join(path))
    }

    /// Hands the sockets of one kind to `visit`, until it returns false or `has_time` does. `visit` is given only
    /// rows that can be read.
    pub fn sockets(
        &self,
        transport: Transport,
        has_time: &mut dyn FnMut() -> bool,
        visit: &mut dyn FnMut(Socket) -> bool,
    ) -> Walk {
        let file = match File::open(self.root.join("net").join(transport.table())) {
            Ok(file) => file,
            Err(error) => return Walk::Unreadable(error),
        };
        let mut lines = BufReader::with_capacity(64 << 10, file);
        let mut line = Vec::with_capacity(SOCKET_LINE_BYTES_MAX);
        for row in 0.. {
            if row % ROWS_A_LOOK == 0 && !has_time() {
                return Walk::OutOfTime;
            }
            line.clear();
            let read = (&mut lines).take(SOCKET_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Walk::Unreadable(error),
            }
            let socket = std::str::from_utf8(&line).ok().and_then(Socket::parse);
            if socket.is_some_and(|socket| !visit(socket)) {
                return Walk::Stopped;
            }
        }
        Walk::AtEnd
    }

    /// Returns the numbers of the processes that can be seen, the newest first as a rule.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?;
        let pid = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        let mut pids: Vec<u32> = entries.filter_map(pid).collect();
        pids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(pids)
    }

    /// Returns the process `pid` with its ancestors, if it is there; `boot_at` is when the host started.
    #[must_use]
    pub fn process(&self, pid: u32, boot_at: Option<Timestamp>) -> Option<Process> {
        Process::read(self, pid, boot_at)
    }

    /// Returns when the host started, by its clock as it goes now.
    #[must_use]
    pub fn boot_at(&self) -> Option<Timestamp> {
        let stat = self.text("stat").ok()?;
        let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(Timestamp::from_ms(seconds.trim().parse::<u64>().ok()?.checked_mul(1_000)?))
    }

    /// Returns the names of the users that the host itself knows.
    #[must_use]
    pub fn users(&self) -> Users {
        // A host without the file has numbers only.
        read_text(&self.passwd).map_or_else(|_| Users::default(), |text| Users::parse(&text))
    }

    /// Returns the path of the file `name` of the process `pid`.
    fn of(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }
}

/// Reads the beginning of a regular file as text; what is no UTF-8 is replaced.
///
/// # Errors
/// Whatever the system reports; `InvalidInput` for what is no regular file: to read a pipe could take for ever.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(PROC_FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns `address` with an IPv4 address as such, where IPv6 carries one.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
