//! `cudashim resolve`, and what all commands that resolve share.

use super::args::{Cli, ConsumerArgs, Format, ResolveArgs};
use super::{output, shim};
use crate::diagnose::{Finding, Remedy, preflight};
use crate::host::{Host, Kind, atomic_write, write_target};
use crate::machine::Machine;
use crate::machine::{Cached, PlanCache, Request, RequestError, Said};
use crate::report::{
    ChosenLibrary, ExplainReport, JsonPath, ResolveReport, SCHEMA, acts, explanation_text, resolution_text, sanitized,
};
use crate::resolve::Policy;
use crate::tables::parse_library_name;
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The machine meant.
pub(super) fn host(cli: &Cli) -> Host {
    let host = Host::current();
    match &cli.root {
        Some(root) => Host::new(host.absolute(root), host.environment().clone(), "/".into()),
        None => host,
    }
}

/// The same, with nothing asked of it yet.
pub(super) fn machine(cli: &Cli) -> Machine {
    Machine::new(host(cli), Request::default())
}

/// The request that the arguments make.
pub(super) fn request(host: &Host, args: &ConsumerArgs, command: &[OsString]) -> Request {
    for (option, path) in
        args.places.iter().map(|path| ("--place", path)).chain(args.forbidden.iter().map(|path| ("--forbid", path)))
    {
        if host.stat(path).is_err() {
            output::note(&format!("`{option} {}` names nothing that is there", path.display()));
        }
    }
    Request {
        spec: args.meant.torch.clone(),
        python: args.meant.python.clone(),
        files: args.files.clone(),
        places: args.places.clone(),
        policy: Policy {
            fixed: args.fixed.iter().map(|(soname, path)| (soname.clone(), host.absolute(path))).collect(),
            forbidden: args.forbidden.iter().map(|path| host.absolute(path)).collect(),
            explain: false,
        },
        command: command.to_vec(),
    }
}

/// The answer, from the cache where it holds, with what the judge says of it. Plans for images are not kept: nobody can be
/// handed one.
pub(super) fn answer(host: &Host, request: &Request) -> anyhow::Result<Cached> {
    answer_or(host, request, |cache, host, request| cache.clone().judged_by(judge).answer(host, request))
        .map_err(|error| with_lines(host, request, error))
}

/// The same for a process that is running: there is nobody to be told.
pub(super) fn answer_unjudged(host: &Host, request: &Request) -> anyhow::Result<Cached> {
    answer_or(host, request, PlanCache::answer)
}

/// The same before the command is started: it may start any environment, and then none is meant yet.
pub(super) fn answer_before_start(host: &Host, request: &Request) -> anyhow::Result<Cached> {
    answer_or(host, request, |cache, host, request| cache.clone().judged_by(judge).answer_before_start(host, request))
        .map_err(|error| with_lines(host, request, error))
}

/// What the rules say of what is asked for, with the set that was chosen for it.
fn judge(host: &Host, request: &Request) -> Said {
    let Ok(machine) = Machine::new(host.clone(), request.clone()).answered() else { return Said::default() };
    let found = preflight(&machine);
    let bare = found.better_bare && machine.chosen().is_some();
    Said {
        stops: found.stops.iter().map(one_line).collect(),
        notes: found.notes.iter().map(one_line).collect(),
        bare: bare.then(|| "what is asked for loads as it is, and not with the set that was found".to_owned()),
    }
}

/// An error with the lines that heal what it says, where no set fits.
fn with_lines(host: &Host, request: &Request, error: anyhow::Error) -> anyhow::Error {
    if !output::is_no(&error) {
        return error;
    }
    let Ok(machine) = Machine::new(host.anew(), request.clone()).answered() else { return error };
    let found = preflight(&machine);
    let lines = found.stops.iter().filter_map(|stop| stop.remedies.first()?.as_command());
    let mut lines: Vec<String> = lines.map(|line| format!("`{line}`")).collect();
    lines.dedup();
    if lines.is_empty() { error } else { error.context(Lines(lines)) }
}

/// No set fits, and what heals that.
#[derive(Debug, thiserror::Error)]
#[error("no set of libraries fits")]
pub(super) struct Lines(pub(super) Vec<String>);

/// A finding and the first line to type, on one line.
pub(super) fn one_line(finding: &Finding) -> String {
    let first = finding.remedies.first();
    let line = first.and_then(Remedy::as_command).map(|line| format!("; type: {line}"));
    format!("{} [{}]{}", finding.cause, finding.id, line.unwrap_or_default())
}

/// Says what shows later, and ends in an error where what is asked for does not load; `force`: says that, too, and goes on.
pub(super) fn said(answered: &Cached, force: bool) -> anyhow::Result<()> {
    for warning in &answered.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if answered.stops.is_empty() {
        return Ok(());
    }
    if !force {
        return Err(DoesNotLoad(answered.stops.clone()).into());
    }
    answered.stops.iter().for_each(|stop| output::note(&format!("warning: {stop}")));
    Ok(())
}

/// What is asked for does not load with the set that was chosen for it.
#[derive(Debug, thiserror::Error)]
#[error("cannot load what is asked for: {}", .0.join("; "))]
pub(super) struct DoesNotLoad(pub(super) Vec<String>);

fn answer_or(
    host: &Host,
    request: &Request,
    answer: impl Fn(&PlanCache, &Host, &Request) -> Result<Cached, RequestError>,
) -> anyhow::Result<Cached> {
    let why = match cache(host) {
        Ok(cache) if host.is_live() && !request.policy.explain => {
            return Ok(answer(&cache, host, request)?);
        }
        Ok(_) => String::new(),
        Err(error) => {
            log::warn!("no cache: {error:#}");
            format!("{error:#}: set `CUDASHIM_CACHE` to a directory of your own")
        }
    };
    Ok(Cached::fresh(request.answer(host)?, &why))
}

/// The cache of answers.
pub(super) fn cache(host: &Host) -> anyhow::Result<PlanCache> {
    let dir = shim::cache_dir(host)?;
    PlanCache::open(&dir).map_err(Into::into)
}

/// Refuses an image where a process of this machine is to be started.
pub(super) fn live(cli: &Cli) -> anyhow::Result<()> {
    if cli.root.is_some() {
        bail!("`--root` is for looking at an image: nothing on it can be started from here");
    }
    Ok(())
}

pub(super) fn resolve(cli: &Cli, args: &ResolveArgs) -> anyhow::Result<ExitCode> {
    let host = host(cli);
    let mut request = request(&host, &args.consumer, &[]);
    request.policy.explain = args.explain.is_some();
    if let Some(file) = &args.output {
        let target = kept_file(file)?;
        if host.is_live() {
            said(&self::answer(&host, &request)?, true)?;
        }
        let answer = request.answer(&host)?;
        let Some(resolution) = answer.resolution else {
            bail!("{}: there is no plan to write", answer.nothing.unwrap_or_default());
        };
        atomic_write(&target, &resolution.plan.to_bytes())
            .with_context(|| format!("the plan cannot be written to `{}`", file.display()))?;
        output::note(&format!("wrote `{}`: use it with `cudashim run --plan {}`", file.display(), file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let (report, stops) = match answer(&host, &request) {
        Ok(answered) => {
            said(&answered, true)?;
            (answered.report().context("the answer that was kept cannot be read")?, answered.stops)
        }
        Err(error) if cli.format == Format::Json && output::is_no(&error) => {
            if let Some(RequestError::NoSolution { source, requirement }) = error.downcast_ref() {
                print(json(&ResolveReport::none(requirement, source))?)?;
            }
            return Ok(ExitCode::from(1));
        }
        Err(error) => return Err(error),
    };
    if let Some(soname) = &args.explain {
        let library = explained(&report, soname)?;
        match cli.format {
            Format::Json | Format::Jsonl => {
                print(json(&ExplainReport { schema: SCHEMA, r#for: &report.r#for, library })?)?;
            }
            Format::Human | Format::Markdown => print(sanitized(&explanation_text(library)))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    match cli.format {
        Format::Json | Format::Jsonl => print(json(&report)?)?,
        Format::Human | Format::Markdown => print(sanitized(&resolution_text(&report)))?,
    }
    // There is a set, and it does not load.
    Ok(ExitCode::from(u8::from(!stops.is_empty())))
}

/// Where a file of the user's is to be written, also where the machine is an image: what a symbolic link leads to, and
/// nothing but a regular file is replaced.
pub(super) fn kept_file(file: &Path) -> anyhow::Result<PathBuf> {
    let path = write_target(file).with_context(|| format!("`{}` cannot be written", file.display()))?;
    match Host::current().stat(&path) {
        Ok(stat) if stat.kind != Kind::File => {
            bail!("`{}` is no regular file: nothing can be kept there", file.display())
        }
        _ => Ok(path),
    }
}

/// The library of a set that `--explain` names.
pub(super) fn explained<'r>(report: &'r ResolveReport, soname: &str) -> anyhow::Result<&'r ChosenLibrary> {
    let set = report.set.as_deref().unwrap_or_default();
    // As people say it: `libnvrtc.so`, `nvrtc`.
    let said = |library: &&ChosenLibrary| {
        let stem = parse_library_name(&library.soname).map(|name| (name.stem(), name.row.bare_name()));
        library.soname == soname || stem.is_some_and(|(stem, bare)| stem.eq_ignore_ascii_case(soname) || bare == soname)
    };
    let Some(library) = set.iter().find(said) else {
        if let Some(nothing) = &report.nothing {
            bail!("{nothing}: nothing to explain");
        }
        if let Some(unserved) = report.unserved.iter().find(|unserved| unserved.soname == soname) {
            bail!("`{soname}` is left to the loader: {}", unserved.because);
        }
        let named = |path: &JsonPath| path.to_path().file_name().is_some_and(|name| name == soname);
        if let Some(problem) = report.problems.iter().find(|problem| named(&problem.path)) {
            bail!("`{}` cannot be used: {}", problem.path.to_path().display(), problem.says);
        }
        let known: Vec<&str> = set.iter().map(|library| library.soname.as_str()).collect();
        bail!("`{soname}` is not in the set, which holds: {}", known.join(", "));
    };
    Ok(library)
}

pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(escaped(&serde_json::to_string_pretty(value)?) + "\n")
}

/// The same on a line of its own, as jsonl has it.
pub(super) fn json_line(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(escaped(&serde_json::to_string(value)?) + "\n")
}

/// JSON with what could act on a terminal written as escapes: such characters stand in strings alone.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
        out
    })
}

/// Data, to stdout.
pub(super) fn print(data: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data.as_ref()).and_then(|()| stdout.flush()).context("the answer cannot be written to stdout")
}
