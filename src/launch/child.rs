//! The environment of a process that is to get the plan.
//!
//! Takes the environment as it is; gives the variables to set and what had to go from `LD_PRELOAD`. Reads the plan only
//! where something else is preloaded, or to list its libraries. Never touches `LD_LIBRARY_PATH`: children that are not ours may need it, and a mapped soname wins over it anyway.

use super::door::{self, Door};
use crate::host::Host;
use crate::loader::Objects;
use crate::loader::{LinkMap, Loader};
use crate::plan::Plan;
use crate::tables::parse_library_name;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An entry of `LD_PRELOAD` that cannot stay, or should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The entry as it stands there.
    pub entry: OsString,
    /// What is the matter with it.
    pub why: Why,
}

/// What is the matter with an entry of `LD_PRELOAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It contradicts the plan.
    Instead {
        /// The soname of the library.
        soname: String,
        /// What the plan hands out instead.
        instead: PathBuf,
    },
    /// No program can start with it: it needs a library that is nowhere.
    Needs(OsString),
}

/// What is handed to a process.
#[derive(Clone, Copy)]
pub struct Handout<'p> {
    /// The file for `CUDASHIM_PLAN`.
    pub file: &'p Path,
    /// Its plan, read where that is needed.
    pub plan: &'p dyn Fn() -> Option<Plan>,
}

/// What changes in a child's environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildEnvironment {
    /// `LD_PRELOAD`: the shim, unless it comes by the other door, then what was there and may stay.
    pub preload: OsString,
    /// `LD_AUDIT`: the shim, where it comes by that door, then what was there.
    pub audit: OsString,
    /// `CUDASHIM_ONCE`: the part of [`Self::preload`] that is for this program and not for its children.
    pub once: Option<OsString>,
    /// `CUDASHIM_PLAN`; `None`: the shim asks for one in each process.
    pub plan: Option<PathBuf>,
    /// What was taken out of `LD_PRELOAD`.
    pub taken_out: Vec<Odd>,
    /// What is left in it, and is not ours to take out.
    pub left: Vec<Odd>,
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

    /// `LD_AUDIT` with the shim in it, and what was there.
    #[must_use]
    pub fn audited(host: &Host, shim: &Path) -> OsString {
        joined([shim.as_os_str()].into_iter().chain(auditors(host)))
    }

    /// The environment for a child of a process with the environment of `host`. Without a plan, the shim asks for one.
    #[must_use]
    pub fn new(host: &Host, handout: Option<Handout<'_>>, shim: &Path, door: Door) -> Self {
        let entries: Vec<&OsStr> = preloads(host).collect();
        let wanted = handout.filter(|_| !entries.is_empty() || door == Door::Listed);
        let plan = wanted.and_then(|handout| (handout.plan)());
        let objects = Objects::new(host);
        let (mut taken_out, mut left, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let instead = plan.as_ref().and_then(|plan| contradiction(&objects, plan, entry));
            // An auditor is asked for what it needs, too.
            let served = plan.as_ref().filter(|_| door == Door::Audit);
            let why = instead.or_else(|| cannot_load(&objects, served, entry));
            let Some(why) = why else {
                kept.push(entry);
                continue;
            };
            let odd = Odd { entry: entry.to_owned(), why };
            if matches!(odd.why, Why::Instead { .. }) || is_nvidias(entry) {
                taken_out.push(odd);
            } else {
                left.push(odd);
                kept.push(entry);
            }
        }
        let shim = shim.as_os_str();
        let once = plan.as_ref().filter(|_| door == Door::Listed).and_then(door::listed);
        let (preload, audit) = match door {
            Door::Audit => (joined(kept), Self::audited(host, Path::new(shim))),
            Door::Preload | Door::Listed => {
                // AddressSanitizer ends a process in which it is not the first.
                let (first, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|entry| is_sanitizer(entry));
                let all = first.into_iter().chain([shim]).chain(once.as_deref()).chain(kept);
                (joined(all), joined(auditors(host)))
            }
        };
        Self { preload, audit, once, plan: handout.map(|handout| handout.file.to_owned()), taken_out, left }
    }
}

/// The entries of `LD_PRELOAD` without shims: ld.so splits at spaces and colons, and knows no escape (ld.so(8)).
fn preloads(host: &Host) -> impl Iterator<Item = &OsStr> {
    entries(host.env("LD_PRELOAD"), b" :")
}

/// The entries of `LD_AUDIT` without shims: colons only.
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

/// Whether an entry is a shim that an outer `run` put there.
fn is_shim(entry: &OsStr) -> bool {
    let name = Path::new(entry).file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"libcudashim-") && name.ends_with(b".so")
}

/// The file of an entry, as ld.so finds it.
fn file(objects: &Objects, entry: &OsStr) -> Option<PathBuf> {
    let is_path = entry.as_bytes().contains(&b'/');
    if is_path { Some(PathBuf::from(entry)) } else { Some(Loader::new(objects).find(entry)?.0) }
}

/// What the plan serves from another file than the entry does.
fn contradiction(objects: &Objects, plan: &Plan, entry: &OsStr) -> Option<Why> {
    let object = objects.open(&file(objects, entry)?).ok()?;
    let soname = object.facts.soname.as_ref()?.to_str()?;
    let library = plan.instead_of(soname, object.stat.id)?;
    Some(Why::Instead { soname: soname.to_owned(), instead: library.path.clone() })
}

/// The first library that an entry needs and nobody has. ld.so passes over an entry that is not there, but ends the program
/// for what that needs (ld.so(8) tells only the first).
fn cannot_load(objects: &Objects, served: Option<&Plan>, entry: &OsStr) -> Option<Why> {
    let file = file(objects, entry)?;
    objects.open(&file).ok()?;
    let loader = Loader::new(objects);
    let mut map = LinkMap::new(&loader);
    let _ = map.open(file.as_os_str(), None);
    let is_served =
        |name: &OsStr| served.is_some_and(|plan| name.to_str().and_then(|name| plan.lookup(name)).is_some());
    let missing = map.missing().iter().find(|missing| !is_served(&missing.name))?;
    Some(Why::Needs(missing.name.clone()))
}

fn is_nvidias(entry: &OsStr) -> bool {
    let name = Path::new(entry).file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| parse_library_name(name).is_some())
}
