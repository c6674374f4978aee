//! From sources to a rule set: which documents become what, and what is refused.

use std::collections::BTreeSet;

use super::{
    correlation::{Draft, Plans, Reference, resolve},
    detection::{self, Asked},
    event::Event,
    filter::Filter,
    mapping::Mapping,
    matcher::{Builder, Matcher, Scratch},
    refusal::{Fault, Reason, Refusal},
    rule::Rule,
    yaml::{self, Node},
};
use crate::limits::{SIGMA_RULES_MAX, SIGMA_SOURCE_BYTES_MAX};

/// A file or the like with any number of documents.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What refusals call it.
    pub name: &'a str,
    /// Its YAML.
    pub text: &'a str,
}

impl Source<'_> {
    /// Reads all documents without an eye for what they mean; one that cannot be read is an error in its place.
    #[must_use]
    pub fn documents(&self) -> Vec<Result<Node, Refusal>> {
        let refusal = |fault: Fault| {
            let Fault { line, column, reason } = fault;
            Refusal { source: self.name.into(), rule: "".into(), line, column, reason }
        };
        let read = yaml::parse(self.text).into_iter();
        read.map(|document| document.map_err(refusal)).collect()
    }
}

/// Rules, compiled.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    fields: Vec<Box<str>>,
    matcher: Matcher,
    correlations: Vec<Rule>,
    plans: Plans,
}

impl RuleSet {
    /// Compiles all documents of all sources. What is refused is left out, and the rest is as if it were not there.
    #[must_use]
    pub fn compile(sources: &[Source<'_>], mapping: &Mapping) -> (Self, Vec<Refusal>) {
        let mut read = Reading::new(mapping);
        sources.iter().for_each(|source| read.source(source));
        read.finish()
    }

    /// Compiles documents that were read before, for who has documents of other kinds among his rules.
    #[must_use]
    pub fn of_documents(documents: &[Node], mapping: &Mapping) -> (Self, Vec<Refusal>) {
        let mut read = Reading::new(mapping);
        for document in documents {
            if let Err(fault) = read.document("", document) {
                read.refuse("", &called(document), fault);
            }
        }
        read.finish()
    }

    /// Returns the rules; their indexes are what [`Self::matches`] returns.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the events' name of every field that any rule asks for, by the fields' numbers.
    #[must_use]
    pub fn fields(&self) -> &[Box<str>] {
        &self.fields
    }

    /// Returns how many rules have to be looked at for every event, because they may hold where nothing is there.
    #[must_use]
    pub fn untriggered(&self) -> usize {
        self.matcher.untriggered()
    }

    /// Returns the correlations, each behind those that it refers to; their indexes are what
    /// [`Correlator::handle_event`](super::Correlator::handle_event) returns.
    #[must_use]
    pub fn correlations(&self) -> &[Rule] {
        &self.correlations
    }

    /// Returns what a correlation counts, in its order.
    ///
    /// # Panics
    /// If there are not so many correlations.
    pub fn counted_by(&self, correlation: usize) -> impl Iterator<Item = Reference> {
        self.plans.plans[correlation].rules.iter().map(|member| member.rule)
    }

    pub(super) fn plans(&self) -> &Plans {
        &self.plans
    }

    /// Returns the indexes of the rules that match, in ascending order.
    pub fn matches<'s>(&self, event: &dyn Event, scratch: &'s mut Scratch) -> &'s [u32] {
        self.matcher.matches(event, scratch)
    }
}

/// What was read so far.
struct Reading<'a> {
    mapping: &'a Mapping,
    rules: Vec<(Rule, Asked, (u32, u32))>,
    filters: Vec<Filter>,
    correlations: Vec<Draft>,
    taken: BTreeSet<Box<str>>,
    refusals: Vec<Refusal>,
}

impl<'a> Reading<'a> {
    fn new(mapping: &'a Mapping) -> Self {
        Self {
            mapping,
            rules: Vec::new(),
            filters: Vec::new(),
            correlations: Vec::new(),
            taken: BTreeSet::new(),
            refusals: Vec::new(),
        }
    }

    fn source(&mut self, source: &Source<'_>) {
        if source.text.len() > SIGMA_SOURCE_BYTES_MAX {
            let reason = Reason::TooLong { what: "the source", max: SIGMA_SOURCE_BYTES_MAX };
            self.refuse(source.name, "", Fault { line: 1, column: 1, reason });
            return;
        }
        for document in yaml::parse(source.text) {
            let read = document.map_err(|fault| ("".into(), fault)).and_then(|document| {
                self.document(source.name, &document).map_err(|fault| (called(&document), fault))
            });
            if let Err((rule, fault)) = read {
                self.refuse(source.name, &rule, fault);
            }
        }
    }

    fn refuse(&mut self, source: &str, rule: &str, fault: Fault) {
        let Fault { line, column, reason } = fault;
        self.refusals.push(Refusal {
            source: source.into(),
            rule: rule.into(),
            line,
            column,
            reason,
        });
    }

    fn document(&mut self, source: &str, document: &Node) -> Result<(), Fault> {
        let must_be = || Reason::Not { what: "a rule".into(), must_be: "a mapping" };
        document.entries().ok_or_else(|| document.fault(must_be()))?;
        let header = Rule::read(source, document)?;
        if document.get("filter").is_some() {
            let filter = Filter::read(header, document, &self.mapping.placeholders)?;
            self.filters.push(filter);
            return Ok(());
        }
        if self.rules.len() + self.correlations.len() == SIGMA_RULES_MAX {
            return Err(document.fault(Reason::TooManyRules));
        }
        if document.get("correlation").is_some() {
            let draft = Draft::read(header, document)?;
            self.take_names(&draft.header).map_err(|reason| document.fault(reason))?;
            self.correlations.push(draft);
            return Ok(());
        }
        let section = document
            .get("detection")
            .ok_or_else(|| document.fault(Reason::Missing("detection")))?;
        if document.get("logsource").is_none() {
            return Err(document.fault(Reason::Missing("logsource")));
        }
        let asked = detection::read(section, &self.mapping.placeholders)?;
        self.take_names(&header).map_err(|reason| document.fault(reason))?;
        self.rules.push((header, asked, (section.line, section.column)));
        Ok(())
    }

    /// Notes a rule's id and name, which no other may have.
    fn take_names(&mut self, header: &Rule) -> Result<(), Reason> {
        let names = [&header.id, &header.name].into_iter().filter(|name| !name.is_empty());
        let names: BTreeSet<_> = names.cloned().collect();
        if let Some(twice) = names.iter().find(|name| self.taken.contains(*name)) {
            return Err(Reason::NameTwice(twice.clone()));
        }
        self.taken.extend(names);
        Ok(())
    }

    fn finish(mut self) -> (RuleSet, Vec<Refusal>) {
        self.put_filters_in();
        let mut builder = Builder::default();
        let mut rules = Vec::with_capacity(self.rules.len());
        for (rule, asked, (line, column)) in std::mem::take(&mut self.rules) {
            let mapped = self.mapping.apply(&rule.logsource, asked);
            match mapped.and_then(|asked| builder.add(asked)) {
                Ok(()) => rules.push(rule),
                Err(reason) => {
                    let fault = Fault { line, column, reason };
                    self.refuse(&rule.source, rule.id_or_title(), fault);
                }
            }
        }
        let drafts = std::mem::take(&mut self.correlations);
        let (correlations, plans, refused) =
            resolve::resolve(drafts, &mut rules, self.mapping, &mut builder);
        for (header, fault) in refused {
            self.refuse(&header.source, header.id_or_title(), fault);
        }
        let plans = Plans::new(plans, rules.len());
        let (matcher, fields) = builder.finish();
        (RuleSet { rules, fields, matcher, correlations, plans }, self.refusals)
    }

    fn put_filters_in(&mut self) {
        for filter in std::mem::take(&mut self.filters) {
            if !self.rules.iter().any(|(rule, ..)| filter.names(rule)) {
                let (header, fault) = (filter.header(), filter.unknown());
                self.refuse(&header.source, header.id_or_title(), fault);
            }
            for (rule, asked, _) in &mut self.rules {
                if filter.names(rule) {
                    let plain = std::mem::replace(asked, Asked::Or(Vec::new()));
                    *asked = filter.apply(rule, plain);
                }
            }
        }
    }
}

/// Returns what a document that is refused is called.
fn called(document: &Node) -> Box<str> {
    let text = |key| document.get(key).and_then(Node::scalar).map(|text| Box::from(&*text));
    text("id").or_else(|| text("title")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
