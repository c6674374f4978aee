//! Each modifier of the specification's appendix, on a value that it lets match and on one that it does not.

use std::collections::BTreeSet;

use super::*;

/// The modifiers that the appendix of Sigma 2.1.0 defines, and the submodifiers of `re`.
const APPENDIX: [&str; 32] = [
    "all",
    "startswith",
    "endswith",
    "contains",
    "exists",
    "cased",
    "neq",
    "windash",
    "re",
    "i",
    "m",
    "s",
    "base64",
    "base64offset",
    "utf16le",
    "utf16be",
    "utf16",
    "wide",
    "lt",
    "lte",
    "gt",
    "gte",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "cidr",
    "expand",
    "fieldref",
    "",
];

/// Wednesday of the 23rd week of its year.
const WEDNESDAY: Value<'static> = Text("2024-06-05T22:07:01Z");
/// The same day of the month, a month, a year, an hour and a minute later, in the 27th week.
const LATER: Value<'static> = Text("2025-07-05T23:08:01Z");

/// An entry, what it matches, and what it does not.
type Case = (&'static str, Value<'static>, Value<'static>);

const TEXTS: [Case; 12] = [
    ("f|contains: Ab", Text("xaBx"), Text("xaxb")),
    ("f|startswith: Ab", Text("abx"), Text("xab")),
    ("f|endswith: Ab", Text("xab"), Text("abx")),
    ("f|contains|all: [a, b]", Text("xbya"), Text("xa")),
    ("f|contains|cased: Ab", Text("xAb"), Text("xab")),
    ("f|neq: a", Text("b"), Text("A")),
    ("f|windash|contains: ' -x'", Text("y /X"), Text("y +x")),
    ("f|exists: true", Null, Null),
    ("f|re: '^a.c$'", Text("abc"), Text("ABC")),
    ("f|re|i: '^a.c$'", Text("ABC"), Text("xABC")),
    ("f|re|m: '^b$'", Text("a\nb\nc"), Text("a\nbb\nc")),
    ("f|re|s: 'a.b'", Text("a\nb"), Text("ab")),
];

const ENCODINGS: [Case; 6] = [
    ("f|base64|contains|cased: foobar", Text("x Zm9vYmFy"), Text("x foobar")),
    ("f|base64offset|contains|cased: foobar", Text("eGZvb2Jhcng="), Text("x foobar")),
    ("f|utf16le|base64offset|contains|cased: cmd", Text("eABjAG0AZAB4AA=="), Text("eGNtZHg=")),
    (
        "f|utf16be|base64offset|contains|cased: cmd",
        Text("AHgAYwBtAGQAeA=="),
        Text("//5jAG0AZAB6eg=="),
    ),
    (
        "f|utf16|base64offset|contains|cased: cmd",
        Text("//5jAG0AZAB6eg=="),
        Text("eABjAG0AZAB4AA=="),
    ),
    ("f|wide|base64offset|contains|cased: cmd", Text("eABjAG0AZAB4AA=="), Text("eGNtZHg=")),
];

const NUMBERS: [Case; 8] = [
    ("f|lt: 5", Int(4), Int(5)),
    ("f|lte: 5", Text("5"), Text("5.1")),
    ("f|gt: 5", Float(5.1), Int(5)),
    ("f|gte: 5", Int(5), Int(4)),
    ("f|neq: 5", Int(4), Text("5")),
    ("f|cidr: 10.1.0.0/16", Text("10.1.255.9"), Text("10.2.0.1")),
    ("f|cidr: '2001:db8::/32'", Text("2001:DB8:1::2"), Text("2001:db9::1")),
    ("f|cidr: 10.1.2.3", Text("::ffff:10.1.2.3"), Text("10.1.2.4")),
];

const DATES: [Case; 9] = [
    ("f|minute: 7", WEDNESDAY, LATER),
    ("f|hour: 22", WEDNESDAY, LATER),
    ("f|day: 5", WEDNESDAY, Text("2024-06-06")),
    ("f|week: 23", WEDNESDAY, LATER),
    ("f|month: 6", WEDNESDAY, LATER),
    ("f|year: 2024", WEDNESDAY, LATER),
    ("f|minute|gt: 7", LATER, WEDNESDAY),
    ("f|month|lte: 6", Text("2024-06-05"), Text("2024-12-05")),
    ("f|year|gte: 2025", Int(1_751_756_881_000), Int(1_717_625_221_000)),
];

#[test]
fn each_modifier_of_the_specification_does_what_it_says() {
    let mut seen = BTreeSet::from(["", "expand", "fieldref"]);
    for (entry, yes, no) in TEXTS.into_iter().chain(ENCODINGS).chain(NUMBERS).chain(DATES) {
        let (names, _) = entry.split_once(':').unwrap();
        seen.extend(names.split('|').skip(1));
        assert!(f(entry, yes), "{entry} on {yes:?}");
        if !names.contains("exists") {
            assert!(!f(entry, no), "{entry} on {no:?}");
        }
    }
    assert_eq!(seen, BTreeSet::from(APPENDIX), "the two that follow have tests of their own");
    let absent = |entry: &str| matches(&format!("sel:\n  {entry}\ncondition: sel"), &[]);
    assert!(!absent("f|exists: true") && absent("f|exists: false"));
}

#[test]
fn expand_puts_in_what_the_mapping_says_and_fieldref_compares_with_another_field() {
    let known = [("admins".into(), vec!["root".into(), "adm-*".into()])];
    let mapping = Mapping { placeholders: known.into(), ..Mapping::default() };
    let rule = "title: it\nlogsource: {}\ndetection: {s: {f|expand: '%admins%'}, condition: s}\n";
    let set = set_with(rule, &mapping);
    let hits = |value| titles(&set, &Fields(vec![("f", vec![Text(value)])])).len();
    assert_eq!(["ROOT", "adm-eve", "%admins%", "eve"].map(hits), [1, 1, 0, 0]);
    let pair = |entry: &str, f, g| {
        matches(&format!("sel:\n  {entry}\ncondition: sel"), &[("f", f), ("g", g)])
    };
    assert!(pair("f|fieldref: g", Text("Eve"), Text("eve")));
    assert!(!pair("f|fieldref: g", Text("eve"), Text("bob")));
    assert!(pair("f|fieldref|neq: g", Text("eve"), Text("bob")));
    assert!(pair("f|fieldref|contains: g", Text("a-eve-b"), Text("eve")));
}

#[test]
fn without_its_submodifier_an_expression_looks_at_one_line_and_dots_stop_at_its_end() {
    assert!(!f("f|re: '^b$'", Text("a\nb\nc")) && !f("f|re: 'a.b'", Text("a\nb")));
    assert!(f("f|re|m|s|i: '^B.c$'", Text("a\nb\nc")));
}

#[test]
fn a_date_that_is_none_or_has_no_time_has_no_part() {
    assert!(!f("f|hour|gte: 0", Text("2024-06-05")) && !f("f|minute|gte: 0", Text("noon")));
    assert!(!f("f|month|gte: 0", Text("2024-13-05")) && f("f|month|gte: 0", Text("2024-12-05")));
}
