//! A detection section: search-identifiers and the condition that joins them.
//!
//! A map asks for all of its entries, a list for any of its items; texts and numbers in a list are keywords, to be
//! found anywhere in the event. `timeframe`, which only obsolete aggregations read, is passed over.

use super::{
    condition,
    expr::Expr,
    modifiers::{self, Placeholders},
    refusal::{Fault, Reason},
    test::Ask,
    yaml::{Node, Yaml},
};
use crate::limits::SIGMA_RULE_VALUES_MAX;

/// What a rule asks, by the names that it uses.
pub(super) type Asked = Expr<Ask<Box<str>>>;

/// Keys of a section that are no search-identifiers.
const RESERVED: [&str; 3] = ["condition", "timeframe", "rules"];

/// Reads a `detection` or a `filter` section.
pub(super) fn read(section: &Node, placeholders: &Placeholders) -> Result<Asked, Fault> {
    let must_be = || Reason::Not { what: "detection".into(), must_be: "a mapping" };
    let entries = section.entries().ok_or_else(|| section.fault(must_be()))?;
    let mut names = Vec::new();
    let mut searches = Vec::new();
    for (key, value) in entries {
        let name = key.text().unwrap_or_default();
        if !RESERVED.contains(&name) {
            names.push(name);
            searches.push(search(value, placeholders)?);
        }
    }
    let condition =
        section.get("condition").ok_or_else(|| section.fault(Reason::Missing("condition")))?;
    let mut count = 0;
    condition::parse(condition, &names)?.expand(&mut |index| {
        let search = &searches[index];
        count += search.leaves();
        let within = count <= SIGMA_RULE_VALUES_MAX;
        within.then(|| search.clone()).ok_or_else(|| section.fault(Reason::TooManyValues))
    })
}

/// Reads a search-identifier.
fn search(node: &Node, placeholders: &Placeholders) -> Result<Asked, Fault> {
    match &node.value {
        Yaml::Map(entries) if entries.is_empty() => Err(node.fault(Reason::Missing("a field"))),
        Yaml::Map(entries) => {
            let each = entries.iter().map(|(key, value)| modifiers::read(key, value, placeholders));
            Ok(Expr::all(each.collect::<Result<_, _>>()?))
        }
        Yaml::List(items) if items.is_empty() => Err(node.fault(Reason::Missing("a value"))),
        Yaml::List(items) => {
            let each = items.iter().map(|item| match item.value {
                Yaml::Map(_) => search(item, placeholders),
                Yaml::List(_) => Err(item.fault(Reason::Not {
                    what: "an item of a list".into(),
                    must_be: "a map or a keyword",
                })),
                Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => {
                    modifiers::keyword(item)
                }
            });
            Ok(Expr::any(each.collect::<Result<_, _>>()?))
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => {
            modifiers::keyword(node)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::yaml, *};

    fn detection(text: &str) -> Result<Asked, Fault> {
        read(&yaml::parse(text).remove(0)?, &Placeholders::default())
    }

    #[test]
    fn maps_ask_for_all_lists_for_any_and_texts_in_lists_are_keywords() {
        let read = detection(
            "sel:\n  a: 1\n  b: [x, y]\nalt:\n  - c: 1\n  - d: 2\nwords: [one, 2]\n\
             condition: sel and alt and words",
        );
        let Expr::And(parts) = read.unwrap() else { panic!("a conjunction") };
        assert!(matches!(&parts[0], Expr::And(fields) if fields.len() == 2));
        assert!(matches!(&parts[1], Expr::Or(maps) if maps.len() == 2));
        let Expr::Or(words) = &parts[2] else { panic!("keywords are alternatives") };
        assert!(words.iter().all(|word| matches!(word, Expr::Leaf(Ask { field: None, .. }))));
    }

    #[test]
    fn what_is_missing_or_empty_is_refused_where_it_stands() {
        let fault = |text| detection(text).unwrap_err().to_string();
        assert_eq!(fault("sel:\n  a: 1\n"), "1:1: condition is missing");
        assert_eq!(fault("sel: {}\ncondition: sel"), "1:6: a field is missing");
        assert_eq!(fault("sel: []\ncondition: sel"), "1:6: a value is missing");
        assert_eq!(fault("sel:\n  - - a\ncondition: sel").split(": ").next(), Some("2:5"));
        assert_eq!(
            fault("sel:\n  a: 1\ncondition: other"),
            "3:12: condition: no search-identifier is called \"other\""
        );
    }

    #[test]
    fn a_condition_cannot_multiply_values_without_bound() {
        let values = vec!["x"; 1_000].join(", ");
        let condition = vec!["sel"; 200].join(" or ");
        let fault = detection(&format!("sel:\n  a: [{values}]\ncondition: {condition}"));
        assert_eq!(fault.unwrap_err().reason, Reason::TooManyValues);
    }
}
