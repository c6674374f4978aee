//! Reading the journal, and following it.

use std::time::Duration;

use coordinator::api::types::JournalEntry;

use super::Desk;
use crate::{
    args::{JournalArgs, WatchArgs},
    client::{feed::Event, path::Query},
    failure::{About, Failure},
    output::Output,
    render::journal,
    text::{Paint, paint, safe},
};

/// How many entries are listed where nothing was said.
const ENTRIES_LISTED: usize = 50;

/// Lists entries.
pub(super) fn list(args: &JournalArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let query = Query::default()
        .with("after", args.after)
        .with("before", args.before)
        .with("tenant", args.tenant.as_ref())
        .with("case", args.case.as_ref());
    let about = About::General;
    let list = desk.client.list("/v1/journal", &query, &args.paging, ENTRIES_LISTED, &about)?;
    desk.print_list(&list, "No entry is like that.", |items: &[JournalEntry], columns| {
        journal::list(items, columns)
    })
}

/// Follows what happens.
pub(super) fn watch(args: &WatchArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let client = &desk.client;
    let mut left = args.count;
    // Both closures write, one to each stream; they are never called at once.
    let output = std::cell::RefCell::new(&mut *desk.output);
    client.follow(
        args.after,
        |event| {
            let shown =
                show(event, args, &mut output.borrow_mut()).map_err(|error| match error {
                    ShowError::Odd(error) => client.odd(error.to_string()),
                    ShowError::Failed(failure) => failure,
                })?;
            if let (true, Some(left)) = (shown, &mut left) {
                *left = left.saturating_sub(1);
            }
            Ok(left != Some(0))
        },
        |cause, wait| {
            let again = format!("again in {:.1} s", wait.max(Duration::ZERO).as_secs_f64());
            let text = format!("connection lost ({}); {again}", safe(cause));
            output.borrow().note(&paint(Paint::Dim, &text));
        },
    )
}

/// Why an event was not shown.
enum ShowError {
    /// It is no entry of the journal.
    Odd(serde_json::Error),
    /// It cannot be written.
    Failed(Failure),
}

/// Shows an event if it is wanted; returns whether it was.
fn show(event: &Event, args: &WatchArgs, output: &mut Output) -> Result<bool, ShowError> {
    // An entry of a kind that came after this program is printed for programs, and named for people.
    let value: serde_json::Value = serde_json::from_str(&event.data).map_err(ShowError::Odd)?;
    if !is_wanted(&value, args) {
        return Ok(false);
    }
    let written = if output.is_json() {
        output.json(&value.to_string())
    } else {
        match serde_json::from_value::<JournalEntry>(value.clone()) {
            Ok(entry) => output.text(&journal::line(&entry)),
            Err(_) => output.text(&safe(&value.to_string())),
        }
    };
    written.and_then(|()| output.flush()).map_err(ShowError::Failed)?;
    Ok(true)
}

fn is_wanted(entry: &serde_json::Value, args: &WatchArgs) -> bool {
    let text = |pointer: &str| entry.pointer(pointer).and_then(serde_json::Value::as_str);
    let is_kind = args.kind.is_empty()
        || text("/event/kind").is_some_and(|kind| args.kind.iter().any(|wanted| wanted == kind));
    let is_tenant = args.tenant.is_none() || text("/tenant") == args.tenant.as_deref();
    is_kind && is_tenant
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_asked_for_is_shown() {
        let entry = json!({"tenant": "acme", "event": {"kind": "case_claimed"}});
        let args = |tenant: Option<&str>, kind: &[&str]| WatchArgs {
            after: None,
            tenant: tenant.map(str::to_owned),
            kind: kind.iter().map(ToString::to_string).collect(),
            count: None,
        };
        assert!(is_wanted(&entry, &args(None, &[])));
        assert!(is_wanted(&entry, &args(Some("acme"), &["verdict_given", "case_claimed"])));
        assert!(!is_wanted(&entry, &args(Some("globex"), &[])));
        assert!(!is_wanted(&entry, &args(None, &["verdict_given"])));
        assert!(!is_wanted(&json!({"event": {"kind": "token_created"}}), &args(Some("acme"), &[])));
    }
}
