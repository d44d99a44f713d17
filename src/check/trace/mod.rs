//! Traces the loader in a tree of processes: which library it mapped, for which object, and by which rule.
//!
//! Takes the records of the tracer and the files they name; gives one [`Process`] for each program, and the verdict
//! on its link map. The tracer records only processes it was loaded into; one with a loader other than glibc's, or
//! with a cleared environment, leaves no record.

mod judge;
mod records;

pub use judge::{Finding, Judgement, judge};
pub use records::Call;

use crate::host::{FileId, Host};
use crate::loader::Objects;
use crate::loader::Rule;
use records::{Event, Place, Search};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most tried paths to keep for one search.
pub const TRIED: usize = 64;

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// By a rule of ld.so.
    Rule(Rule),
    /// The tracer redirected ld.so to it.
    Audit,
}

impl By {
    /// The description for people.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Rule(Rule::Preload) => "preload",
            Self::Rule(Rule::Mapped) => "mapped",
            Self::Rule(Rule::Rpath) => "rpath",
            Self::Rule(Rule::LdLibraryPath) => "ld_library_path",
            Self::Rule(Rule::Runpath) => "runpath",
            Self::Rule(Rule::Cache) => "cache",
            Self::Rule(Rule::Default) => "default",
            Self::Rule(_) => "path",
            Self::Audit => "audit",
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::Audit => f.write_str("the plan"),
        }
    }
}

/// A request for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRequest {
    /// The name.
    pub name: OsString,
    /// The call.
    pub call: Call,
    /// The object that requested it; the program file if the program did.
    pub requester: PathBuf,
    /// The paths tried without success: the first [`TRIED`].
    pub tried: Vec<PathBuf>,
    /// The number of all such paths.
    pub tried_count: usize,
}

/// An object that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The file, by the path that the loader opened.
    pub path: PathBuf,
    /// Its device and inode; `None` if it is gone.
    pub id: Option<FileId>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// The request for it and the rule that found it; known only for CUDA names.
    pub request: Option<(NameRequest, By)>,
    /// The link-map namespace: 0 is the program's own.
    pub namespace: u32,
    /// Whether it was mapped before this process was forked.
    pub inherited: bool,
    /// Whether it was still mapped at the end.
    pub stayed: bool,
}

/// Why a name resolved to no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The file does not exist.
    NotFound,
    /// ld.so found this file but did not map it: the call only tested for it (`RTLD_NOLOAD`), or mapping failed.
    NotMapped(PathBuf),
    /// This file is damaged, or not a library of this machine.
    Damaged(PathBuf, String),
}

/// A traced program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process number.
    pub pid: u32,
    /// Its parent's process number.
    pub parent: u32,
    /// Its file.
    pub program: PathBuf,
    /// Its arguments, as far as they were recorded.
    pub command: String,
    /// Whether it was forked without starting a program.
    pub forked: bool,
    /// The mapped objects in order.
    pub loads: Vec<Load>,
    /// The requests without a result.
    pub unresolved: Vec<(NameRequest, Unresolved)>,
    /// The number of nonexistent paths that its searches tried.
    pub failed_opens: u64,
    /// The objects that were mapped together when one was unmapped, as indices of `loads`: the link map of a failed
    /// dlopen.
    pub unmapped: Vec<Vec<usize>>,
    /// Whether the program began: ld.so had loaded everything it is linked with.
    pub began: bool,
}

impl Process {
    /// The objects mapped at the end, as indices of `loads`.
    #[must_use]
    pub fn at_the_end(&self) -> Vec<usize> {
        self.loads.iter().enumerate().filter(|(_, load)| load.stayed).map(|(at, _)| at).collect()
    }
}

/// A complete trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The programs, in the order they started.
    pub processes: Vec<Process>,
    /// The number of unreadable lines.
    pub unreadable: usize,
}

impl Trace {
    /// Reads the records. `objects` shows which files are identical and which are damaged.
    #[must_use]
    pub fn read(bytes: &[u8], objects: &Objects) -> Self {
        let (records, unreadable) = records::parse(bytes);
        let mut done = Vec::new();
        let mut running: BTreeMap<u32, Watch<'_>> = BTreeMap::new();
        let mut order = Vec::new();
        for (pid, event) in records {
            match event {
                Event::Start { program, command, parent } => {
                    // execve(2) keeps the process number.
                    done.extend(running.remove(&pid).map(Watch::end));
                    order.push(pid);
                    let at = order.len();
                    running.insert(pid, Watch::new(objects, at, pid, parent, program, command));
                }
                Event::Fork { parent } => {
                    order.push(pid);
                    let at = order.len();
                    let child = running.get(&parent).map(|watch| watch.fork(at, pid));
                    let child =
                        child.unwrap_or_else(|| Watch::new(objects, at, pid, parent, PathBuf::new(), String::new()));
                    done.extend(running.insert(pid, child).map(Watch::end));
                }
                event => {
                    if let Some(watch) = running.get_mut(&pid) {
                        watch.record(event);
                    }
                }
            }
        }
        done.extend(running.into_values().map(Watch::end));
        done.sort_by_key(|(at, _)| *at);
        Self { processes: done.into_iter().map(|(_, process)| process).collect(), unreadable }
    }

    /// The number of paths tried without success, over all processes.
    #[must_use]
    pub fn failed_opens(&self) -> u64 {
        self.processes.iter().map(|process| process.failed_opens).sum()
    }
}

/// The state of one process while its records are read.
#[derive(Clone)]
struct Watch<'o> {
    objects: &'o Objects,
    at: usize,
    process: Process,
    search: Option<Search>,
    tried: Vec<(Place, PathBuf)>,
    closed: Vec<usize>,
    /// Whether the program itself was unmapped: ld.so does that first when the process ends (elf/dl-fini.c); a
    /// destructor may close more objects after that.
    ending: bool,
    /// The number of failed opens before this process was forked.
    failed_before: u64,
    failed: u64,
}

impl<'o> Watch<'o> {
    fn new(objects: &'o Objects, at: usize, pid: u32, parent: u32, program: PathBuf, command: String) -> Self {
        let process = Process {
            pid,
            parent,
            program,
            command,
            forked: false,
            loads: Vec::new(),
            unresolved: Vec::new(),
            failed_opens: 0,
            unmapped: Vec::new(),
            began: false,
        };
        Self {
            objects,
            at,
            process,
            search: None,
            tried: Vec::new(),
            closed: Vec::new(),
            ending: false,
            failed_before: 0,
            failed: 0,
        }
    }

    fn fork(&self, at: usize, pid: u32) -> Self {
        let mut child = self.clone();
        child.at = at;
        child.failed_before = self.failed;
        child.search = None;
        child.tried.clear();
        let process = &mut child.process;
        (process.parent, process.pid, process.forked) = (process.pid, pid, true);
        process.unresolved.clear();
        process.unmapped.clear();
        for load in &mut process.loads {
            load.inherited = true;
        }
        child
    }

    fn record(&mut self, event: Event) {
        // No record marks the end of a process; only its unmaps do.
        if matches!(event, Event::Search(_) | Event::Open { .. } | Event::Failed(_)) {
            self.unmapped();
        }
        match event {
            Event::Search(search) => {
                self.end_search();
                self.search = Some(search);
            }
            Event::Try(place, path) => self.tried.push((place, path)),
            Event::Open { namespace, path } => self.mapped(namespace, path),
            Event::Close(path) => self.close(&path),
            Event::Failed(count) => {
                self.end_search();
                self.failed = count;
            }
            Event::Begin => self.process.began = true,
            Event::Start { .. } | Event::Fork { .. } => {}
        }
    }

    fn host(&self) -> &'o Host {
        self.objects.host()
    }

    fn mapped(&mut self, namespace: u32, path: PathBuf) {
        let led_here = self.search.as_ref().is_some_and(|search| match self.tried.last() {
            Some((_, tried)) => *tried == path,
            None => search.instead == path || search.name == path.as_os_str(),
        });
        if !led_here {
            self.end_search();
        }
        let request = self.search.take().map(|search| {
            let place = self.tried.pop().map(|(place, _)| place);
            let by = found_by(&search, place);
            (self.request(search), by)
        });
        if !path.is_absolute() {
            return;
        }
        let id = self.host().stat(&path).ok().map(|stat| stat.id);
        let object = self.objects.open(&path).ok();
        let soname = object.and_then(|object| object.facts.soname.as_ref()?.to_str().map(str::to_owned));
        self.process.loads.push(Load { path, id, soname, request, namespace, inherited: false, stayed: true });
    }

    fn request(&mut self, search: Search) -> NameRequest {
        let tried_count = self.tried.len();
        let tried = std::mem::take(&mut self.tried).into_iter().map(|(_, path)| path).take(TRIED).collect();
        let requester =
            if search.requester.as_os_str().is_empty() { self.process.program.clone() } else { search.requester };
        NameRequest { name: search.name, call: search.call, requester, tried, tried_count }
    }

    /// Ends a search that mapped no new object.
    fn end_search(&mut self) {
        let Some(search) = self.search.take() else {
            self.tried.clear();
            return;
        };
        let named = |name: &OsStr| name.as_bytes().contains(&b'/').then(|| PathBuf::from(name));
        let last = self.tried.last().map(|(_, path)| path.clone());
        let instead = Some(search.instead.clone()).filter(|path| !path.as_os_str().is_empty());
        let last = last.or(instead).or_else(|| named(&search.name));
        // The working directory of a relative path is unknown.
        if last.as_ref().is_some_and(|path| !path.is_absolute()) {
            self.tried.clear();
            return;
        }
        let unresolved = match last.as_ref().and_then(|path| Some((path, self.host().stat(path).ok()?))) {
            // ld.so recognises a mapped file by its inode, under any path.
            Some((_, stat)) if self.process.loads.iter().any(|load| load.stayed && load.id == Some(stat.id)) => {
                self.tried.clear();
                return;
            }
            Some((path, _)) => match self.objects.open(path) {
                Ok(_) => Unresolved::NotMapped(path.clone()),
                Err(error) => Unresolved::Damaged(path.clone(), error.to_string()),
            },
            None => Unresolved::NotFound,
        };
        if unresolved != Unresolved::NotFound {
            self.tried.pop();
        }
        let request = self.request(search);
        self.process.unresolved.push((request, unresolved));
    }

    fn close(&mut self, path: &Path) {
        self.end_search();
        self.ending |= path.as_os_str().is_empty();
        if self.ending {
            return;
        }
        let loads = &mut self.process.loads;
        if let Some(at) = loads.iter().rposition(|load| load.path == path && load.stayed) {
            self.closed.push(at);
            if let Some(load) = loads.get_mut(at) {
                load.stayed = false;
            }
        }
    }

    /// Ends a group of unmapped objects: a later record proves that the process had not ended.
    fn unmapped(&mut self) {
        if self.closed.is_empty() {
            return;
        }
        let closed = std::mem::take(&mut self.closed);
        let mut together = self.process.at_the_end();
        together.extend(closed);
        together.sort_unstable();
        self.process.unmapped.push(together);
    }

    fn end(mut self) -> (usize, Process) {
        self.end_search();
        // No record follows: the process ended.
        for at in std::mem::take(&mut self.closed) {
            if let Some(load) = self.process.loads.get_mut(at) {
                load.stayed = true;
            }
        }
        self.process.failed_opens = self.failed.saturating_sub(self.failed_before);
        (self.at, self.process)
    }
}

/// The rule of the last path that was tried; without one, the name was a path.
fn found_by(search: &Search, place: Option<Place>) -> By {
    By::Rule(match place {
        None if !search.instead.as_os_str().is_empty() => return By::Audit,
        _ if search.call == Call::Preload => Rule::Preload,
        None => Rule::Path,
        Some(Place::LibraryPath) => Rule::LdLibraryPath,
        // glibc ignores DT_RPATH for an object that has a DT_RUNPATH (elf/dl-load.c, _dl_map_object).
        Some(Place::RunPath) if search.runpath => Rule::Runpath,
        Some(Place::RunPath) => Rule::Rpath,
        Some(Place::Cache) => Rule::Cache,
        Some(Place::Default) => Rule::Default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of one process, a line each: its fields, by tabs.
    fn trace(lines: &str) -> Trace {
        let host = Host::new("/nowhere".into(), BTreeMap::new(), "/".into());
        let fields = lines.lines().map(|line| line.replace('\t', "\0") + "\0");
        let bytes: Vec<u8> = fields.flat_map(|fields| records::written(7, 0, &fields)).collect();
        Trace::read(&bytes, &Objects::new(&host))
    }

    /// The rule of a search that ended at `/a/libcudart.so.12`, tried under this `LA_SER_*`.
    fn rule(place: &str, runpath: &str) -> &'static str {
        let trace = trace(&format!(
            "start\t/p\tp\t1\nsearch\tlibcudart.so.12\tneeded\t/u\t{runpath}\t\n\
             try\t2\t/none/libcudart.so.12\ntry\t{place}\t/a/libcudart.so.12\nopen\t0\t/a/libcudart.so.12\n"
        ));
        let (request, by) = trace.processes[0].loads[0].request.clone().unwrap();
        assert_eq!((request.tried_count, request.tried.len()), (1, 1));
        by.id()
    }

    #[test]
    fn the_last_tried_file_gives_the_rule() {
        assert_eq!(rule("2", "runpath"), "ld_library_path");
        assert_eq!(rule("4", "runpath"), "runpath");
        assert_eq!(rule("4", "rpath"), "rpath");
        assert_eq!(rule("8", "rpath"), "cache");
        assert_eq!(rule("64", "rpath"), "default");
    }

    #[test]
    fn exit_unmaps_nothing_and_dlclose_does() {
        let read = |rest: &str| {
            let process = trace(&format!("start\t/p\tp\t1\nopen\t0\t/a\nopen\t0\t/b\n{rest}")).processes.remove(0);
            (process.at_the_end(), process.unmapped)
        };
        assert_eq!(read("close\t/b\nclose\t\nclose\t/a\n"), (vec![0, 1], vec![]));
        assert_eq!(read("close\t\nclose\t/b\nfailed\t0\n"), (vec![0, 1], vec![]));
        assert_eq!(read("close\t/b\nfailed\t0\n"), (vec![0], vec![vec![0, 1]]));
    }

    #[test]
    fn the_number_of_kept_tries_is_bounded() {
        let start = "start\t/p\tp\t1\nsearch\tlibcuda.so.1\tdlopen\t\trpath\t\n".to_owned();
        let tries = (0..1000).map(|at| format!("try\t64\t/{at}/libcuda.so.1\n"));
        let text: String = [start].into_iter().chain(tries).collect();
        let process = trace(&text).processes.remove(0);
        let (request, unresolved) = &process.unresolved[0];
        assert_eq!((request.tried.len(), request.tried_count, unresolved), (TRIED, 1000, &Unresolved::NotFound));
        assert_eq!(request.requester, Path::new("/p"));
    }
}
