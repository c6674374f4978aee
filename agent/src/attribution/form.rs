//! How an attribution stands in an alert.
//!
//! # Format
//! ```text
//! {"outcome":"not_local"}                          no end is this host's; else an object for each end that is:
//! {"src":{"outcome":"found","interface":"eth0","network":"10.0.0.0/24","socket":"connection","user":"www-data",
//!         "process":{"pid":812,"name":"curl","path":"/usr/bin/curl","user":"www-data",
//!                    "started_at":"2026-01-02T03:04:05.670Z","parents":[{"pid":700,"name":"bash"}]}}}
//! ```
//! `socket` says whether the connection itself was found or only who listens there; its `user` opened it and is known
//! even where the process is not. What is not known is absent. The text fits its field: the furthest ancestors go
//! first, then the path.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Outcome,
    local::LocalAddress,
    lookup::{Held, SocketOwner},
};
use crate::limits::ATTRIBUTION_END_BYTES_MAX;

/// What stands in an alert about other hosts.
pub(super) const NOT_LOCAL: &str = r#"{"outcome":"not_local"}"#;

#[derive(Serialize)]
struct End<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parents: Vec<Parent<'a>>,
}

#[derive(Serialize)]
struct Parent<'a> {
    pid: u32,
    name: &'a str,
}

/// Returns the object of one end.
pub(super) fn end(
    local: Option<&LocalAddress>,
    outcome: Outcome,
    owner: Option<&SocketOwner>,
) -> String {
    let process = owner.and_then(|owner| owner.process.as_ref()).map(|(process, user)| Process {
        pid: process.pid,
        name: &process.name,
        path: process.path.as_deref(),
        user,
        started_at: process.started_at.map(|at| at.to_string()),
        parents: process
            .ancestors
            .iter()
            .map(|ancestor| Parent { pid: ancestor.pid, name: &ancestor.name })
            .collect(),
    });
    let mut end = End {
        outcome: outcome.as_str(),
        interface: local.map(|local| local.interface.as_str()),
        network: local.map(|local| local.network.as_str()),
        socket: owner.map(|owner| match owner.held {
            Held::Connection => "connection",
            Held::Listener => "listener",
        }),
        user: owner.map(|owner| owner.user.as_str()),
        process,
    };
    loop {
        let text = serde_json::to_string(&end).expect("texts and numbers can be written");
        let process = end.process.as_mut().filter(|_| text.len() > ATTRIBUTION_END_BYTES_MAX);
        let Some(process) = process else { return text };
        let has_shrunk = process.parents.pop().is_some() || process.path.take().is_some();
        if !has_shrunk {
            end.process = None; // names of nothing but quotes: never seen
        }
    }
}

/// Returns the whole, of one end or both.
pub(super) fn ends(ends: &[(&str, String)]) -> String {
    let mut text = String::from("{");
    for (nth, (name, end)) in ends.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _written = write!(text, "{comma}\"{name}\":{end}").is_ok();
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::{limits::FIELD_BYTES_MAX, time::Timestamp};

    use super::*;
    use crate::proc;

    fn local() -> LocalAddress {
        LocalAddress { interface: "eth0".into(), network: "10.0.0.0/24".into() }
    }

    fn owner(name: &str, path: &str, ancestors: usize) -> SocketOwner {
        let process = proc::Process {
            pid: 812,
            name: name.into(),
            path: Some(path.into()),
            uid: 33,
            started_at: Some(Timestamp::from_ms(1_767_322_999_670)),
            ancestors: (0..ancestors)
                .map(|_| proc::Ancestor { pid: 700, name: name.into() })
                .collect(),
        };
        let user = "www-data".to_owned();
        SocketOwner { held: Held::Connection, user: user.clone(), process: Some((process, user)) }
    }

    #[test]
    fn an_end_says_what_is_known_and_leaves_out_what_is_not() {
        let owner = owner("curl", "/usr/bin/curl", 1);
        let text = ends(&[("src", end(Some(&local()), Outcome::Found, Some(&owner)))]);
        let wanted = json!({"src": {
            "outcome": "found", "interface": "eth0", "network": "10.0.0.0/24",
            "socket": "connection", "user": "www-data",
            "process": {
                "pid": 812, "name": "curl", "path": "/usr/bin/curl", "user": "www-data",
                "started_at": "2026-01-02T03:03:19.670Z",
                "parents": [{"pid": 700, "name": "curl"}],
            },
        }});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
        let stale = end(Some(&local()), Outcome::Stale, None);
        let wanted = r#"{"outcome":"stale","interface":"eth0","network":"10.0.0.0/24"}"#;
        assert_eq!(stale, wanted);
        let not_local: Value = serde_json::from_str(NOT_LOCAL).unwrap();
        assert_eq!(not_local["outcome"], Outcome::NotLocal.as_str());
    }

    #[test]
    fn two_ends_of_the_longest_names_fit_the_field_and_stay_json() {
        for letter in ["x", "\"", "ä", "\u{7f}"] {
            let owner = owner(&letter.repeat(30), &letter.repeat(100), 8);
            let one = || end(Some(&local()), Outcome::Found, Some(&owner));
            let text = ends(&[("src", one()), ("dst", one())]);
            assert!(text.len() <= FIELD_BYTES_MAX, "{} bytes of {letter:?}", text.len());
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["dst"]["process"]["pid"], 812, "{letter:?}");
        }
    }
}
