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
//! Unknown keys are refused, and so is what a rule would silently not do: a `logsource` that says nothing of an alert.
//! See `words` for what log sources mean and how the first document's `mapping` says it of others.
//! A policy is taken whole or not at all. Every error names the line, the rule and the key.
//!
//! # Correlations
//! A document may be a Sigma correlation. It counts what rules of the policy match, whatever becomes of those alerts,
//! and speaks of the alert that completes it: `send` or `send_urgent`, so that what a rule holds one by one comes up
//! when it is too much, too varied, or follows upon something else.
//! ```text
//! title: One source fails at many accounts
//! id: spray
//! correlation: {type: value_count, rules: [failed], group-by: [src_ip], timespan: 10m,
//!               condition: {gte: 8, field: user}}
//! signalbox: {action: send_urgent, expires: 2027-01-31}
//! ```
//! A rule that has no mapping `signalbox` must be one that a correlation counts: it does nothing else, for as long as
//! that is in force. What was counted is in memory: it begins anew with the agent, and with a policy that changed.
//!
//! # Names of fields
//! In conditions and in `by`: OCSF's paths ([`Field::ocsf_path`]) or their short names ([`Place::parse`]). In
//! conditions, other names are those of the product's record: paths in JSON, Zeek's columns, the keys
//! of CEF, LEEF and pairs, and for events of Windows the names that public rules have (`Image`, `Provider_Name`).
//!
//! Not here: what the rules do (see [`crate::filter`], [`crate::fold`]); where the file lies.

mod place;
mod terms;
mod units;
mod words;

use shared::{
    alert::{Alert, Field},
    sigma::{self, Mapping, Node, Reference, Refusal, RuleSet, Yaml},
    time::Timestamp,
};
use thiserror::Error;

pub use self::place::Place;
use self::terms::{Of, Terms, fault, owner};
use crate::{
    filter::{Action, Rule},
    limits::{
        HELD_RULES_MAX, POLICY_BYTES_MAX, POLICY_RULES_MAX, POLICY_TEXT_BYTES_MAX,
        POLICY_TITLE_BYTES_MAX,
    },
};

/// A policy; holding one means that all of it can be done.
#[derive(Debug)]
pub struct Policy {
    name: Box<str>,
    version: u64,
    owner: Box<str>,
    rules: Vec<Rule>,
    sigma: RuleSet,
    /// By rule: what of its log source is asked of alerts, because no mapping says what it means.
    asked: Vec<Asked>,
}

/// What an alert must be of; what is empty does not matter.
#[derive(Debug)]
struct Asked {
    product: Box<str>,
    /// The agent's source.
    log_name: Box<str>,
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
        let (sigma, refusals) = RuleSet::of_documents(&rules, &header.mapping);
        if let Some(refusal) = refusals.into_iter().next() {
            return Err(refused(refusal));
        }
        let count = sigma.rules().len() + sigma.correlations().len();
        if !(1..=POLICY_RULES_MAX).contains(&count) {
            let message = format!("{count} rules, 1 to {POLICY_RULES_MAX} are allowed");
            return Err(error_at(1, 1, message));
        }
        let rules = header.rules(&sigma, now)?;
        let suppressing = rules.iter().filter(|rule| rule.action.bounds().is_some()).count();
        if suppressing > HELD_RULES_MAX {
            let message = format!(
                "{suppressing} rules hold or fold, the originals of at most {HELD_RULES_MAX} can \
                 be told apart: put the like into one"
            );
            return Err(error_at(1, 1, message));
        }
        let Header { name, version, owner, mapping } = header;
        let asked = sigma.rules().iter().map(|rule| Asked::of(rule, &mapping)).collect();
        Ok(Self { name, version, owner, rules, sigma, asked })
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

    /// Returns its rules without their conditions, then its correlations, in the order of their places.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the conditions of both, each in the same order.
    #[must_use]
    pub fn sigma(&self) -> &RuleSet {
        &self.sigma
    }

    /// Returns the place of a correlation that [`Self::sigma`] has at `index`.
    ///
    /// # Panics
    /// If there are more than can be counted, which no policy has.
    #[must_use]
    pub fn place_of_correlation(&self, index: u32) -> u32 {
        index + u32::try_from(self.sigma.rules().len()).expect("rules are bounded")
    }

    /// Returns whether the rule at a place, which is no correlation's, is meant for alerts like this, as far as its
    /// condition does not say so itself: of its log source's product, read by the source that it names as service.
    #[must_use]
    pub fn is_meant(&self, rule: u32, alert: &Alert<'_>) -> bool {
        let Asked { product, log_name } = &self.asked[rule as usize];
        let is = |part: &str, field| {
            part.is_empty() || alert.text(field).is_some_and(|text| text.eq_ignore_ascii_case(part))
        };
        is(product, Field::Product) && is(log_name, Field::LogName)
    }

    /// Returns whether any rule suppresses, so that what it suppresses needs a place to be kept in.
    #[must_use]
    pub fn suppresses(&self) -> bool {
        self.rules.iter().any(|rule| rule.action.bounds().is_some())
    }
}

impl Asked {
    fn of(rule: &sigma::Rule, mapping: &Mapping) -> Self {
        let known = mapping.known(&rule.logsource);
        let unless = |known: &str, own: &str| if known.is_empty() { own.into() } else { "".into() };
        Self {
            product: unless(&known.product, &rule.logsource.product),
            log_name: unless(&known.service, &rule.logsource.service),
        }
    }
}

/// What a policy's first document says.
struct Header {
    name: Box<str>,
    version: u64,
    owner: Box<str>,
    mapping: Mapping,
}

impl Header {
    fn read(document: &Node) -> Result<Self, PolicyError> {
        Self::read_keys(document).map_err(|fault| fault.of_rule(""))
    }

    fn read_keys(document: &Node) -> Result<Self, Fault> {
        let keys = ["policy", "version", "owner", words::KEY];
        for (name, _) in document.entries().unwrap_or_default() {
            let key = name.scalar().unwrap_or_default();
            if !keys.contains(&&*key) {
                let message =
                    "is not known; the first document has policy, version, owner and mapping";
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
            mapping: words::read(document.get(words::KEY))?,
        })
    }

    /// Makes rules of what Sigma rules and correlations say besides their conditions.
    fn rules(&self, set: &RuleSet, now: Timestamp) -> Result<Vec<Rule>, PolicyError> {
        let single = set.rules().iter().map(|rule| (Of::Rule, rule));
        let all = single.chain(set.correlations().iter().map(|rule| (Of::Correlation, rule)));
        let all = all.collect::<Vec<_>>();
        let terms = all.iter().map(|(of, rule)| self.terms(*of, rule, now));
        let mut terms = terms.collect::<Result<Vec<_>, PolicyError>>()?;
        // What has no action is in force for as long as something counts it. Each correlation stands behind those that
        // it counts, so the last is asked first.
        for correlation in (0..set.correlations().len()).rev() {
            let own = terms[set.rules().len() + correlation].as_ref();
            let Some(end) = own.map(|terms| terms.expires_at) else {
                return Err(without_action(&set.correlations()[correlation]));
            };
            for counted in set.counted_by(correlation) {
                let place = match counted {
                    Reference::Rule(rule) => rule as usize,
                    Reference::Correlation(inner) => set.rules().len() + inner as usize,
                };
                match &mut terms[place] {
                    Some(Terms { action: Action::Count, expires_at, .. }) => {
                        *expires_at = end.max(*expires_at);
                    }
                    Some(_) => {}
                    none => {
                        let (action, owner, expires_at) = (Action::Count, None, end);
                        *none = Some(Terms { action, owner, expires_at });
                    }
                }
            }
        }
        let made = all.iter().zip(terms).map(|((_, rule), terms)| {
            let terms = terms.ok_or_else(|| without_action(rule))?;
            Ok(Rule {
                id: rule.id.clone(),
                title: rule.title.clone(),
                owner: terms.owner.unwrap_or_else(|| self.owner.clone()),
                expires_at: terms.expires_at,
                action: terms.action,
            })
        });
        made.collect()
    }

    /// Reads what is done with what a rule matches; nothing if it does not say.
    fn terms(
        &self,
        of: Of,
        rule: &sigma::Rule,
        now: Timestamp,
    ) -> Result<Option<Terms>, PolicyError> {
        let at_rule = |key: &str, message: &str| fault_at(rule, key, message);
        if rule.id.is_empty() || rule.id.len() > POLICY_TEXT_BYTES_MAX {
            let message = format!("must have 1 to {POLICY_TEXT_BYTES_MAX} bytes");
            return Err(at_rule("id", &message));
        }
        if rule.title.len() > POLICY_TITLE_BYTES_MAX {
            let message = format!("must have at most {POLICY_TITLE_BYTES_MAX} bytes");
            return Err(at_rule("title", &message));
        }
        let category = &rule.logsource.category;
        if !category.is_empty() && self.mapping.known(&rule.logsource).category.is_empty() {
            let message = format!(
                "category {category} says nothing of an alert: name the product that raises it, \
                 the agent's source as service, or say under mapping what it means"
            );
            return Err(at_rule("logsource", &message));
        }
        let read = rule.custom(terms::KEY).map(|mapping| terms::read(mapping, of, now));
        read.transpose().map_err(|fault| fault.of_rule(rule.id_or_title()))
    }
}

/// Returns the error about a rule that does nothing and that nothing counts.
fn without_action(rule: &sigma::Rule) -> PolicyError {
    let message = "is missing: what is done with the alerts that the rule matches";
    fault_at(rule, terms::KEY, message)
}

fn fault_at(rule: &sigma::Rule, key: &str, message: &str) -> PolicyError {
    let (line, key, message) = (rule.line, key.to_owned(), message.to_owned());
    Fault { line, column: 1, key, message }.of_rule(rule.id_or_title())
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
