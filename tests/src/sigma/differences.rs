//! Why two implementations disagree about an event: each reason is read off the rule and the event, not off a list of
//! known cases, so a new disagreement is not explained by an old one.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use serde_json::Value;
use shared::sigma::{Logsource, RuleSet};

use super::corpus::{Hit, Recorded, RuleFile};

/// Who found a match that the other did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Ours,
    Theirs,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "only here",
            Self::Theirs => "only there",
        })
    }
}

/// What explanations are read off.
pub(super) struct Explainer<'a> {
    logsources: HashMap<&'a str, &'a Logsource>,
    events: HashMap<(&'a str, u64), Place<'a>>,
    /// Ids of the rules with placeholders.
    expanding: BTreeSet<&'a str>,
}

/// What log source an event belongs to.
struct Place<'a> {
    channel: &'a str,
    event_id: u64,
    event_type: &'a str,
}

impl<'a> Explainer<'a> {
    pub(super) fn new(set: &'a RuleSet, files: &[&RuleFile], events: &'a [Recorded]) -> Self {
        let expands = |file: &&&RuleFile| file.text.contains("|expand");
        let expanding: BTreeSet<_> = files.iter().filter(expands).map(|file| &*file.name).collect();
        let expanding = set.rules().iter().filter(|rule| expanding.contains(&*rule.source));
        let expanding = expanding.map(|rule| &*rule.id).collect();
        let logsources = set.rules().iter().map(|rule| (&*rule.id, &rule.logsource));
        let events = events.iter().map(|event| ((&*event.evtx, event.rid), place(&event.event)));
        Self { logsources: logsources.collect(), events: events.collect(), expanding }
    }

    /// Returns why only one side has this match; nothing where no reason is known.
    pub(super) fn explain(&self, side: Side, (rule, file, number): &Hit) -> Option<&'static str> {
        let logsource = self.logsources.get(&**rule)?;
        let event = self.events.get(&(&**file, *number))?;
        match (side, &*logsource.category) {
            (Side::Ours, "process_creation")
                if event.channel == "Security" && event.event_id == 4688 =>
            {
                Some(
                    "the table of log sources counts Security's event 4688 as process_creation, \
                     too; the reference has Sysmon's event 1 alone",
                )
            }
            (Side::Ours, _) if self.expanding.contains(&**rule) => Some(
                "the rule has a placeholder, which here stands for an address that is nobody's; \
                 the reference passes such rules over",
            ),
            (Side::Theirs, "registry_delete")
                if event.event_id == 12
                    && !["DeleteKey", "DeleteValue"].contains(&event.event_type) =>
            {
                Some(
                    "the table of log sources asks registry_delete for an EventType that \
                     deletes; the reference takes every event 12, also one that creates",
                )
            }
            _ => None,
        }
    }
}

fn place(event: &Value) -> Place<'_> {
    let event = event.get("Event").unwrap_or(event);
    let system = &event["System"];
    let id = &system["EventID"];
    Place {
        channel: system["Channel"].as_str().unwrap_or_default(),
        event_id: id.as_u64().or_else(|| id["#text"].as_u64()).unwrap_or_default(),
        event_type: event["EventData"]["EventType"].as_str().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::sigma::{Mapping, Source};

    use super::*;

    #[test]
    fn a_disagreement_is_explained_only_by_what_rule_and_event_show() {
        let rule = |id: &str, category: &str| {
            format!(
                "title: {id}\nid: {id}\nlogsource: {{category: {category}}}\n\
                 detection: {{s: {{a: b}}, condition: s}}\n---\n"
            )
        };
        let text = rule("start", "process_creation") + &rule("delete", "registry_delete");
        let file = |name: &str, text| RuleFile { name: name.to_owned(), text };
        let known = rule("known", "x").replace("a: b", "a|expand: '%b%'");
        let files = [file("plain", text), file("expanding", known)];
        let sources: Vec<Source<'_>> = files.iter().map(RuleFile::source).collect();
        let placeholders = [("b".into(), vec!["c".into()])].into();
        let (set, refusals) =
            RuleSet::compile(&sources, &Mapping { placeholders, ..Mapping::default() });
        assert_eq!(refusals, []);
        let files: Vec<&RuleFile> = files.iter().collect();
        let event = |rid, channel: &str, id: u64, kind: &str| Recorded {
            evtx: "f".to_owned(),
            rid,
            event: json!({"Event": {
                "System": {"Channel": channel, "EventID": {"#text": id}},
                "EventData": {"EventType": kind},
            }}),
        };
        let events = [
            event(1, "Security", 4688, ""),
            event(2, "S", 12, "CreateKey"),
            event(3, "S", 12, "DeleteKey"),
        ];
        let explainer = Explainer::new(&set, &files, &events);
        let why = |side, rule: &str, rid| {
            explainer.explain(side, &(rule.to_owned(), "f".to_owned(), rid)).is_some()
        };
        assert!(why(Side::Ours, "start", 1) && why(Side::Theirs, "delete", 2));
        assert!(why(Side::Ours, "known", 1) && !why(Side::Theirs, "known", 1));
        assert!(!why(Side::Theirs, "start", 1) && !why(Side::Ours, "start", 2));
        assert!(!why(Side::Theirs, "delete", 3) && !why(Side::Ours, "delete", 2));
        assert!(!why(Side::Ours, "nobody", 1) && !why(Side::Ours, "start", 9));
    }
}
