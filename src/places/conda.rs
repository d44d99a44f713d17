//! The conda environment in use: `$CONDA_PREFIX`.

use super::{Place, Provenance, python};
use crate::host::Host;
use std::path::{Path, PathBuf};

pub(super) fn places(host: &Host) -> Vec<Place> {
    host.env("CONDA_PREFIX").map(|prefix| environment(host, Path::new(prefix))).unwrap_or_default()
}

/// The places of a conda environment: its own libraries, then the wheels pip put into it.
pub(super) fn environment(host: &Host, prefix: &Path) -> Vec<Place> {
    let mut dirs: Vec<PathBuf> = ["lib", "lib64", "nvvm/lib64"].map(|dir| prefix.join(dir)).into();
    for target in super::subdirectories(host, &prefix.join("targets")) {
        dirs.push(target.join("lib"));
    }
    let mut places: Vec<Place> =
        dirs.into_iter().filter(|dir| host.is_dir(dir)).map(|dir| Place::new(dir, Provenance::Conda, prefix)).collect();
    places.extend(python::sites(host, &python::venv_sites(host, prefix)));
    places
}
