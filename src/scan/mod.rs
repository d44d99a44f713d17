//! The forensics of a machine: every file of NVIDIA's once, with all its names, what it is, and how it is reached.
//!
//! Takes an [`Inventory`], which has one entry for each directory a file stands in; gives one [`Entry`] for each
//! file (device and inode), in an order that depends on the disk alone. Opens nothing, decides nothing.

mod compare;

pub use compare::Comparison;

use crate::host::FileId;
use crate::inventory::{Inventory, Library, OwnerKind, Problem, Reach};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One file under all its names.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The entry of the inventory with the strongest evidence.
    pub library: Library,
    /// Every path it was found at, the one of `library` first.
    pub paths: Vec<PathBuf>,
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

impl Scan {
    /// Brings the directory entries of an inventory together. `reach` is aligned with its libraries; `problems`
    /// are what is wrong with them.
    #[must_use]
    pub fn new(inventory: Inventory, reach: Vec<Vec<Reach>>, problems: Vec<Problem>) -> Self {
        let mut by_file: BTreeMap<FileId, Vec<(Library, Vec<Reach>)>> = BTreeMap::new();
        for (library, reach) in inventory.libraries.into_iter().zip(reach) {
            by_file.entry(library.stat.id).or_default().push((library, reach));
        }
        let mut about: BTreeMap<&Path, BTreeSet<&'static str>> = BTreeMap::new();
        for problem in &problems {
            about.entry(&problem.path).or_default().insert(problem.id);
        }
        let mut entries: Vec<Entry> = by_file.into_values().filter_map(|group| entry(group, &about)).collect();
        entries.sort_by(|a, b| (group_of(&a.library), &a.library.path).cmp(&(group_of(&b.library), &b.library.path)));
        Self { entries, problems }
    }
}

/// The installation an entry is shown under.
#[must_use]
pub fn group_of(library: &Library) -> &Path {
    &library.place.root
}

/// One file, of its names in all directories. `about` are the ids of the problems of a path.
fn entry(mut group: Vec<(Library, Vec<Reach>)>, about: &BTreeMap<&Path, BTreeSet<&'static str>>) -> Option<Entry> {
    // A name with an owner tells more than one without; among equals the first by path stands for all.
    let rank = |library: &Library| (library.owner.kind() == OwnerKind::None, library.version.is_none());
    group.sort_by(|(a, _), (b, _)| (rank(a), &a.path).cmp(&(rank(b), &b.path)));
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut reach: Vec<Reach> = Vec::new();
    for (library, ways) in &group {
        paths.push(library.path.clone());
        paths.extend(library.names.iter().map(|name| library.place.dir.join(name)));
        reach.extend(ways.iter().cloned());
    }
    let (library, _) = group.into_iter().next()?;
    let ids = paths.iter().filter_map(|path| about.get(path.as_path())).flatten().copied();
    let problems: BTreeSet<&'static str> = ids.collect();
    Some(Entry { library, paths, reach, problems: problems.into_iter().collect() })
}
