//! Finds who owns an end of a connection, in the tables of sockets and among the processes.

use std::{
    io,
    time::{Duration, Instant},
};

use shared::time::Timestamp;

use super::{Outcome, Question};
use crate::proc::{
    Flow, Owner, Owners, Proc, Process, Socket, SocketState, Transport, Users, Walk,
};

/// How long names of users and the host's start are believed before they are read again: both change by a person's
/// hand, or when the clock is set.
const FACTS_AGE_MAX: Duration = Duration::from_secs(60);
/// How much later than an alert its process may seem to have started: the host's start is known to the second, and the
/// alert's time is the product's.
const START_SLACK: Duration = Duration::from_secs(2);

/// Whether the connection itself was found, or only who takes connections there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Connection,
    Listener,
}

/// Who owns a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketOwner {
    pub(super) held: Held,
    /// Name of the user who opened it.
    pub(super) user: String,
    /// The process that holds it with its user's name, where that is known.
    pub(super) process: Option<(Process, String)>,
}

/// What a look-up came to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) outcome: Outcome,
    pub(super) owner: Option<SocketOwner>,
}

/// Looks up; remembers which process holds which socket.
#[derive(Debug)]
pub(super) struct Lookup {
    proc: Proc,
    owners: Owners,
    users: Users,
    boot_at: Option<Timestamp>,
    read_at: Option<Instant>,
}

impl Lookup {
    pub(super) fn new(proc: Proc) -> Self {
        let owners = Owners::default();
        Self { proc, owners, users: Users::default(), boot_at: None, read_at: None }
    }

    /// Looks for the owner of an end, as long as there is time. The alert was raised at `happened_at`.
    pub(super) fn run(
        &mut self,
        question: &Question,
        happened_at: Timestamp,
        now: Instant,
        has_time: &mut dyn FnMut() -> bool,
    ) -> Found {
        self.refresh(now);
        let (held, socket) = match self.socket(question, has_time) {
            Ok(found) => found,
            Err(outcome) => return Found { outcome, owner: None },
        };
        let user = self.users.name(socket.uid);
        let (outcome, process) = self.process(socket, happened_at, has_time);
        let process = process.map(|process| {
            let user = self.users.name(process.uid);
            (process, user)
        });
        Found { outcome, owner: Some(SocketOwner { held, user, process }) }
    }

    fn refresh(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FACTS_AGE_MAX;
        if self.read_at.is_none_or(is_old) {
            self.users = self.proc.users();
            self.boot_at = self.proc.boot_at();
            self.read_at = Some(now);
        }
    }

    /// Returns the socket of the connection, else the one that listens where it ends.
    fn socket(
        &self,
        question: &Question,
        has_time: &mut dyn FnMut() -> bool,
    ) -> Result<(Held, Socket), Outcome> {
        let local = question.local;
        let flow = question.remote.map(|remote| Flow { local, remote });
        let names = question.protocol.names().iter();
        let tables = names.flat_map(|name| Transport::candidates(name, local.ip()));
        let (mut listener, mut is_readable, mut is_forbidden) = (None::<Socket>, false, false);
        for transport in tables {
            let mut connection = None;
            let walk = self.proc.sockets(*transport, has_time, &mut |socket| {
                if flow == Some(socket.flow) {
                    connection = Some(socket);
                } else if socket.listens_at(local) {
                    // The one at this very address goes before one at all addresses.
                    let is_closer = listener.is_none_or(|_| socket.flow.local.ip() == local.ip());
                    listener = if is_closer { Some(socket) } else { listener };
                }
                connection.is_none()
            });
            match walk {
                Walk::Stopped | Walk::AtEnd => is_readable = true,
                Walk::OutOfTime => return Err(Outcome::Budget),
                Walk::Unreadable(error) => {
                    is_forbidden |= error.kind() == io::ErrorKind::PermissionDenied;
                }
            }
            if let Some(connection) = connection {
                return Ok((Held::Connection, connection));
            }
        }
        match listener {
            Some(listener) => Ok((Held::Listener, listener)),
            None if is_readable => Err(Outcome::NoSocket),
            None if is_forbidden => Err(Outcome::Permission),
            None => Err(Outcome::Unsupported),
        }
    }

    fn process(
        &mut self,
        socket: Socket,
        happened_at: Timestamp,
        has_time: &mut dyn FnMut() -> bool,
    ) -> (Outcome, Option<Process>) {
        if socket.inode == 0 || socket.state == SocketState::Over {
            return (Outcome::Gone, None);
        }
        let pid = match self.owners.find(&self.proc, socket.inode, has_time) {
            Owner::Process(pid) => pid,
            Owner::Nobody => return (Outcome::Gone, None),
            Owner::Hidden => return (Outcome::Permission, None),
            Owner::OutOfTime => return (Outcome::Budget, None),
        };
        let process = self.proc.process(pid, self.boot_at);
        let latest = happened_at.saturating_add(START_SLACK);
        match process.filter(|process| process.started_at.is_none_or(|at| at <= latest)) {
            Some(process) => (Outcome::Found, Some(process)),
            None => (Outcome::Gone, None),
        }
    }
}
