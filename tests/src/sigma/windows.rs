//! Windows events, as JSON of their XML, for Sigma rules.
//!
//! A value in `EventData` has its own name, without spaces. In `System`, an attribute is its element's and its own name
//! with an underscore between, as the specification says: `Provider_Name`. Values without a name are `Data`, all of
//! them one field. Elements of `UserData` are taken by their own names, however deep.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;
use shared::sigma::{Event, Logsource, LogsourceMapping, Mapping, Node, RuleSet, Source, Value};

/// An event with its values by field number of one rule set.
pub struct WindowsEvent {
    values: Vec<(usize, Json)>,
    /// Values that no rule asks for by name; a search without a field finds them nevertheless.
    others: Vec<Json>,
}

/// Field numbers of one rule set, by name.
pub struct Fields(BTreeMap<String, usize>);

impl Fields {
    /// Returns those of a rule set.
    #[must_use]
    pub fn of(set: &RuleSet) -> Self {
        Self(set.fields().iter().enumerate().map(|(at, name)| (name.to_string(), at)).collect())
    }
}

impl WindowsEvent {
    /// Takes an event apart.
    #[must_use]
    pub fn new(event: &Json, fields: &Fields) -> Self {
        let mut taken = Self { values: Vec::new(), others: Vec::new() };
        for (name, value) in flat(event) {
            match fields.0.get(&name) {
                Some(field) => taken.values.push((*field, value)),
                None => taken.others.push(value),
            }
        }
        taken
    }
}

/// Returns an event's values by the names that rules have for them; a name comes again for each further value.
#[must_use]
pub fn flat(event: &Json) -> Vec<(String, Json)> {
    let mut values = Vec::new();
    let event = event.get("Event").unwrap_or(event);
    if let Some(system) = event.get("System").and_then(Json::as_object) {
        for (name, value) in system {
            take_system(name, value, &mut values);
        }
    }
    for section in ["EventData", "UserData", "ProcessingErrorData"] {
        if let Some(Json::Object(data)) = event.get(section) {
            data.iter().for_each(|(name, value)| take(name, value, &mut values));
        }
    }
    values
}

fn take_system(name: &str, value: &Json, values: &mut Vec<(String, Json)>) {
    let Json::Object(parts) = value else {
        values.push((name.to_owned(), value.clone()));
        return;
    };
    for (part, value) in parts {
        match (part.as_str(), value) {
            ("#attributes", Json::Object(attributes)) => {
                for (attribute, value) in attributes {
                    values.push((format!("{name}_{attribute}"), value.clone()));
                }
            }
            ("#text", value) => values.push((name.to_owned(), value.clone())),
            (_, value) => values.push((part.clone(), value.clone())),
        }
    }
}

fn take(name: &str, value: &Json, values: &mut Vec<(String, Json)>) {
    match value {
        Json::Object(parts) => {
            for (part, value) in parts {
                match part.as_str() {
                    "#attributes" => {}
                    "#text" => take(name, value, values),
                    part => take(part, value, values),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| take(name, item, values)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            values.push((name.replace(' ', ""), value.clone()));
        }
    }
}

/// Returns a scalar as rules see it.
fn value(json: &Json) -> Value<'_> {
    match json {
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::Text(text),
    }
}

impl Event for WindowsEvent {
    fn values(&self, field: usize, visit: &mut dyn FnMut(Value<'_>)) {
        let own = self.values.iter().filter(|(number, _)| *number == field);
        own.for_each(|(_, json)| visit(value(json)));
    }

    fn texts(&self, visit: &mut dyn FnMut(&str)) {
        let named = self.values.iter().map(|(_, json)| json);
        for json in named.chain(&self.others) {
            match json {
                Json::String(text) => visit(text),
                Json::Number(number) => visit(&number.to_string()),
                Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => {}
            }
        }
    }

    fn each(&self, _fields: usize, visit: &mut dyn FnMut(usize, Value<'_>)) {
        self.values.iter().for_each(|(field, json)| visit(*field, value(json)));
    }
}

/// Reads a table of log sources in THOR's form into a mapping over the fields `EventID` and `Channel`.
///
/// # Errors
/// Text that is not such a table.
pub fn mapping(table: &str) -> Result<Mapping> {
    let source = Source { name: "log sources", text: table };
    let document = source.documents().into_iter().next().context("no document")??;
    let entries = document.get("logsources").and_then(Node::entries).context("no logsources")?;
    let channels = |product: &str, service: &str| -> Vec<Box<str>> {
        let is_it = |node: &Node| {
            part(node, "product") == product
                && part(node, "service") == service
                && node.get("sources").is_some()
        };
        let found = entries.iter().find(|(_, node)| is_it(node));
        let sources = found.and_then(|(_, node)| node.get("sources")?.items());
        let named = sources.unwrap_or_default().iter().filter_map(Node::text);
        named.filter_map(|name| name.strip_prefix("WinEventLog:").map(Box::from)).collect()
    };
    let mut mapping = Mapping::default();
    for (_, node) in entries {
        let mut own = LogsourceMapping {
            logsource: Logsource::new(
                &part(node, "category"),
                &part(node, "product"),
                &part(node, "service"),
            ),
            ..LogsourceMapping::default()
        };
        let events = node.get("rewrite").unwrap_or(node);
        let channels = channels(&part(events, "product"), &part(events, "service"));
        if channels.is_empty() {
            continue; // A file, or nothing that Windows writes.
        }
        own.conditions.push(("Channel".into(), channels));
        for (field, value) in node.get("conditions").and_then(Node::entries).unwrap_or_default() {
            let values = value.items().unwrap_or(std::slice::from_ref(value));
            let values = values.iter().filter_map(|value| Some(value.scalar()?.into()));
            own.conditions.push((field.scalar().unwrap_or_default().into(), values.collect()));
        }
        for (from, to) in node.get("fieldmappings").and_then(Node::entries).unwrap_or_default() {
            let name = |node: &Node| node.scalar().unwrap_or_default().into();
            own.fields.insert(name(from), name(to));
        }
        mapping.logsources.push(own);
    }
    Ok(mapping)
}

fn part(node: &Node, key: &str) -> String {
    node.get(key).and_then(Node::scalar).unwrap_or_default().into_owned()
}
