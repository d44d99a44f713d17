//! Findings about the libraries of CUDA: which copy wins, what is torn, missing or damaged.

use super::{Case, Finding, judged};
use crate::facts::Group;
use crate::request::RequestError;

/// What is found, first causes first.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = no_set(case).into_iter().collect();
    found.extend(judged::findings(case, Group::Libraries));
    found
}

/// Nothing on the machine fits.
fn no_set(case: &Case<'_>) -> Option<Finding> {
    let Err(RequestError::NoSolution { source, .. }) = case.answer else { return None };
    let found = case.finding("no-set")?;
    let found = source.clauses.iter().fold(found, |found, clause| found.seen("rule", clause.to_string()));
    Some(found.healed_by(source.hints().into_iter().map(super::Remedy::action)))
}
