//! Why there is no set: facts that cannot hold together, none of which is superfluous.
//!
//! Says what a conflict is made of, as data and in words; `core` finds it.

use std::fmt;
use std::path::PathBuf;

use super::problem::Bar;
use super::rule::Rule;

/// No set keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSolution {
    /// Facts that cannot hold together. Without any one of them there is a set, as far as this
    /// conflict goes; there may be another.
    #[doc(hidden)]
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
        f.write_str("no compatible set of libraries: ")?;
        for (at, clause) in self.clauses.iter().enumerate() {
            write!(f, "{}{clause}", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for NoSolution {}
