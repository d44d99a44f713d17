//! The driver libraries on a machine: the role of each, and the ones that ld.so finds.

use super::embedded;
use crate::inventory::{Inventory, Library, forward_compatibility};
use crate::loader::Loader;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A driver library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DriverFile {
    /// The path to open it by.
    #[serde(with = "super::record::path")]
    pub path: PathBuf,
    /// Its other names in the same directory.
    pub names: Vec<String>,
    /// The name that processes load it by.
    pub soname: String,
    /// Its release: from its file name, its package or its content.
    pub version: Option<String>,
    /// Its role.
    pub role: Role,
}

/// The role of a driver library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Installed with the driver: must be of the kernel module's version.
    Driver,
    /// Of the forward-compatibility package: newer than the kernel module by design.
    Compat {
        /// Its CUDA release, where its note has it.
        cuda: Option<String>,
        /// The branches of kernel modules that it runs on, where its note has them.
        branches: Vec<u64>,
    },
    /// For linking only.
    Stub,
    /// It must not be loaded, with the reason.
    Unusable(String),
}

/// The file that a name resolves to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The file.
    #[serde(with = "super::record::path")]
    pub path: PathBuf,
    /// The rule it was found by: `LD_LIBRARY_PATH`, `ld.so.cache`, ….
    pub rule: String,
}

impl DriverFile {
    pub(super) fn of(library: &Library) -> Self {
        let role = match (&library.unusable, forward_compatibility(library)) {
            (Some(_), _) if library.is_stub() => Role::Stub,
            (Some(why), _) => Role::Unusable(why.clone()),
            (None, Some(note)) => Role::Compat {
                cuda: Some(note.cuda).filter(|cuda| !cuda.is_empty()),
                branches: note.drivers.into_iter().map(u64::from).collect(),
            },
            (None, None) => Role::Driver,
        };
        Self {
            path: library.path.clone(),
            names: library.names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
            soname: library.load_name().to_owned(),
            version: library.version.as_ref().filter(|version| version.major() >= 100).map_or_else(
                || embedded::version(library).map(|version| version.to_string()),
                |version| Some(version.to_string()),
            ),
            role,
        }
    }

    /// Whether it is libcuda itself.
    #[must_use]
    pub fn is_libcuda(&self) -> bool {
        self.soname == "libcuda.so.1"
    }

    /// Whether a process could load it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(self.role, Role::Driver | Role::Compat { .. })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Whether a path is one of its names.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path
            || (path.parent() == Some(self.dir())
                && path.file_name().is_some_and(|name| self.names.iter().any(|own| OsStr::new(own) == name)))
    }
}

/// Every driver library, by path.
pub(super) fn files(inventory: &Inventory) -> Vec<DriverFile> {
    let mut files: Vec<DriverFile> =
        inventory.libraries.iter().filter(|library| library.row.is_driver()).map(DriverFile::of).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The file that a name resolves to in a process without a run path.
pub(super) fn found(loader: &Loader, name: &str) -> Option<Found> {
    let (path, rule) = loader.find(OsStr::new(name))?;
    Some(Found { path, rule: rule.to_string() })
}
