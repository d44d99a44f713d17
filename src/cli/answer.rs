//! The answer to a request, judged; the start of every command that chooses a set.
//!
//! Takes a request; gives the answer, from the cache if that is valid, with the verdict of `doctor`'s rules. Prints
//! warnings, never results.

use super::context::Context;
use super::failure::{Failure, Result};
use super::output;
use crate::diagnose::{Finding, Remedy, preflight};
use crate::host::{Hints, Host};
use crate::machine::{Cached, JudgeResult, Machine, PlanCache, Request, RequestError};

/// The answer, from the cache if that is valid, with the judge's verdict. Plans for images are not cached: they are
/// never handed out.
pub(super) fn answer(context: &Context, request: &Request) -> Result<Cached> {
    answer_or(context, request, |cache, host, request| cache.clone().judged_by(judge).answer(host, request))
        .map_err(|failure| with_lines(context.host(), request, failure))
}

/// The same for a running process, without a verdict: nobody reads warnings.
pub(super) fn answer_unjudged(context: &Context, request: &Request) -> Result<Cached> {
    answer_or(context, request, PlanCache::answer)
}

/// The same before a command starts: if it may start any environment, no set is chosen yet.
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

/// The verdict of the rules on the target with its set.
fn judge(host: &Host, request: &Request) -> JudgeResult {
    let Ok(machine) = Machine::new(host.clone(), request.clone()).answered() else { return JudgeResult::default() };
    let found = preflight(&machine);
    let bare = found.better_bare && machine.chosen().is_some();
    JudgeResult {
        stops: found.stops.iter().map(one_line).collect(),
        notes: found.notes.iter().map(one_line).collect(),
        bare: bare.then(|| "it loads without cudashim, and not with the set that was found".to_owned()),
    }
}

/// If no set fits, the failure with the lines that heal it.
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

/// Warns of what fails later, and fails if the target does not load; with `force`, warns of that too.
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

/// The target does not load with its set.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the target: {}", .0.join("; "))]
struct DoesNotLoad(Vec<String>);

impl Hints for DoesNotLoad {
    fn hints(&self) -> Vec<String> {
        vec!["run `cudashim doctor` for the whole diagnosis; `--force` goes on all the same".to_owned()]
    }
}
