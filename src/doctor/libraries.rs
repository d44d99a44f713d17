//! Findings about the libraries of CUDA: which copy wins, what is torn, missing or damaged.

use super::{Case, Finding};
use crate::request::RequestError;

/// What is found, first causes first.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    no_set(case).into_iter().collect()
}

/// Nothing on the machine fits.
fn no_set(case: &Case<'_>) -> Option<Finding> {
    let Err(RequestError::NoSolution { source, .. }) = case.answer else { return None };
    let found = case.finding("no-set")?;
    let found = source.clauses.iter().fold(found, |found, clause| found.seen("rule", clause.to_string()));
    Some(found.healed_by(source.hints().into_iter().map(super::Remedy::action)))
}
