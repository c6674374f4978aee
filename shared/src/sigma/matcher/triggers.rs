//! Which atoms make a rule worth a look, and in which order its condition is asked.

use super::{
    super::{expr::Expr, pattern::Shape, test::Test},
    Atom, Role, number,
};

/// The rules that an atom makes worth a look.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    /// By atom: where its rules begin in `rules`; one more at the end.
    starts: Vec<u32>,
    rules: Vec<u32>,
    always: Vec<u32>,
}

impl Triggers {
    /// Returns the rules to look at once this atom was met.
    pub(super) fn of(&self, atom: u32) -> &[u32] {
        let at = atom as usize;
        &self.rules[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// Returns the rules to look at for every event.
    pub(super) fn always(&self) -> &[u32] {
        &self.always
    }
}

/// Puts each condition into the order in which it is asked, and chooses its triggers.
pub(super) fn choose(
    atoms: &[Atom],
    roles: &[Role],
    conditions: Vec<Expr<u32>>,
) -> (Vec<Expr<u32>>, Triggers) {
    let mut uses = vec![0; atoms.len()];
    conditions.iter().for_each(|condition| count(condition, &mut uses));
    let estimate = Estimate { atoms, roles, uses: &uses };
    let conditions: Vec<_> =
        conditions.into_iter().map(|condition| estimate.ordered(condition)).collect();
    let mut by_atom = vec![Vec::new(); atoms.len()];
    let mut triggers = Triggers::default();
    for (rule, condition) in conditions.iter().enumerate() {
        let rule = number(rule);
        match estimate.triggers(condition) {
            Some((_, chosen)) => {
                chosen.into_iter().for_each(|atom| by_atom[atom as usize].push(rule));
            }
            None => triggers.always.push(rule),
        }
    }
    for mut rules in by_atom {
        rules.dedup();
        triggers.starts.push(number(triggers.rules.len()));
        triggers.rules.append(&mut rules);
    }
    triggers.starts.push(number(triggers.rules.len()));
    (conditions, triggers)
}

fn count(condition: &Expr<u32>, uses: &mut [u32]) {
    match condition {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| count(part, uses)),
        Expr::Not(part) => count(part, uses),
        Expr::Leaf(atom) => uses[*atom as usize] += 1,
    }
}

/// Guesses about events that nobody has seen yet.
struct Estimate<'a> {
    atoms: &'a [Atom],
    roles: &'a [Role],
    /// How often rules ask for an atom: what many ask for is met often.
    uses: &'a [u32],
}

impl Estimate<'_> {
    /// Returns atoms of which one is met wherever the condition holds, and how often that will be; nothing where the
    /// condition may hold without any.
    fn triggers(&self, condition: &Expr<u32>) -> Option<(f64, Vec<u32>)> {
        match condition {
            Expr::Leaf(atom) => self.leaf(*atom),
            Expr::Not(_) => None,
            Expr::And(parts) => {
                let each = parts.iter().filter_map(|part| self.triggers(part));
                each.min_by(|(a, _), (b, _)| a.total_cmp(b))
            }
            Expr::Or(parts) => {
                let each: Option<Vec<_>> = parts.iter().map(|part| self.triggers(part)).collect();
                let (often, atoms): (Vec<f64>, Vec<Vec<u32>>) = each?.into_iter().unzip();
                let mut atoms = atoms.concat();
                atoms.sort_unstable();
                atoms.dedup();
                Some((often.iter().sum(), atoms))
            }
        }
    }

    fn leaf(&self, atom: u32) -> Option<(f64, Vec<u32>)> {
        let at = atom as usize;
        if self.roles[at] != Role::Lazy {
            return Some((self.often(at), vec![atom]));
        }
        let ask = &self.atoms[at];
        let there = |other: &Atom| other.field == ask.field && other.test == Test::Exists;
        if ask.field.is_none() || ask.test == Test::Null {
            return None;
        }
        let exists = self.atoms.iter().position(there)?;
        Some((self.often(exists), vec![number(exists)]))
    }

    /// Guesses how many of a thousand events meet an atom.
    fn often(&self, at: usize) -> f64 {
        let by_length = |text: &str| match text.len() {
            0..=2 => 200.0,
            3 => 100.0,
            4 => 50.0,
            5..=6 => 20.0,
            7..=9 => 8.0,
            _ => 3.0,
        };
        let alone = match &self.atoms[at].test {
            Test::Text { pattern, .. } => match pattern.shape() {
                Shape::Exact(text) | Shape::Prefix(text) | Shape::Suffix(text) => by_length(text),
                Shape::Contains(text) => by_length(text),
                Shape::Glob => by_length(pattern.longest_text().unwrap_or_default()),
                Shape::Any => 500.0,
            },
            Test::Exists => 500.0,
            Test::Regex { .. }
            | Test::Number { .. }
            | Test::Network { .. }
            | Test::Field { .. }
            | Test::Null => 1000.0,
        };
        alone + 2.0 * f64::from(self.uses[at])
    }

    /// Puts what is answered already before what has to be asked, in conjunctions the rarest first.
    fn ordered(&self, condition: Expr<u32>) -> Expr<u32> {
        match condition {
            Expr::And(parts) => Expr::And(self.sorted(parts)),
            Expr::Or(parts) => Expr::Or(self.sorted(parts)),
            Expr::Not(part) => self.ordered(*part).negated(),
            Expr::Leaf(atom) => Expr::Leaf(atom),
        }
    }

    fn sorted(&self, parts: Vec<Expr<u32>>) -> Vec<Expr<u32>> {
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let part = self.ordered(part);
                (self.effort(&part), self.rarity(&part), part)
            })
            .collect();
        parts.sort_by(|(a, x, _), (b, y, _)| a.cmp(b).then(x.total_cmp(y)));
        parts.into_iter().map(|(_, _, part)| part).collect()
    }

    fn effort(&self, condition: &Expr<u32>) -> u64 {
        match condition {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().map(|part| self.effort(part)).sum(),
            Expr::Not(part) => self.effort(part),
            Expr::Leaf(atom) => {
                match (self.roles[*atom as usize], &self.atoms[*atom as usize].test) {
                    (Role::Eager, _) => 1,
                    (Role::Anchored, _) => 4,
                    (Role::Lazy, Test::Regex { .. }) => 256,
                    (Role::Lazy, _) => 16,
                }
            }
        }
    }

    fn rarity(&self, condition: &Expr<u32>) -> f64 {
        match condition {
            Expr::Leaf(atom) => self.often(*atom as usize),
            Expr::And(_) | Expr::Or(_) | Expr::Not(_) => 1000.0,
        }
    }
}
