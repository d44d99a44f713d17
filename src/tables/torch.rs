//! `data/torch.tsv`: the pins of each torch build, and the libraries it was built with.
//!
//! Takes a release and a CUDA tag; returns the build. Never reads installed copies.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::table::{self, yes_no};
use super::{Version, VersionRange};

/// One torch wheel for Linux: a release and a CUDA variant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TorchRow {
    /// The release, `2.5.1`.
    pub version: Version,
    /// The CUDA tag, `cu124`.
    pub cuda: &'static str,
    /// The CUDA version, `12.4`.
    pub cuda_version: Version,
    /// The toolkit whose component set the pins equal, `12.4.1`.
    pub toolkit: Option<Version>,
    /// Whether this is the build on `PyPI`.
    pub default: bool,
    /// `_GLIBCXX_USE_CXX11_ABI` of libtorch.
    pub cxx11_abi: Option<bool>,
    /// The cuDNN whose headers it was compiled with.
    pub cudnn_compiled: Option<Version>,
    /// The known range of each library's version, by family.
    pub pins: BTreeMap<&'static str, VersionRange>,
    /// The supply of libraries that are not separate wheels, by family; see
    /// [`TorchRow::supply_of`].
    pub supply: BTreeMap<&'static str, Supply>,
    /// `Requires-Python` of the release.
    pub python: Option<&'static str>,
    /// The lowest and the highest `CPython` that the release has a wheel for.
    pub cpython: (Version, Version),
    /// The compute capabilities with native code.
    pub sm: Vec<&'static str>,
    /// The source.
    pub source: &'static str,
}

impl TorchRow {
    /// The supply of a library of this build; `None` where it is unknown.
    #[must_use]
    pub fn supply_of(&self, family: &str) -> Option<Supply> {
        let wheel = self.pins.contains_key(family).then_some(Supply::Wheel);
        self.supply.get(family).copied().or(wheel)
    }
}

/// How a torch build gets a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Supply {
    /// A separate wheel, required by torch's metadata.
    Wheel,
    /// Inside the torch wheel, usually under a hashed name.
    Bundled,
    /// Linked into libtorch statically.
    Static,
    /// Not required by torch's own metadata; another wheel may still bring it.
    Absent,
}

/// Every build, by release, then CUDA.
#[must_use]
pub fn torch_builds() -> &'static [TorchRow] {
    &TABLE
}

/// The day that the table was read, `2026-11-22`.
#[must_use]
pub fn torch_builds_read() -> &'static str {
    table::read_on(TEXT)
}

/// The build of a release, `2.5.1` or `2.5.1+cu124`.
///
/// A shortened release is padded with zeros: `2.5` is 2.5.0. Without a CUDA tag in `cuda` or in the version, the build
/// on `PyPI`. A local part that is not a CUDA tag (`+cpu`, `+rocm6.2`) matches no build of the table.
#[must_use]
pub fn torch_build(version: &str, cuda: Option<&str>) -> Option<&'static TorchRow> {
    let (release, local) = match version.split_once('+') {
        Some((release, local)) => (release, Some(local)),
        None => (version, None),
    };
    let cuda = match (cuda, local) {
        (Some(cuda), Some(local)) if cuda != local => return None,
        (cuda, local) => cuda.or(local),
    };
    let release = Version::parse(release)?;
    torch_builds().iter().find(|row| row.version == release && cuda.map_or(row.default, |cuda| cuda == row.cuda))
}

fn pair(texts: &[&str]) -> Option<(Version, Version)> {
    let [low, high] = texts else { return None };
    Some((Version::parse(low)?, Version::parse(high)?))
}

fn pin(text: &'static str) -> Option<(&'static str, VersionRange)> {
    let at = text.find(['=', '<', '>'])?;
    let (family, range) = text.split_at_checked(at)?;
    // `cublas=12.4.5.8` is the short form of `==`.
    let range = VersionRange::parse(range.strip_prefix('=').unwrap_or(range))?;
    (!family.is_empty()).then_some((family, range))
}

fn supply(text: &'static str) -> Option<(&'static str, Supply)> {
    let (family, how) = text.split_once(':')?;
    let how = match how {
        "none" => Supply::Absent,
        "bundled" => Supply::Bundled,
        "static" => Supply::Static,
        _ => return None,
    };
    Some((family, how))
}

const TEXT: &str = include_str!("../../data/torch.tsv");

static TABLE: LazyLock<Vec<TorchRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(TorchRow {
            version: Version::parse(cells.text("torch")?)?,
            cuda: cells.text("cuda")?,
            cuda_version: Version::parse(cells.text("cuda_version")?)?,
            toolkit: cells.maybe("toolkit", Version::parse)?,
            default: yes_no(cells.text("default")?)?,
            cxx11_abi: cells.maybe("cxx11_abi", yes_no)?,
            cudnn_compiled: cells.maybe("cudnn_compiled", Version::parse)?,
            pins: cells.list("pins", ';').into_iter().map(pin).collect::<Option<_>>()?,
            supply: cells.list("supply", ';').into_iter().map(supply).collect::<Option<_>>()?,
            python: cells.text("python"),
            cpython: pair(&cells.list("cpython", ' '))?,
            sm: cells.list("sm", ' '),
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids, check_sorted};
    use crate::tables::{cudnn_release, families, toolkit, toolkit_of, toolkits};
    use std::collections::BTreeSet;

    #[test]
    fn table_is_whole() {
        let columns = [
            "torch",
            "cuda",
            "cuda_version",
            "toolkit",
            "default",
            "cxx11_abi",
            "cudnn_compiled",
            "pins",
            "supply",
            "python",
            "cpython",
            "sm",
            "source",
        ];
        check(TEXT, &columns, torch_builds().len());
        check_ids(TEXT, torch_builds().iter().map(|row| row.source));
        check_sorted(torch_builds().iter().map(|row| (&row.version, &row.cuda_version)));
        for row in torch_builds() {
            assert_eq!(row.cuda, format!("cu{}", row.cuda_version.as_str().replace('.', "")));
        }
    }

    #[test]
    fn each_release_has_one_default_and_it_is_fully_pinned() {
        let releases: BTreeSet<_> = torch_builds().iter().map(|row| &row.version).collect();
        assert_eq!(releases.len(), 30);
        for release in releases {
            let row = torch_build(release.as_str(), None).unwrap();
            assert_eq!(torch_builds().iter().filter(|r| r.version == row.version && r.default).count(), 1);
            for family in ["cudart", "cublas", "cudnn", "nvrtc"] {
                assert!(row.pins.contains_key(family), "{release} {family}");
            }
        }
    }

    #[test]
    fn builds_are_found_by_tag_and_local_part() {
        assert_eq!(torch_build("2.5.1", None).unwrap().cuda, "cu124");
        assert_eq!(torch_build("2.5.1+cu118", None).unwrap().cuda, "cu118");
        assert_eq!(torch_build("2.5.1+cu118", Some("cu118")).unwrap().cuda, "cu118");
        assert_eq!(torch_build("2.5.1", Some("cu121")).unwrap().cuda, "cu121");
        for (version, cuda) in [
            ("2.5.1+cpu", None),
            ("2.5.1+cu118", Some("cu121")),
            ("2.5.2", None),
            ("9.9", None),
            ("x", None),
            ("", None),
        ] {
            assert!(torch_build(version, cuda).is_none(), "{version} {cuda:?}");
        }
    }

    #[test]
    fn pins_name_families_and_components_that_exist() {
        let known: BTreeSet<_> = families().iter().map(|row| row.family).collect();
        let components: BTreeSet<_> = toolkits().iter().flat_map(|row| row.components.keys().copied()).collect();
        let mut checked = 0;
        for row in torch_builds() {
            for family in row.pins.keys().chain(row.supply.keys()) {
                assert!(known.contains(family), "{family}");
            }
            for (family, range) in &row.pins {
                let Some(version) = range.exact() else {
                    continue;
                };
                if components.contains(family) && row.cuda_version.as_str() >= "11.7" {
                    assert!(toolkit_of(family, version).is_some(), "{} {}: {family} {version}", row.version, row.cuda);
                    checked += 1;
                }
                if *family == "cudnn" {
                    assert!(cudnn_release(version).is_some(), "cuDNN {version}");
                }
            }
        }
        assert!(checked > 500, "{checked}");
    }

    /// The pins equal the component set of the toolkit, but for what the table's comment names.
    #[test]
    fn pins_are_their_toolkits_set() {
        let mut equal = 0;
        for row in torch_builds() {
            let Some(toolkit) = row.toolkit.as_ref().and_then(toolkit) else {
                continue;
            };
            for (family, range) in &row.pins {
                let (Some(version), Some(component)) = (range.exact(), toolkit.components.get(family)) else {
                    continue;
                };
                if version == component {
                    equal += 1;
                    continue;
                }
                let named = match (row.version.as_str(), row.cuda, *family) {
                    ("2.0.0" | "2.0.1", "cu117", "cufft") => true,
                    (release, "cu126", "nvrtc") => {
                        ["2.6.0", "2.7.0", "2.7.1", "2.8.0", "2.9.0", "2.9.1", "2.10.0"].contains(&release)
                    }
                    ("2.10.0", "cu130", _) => true,
                    _ => false,
                };
                assert!(named, "{}+{}: {family} {version}, the toolkit has {component}", row.version, row.cuda);
            }
        }
        assert!(equal > 400, "{equal}");
    }

    #[test]
    fn floating_pins_are_ranges() {
        let row = torch_build("2.15.0", None).unwrap();
        let inside = |text| row.pins["nvjitlink"].contains(&Version::parse(text).unwrap());
        assert!(row.pins["nvjitlink"].exact().is_none());
        assert!(inside("13.5.37") && !inside("14.0") && !inside("13.2.0"));
    }

    #[test]
    fn supply_distinguishes_wheels_from_bundled_libraries() {
        let row = torch_build("1.13.1", None).unwrap();
        assert_eq!(row.supply_of("cudnn"), Some(Supply::Wheel));
        assert_eq!(row.supply_of("nccl"), Some(Supply::Static));
        assert_eq!(row.supply_of("nvtx"), Some(Supply::Bundled));
        assert_eq!(row.supply_of("nvshmem"), Some(Supply::Absent));
        assert_eq!(row.supply_of("npp"), None);
    }
}
