//! Packages installed by Spack, and the view of the active environment.
//!
//! Takes a machine; gives the places of packages that hold NVIDIA libraries. A package is in
//! `ARCH/COMPILER/NAME-VERSION-HASH`, from Spack 1.0 on in `ARCH/NAME-VERSION-HASH`.

use super::{Place, Provenance, once, pattern, subdirectories_named, toolkit, user};
use crate::host::Host;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Packages that hold NVIDIA libraries.
const PACKAGES: [&str; 8] = ["cuda", "cudnn", "nccl", "cutensor", "cusparselt", "nvshmem", "nvhpc", "py-torch"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut bases: Vec<PathBuf> = user::named(host, "SPACK_ROOT").into_iter().collect();
    bases.extend(user::home(host).map(|home| home.join("spack")));
    bases.extend(["/opt/spack", "/usr/local/spack"].map(PathBuf::from));
    let trees = bases.iter().flat_map(|base| [base.join("opt/spack"), base.clone()]).collect();
    let mut places: Vec<Place> = once(host, trees).iter().flat_map(|tree| of_tree(host, tree)).collect();
    if let Some(environment) = user::named(host, "SPACK_ENV") {
        let view = environment.join(".spack-env/view");
        places.extend(pattern::below(host, &view, &toolkit::ALL_DIRS, Provenance::Spack));
    }
    places
}

fn of_tree(host: &Host, tree: &Path) -> Vec<Place> {
    let is_package = |name: &OsStr| {
        let rest = |package: &&str| name.as_bytes().strip_prefix(package.as_bytes());
        PACKAGES.iter().filter_map(rest).any(|rest| rest.starts_with(b"-"))
    };
    let mut parents = pattern::expand(host, tree, "linux-*");
    parents.extend(pattern::expand(host, tree, "linux-*/*"));
    let roots = parents.iter().flat_map(|parent| subdirectories_named(host, parent, is_package));
    roots.flat_map(|root| pattern::below(host, &root, &toolkit::ALL_DIRS, Provenance::Spack)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn both_layouts_and_the_view() {
        let machine = Machine::with(&[
            "s/opt/spack/linux-ubuntu22.04-zen3/gcc-12.3.0/cuda-12.4.0-abcdef/lib64",
            "s/opt/spack/linux-ubuntu22.04-zen3/gcc-12.3.0/cuda-12.4.0-abcdef/targets/x86_64-linux/lib",
            "s/opt/spack/linux-ubuntu22.04-zen3/gcc-12.3.0/zlib-1.3-abcdef/lib",
            "s/opt/spack/linux-zen4/cudnn-9.2.0-abcdef/lib",
            "e/.spack-env/view/lib64",
        ])
        .set("SPACK_ROOT", "/s")
        .set("SPACK_ENV", "/e");
        let expected = [
            "/s/opt/spack/linux-zen4/cudnn-9.2.0-abcdef/lib",
            "/s/opt/spack/linux-ubuntu22.04-zen3/gcc-12.3.0/cuda-12.4.0-abcdef/lib64",
            "/s/opt/spack/linux-ubuntu22.04-zen3/gcc-12.3.0/cuda-12.4.0-abcdef/targets/x86_64-linux/lib",
            "/e/.spack-env/view/lib64",
        ];
        assert_eq!(dirs(&places(&machine.host())), expected);
    }
}
