//! Findings about the environment: variables of the loader, split or mixed installations.

use super::{Case, Finding};

/// What is found, first causes first.
pub(crate) fn findings(_case: &Case<'_>) -> Vec<Finding> {
    Vec::new()
}
