//! Sigma's texts with wildcards, and the case that they ignore.
//!
//! A pattern is a list of parts: text as it stands, `?` for one character, `*` for any number. A backslash takes the
//! meaning from the wildcard or backslash behind it and is itself before anything else.
//!
//! **Case.** Matching ignores case by Unicode's simple lower-case mapping, character by character: `Ä` is `ä`, `Σ` is
//! `σ`, `K` (the Kelvin sign) is `k`. Characters whose mapping is longer than one character stay as they are, and so do
//! `ß` and the final `ς`: what a rule and an event share is compared by one table, without a language.
//!
//! **Cost.** Matching a pattern takes time by the product of text and pattern at worst; both are bounded.

use std::borrow::Cow;

use memchr::memmem;

/// A text with wildcards; no two texts and no two `*` stand side by side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern(pub(super) Vec<Part>);

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Text as it stands.
    Text(String),
    /// `?`, one character.
    One,
    /// `*`, any number of characters.
    Many,
    /// `%name%`, where the modifier `expand` asks for it; gone before matching.
    Placeholder(String),
}

/// What a pattern comes to, so that the cheap ones need no wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// The whole value is this text; empty for the empty value.
    Exact(&'a str),
    /// The value begins so.
    Prefix(&'a str),
    /// The value ends so.
    Suffix(&'a str),
    /// The value has this in it.
    Contains(&'a str),
    /// Any value.
    Any,
    /// Something with wildcards in the middle.
    Glob,
}

impl Pattern {
    /// Reads a value as it is written in a rule; `%name%` is a placeholder only where `placeholders` says so.
    pub(super) fn parse(text: &str, placeholders: bool) -> Self {
        let mut pattern = Self(Vec::new());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let after = &rest[next.len_utf8()..];
            rest = match (next, after.chars().next()) {
                ('\\', Some(escaped @ ('*' | '?' | '\\'))) => {
                    pattern.push_text(&after[..escaped.len_utf8()]);
                    &after[escaped.len_utf8()..]
                }
                ('\\', Some('%')) if placeholders => {
                    pattern.push_text("%");
                    &after[1..]
                }
                ('*', _) => {
                    pattern.push(Part::Many);
                    after
                }
                ('?', _) => {
                    pattern.push(Part::One);
                    after
                }
                ('%', _) if placeholders && placeholder(after).is_some() => {
                    let name = placeholder(after).unwrap_or_default();
                    pattern.push(Part::Placeholder(name.to_owned()));
                    &after[name.len() + 1..]
                }
                _ => {
                    pattern.push_text(&rest[..next.len_utf8()]);
                    after
                }
            };
        }
        pattern
    }

    /// Returns the pattern of exactly this text.
    pub(super) fn exactly(text: &str) -> Self {
        let mut pattern = Self(Vec::new());
        pattern.push_text(text);
        pattern
    }

    /// Adds a part, joined to the last one where both are texts or both `*`.
    pub(super) fn push(&mut self, part: Part) {
        match (self.0.last_mut(), part) {
            (Some(Part::Text(last)), Part::Text(text)) => last.push_str(&text),
            (Some(Part::Many), Part::Many) => {}
            (_, Part::Text(text)) if text.is_empty() => {}
            (_, part) => self.0.push(part),
        }
    }

    fn push_text(&mut self, text: &str) {
        self.push(Part::Text(text.to_owned()));
    }

    /// Returns this pattern with `*` before it, behind it, or both.
    pub(super) fn open(self, before: bool, behind: bool) -> Self {
        let mut pattern = Self(Vec::with_capacity(self.0.len() + 2));
        if before {
            pattern.push(Part::Many);
        }
        self.0.into_iter().for_each(|part| pattern.push(part));
        if behind {
            pattern.push(Part::Many);
        }
        pattern
    }

    /// Returns the text where there are no wildcards.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.shape() {
            Shape::Exact(text) => Some(text),
            Shape::Prefix(_) | Shape::Suffix(_) | Shape::Contains(_) | Shape::Any | Shape::Glob => {
                None
            }
        }
    }

    /// Returns this pattern with its texts in the case that matching ignores.
    pub(super) fn folded(&self) -> Self {
        let fold = |part: &Part| match part {
            Part::Text(text) => Part::Text(fold(text).into_owned()),
            Part::One | Part::Many | Part::Placeholder(_) => part.clone(),
        };
        Self(self.0.iter().map(fold).collect())
    }

    pub(super) fn shape(&self) -> Shape<'_> {
        match &self.0[..] {
            [] => Shape::Exact(""),
            [Part::Text(text)] => Shape::Exact(text),
            [Part::Text(text), Part::Many] => Shape::Prefix(text),
            [Part::Many, Part::Text(text)] => Shape::Suffix(text),
            [Part::Many, Part::Text(text), Part::Many] => Shape::Contains(text),
            [Part::Many] => Shape::Any,
            _ => Shape::Glob,
        }
    }

    /// Returns the longest of its texts, which any value that matches has in it.
    pub(super) fn longest_text(&self) -> Option<&str> {
        let texts = self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::One | Part::Many | Part::Placeholder(_) => None,
        });
        texts.max_by_key(|text| text.len())
    }

    /// Returns whether the whole of `value` matches, both in the same case.
    pub(super) fn matches(&self, value: &str) -> bool {
        let mut segments = self.0.split(|part| *part == Part::Many);
        let first = segments.next().unwrap_or_default();
        let Some(mut rest) = strip_start(first, value) else { return false };
        let Some(mut segment) = segments.next() else { return rest.is_empty() };
        for next in segments {
            match find(segment, rest) {
                Some(behind) => rest = behind,
                None => return false,
            }
            segment = next;
        }
        ends_with(segment, rest)
    }
}

/// Returns the name of the placeholder whose first `%` was just read: what stands before the next `%`.
fn placeholder(after: &str) -> Option<&str> {
    let (name, _) = after.split_once('%')?;
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!name.is_empty() && name.chars().all(word)).then_some(name)
}

/// Takes `segment`, which has no `*`, from the beginning of `value`; returns what is behind it.
fn strip_start<'v>(segment: &[Part], value: &'v str) -> Option<&'v str> {
    segment.iter().try_fold(value, |rest, part| match part {
        Part::Text(text) => rest.strip_prefix(text.as_str()),
        Part::One => {
            let mut chars = rest.chars();
            chars.next()?;
            Some(chars.as_str())
        }
        Part::Many | Part::Placeholder(_) => None,
    })
}

/// Returns whether `value` ends with `segment`, which has no `*`.
fn ends_with(segment: &[Part], value: &str) -> bool {
    let taken = segment.iter().rev().try_fold(value, |rest, part| match part {
        Part::Text(text) => rest.strip_suffix(text.as_str()),
        Part::One => {
            let mut chars = rest.chars();
            chars.next_back()?;
            Some(chars.as_str())
        }
        Part::Many | Part::Placeholder(_) => None,
    });
    taken.is_some()
}

/// Finds the leftmost `segment` in `value`; returns what is behind it.
fn find<'v>(segment: &[Part], value: &'v str) -> Option<&'v str> {
    match segment {
        [] => Some(value),
        [Part::Text(text)] => {
            let at = memmem::find(value.as_bytes(), text.as_bytes())?;
            Some(&value[at + text.len()..])
        }
        [Part::Text(text), others @ ..] => {
            let finder = memmem::Finder::new(text.as_bytes());
            let mut from = 0;
            loop {
                let at = from + finder.find(&value.as_bytes()[from..])?;
                if let Some(behind) = strip_start(others, &value[at + text.len()..]) {
                    return Some(behind);
                }
                from = at + value[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        _ => {
            value.char_indices().map(|(at, _)| at).find_map(|at| strip_start(segment, &value[at..]))
        }
    }
}

/// Returns `text` in the case that matching ignores.
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    Cow::Owned(folded)
}

/// Appends `text` to `folded` in the case that matching ignores.
pub(super) fn fold_into(text: &str, folded: &mut String) {
    let start = folded.len();
    if text.is_ascii() {
        folded.push_str(text);
        folded[start..].make_ascii_lowercase();
    } else {
        folded.extend(text.chars().map(fold_char));
    }
}

fn fold_char(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Pattern::parse(pattern, false).folded().matches(&fold(value))
    }

    /// The definition, without a thought for time.
    fn naive(parts: &[Part], value: &str) -> bool {
        match parts {
            [] => value.is_empty(),
            [Part::Text(text), rest @ ..] => {
                value.strip_prefix(text.as_str()).is_some_and(|value| naive(rest, value))
            }
            [Part::One, rest @ ..] => {
                let mut chars = value.chars();
                chars.next().is_some() && naive(rest, chars.as_str())
            }
            [Part::Many, rest @ ..] => (0..=value.len())
                .filter(|at| value.is_char_boundary(*at))
                .any(|at| naive(rest, &value[at..])),
            [Part::Placeholder(_), ..] => false,
        }
    }

    #[test]
    fn a_backslash_escapes_wildcards_and_itself_and_is_plain_before_anything_else() {
        let text = |text: &str| Part::Text(text.to_owned());
        let cases = [
            (r"C:\Windows\a", vec![text(r"C:\Windows\a")]),
            (r"C:\\Windows", vec![text(r"C:\Windows")]),
            (r"a\*b", vec![text("a*b")]),
            (r"a\\*b", vec![text(r"a\"), Part::Many, text("b")]),
            (r"a\\\*b", vec![text(r"a\*b")]),
            (r"\\\\server", vec![text(r"\\server")]),
            (r"\\\server", vec![text(r"\\server")]),
            (r"end\", vec![text(r"end\")]),
            ("a?b**", vec![text("a"), Part::One, text("b"), Part::Many]),
            ("%a%", vec![text("%a%")]),
        ];
        for (written, parts) in cases {
            assert_eq!(Pattern::parse(written, false), Pattern(parts), "{written}");
        }
    }

    #[test]
    fn placeholders_are_read_only_where_they_are_asked_for_and_can_be_escaped() {
        let parts = |text| Pattern::parse(text, true).0;
        let text = |text: &str| Part::Text(text.to_owned());
        let name = |name: &str| Part::Placeholder(name.to_owned());
        assert_eq!(parts("%Servers%"), [name("Servers")]);
        assert_eq!(parts(r"\%plain%name%"), [text("%plain"), name("name")]);
        assert_eq!(parts("100% of %x y%"), [text("100% of %x y%")]);
    }

    #[test]
    fn wildcards_stand_for_one_character_and_for_any_number() {
        assert!(matches("prog?.exe", "ProgA.EXE"));
        assert!(!matches("prog?.exe", "prog.exe"));
        assert!(!matches("prog?.exe", "progAB.exe"));
        assert!(matches("a*b*c", "axxbyyc") && matches("a*b*c", "abc"));
        assert!(!matches("a*b*c", "axxcyyb"));
        assert!(matches("*aab*", "aaab") && matches("*a?b", "aaab"));
        assert!(matches("?", "ä") && !matches("?", ""));
        assert!(matches("*", "") && matches("", "") && !matches("", "x"));
        assert!(!matches("ab*ba", "aba"), "the ends do not overlap");
    }

    #[test]
    fn case_is_ignored_beyond_ascii_character_by_character() {
        assert!(matches("ÄÖÜ", "äöü") && matches("Σ", "σ") && matches("k", "\u{212a}"));
        assert!(!matches("ς", "Σ") && !matches("ß", "SS"));
        assert!(matches("İ", "İ") && matches("i", "I"));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(
            pattern in "[ab*?ä]{0,8}",
            value in "[abAä]{0,10}",
        ) {
            let pattern = Pattern::parse(&pattern, false).folded();
            let value = fold(&value);
            prop_assert_eq!(pattern.matches(&value), naive(&pattern.0, &value));
        }
    }
}
