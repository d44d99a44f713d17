//! Why there is no set: facts that cannot hold together, none of which is superfluous.
//!
//! Takes a model without a solution; takes facts away, in ever smaller pieces, while it stays
//! unsolvable. Taking a fact away never takes a set away, so what is left at the end is minimal.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::any;
use super::asked::Asked;
use super::clause;
use super::model::{Key, Model, Wanted};
use super::problem::Bar;
use super::rule::Rule;

/// No set keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSolution {
    /// Facts that cannot hold together. Without any one of them there is a set, as far as this
    /// conflict goes; there may be another.
    pub clauses: Vec<Clause>,
}

/// A fact, or a rule applied to something, that takes part in a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The rule.
    pub rule: Rule,
    /// What can be taken away, as data.
    pub fact: Fact,
    pub(super) says: String,
    pub(super) hints: Vec<String>,
}

/// What a [`Clause`] states. Numbers are places in the lists of the [`Problem`](super::Problem).
///
/// Without it: a want or a need is soft; a file that was ruled out counts again; a rule is not
/// applied. Which directories hold a group whole is read off the whole problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fact {
    /// A soname is wanted.
    Want(String),
    /// The user fixes a soname, which is wanted therefore.
    Fixed(String),
    /// Copies of the first soname cannot be loaded without the second.
    Needs(String, String),
    /// A file or directory is forbidden.
    Forbidden(PathBuf),
    /// Copies of a soname are ruled out by a bar.
    Barred(String, Bar),
    /// A consumer was built for a CUDA major.
    Built,
    /// A [`ReleaseDemand`](super::ReleaseDemand).
    ExactRelease(usize),
    /// A [`Demand`](super::Demand)'s symbols.
    Demand(usize),
    /// The symbols that copies of the first soname take from the second.
    Symbols(String, String),
    /// All members are for one CUDA major.
    OneMajor,
    /// A group is of one release.
    OneRelease(String),
    /// A group comes from one directory where one holds it all.
    OneDirectory(String),
    /// An nvJitLink is not older than its users.
    Linker(String),
    /// A [`Conflict`](super::Conflict).
    Conflict(usize),
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

impl NoSolution {
    /// What would resolve it, most telling first.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let mut hints: Vec<String> = Vec::new();
        for hint in self.clauses.iter().flat_map(|clause| &clause.hints) {
            if !hints.contains(hint) {
                hints.push(hint.clone());
            }
        }
        hints
    }
}

impl fmt::Display for NoSolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no set of libraries fits: ")?;
        for (at, clause) in self.clauses.iter().enumerate() {
            write!(f, "{}{clause}", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for NoSolution {}

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
