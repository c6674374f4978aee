use super::*;

const MINIMAL: &str = r#"
trust_domain = "signalbox.internal"
[store]
path = "store"
[ingest]
certificate = "box.pem"
key = "box.key"
roots = "/etc/root.pem"
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
    assert_eq!(config.store.retention, Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!(config.store.bytes_max, None);
    assert_eq!(config.ingest.listen, "0.0.0.0:4433".parse().unwrap());
    assert_eq!(config.ingest.connection_age, Duration::from_secs(24 * 60 * 60));
    assert_eq!(config.api.listen, "127.0.0.1:8443".parse().unwrap());
    assert_eq!(config.api.identity, config.ingest.identity);
    assert_eq!(config.metrics.listen, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(config.log, LogConfig { format: LogFormat::Text, level: LogLevel::Info });
}

#[test]
fn relative_paths_are_taken_from_the_files_folder() {
    let config = parse(&format!("{MINIMAL}[api]\ncertificate = \"api.pem\"\nkey = \"/k\"\n"));
    let config = config.unwrap();
    assert_eq!(config.store.path, Path::new("/base/store"));
    assert_eq!(config.ingest.identity.certificate, Path::new("/base/box.pem"));
    assert_eq!(config.ingest.identity.key, Path::new("/base/box.key"));
    assert_eq!(config.ingest.roots, Path::new("/etc/root.pem"));
    assert_eq!(config.api.identity.certificate, Path::new("/base/api.pem"));
    assert_eq!(config.api.identity.key, Path::new("/k"));
}

#[test]
fn a_size_is_counted_in_gib() {
    let config = parse(&MINIMAL.replace("[ingest]", "retention_gib = 3\n[ingest]")).unwrap();
    assert_eq!(config.store.bytes_max, Some(3 << 30));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = refused("[ingest]", "retention_day = 3\n[ingest]");
    assert!(error.starts_with("5:1: store"), "{error}");
    assert!(error.contains("unknown field \"retention_day\", expected one of"), "{error}");
    let error = refused("[ingest]", "[ingress]\n[ingest]");
    assert!(error.contains("ingress"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_line_and_key() {
    let error = refused("[ingest]", "retention_days = \"30\"\n[ingest]");
    assert!(error.starts_with("5:18: store.retention_days: invalid type: string"), "{error}");
}

#[test]
fn a_missing_key_is_refused_by_name() {
    let error = refused("key = \"box.key\"", "");
    assert!(error.contains("ingest") && error.contains("missing field \"key\""), "{error}");
    let error = refused("trust_domain = \"signalbox.internal\"", "");
    assert!(error.contains("missing field \"trust_domain\""), "{error}");
}

#[test]
fn a_text_that_is_no_toml_is_refused_with_its_line() {
    let error = refused("path = \"store\"", "path = \"store");
    assert!(error.starts_with("4:"), "{error}");
}

#[test]
fn values_that_cannot_be_right_are_refused_with_line_and_key() {
    let store = |line: &str| format!("{line}\n[ingest]");
    let ingest = |line: &str| format!("[ingest]\n{line}");
    let cases = [
        ("\"signalbox.internal\"", "\"A B\"".into(), "2:16: trust_domain: "),
        ("[ingest]", store("retention_days = 0"), "5:18: store.retention_days: 0 is not between"),
        ("[ingest]", store("retention_days = 9999"), "5:18: store.retention_days: "),
        ("[ingest]", store("retention_gib = -1"), "5:17: store.retention_gib: "),
        ("[ingest]", ingest("listen = \"box:4433\""), "6:10: ingest.listen: "),
        ("[ingest]", ingest("connection_age_hours = 0"), "6:24: ingest.connection_age_hours: "),
        ("[store]", "[api]\nlisten = \"1.2.3.4\"\n[store]".into(), "4:10: api.listen: "),
        ("[store]", "[api]\ncertificate = \"a\"\n[store]".into(), "4:15: api.certificate: "),
        ("[store]", "[api]\nkey = \"a\"\n[store]".into(), "4:7: api.key: "),
        ("[store]", "[metrics]\nlisten = \"\"\n[store]".into(), "4:10: metrics.listen: "),
        (
            "[store]",
            "[metrics]\nlisten = \"127.0.0.1:8443\"\n[store]".into(),
            "4:10: metrics.listen: 127.0.0.1:8443 is api.listen already",
        ),
        (
            "[ingest]",
            ingest("tcp_listen = \"0.0.0.0:8443\""),
            "6:14: ingest.tcp_listen: api.listen has 0.0.0.0:8443 over TCP: ",
        ),
        (
            "[ingest]",
            ingest("address_handshakes_per_second = 0"),
            "6:33: ingest.address_handshakes_per_second: ",
        ),
        (
            "[store]",
            "[quota]\nagent_blocks_per_second = 0\n[store]".into(),
            "4:27: quota.agent_blocks_per_second: ",
        ),
        ("[store]", "[log]\nlevel = \"loud\"\n[store]".into(), "4:9: log.level: "),
        ("[store]", "[log]\nformat = \"xml\"\n[store]".into(), "4:10: log.format: "),
    ];
    for (from, to, start) in cases {
        let error = refused(from, &to);
        assert!(error.starts_with(start), "{error}\nshould start with {start}");
    }
}

#[test]
fn an_authority_has_a_key_or_a_signer_and_an_address_that_hosts_can_reach() {
    let with =
        |lines: &str| parse(&format!("{MINIMAL}[authority]\ncertificate = \"i.pem\"\n{lines}"));
    let address = "addresses = [\"box.example:4433\"]\n";
    let key = "key = \"i.key\"\n";
    let config =
        with(&format!("{key}passphrase_file = \"p\"\nagent_days = 8\ngrace_days = 0\n{address}"));
    let authority = config.unwrap().authority.unwrap();
    assert_eq!(authority.certificate, Path::new("/base/i.pem"));
    assert_eq!(authority.validity, Duration::from_secs(8 * 24 * 60 * 60));
    assert_eq!(authority.grace, Duration::ZERO);
    let (path, file) = (PathBuf::from("/base/i.key"), PathBuf::from("/base/p"));
    assert_eq!(authority.key, AuthorityKey::File { path, passphrase_file: Some(file) });
    let config = with(&format!("signer = [\"sign\", \"--slot\"]\n{address}")).unwrap();
    let command = ["sign", "--slot"].map(str::to_owned).to_vec();
    assert_eq!(config.authority.unwrap().key, AuthorityKey::Command(command));

    for (lines, said) in [
        (format!("{key}signer = [\"sign\"]\n{address}"), "12:10: authority.signer: give it or"),
        (address.to_owned(), "authority.key: give its key, or the command"),
        (format!("signer = []\n{address}"), "11:10: authority.signer: name the program"),
        (
            format!("signer = [\"sign\"]\npassphrase_file = \"p\"\n{address}"),
            "12:19: authority.passphrase_file: belongs to a key",
        ),
        (format!("{key}agent_days = 0\n{address}"), "12:14: authority.agent_days: 0 is not"),
        (format!("{key}addresses = []\n"), "12:13: authority.addresses: 0 addresses"),
        (
            format!("{key}{address}distrusted = [\"ab\"]\n"),
            "13:15: authority.distrusted: a key's digest is 64 hex digits",
        ),
        (format!("{key}addresses = [\"box\"]\n"), "12:14: authority.addresses: \"box\" is no"),
        (format!("{key}addresses = [\"a:1\", \":4\"]\n"), "12:21: authority.addresses: \":4\" is"),
    ] {
        let error = with(&lines).unwrap_err().to_string();
        assert!(error.contains(said), "{error}\nshould contain {said}");
    }
}

#[test]
fn errors_of_a_file_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.toml");
    let missing = Config::load(&path).unwrap_err().to_string();
    assert!(missing.contains("box.toml: cannot be read"), "{missing}");
    std::fs::write(&path, "x = 1").unwrap();
    let invalid = Config::load(&path).unwrap_err().to_string();
    assert!(invalid.contains("box.toml:1:1: "), "{invalid}");
    std::fs::write(&path, vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(matches!(Config::load(&path), Err(LoadError::TooLarge(_))));
    std::fs::write(&path, MINIMAL).unwrap();
    assert_eq!(Config::load(&path).unwrap().store.path, dir.path().join("store"));
}

#[test]
fn the_shipped_example_is_a_configuration_that_says_the_defaults() {
    let shipped = parse(EXAMPLE).unwrap();
    // With the comment signs before keys and sections taken away, it says the same, but for the
    // bound on bytes, the authority, the policies' keys and the provider that people sign in at,
    // which have no default.
    let mut full = parse(&uncommented()).unwrap();
    let oidc = full.api.oidc.take().unwrap();
    assert_eq!(oidc.life, Duration::from_secs(10 * 60 * 60));
    assert_eq!((oidc.groups_claim.as_str(), oidc.groups.len()), ("groups", 2));
    assert_eq!(oidc.scopes, ["profile", "email"]);
    assert_eq!(full.store.bytes_max.take(), Some(500 << 30));
    let authority = full.authority.take().unwrap();
    assert_eq!(authority.validity, Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!(authority.grace, Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!(full.policy_keys.take(), Some("/etc/signalbox/policy.pub".into()));
    assert_eq!(full, shipped);
}

#[test]
fn the_shipped_example_has_every_key() {
    let table: toml::Table = uncommented().parse().unwrap();
    for section in ["store", "ingest", "authority", "policy", "api", "metrics", "log"] {
        let value = table[section].as_table().unwrap();
        for key in keys_of(section) {
            let is_shown = EXAMPLE.contains(&format!("\n#     {key} = "));
            assert!(value.contains_key(&key) || is_shown, "{section}.{key} is not in the example");
        }
    }
    let oidc = table["api"]["oidc"].as_table().unwrap();
    for key in ["issuer", "client_id", "client_secret_file", "public_url", "roots", "scopes"] {
        assert!(oidc.contains_key(key), "{key}");
    }
    for key in ["groups_claim", "name_claim", "hours", "group"] {
        assert!(oidc.contains_key(key), "{key}");
    }
}

/// Returns every key that a section may have, as the deserialiser itself names them.
fn keys_of(section: &str) -> Vec<String> {
    let mut rest: toml::Table = MINIMAL.parse().unwrap();
    rest.remove(section);
    let domain = rest.remove("trust_domain").unwrap();
    let rest = toml::to_string(&rest).unwrap();
    let text = format!("trust_domain = {domain}\n[{section}]\nno_such_key = 1\n{rest}");
    let error = parse(&text).unwrap_err();
    let mut named: Vec<String> =
        error.message.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(named.remove(0), "no_such_key", "{error}");
    assert!(!named.is_empty(), "{error}");
    named
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
