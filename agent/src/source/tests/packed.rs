//! Files that a rotation compressed before they were read to their end.

use super::*;
use crate::source::packed::tests::pack;

/// A line that is longer than what a file is known by.
fn record(text: &str) -> String {
    format!("{text} {}\n", "x".repeat(300))
}

fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(' ').next().unwrap()).collect()
}

impl World {
    /// Compresses a file as gzip does, which keeps when it was last written to.
    fn pack(&self, from: &str, to: &str) {
        let written_at = fs::metadata(self.path(from)).unwrap().modified().unwrap();
        pack(&self.path(to), &fs::read(self.path(from)).unwrap());
        File::options().append(true).open(self.path(to)).unwrap().set_modified(written_at).unwrap();
        fs::remove_file(self.path(from)).unwrap();
    }

    fn lost_files(&self) -> u64 {
        self.tail.stats().lost_files
    }
}

#[test]
fn the_rest_of_a_file_that_was_compressed_in_the_agents_absence_is_read_once() {
    for is_there_a_next in [true, false] {
        let mut world = World::new(&record("a1"));
        assert_eq!(names(&world.read()), ["a1"]);
        world.restart(|world| {
            world.append("eve.json", &(record("a2") + &record("a3") + "a4 without newline"));
            world.pack("eve.json", "eve.json.1.gz");
            if is_there_a_next {
                world.append("eve.json", "b1\n");
            }
        });
        // It is stopped again within the compressed file, which gets another name meanwhile.
        world.now += OPEN_RETRY_INTERVAL;
        assert!(world.tail.poll(world.now));
        let batch = world.tail.read_batch(&mut world.buffer, usize::MAX).unwrap();
        let line = batch.lines().next().unwrap();
        assert!(line.bytes.starts_with(b"a2 "));
        let checkpoint = world.tail.checkpoint_at(line.end).unwrap();
        world.rename("eve.json.1.gz", "eve.json.2.gz");
        let path = world.path("eve.json");
        world.tail = Tail::open(path, Some(&checkpoint), Begin::End).unwrap();
        let rest = world.read();
        assert_eq!(names(&rest)[..2], ["a3", "a4"]);
        if !is_there_a_next {
            assert!(world.read().is_empty());
            world.append("eve.json", "b1\n");
            assert_eq!(world.read(), ["b1"]);
        } else {
            assert_eq!(rest[2..], ["b1"]);
        }
        assert_eq!((world.lost_files(), world.tail.stats().rotated), (0, 1));
        world.restart(|_| {});
        assert!(world.read().is_empty());
    }
}

#[test]
fn all_files_compressed_after_it_are_read_in_order_and_none_before_it() {
    let mut world = World::new(&record("a1"));
    world.age("eve.json", 45);
    assert_eq!(names(&world.read()), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", &record("a2"));
        world.age("eve.json", 40);
        world.pack("eve.json", "eve.json.4.gz");
        for (text, seconds, name) in [
            ("long ago", 50, "eve.json.5.gz"),
            ("b1", 30, "eve.json.3.gz"),
            ("c1", 20, "eve.json.2.gz"),
            ("other", 15, "other.json.2.gz"),
        ] {
            world.append("some", &record(text));
            world.age("some", seconds);
            world.pack("some", name);
        }
        world.append("eve.json.1", &record("d1"));
        world.age("eve.json.1", 10);
        world.append("eve.json", &record("e1"));
    });
    assert_eq!(names(&world.read()), ["a2", "b1", "c1", "d1", "e1"]);
    assert_eq!((world.lost_files(), world.tail.stats().rotated), (0, 4));
    world.restart(|_| {});
    assert!(world.read().is_empty());
}

#[test]
fn a_compressed_file_that_is_broken_is_read_as_far_as_it_goes_and_counts_as_lost() {
    let mut world = World::new(&record("a1"));
    assert_eq!(names(&world.read()), ["a1"]);
    world.restart(|world| {
        let many: String = (0..3_000).map(|number| record(&format!("a{number}"))).collect();
        world.append("eve.json", &many);
        world.pack("eve.json", "eve.json.1.gz");
        let path = world.path("eve.json.1.gz");
        let len = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(path).unwrap().set_len(len / 2).unwrap();
        world.append("eve.json", "b1\n");
    });
    let read = world.read();
    assert!(read.len() > 100 && read.len() < 3_000 && read[0].starts_with("a0 "));
    assert_eq!((read.last().unwrap().as_str(), world.lost_files()), ("b1", 1));
}

#[test]
fn a_compressed_file_that_does_not_reach_the_checkpoint_or_begins_otherwise_is_another() {
    for text in [record("a1"), record("b1").repeat(3)] {
        let mut world = World::new(&(record("a1") + &record("a2")));
        assert_eq!(names(&world.read()), ["a1", "a2"]);
        world.restart(|world| {
            fs::remove_file(world.path("eve.json")).unwrap();
            world.append("some", &text);
            world.pack("some", "eve.json.1.gz");
            world.append("eve.json", "c1\n");
        });
        assert_eq!(world.read(), ["c1"]);
        assert_eq!(world.lost_files(), 1);
    }
}

#[test]
fn what_was_not_read_of_a_copy_that_was_compressed_at_once_is_unpacked() {
    let mut world = World::new(&record("a1"));
    assert_eq!(names(&world.read()), ["a1"]);
    world.restart(|world| {
        world.append("eve.json", &record("a2"));
        copy(world, "some");
        world.pack("some", "eve.json.1.gz");
        truncate(world);
        world.append("eve.json", "b1\n");
    });
    assert_eq!(names(&world.read()), ["a2", "b1"]);
    assert_eq!((world.lost_files(), world.tail.stats().truncated), (0, 1));
}

#[test]
fn what_is_compressed_after_it_was_read_is_not_read_again() {
    let mut world = World::new(&record("a1"));
    assert_eq!(names(&world.read()), ["a1"]);
    world.append("eve.json", &record("a2"));
    world.rename("eve.json", "eve.json.1");
    world.append("eve.json", &record("b1"));
    assert_eq!(names(&world.read()), ["a2", "b1"]);
    world.pack("eve.json.1", "eve.json.1.gz");
    assert!(world.read().is_empty());
    world.restart(|world| {
        world.rename("eve.json.1.gz", "eve.json.2.gz");
        world.pack("eve.json", "eve.json.1.gz");
        world.append("eve.json", &record("c1"));
    });
    assert_eq!(names(&world.read()), ["c1"]);
    world.restart(|_| {});
    assert!(world.read().is_empty());
    assert_eq!(world.lost_files(), 0);
}

/// Puts a file away as rotation does: under the name with this number, compressed.
fn put_away(world: &World, number: u32) {
    world.rename("eve.json", "some");
    world.pack("some", &format!("eve.json.{number}.gz"));
    // Files' times are no finer than the system's ticks.
    std::thread::sleep(Duration::from_millis(20));
}

#[test]
fn files_that_were_rotated_and_compressed_while_nobody_looked_at_an_open_one_are_read() {
    let mut world = World::new(&record("z1"));
    assert_eq!(names(&world.read()), ["z1"]);
    put_away(&world, 9);
    world.append("eve.json", &record("a1"));
    assert_eq!(names(&world.read()), ["a1"]);
    for (text, number) in [("a2", 3), ("b1", 2), ("c1", 1)] {
        world.append("eve.json", &record(text));
        put_away(&world, number);
    }
    world.append("eve.json", &record("d1"));
    assert_eq!(names(&world.read()), ["a2", "b1", "c1", "d1"]);
    assert_eq!(world.lost_files(), 0);
    put_away(&world, 0);
    world.append("eve.json", &record("e1"));
    assert_eq!(names(&world.read()), ["e1"], "nor is any of them read again");
}

#[test]
fn copies_that_were_compressed_at_once_while_nobody_looked_are_read() {
    let mut world = World::new(&record("a1"));
    assert_eq!(names(&world.read()), ["a1"]);
    for (text, number) in [("a2", 2), ("b1", 1)] {
        world.append("eve.json", &record(text));
        copy(&world, "some");
        world.pack("some", &format!("eve.json.{number}.gz"));
        truncate(&world);
        std::thread::sleep(Duration::from_millis(20));
    }
    world.append("eve.json", &record("c1"));
    assert_eq!(names(&world.read()), ["a2", "b1", "c1"]);
    assert_eq!(world.lost_files(), 0);
}

#[test]
fn what_was_read_is_not_read_again_by_whatever_time_its_compressor_gave_it() {
    let mut world = World::new(&record("a1"));
    let mut before: Option<String> = None;
    for (number, text) in ["a1", "b1", "c1", "d1"].into_iter().enumerate() {
        assert_eq!(names(&world.read()), [text]);
        world.restart(|_| {});
        // The file before is compressed now, and bears the time of that.
        if let Some(before) = before {
            std::thread::sleep(Duration::from_millis(20));
            let bytes = fs::read(world.path(&before)).unwrap();
            fs::remove_file(world.path(&before)).unwrap();
            pack(&world.path(&format!("{before}.gz")), &bytes);
        }
        let rotated = format!("eve.json.{number}");
        world.rename("eve.json", &rotated);
        before = Some(rotated);
        let next = ["b1", "c1", "d1", "e1"][number];
        world.append("eve.json", &record(next));
    }
    assert_eq!(names(&world.read()), ["e1"]);
    assert_eq!(world.lost_files(), 0);
}

#[test]
fn a_file_that_was_emptied_twice_without_a_copy_of_what_was_seen_goes_on_in_what_came_between() {
    let mut world = World::new(&record("a1"));
    assert_eq!(names(&world.read()), ["a1"]);
    truncate(&world);
    world.append("eve.json", &record("b1"));
    copy(&world, "eve.json.1");
    truncate(&world);
    world.append("eve.json", &record("c1"));
    assert_eq!(names(&world.read()), ["b1", "c1"]);
    assert_eq!(world.lost_files(), 1, "what followed a1, if anything, is nowhere");
}
