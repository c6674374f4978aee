//! How the words of rules meet the events of a product: log sources, field names, placeholders.

use std::collections::BTreeMap;

use super::{
    detection::Asked,
    expr::Expr,
    pattern::Pattern,
    refusal::Reason,
    rule::Logsource,
    test::{Ask, Test},
};

/// What a rule set is told of the events that it will see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The events' name for a rule's field, for all rules. A field that is not here has the same name in both.
    pub fields: BTreeMap<Box<str>, Box<str>>,
    /// Which events a log source means.
    pub logsources: Vec<LogsourceMapping>,
    /// What becomes of a rule whose log source is not wholly known.
    pub unmapped: Unmapped,
    /// What a placeholder stands for; each value may have wildcards.
    pub placeholders: BTreeMap<Box<str>, Vec<Box<str>>>,
}

/// Which events a log source means. Where several fit a rule, those that name most of its parts are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsourceMapping {
    /// The parts that a rule must have, ignoring case; empty ones do not matter.
    pub logsource: Logsource,
    /// What such events have: all of these fields, each with one of these values. The fields are the events' names.
    pub conditions: Vec<(Box<str>, Vec<Box<str>>)>,
    /// The events' names for fields in such events; they go before [`Mapping::fields`].
    pub fields: BTreeMap<Box<str>, Box<str>>,
}

/// What becomes of a rule with a log source that no mapping names wholly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmapped {
    /// What is not known is passed over: the rule is matched against more events than it was written for.
    #[default]
    AnyEvent,
    /// The rule is refused.
    Refuse,
}

impl Mapping {
    /// Puts the events' words for the rule's, and the events of its log source around what it asks.
    pub(super) fn apply(&self, logsource: &Logsource, asked: Asked) -> Result<Asked, Reason> {
        let meant = self.meant(logsource)?;
        let Some(first) = meant.first() else { return Ok(self.rename(asked, None)) };
        if meant.iter().all(|other| other.fields == first.fields) {
            let events = Expr::any(meant.iter().map(|mapping| mapping.events()).collect());
            return Ok(Expr::And(vec![events, self.rename(asked, Some(first))]));
        }
        let each = meant.iter().map(|mapping| {
            Expr::And(vec![mapping.events(), self.rename(asked.clone(), Some(mapping))])
        });
        Ok(Expr::any(each.collect()))
    }

    /// Returns the parts of a rule's log source that are mapped to what events have; the others are empty.
    #[must_use]
    pub fn known(&self, logsource: &Logsource) -> Logsource {
        let meant = self.meant(logsource).unwrap_or_default();
        meant.first().map(|mapping| mapping.logsource.clone()).unwrap_or_default()
    }

    /// Returns the mappings that name most of the rule's parts and nothing else.
    fn meant(&self, logsource: &Logsource) -> Result<Vec<&LogsourceMapping>, Reason> {
        let named = |logsource: &Logsource| {
            logsource.parts().into_iter().filter(|part| !part.is_empty()).count()
        };
        let fits = |mapping: &&LogsourceMapping| {
            let pairs = mapping.logsource.parts().into_iter().zip(logsource.parts());
            pairs.into_iter().all(|(own, rule)| own.is_empty() || own.eq_ignore_ascii_case(rule))
        };
        let fitting: Vec<_> = self.logsources.iter().filter(fits).collect();
        let most = fitting.iter().map(|mapping| named(&mapping.logsource)).max().unwrap_or(0);
        if most < named(logsource) && self.unmapped == Unmapped::Refuse {
            return Err(Reason::Logsource(logsource.to_string().into()));
        }
        Ok(fitting.into_iter().filter(|mapping| named(&mapping.logsource) == most).collect())
    }

    fn rename(&self, asked: Asked, within: Option<&LogsourceMapping>) -> Asked {
        let name = |field: Box<str>| self.field(&field, within);
        asked.map(&mut |ask| {
            let test = match ask.test {
                Test::Field { other, before, behind, cased } => {
                    Test::Field { other: name(other), before, behind, cased }
                }
                test @ (Test::Text { .. }
                | Test::Regex { .. }
                | Test::Number { .. }
                | Test::Network { .. }
                | Test::Exists
                | Test::Null) => test,
            };
            Ask { field: ask.field.map(name), test }
        })
    }

    /// Returns the events' name for a rule's field.
    fn field(&self, field: &str, within: Option<&LogsourceMapping>) -> Box<str> {
        let special = within.and_then(|mapping| mapping.fields.get(field));
        special.or_else(|| self.fields.get(field)).map_or_else(|| field.into(), Clone::clone)
    }

    /// Returns the events' names for a field of a rule with this log source: one for each way to name it.
    pub(super) fn names_of(&self, field: &str, logsource: &Logsource) -> Vec<Box<str>> {
        let meant = self.meant(logsource).unwrap_or_default();
        let mut names: Vec<_> =
            meant.iter().map(|mapping| self.field(field, Some(mapping))).collect();
        if names.is_empty() {
            names.push(self.field(field, None));
        }
        names.sort();
        names.dedup();
        names
    }
}

impl LogsourceMapping {
    fn events(&self) -> Asked {
        let one = |field: &str, value: &str| {
            let pattern = Pattern::exactly(value).folded();
            Expr::Leaf(Ask {
                field: Some(field.into()),
                test: Test::Text { pattern, cased: false },
            })
        };
        let any = |(field, values): &(Box<str>, Vec<Box<str>>)| {
            Expr::any(values.iter().map(|value| one(field, value)).collect())
        };
        Expr::all(self.conditions.iter().map(any).collect())
    }
}
