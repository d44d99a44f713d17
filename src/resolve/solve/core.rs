//! The smallest set of facts that cannot hold together.
//!
//! Takes a model without a solution; takes facts away, in ever smaller pieces, while it stays
//! unsolvable. Taking a fact away never takes a set away, so what is left at the end is minimal.

use super::any;
use super::asked::Asked;
use super::clause;
use super::model::{Key, Model, Wanted};
use super::no_solution::NoSolution;
use std::collections::BTreeSet;

/// Explains a model that has no solution.
pub(super) fn explain(model: &Model<'_>, asked: &mut Asked) -> NoSolution {
    let core = minimal(model, asked);
    let mut keys: Vec<Key> = core.into_iter().collect();
    // The user asked for something first, then came what stands against it.
    keys.reverse();
    NoSolution { clauses: clause::say(model, asked, &keys) }
}

/// A smallest set of keys that cannot hold together: without any one of them, they can.
fn minimal(model: &Model<'_>, asked: &mut Asked) -> BTreeSet<Key> {
    let every = keys(model);
    let mut off = BTreeSet::new();
    let mut left: Vec<Key> = every.clone();
    let mut size = left.len().div_ceil(2).max(1);
    loop {
        let mut kept: Vec<Key> = Vec::new();
        for piece in left.chunks(size) {
            let mut trial = off.clone();
            trial.extend(piece);
            if any(model, asked, &trial).is_none() {
                off = trial;
            } else {
                kept.extend(piece);
            }
        }
        left = kept;
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    left.into_iter().collect()
}

/// Every fact and rule instance that could take part in a conflict, in the order in which they
/// are tried to be done without.
fn keys(model: &Model<'_>) -> Vec<Key> {
    let mut keys: BTreeSet<Key> = BTreeSet::new();
    keys.extend((0..model.conflicts.len()).map(Key::Conflict));
    for group in 0..model.groups.len() {
        keys.extend([Key::OneDirectory(group), Key::OneRelease(group)]);
    }
    keys.insert(Key::OneMajor);
    for (at, soname) in model.sonames.iter().enumerate() {
        if soname.linker {
            keys.insert(Key::Linker(at));
        }
        if soname.wanted == Wanted::Hard {
            keys.insert(Key::Want(at));
        }
        if soname.fixed.is_some() {
            keys.insert(Key::Fixed(at));
        }
        keys.extend(soname.demands.iter().copied().map(Key::Demand));
    }
    for item in &model.items {
        keys.extend(&item.excluded);
        for link in &item.needs {
            keys.insert(Key::Symbols(item.soname, link.soname));
            if link.hard {
                keys.insert(Key::Served(item.soname, link.soname));
            }
        }
    }
    keys.into_iter().collect()
}
