//! Why a rule is not taken, and where.

use std::fmt;

/// A rule that cannot be taken whole is not taken at all: this says which, where and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the source that it came from, as it was given.
    pub source: Box<str>,
    /// The rule's id, its title where it has none, or nothing where it has neither.
    pub rule: Box<str>,
    /// Line in the source, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Why.
    pub reason: Reason,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.source, self.line, self.column)?;
        if !self.rule.is_empty() {
            write!(f, "rule {}: ", self.rule)?;
        }
        write!(f, "{}", self.reason)
    }
}

/// A reason and its place, before it is known whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) reason: Reason,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.reason)
    }
}

/// Why a rule is refused. A rule's author changes the rule; the last group needs somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The source is not YAML.
    #[error("not YAML: {0}")]
    Yaml(Box<str>),
    /// A mapping has the same key twice.
    #[error("the key {0:?} stands twice")]
    KeyTwice(Box<str>),
    /// Something that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something is of another kind than it must be.
    #[error("{what} must be {must_be}")]
    Not {
        /// What it is about.
        what: Box<str>,
        /// What it must be.
        must_be: &'static str,
    },
    /// No modifier has this name.
    #[error("there is no modifier {0:?}")]
    UnknownModifier(Box<str>),
    /// A modifier does not go with the value, or with the other modifiers.
    #[error("modifier {modifier}: {problem}")]
    Modifier {
        /// The modifier's name.
        modifier: Box<str>,
        /// What does not go with it.
        problem: &'static str,
    },
    /// A regular expression has a mistake.
    #[error("the regular expression {0}")]
    Regex(Box<str>),
    /// A regular expression looks around or back, which cannot be done in bounded time.
    #[error("the regular expression has {0}, which cannot be matched in bounded time")]
    RegexUnsupported(&'static str),
    /// A network is not one.
    #[error("{0:?} is no network in CIDR notation")]
    Cidr(Box<str>),
    /// A condition has a mistake.
    #[error("condition: {0}")]
    Condition(Box<str>),
    /// A condition counts in the way of Sigma before correlations.
    #[error("condition: aggregations after a pipe are obsolete; write a correlation rule")]
    Aggregation,
    /// A condition names what the detection does not have.
    #[error("condition: no search-identifier is called {0:?}")]
    UnknownSearch(Box<str>),
    /// A filter's condition mixes what it names with what it excludes.
    #[error(
        "a filter's condition must name what is filtered out, or be its negation as a whole: \
         `selection` or `not selection`"
    )]
    FilterCondition,
    /// Another rule of this set has the same id or name.
    #[error("another rule has the id or name {0:?}, too")]
    NameTwice(Box<str>),
    /// A correlation or a filter refers to a rule that is not in this set.
    #[error("refers to the rule {0:?}, which is not there or was refused")]
    UnknownRule(Box<str>),
    /// Correlations refer to each other in a circle.
    #[error("refers to itself, if only through others")]
    Circle,
    /// A correlation is of a type that an agent cannot keep in bounded memory, or that is not defined.
    #[error("the correlation type {0:?} is not supported")]
    CorrelationType(Box<str>),

    /// Nobody said what a placeholder stands for.
    #[error("the placeholder %{0}% has no values here")]
    Placeholder(Box<str>),
    /// Nobody said which events are meant by the log source.
    #[error("no events are known for the log source {0}")]
    Logsource(Box<str>),

    /// A source or a text in it is too long.
    #[error("{what} is longer than {max} bytes")]
    TooLong {
        /// What is.
        what: &'static str,
        /// How long it may be.
        max: usize,
    },
    /// A document has too many nodes, which aliases can make out of little.
    #[error("the document has too many nodes")]
    TooManyNodes,
    /// A document or a condition is nested too deeply.
    #[error("nested too deeply")]
    TooDeep,
    /// A source has too many documents.
    #[error("the source has too many documents")]
    TooManyDocuments,
    /// The rule set has too many rules.
    #[error("there are too many rules")]
    TooManyRules,
    /// A rule asks for too many values, written out or made by its modifiers.
    #[error("the rule asks for too many values")]
    TooManyValues,
    /// A regular expression takes too much memory once compiled.
    #[error("the regular expression takes too much memory")]
    RegexTooLarge,
}

impl Reason {
    /// Returns a short name of the kind of reason, for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Yaml(_) => "yaml",
            Self::KeyTwice(_) => "key_twice",
            Self::Missing(_) => "missing",
            Self::Not { .. } => "wrong_kind",
            Self::UnknownModifier(_) => "unknown_modifier",
            Self::Modifier { .. } => "modifier",
            Self::Regex(_) => "regex",
            Self::RegexUnsupported(_) => "regex_unsupported",
            Self::Cidr(_) => "cidr",
            Self::Condition(_) => "condition",
            Self::Aggregation => "aggregation",
            Self::UnknownSearch(_) => "unknown_search",
            Self::FilterCondition => "filter_condition",
            Self::NameTwice(_) => "name_twice",
            Self::UnknownRule(_) => "unknown_rule",
            Self::Circle => "circle",
            Self::CorrelationType(_) => "correlation_type",
            Self::Placeholder(_) => "placeholder",
            Self::Logsource(_) => "logsource",
            Self::TooLong { .. } => "too_long",
            Self::TooManyNodes => "too_many_nodes",
            Self::TooDeep => "too_deep",
            Self::TooManyDocuments => "too_many_documents",
            Self::TooManyRules => "too_many_rules",
            Self::TooManyValues => "too_many_values",
            Self::RegexTooLarge => "regex_too_large",
        }
    }
}
