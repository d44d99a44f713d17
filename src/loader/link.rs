//! Binds every version node and every symbol of a link map, as glibc does.
//!
//! Takes a [`LinkMap`]; returns the nodes and symbols that no object defines, in ld.so's order, and the error with
//! which ld.so ends. The rules are those of `elf/dl-version.c`, `elf/dl-lookup.c` and `elf/dl-reloc.c`: relocations
//! determine the needed symbols, the scope of an object determines the searched objects, and the first matching
//! definition overrides the others. Never loads anything, and does not predict constructors.

use super::error::{Fault, LinkError};
use super::linkmap::{Flags, LinkMap, Listed, Mapped, Missing};
use super::order;
use crate::elf::{Binding, Elf, NeededVersion, Reference, RelocationClass};
use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which symbols a link binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbols {
    /// None: only objects and version nodes are checked.
    Skip,
    /// Those that are bound when an object is loaded; functions are bound at their first call unless the object has
    /// `DF_BIND_NOW`.
    Lazy,
    /// All, as with `RTLD_NOW`, `LD_BIND_NOW` and `ldd -r`.
    Now,
    /// All, with those that are bound at their first call marked: a program that starts without `LD_BIND_NOW` and
    /// opens libraries with `RTLD_NOW`, as CPython does.
    Started,
}

/// A version node that its provider does not define.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingNode {
    /// The object that needs it.
    pub object: usize,
    /// The provider; `None` where no mapped object has the name, which ends the process.
    pub provider: Option<usize>,
    /// The provider's name in the version need.
    pub file: OsString,
    /// The node.
    pub node: OsString,
    /// `VER_FLG_WEAK`: no error.
    pub weak: bool,
    /// The provider defines no versions: no error either, ld.so binds to its symbols without a version.
    pub unversioned: bool,
}

/// A symbol that no object of the scope defines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingSymbol {
    /// The object that needs it.
    pub object: usize,
    /// The symbol.
    pub symbol: OsString,
    /// The version it must have.
    pub node: Option<OsString>,
    /// The soname that should define the version.
    pub file: Option<OsString>,
    /// It is bound at its first call: only that call fails.
    pub at_call: bool,
}

/// The result of linking a map.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Link {
    /// Undefined nodes, in the order of ld.so's search.
    pub nodes: Vec<MissingNode>,
    /// Undefined symbols, in the order of ld.so's search.
    pub symbols: Vec<MissingSymbol>,
    /// The error that ends the process or the `dlopen`.
    pub first_error: Option<LinkError>,
}

impl LinkMap<'_> {
    /// Links all mapped objects: start-up first, then each [`open`](Self::open) in turn.
    #[must_use]
    pub fn link(&self, symbols: Symbols) -> Link {
        let mut linker = Linker::new(self, 0);
        for at in 0..self.stages().len() {
            linker.stage(at, symbols);
        }
        linker.link
    }

    /// Links only the last [`open`](Self::open); the first `done` objects count as linked.
    #[must_use]
    pub fn link_last(&self, done: usize, symbols: Symbols) -> Link {
        let mut linker = Linker::new(self, done);
        linker.stage(self.stages().len().saturating_sub(1), symbols);
        linker.link
    }

    /// The objects of each `dlopen` that fails because a needed library that `counts` is not found: ld.so unmaps them, and
    /// binds none of their symbols.
    #[must_use]
    pub fn failed(&self, counts: impl Fn(&Missing) -> bool) -> BTreeSet<usize> {
        let lacks = |mapped: &Mapped, missing: &Missing| {
            mapped.path == missing.needed_by && mapped.object.facts.needed.contains(&missing.name) && counts(missing)
        };
        let is_startup = |mapped: &Mapped| self.stages().get(mapped.stage).is_none_or(|stage| stage.startup);
        let lacking =
            self.objects().iter().filter(|mapped| self.missing().iter().any(|missing| lacks(mapped, missing)));
        let stages: BTreeSet<usize> = lacking.filter(|mapped| !is_startup(mapped)).map(|mapped| mapped.stage).collect();
        let at = |(index, mapped): (usize, &Mapped)| stages.contains(&mapped.stage).then_some(index);
        self.objects().iter().enumerate().filter_map(at).collect()
    }

    /// Maps and links as `dlopen(name)` called from object `caller`, and unmaps everything on failure.
    ///
    /// # Errors
    ///
    /// The text of `dlerror(3)`, or the error that ends the process.
    pub fn dlopen(
        &mut self,
        name: &OsStr,
        caller: Option<usize>,
        flags: Flags,
        symbols: Symbols,
    ) -> Result<usize, Box<LinkError>> {
        let objects = self.objects().len();
        let opened = self.open_with(name, caller, flags);
        let at = self.stages().len().saturating_sub(1);
        let mut linker = Linker::new(self, objects);
        linker.stage(at, symbols);
        let error = linker.link.first_error;
        let Some(index) = opened.filter(|_| error.is_none()) else {
            self.undo_stage(objects);
            return Err(Box::new(error.unwrap_or_else(|| LinkError::not_found(name))));
        };
        Ok(index)
    }

    /// The object that `symbol` of version `node` binds to for the object at `index`.
    #[must_use]
    pub fn binding(&self, index: usize, symbol: &[u8], node: Option<&[u8]>) -> Option<usize> {
        let defines = |index: &usize| {
            let elf = self.objects().get(*index).and_then(|mapped| mapped.object.elf().ok());
            elf.is_some_and(|elf| elf.defines(symbol, node))
        };
        let elf = self.objects().get(index)?.object.elf().ok()?;
        let scope = self.scope(index, elf.symbolic());
        scope.lists().flatten().copied().find(defines)
    }

    /// `l_scope`: the search lists of the object at `index` while its stage is linked.
    pub(super) fn scope(&self, index: usize, symbolic: bool) -> Scope<'_> {
        let stage_of = |index: usize| self.objects().get(index).map(|mapped| mapped.stage);
        let at = stage_of(index).unwrap_or(0);
        let stage = self.stages().get(at);
        let startup = self.stages().first().filter(|first| first.startup);
        // Objects opened with RTLD_GLOBAL before follow the program's own.
        let earlier = self.stages().iter().take(at).skip(usize::from(startup.is_some()));
        let added = earlier.filter(|stage| stage.flags.global).map(|stage| stage.search.as_slice());
        let local = stage.filter(|stage| !stage.startup);
        let deep = local.is_some_and(|stage| stage.flags.deepbind) && startup.is_some();
        Scope {
            // "We don't have to do this for the main map", and with RTLD_DEEPBIND it is first anyway.
            own: (symbolic && !deep && self.program() != Some(index)).then_some([index]),
            global: startup.map(|stage| stage.search.as_slice()).into_iter().chain(added).collect(),
            local: local.map(|stage| stage.search.as_slice()),
            deep,
        }
    }
}

/// The lists that are searched for a symbol.
pub(super) struct Scope<'m> {
    own: Option<[usize; 1]>,
    global: Vec<&'m [usize]>,
    local: Option<&'m [usize]>,
    deep: bool,
}

impl Scope<'_> {
    fn lists(&self) -> impl Iterator<Item = &[usize]> {
        let own = self.own.as_ref().map(<[usize; 1]>::as_slice);
        let (first, last) = if self.deep { (self.local, None) } else { (None, self.local) };
        own.into_iter().chain(first).chain(self.global.iter().copied()).chain(last)
    }
}

/// The result of a look-up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Object(usize),
    Nothing,
    /// `check_match` asserts that the named provider defines versions.
    Assertion,
}

struct Linker<'m, 'l> {
    map: &'m LinkMap<'l>,
    elfs: Vec<Option<Elf<'m>>>,
    link: Link,
    checked: Vec<bool>,
    relocated: Vec<bool>,
}

impl<'m, 'l> Linker<'m, 'l> {
    /// A linker that skips the first `done` objects.
    fn new(map: &'m LinkMap<'l>, done: usize) -> Self {
        let objects = map.objects();
        let linked: Vec<bool> = (0..objects.len()).map(|index| index < done).collect();
        Self {
            map,
            elfs: objects.iter().map(|mapped| mapped.object.elf().ok()).collect(),
            link: Link::default(),
            checked: linked.clone(),
            relocated: linked,
        }
    }

    fn stage(&mut self, at: usize, symbols: Symbols) {
        let Some(stage) = self.map.stages().get(at) else { return };
        let program = stage.startup.then_some(stage.root).flatten();
        let program = program.and_then(|root| self.map.objects().get(root)).map(|mapped| mapped.path.as_path());
        let next = self.map.stages().get(at + 1).map_or(self.map.missing().len(), |next| next.missing);
        if let Some(missing) = self.map.missing().get(stage.missing).filter(|_| next > stage.missing) {
            self.fail(missing.ends(program.map(Path::to_owned)));
        }
        // Start-up links the whole list, a `dlopen` its search list: with filters they differ.
        let listed = self.map.listing().iter().filter_map(|listed| match listed {
            Listed::Object(index) if stage.search.contains(index) => Some(*index),
            _ => None,
        });
        let order: Vec<usize> = if stage.startup { listed.collect() } else { stage.search.clone() };
        for index in order {
            if self.checked.get_mut(index).is_some_and(|checked| !std::mem::replace(checked, true)) {
                self.check_versions(index, program);
            }
        }
        if symbols == Symbols::Skip {
            return;
        }
        for index in order::relocation(self.map, &stage.search) {
            if self.relocated.get_mut(index).is_some_and(|relocated| !std::mem::replace(relocated, true)) {
                self.relocate(index, symbols, program);
            }
        }
    }

    fn fail(&mut self, error: LinkError) {
        self.link.first_error.get_or_insert(error);
    }

    fn fail_with(&mut self, program: Option<&Path>, fault: Fault) {
        self.fail(LinkError { program: program.map(Path::to_owned), fault });
    }

    fn path(&self, index: usize) -> PathBuf {
        self.map.objects().get(index).map(|mapped| mapped.path.clone()).unwrap_or_default()
    }

    /// `_dl_check_map_versions`.
    fn check_versions(&mut self, index: usize, program: Option<&Path>) {
        let Some(Some(elf)) = self.elfs.get(index) else { return };
        let needs = elf.version_needs().unwrap_or_default();
        let packed = elf.relr() && elf.needed().iter().any(|needed| needed.starts_with(b"libc.so."));
        let objects = self.map.objects().len();
        for need in &needs {
            let file = OsStr::from_bytes(need.file);
            let Some(provider) = self.map.names.bearer(need.file, objects) else {
                // A missing library has a placeholder of its name, which is not checked.
                if !self.map.missing().iter().any(|missing| missing.name == file) {
                    self.fail_with(program, Fault::NEEDED);
                    let first = need.versions.first().map(|version| OsStr::from_bytes(version.name).to_owned());
                    self.link.nodes.push(MissingNode {
                        object: index,
                        provider: None,
                        file: file.to_owned(),
                        node: first.unwrap_or_default(),
                        weak: false,
                        unversioned: false,
                    });
                }
                continue;
            };
            let defined = self.elfs.get(provider).and_then(|elf| elf.as_ref()?.version_definitions().ok());
            let defined = defined.unwrap_or_default();
            for version in &need.versions {
                if defined.iter().any(|definition| version.is_met_by(definition)) {
                    continue;
                }
                let missing = MissingNode {
                    object: index,
                    provider: Some(provider),
                    file: file.to_owned(),
                    node: OsStr::from_bytes(version.name).to_owned(),
                    weak: version.weak,
                    unversioned: defined.is_empty(),
                };
                if !missing.weak && !missing.unversioned {
                    let (provider, required_by) = (self.path(provider), self.path(index));
                    let node = missing.node.clone();
                    self.fail_with(program, Fault::Version { provider, node, required_by });
                }
                self.link.nodes.push(missing);
            }
        }
        // glibc 2.36 and later: an object with packed relocations must need the node.
        let knows = self.map.loader().glibc().is_some_and(|version| version >= (2, 36));
        let marked = needs.iter().flat_map(|need| &need.versions).any(|version| version.name == RELR_NODE);
        if knows && !needs.is_empty() && packed && !marked {
            let name = self.path(index).into_os_string();
            let reason = "DT_RELR without GLIBC_ABI_DT_RELR dependency".to_owned();
            self.fail_with(program, Fault::Library { name, reason });
        }
    }

    /// `_dl_relocate_object`.
    fn relocate(&mut self, index: usize, symbols: Symbols, program: Option<&Path>) {
        // ld.so relocates itself before all else.
        if self.map.objects().get(index).is_some_and(Mapped::is_interpreter) {
            return;
        }
        let Some(Some(elf)) = self.elfs.get(index) else { return };
        let lazy = !elf.binds_now();
        let binding = if lazy && symbols == Symbols::Lazy { Binding::Lazy } else { Binding::Now };
        let started = symbols == Symbols::Started && program.is_some() && !self.map.loader().binds_now();
        let waits = lazy && started;
        let Ok(references) = elf.references(binding) else { return };
        let scope = self.map.scope(index, elf.symbolic());
        let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        let mut seen = HashSet::new();
        let mut at_once = None;
        for reference in &references {
            match self.look_up(reference, &scope) {
                Found::Object(_) => continue,
                Found::Assertion => {
                    self.fail_with(program, Fault::VERSIONED);
                    continue;
                }
                Found::Nothing if reference.weak || self.is_in_every_process(reference) => continue,
                Found::Nothing => {}
            }
            let key = (reference.name, reference.version);
            let missing = MissingSymbol {
                object: index,
                symbol: own(reference.name),
                at_call: waits && !at_once.get_or_insert_with(|| self.bound_at_load(index)).contains(&key),
                node: reference.version.map(|version| own(version.node)),
                file: reference.version.map(|version| own(version.file)).filter(|file| !file.is_empty()),
            };
            // A symbol needed as data and as a function is reported once.
            if !seen.insert(key) {
                continue;
            }
            if !missing.at_call {
                let (symbol, node) = (missing.symbol.clone(), missing.node.clone());
                self.fail_with(program, Fault::Symbol { object: self.path(index), symbol, node });
            }
            self.link.symbols.push(missing);
        }
    }

    /// `_dl_lookup_symbol_x`: the first matching object of the scope.
    fn look_up(&self, reference: &Reference<'m>, scope: &Scope<'m>) -> Found {
        for list in scope.lists() {
            let found = self.search_list(reference, list);
            if found != Found::Nothing {
                return found;
            }
        }
        Found::Nothing
    }

    /// Whether the C library defines it, for a process whose program is not known: all that can open a library have
    /// one.
    fn is_in_every_process(&self, reference: &Reference<'_>) -> bool {
        let libc = self.map.program().is_none().then(|| self.map.libc()).flatten();
        libc.is_some_and(|libc| libc.elf().is_ok_and(|elf| matches!(elf.definition_of(reference), Ok(Some(_)))))
    }

    /// The symbols that are bound when the object is loaded.
    fn bound_at_load(&self, index: usize) -> HashSet<(&'m [u8], Option<NeededVersion<'m>>)> {
        let elf = self.elfs.get(index).and_then(Option::as_ref);
        let references = elf.and_then(|elf| elf.references(Binding::Lazy).ok()).unwrap_or_default();
        references.iter().map(|reference| (reference.name, reference.version)).collect()
    }

    /// `do_lookup_x`.
    fn search_list(&self, reference: &Reference<'_>, list: &[usize]) -> Found {
        for &index in list {
            let Some(Some(elf)) = self.elfs.get(index) else { continue };
            if reference.class == RelocationClass::Copy && self.map.program() == Some(index) {
                continue;
            }
            if let Ok(Some(_)) = elf.definition_of(reference) {
                let provider = reference.version.map(|version| version.file).filter(|file| !file.is_empty());
                let bears = |file: &[u8]| self.map.names.bears(OsStr::from_bytes(file), index);
                let insists = provider.is_some_and(bears) && !elf.is_versioned().unwrap_or(true);
                return if insists { Found::Assertion } else { Found::Object(index) };
            }
        }
        Found::Nothing
    }
}

/// The node that link editors add with packed relocations (`DT_RELR`).
const RELR_NODE: &[u8] = b"GLIBC_ABI_DT_RELR";

impl LinkMap<'_> {
    /// ld.so's message for an undefined node; for a weak one, or a provider without nodes, only `ldd` prints it.
    #[must_use]
    pub fn message_of(&self, node: &MissingNode) -> String {
        let path = |index: usize| self.objects().get(index).map(|mapped| mapped.path.display().to_string());
        let by = path(node.object).unwrap_or_default();
        let Some(provider) = node.provider.and_then(path) else { return Fault::NEEDED.to_string() };
        let weak = if node.weak { "weak " } else { "" };
        if node.unversioned {
            format!("{provider}: no version information available (required by {by})")
        } else {
            format!("{provider}: {weak}version `{}' not found (required by {by})", node.node.display())
        }
    }
}
