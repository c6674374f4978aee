//! Compares what the agent makes of records with what people have mapped to OCSF by hand.
//!
//! Most of the pairs are events, not findings: what both have is compared, which is time, severity, action, rule,
//! title, ends of the connection, users, processes and what was asked for. A difference is told by itself where it is
//! one of form, or where their value is nowhere in the record; the others are explained in `tests/edge/pairs.toml`,
//! or they are unexplained, and the check fails.
//!
//! Every file of the archive is accounted for: it is compared, or the table says by its name why it is not. The 63
//! pairs that the data's README counts are those of a `.raw` and an `.ocsf` of one name; the others have other names.
//! The check fails too where a pair has fewer equal attributes than its product should, and where an entry of the
//! table is of nothing that is still there.

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use agent::normalise::{FieldMap, Kind, Normaliser, Outcome as Read};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::{ocsf, time::Timestamp};

use self::files::{find, look_up, objects, rows};
use super::data::Data;

const ARCHIVE: &str = "ocsf/ocsf-examples-raw-ocsf-pairs.tar.gz";
const TABLE: &str = include_str!("../../edge/pairs.toml");

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
struct Table {
    expected: Expected,
    product: Vec<Product>,
    #[serde(default)]
    alone: Vec<Alone>,
    #[serde(default)]
    explained: Vec<Explained>,
}

/// How much of the archive there must be: less is a pair that was lost, more is one that nobody has looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// Pairs of a `.raw` and an `.ocsf` of one name: those that the data's README counts.
    named: usize,
    /// Pairs of other names: `.event` or `.raw` beside `.json`.
    others: usize,
    compared: usize,
}

/// How the records of the pairs whose path has `files` in it are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    files: String,
    kind: Option<String>,
    map: Option<String>,
    fields: Option<FieldMap>,
    /// The record is a row under a header, of which a shipper makes an object.
    #[serde(default)]
    is_table: bool,
    /// How many attributes of each pair must be there on both sides and equal.
    equal_min: Option<u64>,
    /// Why they are not read at all.
    not_read: Option<String>,
}

/// Why a file has no other side.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alone {
    file: String,
    why: String,
}

/// Why the pairs whose path has `files` in it differ in an attribute.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    files: String,
    attribute: String,
    why: String,
}

/// What came of one pair.
#[derive(Debug)]
enum Outcome {
    Compared(Compared),
    /// For a reason that the table has by the pair's name.
    NotCompared(String),
    /// For a reason that it does not have.
    Unaccounted(String),
}

#[derive(Debug, Default)]
struct Compared {
    records: u64,
    attributes: u64,
    equal: u64,
    differences: Vec<Difference>,
}

#[derive(Debug)]
struct Difference {
    attribute: &'static str,
    ours: Option<String>,
    theirs: Option<String>,
    /// Nobody has explained it where there is nothing.
    why: Option<String>,
}

/// What came of the comparison.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    named: usize,
    each: BTreeMap<String, Outcome>,
    /// Files without another side, with the reason.
    alone: BTreeMap<String, String>,
    /// Why the comparison does not hold, without the differences that nobody explained.
    problems: Vec<String>,
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
    let table: Table = toml::from_str(TABLE).context("read tests/edge/pairs.toml")?;
    compare_folder(&folder, &table, maps, now).map(Some)
}

fn compare_folder(
    folder: &Path,
    table: &Table,
    maps: &BTreeMap<String, FieldMap>,
    now: Timestamp,
) -> Result<Pairs> {
    let found = find(folder)?;
    let mut pairs = Pairs { named: found.named, ..Pairs::default() };
    let mut used = Used::default();
    let name_of = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    for (raw, theirs) in found.pairs {
        let name = name_of(&raw);
        let outcome = compare_one(table, &mut used, maps, &name, (&raw, &theirs), now)
            .unwrap_or_else(|error| Outcome::Unaccounted(format!("{error:#}")));
        pairs.each.insert(name, outcome);
    }
    for path in found.alone {
        let name = name_of(&path);
        match table.alone.iter().position(|alone| alone.file == name) {
            Some(at) => {
                used.insert(("alone", at));
                pairs.alone.insert(name, table.alone[at].why.clone());
            }
            None => pairs.problems.push(format!("{name}: has no other side, and nobody says why")),
        }
    }
    pairs.judge(table, &used);
    Ok(pairs)
}

/// The entries of the table that something came of, by list and position.
type Used = BTreeSet<(&'static str, usize)>;

fn compare_one(
    table: &Table,
    used: &mut Used,
    maps: &BTreeMap<String, FieldMap>,
    name: &str,
    (raw, theirs): (&Path, &Path),
    now: Timestamp,
) -> Result<Outcome> {
    let at = table.product.iter().position(|product| name.contains(&product.files));
    let at = at.context("nothing says how the product is read")?;
    used.insert(("product", at));
    let product = &table.product[at];
    if let Some(why) = &product.not_read {
        return Ok(Outcome::NotCompared(why.clone()));
    }
    let equal_min = product.equal_min.context("nothing says how much must be equal")?;
    let normaliser = Normaliser::new(product.reader(maps)?, "pairs");
    let text = fs::read_to_string(raw)?;
    let records = if product.is_table { rows(&text) } else { objects(&text) };
    let mut records: Vec<_> = records.iter().map(Value::to_string).collect();
    if records.is_empty() {
        records.push(text.trim().to_owned());
    }
    let theirs = objects(&fs::read_to_string(theirs)?);
    ensure!(!theirs.is_empty(), "theirs is no JSON");
    ensure!(theirs.len() == records.len(), "one side has more records than the other");
    let mut compared = Compared::default();
    for (record, theirs) in records.iter().zip(&theirs) {
        let ours = read(&normaliser, record, now)?;
        compared.take(table, used, name, record, &ours, theirs);
    }
    let equal = compared.equal;
    ensure!(equal >= equal_min, "{equal} attributes are equal: at least {equal_min} should be");
    Ok(Outcome::Compared(compared))
}

/// Returns what the agent makes of a record.
fn read(normaliser: &Normaliser, record: &str, now: Timestamp) -> Result<Value> {
    let (Read::Alert { alert, .. } | Read::Malformed { alert, .. }) =
        normaliser.normalise(record.as_bytes(), now)
    else {
        bail!("the record is an event of another kind");
    };
    let mut ours = ocsf::finding(&alert, "pair");
    if alert.time.is_none()
        && let Some(ours) = ours.as_object_mut()
    {
        ours.remove("time");
    }
    Ok(ours)
}

impl Compared {
    fn take(
        &mut self,
        table: &Table,
        used: &mut Used,
        name: &str,
        record: &str,
        ours: &Value,
        theirs: &Value,
    ) {
        self.records += 1;
        for (attribute, places) in ATTRIBUTES {
            let theirs = places.iter().find_map(|place| look_up(theirs, place));
            let ours = look_up(ours, attribute);
            if ours.is_none() && theirs.is_none() {
                continue;
            }
            self.attributes += 1;
            if ours == theirs {
                self.equal += 1;
                continue;
            }
            let of_form = of_form(attribute, ours.as_deref(), theirs.as_deref(), record);
            let why = of_form.map(str::to_owned).or_else(|| {
                let at = table.explained.iter().position(|explained| {
                    name.contains(&explained.files) && explained.attribute == *attribute
                })?;
                used.insert(("explained", at));
                Some(table.explained[at].why.clone())
            });
            self.differences.push(Difference { attribute, ours, theirs, why });
        }
    }
}

impl Pairs {
    /// Finds out why the comparison does not hold: what was found is not what there must be, a pair is not accounted
    /// for, or an entry of the table is of nothing that is still there.
    fn judge(&mut self, table: &Table, used: &Used) {
        let Expected { named, others, compared } = table.expected;
        let of_others = self.each.len() - self.named;
        for (what, found, expected) in [
            ("pairs of a .raw and an .ocsf of one name found", self.named, named),
            ("other pairs found", of_others, others),
            ("pairs compared", self.compared().count(), compared),
        ] {
            if found != expected {
                self.problems.push(format!("{found} {what}: {expected} should be"));
            }
        }
        for (name, outcome) in &self.each {
            if let Outcome::Unaccounted(why) = outcome {
                self.problems.push(format!("{name}: {why}"));
            }
        }
        let products = table.product.iter().map(|product| product.files.clone());
        let alone = table.alone.iter().map(|alone| alone.file.clone());
        let explained = table.explained.iter();
        let explained = explained.map(|of| format!("{} of {}", of.attribute, of.files));
        for (list, entries) in [
            ("product", products.collect::<Vec<_>>()),
            ("alone", alone.collect()),
            ("explained", explained.collect()),
        ] {
            for (at, entry) in entries.iter().enumerate() {
                if !used.contains(&(list, at)) {
                    self.problems
                        .push(format!("[[{list}]] {entry}: nothing is left that it is of"));
                }
            }
        }
    }

    fn compared(&self) -> impl Iterator<Item = (&String, &Compared)> {
        self.each.iter().filter_map(|(name, outcome)| match outcome {
            Outcome::Compared(compared) => Some((name, compared)),
            Outcome::NotCompared(_) | Outcome::Unaccounted(_) => None,
        })
    }

    fn sum(&self, of: impl Fn(&Compared) -> u64) -> u64 {
        self.compared().map(|(_, compared)| of(compared)).sum()
    }

    /// Returns how often each explanation was needed, and the differences that have none.
    fn differences(&self) -> (BTreeMap<&str, u64>, Vec<String>) {
        let (mut explained, mut unexplained) = (BTreeMap::new(), Vec::new());
        for (name, compared) in self.compared() {
            for Difference { attribute, ours, theirs, why } in &compared.differences {
                match why {
                    Some(why) => *explained.entry(why.as_str()).or_default() += 1,
                    None => unexplained
                        .push(format!("{name}: {attribute}: ours {ours:?}, theirs {theirs:?}")),
                }
            }
        }
        (explained, unexplained)
    }

    /// Returns the pairs that the table says why they are not compared, by reason.
    fn not_compared(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, outcome) in &self.each {
            if let Outcome::NotCompared(why) = outcome {
                by_reason.entry(why).or_default().push(name);
            }
        }
        by_reason
    }

    /// Returns whether every pair is accounted for, enough of each was compared, and every difference has an
    /// explanation that is still of something.
    pub(super) fn holds(&self) -> bool {
        self.problems.is_empty() && self.differences().1.is_empty()
    }

    /// Adds the comparison to the check's report.
    pub(super) fn add_to(&self, report: &mut Value) {
        let (explained, unexplained) = self.differences();
        report["pairs_total"] = self.each.len().into();
        report["pairs_named"] = self.named.into();
        report["pairs_compared"] = self.compared().count().into();
        report["pairs_not_compared"] = json!(self.not_compared());
        report["pairs_files_alone"] = json!(self.alone);
        report["pairs_attributes"] = self.sum(|of| of.attributes).into();
        report["pairs_equal"] = self.sum(|of| of.equal).into();
        report["pairs_differences"] = json!(explained);
        report["pairs_unexplained"] = json!(unexplained);
        report["pairs_problems"] = json!(self.problems);
        let each = self.each.iter().map(|(name, outcome)| (name.clone(), outcome.report()));
        report["pairs"] = Value::Object(each.collect());
    }
}

impl Outcome {
    fn report(&self) -> Value {
        match self {
            Self::NotCompared(why) => json!({ "not_compared": why }),
            Self::Unaccounted(why) => json!({ "unaccounted": why }),
            Self::Compared(Compared { records, attributes, equal, differences }) => {
                let why = differences.iter().map(|of| (of.attribute.to_owned(), json!(of.why)));
                let why: Map<_, _> = why.collect();
                json!({
                    "records": records, "attributes": attributes, "equal": equal,
                    "differences": why,
                })
            }
        }
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
            None if is_number_of_meaning(attribute) => Some(ONLY_OURS),
            None => ours.is_some_and(|ours| is_in(ours, record)).then_some(ONLY_OURS),
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
const ONLY_OURS: &str = "only ours: it is in the record, and their mapping leaves it out";

/// Returns whether the attribute is a number with a meaning, which nobody can look for in the record.
fn is_number_of_meaning(attribute: &str) -> bool {
    matches!(attribute, "time" | "severity_id" | "action_id")
}

fn is_absent(attribute: &str, theirs: &str, record: &str) -> bool {
    !is_number_of_meaning(attribute) && !is_in(theirs, record)
}

/// Returns whether a value stands in the record, as it is or as JSON writes it.
fn is_in(value: &str, record: &str) -> bool {
    let written = Value::from(value).to_string();
    record.contains(value) || record.contains(written.trim_matches('"'))
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (compared, total, named) = (self.compared().count(), self.each.len(), self.named);
        let (equal, all) = (self.sum(|of| of.equal), self.sum(|of| of.attributes));
        write!(
            f,
            "{compared} of {total} pairs compared ({named} are of a .raw and an .ocsf of one \
             name): {equal} of {all} attributes are equal"
        )?;
        let (explained, unexplained) = self.differences();
        for (why, count) in explained {
            write!(f, "\n{count:>12}  {why}")?;
        }
        for (why, names) in self.not_compared() {
            write!(f, "\n{:>12}  not compared: {why}", names.len())?;
        }
        for (name, why) in &self.alone {
            write!(f, "\n{:>12}  without another side: {name}: {why}", 1)?;
        }
        for what in unexplained {
            write!(f, "\nunexplained: {what}")?;
        }
        for what in &self.problems {
            write!(f, "\nproblem: {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
