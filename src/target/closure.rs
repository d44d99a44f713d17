//! The ELF closure of a consumer: the objects that ld.so would map for it, and which of them are its own.

use super::{Requirement, own};
use crate::host::tidy;
use crate::inventory::{NodeDemand, SymbolDemand, family_name, nodes_needed, symbols_by_provider};
use crate::loader::{LinkMap, Loader, Mapped, Rule};
use crate::python::site_of;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The link map of a consumer.
#[derive(Debug)]
pub struct Closure<'l> {
    map: LinkMap<'l>,
    /// How many objects are mapped before the consumer is opened: the program and what it needs.
    startup: usize,
    roots: Vec<usize>,
    /// Whether the program itself is the consumer.
    of_program: bool,
    /// The link map without `LD_LIBRARY_PATH`, where the consumer's own copies count.
    no_library_path: Option<LinkMap<'l>>,
    /// How many mapped objects count so; those that the program opens from an environment do not.
    own: usize,
    /// The program and the files whose directory trees are its own.
    files: Vec<PathBuf>,
}

impl<'l> Closure<'l> {
    /// Starts `program` (if there is one that can be started).
    #[must_use]
    pub fn start(loader: &'l Loader, program: Option<&Path>) -> Self {
        let mut map = LinkMap::new(loader);
        if let Some(program) = program
            && let Err(error) = map.start(program)
        {
            log::debug!("{}: {error}", program.display());
        }
        let startup = map.objects().len();
        Self { map, startup, roots: Vec::new(), of_program: false, no_library_path: None, own: 0, files: Vec::new() }
    }

    /// Starts a program that is itself the consumer: it is not opened, ld.so maps it with what it needs.
    #[must_use]
    pub fn of_program(loader: &'l Loader, program: &Path) -> Self {
        let mut closure = Self::start(loader, Some(program));
        closure.roots.extend((closure.startup > 0).then_some(0));
        closure.of_program = true;
        closure
    }

    /// Counts the copies in run paths and directory trees of `program`, of `opened`, and of all they need as the
    /// consumer's own, also those that a hit of `LD_LIBRARY_PATH` overrides.
    #[must_use]
    pub fn with_its_own(mut self, program: Option<&Path>, opened: &[PathBuf]) -> Self {
        let mut no_library_path = LinkMap::new(self.map.loader()).without_library_path();
        if let Some(program) = program {
            // `start` has logged the error.
            let _ = no_library_path.start(program);
        }
        let caller = (!no_library_path.objects().is_empty()).then_some(0);
        for file in opened {
            no_library_path.open(file.as_os_str(), caller);
        }
        self.no_library_path = Some(no_library_path);
        self.own = if opened.is_empty() { self.startup } else { self.map.objects().len() };
        self.files = program.map(Path::to_owned).into_iter().chain(opened.iter().cloned()).collect();
        self
    }

    /// Opens a file by its path, as an import does.
    pub fn open(&mut self, path: &Path) {
        let caller = (self.startup > 0).then_some(0);
        self.roots.extend(self.map.open(path.as_os_str(), caller));
    }

    /// The link map.
    #[must_use]
    pub fn map(&self) -> &LinkMap<'l> {
        &self.map
    }

    /// Whether the object at `index` is mapped before the consumer is loaded.
    #[must_use]
    pub fn at_startup(&self, index: usize) -> bool {
        index < self.startup
    }

    /// The objects that were opened by path.
    #[must_use]
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The consumer's own objects: those that the roots reach without NVIDIA's libraries.
    #[must_use]
    pub fn own(&self) -> Vec<(usize, &Mapped)> {
        let objects = self.map.objects();
        let mut seen = BTreeSet::new();
        let mut queue: Vec<usize> = self.roots.clone();
        while let Some(index) = queue.pop() {
            let Some(mapped) = objects.get(index) else { continue };
            if self.at_startup(index) && !self.of_program && !self.roots.contains(&index) {
                continue;
            }
            // A root is a consumer, whatever its name.
            let is_family = !self.roots.contains(&index) && mapped.names.iter().any(|name| family_name(name).is_some());
            if !is_family && seen.insert(index) {
                queue.extend(&mapped.needed);
            }
        }
        seen.into_iter().filter_map(|index| Some((index, objects.get(index)?))).collect()
    }

    /// The directories where ld.so finds NVIDIA's libraries for the consumer.
    #[must_use]
    pub fn family_directories(&self) -> Vec<PathBuf> {
        let family = |mapped: &&Mapped| mapped.names.iter().any(|name| family_name(name).is_some());
        let found = self.map.objects().iter().filter(family);
        let dirs: BTreeSet<PathBuf> = found.filter_map(|mapped| mapped.path.parent()).map(tidy).collect();
        dirs.into_iter().filter(|dir| dir.is_absolute()).collect()
    }

    /// The consumer's own objects; of NVIDIA's libraries, those that its own run path, path or directory tree
    /// finds.
    fn found_by_itself(&self) -> impl Iterator<Item = &Mapped> {
        self.own_objects().filter(|mapped| {
            let is_family = mapped.names.iter().any(|name| family_name(name).is_some());
            !is_family || self.is_own(&mapped.path, mapped.rule)
        })
    }

    fn own_objects(&self) -> impl Iterator<Item = &Mapped> {
        let no_library_path = self.no_library_path.iter().flat_map(LinkMap::objects);
        self.map.objects().iter().take(self.own).chain(no_library_path)
    }

    fn is_own(&self, path: &Path, rule: Rule) -> bool {
        match rule {
            Rule::Rpath | Rule::Runpath | Rule::Path => true,
            Rule::LdLibraryPath => {
                let files: Vec<&Path> = self.files.iter().map(PathBuf::as_path).collect();
                own::is_own(self.map.host(), &files, path)
            }
            _ => false,
        }
    }

    /// The directories of the consumer's own run paths; none where no copies count as its own.
    #[must_use]
    pub fn own_directories(&self) -> Vec<PathBuf> {
        let run_paths =
            self.found_by_itself().flat_map(|mapped| self.map.loader().run_path(&mapped.path, &mapped.object));
        let mut seen = BTreeSet::new();
        run_paths.filter(|dir| dir.is_absolute() && seen.insert(dir.clone())).collect()
    }

    /// The consumer's own copy of a library: the mapped one, else the first in its own run paths.
    #[must_use]
    pub fn own_copy(&self, name: &OsStr) -> Option<PathBuf> {
        let mapped = self.found_by_itself().find(|mapped| mapped.names.iter().any(|known| known == name));
        if let Some(mapped) = mapped {
            return Some(mapped.path.clone());
        }
        self.no_library_path.as_ref()?;
        let host = self.map.host();
        let in_run_path = self.own_directories().into_iter().map(|dir| dir.join(name)).find(|path| host.is_file(path));
        // By its bare name, `dlopen` would find it on the search path.
        let found = || self.map.search_from(0, name).filter(|(path, rule)| self.is_own(path, *rule));
        in_run_path.or_else(|| found().map(|(path, _)| path))
    }

    /// The directories of installed packages that hold its objects.
    #[must_use]
    pub fn sites(&self) -> Vec<PathBuf> {
        let paths = self.own_objects().map(|mapped| tidy(&mapped.path));
        let sites: BTreeSet<PathBuf> = paths.filter_map(|path| site_of(&path).map(Path::to_owned)).collect();
        sites.into_iter().collect()
    }

    /// Adds the needs of the consumer's own objects to `requirement`. `hard`: whether the import fails without what an
    /// object needs.
    pub fn require(&self, requirement: &mut Requirement, hard: impl Fn(usize) -> bool) {
        for (index, mapped) in self.own() {
            let object = &mapped.object;
            let by = tidy(&mapped.path);
            for name in &object.facts.needed {
                if let (Some(family), Some(soname)) = (family_name(name), name.to_str()) {
                    // A process without a driver may still load these.
                    let driver = family.row.is_driver();
                    requirement.need(soname, hard(index) && !driver, &by);
                }
            }
            for (soname, symbols) in symbols_by_provider(object) {
                requirement.demands.push(SymbolDemand { by: by.clone(), soname, symbols });
            }
            for (soname, nodes) in nodes_needed(object) {
                requirement.nodes.push(NodeDemand { by: by.clone(), soname, nodes });
            }
        }
    }

    /// The objects that the first `count` roots reach.
    #[must_use]
    pub fn reached_from(&self, count: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut queue: Vec<usize> = self.roots.iter().take(count).copied().collect();
        while let Some(index) = queue.pop() {
            if seen.insert(index) {
                queue.extend(self.map.objects().get(index).map(|mapped| mapped.needed.clone()).unwrap_or_default());
            }
        }
        seen
    }
}
