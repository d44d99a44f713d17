//! Problems among the copies of a machine: those that break a load, or make it silently wrong.
//!
//! Takes an inventory of all places and the loader of this environment; gives [`Problem`]s, each with an id of
//! `data/findings.tsv`. Two environments with a whole set each are no problem, nor are several names of one
//! file. Reads dynamic tables only; never compares bytes ([`Owners::verify`] does).
//!
//! [`Owners::verify`]: super::Owners::verify

use super::reach::{Copies, SearchPath, opened_names};
use super::{
    Confidence, Evidence, EvidenceKind, Inventory, Library, Owner, Problem, agrees, forward_compatibility,
    kernel_version, numbers,
};
use crate::inventory::places::Provenance;
use crate::loader::{Loader, Rule};
use crate::tables::{FamilyRow, Version, cudnn_releases, finding_row, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// All problems, those of the scan included, sorted by path, then id.
#[must_use]
pub fn problems(inventory: &Inventory, loader: &Loader) -> Vec<Problem> {
    let copies = Copies::new(inventory, loader);
    let mut look = Look { inventory, loader, copies, problems: from_scan(inventory) };
    look.duplicates();
    look.directories();
    let today = look.today();
    look.groups_as_found(&today);
    look.driver(today);
    look.stubs();
    look.working_directory();
    for library in &inventory.libraries {
        look.owner(library);
        look.names(library);
        look.stack(library);
        look.probe(library);
    }
    let mut problems = look.problems;
    problems.sort_by(|a, b| (&a.path, a.id, &a.says).cmp(&(&b.path, b.id, &b.says)));
    problems.dedup();
    problems
}

/// The problems of the scan, without the 32-bit driver beside the 64-bit one: distributions install it so, and ld.so
/// skips it.
fn from_scan(inventory: &Inventory) -> Vec<Problem> {
    let system =
        |place| matches!(place, Provenance::Cache | Provenance::Conf | Provenance::Default | Provenance::Driver);
    let expected: BTreeSet<&Path> = inventory
        .libraries
        .iter()
        .filter(|library| system(library.place.provenance))
        .map(|library| library.path.as_path())
        .collect();
    let wrong = |problem: &&Problem| problem.id != "wrong-class" || !expected.contains(problem.path.as_path());
    inventory.problems.iter().filter(wrong).cloned().collect()
}

struct Look<'a> {
    inventory: &'a Inventory,
    loader: &'a Loader,
    copies: Copies<'a>,
    problems: Vec<Problem>,
}

impl<'a> Look<'a> {
    fn add(&mut self, id: &'static str, path: &Path, says: String) {
        debug_assert!(finding_row(id).is_some_and(|row| row.advice.is_some()), "{id}");
        self.problems.push(Problem { id, path: path.to_owned(), says });
    }

    fn library(&self, at: usize) -> Option<&'a Library> {
        self.inventory.libraries.get(at)
    }

    /// The search paths of any `dlopen`, with their names.
    fn paths(&self) -> [(&'static str, SearchPath); 2] {
        let system = self.copies.cache().then(self.copies.defaults());
        [("`LD_LIBRARY_PATH`", self.copies.library_path()), ("the loader's cache", system)]
    }

    /// The libraries that `dlopen` of a soname resolves to today.
    fn today(&self) -> Vec<&'a Library> {
        let [(_, variable), (_, system)] = self.paths();
        let path = variable.then(system);
        let firsts = path.names().filter_map(|(name, files)| {
            let library = self.library(files.first()?.library)?;
            (name == OsStr::new(library.load_name()) && library.unusable.is_none()).then_some(library)
        });
        firsts.collect()
    }

    fn duplicates(&mut self) {
        let mut found = Vec::new();
        for (called, path) in self.paths() {
            for (name, files) in path.names() {
                let mut files = files.iter().filter_map(|found| self.library(found.library));
                let Some(first) = files.next() else { continue };
                for other in files.filter(|other| other.load_name() == name && !same_build(first, other)) {
                    let says = format!(
                        "never found as `{}`: {called} resolves to `{}`{} first",
                        name.display(),
                        first.path.display(),
                        in_release(first)
                    );
                    found.push((other, says));
                }
            }
        }
        for (other, says) in found {
            self.add("duplicate-soname", &other.path, says);
        }
    }

    fn directories(&mut self) {
        let mut groups: BTreeMap<(&Path, &str, u64), Vec<&'a Library>> = BTreeMap::new();
        for library in &self.inventory.libraries {
            if let (None, Some(group), Some(major)) = (&library.unusable, library.row.group, soname_major(library)) {
                groups.entry((&library.place.dir, group, major)).or_default().push(library);
            }
        }
        for ((_, group, major), mut members) in groups {
            // The main library of a group has the shortest stem: cublas, cudnn, nvrtc, cuda.
            members.sort_by_key(|library| (library.row.stem.len(), library.row.stem));
            if group == "cudnn" && major >= 8 {
                self.partial_cudnn(major, &members);
            }
            members.retain(|library| library.file_names().any(|name| name == library.load_name()));
            if group == "nvrtc" {
                self.builtins(&members);
            } else {
                self.torn(&members);
            }
        }
    }

    /// Members of one group in one directory must be of one release.
    fn torn(&mut self, members: &[&Library]) {
        let mut known = members.iter().filter_map(|library| Some((library, release(library)?)));
        let Some((main, version)) = known.next() else { return };
        for (member, other) in known.filter(|(_, other)| !agree(version, other)).collect::<Vec<_>>() {
            let says = format!("of {other}, but `{}` beside it is of {version}", main.load_name());
            self.add(torn_id(member), &member.path, says);
        }
    }

    /// NVRTC can use only the builtins of its own minor release.
    fn builtins(&mut self, members: &[&Library]) {
        let (compilers, builtins): (Vec<&Library>, Vec<&Library>) =
            members.iter().copied().partition(|library| library.row.stem == "nvrtc");
        for compiler in compilers {
            let Some(version) = release(compiler) else { continue };
            let minor = version.numbers().get(..2);
            let fits = |library: &&Library| {
                let name = parse_library_name(library.load_name());
                name.is_some_and(|name| numbers(&name).get(..2) == minor)
            };
            if let Some(other) = builtins.first().filter(|_| !builtins.iter().any(fits)) {
                let says = format!("of {version}, but the builtins beside it are `{}`", other.load_name());
                self.add("nvrtc-builtins-missing", &compiler.path, says);
            }
        }
    }

    /// cuDNN opens its parts by name; a part missing from its directory comes from ld.so's search.
    fn partial_cudnn(&mut self, major: u64, members: &[&Library]) {
        // A dispatcher that a bundle renamed still opens its parts by their own names.
        let Some(dispatcher) = members.iter().find(|library| library.row.stem == "cudnn" || library.renamed.is_none())
        else {
            return;
        };
        let Some(object) = &dispatcher.object else { return };
        // The JIT variant ships without the precompiled engines.
        if dispatcher.owner.name().is_some_and(|name| name.contains("-jit")) {
            return;
        }
        let has = |stem: &str| {
            stem == "cudnn" || members.iter().any(|library| library.row.stem == stem && library.renamed.is_none())
        };
        // auditwheel puts the whole release into the file name.
        let named =
            || parse_library_name(dispatcher.path.file_name()?)?.version.filter(|named| named.numbers().len() >= 3);
        let version = dispatcher.version.clone().or_else(named);
        let other = |found: &Library| {
            version.as_ref().zip(found.version.as_ref()).is_some_and(|(own, found)| !agree(own, found))
        };
        let id = if major >= 9 { "cudnn9-sublib-not-found" } else { "cudnn8-mixed-sublibs" };
        let (mut not_found, mut foreign) = (Vec::new(), None);
        for stem in cudnn_parts(major, version.as_ref()).into_iter().filter(|stem| !has(stem)) {
            let name = format!("lib{stem}.so.{major}");
            match self.loader.find_from(&dispatcher.path, object, OsStr::new(&name)) {
                None => not_found.push(name),
                Some((path, _)) => {
                    let found = self.copies.of_file(&path).filter(|found| other(found));
                    foreign = foreign.or(found.map(|found| (name, path, in_release(found))));
                }
            }
        }
        if let Some((name, path, version)) = foreign {
            let says = format!("`{name}` is not beside it; ld.so finds `{}`{version}", path.display());
            self.add(id, &dispatcher.path, says);
        }
        if let Some(name) = not_found.first() {
            let more = match not_found.len() {
                1 => " is".to_owned(),
                count => format!(" and {} more parts are", count - 1),
            };
            self.add(id, &dispatcher.path, format!("`{name}`{more} not beside it, and not found by ld.so"));
        }
    }

    /// A library that is found today must find its group in its own release. So must one in an environment:
    /// ld.so searches its `DT_RUNPATH` only after `LD_LIBRARY_PATH`.
    fn groups_as_found(&mut self, today: &[&'a Library]) {
        // The `DT_RPATH` of a member, as of cuDNN's dispatcher since 9.26, comes before `LD_LIBRARY_PATH`.
        let facts = |library: &'a Library| library.object.as_ref().map(|object| &object.facts);
        let guarded: BTreeSet<(&Path, Option<&str>)> = self
            .inventory
            .libraries
            .iter()
            .filter(|library| facts(library).is_some_and(|facts| facts.rpath.is_some() && facts.runpath.is_none()))
            .map(|library| (library.place.dir.as_path(), library.row.group))
            .collect();
        let overridable = |library: &&'a Library| {
            facts(library).is_some_and(|facts| facts.runpath.is_some())
                && library.unusable.is_none()
                && !guarded.contains(&(&library.place.dir, library.row.group))
        };
        let mut members: Vec<(&Library, bool)> = today.iter().map(|library| (*library, true)).collect();
        members.extend(self.inventory.libraries.iter().filter(overridable).map(|library| (library, false)));
        members.sort_by_key(|(library, today)| (!today, library.row.stem.len(), library.row.stem));
        let mut reported = BTreeSet::new();
        for (library, is_found) in members {
            if let Some(says) = self.resolves_to_another_release(library, is_found)
                && reported.insert((&library.place.dir, library.row.group))
            {
                self.add(torn_id(library), &library.path, says);
            }
        }
    }

    fn resolves_to_another_release(&self, library: &Library, is_found: bool) -> Option<String> {
        let (object, version, group) = (library.object.as_ref()?, release(library)?, library.row.group?);
        let in_group = |name: &OsString| parse_library_name(name).is_some_and(|name| name.row.group == Some(group));
        opened_names(library).into_iter().filter(in_group).find_map(|name| {
            let (path, rule) = self.loader.find_from(&library.path, object, &name)?;
            let other = self.copies.of_file(&path).filter(|_| is_found || rule == Rule::LdLibraryPath)?;
            let found = release(other).filter(|found| !agree(version, found))?;
            // Within one directory, `torn` reports it.
            (other.place.dir != library.place.dir).then(|| {
                format!(
                    "of {version}, but for `{}` ld.so gives it `{}` of {found}: {rule}",
                    name.display(),
                    path.display()
                )
            })
        })
    }

    /// The driver's libraries must be of the version of its kernel module.
    fn driver(&mut self, today: Vec<&'a Library>) {
        let Some(kernel) = kernel_version(self.loader.host()) else { return };
        let mut dirs = BTreeSet::new();
        let mut drivers: Vec<&Library> = today.into_iter().filter(|library| library.row.is_driver()).collect();
        drivers.sort_by_key(|library| (library.row.stem.len(), library.row.stem));
        for library in drivers {
            // The forward compatibility package is newer than the module on purpose.
            let compat = forward_compatibility(library).is_some();
            if let Some(version) = release(library).filter(|version| version.to_string() != kernel && !compat)
                && dirs.insert(&library.place.dir)
            {
                let says = format!("of {version}, but the loaded kernel module is of {kernel}");
                self.add("nvml-kernel-user-mismatch", &library.path, says);
            }
        }
    }

    fn stubs(&mut self) {
        for (called, path) in self.paths() {
            for (name, files) in path.names() {
                let Some(library) = files.first().and_then(|found| self.library(found.library)) else { continue };
                // The path may resolve to the stubs through a link.
                let real = self.loader.host().canonical(&library.path).unwrap_or_default();
                if library.is_stub() || real.iter().any(|part| part == "stubs") {
                    let id = if library.row.stem == "cuda" { "stub-libcuda" } else { "stub-on-path" };
                    let says = format!("a link-time stub, to which `{}` resolves by {called}", name.display());
                    self.add(id, &library.path, says);
                }
            }
        }
    }

    /// ld.so(8): an empty element of `LD_LIBRARY_PATH` is the working directory, and a relative one starts there.
    fn working_directory(&mut self) {
        for dir in self.loader.library_path().iter().filter(|dir| !dir.is_absolute()) {
            let Some(held) = self.copies.in_directory(dir).first().and_then(|at| self.library(*at)) else { continue };
            let what = if dir.as_os_str().is_empty() {
                "an empty element".to_owned()
            } else {
                format!("the relative element `{}`", dir.display())
            };
            let says = format!(
                "{what} of `LD_LIBRARY_PATH` resolves to `{}`, from this working directory only",
                held.load_name()
            );
            let dir: PathBuf = held.place.dir.components().collect();
            self.add("current-directory-on-path", &dir, says);
        }
    }

    fn owner(&mut self, library: &Library) {
        let Owner::Wheel { name, version, rival, alike, size } = &library.owner else {
            if let Some(recorded) = library.recorded.filter(|recorded| *recorded != library.stat.size) {
                let who = [library.owner.name(), library.owner.version()].into_iter().flatten().collect::<Vec<_>>();
                let says = format!("of {} bytes, but {} recorded {recorded}", library.stat.size, who.join(" "));
                self.add("altered-file", &library.path, says);
            }
            return;
        };
        let as_recorded = size.is_none_or(|size| size == library.stat.size);
        match (rival, size) {
            (Some(rival), _) if *alike => {
                let says = format!(
                    "{name} {version} and {rival} recorded files of this size here; `--hash` shows whose it is"
                );
                self.add("pip-cu12-cu13-overwrite", &library.path, says);
            }
            (Some(rival), _) if as_recorded => {
                let says = format!("of the size {name} {version} recorded; {rival} recorded another file at this path");
                self.add("pip-cu12-cu13-overwrite", &library.path, says);
            }
            (Some(rival), _) => {
                let says = format!("recorded by both {name} {version} and {rival}, and the size of neither's");
                self.add("pip-cu12-cu13-overwrite", &library.path, says);
            }
            (None, Some(size)) if !as_recorded => {
                let says = format!("of {} bytes, but {name} {version} recorded {size}", library.stat.size);
                self.add("altered-file", &library.path, says);
            }
            _ => {}
        }
    }

    fn names(&mut self, library: &Library) {
        let Some(soname) = library.object.as_ref().and_then(|object| object.facts.soname.as_deref()) else { return };
        let Some(by_soname) = parse_library_name(soname) else { return };
        let real = numbers(&by_soname);
        for file in library.file_names() {
            let Some(name) = parse_library_name(file) else { continue };
            // torch renames the files that it bundles, but not their sonames.
            let same = name.row.stem == by_soname.row.stem && (name.hash == by_soname.hash || by_soname.hash.is_none());
            // `libcupti.so.2025.1.1` beside `libcupti.so.12` is a release, not another major.
            let major = numbers(&name).len() == real.len() && numbers(&name) != real;
            let opened = library.path.file_name() == Some(file);
            let says = format!("named `{}`, but its soname is `{}`", file.display(), soname.display());
            let path = library.place.dir.join(file);
            let other = !agrees(&numbers(&name), &real);
            if same && (major || opened && other) {
                self.add("major-symlink-hack", &path, says);
            } else if !same {
                self.add("soname-differs", &path, says);
            }
        }
    }

    fn stack(&mut self, library: &Library) {
        let object = library.object.as_ref().filter(|_| library.unusable.is_none());
        if object.is_some_and(|object| object.facts.executable_stack) {
            let says = "needs an executable stack, which `dlopen` refuses from glibc 2.41 on".to_owned();
            self.add("executable-stack", &library.path, says);
        }
    }

    /// The result of a probe against weaker evidence.
    fn probe(&mut self, library: &'a Library) {
        let mut probed = library.evidence.iter().filter(|one| one.kind == EvidenceKind::Probe);
        let others = || library.evidence.iter().filter(|one| one.kind != EvidenceKind::Probe);
        let believed = |other: &&Evidence| other.confidence > Confidence::Unsure;
        let contradicts = |one: &'a Evidence| Some((one, others().filter(believed).find(|other| !one.agrees(other))?));
        if let Some((probe, other)) = probed.find_map(contradicts) {
            self.add(
                "probe-disagrees",
                &library.path,
                format!("{}, but {} shows {}", probe.says, other.kind, other.says),
            );
        }
    }
}

pub(crate) fn torn_id(library: &Library) -> &'static str {
    torn_id_of(library.row, Some(OsStr::new(library.load_name())))
}

/// The ids that [`torn_id_of`] gives.
pub(crate) const TORN: [&str; 6] = [
    "cublas-silent-mix",
    "cudnn8-mixed-sublibs",
    "cudnn9-torn-set",
    "nvrtc-builtins-missing",
    "parts-of-two-releases",
    "torn-driver",
];

/// The id of the finding that parts of a library of this name are of different releases.
pub(crate) fn torn_id_of(row: &FamilyRow, name: Option<&OsStr>) -> &'static str {
    let major = name.and_then(parse_library_name).and_then(|name| Some(name.version?.major()));
    match row.group {
        Some("cublas") => "cublas-silent-mix",
        Some("cudnn") if major.is_some_and(|major| major < 9) => "cudnn8-mixed-sublibs",
        Some("cudnn") => "cudnn9-torn-set",
        Some("nvrtc") => "nvrtc-builtins-missing",
        Some("driver") => "torn-driver",
        _ => "parts-of-two-releases",
    }
}

/// The release of a library whose group must be of one release, where enough of its numbers are known. CUPTI has two
/// numberings, and the parts of cuFile and NVSHMEM may be of several releases.
pub(crate) fn release(library: &Library) -> Option<&Version> {
    let version = library.version.as_ref()?;
    let whole = match library.row.group? {
        "cufile" | "cupti" | "nvrtc-alt" | "nvshmem" => false,
        // The number of WSL's libcuda.so.1.1 is not a release.
        "driver" => version.numbers().len() >= 2 && version.major() >= 100,
        _ => version.numbers().len() >= 3,
    };
    whole.then_some(version)
}

/// Whether two versions can be of one release: `9.1.0` of a file name and `9.1.0.70` of a wheel.
pub(crate) fn agree(one: &Version, other: &Version) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Whether two files are the same build: then either may be found.
fn same_build(one: &Library, other: &Library) -> bool {
    let id = |library: &Library| library.object.as_ref().and_then(|object| object.facts.build_id.clone());
    one.stat.size == other.stat.size && id(one).is_some() && id(one) == id(other)
}

fn in_release(library: &Library) -> String {
    library.version.as_ref().map(|version| format!(" of {version}")).unwrap_or_default()
}

fn soname_major(library: &Library) -> Option<u64> {
    parse_library_name(library.load_name())?.version.map(|version| version.major())
}

/// The stems of the parts of a cuDNN release, else of the last known release before it, else those that all releases
/// of the major have in common.
fn cudnn_parts(major: u64, version: Option<&Version>) -> Vec<&'static str> {
    let known: Vec<_> =
        cudnn_releases().iter().filter(|row| !row.parts.is_empty() && row.version.major() == major).collect();
    if let Some(version) = version.filter(|version| version.numbers().len() >= 3)
        && let Some(row) = known.iter().rfind(|row| row.version <= *version || row.version.starts_with(version))
    {
        return row.parts.clone();
    }
    let mut common = known.first().map(|row| row.parts.clone()).unwrap_or_default();
    common.retain(|part| known.iter().all(|row| row.parts.contains(part)));
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_release_missing_from_the_table() {
        let parts = |text: &str| cudnn_parts(9, Some(&Version::parse(text).unwrap()));
        // 9.21.1 has the parts of 9.21.0, not of 9.22, which has one more.
        assert!(parts("9.21.1.3").contains(&"cudnn_engines_tensor_ir") && !parts("9.21.1.3").contains(&"cudnn_ext"));
        assert!(parts("9.22.0").contains(&"cudnn_ext"));
        assert!(!parts("9.1.0").contains(&"cudnn_engines_tensor_ir"));
        assert!(!cudnn_parts(9, None).contains(&"cudnn_ext") && cudnn_parts(9, None).contains(&"cudnn_ops"));
        assert!(cudnn_parts(8, None).contains(&"cudnn_ops_train"));
        assert!(cudnn_parts(7, None).is_empty());
    }
}
