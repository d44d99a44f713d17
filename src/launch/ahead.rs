//! Reads ahead what a process is about to load: the libraries of its plan, then the modules of its framework.
//!
//! Takes a plan and whether to go on; reads files to their pages in the kernel's cache, in large pieces in the file's order, some
//! files at once. Gives the number of bytes. Never changes a file, never says anything: what cannot be read is left out.

use crate::elf::{AtStart, Ranges, at_start};
use crate::host::Host;
use crate::plan::{How, Plan, PlanLibrary};
use crate::python::{distributions, normalized};
use rustix::fs::{Advice, fadvise};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Files read at once: a file system with slow calls answers several.
const AT_ONCE: usize = 8;

/// Bytes of one request, and how much is read between two looks at the process.
const PIECE: usize = 1 << 20;

/// A part of the work.
enum Job {
    /// What ld.so reads of a library.
    Tables(usize),
    /// What its constructors read.
    Code(usize),
    /// A directory of modules, and those that were installed there, without `.py`.
    Modules(PathBuf, BTreeSet<OsString>),
}

/// Reads what the libraries and the framework of a plan need at a start, while `goes_on`.
#[must_use]
pub fn read_ahead(host: &Host, plan: &Plan, goes_on: &(dyn Fn() -> bool + Sync)) -> u64 {
    let own = |library: &&PlanLibrary| plan.is_its_own(library);
    let objects = plan.objects.iter().filter(|path| !plan.libraries.iter().any(|library| library.path == **path));
    // Those that are opened by name may not be opened at all.
    let (late, first): (Vec<_>, Vec<_>) = plan.libraries.iter().filter(own).partition(|it| it.how == How::Redirect);
    let first: Vec<&Path> =
        first.iter().map(|library| library.path.as_path()).chain(objects.map(PathBuf::as_path)).collect();
    let files: Vec<&Path> = first.iter().copied().chain(late.iter().map(|library| library.path.as_path())).collect();
    let mut jobs: Vec<Job> = (0..first.len()).map(Job::Tables).chain((0..first.len()).map(Job::Code)).collect();
    jobs.extend(modules(host, plan).into_iter().map(|(dir, names)| Job::Modules(dir, names)));
    jobs.extend((first.len()..files.len()).flat_map(|file| [Job::Tables(file), Job::Code(file)]));
    let found: Vec<Mutex<Option<AtStart>>> = files.iter().map(|_| Mutex::new(None)).collect();
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut reader = Reader { goes_on, piece: vec![0; PIECE], bytes: 0 };
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let read = match job {
                        Job::Tables(at) => reader.library(files.get(*at), found.get(*at), |parts| &parts.tables),
                        Job::Code(at) => reader.library(files.get(*at), found.get(*at), |parts| &parts.code),
                        Job::Modules(dir, names) => reader.modules(dir, names),
                    };
                    if read.is_none() && !goes_on() {
                        break;
                    }
                }
                bytes.fetch_add(reader.bytes, Ordering::Relaxed);
            });
        }
    });
    bytes.into_inner()
}

/// The modules of the plan's framework by their directories, as its package recorded them, outermost first.
fn modules(host: &Host, plan: &Plan) -> Vec<(PathBuf, BTreeSet<OsString>)> {
    let mut found: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
    for package in plan.made_for.iter().filter_map(|made_for| made_for.path.as_deref()) {
        let (Some(site), Some(name)) = (package.parent(), package.file_name().and_then(|name| name.to_str())) else {
            continue;
        };
        let name = normalized(name);
        for distribution in distributions(host, site).iter().filter(|distribution| distribution.name == name) {
            for file in distribution.record(host) {
                let path = site.join(&file.path);
                if let (Some(dir), Some(stem)) = (path.parent(), path.file_stem())
                    && path.extension().is_some_and(|end| end == "py")
                    && path.starts_with(package)
                {
                    found.entry(dir.to_owned()).or_default().insert(stem.to_owned());
                }
            }
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(dir, _)| dir.components().count());
    found
}

/// One of those that read.
struct Reader<'r> {
    goes_on: &'r (dyn Fn() -> bool + Sync),
    piece: Vec<u8>,
    bytes: u64,
}

impl Reader<'_> {
    /// Reads parts of a library. `None`: it is to stop, or cannot be read.
    fn library(
        &mut self,
        path: Option<&&Path>,
        found: Option<&Mutex<Option<AtStart>>>,
        which: fn(&AtStart) -> &Ranges,
    ) -> Option<()> {
        let file = File::open(path?).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
        // The kernel then reads ahead in larger pieces.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let known = found?.lock().ok()?.clone();
        let parts = if let Some(parts) = known {
            parts
        } else {
            let parts = at_start(&mut |at, size| self.kept(&file, at, size))?;
            *found?.lock().ok()? = Some(parts.clone());
            parts
        };
        which(&parts).iter().try_for_each(|range| self.range(&file, range))
    }

    /// The bytes of a small part.
    fn kept(&mut self, file: &File, at: u64, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        let mut have = 0;
        while have < size {
            match file.read_at(bytes.get_mut(have..)?, at + have as u64) {
                Ok(0) | Err(_) => break,
                Ok(more) => have += more,
            }
        }
        bytes.truncate(have);
        (self.goes_on)().then_some(bytes)
    }

    /// Reads a part of a file in its order.
    fn range(&mut self, file: &File, range: &Range<u64>) -> Option<()> {
        let mut at = range.start;
        while at < range.end {
            let size = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let read = file.read_at(self.piece.get_mut(..size)?, at).ok()? as u64;
            if read == 0 {
                break;
            }
            self.bytes += read;
            at += read;
            (self.goes_on)().then_some(())?;
        }
        Some(())
    }

    /// Reads the modules of a directory: the bytecode where Python has kept it, else the source.
    fn modules(&mut self, dir: &Path, names: &BTreeSet<OsString>) -> Option<()> {
        let entries = std::fs::read_dir(dir.join("__pycache__")).into_iter().flatten().flatten();
        let mut kept: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for path in entries.map(|entry| entry.path()) {
            // NAME.cpython-311.pyc
            if let Some(stem) = path.file_stem().and_then(|stem| Path::new(stem).file_stem()) {
                kept.insert(stem.to_owned(), path.clone());
            }
        }
        for name in names {
            let mut source = name.clone();
            source.push(".py");
            let source = dir.join(source);
            // Python looks at the source before it takes the bytecode.
            let size = std::fs::metadata(&source).map_or(0, |meta| meta.len());
            let file = File::open(kept.get(name).unwrap_or(&source));
            if let Ok(file) = file {
                let size = if kept.contains_key(name) { file.metadata().map_or(0, |meta| meta.len()) } else { size };
                self.range(&file, &(0..size))?;
            }
            (self.goes_on)().then_some(())?;
        }
        Some(())
    }
}
