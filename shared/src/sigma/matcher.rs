//! All conditions of a rule set in one matcher, so that an event is read once however many rules there are.
//!
//! What rules ask is taken apart into *atoms*, one for each different question about a field. Most are answered while
//! the event's values are read: whole values are looked up, and one automaton a field finds all texts that any rule
//! asks for at the beginning, the end or anywhere. The others are asked only when a rule needs them, once an event:
//! expressions, numbers, networks, and patterns, these only where the automaton found their longest text.
//!
//! Each condition has *triggers*: atoms of which at least one is answered with yes wherever the condition holds, chosen
//! to be rare. A rule is looked at only once one of its triggers was met. A rule that can hold without anything being
//! there, such as `not selection`, has none, and is looked at for every event.
//!
//! **Cost.** Time by the bytes of the values that rules ask for, by the texts that are found, and by the rules whose
//! triggers are met. Memory by the texts of all rules.

mod index;
mod scan;
mod triggers;

use std::collections::BTreeMap;

use regex::Regex;

pub use self::scan::Scratch;
use self::{index::FieldIndex, triggers::Triggers};
use super::{
    detection::Asked,
    event::Event,
    expr::Expr,
    expression,
    pattern::Shape,
    refusal::Reason,
    test::{Ask, Test},
};

/// A question with its field by number.
type Atom = Ask<u32>;

/// How an atom is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// While values are read; not met is no.
    Eager,
    /// When it is needed, if its longest text was met.
    Anchored,
    /// When it is needed.
    Lazy,
}

/// Texts shorter than this are looked for only when a rule needs them: they are met in every other value.
const FOUND_BYTES_MIN: usize = 3;

/// Takes conditions in, and numbers what they ask.
#[derive(Default)]
pub(super) struct Builder {
    fields: BTreeMap<Box<str>, u32>,
    atoms: BTreeMap<Atom, u32>,
    regexes: BTreeMap<u32, Regex>,
    conditions: Vec<Expr<u32>>,
}

impl Builder {
    /// Adds the condition of the next rule.
    ///
    /// # Errors
    /// An expression that cannot be compiled; nothing is added then.
    pub(super) fn add(&mut self, asked: Asked) -> Result<(), Reason> {
        let condition = asked.expand(&mut |ask| self.atom(ask).map(Expr::Leaf))?;
        self.conditions.push(condition);
        Ok(())
    }

    /// Returns the number of a field.
    pub(super) fn field(&mut self, name: Box<str>) -> u32 {
        let next = number(self.fields.len());
        *self.fields.entry(name).or_insert(next)
    }

    fn atom(&mut self, ask: Ask<Box<str>>) -> Result<u32, Reason> {
        let field = ask.field.map(|name| self.field(name));
        let test = match ask.test {
            Test::Text { pattern, cased } => Test::Text { pattern, cased },
            Test::Regex { pattern, flags } => Test::Regex { pattern, flags },
            Test::Number { part, operator, than } => Test::Number { part, operator, than },
            Test::Network { address, prefix } => Test::Network { address, prefix },
            Test::Field { other, before, behind, cased } => {
                Test::Field { other: self.field(other), before, behind, cased }
            }
            Test::Exists => Test::Exists,
            Test::Null => Test::Null,
        };
        let atom = Ask { field, test };
        if let Some(known) = self.atoms.get(&atom) {
            return Ok(*known);
        }
        // A rule that waits for a field's value is looked at only where the field is.
        if let (Some(field), Role::Lazy) = (field, role(&atom))
            && atom.test != Test::Null
        {
            self.intern(Ask { field: Some(field), test: Test::Exists });
        }
        let regex = match &atom.test {
            Test::Regex { pattern, flags } => Some(expression::compile(pattern, *flags)?),
            Test::Text { .. }
            | Test::Number { .. }
            | Test::Network { .. }
            | Test::Field { .. }
            | Test::Exists
            | Test::Null => None,
        };
        let number = self.intern(atom);
        self.regexes.extend(regex.map(|regex| (number, regex)));
        Ok(number)
    }

    fn intern(&mut self, atom: Atom) -> u32 {
        let next = number(self.atoms.len());
        *self.atoms.entry(atom).or_insert(next)
    }

    /// Returns the matcher, and the names of its fields by number.
    pub(super) fn finish(self) -> (Matcher, Vec<Box<str>>) {
        let mut atoms: Vec<_> = self.atoms.into_iter().collect();
        atoms.sort_by_key(|(_, number)| *number);
        let atoms: Vec<Atom> = atoms.into_iter().map(|(atom, _)| atom).collect();
        let roles: Vec<Role> = atoms.iter().map(role).collect();
        let mut names: Vec<_> = self.fields.into_iter().collect();
        names.sort_by_key(|(_, number)| *number);
        let names: Vec<Box<str>> = names.into_iter().map(|(name, _)| name).collect();
        let (fields, keywords) = FieldIndex::build(&atoms, names.len());
        let (conditions, triggers) = triggers::choose(&atoms, &roles, self.conditions);
        let regexes = (0..number(atoms.len())).map(|n| self.regexes.get(&n).cloned()).collect();
        let lazy = |(atom, role): (&Atom, &Role)| atom.field.is_none() && *role == Role::Lazy;
        let has_lazy_keywords = atoms.iter().zip(&roles).any(lazy);
        let matcher = Matcher {
            atoms,
            roles,
            regexes,
            fields,
            keywords,
            has_lazy_keywords,
            conditions,
            triggers,
        };
        (matcher, names)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("values are bounded well below this")
}

/// Returns how an atom is answered.
fn role(atom: &Atom) -> Role {
    match &atom.test {
        Test::Exists => Role::Eager,
        Test::Text { pattern, cased } => {
            let long = pattern.longest_text().is_some_and(|text| text.len() >= FOUND_BYTES_MIN);
            match pattern.shape() {
                Shape::Exact(_) | Shape::Any if !cased && atom.field.is_some() => Role::Eager,
                Shape::Prefix(_) | Shape::Suffix(_) | Shape::Contains(_) if !cased && long => {
                    Role::Eager
                }
                _ if long => Role::Anchored,
                _ => Role::Lazy,
            }
        }
        Test::Regex { .. }
        | Test::Number { .. }
        | Test::Network { .. }
        | Test::Field { .. }
        | Test::Null => Role::Lazy,
    }
}

/// All rules' conditions, ready to be matched.
#[derive(Debug)]
pub(super) struct Matcher {
    atoms: Vec<Atom>,
    roles: Vec<Role>,
    /// By atom.
    regexes: Vec<Option<Regex>>,
    /// By field.
    fields: Vec<FieldIndex>,
    /// Over all texts of an event.
    keywords: FieldIndex,
    /// Whether keywords are asked that reading does not answer.
    has_lazy_keywords: bool,
    conditions: Vec<Expr<u32>>,
    triggers: Triggers,
}

impl Matcher {
    /// Returns the rules whose conditions hold, in ascending order.
    pub(super) fn matches<'s>(&self, event: &dyn Event, scratch: &'s mut Scratch) -> &'s [u32] {
        self.read(event, scratch);
        self.decide(event, scratch);
        scratch.matched()
    }

    /// Returns how many rules are looked at for every event.
    pub(super) fn untriggered(&self) -> usize {
        self.triggers.always().len()
    }
}
