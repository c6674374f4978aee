//! Patterns of paths: which files are one source.
//!
//! ```text
//! *        any text within a name     /var/log/*/eve.json
//! ?  [ab]  one character              alerts-[0-9].json
//! **       folders of any depth       /srv/**/alerts.json
//! ```
//! A name that begins with a dot is only matched by one that says the dot. What stands in brackets
//! means itself: `[*]` is a star.

use std::{
    ffi::OsStr,
    fmt, fs,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern as Name};
use thiserror::Error;

/// The name that stands for folders of any depth.
const ANY_FOLDERS: &str = "**";

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// A name in it cannot be understood.
    #[error("{name:?} is no pattern: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Its last name is the one for folders.
    #[error("ends with {ANY_FOLDERS}, that is, folders: say which files: {ANY_FOLDERS}/*.json")]
    NoFile,
    /// It leads upwards behind its first name with a sign.
    #[error("has .. behind a name with *, ? or [")]
    Upwards,
}

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: PathBuf,
    /// The folders before the first name with a sign.
    base: PathBuf,
    parts: Vec<Part>,
}

/// What one name of a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// This one.
    Literal(String),
    /// One like it.
    Like(Name),
    /// Any number of folders.
    AnyFolders,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.display().fmt(f)
    }
}

impl Pattern {
    /// Returns whether a path has a sign in it that makes it a pattern.
    #[must_use]
    pub fn is_pattern(path: &Path) -> bool {
        // Of names only: before them, Windows has a sign of its own (`\\?\C:\`).
        let has_sign = |name: &OsStr| {
            name.as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
        };
        path.components().any(|part| matches!(part, Component::Normal(name) if has_sign(name)))
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(path: &Path) -> Result<Self, PatternError> {
        let mut pattern = Self { text: path.to_owned(), base: PathBuf::new(), parts: Vec::new() };
        for component in path.components() {
            let name = component.as_os_str();
            let is_sign = Self::is_pattern(Path::new(name));
            if pattern.parts.is_empty() && !is_sign {
                pattern.base.push(name);
                continue;
            }
            if component == Component::ParentDir {
                return Err(PatternError::Upwards);
            }
            let name = name.to_string_lossy();
            pattern.parts.push(match &*name {
                ANY_FOLDERS if pattern.parts.last() == Some(&Part::AnyFolders) => continue,
                ANY_FOLDERS => Part::AnyFolders,
                name if !is_sign => Part::Literal(name.to_owned()),
                name => {
                    let wrong = |error: glob::PatternError| PatternError::Name {
                        name: name.to_owned(),
                        reason: error.msg,
                    };
                    Part::Like(Name::new(name).map_err(wrong)?)
                }
            });
        }
        match pattern.parts.last() {
            Some(Part::AnyFolders) => Err(PatternError::NoFile),
            _ => Ok(pattern),
        }
    }

    /// Returns the pattern of exactly one path.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        Self { text: path.to_owned(), base: path.to_owned(), parts: Vec::new() }
    }

    /// Returns the pattern with links in its base followed, as far as that is there: paths that were
    /// followed, too, are then matched by it.
    pub(super) fn resolved(&self) -> Self {
        let base = fs::canonicalize(&self.base).unwrap_or_else(|_| self.base.clone());
        Self { base, ..self.clone() }
    }

    /// Returns whether it matches a path.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.base) else { return false };
        let names: Vec<&OsStr> = rest.iter().collect();
        matches_parts(&self.parts, &names)
    }

    /// Returns the folders before the first name with a sign.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns what the names behind the base must be.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

fn matches_parts(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([], names) => names.is_empty(),
        ([Part::AnyFolders, rest @ ..], names) => {
            let hidden = |name: &&&OsStr| name.as_encoded_bytes().starts_with(b".");
            let depth = names.iter().position(|name| hidden(&name)).unwrap_or(names.len());
            (0..=depth).any(|skipped| matches_parts(rest, &names[skipped..]))
        }
        ([_, ..], []) => false,
        ([part, parts @ ..], [name, names @ ..]) => {
            part.matches(name) && matches_parts(parts, names)
        }
    }
}

impl Part {
    /// Returns whether a name is what it must be; a name that is no text never is.
    pub(super) fn matches(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str() else { return false };
        match self {
            Self::Literal(own) => own == name,
            Self::Like(pattern) => pattern.matches_with(name, OPTIONS),
            Self::AnyFolders => !name.starts_with('.'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(Path::new(text)).unwrap()
    }

    #[test]
    fn a_sign_stands_for_text_within_a_name() {
        let cases = [
            ("/var/log/*/eve.json", "/var/log/a/eve.json", true),
            ("/var/log/*/eve.json", "/var/log/a/b/eve.json", false),
            ("/var/log/*/eve.json", "/var/log/eve.json", false),
            ("/var/log/*.json", "/var/log/.hidden.json", false),
            ("/var/log/eve-[0-9].json", "/var/log/eve-3.json", true),
            ("/var/log/eve-?.json", "/var/log/eve-.json", false),
            ("/var/log/[*].json", "/var/log/*.json", true),
            ("/var/log/[*].json", "/var/log/a.json", false),
            ("/srv/**/alerts.json", "/srv/alerts.json", true),
            ("/srv/**/alerts.json", "/srv/a/b/alerts.json", true),
            ("/srv/**/alerts.json", "/srv/a/.b/alerts.json", false),
            ("/srv/**/x/*.json", "/srv/a/x/x/b.json", true),
            ("*.json", "a.json", true),
        ];
        for (text, path, expected) in cases {
            assert_eq!(pattern(text).matches(Path::new(path)), expected, "{text} {path}");
        }
    }

    #[test]
    fn a_plain_path_matches_itself_alone() {
        assert!(!Pattern::is_pattern(Path::new("/var/log/eve.json")));
        let plain = Pattern::of_path(Path::new("/var/log/eve.json"));
        assert!(plain.matches(Path::new("/var/log/eve.json")));
        assert!(!plain.matches(Path::new("/var/log/eve.json.1")));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let error = |text: &str| Pattern::parse(Path::new(text)).unwrap_err();
        assert!(matches!(error("/a/[b.json"), PatternError::Name { .. }));
        assert!(matches!(error("/a/x**y"), PatternError::Name { .. }));
        assert_eq!(error("/a/**"), PatternError::NoFile);
        assert_eq!(error("/a/*/../b"), PatternError::Upwards);
    }
}
