//! Findings about the environment: variables of the loader, split or mixed installations.

use super::{Case, Finding, judged};
use crate::facts::Group;

/// What is found, first causes first.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    judged::findings(case, Group::Environment)
}
