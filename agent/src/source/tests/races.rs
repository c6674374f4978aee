//! A writer that rotates its file as often as it can, beside a tail that is stopped and started.

use std::{collections::BTreeMap, thread};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// How often the file is rotated: a few hundred times are enough for each of the ways in which it went wrong.
const ROTATIONS: usize = 300;

/// How a file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    Renamed,
    CopiedAndEmptied,
}

/// Writes numbered lines and rotates the file, `rotations` times; returns how many lines it wrote.
fn write(path: &Path, rotation: Rotation, rotations: usize, seed: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let open = || OpenOptions::new().append(true).create(true).open(path).unwrap();
    let (mut file, mut number) = (open(), 0);
    let mut rotated = 0;
    while rotated < rotations {
        let mut lines = String::new();
        for _ in 0..rng.random_range(1..10) {
            lines.push_str(&format!("{number}\n"));
            number += 1;
        }
        if rng.random_ratio(1, 4) {
            rotated += 1;
            let aside = path.with_extension(format!("json.{rotated}"));
            match rotation {
                Rotation::Renamed => {
                    fs::rename(path, aside).unwrap();
                    file = open();
                }
                Rotation::CopiedAndEmptied => {
                    fs::copy(path, aside).unwrap();
                    file.set_len(0).unwrap();
                }
            }
        }
        file.write_all(lines.as_bytes()).unwrap();
        if rng.random_ratio(1, 3) {
            thread::sleep(Duration::from_micros(rng.random_range(1..6_000)));
        }
    }
    number
}

/// Reads beside the writer, now and then after a pause or a restart, until all is read.
fn nothing_is_lost_or_doubled(rotation: Rotation, seed: u64) {
    let mut world = World::new("");
    let path = world.path("eve.json");
    let writer = thread::spawn(move || write(&path, rotation, ROTATIONS, seed));
    let mut rng = StdRng::seed_from_u64(!seed);
    let pause = |rng: &mut StdRng, most_us: u64| {
        thread::sleep(Duration::from_micros(rng.random_range(1..most_us)));
    };
    let mut read: BTreeMap<u64, u64> = BTreeMap::new();
    let mut note = |lines: Vec<String>| {
        for line in lines {
            *read.entry(line.parse().unwrap()).or_default() += 1;
        }
    };
    while !writer.is_finished() {
        match rng.random_range(0..20) {
            0 => world.restart(|_| pause(&mut rng, 30_000)),
            1..=6 => pause(&mut rng, 10_000),
            _ => note(world.read()),
        }
    }
    let written = writer.join().unwrap();
    // Where files were renamed faster than they could be listed, it is tried again.
    (0..2).for_each(|_| note(world.read()));
    let lost: Vec<u64> = (0..written).filter(|number| !read.contains_key(number)).collect();
    let doubled: Vec<_> = read.iter().filter(|(_, times)| **times > 1).collect();
    assert!(lost.is_empty() && doubled.is_empty(), "seed {seed}: {lost:?}, {doubled:?}");
}

#[test]
fn however_a_file_is_copied_and_emptied_beside_its_reader_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled(Rotation::CopiedAndEmptied, 1);
}

#[test]
fn however_a_file_is_renamed_beside_its_reader_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled(Rotation::Renamed, 2);
}
