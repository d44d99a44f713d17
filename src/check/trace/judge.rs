//! What is wrong with what a process had mapped.
//!
//! Takes the processes of a trace and how the command ended; gives a [`Verdict`] with findings. What was mapped together is
//! judged together, by the rules of `check`: a library that was unmapped before the next was mapped tears nothing.

use super::{Asked, By, Call, Process, Trace, Vain};
use crate::check::{Depth, MissingSymbol, Moments, Verdict};
use crate::host::FileId;
use crate::loader::{Loader, Rule};
use crate::tables::parse_library_name;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// A stable word for programs.
    pub id: &'static str,
    /// The process.
    pub pid: u32,
    /// One clause for people.
    pub says: String,
}

/// What is wrong in a whole trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// What is wrong, each thing once for each process.
    pub findings: Vec<Finding>,
    /// What nothing defines.
    pub missing: Vec<MissingSymbol>,
    /// The releases of the libraries that were mapped.
    pub releases: BTreeMap<FileId, String>,
}

/// Judges a trace. Symbols are looked for where something went wrong: `failed` says that the command did, and a
/// process that had to unmap what it had just mapped says it too.
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

    /// What was mapped at one moment.
    fn moment(&mut self, process: &Process, indices: &[usize], depth: Depth) {
        let objects = self.loader.objects();
        // Another namespace is a world of its own.
        let loads = indices.iter().filter_map(|at| process.loads.get(*at)).filter(|load| load.namespace == 0);
        let loads = loads.map(|load| (load.path.as_path(), load.asked.as_ref().map(|(_, by)| *by)));
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

    /// The loader ended it, and said why on its standard error, which is not ours to read: no static TLS left, an assertion.
    fn not_started(&mut self, process: &Process) {
        if process.began {
            return;
        }
        self.verdict = Verdict::Fails;
        let says =
            format!("`{}` did not start: ld.so printed the reason", process.program.display());
        self.add(process, "not-started", says);
    }

    fn not_found(&mut self, process: &Process, failed: bool) {
        for (asked, vain) in &process.in_vain {
            let name = asked.name.display();
            let asker = asked.asker.display();
            let (id, says) = match vain {
                Vain::NotFound if asked.call == Call::Needed => {
                    ("library-not-found", format!("`{asker}` needs {name}, which was not found"))
                }
                // A program may do without what it asks for by dlopen, unless it failed and got no other of the kind.
                Vain::NotFound if failed && !has_kind(process, asked) => {
                    let says = format!("`{asker}` opened {name}, which was not found");
                    if parse_library_name(&asked.name).is_some_and(|name| name.row.is_driver()) {
                        // Where there is no GPU there is no driver, and what fails may fail for another reason.
                        self.add(process, "no-driver", says);
                        continue;
                    }
                    ("library-not-found", says)
                }
                Vain::Damaged(path, error) => (
                    "truncated-or-foreign-elf",
                    format!("{name}, opened by `{asker}`, resolved to `{}`: {error}", path.display()),
                ),
                _ => continue,
            };
            self.verdict = Verdict::Fails;
            self.add(process, id, says);
        }
    }
}

/// Whether the process had a library of the same stem, or the name asked for is none of CUDA's.
fn has_kind(process: &Process, asked: &Asked) -> bool {
    let stem = |name: &OsStr| Some(parse_library_name(Path::new(name).file_name()?)?.stem());
    let Some(wanted) = stem(&asked.name) else { return true };
    process.loads.iter().any(|load| stem(load.path.as_os_str()) == Some(wanted))
}
