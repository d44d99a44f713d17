//! The reasons for looking into a directory.

use std::fmt;

/// Why a directory is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Provenance {
    /// Named by the user (`--place`, `CUDASHIM_PLACE`).
    Given,
    /// Where ld.so finds libraries for what asks, by its run path.
    Found,
    /// Below a directory the interpreter imports from.
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
    /// A directory drivers are installed in or mounted at.
    Driver,
    /// The driver's libraries as flatpak keeps them for its applications.
    Flatpak,
    /// The driver's libraries as snapd hands them to its applications.
    Snap,
    /// An application that carries libraries of its own.
    Application,
    /// An artifact of Julia's package manager.
    Julia,
    /// Libraries a package fetched for itself into the home directory.
    LibraryCache,
    /// A variable of the environment that some program reads to find libraries.
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
    /// Met while walking a tree.
    Walked,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "named by the user",
            Self::Found => "found by ld.so for what asks",
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
