//! `cudashim run`: resolve, hand out, become the command.

use super::args::{Cli, RunArgs};
use super::{output, resolve, shim};
use crate::elf::Elf;
use crate::handout::{ChildEnvironment, TakenOut};
use crate::host::{Host, Kind};
use crate::objects::{ObjectError, Objects};
use crate::plan::Plan;
use crate::python;
use crate::request::Request;
use anyhow::Context;
use std::ffi::OsString;
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
    let file = Path::new(command.get_program());
    // A script whose interpreter is missing fails with the error of a missing file.
    let missing = error.kind() == std::io::ErrorKind::NotFound && file.exists();
    let says = if missing { "the interpreter it names is missing".to_owned() } else { error.to_string() };
    output::note(&format!("`{}`: {says}", file.display()));
    Ok(ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }))
}

/// The command with the environment it is to have, or the exit code where there is none to run.
pub(super) fn prepare(host: &Host, args: &RunArgs) -> anyhow::Result<Result<Command, ExitCode>> {
    let Some(first) = args.command.first() else { anyhow::bail!("no command given") };
    let Some(file) = python::find_on_path(host, first) else {
        output::note(&format!("`{}`: no such command", first.display()));
        return Ok(Err(ExitCode::from(127)));
    };
    if let Some(says) = not_runnable(host, &file) {
        output::note(&format!("`{}`: {says}", file.display()));
        return Ok(Err(ExitCode::from(126)));
    }
    let mut command = Command::new(&file);
    command.arg0(first).args(args.command.iter().skip(1)).env_clear().envs(host.environment());
    let Some(child) = child(host, args)? else { return Ok(Ok(command)) };
    if let Some(says) = out_of_reach(host, &args.command) {
        output::note(&format!("`{}` {says}: only what it starts can be served", file.display()));
    }
    for taken in &child.taken_out {
        output::note(&taken_out(taken));
    }
    for (name, value) in child.variables() {
        log::info!("{name}={}", value.unwrap_or_default().display());
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(Ok(command))
}

/// The environment the command is to have; `None`, with a word why, where nothing is to be handed out.
fn child(host: &Host, args: &RunArgs) -> anyhow::Result<Option<ChildEnvironment>> {
    let request = resolve::request(host, &args.consumer, &args.command);
    if args.plan.is_none() && request.is_open(host) {
        // A shell, a launcher: which environments it will start, only they know. Each is asked for its own plan.
        return Ok(Some(ChildEnvironment::new(host, None, &shim::install(host)?)));
    }
    let found = match &args.plan {
        Some(path) => Some(given_plan(host, path)?),
        None => plan_of(host, &request)?,
    };
    let Some((plan, path)) = found else { return Ok(None) };
    Ok(Some(ChildEnvironment::new(host, Some((&plan, &path)), &shim::install(host)?)))
}

/// The plan for a request and where it is written; `None`, with a word why, where nothing is to be handed out.
pub(super) fn plan_of(host: &Host, request: &Request) -> anyhow::Result<Option<(Plan, PathBuf)>> {
    let answered = resolve::answer(host, request)?;
    if let Some(nothing) = &answered.report.nothing {
        output::note(&format!("{nothing}: nothing to hand out"));
        return Ok(None);
    }
    let Some(path) = answered.plan else {
        anyhow::bail!("the plan cannot be written: set `CUDASHIM_CACHE` to a directory of your own");
    };
    log::info!("{} ({})", path.display(), if answered.hit { "kept from before" } else { "new" });
    let plan = Plan::read(&path)?;
    Ok(Some((plan, path)))
}

/// A plan named by the user, with what no longer holds said.
fn given_plan(host: &Host, path: &Path) -> anyhow::Result<(Plan, PathBuf)> {
    let path = std::fs::canonicalize(path).with_context(|| format!("the plan `{}` cannot be read", path.display()))?;
    let stat = host.stat(&path)?;
    let own = stat.uid == 0 || stat.uid == rustix::process::geteuid().as_raw();
    if !own || stat.mode & 0o022 != 0 {
        let mend = if own { format!("`chmod go-w {}`", path.display()) } else { "a copy of your own".to_owned() };
        anyhow::bail!(
            "`{}` belongs to another user or may be written by others, so the shim would refuse it: use {mend}",
            path.display()
        );
    }
    let plan = Plan::read(&path).with_context(|| format!("`{}` cannot be used", path.display()))?;
    for (library, drift) in plan.drift(host) {
        let what = match drift {
            crate::plan::Drift::Gone => "is gone",
            crate::plan::Drift::Changed => "was changed since the plan was made",
        };
        output::note(&format!(
            "`{}` {what}: {} is left to the loader; make a new plan with `cudashim resolve -o`",
            library.path.display(),
            library.soname
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

/// Why `LD_PRELOAD` cannot reach a command's program, in words that follow its name.
fn out_of_reach(host: &Host, command: &[OsString]) -> Option<String> {
    let program = python::Command::read(host, command)?.program;
    let stat = host.stat(&program).ok()?;
    if stat.mode & 0o6000 != 0 && stat.uid != rustix::process::geteuid().as_raw() {
        return Some("is set-user-ID, so the loader ignores LD_PRELOAD".to_owned());
    }
    match Objects::new(host).open(&program) {
        Ok(object) => {
            let interpreter = object.facts.interpreter.as_ref().map(|path| path.display().to_string());
            match interpreter {
                None if object.elf().is_ok_and(|elf: Elf<'_>| elf.is_executable()) => {
                    Some("is statically linked, so no LD_PRELOAD reaches it".to_owned())
                }
                Some(path) if path.contains("ld-musl") => {
                    Some("is linked against musl, which NVIDIA's libraries are not made for".to_owned())
                }
                _ => None,
            }
        }
        Err(ObjectError::Elf(error)) if error.is_foreign() => {
            Some(format!("is {error}, which this shim is not built for"))
        }
        Err(_) => None,
    }
}
