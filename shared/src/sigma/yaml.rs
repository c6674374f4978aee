//! YAML with places: the tree of a document in which every node knows its line and column.
//!
//! Plain scalars are read by YAML 1.2's core schema, so `no` and `off` are texts. An integer beyond 64 bits stays a
//! text, as the digits that were written. An alias is replaced by what its anchor stands for; copies count against
//! [`SIGMA_DOCUMENT_NODES_MAX`], so a few lines cannot grow into gigabytes.

use std::{borrow::Cow, collections::BTreeMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::refusal::{Fault, Reason};
use crate::limits::{SIGMA_DOCUMENT_NODES_MAX, SIGMA_DOCUMENTS_MAX, SIGMA_YAML_DEPTH_MAX};

/// A node of a document, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its line, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
    /// What it holds.
    pub value: Yaml,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer, decimal or as `0x` or `0o`.
    Int(i64),
    /// A number with a point or an exponent; never infinite or not a number.
    Float(f64),
    /// Anything else that is not a collection.
    Text(Box<str>),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order it was written; no key twice.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Returns the value of a mapping's key; nothing where this is no mapping or has no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    /// Returns the text of a text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            Yaml::Null
            | Yaml::Bool(_)
            | Yaml::Int(_)
            | Yaml::Float(_)
            | Yaml::List(_)
            | Yaml::Map(_) => None,
        }
    }

    /// Returns the items of a sequence.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match &self.value {
            Yaml::List(items) => Some(items),
            Yaml::Null
            | Yaml::Bool(_)
            | Yaml::Int(_)
            | Yaml::Float(_)
            | Yaml::Text(_)
            | Yaml::Map(_) => None,
        }
    }

    /// Returns the entries of a mapping.
    #[must_use]
    pub fn entries(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Yaml::Map(entries) => Some(entries),
            Yaml::Null
            | Yaml::Bool(_)
            | Yaml::Int(_)
            | Yaml::Float(_)
            | Yaml::Text(_)
            | Yaml::List(_) => None,
        }
    }

    /// Returns a scalar as the text that it stands for; nothing for collections and null.
    #[must_use]
    pub fn scalar(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Yaml::Text(text) => Some(Cow::Borrowed(text)),
            Yaml::Bool(value) => Some(Cow::Owned(value.to_string())),
            Yaml::Int(value) => Some(Cow::Owned(value.to_string())),
            Yaml::Float(value) => Some(Cow::Owned(value.to_string())),
            Yaml::Null | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    /// Returns a fault at this node.
    pub(super) fn fault(&self, reason: Reason) -> Fault {
        Fault { line: self.line, column: self.column, reason }
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Yaml::List(items) => items.iter().map(Self::count).sum(),
            Yaml::Map(entries) => entries.iter().map(|(k, v)| k.count() + v.count()).sum(),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => 0,
        }
    }
}

/// Reads all documents of `text`. A document that breaks a bound or has a key twice is a fault by itself; after text
/// that is not YAML, nothing more can be read.
pub(super) fn parse(text: &str) -> Vec<Result<Node, Fault>> {
    let mut parser = Parser::new_from_str(text);
    let (mut documents, mut tree) = (Vec::new(), Tree::default());
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                documents.push(Err(tree.fault.take().unwrap_or_else(|| not_yaml(&error))));
                break;
            }
        };
        match event {
            Event::DocumentStart(_) => tree = Tree::default(),
            Event::DocumentEnd => {
                if documents.len() == SIGMA_DOCUMENTS_MAX {
                    documents.push(Err(place(span, Reason::TooManyDocuments)));
                    break;
                }
                documents.extend(std::mem::take(&mut tree).finish());
            }
            event => tree.take(event, span),
        }
    }
    documents
}

fn not_yaml(error: &ScanError) -> Fault {
    let marker = error.marker();
    Fault {
        line: number(marker.line()),
        column: number(marker.col() + 1),
        reason: Reason::Yaml(error.info().into()),
    }
}

fn place(span: Span, reason: Reason) -> Fault {
    Fault { line: number(span.start.line()), column: number(span.start.col() + 1), reason }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A document on its way from events to a node.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    count: usize,
    /// Why this document is not taken; its further events are passed over.
    fault: Option<Fault>,
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// A mapping's key whose value has not come yet.
    key: Option<Node>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: Span) {
        if self.fault.is_some() {
            return;
        }
        self.fault = self.build(event, span).err();
    }

    fn build(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let node = |value| Node {
            line: number(span.start.line()),
            column: number(span.start.col() + 1),
            value,
        };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(1, span)?;
                self.add(node(scalar(&text, style, tag.as_deref())), anchor)
            }
            Event::Alias(anchor) => {
                let Some(meant) = self.anchors.get(&anchor) else {
                    let reason = Reason::Yaml("an alias within its own anchor".into());
                    return Err(place(span, reason));
                };
                let count = meant.count();
                let copy = node(meant.value.clone());
                self.charge(count, span)?;
                self.add(copy, 0)
            }
            Event::SequenceStart(anchor, _) => {
                self.begin(node(Yaml::List(Vec::new())), anchor, span)
            }
            Event::MappingStart(anchor, _) => self.begin(node(Yaml::Map(Vec::new())), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.add(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn charge(&mut self, nodes: usize, span: Span) -> Result<(), Fault> {
        self.count += nodes;
        let within = self.count <= SIGMA_DOCUMENT_NODES_MAX;
        within.then_some(()).ok_or_else(|| place(span, Reason::TooManyNodes))
    }

    fn begin(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), Fault> {
        self.charge(1, span)?;
        if self.open.len() == SIGMA_YAML_DEPTH_MAX {
            return Err(node.fault(Reason::TooDeep));
        }
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Yaml::Map(entries), Some(key)) => {
                if let Some(twice) = key.text().filter(|text| has_key(entries, text)) {
                    return Err(key.fault(Reason::KeyTwice(twice.into())));
                }
                entries.push((key, node));
            }
            (Yaml::Map(_), None) => open.key = Some(node),
            (Yaml::List(items), _) => items.push(node),
            (Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_), _) => {
                unreachable!("only collections are opened")
            }
        }
        Ok(())
    }

    /// Returns the document; nothing where it is empty.
    fn finish(self) -> Option<Result<Node, Fault>> {
        match (self.fault, self.root) {
            (Some(fault), _) => Some(Err(fault)),
            (None, Some(root)) if root.value == Yaml::Null => None,
            (None, root) => root.map(Ok),
        }
    }
}

fn has_key(entries: &[(Node, Node)], key: &str) -> bool {
    entries.iter().any(|(name, _)| name.text() == Some(key))
}

/// Reads a scalar by the core schema; what is quoted or tagged as a text is one.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Yaml {
    let tagged = tag.is_some_and(|tag| tag.suffix == "str" || tag.handle == "!");
    if style != ScalarStyle::Plain || tagged {
        return Yaml::Text(text.into());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        _ => {}
    }
    let radix = |prefix, radix| {
        text.strip_prefix(prefix).and_then(|digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| i64::from_str_radix(digits, radix).ok()).flatten()
        })
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Yaml::Int(value);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or_else(|_| Yaml::Text(text.into()), Yaml::Int);
    }
    let starts = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let written = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse::<f64>() {
        Ok(value) if starts && written && value.is_finite() => Yaml::Float(value),
        Ok(_) | Err(_) => Yaml::Text(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let mut documents = parse(text);
        assert_eq!(documents.len(), 1, "{documents:?}");
        documents.remove(0).unwrap()
    }

    fn fault(text: &str) -> Fault {
        parse(text).remove(0).unwrap_err()
    }

    #[test]
    fn every_node_knows_its_line_and_column() {
        let node = one("a: 1\nb:\n    - x\n    - 'y'\n");
        assert_eq!((node.line, node.column), (1, 1));
        let items = node.get("b").and_then(Node::items).unwrap();
        assert_eq!((items[1].line, items[1].column), (4, 7));
        assert_eq!(items[1].text(), Some("y"));
    }

    #[test]
    fn plain_scalars_are_read_by_the_core_schema() {
        let text = "[~, null, true, 12, -3, 0x1f, 0o17, 010, 1.5, 1e3, .inf, no, 2023-01-02, \
                    '7', 99999999999999999999, 1.2.3.4, 0xzz, !!str 5]";
        let read = one(text);
        let texts: Vec<Yaml> = read.items().unwrap().iter().map(|n| n.value.clone()).collect();
        let text = |text: &str| Yaml::Text(text.into());
        assert_eq!(
            texts,
            [
                Yaml::Null,
                Yaml::Null,
                Yaml::Bool(true),
                Yaml::Int(12),
                Yaml::Int(-3),
                Yaml::Int(31),
                Yaml::Int(15),
                Yaml::Int(10),
                Yaml::Float(1.5),
                Yaml::Float(1000.0),
                text(".inf"),
                text("no"),
                text("2023-01-02"),
                text("7"),
                text("99999999999999999999"),
                text("1.2.3.4"),
                text("0xzz"),
                text("5"),
            ]
        );
    }

    #[test]
    fn documents_are_read_one_after_another_and_a_bad_one_spoils_only_itself() {
        let read = parse("a: 1\n---\nb: 1\nb: 2\n---\nc: 3\n---\n");
        assert_eq!(read.len(), 3, "an empty one is none");
        assert!(read[0].is_ok() && read[2].is_ok());
        assert_eq!(read[1].as_ref().unwrap_err().to_string(), "4:1: the key \"b\" stands twice");
    }

    #[test]
    fn text_that_is_not_yaml_says_where() {
        let fault = fault("a: 1\nb: [1, 2\n");
        assert!(matches!(fault.reason, Reason::Yaml(_)));
        assert!(fault.line >= 2, "{fault}");
    }

    #[test]
    fn aliases_are_replaced_and_cannot_grow_without_bound() {
        let node = one("a: &x [1, 2]\nb: *x\n");
        assert_eq!(node.get("a").unwrap().items().unwrap().len(), 2);
        assert_eq!(node.get("b").unwrap().items().unwrap().len(), 2);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let last = format!("*a{}, ", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{last}]\n"));
        }
        assert_eq!(fault(&bomb).reason, Reason::TooManyNodes);
    }

    #[test]
    fn depth_has_a_bound() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(fault(&deep).reason, Reason::TooDeep);
        let many = "a\n---\n".repeat(SIGMA_DOCUMENTS_MAX + 1);
        assert_eq!(parse(&many).pop().unwrap().unwrap_err().reason, Reason::TooManyDocuments);
    }
}
