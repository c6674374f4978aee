//! An alert as an OCSF 1.8 Detection Finding (class 2004) in JSON.
//!
//! Texts stand at [`Field::ocsf_path`]; what the product did not say is absent. Attributes that OCSF demands beside
//! one that is there are added where their value is known or may be "unknown" (`analytic.type_id`, `device.type_id`,
//! `connection_info.direction_id`, `file.name`, `hashes.algorithm_id`). Times are epoch milliseconds.

use serde_json::{Map, Value, json};
use shared::{
    alert::{Action, Alert, Field, Handling, Severity},
    context::ContextVersion,
    ids::TenantId,
};

use crate::store::reader::alerts::{AlertPlace, Found};

const VERSION: &str = "1.8.0";
const CATEGORY_FINDINGS: u32 = 2;
const CLASS_DETECTION_FINDING: u32 = 2_004;
const ACTIVITY_CREATE: u32 = 1;
const ANALYTIC_RULE: u32 = 1;

/// Attributes of the paths that are lists.
const LISTS: [&str; 6] =
    ["attacks", "enrichments", "evidences", "hashes", "related_analytics", "types"];

/// Returns an alert of `tenant` as a Detection Finding.
#[must_use]
pub fn finding(tenant: TenantId, found: &Found) -> Value {
    let Found { place, alert, .. } = found;
    let mut root = json!({
        "activity_id": ACTIVITY_CREATE,
        "activity_name": "Create",
        "category_uid": CATEGORY_FINDINGS,
        "category_name": "Findings",
        "class_uid": CLASS_DETECTION_FINDING,
        "class_name": "Detection Finding",
        "type_uid": CLASS_DETECTION_FINDING * 100 + ACTIVITY_CREATE,
        "time": alert.event_time().as_ms(),
        "severity_id": alert.severity.id(),
        "severity": caption(alert.severity),
        "metadata": {
            "version": VERSION,
            "tenant_uid": tenant.as_str(),
            "logged_time": alert.observed_at.as_ms(),
            "processed_time": place.block.received_at.as_ms(),
        },
        "finding_info": { "uid": uid(place) },
    });
    for field in Field::ALL {
        if let Some(text) = alert.text(field) {
            set_text(&mut root, field, text);
        }
    }
    set_ports(&mut root, alert);
    set_action(&mut root, alert.action);
    complete(&mut root, alert);
    root
}

/// Returns the finding's id: where the alert is kept, which is the same for ever.
fn uid(AlertPlace { block, position }: &AlertPlace) -> String {
    let stream = block.stream;
    format!("{}/{}/{}/{}/{position}", stream.agent, stream.epoch, stream.lane, block.seq)
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

fn set_text(root: &mut Value, field: Field, text: &str) {
    match field {
        Field::Techniques => {
            let techniques = text.split(',').filter(|uid| !uid.is_empty());
            let attacks: Value =
                techniques.map(|uid| json!({ "technique": { "uid": uid } })).collect();
            root["finding_info"]["attacks"] = attacks;
        }
        Field::Attribution => {
            let data = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            root["enrichments"] =
                json!([{ "name": "evidences", "value": text, "data": Value::Null }]);
            root["enrichments"][0]["data"] = data;
        }
        _ => *at(root, field.ocsf_path()) = text.into(),
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
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        *at(root, "evidences.file.name") = name.into();
    }
    if let Some(hash) = alert.text(Field::FileHash) {
        *at(root, "evidences.file.hashes.algorithm_id") = algorithm(hash).into();
    }
    let profiles: Vec<&str> = [("device", "host"), ("action_id", "security_control")]
        .into_iter()
        .filter(|(path, _)| has(root, path))
        .map(|(_, profile)| profile)
        .collect();
    if !profiles.is_empty() {
        root["metadata"]["profiles"] = profiles.into();
    }
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

/// Returns a context's version as the API writes it: 16 hex digits.
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

    use shared::{
        ids::{AgentId, Epoch, Lane, Seq, StreamId},
        time::Timestamp,
    };

    use super::*;
    use crate::store::schema::BlockPlace;

    fn found(alert: Alert<'static>) -> Found {
        let agent = AgentId::from_bytes([1; 16]);
        let stream = StreamId { agent, epoch: Epoch(0xab), lane: Lane::Urgent };
        let seq = Seq::new(7).unwrap();
        let block = BlockPlace { received_at: Timestamp::from_ms(30), stream, seq };
        Found { place: AlertPlace { block, position: 2 }, alert, record: None }
    }

    /// Returns the paths of all texts and numbers, with lists named like their items.
    fn paths(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                paths(value, &path, into);
            }),
            Value::Array(items) => items.iter().for_each(|item| paths(item, path, into)),
            Value::Null => panic!("{path} is null, not absent"),
            _ => drop(into.insert(path.to_owned())),
        }
    }

    #[test]
    fn every_field_stands_at_its_path_and_lists_are_lists() {
        let mut alert = Alert::default();
        Field::ALL.into_iter().for_each(|field| alert.set(field, format!("{field:?}")));
        let finding = finding("acme".parse().unwrap(), &found(alert));
        let mut all = BTreeSet::new();
        paths(&finding, "", &mut all);
        for field in Field::ALL {
            assert!(all.contains(field.ocsf_path()), "{field:?} in {finding}");
        }
        let evidence = &finding["evidences"][0];
        assert_eq!(evidence["src_endpoint"], json!({ "ip": "SrcIp", "hostname": "SrcHostname" }));
        assert_eq!(finding["finding_info"]["types"], json!(["Category"]));
        assert_eq!(evidence["file"]["hashes"][0]["value"], "FileHash");
        assert_eq!(finding["evidences"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn what_the_product_does_not_say_is_absent_and_what_ocsf_demands_is_there() {
        let mut alert = Alert::default();
        alert.observed_at = Timestamp::from_ms(20);
        let finding = finding("acme".parse().unwrap(), &found(alert));
        let mut all = BTreeSet::new();
        paths(&finding, "", &mut all);
        assert!(!all.iter().any(|path| path.starts_with("evidences") || path.contains("action")));
        assert_eq!((&finding["class_uid"], &finding["type_uid"]), (&json!(2004), &json!(200_401)));
        assert_eq!((&finding["time"], &finding["severity_id"]), (&json!(20), &json!(0)));
        assert_eq!(finding["metadata"]["version"], "1.8.0");
        assert_eq!(finding["metadata"]["processed_time"], 30);
        let uid = "01010101-0101-0101-0101-010101010101/00000000000000ab/urgent/7/2";
        assert_eq!(finding["finding_info"]["uid"], uid);
    }

    #[test]
    fn techniques_ports_hashes_and_actions_take_ocsfs_own_form() {
        let mut alert = Alert::default();
        alert.time = Some(Timestamp::from_ms(10));
        alert.action = Action::Denied;
        alert.severity = Severity::Critical;
        alert.dst_port = Some(443);
        alert.context = ContextVersion(0xc0);
        alert.set(Field::Techniques, "T1059.001,T1110");
        alert.set(Field::FilePath, r"C:\Temp\a.exe");
        alert.set(Field::FileHash, "d41d8cd98f00b204e9800998ecf8427e");
        let finding = finding("acme".parse().unwrap(), &found(alert));
        let attacks = json!([
            { "technique": { "uid": "T1059.001" } },
            { "technique": { "uid": "T1110" } },
        ]);
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
}
