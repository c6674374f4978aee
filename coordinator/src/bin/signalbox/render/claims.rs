//! The hosts that use one identity, side by side, and what is the matter with a spool.

use coordinator::api::types::{ClaimingHost, IdentityConflict, SpoolFault, SpoolNotice};
use shared::time::Timestamp;

use super::{cell, cell_or_dash, table};
use crate::text::{Paint, ago, instant, paint, safe};

/// Writes the hosts in columns, and what to do about them.
pub(super) fn conflict(
    agent: &str,
    conflict: &IdentityConflict,
    now: Timestamp,
    columns: usize,
) -> String {
    let when = |at| format!("{}, {}", instant(at), ago(now, at));
    let row = |name: &str, of: &dyn Fn(&ClaimingHost) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(conflict.hosts.iter().map(of));
        row
    };
    let said = |host: &ClaimingHost, of: fn(&coordinator::api::types::HostContext) -> String| {
        cell_or_dash(host.context.as_ref().map(of).filter(|it| !it.is_empty()).as_deref())
    };
    let mut rows = vec![
        row("process", &|it| safe(&it.process)),
        row("spool", &|it| safe(&it.spool)),
        row("address", &|it| cell(&it.from)),
        row("name", &|it| said(it, |context| context.hostname.clone())),
        row("full name", &|it| said(it, |context| context.fqdn.clone())),
        row("os", &|it| said(it, |context| context.os.clone())),
        row("machine", &|it| said(it, |context| context.machine_id.clone())),
        row("booted", &|it| said(it, |context| context.boot_id.clone())),
    ];
    rows.push(row("networks", &|it| {
        said(it, |context| {
            let interfaces = context.interfaces.iter();
            let of_each = interfaces.flat_map(|it| it.addresses.iter().map(String::as_str));
            of_each.collect::<Vec<_>>().join(" ")
        })
    }));
    rows.push(row("version", &|it| cell(&it.version)));
    rows.push(row("first met", &|it| when(it.first_seen_at)));
    rows.push(row("heard", &|it| when(it.last_seen_at)));
    let states = conflict.hosts.iter().map(|host| match (host.is_served, &conflict.decision) {
        (true, Some(_)) => "KEEPS IT",
        (true, None) => "SERVED",
        (false, _) => "IN QUARANTINE",
    });
    let header: Vec<&str> = std::iter::once("").chain(states).collect();
    let mut text = format!("{}\n", table(columns, &header, rows));
    let what = match &conflict.decision {
        None => format!(
            "Known since {}. Nothing is taken from those in quarantine; they keep what they have. \
             Decide which\nhost keeps the identity:\n  signalbox agents resolve {} --keep PROCESS \
             --reason WHY\n",
            instant(conflict.since),
            safe(agent)
        ),
        Some(decision) => format!(
            "Decided {}: {}. It is made to renew its certificate; then the others' are worth \
             nothing, and they\nhave to join: signalbox-agent join --again TOKEN\n",
            when(decision.at),
            cell(&decision.reason)
        ),
    };
    text.push_str(&what);
    text
}

/// Says what is the matter with a spool, and what to do.
pub(super) fn notice(notice: &SpoolNotice) -> String {
    let (spool, since) = (safe(&notice.spool), instant(notice.since));
    let text = match &notice.fault {
        SpoolFault::SetBack { lane, committed, last } => format!(
            "{spool} is an older copy (known since {since}): here is block {committed} of the {} \
             lane, and it {}; nothing is taken until its folder is moved aside on the host",
            lane.as_str(),
            last.map_or("has none".to_owned(), |last| format!("has its own up to {last}"))
        ),
        SpoolFault::Returned { after } => format!(
            "{spool} came back {since} after {}: the host was set back; what it holds is taken",
            safe(after)
        ),
    };
    paint(Paint::Red, &text)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::{
        hosts,
        testing::{NOW, parse, plain},
    };

    /// A conflict of a host and its copy.
    pub(in crate::render) fn sample() -> IdentityConflict {
        let host = |process: &str, is_served: bool, context: serde_json::Value| {
            json!({
                "process": process, "spool": "a1", "is_served": is_served,
                "from": "192.0.2.7:4711", "version": "0.1.0",
                "first_seen_at": "2026-01-02T03:02:05.000Z",
                "last_seen_at": "2026-01-02T03:03:05.000Z", "context": context
            })
        };
        parse(json!({
            "since": "2026-01-02T03:02:05.000Z", "decision": null,
            "hosts": [
                host("00000000000000b1", true, hosts::tests::sample()),
                host("00000000000000b2", false, json!(null))
            ]
        }))
    }

    #[test]
    fn hosts_with_one_identity_stand_side_by_side_with_what_to_do() {
        let text = plain(&conflict("018f3f0e", &sample(), NOW, 140));
        for part in [
            "SERVED",
            "IN QUARANTINE",
            "00000000000000b1",
            "machine    m7",
            "networks   10.0.0.3/24 fe80::1/64",
            "signalbox agents resolve 018f3f0e --keep PROCESS",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        let mut decided = sample();
        decided.decision = Some(parse(json!({
            "process": "00000000000000b1", "at": "2026-01-02T03:03:05.000Z",
            "by": {"kind": "person", "name": "ann"}, "reason": "the original"
        })));
        let text = plain(&conflict("018f3f0e", &decided, NOW, 140));
        assert!(text.contains("KEEPS IT") && text.contains("the original"), "{text}");
        assert!(text.contains("join --again TOKEN") && !text.contains("--keep"), "{text}");
    }

    #[test]
    fn a_spool_that_was_set_back_says_where_and_what_to_do() {
        let set_back = parse(json!({
            "spool": "a1", "since": "2026-01-02T03:02:05.000Z", "fault": "set_back",
            "lane": "normal", "committed": 9, "last": 12
        }));
        let text = plain(&notice(&set_back));
        assert!(text.contains("block 9 of the normal lane, and it has its own up to 12"), "{text}");
        let returned = parse(json!({
            "spool": "a1", "since": "2026-01-02T03:02:05.000Z", "fault": "returned", "after": "a2"
        }));
        assert!(plain(&notice(&returned)).contains("after a2: the host was set back"));
    }
}
