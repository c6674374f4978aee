//! What an agent found out about the ends of an alert's connection that are its own host's.

use serde_json::Value;

use super::cell;

/// Where it stands in a finding.
const DATA: &str = "enrichments";

/// Returns a line for each end, with its name, or one that says that none is the host's; nothing where the agent said
/// nothing.
pub(super) fn lines(finding: &Value) -> Vec<(&'static str, String)> {
    let Some(data) = data(finding) else { return Vec::new() };
    let mut lines: Vec<(&'static str, String)> = [("from", "src"), ("to", "dst")]
        .into_iter()
        .filter_map(|(name, key)| Some((name, end(data.get(key)?))))
        .collect();
    if lines.is_empty() && data.get("outcome").and_then(Value::as_str) == Some("not_local") {
        lines.push(("process of", "neither end is the host's own".to_owned()));
    }
    lines
}

/// Returns the name of the process that had the connection, if it was found; the one that it came from first.
pub(super) fn process(finding: &Value) -> Option<String> {
    let data = data(finding)?;
    ["src", "dst"].into_iter().find_map(|end| word(data.get(end)?.get("process")?, "name"))
}

fn data(finding: &Value) -> Option<&Value> {
    finding.get(DATA)?.as_array()?.iter().find_map(|enrichment| enrichment.get("data"))
}

fn end(end: &Value) -> String {
    let process = end.get("process").filter(|process| process.is_object());
    let outcome = word(end, "outcome").unwrap_or_default();
    let mut text = match process {
        Some(process) => of_process(process),
        None => {
            let user = word(end, "user").map(|user| format!("user {user}, "));
            format!("{}{}", user.unwrap_or_default(), reason(&outcome))
        }
    };
    if process.is_some() && word(end, "socket").as_deref() == Some("listener") {
        text.push_str(", which listens there");
    }
    if let Some(interface) = word(end, "interface") {
        let network = word(end, "network").unwrap_or_default();
        text.push_str(&format!(" (at {interface}, {network})"));
    }
    text
}

fn of_process(process: &Value) -> String {
    let number = process.get("pid").and_then(Value::as_u64).unwrap_or_default();
    let what = word(process, "path").or_else(|| word(process, "name")).unwrap_or_default();
    let mut text = format!("{what}, process {number}");
    if let Some(user) = word(process, "user") {
        text.push_str(&format!(" of {user}"));
    }
    if let Some(since) = word(process, "started_at") {
        text.push_str(&format!(" since {since}"));
    }
    let parents = process.get("parents").and_then(Value::as_array).into_iter().flatten();
    for parent in parents.filter_map(|parent| word(parent, "name")) {
        text.push_str(&format!(" < {parent}"));
    }
    text
}

fn reason(outcome: &str) -> &str {
    match outcome {
        "no_socket" => "no such socket",
        "permission" => "the agent may not see whose it is",
        "budget" => "not looked up: too many at once, or it took too long",
        "gone" => "it was over when it was looked up",
        "unsupported" => "not to be told for such a connection",
        "stale" => "not looked up: the alert was read too late",
        other => other,
    }
}

fn word(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?.as_str()?;
    (!text.is_empty()).then(|| cell(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(data: Value) -> Value {
        json!({"enrichments": [{"name": "evidences", "value": "", "data": data}]})
    }

    #[test]
    fn each_end_is_told_in_a_line() {
        let process = json!({
            "pid": 812, "name": "curl", "path": "/usr/bin/curl", "user": "www-data",
            "started_at": "2026-01-02T03:04:05.670Z",
            "parents": [{"pid": 700, "name": "bash"}, {"pid": 1, "name": "init\u{1b}[2J"}],
        });
        let both = finding(json!({
            "src": {"outcome": "found", "interface": "eth0", "network": "10.0.0.0/24",
                    "socket": "connection", "user": "www-data", "process": process},
            "dst": {"outcome": "permission", "interface": "lo", "network": "127.0.0.0/8",
                    "socket": "listener", "user": "dns"},
        }));
        let said = lines(&both);
        assert_eq!(
            said[0],
            (
                "from",
                "/usr/bin/curl, process 812 of www-data since 2026-01-02T03:04:05.670Z < bash < \
                 init\\u{1b}[2J (at eth0, 10.0.0.0/24)"
                    .to_owned()
            )
        );
        let wanted = "user dns, the agent may not see whose it is (at lo, 127.0.0.0/8)";
        assert_eq!(said[1], ("to", wanted.to_owned()));
        assert_eq!(process_of(&both), "curl");
    }

    #[test]
    fn that_no_end_is_the_hosts_is_said_and_nothing_is_made_up() {
        let said = lines(&finding(json!({"outcome": "not_local"})));
        assert_eq!(said, [("process of", "neither end is the host's own".to_owned())]);
        for odd in [json!({}), json!("text"), json!([1]), json!({"outcome": 7})] {
            assert_eq!(lines(&finding(odd)), []);
        }
        assert_eq!(lines(&json!({})), []);
        let odd = lines(&finding(json!({"dst": {"process": {"parents": 7}}})));
        assert_eq!(odd, [("to", ", process 0".to_owned())]);
    }

    fn process_of(finding: &Value) -> String {
        process(finding).unwrap()
    }
}
