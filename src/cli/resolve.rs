//! `cudashim resolve`: the set that fits, and why.

use super::answer::{answer, warn};
use super::args::ResolveArgs;
use super::assume::Tabled;
use super::context::{Context, kept_file};
use super::failure::{Context as _, Failure, Result, bail};
use super::format::Format;
use super::output;
use crate::diagnose::{Assumptions, Matrix, Runs, Wanted, matrix, matrix_text, newest_text, newest_torch};
use crate::driver::version_at_once;
use crate::host::atomic_write;
use crate::machine::{Cached, Machine, RequestError};
use crate::python::{Interpreter, Options};
use crate::report::{
    ChosenLibrary, ExplainReport, JsonPath, ResolveReport, SCHEMA, explanation_text, resolution_text, sanitized,
};
use crate::tables::{Version, parse_library_name};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn resolve(context: &Context, args: &ResolveArgs) -> Result<ExitCode> {
    let assumptions = args.assume.read()?;
    if args.choice.who.torch.is_latest() {
        return latest(context, args, &assumptions);
    }
    let mut request = context.request(&args.choice, args.target.as_deref(), &[])?;
    request.policy.explain = args.explain.is_some();
    if let Some(file) = &args.output {
        let target = kept_file(file)?;
        if context.host().is_live() {
            warn(&answer(context, &request)?, true)?;
        }
        let answer = request.answer(context.host())?;
        let Some(resolution) = answer.resolution else {
            bail!("cannot write a plan: {}", answer.nothing.unwrap_or_default());
        };
        atomic_write(&target, &resolution.plan.to_bytes())
            .with_context(|| format!("cannot write the plan to `{}`", file.display()))?;
        output::note(&format!("wrote `{}`; use it with `cudashim run --plan {}`", file.display(), file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let machine = Machine::new(context.host().clone(), request.clone());
    let assumed = assumptions.machines(&machine).into_iter().next();
    let answered = match &assumed {
        Some(assumed) => request.answer(assumed.host()).map(|answer| Cached::fresh(answer, "")).map_err(Failure::from),
        None => answer(context, &request),
    };
    let table = assumed.map(|_| matrix(&machine, &assumptions.drivers, &assumptions.gpus));
    let answered = match answered {
        Ok(answered) => answered,
        Err(failure) if args.format == Format::Json && failure.is_no() => {
            if let Some(RequestError::NoSolution { source, requirement }) = failure.find() {
                output::json(&ResolveReport::none(requirement, source))?;
            }
            return Ok(ExitCode::from(1));
        }
        Err(failure) => return Err(failure),
    };
    warn(&answered, true)?;
    let report = answered.report().context("cannot read the cached answer")?;
    let report = if table.is_some() { report.without_driver() } else { report };
    match (&args.explain, args.format) {
        (Some(soname), Format::Json) => {
            output::json(&ExplainReport {
                schema: SCHEMA,
                r#for: &report.r#for,
                library: explained(&report, soname)?,
            })?;
        }
        (Some(soname), _) => output::report(&explanation_text(explained(&report, soname)?))?,
        (None, Format::Json) => output::json(&Tabled { report, table: table.as_ref() })?,
        (None, _) => {
            output::report(&resolution_text(&report))?;
            if let Some(table) = &table {
                output::laid_out(&format!("\n{}", sanitized(&matrix_text(table, true, output::width().columns))))?;
            }
        }
    }
    let runs = table.as_ref().and_then(Matrix::worst).is_none_or(|worst| worst != Runs::No);
    // 1: the target does not load with the set, or does not run on a driver and GPU that were given.
    Ok(ExitCode::from(u8::from(args.explain.is_none() && !(answered.stops.is_empty() && runs))))
}

/// The newest torch of the tables for the drivers and GPUs that are given, else for the driver of this machine.
fn latest(context: &Context, args: &ResolveArgs, assumptions: &Assumptions) -> Result<ExitCode> {
    if args.explain.is_some() || args.output.is_some() {
        bail!("cannot choose libraries for a torch that is not installed: `latest` names a build to install");
    }
    let mut assumptions = assumptions.clone();
    if assumptions.is_empty() {
        let machine = context.machine();
        let installed = version_at_once(machine.loader()).map(|release| Assumptions::of(&release, &[]));
        assumptions = installed.unwrap_or_default();
    }
    let named = args.target.as_deref().or(args.choice.who.python.as_deref());
    let python = named.map(|named| python(context, named)).transpose()?;
    let found = newest_torch(&Wanted { assumptions: &assumptions, python: python.as_ref() })?;
    match args.format {
        Format::Json => output::json(&found)?,
        _ => output::report(&newest_text(&found))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The release of a Python: of an interpreter or an environment, or written out, `3.12`.
fn python(context: &Context, named: &Path) -> Result<Version> {
    let written = named.to_str().filter(|text| text.starts_with("3.")).and_then(Version::parse);
    if let Some(written) = written.filter(|_| context.host().stat(&context.host().absolute(named)).is_err()) {
        return Ok(written);
    }
    let interpreter = Interpreter::find(context.host(), named, &Options::default())?;
    Version::parse(&interpreter.version).context("cannot read the release of the Python")
}

/// The library of a set that `--explain` names.
pub(super) fn explained<'r>(report: &'r ResolveReport, soname: &str) -> Result<&'r ChosenLibrary> {
    let set = report.set.as_deref().unwrap_or_default();
    // Short names: `libnvrtc.so`, `libnvrtc`, `nvrtc`, in any case.
    let bare = |text: &str| {
        let text = text.to_ascii_lowercase();
        let text = text.strip_prefix("lib").unwrap_or(&text);
        text.split(".so").next().unwrap_or_default().to_owned()
    };
    let (short, exact) = (bare(soname), soname.contains(".so."));
    let names = |library: &&ChosenLibrary| {
        library.soname == soname || !exact && !short.is_empty() && bare(&library.soname) == short
    };
    if let Some(library) = set.iter().find(names) {
        return Ok(library);
    }
    if let Some(nothing) = &report.nothing {
        bail!("cannot explain `{soname}`: {nothing}");
    }
    if let Some(unserved) = report.unserved.iter().find(|unserved| unserved.soname == soname) {
        bail!("`{soname}` is left to the loader: {}", unserved.because);
    }
    let is_named = |path: &JsonPath| path.to_path().file_name().is_some_and(|name| name == soname);
    if let Some(problem) = report.problems.iter().find(|problem| is_named(&problem.path)) {
        bail!("cannot use `{}`: {}", problem.path.to_path().display(), problem.says);
    }
    if parse_library_name(soname).is_some_and(|name| name.row.is_driver()) {
        return Err(Failure::new(format!("`{soname}` belongs to the driver: it is in no set"))
            .hint(format!("run `cudashim why {soname}` to see what it resolves to")));
    }
    let begins = |library: &&ChosenLibrary| !short.is_empty() && bare(&library.soname).starts_with(&short);
    let near: Vec<String> = set.iter().filter(begins).map(|library| format!("`{}`", library.soname)).collect();
    let failure = Failure::new(format!("`{soname}` is not in the set"));
    Err(match &*near {
        [] => failure.hint("run `cudashim resolve` to list the set"),
        near => failure.hint(format!("name one of {}", near.join(", "))),
    })
}
