//! Picks a fixed set of values out of a JSON record in one pass, without copying.
//!
//! The paths are a tree; the record is walked along it, and what the tree does not name is skipped.
//! Each path fills a slot. Several paths may fill one: the earlier in the table wins, whatever the
//! order in the record. Of a name that a record holds twice the first wins, so a repeated name
//! makes no record malformed.
//!
//! A list on the way is walked through: its first item that has the value gives it. Where a path
//! names an index (`/queries/1/name`), that item alone does.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::value::{self, Raw};

/// How many slots a table can fill.
pub(super) const SLOTS: usize = 52;

/// What is called with each value of a record that is not JSON, and the names that lead to it.
pub(super) type Take<'t, 'a> = dyn FnMut(&[&str], Raw<'a>) + 't;

/// Why a text is not a path into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The text is empty, or one of its names is.
    #[error("path has an empty name")]
    EmptyName,
    /// `~` in a JSON pointer is followed by neither `0` nor `1`.
    #[error("path has a `~` that is followed by neither 0 nor 1")]
    Escape,
}

/// Splits a JSON pointer (`/a/b~1c`, RFC 6901) or a dotted path (`a.b`) into its names.
pub(super) fn parse_path(text: &str) -> Result<Vec<String>, PathError> {
    let names: Vec<String> = match text.strip_prefix('/') {
        None => text.split('.').map(str::to_owned).collect(),
        Some(pointer) => pointer.split('/').map(unescaped).collect::<Result<_, _>>()?,
    };
    if names.iter().any(String::is_empty) { Err(PathError::EmptyName) } else { Ok(names) }
}

fn unescaped(name: &str) -> Result<String, PathError> {
    let bad = |(at, _)| !matches!(name.as_bytes().get(at + 1), Some(b'0' | b'1'));
    if name.match_indices('~').any(bad) {
        return Err(PathError::Escape);
    }
    Ok(name.replace("~1", "/").replace("~0", "~"))
}

/// A tree of paths. Node 0 is the record itself.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<Child>,
    /// Whether a child is named like an index.
    indexed: bool,
}

#[derive(Clone, Debug)]
struct Child {
    name: Box<str>,
    fills: Vec<Fill>,
    /// Where the paths that lead further go on.
    node: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Fill {
    slot: u8,
    rank: u8,
}

impl Paths {
    /// Builds the tree. The place in `table` is a path's rank: the lower wins its slot.
    ///
    /// # Errors
    /// Fails on the first text that is no path.
    pub(super) fn new<'t>(
        table: impl IntoIterator<Item = (u8, &'t str)>,
    ) -> Result<Self, PathError> {
        let mut paths = Self { nodes: vec![Node::default()] };
        for (rank, (slot, path)) in table.into_iter().enumerate() {
            let rank = u8::try_from(rank).expect("tables are shorter than ranks reach");
            assert!(usize::from(slot) < SLOTS, "slots are numbered below their count");
            paths.insert(Fill { slot, rank }, &parse_path(path)?);
        }
        Ok(paths)
    }

    fn insert(&mut self, fill: Fill, names: &[String]) {
        let mut at = 0;
        for (index, name) in names.iter().enumerate() {
            let child = self.child(at, name);
            if index + 1 == names.len() {
                self.nodes[at].children[child].fills.push(fill);
                return;
            }
            let known = self.nodes[at].children[child].node;
            let next = known.unwrap_or(self.nodes.len());
            if known.is_none() {
                self.nodes[at].children[child].node = Some(next);
                self.nodes.push(Node::default());
            }
            at = next;
        }
    }

    fn child(&mut self, node: usize, name: &str) -> usize {
        let node = &mut self.nodes[node];
        if let Some(known) = node.children.iter().position(|child| &*child.name == name) {
            return known;
        }
        node.indexed |= name.bytes().all(|byte| byte.is_ascii_digit());
        node.children.push(Child { name: name.into(), fills: Vec::new(), node: None });
        node.children.len() - 1
    }

    /// Walks `record` and fills `slots`. A value of `stop.slot` that `stop.unless` does not hold
    /// ends the walk early, as success, with [`Slots::stopped`] set.
    ///
    /// # Errors
    /// Fails where `record` is not one JSON object; `slots` then hold what stood before the place.
    pub(super) fn walk<'a>(
        &self,
        record: &'a str,
        stop: Option<Stop>,
        slots: &mut Slots<'a>,
    ) -> Result<(), serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(record);
        let walk = Walk { paths: self, node: &self.nodes[0], stop, slots };
        let walked = walk.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if slots.stopped { Ok(()) } else { walked }
    }

    /// Returns whether the value at `names` fills a slot.
    pub(super) fn reads(&self, names: &[&str]) -> bool {
        let mut at = Some(0);
        let mut fills = false;
        for name in names {
            let Some(node) = at else { return fills };
            let child = self.nodes[node].children.iter().find(|child| *child.name == **name);
            let Some(child) = child else { return false };
            fills = !child.fills.is_empty();
            at = child.node;
        }
        fills
    }

    /// Takes the value that stands at the end of these names.
    pub(super) fn take_at<'a>(&self, names: &[&str], raw: Raw<'a>, slots: &mut Slots<'a>) {
        let Some((last, folders)) = names.split_last() else { return };
        let mut node = &self.nodes[0];
        for name in folders {
            let child = node.children.iter().find(|child| *child.name == **name);
            let Some(next) = child.and_then(|child| child.node) else { return };
            node = &self.nodes[next];
        }
        let child = node.children.iter().find(|child| *child.name == **last);
        for fill in child.into_iter().flat_map(|child| &child.fills) {
            slots.fill(*fill, raw);
        }
    }
}

/// When a walk need not go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// The slot that decides.
    pub(super) slot: u8,
    /// Says whether the walk goes on with this raw value in the slot.
    pub(super) unless: fn(&str) -> bool,
}

/// What was found: each slot's value as the record writes it.
#[derive(Debug)]
pub(super) struct Slots<'a> {
    raw: [Option<Raw<'a>>; SLOTS],
    rank: [u8; SLOTS],
    /// Whether the walk was ended early.
    pub(super) stopped: bool,
}

impl Default for Slots<'_> {
    fn default() -> Self {
        Self { raw: [None; SLOTS], rank: [0; SLOTS], stopped: false }
    }
}

impl<'a> Slots<'a> {
    /// Returns the slot's value; values that say nothing are absent.
    pub(super) fn raw(&self, slot: u8) -> Option<Raw<'a>> {
        self.raw[usize::from(slot)]
    }

    /// Returns how many slots were filled.
    pub(super) fn count(&self) -> usize {
        self.raw.iter().flatten().count()
    }

    /// Returns whether no slot was filled.
    pub(super) fn is_empty(&self) -> bool {
        self.raw.iter().all(Option::is_none)
    }

    fn fill(&mut self, fill: Fill, raw: Raw<'a>) {
        let slot = usize::from(fill.slot);
        if self.raw[slot].is_none() || fill.rank < self.rank[slot] {
            self.raw[slot] = Some(raw);
            self.rank[slot] = fill.rank;
        }
    }
}

/// Walks one value of the record.
struct Walk<'w, 'a> {
    paths: &'w Paths,
    node: &'w Node,
    stop: Option<Stop>,
    slots: &'w mut Slots<'a>,
}

impl<'a> Walk<'_, 'a> {
    fn at(&mut self, node: usize) -> Walk<'_, 'a> {
        let node = &self.paths.nodes[node];
        Walk { paths: self.paths, node, stop: self.stop, slots: self.slots }
    }

    /// Takes `raw` as the value of `child`, and walks into it where paths lead further.
    fn take<E: serde::de::Error>(&mut self, child: &Child, raw: &'a str) -> Result<(), E> {
        if value::says_something(raw) {
            for fill in &child.fills {
                self.slots.fill(*fill, Raw::json(raw));
                if self.stop.is_some_and(|stop| stop.slot == fill.slot && !(stop.unless)(raw)) {
                    self.slots.stopped = true;
                    return Err(E::custom("not to be read further"));
                }
            }
        }
        if let Some(node) = child.node {
            let mut deserializer = serde_json::Deserializer::from_str(raw);
            self.at(node).deserialize(&mut deserializer).map_err(E::custom)?;
        }
        Ok(())
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
                Some(Child { fills, node: Some(node), .. }) if fills.is_empty() => {
                    map.next_value_seed(self.at(*node))?;
                }
                Some(child) => {
                    let raw: &'a RawValue = map.next_value()?;
                    self.take(child, raw.get())?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut items: A) -> Result<(), A::Error> {
        if !self.node.indexed {
            let (paths, node, stop) = (self.paths, self.node, self.stop);
            while items.next_element_seed(Walk { paths, node, stop, slots: self.slots })?.is_some()
            {
            }
            return Ok(());
        }
        let mut index = 0_usize;
        while let Some(raw) = items.next_element::<&'a RawValue>()? {
            let name = index.to_string();
            let node = self.node;
            if let Some(child) = node.children.iter().find(|child| *child.name == *name) {
                self.take(child, raw.get())?;
            }
            index += 1;
        }
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

    #[test]
    fn pointers_and_dotted_paths_name_the_same_places() {
        assert_eq!(parse_path("a.b"), parse_path("/a/b"));
        assert_eq!(parse_path("/a~1b/c~0d/e.f").unwrap(), ["a/b", "c~d", "e.f"]);
        for bad in ["", "a..b", ".a", "/", "/a/"] {
            assert_eq!(parse_path(bad), Err(PathError::EmptyName), "{bad}");
        }
        assert_eq!(parse_path("/a~2"), Err(PathError::Escape));
    }

    #[test]
    fn a_path_finds_its_value_at_any_depth() {
        let found = walk(&["a.b.c"], r#"{"x":[1,{"a":2}],"a":{"b":{"c":"here","d":1}}}"#);
        assert_eq!(found, [Some("\"here\"")]);
    }

    #[test]
    fn the_earlier_path_wins_whatever_the_order_in_the_record() {
        let paths = Paths::new([(0, "first"), (0, "second")]).unwrap();
        for record in [r#"{"first":1,"second":2}"#, r#"{"second":2,"first":1}"#] {
            let mut slots = Slots::default();
            paths.walk(record, None, &mut slots).unwrap();
            assert_eq!(slots.raw(0), Some(Raw::json("1")));
        }
    }

    #[test]
    fn a_value_that_says_nothing_gives_way_to_the_next_path() {
        let paths = Paths::new([(0, "first"), (0, "second")]).unwrap();
        for nothing in ["null", "\"\"", "\"-\"", "[]"] {
            let record = format!(r#"{{"first":{nothing},"second":2}}"#);
            let mut slots = Slots::default();
            paths.walk(&record, None, &mut slots).unwrap();
            assert_eq!(slots.raw(0), Some(Raw::json("2")), "{nothing}");
        }
    }

    #[test]
    fn a_repeated_name_is_no_error_and_its_first_value_wins() {
        assert_eq!(
            walk(&["a", "b.c"], r#"{"a":1,"a":2,"b":{},"b":{"c":3}}"#),
            [Some("1"), Some("3")]
        );
    }

    #[test]
    fn lists_on_the_way_are_walked_through() {
        let record = r#"{"dns":{"query":[{"id":1},{"rrname":"a"},{"rrname":"b"}]}}"#;
        assert_eq!(walk(&["dns.query.rrname"], record), [Some("\"a\"")]);
        assert_eq!(walk(&["/dns/query/2/rrname"], record), [Some("\"b\"")]);
    }

    #[test]
    fn a_path_may_end_where_another_goes_on() {
        assert_eq!(walk(&["a", "a.b"], r#"{"a":{"b":1}}"#), [Some("{\"b\":1}"), Some("1")]);
    }

    #[test]
    fn a_scalar_in_place_of_an_object_is_no_error() {
        for scalar in ["1", "-1", "1.5", "true", "null", "\"text\"", "[[1],{}]"] {
            assert_eq!(walk(&["a.b"], &format!("{{\"a\":{scalar}}}")), [None], "{scalar}");
        }
    }

    #[test]
    fn what_stands_before_a_break_is_kept() {
        let paths = Paths::new([(0, "a"), (1, "b")]).unwrap();
        let mut slots = Slots::default();
        assert!(paths.walk(r#"{"a":1,"b":"unfini"#, None, &mut slots).is_err());
        assert_eq!((slots.raw(0), slots.raw(1)), (Some(Raw::json("1")), None));
    }

    fn walk<'a>(table: &[&str], record: &'a str) -> Vec<Option<&'a str>> {
        let slots = (0_u8..).zip(table.iter().copied());
        let paths = Paths::new(slots).unwrap();
        let mut slots = Slots::default();
        paths.walk(record, None, &mut slots).unwrap();
        (0_u8..).take(table.len()).map(|slot| slots.raw(slot).map(Raw::written)).collect()
    }
}
