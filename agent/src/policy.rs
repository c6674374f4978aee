//! The policy: what a customer has agreed to have held back, folded or sent first, as one file.
//!
//! A stream of YAML documents. The first says which policy it is, each other is a Sigma rule with a mapping
//! `signalbox` that says what is done with the alerts that it matches:
//! ```text
//! policy: acme-noise
//! version: 7
//! owner: soc@mssp.example
//! ---
//! title: The customer's own vulnerability scanner
//! id: 3f0c2a4e-...
//! logsource: {product: suricata}
//! detection:
//!   scanner: {src_ip: 10.20.0.9}
//!   condition: scanner
//! signalbox: {action: hold, expires: 2027-01-31, expected: 200/h}
//! ```
//!
//! | key | of | meaning |
//! | --- | --- | --- |
//! | `action` | all | `send_urgent`, `send`, `fold` or `hold` |
//! | `owner` | all | who answers for the rule; the policy's owner unless it says |
//! | `expires` | all | a day (its end, UTC) or an instant (RFC 3339) from which on the rule does nothing |
//! | `expected` | fold, hold | the rate above which the rule suppresses nothing: `200/h`, or `/s`, `/m`, `/d` |
//! | `even_critical` | fold, hold | whether it suppresses critical and fatal alerts, too; `false` unless it says |
//! | `by` | fold | fields that tell alerts apart, besides host, destination and user |
//! | `period` | fold | how long the like of one that was let through are folded at most; `1h` unless it says |
//! | `audit` | hold | the share that is sent all the same; `1/200` unless it says |
//!
//! Unknown keys are refused, and so is what a rule would silently not do: a `logsource` that says nothing of an alert,
//! a correlation. A policy is taken whole or not at all. Every error names the line, the rule and the key.
//!
//! # Names of fields
//! In conditions and in `by`: OCSF's paths ([`Field::ocsf_path`]) or their short names ([`Place::parse`]); in
//! conditions, other names are paths into the product's record, where that is a JSON object.
//!
//! Not here: what the rules do (see [`crate::filter`], [`crate::fold`]); where the file lies.

mod place;
mod terms;
mod units;

use shared::{
    alert::{Alert, Field},
    sigma::{self, Mapping, Node, Refusal, RuleSet, Yaml},
    time::Timestamp,
};
use thiserror::Error;

pub use self::place::Place;
use self::terms::{fault, owner};
use crate::{
    filter::Rule,
    limits::{POLICY_BYTES_MAX, POLICY_RULES_MAX, POLICY_TEXT_BYTES_MAX, POLICY_TITLE_BYTES_MAX},
};

/// A policy; holding one means that all of it can be done.
#[derive(Debug)]
pub struct Policy {
    name: Box<str>,
    version: u64,
    owner: Box<str>,
    rules: Vec<Rule>,
    sigma: RuleSet,
}

/// What is wrong with a policy's text, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{line}:{column}: {}{}{message}", prefix("rule ", rule), prefix("", key))]
pub struct PolicyError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Id or title of the rule; empty where it is about none.
    pub rule: String,
    /// The key; empty where it is about none.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What is wrong with a mapping, before it is known whose it is.
#[derive(Debug)]
struct Fault {
    line: u32,
    column: u32,
    key: String,
    message: String,
}

impl Policy {
    /// Parses a policy at `now`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            let message = format!("has more than {POLICY_BYTES_MAX} bytes, so it is no policy");
            return Err(error_at(1, 1, message));
        }
        let mut documents = sigma::Source { name: "", text }.documents().into_iter();
        let header = documents.next().ok_or_else(|| error_at(1, 1, "is empty"))?;
        let header = Header::read(&header.map_err(refused)?)?;
        let rules = documents.collect::<Result<Vec<Node>, Refusal>>().map_err(refused)?;
        let (sigma, refusals) = RuleSet::of_documents(&rules, &Mapping::default());
        if let Some(refusal) = refusals.into_iter().next() {
            return Err(refused(refusal));
        }
        if let Some(rule) = sigma.correlations().first() {
            let message = "says nothing of one alert, so no action goes with it".to_owned();
            let fault =
                Fault { line: rule.line, column: 1, key: "correlation".to_owned(), message };
            return Err(fault.of_rule(rule.id_or_title()));
        }
        if !(1..=POLICY_RULES_MAX).contains(&sigma.rules().len()) {
            let message =
                format!("{} rules, 1 to {POLICY_RULES_MAX} are allowed", sigma.rules().len());
            return Err(error_at(1, 1, message));
        }
        let rules = sigma.rules().iter().map(|rule| header.rule(rule, now));
        let rules = rules.collect::<Result<Vec<Rule>, PolicyError>>()?;
        let Header { name, version, owner } = header;
        Ok(Self { name, version, owner, rules, sigma })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its version's number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns who answers for it.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns its rules without their conditions, in the order of their places.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rules' conditions, in the same order.
    #[must_use]
    pub fn sigma(&self) -> &RuleSet {
        &self.sigma
    }

    /// Returns whether the rule at a place is meant for alerts like this: of its log source's product, read by the
    /// source that it names as service.
    #[must_use]
    pub fn is_meant(&self, rule: u32, alert: &Alert<'_>) -> bool {
        let logsource = &self.sigma.rules()[rule as usize].logsource;
        let is = |part: &str, field| {
            part.is_empty() || alert.text(field).is_some_and(|text| text.eq_ignore_ascii_case(part))
        };
        is(&logsource.product, Field::Product) && is(&logsource.service, Field::LogName)
    }

    /// Returns whether any rule suppresses, so that what it suppresses needs a place to be kept in.
    #[must_use]
    pub fn suppresses(&self) -> bool {
        self.rules.iter().any(|rule| rule.action.bounds().is_some())
    }
}

/// What a policy's first document says.
struct Header {
    name: Box<str>,
    version: u64,
    owner: Box<str>,
}

impl Header {
    fn read(document: &Node) -> Result<Self, PolicyError> {
        Self::read_keys(document).map_err(|fault| fault.of_rule(""))
    }

    fn read_keys(document: &Node) -> Result<Self, Fault> {
        let keys = ["policy", "version", "owner"];
        for (name, _) in document.entries().unwrap_or_default() {
            let key = name.scalar().unwrap_or_default();
            if !keys.contains(&&*key) {
                let message = "is not known; the first document has policy, version and owner";
                return Err(fault(name, &key, message));
            }
        }
        let missing = |key: &str| fault(document, key, "is missing from the first document");
        let version = document.get("version").ok_or_else(|| missing("version"))?;
        let number = match version.value {
            Yaml::Int(number) => u64::try_from(number).ok().filter(|number| *number > 0),
            _ => None,
        };
        Ok(Self {
            name: owner(document, "policy")?.ok_or_else(|| missing("policy"))?,
            version: number
                .ok_or_else(|| fault(version, "version", "is no whole number from 1"))?,
            owner: owner(document, "owner")?.ok_or_else(|| missing("owner"))?,
        })
    }

    /// Makes a rule of what a Sigma rule says besides its condition.
    fn rule(&self, rule: &sigma::Rule, now: Timestamp) -> Result<Rule, PolicyError> {
        let of_rule = |fault: Fault| fault.of_rule(rule.id_or_title());
        let at_rule = |key: &str, message: &str| {
            let (line, key, message) = (rule.line, key.to_owned(), message.to_owned());
            of_rule(Fault { line, column: 1, key, message })
        };
        if rule.id.is_empty() || rule.id.len() > POLICY_TEXT_BYTES_MAX {
            let message = format!("must have 1 to {POLICY_TEXT_BYTES_MAX} bytes");
            return Err(at_rule("id", &message));
        }
        if rule.title.len() > POLICY_TITLE_BYTES_MAX {
            let message = format!("must have at most {POLICY_TITLE_BYTES_MAX} bytes");
            return Err(at_rule("title", &message));
        }
        if !rule.logsource.category.is_empty() {
            let message = "category says nothing of an alert: name the product that raises it, or \
                           the agent's source as service";
            return Err(at_rule("logsource", message));
        }
        let mapping = rule.custom(terms::KEY).ok_or_else(|| {
            at_rule(terms::KEY, "is missing: what is done with the alerts that the rule matches")
        })?;
        let terms = terms::read(mapping, now).map_err(of_rule)?;
        Ok(Rule {
            id: rule.id.clone(),
            title: rule.title.clone(),
            owner: terms.owner.unwrap_or_else(|| self.owner.clone()),
            expires_at: terms.expires_at,
            action: terms.action,
        })
    }
}

impl Fault {
    fn of_rule(self, rule: &str) -> PolicyError {
        let Self { line, column, key, message } = self;
        PolicyError { line, column, rule: rule.to_owned(), key, message }
    }
}

fn refused(refusal: Refusal) -> PolicyError {
    let Refusal { line, column, rule, reason, .. } = refusal;
    let (key, message) = (String::new(), reason.to_string());
    PolicyError { line, column, rule: rule.into(), key, message }
}

fn error_at(line: u32, column: u32, message: impl Into<String>) -> PolicyError {
    Fault { line, column, key: String::new(), message: message.into() }.of_rule("")
}

fn prefix(before: &str, name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{before}{name}: ") }
}

#[cfg(test)]
mod tests;
