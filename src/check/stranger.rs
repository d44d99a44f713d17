//! Strangers: files that a process opens and that its plan does not cover. Decides whether the plan or ld.so provides
//! their libraries.
//!
//! Takes a plan, the program of the process, the file, and the name if code in the file opens one; gives a
//! [`Standing`]. Links the file twice on the model of the loader, as ld.so alone would and with the plan, and never
//! loads it. Ignores what the process has mapped since its start: the shim asks before the names are mapped.

use crate::host::FileId;
use crate::loader::{Flags, LinkMap, Loader, Mapped, Rule, Symbols};
use crate::plan::{Plan, PlanLibrary};
use crate::target::is_own;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The provider of a stranger's libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The plan.
    Set,
    /// ld.so: its result belongs to the stranger, or fits it better.
    Own,
}

/// Judges `object`, which `program` opens by path; with `name`, judges that bare name, which code in `object` opens.
#[must_use]
pub fn stranger(loader: &Loader, plan: &Plan, program: &Path, object: &Path, name: Option<&OsStr>) -> Standing {
    let mut started = LinkMap::new(loader);
    if let Err(error) = started.start(program) {
        log::info!("{}: {error}", program.display());
    }
    let case = Case { loader, plan, program, object, started };
    let own = match name {
        Some(name) => case.has_own(name),
        None => case.fits_better_alone(),
    };
    if own { Standing::Own } else { Standing::Set }
}

struct Case<'l> {
    loader: &'l Loader,
    plan: &'l Plan,
    program: &'l Path,
    object: &'l Path,
    /// The link map at program start.
    started: LinkMap<'l>,
}

/// The stranger, linked with or without the plan.
struct Linked<'l> {
    map: LinkMap<'l>,
    /// The missing symbols, nodes and libraries.
    missing: BTreeSet<(OsString, Option<OsString>)>,
}

impl<'l> Case<'l> {
    /// The index of the program as caller, if the model can start it.
    fn caller(&self) -> Option<usize> {
        (!self.started.objects().is_empty()).then_some(0)
    }

    /// Whether the stranger's run paths or directory tree contain `name`.
    fn has_own(&self, name: &OsStr) -> bool {
        let mut map = self.started.clone();
        let Ok(stat) = self.loader.host().stat(self.object) else { return true };
        let mapped = map.objects().iter().position(|mapped| mapped.object.stat.id == stat.id);
        let Some(index) = mapped.or_else(|| map.open(self.object.as_os_str(), self.caller())) else { return true };
        map.run_paths_from(index, name).is_some()
            || map.search_from(index, name).is_some_and(|(path, rule)| self.in_own_tree(&path, rule))
    }

    fn fits_better_alone(&self) -> bool {
        let bare = self.linked(&[]);
        let Some(root) = bare.map.objects().get(self.started.objects().len()) else {
            // It cannot be opened, or is mapped already.
            return true;
        };
        let itself = root.names.iter().find_map(|name| self.plan.lookup(name.to_str()?));
        if itself.is_some_and(|library| library.id != root.object.stat.id) {
            // Another copy of a planned library needs its own siblings.
            return true;
        }
        let planned_needs = self.planned_needs(&bare);
        let set = self.plan.libraries.iter().filter(|library| planned_needs.contains_key(library.soname.as_str()));
        let with = self.linked(&set.collect::<Vec<_>>());
        match (bare.missing.len(), with.missing.len()) {
            _ if bare.missing == with.missing => {
                planned_needs.values().flatten().any(|found| self.is_own_copy(&bare, *found))
            }
            (alone, planned) => planned >= alone,
        }
    }

    /// The planned sonames that the stranger depends on and that are not mapped at the start, each with the object
    /// that ld.so alone resolves it to; and the dependencies of those planned libraries.
    fn planned_needs(&self, bare: &Linked<'l>) -> BTreeMap<&'l str, Option<usize>> {
        let objects = bare.map.objects();
        let opened = objects.iter().skip(self.started.objects().len());
        let mut queue: Vec<OsString> = opened.flat_map(|mapped| mapped.object.facts.needed.clone()).collect();
        let mut planned_needs = BTreeMap::new();
        while let Some(name) = queue.pop() {
            let Some(library) = name.to_str().and_then(|name| self.plan.lookup(name)) else { continue };
            if planned_needs.contains_key(library.soname.as_str()) || self.started.by_name(&name).is_some() {
                continue;
            }
            let found = objects.iter().position(|mapped| mapped.names.contains(&name));
            planned_needs.insert(library.soname.as_str(), found);
            if let Ok(object) = self.loader.objects().open(&library.path) {
                queue.extend(object.facts.needed.iter().cloned());
            }
        }
        planned_needs
    }

    /// Opens the planned libraries, then the stranger, and links the stranger.
    fn linked(&self, set: &[&PlanLibrary]) -> Linked<'l> {
        let mut map = self.started.clone();
        let known = map.missing().len();
        for library in set {
            let _ = map.open(library.path.as_os_str(), self.caller());
        }
        let done = map.objects().len();
        let _ = map.open_with(self.object.as_os_str(), self.caller(), Flags::default());
        let link = map.link_last(done, Symbols::Now);
        let nodes = link.nodes.into_iter().filter(|node| !node.weak && !node.unversioned);
        let mut missing: BTreeSet<_> = nodes.map(|node| (node.file, Some(node.node))).collect();
        missing.extend(link.symbols.into_iter().map(|symbol| (symbol.symbol, symbol.node)));
        missing.extend(map.missing().iter().skip(known).map(|missing| (missing.name.clone(), None)));
        Linked { map, missing }
    }

    /// Whether the object that ld.so alone maps for a planned name belongs to the stranger.
    fn is_own_copy(&self, bare: &Linked<'l>, found: usize) -> bool {
        let Some(mapped) = bare.map.objects().get(found) else { return false };
        let planned = |id: FileId| self.plan.chosen().any(|library| library.id == id);
        !planned(mapped.object.stat.id) && self.is_own(mapped)
    }

    fn is_own(&self, mapped: &Mapped) -> bool {
        matches!(mapped.rule, Rule::Rpath | Rule::Runpath) || self.in_own_tree(&mapped.path, mapped.rule)
    }

    /// Whether a search found the copy in the directory tree of the stranger or of its program.
    fn in_own_tree(&self, path: &Path, rule: Rule) -> bool {
        rule == Rule::LdLibraryPath && is_own(self.loader.host(), &[self.object, self.program], path)
    }
}
