//! The same rules in policies of an agent, over the same events as its source reads them: whether what agents make of
//! public rules and of records is what the rules mean.

use std::{collections::BTreeMap, time::Instant};

use agent::{
    normalise::{Kind, Normaliser, Outcome},
    policy::Policy,
    prefilter::{Prefilter, Read},
};
use anyhow::{Result, anyhow};
use serde_json::Value;
use shared::{ids::Epoch, sigma::Mapping, time::Timestamp};

use super::corpus::RuleFile;

/// Rules of one policy: below an agent's bound, so that its text is, too.
const RULES: usize = 250;

/// Until when the rules hold: a day after the events are read.
const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);
const UNTIL: &str = "2026-11-26";

/// Public rules as policies.
pub(super) struct Policies {
    prefilters: Vec<Prefilter>,
    reader: Normaliser,
    started: Instant,
    /// Rules that are in no policy, with the reason.
    pub(super) refused: Vec<String>,
}

impl Policies {
    /// Makes policies of the files that hold one rule each.
    pub(super) fn new(files: &[&RuleFile], mapping: &Mapping) -> Self {
        let (mut prefilters, mut refused) = (Vec::new(), Vec::new());
        for chunk in files.chunks(RULES) {
            let mut text = header(mapping);
            for file in chunk {
                let added = format!("{text}{}", document(file));
                // One that cannot be taken makes no other fall.
                match Policy::parse(&format!("{}{}", header(mapping), document(file)), NOW) {
                    Ok(_) => text = added,
                    Err(error) => refused.push(format!("{}: {error}", file.name)),
                }
            }
            match Policy::parse(&text, NOW) {
                Ok(policy) => prefilters.push(Prefilter::new(policy, Epoch(1))),
                Err(error) => refused.push(format!("a policy of {} rules: {error}", chunk.len())),
            }
        }
        let kind = Kind::of_product("windows_event").expect("agents read events of Windows");
        let reader = Normaliser::new(kind, "events");
        #[expect(clippy::disallowed_methods, reason = "only differences count, and there are none")]
        let started = Instant::now();
        Self { prefilters, reader, started, refused }
    }

    /// Has all rules judge an event.
    ///
    /// # Errors
    /// An event that agents do not understand.
    pub(super) fn judge(&mut self, event: &Value) -> Result<()> {
        let wrapped;
        let event = match event.get("Event") {
            Some(_) => event,
            None => {
                wrapped = serde_json::json!({ "Event": event });
                &wrapped
            }
        };
        let record = event.to_string();
        let Outcome::Alert { alert, .. } = self.reader.normalise(record.as_bytes(), NOW) else {
            return Err(anyhow!("an agent understands nothing of {record}"));
        };
        for prefilter in &mut self.prefilters {
            let read = Read { alert: &alert, record: record.as_bytes(), reader: &self.reader };
            let _verdict = prefilter.judge(read, self.started, NOW);
        }
        Ok(())
    }

    /// Returns how many events each rule matched, by its id.
    pub(super) fn matched(&self) -> BTreeMap<String, u64> {
        let counts = self.prefilters.iter().flat_map(|prefilter| prefilter.filter().counts());
        counts.map(|(rule, counts)| (rule.id.to_string(), counts.matched)).collect()
    }
}

fn header(mapping: &Mapping) -> String {
    let placeholders =
        mapping.placeholders.iter().map(|(name, values)| format!("{name}: {values:?}"));
    format!(
        "policy: public rules\nversion: 1\nowner: the check\nmapping: {{placeholders: {{{}}}}}\n",
        placeholders.collect::<Vec<_>>().join(", ")
    )
}

fn document(file: &RuleFile) -> String {
    let text = file.text.trim_end();
    let text = text.strip_prefix("---").unwrap_or(text);
    format!("---\n{text}\nsignalbox: {{action: send, expires: {UNTIL}}}\n")
}

/// Returns the table with the names that agents know besides for Security's event of a new process.
pub(super) fn as_agents_know(mut mapping: Mapping) -> Mapping {
    for own in &mut mapping.logsources {
        if own.fields.get("Image").is_some_and(|name| **name == *"NewProcessName") {
            for (rules, events) in [
                ("ProcessId", "NewProcessId"),
                ("ParentProcessId", "ProcessId"),
                ("LogonId", "SubjectLogonId"),
            ] {
                own.fields.insert(rules.into(), events.into());
            }
        }
    }
    mapping
}
