//! `make demo` as a stranger would run it, with the real programs, up to the end of its show.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};
use tests::cluster::Programs;

#[test]
fn the_demo_shows_a_decided_and_a_claimed_case_and_leaves_no_process_behind() {
    Programs::build().unwrap();
    let folder = tempfile::tempdir().unwrap();

    let done = demo(folder.path()).env("DEMO_EXIT", "1").output().unwrap();

    let shown = String::from_utf8_lossy(&done.stdout);
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{shown}\n{complaint}");
    let all = recorded_lines();
    let arrived = format!("{all} of {all} written, {all} read, 0 blocks not acknowledged");
    assert!(shown.contains(&arrived), "{arrived}: {shown}");
    assert_eq!(shown.matches(" is suspicious: ").count(), 1, "one case is decided: {shown}");
    assert_eq!(shown.matches("Yours until").count(), 2, "two cases are claimed: {shown}");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}

#[test]
fn a_file_that_is_not_there_is_named_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();

    let done = demo(folder.path()).env("EVE", "no-such.json").output().unwrap();

    let complaint = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("EVE: cannot read no-such.json"), "{complaint}");
    assert!(!folder.path().join(".demo").exists());
}

#[test]
fn a_second_demo_in_the_same_folder_is_refused_and_names_the_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".demo")).unwrap();
    let lock = fs::File::create(folder.path().join(".demo/lock")).unwrap();
    lock.try_lock().unwrap();
    fs::write(folder.path().join(".demo/lock"), "4711\n").unwrap();

    let done = demo(folder.path()).output().unwrap();

    let complaint = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{complaint}");
    assert!(
        complaint.contains("runs already") && complaint.contains("process 4711"),
        "{complaint}"
    );
}

fn recorded_lines() -> usize {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let files = ["acme/eve.json", "acme/alerts.json", "globex/eve.json", "globex/alerts.json"];
    let texts = files.map(|file| fs::read_to_string(recordings.join(file)).unwrap());
    texts.iter().map(|text| text.lines().count()).sum()
}

/// Returns the demo, to be started in `folder` as if nothing in the environment asked for anything.
fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["EVE", "WAZUH", "KEEP", "DEMO_EXIT"] {
        command.env_remove(name);
    }
    command
}

/// Returns the command lines that name a file in `folder`.
fn processes_of(folder: &Path) -> Vec<String> {
    let mut system = System::new().unwrap();
    let kind = ProcessRefreshKind::nothing().without_tasks().with_cmd(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let lines = system.processes().values().map(|process| {
        let words = process.cmd().iter().map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    });
    lines.filter(|line| line.contains(&*folder.to_string_lossy())).collect()
}
