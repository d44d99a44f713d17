//! The name of a question: a digest of everything that can change its answer and is not read from a file.
//!
//! Takes a request and a machine; gives 32 hex digits. Reads no file, only devices that identify the machine: nodes
//! and containers that share a cache have the same paths on different file systems.

use super::files;
use crate::host::escape;
use crate::host::{Host, Stat};
use crate::machine::Request;
use crate::python::Command;
use crate::tables::{VariableRow, variable};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A question as text under construction.
#[derive(Clone)]
pub(super) struct Key(String);

impl Key {
    /// The relevant environment, and this program itself.
    pub(super) fn new(host: &Host) -> Self {
        let mut key = Self(String::with_capacity(4096));
        key.add("version", OsStr::new(env!("CARGO_PKG_VERSION")));
        // Another build may answer differently.
        let program = std::env::current_exe().and_then(std::fs::metadata).map(|meta| Stat::from(&meta));
        key.add("program", OsStr::new(&format!("{program:?}")));
        key.add("root", host.root().as_os_str());
        if cwd_matters(host) {
            key.add("cwd", host.cwd().as_os_str());
        }
        for (name, value) in host.environment() {
            if let Some(name) = name.to_str().filter(|name| variable(name).is_some_and(VariableRow::changes_answers)) {
                key.add(name, value);
            }
        }
        key
    }

    /// The request, and the devices of the directories that it searches first.
    pub(super) fn of_request(host: &Host, request: &Request, command: Option<&Command>) -> Self {
        let mut key = Self::new(host);
        key.add("question", OsStr::new(&request.question(host, command)));
        let prefixes = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| host.env(name)).map(PathBuf::from);
        let named = request.python.iter().chain(&request.files).map(|path| host.absolute(path));
        let started = command.map(|command| command.program.clone());
        key.add_devices(named.chain(started), prefixes.flat_map(|prefix| [prefix.join("lib"), prefix]));
        key
    }

    /// The relevant environment, this program itself, and the devices of a program's directories.
    pub(super) fn of_programs(host: &Host, programs: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut key = Self::new(host);
        key.add_devices(programs, []);
        key
    }

    fn add_devices(&mut self, programs: impl IntoIterator<Item = PathBuf>, more: impl IntoIterator<Item = PathBuf>) {
        let programs = programs.into_iter().flat_map(|path| {
            let dir = path.parent().map(Path::to_owned).unwrap_or_default();
            [path, dir.join("../lib"), dir]
        });
        for path in programs.chain(more).chain(["/usr".into()]) {
            let device = std::fs::metadata(&path).map(|meta| meta.dev()).unwrap_or_default();
            let key: &mut Self = self;
            key.add("device", OsStr::new(&device.to_string()));
        }
    }

    /// Appends a fact.
    pub(super) fn add(&mut self, label: &str, value: &OsStr) {
        for part in [label, "=", &escape::bytes(value.as_bytes()), "\n"] {
            self.0.push_str(part);
        }
    }

    pub(super) fn digest(&self) -> String {
        files::digest(self.0.as_bytes())
    }
}

/// Whether the working directory is searched: for packages, or through a relative or empty element of a path list.
fn cwd_matters(host: &Host) -> bool {
    let relative = |name| {
        host.env(name).is_some_and(|list| {
            list.as_bytes().split(|byte| matches!(byte, b':' | b';')).any(|dir| !dir.starts_with(b"/"))
        })
    };
    ["torch", "nvidia"].iter().any(|package| host.is_dir(&host.cwd().join(package)))
        || relative("LD_LIBRARY_PATH")
        || relative("PYTHONPATH")
        || relative("CUDASHIM_PLACE")
}
