//! The files of one place with the name of an NVIDIA library, each once with all its names there.
//!
//! Takes a place; gives files with their stat, and problems of dangling names. Reads the directory and the stat of
//! these names; opens no file, so that a whole machine can be listed before the first read.

use super::Problem;
use crate::host::{FileId, Host, Kind, Stat};
use crate::inventory::places::Place;
use crate::tables::parse_library_name;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// The named files of a place.
#[derive(Debug)]
#[must_use]
pub struct Listing {
    /// The place.
    pub place: Place,
    pub(super) files: Vec<(Stat, Vec<OsString>)>,
    pub(super) problems: Vec<Problem>,
}

impl Listing {
    /// Lists a place; an unreadable one is empty.
    pub fn new(host: &Host, place: Place) -> Self {
        let mut by_file: BTreeMap<FileId, usize> = BTreeMap::new();
        let mut files: Vec<(Stat, Vec<OsString>)> = Vec::new();
        let mut problems = Vec::new();
        for entry in host.list(&place.dir).unwrap_or_default() {
            if parse_library_name(&entry.name).is_none() {
                continue;
            }
            let path = place.dir.join(&entry.name);
            let (id, says) = match host.stat(&path) {
                Ok(stat) if stat.kind == Kind::File => {
                    let at = *by_file.entry(stat.id).or_insert(files.len());
                    match files.get_mut(at) {
                        // Several names of one file in one directory are one library.
                        Some((_, names)) => names.push(entry.name),
                        None => files.push((stat, vec![entry.name])),
                    }
                    continue;
                }
                Ok(stat) => {
                    let what = if stat.kind == Kind::Directory { "a directory" } else { "neither file nor directory" };
                    ("not-a-file", format!("named like a library, but {what}"))
                }
                Err(error) if entry.kind == Kind::Link => ("dangling-link", format!("the link is dangling: {error}")),
                Err(error) => ("unreadable", error.to_string()),
            };
            log::debug!("{}: {says}", path.display());
            problems.push(Problem { id, path, says });
        }
        Self { place, files, problems }
    }

    /// The files, each with its paths here.
    pub fn files(&self) -> impl Iterator<Item = (FileId, impl Iterator<Item = PathBuf> + '_)> {
        self.files.iter().map(|(stat, names)| (stat.id, names.iter().map(|name| self.place.dir.join(name))))
    }
}
