//! Where libraries may be, and why we look there.
//!
//! Takes a machine (and, for Python, the directories an interpreter imports from); gives directories.
//! One file per kind of place. Opens no library: what stands in a place is `inventory`'s job.

mod conda;
mod driver;
mod given;
mod ldso;
mod python;
mod toolkit;

pub use given::given;
pub use python::{sites, venv_sites};

use crate::host::{FileId, Host};
use crate::loader::Loader;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Why a directory is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Provenance {
    /// Named by the user (`--place`, `CUDASHIM_PLACE`).
    Given,
    /// Below a directory the interpreter imports from.
    Site,
    /// A conda environment.
    Conda,
    /// `LD_LIBRARY_PATH`.
    LdLibraryPath,
    /// A CUDA toolkit.
    Toolkit,
    /// A directory drivers are installed in or mounted at.
    Driver,
    /// `/etc/ld.so.cache`.
    Cache,
    /// `/etc/ld.so.conf`.
    Conf,
    /// A default directory of ld.so.
    Default,
}

/// A directory that may hold libraries, and why we look there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The directory.
    pub dir: PathBuf,
    /// Why.
    pub provenance: Provenance,
    /// The installation it belongs to: a site-packages, a toolkit, a conda environment, or itself.
    pub root: PathBuf,
}

impl Place {
    fn new(dir: impl Into<PathBuf>, provenance: Provenance, root: &Path) -> Self {
        Self { dir: dir.into(), provenance, root: root.to_owned() }
    }

    fn alone(dir: PathBuf, provenance: Provenance) -> Self {
        Self { root: dir.clone(), dir, provenance }
    }
}

/// The places of a machine outside any Python: environment, toolkits, driver, dynamic loader.
#[must_use]
pub fn machine(host: &Host, loader: &Loader<'_>) -> Vec<Place> {
    let mut places = Vec::new();
    places.extend(conda::places(host));
    places.extend(ldso::library_path(loader));
    places.extend(toolkit::places(host));
    places.extend(driver::places(host));
    places.extend(ldso::system(host, loader));
    places
}

/// The same directory is looked into once: the first place that names it stays. Places that are no
/// directories are left out.
#[must_use]
pub fn distinct(host: &Host, places: Vec<Place>) -> Vec<Place> {
    let mut seen: BTreeSet<FileId> = BTreeSet::new();
    let known = |place: &Place| host.stat(&place.dir).ok().filter(|stat| stat.kind == crate::host::Kind::Directory);
    places.into_iter().filter(|place| known(place).is_some_and(|stat| seen.insert(stat.id))).collect()
}

/// The subdirectories of `dir`, sorted; symbolic links to directories count.
fn subdirectories(host: &Host, dir: &Path) -> Vec<PathBuf> {
    let entries = host.list(dir).unwrap_or_default();
    let dirs = entries.into_iter().filter(|entry| match entry.kind {
        crate::host::Kind::Directory => true,
        crate::host::Kind::Link => host.is_dir(&dir.join(&entry.name)),
        _ => false,
    });
    dirs.map(|entry| dir.join(entry.name)).collect()
}
