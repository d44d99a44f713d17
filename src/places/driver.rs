//! Directories that the NVIDIA driver is installed in or mounted at.
//!
//! Debian and Ubuntu, Fedora, SUSE and Arch put it where the cache finds it; the directories here are those of
//! containers, clusters and special systems, which are often on no search path.

use super::{Place, Provenance, subdirectories};
use crate::host::Host;
use std::path::{Path, PathBuf};

const DIRS: [&str; 12] = [
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/usr/lib64/nvidia",
    "/usr/lib64-nvidia",
    "/usr/lib/wsl/lib",
    "/usr/lib/aarch64-linux-gnu/tegra",
    "/usr/lib/aarch64-linux-gnu/nvidia",
    "/run/opengl-driver/lib",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/.singularity.d/libs",
    "/cm/local/apps/cuda/libs/current/lib64",
];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut dirs: Vec<PathBuf> = DIRS.map(PathBuf::from).into();
    // The driver store of WSL: one directory per driver package.
    dirs.extend(subdirectories(host, Path::new("/usr/lib/wsl/drivers")));
    dirs.into_iter().filter(|dir| host.is_dir(dir)).map(|dir| Place::alone(dir, Provenance::Driver)).collect()
}
