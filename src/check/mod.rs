//! Judges a link map, predicted or real: whether it loads, whether it is torn, and which file is the cause.
//!
//! Takes a [`Subject`] and the loader of an environment, or the maps of a live process; gives a [`Judgement`]: each
//! object with the rule that found it, the libraries that are not found, the undefined symbols, and findings with
//! stable ids. Never loads or chooses anything.

mod beside;
mod closure;
mod copies;
mod finding;
mod in_process;
mod judge;
mod later;
mod live;
mod mapping;
mod mixes;
mod names;
mod opening;
mod package;
mod pathfinder;
mod required;
mod stranger;
mod subject;
mod torch;
pub mod trace;

pub use closure::{closure, predict};
pub use finding::{Cause, File, Finding, name_of, short};
pub use in_process::{InProcess, in_process};
pub use live::{LiveError, Maps, Moments, Process, live};
pub use names::{Consumer, consumers_of, known_consumers};
pub(crate) use pathfinder::Pathfinder;
pub use stranger::{Standing, stranger};
pub use subject::{Subject, SubjectError};

use crate::host::FileId;
use crate::loader::Rule;
use crate::tables::Version;
use std::ffi::OsString;
use std::path::PathBuf;

/// The result for a link map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It loads, and each group is of one release.
    Loads,
    /// It loads, but parts of different releases are mapped.
    Torn,
    /// The loader refuses it.
    Fails,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Loads => "loads",
            Self::Torn => "torn",
            Self::Fails => "fails",
        })
    }
}

/// When an object is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// With the program, before the target is loaded.
    Startup,
    /// With the target.
    Load,
    /// At the first use of a feature: names that objects are known to open.
    Later,
}

/// One object of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedObject {
    /// The name it was requested by, else its soname or file name.
    pub name: OsString,
    /// The path as ld.so opens it.
    pub path: PathBuf,
    /// Device and inode.
    pub id: FileId,
    /// The rule that found it.
    pub rule: Rule,
    /// The index of the object that caused it to be mapped.
    pub needed_by: Option<usize>,
    /// When it is mapped.
    pub phase: Stage,
    /// Whether it is an NVIDIA library.
    pub ours: bool,
    /// The release of an NVIDIA library.
    pub version: Option<Version>,
    /// Whether the file was removed or replaced after it was mapped.
    pub deleted: bool,
}

/// An undefined symbol or version node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct MissingSymbol {
    /// The symbol; `None` where the whole node is missing.
    pub symbol: Option<String>,
    /// Its version node.
    pub node: Option<String>,
    /// The object that references it.
    pub needed_by: PathBuf,
    /// The file that should define it, if the version reference names a mapped file.
    pub provider: Option<PathBuf>,
    /// Whether it is needed only at the first use.
    pub later: bool,
}

/// A library that is not found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFound {
    /// The name.
    pub name: OsString,
    /// The object that needs it; `None` for the command line.
    pub needed_by: Option<PathBuf>,
    /// dlerror(3)'s text after the name, or why the search stopped.
    pub says: String,
    /// The full text of dlerror(3).
    pub error: String,
    /// The file that stopped the search, if any.
    pub damaged: Option<PathBuf>,
    /// Whether it is needed only at the first use.
    pub later: bool,
    /// Whether the target loads without it.
    pub optional: bool,
}

/// A link map and its defects.
#[derive(Debug, Clone)]
#[must_use]
#[non_exhaustive]
pub struct Judgement {
    /// A short description of the target.
    pub of: String,
    /// The path of the target.
    pub at: Option<PathBuf>,
    /// The result.
    pub verdict: Verdict,
    /// The line that ld.so would print first, if the map fails.
    pub error: Option<String>,
    /// The objects in link-map order.
    pub objects: Vec<JudgedObject>,
    /// Undefined symbols and nodes.
    pub missing: Vec<MissingSymbol>,
    /// Libraries that are not found.
    pub not_found: Vec<NotFound>,
    /// The defects.
    pub findings: Vec<Finding>,
    /// How a live process compares with a plan.
    pub planned: Option<Planned>,
}

/// The libraries of a plan in a live process, by soname.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// Mapped from the planned file.
    pub mapped: Vec<String>,
    /// Mapped from another file.
    pub elsewhere: Vec<String>,
    /// Not mapped yet.
    pub not_yet: Vec<String>,
}

impl Judgement {
    /// The judgement of an empty target: nothing to load, no defect.
    pub fn empty(of: String) -> Self {
        Self {
            of,
            at: None,
            verdict: Verdict::Loads,
            error: None,
            objects: Vec::new(),
            missing: Vec::new(),
            not_found: Vec::new(),
            findings: Vec::new(),
            planned: None,
        }
    }

    /// The objects that were mapped because of the object at `index`, in order.
    pub fn children(&self, index: Option<usize>) -> impl Iterator<Item = (usize, &JudgedObject)> {
        self.objects.iter().enumerate().filter(move |(at, object)| object.needed_by == index && Some(*at) != index)
    }
}

/// How deep to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Bind every undefined symbol.
    Symbols,
    /// Only resolve files.
    Files,
}
