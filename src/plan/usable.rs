//! What of a plan that somebody wrote may be handed out: a lock comes with a repository, from whoever wrote that.
//!
//! Takes a plan; gives the part of it that loads nothing but what `verify` names, and what was left out. Whether a library
//! is the one that is meant, the image tells (`plan::Image`).

use crate::plan::{Plan, PlanLibrary};
use std::path::{Component, Path};

/// Directories of the root in which a path leads to something else for each process, or for each moment.
const MOVING: [&str; 3] = ["dev", "proc", "sys"];

/// The plan without records of kinds that are not known here, and without libraries whose path leads each process to another
/// file; those by name, with the reason.
#[must_use]
pub fn usable(plan: &Plan) -> (Plan, Vec<(String, String)>) {
    let (moving, libraries): (Vec<PlanLibrary>, _) = plan.libraries.iter().cloned().partition(|it| is_moving(&it.path));
    let refused = moving.into_iter().map(|library| (library.soname, REFUSED.to_owned())).collect();
    (Plan { libraries, unknown: Vec::new(), ..plan.clone() }, refused)
}

/// In words that follow the path.
pub(super) const REFUSED: &str = "resolves to another file in each process";

pub(super) fn is_moving(path: &Path) -> bool {
    let parts: Vec<Component<'_>> = path.components().collect();
    // What `..` leads to is not known: it may be the root.
    parts.windows(2).any(|pair| match pair {
        [Component::RootDir | Component::ParentDir, Component::Normal(name)] => MOVING.iter().any(|dir| name == dir),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_file_for_all() {
        for path in [
            "/proc/self/cwd/x.so",
            "/a/../proc/1/cwd/x.so",
            "/dev/fd/3",
            "//proc/self/x",
            "/var/run/../proc/self/cwd/x",
        ] {
            assert!(is_moving(path.as_ref()), "{path}");
        }
        assert!(!is_moving("/process/x.so".as_ref()) && !is_moving("/usr/proc/x.so".as_ref()));
    }
}
