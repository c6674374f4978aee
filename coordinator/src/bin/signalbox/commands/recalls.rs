//! Asking agents for what their policies hold back, and looking at what came.

use coordinator::api::types::{Recall, RecallDetails, RecalledRecord};

use super::{Desk, moment};
use crate::{
    args::recalls::{RecallArgs, RecallsArgs},
    client::{
        Ask,
        path::{Query, escape},
        pause,
    },
    failure::{About, Failure},
    limits::RECALL_LOOK_INTERVAL,
    render::recalls,
    text::{Paint, paint},
};

/// How many records are shown where nothing was said.
const RECORDS_SHOWN: usize = 20;
/// How many recalls are listed where nothing was said.
const RECALLS_LISTED: usize = 50;

/// Asks for something, or shows what came of a recall.
pub(super) fn recall(args: &RecallArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let id = match &args.recall {
        Some(id) => id.clone(),
        None => {
            let ask = Ask::post("/v1/recalls", &body(args, desk)).about(About::Recall);
            let (answer, asked) = desk.client.read::<Recall>(&ask)?;
            if !args.follow {
                return desk.print(&answer, |_, _| recalls::asked(&asked));
            }
            desk.output.note(&recalls::asked(&asked));
            asked.id
        }
    };
    let path = format!("/v1/recalls/{}", escape(&id));
    let mut answered = None;
    loop {
        let (answer, details) =
            desk.client.read::<RecallDetails>(&Ask::read(&path).about(About::Recall))?;
        if !args.follow || details.recall.is_finished {
            return show(args, &path, &answer.text, &details, desk);
        }
        if answered != Some(details.recall.answered) {
            answered = Some(details.recall.answered);
            let progress = recalls::progress(&details.recall);
            desk.output.note(&paint(Paint::Dim, &progress));
        }
        pause(RECALL_LOOK_INTERVAL);
    }
}

/// Shows a recall with its answers and the records that came.
fn show(
    args: &RecallArgs,
    path: &str,
    json: &str,
    details: &RecallDetails,
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let path = format!("{path}/records");
    let query = Query::default();
    let list = desk.client.list(&path, &query, &args.paging, RECORDS_SHOWN, &About::Recall)?;
    if desk.output.is_json() {
        let records = list.json()?;
        return desk.output.json(&format!("{{\"details\":{json},\"records\":{records}}}"));
    }
    let text = recalls::details(details, desk.now, desk.output.columns());
    desk.output.text(&text)?;
    desk.print_list(&list, "No record came.", |items: &[RecalledRecord], _| recalls::records(items))
}

fn body(args: &RecallArgs, desk: &Desk<'_>) -> serde_json::Value {
    let time = |at| moment(at, desk.now).map(|time| time.to_string());
    let mut body = serde_json::json!({ "tenant": args.tenant, "rule": args.rule });
    for (name, value) in [("since", time(args.since)), ("until", time(args.until))] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    if let Some(agent) = &args.agent {
        body["agent"] = agent.clone().into();
    }
    if let Some(bytes) = args.max_bytes {
        body["max_bytes"] = bytes.into();
    }
    body
}

/// Lists recalls.
pub(super) fn list(args: &RecallsArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let query = Query::default().with("tenant", Some(&args.tenant));
    let about = About::Tenant(args.tenant.clone());
    let list = desk.client.list("/v1/recalls", &query, &args.paging, RECALLS_LISTED, &about)?;
    desk.print_list(&list, "Nothing was recalled.", |items: &[Recall], columns| {
        recalls::list(items, columns)
    })
}
