//! What each modifier makes of a value.

use super::{super::yaml, *};

fn entry(text: &str) -> Result<Expr<Ask<Box<str>>>, Reason> {
    let known: Placeholders =
        [("servers".into(), vec!["srv*".into(), "dc1".into()]), ("none".into(), vec![])].into();
    let document = yaml::parse(text).remove(0).map_err(|fault| fault.reason)?;
    let (key, value) = &document.entries().unwrap()[0];
    read(key, value, &known).map_err(|fault| fault.reason)
}

/// The texts that are asked for, with their wildcards.
fn texts(text: &str) -> Vec<String> {
    let mut texts = Vec::new();
    entry(text).unwrap().map(&mut |ask| match ask.test {
        Test::Text { pattern, .. } => texts.push(show(&pattern)),
        other => texts.push(format!("{other:?}")),
    });
    texts
}

fn show(pattern: &Pattern) -> String {
    let show = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::One => "?".to_owned(),
        Part::Many => "*".to_owned(),
        Part::Placeholder(name) => format!("%{name}%"),
    };
    pattern.0.iter().map(show).collect()
}

#[test]
fn texts_are_opened_at_their_ends_and_lose_their_case_unless_it_counts() {
    assert_eq!(texts("f: Ab"), ["ab"]);
    assert_eq!(texts("f|contains: Ab"), ["*ab*"]);
    assert_eq!(texts("f|startswith: 'Ab*'"), ["ab*"]);
    assert_eq!(texts("f|endswith: Ab"), ["*ab"]);
    assert_eq!(texts("f|endswith|cased: Ab"), ["*Ab"]);
    assert_eq!(texts("f|contains: 46"), ["*46*"]);
    assert_eq!(texts("f: true"), ["true"]);
    assert_eq!(texts("f: ''"), [""]);
}

#[test]
fn lists_are_alternatives_unless_all_are_asked_for_or_none() {
    let shape = |text| entry(text).unwrap();
    assert!(matches!(shape("f: [a, b]"), Expr::Or(parts) if parts.len() == 2));
    assert!(matches!(shape("f|all|contains: [a, b]"), Expr::And(parts) if parts.len() == 2));
    assert!(matches!(shape("f|neq: [a, b]"), Expr::Not(part) if matches!(*part, Expr::Or(_))));
    let nested = shape("f|contains|all|windash: [' -a', ' -b']");
    let Expr::And(parts) = nested else { panic!("{nested:?}") };
    assert!(parts.iter().all(|part| matches!(part, Expr::Or(dashes) if dashes.len() == 5)));
}

#[test]
fn base64_is_of_the_whole_text_and_offsets_leave_out_what_neighbours_change() {
    assert_eq!(texts("f|base64|cased: foobar"), ["Zm9vYmFy"]);
    // "foobar" behind zero, one and two other bytes.
    assert_eq!(
        texts("f|base64offset|contains|cased: foobar"),
        ["*Zm9vYmFy*", "*Zvb2Jhc*", "*mb29iYX*"]
    );
    for (offset, text) in texts("f|base64offset|cased: 'a/b \"'").into_iter().enumerate() {
        for (before, behind) in [("xy", "zz"), ("\0\0", "\u{7f}")] {
            let whole = format!("{}a/b \"{behind}", &before[..offset]);
            assert!(STANDARD.encode(whole).contains(&text), "{offset} {text}");
        }
    }
}

#[test]
fn sixteen_bit_encodings_come_before_base64_or_are_compared_as_bytes() {
    assert_eq!(texts("f|wide|base64|cased: cmd"), ["YwBtAGQA"]);
    assert_eq!(texts("f|utf16le|base64|cased: cmd"), ["YwBtAGQA"]);
    assert_eq!(texts("f|utf16be|base64|cased: cmd"), ["AGMAbQBk"]);
    assert_eq!(texts("f|utf16|base64|cased: cmd"), ["//5jAG0AZAA="]);
    assert_eq!(texts("f|wide: cmd"), ["c\0m\0d\0"]);
    assert_eq!(texts("f|utf16|cased: c"), ["\u{ff}\u{fe}c\0"]);
}

#[test]
fn windash_makes_each_dash_any_dash() {
    assert_eq!(texts("f|windash: -x"), ["-x", "/x", "–x", "—x", "―x"]);
    assert_eq!(texts("f|windash|contains: ' /a -b '").len(), 25);
    assert_eq!(texts("f|windash: ab"), ["ab"]);
    assert_eq!(texts("f|windash: '--a'").len(), 25, "two dashes side by side are two");
    let many = format!("f|windash: '{}'", "-".repeat(9));
    assert_eq!(entry(&many), Err(Reason::TooManyValues));
}

#[test]
fn placeholders_become_each_of_their_values_with_their_wildcards() {
    assert_eq!(texts("f|expand: '%servers%'"), ["srv*", "dc1"]);
    assert_eq!(texts("f|contains|expand: '%servers%$'"), ["*srv*$*", "*dc1$*"]);
    assert_eq!(texts("f|expand: '%servers%-%servers%'").len(), 4);
    assert_eq!(texts("f: '%servers%'"), ["%servers%"]);
    assert_eq!(entry("f|expand: '%none%'"), Ok(Expr::Or(vec![])), "nothing matches");
    assert_eq!(entry("f|expand: '%other%'"), Err(Reason::Placeholder("other".into())));
}

#[test]
fn expressions_numbers_networks_dates_and_references_are_read_as_such() {
    let asked = |text| match entry(text).unwrap() {
        Expr::Leaf(ask) => ask.test,
        other => panic!("{other:?}"),
    };
    let flags = Flags { ignore_case: true, multi_line: false, dot_all: true };
    assert_eq!(asked(r"f|re|i|s: a\d*"), Test::Regex { pattern: r"a\d*".into(), flags });
    let than = Number::Int(5);
    let number = |part, operator| Test::Number { part, operator, than };
    assert_eq!(asked("f|gte: 5"), number(None, Operator::GreaterOrEqual));
    assert_eq!(asked("f|lt: 5"), number(None, Operator::Less));
    assert_eq!(asked("f|hour: 5"), number(Some(DatePart::Hour), Operator::Equal));
    assert_eq!(asked("f|week|lte: 5"), number(Some(DatePart::Week), Operator::LessOrEqual));
    let address = "10.0.0.0".parse().unwrap();
    assert_eq!(asked("f|cidr: 10.0.0.0/8"), Test::Network { address, prefix: 8 });
    assert_eq!(asked("f: null"), Test::Null);
    assert_eq!(asked("f|exists: true"), Test::Exists);
    assert!(matches!(entry("f|exists: false"), Ok(Expr::Not(_))));
    assert_eq!(
        asked("f|fieldref|endswith: Other"),
        Test::Field { other: "Other".into(), before: true, behind: false, cased: false }
    );
}

#[test]
fn what_does_not_go_together_is_refused_with_the_modifiers_name() {
    for text in [
        "f|re|contains: a",
        "f|i: a",
        "f|re|cidr: a",
        "f|lt: a",
        "f|hour: ten",
        "f|hour|contains: 1",
        "f|exists: maybe",
        "f|base64: 'a*'",
        "f|wide: 'a?'",
        "f|windash: null",
        "f|all|all: [a, b]",
        "f|cidr|cased: 10.0.0.0/8",
        "f|fieldref|base64: g",
        "f|hour|day: 1",
        "'|gt': 5",
    ] {
        assert!(matches!(entry(text), Err(Reason::Modifier { .. })), "{text}: {:?}", entry(text));
    }
    assert_eq!(entry("f|nope: a"), Err(Reason::UnknownModifier("nope".into())));
    assert_eq!(entry("f|: a"), Err(Reason::UnknownModifier("".into())));
    assert_eq!(entry("f: []"), Err(Reason::Missing("a value")));
    assert!(matches!(entry("f: [[a]]"), Err(Reason::Not { .. })));
    for network in ["10.0.0.0/33", "10.0.0/8", "::1/129", "x", "10.0.0.0/+8"] {
        assert_eq!(entry(&format!("f|cidr: '{network}'")), Err(Reason::Cidr(network.into())));
    }
}
