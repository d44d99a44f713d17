//! The link: every version node and every symbol of a link map, bound as glibc binds them.
//!
//! Takes a [`LinkMap`]; gives the nodes and symbols that no object defines, in the order in which ld.so comes upon them,
//! and the words with which it gives up. The rules are those of `elf/dl-version.c`, `elf/dl-lookup.c` and
//! `elf/dl-reloc.c`: relocations alone decide which symbols are asked for, the scope of an object who is asked, and the
//! first definition that matches answers. Never loads anything, and knows nothing of what constructors do.

use super::error::{Fault, LinkError};
use super::linkmap::{LinkMap, Stage};
use super::order;
use crate::elf::{Binding, Elf, Reference, RelocationClass};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which symbols a link binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbols {
    /// None: only objects and version nodes are looked at.
    Skip,
    /// Those that are bound when an object is loaded; calls wait for their first time unless the object says otherwise.
    Lazy,
    /// All, as `RTLD_NOW`, `LD_BIND_NOW` and `ldd -r` have it.
    Now,
}

/// A version node that its provider does not define.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingNode {
    /// Who needs it.
    pub object: usize,
    /// The provider; `None` where no mapped object bears the name, which ends the process.
    pub provider: Option<usize>,
    /// The provider's name as the version need has it.
    pub file: OsString,
    /// The node.
    pub node: OsString,
    /// `VER_FLG_WEAK`: no error.
    pub weak: bool,
    /// The provider defines no versions at all: no error either, ld.so takes its symbols as they are.
    pub unversioned: bool,
}

/// A symbol that no object of the scope defines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingSymbol {
    /// Who asks for it.
    pub object: usize,
    /// The symbol.
    pub symbol: OsString,
    /// The version it must have.
    pub node: Option<OsString>,
    /// The soname that the version is expected of.
    pub file: Option<OsString>,
}

/// What linking a map comes to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Link {
    /// Nodes that are not defined, in the order in which ld.so looks for them.
    pub nodes: Vec<MissingNode>,
    /// Symbols that are not defined, in the order in which ld.so looks for them.
    pub symbols: Vec<MissingSymbol>,
    /// With what the process, or the `dlopen`, ends; `None` where it does not.
    pub first_error: Option<LinkError>,
}

impl LinkMap<'_, '_> {
    /// Links all that is mapped: start-up first, then each [`open`](Self::open) in its turn.
    #[must_use]
    pub fn link(&self, symbols: Symbols) -> Link {
        let objects = self.objects();
        let mut linker = Linker {
            map: self,
            elves: objects.iter().map(|mapped| mapped.object.elf().ok()).collect(),
            link: Link::default(),
            checked: vec![false; objects.len()],
            relocated: vec![false; objects.len()],
            answers: HashMap::new(),
        };
        for (at, stage) in self.stages().iter().enumerate() {
            linker.stage(at, stage, symbols);
        }
        linker.link
    }

    /// The object that answers `symbol` of version `node` when the object at `index` asks for it.
    #[must_use]
    pub fn binding(&self, index: usize, symbol: &[u8], node: Option<&[u8]>) -> Option<usize> {
        let asked = self.scope(index).into_iter().flatten();
        let answers = |asked: &&usize| {
            let elf = self.objects().get(**asked).and_then(|mapped| mapped.object.elf().ok());
            elf.is_some_and(|elf| elf.defines(symbol, node))
        };
        asked.copied().find(|asked| answers(&asked))
    }

    /// `l_scope`: the search lists that are gone through for the object at `index`.
    pub(super) fn scope(&self, index: usize) -> Vec<&[usize]> {
        let mut top = index;
        for _ in self.objects() {
            match self.objects().get(top).and_then(|mapped| mapped.parent) {
                Some(parent) => top = parent,
                None => break,
            }
        }
        let search = |root: usize| self.stages().iter().find(|stage| stage.root == Some(root));
        let global = self.program().and_then(search).map(|stage| stage.search.as_slice());
        let local = search(top).filter(|_| self.program() != Some(top)).map(|stage| stage.search.as_slice());
        global.into_iter().chain(local).collect()
    }
}

/// What a symbol is looked up by, apart from the scope.
type Asked<'m> = (&'m [u8], Option<&'m [u8]>, RelocationClass);

struct Linker<'m, 'l, 'h> {
    map: &'m LinkMap<'l, 'h>,
    elves: Vec<Option<Elf<'m>>>,
    link: Link,
    checked: Vec<bool>,
    relocated: Vec<bool>,
    /// What the global scope answered.
    answers: HashMap<Asked<'m>, Option<usize>>,
}

impl<'m> Linker<'m, '_, '_> {
    fn stage(&mut self, at: usize, stage: &'m Stage, symbols: Symbols) {
        let program = stage.startup.then_some(stage.root).flatten();
        let program = program.and_then(|root| self.map.objects().get(root)).map(|mapped| mapped.path.clone());
        let next = self.map.stages().get(at + 1).map_or(self.map.missing().len(), |next| next.missing);
        if let Some(missing) = self.map.missing().get(stage.missing).filter(|_| next > stage.missing) {
            self.fail(LinkError::of_missing(missing, program.clone()));
        }
        for &index in &stage.search {
            if self.checked.get_mut(index).is_some_and(|checked| !std::mem::replace(checked, true)) {
                self.check_versions(index, program.as_deref());
            }
        }
        if symbols == Symbols::Skip {
            return;
        }
        for index in order::relocation(self.map, &stage.search) {
            if self.relocated.get_mut(index).is_some_and(|relocated| !std::mem::replace(relocated, true)) {
                self.relocate(index, symbols, program.as_deref());
            }
        }
    }

    fn fail(&mut self, error: LinkError) {
        self.link.first_error.get_or_insert(error);
    }

    fn path(&self, index: usize) -> PathBuf {
        self.map.objects().get(index).map(|mapped| mapped.path.clone()).unwrap_or_default()
    }

    /// `_dl_check_map_versions`.
    fn check_versions(&mut self, index: usize, program: Option<&Path>) {
        let Some(Some(elf)) = self.elves.get(index) else { return };
        let Ok(needs) = elf.version_needs() else { return };
        for need in needs {
            let file = OsStr::from_bytes(need.file);
            let provider = self.map.index_of(file);
            let defined = provider.and_then(|provider| self.elves.get(provider)?.as_ref()?.version_definitions().ok());
            let defined = defined.unwrap_or_default();
            for version in &need.versions {
                if defined.iter().any(|definition| version.is_met_by(definition)) {
                    continue;
                }
                // A name that nothing bears is a missing library, told before.
                let Some(provider) = provider else { continue };
                let missing = MissingNode {
                    object: index,
                    provider: Some(provider),
                    file: file.to_owned(),
                    node: OsStr::from_bytes(version.name).to_owned(),
                    weak: version.weak,
                    unversioned: defined.is_empty(),
                };
                if !missing.weak && !missing.unversioned {
                    self.fail(LinkError {
                        program: program.map(Path::to_owned),
                        fault: Fault::Version {
                            provider: self.path(provider),
                            node: missing.node.clone(),
                            required_by: self.path(index),
                        },
                    });
                }
                self.link.nodes.push(missing);
            }
        }
    }

    /// `_dl_relocate_object`.
    fn relocate(&mut self, index: usize, symbols: Symbols, program: Option<&Path>) {
        let Some(Some(elf)) = self.elves.get(index) else { return };
        let binding = if symbols == Symbols::Now || elf.binds_now() { Binding::Now } else { Binding::Lazy };
        let Ok(references) = elf.references(binding) else { return };
        let scope = self.map.scope(index);
        for reference in references {
            if reference.own || reference.weak || self.look_up(&reference, &scope).is_some() {
                continue;
            }
            let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            let missing = MissingSymbol {
                object: index,
                symbol: own(reference.name),
                node: reference.version.map(|version| own(version.node)),
                file: reference.version.map(|version| own(version.file)).filter(|file| !file.is_empty()),
            };
            self.fail(LinkError {
                program: program.map(Path::to_owned),
                fault: Fault::Symbol {
                    object: self.path(index),
                    symbol: missing.symbol.clone(),
                    node: missing.node.clone(),
                },
            });
            self.link.symbols.push(missing);
        }
    }

    /// `_dl_lookup_symbol_x`: the first object of the scope that answers.
    fn look_up(&mut self, reference: &Reference<'m>, scope: &[&[usize]]) -> Option<usize> {
        let elves = &self.elves;
        let answers = |index: &usize| {
            let elf = elves.get(*index).and_then(Option::as_ref);
            elf.is_some_and(|elf| elf.answer(reference).is_ok_and(|answer| answer.is_some()))
        };
        let asked = (reference.name, reference.version.map(|version| version.node), reference.class);
        let (global, local) = scope.split_first()?;
        let found = *self.answers.entry(asked).or_insert_with(|| global.iter().copied().find(|index| answers(index)));
        found.or_else(|| local.iter().flat_map(|list| list.iter()).copied().find(|index| answers(index)))
    }
}
