//! One test for each thing that happens to files, on real files.
#![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

mod packed;
mod races;

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, Write},
    time::{Duration, SystemTime},
};

use shared::limits::RECORD_BYTES_MAX;
use tempfile::TempDir;

use super::*;

/// A folder with a log in it, and the tail of that log.
struct World {
    folder: TempDir,
    tail: Tail,
    buffer: ReadBuffer,
    now: Instant,
}

impl World {
    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("eve.json"), content).unwrap();
        let tail = Tail::open(folder.path().join("eve.json"), None, Begin::Start).unwrap();
        Self { folder, tail, buffer: ReadBuffer::new(), now: Instant::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Says that the file was last written to `seconds` ago, as rotated files were.
    fn age(&self, name: &str, seconds: u64) {
        let file = OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    /// Reads all that there is.
    fn read(&mut self) -> Vec<String> {
        self.read_by(usize::MAX)
    }

    fn read_by(&mut self, max_bytes: usize) -> Vec<String> {
        let mut lines = Vec::new();
        self.now += OPEN_RETRY_INTERVAL;
        while self.tail.poll(self.now) {
            let batch = self.tail.read_batch(&mut self.buffer, max_bytes).unwrap();
            let text = |line: Line<'_>| String::from_utf8_lossy(line.bytes).into_owned();
            lines.extend(batch.lines().map(text));
        }
        lines
    }

    /// Stops the agent and starts it again, with `meanwhile` in between.
    fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        let (checkpoint, twins) = (self.tail.checkpoint(), self.tail.encoded_twins());
        // The open file goes with the process.
        self.tail = Tail::open(self.path("none"), None, Begin::Start).unwrap();
        meanwhile(self);
        let path = self.path("eve.json");
        let stored = (checkpoint.as_deref(), twins.as_deref());
        self.tail = Tail::go_on(path, stored.0, stored.1, Begin::End).unwrap();
    }
}

#[test]
fn whole_lines_are_read_once_and_in_order() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    assert!(world.read().is_empty());
    world.append("eve.json", "a3\n\n \r\na4\n");
    assert_eq!(world.read(), ["a3", "a4"]);
    assert_eq!(world.tail.stats(), TailStats { lines: 4, bytes: 16, ..TailStats::default() });
}

#[test]
fn a_partial_last_line_waits_for_its_newline() {
    let mut world = World::new("a1\na2-be");
    assert_eq!(world.read(), ["a1"]);
    assert!(world.read().is_empty());
    world.append("eve.json", "gun");
    assert!(world.read().is_empty());
    world.append("eve.json", "-done\n");
    assert_eq!(world.read(), ["a2-begun-done"]);
}

#[test]
fn a_partial_last_line_is_not_covered_by_a_checkpoint() {
    let mut world = World::new("a1\na2-be");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| world.append("eve.json", "gun\n"));
    assert_eq!(world.read(), ["a2-begun"]);
}

#[test]
fn a_restart_goes_on_behind_the_last_covered_line() {
    let mut world = World::new("a1\na2\na3\n");
    assert!(world.tail.poll(world.now));
    let batch = world.tail.read_batch(&mut world.buffer, usize::MAX).unwrap();
    let end = batch.lines().next().unwrap().end;
    let checkpoint = world.tail.checkpoint_at(end).unwrap();
    world.tail = Tail::open(world.path("eve.json"), Some(&checkpoint), Begin::End).unwrap();
    assert_eq!(world.read(), ["a2", "a3"]);
}

#[test]
fn a_file_begun_at_its_end_gives_what_is_written_from_then_on() {
    let mut world = World::new("a1\na2-be");
    world.tail = Tail::open(world.path("eve.json"), None, Begin::End).unwrap();
    assert!(world.read().is_empty());
    world.append("eve.json", "gun\na3\n");
    assert_eq!(world.read(), ["a2-begun", "a3"]);
}

#[test]
fn a_file_that_is_created_late_is_read_from_its_start() {
    let mut world = World::new("");
    fs::remove_file(world.path("eve.json")).unwrap();
    world.tail = Tail::open(world.path("eve.json"), None, Begin::End).unwrap();
    assert!(world.read().is_empty());
    assert_eq!(*world.tail.status(), Status::Missing);
    assert_eq!(world.tail.checkpoint(), None);
    world.append("eve.json", "a1\n");
    assert_eq!(world.read(), ["a1"]);
    assert_eq!(*world.tail.status(), Status::Reading);
}

#[test]
fn a_file_that_came_and_was_rotated_away_between_two_looks_is_read_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("eve.json.9"), "of before\n").unwrap();
    // Files' times are no finer than the system's ticks.
    std::thread::sleep(Duration::from_millis(20));
    let tail = Tail::open(folder.path().join("eve.json"), None, Begin::End).unwrap();
    let mut world = World { folder, tail, buffer: ReadBuffer::new(), now: Instant::now() };
    std::thread::sleep(Duration::from_millis(20));
    world.append("eve.json.9", "written to once more\n");
    for (text, rotated) in [("a1\n", "eve.json.1"), ("b1\n", "eve.json.2")] {
        world.append("eve.json", text);
        world.rename("eve.json", rotated);
        std::thread::sleep(Duration::from_millis(20));
    }
    world.append("eve.json", "c1\n");
    assert_eq!(world.read(), ["a1", "b1", "c1"]);
    assert_eq!((world.tail.stats().rotated, world.tail.stats().lost_files), (2, 0));
}

#[test]
fn a_renamed_file_is_finished_before_the_new_one_is_begun() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    world.append("eve.json", "a3\n");
    world.rename("eve.json", "eve.json.1");
    assert_eq!(world.read(), ["a3"]);
    world.append("eve.json", ""); // created, but its writer has not gone on yet
    world.append("eve.json.1", "a4\n");
    assert_eq!(world.read(), ["a4"]);
    world.append("eve.json.1", "a5\n");
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["a5", "b1"]);
    assert_eq!((world.tail.stats().rotated, world.tail.generation()), (1, 1));
}

#[test]
fn a_partial_last_line_is_taken_once_its_writer_has_gone_on() {
    let mut world = World::new("a1\na2-cut");
    assert_eq!(world.read(), ["a1"]);
    world.rename("eve.json", "eve.json.1");
    assert!(world.read().is_empty());
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["a2-cut", "b1"]);
    assert_eq!(world.tail.stats().unterminated, 1);
}

#[test]
fn a_file_renamed_while_the_agent_was_down_is_finished() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        world.rename("eve.json", "eve.json-20261102");
        world.append("eve.json", "b1\n");
    });
    assert_eq!(world.read(), ["a2", "b1"]);
    assert_eq!(world.tail.stats().lost_files, 0);
}

#[test]
fn a_renamed_file_is_found_before_the_new_one_exists() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        world.rename("eve.json", "eve.json.1");
    });
    assert_eq!(world.read(), ["a2"]);
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["b1"]);
}

#[test]
fn all_files_rotated_away_while_the_agent_was_down_are_read_in_order() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        world.rename("eve.json", "eve.json.3");
        world.append("eve.json.2", "b1\n");
        world.append("eve.json.1", "c1\n");
        world.append("eve.json", "d1\n");
        world.append("eve.json.4", "read long ago\n");
        world.append("eve.json.1.gz", "not read\n");
        world.append("eve.json.bak", "not read\n");
        for (name, age) in [("eve.json.4", 40), ("eve.json.3", 30), ("eve.json.2", 20)] {
            world.age(name, age);
        }
        world.age("eve.json.1", 10);
    });
    assert_eq!(world.read(), ["a2", "b1", "c1", "d1"]);
    assert_eq!((world.tail.stats().rotated, world.tail.generation()), (3, 3));
    world.restart(|_| {});
    assert!(world.read().is_empty());
}

#[test]
fn a_file_that_was_begun_and_rotated_away_within_a_tick_of_the_clock_is_read() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.rename("eve.json", "eve.json.1");
    // When a file was created cannot be set, when it was written to can.
    std::thread::sleep(Duration::from_millis(20));
    world.append("eve.json", "b1\n");
    world.rename("eve.json", "eve.json.2");
    let written = fs::metadata(world.path("eve.json.1")).unwrap().modified().unwrap();
    let second = OpenOptions::new().append(true).open(world.path("eve.json.2")).unwrap();
    second.set_modified(written).unwrap();
    world.append("eve.json", "c1\n");
    assert_eq!(world.read(), ["b1", "c1"]);
    assert_eq!(world.tail.stats().rotated, 2);
}

#[test]
fn a_copy_of_a_file_that_was_read_is_not_read_although_it_kept_the_time() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.rename("eve.json", "eve.json.1");
    std::thread::sleep(Duration::from_millis(20));
    world.append("eve.json.1-20261126", "a1\n");
    let written = fs::metadata(world.path("eve.json.1")).unwrap().modified().unwrap();
    let copy = OpenOptions::new().append(true).open(world.path("eve.json.1-20261126")).unwrap();
    copy.set_modified(written).unwrap();
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["b1"]);
}

#[test]
fn a_file_that_is_rotated_away_while_the_tail_goes_on_to_it_is_read_before_the_next() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.rename("eve.json", "eve.json.1");
    std::thread::sleep(Duration::from_millis(20));
    world.append("eve.json", "b1\n");
    let seen = Facts::at(&world.path("eve.json")).unwrap();
    world.rename("eve.json", "eve.json.2");
    std::thread::sleep(Duration::from_millis(20));
    world.append("eve.json", "c1\n");
    assert!(world.tail.move_on_from(Some(seen)).unwrap());
    assert_eq!(world.read(), ["b1", "c1"]);
}

#[test]
fn files_rotated_away_are_read_before_the_newest_is_written_to_or_there() {
    for newest in ["there", "missing"] {
        let mut world = World::new("a1\n");
        assert_eq!(world.read(), ["a1"]);
        world.restart(|world| {
            world.append("eve.json", "a2\n");
            world.rename("eve.json", "eve.json.3");
            world.append("eve.json.2", "b1\n");
            world.append("eve.json.1", "c1\n");
            world.age("eve.json.3", 30);
            world.age("eve.json.2", 20);
            if newest == "there" {
                world.append("eve.json", "");
            }
        });
        assert_eq!(world.read(), ["a2", "b1", "c1"], "{newest}");
        world.append("eve.json", "d1\n");
        assert_eq!(world.read(), ["d1"], "{newest}");
        assert_eq!((world.tail.stats().rotated, world.tail.stats().lost_files), (3, 0));
    }
}

#[test]
fn a_file_that_was_kept_in_a_folder_below_is_found() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        fs::create_dir_all(world.path("2026/Nov")).unwrap();
        world.rename("eve.json", "2026/Nov/ossec-alerts-02.json");
        world.append("eve.json", "b1\n");
    });
    assert_eq!(world.read(), ["a2", "b1"]);
}

#[test]
fn a_file_that_is_gone_after_a_restart_is_counted_as_lost() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        // The new file must not get the old one's inode.
        world.append("next", "b1\n");
        fs::remove_file(world.path("eve.json")).unwrap();
        world.rename("next", "eve.json");
    });
    assert_eq!(world.read(), ["b1"]);
    assert_eq!(world.tail.stats().lost_files, 1);
}

#[test]
fn a_missing_file_keeps_its_checkpoint() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    let checkpoint = world.tail.checkpoint();
    let elsewhere = tempfile::tempdir_in(world.folder.path().parent().unwrap()).unwrap();
    let away = elsewhere.path().join("eve.json");
    world.restart(|world| fs::rename(world.path("eve.json"), &away).unwrap());
    assert!(world.read().is_empty());
    assert_eq!(*world.tail.status(), Status::Missing);
    assert_eq!(world.tail.checkpoint(), checkpoint);
    fs::rename(&away, world.path("eve.json")).unwrap();
    world.append("eve.json", "a3\n");
    assert_eq!(world.read(), ["a3"]);
}

#[test]
fn a_truncated_file_is_read_from_its_start() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    fs::write(world.path("eve.json"), "b1\n").unwrap();
    assert_eq!(world.read(), ["b1"]);
    assert_eq!((world.tail.stats().truncated, world.tail.generation()), (1, 1));
}

#[test]
fn a_file_refilled_beyond_what_was_read_is_known_by_its_first_bytes() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    fs::write(world.path("eve.json"), "b1\nb2\nb3\n").unwrap();
    assert_eq!(world.read(), ["b1", "b2", "b3"]);
    assert_eq!(world.tail.stats().truncated, 1);
}

#[test]
fn a_file_truncated_between_a_poll_and_its_read_is_begun_anew() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    world.append("eve.json", "a3\n");
    assert!(world.tail.poll(world.now));
    fs::write(world.path("eve.json"), "b1\nb2\nb3\nb4\n").unwrap();
    let batch = world.tail.read_batch(&mut world.buffer, usize::MAX).unwrap();
    assert_eq!(batch.lines().map(|line| line.bytes.to_vec()).next().unwrap(), b"b1");
}

#[test]
fn a_file_truncated_while_the_agent_was_down_is_read_from_its_start() {
    for refill in ["b1\n", "b1\nb2\nb3\n"] {
        let mut world = World::new("a1\na2\n");
        assert_eq!(world.read(), ["a1", "a2"]);
        world.restart(|world| fs::write(world.path("eve.json"), refill).unwrap());
        assert_eq!(world.read(), refill.lines().collect::<Vec<_>>());
        assert_eq!((world.tail.stats().truncated, world.tail.generation()), (1, 1));
    }
}

#[test]
fn what_copytruncate_copied_before_it_was_read_is_read_from_the_copy() {
    for down in [false, true] {
        let mut world = World::new("a1\na2\n");
        assert_eq!(world.read(), ["a1", "a2"]);
        let rotate = |world: &World| {
            world.append("eve.json", "a3\n");
            fs::copy(world.path("eve.json"), world.path("eve.json.1")).unwrap();
            File::create(world.path("eve.json")).unwrap();
            world.append("eve.json", "b1\n");
        };
        if down {
            world.restart(rotate)
        } else {
            rotate(&world)
        }
        assert_eq!(world.read(), ["a3", "b1"], "down: {down}");
        world.append("eve.json", "b2\n");
        assert_eq!(world.read(), ["b2"]);
        assert_eq!(world.tail.stats().truncated, 1);
    }
}

#[test]
fn a_copy_that_was_read_wholly_is_not_read_again() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    fs::copy(world.path("eve.json"), world.path("eve.json.1")).unwrap();
    File::create(world.path("eve.json")).unwrap();
    assert!(world.read().is_empty());
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["b1"]);
}

/// Copies the log to `name`, as `copytruncate` does before it truncates.
fn copy(world: &World, name: &str) {
    fs::copy(world.path("eve.json"), world.path(name)).unwrap();
}

fn truncate(world: &World) {
    OpenOptions::new().write(true).truncate(true).open(world.path("eve.json")).unwrap();
}

#[test]
fn a_file_copied_truncated_and_quickly_refilled_to_more_than_was_read_loses_and_repeats_nothing() {
    for down in [false, true] {
        let mut world = World::new("a1\na2\n");
        assert_eq!(world.read(), ["a1", "a2"]);
        let rotate = |world: &World| {
            world.append("eve.json", "a3\n");
            copy(world, "eve.json.1");
            truncate(world);
            world.append("eve.json", "b1\nb2\nb3\nb4\n");
        };
        if down {
            world.restart(rotate)
        } else {
            rotate(&world)
        }
        assert_eq!(world.read(), ["a3", "b1", "b2", "b3", "b4"], "down: {down}");
        assert_eq!((world.tail.stats().truncated, world.tail.stats().lost_files), (1, 0));
    }
}

#[test]
fn all_copies_made_while_the_agent_was_down_are_read_in_order_and_once() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        copy(world, "eve.json.2");
        truncate(world);
        world.append("eve.json", "b1\n");
        copy(world, "eve.json.1");
        truncate(world);
        world.append("eve.json", "c1\n");
        world.age("eve.json.2", 20);
        world.age("eve.json.1", 10);
    });
    assert_eq!(world.read(), ["a2", "b1", "c1"]);
    assert_eq!(world.tail.stats().lost_files, 0);
    world.restart(|_| {});
    assert!(world.read().is_empty());
}

#[test]
fn of_files_that_bear_one_time_each_is_read_once() {
    for restarts in [false, true] {
        let mut world = World::new("a1\n");
        assert_eq!(world.read(), ["a1"]);
        let written = SystemTime::now();
        for (text, name) in [("a2\n", "eve.json.1"), ("b1\n", "eve.json.2"), ("c1\n", "eve.json.3")]
        {
            world.append("eve.json", text);
            copy(&world, name);
            truncate(&world);
            let file = OpenOptions::new().append(true).open(world.path(name)).unwrap();
            file.set_modified(written).unwrap();
        }
        world.append("eve.json", "d1\n");
        let mut read = Vec::new();
        for _ in 0..8 {
            if world.tail.poll(world.now) {
                let batch = world.tail.read_batch(&mut world.buffer, usize::MAX).unwrap();
                let text = |line: Line<'_>| String::from_utf8_lossy(line.bytes).into_owned();
                read.extend(batch.lines().map(text));
            }
            if restarts {
                world.restart(|_| {});
            }
        }
        read[1..3].sort(); // which of them was first, nothing says
        assert_eq!(read, ["a2", "b1", "c1", "d1"], "restarts: {restarts}");
        assert_eq!(world.tail.stats().lost_files, 0);
    }
}

#[test]
fn a_copy_read_wholly_before_the_agent_stopped_is_not_read_again_after_it() {
    let mut world = World::new("a1\na2\n");
    assert_eq!(world.read(), ["a1", "a2"]);
    world.restart(|world| {
        copy(world, "eve.json.1");
        truncate(world);
        world.append("eve.json", "b1\n");
    });
    assert_eq!(world.read(), ["b1"]);
    assert_eq!((world.tail.stats().truncated, world.tail.stats().lost_files), (1, 0));
}

#[test]
fn a_file_whose_copy_is_compressed_counts_as_lost_and_later_copies_are_read() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        copy(world, "eve.json.2.gz");
        truncate(world);
        world.append("eve.json", "b1\n");
        copy(world, "eve.json.1");
        truncate(world);
        world.append("eve.json", "c1\n");
    });
    assert_eq!(world.read(), ["b1", "c1"]);
    assert_eq!((world.tail.stats().truncated, world.tail.stats().lost_files), (1, 1));
}

#[test]
fn a_file_truncated_in_the_agents_absence_without_a_copy_counts_as_lost() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", "a2\n");
        truncate(world);
    });
    assert!(world.read().is_empty());
    assert_eq!((world.tail.stats().truncated, world.tail.stats().lost_files), (1, 1));
}

#[test]
fn a_file_truncated_while_it_is_open_and_not_read_to_its_end_counts_as_lost() {
    let mut world = World::new("a1\na2\n");
    assert!(world.tail.poll(world.now));
    truncate(&world);
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["b1"]);
    assert_eq!((world.tail.stats().truncated, world.tail.stats().lost_files), (1, 1), "L4");
}

#[test]
fn what_filled_an_empty_file_is_read_from_its_copy() {
    for down in [false, true] {
        let mut world = World::new("");
        assert!(world.read().is_empty());
        let rotate = |world: &World| {
            world.append("eve.json", "a1\na2\n");
            copy(world, "eve.json.1");
            truncate(world);
            world.append("eve.json", "b1\n");
        };
        if down {
            world.restart(rotate)
        } else {
            rotate(&world)
        }
        assert_eq!(world.read(), ["a1", "a2", "b1"], "down: {down}");
        world.restart(|_| {});
        assert!(world.read().is_empty());
    }
}

#[test]
fn a_late_write_to_a_renamed_file_does_not_make_it_a_copy_of_the_empty_one_after_it() {
    for down in [false, true] {
        let mut world = World::new("read long ago\n");
        world.rename("eve.json", "eve.json.1");
        world.append("eve.json", "");
        world.tail = Tail::open(world.path("eve.json"), None, Begin::Start).unwrap();
        assert!(world.read().is_empty());
        let write = |world: &World| {
            world.append("eve.json.1", "late\n");
            world.append("eve.json", "a1\n");
        };
        if down {
            world.restart(write)
        } else {
            write(&world)
        }
        assert_eq!(world.read(), ["a1"], "down: {down}");
    }
}

#[test]
fn a_copy_that_is_not_truncated_yet_is_not_read_beside_its_original() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.append("eve.json", "a2\n");
    world.rename("eve.json", "eve.json.2");
    world.append("eve.json", "b1\n");
    copy(&world, "eve.json.1");
    assert_eq!(world.read(), ["a2", "b1"]);
    world.append("eve.json", "b2\n");
    copy(&world, "eve.json.1");
    truncate(&world);
    world.append("eve.json", "c1\n");
    assert_eq!(world.read(), ["b2", "c1"]);
}

#[test]
fn a_compressed_rotated_file_is_not_read() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    world.rename("eve.json", "eve.json.1");
    world.append("eve.json", "b1\n");
    world.rename("eve.json.1", "eve.json.1.gz");
    assert_eq!(world.read(), ["b1"]);
    world.restart(|world| {
        world.rename("eve.json", "eve.json.2.gz");
        world.append("eve.json", "c1\n");
    });
    assert_eq!(world.read(), ["c1"]);
}

#[test]
fn a_file_in_a_dead_ones_inode_is_read_from_its_start() {
    let mut world = World::new("a1\n");
    assert_eq!(world.read(), ["a1"]);
    let mut checkpoint = Checkpoint::decode(&world.tail.checkpoint().unwrap()).unwrap();
    world.restart(|world| {
        fs::remove_file(world.path("eve.json")).unwrap();
        // Many file systems give away the inode that was freed last, or one after it.
        for number in 0..50 {
            world.append("next", "b1\nb2\n");
            if Facts::at(&world.path("next")).unwrap().id.inode == checkpoint.inode {
                break;
            }
            world.rename("next", &format!("other{number}"));
        }
        if !world.path("next").exists() {
            world.append("next", "b1\nb2\n");
        }
        world.rename("next", "eve.json");
    });
    // Where they do not, the file before had the inode of this one.
    let path = world.path("eve.json");
    checkpoint.inode = Facts::at(&path).unwrap().id.inode;
    world.tail = Tail::open(path, Some(&checkpoint.encode()), Begin::End).unwrap();
    assert_eq!(world.read(), ["b1", "b2"]);
    assert_eq!((world.tail.stats().lost_files, world.tail.stats().truncated), (1, 1));
}

#[test]
fn zeros_left_by_a_writer_that_kept_its_place_are_skipped() {
    let mut world = World::new("a1\na2\n");
    let mut writer = OpenOptions::new().write(true).open(world.path("eve.json")).unwrap();
    writer.seek(io::SeekFrom::End(0)).unwrap();
    assert_eq!(world.read(), ["a1", "a2"]);
    OpenOptions::new().write(true).truncate(true).open(world.path("eve.json")).unwrap();
    writer.write_all(b"b1\n").unwrap();
    assert_eq!(world.read(), ["b1"]);
    assert_eq!((world.tail.stats().truncated, world.tail.stats().hole_bytes), (1, 6));
}

#[test]
fn a_file_deleted_while_behind_is_finished() {
    let mut world = World::new("a1\na2\n");
    fs::remove_file(world.path("eve.json")).unwrap();
    assert_eq!(world.read(), ["a1", "a2"]);
    world.append("eve.json", "b1\n");
    assert_eq!(world.read(), ["b1"]);
    let stats = world.tail.stats();
    assert_eq!((stats.rotated, stats.lost_files), (1, 0), "nothing of it was lost");
}

#[test]
fn an_over_long_line_is_cut_and_its_rest_skipped() {
    let mut world = World::new("a1\n");
    let long = "x".repeat(3 * READ_BYTES);
    world.append("eve.json", &long);
    let lines = world.read();
    assert_eq!(lines[1], long[..RECORD_BYTES_MAX], "it is handed out before it ends");
    world.restart(|_| {});
    world.append("eve.json", "y\na2\n");
    assert_eq!(world.read(), ["a2"]);
    let mut whole = World::new(&format!("a1\n{long}\na2\n"));
    assert_eq!(whole.read(), ["a1", &long[..RECORD_BYTES_MAX], "a2"]);
    let stats = whole.tail.stats();
    assert_eq!((stats.over_long, stats.lines), (1, 3));
    assert_eq!(stats.skipped_bytes as usize, long.len() + 1 - RECORD_BYTES_MAX);
}

#[test]
fn invalid_utf_8_is_handed_out_byte_for_byte() {
    let world = World::new("");
    fs::write(world.path("eve.json"), b"a\xff\xfe\nb\n").unwrap();
    let mut tail = Tail::open(world.path("eve.json"), None, Begin::Start).unwrap();
    let mut buffer = ReadBuffer::new();
    assert!(tail.poll(world.now));
    let batch = tail.read_batch(&mut buffer, usize::MAX).unwrap();
    assert_eq!(batch.lines().next().unwrap().bytes, b"a\xff\xfe");
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again() {
    let mut world = World::new("a1\n");
    fs::remove_file(world.path("eve.json")).unwrap();
    fs::create_dir(world.path("eve.json")).unwrap();
    world.tail = Tail::open(world.path("eve.json"), None, Begin::Start).unwrap();
    assert!(!world.tail.poll(world.now));
    assert_eq!(world.tail.status().to_string(), "cannot be read: not a regular file");
    assert_eq!(world.tail.stats().read_errors, 2, "each attempt is a gap in the ledger");
    fs::remove_dir(world.path("eve.json")).unwrap();
    world.append("eve.json", "b1\n");
    assert!(!world.tail.poll(world.now + OPEN_RETRY_INTERVAL / 2), "not at every poll");
    assert_eq!(world.read(), ["b1"]);
}

#[cfg(unix)]
#[test]
fn a_forbidden_file_says_so() {
    let mut world = World::new("a1\n");
    let forbidden = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o000);
    fs::set_permissions(world.path("eve.json"), forbidden).unwrap();
    if File::open(world.path("eve.json")).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    world.tail = Tail::open(world.path("eve.json"), None, Begin::Start).unwrap();
    assert!(world.read().is_empty());
    assert!(matches!(world.tail.status(), Status::Unreadable(reason) if reason.contains("denied")));
}

#[cfg(unix)]
#[test]
fn two_paths_that_reach_one_file_have_one_identity() {
    let world = World::new("a1\n");
    std::os::unix::fs::symlink(world.path("eve.json"), world.path("link")).unwrap();
    let linked = Tail::open(world.path("link"), None, Begin::Start).unwrap();
    assert_eq!(linked.file_id(), world.tail.file_id());
    assert!(linked.file_id().is_some());
}

#[test]
fn small_reads_give_the_same_lines() {
    let lines: Vec<String> = (0..400).map(|n| format!("{n}:{}", "x".repeat(n * 37))).collect();
    let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(World::new(&content).read_by(1), lines);
    assert_eq!(World::new(&content).read(), lines);
}

#[test]
fn a_bad_checkpoint_is_refused() {
    assert_eq!(Tail::open("x", Some(&[]), Begin::End).unwrap_err(), CheckpointError::Malformed);
}
