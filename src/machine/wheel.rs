//! The files of a machine after packages were removed and NVIDIA wheels installed.
//!
//! Takes a machine, packages to remove and wheels to install; gives the changed files: the `.dist-info` of each
//! wheel, and its libraries as stand-ins. The symbols of a release come from the installed copy if that is of this
//! release; else they are all symbols that the installed copies define or the environment needs, less those that
//! `data/first_seen.tsv` marks as newer. Downloads nothing.

use super::Machine;
use super::stand_in::StandIn;
use crate::elf::Elf;
use crate::host::{self, Host};
use crate::inventory::Library;
use crate::inventory::symbols_by_provider;
use crate::loader::Object;
use crate::python::library_files;
use crate::python::{Distribution, Recorded};
use crate::tables::{Version, families, family_of_stem, first_seen, parse_library_name, sonames};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A release of an NVIDIA package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Wheel {
    /// Normalised name, such as `nvidia-cublas-cu12`.
    pub name: String,
    /// Its release.
    pub version: Version,
}

impl Wheel {
    /// A release of a package.
    #[must_use]
    pub fn new(name: &str, version: Version) -> Self {
        Self { name: name.to_owned(), version }
    }

    /// Whether the tables know what libraries it has.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.layout().is_some()
    }

    /// The CUDA major: in the name, else, from 13 on, that of the release; of a library with numbers of its own (cuRAND is at 10)
    /// the latest whose toolkit has the wheel.
    fn cuda_major(&self) -> Option<u64> {
        let named = self.name.rsplit_once("-cu").and_then(|(_, digits)| digits.parse().ok());
        let has_it = |major: u64, stem: &str| {
            family_of_stem(stem).is_some_and(|row| row.wheel_names(major).contains(&self.name))
        };
        let of_toolkits = || {
            let rows = sonames().iter().filter(|row| row.cuda_major >= 13 && has_it(row.cuda_major, row.stem));
            rows.map(|row| row.cuda_major).max()
        };
        named.or_else(|| Some(self.version.major()).filter(|major| *major >= 13)).or_else(of_toolkits)
    }

    /// The library directory of the wheel, below the site directory, and its sonames; empty if the tables do not know
    /// the wheel.
    fn layout(&self) -> Option<(PathBuf, Vec<&'static str>)> {
        let major = self.cuda_major()?;
        let brings = |stem: &str| family_of_stem(stem).is_some_and(|row| row.wheel_names(major).contains(&self.name));
        let rows = sonames().iter().filter(|row| row.cuda_major == major && brings(row.stem));
        // If two majors share a wheel name, the release decides: cuDNN 8 and 9.
        let fits = |soname: &str| {
            let name = parse_library_name(soname);
            let own = name.filter(|name| name.row.group == Some("cudnn")).and_then(|name| name.version);
            own.is_none_or(|own| own.major() == self.version.major())
        };
        let sonames: Vec<&str> = rows.map(|row| row.soname).filter(|soname| fits(soname)).collect();
        let toolkit =
            families().iter().any(|row| row.owner == "toolkit" && row.wheel_names(major).contains(&self.name));
        let folder = if toolkit && major >= 13 {
            format!("cu{major}")
        } else {
            let plain = self.name.strip_prefix("nvidia-")?;
            plain.strip_suffix(&format!("-cu{major}")).unwrap_or(plain).replace('-', "_")
        };
        (!sonames.is_empty()).then(|| (Path::new("nvidia").join(folder).join("lib"), sonames))
    }
}

/// The changed files.
pub(super) fn changes(machine: &Machine, remove: &[String], install: &[Wheel]) -> Vec<(PathBuf, host::Change)> {
    let environment = machine.environment();
    let host = machine.host();
    let at = |name: &str| environment.installed.iter().find(|package| package.name == name);
    let mut changes = Vec::new();
    // A file that two packages recorded is removed with either.
    let mut removed: BTreeSet<PathBuf> = BTreeSet::new();
    let anew = |name: &str| install.iter().find(|wheel| wheel.name == name);
    let gone = remove.iter().map(String::as_str).chain(install.iter().map(|wheel| wheel.name.as_str()));
    for package in gone.filter_map(at) {
        let site = package.dir.parent().unwrap_or(&package.dir);
        let same = anew(&package.name).is_some_and(|wheel| wheel.version.as_str() == package.version);
        let files = package.record(host).into_iter().filter(|file| is_library(&file.path));
        let files = files.filter(|file| !(same && is_whole(host, site, file)));
        let files: Vec<PathBuf> = files.map(|file| site.join(file.path)).collect();
        removed.extend(files.iter().cloned());
        changes.extend(files.into_iter().map(|path| (path, host::Change::Gone)));
        changes.push((package.dir.clone(), host::Change::Gone));
    }
    let site = environment.torch.as_ref().map(|torch| torch.site().to_owned()).or_else(|| {
        let sites = environment.interpreter.as_ref().map(|python| python.paths.as_slice()).unwrap_or_default();
        sites.iter().find(|site| site.ends_with("site-packages") || site.ends_with("dist-packages")).cloned()
    });
    let sonames: BTreeSet<&str> = install.iter().filter_map(Wheel::layout).flat_map(|(_, sonames)| sonames).collect();
    let making = Making { machine, needed_symbols: needed_symbols(machine, &sonames), removed };
    for wheel in install {
        let before = at(&wheel.name);
        let beside = before.and_then(|package| package.dir.parent().map(Path::to_owned));
        if let Some(site) = beside.or_else(|| site.clone()) {
            changes.extend(making.installed(&site, wheel, before));
        }
    }
    changes
}

fn is_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| parse_library_name(name).is_some())
}

/// Whether a file has the recorded size: a reinstall of the same release would not change it.
fn is_whole(host: &Host, site: &Path, file: &Recorded) -> bool {
    host.stat(&site.join(&file.path)).is_ok_and(|stat| Some(stat.size) == file.size)
}

/// The symbols that the environment needs of some sonames, by soname.
pub(super) type NeededSymbols = BTreeMap<String, BTreeSet<(Vec<u8>, Option<Vec<u8>>)>>;

pub(super) fn needed_symbols(machine: &Machine, sonames: &BTreeSet<&str>) -> NeededSymbols {
    let mut found = NeededSymbols::new();
    let needs_one =
        |object: &Object| object.facts.needed.iter().any(|name| name.to_str().is_some_and(|it| sonames.contains(it)));
    let paths = machine.interpreter().map(|python| python.paths.clone()).unwrap_or_default();
    let named = machine.request().files.iter().map(|file| machine.host().absolute(file));
    let files: Vec<PathBuf> = library_files(machine.host(), &paths).into_iter().chain(named).collect();
    let files = files.iter().filter_map(|path| machine.objects().open(path).ok());
    let libraries = machine.inventory().libraries.iter().filter_map(|library| library.object.clone());
    for object in files.chain(libraries).filter(|object| needs_one(object)) {
        for (soname, symbols) in symbols_by_provider(&object) {
            if sonames.contains(soname.as_str()) {
                let symbols = symbols.into_iter().map(|it| (it.name.into_bytes(), it.node.map(String::into_bytes)));
                found.entry(soname).or_default().extend(symbols);
            }
        }
    }
    found
}

struct Making<'m> {
    machine: &'m Machine,
    needed_symbols: NeededSymbols,
    /// Marks files as removed.
    removed: BTreeSet<PathBuf>,
}

impl Making<'_> {
    /// Adds the files of a wheel, and removes those of the installed release.
    fn installed(&self, site: &Path, wheel: &Wheel, before: Option<&Distribution>) -> Vec<(PathBuf, host::Change)> {
        let host = self.machine.host();
        let recorded = before.map(|package| package.record(host)).unwrap_or_default();
        let same = before.is_some_and(|package| package.version == wheel.version.as_str());
        let mut changes = Vec::new();
        let mut record = String::new();
        let major = before.and_then(|package| Version::parse(&package.version)).map(|version| version.major());
        // Another major has other sonames.
        let alike = if major == Some(wheel.version.major()) { recorded.as_slice() } else { &[] };
        for (below, soname) in files_of(wheel, alike) {
            let is_kept = |file: &Recorded| {
                same && file.path == below && is_whole(host, site, file) && !self.removed.contains(&site.join(&below))
            };
            let kept = recorded.iter().find(|file| is_kept(file));
            let length = kept.and_then(|file| file.size).unwrap_or_else(|| {
                let bytes: Arc<[u8]> = self.stand_in(wheel, &soname).into();
                let count = bytes.len() as u64;
                changes.push((site.join(&below), host::Change::File { bytes }));
                count
            });
            let _ = writeln!(record, "{},,{length}", below.display());
        }
        let dir = site.join(format!("{}-{}.dist-info", wheel.name.replace('-', "_"), wheel.version));
        let requires = before.map(|package| package.metadata(host, "Requires-Dist")).unwrap_or_default();
        let requires = requires.iter().fold(String::new(), |text, line| text + "Requires-Dist: " + line + "\n");
        let metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n{requires}\n", wheel.name, wheel.version);
        let text = |name: &str, text: String| (dir.join(name), host::Change::File { bytes: text.into_bytes().into() });
        changes.extend([text("METADATA", metadata), text("RECORD", record)]);
        changes
    }

    /// The stand-in for a library of the wheel's release.
    fn stand_in(&self, wheel: &Wheel, soname: &str) -> Vec<u8> {
        let libraries = &self.machine.inventory().libraries;
        let copies = || libraries.iter().filter(|library| library.soname.as_deref() == Some(soname));
        let exact =
            copies().find(|library| library.version.as_ref() == Some(&wheel.version) && sound(library).is_some());
        let like = exact.or_else(|| copies().find(|library| sound(library).is_some()));
        let object = like.and_then(sound);
        let mut symbols: BTreeSet<(Vec<u8>, Option<Vec<u8>>)> =
            object.and_then(|object| object.elf().ok()).map(|elf| defined(&elf)).unwrap_or_default();
        if exact.is_none() {
            symbols.extend(self.needed_symbols.get(soname).into_iter().flatten().cloned());
            let later = |name: &[u8]| {
                first_seen()
                    .iter()
                    .any(|row| row.soname == soname && row.symbol.as_bytes() == name && row.release > wheel.version)
            };
            symbols.retain(|(name, _)| !later(name));
        }
        let bytes = |name: &OsStr| name.as_bytes().to_vec();
        let facts = object.map(|object| &object.facts);
        StandIn {
            machine: self.machine.loader().architecture(),
            soname: soname.as_bytes().to_vec(),
            needed: facts.map(|facts| facts.needed.iter().map(|name| bytes(name)).collect()).unwrap_or_default(),
            rpath: facts.and_then(|facts| facts.rpath.as_deref().map(bytes)),
            // The file name as in NVIDIA's wheels.
            runpath: facts.map_or_else(|| Some(b"$ORIGIN".to_vec()), |facts| facts.runpath.as_deref().map(bytes)),
            symbols: symbols.into_iter().collect(),
        }
        .bytes()
    }
}

fn sound(library: &Library) -> Option<&Object> {
    library.object.as_deref().filter(|_| library.unusable.is_none())
}

fn defined(elf: &Elf<'_>) -> BTreeSet<(Vec<u8>, Option<Vec<u8>>)> {
    let symbols = elf.definitions().unwrap_or_default();
    symbols.iter().map(|symbol| (symbol.name.to_vec(), symbol.node.map(<[u8]>::to_vec))).collect()
}

/// The libraries of a wheel, relative to the site directory, each with its soname: as in the installed release, else
/// as in the tables.
fn files_of(wheel: &Wheel, recorded: &[Recorded]) -> Vec<(PathBuf, String)> {
    let minor = wheel.version.numbers().get(..2).map(|it| format!("{}.{}", it[0], it[1])).unwrap_or_default();
    let of_release = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        // The builtins have the release in their name.
        let (stem, _) = name.split_once(".so.").filter(|(stem, _)| stem.contains("builtins"))?;
        Some(path.with_file_name(format!("{stem}.so.{minor}")))
    };
    let named = |path: PathBuf| {
        let path = of_release(&path).unwrap_or(path);
        let name = path.file_name()?.to_str()?.to_owned();
        Some((path, name))
    };
    let own: Vec<PathBuf> = recorded.iter().map(|file| file.path.clone()).filter(|path| is_library(path)).collect();
    let mut files: Vec<(PathBuf, String)> = if own.is_empty() {
        let (dir, sonames) = wheel.layout().unwrap_or_default();
        sonames.into_iter().filter_map(|soname| named(dir.join(soname))).collect()
    } else {
        own.into_iter().filter_map(named).collect()
    };
    files.sort();
    files.dedup();
    files
}
