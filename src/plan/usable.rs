//! The part of a foreign plan that may be handed out: a lock comes with a repository, whose author is not trusted.
//!
//! Takes a plan; gives the part that loads only files that `verify` lists, and the rest with reasons. `plan::Image`
//! checks the identity of each file.

use crate::plan::{Plan, PlanLibrary};
use std::path::{Component, Path};

/// Directories of the root in which a path may resolve to another file in each process, or at each moment.
const MOVING: [&str; 3] = ["dev", "proc", "sys"];

/// The plan without unknown records, and without libraries whose path may resolve to another file in each process;
/// those by soname, with the reason.
#[must_use]
pub fn usable(plan: &Plan) -> (Plan, Vec<(String, String)>) {
    let (moving, libraries): (Vec<PlanLibrary>, _) = plan.libraries.iter().cloned().partition(|it| is_moving(&it.path));
    let refused = moving.into_iter().map(|library| (library.soname, REFUSED.to_owned())).collect();
    (Plan { libraries, unknown: Vec::new(), ..plan.clone() }, refused)
}

/// A clause to follow the path.
pub(super) const REFUSED: &str = "resolves to another file in each process";

pub(super) fn is_moving(path: &Path) -> bool {
    let parts: Vec<Component<'_>> = path.components().collect();
    // `..` may resolve to the root.
    parts.windows(2).any(|pair| match pair {
        [Component::RootDir | Component::ParentDir, Component::Normal(name)] => MOVING.iter().any(|dir| name == dir),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_resolves_to_one_file_in_every_process() {
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
