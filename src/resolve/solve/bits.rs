//! A set of small numbers.
//!
//! Takes and gives indices below the size it was made for; others are not in it. Never grows.

use std::ops::Range;

const WIDTH: usize = 64;

/// A set of numbers below a fixed size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(WIDTH)])
    }

    pub(super) fn add(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / WIDTH) {
            *word |= 1 << (at % WIDTH);
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / WIDTH) {
            *word &= !(1 << (at % WIDTH));
        }
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at / WIDTH).is_some_and(|word| word >> (at % WIDTH) & 1 == 1)
    }

    /// Removes what is in `other`.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own &= !other;
        }
    }

    /// Adds what is in `other`.
    pub(super) fn join(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own |= other;
        }
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(own, other)| own & other != 0)
    }

    pub(super) fn holds_all(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(own, other)| other & !own == 0)
    }

    /// Whether all members of `other` inside `range` are in it.
    pub(super) fn holds_within(&self, other: &Self, range: &Range<usize>) -> bool {
        other.within(range).all(|at| self.has(at))
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The members inside `range`, in order.
    pub(super) fn within(&self, range: &Range<usize>) -> Within<'_> {
        Within { bits: self, next: range.start, end: range.end }
    }
}

/// The members of a set inside a range, in order.
#[derive(Clone)]
pub(super) struct Within<'b> {
    bits: &'b Bits,
    next: usize,
    end: usize,
}

impl Iterator for Within<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.next < self.end {
            let word = self.bits.0.get(self.next / WIDTH)? >> (self.next % WIDTH);
            if word == 0 {
                self.next = (self.next / WIDTH + 1) * WIDTH;
                continue;
            }
            let found = self.next + word.trailing_zeros() as usize;
            self.next = found + 1;
            return (found < self.end).then_some(found);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_crosses_words() {
        let mut bits = Bits::none(200);
        for at in [0, 5, 63, 64, 127, 130, 199] {
            bits.add(at);
        }
        assert_eq!(bits.within(&(5..200)).collect::<Vec<_>>(), [5, 63, 64, 127, 130, 199]);
        assert_eq!(bits.within(&(6..63)).count(), 0);
        assert_eq!(bits.within(&(64..130)).collect::<Vec<_>>(), [64, 127]);
        bits.remove(64);
        assert!(!bits.has(64) && bits.has(63) && !bits.has(999));
        assert_eq!(bits.count(), 6);
    }
}
