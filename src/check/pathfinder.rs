//! Packages whose Python code opens NVIDIA's libraries before their extension modules need them: with cuda-pathfinder
//! (`CuPy` from 14 on, numba-cuda), or the files of the wheels themselves (Faiss).
//!
//! Takes an environment; gives whether a file belongs to such a package, and the copy of a library that it would
//! open. The order of cuda-pathfinder is that of `load_nvidia_dynamic_lib`: the wheels in site-packages, `$CONDA_PREFIX`, ld.so's own
//! search, `$CUDA_PATH` (<https://github.com/NVIDIA/cuda-python/tree/main/cuda_pathfinder>). Opens nothing itself.

use crate::host::Host;
use crate::inventory::places;
use crate::loader::Loader;
use crate::python::{Distribution, distributions, requirements};
use crate::tables::{Search, frameworks, parse_library_name, sonames};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Its package name in requirements.
const NAME: &str = "cuda-pathfinder";

/// The CUDA majors that it supports, in the order in which it tries them.
const MAJORS: [u64; 2] = [13, 12];

/// How a package opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Pathfinder,
    /// The file of the wheel by its path, for the exact soname.
    Wheels,
}

/// The packages of an environment that open libraries before their modules.
#[derive(Debug)]
pub(crate) struct Pathfinder<'l> {
    loader: &'l Loader,
    /// The library directories in the site directories, those of CUDA 13's wheels first.
    dirs: Vec<PathBuf>,
    /// The files of the packages.
    served: BTreeMap<PathBuf, By>,
}

impl<'l> Pathfinder<'l> {
    /// Those of an environment; `None` without any.
    pub(crate) fn new(loader: &'l Loader, sites: &[PathBuf]) -> Option<Self> {
        let host = loader.objects().host();
        let installed: Vec<Distribution> = sites.iter().flat_map(|site| distributions(host, site)).collect();
        let is_here = installed.iter().any(|package| package.name == NAME);
        let by = |package: &Distribution| match package {
            package if opens_wheels(package) => Some(By::Wheels),
            package if is_here && is_user(host, package) => Some(By::Pathfinder),
            _ => None,
        };
        let users = installed.iter().filter_map(|package| Some((package, by(package)?)));
        let files = users.flat_map(|(package, by)| {
            let site = package.dir.parent().unwrap_or(&package.dir).to_owned();
            package.record(host).into_iter().map(move |file| (site.join(file.path), by))
        });
        let served: BTreeMap<PathBuf, By> = files.collect();
        let mut dirs: Vec<PathBuf> = places::sites(host, sites).into_iter().map(|place| place.dir).collect();
        dirs.sort_by_key(|dir| !dir.ends_with("nvidia/cu13/lib"));
        (!served.is_empty()).then_some(Self { loader, dirs, served })
    }

    /// Whether a file belongs to a package that opens libraries before its modules.
    pub(crate) fn serves(&self, file: &Path) -> bool {
        self.served.contains_key(file)
    }

    /// Whether a file belongs to a package that uses cuda-pathfinder.
    pub(crate) fn searches_for(&self, file: &Path) -> bool {
        self.served.get(file) == Some(&By::Pathfinder)
    }

    /// The copy of a library that it opens, for a soname that an object needs; `is_mapped` shows whether a name is
    /// already in the process.
    pub(crate) fn find(&self, requested: &str, is_mapped: impl Fn(&str) -> bool) -> Option<PathBuf> {
        let row = parse_library_name(requested)?.row;
        let mut names: Vec<&str> = MAJORS.iter().flat_map(|major| sonames_of(*major, row.stem)).collect();
        if names.is_empty() {
            names.push(requested);
        }
        // The file of a wheel may have a name without a version.
        let bare = row.bare_name();
        names.push(&bare);
        let host = self.loader.objects().host();
        let within = |dir: &Path| names.iter().map(|name| dir.join(name)).find(|path| host.is_file(path));
        let below = |variable: &str, lib: &str| {
            let root = host.env(variable).filter(|root| !root.is_empty())?;
            within(&host.absolute(Path::new(root)).join(lib))
        };
        if names.iter().any(|name| is_mapped(name)) {
            return None;
        }
        let wheel = self.dirs.iter().find_map(|dir| within(dir));
        let found = wheel.or_else(|| below("CONDA_PREFIX", "lib"));
        let found = found.or_else(|| names.iter().find_map(|name| Some(self.loader.find(OsStr::new(name))?.0)));
        let toolkit = || ["CUDA_PATH", "CUDA_HOME"].into_iter().find(|name| host.env(name).is_some());
        found.or_else(|| toolkit().and_then(|name| ["lib64", "lib"].into_iter().find_map(|lib| below(name, lib))))
    }

    /// The libraries that it opens before a file is imported, in order: dependencies first.
    pub(crate) fn before(&self, file: &Path, is_mapped: &impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut known = BTreeSet::new();
        match self.served.get(file) {
            Some(By::Pathfinder) => self.add(file, is_mapped, &mut known, &mut found),
            Some(By::Wheels) => self.add_wheels(file, &mut known, &mut found),
            None => {}
        }
        found
    }

    /// The wheels' files for what a file of the package, or one that it needs, needs.
    fn add_wheels(&self, file: &Path, known: &mut BTreeSet<OsString>, found: &mut Vec<PathBuf>) {
        let Ok(object) = self.loader.objects().open(file) else { return };
        let host = self.loader.objects().host();
        for name in &object.facts.needed {
            if !known.insert(name.clone()) {
                continue;
            }
            let ours = parse_library_name(name).is_some_and(|name| name.hash.is_none() && !name.row.is_driver());
            let own = || {
                let of_package = self.served.keys().find(|file| file.file_name() == Some(name.as_os_str()));
                of_package.cloned()
            };
            let in_wheels = || self.dirs.iter().map(|dir| dir.join(name)).find(|path| host.is_file(path));
            let Some(path) = (if ours { in_wheels() } else { own() }) else { continue };
            self.add_wheels(&path, known, found);
            if ours {
                found.push(path);
            }
        }
    }

    fn add(
        &self,
        file: &Path,
        is_mapped: &impl Fn(&str) -> bool,
        known: &mut BTreeSet<OsString>,
        found: &mut Vec<PathBuf>,
    ) {
        let Ok(object) = self.loader.objects().open(file) else { return };
        for name in &object.facts.needed {
            let Some(requested) = name.to_str() else { continue };
            let Some(name) = parse_library_name(requested).filter(|name| name.hash.is_none()) else { continue };
            if name.row.is_driver() || !known.insert(name.row.stem.into()) {
                continue;
            }
            if let Some(path) = self.find(requested, is_mapped) {
                self.add(&path, is_mapped, known, found);
                found.push(path);
            }
        }
    }
}

/// Whether a package of a framework opens the wheels' files before its modules. torch has a list of its own.
fn opens_wheels(package: &Distribution) -> bool {
    let mut rows = frameworks().iter().filter(|row| row.looks(Search::Wheels) && row.opens.is_none());
    package.name != NAME && rows.any(|row| row.is_package(&package.name))
}

fn is_user(host: &Host, package: &Distribution) -> bool {
    // NVIDIA's wheels and the package itself do not use it.
    package.name != NAME && !package.name.starts_with("nvidia-") && requirements(host, package, &[]).contains_key(NAME)
}

/// The sonames of a stem for a CUDA major.
fn sonames_of(major: u64, stem: &'static str) -> impl Iterator<Item = &'static str> {
    sonames().iter().filter(move |row| row.cuda_major == major && row.stem == stem).map(|row| row.soname)
}
