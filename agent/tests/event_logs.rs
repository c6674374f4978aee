//! Windows event logs, read by the shipped program.
#![allow(clippy::unwrap_used, reason = "all of it is test code, its helpers, too")]
#![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

#[path = "event_logs/log_file.rs"]
mod log_file;

use std::{
    fs::{self, File},
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use agent::{
    evtx::{EventsError, Form, range, write_events},
    limits::EVENT_LOG_BYTES_MAX,
    source::{Begin, Evtx, EvtxOptions, Intake, Pattern, ReadBuffer, Status},
};
use log_file::log_file;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_signalbox-agent");
const TIMEOUT: Duration = Duration::from_secs(60);
const BYTES_MAX: usize = 1 << 20;

struct World {
    folder: tempfile::TempDir,
    program: PathBuf,
    begin: Begin,
    evtx: Evtx,
    stored: Vec<(String, Vec<u8>)>,
    now: Instant,
}

impl World {
    fn new(begin: Begin) -> Self {
        Self::with_program(begin, PROGRAM.into(), &[])
    }

    fn with_program(begin: Begin, program: PathBuf, files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let evtx = open(folder.path(), &program, begin, &[]);
        Self { folder, program, begin, evtx, stored: Vec::new(), now: Instant::now() }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    /// Reads until nothing comes for some looks, without storing anything; returns the events' ids as they came.
    fn read(&mut self) -> Vec<u64> {
        let (mut ids, mut buffer, begun_at) = (Vec::new(), ReadBuffer::new(), Instant::now());
        let mut looks = 0;
        while looks < 20 {
            assert!(begun_at.elapsed() < TIMEOUT);
            if self.evtx.poll(self.now) {
                for line in self.evtx.read_batch(self.now, &mut buffer, BYTES_MAX).unwrap().lines()
                {
                    ids.push(id_of(line.bytes));
                    looks = 0;
                }
            } else if !self.evtx.is_reading() {
                looks += 1;
                self.now += Duration::from_secs(1);
            }
        }
        ids
    }

    fn store(&mut self, end: Option<u64>) {
        for (part, bytes) in self.evtx.changed(end) {
            self.stored.retain(|(other, _)| *other != part);
            self.stored.push((part, bytes));
        }
        self.evtx.stored();
    }

    fn restart(&mut self) {
        self.evtx = open(self.folder.path(), &self.program, self.begin, &self.stored);
    }
}

fn open(folder: &Path, program: &Path, begin: Begin, stored: &[(String, Vec<u8>)]) -> Evtx {
    let pattern = Pattern::parse(&folder.join("*.evtx")).unwrap();
    let options = EvtxOptions { program: program.to_owned(), pattern, begin };
    Evtx::open(options, stored.iter().map(|(part, bytes)| (part.as_str(), bytes.as_slice())))
        .unwrap()
}

fn id_of(event: &[u8]) -> u64 {
    let event: Value = serde_json::from_slice(event).unwrap();
    let id = &event["Event"]["System"]["EventRecordID"];
    id.as_str().map_or_else(|| id.as_u64().unwrap(), |text| text.parse().unwrap())
}

/// Returns the ids of the events that are written behind `after`.
fn written(bytes: &[u8], after: u64) -> Vec<u64> {
    let mut out = Vec::new();
    let found = write_events(&mut Cursor::new(bytes), after, Form::Json, &mut out).unwrap();
    assert_eq!((found.unreadable, found.reason), (0, None));
    out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(id_of).collect()
}

#[test]
fn events_come_in_the_order_of_their_ids_however_the_log_wrote_over_itself() {
    let file = log_file(&[201..=250, 101..=150, 151..=200], |id| id);
    assert_eq!(written(&file, 0), (101..=250).collect::<Vec<_>>());
    assert_eq!(written(&file, 180), (181..=250).collect::<Vec<_>>());
    assert_eq!(range(&mut Cursor::new(&file)).unwrap(), Some((101, 250)));
    assert_eq!(range(&mut Cursor::new(log_file(&[], |id| id))).unwrap(), None);
}

#[test]
fn what_cannot_be_read_is_counted_and_the_rest_is_read() {
    let mut file = log_file(&[1..=5, 6..=9], |id| id);
    let second_event =
        4096 + 512 + u32::from_le_bytes(file[4612..4616].try_into().unwrap()) as usize;
    file[second_event + 24..second_event + 60].fill(0xff);
    let mut out = Vec::new();
    let found = write_events(&mut Cursor::new(&file), 0, Form::Json, &mut out).unwrap();
    assert_eq!((found.events, found.unreadable), (8, 1));
    assert!(found.reason.is_some());
    for bytes in [&b""[..], b"ElfFil", b"{\"Event\": 1}\n"] {
        let error = write_events(&mut Cursor::new(bytes), 0, Form::Json, &mut out).unwrap_err();
        assert!(matches!(error, EventsError::NoLog));
    }
}

#[test]
fn no_bytes_whatever_make_it_panic() {
    let file = log_file(&[1..=5], |id| id);
    for seed in 0..2_000_u32 {
        let mut broken = file.clone();
        for step in 0..8 {
            let at = 4096 + crc32(seed * 8 + step) as usize % 4096;
            broken[at] = crc32(at as u32 ^ seed) as u8;
        }
        let end = 4096 + crc32(seed) as usize % (64 << 10);
        drop(write_events(&mut Cursor::new(&broken[..end]), 0, Form::Json, &mut Vec::new()));
        drop(write_events(&mut Cursor::new(&broken), 0, Form::Json, &mut Vec::new()));
    }
}

/// Spreads a number over all bits.
fn crc32(number: u32) -> u32 {
    let mut bits = number.wrapping_add(1);
    for _ in 0..3 {
        bits ^= bits << 13;
        bits ^= bits >> 17;
        bits ^= bits << 5;
    }
    bits
}

#[test]
fn logs_are_read_and_read_on_when_they_are_written_to() {
    let mut world = World::new(Begin::Start);
    assert!(world.read().is_empty());
    assert_eq!(*world.evtx.status(), Status::Missing);
    world.write("Security.evtx", &log_file(&[1..=20, 21..=30], |id| id));
    world.write("System.evtx", &log_file(&[1..=3], |id| id + 1_000));
    world.write("notes.txt", b"other");
    let mut ids = world.read();
    ids.sort_unstable();
    assert_eq!(ids, (1..=30).chain(1_001..=1_003).collect::<Vec<_>>());
    assert_eq!(*world.evtx.status(), Status::Reading);
    assert!(world.read().is_empty());
    world.write("Security.evtx", &log_file(&[1..=20, 21..=40, 41..=45], |id| id));
    assert_eq!(world.read(), (31..=45).collect::<Vec<_>>());
    assert_eq!((world.evtx.counts().records, world.evtx.counts().unread), (48, 0));
}

#[test]
fn a_log_that_was_cleared_is_read_from_its_start() {
    let mut world = World::new(Begin::Start);
    world.write("Security.evtx", &log_file(&[1..=20], |id| id));
    assert_eq!(world.read().len(), 20);
    world.write("Security.evtx", &log_file(&[1..=4], |id| id));
    assert_eq!(world.read(), [1, 2, 3, 4]);
}

#[test]
fn what_a_log_wrote_over_before_it_was_read_is_counted() {
    let mut world = World::new(Begin::Start);
    world.write("Security.evtx", &log_file(&[11..=20], |id| id));
    assert_eq!(world.read().len(), 10);
    assert_eq!(
        world.evtx.counts().gone,
        0,
        "what was gone before the agent came is none of its losses"
    );
    world.write("Security.evtx", &log_file(&[31..=35, 26..=30], |id| id));
    assert_eq!(world.read(), (26..=35).collect::<Vec<_>>());
    assert_eq!(world.evtx.counts().gone, 5);
}

#[test]
fn from_the_end_only_later_events_come_and_all_of_later_logs() {
    let file = log_file(&[1..=20], |id| id);
    let mut world = World::with_program(Begin::End, PROGRAM.into(), &[("a.evtx", file)]);
    assert!(world.read().is_empty());
    world.store(None);
    world.restart();
    world.write("a.evtx", &log_file(&[1..=22], |id| id));
    world.write("b.evtx", &log_file(&[1..=2], |id| id + 100));
    let mut ids = world.read();
    ids.sort_unstable();
    assert_eq!(ids, [21, 22, 101, 102]);
}

#[test]
fn after_a_restart_it_goes_on_behind_what_was_stored_to_the_event() {
    let mut world = World::new(Begin::Start);
    world.write("a.evtx", &log_file(&[1..=50], |id| id));
    world.now += Duration::from_secs(60);
    let mut buffer = ReadBuffer::new();
    let begun_at = Instant::now();
    let (mut ends, mut before) = (Vec::new(), 0);
    while ends.is_empty() {
        assert!(begun_at.elapsed() < TIMEOUT);
        if world.evtx.poll(world.now) {
            let batch = world.evtx.read_batch(world.now, &mut buffer, BYTES_MAX).unwrap();
            ends = batch.lines().map(|line| (line.end, id_of(line.bytes))).collect();
        }
    }
    if let Some((end, id)) = ends.get(ends.len() / 2) {
        world.store(Some(*end));
        before = *id;
    }
    world.restart(); // the rest was handed out, and never stored
    assert_eq!(world.read(), (before + 1..=50).collect::<Vec<_>>());
    world.store(None);
    world.restart();
    assert!(world.read().is_empty());
}

#[test]
fn the_place_is_that_in_the_log_also_of_events_that_were_forwarded() {
    let mut world = World::new(Begin::Start);
    world.write("ForwardedEvents.evtx", &log_file(&[1..=5], |id| 9_000 - id));
    assert_eq!(world.read(), [8_999, 8_998, 8_997, 8_996, 8_995]);
    world.store(None);
    world.restart();
    world.write("ForwardedEvents.evtx", &log_file(&[1..=6], |id| 9_000 - id));
    assert_eq!(world.read(), [8_994]);
}

#[test]
fn what_is_no_log_is_said_and_keeps_nobody_waiting() {
    let mut world = World::new(Begin::Start);
    world.write("a.evtx", b"none");
    world.write("b.evtx", &log_file(&[1..=2], |id| id));
    assert_eq!(world.read(), [1, 2]);
    assert_eq!((world.read(), world.evtx.counts().unread), (vec![], 1));
    let Status::Unreadable(reason) = world.evtx.status().clone() else { panic!("it is well") };
    assert!(reason.contains("a.evtx") && reason.contains("no Windows event log"), "{reason}");
    world.store(None);
    world.restart();
    world.write("a.evtx", &log_file(&[8..=9], |id| id));
    assert_eq!(world.read(), [8, 9]);
    assert_eq!(*world.evtx.status(), Status::Reading);
}

#[test]
fn what_breaks_its_reader_is_tried_again_and_then_passed_over_and_counted() {
    // As one does that runs out of memory.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("reader");
    let text = "#!/bin/sh\n\
                event() {\n\
                printf '%s\\t{\"Event\":{\"System\":{\"EventRecordID\":%s}}}\\n' $1 $1\n}\n\
                case $4 in 0) event 1 ;; 9) event 10; exit 0 ;; esac\n\
                printf '2\\t{\"Ev'; echo 'out of memory' >&2; kill -ABRT $$\n";
    fs::write(&script, text).unwrap();
    let made = Command::new("chmod").arg("700").arg(&script).status().unwrap();
    assert!(made.success());
    // It breaks at the second event of nine in a chunk, whenever it comes to it.
    let file = log_file(&[1..=9, 10..=10], |id| id);
    let mut world = World::with_program(Begin::Start, script, &[("c.evtx", file)]);
    assert_eq!(world.read(), [1, 10]);
    assert_eq!(world.evtx.counts().gone, 8);
    assert_eq!(*world.evtx.status(), Status::Reading);
    assert!(world.read().is_empty());
}

#[test]
fn a_reader_that_says_why_it_ends_has_nothing_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("reader");
    fs::write(&script, "#!/bin/sh\necho 'no space' >&2\nexit 1\n").unwrap();
    assert!(Command::new("chmod").arg("700").arg(&script).status().unwrap().success());
    let file = log_file(&[1..=9], |id| id);
    let mut world = World::with_program(Begin::Start, script, &[("a.evtx", file)]);
    for _ in 0..5 {
        assert!(world.read().is_empty());
    }
    assert_eq!(world.evtx.counts().gone, 0);
    let Status::Unreadable(reason) = world.evtx.status().clone() else { panic!("it is well") };
    assert!(reason.contains("no space"), "{reason}");
    world.store(None);
    world.program = PROGRAM.into();
    world.restart();
    assert_eq!(world.read(), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_being_copied_is_neither_taken_as_cleared_nor_as_written_over() {
    let looks_cleared = [1..=10, 11..=20, 21..=30];
    let looks_written_over = [31..=40, 11..=20, 21..=30];
    for (chunks, unread) in [(looks_cleared, 21..=30), (looks_written_over, 21..=40)] {
        let mut world = World::new(Begin::Start);
        let whole = log_file(&chunks, |id| id);
        world.write("a.evtx", &log_file(&[11..=20], |id| id));
        assert_eq!(world.read().len(), 10);
        world.store(None);
        for len in [4096, 4096 + (64 << 10)] {
            world.write("a.evtx", &whole[..len]);
            world.now += Duration::from_secs(1);
            while world.evtx.poll(world.now) && !world.evtx.is_reading() {}
            assert!(!world.evtx.is_reading(), "it is looked at, and not read");
        }
        world.write("a.evtx", &whole);
        assert_eq!(world.read(), unread.collect::<Vec<_>>());
        assert_eq!(world.evtx.counts().gone, 0);
    }
}

#[test]
fn where_it_begins_is_stored_whole_or_not_at_all() {
    let log = || log_file(&[1..=5], |id| id);
    let files = [("a.evtx", log()), ("b.evtx", log()), ("c.evtx", b"no log".to_vec())];
    let mut world = World::with_program(Begin::End, PROGRAM.into(), &files);
    world.evtx.poll(world.now);
    world.store(None);
    world.restart(); // before it had looked at both
    assert!(world.stored.is_empty() && world.read().is_empty());
    world.store(None);
    assert!(!world.stored.is_empty(), "what is no log keeps nobody waiting");
    world.restart();
    assert!(world.read().is_empty());
}

#[test]
fn parts_of_another_kind_of_source_are_none_of_its_own() {
    let mut world = World::new(Begin::Start);
    world.stored = vec![("cursor".to_owned(), vec![9, 9]), ("012".to_owned(), vec![7])];
    world.restart();
    world.write("a.evtx", &log_file(&[1..=2], |id| id));
    assert_eq!(world.read(), [1, 2]);
}

#[test]
fn the_program_says_of_a_file_that_is_no_log_what_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.evtx");
    fs::write(&path, "none").unwrap();
    let said = Command::new(PROGRAM).arg("events").arg(&path).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8(said.stderr).unwrap().contains("no Windows event log (.evtx)"));
    fs::write(&path, log_file(&[7..=8], |id| id)).unwrap();
    let said =
        Command::new(PROGRAM).args(["events", "--numbered", "--after", "7"]).arg(&path).output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    assert!(said.starts_with("8\t{\"Event\":") && said.lines().count() == 1, "{said}");
}

#[test]
fn what_a_log_holds_is_shown_without_unpacking_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Security.evtx");
    fs::write(&path, log_file(&[1..=30, 31..=40], |id| id)).unwrap();
    let output = Command::new(PROGRAM).arg("normalise").arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("read as windows_event, which the first records look like"), "{text}");
    assert!(text.contains("40 records: 40 alerts"), "{text}");

    // What its reader does not take is an error here, too, and not a log without events.
    File::options().write(true).open(&path).unwrap().set_len(EVENT_LOG_BYTES_MAX + 1).unwrap();
    let mut program = Command::new(PROGRAM);
    let output = program.args(["normalise", "--kind", "windows_event"]).arg(&path).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("which no Windows event log has"), "{text}");
    assert!(text.contains("Security.evtx cannot be unpacked to its end: its reader"), "{text}");
}
