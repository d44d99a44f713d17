//! The queries of the files of a machine, each recorded with its result.
//!
//! Takes paths as the machine's programs see them; returns the files there, or those after a change. Never writes.

use super::overlay::State;
use super::{Entry, Host, Kind, Map, Stamp, Stamps, Stat, not_found};
use super::{bounded, stamps};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

/// The wait before a changed file is queried again.
const MOMENT: Duration = Duration::from_millis(20);
/// How often in all a file that has just changed is queried again.
pub(super) const WAIT_LIMIT: u32 = 4;
/// The size limit of files that are read whole (metadata, configuration).
const READ_LIMIT: u64 = 16 << 20;

impl Host {
    /// `path` without symbolic links, as on this machine.
    #[doc(hidden)]
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        let result = if let Some(changed) = self.changed(&path) {
            changed.stat().map(|_| self.key(&path)).ok_or_else(not_found)
        } else if self.is_live() {
            std::fs::canonicalize(&path)
        } else {
            self.resolve(&path).and_then(|p| self.stat(&p).map(|_| p))
        };
        if result.is_err() {
            self.note(&path, Stamp::Absent);
        }
        result
    }

    /// The target of the symbolic link `path`, as written; an error where it is not a link.
    #[doc(hidden)]
    pub fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        if self.changed(&path).is_some() {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error()));
        }
        let parent = self.inside(path.parent().unwrap_or(Path::new("/")))?;
        self.inner.disk.link(&parent.join(path.file_name().unwrap_or_default()))
    }

    /// The file at `path`, symbolic links followed.
    #[doc(hidden)]
    pub fn stat(&self, path: &Path) -> io::Result<Stat> {
        let result = self.look(path).and_then(|stat| self.settled(path, stat));
        self.note(path, result.as_ref().map_or(Stamp::Absent, |stat| Stamp::from(*stat)));
        result
    }

    /// The file at `path`, without recording a stamp.
    pub(super) fn look(&self, path: &Path) -> io::Result<Stat> {
        if let Some(changed) = self.changed(path) {
            return changed.stat().ok_or_else(not_found);
        }
        self.inside(path).and_then(|path| self.inner.disk.stat(&path))
    }

    /// Waits and queries again where a file has just changed: a further change could have the same time and stay
    /// unseen.
    pub(super) fn settled(&self, path: &Path, mut stat: Stat) -> io::Result<Stat> {
        // The kernel produces these during the query.
        let is_made = ["/proc", "/sys"].iter().any(|dir| path.starts_with(dir));
        while self.inner.keeps.load(Relaxed) && !is_made {
            let Some(time) = stamps::unsettled(&stat, SystemTime::now()) else { break };
            if time > MOMENT || self.inner.waits.fetch_add(1, Relaxed) >= WAIT_LIMIT {
                self.inner.waits.store(WAIT_LIMIT + 1, Relaxed);
                break;
            }
            std::thread::sleep(time);
            stat = self.look(path)?;
        }
        Ok(stat)
    }

    /// Computes a result that is to be kept: every file is queried so that a later change shows in its stamp.
    #[doc(hidden)]
    pub fn keeping<T>(&self, compute: impl FnOnce() -> T) -> T {
        self.inner.keeps.store(true, Relaxed);
        let result = compute();
        self.inner.keeps.store(false, Relaxed);
        result
    }

    /// Whether a later change of any file queried within [`Host::keeping`] shows in its stamp. It may not for a file
    /// that changes all the time, or that has just changed on a file system with times in seconds.
    #[must_use]
    #[doc(hidden)]
    pub fn is_settled(&self) -> bool {
        self.inner.waits.load(Relaxed) <= WAIT_LIMIT
    }

    /// Whether `path` is a directory.
    #[must_use]
    #[doc(hidden)]
    pub fn is_dir(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|stat| stat.kind == Kind::Directory)
    }

    /// Whether `path` is a regular file.
    #[must_use]
    #[doc(hidden)]
    pub fn is_file(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|stat| stat.kind == Kind::File)
    }

    /// The entries of a directory, sorted by name.
    #[doc(hidden)]
    pub fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.stat(dir)?;
        // A directory that a change created holds no entries of the disk.
        let mut entries = match self.changed(dir) {
            Some(State::Directory(_)) => Vec::new(),
            _ => self.inner.disk.list(&self.inside(dir)?)?,
        };
        if !self.inner.overlay.is_empty() {
            entries = self.inner.overlay.entries(&self.key_of_directory(dir), entries);
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The bytes of a small regular file.
    ///
    /// # Errors
    /// Anything but a regular file (a FIFO would block) and anything over 16 mebibytes is refused.
    #[doc(hidden)]
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let stat = self.stat(path)?;
        if stat.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if stat.size > READ_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        if let Some(bytes) = self.made(path) {
            return Ok(bytes.to_vec());
        }
        self.inner.disk.read(&self.inside(path)?, READ_LIMIT)
    }

    /// The text of a small regular file; bytes that are not UTF-8 become U+FFFD.
    #[doc(hidden)]
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file that the kernel produces during the read, which never ends where a module hangs.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where it took longer; never in an image, where all files are at rest.
    #[doc(hidden)]
    pub fn read_text_within(&self, path: &Path, time: Duration) -> io::Result<String> {
        if !self.is_live() || self.made(path).is_some() {
            return self.read_text(path);
        }
        if self.stat(path)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        bounded::read(&self.inside(path)?, time).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether the file at `path` may be read and written: by this process, or in an image by everybody.
    #[must_use]
    #[doc(hidden)]
    pub fn may_use(&self, path: &Path) -> bool {
        if self.is_live() && self.changed(path).is_none() {
            use rustix::fs::{Access, access};
            return access(self.absolute(path), Access::READ_OK | Access::WRITE_OK).is_ok();
        }
        self.stat(path).is_ok_and(|stat| stat.mode & 0o006 == 0o006)
    }

    /// The first bytes of a regular file, at most `count`.
    #[doc(hidden)]
    pub fn read_start(&self, path: &Path, count: usize) -> io::Result<Vec<u8>> {
        if self.stat(path)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if let Some(bytes) = self.made(path) {
            return Ok(bytes.iter().take(count).copied().collect());
        }
        self.inner.disk.read_start(&self.inside(path)?, count)
    }

    /// A regular file mapped for reading, with the stat of the mapped file.
    #[doc(hidden)]
    pub fn map(&self, path: &Path) -> io::Result<(Map, Stat)> {
        if self.inner.keeps.load(Relaxed) {
            let _ = self.stat(path);
        }
        let result = match self.changed(path) {
            Some(State::File(bytes, ..)) => self.look(path).map(|stat| (Map::of(Arc::clone(bytes)), stat)),
            Some(changed) => Err(changed.stat().map_or_else(not_found, |_| io::ErrorKind::IsADirectory.into())),
            None => self.inside(path).and_then(|path| self.inner.disk.map(&path)),
        };
        self.note(path, result.as_ref().map_or(Stamp::Absent, |(_, stat)| Stamp::from(*stat)));
        result
    }

    /// The queries so far, with their results.
    #[must_use]
    #[doc(hidden)]
    pub fn stamps(&self) -> Stamps {
        self.inner.stamps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, path: &Path, stamp: Stamp) {
        self.inner.stamps.lock().unwrap_or_else(PoisonError::into_inner).insert(self.absolute(path), stamp);
    }
}
