//! `cudashim run`: resolve, hand out, become the command.

use super::answer::{answer_before_start, warn};
use super::args::{RunArgs, Via};
use super::context::{Context, name_of};
use super::failure::{Context as _, Failure, Result, bail};
use super::{ahead, output, probe};
use crate::diagnose::{Assumptions, Finding, in_the_way, preflight};
use crate::host::{Hints, Host, Kind};
use crate::launch::{ChildEnvironment, Door, Handout, OddPreload, PreloadProblem, Target};
use crate::machine::Machine;
use crate::machine::{Cached, Handed, PlanCache, Request, RequestError};
use crate::plan;
use crate::plan::{Here, Kept, Plan, PlanLibrary, Unfit, What};
use crate::python::{self, Interpreter};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub(super) fn run(context: &Context, args: &RunArgs) -> Result<ExitCode> {
    let mut command = match prepare(context, args)? {
        Ok(command) => command,
        Err(code) => return Ok(code),
    };
    let error = command.exec();
    Ok(not_started(&command, &error))
}

/// The exit code for a command that could not be started, as of env(1); prints the reason.
pub(super) fn not_started(command: &Command, error: &std::io::Error) -> ExitCode {
    let file = Path::new(command.get_program());
    // execve(2) reports a missing interpreter of a script as a missing file.
    let missing = error.kind() == std::io::ErrorKind::NotFound && file.exists();
    let reason =
        if missing { "the interpreter that its first line names is missing".to_owned() } else { error.to_string() };
    output::note(&format!("`{}`: {reason}", file.display()));
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// The command with its environment, or the exit code if it cannot be run.
pub(super) fn prepare(context: &Context, args: &RunArgs) -> Result<std::result::Result<Command, ExitCode>> {
    let host = context.host();
    let (file, mut command) = match plain(host, &args.command)? {
        Ok(found) => found,
        Err(code) => return Ok(Err(code)),
    };
    let request = context.request(&args.choice, None, &args.command)?;
    let (target, given, bare) = found(context, args, &request)?;
    if let Some(why) = bare {
        output::note(&format!("{why}: `{}` runs without cudashim", name_of(&args.command)));
        return Ok(Ok(command));
    }
    let (door, why) = match args.via {
        Via::Auto => target.choose(),
        Via::Preload => (Door::Preload, "requested".to_owned()),
        Via::Audit => (Door::Audit, "requested".to_owned()),
    };
    let assumptions = args.assume.read()?;
    if args.check || host.env("CUDASHIM_CHECK").is_some_and(|value| value == "1") {
        proven(context, &request, given.as_ref().and_then(Given::plan).as_ref(), &assumptions)?;
    } else if !assumptions.is_empty() {
        return Err(Failure::new("cannot judge another driver or GPU: nothing is checked")
            .hint("add `--check`, or run `cudashim doctor` with the same options"));
    }
    // Without a plan, each process that the command starts can request its own.
    let child = environment(host, given.as_ref(), &context.shim()?, door);
    if host.env("CUDASHIM_OFF").is_some_and(|value| value == "1") {
        output::note("CUDASHIM_OFF=1 is set: the shim does nothing");
    }
    for warning in unusable(host) {
        output::note(&warning);
    }
    if let Some(reason) = &target.out_of_reach {
        output::note(&format!("`{}` {reason}: the libraries reach only what it starts", file.display()));
    } else if door == Door::Preload
        && let Some(soname) = &target.linked
    {
        output::note(&format!(
            "`{}` is linked against {soname}, which is mapped before a preload acts: use `--via audit`",
            file.display()
        ));
    } else if door == Door::Audit && !target.audits_freely() {
        output::note(&format!("`{}`: before glibc 2.35, every call of an audited program is slower", file.display()));
    }
    log::info!("by {}: {why}", called(door));
    set(&mut command, &child);
    if let Some(places) = places_for_children(host, &args.choice.places) {
        command.env("CUDASHIM_PLACE", places);
    }
    if let Some(tunables) = target.tunables(host).filter(|_| door == Door::Audit) {
        log::info!("GLIBC_TUNABLES={}: an audited program has less room for static TLS", tunables.display());
        command.env("GLIBC_TUNABLES", tunables);
    }
    if let Some(given) = given.filter(|_| args.prewarm || ahead::is_wanted(host))
        && let Err(why) = ahead::start(&given.file)
    {
        output::note(&format!("nothing is read ahead: {why}"));
    }
    Ok(Ok(command))
}

/// The environment of a process that is handed the plan, or requests one; prints notes about odd `LD_PRELOAD` entries.
pub(super) fn environment(host: &Host, given: Option<&Given>, shim: &Path, door: Door) -> ChildEnvironment {
    let plan = || given.and_then(Given::plan);
    let handout = given.map(|given| Handout { file: &given.file, plan: &plan });
    let child = ChildEnvironment::new(host, handout, shim, door);
    let odd = child.removed.iter().map(|odd| (odd, true)).chain(child.kept.iter().map(|odd| (odd, false)));
    odd.for_each(|(odd, removed)| output::note(&described(odd, removed)));
    child
}

/// `CUDASHIM_PLACE` for the command: the places of the options, then those of the variable. A path with a colon cannot
/// be passed on.
fn places_for_children(host: &Host, named: &[PathBuf]) -> Option<OsString> {
    let listed = std::env::split_paths(host.env("CUDASHIM_PLACE").unwrap_or_default());
    let listed = listed.filter(|dir| !dir.as_os_str().is_empty());
    let whole = |dir: &PathBuf| !dir.as_os_str().as_bytes().contains(&b':');
    let all = named.iter().map(|dir| host.absolute(dir)).chain(listed).filter(whole);
    if named.is_empty() { None } else { std::env::join_paths(all).ok() }
}

/// A command as typed, with the unchanged environment, and the file it starts; or the exit code if it cannot be run.
pub(super) fn plain(host: &Host, words: &[OsString]) -> Result<std::result::Result<(PathBuf, Command), ExitCode>> {
    let Some(first) = words.first() else { bail!("no command given") };
    let file = match python::search_path(host, first) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            output::note(&format!("`{}`: no such command", first.display()));
            return Ok(Err(ExitCode::from(127)));
        }
        // The file may exist but be inaccessible: 126, as of env(1).
        Err(error) => {
            output::note(&format!("`{}`: {error}", first.display()));
            return Ok(Err(ExitCode::from(126)));
        }
    };
    if let Some(reason) = not_runnable(host, &file) {
        output::note(&format!("`{}`: {reason}", file.display()));
        return Ok(Err(ExitCode::from(126)));
    }
    // As typed: the command sees it as argv[0].
    let mut command = if first.as_encoded_bytes().contains(&b'/') { Command::new(first) } else { Command::new(&file) };
    command.arg0(first).args(words.iter().skip(1)).env_clear().envs(host.environment());
    Ok(Ok((file, command)))
}

/// Sets the variables of a child on a command.
pub(super) fn set(command: &mut Command, child: &ChildEnvironment) {
    for (name, value) in child.variables() {
        match value {
            Some(value) => {
                log::info!("{name}={}", value.display());
                command.env(name, value)
            }
            None => command.env_remove(name),
        };
    }
}

/// Warnings about values that the shim silently ignores.
fn unusable(host: &Host) -> Vec<String> {
    let value = |name| host.env(name).filter(|value| !value.is_empty()).map(|value| (name, value.to_string_lossy()));
    let off = value("CUDASHIM_OFF").filter(|(_, value)| !matches!(&**value, "0" | "1"));
    let known = |value: &str| matches!(value, "1" | "off" | "stderr") || (value.starts_with('/') && value.len() < 4096);
    let log = value("CUDASHIM_LOG").filter(|(_, value)| !known(value));
    let check = value("CUDASHIM_CHECK").filter(|(_, value)| !matches!(&**value, "0" | "1"));
    let expected = ["`0` or `1`", "`1`, `stderr`, `off` or an absolute path", "`0` or `1`"];
    let found = [off, log, check].into_iter().zip(expected);
    found
        .filter_map(|(found, expected)| Some((found?, expected)))
        .map(|((name, value), expected)| format!("{name} is `{value}`: expected {expected}; ignored"))
        .collect()
}

fn called(door: Door) -> &'static str {
    match door {
        Door::Preload => "LD_PRELOAD",
        Door::Audit => "LD_AUDIT",
        Door::Listed => "an LD_PRELOAD list for this one program",
    }
}

/// A plan to hand out.
pub(super) struct Given {
    /// Its file, for `CUDASHIM_PLAN`.
    pub(super) file: PathBuf,
    from: From,
}

/// The origin of a plan.
enum From {
    Answer(Box<Cached>),
    User(Box<Plan>),
    /// Kept beside its image.
    Kept(PathBuf),
}

impl Given {
    /// The plan itself, read on demand: few starts need it.
    pub(super) fn plan(&self) -> Option<Plan> {
        match &self.from {
            From::Answer(cached) => cached.plan(),
            From::User(plan) => Some((**plan).clone()),
            From::Kept(plan) => Plan::read(plan).ok(),
        }
    }
}

/// The door target of the command, its plan, and the reason to run without cudashim. Without a plan, each process
/// requests its own.
fn found(context: &Context, args: &RunArgs, request: &Request) -> Result<(Target, Option<Given>, Option<String>)> {
    let host = context.host();
    let read = || python::Command::read(host, &args.command);
    let target = || read().map(|command| Target::read(host, &command.program)).unwrap_or_default();
    if let Some(path) = &args.plan {
        let (given, target) = given_plan(context, path, read().as_ref(), &args.choice.places, args.force)?;
        return Ok((target, Some(given), None));
    }
    let answered = match answer_before_start(context, request) {
        Ok(answered) => answered,
        // The command may find its libraries by itself, or need none.
        Err(error) if runs_without(host, request, &error) => {
            output::note(&format!("{error}: `{}` runs as it is", name_of(&args.command)));
            return Ok((target(), None, None));
        }
        Err(error) => match bare(host, request, &error, args.force) {
            Some(why) => return Ok((target(), None, Some(why))),
            None => return Err(error),
        },
    };
    let target = answered.target.clone();
    if let Handed::Bare(why) = &answered.handed {
        return Ok((target, None, Some(why.clone())));
    }
    Ok((target, given(context, answered, names_a_target(request), args.force)?, None))
}

/// Why a command is started without cudashim although no set fits: it loads without one, or `--force` is given.
fn bare(host: &Host, request: &Request, error: &Failure, force: bool) -> Option<String> {
    if !error.is_no() || names_a_target(request) && !force {
        return None;
    }
    let machine = Machine::new(host.anew(), request.clone()).answered().ok()?;
    (force || preflight(&machine).better_bare).then(|| "no set of the libraries here fits".to_owned())
}

/// Whether the options name a target or constrain the set.
fn names_a_target(request: &Request) -> bool {
    let is_constrained =
        !request.places.is_empty() || !request.policy.fixed.is_empty() || !request.policy.forbidden.is_empty();
    !request.spec.is_auto() || request.python.is_some() || !request.files.is_empty() || is_constrained
}

/// Whether a command is started although its request failed: a program that is linked against CUDA, or a Python that no
/// option names and that cannot be described.
fn runs_without(host: &Host, request: &Request, error: &Failure) -> bool {
    match error.find() {
        Some(RequestError::NoSolution { .. }) => request.is_native_target(host),
        Some(RequestError::Interpreter(_)) => !names_a_target(request),
        _ => false,
    }
}

/// Fails if the command would not load its libraries, or would silently not use the GPU.
fn proven(context: &Context, request: &Request, plan: Option<&Plan>, assumptions: &Assumptions) -> Result<()> {
    let host = context.host();
    if request.is_open(host) {
        return Err(Failure::new(format!("cannot determine which Python `{}` will run", name_of(&request.command)))
            .hint("name it with `--python`, or check it: `cudashim run --check -- PYTHON …`"));
    }
    let machine = Machine::new(host.anew(), request.clone());
    let machine = match plan {
        Some(plan) => machine.with_plan(plan.clone()),
        None => machine,
    };
    let machine = machine.answered()?;
    if !assumptions.is_empty() {
        let mut stops: Vec<Finding> = Vec::new();
        for stop in assumptions.machines(&machine).iter().flat_map(in_the_way) {
            if stops.iter().all(|known| known.cause != stop.cause) {
                stops.push(stop);
            }
        }
        return if stops.is_empty() { Ok(()) } else { Err(Unproven(stops).into()) };
    }
    let mut stops = in_the_way(&machine);
    if stops.is_empty()
        && let Some(libcuda) = &machine.driver().libcuda
    {
        stops.extend(probe::refused(context, &libcuda.path)?);
    }
    if stops.is_empty() { Ok(()) } else { Err(Unproven(stops).into()) }
}

/// The findings that prevent a command from starting.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the command: its check failed")]
struct Unproven(Vec<Finding>);

impl Hints for Unproven {
    fn hints(&self) -> Vec<String> {
        let hint = |stop: &Finding| {
            let remedy = stop.remedies.first()?;
            let command = remedy.as_command().map(|command| format!("`{command}`"));
            command.or_else(|| remedy.as_action().map(ToOwned::to_owned))
        };
        let mut hints: Vec<String> = self.0.iter().filter_map(hint).collect();
        hints.dedup();
        hints
    }

    fn facts(&self) -> Vec<String> {
        self.0.iter().map(|stop| format!("{} [{}]", stop.cause, stop.id)).collect()
    }
}

/// The plan of an answer; `None` if there is nothing to hand out. If the user named the target, a note gives the
/// reason.
///
/// # Errors
/// The plan cannot be written.
pub(super) fn given(context: &Context, answered: Cached, named: bool, force: bool) -> Result<Option<Given>> {
    if log::log_enabled!(log::Level::Info) {
        for library in answered.report()?.set.iter().flatten() {
            for copy in &library.refused {
                log::info!("not {}: {}", copy.path.to_path().display(), copy.because);
            }
        }
        for problem in &answered.report()?.problems {
            log::info!("not {}: {}", problem.path.to_path().display(), problem.says);
        }
    }
    warn(&answered, force)?;
    match answered.handed.clone() {
        Handed::Plan(file) => {
            log::info!("{} ({})", file.display(), if answered.hit { "kept from before" } else { "new" });
            Ok(Some(Given { file: context.staged(file), from: From::Answer(Box::new(answered)) }))
        }
        Handed::Nothing(why) | Handed::Bare(why) if named => {
            output::note(&format!("{why}: no libraries chosen"));
            Ok(None)
        }
        Handed::Nothing(why) | Handed::Bare(why) => {
            log::info!("{why}: no libraries chosen");
            Ok(None)
        }
        Handed::Open => Ok(None),
        Handed::Unwritten(why) => {
            bail!("cannot write the plan to `{}`: {why}", context.cache_dir()?.display())
        }
    }
}

/// The interpreter that a command starts, else the one that is meant by default.
fn served(host: &Host, command: Option<&python::Command>) -> Result<Option<Interpreter>> {
    let started = command.and_then(|command| Some((&command.program, command.python.as_ref()?)));
    match started {
        Some((program, options)) => Ok(Some(Interpreter::find(host, program, options)?)),
        None => Ok(Request::default().interpreter(host)?),
    }
}

/// Ends in an error where a lock is not of what is here: the driver is the machine's, and no part of that.
fn holds(host: &Host, file: &Path, plan: &Plan, python: Option<Interpreter>, places: &[PathBuf]) -> Result<()> {
    let here = Here { python: python.map(|python| python.program), places: places.to_vec() };
    let found = plan::verify(host, file, plan, &here)?;
    match found.drifted().find(|check| check.what != What::Driver) {
        Some(check) => Err(Broken { lock: file.to_owned(), says: format!("{} {}", check.name, check.says) }.into()),
        None => Ok(()),
    }
}

/// A lock that is not of what is here.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the plan `{}`, which does not hold here: {says}", lock.display())]
struct Broken {
    lock: PathBuf,
    says: String,
}

impl Hints for Broken {
    fn hints(&self) -> Vec<String> {
        let file = self.lock.display();
        vec![
            format!("run `cudashim verify {file} --relocate` to find the same files here"),
            "`--force` starts the command with the libraries that are left".to_owned(),
        ]
    }
}

/// The plan that the user named. Notes list the libraries that are not handed out: files that have changed, and files
/// outside the command's environment, the machine's libraries and `places`.
///
/// # Errors
/// The plan cannot be used; or files of it are missing, unless `force`.
pub(super) fn given_plan(
    context: &Context,
    path: &Path,
    command: Option<&python::Command>,
    places: &[PathBuf],
    force: bool,
) -> Result<(Given, Target)> {
    let (given, target) = compiled(context, path, command, places, force)?;
    Ok((Given { file: context.staged(given.file), ..given }, target))
}

/// The image of a plan or lock, for whoever is started by default.
///
/// # Errors
/// As [`given_plan`].
pub(super) fn image_of(context: &Context, path: &Path, places: &[PathBuf], force: bool) -> Result<PathBuf> {
    let python = Request::default().interpreter(context.host())?;
    let words: Vec<OsString> = python.iter().map(|python| python.program.clone().into_os_string()).collect();
    let command = python::Command::read(context.host(), &words);
    Ok(compiled(context, path, command.as_ref(), places, force)?.0.file)
}

/// As [`given_plan`], with the originals.
fn compiled(
    context: &Context,
    path: &Path,
    command: Option<&python::Command>,
    places: &[PathBuf],
    force: bool,
) -> Result<(Given, Target)> {
    let host = context.host();
    let path = std::fs::canonicalize(path).with_context(|| format!("cannot read the plan `{}`", path.display()))?;
    if let Some(unfit) = Unfit::find(host, &path) {
        return Err(unfit.into());
    }
    // An image lies beside the plan it was compiled from.
    let text = if path.extension().is_some_and(|end| end == "image") { path.with_extension("plan") } else { path };
    // Compiled for an earlier process, and nothing was installed since.
    let cache = context.cache()?;
    let bytes = std::fs::read(&text).with_context(|| format!("cannot read the plan `{}`", text.display()))?;
    let key = PlanCache::plan_key(host, &bytes, command, places, force);
    if let Some(before) = cache.compiled_before(host, &key)
        && let Handed::Plan(file) = before.handed
    {
        before.warnings.iter().for_each(|note| output::note(note));
        let from = From::Kept(file.with_extension("plan"));
        return Ok((Given { file, from }, before.target));
    }
    let mut notes = Vec::new();
    let kept = Kept::read(&text).with_context(|| format!("cannot use the plan `{}`", text.display()))?;
    let plan = match kept.as_lock() {
        Some(_) => {
            let python = served(host, command)?;
            let prefix = python.as_ref().map(|python| python.prefix.clone());
            let plan = super::lock::at(host, &kept, prefix.as_deref(), python.as_ref())?;
            if !force {
                holds(host, &text, &plan, python, places)?;
            }
            plan
        }
        None => super::lock::at(host, &kept, None, None)?,
    };
    let (usable, mut refused) = plan::usable(&plan);
    let (usable, outside) = plan::within(host, usable, command, places);
    refused.extend(outside);
    let program = command.map(|command| command.program.as_path());
    let (file, left_out) = cache.compiled(host, &usable, program)?;
    let refused_libraries: Vec<(String, String)> = refused.into_iter().chain(left_out).collect();
    let refused_libraries = refused_libraries.iter().filter_map(|(soname, why)| Some((plan.library(soname)?, why)));
    let refused_libraries: Vec<_> = refused_libraries.filter(|(library, _)| plan.is_its_own(library)).collect();
    let is_gone = |(library, _): &&(&PlanLibrary, _)| host.stat(&library.path).is_err();
    let gone = refused_libraries.iter().filter(is_gone).count();
    if let (Some((library, _)), false) = (refused_libraries.iter().find(is_gone), force) {
        let more = if gone > 1 { format!(" and {} more", gone - 1) } else { String::new() };
        let error = format!("cannot use the plan `{}`: `{}`{more} is missing", text.display(), library.path.display());
        return Err(Failure::new(error)
            .hint(format!("run `cudashim verify {} --relocate` to find the same files here", text.display()))
            .hint("`--force` starts the command with the libraries that are left"));
    }
    if let [(library, why), more @ ..] = &*refused_libraries {
        let (what, more) = match more.len() {
            0 => (format!("{} is", library.soname), String::new()),
            more => (format!("{} and those are", library.soname), format!(", and {more} more have changed")),
        };
        notes.push(format!(
            "`{}` {why}{more}: {what} left to the loader; run `cudashim verify {}` for all of it",
            library.path.display(),
            text.display()
        ));
    }
    if let (Some(command), [of, ..]) = (command.filter(|command| command.python.is_some()), &*plan.programs)
        && !plan.is_for(host, &command.program)
    {
        notes.push(format!(
            "`{}` is for `{}`, and is handed to `{}`",
            text.display(),
            of.display(),
            command.program.display()
        ));
    }
    notes.iter().for_each(|note| output::note(note));
    let target = command.map(|command| Target::read(host, &command.program)).unwrap_or_default();
    cache.keep_compiled(host, &key, &usable, &file, target.clone(), notes);
    Ok((Given { file, from: From::User(Box::new(usable)) }, target))
}

/// A note about an entry of `LD_PRELOAD`.
fn described(odd: &OddPreload, removed: bool) -> String {
    let entry = odd.entry.display();
    match (&odd.why, removed) {
        (PreloadProblem::Conflicts { soname, planned }, _) => {
            format!("removed `{entry}` from LD_PRELOAD: the set has {soname} from `{}`", planned.display())
        }
        (PreloadProblem::NotFound(name), true) => {
            format!(
                "removed `{entry}` from LD_PRELOAD: it needs {}, which is not found, and no program starts with it",
                name.display()
            )
        }
        (PreloadProblem::NotFound(name), false) => {
            format!(
                "LD_PRELOAD names `{entry}`, which needs {}, which is not found: no program starts with it; remove it",
                name.display()
            )
        }
    }
}

fn not_runnable(host: &Host, file: &Path) -> Option<String> {
    match host.stat(file) {
        Err(error) => Some(error.to_string()),
        Ok(stat) if stat.kind == Kind::Directory => Some("is a directory".to_owned()),
        Ok(stat) if stat.mode & 0o111 == 0 => Some("not executable".to_owned()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_the_shim_ignores_is_noted() {
        let notes = |name: &str, value: &str| {
            unusable(&Host::new("/".into(), [(name.into(), value.into())].into(), "/".into())).join("")
        };
        assert_eq!(notes("CUDASHIM_OFF", "true"), "CUDASHIM_OFF is `true`: expected `0` or `1`; ignored");
        assert_eq!(notes("CUDASHIM_CHECK", "yes"), "CUDASHIM_CHECK is `yes`: expected `0` or `1`; ignored");
        let log = "CUDASHIM_LOG is `a/log`: expected `1`, `stderr`, `off` or an absolute path; ignored";
        assert_eq!(notes("CUDASHIM_LOG", "a/log"), log);
        for (name, value) in [
            ("CUDASHIM_OFF", ""),
            ("CUDASHIM_OFF", "1"),
            ("CUDASHIM_LOG", "off"),
            ("CUDASHIM_LOG", "/x"),
            ("CUDASHIM_CHECK", "0"),
        ] {
            assert_eq!(notes(name, value), "");
        }
    }
}
