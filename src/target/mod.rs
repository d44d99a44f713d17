//! The targets of a set: a torch build, any ELF file, an environment without torch, or a
//! torch version that is not installed.
//!
//! Takes an interpreter, a file or a SPEC; returns a [`Requirement`]: the needed sonames, the required symbols,
//! the releases that metadata pins. Never checks which copies exist.

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

/// The kind of a target.
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

/// A needed soname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The name.
    pub soname: String,
    /// Whether loading the consumer fails without it.
    pub hard: bool,
    /// The file that needs it.
    pub by: PathBuf,
}

/// Everything that a target requires of a set.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// The kind of the target.
    #[doc(hidden)]
    pub kind: Kind,
    /// The target in a few words: `torch 2.5.1+cu124`.
    pub text: String,
    /// Where it is installed.
    pub path: Option<PathBuf>,
    /// Sonames of NVIDIA's libraries that it needs or is known to open.
    #[doc(hidden)]
    pub needs: Vec<Need>,
    /// Symbols that bind to those sonames.
    #[doc(hidden)]
    pub demands: Vec<SymbolDemand>,
    /// Version nodes it needs of libraries that are not NVIDIA's (`libstdc++.so.6` and its kin).
    #[doc(hidden)]
    pub nodes: Vec<NodeDemand>,
    /// Groups that it needs in this release or a newer one of its major: group, release, source.
    #[doc(hidden)]
    pub releases: Vec<(String, Version, PathBuf)>,
    /// The CUDA release that it was built with.
    pub cuda: Option<(u32, Option<u32>)>,
    /// The releases its metadata pins, by package name (`nvidia-cublas-cu12`).
    pub pins: BTreeMap<String, VersionRange>,
    /// The directories its interpreter imports from.
    #[doc(hidden)]
    pub sites: Vec<PathBuf>,
    /// The programs that load it, by the paths they start from.
    #[doc(hidden)]
    pub programs: Vec<PathBuf>,
    /// Objects that open libraries by name for its code, besides its own: an interpreter's `_ctypes`.
    #[doc(hidden)]
    pub openers: Vec<PathBuf>,
    /// Whether copies in its own run paths override all others: not for a Python or its files.
    #[doc(hidden)]
    pub keeps_its_own: bool,
}

impl Requirement {
    /// An empty requirement.
    #[must_use]
    #[doc(hidden)]
    pub fn new(kind: Kind, text: String) -> Self {
        Self {
            kind,
            text,
            path: None,
            needs: Vec::new(),
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

    /// Adds a soname; of two, the harder need counts.
    #[doc(hidden)]
    pub fn need(&mut self, soname: &str, hard: bool, by: &std::path::Path) {
        match self.needs.iter_mut().find(|need| need.soname == soname) {
            Some(need) if hard && !need.hard => *need = Need { soname: soname.to_owned(), hard, by: by.to_owned() },
            Some(_) => {}
            None => self.needs.push(Need { soname: soname.to_owned(), hard, by: by.to_owned() }),
        }
    }
}
