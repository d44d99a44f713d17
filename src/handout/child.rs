//! The environment of a process that is to get the plan.
//!
//! Takes the environment as it is; gives the variables to set and what had to go from `LD_PRELOAD`. Never
//! touches `LD_LIBRARY_PATH`: children that are not ours may need it, and a mapped soname wins over it anyway.

use super::door::{self, Door};
use crate::host::Host;
use crate::loader::Loader;
use crate::objects::Objects;
use crate::plan::Plan;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An entry of `LD_PRELOAD` that contradicts the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOut {
    /// The entry as it stood there.
    pub entry: OsString,
    /// The soname of the library.
    pub soname: String,
    /// What the plan hands out instead.
    pub instead: PathBuf,
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
    pub taken_out: Vec<TakenOut>,
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

    /// The environment as it is, less a shim and a plan that were there for another program.
    #[must_use]
    pub fn without_shim(host: &Host) -> Self {
        Self { preload: joined(preloads(host)), audit: joined(auditors(host)), ..Self::default() }
    }

    /// `LD_AUDIT` with the shim in it, and what was there.
    #[must_use]
    pub fn audited(host: &Host, shim: &Path) -> OsString {
        joined([shim.as_os_str()].into_iter().chain(auditors(host)))
    }

    /// The environment for a child of a process with the environment of `host`.
    #[must_use]
    pub fn new(host: &Host, plan: Option<(&Plan, &Path)>, shim: &Path, door: Door) -> Self {
        let objects = Objects::new(host);
        let mut taken_out = Vec::new();
        let mut kept = Vec::new();
        for entry in preloads(host) {
            if let Some((soname, instead)) = plan.and_then(|(plan, _)| contradiction(&objects, plan, entry)) {
                taken_out.push(TakenOut { entry: entry.to_owned(), soname, instead });
            } else {
                kept.push(entry);
            }
        }
        let shim = shim.as_os_str();
        let once = plan.filter(|_| door == Door::Listed).and_then(|(plan, _)| door::listed(plan));
        let (preload, audit) = match door {
            Door::Audit => (joined(kept), Self::audited(host, Path::new(shim))),
            Door::Preload | Door::Listed => {
                // AddressSanitizer ends a process in which it is not the first.
                let (first, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|entry| is_sanitizer(entry));
                let all = first.into_iter().chain([shim]).chain(once.as_deref()).chain(kept);
                (joined(all), joined(auditors(host)))
            }
        };
        Self { preload, audit, once, plan: plan.map(|(_, path)| path.to_owned()), taken_out }
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

/// The soname that both the entry and the plan would serve, from different files.
fn contradiction(objects: &Objects<'_>, plan: &Plan, entry: &OsStr) -> Option<(String, PathBuf)> {
    let path =
        if entry.as_bytes().contains(&b'/') { PathBuf::from(entry) } else { Loader::new(objects).find(entry)?.0 };
    let object = objects.open(&path).ok()?;
    let soname = object.facts.soname.as_ref()?.to_str()?;
    let library = plan.instead_of(soname, object.stat.id)?;
    Some((soname.to_owned(), library.path.clone()))
}
