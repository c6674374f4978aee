//! `RuleSet`: rules that somebody else wrote, and events that anybody may cause.

use shared::{
    sigma::{Correlator, Event, Mapping, RuleSet, Scratch, Source, Value},
    time::Timestamp,
};

/// What divides rules from events, and events from each other; then come lines of a field and its value.
const DIVIDER: &str = "\n=\n";

/// Compiles what stands before the first divider, and matches it against the events behind it. Rules that match are
/// rules of the set, each once, and the same for the same event again.
///
/// # Panics
/// If not so.
pub fn sigma_rules(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split(DIVIDER);
    let rules = parts.next().unwrap_or_default();
    let mapping = Mapping {
        placeholders: [("servers".into(), vec!["srv*".into(), "dc".into()])].into(),
        ..Mapping::default()
    };
    let (set, refusals) = RuleSet::compile(&[Source { name: "fuzz", text: rules }], &mapping);
    for refusal in refusals {
        assert!(refusal.line >= 1 && refusal.column >= 1, "{refusal}");
        assert!(!refusal.to_string().is_empty());
    }
    let (mut scratch, mut correlator) = (Scratch::default(), Correlator::default());
    for (at, lines) in (0..).zip(parts) {
        let event = Lines { names: set.fields(), lines };
        let matched = set.matches(&event, &mut scratch).to_vec();
        assert!(matched.is_sorted_by(|a, b| a < b), "each once, in order");
        assert!(matched.iter().all(|rule| (*rule as usize) < set.rules().len()));
        assert_eq!(set.matches(&event, &mut scratch), matched, "nothing is left of an event");
        let at = Timestamp::from_ms(at * 1_000);
        let correlated = correlator.handle_event(&set, &event, &matched, at);
        assert!(correlated.iter().all(|number| (*number as usize) < set.correlations().len()));
    }
}

/// An event of lines: a field, a colon, a value.
struct Lines<'a> {
    names: &'a [Box<str>],
    lines: &'a str,
}

impl Event for Lines<'_> {
    fn values(&self, field: usize, visit: &mut dyn FnMut(Value<'_>)) {
        for line in self.lines.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            if *name != *self.names[field] {
                continue;
            }
            match value.parse() {
                _ if value == "null" => visit(Value::Null),
                Ok(number) => visit(Value::Int(number)),
                Err(_) => visit(Value::Text(value)),
            }
        }
    }

    fn texts(&self, visit: &mut dyn FnMut(&str)) {
        self.lines.lines().for_each(visit);
    }
}
