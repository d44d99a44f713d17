//! Below a directory that Python imports from: NVIDIA's wheels in both layouts, torch, bundles.

use super::{Place, Provenance, subdirectories};
use crate::host::{Host, Kind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories of single packages that hold NVIDIA's libraries outside `nvidia/`.
const PACKAGES: [&str; 7] = [
    "torch/lib",
    "cusparselt/lib",
    "cutensor/lib",
    "cuquantum/lib",
    "tensorrt_libs",
    "tensorrt_llm/libs",
    "cupy/.data/lib",
];

/// The places of site directories, in order.
#[must_use]
pub fn sites(host: &Host, sites: &[PathBuf]) -> Vec<Place> {
    let mut places = Vec::new();
    for site in sites {
        // nvidia/cublas/lib of the CUDA 11 and 12 wheels, nvidia/cu13/lib of the later ones.
        for package in subdirectories(host, &site.join("nvidia")) {
            for lib in ["lib", "lib64", "nvvm/lib64"] {
                let dir = package.join(lib);
                if host.is_dir(&dir) {
                    places.push(Place::new(dir, Provenance::Site, site));
                }
            }
        }
        for package in PACKAGES {
            let dir = site.join(package);
            if host.is_dir(&dir) {
                places.push(Place::new(dir, Provenance::Site, site));
            }
        }
        // auditwheel puts what it bundles into NAME.libs.
        for entry in host.list(site).unwrap_or_default() {
            if entry.kind == Kind::Directory && entry.name.as_bytes().ends_with(b".libs") {
                places.push(Place::new(site.join(entry.name), Provenance::Site, site));
            }
        }
    }
    places
}

/// The site-packages directories of a virtual environment or conda environment.
#[must_use]
pub fn venv_sites(host: &Host, prefix: &Path) -> Vec<PathBuf> {
    let mut sites = Vec::new();
    for lib in ["lib", "lib64"] {
        for dir in subdirectories(host, &prefix.join(lib)) {
            let site = dir.join("site-packages");
            if dir.file_name().is_some_and(|name| name.as_bytes().starts_with(b"python")) && host.is_dir(&site) {
                sites.push(site);
            }
        }
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn both_wheel_layouts_and_bundles() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "s/nvidia/cublas/lib",
            "s/nvidia/cu13/lib",
            "s/nvidia/cuda_nvcc/nvvm/lib64",
            "s/torch/lib",
            "s/ctranslate2.libs",
            "s/numpy",
        ] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let host = Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into());
        let found: Vec<String> =
            sites(&host, &["/s".into()]).iter().map(|place| place.dir.display().to_string()).collect();
        assert_eq!(
            found,
            [
                "/s/nvidia/cu13/lib",
                "/s/nvidia/cublas/lib",
                "/s/nvidia/cuda_nvcc/nvvm/lib64",
                "/s/torch/lib",
                "/s/ctranslate2.libs"
            ]
        );
    }
}
