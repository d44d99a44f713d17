//! The forensics of a machine: every file of NVIDIA's once, with all its names, what it is, and how it is reached.
//!
//! Takes places; gives one [`Entry`] for each file (device and inode), in an order that depends on the disk alone, as
//! they are read ([`Survey`]) and all together ([`Scan`]); one file in full ([`Inspection`]); two libraries compared
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
    /// Its digest, where it was asked for.
    pub digest: Option<Digest>,
    /// How a program finds it today without naming its path; empty: nobody does.
    pub reach: Vec<Reach>,
    /// The ids of the problems that are about one of its paths.
    pub problems: Vec<&'static str>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files, by installation, then by path.
    pub entries: Vec<Entry>,
    /// What is wrong, by path.
    pub problems: Vec<Problem>,
}

/// The installation an entry is shown under.
#[must_use]
pub fn group_of(library: &Library) -> &Path {
    &library.place.root
}
