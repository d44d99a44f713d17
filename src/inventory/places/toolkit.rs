//! CUDA toolkits: `CUDA_HOME` and similar variables, `/usr/local/cuda*`, `/opt/cuda*`.

use super::{Place, Provenance, once, pattern, subdirectories_named, user};
use crate::host::Host;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Variables with the root of a toolkit or of a single library's installation.
const VARIABLES: [&str; 9] = [
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_ROOT",
    "CUDA_TOOLKIT_ROOT_DIR",
    "CUDNN_PATH",
    "NCCL_HOME",
    "CUTENSOR_PATH",
    "EBROOTCUDA",
    "NVHPC_CUDA_HOME",
];

/// More of them, for a survey.
const MORE_VARIABLES: [&str; 7] =
    ["CUDA_DIR", "CUDNN_ROOT", "CUDNN_HOME", "NCCL_ROOT", "NVSHMEM_HOME", "CUSPARSELT_ROOT", "CUTENSOR_ROOT"];

/// The library directories of a toolkit. Not `stubs`, which are for linking only, nor `compat`, which belongs to the
/// driver.
const DIRS: [&str; 8] = [
    "lib64",
    "lib",
    "targets/x86_64-linux/lib",
    "targets/sbsa-linux/lib",
    "targets/aarch64-linux/lib",
    "extras/CUPTI/lib64",
    "nvvm/lib64",
    "lib64/stubs",
];

/// All of them, for a survey: other targets, stubs, and the driver libraries of the compatibility package.
pub(super) const ALL_DIRS: [&str; 12] = [
    "lib64",
    "lib",
    "targets/*/lib",
    "extras/CUPTI/lib64",
    "extras/CUPTI/lib",
    "nvvm/lib64",
    "nvvm/lib",
    "lib64/stubs",
    "lib/stubs",
    "targets/*/lib/stubs",
    "compat",
    "compat-*",
];

/// Roots of the toolkits of distributions.
const DISTRIBUTED: [&str; 2] = ["/usr/lib/cuda", "/usr/lib/nvidia-cuda-toolkit"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    roots(host, &VARIABLES).iter().flat_map(|root| toolkit(host, root)).collect()
}

/// The places of every toolkit, with those outside the search paths of programs.
pub(super) fn known(host: &Host) -> Vec<Place> {
    let mut roots = roots(host, &VARIABLES);
    roots.extend(MORE_VARIABLES.iter().filter_map(|name| user::named(host, name)));
    roots.extend(user::below(host, user::home(host), &["cuda", "cuda-*", ".local/cuda*"]));
    // The target of the link /usr/local/cuda has the release in its name.
    let roots = roots.iter().filter_map(|root| host.canonical(root).ok()).collect();
    once(host, roots).iter().flat_map(|root| pattern::below(host, root, &ALL_DIRS, Provenance::Toolkit)).collect()
}

fn roots(host: &Host, variables: &[&str]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = variables.iter().filter_map(|name| user::named(host, name)).collect();
    let is_toolkit = |name: &OsStr| name == "cuda" || name.as_bytes().starts_with(b"cuda-");
    for parent in ["/usr/local", "/opt"] {
        roots.extend(subdirectories_named(host, Path::new(parent), is_toolkit));
    }
    roots.extend(DISTRIBUTED.map(PathBuf::from));
    roots
}

/// The places of one toolkit.
pub(super) fn toolkit(host: &Host, root: &Path) -> Vec<Place> {
    let root = host.canonical(root).unwrap_or_else(|_| root.to_owned());
    let dirs = DIRS.iter().map(|dir| root.join(dir)).filter(|dir| host.is_dir(dir));
    dirs.map(|dir| Place::new(dir, Provenance::Toolkit, &root)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn a_survey_sees_stubs_compat_and_every_target() {
        let machine = Machine::with(&[
            "usr/local/cuda-12.4/targets/x86_64-linux/lib/stubs",
            "usr/local/cuda-12.4/extras/CUPTI/lib64",
            "usr/local/cuda-12.4/nvvm/lib64",
            "usr/local/cuda-12.4/compat",
            "usr/local/cudart",
            "opt/cuda/lib64",
            "data/cuda/lib64",
        ])
        .link("usr/local/cuda", "cuda-12.4")
        .link("usr/local/cuda-12.4/lib64", "targets/x86_64-linux/lib")
        .set("CUDA_HOME", "/data/cuda");
        let host = machine.host();
        let expected = [
            "/data/cuda/lib64",
            "/usr/local/cuda-12.4/lib64",
            "/usr/local/cuda-12.4/targets/x86_64-linux/lib",
            "/usr/local/cuda-12.4/extras/CUPTI/lib64",
            "/usr/local/cuda-12.4/nvvm/lib64",
            "/usr/local/cuda-12.4/lib64/stubs",
            "/usr/local/cuda-12.4/targets/x86_64-linux/lib/stubs",
            "/usr/local/cuda-12.4/compat",
            "/opt/cuda/lib64",
        ];
        let known = known(&host);
        assert_eq!(dirs(&known), expected);
        assert_eq!(known[1].root, Path::new("/usr/local/cuda-12.4"));
        // The places for programs are fewer.
        let used = dirs(&places(&host));
        assert!(used.contains(&"/usr/local/cuda-12.4/lib64".to_owned()), "{used:?}");
        assert!(!used.contains(&"/usr/local/cuda-12.4/compat".to_owned()), "{used:?}");
    }
}
