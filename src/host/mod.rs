//! The machine as we see it: a root directory, an environment snapshot, and the files below that root.
//!
//! Takes absolute paths as programs on that machine would write them; gives stats, listings, bytes
//! and memory maps. Every question asked is remembered with its answer (see [`Stamps`]), so that a
//! result can be kept on disk for as long as the same questions have the same answers. Never parses
//! what it reads, never decides anything.

mod bounded;
mod files;
mod map;
mod maps;
mod stamps;
mod write;

pub use files::{Entry, FileId, Kind, Stat};
pub use map::{Map, outlive_truncation};
pub use maps::{MappedFile, mapped_files};
pub use stamps::{Stamp, Stamps};
pub use write::{atomic_write, atomic_write_new, write_target};

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// More symbolic links than this in one path are a loop (`ELOOP`), as in Linux' own limit.
const LINK_LIMIT: u32 = 40;

/// Files read whole (metadata, configuration) are not expected to be larger than this.
const READ_LIMIT: u64 = 16 << 20;

/// A machine: where its file system is mounted and which environment its programs see.
///
/// ```
/// let host = cudashim::host::Host::current();
/// assert!(host.stat("/".as_ref()).is_ok());
/// ```
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    env: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
    stamps: Mutex<Stamps>,
    /// When the first question could be asked.
    since: SystemTime,
}

impl Host {
    /// This machine and this process' environment.
    #[must_use]
    pub fn current() -> Self {
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self::new(PathBuf::from("/"), std::env::vars_os().collect(), cwd)
    }

    /// A machine whose file system is mounted at `root`.
    #[must_use]
    pub fn new(root: PathBuf, env: BTreeMap<OsString, OsString>, cwd: PathBuf) -> Self {
        Self { root, env, cwd, stamps: Mutex::default(), since: SystemTime::now() }
    }

    /// The directory this machine's `/` is mounted at.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the machine we run on, rather than an image of one.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The directory relative paths start from.
    #[must_use]
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// An environment variable; an empty one counts as unset.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&OsStr> {
        self.env.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The whole environment.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<OsString, OsString> {
        &self.env
    }

    /// Whether a program gives another user's rights to who starts it: set-user-ID or set-group-ID, of an owner that is
    /// not ours (`AT_SECURE`). File capabilities are not looked at.
    #[must_use]
    pub fn gives_rights(&self, program: &Stat) -> bool {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        program.mode & 0o4000 != 0 && program.uid != uid || program.mode & 0o2010 == 0o2010 && program.gid != gid
    }

    /// `path` made absolute against the working directory; nothing else is changed.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        if path.is_absolute() { path.to_owned() } else { self.cwd.join(path) }
    }

    /// Where `path` is to be opened: below the root, its symbolic links followed inside the root.
    fn outside(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        if self.is_live() {
            return Ok(path);
        }
        let inside = self.resolve(&path)?;
        Ok(self.join_root(&inside))
    }

    fn join_root(&self, inside: &Path) -> PathBuf {
        match inside.strip_prefix("/") {
            Ok(relative) => self.root.join(relative),
            Err(_) => self.root.join(inside),
        }
    }

    /// Follows the symbolic links of `path` inside the root; parts that do not exist are kept.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut done = PathBuf::from("/");
        let mut todo: Vec<OsString> = reversed_parts(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            match std::fs::read_link(self.join_root(&next)) {
                Ok(target) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()));
                    }
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    todo.extend(reversed_parts(&target));
                }
                Err(_) => done = next,
            }
        }
        Ok(done)
    }

    /// `path` without symbolic links, as this machine would name it.
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        let result = if self.is_live() {
            std::fs::canonicalize(&path)
        } else {
            self.resolve(&path).and_then(|p| self.stat(&p).map(|_| p))
        };
        if result.is_err() {
            self.note(&path, Stamp::Absent);
        }
        result
    }

    /// Where the symbolic link `path` points, as written; an error where it is none.
    pub fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        let parent = self.outside(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::read_link(parent.join(path.file_name().unwrap_or_default()))
    }

    /// What stands at `path`, symbolic links followed.
    pub fn stat(&self, path: &Path) -> io::Result<Stat> {
        let result = self.look(path);
        self.note(path, result.as_ref().map_or(Stamp::Absent, |stat| Stamp::from(*stat)));
        result
    }

    /// What stands at `path`, without a stamp of it.
    fn look(&self, path: &Path) -> io::Result<Stat> {
        self.outside(path).and_then(|path| Stat::of(&path))
    }

    /// Whether a directory stands at `path`.
    #[must_use]
    pub fn is_dir(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|stat| stat.kind == Kind::Directory)
    }

    /// Whether a regular file stands at `path`.
    #[must_use]
    pub fn is_file(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|stat| stat.kind == Kind::File)
    }

    /// The entries of a directory, sorted by name.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.stat(dir)?;
        let mut entries = files::list(&self.outside(dir)?)?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The bytes of a small regular file.
    ///
    /// # Errors
    /// Anything but a regular file (a FIFO would block) and anything over 16 mebibytes is refused.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let stat = self.stat(path)?;
        if stat.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if stat.size > READ_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        files::read(&self.outside(path)?, READ_LIMIT)
    }

    /// The text of a small regular file; bytes that are not UTF-8 become U+FFFD.
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file that the kernel makes while it is read: of a module that hangs, such a read never ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where it took longer. In an image all files are at rest, and none does.
    pub fn read_text_within(&self, path: &Path, time: Duration) -> io::Result<String> {
        if !self.is_live() {
            return self.read_text(path);
        }
        if self.stat(path)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        bounded::read(&self.outside(path)?, time).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether what stands at `path` may be read and written: by this process, or in an image by everybody.
    #[must_use]
    pub fn may_use(&self, path: &Path) -> bool {
        if self.is_live() {
            use rustix::fs::{Access, access};
            return access(self.absolute(path), Access::READ_OK | Access::WRITE_OK).is_ok();
        }
        self.stat(path).is_ok_and(|stat| stat.mode & 0o006 == 0o006)
    }

    /// The first bytes of a regular file, at most `count`.
    pub fn read_start(&self, path: &Path, count: usize) -> io::Result<Vec<u8>> {
        if self.stat(path)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        files::read_start(&self.outside(path)?, count)
    }

    /// A regular file mapped for reading, with the stat of the very file that was mapped.
    pub fn map(&self, path: &Path) -> io::Result<(Map, Stat)> {
        let result = self.outside(path).and_then(|p| map::open(&p));
        self.note(path, result.as_ref().map_or(Stamp::Absent, |(_, stat)| Stamp::from(*stat)));
        result
    }

    /// What was asked so far, with the answers.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, path: &Path, stamp: Stamp) {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner).insert(self.absolute(path), stamp);
    }
}

fn reversed_parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(build: impl FnOnce(&Path)) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let host = Host::new(dir.path().to_owned(), BTreeMap::new(), PathBuf::from("/"));
        (dir, host)
    }

    #[test]
    fn absolute_links_stay_inside_the_root() {
        let (_dir, host) = image(|root| {
            std::fs::create_dir_all(root.join("usr/local/cuda-12.4")).unwrap();
            std::fs::write(root.join("usr/local/cuda-12.4/version.json"), "inside").unwrap();
            std::os::unix::fs::symlink("/usr/local/cuda-12.4", root.join("usr/local/cuda")).unwrap();
        });
        assert_eq!(host.read_text(Path::new("/usr/local/cuda/version.json")).unwrap(), "inside");
        assert_eq!(host.canonical(Path::new("/usr/local/cuda")).unwrap(), Path::new("/usr/local/cuda-12.4"));
    }

    #[test]
    fn parents_of_the_root_are_the_root() {
        let (_dir, host) = image(|root| std::fs::write(root.join("here"), "x").unwrap());
        assert_eq!(host.read(Path::new("/../../../here")).unwrap(), b"x");
    }

    #[test]
    fn link_loops_end() {
        let (_dir, host) = image(|root| {
            std::os::unix::fs::symlink("/b", root.join("a")).unwrap();
            std::os::unix::fs::symlink("/a", root.join("b")).unwrap();
        });
        assert!(host.stat(Path::new("/a")).is_err());
    }

    #[test]
    fn a_fifo_is_not_read() {
        let (_dir, host) = image(|root| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.join("pipe"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        });
        assert!(host.read(Path::new("/pipe")).is_err());
        assert!(host.map(Path::new("/pipe")).is_err());
        // Not even where it has taken the place of a file meanwhile.
        let pipe = host.root().join("pipe");
        assert!(files::read(&pipe, 9).is_err() && files::read_start(&pipe, 9).is_err());
    }

    #[test]
    fn a_file_that_is_longer_than_its_size_is_not_read_on() {
        let (_dir, host) = image(|root| std::fs::write(root.join("a"), "12345").unwrap());
        let path = host.root().join("a");
        assert_eq!(files::read(&path, 5).unwrap(), b"12345");
        assert!(files::read(&path, 4).is_err());
        // Regular by its mode, of no size.
        assert!(!Host::current().read(Path::new("/proc/self/status")).unwrap().is_empty());
    }

    #[test]
    fn answers_are_remembered_and_go_stale() {
        let (dir, host) = image(|root| std::fs::write(root.join("a"), "1").unwrap());
        host.read(Path::new("/a")).unwrap();
        assert!(host.stat(Path::new("/b")).is_err());
        let stamps = host.stamps();
        let again = |stamps: &Stamps| stamps.hold(&Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into()));
        assert!(again(&stamps));
        std::fs::write(dir.path().join("b"), "new").unwrap();
        assert!(!again(&stamps));
    }
}
