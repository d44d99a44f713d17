//! A minimal set of conflicting facts.
//!
//! Takes a model without a solution; drops facts, in ever smaller pieces, while it stays unsolvable. To drop a fact
//! never invalidates a set, so the remainder is minimal.

use super::answers::Answers;
use super::any;
use super::clause;
use super::model::{GoalKind, Key, Model};
use super::no_solution::NoSolution;
use std::collections::BTreeSet;

/// Explains a model that has no solution.
pub(super) fn explain(model: &Model<'_>, answers: &mut Answers) -> NoSolution {
    let core = minimal(model, answers);
    let mut keys: Vec<Key> = core.into_iter().collect();
    // First the goals of the user, then the facts against them.
    keys.reverse();
    NoSolution { clauses: clause::clauses(model, answers, &keys) }
}

/// A minimal set of conflicting keys: without any one of them, a set exists.
fn minimal(model: &Model<'_>, answers: &mut Answers) -> BTreeSet<Key> {
    let every = keys(model);
    let mut off = BTreeSet::new();
    let mut left: Vec<Key> = every.clone();
    let mut size = left.len().div_ceil(2).max(1);
    loop {
        let mut kept: Vec<Key> = Vec::new();
        for piece in left.chunks(size) {
            let mut trial = off.clone();
            trial.extend(piece);
            if any(model, answers, &trial).is_none() {
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

/// Every fact and rule instance that can be part of a conflict, in the order in which they are dropped.
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
        if soname.goal == GoalKind::Hard {
            keys.insert(Key::Goal(at));
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
