//! Site directories: NVIDIA's wheels in both layouts, torch, bundles.

use super::{Place, Provenance, pattern, subdirectories, subdirectories_named};
use crate::host::{Entry, Host, Kind};
use crate::tables::parse_library_name;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories of single packages that hold NVIDIA's libraries outside `nvidia/`.
const PACKAGES: [&str; 10] = [
    "torch/lib",
    "cusparselt/lib",
    "cutensor/lib",
    "cuquantum/lib",
    "tensorrt_libs",
    "tensorrt_lean_libs",
    "tensorrt_dispatch_libs",
    "tensorrt_rtx_libs",
    "tensorrt_llm/libs",
    "cupy/.data/lib",
];

/// More of them, for a survey: packages that bundle single libraries, or with plugins that need NVIDIA libraries.
const MORE_PACKAGES: [&str; 22] = [
    "nvpl/lib",
    "cupy_backends/cuda/libs",
    "tensorflow",
    "tensorflow/python",
    "tensorflow/python/platform",
    "tensorrt",
    "jaxlib",
    "jaxlib/cuda",
    "jax_plugins/xla_cuda*",
    "jax_cuda12_plugin",
    "jax_cuda13_plugin",
    "onnxruntime/capi",
    "triton/backends/nvidia/lib",
    "triton/backends/nvidia/lib/*",
    "triton/third_party/cuda/lib",
    "bitsandbytes",
    "torchaudio/lib",
    "vllm",
    "xformers",
    "paddle/libs",
    "mxnet",
    "llama_cpp/lib",
];

/// The places of site directories, in order.
#[must_use]
pub fn sites(host: &Host, sites: &[PathBuf]) -> Vec<Place> {
    // `lib64` is often a link to `lib`: without this, each is read twice, at each check of the answer too.
    let mut seen = BTreeSet::new();
    let once = sites.iter().filter(|site| host.stat(site).is_ok_and(|stat| seen.insert(stat.id)));
    once.flat_map(|site| searched(host, site, &host.list(site).unwrap_or_default())).collect()
}

/// The directories of packages that are known to hold NVIDIA libraries, or to need them.
#[must_use]
pub fn packages(host: &Host, site: &Path) -> Vec<PathBuf> {
    let entries = host.list(site).unwrap_or_default();
    let known = PACKAGES.iter().chain(&MORE_PACKAGES).filter(|package| holds(&entries, package));
    known.flat_map(|package| pattern::expand(host, site, package)).collect()
}

/// The places of site directories, with every package known to bring NVIDIA libraries.
pub(super) fn all(host: &Host, sites: &[PathBuf]) -> Vec<Place> {
    let mut places = Vec::new();
    for site in sites {
        let entries = host.list(site).unwrap_or_default();
        places.extend(searched(host, site, &entries));
        let packages: Vec<&str> = MORE_PACKAGES.into_iter().filter(|package| holds(&entries, package)).collect();
        places.extend(pattern::below(host, site, &packages, Provenance::Site));
    }
    places
}

fn searched(host: &Host, site: &Path, entries: &[Entry]) -> Vec<Place> {
    let mut dirs = Vec::new();
    if holds(entries, "nvidia") {
        dirs.extend(subdirectories(host, &site.join("nvidia")).iter().flat_map(|package| of_nvidia(host, package)));
    }
    dirs.extend(PACKAGES.into_iter().filter(|package| holds(entries, package)).map(|package| site.join(package)));
    dirs.retain(|dir| host.is_dir(dir));
    // auditwheel puts what it bundles into NAME.libs.
    let bundles = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Directory && entry.name.as_bytes().ends_with(b".libs"))
        .map(|entry| site.join(&entry.name));
    dirs.into_iter().chain(bundles).map(|dir| Place::new(dir, Provenance::Site, site)).collect()
}

/// The directories of one package of `nvidia/` that may hold libraries: `cublas/lib` of the CUDA 11 and 12 wheels, `cu13/lib` of
/// the later ones, `cublasmp/cu12/lib`, and `nvimgcodec` itself with its `extensions`.
fn of_nvidia(host: &Host, package: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for entry in host.list(package).unwrap_or_default() {
        let below = match entry.name.as_bytes() {
            b"lib" | b"lib64" | b"extensions" | b"compute-sanitizer" => package.join(&entry.name),
            b"nvvm" => package.join("nvvm/lib64"),
            name if name.starts_with(b"cu") && entry.kind != Kind::File => package.join(&entry.name).join("lib"),
            _ if parse_library_name(&entry.name).is_some() => package.to_owned(),
            _ => continue,
        };
        if !dirs.contains(&below) {
            dirs.push(below);
        }
    }
    dirs
}

/// Whether a sorted listing has the first part of a package's path: most packages are not installed.
fn holds(entries: &[Entry], package: &str) -> bool {
    let top = OsStr::new(package.split('/').next().unwrap_or_default());
    entries.binary_search_by(|entry| entry.name.as_os_str().cmp(top)).is_ok()
}

/// The site-packages directories of a virtual environment or conda environment.
#[must_use]
pub fn venv_sites(host: &Host, prefix: &Path) -> Vec<PathBuf> {
    site_directories(host, prefix, &["site-packages"])
}

/// The directories called `names` below `lib/python*` and `lib64/python*` of a prefix.
pub(super) fn site_directories(host: &Host, prefix: &Path, names: &[&str]) -> Vec<PathBuf> {
    // A venv's lib64 is a link to its lib.
    let libs = super::once(host, ["lib", "lib64"].map(|lib| prefix.join(lib)).into());
    let is_python = |name: &OsStr| name.as_bytes().starts_with(b"python");
    let pythons = libs.iter().flat_map(|lib| subdirectories_named(host, lib, is_python));
    let dirs = pythons.flat_map(|python| names.iter().map(move |name| python.join(name)));
    dirs.filter(|dir| host.is_dir(dir)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn both_wheel_layouts_and_bundles() {
        let machine = Machine::with(&[
            "s/nvidia/cublas/lib",
            "s/nvidia/cu13/lib",
            "s/nvidia/cuda_nvcc/nvvm/lib64",
            "s/torch/lib",
            "s/cupy/.data/lib",
            "s/ctranslate2.libs",
            "s/numpy",
        ]);
        let found = dirs(&sites(&machine.host(), &["/s".into()]));
        let expected = [
            "/s/nvidia/cu13/lib",
            "/s/nvidia/cublas/lib",
            "/s/nvidia/cuda_nvcc/nvvm/lib64",
            "/s/torch/lib",
            "/s/cupy/.data/lib",
            "/s/ctranslate2.libs",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_survey_looks_into_packages_that_bring_their_own() {
        let machine = Machine::with(&[
            "s/tensorrt_libs",
            "s/jax_plugins/xla_cuda12",
            "s/onnxruntime/capi",
            "s/triton/backends/nvidia/lib/cupti",
            "s/bitsandbytes",
            "s/tensorflow/python",
            "s/nvidia/cublasmp/cu12/lib",
            "s/jax_plugins/rocm",
        ]);
        let places = all(&machine.host(), &["/s".into()]);
        let expected = [
            "/s/nvidia/cublasmp/cu12/lib",
            "/s/tensorrt_libs",
            "/s/tensorflow",
            "/s/tensorflow/python",
            "/s/jax_plugins/xla_cuda12",
            "/s/onnxruntime/capi",
            "/s/triton/backends/nvidia/lib",
            "/s/triton/backends/nvidia/lib/cupti",
            "/s/bitsandbytes",
        ];
        assert_eq!(dirs(&places), expected);
        assert!(places.iter().all(|place| place.root == Path::new("/s")));
    }

    #[test]
    fn lib64_that_is_lib_counts_once() {
        let machine = Machine::with(&["v/lib/python3.12/site-packages"]).link("v/lib64", "lib");
        let sites = venv_sites(&machine.host(), Path::new("/v"));
        assert_eq!(sites, [Path::new("/v/lib/python3.12/site-packages")]);
    }

    #[test]
    fn lib64_of_its_own_counts() {
        let machine = Machine::with(&["v/lib/python3.12/site-packages", "v/lib64/python3.12/site-packages"]);
        assert_eq!(venv_sites(&machine.host(), Path::new("/v")).len(), 2);
    }
}
