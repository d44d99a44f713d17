//! `cudashim lock` and `cudashim verify`: a plan beside `requirements.txt`, and whether it holds here.

use super::answer::{answer, warn};
use super::args::{Format, LockArgs, VerifyArgs};
use super::context::{Context, kept_file};
use super::failure::{Context as _, Failure, Result};
use super::output;
use crate::host::{Hints, Host, atomic_write};
use crate::machine::{Locked, RelocateError, lock as made, relocate};
use crate::plan::Plan;
use crate::plan::{Here, verify as verified};
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
    let (bytes, file) = (plan.to_bytes(), args.output.display());
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

pub(super) fn verify(context: &Context, args: &VerifyArgs) -> Result<ExitCode> {
    let host = context.host();
    let current = Host::current();
    let unusable = || format!("cannot use the lock `{}`", args.file.display());
    // Without symbolic links, as `run --plan` passes it to the shim.
    let file = match current.canonical(&args.file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("cannot find the lock `{}`", args.file.display());
            return Err(Failure::new(message).hint("write one with `cudashim lock -o FILE`"));
        }
        found => found.with_context(unusable)?,
    };
    let plan = Plan::read(&file).with_context(unusable)?;
    let here = Here { python: args.python.clone(), places: args.places.clone() };
    let found = verified(host, &file, &plan, &here)?;
    let mut report = VerifyReport::new(&args.file, &plan, &found);
    let mut is_usable = found.holds();
    if args.relocate {
        let target = args.output.as_deref().unwrap_or(&args.file);
        if let Some(written) = relocated(host, &plan, &here, target, &mut report)? {
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
        Format::Human => output::report(&verify_text(&report, output::is_verbose()))?,
    }
    Ok(ExitCode::from(u8::from(!is_usable)))
}

/// Relocates the plan and writes it; a failure goes into the report.
fn relocated(
    host: &Host,
    plan: &Plan,
    here: &Here,
    named: &Path,
    report: &mut VerifyReport,
) -> Result<Option<PathBuf>> {
    let target = kept_file(named)?;
    let fresh = if report.holds { Ok(plan.clone()) } else { relocate(host, plan, here) };
    match fresh {
        Ok(fresh) => {
            let bytes = fresh.to_bytes();
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
