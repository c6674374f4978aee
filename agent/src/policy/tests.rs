use std::time::Duration;

use super::*;
use crate::{
    filter::{Action, Audit, Rate},
    fold::{Part, Terms},
};

/// 2026-11-25.
const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);

const HEADER: &str = "policy: acme\nversion: 7\nowner: soc@mssp.example\n---\n";
const RULE: &str = "\
title: the scanner
id: r-1
logsource: {product: suricata, service: border}
detection:
  s: {src_ip: 10.0.0.9}
  condition: s
signalbox:
";

fn parse(terms: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&format!("{HEADER}{RULE}{terms}"), NOW)
}

/// Parses a policy with these terms, which must fail; returns the error's text.
fn refused(terms: &str) -> String {
    parse(terms).unwrap_err().to_string()
}

#[test]
fn a_policy_says_what_it_is_and_what_its_rules_do() {
    let policy = parse("  action: hold\n  expires: 2027-01-31\n  expected: 200/h\n").unwrap();
    assert_eq!((policy.name(), policy.version(), policy.owner()), ("acme", 7, "soc@mssp.example"));
    let rule = &policy.rules()[0];
    assert_eq!((&*rule.id, &*rule.title, &*rule.owner), ("r-1", "the scanner", "soc@mssp.example"));
    assert_eq!(rule.expires_at.to_string(), "2027-02-01T00:00:00.000Z");
    let Action::Hold(bounds, audit) = &rule.action else { panic!("{rule:?}") };
    assert_eq!(bounds.expected, Rate { count: 200, per: Duration::from_secs(3_600) });
    assert_eq!((bounds.even_critical, *audit), (false, Audit::default()));
    assert!(policy.suppresses());
}

#[test]
fn a_fold_has_its_fields_and_its_period() {
    let terms = "  action: fold\n  owner: ada\n  expires: 2027-01-31\n  expected: 9/s\n  \
                 even_critical: true\n  by: [rule_uid, evidences.src_endpoint.ip, dst_port]\n  \
                 period: 10m\n";
    let policy = parse(terms).unwrap();
    let Action::Fold(bounds, Terms { by, period }) = &policy.rules()[0].action else { panic!() };
    assert_eq!(&*policy.rules()[0].owner, "ada");
    assert!(bounds.even_critical);
    let parts = [Part::Text(Field::RuleUid), Part::Text(Field::SrcIp), Part::DstPort];
    assert_eq!((by.as_slice(), *period), (parts.as_slice(), Duration::from_secs(600)));
    assert!(policy.suppresses());
}

#[test]
fn what_sends_needs_an_end_and_nothing_else() {
    for action in ["send", "send_urgent"] {
        let policy = parse(&format!("  action: {action}\n  expires: 2027-01-31\n")).unwrap();
        assert_eq!(policy.rules()[0].action.as_str(), action);
        assert!(!policy.suppresses());
    }
}

/// L8: no text makes a rule that suppresses without an end, an expected rate, and a share that is sent all the same.
#[test]
fn what_suppresses_has_an_end_and_an_expected_rate() {
    for action in ["hold", "fold"] {
        let error = refused(&format!("  action: {action}\n  expected: 9/h\n"));
        assert_eq!(
            error,
            "12:3: rule r-1: expires: is missing: every rule has an end, such as 2027-01-31"
        );
        let error = refused(&format!("  action: {action}\n  expires: 2027-01-31\n"));
        assert!(
            error.starts_with("12:3: rule r-1: expected: is missing: the rate above"),
            "{error}"
        );
        let terms = format!("  action: {action}\n  expires: 2029-01-31\n  expected: 9/h\n");
        assert!(refused(&terms).contains("13:12: rule r-1: expires: lies more than 400 days"));
    }
    let none = "  action: hold\n  expires: 2027-01-31\n  expected: 9/h\n  audit: 0/1\n";
    assert!(refused(none).contains("audit: \"0/1\" is no share"));
}

#[test]
fn every_error_names_the_line_the_rule_and_the_key() {
    let hold = "  action: hold\n  expires: 2027-01-31\n  expected: 9/h\n";
    for (terms, error) in [
        ("  action: drop\n", "12:11: rule r-1: action: \"drop\" is not one of send_urgent, send"),
        ("  expires: 2027-01-31\n", "12:3: rule r-1: action: is missing"),
        (&format!("{hold}  expiry: x\n"), "15:3: rule r-1: expiry: is not known; a rule with the"),
        (
            &format!("{hold}  period: 1h\n"),
            "15:3: rule r-1: period: does not go with the action hold",
        ),
        (&format!("{hold}  owner: ''\n"), "15:10: rule r-1: owner: must have 1 to 128 bytes"),
        (&format!("{hold}  even_critical: 1\n"), "15:18: rule r-1: even_critical: is neither true"),
        (&hold.replace("9/h", "9"), "14:13: rule r-1: expected: is no text"),
        (&hold.replace("9/h", "often"), "14:13: rule r-1: expected: \"often\" is no rate"),
        (&hold.replace("2027-01-31", "soon"), "13:12: rule r-1: expires: \"soon\" is no day"),
    ] {
        let refused = refused(terms);
        assert!(refused.starts_with(error), "{refused}\nis not {error}");
    }
    let fold = hold.replace("hold", "fold");
    for (terms, error) in [
        ("  by: src_ip\n", "15:7: rule r-1: by: is no list of at most 8 names of fields"),
        ("  by: [severity]\n", "15:8: rule r-1: by: \"severity\" is no text and no port"),
        ("  period: 5s\n", "15:11: rule r-1: period: 5s is not between 10s and 24h"),
        ("  audit: 1/9\n", "15:3: rule r-1: audit: does not go with the action fold"),
    ] {
        let refused = refused(&format!("{fold}{terms}"));
        assert!(refused.starts_with(error), "{refused}\nis not {error}");
    }
}

#[test]
fn a_policy_is_taken_whole_or_not_at_all() {
    let terms = "  action: send\n  expires: 2027-01-31\n";
    let good = format!("{HEADER}{RULE}{terms}");
    assert!(Policy::parse(&good, NOW).is_ok());
    for (from, to, error) in [
        (HEADER, "", "1:1: title: is not known; the first document has policy, version"),
        ("version: 7\n", "", "1:1: version: is missing from the first document"),
        ("version: 7", "version: 0", "2:10: version: is no whole number from 1"),
        ("owner: soc@mssp.example\n", "", "1:1: owner: is missing from the first document"),
        ("owner: soc", "colour: red\nowner: soc", "3:1: colour: is not known"),
        (RULE, "", "1:1: 0 rules, 1 to 1024 are allowed"),
        ("id: r-1\n", "", "5:1: rule the scanner: id: must have 1 to 128 bytes"),
        ("signalbox:\n", "x:\n", "5:1: rule r-1: signalbox: is missing: what is done"),
        ("product: suricata", "category: firewall", "5:1: rule r-1: logsource: category firewall"),
        ("condition: s", "condition: t", "10:14: rule r-1: "),
    ] {
        assert!(good.contains(from), "{from}");
        let text = good.replacen(from, to, 1);
        // Without a rule its terms are none either.
        let text = if from == RULE { text.replace(terms, "") } else { text };
        let refused = Policy::parse(&text, NOW).unwrap_err().to_string();
        assert!(refused.starts_with(error), "{refused}\nis not {error}");
    }
    assert_eq!(Policy::parse("", NOW).unwrap_err().to_string(), "1:1: is empty");
    let long = "#".repeat(POLICY_BYTES_MAX + 1);
    assert!(Policy::parse(&long, NOW).unwrap_err().to_string().contains("so it is no policy"));
}

/// A correlation that counts the rule, with these terms.
fn correlation(terms: &str) -> String {
    let correlation = "{type: event_count, rules: [r-1], group-by: [src_ip], timespan: 1m, \
                       condition: {gte: 9}}";
    format!("---\ntitle: many of them\nid: c-1\ncorrelation: {correlation}\nsignalbox: {terms}\n")
}

#[test]
fn a_correlation_stands_behind_the_rules_and_may_only_have_alerts_sent() {
    let hold = "  action: hold\n  expires: 2027-01-31\n  expected: 9/h\n";
    let policy = |terms: &str| parse(&format!("{hold}{}", correlation(terms)));
    let read = policy("{action: send_urgent, expires: 2027-01-31}").unwrap();
    let actions: Vec<_> =
        read.rules().iter().map(|rule| (&*rule.id, rule.action.as_str())).collect();
    assert_eq!(actions, [("r-1", "hold"), ("c-1", "send_urgent")]);
    assert_eq!(read.place_of_correlation(0), 1);
    for action in ["hold", "fold"] {
        let terms = format!("{{action: {action}, expires: 2027-01-31, expected: 9/h}}");
        let error = policy(&terms).unwrap_err().to_string();
        let expected =
            format!("19:21: rule c-1: action: {action} does not go with a correlation: it speaks");
        assert!(error.starts_with(&expected), "{error}");
    }
    let without = format!("{hold}{}", correlation("x").replace("signalbox: x\n", ""));
    let error = parse(&without).unwrap_err().to_string();
    assert!(error.starts_with("16:1: rule c-1: signalbox: is missing: what is done"), "{error}");
}

#[test]
fn a_rule_without_an_action_is_one_that_a_correlation_counts_and_ends_with_it() {
    let counted = RULE.replace("signalbox:\n", "");
    let parse = |rest: &str| Policy::parse(&format!("{HEADER}{counted}{rest}"), NOW);
    let error = parse("").unwrap_err().to_string();
    assert!(error.starts_with("5:1: rule r-1: signalbox: is missing: what is done"), "{error}");
    let outer = "---\ntitle: again\nid: c-2\ncorrelation: {type: event_count, rules: [c-1], \
                 timespan: 1h, condition: {gte: 2}}\n\
                 signalbox: {action: send, expires: 2027-03-31}\n";
    let inner = correlation("{action: send_urgent, expires: 2027-01-31}");
    let policy = parse(&format!("{inner}{outer}")).unwrap();
    let ends = |policy: &Policy| {
        let ends = policy.rules().iter().map(|rule| rule.expires_at.to_string()[..10].to_owned());
        ends.collect::<Vec<_>>()
    };
    assert_eq!(policy.rules()[0].action, Action::Count);
    assert_eq!(ends(&policy), ["2027-02-01", "2027-02-01", "2027-04-01"]);
    // One correlation may count another that does nothing by itself.
    let inner = correlation("x").replace("signalbox: x\n", "");
    let policy = parse(&format!("{inner}{outer}")).unwrap();
    assert_eq!(policy.rules()[1].action, Action::Count);
    assert_eq!(ends(&policy), ["2027-04-01"; 3]);
    assert!(!policy.suppresses());
}

#[test]
fn a_policy_says_what_the_words_of_public_rules_mean() {
    let terms = "  action: send\n  expires: 2027-01-31\n";
    let mapping = "mapping:\n  fields: {c-uri: url}\n  logsources:\n  - category: proxy\n    \
                   where: {product: [squid, zscaler]}\n    fields: {cs-host: domain}\n  \
                   placeholders: {hosts: [a, b*]}\n";
    let header = HEADER.replace("---\n", &format!("{mapping}---\n"));
    let rule = RULE.replace("{product: suricata, service: border}", "{category: proxy}");
    let rule = rule.replace("{src_ip: 10.0.0.9}", "{cs-host|expand: '%hosts%', c-uri: /x}");
    let policy = Policy::parse(&format!("{header}{rule}{terms}"), NOW).unwrap();
    let fields: Vec<&str> = policy.sigma().fields().iter().map(|name| &**name).collect();
    for field in ["product", "domain", "url"] {
        assert!(fields.contains(&field), "{field} is not in {fields:?}");
    }
    assert!(policy.is_meant(0, &Alert::default()), "its condition says which alerts");
    for (from, to, error) in [
        ("fields: {c-uri", "colours: {c-uri", "5:3: mapping: colours is not known: fields, log"),
        ("    where: {product: [squid, zscaler]}\n", "", "mapping: where is missing: what alerts"),
        ("- category: proxy\n    where", "- where", "mapping: a log source has none of category"),
        ("[a, b*]", "[]", "mapping: an empty list means nothing"),
        ("c-uri: url", "c-uri: [url]", "mapping: a text is missing here"),
    ] {
        assert!(header.contains(from), "{from}");
        let header = header.replacen(from, to, 1);
        let error_text =
            Policy::parse(&format!("{header}{rule}{terms}"), NOW).unwrap_err().to_string();
        assert!(error_text.contains(error), "{error_text}\nhas no {error}");
    }
}

#[test]
fn a_rule_is_meant_for_the_product_and_the_source_of_its_log_source() {
    let policy = parse("  action: send\n  expires: 2027-01-31\n").unwrap();
    let mut alert = Alert::default();
    assert!(!policy.is_meant(0, &alert));
    alert.set(Field::Product, "Suricata");
    alert.set(Field::LogName, "border");
    assert!(policy.is_meant(0, &alert));
    alert.set(Field::LogName, "office");
    assert!(!policy.is_meant(0, &alert));
}

proptest::proptest! {
    /// Whatever is done to a policy's text, the answer is a policy or an error.
    #[test]
    fn no_text_makes_it_panic(
        cuts in proptest::collection::vec((0_usize..400, 0_usize..12, ".{0,6}"), 1..6),
    ) {
        let terms = "  action: fold\n  expires: 2027-01-31\n  expected: 9/h\n  by: [user]\n";
        let mut text = format!("{HEADER}{RULE}{terms}");
        for (at, len, instead) in cuts {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.ceil_char_boundary((start + len).min(text.len()));
            text.replace_range(start..end, &instead);
        }
        let _either = Policy::parse(&text, NOW).is_ok();
    }
}
