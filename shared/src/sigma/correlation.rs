//! Correlations: matches of several events that belong together.
//!
//! A correlation counts what its rules match, for each group of events that agree in the fields of `group-by`, within a
//! timespan that slides: an event looks back from itself.
//!
//! | type | it matches when |
//! | --- | --- |
//! | `event_count` | the number of events meets the condition |
//! | `value_count` | the number of different values of `field` meets the condition |
//! | `temporal` | all rules have matched, or as many different ones as the condition says |
//! | `temporal_ordered` | likewise, each by an event behind that of a rule before it |
//!
//! A correlation may refer to another; that then matches as if the event which completed it were matched by a rule. An
//! event that lacks a field of `group-by` belongs to no group. What is asked of time and memory is in [`state`].

pub(super) mod resolve;
pub(super) mod state;

use std::{collections::BTreeMap, time::Duration};

use super::{
    refusal::{Fault, Reason},
    rule::{Rule, texts},
    yaml::{Node, Yaml},
};
use crate::limits::{SIGMA_CORRELATION_COUNT_MAX, SIGMA_CORRELATION_RULES_MAX};

/// A correlation as its document has it.
pub(super) struct Draft {
    pub(super) header: Rule,
    pub(super) kind: Kind,
    /// Ids or names of its rules, in their order.
    pub(super) rules: Vec<Box<str>>,
    /// Names of fields, or of aliases.
    pub(super) group_by: Vec<Box<str>>,
    /// For an alias: a rule's name, and the field that it means there.
    pub(super) aliases: Aliases,
    pub(super) timespan: Duration,
    /// Whether its rules' matches count by themselves, too.
    pub(super) generate: bool,
    /// Where its list of rules stands.
    pub(super) place: (u32, u32),
}

/// By alias and by rule: the field that is meant.
pub(super) type Aliases = BTreeMap<Box<str>, BTreeMap<Box<str>, Box<str>>>;

/// What is counted, and when that is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    EventCount(Bounds),
    /// With the names of the fields whose values are told apart.
    ValueCount(Bounds, Vec<Box<str>>),
    /// How many different rules; all where nothing is said.
    Temporal(Option<Bounds>),
    /// Likewise, in the order of the rules: the longest row of events counts.
    TemporalOrdered(Option<Bounds>),
}

/// All that a count must meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds(Vec<(Comparison, u32)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

impl Bounds {
    /// Returns whether a count meets all of them.
    pub(super) fn met_by(&self, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.iter().all(|(comparison, bound)| match comparison {
            Comparison::Greater => count > *bound,
            Comparison::GreaterOrEqual => count >= *bound,
            Comparison::Less => count < *bound,
            Comparison::LessOrEqual => count <= *bound,
            Comparison::Equal => count == *bound,
            Comparison::NotEqual => count != *bound,
        })
    }

    /// Returns how far one has to count to know.
    pub(super) fn enough(&self) -> usize {
        self.0.iter().map(|(_, bound)| *bound as usize + 1).max().unwrap_or(1)
    }

    fn read(node: &Node) -> Result<Self, Fault> {
        let not = |what: &str, must_be| Reason::Not { what: what.into(), must_be };
        let entries = node.entries().ok_or_else(|| node.fault(not("condition", "a mapping")))?;
        let mut bounds = Vec::new();
        for (key, value) in entries {
            let comparison = match key.text() {
                Some("gt") => Comparison::Greater,
                Some("gte") => Comparison::GreaterOrEqual,
                Some("lt") => Comparison::Less,
                Some("lte") => Comparison::LessOrEqual,
                Some("eq") => Comparison::Equal,
                Some("neq") => Comparison::NotEqual,
                Some("field") => continue,
                _ => return Err(key.fault(not("a comparison", "gt, gte, lt, lte, eq or neq"))),
            };
            let count = match value.value {
                Yaml::Int(count) => u32::try_from(count).ok(),
                Yaml::Null
                | Yaml::Bool(_)
                | Yaml::Float(_)
                | Yaml::Text(_)
                | Yaml::List(_)
                | Yaml::Map(_) => None,
            };
            let within = count.filter(|count| *count as usize <= SIGMA_CORRELATION_COUNT_MAX);
            let must_be = "a whole number that can be counted to in bounded memory, 10,000 at most";
            bounds.push((comparison, within.ok_or_else(|| value.fault(not("a count", must_be)))?));
        }
        if bounds.is_empty() {
            return Err(node.fault(Reason::Missing("a comparison")));
        }
        Ok(Self(bounds))
    }
}

impl Draft {
    /// Reads the document of a correlation.
    pub(super) fn read(header: Rule, document: &Node) -> Result<Self, Fault> {
        let section = document.get("correlation").unwrap_or(document);
        let missing = |what| section.fault(Reason::Missing(what));
        let not = |what: &str, must_be| Reason::Not { what: what.into(), must_be };
        section.entries().ok_or_else(|| section.fault(not("correlation", "a mapping")))?;
        let rules = section.get("rules").ok_or_else(|| missing("rules"))?;
        let place = (rules.line, rules.column);
        let names = texts(rules, "rules")?;
        if names.is_empty() || names.len() > SIGMA_CORRELATION_RULES_MAX {
            return Err(rules.fault(not("rules", "between one and 64 rules")));
        }
        let timespan = section.get("timespan").ok_or_else(|| missing("timespan"))?;
        let generate = section.get("generate").or_else(|| document.get("generate"));
        Ok(Self {
            kind: Kind::read(section)?,
            group_by: match section.get("group-by") {
                Some(node) => texts(node, "group-by")?,
                None => Vec::new(),
            },
            aliases: section.get("aliases").map(aliases).transpose()?.unwrap_or_default(),
            timespan: span(timespan)?,
            generate: generate.is_some_and(|node| node.value == Yaml::Bool(true)),
            rules: names,
            place,
            header,
        })
    }
}

impl Kind {
    fn read(section: &Node) -> Result<Self, Fault> {
        let kind = section.get("type").ok_or_else(|| section.fault(Reason::Missing("type")))?;
        let condition = section.get("condition");
        let bounds = || {
            let node = condition.ok_or_else(|| section.fault(Reason::Missing("condition")))?;
            Bounds::read(node)
        };
        match kind.text().unwrap_or_default() {
            "event_count" => Ok(Self::EventCount(bounds()?)),
            "value_count" => {
                let field = condition.and_then(|condition| condition.get("field"));
                let field = field.ok_or_else(|| section.fault(Reason::Missing("field")))?;
                Ok(Self::ValueCount(bounds()?, texts(field, "field")?))
            }
            "temporal" => Ok(Self::Temporal(condition.map(|_| bounds()).transpose()?)),
            "temporal_ordered" => {
                Ok(Self::TemporalOrdered(condition.map(|_| bounds()).transpose()?))
            }
            other => Err(kind.fault(Reason::CorrelationType(other.into()))),
        }
    }
}

fn aliases(node: &Node) -> Result<Aliases, Fault> {
    let not = |node: &Node, must_be| node.fault(Reason::Not { what: "an alias".into(), must_be });
    let mut aliases = BTreeMap::new();
    for (alias, rules) in node.entries().ok_or_else(|| not(node, "a mapping"))? {
        let mut fields = BTreeMap::new();
        for (rule, field) in rules.entries().ok_or_else(|| not(rules, "a mapping"))? {
            let text = |node: &Node| node.scalar().map(|text| Box::from(&*text));
            let text = |node| text(node).ok_or_else(|| not(node, "a rule's name and a field"));
            fields.insert(text(rule)?, text(field)?);
        }
        let name = alias.scalar().ok_or_else(|| not(alias, "called by a text"))?;
        aliases.insert(Box::from(&*name), fields);
    }
    Ok(aliases)
}

/// Reads a timespan: a number of seconds, minutes, hours or days.
fn span(node: &Node) -> Result<Duration, Fault> {
    let must_be = "a number and s, m, h or d, such as 90m";
    let bad = || node.fault(Reason::Not { what: "timespan".into(), must_be });
    let text = node.text().ok_or_else(bad)?;
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        Some(_) | None => return Err(bad()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = digits.parse().map_err(|_| bad())?;
    if number == 0 { Err(bad()) } else { Ok(Duration::from_secs(number * unit)) }
}

/// A correlation with its rules and fields by number.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) timespan: Duration,
    /// By position of a rule.
    pub(super) rules: Vec<Member>,
}

/// A rule within a correlation.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) rule: Reference,
    /// For each field of `group-by`: the fields of the event that it may be; the first that is there counts.
    pub(super) group_by: Vec<Vec<u32>>,
    /// Likewise for the fields whose values are counted.
    pub(super) values: Vec<Vec<u32>>,
}

/// What a correlation refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A rule, by its index among [`RuleSet::rules`](super::RuleSet::rules).
    Rule(u32),
    /// A correlation, by its index among [`RuleSet::correlations`](super::RuleSet::correlations).
    Correlation(u32),
}

/// All correlations of a rule set; each comes behind those that it refers to.
#[derive(Debug, Default)]
pub(super) struct Plans {
    pub(super) plans: Vec<Plan>,
    /// By rule: the correlations and positions in which it is.
    pub(super) by_rule: Vec<Vec<(u32, u32)>>,
    /// By correlation, likewise.
    pub(super) by_correlation: Vec<Vec<(u32, u32)>>,
}

impl Plans {
    /// Indexes plans for a set of so many rules.
    pub(super) fn new(plans: Vec<Plan>, rules: usize) -> Self {
        let mut by_rule = vec![Vec::new(); rules];
        let mut by_correlation = vec![Vec::new(); plans.len()];
        for (plan, number) in plans.iter().zip(0..) {
            for (member, position) in plan.rules.iter().zip(0..) {
                match member.rule {
                    Reference::Rule(rule) => by_rule[rule as usize].push((number, position)),
                    Reference::Correlation(inner) => {
                        by_correlation[inner as usize].push((number, position));
                    }
                }
            }
        }
        Self { plans, by_rule, by_correlation }
    }
}

#[cfg(test)]
mod tests;
