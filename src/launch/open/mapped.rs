//! Which sonames are mapped in this process, and from which files.
//!
//! Takes `/proc/self/maps` and the dynamic tables of the files in it. Never calls ld.so, so it changes nothing.

use crate::host::{FileId, MappedFile, mapped_files};
use crate::loader::Objects;
use crate::plan::PlanLibrary;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// The sonames that are mapped in this process, and from which files.
pub(super) struct Mapped(BTreeMap<OsString, Vec<(PathBuf, Option<FileId>)>>);

/// Which copy of a soname is mapped.
#[derive(Clone, Copy)]
pub(super) enum Copied<'m> {
    Same,
    Other(&'m Path),
}

impl Mapped {
    pub(super) fn read(objects: &Objects) -> io::Result<Self> {
        let host = objects.host();
        let mut mapped: BTreeMap<OsString, Vec<_>> = BTreeMap::new();
        for MappedFile { path, deleted, .. } in mapped_files(&host.read(Path::new("/proc/self/maps"))?) {
            // The device in the table is not always that of stat(2) (btrfs, overlayfs), so the file is identified by
            // its path.
            let object = if deleted { None } else { objects.open(&path).ok() };
            if let Some(object) = object {
                if let Some(soname) = object.facts.soname.clone() {
                    mapped.entry(soname).or_default().push((path, Some(object.stat.id)));
                }
            } else {
                // Removed since it was mapped: only its name is known.
                let soname = path.file_name().unwrap_or_default().to_owned();
                let mut gone = path.into_os_string();
                // The kernel's suffix: that path now names another file, or none.
                gone.push(if deleted { " (deleted)" } else { "" });
                mapped.entry(soname).or_default().push((gone.into(), None));
            }
        }
        Ok(Self(mapped))
    }

    pub(super) fn of(&self, library: &PlanLibrary) -> Option<Copied<'_>> {
        let copies = self.0.get(OsStr::new(&library.soname))?;
        if copies.iter().any(|(_, id)| *id == Some(library.id)) {
            return Some(Copied::Same);
        }
        copies.first().map(|(path, _)| Copied::Other(path))
    }
}
