//! Judges the link maps of a traced command.
//!
//! Takes the processes of a trace and the exit of the command; gives a [`Verdict`] with findings. Libraries that were
//! mapped at the same time are judged together, by the rules of `check`: a library that was unmapped before the next
//! one was mapped conflicts with nothing.

use super::{By, Call, NameRequest, Process, Trace, Unresolved};
use crate::check::{Depth, MissingSymbol, Moments, Verdict};
use crate::host::FileId;
use crate::loader::{Loader, Rule};
use crate::tables::parse_library_name;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

/// A defect in a trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// A stable word for programs.
    pub id: &'static str,
    /// The process.
    pub pid: u32,
    /// One clause for people.
    pub says: String,
}

/// The defects of a whole trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The result in one word.
    pub verdict: Verdict,
    /// The defects, each once per process.
    pub findings: Vec<Finding>,
    /// The undefined symbols.
    pub missing: Vec<MissingSymbol>,
    /// The releases of the mapped libraries.
    pub releases: BTreeMap<FileId, String>,
}

/// Judges a trace. Binds symbols only after a failure: `failed` is that of the command; a process that unmapped a
/// library right after it mapped it shows one too.
#[must_use]
pub fn judge(trace: &Trace, loader: &Loader, failed: bool) -> Judgement {
    let mut bench = Bench {
        loader,
        moments: Moments::new(loader),
        findings: BTreeSet::new(),
        missing: BTreeSet::new(),
        releases: BTreeMap::new(),
        verdict: Verdict::Loads,
    };
    for process in &trace.processes {
        for together in &process.unmapped {
            bench.moment(process, together, Depth::Symbols);
        }
        bench.moment(process, &process.at_the_end(), if failed { Depth::Symbols } else { Depth::Files });
        bench.not_found(process, failed);
        bench.not_started(process);
    }
    Judgement {
        verdict: bench.verdict,
        findings: bench.findings.into_iter().collect(),
        missing: bench.missing.into_iter().collect(),
        releases: bench.releases,
    }
}

struct Bench<'l> {
    loader: &'l Loader,
    moments: Moments<'l>,
    findings: BTreeSet<Finding>,
    missing: BTreeSet<MissingSymbol>,
    releases: BTreeMap<FileId, String>,
    verdict: Verdict,
}

impl Bench<'_> {
    fn add(&mut self, process: &Process, id: &'static str, says: String) {
        self.findings.insert(Finding { id, pid: process.pid, says });
    }

    /// Judges the files that were mapped at one moment.
    fn moment(&mut self, process: &Process, indices: &[usize], depth: Depth) {
        let objects = self.loader.objects();
        // Another namespace has its own link map.
        let loads = indices.iter().filter_map(|at| process.loads.get(*at)).filter(|load| load.namespace == 0);
        let loads = loads.map(|load| (load.path.as_path(), load.request.as_ref().map(|(_, by)| *by)));
        let files = std::iter::once((process.program.as_path(), None)).chain(loads).filter_map(|(path, by)| {
            let rule = match by {
                Some(By::Rule(rule)) => rule,
                Some(By::Audit) | None => Rule::Mapped,
            };
            Some((path.to_owned(), objects.open(path).ok()?, rule))
        });
        let judged = self.moments.judge(process.command.clone(), files.collect(), depth);
        self.verdict = self.verdict.max(judged.verdict);
        for finding in judged.findings {
            self.add(process, finding.id, finding.says());
        }
        self.missing.extend(judged.missing);
        let releases = judged.objects.into_iter().filter_map(|object| Some((object.id, object.version?.to_string())));
        self.releases.extend(releases);
    }

    /// ld.so ended the process. It printed the reason (no static TLS left, an assertion) to standard error, which the
    /// trace does not read.
    fn not_started(&mut self, process: &Process) {
        if process.began {
            return;
        }
        self.verdict = Verdict::Fails;
        let says = format!("`{}` did not start: ld.so printed the reason", process.program.display());
        self.add(process, "not-started", says);
    }

    fn not_found(&mut self, process: &Process, failed: bool) {
        for (request, unresolved) in &process.unresolved {
            let name = request.name.display();
            let requester = request.requester.display();
            let (id, says) = match unresolved {
                Unresolved::NotFound if request.call == Call::Needed => {
                    ("library-not-found", format!("`{requester}` needs {name}, which was not found"))
                }
                // A program may fall back after dlopen, unless it failed and mapped no other library of the kind.
                Unresolved::NotFound if failed && !has_kind(process, request) => {
                    let says = format!("`{requester}` opened {name}, which was not found");
                    if parse_library_name(&request.name).is_some_and(|name| name.row.is_driver()) {
                        // Without a GPU there is no driver, and the failure may have another cause.
                        self.add(process, "no-driver", says);
                        continue;
                    }
                    ("library-not-found", says)
                }
                Unresolved::Damaged(path, error) => (
                    "truncated-or-foreign-elf",
                    format!("{name}, opened by `{requester}`, resolved to `{}`: {error}", path.display()),
                ),
                _ => continue,
            };
            self.verdict = Verdict::Fails;
            self.add(process, id, says);
        }
    }
}

/// Whether the process mapped a library of the same stem, or the name is not a CUDA library.
fn has_kind(process: &Process, request: &NameRequest) -> bool {
    let stem = |name: &OsStr| Some(parse_library_name(Path::new(name).file_name()?)?.stem());
    let Some(requested) = stem(&request.name) else { return true };
    process.loads.iter().any(|load| stem(load.path.as_os_str()) == Some(requested))
}
