//! The veto is in force for a whole process, so this is a process of its own with one test.
#![cfg(unix)]

use std::{fs, os::unix::fs::symlink};

use agent::source::{Begin, InForce, Pattern, Status, Tail, Veto};

#[test]
fn what_is_in_force_holds_for_every_file_and_is_never_widened() {
    let root = tempfile::tempdir().unwrap();
    let (log, secret) = (root.path().join("log"), root.path().join("secret.json"));
    fs::create_dir(&log).unwrap();
    fs::write(log.join("eve.json"), "{}\n").unwrap();
    fs::write(&secret, "{}\n").unwrap();
    symlink(&secret, log.join("linked.json")).unwrap();
    let opened = |path| Tail::open(path, None, Begin::Start).unwrap().status().clone();
    assert_eq!(opened(secret.clone()), Status::Reading, "nothing is in force yet");

    let pattern = |text: &str| Pattern::parse(&root.path().join(text)).unwrap();
    let narrow = Veto::of(vec![pattern("log/*.json")]);
    narrow.put_in_force().unwrap();
    assert_eq!(opened(log.join("eve.json")), Status::Reading);
    for refused in [secret.clone(), log.join("linked.json")] {
        let Status::Unreadable(reason) = opened(refused) else { panic!("it was read") };
        assert!(reason.contains("veto.paths"), "{reason}");
    }

    let wide = Veto::of(vec![pattern("log/*.json"), pattern("*.json")]);
    assert_eq!(wide.put_in_force(), Err(InForce));
    assert_eq!(narrow.put_in_force(), Ok(()), "again is no change");
    assert_eq!(Veto::default().put_in_force(), Ok(()), "to allow all changes nothing");
    assert!(matches!(opened(secret), Status::Unreadable(_)));

    // A file that is put aside under a name that is not listed is not followed there.
    let tail = Tail::open(log.join("eve.json"), None, Begin::Start).unwrap();
    let checkpoint = tail.checkpoint().unwrap();
    drop(tail);
    fs::rename(log.join("eve.json"), log.join("eve.json.1")).unwrap();
    let tail = Tail::open(log.join("eve.json"), Some(&checkpoint), Begin::Start).unwrap();
    assert_ne!(*tail.status(), Status::Reading);
}
