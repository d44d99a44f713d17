//! Findings about the environment: variables of the loader, split or mixed installations.
//!
//! [`variables`] checks the variables that ld.so reads, [`mixed`] where libraries come from together, [`torches`]
//! which torch is imported.

mod mixed;
mod pins;
mod torches;
mod variables;

pub(super) use pins::unmet;

use super::{Case, Finding, checked};
use crate::tables::Group;

/// The findings, causes before their effects.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = variables::preload(case).into_iter().collect();
    found.extend(torches::two(case));
    found.extend(mixed::split(case));
    for other in checked::findings(case, Group::Environment) {
        if !found.iter().any(|known| known.id == other.id) {
            found.push(other);
        }
    }
    if !found.iter().any(|known| known.id == "conda-pip-toolkit-mix") {
        found.extend(mixed::conda_and_pip(case));
    }
    found.extend(variables::working_directory(case));
    found.extend(variables::wrong_place(case));
    found.extend(mixed::import_order(case));
    found.extend(pins::finding(case));
    found
}
