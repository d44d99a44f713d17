//! What the processes of this user may load from.
//!
//! Takes nothing; gives, from proc(5), the environments that they were started with and the files that they have mapped. Of a
//! process in another container nothing is seen.

use crate::host::mapped_files;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The processes of a moment.
pub(super) struct Processes {
    /// Environments, one after the other.
    environments: Vec<Vec<u8>>,
    mapped: Vec<PathBuf>,
}

impl Processes {
    pub(super) fn now() -> Self {
        let own = rustix::process::geteuid().as_raw();
        let mut found = Self { environments: Vec::new(), mapped: Vec::new() };
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let is_process = process.file_name().as_bytes().iter().all(u8::is_ascii_digit);
            if is_process && process.metadata().is_ok_and(|meta| meta.uid() == own || own == 0) {
                found.environments.extend(std::fs::read(process.path().join("environ")));
                let maps = std::fs::read(process.path().join("maps")).unwrap_or_default();
                found.mapped.extend(mapped_files(&maps).into_iter().map(|file| file.path));
            }
        }
        found
    }

    /// Whether one of them has a file below a directory mapped, or was started with a plan there.
    pub(super) fn use_(&self, dir: &Path) -> bool {
        let variable = [b"CUDASHIM_PLAN=", dir.as_os_str().as_bytes(), b"/"].concat();
        self.mapped.iter().any(|path| path.starts_with(dir))
            || self
                .environments
                .iter()
                .any(|all| all.split(|byte| *byte == 0).any(|entry| entry.starts_with(&variable)))
    }
}
