//! Strangers: files that a process opens and that its plan was not made for. Is the set for them, or what they have of
//! their own?
//!
//! Takes a plan, the program of the process, the file, and a name where the file itself opens one; gives a [`Standing`].
//! The file is linked twice on the model of the loader, as ld.so alone would and as with the plan, and never loaded. Knows
//! nothing of what the process has mapped since its start: it is asked while the names are not mapped.

use crate::host::FileId;
use crate::loader::{Flags, LinkMap, Loader, Mapped, Rule, Symbols};
use crate::plan::{Plan, PlanLibrary};
use crate::target::is_own;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Who provides a stranger's libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The plan.
    Set,
    /// The loader: what it finds is the stranger's own, or fits it better.
    Own,
}

/// Judges `object`, which `program` opens by path; with `name`, what is opened by that bare name from code in `object`.
#[must_use]
pub fn stranger(loader: &Loader, plan: &Plan, program: &Path, object: &Path, name: Option<&OsStr>) -> Standing {
    let mut started = LinkMap::new(loader);
    if let Err(error) = started.start(program) {
        log::info!("{}: {error}", program.display());
    }
    let case = Case { loader, plan, program, object, started };
    let own = match name {
        Some(name) => case.has_own(name),
        None => case.is_served_better_by_itself(),
    };
    if own { Standing::Own } else { Standing::Set }
}

struct Case<'l> {
    loader: &'l Loader,
    plan: &'l Plan,
    program: &'l Path,
    object: &'l Path,
    /// The process as it starts.
    started: LinkMap<'l>,
}

/// The stranger, linked in one way.
struct Linked<'l> {
    map: LinkMap<'l>,
    /// Symbols, nodes and libraries that are missing.
    missing: BTreeSet<(OsString, Option<OsString>)>,
}

impl<'l> Case<'l> {
    /// Who opens it: the program, where the model can start that.
    fn caller(&self) -> Option<usize> {
        (!self.started.objects().is_empty()).then_some(0)
    }

    /// Whether the stranger's run paths, or its directory tree, have a name that it opens.
    fn has_own(&self, name: &OsStr) -> bool {
        let mut map = self.started.clone();
        let Ok(stat) = self.loader.host().stat(self.object) else { return true };
        let mapped = map.objects().iter().position(|mapped| mapped.object.stat.id == stat.id);
        let Some(index) = mapped.or_else(|| map.open(self.object.as_os_str(), self.caller())) else { return true };
        map.run_paths_from(index, name).is_some()
            || map.search_from(index, name).is_some_and(|(path, rule)| self.found_at_home(&path, rule))
    }

    fn is_served_better_by_itself(&self) -> bool {
        let bare = self.linked(&[]);
        let Some(root) = bare.map.objects().get(self.started.objects().len()) else {
            // It cannot be opened, or is mapped already.
            return true;
        };
        let itself = root.names.iter().find_map(|name| self.plan.lookup(name.to_str()?));
        if itself.is_some_and(|library| library.id != root.object.stat.id) {
            // Another copy of what the set holds goes with its own kin.
            return true;
        }
        let asked = self.asked(&bare);
        let set = self.plan.libraries.iter().filter(|library| asked.contains_key(library.soname.as_str()));
        let with = self.linked(&set.collect::<Vec<_>>());
        match (bare.missing.len(), with.missing.len()) {
            _ if bare.missing == with.missing => asked.values().flatten().any(|found| self.stands(&bare, *found)),
            (alone, planned) => planned >= alone,
        }
    }

    /// The planned sonames that the stranger leads to and that are not mapped at the start, each with the object that ld.so
    /// alone takes for it; and what those of the plan need in their turn.
    fn asked(&self, bare: &Linked<'l>) -> BTreeMap<&'l str, Option<usize>> {
        let objects = bare.map.objects();
        let opened = objects.iter().skip(self.started.objects().len());
        let mut queue: Vec<OsString> = opened.flat_map(|mapped| mapped.object.facts.needed.clone()).collect();
        let mut asked = BTreeMap::new();
        while let Some(name) = queue.pop() {
            let Some(library) = name.to_str().and_then(|name| self.plan.lookup(name)) else { continue };
            if asked.contains_key(library.soname.as_str()) || self.started.by_name(&name).is_some() {
                continue;
            }
            let found = objects.iter().position(|mapped| mapped.names.contains(&name));
            asked.insert(library.soname.as_str(), found);
            if let Ok(object) = self.loader.objects().open(&library.path) {
                queue.extend(object.facts.needed.iter().cloned());
            }
        }
        asked
    }

    /// Opens the libraries, then the stranger, and links the stranger.
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

    /// Whether the object that ld.so alone takes for a planned name is the stranger's own.
    fn stands(&self, bare: &Linked<'l>, found: usize) -> bool {
        let Some(mapped) = bare.map.objects().get(found) else { return false };
        let planned = |id: FileId| self.plan.chosen().any(|library| library.id == id);
        !planned(mapped.object.stat.id) && self.is_own(mapped)
    }

    fn is_own(&self, mapped: &Mapped) -> bool {
        matches!(mapped.rule, Rule::Rpath | Rule::Runpath) || self.found_at_home(&mapped.path, mapped.rule)
    }

    /// Whether a copy that a search found stands in the tree of the stranger or of its program.
    fn found_at_home(&self, path: &Path, rule: Rule) -> bool {
        rule == Rule::LdLibraryPath && is_own(self.loader.host(), &[self.object, self.program], path)
    }
}
