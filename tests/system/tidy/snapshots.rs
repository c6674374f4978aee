//! The rules' own tests: a bad snippet, and the complaint it must give.

use super::{
    rules::{
        Complaints, check_manifest, check_schema, check_source, check_top_level,
        spread_test_modules,
    },
    tables::TOP_LEVEL,
    text::Source,
};

/// Returns what the rules for one file say about `text` at `path`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Complaints::default();
    check_source(&Source::new(path, text), &mut found);
    found.lines()
}

/// Asserts that there is one complaint, and that it begins so.
#[track_caller]
fn assert_complaint(path: &str, text: &str, beginning: &str) {
    let found = complaints(path, text);
    assert!(found.len() == 1 && found[0].starts_with(beginning), "{beginning:?} is not {found:#?}");
}

#[test]
fn a_pure_module_that_imports_a_driver_is_named_with_its_line() {
    assert_eq!(
        complaints("agent/src/filter/sigma.rs", "use std::fmt;\n\nuse crate::uplink::Link;\n"),
        ["agent/src/filter/sigma.rs:3: [imports] `filter` may not import `uplink`, \
             only shared, limits, fold; \
          let the caller pass the value, or move it to where both may look"],
    );
}

#[test]
fn an_import_is_seen_in_a_group_in_an_expression_and_through_super() {
    let rule = "[imports] `ingest` may not import `api`";
    let path = "coordinator/src/ingest/session.rs";
    for (text, line) in [
        ("use crate::{\n    api::{Feed, Page},\n    store::Reader,\n};\n", 2),
        ("fn f() {\n    let page = crate::api::Page::new();\n}\n", 2),
        ("use super::super::api;\n", 1),
        ("mod inner {\n    use super::super::super::api::Page;\n}\n", 2),
    ] {
        assert_complaint(path, text, &format!("{path}:{line}: {rule}"));
    }
}

#[test]
fn allowed_imports_give_no_complaint() {
    let text = "use shared::ids::Seq;\nuse super::link;\n\
                use crate::{limits, spool::Spool, tls, uplink::Link};\n";
    assert_eq!(complaints("agent/src/uplink/drive.rs", text), [""; 0]);
    assert_eq!(complaints("agent/src/app.rs", "use crate::{filter, uplink};\n"), [""; 0]);
    assert_eq!(complaints("agent/src/main.rs", "use agent::{app, args, config};\n"), [""; 0]);
}

#[test]
fn main_may_not_reach_past_app() {
    assert_complaint(
        "agent/src/main.rs",
        "use agent::spool::Spool;\n",
        "agent/src/main.rs:1: [imports] `main` may not import `spool`",
    );
}

#[test]
fn a_module_outside_the_table_must_be_added() {
    assert_complaint(
        "agent/src/misc.rs",
        "",
        "agent/src/misc.rs:1: [imports] module `misc` is in no table; add it",
    );
}

#[test]
fn test_code_may_import_what_it_likes() {
    let text = "#[cfg(test)]\nmod tests {\n    use crate::uplink::Link;\n    use tokio::time;\n}\n";
    assert_eq!(complaints("agent/src/filter.rs", text), [""; 0]);
    assert_eq!(complaints("agent/src/filter/tests.rs", "use crate::uplink::Link;\n"), [""; 0]);
}

#[test]
fn code_behind_a_test_item_is_not_test_code() {
    let text =
        "#[cfg(test)]\n#[path = \"x\"]\nfn f(x: [u8; 3]) { let y = '}'; }\nuse tokio::time;\n";
    assert_complaint("agent/src/fold.rs", text, "agent/src/fold.rs:4: [only-here] `tokio::time`");
}

#[test]
fn a_file_that_is_included_as_a_test_module_is_test_code() {
    let mut sources = [
        Source::new("agent/src/spool/disk.rs", "#[cfg(test)]\npub(crate) mod contract;\n"),
        Source::new("agent/src/spool/disk/contract.rs", "use rand::rng;\n"),
        Source::new("agent/src/spool/disk/real.rs", "use rand::rng;\n"),
    ];
    spread_test_modules(&mut sources);
    assert!(sources[1].is_test(0) && !sources[2].is_test(0));
}

#[test]
fn each_thing_may_be_named_only_where_it_belongs() {
    for (path, text, named) in [
        ("coordinator/src/command.rs", "use rocksdb::DB;\n", "rocksdb::DB"),
        ("coordinator/src/ingest.rs", "use axum::http::StatusCode;\n", "axum::http::StatusCode"),
        ("coordinator/src/upkeep.rs", "use quinn::Endpoint;\n", "quinn::Endpoint"),
        (
            "agent/src/uplink.rs",
            "fn f() { rustls::ClientConfig::builder(); }\n",
            "rustls::ClientConfig::builder",
        ),
        ("agent/src/spool.rs", "use std::{env, fs};\n", "std::env"),
        ("agent/src/app.rs", "use clap::Parser;\n", "clap::Parser"),
        ("shared/src/session.rs", "fn f() { Instant::now(); }\n", "Instant::now"),
        ("coordinator/src/triage/sla.rs", "fn f() { rand::random() }\n", "rand::random"),
        ("coordinator/src/command.rs", "use anyhow::Context as _;\n", "anyhow::Context"),
    ] {
        assert_complaint(
            path,
            text,
            &format!("{path}:1: [only-here] `{named}` may be named only in"),
        );
    }
}

#[test]
fn each_thing_may_be_named_where_it_belongs() {
    for (path, text) in [
        ("coordinator/src/store/engine/rocks.rs", "use rocksdb::DB;\n"),
        (
            "coordinator/src/api/cases.rs",
            "use axum::{Json, http::StatusCode};\nuse tokio::sync::mpsc;\n",
        ),
        ("coordinator/src/store/writer.rs", "use tokio::sync::mpsc;\n"),
        ("agent/src/uplink/link.rs", "use quinn::Connection;\nfn f() { Instant::now(); }\n"),
        ("agent/src/tls.rs", "fn f() { rustls::ClientConfig::builder(); }\n"),
        ("certs/src/key.rs", "use rcgen::KeyPair;\nuse rand::rng;\n"),
        ("agent/src/config/raw.rs", "use toml::Value;\n"),
        ("tests/system/tls.rs", "use {anyhow::Result, quinn::Endpoint, tokio::time};\n"),
    ] {
        assert_eq!(complaints(path, text), [""; 0], "{path}");
    }
}

#[test]
fn comments_and_literals_name_nothing() {
    let text = r###"
/// Unlike `tokio::spawn`, this is unsafe /* not */ "to.
fn f<'a>(x: &'a str) {
    let a = "tokio::spawn \" unsafe";
    let b = r#"rand::random() " unsafe"#;
    let c = ['"', '\'', b'"' as char]; /* unsafe /* tokio::spawn */ unsafe */
    let d = b"unsafe";
}
"###;
    assert_eq!(complaints("agent/src/fold.rs", text), [""; 0]);
}

#[test]
fn what_is_banned_everywhere_is_banned_in_tests_too() {
    for text in [
        "fn f() { unsafe { g() } }\n",
        "use tokio::sync::mpsc::unbounded_channel;\n",
        "fn f() { std::env::set_var(\"A\", \"b\"); }\n",
    ] {
        assert_complaint("tests/system/kill.rs", text, "tests/system/kill.rs:1: [nowhere]");
    }
}

#[test]
fn a_bare_spawn_is_for_tests_only() {
    let text = "fn f() { tokio::spawn(g()); }\n";
    assert_complaint(
        "agent/src/uplink.rs",
        text,
        "agent/src/uplink.rs:1: [nowhere] `tokio::spawn`",
    );
    assert_eq!(complaints("tests/system/kill.rs", text), [""; 0]);
}

#[test]
fn long_lines_are_counted_in_characters_and_comments_may_be_wider() {
    let path = "agent/src/fold.rs";
    let code = format!("const A: &str = \"{}\";\n", "ü".repeat(90));
    assert_complaint(path, &code, &format!("{path}:1: [columns] 109 columns, at most 100"));
    let comment = format!("    // {}\n", "ü".repeat(113));
    assert_eq!(complaints(path, &comment), [""; 0]);
    let comment = format!("    /// {}\n", "ü".repeat(113));
    assert_complaint(path, &comment, &format!("{path}:1: [columns] 121 columns, at most 120"));
}

#[test]
fn a_long_file_is_split_but_its_test_module_does_not_count() {
    let path = "agent/src/fold.rs";
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(400));
    assert_eq!(complaints(path, &("\n".repeat(800) + &tests)), [""; 0]);
    assert_complaint(
        path,
        &("\n".repeat(801) + &tests),
        &format!("{path}:1: [file-length] 801 lines without tests, at most 800"),
    );
}

#[test]
fn a_long_function_is_named() {
    let path = "agent/src/fold.rs";
    let function =
        |lines: usize| format!("impl A {{\n    fn f() {{{}}}\n}}\n", "\n".repeat(lines - 1));
    assert_eq!(complaints(path, &function(70)), [""; 0]);
    assert_complaint(
        path,
        &function(71),
        &format!("{path}:2: [function-length] `f` has 71 lines, at most 70"),
    );
}

#[test]
fn a_todo_needs_an_owner() {
    let path = "agent/src/fold.rs";
    assert_complaint(path, "fn f() {} // TODO: later\n", &format!("{path}:1: [todo-owner]"));
    assert_complaint(path, "// TODO() later\n", &format!("{path}:1: [todo-owner]"));
    assert_eq!(complaints(path, "// TODO(ada) later\n"), [""; 0]);
}

#[test]
fn a_module_file_is_not_named_mod() {
    let path = "agent/src/filter/mod.rs";
    assert_complaint(path, "", &format!("{path}:1: [mod-file]"));
}

#[test]
fn a_key_family_outside_the_schema_table_is_named() {
    let text = "//! | `BlockKey` | blocks |\npub struct BlockKey;\n\
                /// CaseKey\npub struct CaseKey(u64);\n";
    let mut found = Complaints::default();
    let schema = Source::new("coordinator/src/store/schema.rs", text);
    let text = "//! | `TokenKey` | here it does not count |\npub struct TokenKey;\n";
    let further = Source::new("coordinator/src/store/schema/tokens.rs", text);
    check_schema(&[&schema, &further], &mut found);
    assert_eq!(
        found.lines(),
        [
            "coordinator/src/store/schema.rs:4: [schema] key family `CaseKey` \
             is not in the schema table; add its row",
            "coordinator/src/store/schema/tokens.rs:2: [schema] key family `TokenKey` \
             is not in the schema table; add its row"
        ],
    );
}

#[test]
fn dependencies_between_crates_go_one_way() {
    let manifest = "[dependencies]\nserde.workspace = true\ncoordinator.workspace = true\n\n\
                    [dev-dependencies]\ntests.workspace = true\n";
    let mut found = Complaints::default();
    check_manifest("agent", manifest, &mut found);
    assert_eq!(
        found.lines(),
        ["agent/Cargo.toml:3: [crate-dependencies] `agent` may not depend on `coordinator`; \
          see tidy/tables.rs"],
    );
}

#[test]
fn shared_depends_on_nothing_impure() {
    let manifest = "[dependencies]\n# pure\nserde.workspace = true\ntokio = { version = \"1\" }\n";
    let mut found = Complaints::default();
    check_manifest("shared", manifest, &mut found);
    let lines = found.lines();
    let beginning = "shared/Cargo.toml:4: [shared-dependencies] `shared` stays pure";
    assert!(lines.len() == 1 && lines[0].starts_with(beginning), "{lines:#?}");
}

#[test]
fn the_top_level_holds_exactly_what_is_listed() {
    let mut names: Vec<String> = TOP_LEVEL.iter().map(|name| (*name).to_owned()).collect();
    names.retain(|name| name != "LICENSE");
    names.extend([".git", "target", "notes.txt"].map(str::to_owned));
    let mut found = Complaints::default();
    check_top_level(&names, "/target\n", &mut found);
    assert_eq!(
        found.lines(),
        [
            "LICENSE:1: [top-level] is missing; write it",
            "notes.txt:1: [top-level] does not belong at the top; \
             move it into a crate, or add it to tidy/tables.rs",
        ],
    );
}
