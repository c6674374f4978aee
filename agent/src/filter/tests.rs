#![expect(clippy::disallowed_methods, reason = "a test's own start of time")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const END: Timestamp = Timestamp::from_ms(2_000_000_000_000);
const BEFORE: Timestamp = Timestamp::from_ms(1_999_999_999_999);

#[test]
fn the_most_sending_rule_decides_wherever_it_stands() {
    let hold = || hold(1_000);
    let all = [hold(), fold(1_000), Action::Send, Action::SendUrgent];
    let expected =
        [Decision::Hold(0), Decision::Fold(1), Decision::Send(2), Decision::SendUrgent(3)];
    for (loudest, expected) in expected.into_iter().enumerate() {
        assert_eq!(decide(&mut filter(&all), 0..=loudest, Severity::Low), expected);
    }
    let reversed = [Action::SendUrgent, Action::Send, fold(1_000), hold()];
    assert_eq!(decide(&mut filter(&reversed), 0..=3, Severity::Low), Decision::SendUrgent(0));
    let twice = [hold(), hold()];
    assert_eq!(decide(&mut filter(&twice), 0..=1, Severity::Low), Decision::Hold(0));
}

#[test]
fn an_alert_that_no_rule_matches_passes() {
    assert_eq!(
        filter(&[hold(1)]).decide([], Severity::Low, b"", Instant::now(), BEFORE),
        Decision::Pass
    );
}

#[test]
fn a_rule_does_nothing_from_its_end_on() {
    let mut filter = filter(&[hold(10), Action::Send]);
    let mut at = |wall| filter.decide([0], Severity::Low, b"", Instant::now(), wall);
    assert_eq!(at(BEFORE), Decision::Hold(0));
    assert_eq!(at(END), Decision::Pass);
    let counts: Vec<Counts> = filter.counts().map(|(_, counts)| counts).collect();
    assert_eq!((counts[0].matched, counts[0].held, counts[0].expired), (1, 1, 1));
}

#[test]
fn a_critical_alert_is_suppressed_by_an_express_rule_only() {
    for severity in [Severity::Critical, Severity::Fatal] {
        let (plain, mut express) = (hold(10), hold(10));
        let Action::Hold(bounds, _) = &mut express else { unreachable!() };
        bounds.even_critical = true;
        assert_eq!(
            decide(&mut filter(std::slice::from_ref(&plain)), 0..=0, severity),
            Decision::Pass
        );
        assert_eq!(decide(&mut filter(&[fold(10)]), 0..=0, severity), Decision::Pass);
        assert_eq!(decide(&mut filter(&[plain, express]), 0..=1, severity), Decision::Hold(1));
    }
    assert_eq!(decide(&mut filter(&[hold(10)]), 0..=0, Severity::High), Decision::Hold(0));
}

#[test]
fn beyond_its_expected_rate_a_rule_stops_suppressing_until_the_rate_falls() {
    let mut filter = filter(&[hold(3), fold(100)]);
    let start = Instant::now();
    let mut at = |after, rules: std::ops::RangeInclusive<u32>| {
        filter.decide(rules, Severity::Low, b"", start + Duration::from_secs(after), BEFORE)
    };
    for _ in 0..3 {
        assert_eq!(at(0, 0..=0), Decision::Hold(0));
    }
    assert_eq!(at(1, 0..=0), Decision::BeyondExpected(0));
    // What one rule did not expect, another does not silence.
    assert_eq!(at(2, 0..=1), Decision::BeyondExpected(0));
    assert_eq!(at(300, 0..=0), Decision::Hold(0));
}

#[test]
fn of_what_is_held_the_keyed_share_is_sent() {
    let mut filter = filter(&[hold(1_000_000)]);
    let (now, mut samples) = (Instant::now(), 0);
    for number in 0..10_000 {
        let record = format!("record {number}");
        match filter.decide([0], Severity::Low, record.as_bytes(), now, BEFORE) {
            Decision::AuditSample(0) => {
                assert!(is_sample(Epoch(7), "rule-0", record.as_bytes(), Audit::default()));
                samples += 1;
            }
            decision => assert_eq!(decision, Decision::Hold(0)),
        }
    }
    assert!((25..90).contains(&samples), "{samples}");
}

#[test]
fn a_new_policy_keeps_the_counts_of_its_rules_and_the_rates_of_the_unchanged() {
    let mut old = filter(&[hold(1), fold(5)]);
    let now = Instant::now();
    for _ in 0..2 {
        old.decide([0, 1], Severity::Low, b"", now, BEFORE);
    }
    let mut new = filter(&[hold(1), fold(6), Action::Send]);
    new.remember(&old);
    let matched: Vec<u64> = new.counts().map(|(_, counts)| counts.matched).collect();
    assert_eq!(matched, [2, 2, 0]);
    assert!(new.is_beyond_expected(0, now), "the rate goes on");
    assert_eq!(new.decide([0], Severity::Low, b"", now, BEFORE), Decision::BeyondExpected(0));
}

proptest! {
    /// L8, and nothing vanishes: each alert has one decision, and each decision one count.
    #[test]
    fn each_alert_is_counted_once_by_the_rule_that_decided(
        alerts in proptest::collection::vec((0_u32..16, 0_u64..40, 0_u8..7), 1..300),
    ) {
        let all = [hold(5), fold(9), Action::Send, Action::SendUrgent];
        let mut filter = filter(&all);
        let start = Instant::now();
        let (mut passed, mut decided, mut seconds) = (0, 0, 0);
        for (mask, step, severity) in alerts {
            seconds += step;
            let matched = (0..4).filter(|bit| mask & (1 << bit) != 0);
            let severity = Severity::from_id(severity);
            let now = start + Duration::from_secs(seconds);
            let decision = filter.decide(matched, severity, b"", now, BEFORE);
            if decision == Decision::Pass { passed += 1 } else { decided += 1 }
            let is_suppressed = matches!(decision, Decision::Hold(_) | Decision::Fold(_));
            prop_assert!(!is_suppressed || (mask & 12 == 0 && severity < Severity::Critical));
        }
        let sum: u64 = filter
            .counts()
            .map(|(_, c)| c.sent + c.beyond_expected + c.audit_samples + c.held + c.folded)
            .sum();
        prop_assert_eq!(sum, decided);
        prop_assert!(passed + decided > 0);
    }
}

/// `expected` a minute.
fn bounds(expected: u64) -> Bounds {
    let expected = Rate { count: expected, per: Duration::from_secs(60) };
    Bounds { expected, even_critical: false }
}

fn hold(expected: u64) -> Action {
    Action::Hold(bounds(expected), Audit::default())
}

fn fold(expected: u64) -> Action {
    Action::Fold(bounds(expected), fold::Terms::default())
}

fn filter(actions: &[Action]) -> Filter {
    let rule = |(number, action): (usize, &Action)| Rule {
        id: format!("rule-{number}").into(),
        title: "a rule".into(),
        owner: "soc".into(),
        expires_at: END,
        action: action.clone(),
    };
    Filter::new(actions.iter().enumerate().map(rule).collect(), Epoch(7))
}

fn decide(
    filter: &mut Filter,
    matched: std::ops::RangeInclusive<usize>,
    severity: Severity,
) -> Decision {
    let matched = matched.map(|place| u32::try_from(place).unwrap());
    filter.decide(matched, severity, b"a record", Instant::now(), BEFORE)
}
