//! The questions asked of a machine, with their answers: the conditions under which a result holds.

use super::{FileId, Host, Stat};
use crate::escape;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// What stood at a path when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing that could be used.
    Absent,
    /// This file or directory.
    Present {
        /// Device and inode.
        id: FileId,
        /// Bytes.
        size: u64,
        /// Nanoseconds since 1970.
        mtime: i64,
    },
}

impl From<Stat> for Stamp {
    fn from(stat: Stat) -> Self {
        Self::Present { id: stat.id, size: stat.size, mtime: stat.mtime }
    }
}

/// Paths and what stood there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Stamp>);

impl Stamps {
    pub(super) fn insert(&mut self, path: PathBuf, stamp: Stamp) {
        self.0.insert(path, stamp);
    }

    /// How many paths were looked at.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every path still has the same answer.
    #[must_use]
    pub fn hold(&self, host: &Host) -> bool {
        self.0.iter().all(|(path, stamp)| host.stat(path).map_or(Stamp::Absent, Stamp::from) == *stamp)
    }

    /// One line per path: `dev:ino size mtime` or `-`, then the path, separated by tabs.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (path, stamp) in &self.0 {
            let path = escape::path(path);
            let _ = match stamp {
                Stamp::Absent => writeln!(text, "-\t{path}"),
                Stamp::Present { id, size, mtime } => writeln!(text, "{}:{} {size} {mtime}\t{path}", id.dev, id.ino),
            };
        }
        text
    }

    /// Reads what [`Stamps::to_text`] wrote; `None` where it is something else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut stamps = BTreeMap::new();
        for line in text.lines() {
            let (stamp, path) = line.split_once('\t')?;
            let stamp = if stamp == "-" {
                Stamp::Absent
            } else {
                let mut fields = stamp.split([':', ' ']);
                let id = FileId { dev: fields.next()?.parse().ok()?, ino: fields.next()?.parse().ok()? };
                Stamp::Present { id, size: fields.next()?.parse().ok()?, mtime: fields.next()?.parse().ok()? }
            };
            stamps.insert(escape::parse_path(path)?, stamp);
        }
        Some(Self(stamps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let mut stamps = Stamps::default();
        stamps.insert("/a b\tc\n".into(), Stamp::Absent);
        stamps.insert("/d".into(), Stamp::Present { id: FileId { dev: 1, ino: 2 }, size: 3, mtime: -4 });
        assert_eq!(Stamps::from_text(&stamps.to_text()), Some(stamps));
        assert_eq!(Stamps::from_text("nonsense"), None);
    }
}
