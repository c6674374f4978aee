//! Why a command was not done, with which code it ends, and what to try next.

use std::io;

use coordinator::api::types::ProblemDetails;
use thiserror::Error;

use crate::text::{Paint, paint, safe};

/// Something failed that no other code names.
pub(crate) const EXIT_FAILED: u8 = 1;
/// No case waits.
pub(crate) const EXIT_NOTHING: u8 = 3;
/// The token is missing, not good, or does not allow it.
pub(crate) const EXIT_REFUSED: u8 = 4;
/// Somebody or something was there first.
pub(crate) const EXIT_CONFLICT: u8 = 5;
/// There is no such thing, or not for this token.
pub(crate) const EXIT_NOT_FOUND: u8 = 6;
/// The coordinator does not answer, or cannot serve now.
pub(crate) const EXIT_UNREACHABLE: u8 = 7;
/// Bad arguments or settings.
pub(crate) const EXIT_USAGE: u8 = 64;

/// What stands in the help about them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed
   3  nothing to do: no case waits
   4  refused: no good token, or it does not allow this, or too many that were not good
   5  conflict: somebody has the case, the claim is over, or it changed meanwhile
   6  not found, or not in what the token may see
   7  the coordinator cannot be reached or cannot serve now
  64  bad usage or settings";

/// What a request was about: names the command that looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum About {
    /// Nothing in particular.
    #[default]
    General,
    /// The queue.
    Queue,
    /// A case.
    Case(String),
    /// A tenant.
    Tenant(String),
    /// An agent.
    Agent,
    /// A recall.
    Recall,
    /// A token.
    Token,
}

/// Why a command was not done.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The coordinator answered with a problem.
    #[error("{}", problem.title)]
    Problem {
        /// What it said.
        problem: Box<ProblemDetails>,
        /// About what.
        about: About,
    },
    /// The coordinator did not answer.
    #[error("the coordinator at {coordinator} cannot be reached")]
    Unreachable {
        /// Its address.
        coordinator: String,
        /// Why.
        cause: String,
        /// What to look at.
        hint: &'static str,
    },
    /// What answered is not our coordinator, or not of our version.
    #[error("the answer of {coordinator} is not understood")]
    Odd {
        /// Its address.
        coordinator: String,
        /// What is odd.
        cause: String,
    },
    /// The command line or the settings cannot be used.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// There is nothing to do.
    #[error("no case waits")]
    NothingWaits,
    /// Nobody signed in while there was time.
    #[error("nobody signed in in time")]
    NotSignedIn,
    /// A file of ours cannot be read or written.
    #[error("{what}")]
    File {
        /// What was tried, with the path.
        what: String,
        /// Why not.
        cause: String,
    },
    /// The result cannot be written.
    #[error("the result cannot be written")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Returns a complaint about usage.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: hint.into() }
    }

    /// Returns the name of the problem that the coordinator answered with.
    pub(crate) fn problem_name(&self) -> Option<&str> {
        match self {
            Self::Problem { problem, .. } => Some(name(problem)),
            _ => None,
        }
    }

    /// Returns the code with which the process ends.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Problem { problem, .. } => exit_code_of(name(problem), problem.status),
            Self::Unreachable { .. } => EXIT_UNREACHABLE,
            Self::Odd { .. } | Self::File { .. } | Self::Output(_) => EXIT_FAILED,
            Self::Usage { .. } => EXIT_USAGE,
            Self::NothingWaits => EXIT_NOTHING,
            Self::NotSignedIn => EXIT_REFUSED,
        }
    }

    /// Writes what a person needs: what happened, why, and what to do next.
    pub(crate) fn render(&self) -> String {
        let mut lines =
            vec![format!("{} {}", paint(Paint::Red, "signalbox:"), safe(&self.to_string()))];
        let mut indented = |text: String| lines.push(format!("  {text}"));
        match self {
            Self::Problem { problem, about } => {
                let field = problem
                    .field
                    .as_deref()
                    .map_or_else(String::new, |field| format!("{}: ", safe(field)));
                indented(format!("{field}{}", safe(&problem.detail)));
                for found in &problem.matches {
                    indented(format!("- {}", safe(found)));
                }
                if let Some(hint) = &problem.hint {
                    indented(safe(hint));
                }
                if let Some(command) = next_command(name(problem), about) {
                    indented(format!("try: {}", paint(Paint::Bold, &command)));
                }
            }
            Self::Unreachable { cause, hint, .. } => {
                indented(safe(cause));
                indented((*hint).to_owned());
            }
            Self::Odd { cause, .. } => {
                indented(safe(cause));
                indented("is --coordinator the address of its API, and of version 1?".to_owned());
            }
            Self::Usage { hint, .. } => indented(safe(hint)),
            Self::NothingWaits => {
                indented(format!("try: {}", paint(Paint::Bold, "signalbox next --wait 30s")));
            }
            Self::NotSignedIn => {
                indented(format!("try: {}", paint(Paint::Bold, "signalbox login")));
            }
            Self::File { cause, .. } => indented(safe(cause)),
            Self::Output(error) => indented(safe(&error.to_string())),
        }
        lines.join("\n")
    }
}

/// Returns a problem's name without its namespace.
fn name(problem: &ProblemDetails) -> &str {
    problem.kind.rsplit(':').next().unwrap_or_default()
}

/// A name decides; where it is one that we do not know, the status does.
fn exit_code_of(name: &str, status: u16) -> u8 {
    match (name, status) {
        ("ambiguous-case" | "invalid", _) => EXIT_USAGE,
        ("idempotency-mismatch" | "store-unknown" | "internal", _) => EXIT_FAILED,
        (_, 401 | 403 | 429) => EXIT_REFUSED,
        (_, 404) => EXIT_NOT_FOUND,
        (_, 409 | 412) => EXIT_CONFLICT,
        (_, 502 | 503) => EXIT_UNREACHABLE,
        (_, 400 | 413) => EXIT_USAGE,
        _ => EXIT_FAILED,
    }
}

fn next_command(name: &str, about: &About) -> Option<String> {
    let command = match (name, about) {
        ("unauthorized", _) => "signalbox login",
        ("forbidden", _) => "signalbox whoami",
        (
            "fenced" | "already-claimed" | "closed" | "new-evidence" | "store-unknown" | "conflict",
            About::Case(case),
        ) => {
            return Some(format!("signalbox show {}", safe(case)));
        }
        ("lease-expired", _) | ("store-unknown", About::Queue) => "signalbox queue",
        ("precondition-failed" | "store-unknown", About::Tenant(tenant)) => {
            return Some(format!("signalbox tenant show {}", safe(tenant)));
        }
        ("not-found", About::Case(_)) => "signalbox cases",
        ("not-found", About::Tenant(_)) => "signalbox tenant list",
        ("not-found", About::Agent) => "signalbox agents",
        ("not-found" | "store-unknown", About::Token) => "signalbox token list",
        _ => return None,
    };
    Some(command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::finish;

    fn problem(name: &str, status: u16) -> Box<ProblemDetails> {
        Box::new(ProblemDetails {
            kind: format!("urn:signalbox:problem:{name}"),
            title: format!("title of {name}"),
            status,
            detail: "what is wrong\u{1b}[2J".to_owned(),
            field: None,
            hint: Some("what to do".to_owned()),
            matches: Vec::new(),
        })
    }

    #[test]
    fn every_problem_has_the_exit_code_that_the_help_promises() {
        let expected = [
            ("unauthorized", 401, EXIT_REFUSED),
            ("forbidden", 403, EXIT_REFUSED),
            ("not-found", 404, EXIT_NOT_FOUND),
            ("invalid", 400, EXIT_USAGE),
            ("ambiguous-case", 409, EXIT_USAGE),
            ("conflict", 409, EXIT_CONFLICT),
            ("fenced", 409, EXIT_CONFLICT),
            ("new-evidence", 409, EXIT_CONFLICT),
            ("lease-expired", 409, EXIT_CONFLICT),
            ("already-claimed", 409, EXIT_CONFLICT),
            ("closed", 409, EXIT_CONFLICT),
            ("precondition-failed", 412, EXIT_CONFLICT),
            ("idempotency-mismatch", 422, EXIT_FAILED),
            ("too-large", 413, EXIT_USAGE),
            ("store-unavailable", 503, EXIT_UNREACHABLE),
            ("store-unknown", 500, EXIT_FAILED),
            ("too-many-clients", 503, EXIT_UNREACHABLE),
            ("locked-out", 429, EXIT_REFUSED),
            ("sign-in-refused", 403, EXIT_REFUSED),
            ("provider-unavailable", 502, EXIT_UNREACHABLE),
            ("internal", 500, EXIT_FAILED),
            ("of-a-later-version", 409, EXIT_CONFLICT),
            ("of-a-later-version", 418, EXIT_FAILED),
        ];
        for (name, status, code) in expected {
            let failure =
                Failure::Problem { problem: problem(name, status), about: About::General };
            assert_eq!(failure.exit_code(), code, "{name}");
        }
        for code in [1, 3, 4, 5, 6, 7, 64] {
            assert!(
                EXIT_CODES.lines().any(|line| line.trim().starts_with(&code.to_string())),
                "{code}"
            );
        }
    }

    #[test]
    fn a_problem_is_told_with_its_cause_its_hint_and_the_next_command() {
        let about = About::Case("abcd".to_owned());
        let failure = Failure::Problem { problem: problem("fenced", 409), about };
        let wanted = "signalbox: title of fenced\n  what is wrong\\u{1b}[2J\n  what to do\n  \
                      try: signalbox show abcd";
        assert_eq!(finish(&failure.render(), false), wanted);
    }

    #[test]
    fn an_ambiguous_case_is_told_with_what_it_may_have_meant() {
        let mut ambiguous = problem("ambiguous-case", 409);
        ambiguous.matches = vec!["abcd11111111".to_owned(), "abcd22222222".to_owned()];
        let failure =
            Failure::Problem { problem: ambiguous, about: About::Case("abcd".to_owned()) };
        let text = finish(&failure.render(), false);
        assert!(text.contains("\n  - abcd11111111\n  - abcd22222222\n"), "{text}");
    }

    #[test]
    fn an_empty_queue_is_nothing_to_do_and_no_failure() {
        assert_eq!(Failure::NothingWaits.exit_code(), EXIT_NOTHING);
        assert_eq!(Failure::NotSignedIn.exit_code(), EXIT_REFUSED);
    }
}
