//! What is known of the mapped copies of NVIDIA's libraries: release, CUDA major, owner.
//!
//! Takes paths of mapped files; gives the [`Library`] of each. Each directory is looked into once.

use crate::facts::{Version, parse_library_name};
use crate::host::FileId;
use crate::inventory::{Depth, Inventory, Library, evidence};
use crate::objects::Objects;
use crate::places::{self, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The copies met so far.
#[derive(Debug, Default)]
pub(super) struct Copies {
    by_id: BTreeMap<FileId, Library>,
    dirs: BTreeSet<PathBuf>,
    /// Those of the subject first.
    sites: Vec<Place>,
    own: usize,
}

impl Copies {
    /// None yet. What stands in the site directories is told apart by their records.
    pub(super) fn new(sites: Vec<Place>) -> Self {
        Self { own: sites.len(), sites, ..Self::default() }
    }

    /// Looks into the directories of these files that hold libraries of ours.
    pub(super) fn learn<'p>(&mut self, objects: &Objects<'_>, files: impl Iterator<Item = (FileId, &'p Path)>) {
        let files: Vec<(FileId, &Path)> =
            files.filter(|(id, path)| !self.by_id.contains_key(id) && is_ours(path)).collect();
        let mut wanted = Vec::new();
        for dir in files.iter().filter_map(|(_, path)| path.parent()) {
            if self.dirs.insert(dir.to_owned()) {
                wanted.push(places::found(dir.to_owned()));
            }
        }
        if wanted.is_empty() {
            return;
        }
        let host = objects.host();
        // A file is of the packages of the site directory it stands in, whoever maps it.
        let sites: BTreeSet<&Path> = wanted.iter().filter_map(|place| site_of(&place.dir)).collect();
        let unknown = sites.into_iter().filter(|site| !self.sites.iter().any(|place| place.root == *site));
        let more: Vec<Place> = unknown.flat_map(|site| places::sites(host, &[site.to_owned()])).collect();
        self.sites.extend(more);
        // The same directory as a place of a site-packages comes first, for that place knows the packages.
        let id = |dir: &Path| host.stat(dir).ok().map(|stat| stat.id);
        let ids: BTreeSet<Option<FileId>> = wanted.iter().map(|place| id(&place.dir)).collect();
        let mut places: Vec<Place> = self.sites.iter().filter(|place| ids.contains(&id(&place.dir))).cloned().collect();
        places.append(&mut wanted);
        let mapped: BTreeSet<FileId> = files.iter().map(|(id, _)| *id).collect();
        for mut library in Inventory::scan(objects, places).libraries {
            if library.version.is_none() && mapped.contains(&library.stat.id) {
                let (found, _) = evidence(&library, Depth::Full);
                (library.version, library.cuda) =
                    (found.version.or_else(|| named(&library)), library.cuda.or(found.cuda));
            }
            self.by_id.entry(library.stat.id).or_insert(library);
        }
    }

    /// The copy that is this file.
    pub(super) fn of(&self, id: FileId) -> Option<&Library> {
        self.by_id.get(&id)
    }

    /// A library of this name in the site directories, whoever may find it there.
    pub(super) fn installed(&self, objects: &Objects<'_>, name: &Path) -> Option<PathBuf> {
        let candidates = self.sites.iter().take(self.own).map(|place| place.dir.join(name));
        candidates.into_iter().find(|path| objects.host().is_file(path))
    }
}

/// auditwheel names what it bundles by the whole release.
fn named(library: &Library) -> Option<Version> {
    let name = parse_library_name(library.path.file_name()?)?;
    name.version.filter(|version| name.hash.is_some() && version.numbers().len() >= 3)
}

fn site_of(dir: &Path) -> Option<&Path> {
    let named = |dir: &&Path| dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    dir.ancestors().find(named)
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| parse_library_name(name).is_some())
}

/// The stem a file is known by in `data/dlopens.tsv`, and the release its name tells.
pub(super) fn stem_of(path: &Path) -> Option<(String, Option<Version>)> {
    let name = path.file_name()?;
    if let Some(ours) = parse_library_name(name) {
        return Some((ours.row.stem.to_owned(), None));
    }
    let (stem, tail) = name.to_str()?.strip_prefix("lib")?.split_once(".so")?;
    // auditwheel puts eight digits of a hash behind the stem.
    let hash = |hash: &str| hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let stem = stem.rsplit_once('-').filter(|(_, tail)| hash(tail)).map_or(stem, |(stem, _)| stem);
    let version = tail.strip_prefix('.').and_then(Version::parse).filter(|version| version.numbers().len() > 1);
    Some((stem.to_owned(), version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_of_bundles_and_of_others() {
        let stem = |name: &str| {
            stem_of(Path::new(name)).map(|(stem, version)| (stem, version.map(|version| version.to_string())))
        };
        assert_eq!(stem("/x/libcudnn-74a4c495.so.9.1.0"), Some(("cudnn".into(), None)));
        assert_eq!(stem("/x/libtorch_cuda.so"), Some(("torch_cuda".into(), None)));
        assert_eq!(stem("libctranslate2-bc15bf3f.so.4.5.0"), Some(("ctranslate2".into(), Some("4.5.0".into()))));
        assert_eq!(stem("_C.cpython-311-x86_64-linux-gnu.so"), None);
        assert_eq!(stem("/bin/true"), None);
    }
}
