//! Correlations over events made by hand, with their times.

use super::{
    super::{
        compile::{RuleSet, Source},
        event::{Event, Value},
        mapping::Mapping,
        matcher::Scratch,
    },
    state::Correlator,
};
use crate::time::Timestamp;

/// A log-on: its kind, the user, the host.
struct LogOn {
    fields: Vec<(&'static str, &'static str)>,
    numbers: Vec<Option<&'static str>>,
}

impl Event for LogOn {
    fn values(&self, field: usize, visit: &mut dyn FnMut(Value<'_>)) {
        self.numbers[field].into_iter().for_each(|value| visit(Value::Text(value)));
    }

    fn texts(&self, _: &mut dyn FnMut(&str)) {}
}

/// A rule set and its memory.
struct World {
    set: RuleSet,
    correlator: Correlator,
}

const RULES: &str = "title: fail\nname: fail\nlogsource: {}\n\
    detection: {s: {kind: fail}, condition: s}\n---\n\
    title: success\nname: success\nlogsource: {}\n\
    detection: {s: {kind: success}, condition: s}\n---\n\
    title: change\nname: change\nlogsource: {}\n\
    detection: {s: {kind: [change, both]}, condition: s}\n---\n\
    title: both\nname: both\nlogsource: {}\n\
    detection: {s: {kind: both}, condition: s}\n---\n";

fn compile(correlations: &str) -> (RuleSet, Vec<String>) {
    let text = format!("{RULES}{correlations}");
    let (set, refusals) =
        RuleSet::compile(&[Source { name: "test", text: &text }], &Mapping::default());
    (set, refusals.iter().map(ToString::to_string).collect())
}

impl World {
    fn new(correlations: &str) -> Self {
        let (set, refusals) = compile(correlations);
        assert!(refusals.is_empty(), "{refusals:?}");
        Self { set, correlator: Correlator::default() }
    }

    /// A world with one correlation, written as a flow mapping.
    fn of(correlation: &str) -> Self {
        Self::new(&format!("title: it\ncorrelation: {{{correlation}}}\n"))
    }

    /// Lets an event come at a second; returns the titles of the correlations that match.
    fn see(&mut self, second: u64, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let names = self.set.fields();
        let own = |name: &str| fields.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
        let numbers = names.iter().map(|name| own(name)).collect();
        let event = LogOn { fields: fields.to_vec(), numbers };
        assert!(!event.fields.is_empty());
        let mut scratch = Scratch::default();
        let rules = self.set.matches(&event, &mut scratch).to_vec();
        let at = Timestamp::from_ms(second * 1_000);
        let matched = self.correlator.handle_event(&self.set, &event, &rules, at);
        let title = |number: &u32| self.set.correlations()[*number as usize].title.to_string();
        matched.iter().map(title).collect()
    }

    /// Like [`Self::see`], for a kind of event of a user: whether anything matches.
    fn kind(&mut self, second: u64, kind: &'static str, user: &'static str) -> bool {
        !self.see(second, &[("kind", kind), ("user", user)]).is_empty()
    }
}

#[test]
fn events_are_counted_by_group_within_a_timespan_that_slides() {
    let mut world = World::of(
        "type: event_count, rules: [fail], group-by: [user], timespan: 10s, condition: {gte: 3}",
    );
    assert!(!world.kind(100, "fail", "eve") && !world.kind(105, "fail", "EVE"));
    assert!(!world.kind(106, "fail", "bob"), "another group");
    assert!(!world.kind(107, "success", "eve"), "another rule");
    assert!(!world.see(108, &[("kind", "fail")]).iter().any(|_| true), "no group at all");
    assert!(!world.kind(111, "fail", "eve"), "the first is out of sight");
    assert!(world.kind(112, "fail", "eve"), "within no fixed window, but a sliding one");
}

#[test]
fn a_condition_that_goes_on_to_hold_is_said_once_a_timespan() {
    let mut world = World::of(
        "type: event_count, rules: [fail], group-by: [user], timespan: 10s, condition: {gt: 1}",
    );
    let said: Vec<u64> = (100..140).filter(|second| world.kind(*second, "fail", "eve")).collect();
    assert_eq!(said, [101, 111, 121, 131]);
    assert!(!world.kind(200, "fail", "eve") && world.kind(201, "fail", "eve"), "and anew");
}

#[test]
fn ranges_and_exact_counts_are_told_at_each_event() {
    let fires = |condition: &str| -> Vec<u64> {
        let mut world = World::of(&format!(
            "type: event_count, rules: [fail], timespan: 100s, condition: {{{condition}}}"
        ));
        (1..=6).filter(|second| world.kind(*second, "fail", "eve")).collect()
    };
    assert_eq!(fires("eq: 3"), [3]);
    assert_eq!(fires("gt: 2, lte: 4"), [3]);
    assert_eq!(fires("lt: 2"), [1]);
    assert_eq!(fires("neq: 1"), [2]);
    assert_eq!(fires("gte: 5"), [5]);
}

#[test]
fn different_values_are_counted_each_once_however_often_it_comes() {
    let mut world = World::of(
        "type: value_count, rules: [fail], group-by: [host], timespan: 10s, \
         condition: {field: user, gte: 3}",
    );
    let mut fail = |second, user| {
        !world.see(second, &[("kind", "fail"), ("host", "h"), ("user", user)]).is_empty()
    };
    assert!(!fail(100, "a") && !fail(101, "b") && !fail(102, "B") && !fail(103, "a"));
    assert!(!fail(113, "c"), "b is out of sight, a came again");
    assert!(fail(113, "d"));
    let missing = World::of(
        "type: value_count, rules: [fail], timespan: 10s, condition: {field: [user, host], gte: 1}",
    )
    .kind(1, "fail", "eve");
    assert!(!missing, "a value that is not there is none");
}

#[test]
fn temporal_wants_all_rules_in_any_order_or_as_many_as_it_says() {
    let mut world = World::of(
        "type: temporal, rules: [fail, success, change], group-by: [user], timespan: 10s",
    );
    assert!(!world.kind(100, "change", "eve") && !world.kind(104, "fail", "eve"));
    assert!(!world.kind(105, "success", "bob"));
    assert!(world.kind(109, "success", "eve"));
    let mut world = World::of(
        "type: temporal, rules: [fail, success, change], timespan: 10s, condition: {gte: 2}",
    );
    assert!(!world.kind(100, "fail", "eve") && !world.kind(101, "fail", "eve"));
    assert!(world.kind(102, "change", "eve"));
    let mut world = World::of("type: temporal, rules: [change, both], timespan: 10s");
    assert!(world.kind(100, "both", "eve"), "one event may be matched by both");
}

#[test]
fn temporal_ordered_wants_each_event_behind_the_one_before() {
    let rules = "type: temporal_ordered, rules: [fail, success, change], timespan: 10s";
    let mut world = World::of(rules);
    assert!(!world.kind(100, "success", "eve") && !world.kind(101, "fail", "eve"));
    assert!(!world.kind(102, "change", "eve"), "no success in between");
    assert!(!world.kind(103, "success", "eve"));
    assert!(world.kind(104, "change", "eve"));
    let mut world = World::of(rules);
    assert!(!world.kind(100, "fail", "eve") && !world.kind(108, "success", "eve"));
    assert!(!world.kind(111, "change", "eve"), "the first is out of sight");
    let mut world = World::of("type: temporal_ordered, rules: [change, both], timespan: 10s");
    assert!(!world.kind(100, "both", "eve"), "one event is not behind itself");
    assert!(world.kind(100, "both", "eve"), "at the same time, in the order of arrival");
}

#[test]
fn temporal_ordered_counts_the_longest_row_where_it_has_a_condition() {
    let of = |condition: &str| {
        World::of(&format!(
            "type: temporal_ordered, rules: [fail, success, change, both], timespan: 10s, \
             condition: {{{condition}}}"
        ))
    };
    let mut world = of("gte: 3");
    assert!(!world.kind(100, "change", "eve") && !world.kind(101, "success", "eve"));
    assert!(!world.kind(102, "fail", "eve"), "three rules, in the wrong order");
    assert!(!world.kind(103, "change", "eve"), "the success and the change: a row of two");
    assert!(world.kind(104, "both", "eve"), "one rule is left out of the row");
    let mut world = of("gte: 2");
    assert!(!world.kind(100, "both", "eve"), "of one event two rules are no row");
    assert!(!world.kind(101, "fail", "eve") && world.kind(102, "change", "eve"));
    let mut world = of("lt: 2");
    assert!(world.kind(100, "fail", "eve") && !world.kind(101, "success", "eve"));
}

#[test]
fn late_events_count_within_the_timespan_and_are_counted_as_late_beyond_it() {
    let mut world = World::of("type: temporal_ordered, rules: [fail, success], timespan: 10s");
    assert!(!world.kind(100, "success", "eve"));
    assert!(world.kind(95, "fail", "eve"), "late, but before it by its own time");
    assert!(!world.kind(80, "fail", "eve"));
    assert_eq!(world.correlator.late(), 1);
    let mut world =
        World::of("type: event_count, rules: [fail], timespan: 10s, condition: {gte: 3}");
    assert!(!world.kind(100, "fail", "a") && !world.kind(92, "fail", "a"));
    assert!(!world.kind(89, "fail", "a") && world.kind(99, "fail", "a"));
    assert_eq!(world.correlator.late(), 1);
}

#[test]
fn aliases_join_fields_that_rules_call_differently() {
    let mut world = World::of(
        "type: temporal, rules: [fail, success], group-by: [ip], timespan: 10s, \
         aliases: {ip: {fail: source, success: destination}}",
    );
    let mut see = |second, kind, field, ip| {
        !world.see(second, &[("kind", kind), (field, ip), ("user", "x")]).is_empty()
    };
    assert!(!see(100, "fail", "source", "10.0.0.1"));
    assert!(!see(101, "success", "source", "10.0.0.1"));
    assert!(!see(102, "success", "destination", "10.0.0.2"));
    assert!(see(103, "success", "destination", "10.0.0.1"));
}

#[test]
fn correlations_may_follow_each_other_whatever_their_order_in_the_source() {
    let mut world = World::new(
        "title: outer\ncorrelation:\n  type: temporal_ordered\n  rules: [many, success]\n  \
         group-by: [user]\n  timespan: 1h\n---\n\
         title: inner\nname: many\ncorrelation:\n  type: event_count\n  rules: [fail]\n  \
         group-by: [host]\n  timespan: 1m\n  condition: {gte: 2}\n",
    );
    let shown: Vec<_> =
        world.set.correlations().iter().map(|c| (&*c.title, c.standalone)).collect();
    assert_eq!(shown, [("inner", false), ("outer", true)]);
    let mut see = |second, kind, user, host| {
        world.see(second, &[("kind", kind), ("user", user), ("host", host)])
    };
    assert!(see(100, "fail", "bob", "h").is_empty());
    assert_eq!(see(101, "fail", "eve", "h"), ["inner"]);
    assert!(see(102, "success", "bob", "h").is_empty(), "the completing event was eve's");
    assert_eq!(see(103, "success", "eve", "other"), ["outer"]);
}

#[test]
fn rules_stand_for_themselves_only_where_their_correlations_say_so() {
    let standalone = |generate: &str| {
        let world = World::of(&format!(
            "type: event_count, rules: [fail], timespan: 10s, condition: {{gte: 3}}{generate}"
        ));
        world.set.rules().iter().map(|rule| rule.standalone).collect::<Vec<_>>()
    };
    assert_eq!(standalone(""), [false, true, true, true]);
    assert_eq!(standalone(", generate: true"), [true; 4]);
}

#[test]
fn memory_has_bounds_and_what_is_forgotten_is_counted() {
    use crate::limits::{SIGMA_CORRELATION_COUNT_MAX, SIGMA_CORRELATION_GROUPS_MAX};
    let mut world = World::of(
        "type: event_count, rules: [fail], group-by: [user], timespan: 1d, condition: {gte: 2}",
    );
    let user = |number: usize| -> &'static str { Box::leak(number.to_string().into_boxed_str()) };
    for number in 0..=SIGMA_CORRELATION_GROUPS_MAX {
        assert!(!world.kind(100, "fail", user(number)));
    }
    assert_eq!(world.correlator.forgotten(), 1);
    assert!(!world.kind(100, "fail", user(0)), "the one that nothing came for longest");
    assert!(world.kind(100, "fail", user(SIGMA_CORRELATION_GROUPS_MAX)));
    let later = 100 + 2 * 86_400;
    let forgotten = world.correlator.forgotten();
    for number in 0..100 {
        assert!(!world.kind(later, "fail", user(number)));
    }
    assert_eq!(world.correlator.forgotten(), forgotten, "a group whose time is over is no loss");
    let many = format!("condition: {{gt: {}}}", SIGMA_CORRELATION_COUNT_MAX + 1);
    let (_, refusals) = compile(&format!(
        "title: it\ncorrelation: {{type: event_count, rules: [fail], timespan: 1d, {many}}}\n"
    ));
    assert!(refusals[0].contains("a count must be a whole number"), "{refusals:?}");
}

#[test]
fn what_cannot_be_taken_is_refused_by_name() {
    let refused = |correlation: &str| {
        let (set, refusals) = compile(&format!("title: it\ncorrelation: {{{correlation}}}\n"));
        assert!(set.correlations().is_empty() && refusals.len() == 1, "{refusals:?}");
        refusals.into_iter().next().unwrap_or_default()
    };
    let count = "type: event_count, condition: {gte: 1}";
    let cases = [
        (format!("{count}, rules: [fail]"), "timespan is missing"),
        (format!("{count}, timespan: 1h"), "rules is missing"),
        (format!("{count}, rules: [fail], timespan: 1 hour"), "timespan must be"),
        (format!("{count}, rules: [fail], timespan: 0s"), "timespan must be"),
        (format!("{count}, rules: [nobody], timespan: 1h"), "refers to the rule \"nobody\""),
        ("type: event_count, rules: [fail], timespan: 1h".to_owned(), "condition is missing"),
        (
            "type: value_count, rules: [fail], timespan: 1h, condition: {gte: 1}".to_owned(),
            "field is missing",
        ),
        (
            "type: event_count, rules: [fail], timespan: 1h, condition: {over: 1}".to_owned(),
            "a comparison must be",
        ),
    ];
    for (correlation, reason) in cases {
        let shown = refused(&correlation);
        assert!(shown.contains(reason), "{correlation}: {shown}");
    }
    let circle = |name, other| {
        format!(
            "title: {name}\nname: {name}\ncorrelation: {{type: temporal, rules: [{other}, fail], \
             timespan: 1h}}\n---\n"
        )
    };
    let (_, refusals) = compile(&(circle("a", "b") + &circle("b", "a") + &circle("c", "a")));
    assert_eq!(refusals.len(), 3);
    assert!(refusals.iter().all(|shown| shown.contains("refers to itself")), "{refusals:?}");
}

#[test]
fn what_a_correlation_cannot_compute_is_refused_by_the_line_that_asks_for_it() {
    let head = "title: it\ncorrelation:\n  rules: [fail, success]\n  timespan: 1h\n";
    let line = RULES.lines().count() + head.lines().count() + 1;
    for kind in ["value_sum", "value_avg", "value_percentile"] {
        let asks = format!("{head}  type: {kind}\n  condition: {{field: bytes, gt: 1}}\n");
        let reason = format!("the correlation type {kind:?} is not supported");
        assert_eq!(compile(&asks).1, [format!("test:{line}:9: rule it: {reason}")]);
    }
}
