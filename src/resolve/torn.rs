//! Torn groups in the consumer's environment: files of another release among cuDNN's parts, cuBLAS and cuBLASLt, NVRTC
//! and its builtins.
//!
//! Takes the solution and the inventory; gives a [`Problem`] for each such file, with its remedy. A set is chosen all
//! the same: a torn group works while its torn part is not used. Reads only the files whose size differs from their
//! package's record.

use super::problem::{State, at_home};
use crate::inventory::{Inventory, Library, Owner, Problem, agree, observe, torn_id_of};
use crate::resolve::solve::{Refusal, Solution};
use crate::target::Requirement;

pub(super) fn problems(
    requirement: &Requirement,
    inventory: &Inventory,
    state: &State<'_>,
    solution: &Solution,
) -> Vec<Problem> {
    let refused: Vec<(&Library, &Refusal)> = solution
        .unserved
        .iter()
        .flat_map(|unserved| &unserved.refused)
        .filter_map(|refused| Some((state.library(refused.candidate)?, &refused.because)))
        .collect();
    let home =
        inventory.libraries.iter().filter(|library| library.row.group.is_some() && at_home(requirement, library));
    let torn = home.filter_map(|library| {
        let unfit = refused.iter().find(|(copy, why)| copy.path == library.path && is_of_another_release(why));
        let says = other_release(library).or_else(|| unfit.map(|(_, why)| why.to_string()))?;
        let id = torn_id_of(library.row, library.path.file_name());
        Some(Problem { id, path: library.path.clone(), says: format!("{says}{}", remedy(library)) })
    });
    torn.collect()
}

/// Whether a copy does not fit the rest of its group.
fn is_of_another_release(why: &Refusal) -> bool {
    matches!(why, Refusal::Takes { .. } | Refusal::Lacks { .. } | Refusal::OtherRelease { .. })
}

/// The other release inside a file whose size differs from its package's record, in words.
fn other_release(library: &Library) -> Option<String> {
    let Owner::Wheel { name, version, size: Some(size), .. } = &library.owner else { return None };
    let recorded = library.version.as_ref().filter(|_| *size != library.stat.size)?;
    let elf = library.object.as_ref()?.elf().ok()?;
    let (observed, _) = observe(&elf, library.load_name());
    let other =
        observed.iter().filter_map(|evidence| evidence.version.as_ref()).find(|found| !agree(recorded, found))?;
    Some(format!("is of release {other}; {name} {version} recorded another file"))
}

fn remedy(library: &Library) -> String {
    match (library.owner.name(), library.owner.version()) {
        (Some(name), Some(version)) => format!(": reinstall {name} {version}; `cudashim doctor` prints the command"),
        _ => String::new(),
    }
}
