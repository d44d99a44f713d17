//! Where the files of a machine are: below a directory of the running machine, or in memory.
//!
//! Takes paths without symbolic links in their directories, as the machine's programs write them; on the running
//! machine, any. Gives stats, listings, bytes and maps. Records nothing.

use super::files::{self, Entry, Stat};
use super::map::{self, Map};
use super::tree::Tree;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system.
#[derive(Debug, Clone)]
pub(super) enum Disk {
    /// Mounted at this directory.
    Mounted(PathBuf),
    /// In memory.
    Tree(Arc<Tree>),
}

impl Disk {
    pub(super) fn root(&self) -> &Path {
        match self {
            Self::Mounted(root) => root,
            Self::Tree(tree) => tree.origin(),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.stat(path).is_ok()
    }

    /// The target of a symbolic link.
    pub(super) fn link(&self, path: &Path) -> io::Result<PathBuf> {
        match self {
            Self::Mounted(root) => std::fs::read_link(below(root, path)),
            Self::Tree(tree) => tree.link(path),
        }
    }

    pub(super) fn stat(&self, path: &Path) -> io::Result<Stat> {
        match self {
            Self::Mounted(root) => Stat::of(&below(root, path)),
            Self::Tree(tree) => tree.stat(path),
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        match self {
            Self::Mounted(root) => files::list(&below(root, dir)),
            Self::Tree(tree) => tree.list(dir),
        }
    }

    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Mounted(root) => files::read(&below(root, path), limit),
            Self::Tree(tree) => tree.read(path, limit),
        }
    }

    pub(super) fn read_start(&self, path: &Path, count: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Mounted(root) => files::read_start(&below(root, path), count),
            Self::Tree(tree) => tree.read(path, u64::try_from(count).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn map(&self, path: &Path) -> io::Result<(Map, Stat)> {
        match self {
            Self::Mounted(root) => map::open(&below(root, path)),
            Self::Tree(tree) => tree.map(path),
        }
    }
}

/// A path of the machine as one of this machine.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
