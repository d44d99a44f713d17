//! The input of the choice as plain data, from the inventory and the consumer.
//!
//! Decides nothing, opens nothing, looks up nothing.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

/// The problem: find the files that serve these sonames and keep all rules.
#[derive(Clone)]
pub struct Problem<'a> {
    /// The sonames to serve.
    pub goals: Vec<Goal>,
    /// The files that can serve a soname. Soname and path together identify a candidate.
    pub candidates: Vec<Candidate>,
    /// The symbols that consumers need from the copy chosen for a soname.
    pub demands: Vec<Demand>,
    /// Groups of which a consumer requires one release.
    pub releases: Vec<ReleaseDemand>,
    /// The CUDA major that the consumer was built for.
    pub built: Option<Built>,
    /// Pairs known not to work together.
    pub conflicts: Vec<Conflict>,
    /// Per soname, how a user gets a copy, such as ``install `nvidia-nccl-cu12` ``.
    pub fix_hints: BTreeMap<String, String>,
    /// The oracle for undefined symbols.
    pub defines: &'a dyn Defines,
    /// The policy of the user and the environment.
    pub policy: Policy,
}

/// The oracle for the symbols that a candidate defines.
///
/// Must be deterministic. A choice makes each query at most once, and only where the answer decides.
pub trait Defines {
    /// The first of `symbols` that the candidate at this index of [`Problem::candidates`] does not define.
    fn missing(&self, symbols: SymbolSetId, candidate: usize) -> Option<MissingSymbol>;
}

/// The id of a set of strong undefined symbols, which only [`Defines`] can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolSetId(pub u32);

impl SymbolSetId {
    /// The empty set: every candidate defines it, without a query.
    pub const NONE: Self = Self(u32::MAX);
}

/// A symbol that a file must define and does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MissingSymbol {
    /// The name, as in the dynamic symbol table.
    pub symbol: String,
    /// The version node it is bound to, if any.
    pub node: Option<String>,
}

impl fmt::Display for MissingSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "`{}@{node}`", self.symbol),
            None => write!(f, "`{}`", self.symbol),
        }
    }
}

/// A soname to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The soname.
    pub soname: String,
    /// Whether it is required. Otherwise it is served if a copy fits.
    pub hard: bool,
    /// The consumer, for messages.
    pub by: String,
}

/// The symbols that a consumer needs from the copy chosen for a soname.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// The consumer, for messages.
    pub consumer: String,
    /// The soname of the provider.
    pub soname: String,
    /// The strong undefined symbols that bind to it.
    pub symbols: SymbolSetId,
    /// The CUDA release that the consumer was built with; only [`Rule::LinkerNotOlder`] reads it.
    ///
    /// [`Rule::LinkerNotOlder`]: super::Rule::LinkerNotOlder
    pub cuda: Option<CudaRelease>,
}

/// A consumer that requires a release of a group or a newer one of its major, as a bundled cuDNN dispatcher 9.1.0 does of
/// its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseDemand {
    /// The consumer, for messages.
    pub consumer: String,
    /// The group, as in [`Candidate::group`].
    pub group: String,
    /// The release.
    pub least: Release,
}

/// The CUDA major that a consumer was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The consumer, for messages.
    pub consumer: String,
    /// The major.
    pub major: u32,
}

/// A file that can serve a soname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The soname.
    pub soname: String,
    /// The file.
    pub path: PathBuf,
    /// Its installation: a site-packages, a toolkit, a conda prefix.
    pub root: u32,
    /// Its directory.
    pub directory: u32,
    /// Its full release, where known.
    pub version: Option<Release>,
    /// The group that must be of one release: `cublas`, `cudnn`, `nvrtc`, `driver`.
    pub group: Option<String>,
    /// The CUDA release that it was built for. `None` never conflicts, as for driver libraries, which serve every
    /// major.
    pub cuda: Option<CudaRelease>,
    /// Why it was ruled out before the choice: a stub, damaged, for another machine.
    pub barred: Option<Bar>,
    /// The set members that it needs. An entry for its own soname is ignored.
    pub needs: Vec<Need>,
    /// How well it suits the consumer, rules aside.
    pub rank: Rank,
}

/// A library that a candidate needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Its soname.
    pub soname: String,
    /// The strong undefined symbols that bind to it.
    pub symbols: SymbolSetId,
    /// Whether the candidate cannot be loaded without it, as with `DT_NEEDED`. Otherwise, as for `dlopen`, it is served
    /// if a copy fits.
    pub hard: bool,
}

/// Why a file was ruled out before the choice, as a clause that does not name the file:
/// "a stub", "cut off at 4096 bytes". Equal bars are reported together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bar(pub String);

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How well a candidate suits the consumer; see [`Cost`] for how it counts.
///
/// [`Cost`]: super::Cost
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether it is of the release the consumer's metadata pins.
    pub pin: Pin,
    /// Whether it belongs to the consumer's own installation.
    pub at_consumer_root: bool,
    /// Steps (of minor release) above the required release.
    pub newer_by: u32,
    /// Steps below it.
    pub older_by: u32,
}

/// A candidate compared with the release that the consumer's metadata pins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// It is the pinned release.
    Met,
    /// Nothing is pinned.
    #[default]
    Free,
    /// Another release is pinned.
    Missed,
}

/// Two libraries known not to work together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// One side.
    pub a: Side,
    /// The other.
    pub b: Side,
    /// The failure, in a clause.
    pub why: String,
}

/// One side of a [`Conflict`]: some releases of a library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// The library.
    pub name: Named,
    /// The first release; without one, all older ones too.
    pub from: Option<Release>,
    /// The first release beyond it; without one, all newer ones too.
    pub until: Option<Release>,
}

/// How a [`Side`] names its libraries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// By the whole soname.
    Soname(String),
    /// By the soname up to `.so`.
    Stem(String),
    /// By the group.
    Group(String),
}

impl Side {
    /// Whether it covers a candidate. Only a side of all releases covers one of unknown release.
    #[must_use]
    pub fn covers(&self, candidate: &Candidate) -> bool {
        let named = match &self.name {
            Named::Soname(soname) => *soname == candidate.soname,
            Named::Stem(stem) => *stem == stem_of(&candidate.soname),
            Named::Group(group) => candidate.group.as_ref() == Some(group),
        };
        let inside = match &candidate.version {
            Some(version) => {
                self.from.as_ref().is_none_or(|from| from <= version)
                    && self.until.as_ref().is_none_or(|until| version < until)
            }
            None => self.from.is_none() && self.until.is_none(),
        };
        named && inside
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Named::Soname(name) | Named::Stem(name) | Named::Group(name) => f.write_str(name)?,
        }
        if let Some(from) = &self.from {
            write!(f, " >={from}")?;
        }
        if let Some(until) = &self.until {
            write!(f, " <{until}")?;
        }
        Ok(())
    }
}

/// The policy of the user and the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Sonames that the loader finds elsewhere: served without a choice.
    pub provided: BTreeSet<String>,
    /// Choices of the user. Each is also a hard goal, and overrides `provided`.
    pub fixed: BTreeMap<String, PathBuf>,
    /// Files and whole directories that the user forbids.
    pub forbidden: BTreeSet<PathBuf>,
    /// How far to look for the reason why a copy was refused.
    pub explain: Explain,
}

/// How far to look for the reason why a copy was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Explain {
    /// Query the symbols of every copy, so that a broken rule always comes before a preference.
    #[default]
    Fully,
    /// Use only the answers that the choice needed, and read nothing more. The reason for a copy with an undefined
    /// symbol may then be a preference, which is true too.
    AsKnown,
}

/// A release as numbers: 12.4.5.8. Trailing zeros do not count: 13.0.3 is 13.0.3.0.
#[derive(Debug, Clone, Default)]
pub struct Release(pub Vec<u32>);

impl Release {
    fn trimmed(&self) -> &[u32] {
        let len = self.0.iter().rposition(|&n| n != 0).map_or(0, |at| at + 1);
        self.0.get(..len).unwrap_or_default()
    }

    /// Whether it is `least`, or a newer release of its major: 9.28.0 for 9.1.0.
    #[must_use]
    pub fn serves(&self, least: &Self) -> bool {
        let major = |release: &Self| release.0.first().copied().unwrap_or(0);
        major(self) == major(least) && self >= least
    }
}

impl From<&[u32]> for Release {
    fn from(numbers: &[u32]) -> Self {
        Self(numbers.to_vec())
    }
}

impl PartialEq for Release {
    fn eq(&self, other: &Self) -> bool {
        self.trimmed() == other.trimmed()
    }
}

impl Eq for Release {}

impl Hash for Release {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.trimmed().hash(state);
    }
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Release {
    fn cmp(&self, other: &Self) -> Ordering {
        self.trimmed().cmp(other.trimmed())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

/// A CUDA release as far as it is known: 12, or 12.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CudaRelease {
    /// The major.
    pub major: u32,
    /// The minor, where known.
    pub minor: Option<u32>,
}

impl CudaRelease {
    /// Whether it is known to be too old, or of another major, for the input of `user`.
    pub(super) fn falls_short_of(self, user: Self) -> bool {
        self.major != user.major || matches!((self.minor, user.minor), (Some(own), Some(its)) if own < its)
    }
}

impl fmt::Display for CudaRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "CUDA {}.{minor}", self.major),
            None => write!(f, "CUDA {}", self.major),
        }
    }
}

/// The soname up to `.so`.
fn stem_of(soname: &str) -> &str {
    soname.find(".so").map_or(soname, |at| soname.get(..at).unwrap_or(soname))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(numbers: &[u32]) -> Release {
        numbers.into()
    }

    #[test]
    fn releases_compare_without_zeros_at_the_end() {
        assert_eq!(release(&[13, 0, 3]), release(&[13, 0, 3, 0]));
        assert!(release(&[9, 10]) > release(&[9, 9, 9]));
        assert!(release(&[9, 1, 0, 70]).serves(&release(&[9, 1, 0])));
        assert!(release(&[9, 10]).serves(&release(&[9, 1, 0])));
        assert!(!release(&[9, 0, 9]).serves(&release(&[9, 1])));
        assert!(!release(&[10]).serves(&release(&[9, 1])));
        assert_eq!(release(&[12, 4, 127]).to_string(), "12.4.127");
    }

    #[test]
    fn the_linker_falls_short_only_where_that_is_known() {
        let cuda = |major, minor| CudaRelease { major, minor };
        assert!(cuda(12, Some(1)).falls_short_of(cuda(12, Some(4))));
        assert!(cuda(13, Some(1)).falls_short_of(cuda(12, Some(4))));
        assert!(!cuda(12, Some(8)).falls_short_of(cuda(12, Some(4))));
        assert!(!cuda(12, None).falls_short_of(cuda(12, Some(4))));
    }
}
