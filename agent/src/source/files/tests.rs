//! One test for each thing that happens to the files of a pattern, on real files.
#![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use super::*;
use crate::{limits::READ_BYTES, source::packed::tests::pack};

/// A folder with logs in it, their follower, and what it has stored.
struct World {
    folder: TempDir,
    pattern: &'static str,
    begin: Begin,
    others: Vec<Pattern>,
    stored: BTreeMap<String, Vec<u8>>,
    files: Option<Files>,
    buffer: ReadBuffer,
    now: Instant,
}

impl World {
    /// Makes the files, each with its content, and follows those that match.
    fn new(pattern: &'static str, begin: Begin, content: &[(&str, &str)]) -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            pattern,
            begin,
            others: Vec::new(),
            stored: BTreeMap::new(),
            files: None,
            buffer: ReadBuffer::new(),
            now: Instant::now(),
        };
        content.iter().for_each(|(name, text)| world.append(name, text));
        world.start();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn start(&mut self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let opening = Opening {
            begin: self.begin,
            now: self.now,
            wall: Timestamp::from_ms(u64::try_from(wall.as_millis()).unwrap() + 1),
            sources: 1,
        };
        let pattern = Pattern::parse(&self.path(self.pattern)).unwrap();
        let stored = self.stored.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.files = Some(Files::open(&pattern, &self.others, None, stored, opening).unwrap());
    }

    fn files(&mut self) -> &mut Files {
        self.files.as_mut().unwrap()
    }

    fn stats(&mut self) -> FilesStats {
        self.files().stats()
    }

    /// Reads until there is nothing more, in two passes over the folders; the lines are sorted.
    fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..2 {
            self.now += PATTERN_INTERVAL;
            self.read_on(&mut lines);
        }
        lines.sort();
        lines
    }

    fn read_on(&mut self, lines: &mut Vec<String>) {
        let files = self.files.as_mut().unwrap();
        while files.poll(self.now) {
            let batch = files.read_batch(self.now, &mut self.buffer, READ_BYTES).unwrap();
            lines.extend(batch.lines().map(|it| String::from_utf8_lossy(it.bytes).into_owned()));
            assert!(
                files.open.len() <= files.open_max && files.waiting.len() <= PATTERN_WAITING_MAX
            );
        }
    }

    /// Stores all places.
    fn commit(&mut self) {
        let files = self.files.as_mut().unwrap();
        self.stored.extend(files.changed(None));
        files.stored();
        assert!(!files.has_changed());
    }

    /// Stops the agent after a commit and starts it again, with `meanwhile` in between.
    fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.commit();
        self.files = None;
        meanwhile(self);
        self.start();
    }
}

/// Returns a line that is as long as records are, so that two files with it begin alike.
fn record(text: &str) -> String {
    format!("{text} {}\n", "x".repeat(100))
}

fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(' ').next().unwrap()).collect()
}

#[test]
fn all_files_that_match_are_read_and_so_are_those_made_later() {
    let content = [("a/eve.json", "a1\na2\n"), ("b/eve.json", "b1\n"), ("b/other.json", "no\n")];
    let mut world = World::new("*/eve.json", Begin::Start, &content);
    assert_eq!(world.read(), ["a1", "a2", "b1"]);
    world.append("c/eve.json", "c1\n");
    world.append("a/eve.json", "a3\n");
    assert_eq!(world.read(), ["a3", "c1"]);
    assert_eq!(world.stats().known, 3);
}

#[test]
fn a_file_that_came_and_was_rotated_away_between_two_looks_is_read_before_its_successor() {
    let mut world = World::new("*.json", Begin::End, &[("old.json.1", "o1\n")]);
    std::thread::sleep(2 * CLOCKS_APART); // what cannot be told apart is read
    world.start();
    let (start, mut lines) = (world.now, Vec::new());
    world.read_on(&mut lines);
    for number in 1..4 {
        world.append("new.json", &format!("n{number}\n"));
        world.rename("new.json", &format!("new.json.{number}"));
    }
    world.append("new.json", "n4\n");
    world.append("old.json", "o2\n");
    world.now = start + PATTERN_INTERVAL;
    world.read_on(&mut lines);
    lines.sort();
    assert_eq!(lines, ["n1", "n2", "n3", "n4", "o2"], "what was there before is left");
    assert!(world.read().is_empty());
}

#[test]
fn so_is_one_that_came_and_was_rotated_away_while_the_agent_did_not_run() {
    let mut world = World::new("*.json", Begin::End, &[]);
    world.read_on(&mut Vec::new());
    assert!(world.files().is_full(), "that all files were seen is stored at once");
    world.restart(|world| {
        world.append("new.json", "n1\n");
        world.rename("new.json", "new.json.1");
        world.append("new.json", "n2\n");
    });
    assert_eq!(world.read(), ["n1", "n2"]);
    world.restart(|_| {});
    assert!(world.read().is_empty());
}

#[test]
fn files_begun_at_their_end_give_what_is_written_from_then_on_and_new_ones_all() {
    let mut world = World::new("*.json", Begin::End, &[("a.json", "old\n"), ("b.json", "old\n")]);
    assert!(world.read().is_empty());
    world.append("a.json", "a1\n");
    world.append("c.json", "c1\n");
    assert_eq!(world.read(), ["a1", "c1"]);
}

#[test]
fn a_restart_goes_on_in_all_files_and_reads_those_made_meanwhile_from_their_start() {
    let mut world = World::new("*.json", Begin::End, &[("a.json", "old\n"), ("b.json", "old\n")]);
    assert!(world.read().is_empty());
    world.restart(|world| {
        world.append("a.json", "a1\n");
        world.append("c.json", "c1\n");
    });
    assert_eq!(world.read(), ["a1", "c1"]);
    world.restart(|_| {});
    assert!(world.read().is_empty());
}

#[test]
fn a_restart_within_a_batch_goes_on_behind_the_last_covered_line() {
    let mut world = World::new("*.json", Begin::Start, &[("a.json", "a1\na2\na3\n")]);
    let mut end = None;
    while end.is_none() {
        let files = world.files.as_mut().unwrap();
        assert!(files.poll(world.now));
        let batch = files.read_batch(world.now, &mut world.buffer, READ_BYTES).unwrap();
        end = batch.lines().next().map(|line| line.end);
    }
    let changed = world.files().changed(end);
    world.files().stored();
    assert!(world.files().has_changed(), "the rest of the batch is not covered");
    world.stored.extend(changed);
    world.start();
    assert_eq!(world.read(), ["a2", "a3"]);
}

#[test]
fn a_file_that_two_paths_lead_to_is_read_once() {
    let mut world = World::new("**/*.json", Begin::Start, &[("a/eve.json", "a1\n")]);
    fs::hard_link(world.path("a/eve.json"), world.path("hard.json")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(world.path("a/eve.json"), world.path("soft.json")).unwrap();
    assert_eq!(world.read(), ["a1"]);
    world.append("a/eve.json", "a2\n");
    assert_eq!(world.read(), ["a2"]);
    world.restart(|world| world.append("a/eve.json", "a3\n"));
    assert_eq!(world.read(), ["a3"]);
    assert_eq!(world.stats().known, 1);
    assert!(world.stats().same >= 1);
}

#[test]
fn a_file_of_an_earlier_source_is_left_to_that() {
    let content = [("a/eve.json", "a1\n"), ("b/eve.json", "b1\n"), ("b/x.json", "x1\n")];
    let mut world = World::new("*/*.json", Begin::Start, &content);
    world.others = vec![
        Pattern::of_path(&world.path("a/eve.json")),
        Pattern::parse(&world.path("b/e*.json")).unwrap(),
    ];
    world.start();
    assert_eq!(world.read(), ["x1"]);
}

#[test]
fn a_file_renamed_to_a_name_that_matches_is_finished_and_not_read_again() {
    for down in [false, true] {
        let mut world = World::new("eve.json*", Begin::Start, &[("eve.json", "a1\n")]);
        assert_eq!(world.read(), ["a1"]);
        let rotate = |world: &World| {
            world.append("eve.json", "a2\n");
            world.rename("eve.json", "eve.json.1");
            world.append("eve.json", "b1\n");
        };
        if down {
            world.restart(rotate);
        } else {
            rotate(&world);
        }
        assert_eq!(world.read(), ["a2", "b1"], "down: {down}");
        assert!(world.read().is_empty(), "down: {down}");
        world.restart(|world| world.append("eve.json", "b2\n"));
        assert_eq!(world.read(), ["b2"], "down: {down}");
        assert_eq!(world.files().tails().lost_files, 0);
    }
}

#[test]
fn a_file_whose_new_name_alone_is_there_goes_on_under_it() {
    let mut world = World::new("eve.json*", Begin::Start, &[("eve.json", "a1\n")]);
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        world.rename("eve.json", "eve.json.1");
    });
    assert_eq!([world.read(), world.read()].concat(), ["a2"]);
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["b1"]);
}

#[test]
fn a_file_rotated_out_of_the_pattern_is_finished_before_the_new_one() {
    for down in [false, true] {
        let mut world = World::new("*/eve.json", Begin::Start, &[("a/eve.json", "a1\n")]);
        assert_eq!(world.read(), ["a1"]);
        let rotate = |world: &World| {
            world.append("a/eve.json", "a2\n");
            world.rename("a/eve.json", "a/eve.json.1");
            world.append("a/eve.json", "b1\n");
        };
        if down {
            world.restart(rotate);
        } else {
            rotate(&world);
        }
        assert_eq!(world.read(), ["a2", "b1"], "down: {down}");
    }
}

#[test]
fn a_copy_that_the_pattern_matches_is_not_read_again() {
    for down in [false, true] {
        let (a1, a2, b1) = (record("a1"), record("a2"), record("b1"));
        let mut world = World::new("*.json*", Begin::Start, &[("eve.json", &a1)]);
        assert_eq!(names(&world.read()), ["a1"]);
        let rotate = |world: &World| {
            world.append("eve.json", &a2);
            fs::copy(world.path("eve.json"), world.path("eve.json.1")).unwrap();
            OpenOptions::new().write(true).truncate(true).open(world.path("eve.json")).unwrap();
            world.append("eve.json", &b1);
        };
        if down {
            world.restart(rotate);
        } else {
            rotate(&world);
        }
        assert_eq!(names(&world.read()), ["a2", "b1"], "down: {down}");
        assert!(world.read().is_empty(), "down: {down}");
        world.restart(|_| {});
        assert!(world.read().is_empty(), "down: {down}");
    }
}

#[test]
fn a_copy_that_is_made_before_the_truncation_is_waited_for() {
    let a1 = record("a1");
    let mut world = World::new("*.json*", Begin::Start, &[("eve.json", &a1)]);
    assert_eq!(names(&world.read()), ["a1"]);
    fs::copy(world.path("eve.json"), world.path("eve.json.1")).unwrap();
    assert!(world.read().is_empty());
    OpenOptions::new().write(true).truncate(true).open(world.path("eve.json")).unwrap();
    assert!(world.read().is_empty());
    world.append("eve.json", &record("b1"));
    assert_eq!(names(&world.read()), ["b1"]);
    assert!(world.read().is_empty());
}

#[test]
fn a_log_that_is_only_named_like_a_rotated_one_is_read() {
    let content = [("worker.log", &*record("w")), ("worker-1.log", &*record("w1"))];
    let mut world = World::new("worker*.log", Begin::Start, &content);
    assert_eq!(names(&world.read()), ["w", "w1"]);
    world.append("worker-2.log", &record("w2"));
    assert_eq!(names(&world.read()), ["w2"]);
}

#[test]
fn compressed_files_are_counted_and_not_read() {
    let content = [("a.json", "a1\n"), ("a.json.1.gz", "a0\n"), ("a.json.2.zst", "a\n")];
    let mut world = World::new("a.json*", Begin::Start, &content);
    assert_eq!(world.read(), ["a1"]);
    assert_eq!((world.stats().known, world.stats().compressed), (1, 2));
}

#[test]
fn what_was_not_read_of_a_closed_file_that_was_compressed_is_unpacked_once() {
    let mut world = World::new("*.json*", Begin::Start, &[("a.json", &record("a1"))]);
    assert_eq!(names(&world.read()), ["a1"]);
    world.now += FILE_IDLE_AFTER;
    assert!(world.read().is_empty());
    assert_eq!(world.stats().open, 0);
    world.append("a.json", &record("a2"));
    pack(&world.path("a.json.1.gz"), &fs::read(world.path("a.json")).unwrap());
    fs::remove_file(world.path("a.json")).unwrap();
    world.append("a.json", &record("b1"));
    assert_eq!(names(&world.read()), ["a2", "b1"]);
    world.restart(|_| {});
    assert!(world.read().is_empty());
    assert_eq!(world.files().tails().lost_files, 0);
}

#[test]
fn a_file_with_nothing_to_read_is_closed_and_gone_on_with_when_it_grows() {
    let mut world = World::new("*.json", Begin::Start, &[("a.json", "a1\na2-be")]);
    assert_eq!(world.read(), ["a1"]);
    assert_eq!(world.stats().open, 1);
    world.now += FILE_IDLE_AFTER;
    assert!(world.read().is_empty());
    assert_eq!((world.stats().open, world.stats().known), (0, 1));
    world.append("a.json", "gun\n");
    assert_eq!(world.read(), ["a2-begun"]);
    assert_eq!(world.files().tails().lines, 2, "what closed tails counted is kept");
}

#[test]
fn a_deleted_file_is_finished_and_forgotten_after_a_day() {
    let content = [("a.json", "a1\n"), ("b.json", "b1\n")];
    let mut world = World::new("*.json", Begin::Start, &content);
    assert_eq!(world.read(), ["a1", "b1"]);
    world.append("a.json", "a2\n");
    fs::remove_file(world.path("a.json")).unwrap();
    assert_eq!(world.read(), ["a2"]);
    world.now += FILE_IDLE_AFTER;
    assert!(world.read().is_empty());
    assert_eq!(world.stats().known, 2);
    world.now += FILE_FORGET_AFTER;
    assert!(world.read().is_empty());
    assert_eq!(world.stats().known, 1);
    world.restart(|_| {});
    assert!(world.read().is_empty());
    assert_eq!(world.stats().known, 1);
}

#[test]
fn a_truncated_file_and_one_in_a_dead_ones_inode_are_read_from_their_start() {
    let content = [("a.json", "a1\na2\n"), ("b.json", "b1\n")];
    let mut world = World::new("*.json", Begin::Start, &content);
    assert_eq!(world.read().len(), 3);
    world.restart(|world| {
        fs::write(world.path("a.json"), "c1\n").unwrap();
        fs::remove_file(world.path("b.json")).unwrap();
        world.append("d.json", "d1\n");
    });
    // Many file systems give it the inode of b.json; where they do not, b.json had its.
    let inode = Facts::at(&world.path("d.json")).unwrap().id.inode;
    let key = PathKey::of(&world.path("b.json"));
    let known = &mut world.files().known;
    let place = Checkpoint { inode, ..known.get(key).unwrap().place };
    known.put(key, place, place.offset);
    assert_eq!(world.read(), ["c1", "d1"]);
}

#[test]
fn busy_files_take_turns_when_not_all_can_be_open() {
    let names: Vec<String> = (0..40).map(|number| format!("{number}.json")).collect();
    let line = "x".repeat(1_000) + "\n";
    let content: Vec<(&str, String)> =
        names.iter().map(|name| (name.as_str(), line.repeat(600))).collect();
    let content: Vec<(&str, &str)> = content.iter().map(|(name, it)| (*name, &**it)).collect();
    let mut world = World::new("*.json", Begin::Start, &content);
    world.files().open_max = 4;
    assert_eq!(world.read().len(), 40 * 600);
    assert_eq!(world.files().tails().bytes, 40 * 600 * 1_001);
}

#[test]
fn files_beyond_the_bound_are_counted_and_not_read() {
    let content = [("a.json", "a1\n"), ("b.json", "b1\n"), ("c.json", "c1\n")];
    let mut world = World::new("*.json", Begin::Start, &content);
    world.files().files_max = 2;
    assert_eq!(world.read().len(), 2);
    assert_eq!((world.stats().known, world.stats().beyond), (2, 1));
}

#[test]
fn what_cannot_be_read_is_shown_and_the_rest_is_read() {
    let mut world = World::new("*/eve.json", Begin::Start, &[("a/eve.json", "a1\n")]);
    fs::create_dir(world.path("b")).unwrap();
    // A pipe would keep the reader waiting; it is no file, and so no match.
    #[cfg(unix)]
    std::os::unix::fs::symlink("/dev/null", world.path("b/eve.json")).unwrap();
    assert_eq!(world.read(), ["a1"]);
    assert_eq!(*world.files().status(), Status::Reading);
    let mut nothing = World::new("*/none.json", Begin::Start, &[]);
    assert!(nothing.read().is_empty());
    assert_eq!(*nothing.files().status(), Status::Missing);
    let mut damaged = World::new("*.json", Begin::Start, &[("a.json", "a1\n")]);
    let reason = "disk fails";
    damaged.read();
    damaged.files().cannot_read(reason);
    damaged.files().cannot_read("another");
    let now = damaged.now;
    damaged.files().finish_pass(now);
    assert_eq!(*damaged.files().status(), Status::Unreadable("disk fails (and 1 more)".to_owned()));
}

#[test]
fn a_plain_sources_place_is_kept_when_its_path_becomes_a_pattern() {
    let mut world = World::new("*/eve.json", Begin::End, &[("a/eve.json", "a1\n")]);
    let mut tail = Tail::open(world.path("a/eve.json"), None, Begin::Start).unwrap();
    assert!(tail.poll(world.now));
    assert_eq!(tail.read_batch(&mut world.buffer, READ_BYTES).unwrap().len(), 1);
    world.append("a/eve.json", "a2\n");
    let pattern = Pattern::parse(&world.path("*/eve.json")).unwrap();
    let opening = world.files().opening;
    let plain = tail.checkpoint();
    world.files =
        Some(Files::open(&pattern, &[], plain.as_deref(), std::iter::empty(), opening).unwrap());
    assert_eq!(world.read(), ["a2"]);
}

#[test]
fn fifty_thousand_files_cost_bounded_memory_and_no_more_looks_than_there_are_files() {
    const FILES: usize = 50_000;
    let mut world = World::new("*/*.json", Begin::End, &[]);
    for number in 0..FILES {
        let folder = world.path(&format!("{:02}", number % 50));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}.json")), format!("{number}\n")).unwrap();
    }
    world.start();
    let (mut polls, mut lines, started_at) = (0, 0, Instant::now());
    world.now += PATTERN_INTERVAL;
    let now = world.now;
    while world.files().poll(now) {
        polls += 1;
        let files = world.files.as_mut().unwrap();
        lines += files.read_batch(world.now, &mut world.buffer, READ_BYTES).unwrap().len();
        assert!(files.open.len() <= PATTERN_OPEN_MAX);
        assert!(files.waiting.len() <= PATTERN_WAITING_MAX);
        if files.is_full() {
            let changed = files.changed(None);
            let bytes: usize = changed.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(bytes <= 2 * crate::limits::PLACES_BYTES_MAX, "{bytes}");
            world.stored.extend(changed);
            files.stored();
        }
    }
    assert_eq!((lines, world.stats().known), (0, FILES));
    assert!(polls <= FILES / 100, "{polls} looks: each does hundreds of files' work");
    println!("{FILES} files are known after {:?}, {polls} looks", started_at.elapsed());
    world.append("07/7.json", "more\n");
    world.restart(|world| world.append("08/8.json", "meanwhile\n"));
    let stored: usize = world.stored.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(stored <= FILES * 80, "{stored} bytes stored");
    let mut lines = Vec::new();
    world.read_on(&mut lines); // at the first look that finds nothing to do, all is read
    lines.sort();
    assert_eq!(lines, ["meanwhile", "more"]);
    let opened = world.files().tails();
    assert_eq!(opened.lines, 2);
}
