//! The facts known of the mapped copies of NVIDIA's libraries: release, CUDA major, owner.
//!
//! Takes paths of mapped files; gives the [`Library`] of each. Reads each directory once.

use crate::host::tidy;
use crate::host::{FileId, Host};
use crate::inventory::places::{self, Place};
use crate::inventory::{Confidence, Depth, Inventory, Library, Owner, evidence, shares_soname};
use crate::loader::Mapped;
use crate::loader::Objects;
use crate::python::site_of;
use crate::python::{Distribution, distributions};
use crate::tables::{LibraryName, Version, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The copies read so far.
#[derive(Debug, Default)]
pub(super) struct Copies {
    by_id: BTreeMap<FileId, Library>,
    dirs: BTreeSet<PathBuf>,
    /// The site directories of the subject.
    own: Vec<PathBuf>,
    /// Whether to read the release of libraries outside any group, too.
    thorough: bool,
    /// The packages of site directories.
    packages: BTreeMap<PathBuf, Vec<Distribution>>,
}

impl Copies {
    /// Starts empty; `own` are the site directories of the subject.
    pub(super) fn new(own: &[PathBuf], depth: super::Depth) -> Self {
        Self { own: own.to_vec(), thorough: depth == super::Depth::Symbols, ..Self::default() }
    }

    /// Reads the facts of the mapped objects that are NVIDIA libraries.
    pub(super) fn learn<'m>(&mut self, objects: &Objects, mapped: impl Iterator<Item = &'m Mapped>) {
        let mut unclear: BTreeMap<FileId, &Path> = BTreeMap::new();
        for mapped in mapped {
            let id = mapped.object.stat.id;
            let Some(name) = mapped.path.file_name().and_then(parse_library_name) else { continue };
            if self.by_id.contains_key(&id) || unclear.contains_key(&id) {
                continue;
            }
            match self.of_package(objects.host(), mapped, &name) {
                Some(library) => drop(self.by_id.insert(id, library)),
                None if name.row.group.is_none() && !self.thorough => {}
                None => drop(unclear.insert(id, mapped.path.as_path())),
            }
        }
        if !unclear.is_empty() {
            self.read_directory(objects, &unclear);
        }
    }

    /// One wheel owns a library in `nvidia/`: the directory names it, without the wheel's RECORD.
    fn of_package(&mut self, host: &Host, mapped: &Mapped, name: &LibraryName<'_>) -> Option<Library> {
        // Run paths reach it through `..`, and a symbolic link may redirect that.
        let path = tidy(&mapped.path);
        let site = site_of(&path).filter(|_| name.hash.is_none())?;
        let dir = path.parent()?;
        if !path.strip_prefix(site).is_ok_and(|below| below.starts_with("nvidia"))
            || host.stat(&path).ok()?.id != mapped.object.stat.id
        {
            return None;
        }
        let installed = self.packages.entry(site.to_owned()).or_insert_with(|| distributions(host, site));
        let mut wheels = MAJORS.iter().filter_map(|major| {
            let names = name.row.wheel_names(*major);
            let fits = |package: &&Distribution| names.contains(&package.name);
            installed.iter().find(fits).map(|package| (u32::try_from(*major).unwrap_or_default(), package))
        });
        let (major, package) = wheels.next()?;
        // If two wheels own the path, only RECORD decides; from CUDA 13 on one wheel name serves several majors.
        if wheels.any(|(_, other)| other.name != package.name) {
            return None;
        }
        // If majors share a soname, a file that differs from the wheel's RECORD may be of another major.
        let below = path.strip_prefix(site).ok()?;
        let is_its = |package: &Distribution| {
            let recorded = package.record(host).into_iter().find(|file| file.path == below);
            recorded.and_then(|file| file.size).is_none_or(|size| size == mapped.object.stat.size)
        };
        if shares_soname(name.row.family) && !is_its(package) {
            return None;
        }
        let soname = mapped.object.facts.soname.as_deref().and_then(OsStr::to_str).map(str::to_owned);
        Some(Library {
            path: mapped.path.clone(),
            names: Vec::new(),
            row: name.row,
            renamed: None,
            soname,
            place: places::found(dir.to_owned()),
            stat: mapped.object.stat,
            recorded: None,
            version: Version::parse(&package.version),
            evidence: Vec::new(),
            confidence: Confidence::Likely,
            cuda: Some((major, None)),
            owner: Owner::default(),
            unusable: None,
            object: Some(Arc::clone(&mapped.object)),
        })
    }

    /// Reads the directories of these files.
    fn read_directory(&mut self, objects: &Objects, files: &BTreeMap<FileId, &Path>) {
        let host = objects.host();
        let dirs: BTreeSet<&Path> = files.values().filter_map(|path| path.parent()).collect();
        let new: Vec<&Path> = dirs.into_iter().filter(|dir| self.dirs.insert((*dir).to_owned())).collect();
        // If the directory is part of a site-packages, read it as such first: that place knows the packages.
        let sites: BTreeSet<PathBuf> = new.iter().filter_map(|dir| site_of(dir)).map(Path::to_owned).collect();
        let id = |dir: &Path| host.stat(dir).ok().map(|stat| stat.id);
        let ids: BTreeSet<Option<FileId>> = new.iter().map(|dir| id(dir)).collect();
        let sites: Vec<PathBuf> = sites.into_iter().collect();
        let mut places: Vec<Place> = places::sites(host, &sites);
        places.retain(|place| ids.contains(&id(&place.dir)));
        places.extend(new.into_iter().map(|dir| places::found(dir.to_owned())));
        for mut library in Inventory::scan(objects, places).libraries {
            if library.version.is_none() && files.contains_key(&library.stat.id) {
                let (found, _) = evidence(&library, Depth::Full);
                library.version = found.version.or_else(|| named(&library));
                library.cuda = library.cuda.or(found.cuda);
            }
            self.by_id.entry(library.stat.id).or_insert(library);
        }
    }

    /// The copy with this file id.
    pub(super) fn of(&self, id: FileId) -> Option<&Library> {
        self.by_id.get(&id)
    }

    /// A library of this name in the site directories of the subject, whether or not ld.so finds it there.
    pub(super) fn installed(&self, objects: &Objects, name: &Path) -> Option<PathBuf> {
        let places = places::sites(objects.host(), &self.own);
        let mut candidates = places.iter().map(|place| place.dir.join(name));
        candidates.find(|path| objects.host().is_file(path))
    }
}

/// The CUDA majors in the names of wheels.
const MAJORS: [u64; 5] = [11, 12, 13, 14, 15];

/// auditwheel names bundled libraries by their full release.
fn named(library: &Library) -> Option<Version> {
    let name = parse_library_name(library.path.file_name()?)?;
    name.version.filter(|version| name.hash.is_some() && version.numbers().len() >= 3)
}

/// The stem of a file in `data/dlopens.tsv`, and the release in its name.
pub(super) fn stem_of(path: &Path) -> Option<(String, Option<Version>)> {
    let name = path.file_name()?;
    if let Some(ours) = parse_library_name(name) {
        return Some((ours.row.stem.to_owned(), None));
    }
    let (stem, tail) = name.to_str()?.strip_prefix("lib")?.split_once(".so")?;
    // auditwheel appends a hash of eight hex digits to the stem.
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
