//! Directories in which the NVIDIA driver is installed or mounted.
//!
//! Debian and Ubuntu, Fedora, SUSE and Arch put it where the cache finds it; the directories here are those of
//! containers, clusters and special systems, which are often on no search path.

use super::{Place, Provenance, pattern, subdirectories};
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

/// More of them, for a survey: Debian's alternatives (`current`, `tesla-535`), Ubuntu's directories by version, 32-bit
/// drivers, the container of the GPU operator, the drivers of Container-Optimized OS, injected libraries.
const MORE: [&str; 15] = [
    "usr/lib/x86_64-linux-gnu/nvidia",
    "usr/lib/x86_64-linux-gnu/nvidia/*",
    "usr/lib/aarch64-linux-gnu/nvidia/*",
    "usr/lib/aarch64-linux-gnu/tegra-egl",
    "usr/lib/i386-linux-gnu/nvidia/current",
    "usr/lib/nvidia",
    "usr/lib/nvidia-*",
    "usr/lib32/nvidia",
    "run/opengl-driver-32/lib",
    "run/nvidia/driver/usr/lib/*-linux-gnu",
    "run/nvidia/driver/usr/lib64",
    "home/kubernetes/bin/nvidia/lib64",
    "var/lib/nvidia/lib64",
    "usr/local/vgpu",
    "usr/lib/*-linux-gnu/nsight-compute/target/*",
];

pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut dirs: Vec<PathBuf> = DIRS.map(PathBuf::from).into();
    // The driver store of WSL: one directory per driver package.
    dirs.extend(subdirectories(host, Path::new("/usr/lib/wsl/drivers")));
    dirs.into_iter().filter(|dir| host.is_dir(dir)).map(|dir| Place::alone(dir, Provenance::Driver)).collect()
}

/// Every place of a driver, with those outside the search paths of programs.
pub(super) fn known(host: &Host) -> Vec<Place> {
    let mut places = places(host);
    let more = MORE.iter().flat_map(|pattern| pattern::expand(host, Path::new("/"), pattern));
    places.extend(more.map(|dir| Place::alone(dir, Provenance::Driver)));
    places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn special_systems_and_containers() {
        let expected = [
            "/usr/lib/aarch64-linux-gnu/tegra",
            "/run/opengl-driver/lib",
            "/usr/local/nvidia/lib64",
            "/.singularity.d/libs",
            "/usr/lib/wsl/drivers/nv_dispi.inf_amd64_1",
        ];
        let machine = Machine::with(&expected);
        let host = machine.host();
        assert_eq!(dirs(&places(&host)), expected);
        assert_eq!(dirs(&known(&host)), expected);
    }

    #[test]
    fn a_survey_sees_alternatives_and_versions() {
        let more = [
            "/usr/lib/x86_64-linux-gnu/nvidia/tesla-535",
            "/usr/lib/nvidia-384",
            "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
        ];
        let machine = Machine::with(&more);
        let host = machine.host();
        assert_eq!(places(&host), []);
        let known = dirs(&known(&host));
        assert_eq!(known[0], "/usr/lib/x86_64-linux-gnu/nvidia");
        assert_eq!(known[1..], more);
    }
}
