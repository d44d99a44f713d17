//! Regular files as bytes in memory, read on access.
//!
//! The only place that maps files. A read behind the new end of a file that was truncated while it is mapped ends a
//! process by SIGBUS (mmap(2)); a program that called [`outlive_truncation`] reads zeros instead, and [`Map::is_cut`]
//! reports it.
#![expect(unsafe_code, reason = "memmap2::Mmap::map; the handler of SIGBUS")]

use super::files::{Kind, Stat};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The content of a file at the time it was opened.
#[derive(Debug)]
pub struct Map(Content);

#[derive(Debug)]
enum Content {
    Nothing,
    Mapped(Mapped),
    /// Bytes that are on no disk.
    Made(Arc<[u8]>),
}

#[derive(Debug)]
struct Mapped {
    bytes: memmap2::Mmap,
    range: &'static Range,
}

impl Map {
    pub(super) fn of(bytes: Arc<[u8]>) -> Self {
        Self(Content::Made(bytes))
    }

    fn mapped(&self) -> Option<&Mapped> {
        match &self.0 {
            Content::Mapped(mapped) => Some(mapped),
            _ => None,
        }
    }

    /// Whether bytes read as zeros because the file was truncated, or because the disk failed.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.mapped().is_some_and(|mapped| mapped.range.cut.load(Ordering::Acquire))
    }

    /// Releases the memory of the bytes read so far; the next access reads them again.
    pub fn rest(&self) {
        let Some(mapped) = self.mapped() else { return };
        // SAFETY: a private read-only map holds no writes: its pages are the file's.
        let rested = unsafe { mapped.bytes.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        if let Err(error) = rested {
            log::debug!("madvise: {error}");
        }
    }

    /// Unmaps the bytes.
    pub fn close(&mut self) {
        self.0 = Content::Nothing;
    }

    /// Advises the kernel whether reads are scattered: it then reads one page for each, without read-ahead. Changes
    /// only the cost.
    pub fn expect_scattered(&self, scattered: bool) {
        let advice = if scattered { memmap2::Advice::Random } else { memmap2::Advice::Normal };
        if let Some(Err(error)) = self.mapped().map(|mapped| mapped.bytes.advise(advice)) {
            log::debug!("madvise: {error}");
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Content::Nothing => &[],
            Content::Mapped(mapped) => &mapped.bytes,
            Content::Made(bytes) => bytes,
        }
    }
}

pub(super) fn open(path: &Path) -> io::Result<(Map, Stat)> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let stat = Stat::from(&file.metadata()?);
    if stat.kind != Kind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((part(&file, 0, stat.size)?, stat))
}

/// A part of a file.
pub(super) fn part(file: &File, at: u64, size: u64) -> io::Result<Map> {
    if size == 0 {
        return Ok(Map(Content::Nothing));
    }
    let size = usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: the map is private, read-only and only ever borrowed as `&[u8]`. Another process may
    // change the file meanwhile; every reader treats the bytes as hostile. Where it is truncated meanwhile,
    // the handler below supplies zeros, or, in a program without it, SIGBUS ends the process.
    let bytes = unsafe { memmap2::MmapOptions::new().offset(at).len(size).map(file)? };
    let range = Range::of(&bytes);
    Ok(Map(Content::Mapped(Mapped { bytes, range })))
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Before the unmap: another map may reuse the addresses.
        self.range.start.store(0, Ordering::Release);
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).push(self.range);
    }
}

/// The addresses of a mapped file, for a signal handler, which must not wait. Never freed, but reused.
#[derive(Debug)]
struct Range {
    /// 0: unused.
    start: AtomicUsize,
    len: AtomicUsize,
    cut: AtomicBool,
    next: AtomicPtr<Range>,
}

/// The head of the list of all ranges.
static RANGES: AtomicPtr<Range> = AtomicPtr::new(ptr::null_mut());
/// Unused ranges.
static SPARE: Mutex<Vec<&'static Range>> = Mutex::new(Vec::new());

impl Range {
    fn of(bytes: &[u8]) -> &'static Self {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let range = spare.unwrap_or_else(Self::listed);
        range.cut.store(false, Ordering::Release);
        range.len.store(bytes.len(), Ordering::Release);
        range.start.store(bytes.as_ptr().addr(), Ordering::Release);
        range
    }

    /// A new one, at the head of the list.
    fn listed() -> &'static Self {
        let new = Self {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
            next: AtomicPtr::default(),
        };
        let new: &'static Self = Box::leak(Box::new(new));
        let mut head = RANGES.load(Ordering::Acquire);
        loop {
            new.next.store(head, Ordering::Release);
            let pointer = ptr::from_ref(new).cast_mut();
            match RANGES.compare_exchange(head, pointer, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return new,
                Err(now) => head = now,
            }
        }
    }

    /// The one that holds `address`.
    fn holding(address: usize) -> Option<&'static Self> {
        let mut next = RANGES.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or a range that `listed` leaked, filled in before it could be seen.
            let range: &'static Self = unsafe { next.as_ref()? };
            let start = range.start.load(Ordering::Acquire);
            let inside = address.checked_sub(start).is_some_and(|at| at < range.len.load(Ordering::Acquire));
            if start != 0 && inside {
                return Some(range);
            }
            next = range.next.load(Ordering::Acquire);
        }
    }
}

/// The previous action of SIGBUS, for addresses outside our maps.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Makes a truncated mapped file read as zeros behind its end, in this process, by a handler of SIGBUS. For programs:
/// a library must leave signals to its caller. Other causes of SIGBUS keep their action.
pub fn outlive_truncation() {
    // SAFETY: all zeros are a valid `sigaction`: the default action, an empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: reads the current action, and changes nothing.
    let result = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut action) };
    if result != 0 || BEFORE.set(action).is_err() {
        return;
    }
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as libc::sighandler_t;
    // SA_ONSTACK: a thread may have a signal stack.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the action is valid for the call, and the handler does what signal-safety(7) allows.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
}

/// Replaces the missing pages of the map by zeros. Takes no lock and allocates nothing.
extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid `siginfo_t` to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: of SIGBUS it has an address.
    let address = unsafe { info.si_addr() }.addr();
    if let Some(range) = Range::holding(address) {
        range.cut.store(true, Ordering::Release);
        let end = range.start.load(Ordering::Acquire) + range.len.load(Ordering::Acquire);
        // SAFETY: returns a number.
        let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
        let page = address - address % size;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let at = ptr::without_provenance_mut(page);
        // SAFETY: replaces pages of a live map of our own, which the file no longer backs, by zero pages.
        let put = unsafe { libc::mmap(at, end - page, libc::PROT_READ, flags, -1, 0) };
        if put != libc::MAP_FAILED {
            return;
        }
    }
    let before = BEFORE.get().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: restores the previous action; the faulting access is retried under it.
    unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros() {
        outlive_truncation();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, vec![7; 5 << 20]).unwrap();
        let (map, _) = open(&path).unwrap();
        let (other, _) = open(&path).unwrap();
        assert_eq!((map[0], map[5_000_000], map.is_cut()), (7, 7, false));
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10_000).unwrap();
        // The kernel fills the rest of the last page with zeros.
        assert_eq!((map[9_999], map[10_001], map.is_cut()), (7, 0, false));
        assert_eq!((map[5_000_000], map.is_cut(), other.is_cut()), (0, true, false));
        assert!(map[2 << 20..].iter().all(|byte| *byte == 0) && map[..10_000].iter().all(|byte| *byte == 7));
        assert_eq!((other[1 << 20], other.is_cut()), (0, true));
        drop((map, other));
        // A reused range starts clean.
        let (map, _) = open(&path).unwrap();
        assert!(!map.is_cut() && map.len() == 10_000);
    }

    #[test]
    fn many_threads_meet_the_same_end() {
        outlive_truncation();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, vec![7; 4 << 20]).unwrap();
        let (map, _) = open(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(map.iter().all(|byte| *byte == 0)));
            }
        });
        assert!(map.is_cut());
    }
}
