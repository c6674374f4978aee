//! What is looked for in the values of one field, all rules together.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::{
    super::{
        pattern::{Shape, fold},
        test::Test,
    },
    Atom, FOUND_BYTES_MIN, Role, number, role,
};

/// Up to so many bytes of texts, a field's automaton is one that takes one step a byte. Larger ones would outgrow the
/// processor's caches: such an automaton has a row of some hundred bytes for each byte of its texts.
const SMALL_BYTES_MAX: usize = 256;

/// What is looked for in one field.
#[derive(Debug, Default)]
pub(super) struct FieldIndex {
    /// Whole values, sorted, with the atoms that they answer.
    exact: Vec<(Box<str>, Vec<u32>)>,
    /// Finds all texts, one over the other.
    automaton: Option<AhoCorasick>,
    /// By the automaton's number of a text: what it answers.
    found: Vec<Vec<Found>>,
    /// The atom that asks whether the field is there.
    pub(super) exists: Option<u32>,
    /// The atom that any value answers.
    pub(super) any: Option<u32>,
}

/// What a text answers where it is found.
#[derive(Clone, Copy, Debug)]
struct Found {
    atom: u32,
    place: Place,
}

/// Where a text must be found.
#[derive(Clone, Copy, Debug)]
enum Place {
    Start,
    End,
    Anywhere,
    /// Anywhere, and then the pattern that it is the longest text of has to be tried.
    Within,
}

impl FieldIndex {
    /// Builds the index of each field, and that of keywords.
    pub(super) fn build(atoms: &[Atom], fields: usize) -> (Vec<Self>, Self) {
        let mut drafts: Vec<Draft<'_>> = (0..=fields).map(|_| Draft::default()).collect();
        for (atom, ask) in atoms.iter().enumerate() {
            let at = ask.field.map_or(fields, |field| field as usize);
            drafts[at].add(number(atom), ask);
        }
        let mut built: Vec<Self> = drafts.into_iter().map(Draft::finish).collect();
        let keywords = built.pop().unwrap_or_default();
        (built, keywords)
    }

    /// Returns whether nothing is looked for.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.automaton.is_none()
    }

    /// Reads a value whose case is folded; calls `met` with each atom that it answers with yes, and with `true` for
    /// each whose pattern it only may match.
    pub(super) fn read(&self, value: &str, mut met: impl FnMut(u32, bool)) {
        if let Ok(at) = self.exact.binary_search_by(|(text, _)| (**text).cmp(value)) {
            self.exact[at].1.iter().for_each(|atom| met(*atom, false));
        }
        let Some(automaton) = &self.automaton else { return };
        for hit in automaton.find_overlapping_iter(value) {
            for found in &self.found[hit.pattern().as_usize()] {
                match found.place {
                    Place::Start if hit.start() != 0 => {}
                    Place::End if hit.end() != value.len() => {}
                    Place::Start | Place::End | Place::Anywhere => met(found.atom, false),
                    Place::Within => met(found.atom, true),
                }
            }
        }
    }
}

/// An index on its way.
#[derive(Default)]
struct Draft<'a> {
    exact: BTreeMap<&'a str, Vec<u32>>,
    texts: BTreeMap<Box<str>, Vec<Found>>,
    exists: Option<u32>,
    any: Option<u32>,
}

impl<'a> Draft<'a> {
    fn add(&mut self, atom: u32, ask: &'a Atom) {
        let pattern = match &ask.test {
            Test::Exists => {
                self.exists = Some(atom);
                return;
            }
            Test::Text { pattern, .. } => pattern,
            Test::Regex { .. }
            | Test::Number { .. }
            | Test::Network { .. }
            | Test::Field { .. }
            | Test::Null => return,
        };
        let mut look_for = |text: &str, place| {
            debug_assert!(text.len() >= FOUND_BYTES_MIN, "short texts are looked for when needed");
            self.texts.entry(fold(text).into()).or_default().push(Found { atom, place });
        };
        match (role(ask), pattern.shape()) {
            (Role::Eager, Shape::Exact(text)) => self.exact.entry(text).or_default().push(atom),
            (Role::Eager, Shape::Any) => self.any = Some(atom),
            (Role::Eager, Shape::Prefix(text)) => look_for(text, Place::Start),
            (Role::Eager, Shape::Suffix(text)) => look_for(text, Place::End),
            (Role::Eager, Shape::Contains(text)) => look_for(text, Place::Anywhere),
            (Role::Anchored, _) => {
                look_for(pattern.longest_text().unwrap_or_default(), Place::Within);
            }
            (Role::Eager, Shape::Glob) | (Role::Lazy, _) => {}
        }
    }

    fn finish(self) -> FieldIndex {
        let (texts, found): (Vec<Box<str>>, Vec<Vec<Found>>) = self.texts.into_iter().unzip();
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let kind = if bytes <= SMALL_BYTES_MAX {
            AhoCorasickKind::DFA
        } else {
            AhoCorasickKind::ContiguousNFA
        };
        let build = || {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::Standard).kind(Some(kind));
            let built = builder.build(texts.iter().map(|text| text.as_bytes()));
            built.expect("the texts of all rules are bounded well below what an automaton takes")
        };
        FieldIndex {
            exact: self.exact.into_iter().map(|(text, atoms)| (text.into(), atoms)).collect(),
            automaton: (!texts.is_empty()).then(build),
            found,
            exists: self.exists,
            any: self.any,
        }
    }
}
