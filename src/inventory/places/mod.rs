//! The directories that may hold libraries, each with its provenance.
//!
//! Takes a machine (and, for Python, the directories that an interpreter imports from); gives directories. One file per
//! kind of place. Opens no library: `inventory` reads the places.

mod application;
mod conda;
mod cvmfs;
mod distribution;
mod driver;
mod easybuild;
mod flatpak;
mod given;
mod hpc_sdk;
mod interpreter;
mod julia;
mod ldso;
mod library_cache;
mod pattern;
mod process;
mod provenance;
mod python;
mod snap;
mod spack;
mod store;
mod tensorrt;
mod toolkit;
mod user;
mod variable;
mod venv;
mod walk;

pub use given::given;
pub use provenance::Provenance;
pub use python::{packages, sites, venv_sites};
pub use walk::{Mounts, Walk, Walked, walked};

use crate::host::{FileId, Host, Kind};
use crate::loader::Loader;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A directory that may hold libraries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The directory.
    pub dir: PathBuf,
    /// Why it is searched.
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

/// How much of a machine is searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Demand {
    /// Cheap places: no package store, download cache or distributed file system.
    #[default]
    Usual,
    /// These too: `/nix/store`, `/gnu/store`, the caches of uv and pex, `/cvmfs`. May take seconds.
    Everything,
}

/// The places of a machine outside any Python: environment, toolkits, driver, dynamic loader.
#[must_use]
pub fn machine(host: &Host, loader: &Loader) -> Vec<Place> {
    let mut places = Vec::new();
    places.extend(conda::places(host));
    places.extend(ldso::library_path(loader));
    places.extend(toolkit::places(host));
    places.extend(driver::places(host));
    places.extend(ldso::system(host, loader));
    places
}

/// The places of [`machine`], and all those of drivers, stubs and compatibility packages: every place that may
/// interfere with the examined environment, but no other environment.
#[must_use]
pub fn survey(host: &Host, loader: &Loader) -> Vec<Place> {
    let mut places = Vec::new();
    places.extend(conda::places(host));
    places.extend(toolkit::known(host));
    places.extend(driver::known(host));
    places.extend(ldso::library_path(loader));
    places.extend(ldso::system(host, loader));
    places
}

/// The places of drivers, with their stubs and compatibility packages, and those where ld.so searches for any program.
#[must_use]
pub fn searched(host: &Host, loader: &Loader) -> Vec<Place> {
    let mut places = driver::known(host);
    places.extend(ldso::library_path(loader));
    places.extend(ldso::system(host, loader));
    places
}

/// Every known place of a machine, for a survey of all copies.
///
/// The order is fixed: kinds that identify the installer come before those that only resolve to a library
/// (`LD_LIBRARY_PATH`, the cache, a running process), so that [`distinct`] keeps the most informative provenance.
/// Lists directories at known depths only; [`Walk`] walks trees.
#[must_use]
pub fn known(host: &Host, loader: &Loader, demand: Demand) -> Vec<Place> {
    let mut places = Vec::new();
    places.extend(venv::places(host, demand));
    places.extend(conda::known(host));
    places.extend(interpreter::places(host));
    places.extend(toolkit::known(host));
    places.extend(hpc_sdk::places(host));
    places.extend(tensorrt::places(host));
    places.extend(easybuild::places(host));
    places.extend(spack::places(host));
    places.extend(store::places(host, demand));
    places.extend(cvmfs::places(host, demand));
    places.extend(driver::known(host));
    places.extend(flatpak::places(host));
    places.extend(snap::places(host));
    places.extend(application::places(host));
    places.extend(julia::places(host));
    places.extend(library_cache::places(host));
    places.extend(variable::places(host));
    places.extend(ldso::library_path(loader));
    places.extend(ldso::system(host, loader));
    places.extend(distribution::places(host));
    places.extend(process::places(host));
    places
}

/// A directory in which ld.so finds a library for a consumer.
#[must_use]
pub fn found(dir: PathBuf) -> Place {
    Place::alone(dir, Provenance::Found)
}

/// The places that are directories, each once: the first place of a directory stays.
#[must_use]
pub fn distinct(host: &Host, places: Vec<Place>) -> Vec<Place> {
    let mut seen: BTreeSet<FileId> = BTreeSet::new();
    places.into_iter().filter(|place| directory_id(host, &place.dir).is_some_and(|id| seen.insert(id))).collect()
}

/// The directories among `paths`, each once, in order.
fn once(host: &Host, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen: BTreeSet<FileId> = BTreeSet::new();
    paths.into_iter().filter(|path| directory_id(host, path).is_some_and(|id| seen.insert(id))).collect()
}

fn directory_id(host: &Host, path: &Path) -> Option<FileId> {
    host.stat(path).ok().filter(|stat| stat.kind == Kind::Directory).map(|stat| stat.id)
}

/// The subdirectories of `dir`, sorted; symbolic links to directories count.
fn subdirectories(host: &Host, dir: &Path) -> Vec<PathBuf> {
    subdirectories_named(host, dir, |_| true)
}

/// The subdirectories of `dir` whose names match, sorted. Tests names first, so that it follows few of thousands of
/// links.
fn subdirectories_named(host: &Host, dir: &Path, matches_name: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
    let entries = host.list(dir).unwrap_or_default();
    let dirs = entries.into_iter().filter(|entry| match entry.kind {
        Kind::Directory => matches_name(&entry.name),
        Kind::Link => matches_name(&entry.name) && host.is_dir(&dir.join(&entry.name)),
        _ => false,
    });
    dirs.map(|entry| dir.join(entry.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::Objects;
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    /// A machine in a directory: its files and its environment.
    pub(super) struct Machine {
        dir: tempfile::TempDir,
        env: BTreeMap<OsString, OsString>,
        cwd: PathBuf,
    }

    impl Machine {
        pub(super) fn with(dirs: &[&str]) -> Self {
            let machine = Self { dir: tempfile::tempdir().unwrap(), env: BTreeMap::new(), cwd: "/".into() };
            for dir in dirs {
                std::fs::create_dir_all(machine.path(dir)).unwrap();
            }
            machine
        }

        pub(super) fn path(&self, inside: &str) -> PathBuf {
            self.dir.path().join(inside.trim_start_matches('/'))
        }

        pub(super) fn file(self, path: &str, text: &str) -> Self {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }

        pub(super) fn link(self, path: &str, target: &str) -> Self {
            std::os::unix::fs::symlink(target, self.path(path)).unwrap();
            self
        }

        pub(super) fn set(mut self, name: &str, value: &str) -> Self {
            self.env.insert(name.into(), value.into());
            self
        }

        pub(super) fn at(mut self, cwd: &str) -> Self {
            self.cwd = cwd.into();
            self
        }

        pub(super) fn host(&self) -> Host {
            Host::new(self.dir.path().to_owned(), self.env.clone(), self.cwd.clone())
        }
    }

    pub(super) fn dirs(places: &[Place]) -> Vec<String> {
        places.iter().map(|place| place.dir.display().to_string()).collect()
    }

    fn at<'p>(places: &'p [Place], dir: &str) -> &'p Place {
        places.iter().find(|place| place.dir == Path::new(dir)).unwrap_or_else(|| panic!("{dir} in {places:?}"))
    }

    #[test]
    fn the_most_informative_kind_of_a_directory_comes_first() {
        let machine = Machine::with(&["usr/local/cuda-12.4/lib64", "usr/lib/wsl/lib", "usr/lib/ollama/cuda_v12"])
            .link("usr/local/cuda", "cuda-12.4")
            .file("etc/ld.so.conf", "/usr/local/cuda/lib64\n/usr/lib/wsl/lib\n")
            .set("LD_LIBRARY_PATH", "/usr/local/cuda/lib64:/usr/lib/ollama/cuda_v12:/missing");
        let host = machine.host();
        let objects = Objects::new(&host);
        let all = known(&host, &Loader::new(&objects), Demand::Usual);
        assert!(all.iter().any(|place| place.provenance == Provenance::LdLibraryPath));
        let places = distinct(&host, all);
        let toolkit = at(&places, "/usr/local/cuda-12.4/lib64");
        assert_eq!((toolkit.provenance, &toolkit.root), (Provenance::Toolkit, &"/usr/local/cuda-12.4".into()));
        assert_eq!(at(&places, "/usr/lib/wsl/lib").provenance, Provenance::Driver);
        assert_eq!(at(&places, "/usr/lib/ollama/cuda_v12").provenance, Provenance::Application);
        assert!(places.iter().all(|place| place.provenance != Provenance::LdLibraryPath));
    }

    #[test]
    fn stores_and_caches_are_searched_on_demand_only() {
        let store = "nix/store/0123456789abcdfghijklmnpqrsvwxyz-cuda_cudart-12.4/lib";
        let machine = Machine::with(&[store, "home/.cache/uv/archive-v0/x/nvidia/cublas/lib"]).set("HOME", "/home");
        for (demand, count) in [(Demand::Usual, 0), (Demand::Everything, 2)] {
            let host = machine.host();
            let objects = Objects::new(&host);
            assert_eq!(distinct(&host, known(&host, &Loader::new(&objects), demand)).len(), count, "{demand:?}");
            let reads = host.stamps().to_text();
            for forbidden in ["/nix/store", "/gnu/store", "/cvmfs", "/home/.cache/uv"] {
                assert_eq!(reads.contains(forbidden), demand == Demand::Everything, "{forbidden}");
            }
        }
    }

    #[test]
    fn names_decide_before_links_are_followed() {
        let machine = Machine::with(&["lib/python3.12"]).link("lib/python3", "python3.12").link("lib/liba.so", "b");
        let host = machine.host();
        let found = subdirectories_named(&host, Path::new("/lib"), |name| name.as_encoded_bytes().starts_with(b"p"));
        assert_eq!(found, [Path::new("/lib/python3"), Path::new("/lib/python3.12")]);
        assert!(!host.stamps().to_text().contains("liba"));
    }
}
