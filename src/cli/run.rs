//! `cudashim run`: resolve, hand out, become the command.

use super::args::{Cli, RunArgs, Via};
use super::{output, probe, resolve, shim};
use crate::handout::{ChildEnvironment, Door, TakenOut, Target};
use crate::host::{Host, Kind};
use crate::plan::{Plan, Unfit};
use crate::proof::{Stop, prove};
use crate::python;
use crate::request::Request;
use anyhow::Context;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub(super) fn run(cli: &Cli, args: &RunArgs) -> anyhow::Result<ExitCode> {
    resolve::live(cli)?;
    let host = resolve::host(cli);
    let mut command = match prepare(&host, args)? {
        Ok(command) => command,
        Err(code) => return Ok(code),
    };
    let error = command.exec();
    Ok(not_started(&command, &error))
}

/// The exit code for a command that could not be started, as env(1) gives it; says why.
pub(super) fn not_started(command: &Command, error: &std::io::Error) -> ExitCode {
    let file = Path::new(command.get_program());
    // A script whose interpreter is missing fails with the error of a missing file.
    let missing = error.kind() == std::io::ErrorKind::NotFound && file.exists();
    let says = if missing { "the interpreter it names is missing".to_owned() } else { error.to_string() };
    output::note(&format!("`{}`: {says}", file.display()));
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// The command with the environment it is to have, or the exit code where there is none to run.
pub(super) fn prepare(host: &Host, args: &RunArgs) -> anyhow::Result<Result<Command, ExitCode>> {
    let (file, mut command) = match plain(host, &args.command)? {
        Ok(found) => found,
        Err(code) => return Ok(Err(code)),
    };
    let program = python::Command::read(host, &args.command).map(|command| command.program);
    let target = program.map(|program| Target::read(host, &program)).unwrap_or_default();
    let (door, why) = match args.via {
        Via::Auto => target.choose(),
        Via::Preload => (Door::Preload, "asked for".to_owned()),
        Via::Audit => (Door::Audit, "asked for".to_owned()),
    };
    let request = resolve::request(host, &args.consumer, &args.command);
    let found = found(host, args, &request)?;
    if args.check || host.env("CUDASHIM_CHECK").is_some_and(|value| value == "1") {
        let plan = match &found {
            Found::Plan(plan, _) => Some(&**plan),
            _ => None,
        };
        proven(host, &request, plan)?;
    }
    let child = match &found {
        Found::Plan(plan, path) => ChildEnvironment::new(host, Some((plan, path)), &shim::install(host)?, door),
        Found::Open => ChildEnvironment::new(host, None, &shim::install(host)?, door),
        // What an outer `run` or `env` left behind is for another program.
        Found::Nothing => ChildEnvironment::without_shim(host),
    };
    if host.env("CUDASHIM_OFF").is_some_and(|value| value == "1") {
        output::note("CUDASHIM_OFF=1 is set: the shim does nothing");
    }
    for says in unusable(host) {
        output::note(&says);
    }
    if let Some(says) = &target.out_of_reach {
        output::note(&format!("`{}` {says}: only what it starts can be served", file.display()));
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
    log::info!("by {}: {why}", name_of(door));
    for taken in &child.taken_out {
        output::note(&taken_out(taken));
    }
    set(&mut command, &child);
    if let Some(tunables) = target.tunables(host).filter(|_| door == Door::Audit) {
        log::info!("GLIBC_TUNABLES={}: an audited program has less room for static TLS", tunables.display());
        command.env("GLIBC_TUNABLES", tunables);
    }
    Ok(Ok(command))
}

/// A command as it was typed, with the environment as it is and the file it starts; or the exit code where it cannot be run.
pub(super) fn plain(host: &Host, words: &[OsString]) -> anyhow::Result<Result<(PathBuf, Command), ExitCode>> {
    let Some(first) = words.first() else { anyhow::bail!("no command given") };
    let file = match python::search_path(host, first) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            output::note(&format!("`{}`: no such command", first.display()));
            return Ok(Err(ExitCode::from(127)));
        }
        // It may well be there: that is another matter than its absence, as env(1) has it.
        Err(error) => {
            output::note(&format!("`{}`: {error}", first.display()));
            return Ok(Err(ExitCode::from(126)));
        }
    };
    if let Some(says) = not_runnable(host, &file) {
        output::note(&format!("`{}`: {says}", file.display()));
        return Ok(Err(ExitCode::from(126)));
    }
    // As typed: it is what the command sees as its own name.
    let mut command = if first.as_encoded_bytes().contains(&b'/') { Command::new(first) } else { Command::new(&file) };
    command.arg0(first).args(words.iter().skip(1)).env_clear().envs(host.environment());
    Ok(Ok((file, command)))
}

/// Gives a command the variables of a child.
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

/// Values that the shim takes for nothing, without a word.
fn unusable(host: &Host) -> Vec<String> {
    let value = |name| host.env(name).filter(|value| !value.is_empty()).map(|value| (name, value.to_string_lossy()));
    let off = value("CUDASHIM_OFF").filter(|(_, value)| !matches!(&**value, "0" | "1"));
    let known = |value: &str| matches!(value, "1" | "off" | "stderr") || (value.starts_with('/') && value.len() < 4096);
    let log = value("CUDASHIM_LOG").filter(|(_, value)| !known(value));
    let expected = ["`0` or `1`", "`1`, `stderr`, `off` or an absolute path"];
    let found = [off, log].into_iter().zip(expected);
    found
        .filter_map(|(found, expected)| Some((found?, expected)))
        .map(|((name, value), expected)| format!("{name} is `{value}`: expected {expected}; ignored"))
        .collect()
}

fn name_of(door: Door) -> &'static str {
    match door {
        Door::Preload => "LD_PRELOAD",
        Door::Audit => "LD_AUDIT",
        Door::Listed => "an LD_PRELOAD list for this one program",
    }
}

/// What a command is to be handed.
enum Found {
    /// This plan, in this file.
    Plan(Box<Plan>, PathBuf),
    /// Nothing, which was said.
    Nothing,
    /// A shell, a launcher: which environments it will start, only they know. Each is asked for its own plan.
    Open,
}

fn found(host: &Host, args: &RunArgs, request: &Request) -> anyhow::Result<Found> {
    if let Some(path) = &args.plan {
        let (plan, path) = given_plan(host, path)?;
        return Ok(Found::Plan(Box::new(plan), path));
    }
    if request.is_open(host) {
        return Ok(Found::Open);
    }
    match plan_of(host, request) {
        Ok(Some((plan, path))) => Ok(Found::Plan(Box::new(plan), path)),
        Ok(None) => Ok(Found::Nothing),
        // A program that is itself linked against CUDA may find what it needs by means of its own.
        Err(error) if output::is_no(&error) && request.is_of_its_own(host) => {
            output::note(&format!(
                "{error}: `{}` runs as it is",
                args.command.first().map(|word| word.display().to_string()).unwrap_or_default()
            ));
            Ok(Found::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// Ends in an error where the command would not load its libraries, or would do without the GPU in silence.
fn proven(host: &Host, request: &Request, plan: Option<&Plan>) -> anyhow::Result<()> {
    let mut proof = prove(host, request, plan)?;
    if let Some(libcuda) = proof.libcuda.take_if(|_| proof.stops.is_empty()) {
        proof.stops.extend(probe::refused(host, &libcuda)?);
    }
    if proof.stops.is_empty() { Ok(()) } else { Err(Unproven(proof.stops).into()) }
}

/// What stands in the way of a command.
#[derive(Debug, thiserror::Error)]
#[error("not started: it would not run as it should")]
pub(super) struct Unproven(pub(super) Vec<Stop>);

/// The plan for a request and where it is written; `None`, with a word why, where nothing is to be handed out.
pub(super) fn plan_of(host: &Host, request: &Request) -> anyhow::Result<Option<(Plan, PathBuf)>> {
    let answered = resolve::answer(host, request)?;
    if let Some(nothing) = &answered.report.nothing {
        output::note(&format!("{nothing}: nothing to hand out"));
        return Ok(None);
    }
    for library in answered.report.set.iter().flatten() {
        for copy in &library.refused {
            log::info!("not {}: {}", copy.path.to_path().display(), copy.because);
        }
    }
    for problem in &answered.report.problems {
        log::info!("not {}: {}", problem.path.to_path().display(), problem.says);
    }
    for warning in answered.report.warnings() {
        output::note(&warning);
    }
    let Some((plan, path)) = answered.plan else {
        let dir = shim::cache_dir(host)?;
        anyhow::bail!(
            "the plan cannot be written to `{}`: set `CUDASHIM_CACHE` to a directory of your own",
            dir.display()
        );
    };
    log::info!("{} ({})", path.display(), if answered.hit { "kept from before" } else { "new" });
    Ok(Some((plan, path)))
}

/// A plan named by the user, with what no longer holds said.
pub(super) fn given_plan(host: &Host, path: &Path) -> anyhow::Result<(Plan, PathBuf)> {
    let path = std::fs::canonicalize(path).with_context(|| format!("the plan `{}` cannot be read", path.display()))?;
    if let Some(unfit) = Unfit::find(host, &path) {
        return Err(unfit.into());
    }
    let plan = Plan::read(&path).with_context(|| format!("`{}` cannot be used", path.display()))?;
    let lost = plan.lost(host);
    if let [(library, drift), more @ ..] = &*lost {
        let (what, more) = match more.len() {
            0 => (format!("{} is", library.soname), String::new()),
            more => (format!("{} and those are", library.soname), format!(", and {more} more are not what they were")),
        };
        output::note(&format!(
            "`{}` {drift}{more}: {what} left to the loader; `cudashim verify {}` tells more",
            library.path.display(),
            path.display()
        ));
    }
    Ok((plan, path))
}

pub(super) fn taken_out(taken: &TakenOut) -> String {
    format!(
        "took `{}` out of LD_PRELOAD: the set has {} from `{}`",
        taken.entry.display(),
        taken.soname,
        taken.instead.display()
    )
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
        let log = "CUDASHIM_LOG is `a/log`: expected `1`, `stderr`, `off` or an absolute path; ignored";
        assert_eq!(notes("CUDASHIM_LOG", "a/log"), log);
        for (name, value) in
            [("CUDASHIM_OFF", ""), ("CUDASHIM_OFF", "1"), ("CUDASHIM_LOG", "off"), ("CUDASHIM_LOG", "/x")]
        {
            assert_eq!(notes(name, value), "");
        }
    }
}
