use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::{
    app::tests::house::House,
    command::journal::append,
    store::{
        engine::{Changes, Space, Staged},
        schema::{JournalKey, Key as _, MetaKey},
        values::{Actor, Entry, Event, Value as _},
    },
};

fn verdict_of(findings: &[Finding], part: &str) -> (Verdict, String) {
    let found = findings.iter().find(|finding| finding.part == part);
    let found = found.unwrap_or_else(|| panic!("{part} is not in {findings:?}"));
    (found.verdict, found.text.clone())
}

#[test]
fn a_house_in_order_has_nothing_to_say_and_is_left_as_it_was() {
    let house = House::new();
    let findings = check(&house.config, house.now());
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:?}");
    let parts: Vec<&str> = findings.iter().map(|finding| finding.part).collect();
    let listeners = ["ingest listener", "ingest over TCP", "api listener", "metrics listener"];
    assert_eq!(parts, [&["identity", "roots", "store"][..], &listeners[..]].concat());
    assert!(!house.config.store.path.exists(), "a check changes nothing");
    let json = serde_json::to_value(&findings).unwrap();
    assert_eq!(json[0]["part"], "identity");
    assert_eq!(json[0]["verdict"], "ok");
    let line = findings[1].to_string();
    assert!(line.starts_with("ok       roots            1 in "), "{line}");
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_is_a_problem() {
    let house = House::new();
    let verdict_after = |days: u64| {
        let now = house.now().saturating_add(Duration::from_secs(days * 24 * 60 * 60));
        verdict_of(&check(&house.config, now), "identity")
    };
    let (verdict, text) = verdict_after(61);
    assert!(verdict == Verdict::Warning && text.contains("renew it soon"), "{text}");
    let (verdict, text) = verdict_after(91);
    assert!(verdict == Verdict::Problem && text.contains("expired"), "{text}");
}

#[test]
fn an_authority_is_checked_with_what_hosts_will_be_told() {
    let mut house = House::new();
    house.let_hosts_join();
    let verdict = |house: &House| verdict_of(&check(&house.config, house.now()), "authority");
    let (well, text) = verdict(&house);
    assert_eq!(well, Verdict::Ok, "{text}");
    assert!(text.contains("hosts join at box.test:4433, and expect box"), "{text}");
    let key = house.path("authority/intermediate.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let (verdict_of_key, text) = verdict(&house);
    assert!(verdict_of_key == Verdict::Problem && text.contains("chmod 600"), "{text}");
}

#[test]
fn a_provider_that_is_away_is_a_warning_and_a_secret_that_others_can_read_a_problem() {
    let mut house = House::new();
    house.let_people_sign_in("http://127.0.0.1:9");
    let verdict = |house: &House| verdict_of(&check(&house.config, house.now()), "sign-in");
    let (away, text) = verdict(&house);
    assert!(away == Verdict::Warning && text.contains("nobody can sign in until"), "{text}");
    let secret = house.path("oidc.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let (exposed, text) = verdict(&house);
    assert!(exposed == Verdict::Problem && text.contains("chmod 600"), "{text}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&secret, "\n").unwrap();
    let (empty, text) = verdict(&house);
    assert!(empty == Verdict::Problem && text.contains("write the secret into it"), "{text}");
    house.let_people_sign_in("https://id.test");
    house.config.api.oidc.as_mut().unwrap().roots = Some(house.path("not-there.pem"));
    let (no_roots, text) = verdict(&house);
    assert!(no_roots == Verdict::Problem && text.contains("not-there.pem"), "{text}");
}

#[test]
fn each_file_that_is_wrong_is_named_under_its_own_part() {
    let house = House::new();
    let key = &house.config.ingest.identity.key;
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&house.config.ingest.roots, "no certificate").unwrap();
    fs::write(&house.config.store.path, "a file").unwrap();
    let mut config = house.config.clone();
    config.api.identity.certificate = house.path("not-there.pem");
    let findings = check(&config, house.now());
    for (part, said) in [
        ("identity", "chmod 600"),
        ("roots", "no certificate in PEM"),
        ("api identity", "not-there.pem cannot be read"),
        ("store", "is no folder"),
    ] {
        let (verdict, text) = verdict_of(&findings, part);
        assert!(verdict == Verdict::Problem && text.contains(said), "{part}: {text}");
    }
}

#[test]
fn an_address_that_another_program_has_is_a_problem_and_open_metrics_are_a_warning() {
    let house = House::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut config = house.config.clone();
    config.api.listen = taken.local_addr().unwrap();
    config.metrics.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
    config.ingest.listen = (Ipv4Addr::new(192, 0, 2, 1), 0).into();
    let findings = check(&config, house.now());
    let (verdict, text) = verdict_of(&findings, "api listener");
    assert!(verdict == Verdict::Problem && text.contains("in use by another"), "{text}");
    let (verdict, text) = verdict_of(&findings, "ingest listener");
    assert!(verdict == Verdict::Problem && text.contains("no address of this machine"), "{text}");
    let (verdict, text) = verdict_of(&findings, "metrics listener");
    assert!(verdict == Verdict::Warning && text.contains("let only operators"), "{text}");
}

#[test]
fn what_a_running_coordinator_holds_is_no_problem() {
    let in_use = || Err(io::Error::from(io::ErrorKind::AddrInUse));
    assert!(listener("here", in_use(), true).is_ok_and(|report| !report.is_warning));
    assert!(listener("here", in_use(), false).is_err());
    let house = House::new();
    assert_eq!(holder_of_store(&house.config.store.path), None, "nothing is there");
    let report = in_use_text(&house);
    assert!(report.ends_with("is in use by process 7: a coordinator is running"), "{report}");
}

#[test]
fn a_store_at_rest_has_its_journal_followed_and_is_left_as_it_was() {
    let house = House::new();
    let path = &house.config.store.path;
    let entry = Entry {
        at: house.now(),
        actor: Actor::Coordinator,
        tenant: None,
        event: Event::TenantChanged { revision: 1 },
    };
    let engine = RocksEngine::open(path).unwrap();
    let mut staged = Staged::new(&engine);
    (0..3).for_each(|_| append(&mut staged, &entry).unwrap());
    engine.commit(staged.into_changes()).unwrap();
    drop(engine);
    let files = || {
        let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    let before = files();
    let (verdict, text) = verdict_of(&check(&house.config, house.now()), "journal");
    assert_eq!(verdict, Verdict::Ok, "{text}");
    assert!(text.starts_with("3 entries follow one another; the last has hash "), "{text}");
    assert!(before == files(), "a check changes nothing");

    let engine = RocksEngine::open(path).unwrap();
    let mut staged = Staged::new(&engine);
    staged.delete(Space::Rows, &JournalKey(2).encode());
    engine.commit(staged.into_changes()).unwrap();
    drop(engine);
    let (verdict, text) = verdict_of(&check(&house.config, house.now()), "journal");
    assert!(verdict == Verdict::Problem && text.contains("entry 2 is missing"), "{text}");
}

#[test]
fn a_store_at_rest_says_whether_this_program_reads_it_and_whether_an_earlier_one_will() {
    let house = House::new();
    let written = |version: u32| {
        let engine = RocksEngine::open(&house.config.store.path).unwrap();
        let mut changes = Changes::new();
        changes.put(Space::Rows, MetaKey::SCHEMA.encode(), version.encode());
        engine.commit(changes).unwrap();
        drop(engine);
        verdict_of(&check(&house.config, house.now()), "schema")
    };
    let (verdict, text) = written(SCHEMA_VERSION - 1);
    assert!(verdict == Verdict::Warning && text.contains("keep a copy of the folder"), "{text}");
    assert_eq!(written(SCHEMA_VERSION).0, Verdict::Ok);
    let (verdict, text) = written(SCHEMA_VERSION + 1);
    assert!(verdict == Verdict::Problem && text.contains("start the program that"), "{text}");
}

fn in_use_text(house: &House) -> String {
    in_use(&house.config.store.path, 7).text
}

#[test]
fn a_store_that_may_grow_beyond_the_disk_is_a_warning() {
    let house = House::new();
    let store = StoreConfig { bytes_max: Some(u64::MAX), ..house.config.store.clone() };
    let (verdict, text) = match super::store(&store) {
        Ok(report) => (report.is_warning, report.text),
        Err(text) => panic!("{text}"),
    };
    assert!(verdict && text.contains("retention_gib"), "{text}");
}
