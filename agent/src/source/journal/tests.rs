//! With a program in the place of `journalctl` that says what it was asked.
#![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

use std::{fs, iter, os::unix::fs::PermissionsExt, time::Duration};

use super::*;
use crate::limits::READ_BYTES;

/// A folder with a program in it, and a journal that is a file of entries.
struct World {
    folder: tempfile::TempDir,
    journal: Journal,
    buffer: ReadBuffer,
}

const DEADLINE: Duration = Duration::from_secs(20);

/// Prints the entries of the journal behind the cursor as the real one would, and what it was asked
/// into a file of its own. It ends when there is no more, where the real one would follow.
const PROGRAM: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> asked
test -e broken && { echo "no journal" >&2; exit 1; }
after=""
for option in "$@"; do
  case $option in
    --after-cursor=*) after=${option#--after-cursor=} ;;
    --cursor=*) grep "\"${option#--cursor=}\"" entries || head -n 1 entries; exit 0 ;;
    --lines=1) is_end=1 ;;
  esac
done
test -n "$is_end" && exec tail -n 1 entries
if [ -n "$after" ] && grep -q "\"$after\"" entries; then
  sed "0,/\"$after\"/d" entries
else
  cat entries
fi
"#;

impl World {
    fn new(begin: Begin, entries: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("journalctl");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let (matches, machine) = (vec!["_COMM=gw".to_owned()], None);
        let options = JournalOptions { program, matches, machine, begin };
        let journal = Journal::open(options, iter::empty()).unwrap();
        let world = Self { folder, journal, buffer: ReadBuffer::new() };
        fs::write(world.folder.path().join("entries"), "").unwrap();
        entries.iter().for_each(|entry| world.write(entry));
        world
    }

    fn write(&self, name: &str) {
        let path = self.folder.path().join("entries");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{before}{}\n", entry(name))).unwrap();
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.folder.path().join("asked")).unwrap()
    }

    /// Reads until the program has ended `ends` times; returns what was handed out.
    fn read(&mut self, ends: usize) -> Vec<String> {
        let (mut found, mut ended) = (Vec::new(), 0);
        let started_at = Instant::now();
        while ended < ends {
            assert!(started_at.elapsed() < DEADLINE, "not within {DEADLINE:?}");
            if !self.journal.poll(started_at) {
                std::thread::yield_now();
                continue;
            }
            let is_search = self.is_search();
            let batch = self.journal.read_batch(started_at, &mut self.buffer, READ_BYTES).unwrap();
            found
                .extend(batch.lines().map(|line| String::from_utf8_lossy(line.bytes).into_owned()));
            ended += usize::from(self.journal.running.is_none() && !is_search);
        }
        found
    }

    /// Returns whether the program that runs only looks for the place.
    fn is_search(&self) -> bool {
        self.journal.running.as_ref().is_some_and(|running| running.purpose == Purpose::FindPlace)
    }

    fn restart(&mut self) {
        let stored = self.journal.changed(None);
        let stored = stored.iter().map(|(part, value)| (part.as_str(), value.as_slice()));
        self.journal = Journal::open(self.journal.options.clone(), stored).unwrap();
    }
}

fn entry(name: &str) -> String {
    format!("{{\"__CURSOR\":\"s=1;i={name}\",\"MESSAGE\":\"\\\"__CURSOR\\\":\\\"s=0\\\"\"}}")
}

#[test]
fn all_entries_are_read_once_over_restarts_of_both_programs() {
    let mut world = World::new(Begin::Start, &["a", "b"]);
    assert_eq!(world.read(1), [entry("a"), entry("b")]);
    assert!(matches!(world.journal.status(), Status::Unreadable(why) if why.contains("ended")));
    world.restart();
    world.write("c");
    assert_eq!(world.read(1), [entry("c")]);
    let asked = world.asked();
    assert!(asked.ends_with("--after-cursor=s=1;i=b -- _COMM=gw\n"), "{asked}");
}

#[test]
fn entries_that_were_cleaned_up_before_they_were_read_are_a_loss_and_the_oldest_left_comes_next() {
    let mut world = World::new(Begin::Start, &["a", "b"]);
    assert_eq!(world.read(1).len(), 2);
    world.restart();
    let entries = world.folder.path().join("entries");
    fs::write(&entries, format!("{}\n", entry("d"))).unwrap();
    assert_eq!(world.read(1), [entry("d")]);
    assert_eq!(world.journal.counts().lost_files, 1);
    // What is asked for may have changed: the place is there all the same.
    world.restart();
    world.journal.options.matches = vec!["_COMM=other".to_owned()];
    world.write("e");
    assert_eq!(world.read(1), [entry("e")]);
    assert_eq!(world.journal.counts().lost_files, 0);
    assert!(world.asked().contains("--lines=1 --cursor=s=1;i=d\n"), "{}", world.asked());
    world.restart();
    fs::write(&entries, "").unwrap();
    assert!(world.read(1).is_empty());
    assert_eq!(world.journal.counts().lost_files, 1, "nothing at all is left");
}

#[test]
fn entries_of_all_boots_are_asked_for_and_of_this_machine_alone() {
    let mut world = World::new(Begin::Start, &["a"]);
    world.journal.options.machine = Some("m1".to_owned());
    world.read(1);
    let asked = world.asked();
    assert!(
        asked.contains("--merge ") && asked.ends_with("-- _COMM=gw _MACHINE_ID=m1\n"),
        "{asked}"
    );
    for (matches, expected) in [
        ("", "_MACHINE_ID=m1"),
        ("_PID=1 + _PID=2", "_PID=1 _MACHINE_ID=m1 + _PID=2 _MACHINE_ID=m1"),
        ("_MACHINE_ID=m2 + _PID=2", "_MACHINE_ID=m2 + _PID=2 _MACHINE_ID=m1"),
    ] {
        let matches = matches.split_ascii_whitespace().map(str::to_owned).collect();
        let options = JournalOptions { matches, ..world.journal.options.clone() };
        assert_eq!(options.conditions().join(" "), expected);
    }
}

#[test]
fn a_start_at_the_end_is_behind_the_newest_entry_and_known_at_once() {
    let mut world = World::new(Begin::End, &["a", "b"]);
    assert!(world.read(1).is_empty());
    assert_eq!(world.journal.checkpoint().unwrap(), b"\x01s=1;i=b");
    world.write("c");
    assert_eq!(world.read(1), [entry("c")]);
    let mut empty = World::new(Begin::End, &[]);
    assert!(empty.read(1).is_empty());
    empty.write("a");
    assert_eq!(empty.read(1), [entry("a")]);
}

#[test]
fn a_checkpoint_within_a_batch_is_that_of_the_entry_that_ends_there() {
    let mut world = World::new(Begin::Start, &["a", "b", "c"]);
    let mut ends = Vec::new();
    while ends.is_empty() {
        if world.journal.poll(Instant::now()) {
            let batch =
                world.journal.read_batch(Instant::now(), &mut world.buffer, READ_BYTES).unwrap();
            ends.extend(batch.lines().map(|line| line.end));
        }
    }
    assert_eq!(world.journal.checkpoint_at(ends[0]).unwrap(), b"\x01s=1;i=a");
    assert_eq!(world.journal.checkpoint_at(0), None);
}

#[test]
fn why_the_program_ended_is_shown_and_it_is_tried_again_later() {
    let mut world = World::new(Begin::Start, &["a"]);
    fs::write(world.folder.path().join("broken"), "").unwrap();
    assert!(world.read(1).is_empty());
    let status = world.journal.status().to_string();
    assert!(status.contains("no journal"), "{status}");
    fs::remove_file(world.folder.path().join("broken")).unwrap();
    assert!(!world.journal.poll(Instant::now()), "not at once");
    let mut missing = World::new(Begin::Start, &[]);
    missing.journal.options.program = "/not/there".into();
    assert!(!missing.journal.poll(Instant::now()));
    assert!(missing.journal.status().to_string().contains("/not/there"));
}

#[test]
fn what_is_no_cursor_is_neither_stored_nor_believed() {
    let options = World::new(Begin::End, &[]).journal.options.clone();
    let open = |checkpoint: &[u8]| {
        Journal::open(options.clone(), iter::once((CURSOR, checkpoint))).unwrap_err()
    };
    assert_eq!(open(&[]), CheckpointError::Malformed);
    assert_eq!(open(b"\x01s=1 --file=/etc/passwd"), CheckpointError::Malformed);
    assert_eq!(open(b"\x02s=1"), CheckpointError::Version(2));
    assert_eq!(cursor_of(br#"{"MESSAGE":"\"__CURSOR\":\"s=0\""}"#), None);
    assert_eq!(cursor_of(br#"{ "__CURSOR" : "s=1;i=a", "x": 1}"#), Some(&b"s=1;i=a"[..]));
    assert_eq!(cursor_of(br#"{"__CURSOR":"s=1"#), None);
}
