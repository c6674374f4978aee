//! From names to numbers: which rules and fields a correlation means.

use std::collections::BTreeMap;

use super::{
    super::{
        mapping::Mapping,
        matcher::Builder,
        refusal::{Fault, Reason},
        rule::Rule,
    },
    Draft, Kind, Member, Plan, Reference,
};

/// A correlation that is refused, and why.
pub(in super::super) type Refused = (Rule, Fault);

/// What there is to refer to.
struct Known<'a> {
    rules: &'a [Rule],
    mapping: &'a Mapping,
    /// By id and by name.
    references: BTreeMap<Box<str>, Reference>,
    /// By correlation: the detection rules that it comes down to.
    below: Vec<Vec<u32>>,
}

/// Resolves all correlations; returns their headers and plans, each behind those that it refers to.
pub(in super::super) fn resolve(
    drafts: Vec<Draft>,
    rules: &mut [Rule],
    mapping: &Mapping,
    builder: &mut Builder,
) -> (Vec<Rule>, Vec<Plan>, Vec<Refused>) {
    let mut known = Known { rules, mapping, references: BTreeMap::new(), below: Vec::new() };
    for (rule, number) in rules.iter().zip(0..) {
        known.add(rule, Reference::Rule(number));
    }
    let (mut headers, mut plans, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let mut generate = Vec::new();
    let mut waiting = drafts;
    // Each round takes those that wait for none of the others; whoever is left at the end waits for himself.
    loop {
        let before = waiting.len();
        let mut still = Vec::new();
        for draft in std::mem::take(&mut waiting) {
            match known.members(&draft, builder) {
                Ok(members) => {
                    let number = u32::try_from(plans.len()).expect("documents are bounded");
                    let below = members.iter().flat_map(|member| known.leaves(member.rule));
                    let below = below.collect();
                    known.below.push(below);
                    known.add(&draft.header, Reference::Correlation(number));
                    plans.push(Plan { kind: draft.kind, timespan: draft.timespan, rules: members });
                    headers.push(draft.header);
                    generate.push(draft.generate);
                }
                Err(missing) => still.push((draft, missing)),
            }
        }
        if still.is_empty() || still.len() == before {
            refused.extend(refusals(still));
            break;
        }
        waiting = still.into_iter().map(|(draft, _)| draft).collect();
    }
    mark(rules, &mut headers, &plans, &generate);
    (headers, plans, refused)
}

/// Says why nothing could be made of these: what they wait for is nowhere, or is one of them.
fn refusals(still: Vec<(Draft, Box<str>)>) -> Vec<Refused> {
    let is_called =
        |draft: &Draft, name: &str| *draft.header.id == *name || *draft.header.name == *name;
    let circle: Vec<bool> = still
        .iter()
        .map(|(_, missing)| still.iter().any(|(other, _)| is_called(other, missing)))
        .collect();
    let each = still.into_iter().zip(circle).map(|((draft, missing), circle)| {
        let (line, column) = draft.place;
        let reason = if circle { Reason::Circle } else { Reason::UnknownRule(missing) };
        (draft.header, Fault { line, column, reason })
    });
    each.collect()
}

/// Marks what matches by itself: all but what correlations refer to without saying so.
fn mark(rules: &mut [Rule], headers: &mut [Rule], plans: &[Plan], generate: &[bool]) {
    for says_so in [false, true] {
        for (plan, _) in plans.iter().zip(generate).filter(|(_, own)| !says_so || **own) {
            for member in &plan.rules {
                match member.rule {
                    Reference::Rule(rule) => rules[rule as usize].standalone = says_so,
                    Reference::Correlation(inner) => headers[inner as usize].standalone = says_so,
                }
            }
        }
    }
}

impl Known<'_> {
    fn add(&mut self, header: &Rule, reference: Reference) {
        for name in [&header.id, &header.name].into_iter().filter(|name| !name.is_empty()) {
            self.references.insert(name.clone(), reference);
        }
    }

    /// Returns the detection rules that a reference comes down to.
    fn leaves(&self, reference: Reference) -> Vec<u32> {
        match reference {
            Reference::Rule(rule) => vec![rule],
            Reference::Correlation(inner) => self.below[inner as usize].clone(),
        }
    }

    /// Resolves what a correlation refers to; returns the first name that is not there yet.
    fn members(&self, draft: &Draft, builder: &mut Builder) -> Result<Vec<Member>, Box<str>> {
        let found = draft.rules.iter().map(|name| {
            self.references.get(name).map(|found| (&**name, *found)).ok_or_else(|| name.clone())
        });
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let counted: &[Box<str>] = match &draft.kind {
            Kind::ValueCount(_, fields) => fields,
            Kind::EventCount(_) | Kind::Temporal(_) | Kind::TemporalOrdered(_) => &[],
        };
        let member = |(name, rule): (&str, Reference)| {
            let mut fields = |wanted: &[Box<str>]| {
                let each = wanted.iter().map(|field| {
                    let names = self.fields(draft, field, name, rule).into_iter();
                    names.map(|name| builder.field(name)).collect()
                });
                each.collect()
            };
            Member { rule, group_by: fields(&draft.group_by), values: fields(counted) }
        };
        Ok(found.into_iter().map(member).collect())
    }

    /// Returns the events' names for a field, or an alias, in what a rule matches.
    fn fields(&self, draft: &Draft, field: &str, name: &str, rule: Reference) -> Vec<Box<str>> {
        let alias = draft.aliases.get(field);
        let mut names = Vec::new();
        for leaf in self.leaves(rule) {
            let leaf = &self.rules[leaf as usize];
            // A rule may be referred to by its id, while aliases go by its name.
            let called = [name, &leaf.name, &leaf.id];
            let meant = alias.and_then(|rules| called.iter().find_map(|name| rules.get(*name)));
            names.extend(self.mapping.names_of(meant.map_or(field, |own| own), &leaf.logsource));
        }
        names.sort();
        names.dedup();
        names
    }
}
