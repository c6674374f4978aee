//! The OpenAPI document: as it is checked in, and complete.

use super::*;

/// Where the document is checked in.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

fn document() -> Value {
    sorted(serde_json::to_value(openapi()).unwrap())
}

/// Returns a value with its keys in order: whether they are depends on what else is built along.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.into_iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            members.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let mut text = serde_json::to_string_pretty(&document()).unwrap();
    text.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(golden == text, "coordinator/openapi.json is old: run this test with UPDATE_GOLDEN=1");
}

#[test]
fn every_operation_has_a_name_and_says_what_can_go_wrong() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            let responses = operation["responses"].as_object().unwrap();
            let has = |status: &str| responses.contains_key(status);
            assert!(has("500") && has("503"), "{method} {path}");
            if path.starts_with("/v1/sign-ins") {
                let all = ["400", "403", "404", "405", "409", "413", "415", "429", "502"];
                assert!(all.into_iter().all(has) && !has("401"), "{method} {path}");
                continue;
            }
            assert_eq!(has("429"), path != "/v1/openapi.json", "{method} {path}");
            if path != "/v1/openapi.json" {
                assert!(
                    ["400", "401", "403", "404", "405"].into_iter().all(has),
                    "{method} {path}"
                );
            }
            let is_write = method != "get";
            assert_eq!(["413", "415", "422"].into_iter().all(has), is_write, "{method} {path}");
            let is_issuing = (method.as_str(), path.as_str()) == ("post", "/v1/join-tokens");
            let is_staged = is_write && path.contains("/rollout/");
            let conflicts = path.contains("{case}") || is_issuing || is_staged;
            assert_eq!(has("409"), conflicts, "{method} {path}");
            assert_eq!(has("412"), method == "put", "{method} {path}");
            for (status, response) in
                responses.iter().filter(|(status, _)| status.as_str() >= "400")
            {
                let content = response["content"].as_object().unwrap();
                assert_eq!(content.keys().collect::<Vec<_>>(), [problem::PROBLEM_JSON], "{status}");
            }
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each name stands once");
}

/// Finds each `$ref` of the document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
