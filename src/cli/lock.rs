//! `cudashim lock` and `cudashim verify`: a plan beside `requirements.txt`, and whether it holds here.

use super::args::{Cli, Format, LockArgs, VerifyArgs};
use super::{output, resolve};
use crate::host::{Host, atomic_write};
use crate::machine::{Locked, RelocateError, lock as made, relocate};
use crate::plan::Plan;
use crate::plan::{Here, verify as verified};
use crate::report::sanitized;
use crate::report::{VerifyReport, verify_text};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn lock(cli: &Cli, args: &LockArgs) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let request = resolve::request(&host, &args.consumer, &[]);
    let here = Host::current();
    if !args.check && host.is_live() {
        resolve::said(&resolve::answer(&host, &request)?, args.force)?;
    }
    let target = resolve::kept_file(&args.output)?;
    let plan = match made(&host, &request)? {
        Locked::Plan(plan) => plan,
        Locked::Nothing(why) => bail!("{why}: there is nothing to lock (`--python` names another environment)"),
    };
    let (bytes, file) = (plan.to_bytes(), args.output.display());
    if here.read(&target).is_ok_and(|old| old == bytes) {
        output::note(&format!("`{file}` is up to date"));
        return Ok(ExitCode::SUCCESS);
    }
    if args.check {
        output::note(&format!("`{file}` is not what `cudashim lock` would write now"));
        return Ok(ExitCode::from(1));
    }
    write(&target, &args.output, &bytes)?;
    let what = plan.made_for.first().map(|made_for| format!(" for {}", made_for.text)).unwrap_or_default();
    let count = plan.chosen().count();
    output::note(&format!("wrote `{file}`: {count} libraries{what}; `cudashim verify {file}` tells whether it holds"));
    Ok(ExitCode::SUCCESS)
}

fn write(target: &Path, said: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    atomic_write(target, bytes).with_context(|| format!("the lock cannot be written to `{}`", said.display()))
}

pub(super) fn verify(cli: &Cli, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let current = Host::current();
    let unusable = || format!("`{}` cannot be used", args.file.display());
    // The shim is given it without symbolic links, as `run --plan` does.
    let file = match current.canonical(&args.file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no `{}`: `cudashim lock -o FILE` writes one", args.file.display());
        }
        found => found.with_context(unusable)?,
    };
    let plan = Plan::read(&file).with_context(unusable)?;
    let here = Here { python: args.python.clone(), places: args.places.clone() };
    let found = verified(&host, &file, &plan, &here)?;
    let mut report = VerifyReport::new(&args.file, &plan, &found);
    let mut mended = found.holds();
    if args.relocate {
        let target = args.output.as_deref().unwrap_or(&args.file);
        if let Some(written) = relocated(&host, &plan, &here, target, &mut report)? {
            mended = true;
            output::note(&format!("wrote `{}`: use it with `cudashim run --plan {0}`", written.display()));
        }
    } else if !mended && !found.is_only_unfit() {
        report.hints.push(if found.may_be_relocated() {
            format!("`cudashim verify {} --relocate` finds the same files where they are now", args.file.display())
        } else {
            "make a new lock for what is here: `cudashim lock`".to_owned()
        });
    }
    match cli.format {
        Format::Json | Format::Jsonl => resolve::print(resolve::json(&report)?)?,
        Format::Human | Format::Markdown => resolve::print(sanitized(&verify_text(&report)))?,
    }
    Ok(ExitCode::from(u8::from(!mended)))
}

/// Brings the plan here and writes it; why not goes into the report.
fn relocated(
    host: &Host,
    plan: &Plan,
    here: &Here,
    said: &Path,
    report: &mut VerifyReport,
) -> anyhow::Result<Option<PathBuf>> {
    let target = resolve::kept_file(said)?;
    let fresh = if report.holds { Ok(plan.clone()) } else { relocate(host, plan, here) };
    match fresh {
        Ok(fresh) => {
            let bytes = fresh.to_bytes();
            if Host::current().read(&target).is_ok_and(|old| old == bytes) {
                return Ok(None);
            }
            write(&target, said, &bytes)?;
            report.relocated = Some(said.into());
            Ok(Some(said.to_owned()))
        }
        Err(RelocateError::Request(error)) if !output::is_no_request(&error) => Err(error.into()),
        Err(error) => {
            report.hints = match &error {
                RelocateError::Request(error) => output::hints_of_request(error),
                error => error.hints(),
            };
            report.not_relocated.push(error.to_string());
            if let RelocateError::Missing(missing) = error {
                report.not_relocated.extend(missing.into_iter().map(|library| library.says));
            }
            Ok(None)
        }
    }
}
