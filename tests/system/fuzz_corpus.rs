//! The fuzz targets over the corpus that is checked in, without a fuzzer: what was found once stays found.

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::fuzz::{block_decode, frame_decode, session_operations, sigma_rules, spool_recovery};

#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// A target: panics if its input breaks a promise.
type Target = fn(&[u8]);

/// Most bytes of the whole corpus: it is a beginning for the fuzzer, which keeps what it finds elsewhere.
const CORPUS_BYTES_MAX: u64 = 200_000;

#[test]
fn every_input_of_the_corpus_keeps_its_targets_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let targets: [(&str, Target); 5] = [
        ("block_decode", block_decode),
        ("frame_decode", frame_decode),
        ("session_operations", session_operations),
        ("sigma_rules", sigma_rules),
        ("spool_recovery", spool_recovery),
    ];
    let mut names: Vec<_> = list(&corpus).iter().map(|path| name(path)).collect();
    names.sort();
    assert_eq!(names, targets.map(|(name, _)| name.to_owned()), "each target has a corpus");
    let mut bytes = 0;
    for (target, run) in targets {
        let files = list(&corpus.join(target));
        assert!(!files.is_empty(), "{target} has inputs");
        for file in files {
            let input = fs::read(&file).unwrap();
            bytes += input.len() as u64;
            let file = name(&file);
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(outcome.is_ok(), "{target} breaks a promise over corpus/{target}/{file}");
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes are too much to check in");
}

#[test]
fn no_cut_or_changed_input_of_the_corpus_breaks_a_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for file in list(&corpus.join("frame_decode")) {
        let input = fs::read(file).unwrap();
        for at in 0..input.len() {
            frame_decode(&input[..at]);
            for byte in [0, 0x7f, 0xfb, 0xff] {
                let mut changed = input.clone();
                changed[at] = byte;
                frame_decode(&changed);
            }
        }
    }
}

/// Whoever adds a dependency copies the workspace's lock file over the fuzzers' (`tests/fuzz/run.sh` says how).
#[test]
fn the_fuzzers_are_built_with_the_versions_that_are_shipped() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = locked(&tests.join("../Cargo.lock"));
    let own = ["arbitrary", "fuzz", "libfuzzer-sys"];
    let fuzzed = locked(&tests.join("fuzz/Cargo.lock"));
    let fuzzed: Vec<_> = fuzzed.iter().filter(|(name, _)| !own.contains(&name.as_str())).collect();
    let others: Vec<_> = fuzzed.iter().filter(|locked| !shipped.contains(locked)).collect();
    assert!(fuzzed.len() > 100 && others.is_empty(), "{others:?} are locked for the fuzzers only");
}

/// Returns the names and versions in a lock file.
fn locked(path: &Path) -> Vec<(String, String)> {
    let value = |line: &str, key: &str| {
        let quoted = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        quoted.strip_suffix('"').map(str::to_owned)
    };
    let text = fs::read_to_string(path).unwrap();
    let mut packages = Vec::new();
    for package in text.split("[[package]]").skip(1) {
        let find = |key| package.lines().find_map(|line| value(line, key));
        packages.push((find("name").unwrap(), find("version").unwrap()));
    }
    packages
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the corpus is beside the targets");
    entries.map(|entry| entry.expect("the folder can be read").path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
