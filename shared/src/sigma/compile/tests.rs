//! Rule sets over events made by hand: what the specification says, and what is decided where it is silent.

use super::{
    super::{
        event::Value,
        mapping::{LogsourceMapping, Unmapped},
        rule::Logsource,
    },
    *,
};

mod modifiers;

/// An event of a few fields.
struct Fields(Vec<(&'static str, Vec<Value<'static>>)>);

/// An event as a rule set sees it.
struct Seen<'a> {
    event: &'a Fields,
    names: &'a [Box<str>],
}

impl Event for Seen<'_> {
    fn values(&self, field: usize, visit: &mut dyn FnMut(Value<'_>)) {
        let own = self.event.0.iter().filter(|(name, _)| **name == *self.names[field]);
        own.flat_map(|(_, values)| values).for_each(|value| visit(*value));
    }

    fn texts(&self, visit: &mut dyn FnMut(&str)) {
        for value in self.event.0.iter().flat_map(|(_, values)| values) {
            if let Text(text) = value {
                visit(text);
            }
        }
    }
}

fn set_with(rules: &str, mapping: &Mapping) -> RuleSet {
    let (set, refusals) = RuleSet::compile(&[Source { name: "test", text: rules }], mapping);
    assert_eq!(refusals, [], "nothing is refused");
    set
}

fn refusals(rules: &str) -> Vec<String> {
    let (_, refusals) =
        RuleSet::compile(&[Source { name: "test", text: rules }], &Mapping::default());
    refusals.iter().map(ToString::to_string).collect()
}

fn titles(set: &RuleSet, event: &Fields) -> Vec<String> {
    let mut scratch = Scratch::default();
    let seen = Seen { event, names: set.fields() };
    // Twice, so that nothing of the event before is left.
    let first = set.matches(&seen, &mut scratch).to_vec();
    assert_eq!(first, set.matches(&seen, &mut scratch));
    first.iter().map(|rule| set.rules()[*rule as usize].title.to_string()).collect()
}

/// Whether a rule with this detection matches the event.
fn matches(detection: &str, event: &[(&'static str, Value<'static>)]) -> bool {
    let indented = detection.replace('\n', "\n  ");
    let rule = format!("title: it\nlogsource: {{}}\ndetection:\n  {indented}\n");
    let event = Fields(event.iter().map(|(name, value)| (*name, vec![*value])).collect());
    !titles(&set_with(&rule, &Mapping::default()), &event).is_empty()
}

/// Whether the single entry of a selection matches a field `f` with this value.
fn f(entry: &str, value: Value<'static>) -> bool {
    matches(&format!("sel:\n  {entry}\ncondition: sel"), &[("f", value)])
}

use Value::{Bool, Float, Int, Null, Text};

#[test]
fn whole_values_parts_and_wildcards_match_without_case() {
    assert!(f("f: PowerShell", Text("powershell")));
    assert!(!f("f: PowerShell", Text("powershell.exe")));
    assert!(f(r"f|endswith: '\cmd.exe'", Text(r"C:\Windows\CMD.EXE")));
    assert!(!f(r"f|endswith: '\cmd.exe'", Text(r"C:\cmd.exe.txt")));
    assert!(f("f|startswith: 'http'", Text("HTTPS://x")));
    assert!(f("f|contains: ä", Text("xÄx")) && f("f|contains: a", Text("A")));
    assert!(f("f: 'a*c?e'", Text("abbcde")) && !f("f: 'a*c?e'", Text("abbce")));
    assert!(f(r"f: 'a\*c'", Text("a*c")) && !f(r"f: 'a\*c'", Text("abc")));
    assert!(f("f: '*'", Text("")) && f("f: '*'", Int(1)) && !f("f: '*'", Null));
    assert!(f("f|cased|contains: Abc", Text("xAbcx")));
    assert!(!f("f|cased|contains: Abc", Text("xabcx")));
    assert!(f("f|cased: Ab", Text("Ab")) && !f("f|cased: Ab", Text("ab")));
}

#[test]
fn numbers_and_truths_are_the_texts_that_stand_for_them() {
    assert!(f("f: 4688", Int(4688)) && f("f: 4688", Text("4688")) && f("f: '4688'", Int(4688)));
    assert!(!f("f: 4688", Int(46880)));
    assert!(f("f: 0x10", Int(16)) && f("f: true", Bool(true)) && f("f: 'True'", Bool(true)));
    assert!(f("f: 1.5", Float(1.5)) && f("f: 1.50", Text("1.5")) && f("f: 2.0", Int(2)));
    assert!(f("f|gt: 5", Int(6)) && f("f|gt: 5", Text("6.5")) && !f("f|gt: 5", Text("x")));
    assert!(f("f|lte: 5", Int(5)) && !f("f|lt: 5", Int(5)) && f("f|gte: 5", Float(5.0)));
    assert!(f("f|contains: 68", Int(4688)));
}

#[test]
fn null_empty_and_absent_are_three_things() {
    let absent = |entry: &str| matches(&format!("sel:\n  {entry}\ncondition: sel"), &[]);
    assert!(f("f: null", Null) && absent("f: null") && !f("f: null", Text("")));
    assert!(f("f: ''", Text("")) && !f("f: ''", Null) && !absent("f: ''"));
    assert!(f("f|exists: true", Null) && f("f|exists: true", Text("")));
    assert!(!absent("f|exists: true") && absent("f|exists: false"));
    assert!(f("f|neq: a", Text("b")) && !f("f|neq: a", Text("A")) && absent("f|neq: a"));
    assert!(f("f|neq: [a, b]", Text("c")) && !f("f|neq: [a, b]", Text("b")));
}

#[test]
fn other_questions_are_asked_of_the_value_as_it_was_written() {
    assert!(f("f|re: '^A.c$'", Text("Abc")) && !f("f|re: '^A.c$'", Text("abc")));
    assert!(f("f|re|i: '^a.c$'", Text("ABC")) && f("f|re: '^4\\d+$'", Int(4688)));
    assert!(f("f|cidr: 10.0.0.0/8", Text("10.2.3.4")) && f("f|cidr: 'fe80::/10'", Text("FE80::1")));
    assert!(!f("f|cidr: 10.0.0.0/8", Text("110.2.3.4")));
    assert!(f("f|hour: [22, 23]", Text("2024-01-01T23:10:00Z")));
    assert!(f("f|hour|gte: 22", Text("2024-01-01T23:10:00Z")));
    assert!(f("f|wide|base64offset|contains: 'cmd'", Text("xxYwBtAGQAyy")));
    let both = |entry: &str| {
        let event = [("f", Text("DOM\\Eve")), ("g", Text("eve"))];
        matches(&format!("sel:\n  {entry}\ncondition: sel"), &event)
    };
    assert!(both("f|fieldref|endswith: g") && !both("f|fieldref: g"));
    assert!(!both("f|fieldref|endswith|cased: g") && both("f|fieldref|neq: g"));
}

#[test]
fn any_of_several_values_is_enough_and_a_negation_wants_none() {
    let event = Fields(vec![("f", vec![Text("a"), Text("b")])]);
    let rule = |condition: &str| {
        format!("title: it\nlogsource: {{}}\ndetection:\n  s:\n    f: b\n  condition: {condition}")
    };
    assert_eq!(titles(&set_with(&rule("s"), &Mapping::default()), &event), ["it"]);
    assert!(titles(&set_with(&rule("not s"), &Mapping::default()), &event).is_empty());
    let other = Fields(vec![("g", vec![Text("b")])]);
    assert_eq!(titles(&set_with(&rule("not s"), &Mapping::default()), &other), ["it"]);
}

#[test]
fn keywords_are_found_anywhere_in_any_text() {
    let words = |list: &str| {
        let event = [("x", Text("say EvilService now")), ("y", Text("-ExternalUrl"))];
        matches(&format!("words:\n  {list}\ncondition: words"), &event)
    };
    assert!(words("- evilservice") && words("- nothing\n  - 'evil*now'") && words("- ' n'"));
    assert!(!words("- 'evil now'") && words("'|all': [evil, external]"));
    assert!(!words("'|all': [evil, other]") && words("'|re': ['Evil\\w+']"));
    assert!(words("'|cased': ['Evil']") && !words("'|cased': ['evil']"));
}

#[test]
fn a_log_source_stands_for_the_events_that_the_mapping_says() {
    let entry = |category, product, conditions: &[(&str, &str)], fields: &[(&str, &str)]| {
        LogsourceMapping {
            logsource: Logsource::new(category, product, ""),
            conditions: conditions.iter().map(|(f, v)| ((*f).into(), vec![(*v).into()])).collect(),
            fields: fields.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect(),
        }
    };
    let mut mapping = Mapping {
        logsources: vec![
            entry("", "windows", &[("os", "windows")], &[]),
            entry("process_creation", "windows", &[("EventID", "1")], &[]),
            entry("process_creation", "windows", &[("EventID", "4688")], &[("Image", "New")]),
        ],
        fields: [("User".into(), "actor.user.name".into())].into(),
        ..Mapping::default()
    };
    let rule = "title: it\nlogsource: {product: Windows, category: process_creation}\n\
                detection:\n  s:\n    Image: a\n    User: eve\n  condition: s";
    let set = set_with(rule, &mapping);
    let event = |id, image, user| {
        Fields(vec![
            ("EventID", vec![Int(id)]),
            (image, vec![Text("a")]),
            (user, vec![Text("eve")]),
        ])
    };
    assert_eq!(titles(&set, &event(1, "Image", "actor.user.name")), ["it"]);
    assert_eq!(titles(&set, &event(4688, "New", "actor.user.name")), ["it"]);
    assert!(titles(&set, &event(4688, "Image", "actor.user.name")).is_empty());
    assert!(titles(&set, &event(2, "Image", "actor.user.name")).is_empty());
    assert!(titles(&set, &event(1, "Image", "User")).is_empty());
    let part = rule.replace("process_creation", "other");
    let event = Fields(vec![
        ("os", vec![Text("windows")]),
        ("Image", vec![Text("a")]),
        ("actor.user.name", vec![Text("eve")]),
    ]);
    assert_eq!(titles(&set_with(&part, &mapping), &event), ["it"], "what is known of it counts");
    mapping.unmapped = Unmapped::Refuse;
    let (set, refusals) = RuleSet::compile(&[Source { name: "test", text: &part }], &mapping);
    assert!(set.rules().is_empty());
    assert_eq!(
        refusals[0].to_string(),
        "test:4:3: rule it: no events are known for the log source category: other, \
         product: Windows"
    );
}

#[test]
fn what_is_refused_is_named_with_its_place_and_leaves_the_others_alone() {
    let good = "title: good\nid: g\nlogsource: {}\ndetection:\n  s: {f: a}\n  condition: s\n---\n";
    let bad = "title: bad\nid: b\nlogsource: {}\ndetection:\n  s:\n    f|nope: a\n  condition: s\n";
    let text = format!("{good}{bad}---\n{good}");
    let (set, refusals) =
        RuleSet::compile(&[Source { name: "r.yml", text: &text }], &Mapping::default());
    assert_eq!(set.rules().len(), 1);
    let shown: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "r.yml:13:5: rule b: there is no modifier \"nope\"",
            "r.yml:16:1: rule g: another rule has the id or name \"g\", too",
        ]
    );
    assert!(refusals_of_a_broken_source_say_where());
}

fn refusals_of_a_broken_source_say_where() -> bool {
    let cases = [
        ("- a\n", "test:1:1: a rule must be a mapping"),
        ("id: x\n", "test:1:1: rule x: title is missing"),
        ("title: x\n", "test:1:1: rule x: detection is missing"),
        (
            "title: x\ndetection: {s: {f: a}, condition: s}",
            "test:1:1: rule x: logsource is missing",
        ),
        (
            "title: x\nlogsource: {}\ndetection:\n  s: {f|re: '(a'}\n  condition: s",
            "test:4:13: rule x: the regular expression unclosed group",
        ),
    ];
    cases.iter().all(|(text, shown)| {
        assert_eq!(refusals(text), [*shown]);
        true
    })
}

#[test]
fn a_filter_takes_out_of_its_rules_what_it_describes_however_it_says_so() {
    let rules = "title: a\nid: '1'\nlogsource: {product: windows}\n\
                 detection:\n  s: {f: x}\n  condition: s\n---\n\
                 title: b\nname: two\nlogsource: {product: linux}\n\
                 detection:\n  s: {f: x}\n  condition: s\n---\n\
                 title: c\nid: '3'\nlogsource: {product: windows}\n\
                 detection:\n  s: {f: x}\n  condition: s\n---\n";
    let event = Fields(vec![("f", vec![Text("x")]), ("u", vec![Text("adm_eve")])]);
    let other = Fields(vec![("f", vec![Text("x")]), ("u", vec![Text("eve")])]);
    let with = |rules: &str, filter: &str| {
        set_with(&format!("{rules}title: filter\n{filter}"), &Mapping::default())
    };
    for condition in ["selection", "not selection", "not 1 of sel*"] {
        let filter = |named: &str, product: &str| {
            format!(
                "logsource: {{{product}}}\nfilter:\n  rules: {named}\n  selection:\n    \
                 u|startswith: adm_\n  condition: {condition}\n"
            )
        };
        let set = with(rules, &filter("['1', two]", ""));
        assert_eq!(titles(&set, &event), ["c"], "{condition}");
        assert_eq!(titles(&set, &other), ["a", "b", "c"]);
        let set = with(rules, &filter("any", "product: windows"));
        assert_eq!(titles(&set, &event), ["b"], "only where its log source is the rule's");
    }
    let filter = |rules: &str, condition: &str| {
        format!(
            "title: f\nlogsource: {{}}\nfilter:\n  rules: {rules}\n  a: {{u: x}}\n  b: {{u: y}}\n  \
             condition: {condition}\n"
        )
    };
    let mixed = refusals(&format!("{rules}{}", filter("any", "a and not b")));
    assert!(mixed[0].contains("a filter's condition must name"), "{mixed:?}");
    let unknown = refusals(&format!("{rules}{}", filter("[nobody]", "a")));
    assert!(unknown[0].contains("refers to the rule \"nobody\""), "{unknown:?}");
}

#[test]
fn rules_are_looked_at_only_where_they_may_match() {
    let rule = |title: &str, detection: &str| {
        format!("title: {title}\nlogsource: {{}}\ndetection:\n  {detection}\n---\n")
    };
    let rules = [
        rule("a", "s: {f|contains: abc}\n  condition: s"),
        rule("b", "s: {f|re: '^x'}\n  condition: s"),
        rule("c", "s: {f|contains: abc}\n  condition: not s"),
        rule("d", "s: {f: null}\n  condition: s"),
        rule("e", "s: {f|gt: 5}\n  t: {g: a}\n  condition: s or t"),
    ];
    let set = set_with(&rules.concat(), &Mapping::default());
    assert_eq!(set.untriggered(), 2, "a negation and a null hold where nothing is there");
    assert_eq!(titles(&set, &Fields(vec![])), ["c", "d"]);
    assert_eq!(titles(&set, &Fields(vec![("f", vec![Text("xabc")])])), ["a", "b"]);
    assert_eq!(titles(&set, &Fields(vec![("f", vec![Text("6")])])), ["c", "e"]);
}

mod naive {
    //! The matcher against the definition, without indexes, triggers and an order.

    use proptest::prelude::*;

    use super::{
        super::super::{expr::Expr, pattern::fold, test::Test},
        *,
    };

    const FIELDS: [&str; 3] = ["f", "g", "h"];

    fn holds(asked: &Asked, event: &Fields) -> bool {
        match asked {
            Expr::And(parts) => parts.iter().all(|part| holds(part, event)),
            Expr::Or(parts) => parts.iter().any(|part| holds(part, event)),
            Expr::Not(part) => !holds(part, event),
            Expr::Leaf(ask) => {
                let own = |name: &str| ask.field.as_ref().is_none_or(|field| **field == *name);
                let mut values = event.0.iter().filter(|(name, _)| own(name)).flat_map(|(_, v)| v);
                let text = |value: &Value<'_>| match value {
                    Text(text) => Some((*text).to_owned()),
                    Int(value) if ask.field.is_some() => Some(value.to_string()),
                    Int(_) | Float(_) | Bool(_) | Null => None,
                };
                match &ask.test {
                    Test::Text { pattern, cased: true } => {
                        values.filter_map(text).any(|text| pattern.matches(&text))
                    }
                    Test::Text { pattern, cased: false } => {
                        values.filter_map(text).any(|text| pattern.matches(&fold(&text)))
                    }
                    Test::Null => values.all(|value| *value == Null),
                    Test::Exists => values.next().is_some(),
                    other => unreachable!("{other:?} is not made here"),
                }
            }
        }
    }

    fn entry() -> impl Strategy<Value = String> {
        let field = prop::sample::select(&["f", "g", "h", ""][..]);
        let modifier =
            prop::sample::select(&["", "|contains", "|startswith", "|endswith", "|cased"][..]);
        let all = prop::sample::select(&["", "|all", "|neq"][..]);
        let value = prop_oneof!["[abAB*?]{0,5}", "[ab]{3,6}", "[12]{1,2}"];
        let some = (field, modifier, all, prop::collection::vec(value, 1..4)).prop_map(
            |(field, modifier, all, values)| {
                let values: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
                format!("'{field}{modifier}{all}': [{}]", values.join(", "))
            },
        );
        prop_oneof![
            8 => some,
            1 => Just("f: null".to_owned()),
            1 => Just("g|exists: true".to_owned()),
        ]
    }

    fn rule() -> impl Strategy<Value = String> {
        let condition = prop::sample::select(
            &["a", "not a", "a and b", "a or b", "a and not b", "not (a or b)", "1 of them"][..],
        );
        (entry(), entry(), condition).prop_map(|(a, b, condition)| {
            format!(
                "title: x\nlogsource: {{}}\ndetection:\n  a: {{{a}}}\n  b: {{{b}}}\n  \
                 condition: {condition}\n---\n"
            )
        })
    }

    fn event() -> impl Strategy<Value = Vec<(&'static str, Vec<Result<String, i64>>)>> {
        let value = prop_oneof!["[abAB1]{0,7}".prop_map(Ok), (0..30_i64).prop_map(Err)];
        let values = (prop::sample::select(&FIELDS[..]), prop::collection::vec(value, 0..3));
        prop::collection::vec(values, 0..3)
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_definition(
            rules in prop::collection::vec(rule(), 1..8),
            events in prop::collection::vec(event(), 1..6),
        ) {
            let mapping = Mapping::default();
            let text = rules.concat();
            let sources = [Source { name: "test", text: &text }];
            let (set, refusals) = RuleSet::compile(&sources, &mapping);
            prop_assert_eq!(refusals, vec![]);
            let mut reading = Reading::new(&mapping);
            reading.source(&sources[0]);
            let mut scratch = Scratch::default();
            for fields in events {
                let leak = |value: Result<String, i64>| match value {
                    Ok(text) => Text(Box::leak(text.into_boxed_str())),
                    Err(number) => Int(number),
                };
                let own = fields.into_iter();
                let event = Fields(
                    own.map(|(f, v)| (f, v.into_iter().map(leak).collect::<Vec<_>>())).collect(),
                );
                let seen = Seen { event: &event, names: set.fields() };
                let expected: Vec<u32> = (0..)
                    .zip(&reading.rules)
                    .filter(|(_, (_, asked, _))| holds(asked, &event))
                    .map(|(index, _)| index)
                    .collect();
                prop_assert_eq!(set.matches(&seen, &mut scratch), &expected[..]);
            }
        }
    }
}
