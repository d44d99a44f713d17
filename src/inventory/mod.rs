//! The copies of libraries in the places, each with its identity, version, owner and problems.
//!
//! Takes [`Place`]s; gives [`Library`]s and [`Problem`]s; then, of the whole, how each copy is reached today
//! ([`reach()`]) and the problems among them ([`problems()`]). Reads headers, dynamic tables and package records; whole
//! files only on demand ([`evidence`], [`Inventory::look_inside`], [`flags()`], [`gpu_code`]). Never chooses.
//!
//! The choice never uses versions from inside files: they have three numbers where pins and packages have four, which
//! would make whole groups look torn.

mod demand;
mod driver;
mod flags;
mod listing;
mod owner;
pub mod places;
mod problems;
mod reach;
pub mod scan;
mod strings;
mod symbols;
mod version;

pub use demand::{NodeDemand, Symbol, SymbolDemand, nodes_needed, symbols_by_provider};
pub(crate) use demand::{family_name, unversioned_provider};
pub use driver::{Flavour, KernelModule, Proc, kernel_branch};
pub(crate) use driver::{forward_compatibility, kernel_version};
pub use flags::{Flags, ForwardCompatibility, flags, gpu_code};
pub use listing::Listing;
pub use owner::{Digest, Owner, OwnerKind, Owners, Package, Verified, sha256};
pub use problems::problems;
pub(crate) use problems::{TORN, agree, release, torn_id, torn_id_of};
pub use reach::{Reach, reach};
use version::Neighbours;
pub(crate) use version::shares_soname;
pub use version::{
    About, Confidence, Cuda, Depth, Evidence, Found, Kind as EvidenceKind, answered, built_for, observe,
};

use crate::host::Stat;
use crate::loader::{Object, ObjectError, Objects};
use crate::tables::{FamilyRow, LibraryName, Version, parse_library_name};
use places::Place;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One copy of a library: a file in a directory, under all the names it has there.
#[derive(Debug, Clone)]
pub struct Library {
    /// The path to open it by: under its soname, if it has that name.
    pub path: PathBuf,
    /// Its other names in the same directory.
    #[doc(hidden)]
    pub names: Vec<OsString>,
    /// The row of its name.
    #[doc(hidden)]
    pub row: &'static FamilyRow,
    /// The hash a bundle renamed it by (`libcudart-e409450e.so.11.0`).
    #[doc(hidden)]
    pub renamed: Option<String>,
    /// `DT_SONAME`; `None` where the file cannot be read or has none.
    pub soname: Option<String>,
    /// The place it was found in.
    #[doc(hidden)]
    pub place: Place,
    /// Stat of the file.
    #[doc(hidden)]
    pub stat: Stat,
    /// Release, from the strongest evidence.
    pub version: Option<Version>,
    /// The evidence for the version.
    pub evidence: Vec<Evidence>,
    /// How reliable the version is.
    pub confidence: Confidence,
    /// The CUDA release it is built for: major, and minor where known.
    pub cuda: Option<(u32, Option<u32>)>,
    /// Who installed it.
    #[doc(hidden)]
    pub owner: Owner,
    /// The size that its owner recorded.
    #[doc(hidden)]
    pub recorded: Option<u64>,
    /// Why it must not be loaded: a stub, damaged, for another machine.
    pub unusable: Option<String>,
    /// The open file, where it can be read.
    #[doc(hidden)]
    pub object: Option<Arc<Object>>,
}

impl Library {
    /// Whether it is for linking only: in a `stubs` directory.
    #[must_use]
    pub fn is_stub(&self) -> bool {
        in_stubs(&self.place.dir)
    }

    /// The package that installed it: a wheel, a conda or a distribution package.
    #[must_use]
    pub fn package(&self) -> Option<&str> {
        self.owner.name()
    }

    /// Its names in its directory, the one to open it by first.
    #[doc(hidden)]
    pub fn file_names(&self) -> impl Iterator<Item = &OsStr> {
        self.path.file_name().into_iter().chain(self.names.iter().map(OsString::as_os_str))
    }

    /// The name that a process loads it by: its soname, else its file name.
    #[must_use]
    pub fn load_name(&self) -> &str {
        self.soname.as_deref().or_else(|| self.path.file_name().and_then(OsStr::to_str)).unwrap_or_default()
    }
}

impl Library {
    /// Its release, with all evidence.
    #[must_use]
    #[doc(hidden)]
    pub fn found(&self) -> Found {
        let Self { version, cuda, confidence, evidence, .. } = self.clone();
        Found { version, cuda, confidence, evidence }
    }

    /// Adds evidence, and concludes again.
    #[doc(hidden)]
    pub fn learn(&mut self, more: Vec<Evidence>) {
        if !more.is_empty() {
            let found = self.found().with(more);
            self.conclude(found);
        }
    }

    fn conclude(&mut self, found: Found) {
        (self.version, self.cuda, self.confidence, self.evidence) =
            (found.version, found.cuda, found.confidence, found.evidence);
    }
}

/// The release of a library, and the number of bytes of text searched for it: none at [`Depth::Quick`], which gives
/// what the scan knows.
#[must_use]
pub fn evidence(library: &Library, depth: Depth) -> (Found, u64) {
    let known = library.found();
    let inside = || {
        let object = library.object.as_ref().filter(|_| depth == Depth::Full)?;
        let elf = object.elf().ok()?;
        // Without the texts, only a few functions and symbols are read.
        object.expect_scattered(!version::reads_texts(library.row.family));
        let observed = observe(&elf, library.load_name());
        object.expect_scattered(false);
        Some(observed)
    };
    match inside() {
        Some((more, searched)) => (known.with(more), searched),
        None => (known, 0),
    }
}

/// A problem found on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A stable word for programs.
    pub id: &'static str,
    /// The path it is about.
    pub path: PathBuf,
    /// One clause for people.
    pub says: String,
}

/// Every copy found, in the order of the places.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The libraries.
    pub libraries: Vec<Library>,
    /// The problems of the scan.
    #[doc(hidden)]
    pub problems: Vec<Problem>,
    /// Other objects that need NVIDIA libraries or have a run path, such as those of torch and the extensions of Python
    /// packages, for [`reach()`].
    #[doc(hidden)]
    pub users: Vec<Arc<Object>>,
}

impl Inventory {
    /// Reads the places in order, each directory once.
    #[must_use]
    #[doc(hidden)]
    pub fn scan(objects: &Objects, places: Vec<Place>) -> Self {
        let mut inventory = Self::default();
        let mut owners = Owners::default();
        for place in places::distinct(objects.host(), places) {
            inventory.read(objects, Listing::new(objects.host(), place), &mut owners);
        }
        inventory
    }

    /// The copies that serve a soname, and the unusable files of that name.
    pub fn serving<'a, 's>(&'a self, soname: &'s str) -> impl Iterator<Item = &'a Library> + use<'a, 's> {
        let named =
            move |library: &Library| library.unusable.is_some() && library.path.file_name() == Some(OsStr::new(soname));
        self.libraries.iter().filter(move |library| library.load_name() == soname || named(library))
    }

    /// Reads the files of a listing; gives their range in `libraries`.
    #[doc(hidden)]
    pub fn read(&mut self, objects: &Objects, listing: Listing, owners: &mut Owners) -> Range<usize> {
        let Listing { place, files, problems } = listing;
        log::debug!("looking into {} ({})", place.dir.display(), place.provenance);
        let start = self.libraries.len();
        self.problems.extend(problems);
        for (stat, names) in files {
            self.add(objects, &place, stat, names, owners);
        }
        self.twins(objects, start);
        start..self.libraries.len()
    }

    /// Where two wheels recorded the same size for a file, the files beside it show which wheel was installed last.
    fn twins(&mut self, objects: &Objects, start: usize) {
        let Some(libraries) = self.libraries.get_mut(start..) else { return };
        let written = |library: &Library| match &library.owner {
            Owner::Wheel { name, rival: Some(rival), alike: false, size, .. } if *size == Some(library.stat.size) => {
                Some((name.clone(), rival.name.clone()))
            }
            _ => None,
        };
        let last: BTreeSet<(String, String)> = libraries.iter().filter_map(written).collect();
        for library in libraries {
            let Owner::Wheel { name, version, rival: Some(rival), alike: true, size } = &library.owner else {
                continue;
            };
            let pair = |one: &str, other: &str| last.contains(&(one.to_owned(), other.to_owned()));
            if pair(name, &rival.name) || !pair(&rival.name, name) {
                continue;
            }
            let other = Package { name: name.clone(), version: version.clone() };
            let (name, version) = (rival.name.clone(), rival.version.clone());
            library.owner = Owner::Wheel { name, version, rival: Some(other), alike: true, size: *size };
            let (host, path) = (objects.host(), &library.path);
            let Some(name) = path.file_name().and_then(parse_library_name) else { continue };
            let soname = library.soname.as_deref();
            let found = version::of(host, path, &name, soname, &library.place, &library.owner);
            library.conclude(found);
        }
    }

    /// [`look_inside_some`](Self::look_inside_some) for all libraries.
    #[doc(hidden)]
    pub fn look_inside(&mut self, depth: Depth) -> u64 {
        self.look_inside_some(0..self.libraries.len(), depth)
    }

    /// Reads the files of `range` whose release no package recorded (with [`Depth::Full`]: all), then takes the release
    /// of the rest from their directory; `range` covers whole directories. Gives the number of bytes of text searched.
    #[doc(hidden)]
    pub fn look_inside_some(&mut self, range: Range<usize>, depth: Depth) -> u64 {
        let Some(libraries) = self.libraries.get_mut(range) else { return 0 };
        let mut searched = 0_u64;
        // A package's record suffices, unless it is to be compared with the file.
        let is_due = |library: &Library| depth == Depth::Full || library.confidence != Confidence::Certain;
        for library in libraries.iter_mut().filter(|library| is_due(library)) {
            let (found, bytes) = evidence(library, Depth::Full);
            searched = searched.saturating_add(bytes);
            if let Some(object) = &library.object {
                object.rest();
            }
            if library.object.take_if(|object| object.is_cut()).is_none() {
                library.conclude(found);
                continue;
            }
            // The file was cut after it was opened: its evidence is from zeros.
            let error = ObjectError::Truncated.to_string();
            self.problems.push(Problem {
                id: "truncated-or-foreign-elf",
                path: library.path.clone(),
                says: error.clone(),
            });
            library.unusable.get_or_insert(error);
        }
        // A place is read at once, so the libraries of a directory are adjacent.
        for directory in libraries.chunk_by_mut(|one, other| one.place.dir == other.place.dir) {
            let mut known = Neighbours::default();
            for library in directory.iter().filter(|library| library.confidence > Confidence::Unsure) {
                known.add(library);
            }
            let beside: Vec<Vec<Evidence>> = directory.iter().map(|library| known.about(library)).collect();
            for (library, more) in directory.iter_mut().zip(beside) {
                library.learn(more);
            }
        }
        searched
    }

    fn add(&mut self, objects: &Objects, place: &Place, stat: Stat, mut names: Vec<OsString>, owners: &mut Owners) {
        let first = names.first().cloned().unwrap_or_default();
        let opened = objects.open(&place.dir.join(&first));
        let soname = opened.as_ref().ok().and_then(|object| object.facts.soname.as_ref()?.to_str().map(str::to_owned));
        let chosen = names
            .iter()
            .position(|name| Some(name.as_os_str()) == soname.as_deref().map(OsStr::new))
            .unwrap_or_default();
        if chosen >= names.len() {
            return;
        }
        let file_name = names.remove(chosen);
        let Some(name) = parse_library_name(&file_name) else { return };
        let path = place.dir.join(&file_name);
        let owner = owners.of(objects.host(), place, &path, stat, name.row);
        let recorded = owners.recorded_size(objects.host(), place, &path, &owner);
        let unusable = match &opened {
            Err(error) => Some(self.damaged(&path, error)),
            Ok(object) => unusable(place, &path, &name, object),
        };
        let found = version::of(objects.host(), &path, &name, soname.as_deref(), place, &owner);
        self.libraries.push(Library {
            path,
            names,
            row: name.row,
            renamed: name.hash.map(str::to_owned),
            soname,
            place: place.clone(),
            stat,
            version: found.version,
            evidence: found.evidence,
            confidence: found.confidence,
            cuda: found.cuda,
            owner,
            recorded,
            unusable,
            object: opened.ok(),
        });
    }

    /// Adds a file that the user names for `soname`, whatever its file name. A file that is in the inventory gets this
    /// path.
    #[doc(hidden)]
    pub fn take(&mut self, objects: &Objects, soname: &str, path: &Path) {
        let (Some(dir), Some(file_name)) = (path.parent(), path.file_name()) else { return };
        let known = self
            .libraries
            .iter_mut()
            .find(|library| library.path.parent() == Some(dir) && library.file_names().any(|name| name == file_name));
        if let Some(library) = known {
            let other = std::mem::replace(&mut library.path, path.to_owned());
            if other != library.path {
                library.names.retain(|name| name != file_name);
                library.names.extend(other.file_name().map(OsStr::to_owned));
            }
            return;
        }
        let host = objects.host();
        let (Some(name), Ok(stat)) = (parse_library_name(soname), host.stat(path)) else { return };
        let opened = objects.open(path);
        let unusable = opened.as_ref().err().map(|error| self.damaged(path, error));
        let own = opened.as_ref().ok().and_then(|object| object.facts.soname.as_ref()?.to_str().map(str::to_owned));
        let place = places::found(dir.to_owned());
        let owner = Owners::default().of(host, &place, path, stat, name.row);
        let found = version::of(host, path, &name, own.as_deref(), &place, &owner);
        self.libraries.push(Library {
            path: path.to_owned(),
            names: Vec::new(),
            row: name.row,
            renamed: None,
            soname: own,
            place,
            stat,
            version: found.version,
            evidence: found.evidence,
            confidence: found.confidence,
            cuda: found.cuda,
            owner,
            recorded: None,
            unusable,
            object: opened.ok(),
        });
    }

    fn damaged(&mut self, path: &std::path::Path, error: &ObjectError) -> String {
        let id = match error {
            ObjectError::Open(_) => "unreadable",
            ObjectError::Elf(error) if error.is_foreign() => "wrong-class",
            ObjectError::Truncated | ObjectError::Elf(_) | ObjectError::Refused(_) => "truncated-or-foreign-elf",
        };
        self.problem(id, path.to_owned(), error.to_string());
        error.to_string()
    }

    fn problem(&mut self, id: &'static str, path: PathBuf, says: String) {
        log::debug!("{}: {says}", path.display());
        self.problems.push(Problem { id, path, says });
    }
}

/// Why a valid ELF object must not be handed out.
fn unusable(place: &Place, path: &std::path::Path, name: &LibraryName<'_>, object: &Object) -> Option<String> {
    if in_stubs(&place.dir) {
        return Some("a link-time stub".to_owned());
    }
    let soname = object.facts.soname.as_deref()?;
    let file = path.file_name()?;
    differs(name, soname).then(|| format!("named `{}`, but its soname is `{}`", file.display(), soname.display()))
}

fn in_stubs(dir: &std::path::Path) -> bool {
    dir.components().any(|part| part.as_os_str() == "stubs")
}

/// Whether a name belongs to another library or major than the soname: libcublasLt.so.12 linked or copied as
/// libcublasLt.so.11.
fn differs(name: &LibraryName<'_>, soname: &OsStr) -> bool {
    parse_library_name(soname).is_none_or(|soname| {
        soname.row.stem != name.row.stem || soname.hash != name.hash || !agrees(&numbers(name), &numbers(&soname))
    })
}

/// Whether the versions of a file name and of a soname can be of one library: one begins with the other, or the file
/// counts in years, as `libcupti.so.2025.1.1`.
fn agrees(file: &[u64], soname: &[u64]) -> bool {
    file.starts_with(soname) || soname.starts_with(file) || file.first().is_some_and(|first| *first >= 2000)
}

fn numbers(name: &LibraryName<'_>) -> Vec<u64> {
    name.version.as_ref().map(|version| version.numbers().to_vec()).unwrap_or_default()
}
