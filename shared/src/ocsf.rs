//! An alert as an OCSF 1.8 Detection Finding (class 2004) in JSON.
//!
//! Texts stand at [`Field::ocsf_path`]; what the product did not say is absent. Attributes that OCSF demands beside
//! one that is there are added where their value is known or may be "unknown" (`analytic.type_id`, `device.type_id`,
//! `connection_info.direction_id`, `file.name`, `hashes.algorithm_id`). A file of which only the hash is known has the
//! empty name, and a TLS handshake of which only the server's name is known the empty version. Times are epoch
//! milliseconds.
//!
//! What products call a URL is the whole of one or its path. Of a whole one the parts stand beside it; a path alone is
//! no URL, and is put together with its host where that is known, without a scheme, which nobody said.
//!
//! Two of OCSF's constraints are not kept, because nobody knows what they ask for: a process may be named without its
//! number (`process` wants `pid`, `uid` or `cpid`), and an endpoint may have a port alone.

use serde_json::{Map, Value, json};

use crate::{
    alert::{Action, Alert, Field, Handling, Severity},
    context::ContextVersion,
};

/// The version of OCSF.
pub const VERSION: &str = "1.8.0";
/// `class_uid` of a Detection Finding.
pub const CLASS_DETECTION_FINDING: u32 = 2_004;
const CATEGORY_FINDINGS: u32 = 2;
const ACTIVITY_CREATE: u32 = 1;
const ANALYTIC_RULE: u32 = 1;
/// `uid` of OCSF's extension for Windows.
const EXTENSION_WINDOWS: &str = "2";

/// Attributes of the paths that are lists.
const LISTS: [&str; 6] =
    ["attacks", "enrichments", "evidences", "hashes", "related_analytics", "types"];

/// Returns an alert as a Detection Finding that is called `uid`.
#[must_use]
pub fn finding(alert: &Alert<'_>, uid: &str) -> Value {
    let mut root = json!({
        "activity_id": ACTIVITY_CREATE,
        "activity_name": "Create",
        "category_uid": CATEGORY_FINDINGS,
        "category_name": "Findings",
        "class_uid": CLASS_DETECTION_FINDING,
        "class_name": "Detection Finding",
        "type_uid": CLASS_DETECTION_FINDING * 100 + ACTIVITY_CREATE,
        "is_alert": true,
        "time": alert.event_time().as_ms(),
        "severity_id": alert.severity.id(),
        "severity": caption(alert.severity),
        "metadata": { "version": VERSION, "logged_time": alert.observed_at.as_ms() },
        "finding_info": { "uid": uid },
    });
    for field in Field::ALL {
        if let Some(text) = alert.text(field).filter(|text| is_taken(alert, field, text)) {
            set_text(&mut root, field, text);
        }
    }
    set_url(&mut root, alert);
    set_ports(&mut root, alert);
    set_action(&mut root, alert.action);
    complete(&mut root, alert);
    set_profiles(&mut root);
    set_own(&mut root, alert);
    root
}

const fn caption(severity: Severity) -> &'static str {
    match severity {
        Severity::Unknown => "Unknown",
        Severity::Informational => "Informational",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
        Severity::Fatal => "Fatal",
    }
}

/// Returns whether OCSF takes a field's text with what else the alert says: a domain wants a user, and a process has a
/// number.
fn is_taken(alert: &Alert<'_>, field: Field, text: &str) -> bool {
    let names = |name, uid| alert.text(name).is_some() || alert.text(uid).is_some();
    match field {
        Field::Url | Field::UrlHost => false, // see `set_url`
        Field::UserDomain => names(Field::User, Field::UserUid),
        Field::TargetUserDomain => names(Field::TargetUser, Field::TargetUserUid),
        Field::ProcessId | Field::ParentProcessId => text.parse::<u32>().is_ok(),
        _ => true,
    }
}

fn set_text(root: &mut Value, field: Field, text: &str) {
    if field == Field::Techniques {
        let techniques = text.split(',').filter(|uid| !uid.is_empty());
        root["finding_info"]["attacks"] = techniques.map(attack).collect();
    } else if field == Field::Tactics {
        // Which technique serves which tactic nobody says, so each stands for itself.
        let tactics = text.split(',').map(|uid| json!({ "tactic": { "uid": uid } }));
        append(&mut root["finding_info"]["attacks"], tactics);
    } else if field == Field::FurtherHashes {
        let hashes = text.split(',');
        let hashes = hashes.map(|hash| json!({ "value": hash, "algorithm_id": algorithm(hash) }));
        append(&mut at(root, "evidences.file")["hashes"], hashes);
    } else if let (Field::ProcessId | Field::ParentProcessId, Ok(pid)) =
        (field, text.parse::<u32>())
    {
        *at(root, field.ocsf_path()) = pid.into();
    } else if field == Field::Attribution {
        let data: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
        root["enrichments"] = json!([{ "name": "evidences", "value": text, "data": data }]);
    } else {
        *at(root, field.ocsf_path()) = text.into();
    }
}

/// Sets the URL asked for, and its parts as far as they are known.
fn set_url(root: &mut Value, alert: &Alert<'_>) {
    let (url, host) = (alert.text(Field::Url), alert.text(Field::UrlHost));
    let parts = match url {
        None => Parts { url: host, ..Parts::default() },
        Some(path) if path.starts_with('/') => Parts { path: Some(path), ..Parts::default() },
        Some(url) => Parts::of(url),
    };
    let (path, query) = match parts.path.and_then(|path| path.split_once('?')) {
        Some((path, query)) => (Some(path), Some(query)),
        None => (parts.path, None),
    };
    let whole = match (parts.url, host, parts.path) {
        (None, Some(host), Some(path)) => Some(format!("{host}{path}")),
        (url, ..) => url.map(str::to_owned),
    };
    for (name, text) in [
        ("evidences.url.url_string", whole.as_deref()),
        ("evidences.url.scheme", parts.scheme),
        ("evidences.url.hostname", host.or(parts.host)),
        ("evidences.url.path", path),
        ("evidences.url.query_string", query),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            *at(root, name) = text.into();
        }
    }
}

/// The parts of a URL (RFC 3986, section 3), as far as it has them.
#[derive(Clone, Copy, Default)]
struct Parts<'u> {
    url: Option<&'u str>,
    scheme: Option<&'u str>,
    host: Option<&'u str>,
    /// With its query.
    path: Option<&'u str>,
}

impl<'u> Parts<'u> {
    fn of(url: &'u str) -> Self {
        let whole = Self { url: Some(url), ..Self::default() };
        let Some((scheme, rest)) = url.split_once("://") else { return whole };
        let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_of_scheme) {
            return whole;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((address, _)) => address,
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        Self { scheme: Some(scheme), host: Some(host), path: Some(path), ..whole }
    }
}

/// Appends to a list, which is made where it is missing.
fn append(list: &mut Value, items: impl Iterator<Item = Value>) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    if let Value::Array(list) = list {
        list.extend(items);
    }
}

/// Returns the technique, and the part of it where `uid` names one.
fn attack(uid: &str) -> Value {
    match uid.split_once('.') {
        None => json!({ "technique": { "uid": uid } }),
        Some((technique, _)) => {
            json!({ "technique": { "uid": technique }, "sub_technique": { "uid": uid } })
        }
    }
}

/// Returns the place of the attribute at `path`, and makes what stands above it. Of a list it is the first item.
fn at<'a>(root: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(root, |value, name| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        let value = &mut value[name];
        if !LISTS.contains(&name) {
            return value;
        }
        if !value.is_array() {
            *value = Value::Array(vec![Value::Null]);
        }
        &mut value[0]
    })
}

/// Returns whether there is something at `path`.
fn has(root: &Value, path: &str) -> bool {
    let found = path.split('.').try_fold(root, |value, name| {
        let value = value.get(name)?;
        if LISTS.contains(&name) { value.get(0) } else { Some(value) }
    });
    found.is_some()
}

fn set_ports(root: &mut Value, alert: &Alert<'_>) {
    for (port, path) in [
        (alert.src_port, "evidences.src_endpoint.port"),
        (alert.dst_port, "evidences.dst_endpoint.port"),
    ] {
        if let Some(port) = port {
            *at(root, path) = port.into();
        }
    }
}

fn set_action(root: &mut Value, action: Action) {
    let (id, name) = match action {
        Action::Unknown => return,
        Action::Allowed => (1, "Allowed"),
        Action::Denied => (2, "Denied"),
    };
    root["action_id"] = id.into();
    root["action"] = name.into();
}

/// Adds what OCSF demands beside what is there.
fn complete(root: &mut Value, alert: &Alert<'_>) {
    for (beside, path, value) in [
        ("finding_info.analytic", "finding_info.analytic.type_id", ANALYTIC_RULE),
        ("finding_info.related_analytics", "finding_info.related_analytics.type_id", ANALYTIC_RULE),
        ("device", "device.type_id", 0),
        ("evidences.connection_info", "evidences.connection_info.direction_id", 0),
        ("evidences.file", "evidences.file.type_id", 0),
    ] {
        if has(root, beside) {
            *at(root, path) = value.into();
        }
    }
    if let Some(path) = alert.text(Field::FilePath) {
        let name = path.rsplit(['/', '\\']).find(|name| !name.is_empty()).unwrap_or(path);
        *at(root, "evidences.file.name") = name.into();
    }
    if let Some(hash) = alert.text(Field::FileHash) {
        *at(root, "evidences.file.hashes.algorithm_id") = algorithm(hash).into();
    }
    if has(root, "evidences.file") && alert.text(Field::FilePath).is_none() {
        *at(root, "evidences.file.name") = "".into();
    }
    if has(root, "evidences.tls") {
        *at(root, "evidences.tls.version") = "".into();
    }
    // A container or a handshake alone is no evidence to OCSF; data are.
    let evidence = root["evidences"].get(0).and_then(Value::as_object);
    let is_none = |name: &String| matches!(name.as_str(), "container" | "tls");
    if evidence.is_some_and(|evidence| evidence.keys().all(is_none)) {
        let data = root["evidences"][0].clone();
        *at(root, "evidences.data") = data;
    }
}

/// Names the profiles and extensions that what is there belongs to.
fn set_profiles(root: &mut Value) {
    let known = [
        ("device", "host"),
        ("action_id", "security_control"),
        ("evidences.container", "container"),
    ];
    let is_there = |(path, _): &(&str, &str)| has(root, path);
    let profiles: Vec<&str> =
        known.into_iter().filter(is_there).map(|(_, profile)| profile).collect();
    if !profiles.is_empty() {
        root["metadata"]["profiles"] = profiles.into();
    }
    if has(root, "evidences.reg_key") {
        root["metadata"]["extensions"] =
            json!([{ "name": "win", "uid": EXTENSION_WINDOWS, "version": VERSION }]);
    }
}

/// Adds what is ours.
fn set_own(root: &mut Value, alert: &Alert<'_>) {
    if alert.count > 1 {
        root["count"] = alert.count.into();
    }
    if alert.context != ContextVersion::default() {
        root["unmapped"]["context"] = version(alert.context).into();
    }
    if alert.handling != Handling::Sent {
        root["unmapped"]["handling"] = alert.handling.as_str().into();
    }
}

/// Returns a context's version as people and the API write it: 16 hex digits.
#[must_use]
pub fn version(ContextVersion(version): ContextVersion) -> String {
    format!("{version:016x}")
}

/// Returns the `algorithm_id` of a hash in hex, told from its length; 0 where that says nothing.
fn algorithm(hash: &str) -> u8 {
    if !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return 0;
    }
    match hash.len() {
        32 => 1,  // MD5
        40 => 2,  // SHA-1
        64 => 3,  // SHA-256
        128 => 4, // SHA-512
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::time::Timestamp;

    /// Returns the paths of all texts and numbers, with lists named like their items.
    fn paths(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                paths(value, &path, into);
            }),
            Value::Array(items) => items.iter().for_each(|item| paths(item, path, into)),
            Value::Null => panic!("{path} is null, not absent"),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                into.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn every_field_stands_at_its_path_and_lists_are_lists() {
        let mut alert = Alert::default();
        Field::ALL.into_iter().for_each(|field| alert.set(field, format!("{field:?}")));
        alert.set(Field::ProcessId, "812");
        alert.set(Field::ParentProcessId, "1");
        let finding = finding(&alert, "7");
        let mut all = BTreeSet::new();
        paths(&finding, "", &mut all);
        for field in Field::ALL.into_iter().filter(|field| *field != Field::FurtherHashes) {
            assert!(all.contains(field.ocsf_path()), "{field:?} in {finding}");
        }
        let evidence = &finding["evidences"][0];
        assert_eq!(evidence["src_endpoint"], json!({ "ip": "SrcIp", "hostname": "SrcHostname" }));
        assert_eq!(finding["finding_info"]["types"], json!(["Category"]));
        assert_eq!(evidence["file"]["hashes"][0]["value"], "FileHash");
        assert_eq!(finding["evidences"].as_array().map(Vec::len), Some(1));
        assert_eq!(finding["metadata"]["extensions"][0]["name"], "win");
    }

    #[test]
    fn what_the_product_does_not_say_is_absent_and_what_ocsf_demands_is_there() {
        let alert = Alert { observed_at: Timestamp::from_ms(20), ..Alert::default() };
        let finding = finding(&alert, "a/7");
        let mut all = BTreeSet::new();
        paths(&finding, "", &mut all);
        assert!(!all.iter().any(|path| path.starts_with("evidences") || path.contains("action")));
        assert_eq!((&finding["class_uid"], &finding["type_uid"]), (&json!(2004), &json!(200_401)));
        assert_eq!((&finding["time"], &finding["severity_id"]), (&json!(20), &json!(0)));
        assert_eq!(finding["metadata"]["version"], "1.8.0");
        assert_eq!(finding["finding_info"]["uid"], "a/7");
    }

    #[test]
    fn techniques_ports_hashes_and_actions_take_ocsfs_own_form() {
        let mut alert = Alert {
            time: Some(Timestamp::from_ms(10)),
            action: Action::Denied,
            severity: Severity::Critical,
            dst_port: Some(443),
            context: ContextVersion(0xc0),
            ..Alert::default()
        };
        alert.set(Field::Techniques, "T1059.001,T1110");
        alert.set(Field::FilePath, r"C:\Temp\a.exe");
        alert.set(Field::FileHash, "d41d8cd98f00b204e9800998ecf8427e");
        alert.set(Field::FurtherHashes, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        alert.set(Field::Tactics, "TA0002,TA0006");
        alert.set(Field::ProcessId, "4711");
        let finding = finding(&alert, "7");
        let attacks = json!([
            { "technique": { "uid": "T1059" }, "sub_technique": { "uid": "T1059.001" } },
            { "technique": { "uid": "T1110" } },
            { "tactic": { "uid": "TA0002" } },
            { "tactic": { "uid": "TA0006" } },
        ]);
        assert_eq!(finding["evidences"][0]["process"]["pid"], 4711);
        let further = &finding["evidences"][0]["file"]["hashes"][1];
        assert_eq!(further["algorithm_id"], 2, "{further}");
        assert_eq!(finding["finding_info"]["attacks"], attacks);
        assert_eq!(finding["evidences"][0]["dst_endpoint"], json!({ "port": 443 }));
        let file = &finding["evidences"][0]["file"];
        assert_eq!(
            (&file["name"], &file["hashes"][0]["algorithm_id"]),
            (&json!("a.exe"), &json!(1))
        );
        assert_eq!((&finding["action_id"], &finding["severity"]), (&json!(2), &json!("Critical")));
        assert_eq!(finding["metadata"]["profiles"], json!(["security_control"]));
        assert_eq!(finding["time"], 10);
        assert_eq!(finding["unmapped"]["context"], "00000000000000c0");
    }

    #[test]
    fn what_ocsf_does_not_take_alone_stays_out() {
        let mut alert = Alert::default();
        alert.set(Field::UserDomain, "ACME");
        alert.set(Field::TargetUserDomain, "ACME");
        alert.set(Field::ProcessId, "init");
        assert!(finding(&alert, "7").get("evidences").is_none());
        alert.set(Field::UserUid, "S-1-5-18");
        let finding = finding(&alert, "7");
        let expected = json!([{ "actor": { "user": { "uid": "S-1-5-18", "domain": "ACME" } } }]);
        assert_eq!(finding["evidences"], expected);
    }

    #[test]
    fn a_container_alone_is_named_in_the_evidences_data_too() {
        let mut alert = Alert::default();
        alert.set(Field::Container, "web");
        let finding = finding(&alert, "7");
        let container = json!({ "container": { "name": "web" } });
        assert_eq!(finding["evidences"][0]["data"], container);
        assert_eq!(finding["metadata"]["profiles"], json!(["container"]));
    }

    #[test]
    fn only_a_dns_query_has_its_name_as_one() {
        for (field, evidence) in [
            (Field::Domain, json!({ "query": { "hostname": "a.example" } })),
            (
                Field::UrlHost,
                json!({ "url": { "hostname": "a.example", "url_string": "a.example" } }),
            ),
        ] {
            let mut alert = Alert::default();
            alert.set(field, "a.example");
            assert_eq!(finding(&alert, "7")["evidences"], json!([evidence]));
        }
        let mut alert = Alert::default();
        alert.set(Field::TlsName, "a.example");
        let tls = json!({ "sni": "a.example", "version": "" });
        let evidences = json!([{ "tls": tls, "data": { "tls": tls } }]);
        assert_eq!(finding(&alert, "7")["evidences"], evidences);
    }

    #[test]
    fn a_url_is_put_together_from_what_is_said_of_it_and_nothing_else() {
        for (url, host, expected) in [
            (
                "/a/b?c=d?e",
                "shop.example",
                json!({ "url_string": "shop.example/a/b?c=d?e", "hostname": "shop.example",
                    "path": "/a/b", "query_string": "c=d?e" }),
            ),
            ("/a", "", json!({ "path": "/a" })),
            ("/?", "h", json!({ "url_string": "h/?", "hostname": "h", "path": "/" })),
            (
                "https://u:p@shop.example:8443/a?b",
                "",
                json!({ "url_string": "https://u:p@shop.example:8443/a?b", "scheme": "https",
                    "hostname": "shop.example", "path": "/a", "query_string": "b" }),
            ),
            (
                "http://[2001:db8::1]:80",
                "front.example",
                json!({ "url_string": "http://[2001:db8::1]:80", "scheme": "http",
                    "hostname": "front.example" }),
            ),
            (
                "shop.example:443",
                "shop.example",
                json!({ "url_string": "shop.example:443", "hostname": "shop.example" }),
            ),
            ("?://x", "", json!({ "url_string": "?://x" })),
        ] {
            let mut alert = Alert::default();
            alert.set(Field::Url, url);
            alert.set(Field::UrlHost, host);
            assert_eq!(finding(&alert, "7")["evidences"], json!([{ "url": expected }]), "{url}");
        }
    }

    #[test]
    fn a_file_of_which_only_the_hash_is_known_has_the_empty_name() {
        let mut alert = Alert::default();
        alert.set(Field::FileHash, "cafe");
        let file = &finding(&alert, "7")["evidences"][0]["file"];
        let expected = json!({ "hashes": [{ "value": "cafe", "algorithm_id": 0 }],
            "name": "", "type_id": 0 });
        assert_eq!(*file, expected);
        let mut alert = Alert::default();
        alert.set(Field::FilePath, "/srv/share/");
        assert_eq!(finding(&alert, "7")["evidences"][0]["file"]["name"], "share");
    }
}
