//! The files of the cache: named by what is in them, written once, removed when nobody has used them for long.
//!
//! Takes names and bytes; gives files of the user's own that hold exactly these bytes. A file that is there stays the very
//! same file, since processes that run know its inode from an image. Never follows a link, never trusts a file of others.

use crate::host::{private_write, private_write_new};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use sha2::{Digest, Sha256};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that nobody used for so long is removed.
const KEPT: Duration = Duration::from_secs(30 * DAY);
/// How often a file's last use is written down, and how often is looked for what can go.
const OFTEN: Duration = Duration::from_secs(DAY);
const DAY: u64 = 24 * 60 * 60;
/// The most files looked at in one sweep.
const SWEPT: usize = 20_000;
/// What the cache writes, and what it wrote before answers had one file.
const KINDS: [&str; 7] = ["answer", "image", "json", "lock", "plan", "so", "stamps"];

/// A file of the cache as it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its name in the directory.
    pub(super) name: String,
    /// Inode, bytes, nanoseconds since 1970. Not the device: it is another on each node that shares the directory.
    pub(super) state: (u64, u64, i64),
}

impl Known {
    fn of(name: &str, meta: &Metadata) -> Self {
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Self { name: name.to_owned(), state: (meta.ino(), meta.size(), mtime) }
    }

    /// The file that is there now, where it is ours.
    pub(super) fn find(dir: &Path, name: &str) -> Option<Self> {
        let meta = fs::symlink_metadata(dir.join(name)).ok().filter(is_ours)?;
        Some(Self::of(name, &meta))
    }

    /// Whether the file is there as it was written, and nobody else could have changed it.
    pub(super) fn stands(&self, dir: &Path) -> bool {
        Self::find(dir, &self.name).as_ref() == Some(self)
    }
}

/// The start of the digest of some bytes, as names have it.
pub(super) fn digest(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(Sha256::digest(bytes).split_at(16).0)
}

/// Writes a file, unless it is there.
///
/// # Errors
/// It is not there, and cannot be written.
pub(super) fn put(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<Known> {
    let path = dir.join(name);
    // Who finds nothing there may not be the first to write: the file that is there then is the one that counts.
    if !(holds(&path, bytes) || private_write_new(&path, bytes)? || holds(&path, bytes)) {
        // Damaged: processes that have the old file mapped keep it.
        private_write(&path, bytes)?;
    }
    fs::symlink_metadata(&path).map(|meta| Known::of(name, &meta))
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    let same = |meta: Metadata| is_ours(&meta) && usize::try_from(meta.size()) == Ok(bytes.len());
    fs::symlink_metadata(path).is_ok_and(same) && fs::read(path).is_ok_and(|old| old == bytes)
}

fn is_ours(meta: &Metadata) -> bool {
    meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

/// The text of a small file of the user's own, and whether its use should be written down again.
pub(super) fn read(path: &Path) -> Option<(String, bool)> {
    let meta = fs::symlink_metadata(path).ok().filter(is_ours)?;
    Some((fs::read_to_string(path).ok()?, is_older(&meta, OFTEN)))
}

/// Whether nobody used a file for some time: the later one of its two times counts.
fn is_older(meta: &Metadata, time: Duration) -> bool {
    let used = meta.atime().max(meta.mtime());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(used).is_ok_and(|used| used.saturating_add(time.as_secs()) < now.as_secs())
}

/// Writes down that a file is used, in its access time: the other is a part of what an image knows it by.
pub(super) fn use_now(path: &Path) {
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: at(UTIME_NOW), last_modification: at(UTIME_OMIT) };
    if let Err(error) = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW) {
        log::debug!("{}: {error}", path.display());
    }
}

/// Removes what nobody has used for long; looks once a day.
pub(super) fn sweep(dir: &Path) {
    let mark = dir.join("swept");
    let recently = fs::symlink_metadata(&mark).is_ok_and(|meta| !is_older(&meta, OFTEN));
    if recently || private_write(&mark, b"").is_err() {
        return;
    }
    let Ok(entries) = fs::read_dir(dir) else { return };
    let old = |path: &PathBuf| {
        let ours = path.extension().and_then(|end| end.to_str()).is_some_and(|end| KINDS.contains(&end));
        let lost = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp"));
        (ours || lost) && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && is_older(&meta, KEPT))
    };
    for path in entries.take(SWEPT).flatten().map(|entry| entry.path()).filter(old) {
        if let Err(error) = fs::remove_file(&path) {
            log::debug!("{}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, days: u64) {
        let then = SystemTime::now() - Duration::from_secs(days * DAY + 60);
        let times = fs::FileTimes::new().set_accessed(then).set_modified(then);
        fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    }

    #[test]
    fn a_file_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = put(dir.path(), "a.image", b"bytes").unwrap();
        assert!(first.stands(dir.path()));
        assert_eq!(put(dir.path(), "a.image", b"bytes").unwrap(), first);
        // Damaged: another file, and an answer that knew the old one knows it no more.
        fs::write(dir.path().join("a.image"), "other").unwrap();
        let second = put(dir.path(), "a.image", b"bytes").unwrap();
        assert_ne!(second.state.0, first.state.0);
        assert!(second.stands(dir.path()) && !first.stands(dir.path()));
    }

    #[test]
    fn a_use_keeps_a_file_and_is_no_change_of_it() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.image", "b.image", "notes.txt"] {
            put(dir.path(), name, b"bytes").unwrap();
            age(&dir.path().join(name), 31);
        }
        let known = Known::of("a.image", &fs::symlink_metadata(dir.path().join("a.image")).unwrap());
        assert!(read(&dir.path().join("a.image")).unwrap().1);
        use_now(&dir.path().join("a.image"));
        assert!(known.stands(dir.path()) && !read(&dir.path().join("a.image")).unwrap().1);
        sweep(dir.path());
        let left = |name: &str| dir.path().join(name).exists();
        assert!(left("a.image") && !left("b.image") && left("notes.txt"));
        // Once a day.
        age(&dir.path().join("a.image"), 31);
        sweep(dir.path());
        assert!(left("a.image"));
        age(&dir.path().join("swept"), 2);
        sweep(dir.path());
        assert!(!left("a.image"));
    }
}
