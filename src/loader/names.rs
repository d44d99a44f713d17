//! The names of the objects of a link map.
//!
//! Takes each object as it is mapped; resolves a name to one. ld.so walks its list from the head, so the first
//! object of a name keeps it. The names by which an object was opened differ from its soname, which
//! joins them at its first use (`l_soname_added` in `elf/dl-load.c`).

use crate::host::FileId;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Names and files of mapped objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    by_name: HashMap<OsString, usize>,
    by_file: HashMap<FileId, usize>,
    /// `l_name` and `l_libname`, which `_dl_name_match_p` compares.
    libnames: HashSet<(usize, OsString)>,
}

impl Names {
    /// The object with the name `name`.
    pub(super) fn of(&self, name: &OsStr) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The object that was mapped from a file.
    pub(super) fn of_file(&self, file: FileId) -> Option<usize> {
        self.by_file.get(&file).copied()
    }

    /// The first object that was opened by `name`, or has that path; its soname alone does not count.
    pub(super) fn bearer(&self, name: &[u8], objects: usize) -> Option<usize> {
        let name = OsStr::from_bytes(name);
        let first = self.of(name).filter(|index| self.bears(name, *index));
        first.or_else(|| (0..objects).find(|index| self.bears(name, *index)))
    }

    /// `_dl_name_match_p`.
    pub(super) fn bears(&self, name: &OsStr, index: usize) -> bool {
        self.libnames.contains(&(index, name.to_owned()))
    }

    /// Records that `name` resolved to the object at `index`.
    pub(super) fn resolved(&mut self, name: &OsStr, index: usize) {
        if !self.bears(name, index) {
            self.libnames.insert((index, name.to_owned()));
        }
    }

    /// `add_name_to_object`.
    pub(super) fn add(&mut self, name: &OsStr, index: usize) {
        self.by_name.entry(name.to_owned()).or_insert(index);
        self.libnames.insert((index, name.to_owned()));
    }

    /// Adds an object; the program, which nothing opens by name, has only its soname.
    pub(super) fn insert(
        &mut self,
        index: usize,
        name: Option<&OsStr>,
        path: Option<&Path>,
        soname: Option<&OsStr>,
        file: Option<FileId>,
    ) {
        for name in name.into_iter().chain(path.map(Path::as_os_str)) {
            self.add(name, index);
        }
        if let Some(soname) = soname {
            self.by_name.entry(soname.to_owned()).or_insert(index);
        }
        if let Some(file) = file {
            self.by_file.insert(file, index);
        }
    }

    /// Forgets all objects but the first ones.
    pub(super) fn truncate(&mut self, objects: usize) {
        self.by_name.retain(|_, index| *index < objects);
        self.by_file.retain(|_, index| *index < objects);
        self.libnames.retain(|(index, _)| *index < objects);
    }
}
