//! The input of the rules: a link map, the facts of its copies, and how it was built.
//!
//! Takes a prediction, a live process or a trace; names its objects for findings. Judges nothing.

use super::copies::Copies;
use super::{File, JudgedObject, MissingSymbol, Stage, Subject};
use crate::inventory::Library;
use crate::loader::{LinkMap, Mapped, Rule};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A description of the target.
pub(super) struct Mapping<'a, 'l> {
    pub(super) of: String,
    pub(super) at: Option<PathBuf>,
    /// The map, with the libraries opened later.
    pub(super) map: &'a LinkMap<'l>,
    /// The number of objects before the target is loaded.
    pub(super) startup: usize,
    /// The number of objects once it is loaded.
    pub(super) loaded: usize,
    pub(super) roots: &'a [usize],
    pub(super) copies: &'a Copies,
    /// `None` for a live process.
    pub(super) subject: Option<&'a Subject>,
    /// The rules of a live map, in map order; empty: those of the map itself.
    pub(super) rules: Vec<Rule>,
    /// Objects that are opened as optional.
    pub(super) optional_objects: &'a BTreeSet<usize>,
}

impl<'a> Mapping<'a, '_> {
    pub(super) fn mapped(&self, index: usize) -> Option<&'a Mapped> {
        self.map.objects().get(index)
    }

    pub(super) fn rule(&self, index: usize) -> Rule {
        let own = self.mapped(index).map_or(Rule::Mapped, |mapped| mapped.rule);
        self.rules.get(index).copied().unwrap_or(own)
    }

    pub(super) fn library(&self, index: usize) -> Option<&'a Library> {
        self.copies.of(self.mapped(index)?.object.stat.id)
    }

    pub(super) fn objects(&self) -> Vec<JudgedObject> {
        let objects = self.map.objects().iter().enumerate().map(|(index, mapped)| {
            let is_root = self.roots.contains(&index);
            let file_name = mapped.path.file_name().unwrap_or_default();
            // An object opened by path has its file name.
            let name =
                mapped.names.first().filter(|_| !is_root).filter(|name| !name.as_encoded_bytes().contains(&b'/'));
            let library = self.library(index);
            JudgedObject {
                name: name.cloned().unwrap_or_else(|| file_name.to_owned()),
                path: mapped.path.clone(),
                id: mapped.object.stat.id,
                rule: self.rule(index),
                needed_by: mapped.loader.filter(|_| !is_root),
                phase: match index {
                    _ if index < self.startup => Stage::Startup,
                    _ if index < self.loaded => Stage::Load,
                    _ => Stage::Later,
                },
                ours: library.is_some(),
                version: library.and_then(|library| library.version.clone()),
                deleted: false,
            }
        });
        objects.collect()
    }

    /// Whether its opener is itself opened later: cuDNN's engines, which are not used before a GPU is.
    pub(super) fn is_second_hand(&self, index: usize) -> bool {
        let loader = self.mapped(index).and_then(|mapped| mapped.loader);
        index >= self.loaded && loader.is_some_and(|loader| loader >= self.loaded)
    }

    /// Whether ld.so binds a symbol at the first call: for objects of the start or of the load, nothing else is bound
    /// later.
    pub(super) fn is_at_call(&self, missing: &MissingSymbol) -> bool {
        let referrer = self.map.objects().iter().position(|mapped| mapped.path == missing.needed_by);
        missing.later && referrer.is_some_and(|referrer| referrer < self.loaded)
    }

    /// A mapped object in the form of a finding.
    pub(super) fn file(&self, index: usize) -> File {
        let path = self.mapped(index).map(|mapped| mapped.path.clone()).unwrap_or_default();
        let version = self.library(index).and_then(|library| library.version.clone());
        File { path, version, rule: Some(self.rule(index)) }
    }

    /// A file that is mapped, or was found and refused.
    pub(super) fn file_at(&self, path: &Path) -> File {
        if let Some(index) = self.map.objects().iter().position(|mapped| mapped.path == *path) {
            return self.file(index);
        }
        let library_path = self.map.loader().library_path();
        let searched = path.parent().is_some_and(|dir| library_path.iter().any(|element| element == dir));
        File { path: path.to_owned(), version: None, rule: searched.then_some(Rule::LdLibraryPath) }
    }
}
