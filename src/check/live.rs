//! Judges a running process by its mapped files, and compares these with a plan.
//!
//! Takes a process number, or a saved `/proc/PID/maps` with the root that its paths start from; gives a
//! [`Judgement`]. Files are identified by device and inode, so a replaced file is detected. Never stops or touches
//! the process.

use super::copies::Copies;
use super::judge::judge;
use super::later::later;
use super::mapping::Mapping;
use super::opening::Opening;
use super::{Cause, Depth, Finding, Judgement, Planned, Stage, Verdict};
use crate::host::{FileId, Hints, Host, MappedFile, mapped_files};
use crate::loader::{LinkMap, Loader, Rule};
use crate::loader::{Object, Objects};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a process cannot be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The process does not exist.
    #[error("no process {0}")]
    NoProcess(u32),
    /// The process ended meanwhile, or is a kernel thread.
    #[error("process {0} has no mappings: it has ended, or is a kernel thread")]
    Nothing(u32),
    /// The process belongs to another user.
    #[error("cannot read the maps of process {pid}")]
    Denied {
        /// The process.
        pid: u32,
        /// The kernel's error.
        source: io::Error,
    },
    /// The maps cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not a copy of `/proc/PID/maps`.
    #[error("`{}` lists no mapped file: expected a copy of `/proc/PID/maps`", .0.display())]
    NotMaps(PathBuf),
}

impl Hints for LiveError {
    fn hints(&self) -> Vec<String> {
        match self {
            // In a container, the kernel refuses root without `CAP_SYS_PTRACE` (ptrace(2)).
            Self::Denied { .. } if rustix::process::geteuid().is_root() => {
                vec![
                    "this root may not look into others' processes: run it outside the container, or start that with \
                    `--cap-add SYS_PTRACE`"
                        .to_owned(),
                ]
            }
            Self::Denied { pid, .. } => {
                vec![format!("run `sudo cudashim check --pid {pid}`, or run it as the owner of the process")]
            }
            _ => Vec::new(),
        }
    }
}

/// The mapped files of a process.
#[derive(Debug, Clone)]
pub struct Maps {
    of: String,
    program: Option<PathBuf>,
    files: Vec<MappedFile>,
    /// The directory `/proc/PID/map_files`, which opens the mapped inodes.
    map_files: Option<PathBuf>,
}

/// A running process: its view of the machine, and its mapped files.
#[derive(Debug)]
pub struct Process {
    /// Its root, environment and working directory.
    pub host: Host,
    /// Its mapped files.
    pub maps: Maps,
}

impl Process {
    /// Reads a process of this machine.
    ///
    /// # Errors
    ///
    /// [`LiveError`], if the process does not exist, belongs to another user, or ends meanwhile.
    pub fn read(machine: &Host, pid: u32) -> Result<Self, LiveError> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        if machine.stat(&dir).is_err() {
            return Err(LiveError::NoProcess(pid));
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => LiveError::Denied { pid, source: error },
            // ENOENT and ESRCH: the process ended between two reads.
            _ if machine.stat(&dir).is_err() || error.raw_os_error() == Some(ESRCH) => LiveError::NoProcess(pid),
            _ => LiveError::Read { path: dir.join("maps"), source: error },
        };
        let maps = machine.read(&dir.join("maps")).map_err(failed)?;
        let files = mapped_files(&maps);
        if files.is_empty() {
            return Err(LiveError::Nothing(pid));
        }
        let environment = machine.read(&dir.join("environ")).unwrap_or_default();
        let cwd = machine.link_target(&dir.join("cwd")).unwrap_or_else(|_| PathBuf::from("/"));
        let program = machine.link_target(&dir.join("exe")).ok();
        let namespace = |process: &Path| machine.link_target(&process.join("ns/mnt")).ok();
        let root = machine.link_target(&dir.join("root")).unwrap_or_else(|_| PathBuf::from("/"));
        let here = root == Path::new("/") && namespace(&dir) == namespace(Path::new("/proc/self"));
        let root = if here { PathBuf::from("/") } else { dir.join("root") };
        let name = program.as_deref().and_then(Path::file_name).map(|name| format!(" ({})", name.display()));
        Ok(Self {
            host: Host::new(root, variables(&environment), cwd),
            maps: Maps {
                of: format!("process {pid}{}", name.unwrap_or_default()),
                program,
                files,
                map_files: here.then(|| dir.join("map_files")),
            },
        })
    }
}

impl Maps {
    /// Reads a saved copy of `/proc/PID/maps`.
    ///
    /// # Errors
    ///
    /// [`LiveError::Read`] and [`LiveError::NotMaps`].
    pub fn saved(bytes: &[u8], file: &Path) -> Result<Self, LiveError> {
        let files = mapped_files(bytes);
        if files.is_empty() {
            return Err(LiveError::NotMaps(file.to_owned()));
        }
        Ok(Self { of: format!("`{}`", file.display()), program: None, files, map_files: None })
    }
}

/// `ESRCH` of errno(3): read(2) on a file of proc(5) returns it once the process is gone.
const ESRCH: i32 = 3;

fn variables(bytes: &[u8]) -> BTreeMap<OsString, OsString> {
    let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        let (name, value) = entry.split_at(at);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value.get(1..)?).to_owned()))
    });
    entries.collect()
}

/// The current state of a mapped file.
struct Found {
    path: PathBuf,
    object: Option<Arc<Object>>,
    replaced: bool,
}

fn found(objects: &Objects, maps: &Maps, file: &MappedFile) -> Found {
    let at_path = objects.open(&file.path).ok();
    // Another inode on the same device is another file; a different device proves nothing (see `MappedFile::id`).
    let other = |id: FileId| id.dev == file.id.dev && id.ino != file.id.ino;
    let replaced = file.deleted || at_path.as_ref().is_some_and(|object| other(object.stat.id));
    let object = if replaced {
        // The kernel keeps the inode; a privileged user can open it.
        maps.map_files.as_ref().and_then(|dir| objects.open(&dir.join(&file.area)).ok())
    } else {
        at_path
    };
    Found { path: file.path.clone(), object, replaced }
}

/// Judges sets of files that were mapped at past moments, one after the other.
#[derive(Debug)]
pub struct Moments<'l> {
    loader: &'l Loader,
    copies: Copies,
}

impl<'l> Moments<'l> {
    /// Starts with no moment judged.
    #[must_use]
    pub fn new(loader: &'l Loader) -> Self {
        // The report lists every release.
        Self { loader, copies: Copies::new(&[], Depth::Symbols) }
    }

    /// Judges files that were mapped together, the program first, each with the rule that found it. Ignores libraries
    /// opened later: the trace has recorded those.
    pub fn judge(&mut self, of: String, files: Vec<(PathBuf, Arc<Object>, Rule)>, depth: Depth) -> Judgement {
        let mut map = LinkMap::new(self.loader);
        let rules: BTreeMap<FileId, Rule> = files.iter().map(|(_, object, rule)| (object.stat.id, *rule)).collect();
        map.adopt(files.into_iter().map(|(path, object, _)| (path, object)));
        self.copies.learn(self.loader.objects(), map.objects().iter());
        let rule = |mapped: &crate::loader::Mapped| rules.get(&mapped.object.stat.id).copied().unwrap_or(Rule::Mapped);
        let facts = Mapping {
            of,
            at: None,
            map: &map,
            startup: 0,
            loaded: map.objects().len(),
            roots: &[0],
            copies: &self.copies,
            subject: None,
            rules: map.objects().iter().map(rule).collect(),
            optional_objects: &BTreeSet::new(),
        };
        judge(&facts, Vec::new(), depth)
    }
}

/// Judges the mapped files.
pub fn live(loader: &Loader, maps: &Maps, depth: Depth, plan: Option<&Plan>) -> Judgement {
    let objects = loader.objects();
    let mut files: Vec<Found> = maps.files.iter().map(|file| found(objects, maps, file)).collect();
    // Without a program, the first file stands in for it.
    files.sort_by_key(|file| Some(&file.path) != maps.program.as_ref());
    let mut map = LinkMap::new(loader);
    map.adopt(files.iter().filter_map(|file| Some((file.path.clone(), Arc::clone(file.object.as_ref()?)))));
    let rules = explained(loader, &map);
    let count = map.objects().len();
    let mut copies = Copies::new(&[], depth);
    let (not_found, optional_objects) = later(&mut map, &mut copies, None, &Opening::default());
    let mut judgement = judge(
        &Mapping {
            of: maps.of.clone(),
            at: maps.program.clone(),
            map: &map,
            startup: 0,
            loaded: count,
            roots: &[0],
            copies: &copies,
            subject: None,
            rules,
            optional_objects: &optional_objects,
        },
        not_found,
        depth,
    );
    // The process runs: it has not yet needed the libraries that are missing.
    if judgement.verdict == Verdict::Fails {
        judgement.error = None;
    }
    replaced(&mut judgement, &files);
    if let Some(plan) = plan {
        planned(&mut judgement, &map, count, plan);
    }
    judgement
}

/// The rule by which the object that needs a library would find the mapped file.
fn explained(loader: &Loader, map: &LinkMap<'_>) -> Vec<Rule> {
    let rules = map.objects().iter().map(|mapped| {
        let by = mapped.loader.and_then(|index| map.objects().get(index))?;
        let name = by.object.facts.needed.iter().find(|name| mapped.names.contains(name))?;
        let (path, rule) = loader.find_from(&by.path, &by.object, name)?;
        let same = map.host().stat(&path).is_ok_and(|stat| stat.id == mapped.object.stat.id);
        same.then_some(rule)
    });
    rules.map(|rule| rule.unwrap_or(Rule::Mapped)).collect()
}

fn replaced(judgement: &mut Judgement, files: &[Found]) {
    let gone: BTreeSet<&Path> = files.iter().filter(|file| file.replaced).map(|file| file.path.as_path()).collect();
    for object in judgement.objects.iter_mut().filter(|object| object.phase == Stage::Load) {
        object.deleted = gone.contains(object.path.as_path());
    }
    for path in gone {
        judgement.findings.push(Finding::new("replaced-file", Cause::Replaced(path.to_owned())));
    }
}

/// The libraries of a plan that are mapped, and those that are mapped from another file.
fn planned(judgement: &mut Judgement, map: &LinkMap<'_>, loaded: usize, plan: &Plan) {
    let mut compared = Planned::default();
    for library in plan.chosen() {
        let soname = OsStr::new(&library.soname);
        let mapped = map.objects().iter().take(loaded);
        let copies: Vec<_> = mapped.filter(|it| it.object.facts.soname.as_deref() == Some(soname)).collect();
        if copies.iter().any(|copy| copy.object.stat.id == library.id) {
            compared.mapped.push(library.soname.clone());
        } else if let Some(copy) = copies.first() {
            compared.elsewhere.push(library.soname.clone());
            let cause = Cause::Elsewhere {
                soname: library.soname.clone(),
                mapped: copy.path.clone(),
                planned: library.path.clone(),
            };
            judgement.findings.push(Finding::new("not-as-planned", cause));
        } else {
            compared.not_yet.push(library.soname.clone());
        }
    }
    judgement.planned = Some(compared);
}
