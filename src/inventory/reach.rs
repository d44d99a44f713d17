//! How each copy is reached today: the search paths by which `dlopen` resolves to it.
//!
//! Takes an inventory and the loader of this environment; gives, for each library, the search paths on which it is the
//! first of one of its names. Each path counts by itself; ld.so searches them in the order run path (`DT_RPATH`),
//! `LD_LIBRARY_PATH`, run path (`DT_RUNPATH`), cache, defaults. Libraries opened by path, as torch opens some, do not
//! count as reached. A framework's run path reaches all libraries of the directories that it names, other than the
//! framework's own: what a framework opens by name.
//!
//! Only directories of the inventory count, so it must hold all places of the machine.

use super::{Inventory, Library};
use crate::host::FileId;
use crate::loader::Object;
use crate::loader::{Loader, Rule};
use crate::tables::{dlopens_of, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A search path that resolves to a library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reach {
    /// `LD_LIBRARY_PATH`.
    LibraryPath {
        /// The index of its element.
        element: usize,
        /// Whether that element is empty or relative, so that it depends on the working directory.
        current_directory: bool,
    },
    /// The run path of another library that needs it or is known to open it, or of a framework, which may open it.
    RunPath {
        /// That library.
        of: PathBuf,
        /// [`Rule::Rpath`] or [`Rule::Runpath`].
        rule: Rule,
    },
    /// `/etc/ld.so.cache`.
    Cache,
    /// A default directory of ld.so.
    Default,
}

impl Reach {
    /// The loader's rule.
    #[must_use]
    pub fn rule(&self) -> Rule {
        match self {
            Self::LibraryPath { .. } => Rule::LdLibraryPath,
            Self::RunPath { rule, .. } => *rule,
            Self::Cache => Rule::Cache,
            Self::Default => Rule::Default,
        }
    }
}

/// The search paths that resolve to each library, in the order of the inventory.
#[must_use]
pub fn reach(inventory: &Inventory, loader: &Loader) -> Vec<Vec<Reach>> {
    let copies = Copies::new(inventory, loader);
    let mut reached: Vec<BTreeSet<Reach>> = vec![BTreeSet::new(); inventory.libraries.len()];
    let mut add = |at: usize, reach: Reach| {
        if let Some(reached) = reached.get_mut(at) {
            reached.insert(reach);
        }
    };
    for found in copies.library_path().firsts() {
        let current_directory = loader.library_path().get(found.element).is_some_and(|dir| !dir.is_absolute());
        add(found.library, Reach::LibraryPath { element: found.element, current_directory });
    }
    for found in copies.cache().firsts() {
        add(found.library, Reach::Cache);
    }
    for found in copies.defaults().firsts() {
        add(found.library, Reach::Default);
    }
    // Libraries of one directory mostly have the same run path.
    let mut paths: BTreeMap<Vec<PathBuf>, SearchPath> = BTreeMap::new();
    let mut by_run_path = |of: &Path, object: &Object, names: BTreeSet<OsString>, is_framework: bool| {
        let dirs = loader.run_path(of, object);
        if dirs.is_empty() || names.is_empty() && !is_framework {
            return;
        }
        let rule = if object.facts.runpath.is_some() { Rule::Runpath } else { Rule::Rpath };
        let path = paths.entry(dirs).or_insert_with_key(|dirs| copies.in_directories(dirs));
        let elsewhere = |found: &Found| {
            inventory
                .libraries
                .get(found.library)
                .is_some_and(|library| Some(library.place.dir.as_path()) != of.parent())
        };
        let may_open = path.firsts().filter(|found| is_framework && elsewhere(found));
        let opened = names.iter().filter_map(|name| path.first(name)).chain(may_open);
        for found in opened.filter(|found| found.id != object.stat.id) {
            add(found.library, Reach::RunPath { of: of.to_owned(), rule });
        }
    };
    for library in &inventory.libraries {
        if let Some(object) = library.object.as_ref().filter(|_| library.unusable.is_none()) {
            by_run_path(&library.path, object, opened_names(library), false);
        }
    }
    for user in &inventory.users {
        by_run_path(&user.path, user, needed(user).collect(), true);
    }
    reached.into_iter().map(|reached| reached.into_iter().collect()).collect()
}

/// The names of NVIDIA libraries that a library needs or is known to open.
pub(super) fn opened_names(library: &Library) -> BTreeSet<OsString> {
    let mut names: BTreeSet<OsString> = library.object.iter().flat_map(|object| needed(object)).collect();
    if let Some(version) = &library.version {
        let major = library.cuda.map_or(0, |(major, _)| u64::from(major));
        let opened = dlopens_of(library.row.stem, Some(version)).filter_map(|row| row.expand(version, major));
        names.extend(opened.map(OsString::from));
    }
    names
}

fn needed(object: &Object) -> impl Iterator<Item = OsString> {
    object.facts.needed.iter().filter(|name| parse_library_name(name).is_some()).cloned()
}

/// A library that a search path has under some name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The index of the element with it.
    pub(super) element: usize,
    /// Its index in the inventory.
    pub(super) library: usize,
    id: FileId,
}

/// A search path by name: the files of each name, in ld.so's order, each once.
#[derive(Debug, Default)]
pub(super) struct SearchPath {
    by_name: BTreeMap<OsString, Vec<Found>>,
}

impl SearchPath {
    fn put(&mut self, name: &OsStr, found: Found) {
        let files = self.by_name.entry(name.to_owned()).or_default();
        if files.iter().all(|other| other.id != found.id) {
            files.push(found);
        }
    }

    /// The file that a name resolves to.
    pub(super) fn first(&self, name: &OsStr) -> Option<Found> {
        self.by_name.get(name)?.first().copied()
    }

    fn firsts(&self) -> impl Iterator<Item = Found> {
        self.by_name.values().filter_map(|files| files.first().copied())
    }

    /// Every name with its files.
    pub(super) fn names(&self) -> impl Iterator<Item = (&OsStr, &[Found])> {
        self.by_name.iter().map(|(name, files)| (name.as_os_str(), files.as_slice()))
    }

    /// This path followed by another.
    pub(super) fn then(mut self, other: Self) -> Self {
        for (name, files) in other.by_name {
            for found in files {
                self.put(&name, found);
            }
        }
        self
    }
}

/// The libraries of an inventory by directory and by file.
pub(super) struct Copies<'a> {
    inventory: &'a Inventory,
    loader: &'a Loader,
    by_dir: BTreeMap<FileId, Vec<usize>>,
    by_file: BTreeMap<FileId, usize>,
    dirs: Mutex<BTreeMap<PathBuf, Option<FileId>>>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(inventory: &'a Inventory, loader: &'a Loader) -> Self {
        let mut copies =
            Self { inventory, loader, by_dir: BTreeMap::new(), by_file: BTreeMap::new(), dirs: Mutex::default() };
        // ld.so skips files of another class or machine (`open_verify`), and stops at damaged ones.
        let foreign: BTreeSet<&Path> = inventory
            .problems
            .iter()
            .filter(|problem| problem.id == "wrong-class")
            .map(|problem| problem.path.as_path())
            .collect();
        for (at, library) in inventory.libraries.iter().enumerate() {
            if foreign.contains(library.path.as_path()) {
                continue;
            }
            copies.by_file.entry(library.stat.id).or_insert(at);
            if let Some(id) = copies.directory(&library.place.dir) {
                copies.by_dir.entry(id).or_default().push(at);
            }
        }
        copies
    }

    /// The libraries of the inventory in a directory, by any path of it.
    pub(super) fn in_directory(&self, dir: &Path) -> &[usize] {
        self.directory(dir).and_then(|id| self.by_dir.get(&id)).map_or(&[], Vec::as_slice)
    }

    /// The library that is this file.
    pub(super) fn of_file(&self, path: &Path) -> Option<&'a Library> {
        let id = self.loader.host().stat(path).ok()?.id;
        self.inventory.libraries.get(*self.by_file.get(&id)?)
    }

    pub(super) fn library_path(&self) -> SearchPath {
        self.in_directories(self.loader.library_path())
    }

    pub(super) fn defaults(&self) -> SearchPath {
        self.in_directories(self.loader.default_dirs())
    }

    pub(super) fn cache(&self) -> SearchPath {
        let mut path = SearchPath::default();
        for (element, (name, file)) in self.loader.cache().iter().enumerate() {
            if parse_library_name(name).is_none() {
                continue;
            }
            let id = self.loader.host().stat(file).ok().map(|stat| stat.id);
            if let Some(id) = id
                && let Some(library) = self.by_file.get(&id)
            {
                path.put(name, Found { element, library: *library, id });
            }
        }
        path
    }

    pub(super) fn in_directories(&self, dirs: &[PathBuf]) -> SearchPath {
        let mut path = SearchPath::default();
        for (element, dir) in dirs.iter().enumerate() {
            for at in self.in_directory(dir) {
                let Some(library) = self.inventory.libraries.get(*at) else { continue };
                let found = Found { element, library: *at, id: library.stat.id };
                for name in library.file_names() {
                    path.put(name, found);
                }
            }
        }
        path
    }

    fn directory(&self, dir: &Path) -> Option<FileId> {
        let host = self.loader.host();
        let stat = || host.stat(&host.absolute(dir)).ok().map(|stat| stat.id);
        *self.dirs.lock().unwrap_or_else(PoisonError::into_inner).entry(dir.to_owned()).or_insert_with(stat)
    }
}
