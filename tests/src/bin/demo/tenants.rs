//! Who is watched, and which files the agents read.

use std::path::{Path, PathBuf};

use crate::{options::Options, place::Place};

/// Where the recordings lie, for each tenant in a folder of its name.
const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings");

/// A customer with one host, on which an agent runs.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) name: &'static str,
    /// Where its agent writes its state.
    pub(crate) status: PathBuf,
    /// What its agent reads.
    pub(crate) sources: Vec<Source>,
}

/// One file that an agent reads.
#[derive(Debug)]
pub(crate) struct Source {
    /// Name and kind as in an agent's configuration.
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    /// The file, an absolute path.
    pub(crate) path: PathBuf,
    /// What is written into the file while the agent reads it; the caller's own files are only read.
    pub(crate) recording: Option<PathBuf>,
}

const SURICATA: (&str, &str, &str) = ("suricata", "suricata_eve", "eve.json");
const WAZUH: (&str, &str, &str) = ("wazuh", "wazuh", "alerts.json");

/// Returns the tenants that have something to read.
pub(crate) fn choose(options: &Options, place: &Place) -> Vec<Tenant> {
    let status = |name| place.agent(name).join("status.json");
    let own = |name, (source, kind, _): (&'static str, &'static str, &str), path: &PathBuf| {
        let source = Source { name: source, kind, path: path.clone(), recording: None };
        Tenant { name, status: status(name), sources: vec![source] }
    };
    let eve = options.eve.as_ref().map(|path| own("acme", SURICATA, path));
    let wazuh = options.wazuh.as_ref().map(|path| own("globex", WAZUH, path));
    if eve.is_some() || wazuh.is_some() {
        return eve.into_iter().chain(wazuh).collect();
    }
    let recorded = |name: &'static str| {
        let source = |(source, kind, file): (&'static str, &'static str, &str)| Source {
            name: source,
            kind,
            path: place.input(name).join(file),
            recording: Some(Path::new(RECORDINGS).join(name).join(file)),
        };
        let sources = vec![source(SURICATA), source(WAZUH)];
        Tenant { name, status: status(name), sources }
    };
    vec![recorded("acme"), recorded("globex")]
}
