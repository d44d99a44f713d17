//! `cudashim plan-for`: answers the shim of a running process (`cshim/ask.c`).
//!
//! Comes in: the number of the process, the path that its program was started by, and the variables of
//! `data/variables.tsv`; for a question about an object, the image that the process has, the object, and a name that
//! code in it opens. Goes out, on one line of stdout: the path of an image, an empty line where nothing is to be handed
//! out, `set` or `own` about an object, or `!` and a reason. Never believes the command line of a process, which may
//! write over it.

use super::answer::answer_unjudged;
use super::args::Color;
use super::context::Context;
use super::failure::{Context as _, Failure, Result, bail};
use super::{ahead, output};
use crate::check::Standing;
use crate::host::Host;
use crate::machine::{Handed, Request};
use crate::python;
use crate::report::sanitized;
use crate::tables::{HOST_PREFIX, variable};
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The command name that the shim uses.
pub(super) const NAME: &str = "plan-for";

/// The most bytes of a reason: it must fit the shim's buffer and one line.
const REASON: usize = 1000;

/// Less than the shim's time limit (`cshim/ask.c`). The shim kills only this process: an interpreter that it started
/// would become a child of the waiting process if that is a subreaper (`PR_SET_CHILD_SUBREAPER`).
const PATIENCE: Duration = Duration::from_millis(1500);

/// The whole program, as the shim starts it.
pub(super) fn main(question: &[OsString]) -> ExitCode {
    crate::host::outlive_truncation();
    output::set_up(0, false, Color::Auto);
    let mut line = answer(question).unwrap_or_else(|error| refusal(&error)).into_vec();
    line.push(b'\n');
    match output::print(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            ExitCode::from(2)
        }
    }
}

fn answer(question: &[OsString]) -> Result<OsString> {
    let [pid, rest @ ..] = question else { bail!("expected a process ID") };
    let pid: u32 = pid.to_str().and_then(|pid| pid.parse().ok()).context("expected a process ID")?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    // `cwd` of a process that has changed its user is unreadable; then only relative paths are not found.
    let cwd = std::fs::read_link(proc.join("cwd")).unwrap_or_else(|_| "/".into());
    let context = Context::of(Host::new("/".into(), environment(), cwd).within(PATIENCE));
    match rest {
        [program] => {
            let plan = plan(&context, command(context.host(), &proc, program))?;
            if !plan.is_empty() && ahead::is_wanted(context.host()) {
                ahead::start_beside(i32::try_from(pid).ok().and_then(Pid::from_raw), Path::new(&plan));
            }
            Ok(plan)
        }
        [program, image, object, name @ ..] => {
            stranger(&context, Path::new(program), Path::new(image), Path::new(object), name.first())
        }
        _ => bail!("expected a process ID and a program, or these, an image and an object"),
    }
}

/// The environment of the process at its start, as far as the shim passes it on: under names that do not affect this process.
fn environment() -> BTreeMap<OsString, OsString> {
    let own = |name: OsString| match name.to_str().and_then(|name| name.strip_prefix(HOST_PREFIX)) {
        Some(own) if variable(own).is_some() => own.into(),
        _ => name,
    };
    std::env::vars_os().map(|(name, value)| (own(name), value)).collect()
}

fn plan(context: &Context, command: Vec<OsString>) -> Result<OsString> {
    match answer_unjudged(context, &Request { command, ..Request::default() })?.handed {
        Handed::Plan(file) => Ok(context.staged(&file).unwrap_or(file).into_os_string()),
        Handed::Nothing(_) | Handed::Bare(_) | Handed::Open => Ok(OsString::new()),
        Handed::Unwritten(why) => bail!("cannot write the plan: {why}"),
    }
}

fn stranger(
    context: &Context,
    program: &Path,
    image: &Path,
    object: &Path,
    name: Option<&OsString>,
) -> Result<OsString> {
    let name = name.map(OsString::as_os_str);
    let standing = context.cache()?.stranger(context.host(), image, program, object, name);
    Ok(match standing.with_context(|| format!("cannot read the plan of `{}`", image.display()))? {
        Standing::Set => "set".into(),
        Standing::Own => "own".into(),
    })
}

/// The command of the process: its program as the shim found it, and its arguments if they are still those of that
/// program. They identify a script or `-m`.
fn command(host: &Host, proc: &Path, program: &OsStr) -> Vec<OsString> {
    let cmdline = words(proc);
    let id = |path: &Path| host.stat(path).ok().map(|stat| stat.id);
    let is_program = |word: &OsString| {
        Path::new(word).file_name() == Path::new(program).file_name()
            || python::find_on_path(host, word).is_some_and(|path| id(&path) == id(Path::new(program)))
    };
    let arguments =
        if cmdline.first().is_some_and(is_program) { cmdline.into_iter().skip(1).collect() } else { Vec::new() };
    [program.to_owned()].into_iter().chain(arguments).collect()
}

/// The words of `/proc/PID/cmdline`; none if it is unreadable.
fn words(proc: &Path) -> Vec<OsString> {
    let cmdline = std::fs::read(proc.join("cmdline")).unwrap_or_default();
    let mut words: Vec<OsString> =
        cmdline.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
    words.pop();
    words
}

/// An error and its hints, on one line.
fn refusal(failure: &Failure) -> OsString {
    let reason =
        [failure.to_string()].into_iter().chain(failure.hints().iter().cloned()).collect::<Vec<_>>().join("; ");
    let mut line = sanitized(&format!("!{reason}")).replace('\n', " ");
    let end = (0..=REASON.min(line.len())).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
    line.truncate(end);
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_has_less_time_than_we_have() {
        let shim = include_str!("../../cshim/ask.c");
        let (_, limit) = shim.split_once("SECONDS = ").unwrap();
        let limit: u64 = limit.split(',').next().unwrap().parse().unwrap();
        assert!(PATIENCE + Duration::from_millis(400) < Duration::from_secs(limit));
        let host = Host::current().within(PATIENCE);
        assert!(host.time_for(Duration::from_secs(60)) <= PATIENCE && host.time_for(Duration::ZERO) == Duration::ZERO);
    }
}
