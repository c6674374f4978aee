//! The language of conditions: `and`, `or`, `not`, parentheses, `1 of` and `all of`.
//!
//! ```text
//! or      := and ("or" and)*
//! and     := not ("and" not)*
//! not     := "not" not | operand
//! operand := "(" or ")" | ("1" | "any" | "all") "of" ("them" | pattern) | name
//! ```
//!
//! Names that begin with an underscore are left out of `them` and of patterns, unless the pattern begins with one, too.

use super::{
    expr::Expr,
    refusal::{Fault, Reason},
    yaml::Node,
};
use crate::limits::{SIGMA_CONDITION_BYTES_MAX, SIGMA_CONDITION_DEPTH_MAX};

/// Reads a condition; its leaves are indexes into `names`.
pub(super) fn parse(node: &Node, names: &[&str]) -> Result<Expr<usize>, Fault> {
    let conditions = node.items().unwrap_or(std::slice::from_ref(node));
    if conditions.is_empty() {
        return Err(node.fault(Reason::Missing("condition")));
    }
    let each = conditions.iter().map(|condition| {
        let text = condition.scalar().ok_or_else(|| {
            condition.fault(Reason::Not { what: "condition".into(), must_be: "a text" })
        })?;
        let parsed = Parser::new(&text, names).and_then(Parser::whole);
        parsed.map_err(|reason| condition.fault(reason))
    });
    Ok(Expr::any(each.collect::<Result<_, _>>()?))
}

struct Parser<'a> {
    names: &'a [&'a str],
    tokens: Vec<&'a str>,
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, names: &'a [&'a str]) -> Result<Self, Reason> {
        if text.len() > SIGMA_CONDITION_BYTES_MAX {
            return Err(Reason::TooLong { what: "a condition", max: SIGMA_CONDITION_BYTES_MAX });
        }
        if text.contains('|') {
            return Err(Reason::Aggregation);
        }
        Ok(Self { names, tokens: tokens(text), next: 0, depth: 0 })
    }

    fn whole(mut self) -> Result<Expr<usize>, Reason> {
        let expr = self.or()?;
        match self.peek() {
            None => Ok(expr),
            Some(token) => Err(mistake(&format!("{token:?} is not expected here"))),
        }
    }

    fn or(&mut self) -> Result<Expr<usize>, Reason> {
        let mut parts = vec![self.and()?];
        while self.takes("or") {
            parts.push(self.and()?);
        }
        Ok(Expr::any(parts))
    }

    fn and(&mut self) -> Result<Expr<usize>, Reason> {
        let mut parts = vec![self.not()?];
        while self.takes("and") {
            parts.push(self.not()?);
        }
        Ok(Expr::all(parts))
    }

    fn not(&mut self) -> Result<Expr<usize>, Reason> {
        self.depth += 1;
        if self.depth > SIGMA_CONDITION_DEPTH_MAX {
            return Err(Reason::TooDeep);
        }
        let expr = if self.takes("not") { self.not()?.negated() } else { self.operand()? };
        self.depth -= 1;
        Ok(expr)
    }

    fn operand(&mut self) -> Result<Expr<usize>, Reason> {
        if self.takes("(") {
            let expr = self.or()?;
            return if self.takes(")") { Ok(expr) } else { Err(mistake("a \")\" is missing")) };
        }
        let Some(token) = self.peek() else { return Err(mistake("ends too early")) };
        self.next += 1;
        if self.peek().is_some_and(|next| next.eq_ignore_ascii_case("of")) {
            self.next += 1;
            return self.quantified(token);
        }
        if is_operator(token) || token == ")" {
            return Err(mistake(&format!("{token:?} is not expected here")));
        }
        let found = self.names.iter().position(|name| *name == token);
        found.map(Expr::Leaf).ok_or_else(|| Reason::UnknownSearch(token.into()))
    }

    fn quantified(&mut self, quantity: &str) -> Result<Expr<usize>, Reason> {
        let Some(pattern) = self.peek() else { return Err(mistake("ends too early")) };
        self.next += 1;
        let them = pattern.eq_ignore_ascii_case("them");
        let meant = |name: &str| {
            (!name.starts_with('_') || pattern.starts_with('_'))
                && (them || wildcard(pattern.as_bytes(), name.as_bytes()))
        };
        let named = (0..self.names.len()).filter(|index| meant(self.names[*index]));
        let parts: Vec<_> = named.map(Expr::Leaf).collect();
        if parts.is_empty() {
            return Err(Reason::UnknownSearch(pattern.into()));
        }
        match quantity.to_ascii_lowercase().as_str() {
            "1" | "any" => Ok(Expr::any(parts)),
            "all" => Ok(Expr::all(parts)),
            _ => Err(mistake(&format!("{quantity:?} of is neither 1 of nor all of"))),
        }
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).copied()
    }

    fn takes(&mut self, word: &str) -> bool {
        let takes = self.peek().is_some_and(|token| token.eq_ignore_ascii_case(word));
        self.next += usize::from(takes);
        takes
    }
}

fn mistake(text: &str) -> Reason {
    Reason::Condition(text.into())
}

fn is_operator(token: &str) -> bool {
    ["and", "or", "not", "of"].iter().any(|word| token.eq_ignore_ascii_case(word))
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while let Some(at) = rest.find(['(', ')']) {
            tokens.extend([&rest[..at], &rest[at..=at]].into_iter().filter(|t| !t.is_empty()));
            rest = &rest[at + 1..];
        }
        tokens.extend(Some(rest).filter(|rest| !rest.is_empty()));
    }
    tokens
}

/// Matches a name against a pattern whose only wildcard is `*`.
fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, from)) = star {
            (p, n, star) = (at + 1, from + 1, Some((at, from + 1)));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::{super::yaml::Yaml, *};

    const NAMES: &[&str] = &["selection_a", "selection_b", "filter", "_hidden"];

    fn read(text: &str) -> Result<String, Reason> {
        let node = Node { line: 1, column: 1, value: Yaml::Text(text.into()) };
        parse(&node, NAMES).map(|expr| show(&expr)).map_err(|fault| fault.reason)
    }

    fn show(expr: &Expr<usize>) -> String {
        let join = |parts: &[Expr<usize>], word: &str| {
            format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(word))
        };
        match expr {
            Expr::And(parts) => join(parts, "&"),
            Expr::Or(parts) => join(parts, "|"),
            Expr::Not(part) => format!("!{}", show(part)),
            Expr::Leaf(index) => index.to_string(),
        }
    }

    #[test]
    fn or_binds_less_than_and_and_that_less_than_not() {
        let cases = [
            ("selection_a or selection_b and not filter", "(0|(1&!2))"),
            ("(selection_a or selection_b) and not filter", "((0|1)&!2)"),
            ("not selection_a and filter", "(!0&2)"),
            ("not (selection_a and filter)", "!(0&2)"),
            ("not not filter", "!!2"),
            ("1 of selection_* and not filter", "((0|1)&!2)"),
            ("not 1 of selection_*", "!(0|1)"),
            ("all of selection*", "(0&1)"),
            ("all of *_b", "1"),
            ("any of them", "(0|1|2)"),
            ("all of them", "(0&1&2)"),
            ("1 of _h*", "3"),
            ("_hidden AND filter", "(3&2)"),
        ];
        for (text, tree) in cases {
            assert_eq!(read(text).as_deref(), Ok(tree), "{text}");
        }
    }

    #[test]
    fn conditions_in_a_list_are_alternatives() {
        let text = |text: &str| Node { line: 1, column: 1, value: Yaml::Text(text.into()) };
        let list = vec![text("filter"), text("selection_a")];
        let node = Node { line: 1, column: 1, value: Yaml::List(list) };
        assert_eq!(show(&parse(&node, NAMES).unwrap()), "(2|0)");
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = |name: &str| Err(Reason::UnknownSearch(name.into()));
        assert_eq!(read("selection"), unknown("selection"));
        assert_eq!(read("1 of other*"), unknown("other*"));
        assert_eq!(read("selection_a | count() > 5"), Err(Reason::Aggregation));
        for text in [
            "",
            "not",
            "filter and",
            "(filter",
            "filter)",
            "filter filter",
            "and",
            "2 of them",
            "1 of",
            "or filter",
        ] {
            assert!(matches!(read(text), Err(Reason::Condition(_))), "{text:?}");
        }
        assert_eq!(read(&"(".repeat(2_000)), Err(Reason::TooDeep));
        assert_eq!(read(&"not ".repeat(900)), Err(Reason::TooDeep));
        assert!(matches!(read(&"x".repeat(1 << 16)), Err(Reason::TooLong { .. })));
    }
}
