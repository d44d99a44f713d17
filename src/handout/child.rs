//! The environment of a process that is to get the plan.
//!
//! Takes the environment as it is; gives the variables to set and what had to go from `LD_PRELOAD`. Never
//! touches `LD_LIBRARY_PATH`: children that are not ours may need it, and a mapped soname wins over it anyway.

use crate::host::Host;
use crate::loader::Loader;
use crate::objects::Objects;
use crate::plan::{How, Plan};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildEnvironment {
    /// `LD_PRELOAD`: the shim, then what was there and may stay.
    pub preload: OsString,
    /// `CUDASHIM_PLAN`; `None`: the shim asks for one in each process.
    pub plan: Option<PathBuf>,
    /// What was taken out of `LD_PRELOAD`.
    pub taken_out: Vec<TakenOut>,
}

impl ChildEnvironment {
    /// The variables to set, and to unset where there is no value.
    pub fn variables(&self) -> [(&'static str, Option<&OsStr>); 2] {
        [("LD_PRELOAD", Some(&self.preload)), ("CUDASHIM_PLAN", self.plan.as_deref().map(Path::as_os_str))]
    }

    /// The environment for a child of a process with the environment of `host`.
    #[must_use]
    pub fn new(host: &Host, plan: Option<(&Plan, &Path)>, shim: &Path) -> Self {
        let objects = Objects::new(host);
        let mut preload = shim.as_os_str().to_owned();
        let mut taken_out = Vec::new();
        let listed = host.env("LD_PRELOAD").unwrap_or_default().as_bytes();
        // ld.so splits at spaces and colons, and knows no escape (ld.so(8)).
        for entry in
            listed.split(|byte| matches!(byte, b' ' | b':')).filter(|entry| !entry.is_empty()).map(OsStr::from_bytes)
        {
            if is_shim(entry) {
                continue;
            }
            if let Some((soname, instead)) = plan.and_then(|(plan, _)| contradiction(&objects, plan, entry)) {
                taken_out.push(TakenOut { entry: entry.to_owned(), soname, instead });
            } else {
                preload.push(":");
                preload.push(entry);
            }
        }
        Self { preload, plan: plan.map(|(_, path)| path.to_owned()), taken_out }
    }
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
    let library = plan.library(soname).filter(|library| library.how != How::Keep)?;
    (object.stat.id != library.id).then(|| (soname.to_owned(), library.path.clone()))
}
