//! Whether numba finds libNVVM.
//!
//! Takes the packages of the environment and its variables; searches where numba and numba-cuda search
//! (`numba/cuda/cuda_paths.py`): the conda environment, the wheel, `CUDA_HOME`, `/usr/local/cuda`.

use super::super::tool::PackageSpec;
use super::super::{Case, Finding, Remedy};
use crate::tables::Severity;
use std::path::{Path, PathBuf};

/// numba is installed for CUDA, and no directory that it searches has libNVVM.
pub(super) fn absent(case: &Case<'_>) -> Option<Finding> {
    let home = ["CUDA_HOME", "CUDA_PATH"].into_iter().find_map(|name| Some((name, case.host.env(name)?)));
    let of_cuda = case.has_package("numba-cuda");
    // numba alone may serve the CPU only, unless a variable names a CUDA directory.
    let numba = of_cuda.or_else(|| case.has_package("numba").filter(|_| home.is_some()))?;
    let looked = places(case);
    let holds = |dir: &PathBuf| {
        let entries = case.host.list(dir).unwrap_or_default();
        entries.iter().any(|entry| entry.name.to_str().is_some_and(|name| name.starts_with("libnvvm.so")))
    };
    if looked.iter().any(holds) {
        return None;
    }
    let because = match home {
        Some((name, value)) if value.as_encoded_bytes().contains(&b':') => {
            format!("{name} is a list, but numba takes it for one directory: libNVVM not found")
        }
        Some((name, _)) => format!("{} does not find libNVVM: {name} names a directory without it", numba.name),
        None => format!("{} does not find libNVVM: no toolkit and no wheel has it", numba.name),
    };
    let found = case.finding("libnvvm-not-found")?.because(because);
    let found = found.seen("version", format!("{} {}", numba.name, numba.version));
    let found = home
        .iter()
        .fold(found, |found, (name, value)| found.seen("variable", format!("{name}={}", value.to_string_lossy())));
    let found = looked.iter().fold(found, |found, dir| found.seen_at("file", dir, "holds no `libnvvm.so`"));
    let found = if of_cuda.is_some() { found } else { found.severity(Severity::Warning) };
    let unset = home
        .filter(|(_, value)| value.as_encoded_bytes().contains(&b':'))
        .map(|(name, _)| Remedy::command(format!("unset {name}")));
    let major = case.torch.and_then(crate::python::TorchBuild::cuda_release).map_or(12, |(major, _)| major);
    let wheel = if major >= 13 { "nvidia-nvvm".to_owned() } else { format!("nvidia-cuda-nvcc-cu{major}") };
    let install = case.install(&[PackageSpec::within(&wheel, None)], false);
    Some(found.healed_by(unset.into_iter().chain(install)))
}

fn places(case: &Case<'_>) -> Vec<PathBuf> {
    let below = |root: &Path| root.join("nvvm/lib64");
    let mut places = Vec::new();
    if let Some(prefix) = case.host.env("CONDA_PREFIX") {
        places.extend([below(Path::new(prefix)), Path::new(prefix).join("lib")]);
    }
    for site in case.interpreter.iter().flat_map(|python| &python.paths) {
        places.extend(["cuda_nvcc/nvvm/lib64", "cu13/lib", "cu13/nvvm/lib64"].map(|dir| site.join("nvidia").join(dir)));
    }
    let home = ["CUDA_HOME", "CUDA_PATH"].into_iter().find_map(|name| case.host.env(name));
    places.extend(home.map(|home| below(Path::new(home))));
    places.push(below(Path::new("/usr/local/cuda")));
    places
}
