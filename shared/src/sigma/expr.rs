//! Conditions as trees, whatever they ask at their leaves.

/// A condition. `And` of nothing holds, `Or` of nothing does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr<T> {
    /// All hold.
    And(Vec<Self>),
    /// At least one holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// What is asked.
    Leaf(T),
}

impl<T> Expr<T> {
    /// Returns the conjunction, without a level for a single part.
    pub(super) fn all(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 { parts.remove(0) } else { Self::And(parts) }
    }

    /// Returns the disjunction, without a level for a single part.
    pub(super) fn any(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 { parts.remove(0) } else { Self::Or(parts) }
    }

    /// Returns the negation.
    pub(super) fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Returns how many leaves there are.
    pub(super) fn leaves(&self) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::leaves).sum(),
            Self::Not(part) => part.leaves(),
            Self::Leaf(_) => 1,
        }
    }

    /// Returns whether anything is negated.
    pub(super) fn has_not(&self) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::has_not),
            Self::Not(_) => true,
            Self::Leaf(_) => false,
        }
    }

    /// Puts something else at each leaf.
    pub(super) fn map<U>(self, leaf: &mut dyn FnMut(T) -> U) -> Expr<U> {
        match self {
            Self::And(parts) => Expr::And(parts.into_iter().map(|part| part.map(leaf)).collect()),
            Self::Or(parts) => Expr::Or(parts.into_iter().map(|part| part.map(leaf)).collect()),
            Self::Not(part) => Expr::Not(Box::new(part.map(leaf))),
            Self::Leaf(value) => Expr::Leaf(leaf(value)),
        }
    }

    /// Puts a condition at each leaf; the first error ends it.
    pub(super) fn expand<U, E>(
        self,
        leaf: &mut dyn FnMut(T) -> Result<Expr<U>, E>,
    ) -> Result<Expr<U>, E> {
        let each = |parts: Vec<Self>, leaf: &mut dyn FnMut(T) -> Result<Expr<U>, E>| {
            parts.into_iter().map(|part| part.expand(leaf)).collect::<Result<Vec<_>, E>>()
        };
        Ok(match self {
            Self::And(parts) => Expr::all(each(parts, leaf)?),
            Self::Or(parts) => Expr::any(each(parts, leaf)?),
            Self::Not(part) => part.expand(leaf)?.negated(),
            Self::Leaf(value) => leaf(value)?,
        })
    }
}
