//! What a set costs: the written order of preferences.
//!
//! Costs compare field by field, so the first difference decides. Inside the search they are one
//! number each, which adds and compares the same way.

use super::problem::{Pin, Rank};

/// What a set costs, most important first; the smaller set of numbers wins.
///
/// 1. `unserved`: soft wants left out. A soname all of whose files are ruled out each by itself (barred, forbidden,
///    for another major, of another release than demanded), or that has none, counts nothing.
/// 2. `unserved_needs`: soft needs of chosen libraries left out, counted likewise.
/// 3. `pin_missed`: members of another release than the consumer's metadata pins.
/// 4. `off_root`: members outside the consumer's own installation.
/// 5. `roots`: different installations in use.
/// 6. `older`: steps below the wanted release, summed; so any newer release goes before any older.
/// 7. `newer`: steps above it, summed.
///
/// Sets of equal cost are compared soname by soname, in the order of the names: a soname that is
/// not in the set goes first, then the newer release (unknown last), then the path that sorts first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cost {
    /// Soft wants left out.
    pub unserved: u64,
    /// Soft needs of chosen libraries left out.
    pub unserved_needs: u64,
    /// Members of another release than the one pinned.
    pub pin_missed: u64,
    /// Members outside the consumer's own installation.
    pub off_root: u64,
    /// Different installations in use.
    pub roots: u64,
    /// Steps below the wanted release.
    pub older: u64,
    /// Steps above the wanted release.
    pub newer: u64,
}

impl Cost {
    /// What one member adds, the installations in use aside.
    pub(super) fn of(rank: Rank) -> Self {
        Self {
            pin_missed: u64::from(rank.pin == Pin::Missed),
            off_root: u64::from(!rank.at_consumer_root),
            older: u64::from(rank.older_by.min(MAX_STEPS)),
            newer: u64::from(rank.newer_by.min(MAX_STEPS)),
            ..Self::default()
        }
    }

    /// The cost of both.
    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            unserved: self.unserved + other.unserved,
            unserved_needs: self.unserved_needs + other.unserved_needs,
            pin_missed: self.pin_missed + other.pin_missed,
            off_root: self.off_root + other.off_root,
            roots: self.roots + other.roots,
            older: self.older + other.older,
            newer: self.newer + other.newer,
        }
    }

    /// As one number that adds and compares as the fields do, while no count passes its width.
    pub(super) fn packed(self) -> u128 {
        (u128::from(self.unserved) << UNSERVED)
            + (u128::from(self.unserved_needs) << UNSERVED_NEEDS)
            + (u128::from(self.pin_missed) << PIN_MISSED)
            + (u128::from(self.off_root) << OFF_ROOT)
            + (u128::from(self.roots) << ROOTS)
            + (u128::from(self.older) << OLDER)
            + u128::from(self.newer)
    }
}

/// The most steps one member counts: nobody is twenty thousand minor releases away.
const MAX_STEPS: u32 = 0x3fff;

// Widths: 12 bits for each count of sonames, 16 for roots, 32 for each sum of steps.
const OLDER: u32 = 32;
pub(super) const ROOTS: u32 = 64;
const OFF_ROOT: u32 = 80;
const PIN_MISSED: u32 = 92;
const UNSERVED_NEEDS: u32 = 104;
const UNSERVED: u32 = 116;

/// The fields that outrank the number of roots.
pub(super) const ABOVE_ROOTS: u128 = u128::MAX << OFF_ROOT;
/// One soft want left out.
pub(super) const ONE_WANT: u128 = 1 << UNSERVED;
/// One soft need left out.
pub(super) const ONE_NEED: u128 = 1 << UNSERVED_NEEDS;
/// One root more.
pub(super) const ONE_ROOT: u128 = 1 << ROOTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_sum_and_order() {
        let samples: Vec<Cost> = (0..128_u64)
            .map(|bits| Cost {
                unserved: bits & 1,
                unserved_needs: bits >> 1 & 1,
                pin_missed: bits >> 2 & 1,
                off_root: bits >> 3 & 1,
                roots: bits >> 4 & 1,
                older: bits >> 5 & 1,
                newer: bits >> 6 & 1,
            })
            .collect();
        for a in &samples {
            for b in &samples {
                assert_eq!(a.cmp(b), a.packed().cmp(&b.packed()));
                assert_eq!(a.plus(*b).packed(), a.packed() + b.packed());
            }
        }
    }
}
