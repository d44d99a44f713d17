//! The threads of a walk: each reads directories, and shares what it has left with those that wait.
//!
//! Takes directories; gives those among them and below them that hold a library of ours. Each thread goes down its own
//! stack of directories; while others wait it gives them the older half of it.

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

/// A directory to be read.
pub(super) struct Job {
    /// The directory.
    pub(super) dir: PathBuf,
    /// The file system to keep to, if any.
    pub(super) device: Option<u64>,
}

/// What one thread came by.
#[derive(Default)]
pub(super) struct Finds {
    /// Directories that hold a library of ours.
    pub(super) dirs: Vec<PathBuf>,
    /// Directories that could not be read.
    pub(super) unreadable: u64,
}

/// The threads, and what they share.
pub(super) struct Crew<'w> {
    closed: HashSet<PathBuf>,
    threads: usize,
    shared: Mutex<Shared>,
    wake: Condvar,
    /// How many wait for work: whoever has more than it needs right now gives some away.
    hungry: AtomicUsize,
    directories: AtomicU64,
    seen: &'w (dyn Fn(u64) + Sync),
    stop: &'w AtomicBool,
}

struct Shared {
    queue: Vec<Job>,
    idle: usize,
    over: bool,
}

impl<'w> Crew<'w> {
    /// Threads that will read the directories of `queue` and what is below them, but for those in `closed`.
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
            shared: Mutex::new(Shared { queue, idle: 0, over: false }),
            wake: Condvar::new(),
            hungry: AtomicUsize::new(0),
            directories: AtomicU64::new(0),
            seen,
            stop,
        }
    }

    /// Reads all of it; what each thread came by.
    pub(super) fn run(&self) -> Vec<Finds> {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads).map(|_| scope.spawn(|| self.work())).collect();
            let mut found = vec![self.work()];
            for other in others {
                found.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            found
        })
    }

    /// How many directories were read.
    pub(super) fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    fn work(&self) -> Finds {
        let _alarm = Alarm(self);
        let mut finds = Finds::default();
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut jobs = Vec::new();
        while let Some(job) = jobs.pop().or_else(|| self.take()) {
            if self.stop.load(Ordering::Relaxed) {
                self.end();
                break;
            }
            match self.read(&job, &mut buffer, &mut jobs) {
                Ok(true) => finds.dirs.push(job.dir),
                Ok(false) => {}
                Err(_) => finds.unreadable += 1,
            }
            if jobs.len() > 1 && self.hungry.load(Ordering::Relaxed) > 0 {
                self.give(&mut jobs);
            }
        }
        finds
    }

    /// Reads one directory: its subdirectories become jobs. Whether it holds a library of ours.
    fn read(&self, job: &Job, buffer: &mut [MaybeUninit<u8>], jobs: &mut Vec<Job>) -> Result<bool, Errno> {
        // O_NOFOLLOW: a directory that has become a link since it was listed is not followed either.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(CWD, &job.dir, flags, Mode::empty())?;
        if let Some(wanted) = job.device
            && device(&fstat(&fd)?) != wanted
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

    /// A job of others; `None` once all are out of work.
    fn take(&self) -> Option<Job> {
        let mut shared = self.shared();
        shared.idle += 1;
        self.hungry.fetch_add(1, Ordering::Relaxed);
        let job = loop {
            if shared.over {
                break None;
            }
            if let Some(job) = shared.queue.pop() {
                break Some(job);
            }
            if shared.idle == self.threads {
                shared.over = true;
                self.wake.notify_all();
                break None;
            }
            shared = self.wake.wait(shared).unwrap_or_else(PoisonError::into_inner);
        };
        shared.idle -= 1;
        self.hungry.fetch_sub(1, Ordering::Relaxed);
        job
    }

    /// Gives the older half of the jobs away: those nearer to the root, with more below them.
    fn give(&self, jobs: &mut Vec<Job>) {
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

/// Wakes the others when a thread panics (in `seen`), so that nobody waits for it.
struct Alarm<'c, 'w>(&'c Crew<'w>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// The kind of an entry; file systems that do not keep it in the directory are asked for it.
fn kind(dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> FileType {
    if kind != FileType::Unknown {
        return kind;
    }
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode))
}

/// Most names end in something that no library's does; the others are read exactly.
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

    fn crew<'w>(queue: Vec<Job>, stop: &'w AtomicBool, seen: &'w (dyn Fn(u64) + Sync)) -> Crew<'w> {
        Crew::new(HashSet::new(), queue, 4, seen, stop)
    }

    #[test]
    fn another_file_system_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("libcudart.so.12"), "").unwrap();
        let own = device(&statat(CWD, dir.path(), AtFlags::empty()).unwrap());
        let (stop, seen) = (AtomicBool::new(false), |_| ());
        for (device, found) in [(Some(own), 1), (Some(own + 1), 0), (None, 1)] {
            let crew = crew(vec![Job { dir: dir.path().to_owned(), device }], &stop, &seen);
            let dirs: usize = crew.run().iter().map(|finds| finds.dirs.len()).sum();
            assert_eq!((dirs, crew.directories()), (found, found as u64), "{device:?}");
        }
    }

    #[test]
    fn a_kind_the_directory_does_not_tell_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        let fd = openat(CWD, dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        let asked = |name| kind(fd.as_fd(), name, FileType::Unknown);
        assert_eq!((asked(c"link"), asked(c"dir")), (FileType::Symlink, FileType::Directory));
        assert_eq!(asked(c"gone"), FileType::Unknown);
    }

    #[test]
    fn a_panic_of_one_ends_all() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let stop = AtomicBool::new(false);
        let seen = |count: u64| assert!(count < 20, "enough");
        let crew = crew(vec![Job { dir: dir.path().to_owned(), device: None }], &stop, &seen);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| crew.run())).is_err());
    }
}
