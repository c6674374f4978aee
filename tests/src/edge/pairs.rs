//! Compares what the agent makes of records with what people have mapped to OCSF by hand.
//!
//! Most of the pairs are events, not findings: what both have is compared, which is time, severity, action, rule,
//! title, ends of the connection, users, processes and what was asked for. A difference is told by itself where it is
//! one of form, or where their value is nowhere in the record; the others are explained in `tests/edge/pairs.toml`,
//! or they are unexplained, and the check fails.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use agent::normalise::{FieldMap, Kind, Normaliser, Outcome};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::{ocsf, time::Timestamp};

use super::data::{Data, files};

const ARCHIVE: &str = "ocsf/ocsf-examples-raw-ocsf-pairs.tar.gz";
const PRODUCTS: &str = include_str!("../../edge/pairs.toml");

/// Our attribute, and where theirs says the same; of several the first that is there.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("time", &["time"]),
    ("severity_id", &["severity_id"]),
    ("action_id", &["action_id"]),
    ("finding_info.title", &["finding_info.title", "finding.title"]),
    (
        "finding_info.analytic.uid",
        &["finding_info.analytic.uid", "firewall_rule.uid", "metadata.event_code", "api.operation"],
    ),
    ("finding_info.analytic.name", &["finding_info.analytic.name", "firewall_rule.name"]),
    ("finding_info.types", &["finding_info.types", "finding.types"]),
    ("device.hostname", &["device.hostname"]),
    ("device.ip", &["device.ip"]),
    ("evidences.src_endpoint.ip", &["evidences.src_endpoint.ip", "src_endpoint.ip"]),
    ("evidences.src_endpoint.hostname", &["src_endpoint.hostname", "src_endpoint.domain"]),
    ("evidences.src_endpoint.port", &["src_endpoint.port"]),
    ("evidences.dst_endpoint.ip", &["evidences.dst_endpoint.ip", "dst_endpoint.ip"]),
    ("evidences.dst_endpoint.hostname", &["dst_endpoint.hostname"]),
    ("evidences.dst_endpoint.port", &["dst_endpoint.port"]),
    ("evidences.connection_info.protocol_name", &["connection_info.protocol_name"]),
    ("evidences.actor.user.name", &["actor.user.name"]),
    ("evidences.actor.user.domain", &["actor.user.domain"]),
    ("evidences.actor.user.uid", &["actor.user.uid"]),
    ("evidences.user.name", &["user.name"]),
    ("evidences.user.domain", &["user.domain"]),
    ("evidences.user.uid", &["user.uid"]),
    ("evidences.process.name", &["process.name", "process.file.path"]),
    ("evidences.process.cmd_line", &["process.cmd_line"]),
    ("evidences.process.pid", &["process.pid"]),
    ("evidences.process.parent_process.pid", &["process.parent_process.pid"]),
    ("evidences.url.url_string", &["http_request.url.url_string", "url.url_string"]),
    ("evidences.url.path", &["http_request.url.path", "url.path"]),
    ("evidences.query.hostname", &["query.hostname"]),
    ("evidences.url.hostname", &["http_request.url.hostname"]),
    ("evidences.tls.sni", &["tls.sni"]),
    ("evidences.file.path", &["file.path", "malware.path"]),
    ("evidences.container.name", &["container.name"]),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Products {
    product: Vec<Product>,
    #[serde(default)]
    explained: Vec<Explained>,
}

/// How the records of the pairs whose path has `files` in it are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    files: String,
    kind: Option<String>,
    map: Option<String>,
    fields: Option<FieldMap>,
    /// Why they are not read at all.
    not_read: Option<String>,
}

/// Why the pairs whose path has `files` in it differ in an attribute.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    files: String,
    attribute: String,
    why: String,
}

/// What came of the comparison.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    total: u64,
    compared: u64,
    not_compared: BTreeMap<String, Vec<String>>,
    attributes: u64,
    equal: u64,
    differences: BTreeMap<String, u64>,
    unexplained: Vec<String>,
}

/// Compares all pairs; nothing where they are not there.
pub(super) fn compare(
    data: &Data,
    maps: &BTreeMap<String, FieldMap>,
    now: Timestamp,
) -> Result<Option<Pairs>> {
    let Some(folder) = data.unpack(ARCHIVE)? else {
        println!("skipped: {ARCHIVE} is not there");
        return Ok(None);
    };
    let products: Products = toml::from_str(PRODUCTS).context("read tests/edge/pairs.toml")?;
    let mut pairs = Pairs::default();
    for (raw, theirs) in find(&folder)? {
        pairs.total += 1;
        let name = raw.strip_prefix(&folder).unwrap_or(&raw).display().to_string();
        if let Err(why) = pairs.compare(&products, maps, &name, (&raw, &theirs), now) {
            pairs.not_compared.entry(format!("{why:#}")).or_default().push(name);
        }
    }
    Ok(Some(pairs))
}

/// Returns each record's file with that of the same record in OCSF: the one of its name, or the only other.
fn find(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let is_raw = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".raw") || name.ends_with(".event") || name == "eks.json"
    };
    let (raws, others): (Vec<_>, Vec<_>) =
        files(folder, &["raw", "event", "ocsf", "json"])?.into_iter().partition(is_raw);
    let beside = |list: &[PathBuf], path: &Path| {
        let is_beside = |other: &&PathBuf| other.parent() == path.parent();
        list.iter().filter(is_beside).cloned().collect::<Vec<_>>()
    };
    let pair = |raw: PathBuf| {
        let candidates = beside(&others, &raw);
        let same = candidates.iter().find(|other| other.file_stem() == raw.file_stem()).cloned();
        let is_only = candidates.len() == 1 && beside(&raws, &raw).len() == 1;
        let only = candidates.first().filter(|_| is_only).cloned();
        Some((raw, same.or(only)?))
    };
    Ok(raws.clone().into_iter().filter_map(pair).collect())
}

impl Pairs {
    fn compare(
        &mut self,
        products: &Products,
        maps: &BTreeMap<String, FieldMap>,
        name: &str,
        (raw, theirs): (&Path, &Path),
        now: Timestamp,
    ) -> Result<()> {
        let product = products.product.iter().find(|product| name.contains(&product.files));
        let product = product.context("no field map reads the product")?;
        if let Some(why) = &product.not_read {
            anyhow::bail!("{why}");
        }
        let theirs = first_object(&fs::read_to_string(theirs)?).context("theirs is no JSON")?;
        let text = fs::read_to_string(raw)?;
        let record = first_object(&text).map_or_else(|| text.trim().to_owned(), |v| v.to_string());
        let normaliser = Normaliser::new(product.reader(maps)?, "pairs");
        let (Outcome::Alert { alert, .. } | Outcome::Malformed { alert, .. }) =
            normaliser.normalise(record.as_bytes(), now)
        else {
            anyhow::bail!("the record is an event of another kind");
        };
        let mut ours = ocsf::finding(&alert, "pair");
        if alert.time.is_none()
            && let Some(ours) = ours.as_object_mut()
        {
            ours.remove("time");
        }
        self.compared += 1;
        for (attribute, places) in ATTRIBUTES {
            let places = places.iter().find_map(|place| look_up(&theirs, place));
            self.attribute(products, name, attribute, look_up(&ours, attribute), places, &record);
        }
        Ok(())
    }

    fn attribute(
        &mut self,
        products: &Products,
        name: &str,
        attribute: &str,
        ours: Option<String>,
        theirs: Option<String>,
        record: &str,
    ) {
        if ours.is_none() && theirs.is_none() {
            return;
        }
        self.attributes += 1;
        if ours == theirs {
            self.equal += 1;
            return;
        }
        let is_it = |explained: &&Explained| {
            name.contains(&explained.files) && explained.attribute == attribute
        };
        let known = products.explained.iter().find(is_it);
        let why = of_form(attribute, ours.as_deref(), theirs.as_deref(), record)
            .map(str::to_owned)
            .or_else(|| known.map(|explained| explained.why.clone()));
        if let Some(why) = why {
            *self.differences.entry(why).or_default() += 1;
            return;
        }
        self.unexplained.push(format!("{name}: {attribute}: ours {ours:?}, theirs {theirs:?}"));
    }

    /// Returns whether every difference has an explanation.
    pub(super) fn holds(&self) -> bool {
        self.unexplained.is_empty()
    }

    /// Adds the comparison to the check's report.
    pub(super) fn add_to(&self, report: &mut Value) {
        report["pairs_total"] = self.total.into();
        report["pairs_compared"] = self.compared.into();
        report["pairs_not_compared"] = json!(self.not_compared);
        report["pairs_attributes"] = self.attributes.into();
        report["pairs_equal"] = self.equal.into();
        report["pairs_differences"] = json!(self.differences);
        report["pairs_unexplained"] = json!(self.unexplained);
    }
}

impl Product {
    fn reader(&self, maps: &BTreeMap<String, FieldMap>) -> Result<Kind> {
        if let Some(kind) = &self.kind {
            return Kind::of_product(kind).with_context(|| format!("there is no kind {kind}"));
        }
        let shipped = self.map.as_ref().and_then(|name| maps.get(name));
        let map = shipped.or(self.fields.as_ref()).context("neither kind nor map is named")?;
        Ok(Kind::JsonLines(map.clone()))
    }
}

/// Returns why two values differ where that is to be seen without knowing the product.
fn of_form(
    attribute: &str,
    ours: Option<&str>,
    theirs: Option<&str>,
    record: &str,
) -> Option<&'static str> {
    if attribute == "evidences.url.url_string" && theirs.is_some_and(|url| url.starts_with('/')) {
        return Some("url: theirs is the path alone, which OCSF does not want there");
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return match theirs {
            None => Some("only ours: it is in the record, and their mapping leaves it out"),
            Some(theirs) => is_absent(attribute, theirs, record).then_some(NOT_IN_RECORD),
        };
    };
    if attribute == "time" {
        let [ours, theirs] = [ours, theirs].map(str::parse::<i64>);
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return None };
        return match () {
            () if ours / 1_000 == theirs => Some("time: theirs is in seconds, OCSF asks for ms"),
            () if ours / 1_000 == theirs / 1_000 => Some("time: theirs has no fraction"),
            () => None,
        };
    }
    let bare = |text: &str| text.trim().trim_end_matches(['.', '?']).to_lowercase();
    if bare(ours) == bare(theirs) {
        return Some("spelling: upper case, blanks, the last dot of a name or an empty query");
    }
    is_absent(attribute, theirs, record).then_some(NOT_IN_RECORD)
}

const NOT_IN_RECORD: &str = "theirs is nowhere in the record";

/// Returns whether their value is nowhere in the record. Of numbers with a meaning nobody can tell.
fn is_absent(attribute: &str, theirs: &str, record: &str) -> bool {
    if matches!(attribute, "time" | "severity_id" | "action_id") {
        return false;
    }
    let written = Value::from(theirs).to_string();
    !record.contains(theirs) && !record.contains(written.trim_matches('"'))
}

/// Returns the first object of a text of JSON, which may be one of a list. Some of the pairs have commas behind their
/// last items.
fn first_object(text: &str) -> Option<Value> {
    let first = |text: &str| serde_json::Deserializer::from_str(text).into_iter().next()?.ok();
    let first: Value = first(text).or_else(|| first(&without_last_commas(text)))?;
    let object = match first {
        Value::Array(items) => items.into_iter().next()?,
        other => other,
    };
    object.is_object().then_some(object)
}

fn without_last_commas(text: &str) -> String {
    let (mut kept, mut is_text, mut is_escaped) = (String::with_capacity(text.len()), false, false);
    for (at, char) in text.char_indices() {
        is_text ^= char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        let next = text[at + char.len_utf8()..].trim_start().chars().next();
        if is_text || char != ',' || !matches!(next, Some('}' | ']')) {
            kept.push(char);
        }
    }
    kept
}

/// Returns the text at a path, of lists that of the first item; what says nothing is absent.
fn look_up(root: &Value, path: &str) -> Option<String> {
    let empty = Value::Object(Map::new());
    let mut at = root;
    for name in path.split('.') {
        at = at.get(name)?;
        while let Value::Array(items) = at {
            at = items.first().unwrap_or(&empty);
        }
    }
    let text = match at {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let says_nothing = matches!(text.as_str(), "" | "-" | "''" | "N/A" | "NULL");
    let is_unknown = text == "0" && matches!(path, "severity_id" | "action_id");
    (!says_nothing && !is_unknown).then_some(text)
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, compared, attributes, equal, .. } = self;
        write!(
            f,
            "{compared} of {total} pairs compared: {equal} of {attributes} attributes are equal"
        )?;
        for (why, count) in &self.differences {
            write!(f, "\n{count:>12}  {why}")?;
        }
        for (why, names) in &self.not_compared {
            write!(f, "\n{:>12}  not compared: {why}", names.len())?;
        }
        for what in &self.unexplained {
            write!(f, "\nunexplained: {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_maps_and_explanations_can_be_read() {
        let products: Products = toml::from_str(PRODUCTS).unwrap();
        assert!(products.explained.iter().all(|explained| !explained.why.is_empty()));
    }

    #[test]
    fn differences_of_form_are_told_by_themselves() {
        let of_form = |attribute, ours, theirs| of_form(attribute, ours, theirs, r#"{"a":"b\"c"}"#);
        assert!(of_form("time", Some("1700000000123"), Some("1700000000")).is_some());
        assert!(of_form("time", Some("1700000000123"), Some("1700000000000")).is_some());
        assert_eq!(of_form("time", Some("1700000000123"), Some("1700000001000")), None);
        assert!(of_form("finding_info.title", Some("A."), Some("a")).is_some());
        assert_eq!(of_form("finding_info.title", None, Some("x")), Some(NOT_IN_RECORD));
        assert_eq!(of_form("finding_info.title", None, Some("b\"c")), None);
        assert!(of_form("finding_info.title", Some("x"), None).is_some());
        assert_eq!(of_form("severity_id", None, Some("1")), None);
    }

    #[test]
    fn a_comma_behind_the_last_item_is_overlooked() {
        let expected = json!({ "a": ",}", "b": [1] });
        assert_eq!(first_object(r#"[{ "a": ",}", "b": [1, ], }, 2]"#), Some(expected));
        assert_eq!((first_object("[1]"), first_object("x")), (None, None));
    }

    #[test]
    fn what_says_nothing_is_absent_and_lists_have_their_first_item() {
        let value = json!({ "a": [{ "b": 7 }], "c": "-", "severity_id": 0, "d": [] });
        assert_eq!(look_up(&value, "a.b").as_deref(), Some("7"));
        for path in ["c", "severity_id", "d", "d.e", "a", "x.y"] {
            assert_eq!(look_up(&value, path), None, "{path}");
        }
    }
}
