//! What is wrong with a link map, predicted or real: does it load, is it torn, and whose fault is it.
//!
//! Takes a [`Subject`] and the loader of an environment, or the maps of a live process; gives a [`Judgement`]: every
//! object with the rule that let it in, what is not found, which symbols are missing, and findings with stable ids. Never
//! loads anything, never chooses anything better.

mod beside;
mod closure;
mod copies;
mod finding;
mod judge;
mod later;
mod live;
mod mapping;
mod mixes;
mod names;
mod opening;
mod package;
mod pathfinder;
mod stranger;
mod subject;
mod torch;
pub mod trace;

pub use closure::{closure, predict};
pub use finding::{Cause, File, Finding, name_of, short};
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

/// What a link map comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It loads, and what belongs together is of one release.
    Loads,
    /// It loads, but parts of different releases meet.
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

/// When an object comes into the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// With the program, before anything is asked for.
    Startup,
    /// When the subject is loaded.
    Load,
    /// When something in it is first used: what is known to be opened by name.
    Later,
}

/// One object of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedObject {
    /// The name it was asked for by, else its soname or file name.
    pub name: OsString,
    /// The path as ld.so opens it.
    pub path: PathBuf,
    /// Device and inode.
    pub id: FileId,
    /// The rule that found it.
    pub rule: Rule,
    /// Which object caused it to be mapped, by its place in the list.
    pub needed_by: Option<usize>,
    /// When it comes.
    pub phase: Stage,
    /// Whether it is one of NVIDIA's.
    pub ours: bool,
    /// Its release, where it is one of NVIDIA's.
    pub version: Option<Version>,
    /// The file was removed or replaced since it was mapped.
    pub deleted: bool,
}

/// A symbol or a version node that nobody defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct MissingSymbol {
    /// The symbol; `None` where the whole node is missing.
    pub symbol: Option<String>,
    /// Its version node.
    pub node: Option<String>,
    /// The object that binds to it.
    pub wanted_by: PathBuf,
    /// The file that should define it, where the version names one that is mapped.
    pub provider: Option<PathBuf>,
    /// Whether it is asked for only when something is first used.
    pub later: bool,
}

/// A library that no rule leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFound {
    /// The name.
    pub name: OsString,
    /// Who asks for it; `None` for the command line.
    pub needed_by: Option<PathBuf>,
    /// What dlerror(3) says after the name, or why it is not looked for further.
    pub says: String,
    /// All that dlerror(3) says.
    pub error: String,
    /// The file that ended the search, where there is one.
    pub damaged: Option<PathBuf>,
    /// Whether it is asked for only when something is first used.
    pub later: bool,
    /// Whether the subject can be loaded without it.
    pub optional: bool,
}

/// A link map and what is wrong with it.
#[derive(Debug, Clone)]
#[must_use]
#[non_exhaustive]
pub struct Judgement {
    /// What was judged, in a few words.
    pub of: String,
    /// Where it is.
    pub at: Option<PathBuf>,
    /// What it comes to.
    pub verdict: Verdict,
    /// The line ld.so would print first, where it fails.
    pub error: Option<String>,
    /// The objects, in the order of the map.
    pub objects: Vec<JudgedObject>,
    /// Symbols and nodes nobody defines.
    pub missing: Vec<MissingSymbol>,
    /// Libraries no rule leads to.
    pub not_found: Vec<NotFound>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How a live process holds to a plan.
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
    /// Not mapped so far.
    pub not_yet: Vec<String>,
}

impl Judgement {
    /// Of nothing: there is nothing to load, and nothing wrong with that.
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

    /// The objects that are there because of the object at `index`, in order.
    pub fn children(&self, index: Option<usize>) -> impl Iterator<Item = (usize, &JudgedObject)> {
        self.objects.iter().enumerate().filter(move |(at, object)| object.needed_by == index && Some(*at) != index)
    }
}

/// Whether symbols are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every undefined symbol is bound.
    Symbols,
    /// Only files are found.
    Files,
}
