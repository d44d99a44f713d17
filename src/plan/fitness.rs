//! Whether a plan file is trusted: its owner, and who may change it.
//!
//! Takes a path without symbolic links; gives the reason against it. The shim has similar rules for images
//! (`docs/PLAN_FORMAT.md`).

use crate::host::{Hints, Host, Kind};
use std::path::{Path, PathBuf};

/// Why a plan file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It is not a regular file.
    #[error("cannot read the plan `{}`: not a regular file", .0.display())]
    NoFile(PathBuf),
    /// Others may replace it.
    #[error(
        "ignoring `{}`: others may write to its directory (mode {mode:04o}); move it to one of your own",
        path.display()
    )]
    OpenDirectory {
        /// The file.
        path: PathBuf,
        /// The directory's permission bits.
        mode: u32,
    },
    /// Another user owns it, or may write to it.
    #[error(
        "ignoring `{}`: it belongs to another user, or others may write to it; use {}",
        path.display(),
        if *.own { format!("`chmod go-w {}`", path.display()) } else { "a copy of your own".to_owned() }
    )]
    Changeable {
        /// The file.
        path: PathBuf,
        /// Whether its owner is the user or root.
        own: bool,
    },
}

impl Hints for Unfit {}

impl Unfit {
    /// The reason against a plan at `path`; `None` where it may be used or does not exist.
    #[must_use]
    pub fn find(host: &Host, path: &Path) -> Option<Self> {
        let stat = host.stat(path).ok()?;
        let path = path.to_owned();
        if stat.kind != Kind::File {
            return Some(Self::NoFile(path));
        }
        let dir = path.parent().and_then(|dir| host.stat(dir).ok());
        if let Some(dir) = dir.filter(|dir| dir.mode & 0o1002 == 0o002) {
            return Some(Self::OpenDirectory { path, mode: dir.mode });
        }
        let own = stat.uid == 0 || stat.uid == rustix::process::geteuid().as_raw();
        (!own || stat.mode & 0o022 != 0).then_some(Self::Changeable { path, own })
    }
}
