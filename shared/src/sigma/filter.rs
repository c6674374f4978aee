//! Filters: what several rules leave out, written once.
//!
//! A filter names its rules by id or name, or all of them as `any`, and takes effect on those whose log source has all
//! the parts that its own names.

use super::{
    detection::{self, Asked},
    expr::Expr,
    modifiers::Placeholders,
    refusal::{Fault, Reason},
    rule::{Rule, texts},
    yaml::Node,
};

/// A filter, ready to be put into its rules.
pub(super) struct Filter {
    header: Rule,
    /// Names and ids of its rules; nothing for all.
    rules: Option<Vec<Box<str>>>,
    /// What is taken out.
    excluded: Asked,
    place: (u32, u32),
}

impl Filter {
    /// Reads the document of a filter.
    pub(super) fn read(
        header: Rule,
        document: &Node,
        placeholders: &Placeholders,
    ) -> Result<Self, Fault> {
        let section = document.get("filter").unwrap_or(document);
        if document.get("logsource").is_none() {
            return Err(document.fault(Reason::Missing("logsource")));
        }
        let rules = section.get("rules").ok_or_else(|| section.fault(Reason::Missing("rules")))?;
        let place = (rules.line, rules.column);
        let rules = match rules.text() {
            Some("any") => None,
            Some(_) | None => Some(texts(rules, "rules")?),
        };
        let excluded = match detection::read(section, placeholders)? {
            Expr::Not(excluded) if !excluded.has_not() => *excluded,
            plain if !plain.has_not() => plain,
            _ => {
                let condition = section.get("condition").unwrap_or(section);
                return Err(condition.fault(Reason::FilterCondition));
            }
        };
        Ok(Self { header, rules, excluded, place })
    }

    /// Returns whether it is meant for this rule.
    pub(super) fn names(&self, rule: &Rule) -> bool {
        self.rules.as_ref().is_none_or(|rules| {
            rules.iter().any(|name| !name.is_empty() && (*name == rule.id || *name == rule.name))
        })
    }

    /// Puts itself into a rule that it is meant for.
    pub(super) fn apply(&self, rule: &Rule, asked: Asked) -> Asked {
        let pairs = self.header.logsource.parts().into_iter().zip(rule.logsource.parts());
        let fits = |(own, rule): (&str, &str)| own.is_empty() || own.eq_ignore_ascii_case(rule);
        if !pairs.into_iter().all(fits) {
            return asked;
        }
        Expr::And(vec![asked, self.excluded.clone().negated()])
    }

    /// Returns the header, for what is said of it.
    pub(super) fn header(&self) -> &Rule {
        &self.header
    }

    /// Returns a fault at the list of rules: none of them is there.
    pub(super) fn unknown(&self) -> Fault {
        let (line, column) = self.place;
        let first = self.rules.iter().flatten().next().cloned().unwrap_or_else(|| "any".into());
        Fault { line, column, reason: Reason::UnknownRule(first) }
    }
}
