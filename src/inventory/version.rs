//! The release of a copy, with the evidence for it.
//!
//! [`Depth::Quick`] reads names: the wheel that owns the file, the digits of the real file name, the directory, the
//! soname. [`observe`] reads the version functions, texts and symbols of the file. All evidence is kept, so that
//! contradictions show.

use super::Owner;
use super::{strings, symbols};
use crate::elf::Elf;
use crate::host::Host;
use crate::inventory::places::{Place, Provenance};
use crate::tables::{LibraryName, Version, cuda_major_of_wheel, parse_library_name, toolkit_of, toolkits};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A CUDA release: major, and minor where known.
pub type Cuda = (u32, Option<u32>);

/// The kinds of evidence for a version, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The wheel whose record lists the file.
    Package,
    /// The value that its version function returned in a probe.
    Probe,
    /// The value that its version function returns, read from its code.
    Function,
    /// A text in the file.
    Text,
    /// The digits of the real file name.
    FileName,
    /// The directory of the toolkit.
    Directory,
    /// The exported symbols.
    Symbols,
    /// The soname.
    Soname,
    /// The releases of the libraries in its directory.
    Neighbours,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Package => "its package",
            Self::Probe => "its version function",
            Self::Function => "its code",
            Self::Text => "a text in it",
            Self::FileName => "its file name",
            Self::Directory => "its directory",
            Self::Symbols => "its exported symbols",
            Self::Soname => "its soname",
            Self::Neighbours => "the libraries beside it",
        })
    }
}

/// How reliable a version is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A guess, or contradicted by other evidence.
    #[default]
    Unsure,
    /// From evidence that a rename or a copy can falsify.
    Likely,
    /// From the library itself or its package.
    Certain,
}

/// How much of a library is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Names and package records.
    #[default]
    Quick,
    /// Its code, texts and symbols too.
    Full,
}

/// One piece of evidence for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Its kind.
    #[doc(hidden)]
    pub kind: Kind,
    /// In words.
    pub says: String,
    /// The release that it shows.
    #[doc(hidden)]
    pub version: Option<Version>,
    /// The CUDA release that it shows.
    #[doc(hidden)]
    pub cuda: Option<Cuda>,
    /// How reliable it is by itself.
    pub confidence: Confidence,
}

/// The release of a copy, with all evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The release, as far as known: often the first three of its four numbers.
    pub version: Option<Version>,
    /// The CUDA release it is built for.
    pub cuda: Option<Cuda>,
    /// How reliable the release is; where it is unknown, the CUDA release.
    pub confidence: Confidence,
    /// The evidence, the strongest first.
    pub evidence: Vec<Evidence>,
}

impl Found {
    /// The first two pieces of evidence that contradict each other.
    #[must_use]
    pub fn disagreement(&self) -> Option<(&Evidence, &Evidence)> {
        let later = |at: usize| self.evidence.iter().skip(at.saturating_add(1));
        self.evidence.iter().enumerate().find_map(|(at, one)| Some((one, later(at).find(|other| !one.agrees(other))?)))
    }

    /// Adds evidence and concludes again.
    #[must_use]
    pub fn with(mut self, more: Vec<Evidence>) -> Self {
        self.evidence.extend(more);
        self.evidence.sort_by_key(|evidence| evidence.kind);
        weigh(self.evidence)
    }
}

impl Evidence {
    fn new(kind: Kind, says: String, confidence: Confidence) -> Self {
        Self { kind, says, version: None, cuda: None, confidence }
    }

    /// Whether both can be true, as `9.1.0` and `9.1.0.70`.
    #[must_use]
    #[doc(hidden)]
    pub fn agrees(&self, other: &Self) -> bool {
        let versions = match (&self.version, &other.version) {
            (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
            _ => true,
        };
        let cuda = match (self.cuda, other.cuda) {
            (Some((one, Some(a))), Some((other, Some(b)))) => (one, a) == (other, b),
            (Some((one, _)), Some((other, _))) => one == other,
            _ => true,
        };
        versions && cuda
    }
}

/// The strongest evidence decides; reliable evidence against it makes the result a guess.
fn weigh(evidence: Vec<Evidence>) -> Found {
    let decides = evidence.iter().find(|one| one.version.is_some());
    let decides = decides.or_else(|| evidence.iter().find(|one| one.cuda.is_some()));
    let mut confidence = decides.map(|one| one.confidence).unwrap_or_default();
    if let Some(one) = decides
        && evidence.iter().any(|other| other.confidence > Confidence::Unsure && !one.agrees(other))
    {
        confidence = Confidence::Unsure;
    }
    // A function may return 12.4 where a text has 12.4.127: the longer one refines it.
    let mut version = decides.and_then(|one| one.version.clone());
    for more in evidence.iter().filter(|one| one.confidence > Confidence::Unsure).filter_map(|one| one.version.as_ref())
    {
        if let Some(known) = &mut version
            && more.starts_with(known)
        {
            *known = more.clone();
        }
    }
    let mut cuda = decides.and_then(|one| one.cuda);
    for more in evidence.iter().filter_map(|one| one.cuda) {
        match cuda {
            None => cuda = Some(more),
            Some((major, None)) if major == more.0 => cuda = Some(more),
            Some(_) => {}
        }
    }
    if version.is_none()
        && let Some(one) = evidence.iter().find(|one| one.cuda == cuda)
    {
        confidence = confidence.min(one.confidence);
    }
    Found { version, cuda, confidence, evidence }
}

/// Families with the version of their toolkit.
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
    if let Owner::Wheel { name: wheel, version: released, rival, alike, .. } = owner {
        // The other wheel's file may have the same size.
        let is_clear = !alike || rival.as_ref().is_none_or(|rival| rival.version == *released);
        let confidence = if is_clear { Confidence::Certain } else { Confidence::Unsure };
        let mut one = Evidence::new(Kind::Package, format!("{wheel} {released}"), confidence);
        one.version = Version::parse(released);
        // The name of nvidia-cublas-cu12 has its CUDA major; for nvidia-cublas of CUDA 13 the version shows it.
        let suffix = cuda_major_of_wheel(wheel).map(|major| (major, None));
        let table = one.version.as_ref().and_then(|version| first_cuda(name.row.family, version));
        // Suffix and table agree for every NVIDIA wheel; where they do not, the suffix counts.
        one.cuda = match (suffix, table) {
            (None, found) => found,
            (Some((major, None)), Some((found, minor))) if major == found => Some((found, minor)),
            (suffix, _) => suffix,
        };
        evidence.push(one);
    }
    let digits = real_digits(host, path, soname);
    if let Owner::Dpkg { .. } | Owner::Conda { .. } = owner
        && let (Some(package), Some(released), Some(digits)) = (owner.name(), owner.version(), &digits)
        && releases(released, digits)
    {
        let mut one = Evidence::new(Kind::Package, format!("{package} {released}"), Confidence::Certain);
        one.cuda = first_cuda(name.row.family, digits);
        one.version = Some(digits.clone());
        evidence.push(one);
    }
    if let Some(digits) = digits {
        let mut one = Evidence::new(Kind::FileName, digits.to_string(), Confidence::Likely);
        one.cuda = first_cuda(name.row.family, &digits);
        one.version = Some(digits);
        evidence.push(one);
    }
    if evidence.iter().all(|one| one.cuda.is_none())
        && let Some(cuda) = from_directory(path, place)
    {
        let mut one = Evidence::new(Kind::Directory, place.dir.display().to_string(), Confidence::Likely);
        one.cuda = Some(cuda);
        evidence.push(one);
    }
    if evidence.iter().all(|one| one.cuda.is_none())
        && let Some(soname) = soname.and_then(parse_library_name).and_then(|name| name.version)
        && matches!(name.row.family, "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "cupti")
        && let Some((major, minor)) = major_minor(&soname)
    {
        // From CUDA 11 on (nvJitLink: 12) these sonames have the CUDA major, those of the builtins the minor too.
        let minor = minor.filter(|_| name.stem().starts_with("nvrtc-builtins"));
        let says = minor.map_or(format!("CUDA {major}"), |minor| format!("CUDA {major}.{minor}"));
        let mut one = Evidence::new(Kind::Soname, says, Confidence::Likely);
        one.cuda = Some((major, minor));
        evidence.push(one);
    }
    weigh(evidence)
}

/// Evidence from a probe of a version function, in words and as a release: that of the library, or of the CUDA it was
/// built with. Without a release it supports none.
#[must_use]
pub fn answered(family: &str, says: String, release: Option<Version>, about: About) -> Evidence {
    match release {
        Some(release) => from_function(Kind::Probe, family, says, release, about == About::Library),
        None => Evidence::new(Kind::Probe, says, Confidence::Unsure),
    }
}

/// The subject of a version function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The library itself.
    Library,
    /// The CUDA that it was built with, or serves.
    Cuda,
}

/// Evidence from a version function; `own` where it returns the release of the library, not that of a CUDA inside it.
fn from_function(kind: Kind, family: &str, says: String, release: Version, own: bool) -> Evidence {
    let mut one = Evidence::new(kind, says, Confidence::Certain);
    if own {
        one.cuda = only_cuda(family, &release);
        one.version = Some(release);
    } else {
        one.confidence = Confidence::Likely;
        one.cuda = major_minor(&release);
    }
    one
}

/// Evidence from the library itself: its version functions, texts and symbols. Also gives the number of bytes of text
/// searched: a few mebibytes at most, except in a compiler.
///
/// `soname` is its soname, or its file name where it has none.
#[must_use]
pub fn observe(elf: &Elf<'_>, soname: &str) -> (Vec<Evidence>, u64) {
    let Some(name) = parse_library_name(soname) else { return (Vec::new(), 0) };
    let family = name.row.family;
    let major = name.version.as_ref().map_or(0, Version::major);
    let mut evidence = Vec::new();

    for returned in symbols::returned(elf, name.stem(), major) {
        let says = format!("{} returns {}", returned.function, returned.release);
        evidence.push(from_function(Kind::Function, family, says, returned.release, returned.own));
    }

    let mut searched = 0_u64;
    if reads_texts(family) {
        let mut found: Vec<strings::TextRelease> = Vec::new();
        for part in strings::constants(elf) {
            searched = searched.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            found.extend(strings::releases(part));
        }
        evidence.extend(from_texts(name.stem(), family, found));
    }
    if name.stem() == "cusparseLt" {
        let parts = strings::constants(elf);
        searched = parts.iter().fold(searched, |sum, part| sum.saturating_add(part.len() as u64));
        if let Some(major) = parts.into_iter().find_map(strings::opens_compiler) {
            let one = Evidence::new(Kind::Text, format!("opens `libnvrtc.so.{major}`"), Confidence::Likely);
            evidence.push(Evidence { cuda: Some((major, None)), ..one });
        }
    }

    if name.stem().starts_with("nvrtc-builtins")
        && let Some(release) = name.version.clone().filter(|release| release.minor().is_some())
    {
        let mut one = Evidence::new(Kind::Soname, format!("CUDA {release}"), Confidence::Likely);
        one.cuda = major_minor(&release);
        one.version = Some(release);
        evidence.push(one);
    }

    let soname_of_table = name.unhashed();
    if let Some(found) = symbols::between(elf, name.stem(), &soname_of_table) {
        evidence.push(from_symbols(family, &found));
    }
    (evidence, searched)
}

/// Families with one soname for several CUDA majors, where only a wheel's record names the major: otherwise it is read
/// from the file. Not cuFile: nothing in it shows the major.
const SHARED: [&str; 4] = ["cudnn", "nccl", "cusparselt", "nvshmem"];

/// Whether several CUDA majors share the sonames of a family, and its files show the major.
pub(crate) fn shares_soname(family: &str) -> bool {
    SHARED.contains(&family)
}

/// The CUDA release that a library is built for. Reads the file only where several majors share the soname, and the
/// release is unknown or the file is not the one its package recorded.
#[must_use]
pub fn built_for(library: &super::Library) -> Option<Cuda> {
    let is_shared = shares_soname(library.row.family) && library.unusable.is_none();
    let altered = matches!(&library.owner, Owner::Wheel { size: Some(size), .. } if *size != library.stat.size);
    if !is_shared || library.cuda.is_some() && !altered {
        return library.cuda;
    }
    let inside = || {
        let elf = library.object.as_ref()?.elf().ok()?;
        let (evidence, _) = observe(&elf, library.load_name());
        evidence.into_iter().find_map(|one| one.cuda)
    };
    inside().or(library.cuda)
}

/// Whether a package's version is the release in a file name, as in `535.261.03-1` and `11.8.89~11.8.0-5~deb12u1`
/// (deb-version(7)). A package of many libraries has its own version.
fn releases(package: &str, digits: &Version) -> bool {
    let upstream = package.split_once(':').map_or(package, |(_, upstream)| upstream);
    upstream.split(['-', '~', '+']).next() == Some(digits.to_string().as_str())
}

/// Whether the texts of a family name a release; in others, tens of mebibytes would be read in vain.
pub(super) fn reads_texts(family: &str) -> bool {
    matches!(
        family,
        "nvrtc"
            | "nvrtc-alt"
            | "nvjitlink"
            | "nccl"
            | "nvshmem"
            | "curand"
            | "cusolver"
            | "cusparse"
            | "npp"
            | "nvjpeg"
    )
}

fn from_texts(stem: &str, family: &str, mut found: Vec<strings::TextRelease>) -> Vec<Evidence> {
    use strings::Text;
    found.sort();
    found.dedup();
    // NCCL has its release twice, once without the CUDA.
    let whole: Vec<strings::TextRelease> = found.iter().filter(|one| one.cuda.is_some()).cloned().collect();
    let is_part = |one: &strings::TextRelease| {
        one.cuda.is_none() && whole.iter().any(|whole| whole.text == one.text && whole.release == one.release)
    };
    found.retain(|one| !is_part(one));
    let about = |text: Text| match text {
        Text::Tools => matches!(stem, "nvrtc" | "nvrtc.alt" | "nvJitLink"),
        Text::Nccl => family == "nccl",
        Text::Nvshmem => stem == "nvshmem_host",
        Text::Branch => !matches!(family, "nvrtc" | "nvrtc-alt" | "nvjitlink" | "nccl"),
    };
    let mut evidence = Vec::new();
    for text in [Text::Tools, Text::Nccl, Text::Nvshmem, Text::Branch].into_iter().filter(|text| about(*text)) {
        let mut of_text = found.iter().filter(|one| one.text == text);
        // Of two releases in one library, either may be that of a part.
        let (Some(one), None) = (of_text.next(), of_text.next()) else { continue };
        let release = one.release.clone();
        evidence.push(match text {
            Text::Tools => Evidence {
                cuda: major_minor(&release),
                version: Some(release.clone()),
                ..Evidence::new(Kind::Text, format!("Cuda compilation tools {release}"), Confidence::Certain)
            },
            Text::Nccl => Evidence {
                cuda: one.cuda.as_ref().and_then(major_minor),
                version: Some(release.clone()),
                ..Evidence::new(Kind::Text, nccl(one), Confidence::Certain)
            },
            Text::Nvshmem => Evidence {
                version: Some(release.clone()),
                ..Evidence::new(Kind::Text, format!("NVSHMEM v{release}"), Confidence::Certain)
            },
            Text::Branch => Evidence {
                cuda: major_minor(&release),
                ..Evidence::new(Kind::Text, format!("built in toolkit/r{release}"), Confidence::Likely)
            },
        });
    }
    evidence
}

fn nccl(text: &strings::TextRelease) -> String {
    let cuda = text.cuda.as_ref().map(|cuda| format!("+cuda{cuda}")).unwrap_or_default();
    format!("NCCL version {}{cuda}", text.release)
}

fn from_symbols(family: &str, found: &crate::tables::Bracket) -> Evidence {
    let from = found.from.as_ref().map(|from| format!("defines `{}`, as {from} does", found.because));
    let below = found.below.as_ref().map(|below| format!("does not define what came with {below}"));
    let says = [from, below].into_iter().flatten().collect::<Vec<_>>().join(", ");
    // A guess: releases between the two in the table may have the same symbols.
    let mut one = Evidence::new(Kind::Symbols, says, Confidence::Unsure);
    let bounds = [&found.from, &found.below].map(|bound| bound.as_ref().and_then(|bound| first_cuda(family, bound)));
    if let [Some((major, Some(from))), Some((below_major, Some(below)))] = bounds
        && major == below_major
        && below.checked_sub(1) == Some(from)
    {
        one.cuda = Some((major, Some(from)));
    }
    one
}

/// The first CUDA release that shipped this version of a family.
fn first_cuda(family: &str, version: &Version) -> Option<Cuda> {
    if TOOLKIT_NUMBERED.contains(&family) {
        return major_minor(version);
    }
    toolkit_of(family, version).and_then(|row| major_minor(&row.toolkit))
}

/// The CUDA release of all toolkits that hold this version of a family, as far as they agree.
fn only_cuda(family: &str, version: &Version) -> Option<Cuda> {
    if TOOLKIT_NUMBERED.contains(&family) || family == "nvrtc-alt" {
        return major_minor(version);
    }
    let holds = |component: &Version| component.starts_with(version);
    let rows = toolkits().iter().filter(|row| row.components.get(family).is_some_and(holds));
    let mut releases = rows.filter_map(|row| major_minor(&row.toolkit));
    let first = releases.next()?;
    releases.try_fold(first, |(major, minor), (other, other_minor)| {
        (major == other).then_some((major, minor.filter(|_| minor == other_minor)))
    })
}

/// The version in the real file name, where it is longer than that of the soname.
fn real_digits(host: &Host, path: &Path, soname: Option<&str>) -> Option<Version> {
    let real = host.canonical(path).ok()?;
    let digits = parse_library_name(real.file_name()?)?.version?;
    let known =
        soname.and_then(parse_library_name).and_then(|name| name.version).map_or(0, |version| version.numbers().len());
    let count = digits.numbers().len();
    // libnvToolsExt.so.1.0.0 and the like: an ABI number, not a release.
    // CUPTI's file names count in years (libcupti.so.2025.1.1), unlike its packages.
    (count > known && count >= 2 && digits.numbers() != [1, 0, 0] && digits.major() < 1000).then_some(digits)
}

/// The CUDA release in paths such as `nvidia/cu13/lib` and `/usr/local/cuda-12.4/lib64`.
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
    let is_toolkit = matches!(place.provenance, Provenance::Toolkit | Provenance::Given | Provenance::Walked);
    let release = root.strip_prefix("cuda-").filter(|_| is_toolkit)?;
    major_minor(&Version::parse(release)?)
}

fn major_minor(version: &Version) -> Option<(u32, Option<u32>)> {
    let mut numbers = version.numbers().iter().map(|number| u32::try_from(*number).ok());
    Some((numbers.next()??, numbers.next().flatten()))
}

/// The libraries of known release in one directory, as evidence for those of unknown release: the release of the group,
/// and the CUDA release of the majority. Always a guess: a single file can be replaced.
#[derive(Debug, Default)]
pub(super) struct Neighbours<'a> {
    /// By group: its first member, and whether all are of one release.
    groups: BTreeMap<&'static str, (&'a super::Library, bool)>,
    /// By publisher: the number of libraries of each CUDA release.
    votes: BTreeMap<&'static str, BTreeMap<Cuda, usize>>,
}

impl<'a> Neighbours<'a> {
    /// Adds a library of known release.
    pub(super) fn add(&mut self, library: &'a super::Library) {
        if let (Some(group), Some(version)) = (library.row.group, &library.version) {
            let (first, agree) = self.groups.entry(group).or_insert((library, true));
            *agree &= first.version.as_ref() == Some(version);
        }
        if let Some(cuda) = library.cuda.filter(has_minor) {
            *self.votes.entry(library.row.owner).or_default().entry(cuda).or_default() += 1;
        }
    }

    /// The evidence for a library of their directory that is not one of them.
    pub(super) fn about(&self, library: &super::Library) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        let group = library.row.group.filter(|_| library.version.is_none());
        if let Some((other, true)) = group.and_then(|group| self.groups.get(group)) {
            let says = format!("`{}` beside it", other.load_name());
            let one = Evidence::new(Kind::Neighbours, says, Confidence::Unsure);
            evidence.push(Evidence { version: other.version.clone(), cuda: other.cuda, ..one });
        }
        let has_cuda = evidence.iter().filter_map(|one| one.cuda).chain(library.cuda).any(|cuda| has_minor(&cuda));
        let votes = self.votes.get(library.row.owner).filter(|_| !has_cuda);
        let all: usize = votes.into_iter().flat_map(BTreeMap::values).sum();
        // A majority only: nvJitLink is often newer than the rest, since its package requires no release of them.
        let most = votes.into_iter().flatten().find(|(_, count)| count.saturating_mul(2) > all);
        if let Some((cuda, count)) = most {
            let says = format!("{count} of {all} libraries beside it are of this release");
            let one = Evidence::new(Kind::Neighbours, says, Confidence::Unsure);
            evidence.push(Evidence { cuda: Some(*cuda), ..one });
        }
        evidence
    }
}

fn has_minor(cuda: &Cuda) -> bool {
    cuda.1.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_name_the_release_of_the_file() {
        let names = |package: &str, digits: &str| releases(package, &Version::parse(digits).unwrap());
        assert!(names("535.261.03-1", "535.261.03") && names("1:11.8.89~11.8.0-5~deb12u1", "11.8.89"));
        assert!(names("12.4.5.8", "12.4.5.8") && !names("12.4.1-1", "12.4.5.8") && !names("535.261.031", "535.261.03"));
    }
}
