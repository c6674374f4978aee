//! The house rules, each a function from sources to complaints.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    tables::{
        AGENT, CODE_COLUMNS_MAX, COMMENT_COLUMNS_MAX, COORDINATOR, CRATES, FILE_LINES_MAX,
        FUNCTION_LINES_MAX, ImportTable, LONG_FUNCTIONS, May, NOWHERE, ONLY_HERE, ONLY_IN_TESTS,
        SHARED_DEPENDENCIES, TOP_LEVEL,
    },
    text::{NamedPath, Source},
};

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    path: String,
    /// From 1.
    line: usize,
    rule: &'static str,
    /// What is wrong, and after a semicolon what to do.
    text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.text)
    }
}

/// What the rules found, sorted by place and without repetitions.
#[derive(Default)]
pub(crate) struct Complaints(BTreeSet<Complaint>);

impl Complaints {
    /// Adds a complaint about a line (from 0).
    fn add(&mut self, path: &str, line: usize, rule: &'static str, text: String) {
        self.0.insert(Complaint { path: path.to_owned(), line: line + 1, rule, text });
    }

    /// Returns one line of text for each complaint.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(Complaint::to_string).collect()
    }
}

/// Runs every rule that looks at one Rust file.
pub(crate) fn check_source(source: &Source, found: &mut Complaints) {
    let paths = source.named_paths();
    check_imports(source, &paths, found);
    check_only_here(source, &paths, found);
    check_nowhere(source, &paths, found);
    check_columns(source, found);
    check_lengths(source, found);
    check_todos(source, found);
    check_file_name(source, found);
}

fn import_table(package: &str) -> Option<ImportTable> {
    match package {
        "agent" => Some(AGENT),
        "coordinator" => Some(COORDINATOR),
        _ => None,
    }
}

fn check_imports(source: &Source, paths: &[NamedPath], found: &mut Complaints) {
    let Some(table) = import_table(source.package()) else { return };
    let importer = importer(source);
    let Some((_, may)) = table.iter().find(|(module, _)| *module == importer) else {
        let text = format!("module `{importer}` is in no table; add it in tidy/tables.rs");
        found.add(&source.path, 0, "imports", text);
        return;
    };
    let May::Import(allowed) = may else { return };
    for path in paths.iter().filter(|path| !source.is_test(path.line)) {
        let Some(imported) = imported(source, path) else { continue };
        let is_free = [importer, "limits", "shared"].contains(&imported);
        if !is_free && !allowed.contains(&imported) {
            let text = format!(
                "`{importer}` may not import `{imported}`, only shared, limits{}; \
                 let the caller pass the value, or move it to where both may look",
                allowed.iter().map(|name| format!(", {name}")).collect::<String>(),
            );
            found.add(&source.path, path.line, "imports", text);
        }
    }
}

/// Returns the row of the import table that a file stands in.
fn importer(source: &Source) -> &str {
    match source.module().first() {
        Some(module) => module,
        None if source.path.contains("/src/bin/") => "bin",
        None if source.path.ends_with("/main.rs") => "main",
        None => "lib",
    }
}

/// Returns the crate of the workspace or the module of this crate that a path leads to, if it leads to one.
fn imported<'a>(source: &'a Source, path: &'a NamedPath) -> Option<&'a str> {
    let first = path.names.first()?.as_str();
    let rest = path.names.get(1).map(String::as_str);
    // A binary is a crate of its own: only what it names of the library is an import.
    let is_binary = source.path.contains("/src/bin/");
    if is_binary && matches!(first, "crate" | "self" | "super") {
        return None;
    }
    if first == "crate" || first == source.package() {
        return rest.filter(|module| *module != "self" && *module != "*");
    }
    if matches!(first, "self" | "super") {
        let mut at: Vec<&str> = source.module();
        at.extend(path.inside.iter().map(String::as_str));
        let ups = path.names.iter().take_while(|name| *name == "self" || *name == "super");
        for up in ups.clone() {
            if up == "super" {
                at.pop();
            }
        }
        at.extend(path.names.iter().skip(ups.count()).map(String::as_str));
        return at.first().copied().filter(|module| *module != "*");
    }
    CRATES.iter().map(|(name, _)| *name).find(|name| *name == first)
}

fn check_only_here(source: &Source, paths: &[NamedPath], found: &mut Complaints) {
    if source.package() == "tests" {
        return;
    }
    for rule in ONLY_HERE {
        let here = rule.here.concat();
        if here.iter().any(|here| stands_in(&source.path, here)) {
            continue;
        }
        for path in paths {
            let is_named = rule.names.iter().any(|pattern| matches_path(pattern, &path.names));
            if is_named && !(rule.free_in_tests && source.is_test(path.line)) {
                let text = format!(
                    "`{}` may be named only in {}; {}",
                    path.names.join("::"),
                    here.join(", "),
                    rule.instead,
                );
                found.add(&source.path, path.line, "only-here", text);
            }
        }
    }
}

fn stands_in(path: &str, here: &str) -> bool {
    match here.strip_prefix("*/") {
        Some(inner) => path.split_once('/').is_some_and(|(_, rest)| rest.starts_with(inner)),
        None => path.starts_with(here),
    }
}

/// Says whether a path is meant by a pattern as in [`super::tables::OnlyHere`].
fn matches_path(pattern: &str, names: &[String]) -> bool {
    let is_anywhere = pattern.starts_with("*::");
    let wanted: Vec<&str> = pattern.trim_start_matches("*::").split("::").collect();
    let matches_at = |window: &[String]| {
        window.iter().zip(&wanted).all(|(name, wanted)| match wanted.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == wanted,
        })
    };
    let mut windows = names.windows(wanted.len());
    if is_anywhere { windows.any(matches_at) } else { windows.next().is_some_and(matches_at) }
}

fn check_nowhere(source: &Source, paths: &[NamedPath], found: &mut Complaints) {
    for token in source.tokens.iter().filter(|token| token.text == "unsafe") {
        let text =
            "`unsafe` is named nowhere; find the safe way, or the crate that has it".to_owned();
        found.add(&source.path, token.line, "nowhere", text);
    }
    for path in paths {
        let is_test = source.package() == "tests" || source.is_test(path.line);
        let bans = NOWHERE.iter().chain(if is_test { &[][..] } else { ONLY_IN_TESTS });
        for (pattern, instead) in bans {
            if matches_path(pattern, &path.names) {
                let text = format!("`{}` is named nowhere; {instead}", path.names.join("::"));
                found.add(&source.path, path.line, "nowhere", text);
            }
        }
    }
}

fn check_columns(source: &Source, found: &mut Complaints) {
    for (at, line) in source.lines.iter().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        let max = if is_comment { COMMENT_COLUMNS_MAX } else { CODE_COLUMNS_MAX };
        let columns = line.chars().count();
        if columns > max {
            let text = format!("{columns} columns, at most {max}; break the line");
            found.add(&source.path, at, "columns", text);
        }
    }
}

fn check_lengths(source: &Source, found: &mut Complaints) {
    let count = (0..source.lines.len()).filter(|line| !source.is_test(*line)).count();
    if count > FILE_LINES_MAX {
        let text = format!(
            "{count} lines without tests, at most {FILE_LINES_MAX}; split it, one concept a file"
        );
        found.add(&source.path, 0, "file-length", text);
    }
    for function in source.functions() {
        let count = function.last_line - function.first_line + 1;
        let is_known = LONG_FUNCTIONS
            .iter()
            .any(|(path, name, _)| *path == source.path && *name == function.name);
        if count > FUNCTION_LINES_MAX && !is_known {
            let text = format!(
                "`{}` has {count} lines, at most {FUNCTION_LINES_MAX}; \
                 take a step out of it, or give the reason in tidy/tables.rs",
                function.name,
            );
            found.add(&source.path, function.first_line, "function-length", text);
        }
    }
}

fn check_todos(source: &Source, found: &mut Complaints) {
    for (at, comment) in source.comments.iter().enumerate() {
        for (start, word) in comment.match_indices("TODO") {
            let rest = &comment[start + word.len()..];
            let has_owner = rest.strip_prefix('(').and_then(|rest| rest.find(')')) > Some(0);
            if !has_owner {
                let text = "nobody owns this; write TODO(name), or do it".to_owned();
                found.add(&source.path, at, "todo-owner", text);
            }
        }
    }
}

fn check_file_name(source: &Source, found: &mut Complaints) {
    if source.path.ends_with("/mod.rs") {
        let text = "a module's file is named for it; use foo.rs with foo/".to_owned();
        found.add(&source.path, 0, "mod-file", text);
    }
}

/// Checks that each exception in the tables is still needed.
pub(crate) fn check_exceptions(sources: &[Source], found: &mut Complaints) {
    for (path, name, _) in LONG_FUNCTIONS {
        let is_needed =
            sources.iter().filter(|source| source.path == *path).flat_map(Source::functions).any(
                |function| {
                    function.name == *name
                        && function.last_line - function.first_line + 1 > FUNCTION_LINES_MAX
                },
            );
        if !is_needed {
            let text = format!("`{name}` is no longer too long; remove its exception");
            found.add(path, 0, "function-length", text);
        }
    }
}

/// Checks that every key family (`struct SomethingKey`) of the schema's files is named in the table of the module doc
/// of the first of them.
pub(crate) fn check_schema(files: &[&Source], found: &mut Complaints) {
    let schema = files.iter().min_by_key(|file| file.path.len());
    let comments = schema.map(|schema| schema.comments.as_slice()).unwrap_or_default();
    let table: Vec<&str> =
        comments.iter().filter_map(|line| line.trim_start().strip_prefix("//!")).collect();
    for file in files {
        for pair in file.tokens.windows(2) {
            let name = &pair[1].text;
            let is_key = pair[0].text == "struct" && name.ends_with("Key");
            let is_word_of =
                |line: &&str| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == name);
            if is_key && !file.is_test(pair[1].line) && !table.iter().any(is_word_of) {
                let text = format!("key family `{name}` is not in the schema table; add its row");
                found.add(&file.path, pair[1].line, "schema", text);
            }
        }
    }
}

/// Checks what a crate's `Cargo.toml` lets it depend on outside its tests.
pub(crate) fn check_manifest(package: &str, manifest: &str, found: &mut Complaints) {
    let path = format!("{package}/Cargo.toml");
    let allowed = CRATES.iter().find(|(name, _)| *name == package).map_or(&[][..], |(_, may)| may);
    let mut section = String::new();
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.to_owned();
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let is_dependency = section.ends_with("dependencies]") && section != "[dev-dependencies]";
        if !is_dependency || name.is_empty() || name.starts_with('#') {
            continue;
        }
        if CRATES.iter().any(|(member, _)| *member == name) && !allowed.contains(&name) {
            let text = format!("`{package}` may not depend on `{name}`; see tidy/tables.rs");
            found.add(&path, at, "crate-dependencies", text);
        }
        if package == "shared" && !SHARED_DEPENDENCIES.contains(&name) {
            let text = format!(
                "`shared` stays pure, so it may not depend on `{name}`; \
                 take what it gives as an argument"
            );
            found.add(&path, at, "shared-dependencies", text);
        }
    }
}

/// Checks the names at the top of the workspace against the list; `ignored` is the text of `.gitignore`.
pub(crate) fn check_top_level(names: &[String], ignored: &str, found: &mut Complaints) {
    let is_ignored =
        |name: &str| name == ".git" || ignored.lines().any(|line| line.trim_matches('/') == name);
    for name in names {
        if !TOP_LEVEL.contains(&name.as_str()) && !is_ignored(name) {
            let text =
                "does not belong at the top; move it into a crate, or add it to tidy/tables.rs";
            found.add(name, 0, "top-level", text.to_owned());
        }
    }
    for wanted in TOP_LEVEL {
        if !names.iter().any(|name| name == wanted) {
            found.add(wanted, 0, "top-level", "is missing; write it".to_owned());
        }
    }
}

/// Makes test code of the files that other files include as such.
pub(crate) fn spread_test_modules(sources: &mut [Source]) {
    let modules: BTreeMap<String, String> = sources
        .iter()
        .flat_map(|source| &source.test_modules)
        .map(|module| (format!("{module}.rs"), format!("{module}/")))
        .collect();
    for source in sources {
        let is_test = modules
            .iter()
            .any(|(file, folder)| source.path == *file || source.path.starts_with(folder));
        if is_test {
            source.mark_all_as_test();
        }
    }
}
