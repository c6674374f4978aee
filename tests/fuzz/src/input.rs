//! Reading choices from the fuzzer's bytes.

use std::ops::Range;

/// The bytes that are left; past their end all choices are zero.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// Returns one of `items`.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::from(self.byte()) % items.len()]
    }

    /// Returns a number of `range`, or its beginning if it is empty.
    pub(crate) fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.number() % range.len().max(1)
    }

    /// Returns the next `len` bytes, or as many as are left.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
