//! The files of the cache: named by content, written once, removed after long disuse.
//!
//! Takes names and bytes; gives files of the user that hold exactly these bytes. An intact file is never rewritten,
//! since images record its inode for running processes. Never follows a link, never trusts another user's file.

use crate::host::{private_write, private_write_new};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use sha2::{Digest, Sha256};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that is unused for this long is removed.
const KEPT: Duration = Duration::from_secs(30 * DAY);
/// How often to record a file's last use, and to sweep the cache.
const OFTEN: Duration = Duration::from_secs(DAY);
const DAY: u64 = 24 * 60 * 60;
/// The most files to examine in one sweep.
const SWEPT: usize = 20_000;
/// The names that the cache writes, and those it wrote before answers became one file.
const KINDS: [&str; 7] = ["answer", "image", "json", "lock", "plan", "so", "stamps"];

/// The identity of a cache file at the time it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its file name.
    pub(super) name: String,
    /// Inode, bytes, nanoseconds since 1970. Without the device, which differs between nodes that share the
    /// directory.
    pub(super) state: (u64, u64, i64),
}

impl Known {
    fn of(name: &str, meta: &Metadata) -> Self {
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Self { name: name.to_owned(), state: (meta.ino(), meta.size(), mtime) }
    }

    /// Reads the identity of the current file, if the user owns it.
    pub(super) fn find(dir: &Path, name: &str) -> Option<Self> {
        let meta = fs::symlink_metadata(dir.join(name)).ok().filter(is_ours)?;
        Some(Self::of(name, &meta))
    }

    /// Whether the file is unchanged, and no other user could have changed it.
    pub(super) fn is_intact(&self, dir: &Path) -> bool {
        Self::find(dir, &self.name).as_ref() == Some(self)
    }
}

/// The start of a digest, as used in names.
pub(super) fn digest(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(Sha256::digest(bytes).split_at(16).0)
}

/// Writes a file unless it exists.
///
/// # Errors
/// The file does not exist and cannot be written.
pub(super) fn put(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<Known> {
    let path = dir.join(name);
    // Another process may write it first: the file that exists then counts.
    if !(holds(&path, bytes) || private_write_new(&path, bytes)? || holds(&path, bytes)) {
        // Damaged: replace the name only, since processes may map the old file.
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

/// The text of a small file of the user, and whether to record its use again.
pub(super) fn read(path: &Path) -> Option<(String, bool)> {
    let meta = fs::symlink_metadata(path).ok().filter(is_ours)?;
    Some((fs::read_to_string(path).ok()?, is_older(&meta, OFTEN)))
}

/// Whether a file is unused for some time: the later of its two times counts.
fn is_older(meta: &Metadata, time: Duration) -> bool {
    let used = meta.atime().max(meta.mtime());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(used).is_ok_and(|used| used.saturating_add(time.as_secs()) < now.as_secs())
}

/// Records the use of a file in its access time: images identify it by the other one.
pub(super) fn use_now(path: &Path) {
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: at(UTIME_NOW), last_modification: at(UTIME_OMIT) };
    if let Err(error) = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW) {
        log::debug!("{}: {error}", path.display());
    }
}

/// Removes files after long disuse; sweeps once a day.
pub(super) fn sweep(dir: &Path) {
    let mark = dir.join("swept");
    let recently = fs::symlink_metadata(&mark).is_ok_and(|meta| !is_older(&meta, OFTEN));
    if recently || private_write(&mark, b"").is_err() {
        return;
    }
    let Ok(entries) = fs::read_dir(dir) else { return };
    let old = |path: &PathBuf| {
        let ours = path.extension().and_then(|end| end.to_str()).is_some_and(|end| KINDS.contains(&end));
        let is_leftover = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp"));
        (ours || is_leftover) && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && is_older(&meta, KEPT))
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
        assert!(first.is_intact(dir.path()));
        assert_eq!(put(dir.path(), "a.image", b"bytes").unwrap(), first);
        // Damaged: a new file replaces it, and an answer with the old identity becomes invalid.
        fs::write(dir.path().join("a.image"), "other").unwrap();
        let second = put(dir.path(), "a.image", b"bytes").unwrap();
        assert_ne!(second.state.0, first.state.0);
        assert!(second.is_intact(dir.path()) && !first.is_intact(dir.path()));
    }

    #[test]
    fn a_use_keeps_a_file_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.image", "b.image", "notes.txt"] {
            put(dir.path(), name, b"bytes").unwrap();
            age(&dir.path().join(name), 31);
        }
        let known = Known::of("a.image", &fs::symlink_metadata(dir.path().join("a.image")).unwrap());
        assert!(read(&dir.path().join("a.image")).unwrap().1);
        use_now(&dir.path().join("a.image"));
        assert!(known.is_intact(dir.path()) && !read(&dir.path().join("a.image")).unwrap().1);
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
