//! Whole trees, or the whole disk: their directories that hold a file with the name of an NVIDIA library.
//!
//! Takes roots; gives places, sorted. Reads directory entries only: opens no file, follows no symbolic link to a
//! directory. Counts and skips what it cannot read. Bypasses the record of `Host`: a disk has more directories than a
//! cached answer can depend on.

mod mounts;
mod worker_pool;

use super::{Place, Provenance, distinct};
use crate::host::{Host, Kind, Tree};
use crate::tables::parse_library_name;
use mounts::{MountKind, MountTable};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use worker_pool::{Job, WorkerPool};

/// More threads than this only wait for the disk or each other.
const THREADS: usize = 16;

/// Which mounts below a root the walk enters. It always enters a root itself: the user named it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mounts {
    /// None: the walk stays on the file system of its root.
    #[default]
    OneFileSystem,
    /// Those on this machine.
    Local,
    /// Network mounts too, but never `/proc`, `/sys`, `/dev`.
    Network,
}

/// A walk over trees.
///
/// ```
/// use cudashim::{Host, internal::inventory::places::Walk};
/// use std::sync::atomic::AtomicBool;
///
/// let found = Walk::new(["/usr/lib".into()]).run(&Host::current(), &|_| (), &AtomicBool::new(false));
/// for place in &found.places {
///     println!("{}", place.dir.display());
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Walk {
    roots: Vec<PathBuf>,
    mounts: Mounts,
    threads: usize,
}

/// The result of a walk.
#[derive(Debug)]
#[must_use]
pub struct Walked {
    /// The directories that hold an NVIDIA library, by path, each once.
    pub places: Vec<Place>,
    /// Directories that were read.
    pub directories: u64,
    /// Directories that could not be read.
    pub unreadable: u64,
    /// Roots that could not be entered.
    pub failed: Vec<(PathBuf, io::Error)>,
    /// Whether `stop` ended it early.
    pub stopped: bool,
}

impl Walk {
    /// A walk over the trees below `roots`, on one file system each.
    #[must_use]
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
        Self { roots: roots.into_iter().collect(), mounts: Mounts::default(), threads }
    }

    /// Which mounts are entered.
    #[must_use]
    pub fn mounts(mut self, mounts: Mounts) -> Self {
        self.mounts = mounts;
        self
    }

    /// The number of threads; by default one per processor.
    #[must_use]
    pub fn threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = threads.get();
        self
    }

    /// Walks. Any thread calls `seen` with the number of directories read so far; once `stop` is set, the walk returns
    /// what it has.
    pub fn run(&self, host: &Host, seen: &(dyn Fn(u64) + Sync), stop: &AtomicBool) -> Walked {
        if let Some(tree) = host.tree() {
            return self.run_in_memory(tree, host);
        }
        // Mounts are this machine's, wherever the root of an image lies in it.
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        self.run_among(&MountTable::parse(&table), host, seen, stop)
    }

    /// Walks over a file system in memory.
    fn run_in_memory(&self, tree: &Tree, host: &Host) -> Walked {
        let roots: Vec<PathBuf> = self.roots.iter().filter_map(|root| host.canonical(root).ok()).collect();
        let (mut places, mut directories) = (Vec::new(), 0);
        tree.directories(|dir, mut names| {
            if roots.iter().any(|root| dir.starts_with(root)) {
                directories += 1;
                if names.any(|name| parse_library_name(name).is_some()) {
                    places.push(walked(host, dir.to_owned()));
                }
            }
        });
        Walked { places: distinct(host, places), directories, unreadable: 0, failed: Vec::new(), stopped: false }
    }

    fn run_among(&self, table: &MountTable, host: &Host, seen: &(dyn Fn(u64) + Sync), stop: &AtomicBool) -> Walked {
        let base = std::fs::canonicalize(host.root()).unwrap_or_else(|_| host.root().to_owned());
        let mut failed = Vec::new();
        let mut queue = Vec::new();
        for root in &self.roots {
            match self.enter(host, &base, root) {
                Ok(job) => queue.push(job),
                Err(error) => failed.push((root.clone(), error)),
            }
        }
        let pool = WorkerPool::new(closed(table, self.mounts, &base), queue, self.threads, seen, stop);
        let outputs = pool.run();
        let unreadable = outputs.iter().map(|output| output.unreadable).sum();
        let mut dirs: Vec<PathBuf> = outputs.into_iter().flat_map(|output| output.dirs).collect();
        dirs.sort_unstable();
        let places = dirs.into_iter().map(|dir| walked(host, inside(&base, dir))).collect();
        Walked {
            // Roots may overlap, and one directory may be mounted twice.
            places: distinct(host, places),
            directories: pool.directories(),
            unreadable,
            failed,
            stopped: stop.load(Ordering::Relaxed),
        }
    }

    /// A root with its links resolved inside the machine, and the only file system to read.
    fn enter(&self, host: &Host, base: &Path, root: &Path) -> io::Result<Job> {
        let canonical = host.canonical(root)?;
        let dir = base.join(canonical.strip_prefix("/").unwrap_or(&canonical));
        let stat = host.stat(&canonical)?;
        if stat.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Job { dir, device: (self.mounts == Mounts::OneFileSystem).then_some(stat.id.dev) })
    }
}

/// The directories that are never entered from above.
fn closed(table: &MountTable, mounts: Mounts, base: &Path) -> HashSet<PathBuf> {
    let barred = |kind| kind == MountKind::Kernel || mounts != Mounts::Network;
    let mut closed: HashSet<PathBuf> =
        table.foreign().filter(|(_, kind)| barred(*kind)).map(|(path, _)| path.to_owned()).collect();
    closed.extend(["proc", "sys", "dev"].map(|dir| base.join(dir)));
    closed
}

/// A path of this host as a path inside the machine's root.
fn inside(base: &Path, dir: PathBuf) -> PathBuf {
    if base == Path::new("/") {
        return dir;
    }
    dir.strip_prefix(base).map(|relative| Path::new("/").join(relative)).unwrap_or(dir)
}

/// A directory as a place. Its installation shows in its path (a site directory, a toolkit with its release) or in the
/// directories above it (the target of `pip install --target`).
#[must_use]
pub fn walked(host: &Host, dir: PathBuf) -> Place {
    let is_root = |path: &&Path| {
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let release = name.strip_prefix(b"cuda-").and_then(|release| release.first());
        matches!(name, b"site-packages" | b"dist-packages") || release.is_some_and(u8::is_ascii_digit)
    };
    // NVIDIA wheels install into `nvidia`, their records beside it.
    let target = || {
        let nvidia = dir.ancestors().skip(1).find(|dir| dir.file_name() == Some(OsStr::new("nvidia")))?;
        let above = nvidia.parent()?;
        let records = |entry: &crate::host::Entry| entry.name.as_bytes().ends_with(b".dist-info");
        host.list(above).ok()?.iter().any(records).then_some(above)
    };
    let root = dir.ancestors().find(is_root).or_else(target).unwrap_or(&dir).to_owned();
    Place { dir, provenance: Provenance::Walked, root }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn walk(machine: &Machine, root: &str) -> Walked {
        Walk::new([root.into()]).run(&machine.host(), &|_| (), &AtomicBool::new(false))
    }

    #[test]
    fn names_by_the_exact_grammar() {
        let machine = Machine::with(&["t/libcudart.so.12", "t/empty"])
            .file("t/a/libcudart.so.12", "")
            .file("t/b/libcudart-e409450e.so.11.0", "")
            .file("t/c/libcudart_stub.so", "")
            .file("t/c/libcudart.so.12.bak", "")
            .file("t/d/nvshmem_bootstrap_uid.so.3", "")
            .file("t/e/libcurl.so.4", "");
        let machine = machine.file("t/f/x", "").link("t/f/libcuda.so.1", "missing");
        let found = walk(&machine, "/t");
        assert_eq!(dirs(&found.places), ["/t/a", "/t/b", "/t/d", "/t/f"]);
        // t, the directory that is called like a library, empty, and a to f.
        assert_eq!((found.directories, found.unreadable, found.stopped), (9, 0, false));
        assert!(found.places.iter().all(|place| place.provenance == Provenance::Walked));
    }

    #[test]
    fn links_are_not_followed_and_loops_end() {
        let machine = Machine::with(&["t/a"]).file("t/a/libnccl.so.2", "").file("elsewhere/libnccl.so.2", "");
        let machine = machine.link("t/a/up", "..").link("t/loop", "loop").link("t/out", "/elsewhere").link("r", "t");
        assert_eq!(dirs(&walk(&machine, "/t").places), ["/t/a"]);
        // A root that is a link stands for its target: the user named it.
        assert_eq!(dirs(&walk(&machine, "/r").places), ["/t/a"]);
    }

    #[test]
    fn hostile_names_and_pipes() {
        let machine = Machine::with(&["t"]);
        let odd = machine.path("t").join(OsStr::from_bytes(b"\xff\n\x1b[2J"));
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("libcublas.so.12"), "").unwrap();
        std::fs::write(odd.join(OsStr::from_bytes(b"libcudart\xff.so.12")), "").unwrap();
        let pipe = machine.path("t/libcuda.so.1");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let found = walk(&machine, "/t");
        assert_eq!(found.places.len(), 1);
        assert_eq!(found.places[0].dir, Path::new("/t").join(OsStr::from_bytes(b"\xff\n\x1b[2J")));
    }

    #[test]
    fn ten_thousand_files() {
        let machine = Machine::with(&["t/many/last"]);
        for number in 0..10_000 {
            std::fs::write(machine.path(&format!("t/many/a-file-with-a-rather-long-name-{number}.so")), "").unwrap();
        }
        let machine = machine.file("t/many/libcufft.so.11", "").file("t/many/last/libcufft.so.11", "");
        assert_eq!(dirs(&walk(&machine, "/t").places), ["/t/many", "/t/many/last"]);
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
        let machine = Machine::with(&["t/locked", "t/deep"]).file("t/libcuda.so.1", "");
        let locked = machine.path("t/locked");
        std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        // Permissions do not stop a superuser.
        let denied = u64::from(std::fs::read_dir(&locked).is_err());
        // Deeper than a path can name (PATH_MAX).
        let name = "d".repeat(200);
        let mut dir = openat(CWD, machine.path("t/deep"), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..25 {
            mkdirat(&dir, &name, Mode::RWXU).unwrap();
            dir = openat(&dir, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let found = walk(&machine, "/t");
        std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(dirs(&found.places), ["/t"]);
        assert_eq!(found.unreadable, 1 + denied);
    }

    #[test]
    fn roots_that_overlap_or_fail() {
        let machine = Machine::with(&[]).file("t/a/libcuda.so.1", "").file("file", "");
        let roots = ["/t", "/t/a", "/gone", "/file"].map(PathBuf::from);
        let found = Walk::new(roots).run(&machine.host(), &|_| (), &AtomicBool::new(false));
        assert_eq!(dirs(&found.places), ["/t/a"]);
        let failed: Vec<_> = found.failed.iter().map(|(root, error)| (root.to_str().unwrap(), error.kind())).collect();
        assert_eq!(failed, [("/gone", io::ErrorKind::NotFound), ("/file", io::ErrorKind::NotADirectory)]);
    }

    #[test]
    fn a_stopped_walk_keeps_what_it_has() {
        let machine = Machine::with(&["t/a/b/c/d/e"]).file("t/libcuda.so.1", "").file("t/a/b/c/d/e/libcuda.so.1", "");
        let stop = AtomicBool::new(false);
        let stop_at = |count: u64| stop.store(count == 3, Ordering::Relaxed);
        let walk = Walk::new(["/t".into()]).threads(NonZero::<usize>::MIN);
        let found = walk.run(&machine.host(), &stop_at, &stop);
        assert_eq!((dirs(&found.places), found.directories, found.stopped), (vec!["/t".to_owned()], 3, true));
    }

    #[test]
    fn mounts_are_entered_as_told() {
        let machine = Machine::with(&[]);
        let machine = ["t", "t/net", "t/kernel", "proc/1/cwd", "dev", "sys"]
            .into_iter()
            .fold(machine, |machine, dir| machine.file(&format!("{dir}/libcuda.so.1"), ""));
        let base = std::fs::canonicalize(machine.path("")).unwrap();
        let base = base.display();
        let table =
            format!("1 1 0:1 / {base}/t/net rw - nfs4 far:/ rw\n2 1 0:2 / {base}/t/kernel rw - tracefs none rw\n");
        let table = MountTable::parse(table.as_bytes());
        let found = |root: &str, mounts| {
            let walk = Walk::new([root.into()]).mounts(mounts);
            dirs(&walk.run_among(&table, &machine.host(), &|_| (), &AtomicBool::new(false)).places)
        };
        assert_eq!(found("/", Mounts::OneFileSystem), ["/t"]);
        assert_eq!(found("/", Mounts::Local), ["/t"]);
        assert_eq!(found("/", Mounts::Network), ["/t", "/t/net"]);
        // A named root is entered.
        assert_eq!(found("/t/net", Mounts::OneFileSystem), ["/t/net"]);
        assert_eq!(found("/proc", Mounts::OneFileSystem), ["/proc/1/cwd"]);
    }

    #[test]
    fn threads_change_nothing_but_the_time() {
        let mut machine = Machine::with(&[]);
        for number in 0..300 {
            let dir = format!("t/{}/{}/{number}", number % 7, number % 5);
            machine = machine.file(&format!("{dir}/libcuda.so.1"), "").file(&format!("{dir}/x/y/z"), "");
        }
        let run = |threads: usize| {
            let count = AtomicU64::new(0);
            let seen = |_| _ = count.fetch_add(1, Ordering::Relaxed);
            let walk = Walk::new(["/t".into()]).threads(NonZero::new(threads).unwrap());
            let found = walk.run(&machine.host(), &seen, &AtomicBool::new(false));
            assert_eq!(count.into_inner(), found.directories);
            (found.places, found.directories)
        };
        let alone = run(1);
        assert_eq!(alone.0.len(), 300);
        assert_eq!(run(2), alone);
        assert_eq!(run(9), alone);
    }

    #[test]
    fn the_installation_shows_in_the_path() {
        let machine = Machine::with(&[])
            .file("v/lib/python3.12/site-packages/nvidia/nccl/lib/libnccl.so.2", "")
            .file("x/cuda-12.4/targets/x86_64-linux/lib/libcudart.so.12", "")
            .file("x/cuda-old/libcudart.so.12", "")
            .file("target/nvidia/nccl/lib/libnccl.so.2", "")
            .file("target/nvidia_nccl_cu12-2.27.3.dist-info/RECORD", "")
            .file("opt/nvidia/x/lib/libnccl.so.2", "");
        let roots: Vec<_> = walk(&machine, "/").places.into_iter().map(|place| place.root).collect();
        let expected =
            ["/opt/nvidia/x/lib", "/target", "/v/lib/python3.12/site-packages", "/x/cuda-12.4", "/x/cuda-old"];
        assert_eq!(roots, expected.map(PathBuf::from));
    }
}
