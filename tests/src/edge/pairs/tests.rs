use super::*;

#[test]
fn the_table_can_be_read_and_gives_a_reason_each_time() {
    let table: Table = toml::from_str(TABLE).unwrap();
    assert!(table.explained.iter().all(|explained| !explained.why.is_empty()));
    assert!(table.alone.iter().all(|alone| !alone.why.is_empty()));
}

#[test]
fn differences_of_form_are_told_by_themselves() {
    let of_form = |attribute, ours, theirs| of_form(attribute, ours, theirs, r#"{"a":"b\"c"}"#);
    assert!(of_form("time", Some("1700000000123"), Some("1700000000")).is_some());
    assert!(of_form("time", Some("1700000000123"), Some("1700000000000")).is_some());
    assert_eq!(of_form("time", Some("1700000000123"), Some("1700000001000")), None);
    assert!(of_form("finding_info.title", Some("A."), Some("a")).is_some());
    assert_eq!(of_form("finding_info.title", None, Some("x")), Some(NOT_IN_RECORD));
    assert_eq!(of_form("finding_info.title", None, Some("b\"c")), None);
    assert_eq!(of_form("severity_id", None, Some("1")), None);
}

#[test]
fn what_only_we_have_is_told_only_where_it_is_in_the_record() {
    let of_form = |attribute, ours| of_form(attribute, Some(ours), None, r#"{"a":"b"}"#);
    assert_eq!(of_form("finding_info.title", "b"), Some(ONLY_OURS));
    assert_eq!(of_form("finding_info.title", "made up"), None);
    assert_eq!(of_form("time", "1700000000123"), Some(ONLY_OURS));
}

#[test]
fn remarks_and_a_comma_behind_the_last_item_are_overlooked() {
    let text = "[{ \"a\": \",} //\", \"b\": [1, ], // no, ]\n }, 2]\n{\"c\": 3}";
    assert_eq!(objects(text), [json!({ "a": ",} //", "b": [1] }), json!({ "c": 3 })]);
    assert!(objects("[1]").is_empty() && objects("x").is_empty() && objects("").is_empty());
}

#[test]
fn a_row_has_the_names_of_its_header() {
    assert_eq!(rows("a,b\n1, x\nshort\n"), [json!({ "a": "1", "b": "x" })]);
    assert!(rows("").is_empty() && rows("a,b").is_empty());
}

#[test]
fn what_says_nothing_is_absent_and_lists_have_their_first_item() {
    let value = json!({ "a": [{ "b": 7 }], "c": "-", "severity_id": 0, "d": [] });
    assert_eq!(look_up(&value, "a.b").as_deref(), Some("7"));
    for path in ["c", "severity_id", "d", "d.e", "a", "x.y"] {
        assert_eq!(look_up(&value, path), None, "{path}");
    }
}

/// An archive of one pair that is compared, one that is not, and one file alone.
const OWN_TABLE: &str = r#"
    expected = { named = 1, others = 1, compared = 1 }
    [[product]]
    files = "one/"
    equal_min = 1
    [product.fields]
    product = "own"
    paths = { "finding_info.title" = "what", "device.hostname" = "host" }
    [[product]]
    files = "two/"
    not_read = "it is a picture"
    [[alone]]
    file = "three/c.raw"
    why = "nobody mapped it"
    [[explained]]
    files = "one/"
    attribute = "device.hostname"
    why = "theirs is the other host"
"#;

fn problems(table: &str, files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let table: Table = toml::from_str(table).unwrap();
    let now = Timestamp::from_ms(1_800_000_000_000);
    let pairs = compare_folder(folder.path(), &table, &BTreeMap::new(), now).unwrap();
    let (_, unexplained) = pairs.differences();
    assert_eq!(pairs.holds(), pairs.problems.is_empty() && unexplained.is_empty());
    pairs.problems.into_iter().chain(unexplained).collect()
}

const FILES: [(&str, &str); 5] = [
    ("one/a.raw", r#"{"what":"w","host":"h","other":"i"}"#),
    ("one/a.ocsf", r#"{"finding_info":{"title":"w"},"device":{"hostname":"i"}}"#),
    ("two/b.event", "?"),
    ("two/b.json", "{}"),
    ("three/c.raw", "{}"),
];

#[test]
fn pairs_that_are_all_accounted_for_hold() {
    assert_eq!(problems(OWN_TABLE, &FILES), [] as [&str; 0]);
}

#[test]
fn nothing_compared_is_not_all_compared() {
    assert!(problems(OWN_TABLE, &[]).len() >= 3);
    assert_eq!(problems(OWN_TABLE, &FILES[2..]).len(), 4, "counts and entries of nothing");
}

#[test]
fn a_pair_that_cannot_be_read_or_has_too_little_in_common_is_a_problem() {
    for theirs in ["", "{}", r#"{"finding_info":{"title":"x"}}"#] {
        let mut files = FILES;
        files[1].1 = theirs;
        let problems = problems(OWN_TABLE, &files);
        assert!(problems.iter().any(|problem| problem.starts_with("one/a.raw")), "{problems:?}");
    }
}

#[test]
fn a_file_alone_that_nobody_names_is_a_problem() {
    let mut files = FILES.to_vec();
    files.push(("four/d.ocsf", "{}"));
    assert_eq!(problems(OWN_TABLE, &files).len(), 1);
}

#[test]
fn an_entry_of_nothing_that_is_still_there_is_a_problem() {
    let mut files = FILES;
    files[0].1 = r#"{"what":"w","host":"i"}"#;
    assert_eq!(
        problems(OWN_TABLE, &files),
        ["[[explained]] device.hostname of one/: nothing is left that it is of"]
    );
}

#[test]
fn a_difference_that_nobody_explains_is_told() {
    let table = OWN_TABLE.replace("device.hostname\"\n    why", "device.ip\"\n    why");
    assert_eq!(problems(&table, &FILES).len(), 2, "the difference, and the entry of nothing");
}
