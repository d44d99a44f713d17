//! Findings about the libraries of CUDA: which copy wins, what is torn, missing or damaged.
//!
//! What an environment loads is judged by `check` ([`judged`]), what stands in its directories and on the search path by
//! `scan` ([`copies`]); [`loading`] and [`nvvm`] hold rules that neither has. What nobody is seen to load is no more than a
//! warning.

mod copies;
mod loading;
mod nvvm;

use super::{Case, Finding, Remedy, judged, mend};
use crate::check::Verdict;
use crate::facts::{Group, Severity};
use crate::request::RequestError;

/// What is found, first causes first.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = copies::overwritten(case).into_iter().collect();
    found.extend(judged::findings(case, Group::Libraries));
    found.extend(copies::builtins(case));
    found.extend(nvvm::absent(case));
    found.extend(loading::executable_stacks(case));
    found.extend(loading::static_tls(case));
    found.extend(copies::altered(case));
    found.extend(no_set(case));
    for other in copies::others(case) {
        if !found.iter().any(|known| known.id == other.id) {
            found.push(other);
        }
    }
    // A warning that says why something fatal came about is told before that.
    found.sort_by_key(|finding| finding.severity == Severity::Fact);
    found
}

/// Nothing on the machine fits.
fn no_set(case: &Case<'_>) -> Option<Finding> {
    let Err(RequestError::NoSolution { source, .. }) = case.answer else { return None };
    // What loads without a set goes on without one.
    let loads = case.judged.iter().all(|judged| judged.judgement.verdict != Verdict::Fails);
    let severity = if loads && !case.judged.is_empty() { Severity::Warning } else { Severity::Fatal };
    let found = case.finding("no-set")?.severity(severity);
    let found = source.clauses.iter().fold(found, |found, clause| found.seen("rule", clause.to_string()));
    let hints = source.hints().into_iter().map(Remedy::action);
    Some(found.healed_by(mend::restored(case).into_iter().chain(hints)))
}
