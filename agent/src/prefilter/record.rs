//! Values that a rule asks for by their path in the record.
//!
//! The paths are a tree; the record is walked along it once, and only if some rule asks. Where a name has dots, a
//! record may write it as one name (`id.orig_h`) or as objects within objects; both are found. Lists on the way are
//! walked through, and each item that has the value gives one. A record that is not JSON (XML, columns, CEF, LEEF,
//! pairs) has its values under the names that it gives them; syslog's structured data has them under its element's name
//! and theirs (`origin.ip`).
//!
//! An event of Windows has its values also under the names that public rules have for them, wherever they stand: what
//! is in its data by its own name without blanks (`Image`), what is in `System` by its element's, or by that and its
//! attribute's with an underscore between (`EventID`, `Provider_Name`). So it is in Sigma's taxonomy.
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

use crate::normalise::{Escapes, Normaliser, Raw};

/// What stands for any name that no path has at the place; no record's name is this.
const ANY: &str = "\0";

/// The paths that rules ask for. Node 0 is the record itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    /// Whether blanks in the record's names do not matter.
    are_blanks_passed_over: bool,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<Child>,
    /// The child that stands for any name.
    any: Option<usize>,
}

#[derive(Clone, Debug)]
struct Child {
    name: Box<str>,
    /// The numbers of the paths that end here.
    ends: Vec<usize>,
    /// Where longer paths go on.
    node: Option<usize>,
}

/// What was found in one record: the number of the path, where its value stands, and how it is written.
pub(super) type Found = Vec<(usize, Range<usize>, Escapes)>;

impl Paths {
    /// Returns no paths, into the events of Windows.
    pub(super) fn of_windows() -> Self {
        Self { nodes: Vec::new(), are_blanks_passed_over: true }
    }

    /// Adds a path under its number.
    pub(super) fn insert(&mut self, number: usize, path: &str) {
        self.insert_names(number, &[path]);
        let names: Vec<&str> = path.split('.').collect();
        self.insert_names(number, &names);
    }

    /// Adds what a rule means by `name` in an event of Windows, under its number.
    pub(super) fn insert_windows(&mut self, number: usize, name: &str) {
        self.insert(number, name);
        for data in [
            &["Event", "EventData", name][..],
            &["Event", "EventData", name, "#text"],
            &["Event", "ProcessingErrorData", name],
            &["Event", "UserData", ANY, name],
            &["Event", "UserData", ANY, ANY, name],
            &["Event", "System", name],
            &["Event", "System", name, "#text"],
            &["winlog", "event_data", name],
            &["winlog", "user_data", name],
        ] {
            self.insert_names(number, data);
        }
        if let Some((element, attribute)) = name.split_once('_') {
            self.insert_names(number, &["Event", "System", element, "#attributes", attribute]);
            self.insert_names(number, &["Event", "System", element, attribute]);
        }
        let of_winlogbeat = WINLOGBEAT.iter().filter(|(own, _)| *own == name);
        of_winlogbeat.for_each(|(_, its)| self.insert_names(number, &["winlog", its]));
    }

    fn insert_names(&mut self, number: usize, names: &[&str]) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        let mut names = names.iter().peekable();
        while let Some(name) = names.next() {
            let child = self.child(at, name);
            if names.peek().is_none() {
                let ends = &mut self.nodes[at].children[child].ends;
                if !ends.contains(&number) {
                    ends.push(number);
                }
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

    /// Finds all that stands at the paths in a record that `reader` reads. One that is broken has what stood before the
    /// place where it breaks.
    pub(super) fn find(&self, record: &[u8], reader: &Normaliser, found: &mut Found) {
        found.clear();
        let Ok(text) = str::from_utf8(record) else { return };
        let inner = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Some(root) = self.nodes.first() else { return };
        let mut take = |names: &[&str], raw: Raw<'_>| {
            // What a reader says in its own words stands nowhere in the record.
            let start = (raw.written().as_ptr() as usize).checked_sub(text.as_ptr() as usize);
            let range = start.map(|start| start..start + raw.written().len());
            let Some(range) = range.filter(|range| range.end <= text.len()) else { return };
            self.at(0, names, &mut |number| found.push((number, range.clone(), raw.escapes())));
        };
        if reader.each_value(inner, &mut take).is_some() {
            return;
        }
        if !inner.trim_ascii_start().starts_with('{') {
            return;
        }
        let mut deserializer = serde_json::Deserializer::from_str(inner);
        let walk = Walk { paths: self, node: root, text, found };
        let _whole = walk.deserialize(&mut deserializer).is_ok();
    }

    /// Calls `each` with the numbers of the paths that end at these names.
    fn at(&self, node: usize, names: &[&str], each: &mut dyn FnMut(usize)) {
        let Some((first, rest)) = names.split_first() else { return };
        let Some(child) = self.named(&self.nodes[node], first) else { return };
        match child.node {
            _ if rest.is_empty() => child.ends.iter().for_each(|number| each(*number)),
            Some(next) => self.at(next, rest, each),
            None => {}
        }
    }

    /// Returns the child that a name of the record means; where none has it, the one for any.
    fn named<'n>(&self, node: &'n Node, name: &str) -> Option<&'n Child> {
        let is_it = |child: &&Child| {
            let blanks = self.are_blanks_passed_over && name.contains(' ');
            match blanks {
                false => *child.name == *name,
                true => child.name.bytes().eq(name.bytes().filter(|byte| *byte != b' ')),
            }
        };
        let any = || node.any.map(|any| &node.children[any]);
        node.children.iter().find(is_it).or_else(any)
    }

    fn child(&mut self, node: usize, name: &str) -> usize {
        let Node { children, any } = &mut self.nodes[node];
        if let Some(known) = children.iter().position(|child| &*child.name == name) {
            return known;
        }
        let number = children.len();
        *any = any.or((name == ANY).then_some(number));
        children.push(Child { name: name.into(), ends: Vec::new(), node: None });
        number
    }
}

/// Names that Winlogbeat has for values of `System`.
const WINLOGBEAT: [(&str, &str); 4] = [
    ("EventID", "event_id"),
    ("Channel", "channel"),
    ("Computer", "computer_name"),
    ("Provider_Name", "provider_name"),
];

/// Hands what a value says to `visit`.
pub(super) fn visit(raw: Raw<'_>, visit: &mut dyn FnMut(Value<'_>)) {
    match raw.escapes() {
        Escapes::Json => visit_json(raw.written(), visit),
        Escapes::Hex | Escapes::Backslash | Escapes::Quoted | Escapes::Xml | Escapes::None => {
            raw.text().into_iter().for_each(|text| visit(Value::Text(&text)));
        }
    }
}

/// Hands what a JSON value says to `visit`: each item of a list; nothing of an object.
fn visit_json(raw: &str, visit: &mut dyn FnMut(Value<'_>)) {
    match raw.as_bytes().first() {
        Some(b'"') => visit(Value::Text(&unquoted(raw))),
        Some(b't') => visit(Value::Bool(true)),
        Some(b'f') => visit(Value::Bool(false)),
        Some(b'n') => visit(Value::Null),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
            for item in items.iter().map(|item| item.get()).filter(|item| !item.starts_with('[')) {
                visit_json(item, visit);
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
        for number in &child.ends {
            let start = raw.as_ptr() as usize - self.text.as_ptr() as usize;
            self.found.push((*number, start..start + raw.len(), Escapes::Json));
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
        while let Some(child) = map.next_key_seed(Name(self.paths, self.node))? {
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
struct Name<'w>(&'w Paths, &'w Node);

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
        Ok(self.0.named(self.1, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalise::Kind;

    fn found<'r>(paths: &[&str], record: &'r str) -> Vec<(usize, &'r str)> {
        found_of("suricata_eve", paths, record)
    }

    fn found_of<'r>(kind: &str, paths: &[&str], record: &'r str) -> Vec<(usize, &'r str)> {
        let reader = Normaliser::new(Kind::of_product(kind).unwrap(), "source");
        let mut tree = Paths::default();
        paths.iter().enumerate().for_each(|(number, path)| tree.insert(number, path));
        let mut found = Found::new();
        tree.find(record.as_bytes(), &reader, &mut found);
        found.into_iter().map(|(number, range, _)| (number, &record[range])).collect()
    }

    /// Returns what rules see by these names in an event of Windows.
    fn windows(names: &[&str], record: &str) -> Vec<String> {
        let reader = Normaliser::new(Kind::of_product("windows_event").unwrap(), "source");
        let mut tree = Paths::of_windows();
        names.iter().enumerate().for_each(|(number, name)| tree.insert_windows(number, name));
        let mut found = Found::new();
        tree.find(record.as_bytes(), &reader, &mut found);
        let mut seen = Vec::new();
        for (number, range, escapes) in found {
            let raw = Raw::new(&record[range], escapes);
            visit(raw, &mut |value| seen.push(format!("{} {value:?}", names[number])));
        }
        seen.sort();
        seen
    }

    fn values(raw: &str) -> Vec<String> {
        let mut values = Vec::new();
        visit_json(raw, &mut |value| values.push(format!("{value:?}")));
        values
    }

    #[test]
    fn an_event_of_windows_has_its_values_by_the_names_of_public_rules() {
        let json = r##"{"Event":{"System":{"EventID":{"#text":7045,"#attributes":{"Qualifiers":1}},
            "Provider":{"#attributes":{"Name":"SCM"}},"Computer":"a"},
            "EventData":{"Service Name":"x","Data":["p","q"]}}}"##;
        let names = ["EventID", "Provider_Name", "Computer", "ServiceName", "Data", "Other"];
        let expected = [
            "Computer Text(\"a\")",
            "Data Text(\"p\")",
            "Data Text(\"q\")",
            "EventID Int(7045)",
            "Provider_Name Text(\"SCM\")",
            "ServiceName Text(\"x\")",
        ];
        assert_eq!(windows(&names, json), expected);
        let xml = "<Event><System><Provider Name='SCM'/><EventID Qualifiers='1'>7045</EventID>\
                   <Computer>a</Computer></System><EventData><Data Name='Service Name'>x</Data>\
                   <Data>p</Data><Data>q &amp; r</Data></EventData></Event>";
        let seen = windows(&names, xml);
        assert_eq!(seen[2..4], ["Data Text(\"q & r\")", "EventID Text(\"7045\")"]);
        assert_eq!(seen.len(), 6);
        let user = "<Event><UserData><EventXML><User>ada</User><A><B>1</B></A></EventXML>\
                    </UserData></Event>";
        assert_eq!(windows(&["User", "B"], user), ["B Text(\"1\")", "User Text(\"ada\")"]);
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
