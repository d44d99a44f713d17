//! What is wrong among the copies of a machine: what breaks a load, or makes one silently wrong.
//!
//! Takes an inventory of all places and the loader of this environment; gives [`Problem`]s, each with an id of
//! `data/findings.tsv`. Two environments that each hold a whole set of their own are no problem, nor are several names of one
//! file. Reads dynamic tables only; compares no bytes (that is [`Owners::verify`]'s job).
//!
//! [`Owners::verify`]: super::Owners::verify

use super::reach::{Copies, SearchPath, asked_for};
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

/// What is wrong, sorted by path, then id. Holds what was met while scanning, too.
#[must_use]
pub fn problems(inventory: &Inventory, loader: &Loader) -> Vec<Problem> {
    let copies = Copies::new(inventory, loader);
    let mut look = Look { inventory, loader, copies, problems: met(inventory) };
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
        look.answer(library);
    }
    let mut problems = look.problems;
    problems.sort_by(|a, b| (&a.path, a.id, &a.says).cmp(&(&b.path, b.id, &b.says)));
    problems.dedup();
    problems
}

/// What was met while scanning. A 32-bit driver beside the 64-bit one is how distributions install it, and ld.so passes
/// it over.
fn met(inventory: &Inventory) -> Vec<Problem> {
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

    /// The search paths that anybody's `dlopen` takes, as people know them.
    fn paths(&self) -> [(&'static str, SearchPath); 2] {
        let system = self.copies.cache().then(self.copies.defaults());
        [("`LD_LIBRARY_PATH`", self.copies.library_path()), ("the loader's cache", system)]
    }

    /// What `dlopen` of a soname leads to today.
    fn today(&self) -> Vec<&'a Library> {
        let [(_, variable), (_, system)] = self.paths();
        let path = variable.then(system);
        let firsts = path.names().filter_map(|(name, files)| {
            let library = self.library(files.first()?.library)?;
            (name == OsStr::new(library.asked_as()) && library.unusable.is_none()).then_some(library)
        });
        firsts.collect()
    }

    fn duplicates(&mut self) {
        let mut found = Vec::new();
        for (called, path) in self.paths() {
            for (name, files) in path.names() {
                let mut files = files.iter().filter_map(|found| self.library(found.library));
                let Some(first) = files.next() else { continue };
                for other in files.filter(|other| other.asked_as() == name && !same_build(first, other)) {
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
            // The library the others belong to has the shortest stem: cublas, cudnn, nvrtc, cuda.
            members.sort_by_key(|library| (library.row.stem.len(), library.row.stem));
            if group == "cudnn" && major >= 8 {
                self.partial_cudnn(major, &members);
            }
            members.retain(|library| library.file_names().any(|name| name == library.asked_as()));
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
            let says = format!("of {other}, but `{}` beside it is of {version}", main.asked_as());
            self.add(torn_id(member), &member.path, says);
        }
    }

    /// NVRTC opens the builtins of its own minor release, and those of others are no use to it.
    fn builtins(&mut self, members: &[&Library]) {
        let (compilers, builtins): (Vec<&Library>, Vec<&Library>) =
            members.iter().copied().partition(|library| library.row.stem == "nvrtc");
        for compiler in compilers {
            let Some(version) = release(compiler) else { continue };
            let minor = version.numbers().get(..2);
            let fits = |library: &&Library| {
                let name = parse_library_name(library.asked_as());
                name.is_some_and(|name| numbers(&name).get(..2) == minor)
            };
            if let Some(other) = builtins.first().filter(|_| !builtins.iter().any(fits)) {
                let says = format!("of {version}, but the builtins beside it are `{}`", other.asked_as());
                self.add("nvrtc-builtins-missing", &compiler.path, says);
            }
        }
    }

    /// cuDNN opens its parts by name; those that a directory lacks come from wherever ld.so finds them.
    fn partial_cudnn(&mut self, major: u64, members: &[&Library]) {
        // A dispatcher that a bundle renamed still opens its parts by their own names.
        let Some(asker) = members.iter().find(|library| library.row.stem == "cudnn" || library.renamed.is_none())
        else {
            return;
        };
        let Some(object) = &asker.object else { return };
        // The variant that compiles everything at run time ships without the precompiled engines.
        if asker.owner.name().is_some_and(|name| name.contains("-jit")) {
            return;
        }
        let has = |stem: &str| {
            stem == "cudnn" || members.iter().any(|library| library.row.stem == stem && library.renamed.is_none())
        };
        // auditwheel names what it bundles by the whole release.
        let named = || parse_library_name(asker.path.file_name()?)?.version.filter(|named| named.numbers().len() >= 3);
        let version = asker.version.clone().or_else(named);
        let other = |found: &Library| {
            version.as_ref().zip(found.version.as_ref()).is_some_and(|(own, found)| !agree(own, found))
        };
        let id = if major >= 9 { "cudnn9-sublib-not-found" } else { "cudnn8-mixed-sublibs" };
        let (mut nowhere, mut foreign) = (Vec::new(), None);
        for stem in cudnn_parts(major, version.as_ref()).into_iter().filter(|stem| !has(stem)) {
            let name = format!("lib{stem}.so.{major}");
            match self.loader.find_from(&asker.path, object, OsStr::new(&name)) {
                None => nowhere.push(name),
                Some((path, _)) => {
                    let found = self.copies.of_file(&path).filter(|found| other(found));
                    foreign = foreign.or(found.map(|found| (name, path, in_release(found))));
                }
            }
        }
        if let Some((name, path, version)) = foreign {
            let says = format!("`{name}` is not beside it; ld.so finds `{}`{version}", path.display());
            self.add(id, &asker.path, says);
        }
        if let Some(name) = nowhere.first() {
            let more = match nowhere.len() {
                1 => " is".to_owned(),
                count => format!(" and {} more parts are", count - 1),
            };
            self.add(id, &asker.path, format!("`{name}`{more} not beside it, and not found by ld.so"));
        }
    }

    /// What is found today must find its own group in its own release; and so must what stands in an environment, whose
    /// `DT_RUNPATH` ld.so asks only after `LD_LIBRARY_PATH`.
    fn groups_as_found(&mut self, today: &[&'a Library]) {
        // A member with a `DT_RPATH` maps its own siblings before the path has a say, as cuDNN's dispatcher of 9.26.
        let facts = |library: &'a Library| library.object.as_ref().map(|object| &object.facts);
        let guarded: BTreeSet<(&Path, Option<&str>)> = self
            .inventory
            .libraries
            .iter()
            .filter(|library| facts(library).is_some_and(|facts| facts.rpath.is_some() && facts.runpath.is_none()))
            .map(|library| (library.place.dir.as_path(), library.row.group))
            .collect();
        let hijacked = |library: &&'a Library| {
            facts(library).is_some_and(|facts| facts.runpath.is_some())
                && library.unusable.is_none()
                && !guarded.contains(&(&library.place.dir, library.row.group))
        };
        let mut asking: Vec<(&Library, bool)> = today.iter().map(|library| (*library, true)).collect();
        asking.extend(self.inventory.libraries.iter().filter(hijacked).map(|library| (library, false)));
        asking.sort_by_key(|(library, today)| (!today, library.row.stem.len(), library.row.stem));
        let mut told = BTreeSet::new();
        for (library, is_found) in asking {
            if let Some(says) = self.asks_another_release(library, is_found)
                && told.insert((&library.place.dir, library.row.group))
            {
                self.add(torn_id(library), &library.path, says);
            }
        }
    }

    fn asks_another_release(&self, library: &Library, is_found: bool) -> Option<String> {
        let (object, version, group) = (library.object.as_ref()?, release(library)?, library.row.group?);
        let in_group = |name: &OsString| parse_library_name(name).is_some_and(|name| name.row.group == Some(group));
        asked_for(library).into_iter().filter(in_group).find_map(|name| {
            let (path, rule) = self.loader.find_from(&library.path, object, &name)?;
            let other = self.copies.of_file(&path).filter(|_| is_found || rule == Rule::LdLibraryPath)?;
            let found = release(other).filter(|found| !agree(version, found))?;
            // Within one directory that is told already.
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
                // The path may lead to the stubs through a link.
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
                held.asked_as()
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
        let Some(said) = parse_library_name(soname) else { return };
        let real = numbers(&said);
        for file in library.file_names() {
            let Some(name) = parse_library_name(file) else { continue };
            // torch renames what it bundles and leaves the soname as it was.
            let same = name.row.stem == said.row.stem && (name.hash == said.hash || said.hash.is_none());
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

    /// What it answers when it is asked counts for more than a name; both are told.
    fn answer(&mut self, library: &'a Library) {
        let answers = library.evidence.iter().filter(|one| one.kind == EvidenceKind::Probe);
        let others = || library.evidence.iter().filter(|one| one.kind != EvidenceKind::Probe);
        let believed = |other: &&Evidence| other.confidence > Confidence::Unsure;
        let mut answers = answers;
        let contradicts = |one: &'a Evidence| Some((one, others().filter(believed).find(|other| !one.agrees(other))?));
        if let Some((answer, other)) = answers.find_map(contradicts) {
            self.add(
                "probe-disagrees",
                &library.path,
                format!("{}, but {} says {}", answer.says, other.kind, other.says),
            );
        }
    }
}

pub(crate) fn torn_id(library: &Library) -> &'static str {
    torn_id_of(library.row, Some(OsStr::new(library.asked_as())))
}

/// What [`torn_id_of`] may say.
pub(crate) const TORN: [&str; 5] =
    ["cublas-silent-mix", "cudnn8-mixed-sublibs", "cudnn9-torn-set", "nvrtc-builtins-missing", "torn-driver"];

/// What it is called that parts of a library of this name meet in different releases.
pub(crate) fn torn_id_of(row: &FamilyRow, name: Option<&OsStr>) -> &'static str {
    let major = name.and_then(parse_library_name).and_then(|name| Some(name.version?.major()));
    match row.group {
        Some("cublas") => "cublas-silent-mix",
        Some("cudnn") if major.is_some_and(|major| major < 9) => "cudnn8-mixed-sublibs",
        Some("cudnn") => "cudnn9-torn-set",
        Some("nvrtc") => "nvrtc-builtins-missing",
        _ => "torn-driver",
    }
}

/// The release of a library whose group must be of one, where it is known to the last number that counts. CUPTI is
/// numbered in two ways, and the rest of the groups are known to mix.
pub(crate) fn release(library: &Library) -> Option<&Version> {
    let version = library.version.as_ref()?;
    let whole = match library.row.group? {
        "cublas" | "cudnn" | "nvrtc" => version.numbers().len() >= 3,
        // WSL's libcuda.so.1.1 tells no release.
        "driver" => version.numbers().len() >= 2 && version.major() >= 100,
        _ => false,
    };
    whole.then_some(version)
}

/// Whether two versions can be of one release: `9.1.0` of a file name and `9.1.0.70` of a wheel.
pub(crate) fn agree(one: &Version, other: &Version) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Whether two files hold the same build: then it does not matter which is found.
fn same_build(one: &Library, other: &Library) -> bool {
    let id = |library: &Library| library.object.as_ref().and_then(|object| object.facts.build_id.clone());
    one.stat.size == other.stat.size && id(one).is_some() && id(one) == id(other)
}

fn in_release(library: &Library) -> String {
    library.version.as_ref().map(|version| format!(" of {version}")).unwrap_or_default()
}

fn soname_major(library: &Library) -> Option<u64> {
    parse_library_name(library.asked_as())?.version.map(|version| version.major())
}

/// The parts of a release of cuDNN, by stem; of the last release before it whose content is known, else what all
/// releases of the major have in common.
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
    fn parts_of_a_release_that_was_never_opened() {
        let parts = |text: &str| cudnn_parts(9, Some(&Version::parse(text).unwrap()));
        // The content of 9.21.1 is that of 9.21.0, not of 9.22, which has one part more.
        assert!(parts("9.21.1.3").contains(&"cudnn_engines_tensor_ir") && !parts("9.21.1.3").contains(&"cudnn_ext"));
        assert!(parts("9.22.0").contains(&"cudnn_ext"));
        assert!(!parts("9.1.0").contains(&"cudnn_engines_tensor_ir"));
        assert!(!cudnn_parts(9, None).contains(&"cudnn_ext") && cudnn_parts(9, None).contains(&"cudnn_ops"));
        assert!(cudnn_parts(8, None).contains(&"cudnn_ops_train"));
        assert!(cudnn_parts(7, None).is_empty());
    }
}
