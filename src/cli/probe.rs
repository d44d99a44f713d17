//! `--probe`: calls the version functions of an inventory's libraries, several libraries at a time.

use super::context::Context;
use super::failure::Result;
use super::output;
use crate::diagnose::Finding;
use crate::host::{FileId, Host};
use crate::inventory::{About, Evidence, Inventory, Library, Problem, answered};
use crate::launch::probe::{Answer, End, ProbeError, ProbeResult, Prober};
use crate::loader::Loader;
use crate::tables::{ProbeRow, Version, parse_library_name, probes_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// The finding if the driver has no usable device for this process; queried in a child process.
pub(super) fn refused(context: &Context, libcuda: &Path) -> Result<Option<Finding>> {
    let host = context.host();
    let mut prober = context.prober()?;
    // An empty list hides every device, so it is passed on too.
    if let Some(devices) = host.environment().get(OsStr::new("CUDA_VISIBLE_DEVICES")) {
        prober = prober.variable("CUDA_VISIBLE_DEVICES", devices);
    }
    let result = prober.devices(libcuda, None)?.cuda;
    if let End::Untrusted(why) = &result.end {
        log::warn!("cannot ask `{}` for its devices: {why}", libcuda.display());
        return Ok(None);
    }
    let cause = match (&result.init, result.count) {
        (Some(status), _) if status.number != 0 => {
            format!("cuInit of `{}` returns {} ({})", libcuda.display(), status.number, status.name)
        }
        (Some(_), Some(0)) => "CUDA shows no device to this process".to_owned(),
        (Some(_), Some(_)) => return Ok(None),
        _ => format!("`{}` was asked for its devices: {}", libcuda.display(), result.end),
    };
    let hidden = host.environment().get(OsStr::new("CUDA_VISIBLE_DEVICES"));
    let hint = match hidden {
        Some(list) => format!("CUDA_VISIBLE_DEVICES is `{}`: it may hide the device", list.display()),
        None => "run `cudashim doctor` for the reason".to_owned(),
    };
    Ok(Finding::device_refused(cause, hint))
}

/// The library directories of each installation.
struct Directories(BTreeMap<PathBuf, BTreeSet<PathBuf>>);

impl Directories {
    fn new(inventory: &Inventory) -> Self {
        let mut dirs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for library in inventory.libraries.iter().filter(|library| !library.is_stub()) {
            dirs.entry(library.place.root.clone()).or_default().insert(library.place.dir.clone());
        }
        Self(dirs)
    }
}

/// One file to probe.
struct Job {
    path: PathBuf,
    file: FileId,
    functions: Vec<&'static ProbeRow>,
    neighbours: Vec<PathBuf>,
}

impl Job {
    /// `None` if the library is unusable or has no known version function.
    fn new(dirs: &Directories, library: &Library) -> Option<Self> {
        let functions: Vec<_> = probes_of(library.row.stem).collect();
        if functions.is_empty() || library.unusable.is_some() || library.object.is_none() {
            return None;
        }
        // The directories of its installation, as a program there would search them.
        let near = dirs.0.get(&library.place.root).into_iter().flatten();
        let neighbours = near.filter(|dir| **dir != library.place.dir).cloned().collect();
        Some(Self { path: library.path.clone(), file: library.stat.id, functions, neighbours })
    }

    fn ask(&self, prober: &Prober) -> std::result::Result<ProbeResult, ProbeError> {
        prober.ask(&self.path, &self.functions, &self.neighbours)
    }
}

/// Probes every library that has a version function, and adds the answers to the inventory.
pub(super) fn probe(context: &Context, loader: &Loader, inventory: &mut Inventory, stop: &AtomicBool) -> Result<()> {
    let dirs = Directories::new(inventory);
    let mut files = BTreeSet::new();
    let mut jobs: Vec<Job> = inventory.libraries.iter().filter_map(|library| Job::new(&dirs, library)).collect();
    jobs.retain(|job| files.insert(job.file));
    if jobs.is_empty() {
        output::note("no library here can be asked for its version");
        return Ok(());
    }
    let results = probe_all(&context.prober()?, &jobs, stop)?;
    let outcome = add_answers(loader, inventory, &jobs, &results);
    for (path, why) in &outcome.untrusted {
        log::info!("not probed: `{}`: {why}", path.display());
    }
    let foreign = outcome.untrusted.len();
    let count = results.iter().flatten().count().saturating_sub(foreign);
    if count > 0 || foreign == 0 {
        let answered = count.saturating_sub(outcome.unanswered);
        output::note(&format!("asked {} for their versions: {answered} answered", counted(count)));
    }
    if foreign > 0 {
        output::note(&format!("did not load {}, which others can write to; -v lists them", counted(foreign)));
    }
    Ok(())
}

/// Probes these files; a note gives the reason for each file that is not probed.
pub(super) fn files(context: &Context, loader: &Loader, inventory: &mut Inventory, files: &[PathBuf]) -> Result<()> {
    let host = loader.host();
    let dirs = Directories::new(inventory);
    let mut jobs = Vec::new();
    for file in files {
        let id = host.stat(file).ok().map(|stat| stat.id);
        let library = inventory.libraries.iter().find(|library| Some(library.stat.id) == id);
        let why = match library.map(|library| (Job::new(&dirs, library), &library.unusable)) {
            Some((Some(job), _)) => {
                jobs.push(job);
                continue;
            }
            Some((None, Some(why))) => why.clone(),
            Some((None, None)) => "it has no version function".to_owned(),
            None => "it is not named like a library of NVIDIA's".to_owned(),
        };
        note_not_probed(file, &why);
    }
    if !jobs.is_empty() {
        let results = probe_all(&context.prober()?, &jobs, &AtomicBool::new(false))?;
        for (path, why) in add_answers(loader, inventory, &jobs, &results).untrusted {
            note_not_probed(&path, &why);
        }
    }
    Ok(())
}

fn note_not_probed(file: &Path, why: &str) {
    output::note(&format!("cannot ask `{}` for its version: {why}", file.display()));
}

fn counted(count: usize) -> String {
    if count == 1 { "1 library".to_owned() } else { format!("{count} libraries") }
}

/// The result of probing, besides the answers.
#[derive(Default)]
struct Outcome {
    /// How many libraries did not answer.
    unanswered: usize,
    /// Libraries not loaded because other users may write to them, and the reason.
    untrusted: Vec<(PathBuf, String)>,
}

/// Adds the answers to the inventory.
fn add_answers(loader: &Loader, inventory: &mut Inventory, jobs: &[Job], results: &[Option<ProbeResult>]) -> Outcome {
    let host = loader.host();
    let driver = loader.find(OsStr::new("libcuda.so.1")).is_some();
    let mut outcome = Outcome::default();
    for (job, result) in jobs.iter().zip(results) {
        let Some(result) = result else { continue };
        if let End::Untrusted(why) = &result.end {
            outcome.untrusted.push((job.path.clone(), why.clone()));
            continue;
        }
        if let Some((row, answer)) = failure(result) {
            outcome.unanswered = outcome.unanswered.saturating_add(1);
            log::info!("no answer: `{}`: {} {answer}", job.path.display(), row.function);
        }
        inventory.problems.extend(problem(job, result, driver));
        for library in inventory.libraries.iter_mut().filter(|library| library.stat.id == job.file) {
            library.learn(evidence(host, library, result));
        }
    }
    outcome
}

/// The first function that returned no version, and its answer.
fn failure(result: &ProbeResult) -> Option<&(&'static ProbeRow, Answer)> {
    result.answers.iter().find(|(_, answer)| matches!(answer, Answer::Refused { .. } | Answer::Failed(_)))
}

/// The results, in the order of the jobs; `None` for jobs not run before an interrupt.
fn probe_all(
    prober: &Prober,
    jobs: &[Job],
    stop: &AtomicBool,
) -> std::result::Result<Vec<Option<ProbeResult>>, ProbeError> {
    let shows_progress = !output::is_quiet() && std::io::stderr().is_terminal();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<Option<ProbeResult>> = jobs.iter().map(|_| None).collect();
    let mut failed = None;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { break };
                    if sender.send((at, job.ask(prober))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (count, (at, result)) in receiver.iter().enumerate() {
            match (result, results.get_mut(at)) {
                (Ok(result), Some(slot)) => *slot = Some(result),
                (Err(error), _) => {
                    failed = Some(error);
                    stop.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            if shows_progress {
                let _ = write!(std::io::stderr(), "\rcudashim: asked {} of {} libraries", count + 1, jobs.len());
            }
        }
    });
    if shows_progress {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    failed.map_or(Ok(results), Err)
}

/// The answers as evidence for the release. A failure is listed, without a version.
fn evidence(host: &Host, library: &Library, result: &ProbeResult) -> Vec<Evidence> {
    let via = other_provider(host, library, result);
    let failure = failure(result).into_iter().map(|(row, answer)| (row, None, format!("{} {answer}", row.function)));
    let returned = result.answers.iter().filter_map(|(row, answer)| match answer {
        Answer::Returned { version, .. } => Some((row, version.clone(), format!("{} {answer}", row.function))),
        _ => None,
    });
    let evidence = |(row, version, text): (&&ProbeRow, Option<Version>, String)| {
        let about = if row.own { About::Library } else { About::Cuda };
        match via {
            // Another file answered: this is listed, but is not evidence for a version.
            Some(path) => answered(library.row.family, format!("{text}, from `{}`", path.display()), None, about),
            None => answered(library.row.family, text, version, about),
        }
    };
    returned.chain(failure).map(evidence).collect()
}

/// A file of the same group from another directory that was mapped in the child: cuDNN's dispatcher calls the part that
/// it finds.
fn other_provider<'a>(host: &Host, library: &Library, result: &'a ProbeResult) -> Option<&'a Path> {
    let group = library.row.group?;
    let own = host.stat(&library.place.dir).ok()?.id;
    let elsewhere = |path: &&PathBuf| {
        let kin = path.file_name().and_then(parse_library_name).is_some_and(|name| name.row.group == Some(group));
        kin && path.parent().and_then(|dir| host.stat(dir).ok()).is_some_and(|dir| dir.id != own)
    };
    result.mapped.iter().find(elsewhere).map(PathBuf::as_path)
}

/// The problem that a failure shows. An error code is not a problem, nor is a failure that the missing `driver`
/// explains.
fn problem(job: &Job, result: &ProbeResult, driver: bool) -> Option<Problem> {
    let failed = result.answers.iter().find(|(_, answer)| matches!(answer, Answer::Failed(_))).map(|(row, _)| *row);
    let id = match &result.end {
        End::Done | End::Untrusted(_) => return None,
        _ if !driver && failed.is_some_and(|row| row.needs_driver) => return None,
        End::NotLoaded(message) if missing_driver(message) => return None,
        End::NotLoaded(_) => "probe-not-loaded",
        End::TimedOut => "probe-timed-out",
        _ => "probe-crashed",
    };
    let says = match failed.filter(|_| id != "probe-not-loaded") {
        Some(row) => format!("{} {}", row.function, result.end),
        None => result.end.to_string(),
    };
    Some(Problem { id, path: job.path.clone(), says })
}

/// Whether ld.so's message names a missing library of the driver: `libcuda.so.1: cannot open shared object file: …`.
fn missing_driver(message: &str) -> bool {
    message.split_once(':').and_then(|(name, _)| parse_library_name(name)).is_some_and(|name| name.row.is_driver())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(stem: &str, end: &End) -> (Job, ProbeResult) {
        let functions: Vec<_> = probes_of(stem).collect();
        let answers = functions.iter().map(|row| (*row, Answer::Failed(end.clone()))).collect();
        let job = Job {
            path: format!("/lib{stem}.so").into(),
            file: FileId { dev: 0, ino: 0 },
            functions,
            neighbours: Vec::new(),
        };
        (job, ProbeResult { answers, mapped: Vec::new(), end: end.clone() })
    }

    fn found(stem: &str, end: &End, driver: bool) -> Option<(&'static str, String)> {
        let (job, result) = failed(stem, end);
        problem(&job, &result, driver).map(|problem| (problem.id, problem.says))
    }

    #[test]
    fn each_failure_has_its_problem() {
        let not_loaded = |message: &str| End::NotLoaded(message.to_owned());
        let timed_out = ("probe-timed-out", "cublasGetProperty did not answer in time".to_owned());
        assert_eq!(found("cublas", &End::TimedOut, false), Some(timed_out));
        assert_eq!(found("cublas", &End::Garbled, false).map(|(id, _)| id), Some("probe-crashed"));
        let missing = "libmlx5.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(found("cublas", &not_loaded(missing), true).map(|(id, _)| id), Some("probe-not-loaded"));
        assert_eq!(found("cublas", &not_loaded("libcuda.so.1: cannot open"), true), None);
        assert_eq!(found("cublas", &End::Done, true), None);
    }

    #[test]
    fn a_missing_driver_explains_failures_of_libraries_that_need_it() {
        let crashed = End::Crashed { signal: 11 };
        assert_eq!(found("cupti", &crashed, false), None);
        let crash = ("probe-crashed", "cuptiGetVersion crashed with SIGSEGV".to_owned());
        assert_eq!(found("cupti", &crashed, true), Some(crash));
        assert_eq!(found("cublas", &crashed, false).map(|(id, _)| id), Some("probe-crashed"));
    }
}
