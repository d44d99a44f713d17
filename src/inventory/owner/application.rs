//! Applications with their own libraries, and installers with their own roots: Spack, `EasyBuild`, Nix, Guix, Julia,
//! flatpak, snap.
//!
//! Takes a path and its place; gives a name and, where the path has it, a version. The path decides, so that a walk
//! over a disk gives the same as the known places; the provenance only where the path has no known shape. Reads the few
//! versions that are in a file.

use super::Owner;
use crate::host::Host;
use crate::inventory::places::{Place, Provenance};
use std::ffi::OsStr;
use std::path::Path;

/// Directories of a single application, and whether the next component is its release.
const DIRECTORIES: [(&str, &str, bool); 11] = [
    ("ollama", "ollama", false),
    (".lmstudio", "LM Studio", false),
    ("lm-studio", "LM Studio", false),
    ("MATLAB", "MATLAB", true),
    ("nsight-compute", "Nsight Compute", true),
    ("nsight-systems", "Nsight Systems", true),
    ("nsight-systems-cli", "Nsight Systems", true),
    (".julia", "Julia", false),
    (".unsloth", "Unsloth", false),
    ("Koharu", "Koharu", false),
    (".cupy", "CuPy's library cache", false),
];

/// Prefixes of directory names of a single application; its release follows.
const BEGINNINGS: [(&str, &str); 6] = [
    ("TensorRT-", "TensorRT"),
    ("tensorrt-", "TensorRT"),
    ("blender-", "Blender"),
    ("matlab-", "MATLAB"),
    ("org.freedesktop.Platform.GL.nvidia-", "NVIDIA's driver (flatpak)"),
    ("nvidia-", "NVIDIA's driver (flatpak)"),
];

/// Suffixes of Nix store paths: the outputs of a package.
const OUTPUTS: [&str; 8] = ["lib", "bin", "dev", "out", "static", "stubs", "include", "doc"];

/// The shortest hash in names of Spack and the stores, in digits.
const MIN_HASH: usize = 7;

pub(super) fn of(host: &Host, place: &Place, path: &Path) -> Option<Owner> {
    by_path(host, place, path)
        .or_else(|| {
            // The links of a profile resolve into a store.
            let real = host.canonical(path).ok().filter(|real| real != path)?;
            by_path(host, place, &real)
        })
        .or_else(|| by_place(host, place))
}

fn owner(name: impl Into<String>, version: Option<&str>) -> Owner {
    Owner::Application { name: name.into(), version: version.map(str::to_owned) }
}

/// A release: it begins with a digit.
fn release(text: &str) -> Option<&str> {
    Some(text).filter(|text| text.starts_with(|first: char| first.is_ascii_digit()))
}

fn by_path(host: &Host, place: &Place, path: &Path) -> Option<Owner> {
    let mut root = std::path::PathBuf::new();
    let dir = path.parent()?;
    let parts: Vec<&str> = dir.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    for (at, part) in parts.iter().enumerate() {
        root.push(part);
        let next = |count: usize| parts.get(at.saturating_add(count)).copied();
        let before = at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default();
        let found = match (before, *part) {
            ("nix", "store") => next(1).and_then(|entry| of_store(entry, "Nix")),
            ("gnu", "store") => next(1).and_then(|entry| of_store(entry, "Guix")),
            (_, "hpc_sdk") => Some(owner("HPC SDK", next(2).and_then(release))),
            // A root of Spack ends in the architecture; up to Spack 0.23 the compiler follows.
            (before, part)
                if part.starts_with("linux-") && (before == "spack" || place.provenance == Provenance::Spack) =>
            {
                next(1).and_then(of_spack).or_else(|| next(2).and_then(of_spack))
            }
            (_, "software") => of_easybuild(host, place, &root, next(1), next(2)),
            ("artifacts", hash) if hash.len() == 40 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                Some(owner("Julia", None))
            }
            ("/", "snap") => next(1).map(|name| {
                let revision = next(2).unwrap_or("current");
                owner(format!("{name} (snap)"), snap_version(host, &root.join(name).join(revision)).as_deref())
            }),
            ("snapd", "lib") => Some(owner("NVIDIA's driver (snapd)", None)),
            ("opt", "resolve") => Some(owner("DaVinci Resolve", None)),
            (_, "libtorch") => {
                let version = host.read_text(&root.join("build-version")).ok();
                Some(owner("libtorch", version.as_deref().map(str::trim).and_then(release)))
            }
            (before, part) => by_name(before, part, next(1)),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn by_name(before: &str, part: &str, next: Option<&str>) -> Option<Owner> {
    if let Some((_, name, versioned)) = DIRECTORIES.iter().find(|(dir, ..)| *dir == part) {
        return Some(owner(*name, next.filter(|_| *versioned)));
    }
    BEGINNINGS.iter().find_map(|(beginning, name)| {
        let rest = part.strip_prefix(beginning)?;
        match *beginning {
            // The driver's version, with hyphens for dots; inside an application it is mounted below `GL`.
            "nvidia-" if before != "GL" => None,
            "nvidia-" | "org.freedesktop.Platform.GL.nvidia-" => Some(owner(*name, release(&rest.replace('-', ".")))),
            "matlab-" => Some(owner(*name, Some(rest))),
            _ => release(rest).map(|rest| owner(*name, rest.split('-').next())),
        }
    })
}

/// `HASH-NAME-VERSION[-OUTPUT]`, split where Nix does: before the first hyphen that a digit follows
/// (`builtins.parseDrvName`).
fn of_store(entry: &str, store: &str) -> Option<Owner> {
    let (hash, rest) = entry.split_once('-')?;
    if hash.len() != 32 {
        return None;
    }
    let (name, version) = name_and_version(rest);
    let version = version.map(|version| match version.rsplit_once('-') {
        Some((version, output)) if OUTPUTS.contains(&output) => version,
        _ => version,
    });
    Some(owner(format!("{name} ({store})"), version))
}

/// `NAME-VERSION-HASH`.
fn of_spack(entry: &str) -> Option<Owner> {
    let (rest, hash) = entry.rsplit_once('-')?;
    let is_hash =
        hash.len() >= MIN_HASH && hash.bytes().all(|digit| digit.is_ascii_lowercase() || digit.is_ascii_digit());
    let (name, version) = name_and_version(rest);
    (is_hash && version.is_some()).then(|| owner(format!("{name} (Spack)"), version))
}

fn name_and_version(text: &str) -> (&str, Option<&str>) {
    let split = text.match_indices('-').map(|(at, _)| at).find_map(|at| {
        let version = release(text.get(at.saturating_add(1)..)?)?;
        Some((text.get(..at)?, Some(version)))
    });
    split.unwrap_or((text, None))
}

/// `software/NAME/VERSION`: of `EasyBuild` where its log exists, or below a known root of it.
fn of_easybuild(
    host: &Host,
    place: &Place,
    software: &Path,
    name: Option<&str>,
    version: Option<&str>,
) -> Option<Owner> {
    let (name, version) = (name?, version.and_then(release)?);
    let known = matches!(place.provenance, Provenance::EasyBuild | Provenance::Cvmfs);
    (known || host.is_dir(&software.join(name).join(version).join("easybuild")))
        .then(|| owner(format!("{name} (EasyBuild)"), Some(version)))
}

/// The version in a snap's `meta/snap.yaml`; the directory is only a revision.
fn snap_version(host: &Host, root: &Path) -> Option<String> {
    let meta = host.read_text(&root.join("meta/snap.yaml")).ok()?;
    let version = meta.lines().find_map(|line| line.strip_prefix("version:"))?;
    Some(version.trim().trim_matches(['\'', '"']).to_owned())
}

/// The application by provenance, where the path has no known shape.
fn by_place(host: &Host, place: &Place) -> Option<Owner> {
    let root = &place.root;
    let last = root.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let parent = root.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
    Some(match place.provenance {
        Provenance::HpcSdk => owner("HPC SDK", release(last)),
        Provenance::TensorRt => owner("TensorRT", None),
        Provenance::EasyBuild => match release(last) {
            Some(version) => owner(format!("{parent} (EasyBuild)"), Some(version)),
            None => owner(format!("{last} (EasyBuild)"), None),
        },
        Provenance::Spack => of_spack(last).unwrap_or_else(|| owner("Spack", None)),
        Provenance::Nix => owner("Nix", None),
        Provenance::Guix => owner("Guix", None),
        Provenance::Cvmfs => owner("CVMFS", None),
        Provenance::Flatpak => owner("NVIDIA's driver (flatpak)", None),
        Provenance::Snap => owner("snap", None),
        Provenance::Julia => owner("Julia", None),
        Provenance::LibraryCache => owner("CuPy's library cache", None),
        Provenance::Application if last == "torch" => owner("torch for R", None),
        Provenance::Application => {
            let version = host.read_text(&root.join("build-version")).ok();
            owner(if last.is_empty() { "application" } else { last }, version.as_deref().map(str::trim))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

    fn owner_of(path: &str, provenance: Provenance, files: &[(&str, &str)]) -> Option<(String, Option<String>)> {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let host = Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into());
        let dir = Path::new(path).parent().unwrap().to_owned();
        let place = Place { root: dir.clone(), dir, provenance };
        match of(&host, &place, Path::new(path)) {
            Some(Owner::Application { name, version }) => Some((name, version)),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_name_their_application() {
        let store = format!("/nix/store/{HASH}-cuda12.4-libcublas-12.4.5.8-lib/lib/libcublas.so.12");
        let guix = format!("/gnu/store/{HASH}-cudnn-9.1.0/lib/libcudnn.so.9");
        let artifact = format!("/d/artifacts/{}/lib/libcudart.so.12", "0a".repeat(20));
        let cases = [
            (store.as_str(), "cuda12.4-libcublas (Nix)", Some("12.4.5.8")),
            (&guix, "cudnn (Guix)", Some("9.1.0")),
            (&artifact, "Julia", None),
            ("/opt/nvidia/hpc_sdk/Linux_x86_64/24.5/math_libs/12.4/lib64/libcublas.so.12", "HPC SDK", Some("24.5")),
            (
                "/opt/spack/linux-zen4/gcc-12.3.0/cuda-12.4.0-abcdefg/lib64/libcudart.so.12",
                "cuda (Spack)",
                Some("12.4.0"),
            ),
            ("/s/opt/spack/linux-zen4/py-torch-2.5.1-abcdefg/lib/libcudart.so.12", "py-torch (Spack)", Some("2.5.1")),
            ("/usr/lib/ollama/cuda_v12/libcudart.so.12", "ollama", None),
            ("/h/.lmstudio/extensions/backends/vendor/x/libcudart.so.12", "LM Studio", None),
            ("/usr/local/MATLAB/R2024b/bin/glnxa64/libcudart.so.12", "MATLAB", Some("R2024b")),
            ("/usr/lib/matlab-R2024b/bin/glnxa64/libcudart.so.12", "MATLAB", Some("R2024b")),
            ("/opt/nvidia/nsight-compute/2024.1.1/target/x/libcupti.so.12", "Nsight Compute", Some("2024.1.1")),
            ("/opt/TensorRT-10.3.0/lib/libcudart.so.12", "TensorRT", Some("10.3.0")),
            ("/opt/blender-4.1.0-linux-x64/lib/libcudart.so.12", "Blender", Some("4.1.0")),
            (
                "/var/lib/flatpak/runtime/org.freedesktop.Platform.GL.nvidia-550-120/x86_64/1.4/active/files/lib/libcuda.so.1",
                "NVIDIA's driver (flatpak)",
                Some("550.120"),
            ),
            (
                "/usr/lib/x86_64-linux-gnu/GL/nvidia-550-120/lib/libcuda.so.1",
                "NVIDIA's driver (flatpak)",
                Some("550.120"),
            ),
            ("/var/lib/snapd/lib/gl/libcuda.so.1", "NVIDIA's driver (snapd)", None),
        ];
        for (path, name, version) in cases {
            let expected = Some((name.to_owned(), version.map(str::to_owned)));
            assert_eq!(owner_of(path, Provenance::Walked, &[]), expected, "{path}");
        }
        for path in [
            "/home/me/libcudart.so.12",
            "/usr/lib/nvidia-550/libcuda.so.1",
            "/data/software/CUDA/12.4.0/lib64/libcudart.so.12",
            "/nix/store/cuda/lib/libcudart.so.12",
            "/opt/linux-tools/cuda-12.4.0-abcdefg/lib/libcudart.so.12",
        ] {
            assert_eq!(owner_of(path, Provenance::Walked, &[]), None, "{path}");
        }
    }

    #[test]
    fn some_versions_come_from_files() {
        let owner_of = |path, provenance, file, text| owner_of(path, provenance, &[(file, text)]).unwrap();
        let snap = "snap/ollama/42/meta/snap.yaml";
        assert_eq!(
            owner_of(
                "/snap/ollama/42/lib/ollama/libcudart.so.12",
                Provenance::Walked,
                snap,
                "name: ollama\nversion: '0.5.1'\n"
            ),
            ("ollama (snap)".to_owned(), Some("0.5.1".to_owned()))
        );
        assert_eq!(
            owner_of(
                "/h/libtorch/lib/libcudart-e409450e.so.11.0",
                Provenance::Walked,
                "h/libtorch/build-version",
                "2.5.1+cu124\n"
            ),
            ("libtorch".to_owned(), Some("2.5.1+cu124".to_owned()))
        );
        let log = "apps/software/cuDNN/9.1.0.70-CUDA-12.4/easybuild/x.log";
        assert_eq!(
            owner_of("/apps/software/cuDNN/9.1.0.70-CUDA-12.4/lib/libcudnn.so.9", Provenance::Walked, log, ""),
            ("cuDNN (EasyBuild)".to_owned(), Some("9.1.0.70-CUDA-12.4".to_owned()))
        );
    }

    #[test]
    fn every_kind_of_installation_has_a_name() {
        for provenance in [
            Provenance::HpcSdk,
            Provenance::TensorRt,
            Provenance::EasyBuild,
            Provenance::Spack,
            Provenance::Nix,
            Provenance::Guix,
            Provenance::Cvmfs,
            Provenance::Flatpak,
            Provenance::Snap,
            Provenance::Julia,
            Provenance::LibraryCache,
            Provenance::Application,
        ] {
            let (name, _) = owner_of("/site/odd/libcudart.so.12", provenance, &[]).unwrap();
            assert!(!name.is_empty(), "{provenance}");
        }
        assert_eq!(owner_of("/site/odd/libcudart.so.12", Provenance::Site, &[]), None);
    }
}
