//! A machine: a root directory, a snapshot of an environment, and the files below that root.
//!
//! Takes absolute paths as programs on that machine would write them; returns stats, listings, bytes
//! and memory maps. Records every query with its result (see [`Stamps`]), so that a
//! conclusion can be kept on disk while the same queries have the same results. Never parses
//! a file, never decides anything.

mod archive;
mod bounded;
mod disk;
pub mod escape;
mod files;
mod follow;
mod hints;
mod map;
mod maps;
mod overlay;
mod questions;
mod stamps;
mod tree;
mod trust;
mod write;

pub use archive::Archive;
pub(crate) use files::tidy;
pub use files::{Entry, FileId, Kind, Stat};
pub use hints::Hints;
pub use map::{Map, outlive_truncation};
pub use maps::{MappedFile, mapped_files};
pub use overlay::Change;
pub use stamps::{Stamp, Stamps};
pub use tree::{Content, Node, NodeId, Tree, TreeError};
pub use trust::{Reason, Untrusted, make_trusted, trusted, trusted_in_sandbox, trusted_libraries};
pub use write::{atomic_write, private_write, private_write_new, within_limit, write_target};

use disk::Disk;
use follow::Directories;
use overlay::{Overlay, State};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// More symbolic links than this in one path are a loop (`ELOOP`), as in Linux' own limit.
const LINK_LIMIT: u32 = 40;

/// A machine: where its file system is mounted and which environment its programs see.
///
/// ```
/// let host = cudashim::Host::current();
/// assert!(host.stat("/".as_ref()).is_ok());
/// ```
///
/// Cheap to clone: all clones are the same machine, and share the recorded queries.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
    /// The time before the first query.
    since: SystemTime,
    /// The deadline of the caller.
    end: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    disk: Disk,
    /// Shared by all machines of this disk, but those that look anew.
    directories: Arc<Directories>,
    env: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
    stamps: Mutex<Stamps>,
    overlay: Overlay,
    /// Whether results are to be kept, and how often a file had just changed when it was queried for that.
    keeps: AtomicBool,
    waits: AtomicU32,
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
        Self::of(Disk::Mounted(root), env, cwd)
    }

    /// A machine whose file system is in memory.
    #[must_use]
    #[doc(hidden)]
    pub fn of_tree(tree: Arc<Tree>, env: BTreeMap<OsString, OsString>, cwd: PathBuf) -> Self {
        Self::of(Disk::Tree(tree), env, cwd)
    }

    fn of(disk: Disk, env: BTreeMap<OsString, OsString>, cwd: PathBuf) -> Self {
        Self::with_overlay((disk, Arc::default()), env, cwd, Overlay::default())
    }

    fn with_overlay(
        (disk, directories): (Disk, Arc<Directories>),
        env: BTreeMap<OsString, OsString>,
        cwd: PathBuf,
        overlay: Overlay,
    ) -> Self {
        let (stamps, keeps, waits) = (Mutex::default(), AtomicBool::new(false), AtomicU32::new(0));
        let inner = Arc::new(Inner { disk, directories, env, cwd, stamps, overlay, keeps, waits });
        Self { inner, since: SystemTime::now(), end: None }
    }

    /// Its disk, with what is known of it.
    fn disk(&self) -> (Disk, Arc<Directories>) {
        (self.inner.disk.clone(), self.inner.directories.clone())
    }

    /// The same machine after changes of files, each by its path: nothing is written.
    ///
    /// ```
    /// use cudashim::internal::host::{Change, Host};
    /// let host = Host::current();
    /// let changed = host.with([("/etc/ld.so.cache".into(), Change::Gone)]);
    /// assert!(changed.stat("/etc/ld.so.cache".as_ref()).is_err());
    /// ```
    #[must_use]
    #[doc(hidden)]
    pub fn with(&self, changes: impl IntoIterator<Item = (PathBuf, Change)>) -> Self {
        let mut overlay = self.inner.overlay.clone();
        for (path, change) in changes {
            overlay.insert(self.key(&path), change);
        }
        let (env, cwd) = (self.inner.env.clone(), self.inner.cwd.clone());
        Self { end: self.end, ..Self::with_overlay(self.disk(), env, cwd, overlay) }
    }

    /// The same machine with another value of a variable, or without it.
    #[must_use]
    pub fn with_variable(&self, name: &str, value: Option<&OsStr>) -> Self {
        let mut env = self.inner.env.clone();
        match value {
            Some(value) => env.insert(name.into(), value.to_owned()),
            None => env.remove(OsStr::new(name)),
        };
        let (cwd, overlay) = (self.inner.cwd.clone(), self.inner.overlay.clone());
        Self { end: self.end, ..Self::with_overlay(self.disk(), env, cwd, overlay) }
    }

    /// The same machine without recorded queries: what changed on the disk is seen.
    #[must_use]
    #[doc(hidden)]
    pub fn anew(&self) -> Self {
        let (env, cwd, overlay) = (self.inner.env.clone(), self.inner.cwd.clone(), self.inner.overlay.clone());
        let disk = (self.inner.disk.clone(), Arc::default());
        Self { end: self.end, ..Self::with_overlay(disk, env, cwd, overlay) }
    }

    /// The overlay's key of a path: without symbolic links in its directories.
    fn key(&self, path: &Path) -> PathBuf {
        let path = self.absolute(path);
        let whole = || self.resolve(&path).unwrap_or_else(|_| path.clone());
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => self.resolve(parent).map_or_else(|_| whole(), |parent| parent.join(name)),
            _ => whole(),
        }
    }

    /// The overlay's key of a directory: its own name is not a symbolic link either.
    fn key_of_directory(&self, dir: &Path) -> PathBuf {
        let dir = self.absolute(dir);
        self.resolve(&dir).unwrap_or(dir)
    }

    /// The bytes of a changed file.
    fn made(&self, path: &Path) -> Option<&Arc<[u8]>> {
        match self.changed(path)? {
            State::File(bytes, ..) => Some(bytes),
            _ => None,
        }
    }

    /// The state of a changed path; `None`: the disk's state holds.
    fn changed(&self, path: &Path) -> Option<State<'_>> {
        if self.inner.overlay.is_empty() {
            return None;
        }
        self.inner.overlay.state(&self.key(path), || self.inside(path).is_ok_and(|path| self.inner.disk.exists(&path)))
    }

    /// The same machine with a deadline.
    #[must_use]
    #[doc(hidden)]
    pub fn within(self, time: Duration) -> Self {
        Self { end: Instant::now().checked_add(time), ..self }
    }

    /// How long to wait for another program: `limit`, or less before the deadline.
    #[must_use]
    #[doc(hidden)]
    pub fn time_for(&self, limit: Duration) -> Duration {
        self.end.map_or(limit, |end| end.saturating_duration_since(Instant::now()).min(limit))
    }

    /// The directory where this machine's `/` is mounted; of a file system in memory, the file that it is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.inner.disk.root()
    }

    /// Its file system, where that is in memory.
    #[must_use]
    #[doc(hidden)]
    pub fn tree(&self) -> Option<&Tree> {
        match &self.inner.disk {
            Disk::Tree(tree) => Some(tree),
            Disk::Mounted(_) => None,
        }
    }

    /// Whether this is the running machine, not an image.
    #[must_use]
    #[doc(hidden)]
    pub fn is_live(&self) -> bool {
        matches!(&self.inner.disk, Disk::Mounted(root) if root == Path::new("/"))
    }

    /// The directory relative paths start from.
    #[must_use]
    pub fn cwd(&self) -> &Path {
        &self.inner.cwd
    }

    /// An environment variable; an empty one counts as unset.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&OsStr> {
        self.inner.env.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The whole environment.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<OsString, OsString> {
        &self.inner.env
    }

    /// Its name: the kernel's for the running machine, that of `/etc/hostname` for another root; `None` where there is none.
    #[must_use]
    #[doc(hidden)]
    pub fn name(&self) -> Option<String> {
        let read = |path: &str| self.read_text(Path::new(path)).ok().map(|text| text.trim().to_owned());
        let kernel = self.is_live().then(|| read("/proc/sys/kernel/hostname")).flatten();
        kernel.or_else(|| read("/etc/hostname")).filter(|name| !name.is_empty())
    }

    /// Whether a program runs with another user's rights (`AT_SECURE`): set-user-ID or set-group-ID of another owner.
    /// File capabilities are ignored.
    #[must_use]
    #[doc(hidden)]
    pub fn changes_rights(&self, program: &Stat) -> bool {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        program.mode & 0o4000 != 0 && program.uid != uid || program.mode & 0o2010 == 0o2010 && program.gid != gid
    }

    /// `path` made absolute against the working directory; nothing else is changed.
    #[must_use]
    #[doc(hidden)]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        if path.is_absolute() { path.to_owned() } else { self.inner.cwd.join(path) }
    }

    /// `path` with its symbolic links followed inside the root; on the running machine, the kernel follows them.
    fn inside(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        if self.is_live() { Ok(path) } else { self.resolve(&path) }
    }

    /// Follows the symbolic links of `path` inside the root; missing parts are kept.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.directories.resolve(&self.inner.disk, path)
    }
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error())
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
    use super::questions::WAIT_LIMIT;
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

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
        // Nor where it replaced a file meanwhile.
        let pipe = host.root().join("pipe");
        assert!(files::read(&pipe, 9).is_err() && files::read_start(&pipe, 9).is_err());
    }

    #[test]
    fn a_file_that_is_longer_than_its_size_is_not_read_on() {
        let (_dir, host) = image(|root| std::fs::write(root.join("a"), "12345").unwrap());
        let path = host.root().join("a");
        assert_eq!(files::read(&path, 5).unwrap(), b"12345");
        assert!(files::read(&path, 4).is_err());
        // Regular by its mode, of size 0.
        assert!(!Host::current().read(Path::new("/proc/self/status")).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_changes_all_the_time_is_not_kept() {
        let (dir, host) = image(|root| std::fs::write(root.join("a"), "1").unwrap());
        host.stat(Path::new("/a")).unwrap();
        host.inner.keeps.store(true, Relaxed);
        for _ in 0..=WAIT_LIMIT {
            assert!(host.is_settled());
            // The time of a file that changed during the query.
            let change = std::fs::metadata(dir.path().join("a")).map(|meta| Stat::from(&meta)).unwrap();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
            let ctime = i64::try_from(now).unwrap() | 1;
            host.settled(Path::new("/a"), Stat { ctime, ..change }).unwrap();
        }
        assert!(!host.is_settled());
    }

    #[test]
    fn results_are_recorded_and_go_stale() {
        let (dir, host) = image(|root| std::fs::write(root.join("a"), "1").unwrap());
        host.read(Path::new("/a")).unwrap();
        assert!(host.stat(Path::new("/b")).is_err());
        let stamps = host.stamps();
        let again = |stamps: &Stamps| stamps.hold(&Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into()));
        assert!(again(&stamps));
        std::fs::write(dir.path().join("b"), "new").unwrap();
        assert!(!again(&stamps));
    }

    #[test]
    fn a_changed_machine_reads_as_after_the_change() {
        let (dir, host) = image(|root| {
            std::fs::create_dir_all(root.join("site/nvidia/lib")).unwrap();
            std::os::unix::fs::symlink("site", root.join("link")).unwrap();
            std::fs::write(root.join("site/nvidia/lib/liba.so"), "old").unwrap();
            std::fs::write(root.join("site/nvidia/lib/libb.so"), "b").unwrap();
        });
        let file = |text: &str| Change::File { bytes: text.as_bytes().into() };
        let live = Host::new("/".into(), BTreeMap::new(), dir.path().to_owned());
        for (host, prefix) in [(&host, PathBuf::from("/")), (&live, dir.path().to_owned())] {
            let at = |path: &str| prefix.join(path);
            let changed = host.with([
                (at("link/nvidia/lib/liba.so"), file("new")),
                (at("site/nvidia/lib/libb.so"), Change::Gone),
                (at("site/new.dist-info/RECORD"), file("record")),
            ]);
            assert_eq!(changed.read_text(&at("site/../link/nvidia/lib/liba.so")).unwrap(), "new");
            assert_eq!(&*changed.map(&at("link/nvidia/lib/liba.so")).unwrap().0, b"new");
            assert_eq!(changed.read_start(&at("site/nvidia/lib/liba.so"), 2).unwrap(), b"ne");
            assert!(changed.stat(&at("link/nvidia/lib/libb.so")).is_err());
            let names = |dir: &str| -> Vec<OsString> {
                changed.list(&at(dir)).unwrap().into_iter().map(|entry| entry.name).collect()
            };
            assert_eq!(names("link/nvidia/lib"), ["liba.so"]);
            assert_eq!(names("site"), ["new.dist-info", "nvidia"]);
            assert_eq!(names("site/new.dist-info"), ["RECORD"]);
            assert!(changed.is_dir(&at("site/new.dist-info")));
            // A directory that is removed, and one that replaces it.
            let gone = changed.with([(at("site/nvidia"), Change::Gone)]);
            assert!(!gone.is_dir(&at("link/nvidia/lib/..")) && gone.read(&at("site/nvidia/lib/liba.so")).is_err());
            let again = gone.with([(at("site/nvidia/lib/libc.so"), file("c"))]);
            assert_eq!(again.read_text(&at("link/nvidia/lib/libc.so")).unwrap(), "c");
            let entries = again.list(&at("link/nvidia/lib")).unwrap();
            assert!(matches!(&*entries, [entry] if entry.name == "libc.so"), "{entries:?}");
            assert_eq!(host.read_text(&at("site/nvidia/lib/liba.so")).unwrap(), "old");
        }
    }
}
