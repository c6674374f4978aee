//! From `field|modifier|...: value` to what is asked: the modifiers of Sigma 2.1.
//!
//! Modifiers change a value in the order in which they stand; one value may become several, of which any may match.
//! `all`, `cased` and `neq` say how values are compared and joined, so they may stand anywhere.
//!
//! | kind | modifiers |
//! | --- | --- |
//! | joining | `all`, `neq` |
//! | texts | `contains`, `startswith`, `endswith`, `cased`, `windash`, `expand` |
//! | encodings | `base64`, `base64offset`, `wide`, `utf16le`, `utf16be`, `utf16` |
//! | expressions | `re` with `i`, `m`, `s` |
//! | numbers | `lt`, `lte`, `gt`, `gte` |
//! | dates | `minute`, `hour`, `day`, `week`, `month`, `year`, alone or before a comparison |
//! | others | `cidr`, `exists`, `fieldref` |
//!
//! Encoded bytes that are compared as they are, without `base64`, are compared as the characters U+0000 to U+00FF.

use std::{collections::BTreeMap, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    expr::Expr,
    expression,
    pattern::{Part, Pattern},
    refusal::{Fault, Reason},
    test::{Ask, DatePart, Flags, Number, Operator, Test},
    yaml::{Node, Yaml},
};
use crate::limits::{SIGMA_RULE_VALUES_MAX, SIGMA_TEXT_BYTES_MAX};

/// Values of placeholders, by name.
pub(super) type Placeholders = BTreeMap<Box<str>, Vec<Box<str>>>;

/// What stands on the dashes' place in one of the texts that `windash` makes.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Reads what an entry of a search-identifier asks.
pub(super) fn read(
    key: &Node,
    value: &Node,
    placeholders: &Placeholders,
) -> Result<Expr<Ask<Box<str>>>, Fault> {
    let named = key.scalar().ok_or_else(|| {
        key.fault(Reason::Not { what: "a field's name".into(), must_be: "a text" })
    })?;
    let mut parts = named.split('|');
    let field = parts.next().filter(|name| !name.is_empty());
    let chain = Chain::read(parts, placeholders).map_err(|reason| key.fault(reason))?;
    chain.check().map_err(|reason| key.fault(reason))?;
    let values = value.items().unwrap_or(std::slice::from_ref(value));
    if values.is_empty() {
        return Err(value.fault(Reason::Missing("a value")));
    }
    let mut asked = Vec::with_capacity(values.len());
    for node in values {
        asked.push(chain.ask(field, node).map_err(|reason| node.fault(reason))?);
    }
    let joined = if chain.all { Expr::all(asked) } else { Expr::any(asked) };
    Ok(if chain.neq { joined.negated() } else { joined })
}

/// Reads a keyword: a text to be found anywhere in the event.
pub(super) fn keyword(node: &Node) -> Result<Expr<Ask<Box<str>>>, Fault> {
    let chain = Chain::default();
    chain.ask(None, node).map_err(|reason| node.fault(reason))
}

/// A value between two modifiers.
#[derive(Clone)]
enum Draft {
    Null,
    Bool(bool),
    Number(Number),
    Text(Pattern),
    Bytes(Vec<u8>),
    /// A text in which nothing has a meaning yet: an expression, a network, a field's name.
    Raw(Box<str>),
}

/// A modifier that makes one value into others.
#[derive(Clone, Copy)]
enum Step {
    Open { before: bool, behind: bool },
    Windash,
    Expand,
    Base64,
    Base64Offset,
    Utf16 { little: bool, mark: bool },
}

/// What a value is compared as.
#[derive(Clone, Copy, Default, PartialEq)]
enum Kind {
    #[default]
    Text,
    Regex(Flags),
    Number(Operator),
    Network,
    Exists,
    Field,
}

/// The modifiers of one field.
#[derive(Default)]
struct Chain<'a> {
    steps: Vec<(Step, &'a str)>,
    kind: Kind,
    part: Option<DatePart>,
    all: bool,
    neq: bool,
    cased: bool,
    placeholders: Option<&'a Placeholders>,
}

impl<'a> Chain<'a> {
    fn read(
        names: impl Iterator<Item = &'a str>,
        placeholders: &'a Placeholders,
    ) -> Result<Self, Reason> {
        let mut chain = Self { placeholders: Some(placeholders), ..Self::default() };
        for name in names {
            chain.add(name)?;
        }
        Ok(chain)
    }

    fn add(&mut self, name: &'a str) -> Result<(), Reason> {
        let utf16 = |little, mark| Step::Utf16 { little, mark };
        let step = match name {
            "all" => return flag(&mut self.all, name),
            "neq" => return flag(&mut self.neq, name),
            "cased" => return flag(&mut self.cased, name),
            "contains" => Step::Open { before: true, behind: true },
            "startswith" => Step::Open { before: false, behind: true },
            "endswith" => Step::Open { before: true, behind: false },
            "windash" => Step::Windash,
            "expand" => Step::Expand,
            "base64" => Step::Base64,
            "base64offset" => Step::Base64Offset,
            "wide" | "utf16le" => utf16(true, false),
            "utf16be" => utf16(false, false),
            "utf16" => utf16(true, true),
            "i" | "m" | "s" => return self.add_flag(name),
            "re" => return self.set_kind(Kind::Regex(Flags::default()), name),
            "cidr" => return self.set_kind(Kind::Network, name),
            "exists" => return self.set_kind(Kind::Exists, name),
            "fieldref" => return self.set_kind(Kind::Field, name),
            "lt" => return self.set_kind(Kind::Number(Operator::Less), name),
            "lte" => return self.set_kind(Kind::Number(Operator::LessOrEqual), name),
            "gt" => return self.set_kind(Kind::Number(Operator::Greater), name),
            "gte" => return self.set_kind(Kind::Number(Operator::GreaterOrEqual), name),
            "minute" => return self.set_part(DatePart::Minute, name),
            "hour" => return self.set_part(DatePart::Hour, name),
            "day" => return self.set_part(DatePart::Day, name),
            "week" => return self.set_part(DatePart::Week, name),
            "month" => return self.set_part(DatePart::Month, name),
            "year" => return self.set_part(DatePart::Year, name),
            _ => return Err(Reason::UnknownModifier(name.into())),
        };
        self.steps.push((step, name));
        Ok(())
    }

    fn set_kind(&mut self, kind: Kind, name: &str) -> Result<(), Reason> {
        if self.kind != Kind::Text {
            return Err(problem(name, "another modifier says already what the value is"));
        }
        self.kind = kind;
        Ok(())
    }

    fn set_part(&mut self, part: DatePart, name: &str) -> Result<(), Reason> {
        let first = self.part.replace(part).is_none();
        first.then_some(()).ok_or_else(|| problem(name, "a date has one part at a time"))
    }

    fn add_flag(&mut self, name: &str) -> Result<(), Reason> {
        let Kind::Regex(flags) = &mut self.kind else {
            return Err(problem(name, "only after re"));
        };
        match name {
            "i" => flag(&mut flags.ignore_case, name),
            "m" => flag(&mut flags.multi_line, name),
            _ => flag(&mut flags.dot_all, name),
        }
    }

    /// Refuses what does not go together, whatever the values are.
    fn check(&self) -> Result<(), Reason> {
        let steps_fit = match self.kind {
            Kind::Text => self.part.is_none() || self.steps.is_empty(),
            Kind::Field => self.steps.iter().all(|(step, _)| matches!(step, Step::Open { .. })),
            // A list of networks may come from placeholders.
            Kind::Network => self.steps.iter().all(|(step, _)| matches!(step, Step::Expand)),
            Kind::Regex(_) | Kind::Number(_) | Kind::Exists => self.steps.is_empty(),
        };
        if !steps_fit {
            let (_, name) = self.steps[0];
            return Err(problem(name, "does not go with the other modifiers"));
        }
        if self.part.is_some() && !matches!(self.kind, Kind::Text | Kind::Number(_)) {
            return Err(problem("date", "a part of a date is compared as a number"));
        }
        if self.cased && !matches!(self.kind, Kind::Text | Kind::Regex(_) | Kind::Field) {
            return Err(problem("cased", "only texts have a case"));
        }
        Ok(())
    }

    /// Reads one value of the field.
    fn ask(&self, field: Option<&str>, node: &Node) -> Result<Expr<Ask<Box<str>>>, Reason> {
        let mut drafts = vec![self.draft(node)?];
        for (step, name) in &self.steps {
            if self.kind == Kind::Field {
                break;
            }
            let mut next = Vec::new();
            for draft in drafts {
                self.apply(*step, name, draft, &mut next)?;
                if next.len() > SIGMA_RULE_VALUES_MAX {
                    return Err(Reason::TooManyValues);
                }
            }
            drafts = next;
        }
        let each = drafts.into_iter().map(|draft| self.test(field, draft));
        Ok(Expr::any(each.collect::<Result<_, _>>()?))
    }

    fn draft(&self, node: &Node) -> Result<Draft, Reason> {
        let must_be = |must_be| Reason::Not { what: "a value".into(), must_be };
        Ok(match &node.value {
            Yaml::Null => Draft::Null,
            Yaml::Bool(value) => Draft::Bool(*value),
            Yaml::Int(value) => Draft::Number(Number::Int(*value)),
            Yaml::Float(value) => Draft::Number(Number::float(*value)),
            Yaml::Text(text) if text.len() > SIGMA_TEXT_BYTES_MAX => {
                return Err(Reason::TooLong { what: "a value", max: SIGMA_TEXT_BYTES_MAX });
            }
            Yaml::Text(text) => match self.kind {
                Kind::Text => Draft::Text(Pattern::parse(text, self.expands())),
                Kind::Network if self.expands() => Draft::Text(Pattern::parse(text, true)),
                Kind::Regex(_) | Kind::Number(_) | Kind::Network | Kind::Exists | Kind::Field => {
                    Draft::Raw(text.clone())
                }
            },
            Yaml::List(_) | Yaml::Map(_) => return Err(must_be("no list or mapping")),
        })
    }

    fn expands(&self) -> bool {
        self.steps.iter().any(|(step, _)| matches!(step, Step::Expand))
    }

    fn apply(
        &self,
        step: Step,
        name: &str,
        draft: Draft,
        next: &mut Vec<Draft>,
    ) -> Result<(), Reason> {
        match step {
            Step::Open { before, behind } => {
                next.push(Draft::Text(pattern(name, draft)?.open(before, behind)));
            }
            Step::Windash => windash(&pattern(name, draft)?, next)?,
            Step::Expand => self.expand(&pattern(name, draft)?, next)?,
            Step::Base64 => {
                let encoded = STANDARD.encode(bytes(name, draft)?);
                next.push(Draft::Text(Pattern::exactly(&encoded)));
            }
            Step::Base64Offset => {
                let encoded = base64_offsets(&bytes(name, draft)?);
                next.extend(encoded.map(|text| Draft::Text(Pattern::exactly(&text))));
            }
            Step::Utf16 { little, mark } => {
                let Draft::Text(text) = &draft else {
                    return Err(problem(name, "only a text without wildcards"));
                };
                let text = text.plain().ok_or(problem(name, "only a text without wildcards"))?;
                let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
                let bytes =
                    |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
                next.push(Draft::Bytes(units.flat_map(bytes).collect()));
            }
        }
        Ok(())
    }

    /// Puts each combination of the placeholders' values into the text.
    fn expand(&self, text: &Pattern, next: &mut Vec<Draft>) -> Result<(), Reason> {
        let mut made = vec![Pattern(Vec::new())];
        for part in &text.0 {
            let Part::Placeholder(name) = part else {
                made.iter_mut().for_each(|text| text.push(part.clone()));
                continue;
            };
            let values = self.placeholders.and_then(|known| known.get(name.as_str()));
            let values = values.ok_or_else(|| Reason::Placeholder(name.as_str().into()))?;
            if made.len() * values.len() > SIGMA_RULE_VALUES_MAX {
                return Err(Reason::TooManyValues);
            }
            let with = |text: &Pattern, value: &str| {
                let mut text = text.clone();
                Pattern::parse(value, false).0.into_iter().for_each(|part| text.push(part));
                text
            };
            let each = |text: &Pattern| values.iter().map(|v| with(text, v)).collect::<Vec<_>>();
            made = made.iter().flat_map(each).collect();
        }
        next.extend(made.into_iter().map(Draft::Text));
        Ok(())
    }

    /// Says what is asked of the field for a value that all modifiers have changed.
    fn test(&self, field: Option<&str>, draft: Draft) -> Result<Expr<Ask<Box<str>>>, Reason> {
        let leaf = |test| Expr::Leaf(Ask { field: field.map(Box::from), test });
        if field.is_none() && !matches!(self.kind, Kind::Text | Kind::Regex(_)) {
            return Err(problem("keyword", "a search without a field is for texts"));
        }
        let test = match self.kind {
            Kind::Text if self.part.is_some() => self.number(Operator::Equal, &draft)?,
            Kind::Number(operator) => self.number(operator, &draft)?,
            Kind::Text => self.text(field.is_none(), draft)?,
            Kind::Regex(flags) => {
                let Draft::Raw(pattern) = draft else {
                    return Err(problem("re", "the value must be a text"));
                };
                // Only to say where it is wrong: what is kept is compiled once for all rules that ask it.
                drop(expression::compile(&pattern, flags)?);
                Test::Regex { pattern, flags }
            }
            Kind::Network => network(&pattern_or_raw(draft)?)?,
            Kind::Exists => {
                let Draft::Bool(wanted) = draft else {
                    return Err(problem("exists", "the value must be true or false"));
                };
                let exists = leaf(Test::Exists);
                return Ok(if wanted { exists } else { exists.negated() });
            }
            Kind::Field => {
                let Draft::Raw(other) = draft else {
                    return Err(problem("fieldref", "the value must be a field's name"));
                };
                let opens = |end: fn(Step) -> bool| self.steps.iter().any(|(step, _)| end(*step));
                Test::Field {
                    other,
                    before: opens(|step| matches!(step, Step::Open { before: true, .. })),
                    behind: opens(|step| matches!(step, Step::Open { behind: true, .. })),
                    cased: self.cased,
                }
            }
        };
        Ok(leaf(test))
    }

    fn number(&self, operator: Operator, draft: &Draft) -> Result<Test<Box<str>>, Reason> {
        let Draft::Number(than) = draft else {
            return Err(problem("comparison", "the value must be a number"));
        };
        Ok(Test::Number { part: self.part, operator, than: *than })
    }

    fn text(&self, keyword: bool, draft: Draft) -> Result<Test<Box<str>>, Reason> {
        let pattern = match draft {
            Draft::Null if keyword => return Err(problem("keyword", "null is in no text")),
            Draft::Null => return Ok(Test::Null),
            // One without a point is the text of its digits, which costs less.
            Draft::Number(than @ Number::Float(_)) if !keyword => {
                return Ok(Test::Number { part: None, operator: Operator::Equal, than });
            }
            draft => pattern("value", draft)?,
        };
        let pattern = if keyword { pattern.open(true, true) } else { pattern };
        let pattern = if self.cased { pattern } else { pattern.folded() };
        Ok(Test::Text { pattern, cased: self.cased })
    }
}

fn flag(flag: &mut bool, name: &str) -> Result<(), Reason> {
    let first = !std::mem::replace(flag, true);
    first.then_some(()).ok_or_else(|| problem(name, "stands twice"))
}

fn problem(modifier: &str, problem: &'static str) -> Reason {
    Reason::Modifier { modifier: modifier.into(), problem }
}

/// Takes a value as a text with wildcards.
fn pattern(name: &str, draft: Draft) -> Result<Pattern, Reason> {
    Ok(match draft {
        Draft::Text(text) => text,
        Draft::Bytes(bytes) => {
            Pattern::exactly(&bytes.into_iter().map(char::from).collect::<String>())
        }
        Draft::Bool(value) => Pattern::exactly(if value { "true" } else { "false" }),
        Draft::Number(Number::Int(value)) => Pattern::exactly(&value.to_string()),
        Draft::Number(Number::Float(bits)) => Pattern::exactly(&f64::from_bits(bits).to_string()),
        Draft::Null | Draft::Raw(_) => return Err(problem(name, "the value must be a text")),
    })
}

fn pattern_or_raw(draft: Draft) -> Result<Box<str>, Reason> {
    match draft {
        Draft::Raw(text) => Ok(text),
        Draft::Text(text) => {
            text.plain().map(Box::from).ok_or(problem("cidr", "no wildcards in a network"))
        }
        Draft::Null | Draft::Bool(_) | Draft::Number(_) | Draft::Bytes(_) => {
            Err(problem("cidr", "the value must be a text"))
        }
    }
}

/// Takes a value as the bytes to be encoded.
fn bytes(name: &str, draft: Draft) -> Result<Vec<u8>, Reason> {
    if let Draft::Bytes(bytes) = draft {
        return Ok(bytes);
    }
    let text = pattern(name, draft)?;
    let plain = text.plain().ok_or(problem(name, "only a text without wildcards"))?;
    Ok(plain.as_bytes().to_vec())
}

/// Makes the base64 that bytes have wherever they stand in a longer text: what the neighbours change is left out.
fn base64_offsets(bytes: &[u8]) -> [String; 3] {
    [0, 1, 2].map(|offset: usize| {
        let padded = [&vec![0; offset], bytes].concat();
        let encoded = STANDARD.encode(&padded);
        // Whole characters before: 8 bits a byte, 6 a character.
        let start = (offset * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        encoded.get(start..end).unwrap_or_default().to_owned()
    })
}

/// Replaces each dash in the text by each kind of dash, in all combinations.
fn windash(text: &Pattern, next: &mut Vec<Draft>) -> Result<(), Reason> {
    let is_dash = |c: char| DASHES.contains(&c);
    let mut made = vec![Pattern(Vec::new())];
    for part in &text.0 {
        let Part::Text(text) = part else {
            made.iter_mut().for_each(|text| text.push(part.clone()));
            continue;
        };
        for piece in text.split_inclusive(is_dash) {
            let plain = piece.trim_end_matches(is_dash);
            made.iter_mut().for_each(|text| text.push(Part::Text(plain.to_owned())));
            if plain.len() == piece.len() {
                continue;
            }
            if made.len() * DASHES.len() > SIGMA_RULE_VALUES_MAX {
                return Err(Reason::TooManyValues);
            }
            let with = |text: &Pattern, dash: char| {
                let mut text = text.clone();
                text.push(Part::Text(dash.to_string()));
                text
            };
            let each = |text: &Pattern| DASHES.map(|dash| with(text, dash));
            made = made.iter().flat_map(each).collect();
        }
    }
    next.extend(made.into_iter().map(Draft::Text));
    Ok(())
}

/// Reads a network; an address alone is a network of its own.
fn network(text: &str) -> Result<Test<Box<str>>, Reason> {
    let bad = || Reason::Cidr(text.into());
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(bad)?
        }
        Some(_) => return Err(bad()),
    };
    Ok(Test::Network { address, prefix })
}

#[cfg(test)]
mod tests;
