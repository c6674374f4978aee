//! What the program does when nobody reads what it writes.

use std::process::{Command, ExitStatus, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_signalbox-agent");

/// Runs the program with a standard output that nobody reads.
fn unheard(arguments: &[&str]) -> ExitStatus {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    child.wait().expect("it ends")
}

#[test]
fn a_command_ends_as_it_would_when_nobody_reads_what_it_says() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    let dry = unheard(&["install-service", "--dry-run", "--root", root]);
    assert_eq!(dry.code(), Some(0));
    assert_eq!(unheard(&["install-service", "--root", root]).code(), Some(0));
    let config = format!("{root}/etc/signalbox/agent.toml");
    assert!(std::path::Path::new(&config).is_file(), "it was carried out");
    assert_eq!(unheard(&["uninstall-service", "--root", root]).code(), Some(0));
}
