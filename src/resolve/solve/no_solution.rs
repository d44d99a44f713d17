//! Why there is no set: a minimal list of conflicting facts, as data and in words.
//!
//! `core` finds them, `clause` words them.

use std::fmt;
use std::path::PathBuf;

use super::problem::Bar;
use super::rule::Rule;

/// No set keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSolution {
    /// The conflicting facts. Without any one of them this conflict is gone; another may remain.
    #[doc(hidden)]
    pub clauses: Vec<Clause>,
}

/// A fact, or an instance of a rule, in a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The rule.
    pub rule: Rule,
    /// The fact as data.
    pub fact: Fact,
    pub(super) says: String,
    pub(super) hints: Vec<String>,
}

/// The fact of a [`Clause`]. Numbers are indices into the lists of the [`Problem`](super::Problem).
///
/// Without it, a goal or a need is soft, a file that was ruled out counts again, or a rule does not apply. The
/// directories that hold a whole group are those of the whole problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fact {
    /// A soname is a goal.
    Goal(String),
    /// The user fixes a soname, which makes it a goal.
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
    LeastRelease(usize),
    /// A [`Demand`](super::Demand)'s symbols.
    Demand(usize),
    /// The symbols that copies of the first soname need from the second.
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
    /// The remedies, the most specific first.
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
