//! The plan that is handed out: of an answer, or of a file that the user named.
//!
//! Takes an answer, or the path of a plan or lock; gives the image for `CUDASHIM_PLAN`, of the copies where they are staged.
//! Prints notes about what is not handed out. Never chooses.

use super::answer::warn;
use super::context::Context;
use super::failure::{Context as _, Failure, Result, bail};
use super::output;
use crate::host::{Hints, Host};
use crate::launch::Target;
use crate::machine::{Cached, Handed, PlanCache, Request};
use crate::plan;
use crate::plan::{Here, Kept, Plan, PlanLibrary, Unfit, What};
use crate::python::{self, Interpreter};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

    /// The one of the copies, where they are staged.
    fn staged(self, context: &Context) -> Self {
        match context.staged(&self.file) {
            Some(file) => Self { from: From::Kept(file.with_extension("plan")), file },
            None => self,
        }
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
            Ok(Some(Given { file, from: From::Answer(Box::new(answered)) }.staged(context)))
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
    Ok((given.staged(context), target))
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
        for note in &before.warnings {
            output::note(note);
        }
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
    for note in &notes {
        output::note(note);
    }
    let target = command.map(|command| Target::read(host, &command.program)).unwrap_or_default();
    cache.keep_compiled(host, &key, &usable, &file, target.clone(), notes);
    Ok((Given { file, from: From::User(Box::new(usable)) }, target))
}
