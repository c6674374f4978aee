//! One event through the matcher.

use std::{fmt::Write as _, net::IpAddr};

use super::{
    super::{
        event::{Event, Value},
        expr::Expr,
        pattern::fold_into,
        test::{Number, Test, in_network},
    },
    Matcher, Role,
};

/// The field number under which texts of the event as a whole are kept.
const KEYWORDS: u32 = u32::MAX;

/// An atom was answered with no, with yes, or its pattern has to be tried.
const NO: u32 = 1;
const YES: u32 = 2;
const MAYBE: u32 = 3;

/// What matching needs for an event; kept from one to the next, so that nothing is allocated for most.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Number of the event: what was noted under another counts as not noted. Shifted by two bits in `answers`.
    event: u32,
    /// By atom.
    answers: Vec<u32>,
    /// By rule: the event for which it became a candidate.
    queued: Vec<u32>,
    candidates: Vec<u32>,
    matched: Vec<u32>,
    /// Values' texts one behind another, in the case that matching ignores.
    text: String,
    values: Vec<Seen>,
}

/// A value of the event.
#[derive(Clone, Copy, Debug)]
struct Seen {
    field: u32,
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Bool,
    Number(Number),
    Null,
}

impl Scratch {
    /// Returns what the last event matched.
    pub(super) fn matched(&self) -> &[u32] {
        &self.matched
    }

    fn begin(&mut self, atoms: usize, rules: usize) {
        self.event += 1;
        if self.event > u32::MAX >> 2 || self.answers.len() != atoms || self.queued.len() != rules {
            self.event = 1;
            self.answers.clear();
            self.answers.resize(atoms, 0);
            self.queued.clear();
            self.queued.resize(rules, 0);
        }
        self.candidates.clear();
        self.matched.clear();
        self.text.clear();
        self.values.clear();
    }

    fn answer(&self, atom: u32) -> Option<u32> {
        let noted = self.answers[atom as usize];
        (noted >> 2 == self.event).then_some(noted & 3)
    }

    fn note(&mut self, atom: u32, answer: u32) {
        self.answers[atom as usize] = self.event << 2 | answer;
    }

    fn queue(&mut self, rules: &[u32]) {
        for rule in rules {
            let queued = &mut self.queued[*rule as usize];
            if *queued != self.event {
                *queued = self.event;
                self.candidates.push(*rule);
            }
        }
    }

    /// Keeps a value with its case folded.
    fn keep(&mut self, field: u32, value: Value<'_>) -> Seen {
        let start = self.text.len();
        let kind = match value {
            Value::Text(text) => {
                fold_into(text, &mut self.text);
                Kind::Text
            }
            Value::Int(value) => {
                self.write(format_args!("{value}"));
                Kind::Number(Number::Int(value))
            }
            Value::Float(value) => {
                self.write(format_args!("{value}"));
                Kind::Number(Number::float(value))
            }
            Value::Bool(value) => {
                self.text.push_str(if value { "true" } else { "false" });
                Kind::Bool
            }
            Value::Null => Kind::Null,
        };
        let seen = Seen { field, start, end: self.text.len(), kind };
        self.values.push(seen);
        seen
    }

    fn write(&mut self, value: std::fmt::Arguments<'_>) {
        self.text.write_fmt(value).expect("a string takes all");
    }

    /// Returns the values of a field that are not null, with their folded texts.
    fn of(&self, field: u32) -> impl Iterator<Item = (&str, Kind)> {
        let own = move |seen: &&Seen| seen.field == field && seen.kind != Kind::Null;
        self.values.iter().filter(own).map(|seen| (&self.text[seen.start..seen.end], seen.kind))
    }
}

impl Matcher {
    /// Reads the event's values, answers what can be answered by that, and gathers the rules worth a look.
    pub(super) fn read(&self, event: &dyn Event, scratch: &mut Scratch) {
        scratch.begin(self.atoms.len(), self.conditions.len());
        event.each(self.fields.len(), &mut |field, value| {
            if let Ok(number) = u32::try_from(field)
                && field < self.fields.len()
            {
                self.read_value(number, value, scratch);
            }
        });
        if !self.keywords.is_empty() || self.has_lazy_keywords {
            event.texts(&mut |text| {
                let seen = scratch.keep(KEYWORDS, Value::Text(text));
                self.look(&self.keywords, seen, scratch);
            });
        }
        scratch.queue(self.triggers.always());
    }

    fn read_value(&self, field: u32, value: Value<'_>, scratch: &mut Scratch) {
        let index = &self.fields[field as usize];
        let seen = scratch.keep(field, value);
        index.exists.into_iter().for_each(|atom| self.met(atom, scratch));
        if seen.kind != Kind::Null {
            index.any.into_iter().for_each(|atom| self.met(atom, scratch));
            self.look(index, seen, scratch);
        }
    }

    fn look(&self, index: &super::FieldIndex, seen: Seen, scratch: &mut Scratch) {
        if index.is_empty() {
            return;
        }
        // The text is lent to the index, which reports while the answers are noted.
        let text = std::mem::take(&mut scratch.text);
        index.read(&text[seen.start..seen.end], |atom, maybe| {
            if maybe { self.may_be(atom, scratch) } else { self.met(atom, scratch) }
        });
        scratch.text = text;
    }

    fn met(&self, atom: u32, scratch: &mut Scratch) {
        if scratch.answer(atom).is_none() {
            scratch.note(atom, YES);
            scratch.queue(self.triggers.of(atom));
        }
    }

    fn may_be(&self, atom: u32, scratch: &mut Scratch) {
        if scratch.answer(atom).is_none() {
            scratch.note(atom, MAYBE);
            scratch.queue(self.triggers.of(atom));
        }
    }

    /// Looks at the candidates.
    pub(super) fn decide(&self, event: &dyn Event, scratch: &mut Scratch) {
        let mut candidates = std::mem::take(&mut scratch.candidates);
        candidates.sort_unstable();
        for rule in &candidates {
            if self.holds(&self.conditions[*rule as usize], event, scratch) {
                scratch.matched.push(*rule);
            }
        }
        scratch.candidates = candidates;
    }

    fn holds(&self, condition: &Expr<u32>, event: &dyn Event, scratch: &mut Scratch) -> bool {
        match condition {
            Expr::And(parts) => parts.iter().all(|part| self.holds(part, event, scratch)),
            Expr::Or(parts) => parts.iter().any(|part| self.holds(part, event, scratch)),
            Expr::Not(part) => !self.holds(part, event, scratch),
            Expr::Leaf(atom) => match (self.roles[*atom as usize], scratch.answer(*atom)) {
                (Role::Eager, answer) => answer == Some(YES),
                (Role::Anchored, None) => false,
                (Role::Anchored | Role::Lazy, Some(NO)) => false,
                (Role::Anchored | Role::Lazy, Some(YES)) => true,
                (Role::Anchored | Role::Lazy, _) => {
                    let passes = self.passes(*atom, event, scratch);
                    scratch.note(*atom, if passes { YES } else { NO });
                    passes
                }
            },
        }
    }

    /// Asks an atom that reading has not answered.
    fn passes(&self, atom: u32, event: &dyn Event, scratch: &Scratch) -> bool {
        let ask = &self.atoms[atom as usize];
        let field = ask.field.unwrap_or(KEYWORDS);
        match &ask.test {
            Test::Text { pattern, cased: false } => {
                scratch.of(field).any(|(text, _)| pattern.matches(text))
            }
            Test::Text { pattern, cased: true } => {
                as_written(field, event, scratch, &mut |text| pattern.matches(text))
            }
            Test::Regex { .. } => {
                let Some(regex) = &self.regexes[atom as usize] else { return false };
                as_written(field, event, scratch, &mut |text| regex.is_match(text))
            }
            Test::Number { part, operator, than } => scratch.of(field).any(|(text, kind)| {
                let own = match kind {
                    Kind::Number(number) => Some(number),
                    Kind::Text | Kind::Bool | Kind::Null => None,
                };
                let value = match part {
                    Some(part) => part.of(text, own).map(Number::Int),
                    None => own.or_else(|| Number::parse(text)),
                };
                let ordering = value.and_then(|value| value.compare(*than));
                ordering.is_some_and(|ordering| operator.holds(ordering))
            }),
            Test::Network { address, prefix } => scratch.of(field).any(|(text, _)| {
                let ip = text.parse::<IpAddr>();
                ip.is_ok_and(|ip| in_network(ip, *address, *prefix))
            }),
            Test::Field { other, before, behind, cased } => {
                let ends = (*before, *behind);
                if *cased {
                    return as_written(field, event, scratch, &mut |a| {
                        as_written(*other, event, scratch, &mut |b| stands_so(a, b, ends))
                    });
                }
                scratch
                    .of(field)
                    .any(|(a, _)| scratch.of(*other).any(|(b, _)| stands_so(a, b, ends)))
            }
            Test::Exists => scratch.values.iter().any(|seen| seen.field == field),
            Test::Null => scratch.of(field).next().is_none(),
        }
    }
}

/// Returns whether a field has a value that passes, in the case in which it was written.
fn as_written(
    field: u32,
    event: &dyn Event,
    scratch: &Scratch,
    passes: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let mut passed = false;
    if field == KEYWORDS {
        event.texts(&mut |text| passed = passed || passes(text));
        return passed;
    }
    event.values(field as usize, &mut |value| {
        if let Value::Text(text) = value {
            passed = passed || passes(text);
        }
    });
    // Others have no case, and their texts are kept.
    passed || scratch.of(field).any(|(text, kind)| kind != Kind::Text && passes(text))
}

/// Returns whether `a` is `b`, or begins or ends with it or has it in it where its ends are open.
fn stands_so(a: &str, b: &str, (before, behind): (bool, bool)) -> bool {
    match (before, behind) {
        (false, false) => a == b,
        (false, true) => a.starts_with(b),
        (true, false) => a.ends_with(b),
        (true, true) => a.contains(b),
    }
}
