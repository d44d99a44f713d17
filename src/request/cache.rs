//! Answers kept on disk for as long as what they were read from stays the same.
//!
//! An entry is three files named by a digest of the question: the plan, the report, and the stamps of every path that was
//! looked at. The stamps decide; nothing expires by time.

use super::{Request, RequestError};
use crate::escape;
use crate::facts::variable;
use crate::handout::bundle::bundle;
use crate::handout::own_dir;
use crate::host::{Host, Stamps, Stat, atomic_write, atomic_write_new};
use crate::plan::{Plan, PlanBundle};
use crate::report::ResolveReport;
use crate::resolve::Resolution;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for another process that answers the same question: less than the shim of a process that waits for us
/// gives us (`cshim/ask.c`).
const TURN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// An answered request as it is kept.
#[derive(Debug, Clone)]
pub struct Cached {
    /// What people and programs are told.
    pub report: ResolveReport,
    /// The plan and its file; `None` where there is nothing to hand out, or nowhere to write it.
    pub plan: Option<(Plan, PathBuf)>,
    /// Whether it was read from the cache.
    pub hit: bool,
}

/// A directory of kept answers.
#[derive(Debug, Clone)]
pub struct PlanCache {
    dir: PathBuf,
}

impl PlanCache {
    /// The cache below a cache directory; made where it is missing.
    ///
    /// # Errors
    /// A directory that somebody else owns or may write to: plans decide what is loaded.
    pub fn open(cache_dir: &Path) -> io::Result<Self> {
        // Plans name files beside them, and are named themselves, by absolute path.
        let cache_dir = &std::path::absolute(cache_dir)?;
        let dir = cache_dir.join("plans");
        for dir in [cache_dir, &dir] {
            own_dir(dir).map_err(|error| match std::error::Error::source(&error) {
                Some(source) => io::Error::other(format!("{error}: {source}")),
                None => io::Error::other(error),
            })?;
        }
        Ok(Self { dir })
    }

    /// Answers a request, from the cache where that still holds.
    pub fn answer(&self, host: &Host, request: &Request) -> Result<Cached, RequestError> {
        let key = key(host, request);
        if let Some(found) = self.lookup(host, &key) {
            return Ok(found);
        }
        // A hundred workers start at once: one looks, the others find what it found.
        let _turn = self.turn(&key);
        if let Some(found) = self.lookup(host, &key) {
            return Ok(found);
        }
        let answer = request.answer(host)?;
        let report = answer.report();
        let plan = answer.resolution.map(|resolution| self.with_bundles(host, &key, resolution));
        let path = self.file(&key, "plan");
        if let Err(error) = self.store(host, &key, &report, plan.as_ref()) {
            log::warn!("{}: the plan cannot be kept: {error}", self.dir.display());
            // Without a file there is nothing to hand to the shim.
            return Ok(Cached { report, plan: plan.filter(|_| path.exists()).map(|plan| (plan, path)), hit: false });
        }
        Ok(Cached { report, plan: plan.map(|plan| (plan, path)), hit: false })
    }

    /// The plan with what stands beside it: a bundle for each trigger that is worth one, and for each library that is needed
    /// by another name than its soname an object of that name which needs it.
    fn with_bundles(&self, host: &Host, key: &str, resolution: Resolution) -> Plan {
        let mut plan = resolution.plan;
        for (index, name) in resolution.renamed.iter().enumerate() {
            let path = self.file(key, &format!("name-{index}.so"));
            let Some(library) = plan.libraries.iter_mut().find(|library| library.soname == *name) else { continue };
            let Some(bytes) = bundle(name, std::slice::from_ref(&library.path)) else { continue };
            if let Ok(stat) = put(host, &path, &bytes) {
                (library.path, library.id, library.size, library.mtime) = (path, stat.id, stat.size, stat.mtime);
                library.identity = None;
            }
        }
        for (index, (name, sonames)) in resolution.bundles.into_iter().enumerate() {
            let paths: Vec<PathBuf> =
                sonames.iter().filter_map(|soname| plan.library(soname)).map(|library| library.path.clone()).collect();
            let path = self.file(key, &format!("{index}.so"));
            let Some(bytes) = bundle(&format!("libcudashim-bundle-{key}-{index}.so"), &paths) else { continue };
            // Without it the libraries are opened one by one.
            match put(host, &path, &bytes) {
                Ok(stat) => {
                    plan.bundles.push(PlanBundle { name, path, id: stat.id, size: stat.size, mtime: stat.mtime });
                }
                Err(error) => log::warn!("{}: {error}", path.display()),
            }
        }
        plan
    }

    fn file(&self, key: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
    }

    /// The right to answer a question, as long as the file is open; `None` where it cannot be had in good time, which
    /// costs the same work twice.
    fn turn(&self, key: &str) -> Option<std::fs::File> {
        let path = self.file(key, "lock");
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.inspect_err(|error| log::debug!("{}: {error}", path.display())).ok()?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if began.elapsed() < TURN => std::thread::sleep(LOOK_AGAIN),
                Err(error) => {
                    log::debug!("{}: {error}", path.display());
                    return None;
                }
            }
        }
    }

    fn lookup(&self, host: &Host, key: &str) -> Option<Cached> {
        let stamps = std::fs::read_to_string(self.file(key, "stamps")).ok()?;
        if !Stamps::text_holds(&stamps, host) {
            return None;
        }
        let report: ResolveReport = serde_json::from_slice(&std::fs::read(self.file(key, "json")).ok()?).ok()?;
        let path = self.file(key, "plan");
        // Whatever befell the file, a new one mends it.
        let plan = if report.nothing.is_some() { None } else { Some((sound(&path)?, path)) };
        Some(Cached { report, plan, hit: true })
    }

    fn store(&self, host: &Host, key: &str, report: &ResolveReport, plan: Option<&Plan>) -> io::Result<()> {
        // The stamps come last: without them the entry does not count.
        let _ = std::fs::remove_file(self.file(key, "stamps"));
        if let Some(plan) = plan {
            atomic_write(&self.file(key, "plan"), &plan.to_bytes())?;
        }
        atomic_write(&self.file(key, "json"), &serde_json::to_vec(report).map_err(io::Error::other)?)?;
        atomic_write(&self.file(key, "stamps"), host.stamps().condensed(host).to_text().as_bytes())
    }
}

/// The plan in a file that the shim would take.
fn sound(plan: &Path) -> Option<Plan> {
    let own = rustix::process::geteuid().as_raw();
    let meta = std::fs::symlink_metadata(plan).ok()?;
    let ours = meta.is_file() && meta.uid() == own && meta.mode() & 0o022 == 0;
    Plan::read(plan).ok().filter(|_| ours)
}

/// Writes a file that a plan names, unless it is there. What is the same stays the same file, since processes that run have
/// its inode from an earlier plan. Its stamp is one of the answer's: a plan without it is not worth keeping.
fn put(host: &Host, path: &Path, bytes: &[u8]) -> io::Result<Stat> {
    let same = || host.read(path).ok().as_deref() == Some(bytes);
    // Who finds nothing there may not be the first to write: the file that is there then is the one that counts.
    if !(same() || atomic_write_new(path, bytes)? || same()) {
        atomic_write(path, bytes)?;
    }
    host.stat(path)
}

/// Whether anything is looked for relative to the working directory: packages in it, or an element of a path list
/// that is empty or relative.
fn cwd_matters(host: &Host) -> bool {
    let relative = |name| {
        host.env(name).is_some_and(|list| {
            list.as_bytes().split(|byte| matches!(byte, b':' | b';')).any(|dir| !dir.starts_with(b"/"))
        })
    };
    ["torch", "nvidia"].iter().any(|package| host.is_dir(&host.cwd().join(package)))
        || relative("LD_LIBRARY_PATH")
        || relative("PYTHONPATH")
        || relative("CUDASHIM_PLACE")
}

/// A digest of the question: the request, the environment as far as it matters, and this program itself.
fn key(host: &Host, request: &Request) -> String {
    let mut digest = Sha256::new();
    let mut add = |label: &str, value: &OsStr| digest.update(format!("{label}={}\n", escape::bytes(value.as_bytes())));
    add("version", OsStr::new(env!("CARGO_PKG_VERSION")));
    // Another build may answer differently.
    let program = std::env::current_exe().and_then(std::fs::metadata).map(|meta| Stat::from(&meta));
    add("program", OsStr::new(&format!("{program:?}")));
    add("root", host.root().as_os_str());
    add("question", OsStr::new(&request.question(host)));
    if cwd_matters(host) {
        add("cwd", host.cwd().as_os_str());
    }
    for (name, value) in host.environment() {
        if let Some(name) = name.to_str().filter(|name| variable(name).is_some()) {
            add(name, value);
        }
    }
    let mut text = String::with_capacity(32);
    for byte in digest.finalize().iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
