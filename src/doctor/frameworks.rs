//! Findings about what uses CUDA: extensions, other frameworks, pairs of packages.

use super::{Case, Finding};

/// What is found, first causes first.
pub(crate) fn findings(_case: &Case<'_>) -> Vec<Finding> {
    Vec::new()
}
