//! Holds findings against OCSF's compiled schema: which attributes a class and its objects have, of which type, which
//! are required, which values an enumeration knows.
//!
//! Attributes of a profile count only where the finding names it. Of the types' patterns that of addresses is checked.

use std::{collections::BTreeSet, fs::File, io::Read as _, net::IpAddr, path::Path};

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use serde_json::{Map, Value};

/// Constraints that are known not to be kept: object and why.
const NOT_KEPT: [(&str, &str); 2] = [
    ("process", "products name processes without their numbers"),
    ("network_endpoint", "products name a port without the address"),
];

/// OCSF's schema, compiled.
#[derive(Debug)]
pub struct Schema(Value);

/// One class or object of it, with its name.
struct Object<'s> {
    name: &'s str,
    definition: &'s Value,
}

impl Schema {
    /// Reads the schema from its compressed JSON.
    ///
    /// # Errors
    /// Fails where it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).context("decompress the schema")?;
        Ok(Self(serde_json::from_str(&text).context("parse the schema")?))
    }

    /// Returns what is wrong with a Detection Finding, each as its path and the rule, without the value, so that the
    /// like are alike.
    #[must_use]
    pub fn problems(&self, finding: &Value) -> BTreeSet<String> {
        let profiles = finding["metadata"]["profiles"].as_array().into_iter().flatten();
        let mut check = Check {
            schema: &self.0,
            profiles: profiles.filter_map(Value::as_str).collect(),
            problems: BTreeSet::new(),
        };
        let class = &self.0["classes"]["detection_finding"];
        for profile in &check.profiles {
            let known = class["profiles"].as_array().into_iter().flatten();
            if !known.into_iter().any(|known| known == profile) {
                check.problems.insert(format!("metadata.profiles: {profile:?} is not the class's"));
            }
        }
        check.object(&Object { name: "detection_finding", definition: class }, finding, "");
        check.problems
    }
}

struct Check<'s> {
    schema: &'s Value,
    profiles: Vec<&'s str>,
    problems: BTreeSet<String>,
}

impl<'s> Check<'s> {
    fn wrong(&mut self, path: &str, what: impl AsRef<str>) {
        self.problems.insert(format!("{path}: {}", what.as_ref()));
    }

    /// Returns whether the attribute belongs to the finding, whose profiles are named.
    fn applies(&self, attribute: &Value) -> bool {
        let Some(of) = attribute["profiles"].as_array() else { return true };
        of.iter().filter_map(Value::as_str).any(|profile| self.profiles.contains(&profile))
    }

    fn object(&mut self, object: &Object<'s>, value: &Value, path: &str) {
        let Some(value) = value.as_object() else { return self.wrong(path, "is no object") };
        let Some(attributes) = object.definition["attributes"].as_object() else { return };
        for (name, value) in value {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match attributes.get(name) {
                None => self.wrong(&path, "is no attribute"),
                Some(attribute) if !self.applies(attribute) => {
                    self.wrong(&path, "belongs to a profile that is not named");
                }
                Some(attribute) => self.attribute(attribute, value, &path),
            }
        }
        for (name, attribute) in attributes {
            let is_required = attribute["requirement"] == "required" && self.applies(attribute);
            if is_required && !value.contains_key(name) {
                self.wrong(path, format!("has no {name}, which is required"));
            }
            self.sibling(attribute, value, name, path);
        }
        self.constraints(object, value, path);
    }

    fn constraints(&mut self, object: &Object<'s>, value: &Map<String, Value>, path: &str) {
        let Some(constraints) = object.definition["constraints"].as_object() else { return };
        if NOT_KEPT.iter().any(|(name, _)| *name == object.name) {
            return;
        }
        for (rule, names) in constraints {
            let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
            let count = names.filter(|name| value.contains_key(*name)).count();
            let is_kept = match rule.as_str() {
                "at_least_one" => count > 0,
                "just_one" => count == 1,
                _ => true,
            };
            if !is_kept {
                self.wrong(path, format!("does not keep {rule} of {}", object.name));
            }
        }
    }

    /// An enumeration's caption stands beside its number, and is that number's.
    fn sibling(&mut self, attribute: &Value, value: &Map<String, Value>, name: &str, path: &str) {
        let sibling = attribute["sibling"].as_str().and_then(|sibling| value.get(sibling));
        let (Some(sibling), Some(number)) = (sibling, value.get(name)) else { return };
        let caption = &attribute["enum"][number.to_string()]["caption"];
        if caption.is_string() && caption != sibling {
            self.wrong(path, format!("{name}'s caption is {caption}, not {sibling}"));
        }
    }

    fn attribute(&mut self, attribute: &'s Value, value: &Value, path: &str) {
        if attribute.get("@deprecated").is_some() {
            self.wrong(path, "is deprecated");
        }
        if attribute["is_array"] != true {
            return self.one(attribute, value, path);
        }
        match value.as_array() {
            None => self.wrong(path, "is no list"),
            Some(items) => items.iter().for_each(|item| self.one(attribute, item, path)),
        }
    }

    fn one(&mut self, attribute: &'s Value, value: &Value, path: &str) {
        if let Some(known) = attribute["enum"].as_object() {
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !known.contains_key(&written) {
                self.wrong(path, format!("{written} is not in its enumeration"));
            }
        }
        if let Some(name) = attribute["object_type"].as_str() {
            let definition = &self.schema["objects"][name];
            return match definition.is_object() {
                _ if name == "object" => {}
                true => self.object(&Object { name, definition }, value, path),
                false => self.wrong(path, format!("is of the unknown object {name}")),
            };
        }
        let Some(name) = attribute["type"].as_str() else { return };
        let definition = &self.schema["dictionary"]["types"]["attributes"][name];
        let base = definition["type"].as_str().unwrap_or(name);
        let fits = match base {
            "string_t" => value.is_string(),
            "integer_t" | "long_t" => value.is_i64() || value.is_u64(),
            "float_t" => value.is_number(),
            "boolean_t" => value.is_boolean(),
            "json_t" => true,
            _ => false,
        };
        if !fits {
            self.wrong(path, format!("is no {name}"));
        }
        self.bounds(name, definition, value, path);
    }

    fn bounds(&mut self, name: &str, definition: &Value, value: &Value, path: &str) {
        let length = value.as_str().map_or(0, |text| text.chars().count() as u64);
        if definition["max_len"].as_u64().is_some_and(|max| length > max) {
            self.wrong(path, "is too long");
        }
        if let (Some(range), Some(number)) = (definition["range"].as_array(), value.as_i64())
            && let [min, max] = range.iter().filter_map(Value::as_i64).collect::<Vec<_>>()[..]
            && !(min..=max).contains(&number)
        {
            self.wrong(path, "is out of range");
        }
        let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
        if name == "ip_t" && !value.as_str().is_some_and(is_address) {
            self.wrong(path, "is no address");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema(json!({
            "classes": { "detection_finding": {
                "profiles": ["host"],
                "attributes": {
                    "metadata": { "requirement": "required", "type": "object_t",
                        "object_type": "object" },
                    "severity_id": { "type": "integer_t", "sibling": "severity",
                        "requirement": "required", "enum": { "1": { "caption": "Low" } } },
                    "severity": { "type": "string_t" },
                    "device": { "type": "object_t", "object_type": "device", "profiles": ["host"],
                        "requirement": "required" },
                    "ports": { "type": "port_t", "is_array": true },
                },
            } },
            "objects": { "device": {
                "constraints": { "at_least_one": ["ip", "name"] },
                "attributes": { "ip": { "type": "ip_t" }, "name": { "type": "string_t" },
                    "old": { "type": "string_t", "@deprecated": {} } },
            } },
            "dictionary": { "types": { "attributes": {
                "ip_t": { "type": "string_t", "max_len": 40 },
                "port_t": { "type": "integer_t", "range": [0, 65535] },
            } } },
        }))
    }

    #[test]
    fn a_sound_finding_has_no_problems() {
        let finding = json!({
            "metadata": { "profiles": ["host"] }, "severity_id": 1, "severity": "Low",
            "device": { "ip": "10.0.0.5" }, "ports": [0, 65535],
        });
        assert_eq!(schema().problems(&finding), BTreeSet::new());
    }

    #[test]
    fn every_rule_that_is_not_kept_is_named() {
        let finding = json!({
            "metadata": { "profiles": ["host", "odd"] }, "severity_id": 1, "severity": "High",
            "device": { "old": "x", "other": 1 }, "ports": [65536, "x"],
        });
        let problems: Vec<_> = schema().problems(&finding).into_iter().collect();
        assert_eq!(
            problems,
            [
                ": severity_id's caption is \"Low\", not \"High\"",
                "device.old: is deprecated",
                "device.other: is no attribute",
                "device: does not keep at_least_one of device",
                "metadata.profiles: \"odd\" is not the class's",
                "ports: is no port_t",
                "ports: is out of range",
            ]
        );
        let finding = json!({ "metadata": {}, "severity_id": 9, "device": { "ip": "box" } });
        let problems: Vec<_> = schema().problems(&finding).into_iter().collect();
        assert_eq!(
            problems,
            [
                "device: belongs to a profile that is not named",
                "severity_id: 9 is not in its enumeration"
            ]
        );
        let problems: Vec<_> = schema().problems(&json!({ "ports": 1 })).into_iter().collect();
        assert_eq!(
            problems,
            [
                ": has no metadata, which is required",
                ": has no severity_id, which is required",
                "ports: is no list"
            ]
        );
    }
}
