//! JSON lines of any product: a field map in the configuration says where its values stand.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::alert::{Action, Alert, Field, Severity};
use thiserror::Error;

use super::{
    Notes,
    paths::{PathError, Paths, Slots},
    slots, value,
};
use crate::limits::FIELD_MAP_PATHS_MAX;

/// Keys of a field map that are no texts, as OCSF names them, and their slots.
const KEYS: [(&str, u8); 5] = [
    ("time", slots::TIME),
    ("severity_id", slots::SEVERITY),
    ("action_id", slots::ACTION),
    ("evidences.src_endpoint.port", slots::SRC_PORT),
    ("evidences.dst_endpoint.port", slots::DST_PORT),
];

/// Where the values of a product's JSON lines stand; holding one means that it is usable.
///
/// ```toml
/// product = "acme-ids"
/// # OCSF attribute = path, or list of paths of which the first that has a value wins. A path is
/// # dotted (`a.b`) or a JSON pointer (`/a/b.c`, for names with dots in them).
/// paths = { time = "ts", severity_id = "level", "finding_info.title" = ["msg", "title"] }
/// # The product's words for severities and actions; without them OCSF's own numbers and names are
/// # understood.
/// severities = { warning = "low", "9" = "critical" }
/// actions = { quarantined = "denied" }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawFieldMap")]
pub struct FieldMap {
    product: String,
    table: Vec<(u8, String)>,
    severities: BTreeMap<String, Severity>,
    actions: BTreeMap<String, Action>,
}

/// Why a field map is not usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldMapError {
    /// The product has no name.
    #[error("field map's `product` is empty")]
    NoProduct,
    /// No value is named at all.
    #[error("field map's `paths` are empty")]
    NoPaths,
    /// There are too many paths.
    #[error("field map has {0} paths, at most {FIELD_MAP_PATHS_MAX} are allowed")]
    TooManyPaths(usize),
    /// A key is no attribute that an alert has.
    #[error("field map's key `{0}` is not an attribute of an alert")]
    UnknownKey(String),
    /// A path cannot be followed.
    #[error("field map's `{key}` is `{path}`: {error}")]
    Path {
        /// The attribute.
        key: String,
        /// The path as written.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFieldMap {
    product: String,
    paths: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    severities: BTreeMap<String, Severity>,
    #[serde(default)]
    actions: BTreeMap<String, Action>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TryFrom<RawFieldMap> for FieldMap {
    type Error = FieldMapError;

    fn try_from(raw: RawFieldMap) -> Result<Self, FieldMapError> {
        let paths = raw.paths.into_iter().flat_map(|(key, paths)| {
            let paths = match paths {
                OneOrMore::One(path) => vec![path],
                OneOrMore::More(paths) => paths,
            };
            paths.into_iter().map(move |path| (key.clone(), path))
        });
        let map = Self::new(raw.product, paths)?;
        let severities = lower_case(raw.severities);
        Ok(Self { severities, actions: lower_case(raw.actions), ..map })
    }
}

fn lower_case<T>(words: BTreeMap<String, T>) -> BTreeMap<String, T> {
    words.into_iter().map(|(word, meaning)| (word.to_lowercase(), meaning)).collect()
}

fn slot(key: &str) -> Option<u8> {
    let other = || KEYS.into_iter().find(|(name, _)| *name == key).map(|(_, slot)| slot);
    // The log's name is the source's, whatever a record says.
    let field = Field::from_ocsf_path(key).filter(|field| *field != Field::LogName);
    field.map(slots::of).or_else(other)
}

impl FieldMap {
    /// Returns the map of these pairs of attribute and path; of several paths of one attribute the
    /// first that has a value wins. Severities and actions are read as OCSF's.
    ///
    /// # Errors
    /// Says what is not usable.
    pub fn new(
        product: impl Into<String>,
        paths: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, FieldMapError> {
        let product = product.into();
        if product.is_empty() {
            return Err(FieldMapError::NoProduct);
        }
        let mut table = Vec::new();
        for (key, path) in paths {
            let Some(slot) = slot(&key) else { return Err(FieldMapError::UnknownKey(key)) };
            if let Err(error) = super::paths::parse_path(&path) {
                return Err(FieldMapError::Path { key, path, error });
            }
            table.push((slot, path));
        }
        match table.len() {
            0 => Err(FieldMapError::NoPaths),
            count if count > FIELD_MAP_PATHS_MAX => Err(FieldMapError::TooManyPaths(count)),
            _ => Ok(Self { product, table, severities: BTreeMap::new(), actions: BTreeMap::new() }),
        }
    }

    /// Returns the product's name, unless a record names another.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    pub(super) fn paths(&self) -> Paths {
        let table = self.table.iter().map(|(slot, path)| (*slot, path.as_str()));
        Paths::new(table).expect("paths were checked when the map was made")
    }

    /// Sets what is the product's own language.
    pub(super) fn finish(&self, alert: &mut Alert<'_>, found: &Slots<'_>, notes: &mut Notes) {
        if let Some(word) = found.raw(slots::SEVERITY).and_then(value::text) {
            let mapped = self.severities.get(&word.to_lowercase()).copied();
            let severity = mapped.or_else(|| slots::ocsf_severity(&word));
            if severity.is_none() {
                notes.add(Notes::SEVERITY_UNKNOWN);
            }
            alert.severity = severity.unwrap_or_default();
        }
        if let Some(word) = found.raw(slots::ACTION).and_then(value::text) {
            let by_id = || word.parse().map_or(slots::action(&word), Action::from_id);
            alert.action = self.actions.get(&word.to_lowercase()).copied().unwrap_or_else(by_id);
        }
        if found.is_empty() {
            notes.add(Notes::NOTHING_MAPPED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_map_is_read_from_toml() {
        let map: FieldMap = toml::from_str(
            r#"
            product = "acme-ids"
            paths = { time = "ts", "finding_info.title" = ["msg", "/a/b.c"] }
            severities = { warning = "low" }
            actions = { quarantined = "denied" }
            "#,
        )
        .unwrap();
        assert_eq!(map.product(), "acme-ids");
        assert_eq!(map.table.len(), 3);
    }

    #[test]
    fn an_unusable_map_is_refused_with_its_reason() {
        for (text, reason) in [
            ("product = ''\npaths = { time = 'ts' }", "`product` is empty"),
            ("product = 'p'\npaths = {}", "`paths` are empty"),
            ("product = 'p'\npaths = { tiem = 'ts' }", "`tiem` is not an attribute"),
            ("product = 'p'\npaths = { 'metadata.log_name' = 'l' }", "is not an attribute"),
            ("product = 'p'\npaths = { time = 'a..b' }", "`a..b`: path has an empty name"),
            ("product = 'p'\npaths = { time = '/a~' }", "neither 0 nor 1"),
            ("product = 'p'\npaths = { time = 'a' }\npath = 1", "unknown field `path`"),
        ] {
            let error = toml::from_str::<FieldMap>(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let many = vec!["'a'"; FIELD_MAP_PATHS_MAX + 1].join(",");
        let error = toml::from_str::<FieldMap>(&format!("product='p'\npaths={{time=[{many}]}}"));
        assert!(error.unwrap_err().to_string().contains("at most 128"));
    }
}
