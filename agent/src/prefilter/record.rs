//! Values that a rule asks for by their path in the record.
//!
//! The paths are a tree; the record is walked along it once, and only if some rule asks. Where a name has dots, a
//! record may write it as one name (`id.orig_h`) or as objects within objects; both are found. Lists on the way are
//! walked through, and each item that has the value gives one.
//!
//! Found values are remembered by their place in the record, so that what remembers them is used again for the next
//! record.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use shared::sigma::Value;

/// The paths that rules ask for. Node 0 is the record itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    name: Box<str>,
    /// The number of the path that ends here.
    ends: Option<usize>,
    /// Where longer paths go on.
    node: Option<usize>,
}

/// What was found in one record: the number of the path, and where its value stands.
pub(super) type Found = Vec<(usize, Range<usize>)>;

impl Paths {
    /// Adds a path under its number.
    pub(super) fn insert(&mut self, number: usize, path: &str) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let whole = self.child(0, path);
        self.nodes[0].children[whole].ends = Some(number);
        let mut at = 0;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let child = self.child(at, name);
            if names.peek().is_none() {
                self.nodes[at].children[child].ends = Some(number);
                return;
            }
            let next = self.nodes[at].children[child].node.unwrap_or(self.nodes.len());
            if next == self.nodes.len() {
                self.nodes[at].children[child].node = Some(next);
                self.nodes.push(Node::default());
            }
            at = next;
        }
    }

    /// Finds all that stands at the paths. A record that is no JSON object, or broken, has what stood before the
    /// place where it breaks.
    pub(super) fn find(&self, record: &[u8], found: &mut Found) {
        found.clear();
        let Ok(text) = str::from_utf8(record) else { return };
        let Some(root) = self.nodes.first() else { return };
        if !text.trim_ascii_start().starts_with('{') {
            return;
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let walk = Walk { paths: self, node: root, text, found };
        let _whole = walk.deserialize(&mut deserializer).is_ok();
    }

    fn child(&mut self, node: usize, name: &str) -> usize {
        let children = &mut self.nodes[node].children;
        if let Some(known) = children.iter().position(|child| &*child.name == name) {
            return known;
        }
        children.push(Child { name: name.into(), ends: None, node: None });
        children.len() - 1
    }
}

/// Hands what a JSON value says to `visit`: each item of a list; nothing of an object.
pub(super) fn visit(raw: &str, visit: &mut dyn FnMut(Value<'_>)) {
    match raw.as_bytes().first() {
        Some(b'"') => visit(Value::Text(&unquoted(raw))),
        Some(b't') => visit(Value::Bool(true)),
        Some(b'f') => visit(Value::Bool(false)),
        Some(b'n') => visit(Value::Null),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
            for item in items.iter().map(|item| item.get()).filter(|item| !item.starts_with('[')) {
                self::visit(item, visit);
            }
        }
        Some(b'{') | None => {}
        Some(_) => match (raw.parse::<i64>(), raw.parse::<f64>()) {
            (Ok(number), _) => visit(Value::Int(number)),
            (Err(_), Ok(number)) => visit(Value::Float(number)),
            (Err(_), Err(_)) => {}
        },
    }
}

fn unquoted(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    // Half a surrogate pair has no text; what was written stands in for it.
    serde_json::from_str(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// Walks one value of the record.
struct Walk<'w, 'a> {
    paths: &'w Paths,
    node: &'w Node,
    text: &'a str,
    found: &'w mut Found,
}

impl<'a> Walk<'_, 'a> {
    fn at(&mut self, node: usize) -> Walk<'_, 'a> {
        let node = &self.paths.nodes[node];
        Walk { paths: self.paths, node, text: self.text, found: self.found }
    }

    /// Notes the value of a path that ends here, and walks on where others do not.
    fn take(&mut self, child: &Child, raw: &'a str) {
        if let Some(number) = child.ends {
            let start = raw.as_ptr() as usize - self.text.as_ptr() as usize;
            self.found.push((number, start..start + raw.len()));
        }
        if let Some(node) = child.node {
            let mut deserializer = serde_json::Deserializer::from_str(raw);
            let _whole = self.at(node).deserialize(&mut deserializer).is_ok();
        }
    }
}

impl<'a> DeserializeSeed<'a> for Walk<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Name(self.node))? {
            match child {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(child) => {
                    let raw: &'a RawValue = map.next_value()?;
                    self.take(child, raw.get());
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let Walk { paths, node, text, found } = self;
        while items.next_element_seed(Walk { paths, node, text, found })?.is_some() {}
        Ok(())
    }

    // A scalar where an object was expected holds none of the values.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a name and finds the node's child of that name.
struct Name<'w>(&'w Node);

impl<'a, 'w> DeserializeSeed<'a> for Name<'w> {
    type Value = Option<&'w Child>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'w> Visitor<'_> for Name<'w> {
    type Value = Option<&'w Child>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|child| *child.name == *name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'r>(paths: &[&str], record: &'r str) -> Vec<(usize, &'r str)> {
        let mut tree = Paths::default();
        paths.iter().enumerate().for_each(|(number, path)| tree.insert(number, path));
        let mut found = Found::new();
        tree.find(record.as_bytes(), &mut found);
        found.into_iter().map(|(number, range)| (number, &record[range])).collect()
    }

    fn values(raw: &str) -> Vec<String> {
        let mut values = Vec::new();
        visit(raw, &mut |value| values.push(format!("{value:?}")));
        values
    }

    #[test]
    fn values_are_found_at_any_depth_and_through_lists() {
        let record = r#"{"a":{"b":[{"c":1},{"c":"two"}]},"a.b.c":3,"d":null}"#;
        let expected = [(0, "1"), (0, "\"two\""), (0, "3"), (1, "null")];
        assert_eq!(found(&["a.b.c", "d"], record), expected);
    }

    #[test]
    fn a_path_may_end_where_another_goes_on() {
        let record = r#"{"a":{"b":1}}"#;
        assert_eq!(found(&["a", "a.b"], record), [(0, "{\"b\":1}"), (1, "1")]);
    }

    #[test]
    fn what_is_no_object_has_none_and_what_breaks_has_what_stood_before() {
        assert!(found(&["a"], "<13>Nov  2 09:12:33 gw a").is_empty());
        assert!(found(&["a"], r#"[{"a":1}]"#).is_empty());
        assert_eq!(found(&["a", "b"], r#"{"a":1,"b":tr"#), [(0, "1")]);
    }

    #[test]
    fn a_value_is_of_the_type_that_the_record_writes() {
        assert_eq!(values("\"a\\u0062\""), ["Text(\"ab\")"]);
        assert_eq!(values("[1, 2.5, true, null, \"x\", {\"y\":1}, [3]]").len(), 5);
        assert_eq!(values("-7"), ["Int(-7)"]);
        assert_eq!(values("1e3"), ["Float(1000.0)"]);
        assert!(values("{\"a\":1}").is_empty());
    }
}
