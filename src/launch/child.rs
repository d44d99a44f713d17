//! The environment of a process that is handed the plan.
//!
//! Takes the current environment; gives the variables to set and the entries removed from `LD_PRELOAD`. Reads the plan
//! only if `LD_PRELOAD` has other entries, or to list its libraries. Never changes `LD_LIBRARY_PATH`: other children
//! may need it, and a mapped soname overrides it anyway.

use super::door::{self, Door};
use crate::host::Host;
use crate::loader::Objects;
use crate::loader::{LinkMap, Loader};
use crate::plan::Plan;
use crate::tables::parse_library_name;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An entry of `LD_PRELOAD` that is unusable or conflicts with the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddPreload {
    /// The entry.
    pub entry: OsString,
    /// What is wrong with it.
    pub why: PreloadProblem,
}

/// What is wrong with an entry of `LD_PRELOAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreloadProblem {
    /// It conflicts with the plan.
    Conflicts {
        /// The soname of the library.
        soname: String,
        /// The plan's copy.
        planned: PathBuf,
    },
    /// It needs this library, which is not found: no program can start with it.
    NotFound(OsString),
}

/// A plan to hand to a process.
#[derive(Clone, Copy)]
pub struct Handout<'p> {
    /// The file for `CUDASHIM_PLAN`.
    pub file: &'p Path,
    /// Reads the plan, if needed.
    pub plan: &'p dyn Fn() -> Option<Plan>,
}

/// What changes in a child's environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildEnvironment {
    /// `LD_PRELOAD`: the shim, unless `LD_AUDIT` has it, then the entries that were kept.
    pub preload: OsString,
    /// `LD_AUDIT`: the shim, if this door was chosen, then the previous entries.
    pub audit: OsString,
    /// `CUDASHIM_ONCE`: the part of [`Self::preload`] for this program only, not for its children.
    pub once: Option<OsString>,
    /// `CUDASHIM_PLAN`; `None`: the shim requests one in each process.
    pub plan: Option<PathBuf>,
    /// The entries removed from `LD_PRELOAD`.
    pub removed: Vec<OddPreload>,
    /// Unusable entries that were kept: they are not NVIDIA's.
    pub kept: Vec<OddPreload>,
}

impl ChildEnvironment {
    /// The variables to set, and to unset where there is no value.
    pub fn variables(&self) -> [(&'static str, Option<&OsStr>); 4] {
        let list = |list: &'_ OsString| !list.is_empty();
        [
            ("LD_PRELOAD", Some(&self.preload).filter(|preload| list(preload)).map(OsString::as_os_str)),
            ("LD_AUDIT", Some(&self.audit).filter(|audit| list(audit)).map(OsString::as_os_str)),
            ("CUDASHIM_ONCE", self.once.as_deref()),
            ("CUDASHIM_PLAN", self.plan.as_deref().map(Path::as_os_str)),
        ]
    }

    /// The environment of `host` without the shim and the plan.
    #[must_use]
    pub fn without(host: &Host) -> Self {
        Self { preload: joined(preloads(host)), audit: joined(auditors(host)), ..Self::default() }
    }

    /// `LD_AUDIT` with the shim before the previous entries.
    #[must_use]
    pub fn audited(host: &Host, shim: &Path) -> OsString {
        joined([shim.as_os_str()].into_iter().chain(auditors(host)))
    }

    /// The environment for a child of a process with the environment of `host`. Without a plan, the shim requests one.
    #[must_use]
    pub fn new(host: &Host, handout: Option<Handout<'_>>, shim: &Path, door: Door) -> Self {
        let entries: Vec<&OsStr> = preloads(host).collect();
        let with_plan = handout.filter(|_| !entries.is_empty() || door == Door::Listed);
        let plan = with_plan.and_then(|handout| (handout.plan)());
        let objects = Objects::new(host);
        let (mut removed, mut unusable, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let conflict = plan.as_ref().and_then(|plan| conflict(&objects, plan, entry));
            // An auditor also resolves what the entry needs.
            let from_plan = plan.as_ref().filter(|_| door == Door::Audit);
            let why = conflict.or_else(|| cannot_load(&objects, from_plan, entry));
            let Some(why) = why else {
                kept.push(entry);
                continue;
            };
            let odd = OddPreload { entry: entry.to_owned(), why };
            if matches!(odd.why, PreloadProblem::Conflicts { .. }) || is_nvidia_library(entry) {
                removed.push(odd);
            } else {
                unusable.push(odd);
                kept.push(entry);
            }
        }
        let shim = shim.as_os_str();
        let once = plan.as_ref().filter(|_| door == Door::Listed).and_then(door::listed);
        let (preload, audit) = match door {
            Door::Audit => (joined(kept), Self::audited(host, Path::new(shim))),
            Door::Preload | Door::Listed => {
                // AddressSanitizer ends the process if it is not the first entry.
                let (first, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|entry| is_sanitizer(entry));
                let all = first.into_iter().chain([shim]).chain(once.as_deref()).chain(kept);
                (joined(all), joined(auditors(host)))
            }
        };
        Self { preload, audit, once, plan: handout.map(|handout| handout.file.to_owned()), removed, kept: unusable }
    }
}

/// The entries of `LD_PRELOAD` without shims: ld.so splits at spaces and colons, and has no escape (ld.so(8)).
fn preloads(host: &Host) -> impl Iterator<Item = &OsStr> {
    entries(host.env("LD_PRELOAD"), b" :")
}

/// The entries of `LD_AUDIT` without shims: ld.so splits at colons only.
fn auditors(host: &Host) -> impl Iterator<Item = &OsStr> {
    entries(host.env("LD_AUDIT"), b":")
}

fn entries<'h>(list: Option<&'h OsStr>, separators: &'static [u8]) -> impl Iterator<Item = &'h OsStr> {
    let entries =
        list.unwrap_or_default().as_bytes().split(move |byte| separators.contains(byte)).map(OsStr::from_bytes);
    entries.filter(|entry| !entry.is_empty() && !is_shim(entry))
}

fn joined<'e>(entries: impl IntoIterator<Item = &'e OsStr>) -> OsString {
    entries.into_iter().collect::<Vec<_>>().join(OsStr::new(":"))
}

/// Whether an entry is the runtime of `AddressSanitizer`.
fn is_sanitizer(entry: &OsStr) -> bool {
    let name = Path::new(entry).file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"libasan.so") || name.starts_with(b"libclang_rt.asan")
}

/// Whether an entry is the shim of an outer `run`.
fn is_shim(entry: &OsStr) -> bool {
    let name = Path::new(entry).file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"libcudashim-") && name.ends_with(b".so")
}

/// The file that ld.so resolves an entry to.
fn file(objects: &Objects, entry: &OsStr) -> Option<PathBuf> {
    let is_path = entry.as_bytes().contains(&b'/');
    if is_path { Some(PathBuf::from(entry)) } else { Some(Loader::new(objects).find(entry)?.0) }
}

/// The conflict if the plan has another file for the entry's soname.
fn conflict(objects: &Objects, plan: &Plan, entry: &OsStr) -> Option<PreloadProblem> {
    let object = objects.open(&file(objects, entry)?).ok()?;
    let soname = object.facts.soname.as_ref()?.to_str()?;
    let library = plan.instead_of(soname, object.stat.id)?;
    Some(PreloadProblem::Conflicts { soname: soname.to_owned(), planned: library.path.clone() })
}

/// The first library that an entry needs and that is not found. ld.so skips a missing entry, but ends the program if a
/// library that an entry needs is missing (ld.so(8) documents only the former).
fn cannot_load(objects: &Objects, from_plan: Option<&Plan>, entry: &OsStr) -> Option<PreloadProblem> {
    let file = file(objects, entry)?;
    objects.open(&file).ok()?;
    let loader = Loader::new(objects);
    let mut map = LinkMap::new(&loader);
    let _ = map.open(file.as_os_str(), None);
    let is_in_plan =
        |name: &OsStr| from_plan.is_some_and(|plan| name.to_str().and_then(|name| plan.lookup(name)).is_some());
    let missing = map.missing().iter().find(|missing| !is_in_plan(&missing.name))?;
    Some(PreloadProblem::NotFound(missing.name.clone()))
}

fn is_nvidia_library(entry: &OsStr) -> bool {
    let name = Path::new(entry).file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| parse_library_name(name).is_some())
}
