//! Checks the house rules on the sources themselves.
//!
//! What the compiler, rustfmt and clippy cannot see: who may import whom, what may be named where, how long lines,
//! files and functions grow, who owns a TODO(name), whether every key family is in the schema table, what `shared`
//! depends on and what stands at the top of the workspace. The tables are in [`tables`], the rules in [`rules`].
//!
//! All complaints are shown at once, each with file, line, rule and what to do.

mod rules;
mod snapshots;
mod tables;
mod text;

use std::{fs, path::Path};

use self::{
    rules::{
        Complaints, check_exceptions, check_manifest, check_schema, check_source, check_top_level,
        spread_test_modules,
    },
    tables::CRATES,
    text::Source,
};

/// Folders with sources of others or of machines.
const SKIPPED_FOLDERS: &[&str] = &["artifacts", "corpus", "target"];

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for (package, _) in CRATES {
        read_sources(&root, package, &mut sources);
    }
    assert!(sources.len() > CRATES.len(), "the sources are found");
    spread_test_modules(&mut sources);

    let mut found = Complaints::default();
    for source in &sources {
        check_source(source, &mut found);
    }
    check_exceptions(&sources, &mut found);
    let schema = |source: &&Source| source.path.starts_with("coordinator/src/store/schema");
    check_schema(&sources.iter().filter(schema).collect::<Vec<_>>(), &mut found);
    for (package, _) in CRATES {
        check_manifest(package, &read(&root.join(package).join("Cargo.toml")), &mut found);
    }
    check_top_level(&names_in(&root), &read(&root.join(".gitignore")), &mut found);

    let lines = found.lines();
    assert!(lines.is_empty(), "{} complaints:\n{}", lines.len(), lines.join("\n"));
}

/// Reads every Rust file under `folder`, which is a path from `root`.
fn read_sources(root: &Path, folder: &str, sources: &mut Vec<Source>) {
    for name in names_in(&root.join(folder)) {
        let path = format!("{folder}/{name}");
        let full = root.join(&path);
        if full.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                read_sources(root, &path, sources);
            }
        } else if name.ends_with(".rs") {
            sources.push(Source::new(&path, &read(&full)));
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Returns the names in a folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry.expect("the folder can be read").file_name().to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    names
}
