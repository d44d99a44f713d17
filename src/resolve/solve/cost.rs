//! The cost of a set: the documented order of preferences.
//!
//! Costs compare field by field, so the first difference decides. The search packs each into one number, which adds and
//! compares the same way.

use super::problem::{Pin, Rank};

/// The cost of a set, most important field first; the smaller is better.
///
/// 1. `unserved`: soft goals left out. A soname without files, or with every file ruled out by itself (barred,
///    forbidden, for another major, of another release than required), counts nothing.
/// 2. `unserved_needs`: soft needs of chosen libraries left out, counted likewise.
/// 3. `pin_missed`: members of another release than the consumer's metadata pins.
/// 4. `off_root`: members outside the consumer's own installation.
/// 5. `roots`: different installations in use.
/// 6. `older`: steps below the required release, summed; so any newer release goes before any older.
/// 7. `newer`: steps above it, summed.
///
/// Sets of equal cost are compared soname by soname, in the order of the names: first a soname that
/// is not in the set, then the newer release (unknown last), then the path that sorts first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cost {
    /// Soft goals left out.
    pub unserved: u64,
    /// Soft needs of chosen libraries left out.
    pub unserved_needs: u64,
    /// Members of another release than the one pinned.
    pub pin_missed: u64,
    /// Members outside the consumer's own installation.
    pub off_root: u64,
    /// Different installations in use.
    pub roots: u64,
    /// Steps below the required release.
    pub older: u64,
    /// Steps above the required release.
    pub newer: u64,
}

impl Cost {
    /// The cost of one member, installations aside.
    pub(super) fn of(rank: Rank) -> Self {
        Self {
            pin_missed: u64::from(rank.pin == Pin::Missed),
            off_root: u64::from(!rank.at_consumer_root),
            older: u64::from(rank.older_by.min(MAX_STEPS)),
            newer: u64::from(rank.newer_by.min(MAX_STEPS)),
            ..Self::default()
        }
    }

    /// The sum of both.
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

    /// One number that adds and compares as the fields do, while no count overflows its width.
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

/// The most steps of one member: more than any real distance in minor releases.
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
/// One soft goal left out.
pub(super) const ONE_GOAL: u128 = 1 << UNSERVED;
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
