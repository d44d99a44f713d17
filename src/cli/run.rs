//! `cudashim run`: resolve, hand out, become the command.

use super::answer::answer_before_start;
use super::args::{RunArgs, Via};
use super::context::{Context, name_of};
use super::failure::{Failure, Result, bail};
use super::given::{Given, given, given_plan};
use super::{ahead, output, probe};
use crate::diagnose::{Assumptions, Finding, in_the_way, preflight};
use crate::host::{Hints, Host, Kind};
use crate::launch::{ChildEnvironment, Door, Handout, OddPreload, PreloadProblem, Target};
use crate::machine::Machine;
use crate::machine::{Handed, Request, RequestError};
use crate::plan::Plan;
use crate::python;
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
