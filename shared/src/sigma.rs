//! Sigma: the detection rules, filters and correlations of specification 2.1, compiled into one matcher.
//!
//! [`RuleSet::compile`] takes sources of YAML and a [`Mapping`], which says how the rules' words meet the events'. What
//! cannot be taken whole is refused by id, with the place and the reason; the rest works without it. [`Event`] is what
//! rules are matched against: an adapter, which gives the values of fields by number.
//!
//! [`Correlator`] holds what correlations remember of the events before.
//!
//! ```text
//! source ─▶ yaml ─▶ rule (header) ─▶ detection ─▶ condition, modifiers ─▶ mapping ─▶ matcher
//! event  ─▶ matcher: read each value once ─▶ candidates ─▶ rules that match
//! ```
//!
//! **Decided here, where the specification leaves it open**
//!
//! - Case is ignored beyond ASCII, character by character: see `pattern`.
//! - A negation holds where the field is absent: `not selection` is the exact opposite of `selection`. `neq` is such a
//!   negation. A field that holds nothing but null is `null`, and it exists.
//! - A number in a rule is the text of its digits, so `4688` meets the text `4688` and the number 4688. `lt` and the
//!   like take decimal texts for numbers, too.
//! - A field with several values passes if any of them does. `null` in a list is one more alternative.
//! - A keyword is found anywhere in any text of the event; an expression is found anywhere in a value.
//! - An IPv4 address within IPv6 is in its IPv4 network.
//! - `windash` makes each dash in the value each of the five, in all combinations.
//! - A filter takes out of its rules what its condition describes, whether it says so plainly (`selection`, as the
//!   filters' document does) or as a negation to be added (`not selection`, as the field's tools want it). A condition
//!   that mixes both could be read either way and is refused.

mod compile;
mod condition;
mod correlation;
mod detection;
mod event;
mod expr;
mod expression;
mod filter;
mod mapping;
mod matcher;
mod modifiers;
mod pattern;
mod refusal;
mod rule;
mod test;
mod yaml;

pub use self::{
    compile::{RuleSet, Source},
    correlation::{Reference, state::Correlator},
    event::{Event, Value},
    mapping::{LogsourceMapping, Mapping, Unmapped},
    matcher::Scratch,
    refusal::{Reason, Refusal},
    rule::{Level, Logsource, Rule},
    yaml::{Node, Yaml},
};
