//! The worker threads of a walk: each reads directories, and shares its remaining jobs with idle workers.
//!
//! Takes directories; gives those at and below them that hold an NVIDIA library. Each worker pops its own stack of
//! directories; while others are idle, it moves the older half of the stack to the shared queue.

use crate::tables::parse_library_name;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of entries read at once: a directory of some hundred names takes one call.
const BUFFER: usize = 64 << 10;

/// A directory to read.
pub(super) struct Job {
    /// The directory.
    pub(super) dir: PathBuf,
    /// The only file system to read, if restricted.
    pub(super) device: Option<u64>,
}

/// The result of one worker.
#[derive(Default)]
pub(super) struct Output {
    /// Directories that hold an NVIDIA library.
    pub(super) dirs: Vec<PathBuf>,
    /// Directories that could not be read.
    pub(super) unreadable: u64,
}

/// The workers and their shared state.
pub(super) struct WorkerPool<'w> {
    closed: HashSet<PathBuf>,
    threads: usize,
    shared: Mutex<Shared>,
    wake: Condvar,
    /// The number of idle workers: a busy one shares its jobs while there are any.
    idle: AtomicUsize,
    directories: AtomicU64,
    seen: &'w (dyn Fn(u64) + Sync),
    stop: &'w AtomicBool,
}

struct Shared {
    queue: Vec<Job>,
    waiting: usize,
    over: bool,
}

impl<'w> WorkerPool<'w> {
    /// Workers for the directories of `queue` and all below them, except those in `closed`.
    pub(super) fn new(
        closed: HashSet<PathBuf>,
        queue: Vec<Job>,
        threads: usize,
        seen: &'w (dyn Fn(u64) + Sync),
        stop: &'w AtomicBool,
    ) -> Self {
        Self {
            closed,
            threads: threads.max(1),
            shared: Mutex::new(Shared { queue, waiting: 0, over: false }),
            wake: Condvar::new(),
            idle: AtomicUsize::new(0),
            directories: AtomicU64::new(0),
            seen,
            stop,
        }
    }

    /// Reads all directories; one output per worker.
    pub(super) fn run(&self) -> Vec<Output> {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads).map(|_| scope.spawn(|| self.work())).collect();
            let mut found = vec![self.work()];
            for other in others {
                found.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            found
        })
    }

    /// The number of directories read.
    pub(super) fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    fn work(&self) -> Output {
        let _guard = PanicGuard(self);
        let mut output = Output::default();
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut jobs = Vec::new();
        while let Some(job) = jobs.pop().or_else(|| self.next()) {
            if self.stop.load(Ordering::Relaxed) {
                self.end();
                break;
            }
            match self.read(&job, &mut buffer, &mut jobs) {
                Ok(true) => output.dirs.push(job.dir),
                Ok(false) => {}
                Err(_) => output.unreadable += 1,
            }
            if jobs.len() > 1 && self.idle.load(Ordering::Relaxed) > 0 {
                self.share(&mut jobs);
            }
        }
        output
    }

    /// Reads one directory, adds its subdirectories as jobs, and reports whether it holds an NVIDIA library.
    fn read(&self, job: &Job, buffer: &mut [MaybeUninit<u8>], jobs: &mut Vec<Job>) -> Result<bool, Errno> {
        // O_NOFOLLOW: a directory may have been replaced by a link since it was listed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(CWD, &job.dir, flags, Mode::empty())?;
        if let Some(expected) = job.device
            && device(&fstat(&fd)?) != expected
        {
            return Ok(false);
        }
        let mut holds = false;
        let mut entries = RawDir::new(fd.as_fd(), buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            match kind(fd.as_fd(), name, entry.file_type()) {
                FileType::Directory if !matches!(name.to_bytes(), b"." | b"..") => {
                    let dir = job.dir.join(OsStr::from_bytes(name.to_bytes()));
                    if !self.closed.contains(&dir) {
                        jobs.push(Job { dir, device: job.device });
                    }
                }
                FileType::RegularFile | FileType::Symlink => holds = holds || is_ours(name.to_bytes()),
                _ => {}
            }
        }
        (self.seen)(self.directories.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(holds)
    }

    /// A job from the shared queue; `None` once all workers are idle.
    fn next(&self) -> Option<Job> {
        let mut shared = self.shared();
        shared.waiting += 1;
        self.idle.fetch_add(1, Ordering::Relaxed);
        let job = loop {
            if shared.over {
                break None;
            }
            if let Some(job) = shared.queue.pop() {
                break Some(job);
            }
            if shared.waiting == self.threads {
                shared.over = true;
                self.wake.notify_all();
                break None;
            }
            shared = self.wake.wait(shared).unwrap_or_else(PoisonError::into_inner);
        };
        shared.waiting -= 1;
        self.idle.fetch_sub(1, Ordering::Relaxed);
        job
    }

    /// Shares the older half of the jobs: those nearer to the root, with more below them.
    fn share(&self, jobs: &mut Vec<Job>) {
        let half = jobs.len() / 2;
        self.shared().queue.extend(jobs.drain(..half));
        self.wake.notify_all();
    }

    fn end(&self) {
        self.shared().over = true;
        self.wake.notify_all();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the walk when a worker panics (in `seen`), so that no other waits for it.
struct PanicGuard<'c, 'w>(&'c WorkerPool<'w>);

impl Drop for PanicGuard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// The kind of an entry; where the directory does not record it, from `statat`.
fn kind(dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> FileType {
    if kind != FileType::Unknown {
        return kind;
    }
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// The last byte rules out most names before the exact parse.
fn is_ours(name: &[u8]) -> bool {
    name.last().is_some_and(|last| *last == b'o' || last.is_ascii_digit())
        && parse_library_name(OsStr::from_bytes(name)).is_some()
}

#[expect(clippy::useless_conversion, reason = "st_dev is narrower on some architectures")]
fn device(stat: &Stat) -> u64 {
    u64::from(stat.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool<'w>(queue: Vec<Job>, stop: &'w AtomicBool, seen: &'w (dyn Fn(u64) + Sync)) -> WorkerPool<'w> {
        WorkerPool::new(HashSet::new(), queue, 4, seen, stop)
    }

    #[test]
    fn another_file_system_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("libcudart.so.12"), "").unwrap();
        let own = device(&statat(CWD, dir.path(), AtFlags::empty()).unwrap());
        let (stop, seen) = (AtomicBool::new(false), |_| ());
        for (device, found) in [(Some(own), 1), (Some(own + 1), 0), (None, 1)] {
            let pool = pool(vec![Job { dir: dir.path().to_owned(), device }], &stop, &seen);
            let dirs: usize = pool.run().iter().map(|output| output.dirs.len()).sum();
            assert_eq!((dirs, pool.directories()), (found, found as u64), "{device:?}");
        }
    }

    #[test]
    fn a_kind_missing_from_the_directory_comes_from_statat() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("missing", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        let fd = openat(CWD, dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let kind_of = |name| kind(fd.as_fd(), name, FileType::Unknown);
        assert_eq!((kind_of(c"link"), kind_of(c"dir")), (FileType::Symlink, FileType::Directory));
        assert_eq!(kind_of(c"gone"), FileType::Unknown);
    }

    #[test]
    fn a_panic_of_one_worker_ends_all() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let stop = AtomicBool::new(false);
        let seen = |count: u64| assert!(count < 20, "enough");
        let pool = pool(vec![Job { dir: dir.path().to_owned(), device: None }], &stop, &seen);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.run())).is_err());
    }
}
