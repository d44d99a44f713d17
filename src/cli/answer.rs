//! The answer to a request, judged: what the commands that choose a set start from.
//!
//! Takes a request; gives the answer, from the cache where it holds, with what the rules of `doctor` say of it. Prints
//! warnings, never results.

use super::context::Context;
use super::failure::{Failure, Result};
use super::output;
use crate::diagnose::{Finding, Remedy, preflight};
use crate::host::{Hints, Host};
use crate::machine::{Cached, Machine, PlanCache, Request, RequestError, Said};

/// The answer, from the cache where it holds, with what the judge says of it. Plans for images are not kept: nobody can be
/// handed one.
pub(super) fn answer(context: &Context, request: &Request) -> Result<Cached> {
    answer_or(context, request, |cache, host, request| cache.clone().judged_by(judge).answer(host, request))
        .map_err(|failure| with_lines(context.host(), request, failure))
}

/// The same for a process that is running: there is nobody to warn.
pub(super) fn answer_unjudged(context: &Context, request: &Request) -> Result<Cached> {
    answer_or(context, request, PlanCache::answer)
}

/// The same before the command is started: it may start any environment, and then none is chosen for yet.
pub(super) fn answer_before_start(context: &Context, request: &Request) -> Result<Cached> {
    answer_or(context, request, |cache, host, request| {
        cache.clone().judged_by(judge).answer_before_start(host, request)
    })
    .map_err(|failure| with_lines(context.host(), request, failure))
}

fn answer_or(
    context: &Context,
    request: &Request,
    answer: impl Fn(&PlanCache, &Host, &Request) -> std::result::Result<Cached, RequestError>,
) -> Result<Cached> {
    let host = context.host();
    let why = match context.cache() {
        Ok(cache) if host.is_live() && !request.policy.explain => return Ok(answer(&cache, host, request)?),
        Ok(_) => String::new(),
        Err(failure) => {
            log::warn!("no cache: {failure}");
            format!("{failure}: set `CUDASHIM_CACHE` to a directory of your own")
        }
    };
    Ok(Cached::fresh(request.answer(host)?, &why))
}

/// What the rules say of what is asked for, with the set that was chosen for it.
fn judge(host: &Host, request: &Request) -> Said {
    let Ok(machine) = Machine::new(host.clone(), request.clone()).answered() else { return Said::default() };
    let found = preflight(&machine);
    let bare = found.better_bare && machine.chosen().is_some();
    Said {
        stops: found.stops.iter().map(one_line).collect(),
        notes: found.notes.iter().map(one_line).collect(),
        bare: bare.then(|| "it loads without cudashim, and not with the set that was found".to_owned()),
    }
}

/// Where no set fits, the failure with the lines that heal that.
fn with_lines(host: &Host, request: &Request, failure: Failure) -> Failure {
    if !failure.is_no() {
        return failure;
    }
    let Ok(machine) = Machine::new(host.anew(), request.clone()).answered() else { return failure };
    let found = preflight(&machine);
    let lines = found.stops.iter().filter_map(|stop| stop.remedies.first()?.as_command());
    let mut lines: Vec<String> = lines.map(|line| format!("`{line}`")).collect();
    lines.dedup();
    if lines.is_empty() { failure } else { failure.with_hints(lines) }
}

/// A finding and the first line to type, on one line.
fn one_line(finding: &Finding) -> String {
    let first = finding.remedies.first();
    let line = first.and_then(Remedy::as_command).map(|line| format!("; type: {line}"));
    format!("{} [{}]{}", finding.cause, finding.id, line.unwrap_or_default())
}

/// Warns of what shows later, and fails where the target does not load; `force`: warns of that, too, and goes on.
pub(super) fn warn(answered: &Cached, force: bool) -> Result<()> {
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

/// The target does not load with the set that was chosen for it.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the target: {}", .0.join("; "))]
struct DoesNotLoad(Vec<String>);

impl Hints for DoesNotLoad {
    fn hints(&self) -> Vec<String> {
        vec!["run `cudashim doctor` for the whole diagnosis; `--force` goes on all the same".to_owned()]
    }
}
