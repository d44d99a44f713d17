//! CUDA toolkits: `CUDA_HOME` and its kin, `/usr/local/cuda*`, `/opt/cuda*`.

use super::{Place, Provenance, subdirectories};
use crate::host::Host;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Variables that name the root of a toolkit or of one library's own installation.
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

/// Where libraries stand below a toolkit's root. `stubs` and `compat` are left to others: the first
/// is for linking only, the second belongs to the driver.
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

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut roots: Vec<PathBuf> = VARIABLES
        .iter()
        .filter_map(|name| host.env(name))
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect();
    for parent in ["/usr/local", "/opt"] {
        let is_toolkit = |path: &PathBuf| {
            let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
            name == b"cuda" || name.starts_with(b"cuda-")
        };
        roots.extend(subdirectories(host, Path::new(parent)).into_iter().filter(is_toolkit));
    }
    roots.extend(["/usr/lib/cuda", "/usr/lib/nvidia-cuda-toolkit"].map(PathBuf::from));
    roots.iter().flat_map(|root| toolkit(host, root)).collect()
}

/// The places of one toolkit.
pub(super) fn toolkit(host: &Host, root: &Path) -> Vec<Place> {
    let root = host.canonical(root).unwrap_or_else(|_| root.to_owned());
    let dirs = DIRS.iter().map(|dir| root.join(dir)).filter(|dir| host.is_dir(dir));
    dirs.map(|dir| Place::new(dir, Provenance::Toolkit, &root)).collect()
}
