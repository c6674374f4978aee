//! Reads the records of real detectors as an agent does, and counts what becomes of each (`make edge-check`).
//!
//! The data are others' and lie beside the project; where they are not, the check says so and ends well. Four things
//! are held: of the well-formed records that are alerts at least [`NORMALISED_MIN`] of each sample are normalised (or
//! what `tests/edge/samples.toml` says with its reason), and each that is not is counted with its reason; of what the
//! records say at least the shares in that table are read; every alert is a valid finding of OCSF; and what other
//! people have mapped to OCSF by hand (`pairs`) is what comes out here, or the difference has an explanation.
//!
//! A record is well-formed if a parser that is not the agent's says so: JSON that is an object, as many columns as the
//! header names, text in UTF-8.
#![expect(clippy::print_stdout, reason = "whoever runs the check sees what it finds")]

mod counts;
mod data;
mod pairs;
mod samples;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use shared::time::Timestamp;

use self::{counts::Counts, data::Data};
use crate::{ocsf_schema::Schema, report};

/// Share of the well-formed alerts that must be normalised.
pub const NORMALISED_MIN: f64 = 0.995;

/// Where the schema is among the data.
const SCHEMA: &str = "ocsf/ocsf-1.8.0-compiled.json.gz";

/// Returns the folder of others' data, which may not be there.
#[must_use]
pub fn data_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

/// Returns OCSF's schema, if it is at hand.
///
/// # Errors
/// Fails where it is there and cannot be read.
pub fn schema() -> Result<Option<Schema>> {
    let path = data_folder().join(SCHEMA);
    if path.is_file() { Schema::load(&path).map(Some) } else { Ok(None) }
}

/// Checks everything that is there, and writes the report; returns whether all of it holds.
///
/// # Errors
/// Data that cannot be read, or a report that cannot be written.
pub fn run() -> Result<bool> {
    let Some(data) = Data::find()? else {
        println!("skipped: {} is not there", data_folder().display());
        return Ok(true);
    };
    let schema = schema()?;
    if schema.is_none() {
        println!("skipped: {SCHEMA} is not there, so findings are not held against it");
    }
    let maps = field_maps()?;
    let mut all = Counts::default();
    let mut samples: BTreeMap<String, Value> = BTreeMap::new();
    let mut holds = true;
    for (name, counts) in samples::read(&data, &maps, schema.as_ref(), now()?)? {
        println!("{name:<24} {counts}");
        holds &= counts.problems().is_empty();
        all.add(&counts);
        samples.insert(name, counts.report());
    }
    let pairs = pairs::compare(&data, &maps, now()?)?;
    holds &= all.problems().is_empty() && pairs.as_ref().is_none_or(pairs::Pairs::holds);
    println!("{:<24} {all}", "all");
    let mut report = all.report();
    report["samples"] = json!(samples);
    if let Some(pairs) = pairs {
        println!("{pairs}");
        pairs.add_to(&mut report);
    }
    report::write("edge", &report)?;
    println!("{}", if holds { "all of it holds" } else { "NOT all of it holds" });
    Ok(holds)
}

/// Returns the field maps that come with the agent, by the name of their source.
fn field_maps() -> Result<BTreeMap<String, agent::normalise::FieldMap>> {
    #[derive(serde::Deserialize)]
    struct Shipped {
        source: Vec<Source>,
    }
    #[derive(serde::Deserialize)]
    struct Source {
        name: String,
        fields: agent::normalise::FieldMap,
    }
    let shipped: Shipped =
        toml::from_str(agent::config::FIELD_MAPS).context("read the shipped field maps")?;
    Ok(shipped.source.into_iter().map(|source| (source.name, source.fields)).collect())
}

#[expect(clippy::disallowed_methods, reason = "the check is a driver: it reads the clock once")]
fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    Ok(Timestamp::from_ms(u64::try_from(since.as_millis())?))
}
