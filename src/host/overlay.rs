//! Files after a hypothetical change.
//!
//! Takes paths without symbolic links in their directories; returns their state after the change. Never touches the
//! disk.

use super::files::{Entry, FileId, Kind, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The device number of changed files: the kernel's own are small.
const DEVICE: u64 = u64::MAX;

/// The file at a path after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// None; of a directory, none below it either.
    Gone,
    /// A file of these bytes.
    File {
        /// Its content.
        bytes: Arc<[u8]>,
    },
}

/// The changed paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay(BTreeMap<PathBuf, Change>);

/// The state of a path after the changes.
#[derive(Debug)]
pub(super) enum State<'o> {
    Gone,
    /// A file, and its index among the changed paths.
    File(&'o Arc<[u8]>, u64),
    /// A directory that exists only for the files below it.
    Directory(u64),
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a change; a removed directory removes the earlier changes below it.
    pub(super) fn insert(&mut self, path: PathBuf, change: Change) {
        if change == Change::Gone {
            self.0.retain(|made, _| !made.starts_with(&path));
        }
        self.0.insert(path, change);
    }

    /// The state of a path; `None`: the disk's state holds. `on_disk`: whether the disk has the path.
    pub(super) fn state(&self, path: &Path, on_disk: impl Fn() -> bool) -> Option<State<'_>> {
        let number = |key: &Path| {
            u64::try_from(self.0.keys().take_while(|made| made.as_path() < key).count()).unwrap_or_default()
        };
        if let Some(Change::File { bytes }) = self.0.get(path) {
            // Names of the same bytes are of one file.
            let is_it = |change: &Change| matches!(change, Change::File { bytes: own } if Arc::ptr_eq(own, bytes));
            let first = self.0.values().position(is_it).and_then(|at| u64::try_from(at).ok());
            return Some(State::File(bytes, first.unwrap_or_default()));
        }
        let gone = path.ancestors().any(|above| self.0.get(above) == Some(&Change::Gone));
        if self.made_below(path).next().is_some() {
            return (gone || !on_disk()).then(|| State::Directory(self.0.len() as u64 + number(path)));
        }
        gone.then_some(State::Gone)
    }

    /// The changed files below a directory.
    fn made_below<'o>(&'o self, dir: &'o Path) -> impl Iterator<Item = &'o Path> {
        let from = (Bound::Included(dir), Bound::Unbounded);
        let below = self.0.range::<Path, _>(from).take_while(move |(path, _)| path.starts_with(dir));
        below
            .filter(move |(path, change)| path.as_path() != dir && **change != Change::Gone)
            .map(|(path, _)| path.as_path())
    }

    /// The entries of a directory after the change.
    pub(super) fn entries(&self, dir: &Path, on_disk: Vec<Entry>) -> Vec<Entry> {
        let made: BTreeSet<(&OsStr, bool)> = self
            .made_below(dir)
            .filter_map(|path| {
                let mut parts = path.strip_prefix(dir).ok()?.iter();
                Some((parts.next()?, parts.next().is_some()))
            })
            .collect();
        let is_made = |name: &OsStr| made.iter().any(|(made, _)| *made == name);
        let stays = |entry: &Entry| !is_made(&entry.name) && self.0.get(&dir.join(&entry.name)) != Some(&Change::Gone);
        let mut entries: Vec<Entry> = on_disk.into_iter().filter(stays).collect();
        entries.extend(made.iter().map(|(name, deep)| Entry {
            name: (*name).to_owned(),
            kind: if *deep { Kind::Directory } else { Kind::File },
        }));
        entries
    }
}

impl State<'_> {
    /// As by `stat(2)`; `None` where no file is.
    pub(super) fn stat(&self) -> Option<Stat> {
        let (kind, size, ino, mode) = match self {
            Self::Gone => return None,
            Self::File(bytes, number) => (Kind::File, bytes.len() as u64, *number, 0o644),
            Self::Directory(number) => (Kind::Directory, 0, *number, 0o755),
        };
        Some(Stat { id: FileId { dev: DEVICE, ino }, kind, size, mtime: 0, ctime: 0, links: 1, uid: 0, gid: 0, mode })
    }
}
