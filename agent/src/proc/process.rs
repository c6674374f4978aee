//! One process: who, what and since when, and the processes that it comes from.

use std::fs;

use shared::time::Timestamp;

use super::Proc;
use crate::limits::{ANCESTORS_MAX, PROCESS_NAME_BYTES_MAX, PROCESS_PATH_BYTES_MAX};

/// Length of the kernel's tick in milliseconds, as it tells times to programs: a hundredth of a second on every
/// system that agents run on (`USER_HZ`).
const TICK_MS: u64 = 10;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name: at most 15 bytes of what was started, or what it calls itself.
    pub name: String,
    /// The program's file, with ` (deleted)` behind it where that is gone; absent where the agent may not see it.
    pub path: Option<String>,
    /// Number of the user it runs as.
    pub uid: u32,
    /// When it started, to about a second.
    pub started_at: Option<Timestamp>,
    /// What started it, and what started that, and so on.
    pub ancestors: Vec<Ancestor>,
}

/// A process that another comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// What a process's `stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: u32,
    start_ticks: u64,
}

impl Process {
    pub(super) fn read(proc: &Proc, pid: u32, boot_at: Option<Timestamp>) -> Option<Self> {
        let stat = Stat::parse(&proc.text(format!("{pid}/stat")).ok()?)?;
        let uid = effective_uid(&proc.text(format!("{pid}/status")).ok()?)?;
        let path = fs::read_link(proc.of(pid, "exe")).ok();
        let path = path.map(|path| tail(&path.to_string_lossy(), PROCESS_PATH_BYTES_MAX));
        let since_boot_ms = stat.start_ticks.saturating_mul(TICK_MS);
        let started_at =
            boot_at.map(|at| Timestamp::from_ms(at.as_ms().saturating_add(since_boot_ms)));
        let ancestors = ancestors(proc, stat.parent);
        Some(Self { pid, name: stat.name, path, uid, started_at, ancestors })
    }
}

fn ancestors(proc: &Proc, parent: u32) -> Vec<Ancestor> {
    let mut ancestors = Vec::new();
    let mut next = parent;
    while next != 0 && ancestors.len() < ANCESTORS_MAX {
        let stat = proc.text(format!("{next}/stat")).ok().and_then(|text| Stat::parse(&text));
        let Some(stat) = stat else { break };
        ancestors.push(Ancestor { pid: next, name: stat.name });
        next = stat.parent;
    }
    ancestors
}

/// Returns the number of the user as whom the process of this `status` acts.
fn effective_uid(status: &str) -> Option<u32> {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_ascii_whitespace().nth(1)?.parse().ok()
}

impl Stat {
    /// Parses `pid (name) state parent ...`; a name may hold anything, brackets and spaces too.
    fn parse(text: &str) -> Option<Self> {
        let (before, rest) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut words = rest.split_ascii_whitespace().skip(1);
        let parent = words.next()?.parse().ok()?;
        let start_ticks = words.nth(17)?.parse().ok()?;
        let name: String = name.chars().map(visible).collect();
        let end = name.floor_char_boundary(PROCESS_NAME_BYTES_MAX);
        Some(Self { name: name[..end].to_owned(), parent, start_ticks })
    }
}

/// Returns `text`, or only its end where it is too long: of a path that says more. Control characters are replaced.
fn tail(text: &str, bytes_max: usize) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    text[start..].chars().map(visible).collect()
}

fn visible(letter: char) -> char {
    if letter.is_control() { '?' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4711 (a (b) c) S 42 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";

    #[test]
    fn a_stat_says_name_parent_and_start_whatever_the_name_holds() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(stat, Stat { name: "a (b) c".into(), parent: 42, start_ticks: 98_765 });
        let odd = Stat::parse(&STAT.replace("a (b) c", "\u{1b}[2J\n) R 1 (")).unwrap();
        assert_eq!((odd.name.as_str(), odd.parent), ("?[2J?) R 1 (", 42));
        let long = Stat::parse(&STAT.replace("a (b) c", &"ä".repeat(99))).unwrap();
        assert!(long.name.len() <= PROCESS_NAME_BYTES_MAX);
        for end in 0..STAT.len() {
            let _any = Stat::parse(&STAT[..end]); // no panic, wherever it is cut
        }
        assert_eq!(Stat::parse("1 (x) S"), None);
    }

    #[test]
    fn the_user_is_the_one_as_whom_the_process_acts() {
        let status = "Name:\tpasswd\nUid:\t1000\t0\t0\t0\nGid:\t1000\t1000\t1000\t1000\n";
        assert_eq!(effective_uid(status), Some(0));
        assert_eq!(effective_uid("Name:\tx\nUid:\t7\n"), None);
    }

    #[test]
    fn of_a_long_path_the_end_is_kept() {
        let path = format!("/opt/{}/bin/tool", "ä".repeat(300));
        let kept = tail(&path, PROCESS_PATH_BYTES_MAX);
        assert!(kept.len() <= PROCESS_PATH_BYTES_MAX && kept.ends_with("/bin/tool"));
        assert_eq!(tail("/bin/sh", PROCESS_PATH_BYTES_MAX), "/bin/sh");
    }
}
