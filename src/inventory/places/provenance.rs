//! The reasons to search a directory.

use std::fmt;

/// Why a directory is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Provenance {
    /// Named by the user (`--place`, `CUDASHIM_PLACE`).
    Given,
    /// Where ld.so finds libraries for a consumer, by its run path.
    Found,
    /// Below a directory that the interpreter imports from.
    Site,
    /// A conda environment, or conda's cache of packages.
    Conda,
    /// `LD_LIBRARY_PATH`.
    LdLibraryPath,
    /// A CUDA toolkit.
    Toolkit,
    /// NVIDIA's HPC SDK: toolkits, math and communication libraries of several CUDA releases.
    HpcSdk,
    /// A `TensorRT` that was unpacked from an archive.
    #[serde(rename = "tensorrt")]
    TensorRt,
    /// Installed by `EasyBuild`, often loaded as an environment module.
    #[serde(rename = "easybuild")]
    EasyBuild,
    /// Installed by Spack.
    Spack,
    /// A profile of Nix, or its store.
    Nix,
    /// A profile of Guix, or its store.
    Guix,
    /// A software stack served over CVMFS.
    Cvmfs,
    /// A directory in which drivers are installed or mounted.
    Driver,
    /// The driver's libraries that flatpak installs for its applications.
    Flatpak,
    /// The driver's libraries that snapd mounts for its applications.
    Snap,
    /// An application that carries its own libraries.
    Application,
    /// An artifact of Julia's package manager.
    Julia,
    /// Libraries that a package downloaded into the home directory.
    LibraryCache,
    /// An environment variable by which some program finds libraries.
    Variable,
    /// `/etc/ld.so.cache`.
    Cache,
    /// `/etc/ld.so.conf`.
    Conf,
    /// A default directory of ld.so.
    Default,
    /// A directory that distributions install libraries in.
    Distribution,
    /// A running process of this user has a library mapped from there.
    Process,
    /// Found by a walk.
    Walked,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "named by the user",
            Self::Found => "found by ld.so for a consumer",
            Self::Site => "Python packages",
            Self::Conda => "conda",
            Self::LdLibraryPath => "LD_LIBRARY_PATH",
            Self::Toolkit => "CUDA toolkit",
            Self::HpcSdk => "HPC SDK",
            Self::TensorRt => "TensorRT",
            Self::EasyBuild => "EasyBuild",
            Self::Spack => "Spack",
            Self::Nix => "Nix",
            Self::Guix => "Guix",
            Self::Cvmfs => "CVMFS",
            Self::Driver => "driver",
            Self::Flatpak => "flatpak",
            Self::Snap => "snap",
            Self::Application => "application",
            Self::Julia => "Julia artifact",
            Self::LibraryCache => "library cache",
            Self::Variable => "environment variable",
            Self::Cache => "ld.so.cache",
            Self::Conf => "ld.so.conf",
            Self::Default => "ld.so default",
            Self::Distribution => "distribution",
            Self::Process => "running process",
            Self::Walked => "walk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_people_are_told_in_their_words() {
        let cases = [
            (Provenance::LdLibraryPath, "ld_library_path", "LD_LIBRARY_PATH"),
            (Provenance::TensorRt, "tensorrt", "TensorRT"),
            (Provenance::EasyBuild, "easybuild", "EasyBuild"),
            (Provenance::HpcSdk, "hpc_sdk", "HPC SDK"),
            (Provenance::Walked, "walked", "walk"),
        ];
        for (provenance, program, person) in cases {
            assert_eq!(serde_json::to_value(provenance).unwrap(), program);
            assert_eq!(provenance.to_string(), person);
        }
    }
}
