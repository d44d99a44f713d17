//! `data/toolkits.tsv` and `data/sonames.tsv`: the toolkit of a component, and the sonames of its
//! libraries.
//!
//! Takes component versions and CUDA majors; returns rows. Never reads installed toolkits.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{Version, family_of_stem, table};

/// A release of the CUDA toolkit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolkitRow {
    /// The release, `12.4.1`.
    pub toolkit: Version,
    /// The day of its release, `2024-04-03`.
    pub released: Option<&'static str>,
    /// The versions of its components, by family.
    pub components: BTreeMap<&'static str, Version>,
    /// The Linux driver in its installer.
    pub driver_bundled: Option<Version>,
    /// The oldest Linux driver that it runs on, by minor-version compatibility.
    pub driver_min: Version,
    /// The source.
    pub source: &'static str,
}

/// A soname that NVIDIA's wheels for a CUDA major hold.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SonameRow {
    /// The CUDA major.
    pub cuda_major: u64,
    /// The stem of the library, as in the families' table.
    pub stem: &'static str,
    /// The soname.
    pub soname: &'static str,
    /// The wheels that hold it.
    pub source: &'static str,
}

/// Every toolkit, by release.
#[must_use]
pub fn toolkits() -> &'static [ToolkitRow] {
    &TOOLKITS
}

/// The toolkit of a release.
#[must_use]
pub fn toolkit(release: &Version) -> Option<&'static ToolkitRow> {
    toolkits().iter().find(|row| row.toolkit == *release)
}

/// The first toolkit that shipped this version of a component: cublas 12.4.5.8 came with 12.4.1.
///
/// The version may be shortened, as libraries report it (`12.4.5`). Of several releases with
/// the same build, returns the oldest; search [`toolkits`] for the others.
#[must_use]
pub fn toolkit_of(component: &str, version: &Version) -> Option<&'static ToolkitRow> {
    let found = |exact: bool| {
        toolkits().iter().find(|row| {
            let ours = row.components.get(component);
            ours.is_some_and(|ours| if exact { ours == version } else { ours.starts_with(version) })
        })
    };
    found(true).or_else(|| found(false))
}

/// Every soname, by CUDA major, stem and version.
#[must_use]
pub fn sonames() -> &'static [SonameRow] {
    &SONAMES
}

/// The sonames of a family in a CUDA major: `cublas` of 12 has three.
pub fn sonames_of(cuda_major: u64, family: &str) -> impl Iterator<Item = &'static str> {
    sonames()
        .iter()
        .filter(move |row| row.cuda_major == cuda_major)
        .filter(move |row| family_of_stem(row.stem).is_some_and(|ours| ours.family == family))
        .map(|row| row.soname)
}

const TEXT: &str = include_str!("../../data/toolkits.tsv");
const SONAMES_TEXT: &str = include_str!("../../data/sonames.tsv");

const COMPONENTS: [&str; 11] =
    ["cudart", "cublas", "cufft", "curand", "cusolver", "cusparse", "nvjitlink", "nvrtc", "cupti", "nvtx", "cufile"];

static TOOLKITS: LazyLock<Vec<ToolkitRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        let mut components = BTreeMap::new();
        for family in COMPONENTS {
            if let Some(version) = cells.maybe(family, Version::parse)? {
                components.insert(family, version);
            }
        }
        Some(ToolkitRow {
            toolkit: Version::parse(cells.text("toolkit")?)?,
            released: cells.text("released"),
            components,
            driver_bundled: cells.maybe("driver_bundled", Version::parse)?,
            driver_min: Version::parse(cells.text("driver_min")?)?,
            source: cells.text("source")?,
        })
    })
});

static SONAMES: LazyLock<Vec<SonameRow>> = LazyLock::new(|| {
    table::read(SONAMES_TEXT, |cells| {
        Some(SonameRow {
            cuda_major: cells.text("cuda_major")?.parse().ok()?,
            stem: cells.text("stem")?,
            soname: cells.text("soname")?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids, check_sorted};
    use crate::tables::{driver_floor, parse_library_name};

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn tables_are_whole() {
        let mut columns = vec!["toolkit", "released"];
        columns.extend(COMPONENTS);
        columns.extend(["driver_bundled", "driver_min", "source"]);
        check(TEXT, &columns, toolkits().len());
        check_ids(TEXT, toolkits().iter().map(|row| row.source));
        check_sorted(toolkits().iter().map(|row| &row.toolkit));
        check(SONAMES_TEXT, &["cuda_major", "stem", "soname", "source"], sonames().len());
        let version = |row: &SonameRow| parse_library_name(row.soname).and_then(|name| name.version);
        check_sorted(sonames().iter().map(|row| (row.cuda_major, row.stem, version(row))));
    }

    #[test]
    fn the_floor_of_a_toolkit_is_that_of_its_major() {
        for row in toolkits() {
            assert_eq!(Some(&row.driver_min), driver_floor(row.toolkit.major()), "{}", row.toolkit);
        }
    }

    /// Up to the third number: cuSOLVER's fourth fell from 11.5.2 (11.3.2.107) to 11.6.0 (11.3.2.55).
    #[test]
    fn versions_grow_with_the_toolkit() {
        let head = |version: &Version| version.numbers().iter().take(3).copied().collect::<Vec<_>>();
        for pair in toolkits().windows(2) {
            for (family, older) in &pair[0].components {
                let grown = pair[1].components.get(family).is_none_or(|newer| head(newer) >= head(older));
                assert!(grown, "{family} {}", pair[1].toolkit);
            }
        }
    }

    #[test]
    fn components_resolve_to_their_toolkit() {
        let cases = [
            ("cublas", "12.4.5.8", "12.4.1"),
            ("cublas", "12.4.5", "12.4.1"),
            ("cudart", "11.7.99", "11.7.1"),
            ("nvjitlink", "12.1.105", "12.1.1"),
            ("cufft", "11.3.0.4", "12.6.2"),
            ("cublas", "13.4.1.3", "13.2.2"),
        ];
        for (component, version, toolkit) in cases {
            assert_eq!(toolkit_of(component, &v(version)).unwrap().toolkit, v(toolkit), "{component} {version}");
        }
        assert!(toolkit_of("cublas", &v("12.4.5.9")).is_none());
        assert!(toolkit_of("cudnn", &v("9.1.0.70")).is_none());
        assert!(toolkit(&v("12.7.0")).is_none());
    }

    #[test]
    fn sonames_parse_to_their_own_stem() {
        for row in sonames() {
            assert_eq!(parse_library_name(row.soname).unwrap().stem(), row.stem);
        }
    }

    #[test]
    fn sonames_of_a_family() {
        let names = |major, family| sonames_of(major, family).collect::<Vec<_>>();
        assert_eq!(names(12, "cublas"), ["libcublas.so.12", "libcublasLt.so.12", "libnvblas.so.12"]);
        assert_eq!(names(11, "cudart"), ["libcudart.so.11.0"]);
        assert_eq!(names(13, "cusparse"), names(12, "cusparse"));
        assert_eq!(names(11, "nvjitlink"), [""; 0]);
    }
}
