//! What rules are matched against.

/// An event, whatever it is made of. Fields are numbers: indexes into [`RuleSet::fields`](super::RuleSet::fields),
/// which an adapter resolves once for each rule set.
pub trait Event {
    /// Calls `visit` with each value of the field: with several for a list, not at all where the field is absent.
    fn values(&self, field: usize, visit: &mut dyn FnMut(Value<'_>));

    /// Calls `visit` with every text of the event, for searches without a field.
    fn texts(&self, visit: &mut dyn FnMut(&str));

    /// Calls `visit` with each value of each field below `fields`, in any order. An event that knows its own fields
    /// does better than to be asked for each.
    fn each(&self, fields: usize, visit: &mut dyn FnMut(usize, Value<'_>)) {
        for field in 0..fields {
            self.values(field, &mut |value| visit(field, value));
        }
    }
}

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A text. A text of digits is as good as a number.
    Text(&'a str),
    /// An integer.
    Int(i64),
    /// Another number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// There, but nothing.
    Null,
}
