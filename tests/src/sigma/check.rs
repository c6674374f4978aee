//! `make sigma-check`: do all public rules load, do they match what they are for, and do others agree?
//!
//! Three questions, answered in words and in `target/reports/sigma.json`:
//!
//! - Every rule loads, or is refused by name; at most one of a hundred is.
//! - Every regression set's rule matches as many of its events as the set says, or more.
//! - Over all recorded Windows events, the matches of all Windows rules are those of another implementation; each
//!   disagreement is explained from the event and the rule, see `differences`.
//! - In policies of an agent, which reads the events as it reads a source, the rules match the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use shared::sigma::{Mapping, Refusal, RuleSet, Scratch, Source, Unmapped};

use super::{
    agent::{self, Policies},
    corpus::{Corpus, Hit, RuleFile},
    differences::{Explainer, Side},
    windows::{self, Fields, WindowsEvent},
};
use crate::report;

/// What a site would say that placeholders stand for; here they only have to stand for something.
const PLACEHOLDER: &str = "192.0.2.1";

/// Rules that may be refused, of a hundred.
const REFUSED_PERCENT_MAX: usize = 1;

/// Disagreements without an explanation that are shown.
const SHOWN_MAX: usize = 40;

/// Runs the check; returns whether everything is as it must be.
///
/// # Errors
/// Data that cannot be read.
#[expect(clippy::print_stdout, reason = "whoever runs the check reads how it went")]
pub fn run() -> Result<bool> {
    let Some(corpus) = Corpus::open()? else {
        println!("skipped: there is no ../shared/data beside the project");
        return Ok(true);
    };
    let files = corpus.rules()?;
    let mapping = mapping(&corpus, &files)?;
    let loading = load(&files, &mapping);
    let windows: Vec<_> = files.iter().filter(|file| file.is_windows()).collect();
    let sources: Vec<Source<'_>> = windows.iter().map(|file| file.source()).collect();
    // A rule for events that nobody knows would be matched against all of them.
    let known = Mapping { unmapped: Unmapped::Refuse, ..mapping };
    let (set, unknown) = RuleSet::compile(&sources, &known);
    println!(
        "{} rules are for Windows events that the table knows, {} for others; {} have no trigger",
        set.rules().len(),
        unknown.len(),
        set.untriggered()
    );
    let unmet = regressions(&corpus, &set)?;
    let comparison = compare(&corpus, &windows, &set)?;
    let regression_sets = corpus.regressions()?.len();
    let at_agents = at_agents(&corpus, &windows, agent::as_agents_know(known))?;
    report::write(
        "sigma",
        &json!({
            "rules_total": loading.total,
            "loaded": loading.loaded,
            "refused": loading.refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "refused_by_reason": by_reason(&loading.refusals),
            "windows_rules": set.rules().len(),
            "regression_sets": regression_sets,
            "regression_met": regression_sets - unmet.len(),
            "regression_unmet": unmet,
            "reference_hits": comparison.reference,
            "agree": comparison.agree,
            "only_ours": comparison.only(Side::Ours),
            "only_theirs": comparison.only(Side::Theirs),
            "explained": comparison.explained_in_words(),
            "disagreements": comparison.disagreements,
            "unexplained": comparison.unexplained,
            "agent_rules": at_agents.rules,
            "agent_refused": at_agents.refused,
            "agent_differs": at_agents.differs,
        }),
    )?;
    let loads = loading.refusals.len() * 100 <= loading.total * REFUSED_PERCENT_MAX;
    let agrees = at_agents.refused.is_empty() && at_agents.differs.is_empty();
    Ok(loads && unmet.is_empty() && comparison.unexplained.is_empty() && agrees)
}

/// How the rules fare in policies of an agent.
struct AtAgents {
    /// Rules in policies.
    rules: usize,
    /// Rules that no policy takes, with the reason.
    refused: Vec<String>,
    /// Rules that match other numbers of events there, with both.
    differs: Vec<String>,
}

/// Has policies of agents judge all recorded events and those of the regression sets, and counts each rule's matches.
#[expect(clippy::print_stdout, reason = "whoever runs the check reads how it went")]
fn at_agents(corpus: &Corpus, files: &[&RuleFile], mapping: Mapping) -> Result<AtAgents> {
    let sources: Vec<Source<'_>> = files.iter().map(|file| file.source()).collect();
    let (set, _unknown) = RuleSet::compile(&sources, &mapping);
    // Those for events that nobody knows are in neither.
    let is_known = |file: &&&RuleFile| set.rules().iter().any(|rule| *rule.source == *file.name);
    let files: Vec<&RuleFile> = files.iter().filter(is_known).copied().collect();
    let mut policies = Policies::new(&files, &mapping);
    let (fields, mut scratch) = (Fields::of(&set), Scratch::default());
    let mut expected = BTreeMap::<&str, u64>::new();
    let regressions = corpus.regressions()?;
    let regressions = regressions.iter().flat_map(|set| &set.events);
    let recorded = corpus.events()?;
    for event in recorded.iter().map(|recorded| &recorded.event).chain(regressions) {
        policies.judge(event)?;
        for rule in set.matches(&WindowsEvent::new(event, &fields), &mut scratch) {
            *expected.entry(&set.rules()[*rule as usize].id).or_default() += 1;
        }
    }
    let matched = policies.matched();
    let differs = matched.iter().filter_map(|(id, count)| {
        let expected = expected.get(&**id).copied().unwrap_or_default();
        (*count != expected).then(|| format!("{id}: {count} at agents, {expected} here"))
    });
    let differs: Vec<String> = differs.collect();
    println!(
        "{} of these rules in policies of an agent, {} refused; {} match other events there",
        matched.len(),
        policies.refused.len(),
        differs.len()
    );
    for line in policies.refused.iter().chain(&differs).take(SHOWN_MAX) {
        println!("  {line}");
    }
    Ok(AtAgents { rules: matched.len(), refused: policies.refused, differs })
}

/// Returns how the rules' words meet the recorded events'.
///
/// # Errors
/// A table that cannot be read.
pub fn mapping(corpus: &Corpus, files: &[RuleFile]) -> Result<Mapping> {
    let mut mapping = windows::mapping(&corpus.logsources()?)?;
    for file in files {
        for name in placeholders(&file.text) {
            mapping.placeholders.insert(name.into(), vec![PLACEHOLDER.into()]);
        }
    }
    Ok(mapping)
}

/// Returns the names between percent signs in the lines of values of a rule that expands any.
fn placeholders(text: &str) -> BTreeSet<&str> {
    let expands = text.contains("|expand");
    let lines = text.lines().filter(|_| expands);
    let names = lines.filter_map(|line| Some(line.split_once('%')?.1.split_once('%')?.0));
    names.filter(|name| !name.is_empty() && !name.contains(' ')).collect()
}

struct Loading {
    total: usize,
    loaded: usize,
    refusals: Vec<Refusal>,
}

#[expect(clippy::print_stdout, reason = "whoever runs the check reads how it went")]
fn load(files: &[RuleFile], mapping: &Mapping) -> Loading {
    let sources: Vec<_> = files.iter().map(RuleFile::source).collect();
    let (set, refusals) = RuleSet::compile(&sources, mapping);
    let loaded = set.rules().len() + set.correlations().len();
    let total = loaded + refusals.len();
    println!("{loaded} of {total} public rules load");
    for refusal in &refusals {
        println!("  refused: {refusal}");
    }
    Loading { total, loaded, refusals }
}

fn by_reason(refusals: &[Refusal]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for refusal in refusals {
        *counts.entry(refusal.reason.kind()).or_default() += 1;
    }
    counts
}

/// Returns the regression sets that are not met, in words.
#[expect(clippy::print_stdout, reason = "whoever runs the check reads how it went")]
fn regressions(corpus: &Corpus, set: &RuleSet) -> Result<Vec<String>> {
    let (fields, mut scratch) = (Fields::of(set), Scratch::default());
    let sets = corpus.regressions()?;
    let mut unmet = Vec::new();
    for own in &sets {
        let rule = (0..).zip(set.rules()).find(|(_, rule)| *rule.id == *own.rule);
        let Some((rule, _)) = rule else {
            unmet.push(format!("{}: there is no rule {}", own.name, own.rule));
            continue;
        };
        let events = own.events.iter().map(|event| WindowsEvent::new(event, &fields));
        let matched = events.filter(|event| set.matches(event, &mut scratch).contains(&rule));
        let count = matched.count() as u64;
        if count < own.expected {
            unmet.push(format!("{}: {count} matches instead of {}", own.name, own.expected));
        }
    }
    println!("{} of {} regression sets are met", sets.len() - unmet.len(), sets.len());
    unmet.iter().for_each(|unmet| println!("  not met: {unmet}"));
    Ok(unmet)
}

/// How two implementations' matches compare.
struct Comparison {
    reference: usize,
    agree: usize,
    explained: BTreeMap<(Side, &'static str), usize>,
    unexplained: Vec<String>,
    /// Each match that only one has, with the reason.
    disagreements: Vec<Value>,
    only: BTreeMap<Side, usize>,
}

impl Comparison {
    fn only(&self, side: Side) -> usize {
        self.only.get(&side).copied().unwrap_or(0)
    }

    fn explained_in_words(&self) -> BTreeMap<String, usize> {
        let words =
            |((side, why), count): (&(Side, &str), &usize)| (format!("{side}: {why}"), *count);
        self.explained.iter().map(words).collect()
    }
}

#[expect(clippy::print_stdout, reason = "whoever runs the check reads how it went")]
fn compare(corpus: &Corpus, files: &[&RuleFile], set: &RuleSet) -> Result<Comparison> {
    let (events, reference) = (corpus.events()?, corpus.reference()?);
    let not_run = corpus.not_in_reference()?;
    let (fields, mut scratch) = (Fields::of(set), Scratch::default());
    let mut ours = BTreeSet::<Hit>::new();
    for event in &events {
        let own = WindowsEvent::new(&event.event, &fields);
        for rule in set.matches(&own, &mut scratch) {
            let id = &*set.rules()[*rule as usize].id;
            if !not_run.contains(id) {
                ours.insert((id.to_owned(), event.evtx.clone(), event.rid));
            }
        }
    }
    ensure!(!ours.is_empty(), "no rule matches anything");
    let explainer = Explainer::new(set, files, &events);
    let mut comparison = Comparison {
        reference: reference.len(),
        agree: reference.intersection(&ours).count(),
        explained: BTreeMap::new(),
        unexplained: Vec::new(),
        disagreements: Vec::new(),
        only: BTreeMap::new(),
    };
    let only_ours = ours.difference(&reference).map(|hit| (Side::Ours, hit));
    let only_theirs = reference.difference(&ours).map(|hit| (Side::Theirs, hit));
    for (side, hit) in only_ours.chain(only_theirs) {
        *comparison.only.entry(side).or_default() += 1;
        let why = explainer.explain(side, hit);
        let (rule, file, record) = hit;
        comparison.disagreements.push(json!({
            "only": side.to_string(), "rule": rule, "file": file, "record": record, "why": why,
        }));
        match why {
            Some(why) => *comparison.explained.entry((side, why)).or_default() += 1,
            None => comparison.unexplained.push(format!("{side}: {} {} {}", hit.0, hit.1, hit.2)),
        }
    }
    println!(
        "of {} reference matches {} agree; {} only here, {} only there",
        comparison.reference,
        comparison.agree,
        comparison.only(Side::Ours),
        comparison.only(Side::Theirs)
    );
    for (why, count) in comparison.explained_in_words() {
        println!("  {count:>5} {why}");
    }
    for hit in comparison.unexplained.iter().take(SHOWN_MAX) {
        println!("  unexplained: {hit}");
    }
    Ok(comparison)
}
