//! Which process holds a socket.
//!
//! The kernel does not say it by the socket: a process holds it as an open file, so the open files of all processes
//! are looked through. What is seen on the way is remembered, and what is remembered is checked before it is
//! believed, so the second look for a socket costs one system call.
//!
//! A walk that runs out of time goes on where it stopped when it is asked next, after a look at the newest
//! processes: a connection that was made just now is theirs more often than not.

use std::{collections::HashMap, fs, io};

use super::Proc;
use crate::limits::{NEW_PROCESSES, OWNERS_MAX};

/// How many open files are looked at between two looks at the clock: some 100 µs.
const FILES_A_LOOK: usize = 64;

/// Who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The process of this number.
    Process(u32),
    /// No process does, as far as all could be seen: it was closed meanwhile.
    Nobody,
    /// One that the agent may not look into.
    Hidden,
    /// Not found within the time.
    OutOfTime,
}

/// An open file of a process.
#[derive(Clone, Copy, Debug)]
struct Place {
    pid: u32,
    file: u32,
}

/// Sockets of which it is known who holds them.
#[derive(Debug, Default)]
pub struct Owners {
    known: HashMap<u64, Place>,
    /// Where a walk goes on that ran out of time: the process below which it has not been.
    resume_below: Option<u32>,
}

/// How far a walk came.
#[derive(Debug, Default)]
struct Walked {
    is_over: bool,
    has_hidden: bool,
}

impl Owners {
    /// Finds the process that holds the socket `inode`.
    pub fn find(&mut self, proc: &Proc, inode: u64, has_time: &mut dyn FnMut() -> bool) -> Owner {
        if let Some(pid) = self.recall(proc, inode) {
            return Owner::Process(pid);
        }
        let Ok(pids) = proc.processes() else { return Owner::Hidden };
        // Where only one's own processes are shown, the first one is not among them.
        let mut walked = Walked { is_over: false, has_hidden: pids.last() != Some(&1) };
        let resume = self.resume_below.take();
        let start = resume.map_or(0, |below| pids.partition_point(|pid| *pid >= below));
        let newest = start.min(NEW_PROCESSES);
        let order = pids[..newest].iter().chain(&pids[start..]).chain(&pids[newest..start]);
        for (nth, pid) in order.copied().enumerate() {
            if self.look_into(proc, pid, inode, &mut walked, has_time) {
                self.resume_below = resume;
                return Owner::Process(pid);
            }
            if walked.is_over {
                // One with so many files that the time never suffices is passed over the next time.
                self.resume_below = if nth < newest { resume } else { Some(pid) };
                return Owner::OutOfTime;
            }
        }
        if walked.has_hidden { Owner::Hidden } else { Owner::Nobody }
    }

    /// Returns who holds the socket, if that is remembered and still true.
    fn recall(&mut self, proc: &Proc, inode: u64) -> Option<u32> {
        let Place { pid, file } = *self.known.get(&inode)?;
        let link = fs::read_link(proc.of(pid, "fd").join(file.to_string()));
        if link.ok().and_then(|link| socket_of(link.to_str()?)) == Some(inode) {
            return Some(pid);
        }
        self.known.remove(&inode);
        None
    }

    /// Remembers the sockets of one process; returns whether `inode` is among them.
    fn look_into(
        &mut self,
        proc: &Proc,
        pid: u32,
        inode: u64,
        walked: &mut Walked,
        has_time: &mut dyn FnMut() -> bool,
    ) -> bool {
        let files = match fs::read_dir(proc.of(pid, "fd")) {
            Ok(files) => files,
            Err(error) => {
                walked.has_hidden |= error.kind() == io::ErrorKind::PermissionDenied;
                return false; // or it has ended meanwhile
            }
        };
        for (nth, entry) in files.enumerate() {
            if nth % FILES_A_LOOK == 0 && !has_time() {
                walked.is_over = true;
                return false;
            }
            let Ok(entry) = entry else { return false };
            let socket =
                fs::read_link(entry.path()).ok().and_then(|link| socket_of(link.to_str()?));
            let file = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(socket), Some(file)) = (socket, file) {
                self.remember(socket, Place { pid, file });
                if socket == inode {
                    return true;
                }
            }
        }
        false
    }

    fn remember(&mut self, socket: u64, place: Place) {
        if self.known.len() >= OWNERS_MAX {
            self.known.clear(); // found again as they are asked for
        }
        self.known.insert(socket, place);
    }
}

/// Returns the number in `socket:[number]`.
fn socket_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_socket_or_something_else() {
        assert_eq!(socket_of("socket:[4711]"), Some(4711));
        for link in ["pipe:[4711]", "/dev/null", "socket:[x]", "socket:[4711"] {
            assert_eq!(socket_of(link), None, "{link}");
        }
    }
}
