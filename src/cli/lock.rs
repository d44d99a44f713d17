//! `cudashim lock` and `cudashim verify`: a plan beside `requirements.txt`, and whether it holds here.

use super::answer::{answer, warn};
use super::args::{LockArgs, VerifyArgs};
use super::context::{Context, kept_file};
use super::failure::{Context as _, Failure, Result};
use super::format::Format;
use super::output;
use crate::host::{Hints, Host, atomic_write, tidy};
use crate::loader::Objects;
use crate::machine::{Locked, RelocateError, Request, lock as made, relocate};
use crate::plan::{Here, Kept, Lock, Plan, PlanFor, Verification, verify as verified};
use crate::python::{Interpreter, Options, Origin};
use crate::report::{VerifyReport, verify_text};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn lock(context: &Context, args: &LockArgs) -> Result<ExitCode> {
    let host = context.host();
    let request = context.request(&args.choice, args.target.as_deref(), &[])?;
    let here = Host::current();
    if !args.check && host.is_live() {
        warn(&answer(context, &request)?, args.force)?;
    }
    let target = kept_file(&args.output)?;
    let plan = match made(host, &request)? {
        Locked::Plan(plan) => plan,
        Locked::Nothing(why) => {
            return Err(
                Failure::new(format!("cannot lock: {why}")).hint("name another environment: `cudashim lock DIR`")
            );
        }
    };
    let python = request.interpreter(host).ok().flatten().filter(|python| is_its_environment(&plan, python));
    let home = python.as_ref().and_then(|python| home(host, &target, &python.prefix));
    let lock = Lock::of(host, &plan, python.as_ref(), home.as_deref());
    let (bytes, file) = (lock.to_bytes(), args.output.display());
    if here.read(&target).is_ok_and(|old| old == bytes) {
        output::note(&format!("`{file}` is up to date"));
        return Ok(ExitCode::SUCCESS);
    }
    if args.check {
        output::note(&format!("`{file}` is out of date: `cudashim lock` would write another"));
        return Ok(ExitCode::from(1));
    }
    write(&target, &args.output, &bytes)?;
    let what = plan.made_for.first().map(|made_for| format!(" for {}", made_for.text)).unwrap_or_default();
    let count = plan.chosen().count();
    let libraries = if count == 1 { "library" } else { "libraries" };
    output::note(&format!("wrote `{file}`: {count} {libraries}{what}; check it with `cudashim verify {file}`"));
    Ok(ExitCode::SUCCESS)
}

fn write(target: &Path, named: &Path, bytes: &[u8]) -> Result<()> {
    atomic_write(target, bytes).with_context(|| format!("cannot write the lock to `{}`", named.display()))
}

/// A lock or plan, and what of it holds on this machine.
pub(super) struct Checked {
    /// Its file, without symbolic links.
    file: PathBuf,
    kept: Kept,
    here: Here,
    /// The plan that it is here.
    pub(super) plan: Plan,
    pub(super) found: Verification,
}

/// Compares a lock or plan with this machine.
///
/// # Errors
/// It cannot be read, or what it is for cannot be found.
pub(super) fn checked(host: &Host, named: &Path, python: Option<&Path>, places: &[PathBuf]) -> Result<Checked> {
    let unusable = || format!("cannot use the lock `{}`", named.display());
    // Without symbolic links, as `run --plan` passes it to the shim.
    let file = match Host::current().canonical(named) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("cannot find the lock `{}`", named.display());
            return Err(Failure::new(message).hint("write one with `cudashim lock -o FILE`"));
        }
        found => found.with_context(unusable)?,
    };
    let kept = Kept::read(&file).with_context(unusable)?;
    let (prefix, its_python) = match kept.as_lock() {
        Some(lock) => environment(host, &file, lock, python)?,
        None => (None, None),
    };
    let plan = at(host, &kept, prefix.as_deref(), its_python.as_ref())?;
    let own = its_python.as_ref().map(|python| python.program.clone()).filter(|_| python.is_none());
    let here = Here { python: python.map(Path::to_owned).or(own), places: places.to_vec() };
    let mut found = verified(host, &file, &plan, &here)?;
    if let (Some(lock), Some(python)) = (kept.as_lock(), &its_python) {
        found.checks.extend(lock.other_packages(host, python));
    }
    Ok(Checked { file, kept, here, plan, found })
}

pub(super) fn verify(context: &Context, args: &VerifyArgs) -> Result<ExitCode> {
    let host = context.host();
    let Checked { file, kept, here, plan, found } = checked(host, &args.file, args.python.as_deref(), &args.places)?;
    let mut report = VerifyReport::new(&args.file, &plan, &found);
    let mut is_usable = found.holds();
    if args.relocate {
        let target = args.output.as_deref().unwrap_or(&args.file);
        if let Some(written) = relocated(host, (&kept, &plan), &here, target, &mut report)? {
            is_usable = true;
            output::note(&format!("wrote `{}`; use it with `cudashim run --plan {0}`", written.display()));
        }
    } else if !is_usable && !found.is_only_unfit() {
        report.hints.push(if found.may_be_relocated() {
            format!(
                "run `cudashim verify {} --relocate` to find the same files at their paths here",
                args.file.display()
            )
        } else {
            "write a new lock for this machine: `cudashim lock`".to_owned()
        });
    }
    match args.format {
        Format::Json => output::json(&report)?,
        other => match other.of_findings() {
            Some(form) => output::findings(&report.listed(&file, !is_usable), form, context.checkout())?,
            None => output::report(&verify_text(&report, output::is_verbose()))?,
        },
    }
    Ok(ExitCode::from(u8::from(!is_usable)))
}

/// Relocates the plan and writes it; a failure goes into the report.
fn relocated(
    host: &Host,
    (kept, plan): (&Kept, &Plan),
    here: &Here,
    named: &Path,
    report: &mut VerifyReport,
) -> Result<Option<PathBuf>> {
    let target = kept_file(named)?;
    let fresh = if report.holds { Ok(plan.clone()) } else { relocate(host, plan, here) };
    match fresh {
        Ok(fresh) => {
            let bytes = match kept {
                Kept::Plan(_) => fresh.to_bytes(),
                Kept::Lock(lock) => {
                    let request = Request { python: here.python.clone(), ..Request::default() };
                    let python = request.interpreter(host).ok().flatten().filter(|_| lock.is_of_an_environment());
                    let home = python.as_ref().and_then(|python| home(host, &target, &python.prefix));
                    Lock::of(host, &fresh, python.as_ref(), home.as_deref()).to_bytes()
                }
            };
            if Host::current().read(&target).is_ok_and(|old| old == bytes) {
                return Ok(None);
            }
            write(&target, named, &bytes)?;
            report.relocated = Some(named.into());
            Ok(Some(named.to_owned()))
        }
        Err(RelocateError::Request(error)) if !error.is_answer() => Err(error.into()),
        Err(error) => {
            report.hints = error.hints();
            report.not_relocated.push(error.to_string());
            if let RelocateError::Missing(missing) = error {
                report.not_relocated.extend(missing.into_iter().map(|library| library.says));
            }
            Ok(None)
        }
    }
}

/// Whether the plan is for a Python's environment, not for a file or a torch that is not installed.
fn is_its_environment(plan: &Plan, python: &Interpreter) -> bool {
    let of = |made_for: &PlanFor| matches!(made_for.kind.as_str(), "torch" | "environment");
    plan.made_for.iter().any(of) && plan.programs.iter().any(|program| python.programs().contains(program))
}

/// The directory of a lock, as the machine's paths have it.
fn directory(host: &Host, file: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(file).ok()?.parent()?.to_owned();
    match dir.strip_prefix(host.root()) {
        Ok(below) => Some(Path::new("/").join(below)),
        Err(_) => Some(dir),
    }
}

/// The path of an environment from the directory of a lock, where it stands below that.
fn home(host: &Host, file: &Path, prefix: &Path) -> Option<PathBuf> {
    let prefix = tidy(prefix);
    let below = prefix.strip_prefix(directory(host, file)?).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.to_owned())
}

/// The environment that a lock is used in: the one that is named, the one that stands where the lock's did, the default.
fn environment(
    host: &Host,
    file: &Path,
    lock: &Lock,
    named: Option<&Path>,
) -> Result<(Option<PathBuf>, Option<Interpreter>)> {
    if !lock.is_of_an_environment() {
        return Ok((None, None));
    }
    let home = lock.home().and_then(|home| Some(directory(host, file)?.join(home)));
    let program = home.as_ref().map(|home| home.join("bin/python")).filter(|program| host.stat(program).is_ok());
    let python = match program.filter(|_| named.is_none()) {
        // It comes with the lock, and may be anybody's.
        Some(program) => {
            let options = Options { origin: Origin::Found, ..Options::default() };
            Some(Interpreter::find(host, &program, &options)?)
        }
        None => Request { python: named.map(Path::to_owned), ..Request::default() }.interpreter(host)?,
    };
    // Where there is none, what is missing is told by where it was.
    Ok((python.as_ref().map(|python| python.prefix.clone()).or(home), python))
}

/// The plan that a kept one is for an environment of this machine.
pub(super) fn at(host: &Host, kept: &Kept, prefix: Option<&Path>, python: Option<&Interpreter>) -> Result<Plan> {
    match kept {
        Kept::Plan(plan) => Ok(plan.clone()),
        Kept::Lock(lock) if lock.is_of_an_environment() && prefix.is_none() => {
            Err(Failure::new("cannot find the environment that the lock is for").hint("name it with `--python`"))
        }
        Kept::Lock(lock) => Ok(lock.at(&Objects::new(host), prefix, python)),
    }
}
