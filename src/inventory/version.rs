//! Which release a copy is, and what says so.
//!
//! Quickly, from names: the wheel that owns it, the digits of the real file name, the directory, the soname. With a
//! look inside ([`observe`]) also from its version functions, its texts and its symbols. What speaks for a release is
//! kept, so that it can be seen where it disagrees.

use super::Owner;
use super::{strings, symbols};
use crate::elf::Elf;
use crate::host::Host;
use crate::inventory::places::{Place, Provenance};
use crate::tables::{LibraryName, Version, parse_library_name, toolkit_of, toolkits};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A CUDA release: major, and minor where known.
pub type Cuda = (u32, Option<u32>);

/// What kind of thing speaks for a version, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The wheel whose record lists the file.
    Package,
    /// What its own version function returned when it was called.
    Probe,
    /// The number that its own version function returns, read from its code.
    Function,
    /// A text in it.
    Text,
    /// The digits of the file name behind all links.
    FileName,
    /// The directory of the toolkit.
    Directory,
    /// The symbols that it exports.
    Symbols,
    /// The soname.
    Soname,
    /// What the libraries beside it are.
    Neighbours,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Package => "its package",
            Self::Probe => "its answer",
            Self::Function => "its code",
            Self::Text => "a text in it",
            Self::FileName => "its file name",
            Self::Directory => "its directory",
            Self::Symbols => "what it exports",
            Self::Soname => "its soname",
            Self::Neighbours => "what stands beside it",
        })
    }
}

/// How far a version can be believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A guess, or what speaks for it disagrees.
    #[default]
    Unsure,
    /// One thing says so that could have been made to by renaming or copying.
    Likely,
    /// The library or its package says so.
    Certain,
}

/// How closely a library is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Names and package records.
    #[default]
    Quick,
    /// Its code, texts and symbols as well.
    Full,
}

/// One thing that speaks for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What kind.
    #[doc(hidden)]
    pub kind: Kind,
    /// What it says.
    pub says: String,
    /// The release that it speaks for.
    #[doc(hidden)]
    pub version: Option<Version>,
    /// The CUDA release that it speaks for.
    #[doc(hidden)]
    pub cuda: Option<Cuda>,
    /// How far it can be believed by itself.
    pub confidence: Confidence,
}

/// What is known about a copy's release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The release, as far as it is known: often the first three of its four numbers.
    pub version: Option<Version>,
    /// The CUDA release it is built for.
    pub cuda: Option<Cuda>,
    /// How far to believe the release; where it is unknown, the CUDA release.
    pub confidence: Confidence,
    /// What speaks for it, the strongest first.
    pub evidence: Vec<Evidence>,
}

impl Found {
    /// The first two things that cannot both be true.
    #[must_use]
    pub fn disagreement(&self) -> Option<(&Evidence, &Evidence)> {
        let later = |at: usize| self.evidence.iter().skip(at.saturating_add(1));
        self.evidence.iter().enumerate().find_map(|(at, one)| Some((one, later(at).find(|other| !one.agrees(other))?)))
    }

    /// Draws the conclusion anew, with `more` beside what is known.
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

    /// Whether both can be true: `9.1.0` and `9.1.0.70` can.
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

/// The strongest evidence decides; any that contradicts it and is to be believed by itself makes it a guess.
fn weigh(evidence: Vec<Evidence>) -> Found {
    let decides = evidence.iter().find(|one| one.version.is_some());
    let decides = decides.or_else(|| evidence.iter().find(|one| one.cuda.is_some()));
    let mut confidence = decides.map(|one| one.confidence).unwrap_or_default();
    if let Some(one) = decides
        && evidence.iter().any(|other| other.confidence > Confidence::Unsure && !one.agrees(other))
    {
        confidence = Confidence::Unsure;
    }
    // A function that returns 12.4 decides between releases, a text that says 12.4.127 also which of them.
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
    if let Owner::Wheel { name: wheel, version: released, rival, alike, .. } = owner {
        // The other wheel's file may be of the same size.
        let told = !alike || rival.as_ref().is_none_or(|rival| rival.version == *released);
        let confidence = if told { Confidence::Certain } else { Confidence::Unsure };
        let mut one = Evidence::new(Kind::Package, format!("{wheel} {released}"), confidence);
        one.version = Version::parse(released);
        // nvidia-cublas-cu12 names its CUDA major; nvidia-cublas of CUDA 13 does not, its version does.
        let suffix = wheel.rsplit_once("-cu").and_then(|(_, major)| major.parse().ok()).map(|major| (major, None));
        let table = one.version.as_ref().and_then(|version| first_cuda(name.row.family, version));
        // A wheel's suffix and the table never disagree for what NVIDIA ships; the suffix is the fact.
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
        // These carry the CUDA major in their soname from CUDA 11 on (nvJitLink from 12), the builtins the minor too.
        let minor = minor.filter(|_| name.stem().starts_with("nvrtc-builtins"));
        let says = minor.map_or(format!("CUDA {major}"), |minor| format!("CUDA {major}.{minor}"));
        let mut one = Evidence::new(Kind::Soname, says, Confidence::Likely);
        one.cuda = Some((major, minor));
        evidence.push(one);
    }
    weigh(evidence)
}

/// What a library of this family answered when its version function was called, in words and as a release: its own,
/// or that of the CUDA it was built with. Without a release it speaks for none.
#[must_use]
pub fn answered(family: &str, says: String, release: Option<Version>, about: About) -> Evidence {
    match release {
        Some(release) => told(Kind::Probe, family, says, release, about == About::Library),
        None => Evidence::new(Kind::Probe, says, Confidence::Unsure),
    }
}

/// What a version function tells the release of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The library itself.
    Library,
    /// The CUDA it was built with, or serves.
    Cuda,
}

/// A version function's word. CUDA's release inside another library is not the library's own.
fn told(kind: Kind, family: &str, says: String, release: Version, own: bool) -> Evidence {
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

/// What the library itself says about its release: its version functions, its texts, its symbols. Gives the number of
/// bytes of text that were searched, too: the work of it, a few mebibytes at most for all but a compiler.
///
/// `soname` is its soname or, where it has none, its file name.
#[must_use]
pub fn observe(elf: &Elf<'_>, soname: &str) -> (Vec<Evidence>, u64) {
    let Some(name) = parse_library_name(soname) else { return (Vec::new(), 0) };
    let family = name.row.family;
    let major = name.version.as_ref().map_or(0, Version::major);
    let mut evidence = Vec::new();

    for returned in symbols::returned(elf, name.stem(), major) {
        let says = format!("{} returns {}", returned.function, returned.release);
        evidence.push(told(Kind::Function, family, says, returned.release, returned.own));
    }

    let mut searched = 0_u64;
    if reads_texts(family) {
        let mut told: Vec<strings::Said> = Vec::new();
        for part in strings::constants(elf) {
            searched = searched.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            told.extend(strings::said(part));
        }
        evidence.extend(from_texts(name.stem(), family, told));
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

/// Families whose sonames are the same for several CUDA majors, and that a package says nothing of outside a wheel: what
/// they are built for is read in the file. cuFile is not among them, for nothing in it tells.
const SHARED: [&str; 4] = ["cudnn", "nccl", "cusparselt", "nvshmem"];

/// Whether the sonames of a family do not tell the CUDA major, and its files do.
pub(crate) fn shares_soname(family: &str) -> bool {
    SHARED.contains(&family)
}

/// The CUDA release that a library is built for. Where nothing around it tells, or it is not the file that its package
/// recorded, a library of a soname that several majors share is looked into.
#[must_use]
pub fn built_for(library: &super::Library) -> Option<Cuda> {
    let is_shared = shares_soname(library.row.family) && library.unusable.is_none();
    let altered = matches!(&library.owner, Owner::Wheel { size: Some(size), .. } if *size != library.stat.size);
    if !is_shared || library.cuda.is_some() && !altered {
        return library.cuda;
    }
    let inside = || {
        let elf = library.object.as_ref()?.elf().ok()?;
        let (evidence, _) = observe(&elf, library.asked_as());
        evidence.into_iter().find_map(|one| one.cuda)
    };
    inside().or(library.cuda)
}

/// Whether a package's version names the very release in a file's name: `535.261.03-1` and `11.8.89~11.8.0-5~deb12u1` do,
/// while a package of many libraries has a version of its own (deb-version(7)).
fn releases(package: &str, digits: &Version) -> bool {
    let upstream = package.split_once(':').map_or(package, |(_, upstream)| upstream);
    upstream.split(['-', '~', '+']).next() == Some(digits.to_string().as_str())
}

/// The families in whose texts a release was found; of the others, tens of mebibytes would be read in vain.
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

fn from_texts(stem: &str, family: &str, mut told: Vec<strings::Said>) -> Vec<Evidence> {
    use strings::Text;
    told.sort();
    told.dedup();
    // NCCL tells its release twice, once without the CUDA.
    let whole: Vec<strings::Said> = told.iter().filter(|said| said.cuda.is_some()).cloned().collect();
    let is_part = |said: &strings::Said| {
        said.cuda.is_none() && whole.iter().any(|whole| whole.text == said.text && whole.release == said.release)
    };
    told.retain(|said| !is_part(said));
    let about = |text: Text| match text {
        Text::Tools => matches!(stem, "nvrtc" | "nvrtc.alt" | "nvJitLink"),
        Text::Nccl => family == "nccl",
        Text::Nvshmem => stem == "nvshmem_host",
        Text::Branch => !matches!(family, "nvrtc" | "nvrtc-alt" | "nvjitlink" | "nccl"),
    };
    let mut evidence = Vec::new();
    for text in [Text::Tools, Text::Nccl, Text::Nvshmem, Text::Branch].into_iter().filter(|text| about(*text)) {
        let mut said = told.iter().filter(|said| said.text == text);
        // Two releases in one library: neither is known to be its own.
        let (Some(said), None) = (said.next(), said.next()) else { continue };
        let release = said.release.clone();
        evidence.push(match text {
            Text::Tools => Evidence {
                cuda: major_minor(&release),
                version: Some(release.clone()),
                ..Evidence::new(Kind::Text, format!("Cuda compilation tools {release}"), Confidence::Certain)
            },
            Text::Nccl => Evidence {
                cuda: said.cuda.as_ref().and_then(major_minor),
                version: Some(release.clone()),
                ..Evidence::new(Kind::Text, nccl(said), Confidence::Certain)
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

fn nccl(said: &strings::Said) -> String {
    let cuda = said.cuda.as_ref().map(|cuda| format!("+cuda{cuda}")).unwrap_or_default();
    format!("NCCL version {}{cuda}", said.release)
}

fn from_symbols(family: &str, found: &crate::tables::Bracket) -> Evidence {
    let from = found.from.as_ref().map(|from| format!("defines `{}`, as {from} does", found.because));
    let below = found.below.as_ref().map(|below| format!("does not define what came with {below}"));
    let says = [from, below].into_iter().flatten().collect::<Vec<_>>().join(", ");
    // A guess at best: releases between the two opened ones may have the same symbols.
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

/// The version in the name of the file behind all links, where it says more than the soname.
fn real_digits(host: &Host, path: &Path, soname: Option<&str>) -> Option<Version> {
    let real = host.canonical(path).ok()?;
    let digits = parse_library_name(real.file_name()?)?.version?;
    let known =
        soname.and_then(parse_library_name).and_then(|name| name.version).map_or(0, |version| version.numbers().len());
    let count = digits.numbers().len();
    // libnvToolsExt.so.1.0.0 and the like: an ABI number, not a release.
    // CUPTI counts in years (libcupti.so.2025.1.1), which no other name of its releases does.
    (count > known && count >= 2 && digits.numbers() != [1, 0, 0] && digits.major() < 1000).then_some(digits)
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
    let told = matches!(place.provenance, Provenance::Toolkit | Provenance::Given | Provenance::Walked);
    let release = root.strip_prefix("cuda-").filter(|_| told)?;
    major_minor(&Version::parse(release)?)
}

fn major_minor(version: &Version) -> Option<(u32, Option<u32>)> {
    let mut numbers = version.numbers().iter().map(|number| u32::try_from(*number).ok());
    Some((numbers.next()??, numbers.next().flatten()))
}

/// What the libraries of one directory whose release is no guess say about one that says nothing itself: the release
/// of its group, and the CUDA release that most of its kind are of. A guess: one file can be exchanged.
#[derive(Debug, Default)]
pub(super) struct Neighbours<'a> {
    /// By group: its first member, and whether all are of one release.
    groups: BTreeMap<&'static str, (&'a super::Library, bool)>,
    /// By who releases them: how many are of a CUDA release.
    votes: BTreeMap<&'static str, BTreeMap<Cuda, usize>>,
}

impl<'a> Neighbours<'a> {
    /// Counts one in.
    pub(super) fn add(&mut self, library: &'a super::Library) {
        if let (Some(group), Some(version)) = (library.row.group, &library.version) {
            let (first, agree) = self.groups.entry(group).or_insert((library, true));
            *agree &= first.version.as_ref() == Some(version);
        }
        if let Some(cuda) = library.cuda.filter(has_minor) {
            *self.votes.entry(library.row.owner).or_default().entry(cuda).or_default() += 1;
        }
    }

    /// What they say about a library of their directory. What it says itself it was not counted in for.
    pub(super) fn about(&self, library: &super::Library) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        let group = library.row.group.filter(|_| library.version.is_none());
        if let Some((other, true)) = group.and_then(|group| self.groups.get(group)) {
            let says = format!("`{}` beside it", other.asked_as());
            let one = Evidence::new(Kind::Neighbours, says, Confidence::Unsure);
            evidence.push(Evidence { version: other.version.clone(), cuda: other.cuda, ..one });
        }
        let told = evidence.iter().filter_map(|one| one.cuda).chain(library.cuda).any(|cuda| has_minor(&cuda));
        let votes = self.votes.get(library.row.owner).filter(|_| !told);
        let all: usize = votes.into_iter().flat_map(BTreeMap::values).sum();
        // More than half: nvJitLink is often newer than the rest, for its own package asks for no release.
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
