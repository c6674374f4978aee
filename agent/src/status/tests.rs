use super::*;

fn board() -> Status {
    Status::new(Facts {
        tenant: "acme".parse().unwrap(),
        agent: "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().unwrap(),
        epoch: Epoch(7),
        certificate_from: Timestamp::ZERO,
        certificate_until: Timestamp::from_ms(1_800_000_000_000),
        spool_dir: PathBuf::from("/var/lib/signalbox/spool"),
        spool_bytes_max: 1 << 30,
        spool_damage: 0,
    })
}

fn source(name: &str, records: u64) -> SourceStatus {
    SourceStatus { name: name.to_owned(), records, malformed: 1, ..SourceStatus::default() }
}

#[test]
fn a_snapshot_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status.json");
    assert!(matches!(Snapshot::load(&path), Err(LoadError::Missing(_))));
    let board = board();
    board.set_connected("127.0.0.1:4433", "box1", None);
    board.update(|snapshot| snapshot.sources = vec![source("eve", 5)]);
    let snapshot = board.snapshot();
    snapshot.store(&path).unwrap();
    snapshot.store(&path).unwrap();
    assert_eq!(Snapshot::load(&path).unwrap(), snapshot);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn another_version_or_another_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status.json");
    let snapshot = Snapshot { version: VERSION + 1, ..board().snapshot() };
    snapshot.store(&path).unwrap();
    let error = Snapshot::load(&path).unwrap_err().to_string();
    assert!(error.contains("it has version 2, known is 1"), "{error}");
    fs::write(&path, "hello").unwrap();
    assert!(matches!(Snapshot::load(&path), Err(LoadError::Other { .. })));
}

#[test]
fn a_heartbeat_carries_the_sums_of_all_sources() {
    let board = board();
    board.update(|snapshot| {
        snapshot.sources = vec![source("a", 5), source("b", 7)];
        snapshot.spool.bytes = 100;
    });
    let stats = board.stats();
    assert_eq!((stats.records_read, stats.malformed, stats.spool_bytes), (12, 2, 100));
}

#[test]
fn a_process_that_has_not_written_for_long_is_shown_as_not_running() {
    let snapshot = board().snapshot();
    let soon = snapshot.written_at.saturating_add(Duration::from_secs(2));
    let late = snapshot.written_at.saturating_add(Duration::from_secs(600));
    assert!(snapshot.render(soon).contains("process  running for"));
    assert!(snapshot.render(late).contains("not running: its last sign of life is 10 min old"));
    let stopped = Snapshot { process: ProcessState::Stopped, ..snapshot };
    assert!(stopped.render(late).contains("stopped in good order"));
}

#[test]
fn an_administrator_sees_each_part_with_its_figures() {
    let board = board();
    board.set_connected("192.0.2.1:4433", "box1", None);
    let start = board.snapshot().written_at;
    let ago = |seconds| Some(start.saturating_sub(Duration::from_secs(seconds)));
    board.update(|snapshot| {
        snapshot.ledger = LedgerStatus { acked: 41, waiting: 2 };
        snapshot.held = Some(HeldStatus {
            records: 500,
            bytes: 3 << 20,
            bytes_max: 64 << 20,
            oldest: ago(7_200),
            evicted: 9,
            ..HeldStatus::default()
        });
        snapshot.limits = LimitsStatus {
            cpu_percent: 12,
            cpu_percent_max: Some(50),
            memory_bytes: 20 << 20,
            memory_bytes_max: 64 << 20,
            slowed_ms: 3_500,
            at: Some(Bound::Cpu),
            ..LimitsStatus::default()
        };
        let files =
            FilesStatus { known: 30, open: 4, waiting: 1, same: 2, compressed: 6, beyond: 0 };
        let eve = SourceStatus {
            skipped: 70,
            over_long: 3,
            rotated: 5,
            truncated: 1,
            offset: 12_345,
            behind_bytes: 2 << 20,
            behind_since: ago(90),
            lost_files: 1,
            files: Some(files),
            path: PathBuf::from("/var/log/*/eve.json"),
            ..source("eve", 1_234_567)
        };
        snapshot.sources = vec![eve];
    });
    let snapshot = board.snapshot();
    let text = snapshot.render(snapshot.written_at);
    for line in [
        "held     500 records, 3.0 MiB of 64.0 MiB, oldest 2 h old, 9 evicted",
        "ledger   interval 41 acked, 2 waiting",
        "limits   processor 12 % of 50 %, memory 20.0 MiB of 64.0 MiB, AT THE PROCESSOR'S BOUND: \
         the sources are slowed; slowed for 3 s so far",
        "eve                   1234567         70          1          3        5        1        \
         12345    2.0 MiB   90 s",
        "  /var/log/*/eve.json: 1 files were gone before they were read to their end: their rest \
         is lost",
        "  /var/log/*/eve.json: 30 files, 4 open, 1 waiting; not read: 2 that others have, 6 \
         compressed",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn what_came_of_attribution_is_shown_once_there_is_any() {
    let board = board();
    let text = |board: &Status| board.snapshot().render(board.snapshot().written_at);
    assert!(!text(&board).contains("processes behind connections"));
    board.update(|snapshot| {
        snapshot.attribution =
            attribution::Counts { found: 3, not_local: 40, ..attribution::Counts::default() };
    });
    let wanted = "processes behind connections: 3 found, 40 not local\n";
    assert!(text(&board).contains(wanted), "{}", text(&board));
}

#[test]
fn what_is_wrong_is_shown_with_what_it_means() {
    let board = board();
    board.set_link(LinkState::Waiting, Some("box:4433"));
    board.set_link_error("box:4433: no answer");
    board.update(|snapshot| {
        snapshot.spool.state = SpoolState::Full;
        let error = Some("permission denied".to_owned());
        let malformed_by_reason = [("it ends early".to_owned(), 3)].into();
        snapshot.sources = vec![SourceStatus { error, malformed_by_reason, ..source("eve", 0) }];
    });
    let snapshot = board.snapshot();
    let text = snapshot.render(snapshot.written_at);
    let reason = "3 malformed, and sent as they are: it ends early";
    for part in ["not connected", "box:4433: no answer", "FULL", "permission denied", reason] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn the_policy_is_shown_with_its_rules_and_what_is_wrong_with_it() {
    let board = board();
    let rule = |id: &str, state| RuleStatus {
        id: id.to_owned(),
        title: "the \u{1b}[31mscanner".to_owned(),
        action: "hold".to_owned(),
        state,
        held: 17,
        ..RuleStatus::default()
    };
    let policy = PolicyStatus {
        name: "acme".to_owned(),
        version: 7,
        error: Some("policy.yml:3:1: is empty".to_owned()),
        loaded_at: Some(Timestamp::ZERO),
        rules: vec![rule("a", RuleState::Expired), rule("b", RuleState::BeyondExpected)],
        ..PolicyStatus::default()
    };
    board.update(|snapshot| snapshot.policy = Some(policy));
    let mut snapshot = board.snapshot();
    let text = snapshot.render(snapshot.written_at);
    let parts =
        ["acme, version 7", "NOT TAKEN: policy.yml:3:1", "EXPIRED", "BEYOND EXPECTED", "17"];
    for part in parts {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    snapshot.policy.as_mut().unwrap().loaded_at = None;
    assert!(snapshot.render(snapshot.written_at).contains("everything is sent"));
}

#[test]
fn what_came_signed_is_shown_with_its_end_and_with_what_was_refused() {
    let board = board();
    let now = board.snapshot().written_at;
    let in_days = |days: u64| now.saturating_add(Duration::from_secs(days * 86_400));
    let show = |signed: SignedPolicyStatus, loaded_at| {
        let policy = PolicyStatus {
            name: "acme".to_owned(),
            version: 7,
            source: PolicySource::Signed,
            signed: Some(signed),
            loaded_at,
            ..PolicyStatus::default()
        };
        board.update(|snapshot| snapshot.policy = Some(policy));
        let snapshot = board.snapshot();
        let matters: Vec<String> =
            snapshot.matters(now).into_iter().map(|matter| matter.text).collect();
        (snapshot.render(now), matters.join("\n"))
    };
    let signed = SignedPolicyStatus {
        keys: 1,
        version: 7,
        expires_at: Some(in_days(30)),
        ..SignedPolicyStatus::default()
    };
    let (text, matters) = show(signed.clone(), Some(now));
    assert!(text.contains("signed, in force for"), "{text}");
    assert!(text.contains("signed version 7 ends"), "{text}");
    assert!(!matters.contains("signed version"), "{matters}");

    let refusal = RefusalStatus {
        version: 6,
        reason: "rollback".to_owned(),
        text: "not above\u{1b} 7".to_owned(),
        at: now,
    };
    let refused = SignedPolicyStatus { refused: 2, last_refusal: Some(refusal), ..signed.clone() };
    let (text, matters) = show(refused, Some(now));
    assert!(text.contains("REFUSED version 6"), "{text}");
    assert!(text.contains("(rollback)") && text.contains("2 so far"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(matters.contains("version 6 is refused"), "{matters}");

    let overridden = SignedPolicyStatus { is_overridden: true, ..signed.clone() };
    assert!(show(overridden, Some(now)).0.contains("NOT USED: this host's file goes first"));

    let ended = SignedPolicyStatus { expires_at: Some(now), has_ended: true, ..signed };
    let (text, matters) = show(ended, None);
    assert!(text.contains("version 7 ENDED"), "{text}");
    assert!(text.contains("NONE IN FORCE, everything is sent"), "{text}");
    assert!(matters.contains("has ended: everything is sent"), "{matters}");

    let none = SignedPolicyStatus { keys: 2, ..SignedPolicyStatus::default() };
    assert!(show(none, None).0.contains("none came signed yet, 2 keys are trusted"));
}

#[test]
fn a_trust_bundle_that_counts_without_its_key_and_one_that_is_damaged_need_different_steps() {
    let board = board();
    let show = |sequence| {
        let error = Some("trust.signed: what is wrong".to_owned());
        board.set_trust(Some(TrustStatus { sequence, error, ..TrustStatus::default() }));
        let snapshot = board.snapshot();
        let mut matters = snapshot.matters(snapshot.written_at);
        matters.retain(|matter| matter.part == "trust");
        assert!(snapshot.render(snapshot.written_at).contains("trust.signed: what is wrong"));
        matters.remove(0)
    };
    let counts = show(3);
    assert!(counts.text.contains("bundle 3 counts on"), "{counts:?}");
    assert!(counts.advice.contains("put the key's line back"), "{counts:?}");
    let damaged = show(0);
    assert!(damaged.text.contains("the configured root counts"), "{damaged:?}");
    assert!(damaged.advice.contains("join --again TOKEN"), "{damaged:?}");
    let text = board.snapshot().render(clock::wall());
    assert!(text.contains("trust    the configured root, as the bundle cannot be used"), "{text}");
}

#[test]
fn a_configured_root_that_a_bundle_has_replaced_is_shown_and_nothing_is_the_matter() {
    let board = board();
    board.set_connected("192.0.2.1:4433", "box1", None);
    let bundle = TrustStatus { sequence: 2, roots: 1, ..TrustStatus::default() };
    for is_root_replaced in [false, true] {
        board.set_trust(Some(TrustStatus { is_root_replaced, ..bundle.clone() }));
        let mut snapshot = board.snapshot();
        let now = snapshot.written_at;
        snapshot.certificate_until = now.saturating_add(Duration::from_secs(30 * 86_400));
        let says_so = snapshot.render(now).contains("the configured root is none of them");
        assert_eq!(says_so, is_root_replaced);
        assert_eq!(snapshot.matters(now), [], "so it is after each rotation");
    }
}
