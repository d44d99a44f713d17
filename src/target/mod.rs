//! What asks for CUDA's libraries: a torch build, any ELF file, an environment without torch, or a
//! torch version that is not installed.
//!
//! Takes an interpreter, a file or a SPEC; gives a [`Requirement`]: the sonames wanted, the symbols that
//! must be there, the releases that metadata pins. Never looks at which copies exist.

mod closure;
mod environment;
mod own;
mod spec;
mod torch;

pub use closure::Closure;
pub(crate) use own::is_own;
pub use spec::{Spec, SpecError};

use crate::inventory::{NodeDemand, SymbolDemand};
use crate::tables::{Version, VersionRange};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What kind of thing asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An installed torch.
    Torch,
    /// One or more ELF files.
    Elf,
    /// A Python environment without torch.
    Environment,
    /// A torch version, installed or not.
    Spec,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Torch => "torch",
            Self::Elf => "elf",
            Self::Environment => "environment",
            Self::Spec => "spec",
        })
    }
}

/// A soname somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The name.
    pub soname: String,
    /// Whether the consumer cannot be loaded without it.
    pub hard: bool,
    /// The file that asks.
    pub by: PathBuf,
}

/// Everything a consumer asks of a set of libraries.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// What kind of consumer it is.
    #[doc(hidden)]
    pub kind: Kind,
    /// The consumer in a few words: `torch 2.5.1+cu124`.
    pub text: String,
    /// Where it is installed.
    pub path: Option<PathBuf>,
    /// Sonames of NVIDIA's libraries that it needs or is known to ask for.
    #[doc(hidden)]
    pub wants: Vec<Want>,
    /// Symbols that bind to those sonames.
    #[doc(hidden)]
    pub demands: Vec<SymbolDemand>,
    /// Version nodes it needs of libraries that are not NVIDIA's (`libstdc++.so.6` and its kin).
    #[doc(hidden)]
    pub nodes: Vec<NodeDemand>,
    /// Groups it needs in one release only: group, first parts of the version, who says so.
    #[doc(hidden)]
    pub releases: Vec<(String, Version, PathBuf)>,
    /// The CUDA release it was built with.
    pub cuda: Option<(u32, Option<u32>)>,
    /// The releases its metadata pins, by package name (`nvidia-cublas-cu12`).
    pub pins: BTreeMap<String, VersionRange>,
    /// The directories its interpreter imports from.
    #[doc(hidden)]
    pub sites: Vec<PathBuf>,
    /// The programs that load it, by the paths they are started by.
    #[doc(hidden)]
    pub programs: Vec<PathBuf>,
    /// What opens libraries by name for its code, besides its own objects: an interpreter's `_ctypes`.
    #[doc(hidden)]
    pub openers: Vec<PathBuf>,
    /// Whether copies that its own run paths lead to stand before all others: it is no Python, or one of its files.
    #[doc(hidden)]
    pub keeps_its_own: bool,
}

impl Requirement {
    /// Nothing asked for yet.
    #[must_use]
    #[doc(hidden)]
    pub fn new(kind: Kind, text: String) -> Self {
        Self {
            kind,
            text,
            path: None,
            wants: Vec::new(),
            demands: Vec::new(),
            nodes: Vec::new(),
            releases: Vec::new(),
            cuda: None,
            pins: BTreeMap::new(),
            sites: Vec::new(),
            programs: Vec::new(),
            openers: Vec::new(),
            keeps_its_own: false,
        }
    }

    /// Asks for a soname; asked twice, the harder want stays.
    #[doc(hidden)]
    pub fn want(&mut self, soname: &str, hard: bool, by: &std::path::Path) {
        match self.wants.iter_mut().find(|want| want.soname == soname) {
            Some(want) if hard && !want.hard => *want = Want { soname: soname.to_owned(), hard, by: by.to_owned() },
            Some(_) => {}
            None => self.wants.push(Want { soname: soname.to_owned(), hard, by: by.to_owned() }),
        }
    }
}
