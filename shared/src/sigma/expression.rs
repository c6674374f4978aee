//! Regular expressions: what is taken, and how much memory one may have.
//!
//! Sigma names PCRE, and of it only what every engine knows. Matching takes time by the length of the text, whatever
//! the expression; so look-around and references to groups, which cannot be matched so, are refused by name.

use regex::{Regex, RegexBuilder};

use super::{refusal::Reason, test::Flags};
use crate::limits::{SIGMA_REGEX_BYTES_MAX, SIGMA_REGEX_CACHE_BYTES_MAX};

/// Compiles an expression.
pub(super) fn compile(pattern: &str, flags: Flags) -> Result<Regex, Reason> {
    let built = RegexBuilder::new(pattern)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        .size_limit(SIGMA_REGEX_BYTES_MAX)
        .dfa_size_limit(SIGMA_REGEX_CACHE_BYTES_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Reason::RegexTooLarge,
        error => {
            let text = error.to_string();
            if text.contains("look-around") {
                return Reason::RegexUnsupported("a look-around");
            }
            if text.contains("backreference") {
                return Reason::RegexUnsupported("a reference to a group");
            }
            let last = text.lines().last().unwrap_or_default();
            Reason::Regex(last.strip_prefix("error: ").unwrap_or(last).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(pattern: &str) -> Reason {
        compile(pattern, Flags::default()).unwrap_err()
    }

    #[test]
    fn flags_are_those_of_the_submodifiers() {
        let matches = |pattern, flags, text| compile(pattern, flags).unwrap().is_match(text);
        let none = Flags::default();
        assert!(!matches("abc", none, "xABCx"));
        assert!(matches("abc", Flags { ignore_case: true, ..none }, "xABCx"));
        assert!(!matches("^b$", none, "a\nb\nc"));
        assert!(matches("^b$", Flags { multi_line: true, ..none }, "a\nb\nc"));
        assert!(!matches("a.b", none, "a\nb"));
        assert!(matches("a.b", Flags { dot_all: true, ..none }, "a\nb"));
    }

    #[test]
    fn what_cannot_be_matched_in_bounded_time_is_refused_by_name() {
        assert_eq!(reason("a(?!b)"), Reason::RegexUnsupported("a look-around"));
        assert_eq!(reason("(?<=a)b"), Reason::RegexUnsupported("a look-around"));
        assert_eq!(reason(r"(a)\1"), Reason::RegexUnsupported("a reference to a group"));
        assert_eq!(reason("(a"), Reason::Regex("unclosed group".into()));
        assert_eq!(reason(r"(\w{500}){500}"), Reason::RegexTooLarge);
    }
}
