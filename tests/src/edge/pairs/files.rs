//! Which files are two sides of one record, and what is in them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value};

use super::super::data::files;

/// The archive's files, each in a pair or alone.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each record's file with that of the same record in OCSF.
    pub(super) pairs: Vec<(PathBuf, PathBuf)>,
    /// How many of the pairs are of a `.raw` and an `.ocsf` of one name.
    pub(super) named: usize,
    pub(super) alone: Vec<PathBuf>,
}

/// Pairs each record's file with the one of its name, or the only other.
pub(super) fn find(folder: &Path) -> Result<Found> {
    let is_raw = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".raw") || name.ends_with(".event") || name == "eks.json"
    };
    let (raws, mut others): (Vec<_>, Vec<_>) = files(folder, &[])?.into_iter().partition(is_raw);
    let beside = |list: &[PathBuf], path: &Path| {
        let is_beside = |other: &&PathBuf| other.parent() == path.parent();
        list.iter().filter(is_beside).cloned().collect::<Vec<_>>()
    };
    let mut found = Found::default();
    for raw in &raws {
        let candidates = beside(&others, raw);
        let same = candidates.iter().find(|other| other.file_stem() == raw.file_stem());
        let is_only = candidates.len() == 1 && beside(&raws, raw).len() == 1;
        let Some(theirs) = same.or(candidates.first().filter(|_| is_only)) else {
            found.alone.push(raw.clone());
            continue;
        };
        let has = |path: &Path, extension| path.extension().is_some_and(|of| of == extension);
        found.named += usize::from(same.is_some() && has(raw, "raw") && has(theirs, "ocsf"));
        found.pairs.push((raw.clone(), theirs.clone()));
    }
    others.retain(|other| !found.pairs.iter().any(|(_, theirs)| theirs == other));
    found.alone.append(&mut others);
    Ok(found)
}

/// Returns the objects of a text of JSON, one behind the other or in lists; of a text that is none, nothing. Some of
/// the pairs have remarks, and commas behind their last items.
pub(super) fn objects(text: &str) -> Vec<Value> {
    let all = |text: &str| serde_json::Deserializer::from_str(text).into_iter().collect();
    let values: Result<Vec<Value>, _> = all(text);
    let Ok(values) = values.or_else(|_| all(&mended(text))) else { return Vec::new() };
    let items = values.into_iter().flat_map(|value| match value {
        Value::Array(items) => items,
        other => vec![other],
    });
    items.filter(Value::is_object).collect()
}

/// Returns the rows of a table as a shipper hands them on: objects with the header's names.
pub(super) fn rows(text: &str) -> Vec<Value> {
    let mut lines = text.lines().map(|line| line.split(',').map(str::trim));
    let Some(names) = lines.next().map(Iterator::collect::<Vec<_>>) else { return Vec::new() };
    let object = |row: Vec<&str>| {
        (row.len() == names.len()).then(|| {
            let values = names.iter().zip(row);
            values.map(|(name, value)| ((*name).to_owned(), value.into())).collect()
        })
    };
    lines.filter_map(|row| object(row.collect())).map(Value::Object).collect()
}

/// Returns the text without remarks, and without commas behind last items.
fn mended(text: &str) -> String {
    let mut is_remark = false;
    let text = kept(text, |char, rest| {
        is_remark = char != '\n' && (is_remark || rest.starts_with("//"));
        !is_remark
    });
    kept(&text, |char, rest| char != ',' || !rest[1..].trim_start().starts_with(['}', ']']))
}

/// Returns what is in quotes, and of the rest each character that `is_kept` says of, given the text from there on.
fn kept(text: &str, mut is_kept: impl FnMut(char, &str) -> bool) -> String {
    let (mut kept, mut is_quoted, mut is_escaped) =
        (String::with_capacity(text.len()), false, false);
    for (at, char) in text.char_indices() {
        if !is_quoted && !is_kept(char, &text[at..]) {
            continue;
        }
        is_quoted ^= char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        kept.push(char);
    }
    kept
}

/// Returns the text at a path, of lists that of the first item; what says nothing is absent.
pub(super) fn look_up(root: &Value, path: &str) -> Option<String> {
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
