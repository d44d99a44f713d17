//! Findings about what uses CUDA: extensions, other frameworks, pairs of packages.

use super::{Case, Finding, judged};
use crate::facts::Group;

/// What is found, first causes first.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    judged::findings(case, Group::Frameworks)
}
