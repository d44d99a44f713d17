//! What is judged: a link map, with what is known of the copies in it and of how it came about.
//!
//! Takes what a prediction, a live process or a trace gives; names its objects as findings do. Judges nothing.

use super::copies::Copies;
use super::{File, JudgedObject, MissingSymbol, Stage, Subject};
use crate::inventory::Library;
use crate::loader::{LinkMap, Mapped, Rule};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is judged.
pub(super) struct Mapping<'a, 'l> {
    pub(super) of: String,
    pub(super) at: Option<PathBuf>,
    /// With what is opened later.
    pub(super) map: &'a LinkMap<'l>,
    /// How many objects are there before.
    pub(super) startup: usize,
    /// How many are there once it is loaded.
    pub(super) loaded: usize,
    pub(super) roots: &'a [usize],
    pub(super) copies: &'a Copies,
    /// `None` for a live process.
    pub(super) subject: Option<&'a Subject>,
    /// The rules that explain a live map, in its order; none: those of the map.
    pub(super) rules: Vec<Rule>,
    /// Objects that are opened by somebody who does without them.
    pub(super) elective: &'a BTreeSet<usize>,
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
            // What is opened by path is known by its file name.
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

    /// Whether it is opened by something that is itself opened later: cuDNN's engines, of which nothing is heard before a
    /// GPU is used.
    pub(super) fn is_second_hand(&self, index: usize) -> bool {
        let loader = self.mapped(index).and_then(|mapped| mapped.loader);
        index >= self.loaded && loader.is_some_and(|loader| loader >= self.loaded)
    }

    /// Whether a symbol is missed when it is first called: of what is there from the start, or is loaded, nothing else waits.
    pub(super) fn is_at_call(&self, missing: &MissingSymbol) -> bool {
        let asker = self.map.objects().iter().position(|mapped| mapped.path == missing.wanted_by);
        missing.later && asker.is_some_and(|asker| asker < self.loaded)
    }

    /// A mapped object, as a finding names it.
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
