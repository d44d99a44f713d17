//! Conda environments: `$CONDA_PREFIX`, and for a survey every environment and package conda, mamba and pixi keep.

use super::{Place, Provenance, once, pattern, python, subdirectories_named, user};
use crate::host::Host;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names of installations, below the home directory, `/opt` and `/usr/local`.
const INSTALLATIONS: [&str; 8] =
    ["miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", "miniconda", "anaconda", "conda"];

/// The directories of an environment outside the search paths of its programs.
const SURVEYED: [&str; 6] =
    ["lib/stubs", "targets/*/lib/stubs", "extras/CUPTI/lib64", "cuda-compat", "compat", "nvvm/lib"];

/// The library directories of a package in conda's cache.
const PACKAGED: [&str; 5] = ["lib", "lib64", "targets/*/lib", "nvvm/lib64", "cuda-compat"];

/// Prefixes of the names of packages with NVIDIA libraries; the cache holds thousands of others.
const PACKAGES: [&str; 10] =
    ["cuda", "cudnn", "cutensor", "cusparselt", "libcu", "libnv", "libnpp", "nccl", "libnccl", "nvidia-"];

pub(super) fn places(host: &Host) -> Vec<Place> {
    host.env("CONDA_PREFIX").map(|prefix| environment(host, Path::new(prefix))).unwrap_or_default()
}

/// The places of every known environment, then of the packages in the caches.
pub(super) fn known(host: &Host) -> Vec<Place> {
    let installations = installations(host);
    let mut prefixes: Vec<PathBuf> = user::named(host, "CONDA_PREFIX").into_iter().collect();
    // pixi keeps environments in their project.
    prefixes.extend(host.cwd().ancestors().flat_map(|dir| pattern::expand(host, dir, ".pixi/envs/*")));
    prefixes.extend(user::below(host, user::home(host), &[".pixi/envs/*", ".conda/envs/*"]));
    prefixes.extend(registered(host));
    for variable in ["CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"] {
        let dirs = user::listed(host, variable);
        prefixes.extend(dirs.iter().flat_map(|dir| pattern::expand(host, dir, "*")));
    }
    for base in &installations {
        prefixes.push(base.clone());
        prefixes.extend(pattern::expand(host, base, "envs/*"));
    }
    let mut places: Vec<Place> =
        once(host, prefixes).iter().flat_map(|prefix| whole_environment(host, prefix)).collect();
    for package in packages(host, &installations) {
        places.extend(pattern::below(host, &package, &PACKAGED, Provenance::Conda));
    }
    places
}

/// The places of a conda environment: its own libraries, then the wheels pip put into it.
pub(super) fn environment(host: &Host, prefix: &Path) -> Vec<Place> {
    let mut places = libraries(host, prefix);
    places.extend(python::sites(host, &python::venv_sites(host, prefix)));
    places
}

/// The places of a conda environment, with those outside the search paths of its programs.
pub(super) fn whole_environment(host: &Host, prefix: &Path) -> Vec<Place> {
    let mut places = libraries(host, prefix);
    places.extend(pattern::below(host, prefix, &SURVEYED, Provenance::Conda));
    places.extend(python::all(host, &python::venv_sites(host, prefix)));
    places
}

fn libraries(host: &Host, prefix: &Path) -> Vec<Place> {
    pattern::below(host, prefix, &["lib", "lib64", "nvvm/lib64", "targets/*/lib"], Provenance::Conda)
}

/// The environments that conda recorded: one path a line.
fn registered(host: &Host) -> Vec<PathBuf> {
    let Some(home) = user::home(host) else { return Vec::new() };
    let text = host.read(&home.join(".conda/environments.txt")).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').map(|line| Path::new(OsStr::from_bytes(line.trim_ascii())));
    lines.filter(|path| path.is_absolute()).map(Path::to_owned).collect()
}

fn installations(host: &Host) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["MAMBA_ROOT_PREFIX", "CONDA_ROOT"].into_iter().filter_map(|name| user::named(host, name)).collect();
    // Base/bin/conda.
    let program = user::named(host, "CONDA_EXE");
    found.extend(program.as_deref().and_then(Path::parent).and_then(Path::parent).map(Path::to_owned));
    let parents = user::home(host).into_iter().chain(["/opt", "/usr/local"].map(PathBuf::from));
    found.extend(parents.flat_map(|parent| INSTALLATIONS.map(|name| parent.join(name))));
    found.extend(user::data(host).map(|data| data.join("mamba")));
    once(host, found)
}

/// The unpacked packages with NVIDIA libraries in every package cache.
fn packages(host: &Host, installations: &[PathBuf]) -> Vec<PathBuf> {
    let mut caches: Vec<PathBuf> = installations.iter().map(|base| base.join("pkgs")).collect();
    caches.extend(user::listed(host, "CONDA_PKGS_DIRS"));
    caches.extend(user::home(host).map(|home| home.join(".conda/pkgs")));
    caches.extend(user::below(host, user::cache(host), &["rattler/cache/pkgs"]));
    let is_ours = |name: &OsStr| PACKAGES.iter().any(|start| name.as_bytes().starts_with(start.as_bytes()));
    once(host, caches).iter().flat_map(|cache| subdirectories_named(host, cache, is_ours)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, dirs};
    use super::*;

    #[test]
    fn the_environment_in_use() {
        let machine = Machine::with(&[
            "c/lib/python3.12/site-packages/torch/lib",
            "c/targets/x86_64-linux/lib/stubs",
            "c/nvvm/lib64",
        ])
        .set("CONDA_PREFIX", "/c");
        let expected =
            ["/c/lib", "/c/nvvm/lib64", "/c/targets/x86_64-linux/lib", "/c/lib/python3.12/site-packages/torch/lib"];
        assert_eq!(dirs(&places(&machine.host())), expected);
        assert!(dirs(&known(&machine.host())).contains(&"/c/targets/x86_64-linux/lib/stubs".to_owned()));
    }

    #[test]
    fn registered_installed_and_projects_environments() {
        let machine = Machine::with(&[
            "data/env a/lib",
            "h/miniforge3/lib",
            "h/miniforge3/envs/x/lib",
            "h/.conda/envs/y/lib",
            "opt/conda/lib",
            "p/.pixi/envs/default/lib",
        ])
        .file("h/.conda/environments.txt", "/data/env a\n/h/miniforge3/envs/x\n/gone\nrelative\n\n")
        .set("HOME", "/h")
        .at("/p/src");
        let expected = [
            "/p/.pixi/envs/default/lib",
            "/h/.conda/envs/y/lib",
            "/data/env a/lib",
            "/h/miniforge3/envs/x/lib",
            "/h/miniforge3/lib",
            "/opt/conda/lib",
        ];
        assert_eq!(dirs(&known(&machine.host())), expected);
    }

    #[test]
    fn packages_of_ours_in_the_cache() {
        let machine = Machine::with(&[
            "opt/conda/pkgs/libcublas-12.4.5.8-0/targets/x86_64-linux/lib",
            "opt/conda/pkgs/cudnn-9.1-0/lib",
            "opt/conda/pkgs/numpy-2.0-0/lib",
        ]);
        let host = machine.host();
        let places: Vec<Place> = known(&host);
        let expected = [
            ("/opt/conda/pkgs/cudnn-9.1-0/lib", "/opt/conda/pkgs/cudnn-9.1-0"),
            ("/opt/conda/pkgs/libcublas-12.4.5.8-0/targets/x86_64-linux/lib", "/opt/conda/pkgs/libcublas-12.4.5.8-0"),
        ];
        assert_eq!(places, expected.map(|(dir, root)| Place::new(dir, Provenance::Conda, Path::new(root))));
    }
}
