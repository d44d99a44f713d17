//! `cudashim check`: whether a target loads without cudashim; and what a process has mapped.

use super::args::CheckArgs;
use super::assume::Tabled;
use super::context::Context;
use super::failure::{Context as _, Failure, Result, bail};
use super::format::Format;
use super::shown::Shown;
use super::{output, why};
use crate::check::{
    Consumer, Depth, Judgement, Maps, Process, Subject, Verdict, consumers_of, known_consumers, live, predict,
};
use crate::diagnose::{Matrix, Runs, lines, matrix, matrix_text, set_line};
use crate::host::Host;
use crate::host::tidy;
use crate::loader::Loader;
use crate::machine::Machine;
use crate::machine::{Checked, Request};
use crate::plan::{Kept, Plan, PlanError};
use crate::python::TorchBuild;
use crate::python::{self, Distribution, distributions, find_on_path};
use crate::report::{CheckReport, InstalledPackage, KnownFramework, KnownReport};
use crate::report::{View, check_findings, check_page, check_text, sanitized};
use crate::tables::{FrameworkRow, frameworks};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn check(context: &Context, args: &CheckArgs) -> Result<ExitCode> {
    let machine = context.machine();
    let host = machine.host();
    if args.list {
        return list(host, args);
    }
    let depth = if args.no_symbols { Depth::Files } else { Depth::Symbols };
    let plan = args.plan.as_deref().map(|path| plan(host, path, args.who.python.as_deref())).transpose()?;
    if let Some(pid) = args.pid {
        let process = Process::read(host, pid)?;
        let inside = Machine::new(process.host.clone(), Request::default());
        let judgement = live(inside.loader(), &process.maps, depth, plan.as_ref());
        return print(context, args, &judgement, &[]);
    }
    let loader = machine.loader();
    if let Some(file) = &args.maps {
        // The file is on this machine; the paths in it are the image's.
        let here = Host::current();
        let bytes = here.read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let judgement = live(loader, &Maps::saved(&bytes, file)?, depth, plan.as_ref());
        return print(context, args, &judgement, &[]);
    }
    let subjects = Subjects::new(host, args)?;
    let assumptions = args.assume.read()?;
    let target = Machine::new(host.clone(), Request { files: subjects.files.clone(), ..subjects.request.clone() });
    let assumed = assumptions.machines(&target).into_iter().next();
    let (host, loader) = assumed.as_ref().map_or((host, loader), |assumed| (assumed.host(), assumed.loader()));
    if let Some(judgement) = subjects.absent(loader)? {
        return print(context, args, &judgement, &[]);
    }
    let found = subjects.subject(host, loader)?;
    let (found, bare) = subjects.worst(loader, found, depth)?;
    let subject = match found {
        Checked::Subject(subject) => subject,
        Checked::Nothing(why) => {
            output::note(&format!("nothing to check: {why}"));
            // A program that reads the answer gets one, too.
            return match args.format {
                Format::Human => Ok(ExitCode::SUCCESS),
                _ => print(context, args, &Judgement::empty(why), &[]),
            };
        }
    };
    let in_force = || Machine::new(host.clone(), subjects.request.clone()).as_it_is().in_force().cloned();
    let plan = plan.or_else(|| if args.bare { None } else { in_force() });
    if plan.is_some() && args.plan.is_none() {
        output::note("the plan in force is applied; `--bare` checks without it");
    }
    let judgement = match (plan.as_ref(), bare) {
        (None, Some(bare)) => bare,
        (plan, _) => predict(loader, &subject, depth, plan),
    };
    let next = if plan.is_none() { subjects.next(host, loader, &subject, depth, &judgement) } else { Vec::new() };
    if assumptions.is_empty() {
        return print(context, args, &judgement, &next);
    }
    let table = matrix(&target, &assumptions.drivers, &assumptions.gpus);
    print_with(context, args, &judgement, &next, Some(&table))
}

/// The frameworks that are known by name, each with the packages of it that are installed.
fn list(host: &Host, args: &CheckArgs) -> Result<ExitCode> {
    if !matches!(args.format, Format::Human | Format::Json) {
        bail!("cannot list frameworks as findings: choose `--format human` or `json`");
    }
    let request = Request { python: args.who.python.clone(), ..Request::default() };
    let sites = request.interpreter(host)?.map(|interpreter| interpreter.paths).unwrap_or_default();
    let installed: Vec<Distribution> = sites.iter().flat_map(|site| distributions(host, site)).collect();
    let known = |row: &FrameworkRow| {
        let packages = installed.iter().filter(|package| row.is_package(&package.name));
        let here = packages.map(|package| InstalledPackage::new(&package.name, &package.version)).collect();
        KnownFramework::new(row, here)
    };
    let report = KnownReport::new(frameworks().iter().map(known).collect());
    if args.format == Format::Json {
        output::json(&report)?;
    } else {
        output::laid_out(&report.text(output::width()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A named file, without `.` and `..` in its path if the result is the same file.
fn named(host: &Host, file: &Path) -> PathBuf {
    let path = host.absolute(file);
    let tidy = tidy(&path);
    let id = |path: &Path| host.stat(path).ok().map(|stat| stat.id);
    if id(&tidy).is_some() && id(&tidy) == id(&path) { tidy } else { path }
}

/// As CPython names them: `_C.cpython-311-x86_64-linux-gnu.so`, `_rust.abi3.so`.
fn is_extension(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".cpython-") || name.ends_with(".abi3.so")
}

fn plan(host: &Host, path: &Path, python: Option<&Path>) -> Result<Plan> {
    let cannot = || format!("cannot use the plan `{}`", path.display());
    let kept = match Kept::read(&host.absolute(path)) {
        Err(PlanError::Read { source, .. }) => return Err(source).with_context(cannot),
        kept => kept.with_context(cannot)?,
    };
    let request = Request { python: python.map(Path::to_owned), ..Request::default() };
    let python = kept.as_lock().map(|_| request.interpreter(host)).transpose()?.flatten();
    super::lock::at(host, &kept, python.as_ref().map(|python| python.prefix.as_path()), python.as_ref())
}

fn print(context: &Context, args: &CheckArgs, judgement: &Judgement, next: &[String]) -> Result<ExitCode> {
    print_with(context, args, judgement, next, None)
}

/// Prints a judgement, and a table of drivers and GPUs; 1 where the answer is no.
fn print_with(
    context: &Context,
    args: &CheckArgs,
    judgement: &Judgement,
    next: &[String],
    table: Option<&Matrix>,
) -> Result<ExitCode> {
    let elsewhere = judgement.planned.as_ref().is_some_and(|planned| !planned.elsewhere.is_empty());
    let strict = args.strict && !judgement.findings.is_empty();
    let runs = table.and_then(Matrix::worst).is_none_or(|worst| worst != Runs::No);
    let wrong = judgement.verdict != Verdict::Loads || elsewhere || strict || !runs;
    let shown = Shown::new(context, args.redact);
    if let Some(form) = args.format.of_findings() {
        let mut found = check_findings(judgement, next, wrong);
        found.findings.extend(table.iter().flat_map(|table| table.listed()));
        shown.findings(found, form)?;
    } else if args.format == Format::Json {
        shown.json(&Tabled { report: CheckReport::new(judgement, next), table })?;
    } else if args.format == Format::Html {
        let page = table.iter().fold(check_page(judgement, next, wrong), |page, table| table.on(page));
        output::print(shown.page(page))?;
    } else {
        let view = if args.all { View::All } else { View::Folded };
        output::report(&shown.text(&check_text(judgement, next, view)))?;
        if let Some(table) = table {
            let text = sanitized(&matrix_text(table, args.explain, output::width().columns));
            output::laid_out(&format!("\n{}", shown.text(&text)))?;
        }
    }
    Ok(ExitCode::from(u8::from(wrong)))
}

/// The subjects that the arguments name.
struct Subjects {
    request: Request,
    /// Names to be opened.
    names: Vec<String>,
    files: Vec<PathBuf>,
}

impl Subjects {
    fn new(host: &Host, args: &CheckArgs) -> Result<Self> {
        let mut subjects = Self {
            request: Request { spec: args.who.torch.clone(), python: args.who.python.clone(), ..Request::default() },
            names: Vec::new(),
            files: args.files.iter().map(|file| named(host, file)).collect(),
        };
        for subject in &args.subjects {
            // A directory names an environment.
            if host.is_dir(&host.absolute(subject)) && subjects.request.python.is_none() {
                subjects.request.python = Some(subject.clone());
                continue;
            }
            let bytes = subject.as_os_str().as_bytes();
            let slash = bytes.contains(&b'/');
            let name = subject.to_str().filter(|_| !slash);
            if slash || name.is_none() {
                subjects.files.push(named(host, subject));
            } else if let Some(name) = name.filter(|name| consumers_of(name).is_some() || name.contains(".so")) {
                if host.stat(subject).is_ok() {
                    output::note(&format!("`{name}` is checked as a name to be opened; for the file write `./{name}`"));
                }
                subjects.names.push(name.to_owned());
            } else if let Some(program) = find_on_path(host, subject.as_os_str()) {
                subjects.files.push(program);
            } else if host.stat(subject).is_ok() {
                subjects.files.push(named(host, subject));
            } else {
                let reason = "no such file, program on PATH, known package or name of a library";
                return Err(Failure::new(format!("cannot check `{}`: {reason}", subject.display()))
                    .hint(format!("known packages: {}", known_consumers().join(", "))));
            }
        }
        if !subjects.files.is_empty() && !subjects.names.is_empty() {
            bail!("cannot check files and names to be opened together: check one at a time");
        }
        subjects.scripts(host);
        Ok(subjects)
    }

    /// Replaces a script by the program of its first line; if that is a Python, its torch is the subject.
    fn scripts(&mut self, host: &Host) {
        for file in &mut self.files {
            if !host.read_start(file, 2).is_ok_and(|start| start == b"#!") {
                continue;
            }
            let words = [file.clone().into_os_string()];
            let Some(command) = python::Command::read(host, &words).filter(|command| command.program != *file) else {
                continue;
            };
            output::note(&format!("`{}` is a script for `{}`", file.display(), command.program.display()));
            if command.python.is_some() && self.request.python.is_none() {
                self.request.command = words.to_vec();
            }
            *file = command.program;
        }
        if !self.request.command.is_empty() && self.files.len() == 1 {
            self.files.clear();
        }
    }

    fn subject(&self, host: &Host, loader: &Loader) -> Result<Checked> {
        let interpreter = || self.request.interpreter(host);
        if !self.names.is_empty() {
            let interpreter = interpreter()?;
            if let ([name], Some(python)) = (self.names.as_slice(), &interpreter)
                && let Some(consumer) = consumers_of(name)
            {
                // `torch` is judged by its import, whether named or not.
                if consumer.who == "python:torch" && TorchBuild::find(host, &python.paths).is_ok() {
                    return Ok(self.request.subject(loader)?);
                }
                if let Some(subject) = Subject::package(loader, &consumer, python) {
                    return Ok(Checked::Subject(Box::new(subject)));
                }
                // Or a library of NVIDIA's wheels.
                if let Some(library) = Subject::library(host, python, name) {
                    return Ok(Checked::Subject(Box::new(Subject::files(loader, &[library], Some(python))?)));
                }
            }
            let sites = interpreter.as_ref().map(|it| it.paths.clone()).unwrap_or_default();
            let installed: Vec<_> = sites.iter().flat_map(|site| distributions(host, site)).collect();
            let names = self.names.iter().flat_map(|name| match consumers_of(name) {
                Some(consumer) => consumer.names(&installed, consumer.major(host, &installed)),
                None => vec![(name.clone(), true)],
            });
            let names: Vec<(OsString, bool)> = names.map(|(name, required)| (name.into(), required)).collect();
            let of = format!("what {} opens", self.names.join(", "));
            let of =
                if self.names.iter().all(|name| consumers_of(name).is_none()) { self.names.join(", ") } else { of };
            return Ok(Checked::Subject(Box::new(Subject::names(of, names, interpreter.as_ref()))));
        }
        if !self.files.is_empty() {
            // An extension module takes its symbols from the interpreter that imports it.
            let extension = self.files.iter().find(|file| is_extension(file));
            let home = extension.and_then(|file| why::environment_of(host, file));
            let interpreter = match (&self.request.python, home) {
                (None, Some(home)) => Request { python: Some(home), ..Request::default() }.interpreter(host)?,
                (None, None) if extension.is_none() => None,
                _ => interpreter()?,
            };
            return Ok(Checked::Subject(Box::new(Subject::files(loader, &self.files, interpreter.as_ref())?)));
        }
        Ok(self.request.subject(loader)?)
    }

    /// Of an environment without torch, the framework that fares worst, else its files: what is linked against nothing of
    /// NVIDIA's may still open it. With the judgement without a plan, where one was made.
    fn worst(&self, loader: &Loader, found: Checked, depth: Depth) -> Result<(Checked, Option<Judgement>)> {
        let is_whole = match &found {
            Checked::Subject(subject) => subject.is_environment(),
            Checked::Nothing(_) => true,
        };
        let host = loader.objects().host();
        let whole = is_whole && self.names.is_empty() && self.files.is_empty() && self.request.command.is_empty();
        let Some(python) = self.request.interpreter(host)?.filter(|_| whole) else { return Ok((found, None)) };
        if TorchBuild::find(host, &python.paths).is_ok() {
            return Ok((found, None));
        }
        let known = frameworks().iter().filter_map(|row| Subject::package(loader, &Consumer::of(row), &python));
        let known: Vec<Subject> = known.filter(|subject| !subject.is_empty()).collect();
        if known.is_empty() {
            return Ok((found, None));
        }
        let names: Vec<&str> = known.iter().map(Subject::of).collect();
        output::note(&format!("checks {}; `cudashim check NAME` shows one of them", names.join(", ")));
        let rank = |judged: &Judgement| {
            let absent = judged.not_found.iter().filter(|entry| !entry.optional).count();
            (judged.verdict, absent)
        };
        // Of equals the first; an environment whose files load says nothing of what its packages open.
        let mut worst: Option<(Subject, Judgement)> = None;
        for subject in known {
            let judged = predict(loader, &subject, depth, None);
            if worst.as_ref().is_none_or(|(_, known)| rank(&judged) > rank(known)) {
                worst = Some((subject, judged));
            }
        }
        Ok(match (found, worst) {
            (Checked::Subject(files), Some((_, judged))) if rank(&judged) == (Verdict::Loads, 0) => {
                (Checked::Subject(files), None)
            }
            (_, Some((subject, judged))) => (Checked::Subject(Box::new(subject)), Some(judged)),
            (found, None) => (found, None),
        })
    }

    /// The judgement of a package that is not installed.
    fn absent(&self, loader: &Loader) -> Result<Option<Judgement>> {
        let host = loader.objects().host();
        let ([name], Some(python)) = (self.names.as_slice(), self.request.interpreter(host)?) else { return Ok(None) };
        let Some(consumer) = consumers_of(name) else { return Ok(None) };
        let is_torch = consumer.who == "python:torch" && TorchBuild::find(host, &python.paths).is_ok();
        if is_torch
            || Subject::package(loader, &consumer, &python).is_some()
            || Subject::library(host, &python, name).is_some()
        {
            return Ok(None);
        }
        let error = format!("{name} is not installed in `{}`", python.prefix.display());
        Ok(Some(Judgement { verdict: Verdict::Fails, error: Some(error), ..Judgement::empty(name.clone()) }))
    }

    /// What to type: the lines that heal on the model; for bare names, the line that hands out the set if that helps.
    fn next(
        &self,
        host: &Host,
        loader: &Loader,
        subject: &Subject,
        depth: Depth,
        judgement: &Judgement,
    ) -> Vec<String> {
        let required_missing =
            |judgement: &Judgement| judgement.not_found.iter().filter(|entry| !entry.optional).count();
        if judgement.verdict == Verdict::Loads && required_missing(judgement) == 0 {
            return Vec::new();
        }
        let request = Request { files: self.files.clone(), ..self.request.clone() };
        let Ok(machine) = Machine::new(host.anew(), request).answered() else { return Vec::new() };
        // `torch` is the torch of the interpreter, as without arguments.
        if self.names.iter().all(|name| name == "torch") {
            return lines(&machine);
        }
        let Some(plan) = machine.chosen() else { return Vec::new() };
        let healed = predict(loader, subject, depth, Some(plan));
        let better = healed.verdict < judgement.verdict || required_missing(&healed) < required_missing(judgement);
        if better { vec![set_line(&machine)] } else { Vec::new() }
    }
}
