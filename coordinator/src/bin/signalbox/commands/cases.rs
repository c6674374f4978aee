//! Looking at cases and alerts.

use coordinator::api::types::{Alert, Case, CaseSummary};

use super::{Desk, moment};
use crate::{
    args::{CasesArgs, Paging, SearchArgs, ShowArgs, StateArg},
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    limits::PAGE_ITEMS_MAX,
    render::{alerts, cases},
    text::{Paint, paint},
};

/// How many of a case's newest alerts are shown where nothing was said: a glance, not a list.
pub(super) const ALERTS_SHOWN: usize = 5;
/// How many alerts a search prints where nothing was said.
const ALERTS_FOUND: usize = 20;
/// How many cases are listed where nothing was said.
const CASES_LISTED: usize = 50;

/// A case's newest alerts.
pub(super) struct NewestAlerts {
    /// For people.
    pub(super) text: String,
    /// For programs.
    json: String,
}

/// Reads a case's newest alerts.
pub(super) fn newest_alerts(
    case: &str,
    count: usize,
    record: bool,
    desk: &Desk<'_>,
) -> Result<NewestAlerts, Failure> {
    let path = format!("/v1/cases/{}/alerts", escape(case));
    let query = Query::default().with("record", record.then_some(true));
    let paging = Paging { limit: Some(count.min(PAGE_ITEMS_MAX)), all: false, cursor: None };
    let about = About::Case(case.to_owned());
    let list = desk.client.list(&path, &query, &paging, ALERTS_SHOWN, &about)?;
    let json = list.json()?;
    let items: Vec<Alert> = list.items(&desk.client)?;
    let mut text = format!("\n{}\n", paint(Paint::Bold, "Newest alerts"));
    if items.is_empty() {
        text.push_str("none\n");
    } else {
        text.push_str(alerts::list(&items, desk.output.columns()).trim_end());
        text.push('\n');
    }
    if list.records_gone == Some(true) {
        text.push_str("Some are gone: retention has deleted them.\n");
    }
    Ok(NewestAlerts { text, json })
}

/// Shows a case.
pub(super) fn show(args: &ShowArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let about = About::Case(args.case.clone());
    let ask = Ask::read(format!("/v1/cases/{}", escape(&args.case))).about(about);
    let (answer, case) = desk.client.read::<Case>(&ask)?;
    // What is shown is what a verdict is on.
    if let Err(failure) = desk.claims.saw(desk.client.coordinator(), &case.id, case.revision) {
        desk.output.note(&failure.render());
    }
    let count = args.alerts.map_or(ALERTS_SHOWN, usize::from);
    let wants_alerts = args.alerts.is_some() || args.record;
    if desk.output.is_json() && !wants_alerts {
        return desk.output.json(&answer.text);
    }
    let alerts = match count {
        0 => None,
        _ => Some(newest_alerts(&case.id, count, args.record, desk)?),
    };
    if desk.output.is_json() {
        let alerts = alerts.map_or_else(|| "null".to_owned(), |alerts| alerts.json);
        return desk.output.json(&format!("{{\"case\":{},\"alerts\":{alerts}}}", answer.text));
    }
    let text = cases::case(&case, desk.now, desk.output.columns());
    desk.output.text(&text)?;
    alerts.map_or(Ok(()), |alerts| desk.output.text(&alerts.text))
}

/// Lists cases.
pub(super) fn list(args: &CasesArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let state = args.state.map(|state| match state {
        StateArg::Open => "open",
        StateArg::Claimed => "claimed",
        StateArg::Closed => "closed",
    });
    let query = Query::default()
        .with("tenant", args.tenant.as_ref())
        .with("state", state)
        .with("severity", args.severity)
        .with("host", args.host.as_ref())
        .with("since", moment(args.since, desk.now))
        .with("until", moment(args.until, desk.now));
    let about = About::General;
    let list = desk.client.list("/v1/cases", &query, &args.paging, CASES_LISTED, &about)?;
    desk.print_list(&list, "No case is like that.", |items: &[CaseSummary], columns| {
        cases::list(items, columns)
    })
}

/// Searches alerts.
pub(super) fn search(args: &SearchArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let entity = args.entity.as_ref().map(|entity| format!("{}:{}", entity.kind, entity.value));
    let query = Query::default()
        .with("tenant", args.tenant.as_ref())
        .with("entity", entity.as_ref())
        .with("from", moment(args.from, desk.now))
        .with("to", moment(args.to, desk.now))
        .with("record", args.record.then_some(true));
    let about = About::General;
    let list = desk.client.list("/v1/alerts", &query, &args.paging, ALERTS_FOUND, &about)?;
    let what = entity.map_or_else(
        || "No alert was found.".to_owned(),
        |entity| format!("No alert was found that names {}.", crate::text::safe(&entity)),
    );
    desk.print_list(&list, &what, |items: &[Alert], columns| alerts::list(items, columns))
}
