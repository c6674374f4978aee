//! Who is logged in: what systemd's login manager keeps, else the older list `utmp`.
//!
//! # Formats
//! A session of systemd is a file of `KEY=value` lines; `utmp` is a row of records of 384 bytes, of which those of type
//! 7 are users: terminal at 8 (32 bytes), user at 44 (32 bytes), host at 76 (256 bytes), seconds at 340.

use std::{fs, path::Path};

use shared::{context::LoggedIn, limits::CONTEXT_ITEMS_MAX, time::Timestamp};

use crate::{limits::PROC_FILE_BYTES_MAX, proc::read_text};

const RECORD_BYTES: usize = 384;
const USER_PROCESS: u16 = 7;

/// Gathers who is logged in, from the files below `root`.
pub(super) fn gather(root: &Path) -> Vec<LoggedIn> {
    let sessions = fs::read_dir(root.join("run/systemd/sessions")).into_iter().flatten();
    let sessions = sessions.filter_map(Result::ok).take(4 * CONTEXT_ITEMS_MAX);
    let of_systemd: Vec<LoggedIn> =
        sessions.filter_map(|entry| session(&read_text(&entry.path()).ok()?)).collect();
    if !of_systemd.is_empty() {
        return of_systemd;
    }
    let bytes = fs::read(root.join("run/utmp")).unwrap_or_default();
    utmp(&bytes[..bytes.len().min(PROC_FILE_BYTES_MAX)])
}

/// Parses a session's file; those of services and login screens are nobody's.
fn session(text: &str) -> Option<LoggedIn> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let is_over = value("STATE").is_some_and(|state| state == "closing");
    if is_over || value("CLASS")? != "user" {
        return None;
    }
    let since = value("REALTIME").and_then(|micros| micros.parse::<u64>().ok());
    Some(LoggedIn {
        user: value("USER")?,
        terminal: value("TTY").unwrap_or_default(),
        from: value("REMOTE_HOST").unwrap_or_default(),
        since: since.map(|micros| Timestamp::from_ms(micros / 1_000)),
    })
}

/// Parses the older list.
fn utmp(bytes: &[u8]) -> Vec<LoggedIn> {
    let user = |record: &[u8]| {
        let kind = u16::from_ne_bytes(*record.first_chunk()?);
        let text = |from: usize, len: usize| {
            let bytes = record[from..from + len].split(|byte| *byte == 0).next();
            String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
        };
        let seconds = u32::from_ne_bytes(*record[340..].first_chunk()?);
        let user = text(44, 32);
        (kind == USER_PROCESS && !user.is_empty()).then(|| LoggedIn {
            user,
            terminal: text(8, 32),
            from: text(76, 256),
            since: Some(Timestamp::from_ms(u64::from(seconds) * 1_000)),
        })
    };
    bytes.chunks_exact(RECORD_BYTES).filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "# This is private data. Do not parse.\nUID=1000\nUSER=eve\n\
                           ACTIVE=1\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nTTY=pts/0\n\
                           REMOTE_HOST=10.0.0.9\nREALTIME=1760000000000000\n";

    fn eve() -> LoggedIn {
        LoggedIn {
            user: "eve".into(),
            terminal: "pts/0".into(),
            from: "10.0.0.9".into(),
            since: Some(Timestamp::from_ms(1_760_000_000_000)),
        }
    }

    #[test]
    fn a_users_session_says_who_where_and_since_when() {
        assert_eq!(session(SESSION), Some(eve()));
        assert_eq!(session(&SESSION.replace("CLASS=user", "CLASS=greeter")), None);
        assert_eq!(session(&SESSION.replace("=active", "=closing")), None);
        let bare = session("USER=root\nCLASS=user\n").unwrap();
        assert_eq!((bare.terminal.as_str(), bare.since), ("", None));
    }

    #[test]
    fn the_older_list_is_read_record_by_record_where_there_are_no_sessions() {
        let mut record = vec![0; RECORD_BYTES];
        record[..2].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        record[8..13].copy_from_slice(b"pts/0");
        record[44..47].copy_from_slice(b"eve");
        record[76..84].copy_from_slice(b"10.0.0.9");
        record[340..344].copy_from_slice(&1_760_000_000_u32.to_ne_bytes());
        let mut over = record.clone();
        over[..2].copy_from_slice(&8_u16.to_ne_bytes());
        let bytes = [record, over, vec![7; 100]].concat();
        assert_eq!(utmp(&bytes), [eve()]);

        let root = tempfile::tempdir().unwrap();
        assert_eq!(gather(root.path()), []);
        fs::create_dir_all(root.path().join("run/systemd/sessions")).unwrap();
        fs::write(root.path().join("run/utmp"), &bytes).unwrap();
        assert_eq!(gather(root.path()), [eve()]);
        let path = root.path().join("run/systemd/sessions/4");
        fs::write(path, SESSION.replace("USER=eve", "USER=mallory")).unwrap();
        assert_eq!(gather(root.path())[0].user, "mallory", "what systemd says goes first");
    }
}
