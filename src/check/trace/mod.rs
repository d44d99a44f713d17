//! What the loader really did in a tree of processes: which library it mapped, for whom, and by which rule.
//!
//! Takes the records of the audit door and the files they name; gives one [`Process`] for each program that ran, and the
//! verdict on what each had mapped. The shim tells only of processes it was loaded into; whose loader is not glibc's, or
//! whose environment was cleared, leaves no record.

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

/// How many of the files that a search tried in vain are kept.
pub const TRIED: usize = 64;

/// By what a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// One of the loader's own rules.
    Rule(Rule),
    /// The audit door led the loader there.
    Audit,
}

impl By {
    /// As programs are told.
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

/// Who asked for a name, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name.
    pub name: OsString,
    /// The call.
    pub call: Call,
    /// The object; the program's own file where that asked.
    pub asker: PathBuf,
    /// Files tried in vain before the answer: the first [`TRIED`].
    pub tried: Vec<PathBuf>,
    /// How many those were in all.
    pub tried_count: usize,
}

/// An object that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The file, by the path that the loader opened.
    pub path: PathBuf,
    /// Which file that is; `None` where it is gone by now.
    pub id: Option<FileId>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// What it was asked for as, and by what it was found; known of CUDA's names only.
    pub asked: Option<(Asked, By)>,
    /// The link-map namespace: 0 is the program's own.
    pub namespace: u32,
    /// Whether it was mapped before this process was forked off.
    pub inherited: bool,
    /// Whether it was still mapped at the end.
    pub stayed: bool,
}

/// Why a name led to no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vain {
    /// There is no such file.
    NotFound,
    /// This file was found, but not mapped: it was only asked whether it is mapped (`RTLD_NOLOAD`), or it could not be.
    NotMapped(PathBuf),
    /// This file was found, and is damaged or no library of this machine.
    Damaged(PathBuf, String),
}

/// A program that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its file.
    pub program: PathBuf,
    /// Its arguments, as far as they were kept.
    pub command: String,
    /// Whether it was forked off without starting a program.
    pub forked: bool,
    /// What was mapped, in order.
    pub loads: Vec<Load>,
    /// What was asked for in vain.
    pub in_vain: Vec<(Asked, Vain)>,
    /// How many files its searches tried that were not there.
    pub failed_opens: u64,
    /// What was mapped together when something was unmapped again, as indices of `loads`: where a dlopen fails, that is
    /// what it failed with.
    pub unmapped: Vec<Vec<usize>>,
    /// Whether it began: the loader was done with what it is linked with.
    pub began: bool,
}

impl Process {
    /// What was mapped at the end, as indices of `loads`.
    #[must_use]
    pub fn at_the_end(&self) -> Vec<usize> {
        self.loads.iter().enumerate().filter(|(_, load)| load.stayed).map(|(at, _)| at).collect()
    }
}

/// All that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The programs, in the order they started.
    pub processes: Vec<Process>,
    /// Lines that could not be read.
    pub lost: usize,
}

impl Trace {
    /// Reads the records. `objects` tells which of the files they name are one, and which are damaged.
    #[must_use]
    pub fn read(bytes: &[u8], objects: &Objects) -> Self {
        let (records, lost) = records::parse(bytes);
        let mut done = Vec::new();
        let mut running: BTreeMap<u32, Watch<'_>> = BTreeMap::new();
        let mut order = Vec::new();
        for (pid, event) in records {
            match event {
                Event::Start { program, command, parent } => {
                    // execve(2) keeps the number.
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
                        watch.see(event);
                    }
                }
            }
        }
        done.extend(running.into_values().map(Watch::end));
        done.sort_by_key(|(at, _)| *at);
        Self { processes: done.into_iter().map(|(_, process)| process).collect(), lost }
    }

    /// The files tried in vain, of all processes.
    #[must_use]
    pub fn failed_opens(&self) -> u64 {
        self.processes.iter().map(|process| process.failed_opens).sum()
    }
}

/// One process while its records are read.
#[derive(Clone)]
struct Watch<'o> {
    objects: &'o Objects,
    at: usize,
    process: Process,
    search: Option<Search>,
    tried: Vec<(Place, PathBuf)>,
    closed: Vec<usize>,
    /// Whether the program itself was unmapped: the loader does that first when the process ends (elf/dl-fini.c), and a
    /// destructor may close more after that.
    ending: bool,
    /// What had failed before this process was forked off.
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
            in_vain: Vec::new(),
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
        process.in_vain.clear();
        process.unmapped.clear();
        for load in &mut process.loads {
            load.inherited = true;
        }
        child
    }

    fn see(&mut self, event: Event) {
        // The end of a process is told by no call but those of what it unmaps.
        if matches!(event, Event::Search(_) | Event::Open { .. } | Event::Failed(_)) {
            self.unmapped();
        }
        match event {
            Event::Search(search) => {
                self.nothing_mapped();
                self.search = Some(search);
            }
            Event::Try(place, path) => self.tried.push((place, path)),
            Event::Open { namespace, path } => self.mapped(namespace, path),
            Event::Close(path) => self.close(&path),
            Event::Failed(count) => {
                self.nothing_mapped();
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
            self.nothing_mapped();
        }
        let asked = self.search.take().map(|search| {
            let place = self.tried.pop().map(|(place, _)| place);
            let by = found_by(&search, place);
            (self.asked(search), by)
        });
        if !path.is_absolute() {
            return;
        }
        let id = self.host().stat(&path).ok().map(|stat| stat.id);
        let object = self.objects.open(&path).ok();
        let soname = object.and_then(|object| object.facts.soname.as_ref()?.to_str().map(str::to_owned));
        self.process.loads.push(Load { path, id, soname, asked, namespace, inherited: false, stayed: true });
    }

    fn asked(&mut self, search: Search) -> Asked {
        let tried_count = self.tried.len();
        let tried = std::mem::take(&mut self.tried).into_iter().map(|(_, path)| path).take(TRIED).collect();
        let asker = if search.asker.as_os_str().is_empty() { self.process.program.clone() } else { search.asker };
        Asked { name: search.name, call: search.call, asker, tried, tried_count }
    }

    /// The search that was going on led to no new object.
    fn nothing_mapped(&mut self) {
        let Some(search) = self.search.take() else {
            self.tried.clear();
            return;
        };
        let named = |name: &OsStr| name.as_bytes().contains(&b'/').then(|| PathBuf::from(name));
        let last = self.tried.last().map(|(_, path)| path.clone());
        let instead = Some(search.instead.clone()).filter(|path| !path.as_os_str().is_empty());
        let last = last.or(instead).or_else(|| named(&search.name));
        // Where a process stood when it named a relative path is not known.
        if last.as_ref().is_some_and(|path| !path.is_absolute()) {
            self.tried.clear();
            return;
        }
        let vain = match last.as_ref().and_then(|path| Some((path, self.host().stat(path).ok()?))) {
            // The loader knows a file that it has by its inode, whatever the path.
            Some((_, stat)) if self.process.loads.iter().any(|load| load.stayed && load.id == Some(stat.id)) => {
                self.tried.clear();
                return;
            }
            Some((path, _)) => match self.objects.open(path) {
                Ok(_) => Vain::NotMapped(path.clone()),
                Err(error) => Vain::Damaged(path.clone(), error.to_string()),
            },
            None => Vain::NotFound,
        };
        if vain != Vain::NotFound {
            self.tried.pop();
        }
        let asked = self.asked(search);
        self.process.in_vain.push((asked, vain));
    }

    fn close(&mut self, path: &Path) {
        self.nothing_mapped();
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

    /// Something comes after what was unmapped, so that it was not the end of the process.
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
        self.nothing_mapped();
        // With nothing after it, it was the end of the process.
        for at in std::mem::take(&mut self.closed) {
            if let Some(load) = self.process.loads.get_mut(at) {
                load.stayed = true;
            }
        }
        self.process.failed_opens = self.failed.saturating_sub(self.failed_before);
        (self.at, self.process)
    }
}

/// The rule behind the last file that was tried; without one, the name was a path.
fn found_by(search: &Search, place: Option<Place>) -> By {
    By::Rule(match place {
        None if !search.instead.as_os_str().is_empty() => return By::Audit,
        _ if search.call == Call::Preload => Rule::Preload,
        None => Rule::Path,
        Some(Place::LibraryPath) => Rule::LdLibraryPath,
        // glibc does not look at any DT_RPATH for an object that has a DT_RUNPATH (elf/dl-load.c, _dl_map_object).
        Some(Place::RunPath) if search.runpath => Rule::Runpath,
        Some(Place::RunPath) => Rule::Rpath,
        Some(Place::Cache) => Rule::Cache,
        Some(Place::Default) => Rule::Default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule for one search that ended at `/a/libcudart.so.12`, tried by this `LA_SER_*`.
    fn rule(place: &str, runpath: &str) -> &'static str {
        let text = format!(
            "7\tstart\t/p\tp\t1\t.\n7\tsearch\tlibcudart.so.12\tneeded\t/u\t{runpath}\t\t.\n\
             7\ttry\t2\t/none/libcudart.so.12\t.\n7\ttry\t{place}\t/a/libcudart.so.12\t.\n7\topen\t0\t/a/libcudart.so.12\t.\n"
        );
        let host = Host::new("/nowhere".into(), BTreeMap::new(), "/".into());
        let objects = Objects::new(&host);
        let trace = Trace::read(text.as_bytes(), &objects);
        let (asked, by) = trace.processes[0].loads[0].asked.clone().unwrap();
        assert_eq!((asked.tried_count, asked.tried.len()), (1, 1));
        by.id()
    }

    #[test]
    fn the_last_file_that_was_tried_tells_the_rule() {
        assert_eq!(rule("2", "runpath"), "ld_library_path");
        assert_eq!(rule("4", "runpath"), "runpath");
        assert_eq!(rule("4", "rpath"), "rpath");
        assert_eq!(rule("8", "rpath"), "cache");
        assert_eq!(rule("64", "rpath"), "default");
    }

    #[test]
    fn what_ends_unmaps_nothing_and_what_is_closed_stays_closed() {
        let host = Host::new("/nowhere".into(), BTreeMap::new(), "/".into());
        let objects = Objects::new(&host);
        let read = |rest: &str| {
            let text = format!("7\tstart\t/p\tp\t1\t.\n7\topen\t0\t/a\t.\n7\topen\t0\t/b\t.\n{rest}");
            let process = Trace::read(text.as_bytes(), &objects).processes.remove(0);
            (process.at_the_end(), process.unmapped)
        };
        assert_eq!(read("7\tclose\t/b\t.\n7\tclose\t\t.\n7\tclose\t/a\t.\n"), (vec![0, 1], vec![]));
        assert_eq!(read("7\tclose\t\t.\n7\tclose\t/b\t.\n7\tfailed\t0\t.\n"), (vec![0, 1], vec![]));
        assert_eq!(read("7\tclose\t/b\t.\n7\tfailed\t0\t.\n"), (vec![0], vec![vec![0, 1]]));
    }

    #[test]
    fn only_so_many_tries_are_kept() {
        let host = Host::new("/nowhere".into(), BTreeMap::new(), "/".into());
        let objects = Objects::new(&host);
        let start = "7\tstart\t/p\tp\t1\t.\n7\tsearch\tlibcuda.so.1\tdlopen\t\trpath\t\t.\n".to_owned();
        let tries = (0..1000).map(|at| format!("7\ttry\t64\t/{at}/libcuda.so.1\t.\n"));
        let text: String = [start].into_iter().chain(tries).collect();
        let process = Trace::read(text.as_bytes(), &objects).processes.remove(0);
        let (asked, vain) = &process.in_vain[0];
        assert_eq!((asked.tried.len(), asked.tried_count, vain), (TRIED, 1000, &Vain::NotFound));
        assert_eq!(asked.asker, Path::new("/p"));
    }
}
