//! NVIDIA's HPC SDK: several CUDA releases side by side, libraries apart from the toolkits.
//!
//! Takes a machine; gives the places below `/opt/nvidia/hpc_sdk/Linux_ARCH/RELEASE` and `$NVHPC_ROOT`, which names
//! such a release, in the layout of the SDK's install guide.

use super::{Place, Provenance, once, pattern, user};
use crate::host::Host;
use std::path::{Path, PathBuf};

const DIRS: [&str; 13] = [
    "cuda/*/lib64",
    "cuda/*/targets/*/lib",
    "cuda/*/extras/CUPTI/lib64",
    "cuda/*/nvvm/lib64",
    "cuda/*/lib64/stubs",
    "cuda/*/compat",
    "math_libs/*/lib64",
    "math_libs/*/targets/*/lib",
    "comm_libs/*/lib",
    "comm_libs/*/*/lib",
    "profilers/*/target/linux-desktop-*",
    "REDIST/cuda/*/targets/*/lib",
    "compilers/lib",
];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut roots: Vec<PathBuf> =
        ["NVHPC_ROOT", "NVHPC"].into_iter().filter_map(|name| user::named(host, name)).collect();
    if let Some(base) = user::named(host, "NVHPC") {
        roots.extend(pattern::expand(host, &base, "Linux_*/*"));
    }
    roots.extend(pattern::expand(host, Path::new("/opt/nvidia/hpc_sdk"), "Linux_*/*"));
    once(host, roots).iter().flat_map(|root| pattern::below(host, root, &DIRS, Provenance::HpcSdk)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn toolkits_math_and_communication() {
        let root = "/opt/nvidia/hpc_sdk/Linux_x86_64/24.5";
        let expected = [
            "cuda/11.8/lib64",
            "cuda/12.4/lib64",
            "cuda/12.4/extras/CUPTI/lib64",
            "math_libs/12.4/lib64",
            "comm_libs/nccl/lib",
            "comm_libs/12.4/nccl/lib",
        ]
        .map(|dir| format!("{root}/{dir}"));
        let machine = Machine::with(&expected.each_ref().map(String::as_str)).set("NVHPC_ROOT", root);
        let places = places(&machine.host());
        assert_eq!(dirs(&places), expected);
        assert!(places.iter().all(|place| place.root == Path::new(root)));
    }

    #[test]
    fn the_base_variable_names_all_releases() {
        let machine = Machine::with(&["sdk/Linux_aarch64/25.1/math_libs/12.6/lib64"]).set("NVHPC", "/sdk");
        assert_eq!(dirs(&places(&machine.host())), ["/sdk/Linux_aarch64/25.1/math_libs/12.6/lib64"]);
    }
}
