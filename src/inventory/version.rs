//! Which release a copy is, and what says so.
//!
//! From strongest to weakest: the wheel that owns it, the digits of the real file name, the soname.

use super::Owner;
use crate::facts::{LibraryName, Version, parse_library_name, toolkit_of};
use crate::host::Host;
use crate::places::{Place, Provenance};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What kind of thing speaks for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The wheel whose record lists the file.
    Package,
    /// The digits of the file name behind all links.
    FileName,
    /// The directory of the toolkit.
    Directory,
    /// The soname.
    Soname,
}

/// One thing that speaks for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What kind.
    pub kind: Kind,
    /// What it says.
    pub says: String,
}

pub(super) struct Found {
    pub(super) version: Option<Version>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) cuda: Option<(u32, Option<u32>)>,
}

/// Families whose own version is the version of the toolkit they belong to.
const TOOLKIT_NUMBERED: [&str; 4] = ["cudart", "nvrtc", "nvjitlink", "cupti"];

pub(super) fn of(
    host: &Host,
    path: &Path,
    name: &LibraryName<'_>,
    soname: Option<&str>,
    place: &Place,
    owner: &Owner,
) -> Found {
    let mut evidence = Vec::new();
    let mut version = None;
    let mut cuda = None;
    if let Owner::Wheel { name: wheel, version: released, .. } = owner {
        evidence.push(Evidence { kind: Kind::Package, says: format!("{wheel} {released}") });
        version = Version::parse(released);
        // nvidia-cublas-cu12 names its CUDA major; nvidia-cublas of CUDA 13 does not, its version does.
        cuda = wheel.rsplit_once("-cu").and_then(|(_, major)| major.parse().ok()).map(|major| (major, None));
    }
    if let Some(digits) = real_digits(host, path, soname) {
        evidence.push(Evidence { kind: Kind::FileName, says: digits.to_string() });
        version = version.or(Some(digits));
    }
    if let Some(version) = &version {
        let toolkit = toolkit_of(name.row.family, version).and_then(|row| major_minor(&row.toolkit));
        let own = TOOLKIT_NUMBERED.contains(&name.row.family).then(|| major_minor(version)).flatten();
        // A wheel's suffix and the table never disagree for what NVIDIA ships; the suffix is the fact.
        match (cuda, own.or(toolkit)) {
            (None, found) => cuda = found,
            (Some((major, None)), Some((found, minor))) if major == found => cuda = Some((found, minor)),
            _ => {}
        }
    }
    if cuda.is_none() {
        cuda = from_directory(path, place).inspect(|_| {
            evidence.push(Evidence { kind: Kind::Directory, says: place.dir.display().to_string() });
        });
    }
    if cuda.is_none()
        && let Some(soname) = soname.and_then(parse_library_name).and_then(|name| name.version)
        && matches!(name.row.family, "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "cupti")
        && let Some(major) = u32::try_from(soname.major()).ok().filter(|major| *major >= 11)
    {
        // These carry the CUDA major in their soname from CUDA 11 on (nvJitLink from 12).
        evidence.push(Evidence { kind: Kind::Soname, says: format!("CUDA {major}") });
        cuda = Some((major, None));
    }
    Found { version, evidence, cuda }
}

/// The version in the name of the file behind all links, where it says more than the soname.
fn real_digits(host: &Host, path: &Path, soname: Option<&str>) -> Option<Version> {
    let real = host.canonical(path).ok()?;
    let digits = parse_library_name(real.file_name()?)?.version?;
    let known =
        soname.and_then(parse_library_name).and_then(|name| name.version).map_or(0, |version| version.numbers().len());
    let count = digits.numbers().len();
    // libnvToolsExt.so.1.0.0 and the like: an ABI number, not a release.
    (count > known && count >= 2 && digits.numbers() != [1, 0, 0]).then_some(digits)
}

/// `nvidia/cu13/lib` and `/usr/local/cuda-12.4/lib64` name the CUDA release in the path.
fn from_directory(path: &Path, place: &Place) -> Option<(u32, Option<u32>)> {
    let relative = path.strip_prefix(&place.root).ok()?;
    let mut parts = relative.iter().map(OsStrExt::as_bytes);
    if parts.next() == Some(b"nvidia")
        && let Some(major) = parts
            .next()
            .and_then(|part| part.strip_prefix(b"cu"))
            .and_then(|major| std::str::from_utf8(major).ok()?.parse().ok())
    {
        return Some((major, None));
    }
    let root = place.root.file_name()?.to_str()?;
    let release =
        root.strip_prefix("cuda-").filter(|_| matches!(place.provenance, Provenance::Toolkit | Provenance::Given))?;
    major_minor(&Version::parse(release)?)
}

fn major_minor(version: &Version) -> Option<(u32, Option<u32>)> {
    let mut numbers = version.numbers().iter().map(|number| u32::try_from(*number).ok());
    Some((numbers.next()??, numbers.next().flatten()))
}
