//! Files of another release inside a package of the consumer's own environment: cuDNN's parts, cuBLAS and cuBLASLt, NVRTC
//! and its builtins.
//!
//! Takes the solution and the inventory; gives a [`Problem`] for each such file, with what mends it. A set is chosen all
//! the same: what is torn in itself works as far as the torn part is not asked for. Looks inside the files of which the
//! size is not the one that their package recorded, and no others.

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
        let says = another_inside(library).or_else(|| unfit.map(|(_, why)| why.to_string()))?;
        let id = torn_id_of(library.row, library.path.file_name());
        Some(Problem { id, path: library.path.clone(), says: format!("{says}{}", mended(library)) })
    });
    torn.collect()
}

/// Whether a copy does not fit the rest of its own group.
fn is_of_another_release(why: &Refusal) -> bool {
    matches!(why, Refusal::Takes { .. } | Refusal::Lacks { .. } | Refusal::OtherRelease { .. })
}

/// What a file that is not of the size that its package recorded says of itself, where that is another release.
fn another_inside(library: &Library) -> Option<String> {
    let Owner::Wheel { name, version, size: Some(size), .. } = &library.owner else { return None };
    let recorded = library.version.as_ref().filter(|_| *size != library.stat.size)?;
    let elf = library.object.as_ref()?.elf().ok()?;
    let (observed, _) = observe(&elf, library.asked_as());
    let other =
        observed.iter().filter_map(|evidence| evidence.version.as_ref()).find(|found| !agree(recorded, found))?;
    Some(format!("is of release {other}; {name} {version} recorded another file"))
}

fn mended(library: &Library) -> String {
    match (library.owner.name(), library.owner.version()) {
        (Some(name), Some(version)) => format!(": reinstall {name} {version}; `cudashim doctor` prints the command"),
        _ => String::new(),
    }
}
