use shared::alert::Severity;

use super::*;

const MINIMAL: &str = r#"
[coordinator]
addresses = ["box.example:4433"]
[identity]
certificate = "agent.pem"
key = "agent.key"
trust_anchor = "/etc/root.pem"
[spool]
dir = "spool"
[[source]]
name = "eve"
kind = "suricata_eve"
path = "eve.json"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/base"))
}

/// Parses the minimal file with `from` replaced by `to`, which must fail; returns the error's text.
fn refused(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "{from}");
    parse(&MINIMAL.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn what_a_file_does_not_say_has_its_default() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.coordinator.server_name, "coordinator");
    assert_eq!((config.spool.bytes_max, config.spool.segment_bytes), (1 << 30, 16 << 20));
    assert_eq!(config.lanes.urgent_from, Some(Severity::High));
    assert_eq!(config.lanes.bulk_up_to, Some(Severity::Informational));
    assert_eq!(config.blocks, BlockPolicy { age_max: Duration::from_millis(50), level: 1 });
    assert!(matches!(config.sources[0].input, Input::File { from: StartFrom::End, .. }));
    assert_eq!(config.log, LogConfig { format: LogFormat::Text, level: LogLevel::Info });
    assert_eq!(config.ledger, LedgerPolicy::default());
    assert_eq!(config.grace, Duration::from_secs(5));
    let limits = Limits { memory_bytes_max: 64 << 20, disk_bytes_max: 1 << 30, cpu: None };
    assert_eq!(config.limits, limits);
}

#[test]
fn attribution_is_on_unless_it_is_turned_off_and_has_its_bound() {
    assert_eq!(parse(MINIMAL).unwrap().attribution, AttributionPolicy::default());
    let off = format!("{MINIMAL}[attribution]\nenabled = false\nmax_per_second = 7\n");
    let wanted = AttributionPolicy { is_enabled: false, per_second_max: 7 };
    assert_eq!(parse(&off).unwrap().attribution, wanted);
    let none = parse(&off.replace('7', "0")).unwrap_err().to_string();
    assert!(none.contains("attribution.max_per_second: 0 is not between 1 and 1000"), "{none}");
}

#[test]
fn a_held_ring_has_a_folder_of_its_own_and_bounds() {
    assert_eq!(parse(MINIMAL).unwrap().held, None);
    let with = |section: &str| parse(&format!("{MINIMAL}[held]\n{section}\n"));
    let held = with("dir = \"held\"").unwrap().held.unwrap();
    assert_eq!(held.dir, Path::new("/base/held"));
    assert_eq!(held.folded_dir(), Path::new("/base/held/folded"));
    assert_eq!((held.bytes_max, held.age_max), (256 << 20, Duration::from_secs(7 * 86_400)));
    assert_eq!(held.folded_bytes_max, 64 << 20);
    let bounds = "dir = \"held\"\nmax_bytes = \"16MiB\"\nmax_age = \"24h\"";
    let held = with(bounds).unwrap().held.unwrap();
    assert_eq!((held.bytes_max, held.age_max), (16 << 20, Duration::from_secs(86_400)));
    for (section, key) in [
        ("", "missing field \"dir\""),
        ("dir = \"spool\"", "held.dir: is the spool's folder"),
        ("dir = \"held\"\nmax_bytes = \"15MiB\"", "held.max_bytes: 15MiB is not between 16"),
        (
            "dir = \"held\"\nfolded_max_bytes = \"1MiB\"",
            "held.folded_max_bytes: 1MiB is not between",
        ),
        ("dir = \"held\"\nmax_age = \"1m\"", "held.max_age: 1m is not between"),
    ] {
        let error = with(section).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn relative_paths_are_taken_from_the_files_folder() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.identity.certificate, Path::new("/base/agent.pem"));
    assert_eq!(config.identity.trust_anchor, Path::new("/etc/root.pem"));
    assert_eq!(config.spool.dir, Path::new("/base/spool"));
    assert_eq!(config.status_path, Path::new("/base/spool/status.json"));
    assert_eq!(config.sources[0].input.to_string(), "/base/eve.json");
    assert_eq!(config.policy, None);
    let config = parse(&format!("{MINIMAL}[policy]\npath = \"policy.yml\"\n")).unwrap();
    assert_eq!(config.policy.unwrap(), Path::new("/base/policy.yml"));
    assert_eq!(config.policy_keys.file_name().unwrap(), POLICY_KEYS_FILE);
    let keys = format!("{MINIMAL}[policy]\ntrusted_keys = \"provider.pub\"\n");
    let config = parse(&keys).unwrap();
    assert_eq!(config.policy, None);
    assert_eq!(config.policy_keys, Path::new("/base/provider.pub"));
}

#[test]
fn a_source_may_listen_by_udp_and_by_tcp_at_one_port() {
    let listen = MINIMAL.replace("path = \"eve.json\"", "listen = \"udp://192.0.2.7:514\"");
    let both = format!(
        "{listen}[[source]]\nname=\"b\"\nkind=\"syslog\"\nlisten=\"tcp://192.0.2.7:514\"\n"
    );
    let config = parse(&both).unwrap();
    let inputs: Vec<String> = config.sources.iter().map(|it| it.input.to_string()).collect();
    assert_eq!(inputs, ["udp://192.0.2.7:514", "tcp://192.0.2.7:514"]);
}

#[test]
fn a_path_with_a_sign_in_it_is_a_pattern_and_taken_from_the_files_folder() {
    let config = parse(&MINIMAL.replace("\"eve.json\"", "\"*/eve.json\"")).unwrap();
    assert!(matches!(config.sources[0].input, Input::Files { from: StartFrom::End, .. }));
    assert_eq!(config.sources[0].input.to_string(), "/base/*/eve.json");
}

#[test]
fn a_path_that_ends_so_is_an_event_log_of_windows_and_its_kind_says_so() {
    for (path, shown) in [("Security.EVTX", "/base/Security.EVTX"), ("*.evtx", "/base/*.evtx")] {
        let text = MINIMAL.replace("\"eve.json\"", &format!("{path:?}"));
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains("source.path: is a Windows event log"), "{error}");
        let config = parse(&text.replace("\"suricata_eve\"", "\"windows_event\"")).unwrap();
        assert!(matches!(config.sources[0].input, Input::Evtx { from: StartFrom::End, .. }));
        assert_eq!(config.sources[0].input.to_string(), shown);
    }
}

#[test]
fn a_source_may_listen_within_tls_and_by_http() {
    let input = |text: &str| {
        let text = MINIMAL.replace("path = \"eve.json\"", text);
        parse(&text).unwrap().sources.remove(0).input
    };
    let identity = ListenerIdentity {
        certificate: "/base/c.pem".into(),
        key: "/k.pem".into(),
        senders_root: Some("/base/r.pem".into()),
    };
    let text = "listen = \"tls://[::]:6514\"\ncertificate = \"c.pem\"\nkey = \"/k.pem\"\n\
                senders_root = \"r.pem\"";
    assert_eq!(input(text), Input::Tls { address: "[::]:6514".parse().unwrap(), identity });
    for (address, more) in [("127.0.0.1:80", ""), ("192.0.2.7:80", "\nallow_remote = true")] {
        let text = format!("listen = \"http://{address}\"\ntoken_file = \"t\"{more}");
        let (address, token_file) = (address.parse().unwrap(), "/base/t".into());
        assert_eq!(input(&text), Input::Http { address, token_file });
    }
}

#[test]
fn a_source_may_be_standard_input_or_the_journal() {
    let input = |text: &str| {
        let text = MINIMAL.replace("path = \"eve.json\"", text);
        parse(&text).unwrap().sources.remove(0).input
    };
    assert_eq!(input("input = \"stdin\""), Input::Stdin);
    let journal = input("input = \"journald\"\nmatch = [\"_COMM=a=b\", \"+\", \"_UID=0\"]");
    let matches = ["_COMM=a=b", "+", "_UID=0"].map(str::to_owned).to_vec();
    assert_eq!(journal, Input::Journal { matches, from: StartFrom::End });
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = refused("dir = \"spool\"", "dir = \"spool\"\nmax_byte = \"1GiB\"");
    assert!(error.starts_with("10:1: spool"), "{error}");
    assert!(error.contains("unknown field \"max_byte\", expected one of"), "{error}");
    let error = refused("[spool]", "[spoool]");
    assert!(error.contains("spoool"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_line_and_key() {
    let error = refused("dir = \"spool\"", "dir = \"spool\"\nmax_bytes = 1000");
    assert!(error.starts_with("10:13: spool.max_bytes: invalid type: integer"), "{error}");
}

#[test]
fn a_missing_key_is_refused_by_name() {
    let error = refused("key = \"agent.key\"", "");
    assert!(error.contains("name certificate, key and trust_anchor"), "{error}");
    let error = refused("[coordinator]\naddresses = [\"box.example:4433\"]", "");
    assert!(error.contains("coordinator: is missing, and this host has not joined"), "{error}");
}

#[test]
fn a_text_that_is_no_toml_is_refused_with_its_line() {
    let error = refused("dir = \"spool\"", "dir = \"spool");
    assert!(error.starts_with("9:"), "{error}");
}

/// What is replaced in the least configuration, with what, and how the error begins.
type Case = (&'static str, &'static str, &'static str);

fn assert_refused(cases: &[Case]) {
    for (from, to, start) in cases {
        let error = refused(from, to);
        assert!(error.starts_with(start), "{error}\nshould start with {start}");
    }
}

#[test]
fn values_that_cannot_be_right_are_refused_with_line_and_key() {
    assert_refused(&[
        ("\"box.example:4433\"", "\"box.example\"", "3:14: coordinator.addresses: "),
        ("\"box.example:4433\"", "\"a:1\", \"b c:1\"", "3:21: coordinator.addresses: "),
        ("[\"box.example:4433\"]", "[]", "3:13: coordinator.addresses: 0 addresses"),
        ("[identity]", "server_name = \"a b\"\n[identity]", "4:15: coordinator.server_name: "),
        ("\"spool\"", "\"spool\"\nmax_bytes = \"1GB\"", "10:13: spool.max_bytes: "),
        ("\"spool\"", "\"spool\"\nmax_bytes = \"1MiB\"", "10:13: spool.max_bytes: "),
        ("\"spool\"", "\"spool\"\nsegment_bytes = \"1KiB\"", "10:17: spool.segment_bytes: "),
        ("[[source]]", "[lanes]\nurgent_from = \"hig\"\n[[source]]", "11:15: lanes.urgent_from: "),
        ("[[source]]", "[lanes]\nbulk_up_to = \"fatal\"\n[[source]]", "11:14: lanes.bulk_up_to: "),
        ("[[source]]", "[blocks]\nage = \"0ms\"\n[[source]]", "11:7: blocks.age: "),
        (
            "[[source]]",
            "[blocks]\ncompression_level = 22\n[[source]]",
            "11:21: blocks.compression_level: ",
        ),
        ("[[source]]", "[log]\nlevel = \"loud\"\n[[source]]", "11:9: log.level: "),
        ("[[source]]", "[shutdown]\ngrace = \"1h\"\n[[source]]", "11:9: shutdown.grace: "),
    ]);
}

#[test]
fn sources_that_cannot_be_right_are_refused_with_line_and_key() {
    assert_refused(&[
        ("\"suricata_eve\"", "\"snort\"", "12:8: source.kind: "),
        ("\"suricata_eve\"", "\"json_lines\"", "10:1: source.fields: "),
        ("\"eve\"", "\"e v e\"", "11:8: source.name: "),
        ("\"eve.json\"", "\"eve.json\"\nfrom = \"middle\"", "14:8: source.from: "),
        (
            "\"eve.json\"",
            "\"eve.json\"\n[[source]]\nname=\"eve\"\nkind=\"wazuh\"\npath=\"b\"",
            "15:6: source.name: ",
        ),
        (
            "\"eve.json\"",
            "\"eve.json\"\n[[source]]\nname=\"b\"\nkind=\"wazuh\"\npath=\"eve.json\"",
            "17:6: source.path: ",
        ),
        ("\"eve.json\"", "\"/var/log/**\"", "13:8: source.path: ends with **"),
        (
            "\"eve.json\"",
            "\"*.json\"\n[[source]]\nname=\"b\"\nkind=\"wazuh\"\npath=\"*.json\"",
            "17:6: source.path: ",
        ),
        ("path = \"eve.json\"", "", "10:1: source: "),
    ]);
}

#[test]
fn listeners_that_cannot_be_right_are_refused_with_line_and_key() {
    assert_refused(&[
        ("path = \"eve.json\"", "path = \"a\"\nlisten = \"udp://[::]:514\"", "10:1: source: "),
        ("path = \"eve.json\"", "path = \"a\"\ninput = \"stdin\"", "10:1: source: "),
        ("path = \"eve.json\"", "input = \"stdout\"", "13:9: source.input: "),
        ("path = \"eve.json\"", "input = \"stdin\"\nfrom = \"end\"", "14:8: source.from: "),
        ("path = \"eve.json\"", "path = \"a\"\nmatch = [\"A=b\"]", "14:9: source.match: "),
        (
            "path = \"eve.json\"",
            "input = \"journald\"\nmatch = [\"A=b\", \"--file\"]",
            "14:9: source.match: \"--file\"",
        ),
        (
            "path = \"eve.json\"",
            "input = \"stdin\"\n[[source]]\nname=\"b\"\nkind=\"wazuh\"\ninput=\"stdin\"",
            "17:7: source.input: source \"eve\" reads stdin already",
        ),
        ("path = \"eve.json\"", "listen = \"tls://[::]:6514\"", "10:1: source.certificate: "),
        ("path = \"eve.json\"", "listen = \"http://[::1]:80\"", "10:1: source.token_file: "),
        (
            "path = \"eve.json\"",
            "listen = \"http://192.0.2.7:80\"\ntoken_file = \"t\"",
            "13:10: source.listen: is no address of this host alone",
        ),
        (
            "path = \"eve.json\"",
            "listen = \"tcp://[::]:514\"\ntoken_file = \"t\"",
            "14:14: source.token_file: ",
        ),
        (
            "path = \"eve.json\"",
            "listen = \"tcp://[::1]:80\"\n[[source]]\nname=\"b\"\nkind=\"wazuh\"\n\
             listen=\"http://[::1]:80\"\ntoken_file=\"t\"",
            "17:8: source.listen: source \"eve\" reads http://[::1]:80 already",
        ),
        ("path = \"eve.json\"", "listen = \"udp://[::]:0\"", "13:10: source.listen: "),
        ("path = \"eve.json\"", "listen = \"udp://host:514\"", "13:10: source.listen: "),
        ("path = \"eve.json\"", "listen = \"https://[::]:514\"", "13:10: source.listen: "),
        (
            "path = \"eve.json\"",
            "listen = \"tcp://[::]:514\"\nfrom = \"end\"",
            "14:8: source.from: ",
        ),
        (
            "kind = \"suricata_eve\"\npath = \"eve.json\"",
            "kind = \"zeek_notice\"\nlisten = \"tcp://[::]:514\"",
            "13:10: source.listen: ",
        ),
        (
            "path = \"eve.json\"",
            "listen = \"udp://[::]:514\"\n\
             [[source]]\nname=\"b\"\nkind=\"syslog\"\nlisten=\"udp://[::]:514\"",
            "17:8: source.listen: ",
        ),
        (
            "\"eve.json\"",
            "\"eve.json\"\nfields = {product = \"p\", paths = {time = \"t\"}}",
            "14:10: source.fields: ",
        ),
        ("\"eve.json\"", "\"eve.json\"\nutc_offset = \"+01:00\"", "14:14: source.utc_offset: only"),
    ]);
}

#[test]
fn a_source_of_syslog_may_say_what_its_clocks_are_ahead_of_utc() {
    let with = |offset: &str| {
        let source = format!("\"syslog\"\npath = \"eve.json\"\nutc_offset = {offset:?}");
        parse(&MINIMAL.replace("\"suricata_eve\"\npath = \"eve.json\"", &source))
    };
    for (written, minutes) in [("+01:00", 60), ("-09:30", -570), ("+14:00", 840), ("-00:00", 0)] {
        assert_eq!(with(written).unwrap().sources[0].utc_offset, Some(minutes), "{written}");
    }
    for wrong in ["1", "+1:00", "+15:00", "+01:60", "CET", "+0a:00", ""] {
        let error = with(wrong).unwrap_err().to_string();
        assert!(error.contains("source.utc_offset") && error.contains("+01:00"), "{error}");
    }
}

#[test]
fn a_budget_of_the_disk_is_the_spools_bound_unless_that_is_said() {
    let limits = |text: &str| parse(&MINIMAL.replace("[[source]]", &format!("{text}\n[[source]]")));
    let config = limits("[limits]\ndisk = \"256MiB\"\ncpu = \"50%\"").unwrap();
    assert_eq!((config.spool.bytes_max, config.limits.disk_bytes_max), (256 << 20, 256 << 20));
    assert_eq!(config.limits.cpu.unwrap().percent(), 50);
    let config = limits("max_bytes = \"128MiB\"\n[limits]\ndisk = \"256MiB\"").unwrap();
    assert_eq!((config.spool.bytes_max, config.limits.disk_bytes_max), (128 << 20, 256 << 20));
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_with_what_there_is_to_keep() {
    let refused = |text: &str| refused("[[source]]", &format!("{text}\n[[source]]"));
    let error = refused("max_bytes = \"512MiB\"\n[limits]\ndisk = \"256MiB\"");
    assert!(error.starts_with("12:8: limits.disk: 256MiB is less than 512.0 MiB"), "{error}");
    let error = refused("[limits]\nmemory = \"8MiB\"");
    assert!(error.starts_with("11:10: limits.memory: 8MiB is less than "), "{error}");
    for cpu in ["0%", "4%", "401%", "half", "50"] {
        let error = refused(&format!("[limits]\ncpu = \"{cpu}\""));
        assert!(error.starts_with("11:7: limits.cpu: "), "{error}");
    }
}

#[test]
fn senders_over_tcp_add_to_the_least_budget_of_memory() {
    let listen = MINIMAL.replace("path = \"eve.json\"", "listen = \"tcp://[::1]:514\"");
    let least = |text: &str| parse(text).unwrap().limits.memory_bytes_max;
    assert_eq!(least(MINIMAL), 64 << 20);
    let second = "[[source]]\nname=\"b\"\nkind=\"syslog\"\nlisten=\"tcp://[::1]:515\"\n";
    let third = "[[source]]\nname=\"c\"\nkind=\"syslog\"\nlisten=\"tcp://[::1]:516\"\n";
    let three = [&listen, second, third].concat();
    assert!(least(&three) > 64 << 20);
    assert!(least(&format!("{three}[policy]\npath = \"p\"\n")) > least(&three), "so does a policy");
}

#[test]
fn a_source_that_the_hosts_owner_does_not_list_is_refused() {
    let refused = |text: &str| refused("[[source]]", &format!("[veto]\n{text}\n[[source]]"));
    let error = refused("paths = [\"/var/log/*.json\", \"other/eve.json\"]");
    assert!(error.starts_with("15:8: source.path: /base/eve.json is not listed"), "{error}");
    let error = refused("sources = [\"wazuh\"]");
    assert!(error.starts_with("13:8: source.name: \"eve\" is not listed"), "{error}");
    let error = refused("paths = [\"/var/log/**\"]");
    assert!(error.starts_with("11:10: veto.paths: "), "{error}");
    for listed in ["paths = [\"*.json\"]", "paths = [\"/base/eve.json\"]\nsources = [\"eve\"]"] {
        let text = MINIMAL.replace("[[source]]", &format!("[veto]\n{listed}\n[[source]]"));
        assert!(parse(&text).is_ok(), "{listed}");
    }
}

#[test]
fn a_field_map_names_fields_of_ours() {
    let json = MINIMAL.replace("\"suricata_eve\"", "\"json_lines\"");
    let map = |paths: &str| format!("{json}[source.fields]\nproduct = \"p\"\n{paths}\n");
    let good = parse(&map("paths = {time = \"ts\", \"finding_info.title\" = \"m\"}")).unwrap();
    assert!(matches!(&good.sources[0].kind, Kind::JsonLines(map) if map.product() == "p"));
    let error = parse(&map("paths = {titel = \"m\"}")).unwrap_err();
    assert!(error.to_string().contains("titel") && error.line >= 10, "{error}");
}

#[test]
fn the_shipped_example_is_a_configuration_that_says_the_defaults() {
    let told =
        coordinator_text(&[Address::parse("signalbox.example.net:4433").unwrap()], "coordinator");
    let joined = |dir: &Path| {
        assert_eq!(dir, Path::new(DEFAULT_IDENTITY_DIR));
        Ok(Some(told.clone()))
    };
    let shipped = Config::parse_joined(EXAMPLE, Path::new("/base"), joined).unwrap();
    assert_eq!(shipped.sources.len(), 1);
    // With the comment signs before keys and sections taken away, it says the same, and all keys
    // are known. All its sources together come to more than the usual budget of memory.
    let budget = "memory = \"64MiB\"";
    let error = parse(&uncommented()).unwrap_err();
    assert_eq!(error.key, "limits.memory");
    let full = parse(&uncommented().replace(budget, "memory = \"128MiB\"")).unwrap();
    assert_eq!(full.sources.len(), 8);
    assert_eq!(full.sources[0], shipped.sources[0]);
    assert_eq!(
        (full.coordinator, full.identity, full.spool, full.lanes, full.blocks),
        (shipped.coordinator, shipped.identity, shipped.spool, shipped.lanes, shipped.blocks)
    );
    assert_eq!(
        (full.ledger, full.log, full.grace, full.status_path),
        (shipped.ledger, shipped.log, shipped.grace, shipped.status_path)
    );
}

#[test]
fn a_host_that_joined_needs_to_be_told_neither_who_it_is_nor_where_the_coordinators_are() {
    let bare = "[spool]\ndir = \"spool\"\n[[source]]\nname = \"eve\"\nkind = \"suricata_eve\"\n\
                path = \"/e\"\n";
    let addresses = ["box.example:4433", "[2001:db8::1]:4433"].map(|a| Address::parse(a).unwrap());
    let told = coordinator_text(&addresses, "box.example");
    let config =
        Config::parse_joined(bare, Path::new("/base"), |_| Ok(Some(told.clone()))).unwrap();
    assert_eq!(config.coordinator.addresses, addresses);
    assert_eq!(config.coordinator.server_name, "box.example");
    assert_eq!(config.identity.key, Path::new(DEFAULT_IDENTITY_DIR).join("key.pem"));

    let elsewhere = bare.replace("[spool]", "[identity]\ndir = \"who\"\n[spool]");
    let config = Config::parse_joined(&elsewhere, Path::new("/base"), |dir| {
        assert_eq!(dir, Path::new("/base/who"));
        Ok(Some(told.clone()))
    });
    assert_eq!(config.unwrap().identity.certificate, Path::new("/base/who/certificate.pem"));

    let damaged =
        Config::parse_joined(bare, Path::new("/base"), |_| Ok(Some("addresses = 7".into())));
    let error = damaged.unwrap_err().to_string();
    assert!(error.contains("identity/coordinator.toml: 1:13: addresses"), "{error}");
}

#[test]
fn who_may_not_read_the_identity_is_not_told_to_join() {
    let bare = toml_without("coordinator").replace("[identity]", "[identity]\ndir = \"who\"");
    let bare: String = bare
        .lines()
        .filter(|line| !["certificate", "key", "trust_anchor"].iter().any(|k| line.starts_with(k)))
        .map(|line| format!("{line}\n"))
        .collect();
    let denied = |_: &Path| Err("/base/who cannot be read: Permission denied".to_owned());
    let error = Config::parse_joined(&bare, Path::new("/base"), denied).unwrap_err().to_string();
    assert!(error.contains("Permission denied") && !error.contains("join"), "{error}");
}

#[test]
fn where_an_identity_is_kept_is_known_before_the_host_has_joined() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    let default = Home { identity: DEFAULT_IDENTITY_DIR.into(), stores: Vec::new() };
    assert_eq!(home(&path).unwrap(), default, "no file yet");
    let kept = |text: &str| {
        std::fs::write(&path, text).unwrap();
        home(&path)
    };
    let stores = vec![PathBuf::from("/var/lib/signalbox/spool")];
    assert_eq!(kept(EXAMPLE).unwrap(), Home { stores, ..default });
    let text = "[identity]\ndir = \"who\"\n[held]\ndir = \"held\"";
    let (identity, held) = (dir.path().join("who"), dir.path().join("held"));
    assert_eq!(kept(text).unwrap(), Home { identity, stores: vec![held] });
    let error = kept(MINIMAL).unwrap_err().to_string();
    assert!(error.contains("identity: names files that were made elsewhere"), "{error}");
    let error = kept("[identity]\ndir = \"who\"\nkey = \"k\"").unwrap_err().to_string();
    assert!(error.contains("not both"), "{error}");
}

#[test]
fn every_shipped_field_map_is_usable() {
    let config = parse(&format!("{}\n{}", toml_without("source"), FIELD_MAPS)).unwrap();
    assert!(config.sources.len() >= 10);
}

#[test]
fn the_shipped_example_has_every_key() {
    let table: toml::Table = uncommented().parse().unwrap();
    for (section, keys) in sections() {
        let value = &table[section];
        let value = value.as_array().map_or(value, |list| &list[1]);
        let value = value.as_table().unwrap();
        for key in keys {
            let is_shown = |text: &str| text.contains(&format!("\n{key} = "));
            let elsewhere = is_shown(&uncommented()) || is_shown(&EXAMPLE.replace("#     ", ""));
            assert!(value.contains_key(&key) || elsewhere, "{section}.{key} is not in the example");
        }
    }
}

/// Returns every key that a section may have, as the deserialiser itself names them.
fn sections() -> Vec<(&'static str, Vec<String>)> {
    let names = [
        "coordinator",
        "identity",
        "spool",
        "held",
        "lanes",
        "blocks",
        "ledger",
        "source",
        "policy",
        "log",
        "status",
        "shutdown",
        "limits",
        "veto",
    ];
    let keys = |section: &&str| {
        let header =
            if *section == "source" { "[[source]]".to_owned() } else { format!("[{section}]") };
        let without: String = toml_without(section);
        let error = parse(&format!("{header}\nno_such_key = 1\n{without}")).unwrap_err();
        let mut named: Vec<String> =
            error.message.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(named.remove(0), "no_such_key", "{error}");
        assert!(!named.is_empty(), "{error}");
        named
    };
    names.iter().map(|section| (*section, keys(section))).collect()
}

/// Returns the minimal file without one section.
fn toml_without(section: &str) -> String {
    let mut table: toml::Table = MINIMAL.parse().unwrap();
    table.remove(section);
    toml::to_string(&table).unwrap()
}

/// Returns the example with every commented-out key and section active.
fn uncommented() -> String {
    let active = |line: &str| {
        let Some(rest) = line.strip_prefix("# ") else { return line.to_owned() };
        let is_key = rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        if is_key || rest.starts_with('[') { rest.to_owned() } else { line.to_owned() }
    };
    EXAMPLE.lines().map(active).collect::<Vec<_>>().join("\n")
}
