//! `--probe`: the libraries of an inventory asked what they are, several at a time.

use super::context::Context;
use super::failure::Result;
use super::output;
use crate::diagnose::Finding;
use crate::host::{FileId, Host};
use crate::inventory::{About, Evidence, Inventory, Library, Problem, answered};
use crate::launch::probe::{Answer, Asked, End, ProbeError, Prober};
use crate::loader::Loader;
use crate::tables::{ProbeRow, Version, parse_library_name, probes_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// What a driver says to who asks it for a device, where that is no: in a process of its own.
pub(super) fn refused(context: &Context, libcuda: &Path) -> Result<Option<Finding>> {
    let host = context.host();
    let mut prober = context.prober()?;
    // An empty list hides every device, so this one is asked for as it stands.
    if let Some(devices) = host.environment().get(OsStr::new("CUDA_VISIBLE_DEVICES")) {
        prober = prober.variable("CUDA_VISIBLE_DEVICES", devices);
    }
    let said = prober.devices(libcuda, None)?.cuda;
    if let End::Untrusted(why) = &said.end {
        log::warn!("`{}` is not asked for its devices: {why}", libcuda.display());
        return Ok(None);
    }
    let says = match (&said.init, said.count) {
        (Some(status), _) if status.number != 0 => {
            format!("cuInit of `{}` returns {} ({})", libcuda.display(), status.number, status.name)
        }
        (Some(_), Some(0)) => "CUDA shows no device to this process".to_owned(),
        (Some(_), Some(_)) => return Ok(None),
        _ => format!("`{}` was asked for its devices: {}", libcuda.display(), said.end),
    };
    let hidden = host.environment().get(OsStr::new("CUDA_VISIBLE_DEVICES"));
    let hint = match hidden {
        Some(list) => format!("CUDA_VISIBLE_DEVICES is `{}`: it may hide the device", list.display()),
        None => "run `cudashim doctor` for the reason".to_owned(),
    };
    Ok(Finding::device_refused(says, hint))
}

/// The directories of each installation that hold libraries.
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

/// One file to be asked.
struct Job {
    path: PathBuf,
    file: FileId,
    questions: Vec<&'static ProbeRow>,
    neighbours: Vec<PathBuf>,
}

impl Job {
    /// `None` where nothing is to be asked, or nobody knows how.
    fn new(dirs: &Directories, library: &Library) -> Option<Self> {
        let questions: Vec<_> = probes_of(library.row.stem).collect();
        if questions.is_empty() || library.unusable.is_some() || library.object.is_none() {
            return None;
        }
        // Of its own installation: what a program there would find.
        let near = dirs.0.get(&library.place.root).into_iter().flatten();
        let neighbours = near.filter(|dir| **dir != library.place.dir).cloned().collect();
        Some(Self { path: library.path.clone(), file: library.stat.id, questions, neighbours })
    }

    fn ask(&self, prober: &Prober) -> std::result::Result<Asked, ProbeError> {
        prober.ask(&self.path, &self.questions, &self.neighbours)
    }
}

/// Asks every library that knows an answer, and takes the answers into the inventory.
pub(super) fn probe(context: &Context, loader: &Loader, inventory: &mut Inventory, stop: &AtomicBool) -> Result<()> {
    let dirs = Directories::new(inventory);
    let mut files = BTreeSet::new();
    let mut jobs: Vec<Job> = inventory.libraries.iter().filter_map(|library| Job::new(&dirs, library)).collect();
    jobs.retain(|job| files.insert(job.file));
    if jobs.is_empty() {
        output::note("no library here can be asked for its version");
        return Ok(());
    }
    let asked = ask_all(&context.prober()?, &jobs, stop)?;
    let learnt = learn(loader, inventory, &jobs, &asked);
    for (path, why) in &learnt.untrusted {
        log::info!("not asked: `{}`: {why}", path.display());
    }
    let foreign = learnt.untrusted.len();
    let count = asked.iter().flatten().count().saturating_sub(foreign);
    if count > 0 || foreign == 0 {
        let answered = count.saturating_sub(learnt.silent);
        output::note(&format!("asked {} for their versions: {answered} answered", counted(count)));
    }
    if foreign > 0 {
        output::note(&format!("did not load {}, which others can write to; -v lists them", counted(foreign)));
    }
    Ok(())
}

/// Asks these files, and says of those that are not asked why.
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
        not_asked(file, &why);
    }
    if !jobs.is_empty() {
        let asked = ask_all(&context.prober()?, &jobs, &AtomicBool::new(false))?;
        for (path, why) in learn(loader, inventory, &jobs, &asked).untrusted {
            not_asked(&path, &why);
        }
    }
    Ok(())
}

fn not_asked(file: &Path, why: &str) {
    output::note(&format!("cannot ask `{}` for its version: {why}", file.display()));
}

fn counted(count: usize) -> String {
    if count == 1 { "1 library".to_owned() } else { format!("{count} libraries") }
}

/// What came of the questions besides answers.
#[derive(Default)]
struct Learnt {
    /// How many libraries had no answer.
    silent: usize,
    /// Those that were not loaded, for others could have written what would have run, and why.
    untrusted: Vec<(PathBuf, String)>,
}

/// Takes the answers into the inventory.
fn learn(loader: &Loader, inventory: &mut Inventory, jobs: &[Job], asked: &[Option<Asked>]) -> Learnt {
    let host = loader.host();
    let driver = loader.find(OsStr::new("libcuda.so.1")).is_some();
    let mut learnt = Learnt::default();
    for (job, asked) in jobs.iter().zip(asked) {
        let Some(asked) = asked else { continue };
        if let End::Untrusted(why) = &asked.end {
            learnt.untrusted.push((job.path.clone(), why.clone()));
            continue;
        }
        if let Some((row, answer)) = failure(asked) {
            learnt.silent = learnt.silent.saturating_add(1);
            log::info!("no answer: `{}`: {} {answer}", job.path.display(), row.function);
        }
        inventory.problems.extend(problem(job, asked, driver));
        for library in inventory.libraries.iter_mut().filter(|library| library.stat.id == job.file) {
            library.learn(evidence(host, library, asked));
        }
    }
    learnt
}

/// The first function that gave no number, and what it gave instead.
fn failure(asked: &Asked) -> Option<&(&'static ProbeRow, Answer)> {
    asked.answers.iter().find(|(_, answer)| matches!(answer, Answer::Refused { .. } | Answer::Failed(_)))
}

/// The answers, in the order of the jobs; none for what was left when the user had enough.
fn ask_all(prober: &Prober, jobs: &[Job], stop: &AtomicBool) -> std::result::Result<Vec<Option<Asked>>, ProbeError> {
    let talks = !output::is_quiet() && std::io::stderr().is_terminal();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut answers: Vec<Option<Asked>> = jobs.iter().map(|_| None).collect();
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
        for (count, (at, asked)) in receiver.iter().enumerate() {
            match (asked, answers.get_mut(at)) {
                (Ok(asked), Some(slot)) => *slot = Some(asked),
                (Err(error), _) => {
                    failed = Some(error);
                    stop.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            if talks {
                let _ = write!(std::io::stderr(), "\rcudashim: asked {} of {} libraries", count + 1, jobs.len());
            }
        }
    });
    if talks {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    failed.map_or(Ok(answers), Err)
}

/// What the answers say of the release. One that failed says nothing of it, but is told.
fn evidence(host: &Host, library: &Library, asked: &Asked) -> Vec<Evidence> {
    let via = stranger(host, library, asked);
    let failure = failure(asked).into_iter().map(|(row, answer)| (row, None, format!("{} {answer}", row.function)));
    let spoken = asked.answers.iter().filter_map(|(row, answer)| match answer {
        Answer::Says { version, .. } => Some((row, version.clone(), format!("{} {answer}", row.function))),
        _ => None,
    });
    let evidence = |(row, version, says): (&&ProbeRow, Option<Version>, String)| {
        let about = if row.own { About::Library } else { About::Cuda };
        match via {
            // The word of another file: worth telling, and no evidence.
            Some(path) => answered(library.row.family, format!("{says}, as `{}` has it", path.display()), None, about),
            None => answered(library.row.family, says, version, about),
        }
    };
    spoken.chain(failure).map(evidence).collect()
}

/// A file of the same group from another directory that was there when the answer was given: cuDNN's dispatcher asks the
/// part that it finds.
fn stranger<'a>(host: &Host, library: &Library, asked: &'a Asked) -> Option<&'a Path> {
    let group = library.row.group?;
    let own = host.stat(&library.place.dir).ok()?.id;
    let elsewhere = |path: &&PathBuf| {
        let kin = path.file_name().and_then(parse_library_name).is_some_and(|name| name.row.group == Some(group));
        kin && path.parent().and_then(|dir| host.stat(dir).ok()).is_some_and(|dir| dir.id != own)
    };
    asked.mapped.iter().find(elsewhere).map(PathBuf::as_path)
}

/// What went wrong, in the words of a problem. An error code is none, nor what the missing `driver` explains.
fn problem(job: &Job, asked: &Asked, driver: bool) -> Option<Problem> {
    let failed = asked.answers.iter().find(|(_, answer)| matches!(answer, Answer::Failed(_))).map(|(row, _)| *row);
    let id = match &asked.end {
        End::Done | End::Untrusted(_) => return None,
        _ if !driver && failed.is_some_and(|row| row.needs_driver) => return None,
        End::NotLoaded(says) if missing_driver(says) => return None,
        End::NotLoaded(_) => "probe-not-loaded",
        End::TimedOut => "probe-timed-out",
        _ => "probe-crashed",
    };
    let says = match failed.filter(|_| id != "probe-not-loaded") {
        Some(row) => format!("{} {}", row.function, asked.end),
        None => asked.end.to_string(),
    };
    Some(Problem { id, path: job.path.clone(), says })
}

/// Whether ld.so says that a library of the driver's is missing: `libcuda.so.1: cannot open shared object file: …`.
fn missing_driver(says: &str) -> bool {
    says.split_once(':').and_then(|(name, _)| parse_library_name(name)).is_some_and(|name| name.row.is_driver())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(stem: &str, end: &End) -> (Job, Asked) {
        let questions: Vec<_> = probes_of(stem).collect();
        let answers = questions.iter().map(|row| (*row, Answer::Failed(end.clone()))).collect();
        let job = Job {
            path: format!("/lib{stem}.so").into(),
            file: FileId { dev: 0, ino: 0 },
            questions,
            neighbours: Vec::new(),
        };
        (job, Asked { answers, mapped: Vec::new(), end: end.clone() })
    }

    fn found(stem: &str, end: &End, driver: bool) -> Option<(&'static str, String)> {
        let (job, asked) = asked(stem, end);
        problem(&job, &asked, driver).map(|problem| (problem.id, problem.says))
    }

    #[test]
    fn what_goes_wrong_is_a_problem_of_its_own() {
        let not_loaded = |says: &str| End::NotLoaded(says.to_owned());
        let timed_out = ("probe-timed-out", "cublasGetProperty did not answer in time".to_owned());
        assert_eq!(found("cublas", &End::TimedOut, false), Some(timed_out));
        assert_eq!(found("cublas", &End::Garbled, false).map(|(id, _)| id), Some("probe-crashed"));
        let missing = "libmlx5.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(found("cublas", &not_loaded(missing), true).map(|(id, _)| id), Some("probe-not-loaded"));
        assert_eq!(found("cublas", &not_loaded("libcuda.so.1: cannot open"), true), None);
        assert_eq!(found("cublas", &End::Done, true), None);
    }

    #[test]
    fn a_missing_driver_explains_what_is_known_to_want_one() {
        let crashed = End::Crashed { signal: 11 };
        assert_eq!(found("cupti", &crashed, false), None);
        let crash = ("probe-crashed", "cuptiGetVersion crashed with SIGSEGV".to_owned());
        assert_eq!(found("cupti", &crashed, true), Some(crash));
        assert_eq!(found("cublas", &crashed, false).map(|(id, _)| id), Some("probe-crashed"));
    }
}
