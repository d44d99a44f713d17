//! The NVIDIA libraries of an image: every copy, who installed it, which layer brought it.

use crate::host::FileId;
use crate::image::Image;
use crate::inventory::Depth;
use crate::inventory::places::{Place, Walk};
use crate::inventory::scan::{Scan, Survey};
use crate::loader::{Loader, Objects};
use crate::report::JsonPath;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// A library of an image.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ImageLibrary {
    /// Its path.
    pub path: JsonPath,
    /// The name that a process loads it by.
    pub name: String,
    /// Its release.
    pub version: Option<String>,
    /// The package that installed it.
    pub package: Option<String>,
    /// The number of the layer that brought it, from 1; absent of a root directory.
    pub layer: Option<usize>,
    /// Bytes.
    pub size: u64,
    /// Whether it is for linking only.
    pub stub: bool,
    /// Whether it belongs to a driver: of its own, or of a compatibility package.
    pub driver: bool,
    #[serde(skip)]
    pub(super) id: FileId,
    #[serde(skip)]
    pub(super) is_compat: bool,
}

/// The copies of one library.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Copies {
    /// The name that a process loads it by.
    pub name: String,
    /// Their paths, the largest first.
    pub paths: Vec<JsonPath>,
    /// The bytes of all.
    pub bytes: u64,
    /// The bytes of all but the largest.
    pub spare: u64,
}

/// What is in an image.
pub(super) struct Contents {
    pub(super) places: Vec<Place>,
    pub(super) libraries: Vec<ImageLibrary>,
}

impl Contents {
    /// Looks into every directory.
    pub(super) fn of(image: &Image, objects: &Objects) -> Self {
        let stop = AtomicBool::new(false);
        let places = Walk::new([PathBuf::from("/")]).run(&image.host, &|_| (), &stop).places;
        let mut survey = Survey::new(objects, places.clone(), Depth::Quick);
        while survey.read_next(&stop).is_some() {}
        let scan: Scan = survey.finish(&Loader::new(objects));
        let libraries = scan.entries.iter().map(|entry| {
            let library = &entry.library;
            ImageLibrary {
                path: library.path.as_path().into(),
                name: library.load_name().to_owned(),
                version: library.version.as_ref().map(ToString::to_string),
                package: library.package().map(str::to_owned),
                layer: image.host.tree().and_then(|tree| tree.layer(&library.path)).map(|layer| usize::from(layer) + 1),
                size: library.stat.size,
                stub: library.is_stub(),
                driver: library.row.is_driver() && !library.is_stub(),
                id: library.stat.id,
                is_compat: crate::inventory::forward_compatibility(library).is_some(),
            }
        });
        Self { libraries: libraries.collect(), places }
    }

    /// The libraries that are there more than once, the largest first.
    pub(super) fn copies(&self) -> Vec<Copies> {
        let mut named: BTreeMap<&str, BTreeMap<FileId, &ImageLibrary>> = BTreeMap::new();
        for library in self.libraries.iter().filter(|library| !library.stub && library.size > 0) {
            named.entry(&library.name).or_default().entry(library.id).or_insert(library);
        }
        let several = named.into_iter().filter(|(_, files)| files.len() > 1);
        let mut copies: Vec<Copies> = several
            .map(|(name, files)| {
                let mut files: Vec<&ImageLibrary> = files.into_values().collect();
                files.sort_by(|one, other| (other.size, one.path.to_path()).cmp(&(one.size, other.path.to_path())));
                let bytes = files.iter().map(|file| file.size).sum();
                let largest = files.first().map_or(0, |file| file.size);
                let paths = files.iter().map(|file| file.path.clone()).collect();
                Copies { name: name.to_owned(), paths, bytes, spare: bytes - largest }
            })
            .collect();
        copies.sort_by(|one, other| (other.spare, &one.name).cmp(&(one.spare, &other.name)));
        copies
    }
}
