//! How a subject is opened: by path, by name, by Python's import, by torch's start-up code.
//!
//! Takes a link map; maps the opened files into it, or their planned replacements. Judges nothing.

use super::pathfinder::Pathfinder;
use super::torch::ImportOrder;
use crate::loader::{Flags, LinkMap, Missing};
use crate::plan::Plan;
use crate::python::TorchBuild;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A sequence of opens in one link map.
#[derive(Default)]
pub(super) struct Opening<'p> {
    pub(super) plan: Option<&'p Plan>,
    /// The object whose code calls dlopen.
    pub(super) program: Option<usize>,
    pub(super) roots: Vec<usize>,
}

impl<'p> Opening<'p> {
    pub(super) fn new(plan: Option<&'p Plan>, program: Option<usize>) -> Self {
        Self { plan, program, roots: Vec::new() }
    }

    /// Opens a path, or its planned replacement.
    pub(super) fn path(&mut self, map: &mut LinkMap<'_>, path: &Path) {
        self.path_with(map, path, Flags::default());
    }

    /// Opens extension modules as Python imports them, after the libraries that their packages open first.
    pub(super) fn imported(&mut self, map: &mut LinkMap<'_>, files: &[PathBuf], sites: &[PathBuf]) {
        let finder = Pathfinder::new(map.loader(), sites);
        for file in files {
            if let Some(finder) = finder.as_ref().filter(|finder| finder.serves(file)) {
                let before = finder.before(file, &|name| map.by_name(OsStr::new(name)).is_some());
                for path in before {
                    self.path(map, &path);
                }
            }
            self.path(map, file);
        }
    }

    pub(super) fn path_with(&mut self, map: &mut LinkMap<'_>, path: &Path, flags: Flags) {
        let instead = self.plan.and_then(|plan| plan.instead_at(path));
        let instead = instead.map_or(path, |library| library.path.as_path());
        let caller = self.program;
        self.roots.extend(map.open_with(instead.as_os_str(), caller, flags));
    }

    pub(super) fn names(&mut self, map: &mut LinkMap<'_>, names: &[(OsString, bool)]) {
        let caller = self.program;
        for (name, _) in names {
            let instead = self.instead(name);
            self.roots.extend(map.open(instead.as_deref().unwrap_or(name), caller));
        }
    }

    pub(super) fn instead(&self, name: &OsStr) -> Option<OsString> {
        Some(self.plan?.lookup(name.to_str()?)?.path.clone().into_os_string())
    }

    /// Opens torch as `torch/__init__.py` does.
    pub(super) fn torch(&mut self, map: &mut LinkMap<'_>, torch: &TorchBuild) {
        let host = map.host();
        let order = ImportOrder::read(host, torch);
        let global = torch.dir.join("lib/libtorch_global_deps.so");
        if host.is_file(&global) {
            let before = map.clone();
            let known = map.missing().len();
            // `ctypes.CDLL(…, mode=RTLD_GLOBAL)`
            let everywhere = Flags { global: true, ..Flags::default() };
            self.path_with(map, &global, everywhere);
            let first = map.missing().get(known);
            let names_it = |missing: &Missing| {
                let name = missing.name.to_string_lossy();
                order.fallback.iter().any(|opened| name.contains(opened.stem()))
            };
            if first.is_some_and(names_it) {
                // A failed dlopen leaves nothing mapped; torch then opens the libraries that it knows by name, and
                // retries.
                *map = before;
                self.roots.clear();
                for path in order.fallback.iter().filter_map(|opened| opened.find(host, torch)) {
                    self.path(map, &path);
                }
                self.path_with(map, &global, everywhere);
            } else if first.is_none() && order.guard.as_deref().is_none_or(|guard| is_mapped(map, guard)) {
                for path in order.after.iter().filter_map(|opened| opened.find(host, torch)) {
                    self.path(map, &path);
                }
            }
        }
        let entries = host.list(&torch.dir).unwrap_or_default();
        let extension = |name: &OsStr| name.as_bytes().starts_with(b"_C.") && name.as_bytes().ends_with(b".so");
        for entry in entries.iter().filter(|entry| extension(&entry.name)) {
            self.path(map, &torch.dir.join(&entry.name));
        }
    }
}

/// Whether a text occurs in `/proc/self/maps`, where the kernel shows paths without links and dots.
fn is_mapped(map: &LinkMap<'_>, text: &str) -> bool {
    let real = |path: &Path| map.host().canonical(path).unwrap_or_else(|_| path.to_owned());
    map.objects().iter().any(|mapped| {
        let path = real(&mapped.path).into_os_string();
        path.as_bytes().windows(text.len().max(1)).any(|part| part == text.as_bytes())
    })
}
