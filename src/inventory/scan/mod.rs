//! The NVIDIA files of a machine, each once, with all its names, its identity, and how it is reached.
//!
//! Takes places; gives one [`Entry`] per file (device and inode), one after the other ([`Survey`]) or all together
//! ([`Scan`]), in an order that depends on the disk alone; one file in full ([`Inspection`]); two libraries compared
//! ([`Comparison`]). Decides nothing.

mod compare;
mod inspection;
mod survey;

pub use compare::Comparison;
pub use inspection::Inspection;
pub use survey::{Survey, sites, users};

use crate::inventory::{Digest, Library, Problem, Reach};
use std::path::{Path, PathBuf};

/// One file under all its names.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The entry of the inventory with the strongest evidence.
    pub library: Library,
    /// Every path it was found at, the one of `library` first.
    pub paths: Vec<PathBuf>,
    /// Its digest, where requested.
    pub digest: Option<Digest>,
    /// The search paths that resolve to it today; empty where none does.
    pub reach: Vec<Reach>,
    /// The ids of the problems of its paths.
    pub problems: Vec<&'static str>,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files, by installation, then by path.
    pub entries: Vec<Entry>,
    /// The problems, by path.
    pub problems: Vec<Problem>,
}

/// The installation of an entry.
#[must_use]
pub fn group_of(library: &Library) -> &Path {
    &library.place.root
}
