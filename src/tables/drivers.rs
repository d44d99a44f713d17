//! `data/drivers.tsv` and its companions: what a driver can run.
//!
//! Takes driver branches and CUDA majors; returns NVIDIA's facts about them. Never reads the
//! installed driver.

use std::sync::LazyLock;

use super::{Version, table};

/// A driver branch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverRow {
    /// The first number of its versions, `550`.
    pub branch: u64,
    /// The CUDA version its libcuda reports.
    pub cuda: Option<Version>,
    /// The result of `cuDriverGetVersion`, `12040`.
    pub cuda_number: Option<u32>,
    /// NVIDIA's name of its kind: `LTSB`, `PB`, ….
    pub designation: Option<&'static str>,
    /// The end of its support, if known.
    pub eol: Option<&'static str>,
    /// The source.
    pub source: &'static str,
}

/// A cuda-compat package and the branches on which it may run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompatRow {
    /// The package, `cuda-compat-12-4`.
    pub package: &'static str,
    /// Its CUDA version.
    pub cuda: Version,
    /// The driver branch it was built from.
    pub built_from: u64,
    /// The branches of kernel modules it may run on.
    pub base_branches: Vec<u64>,
    /// The source.
    pub source: &'static str,
}

/// A compute capability and the toolkits that support it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ComputeRow {
    /// The capability, `9.0`.
    pub sm: Version,
    /// The first toolkit that compiles for it.
    pub first_toolkit: Option<Version>,
    /// The last one; `None` where it is still supported, or unknown.
    pub last_toolkit: Option<Version>,
    /// The first driver branch for a GPU of it; `None`: older than the table.
    pub first_driver: Option<u64>,
    /// The last one; `None` where it is still supported.
    pub last_driver: Option<u64>,
    /// The last cuDNN for it; `None` where it is still supported.
    pub last_cudnn: Option<Version>,
    /// The kernel modules that drive it.
    pub modules: Modules,
    /// The source.
    pub source: &'static str,
}

/// The kernel modules that drive a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Modules {
    /// Both.
    Any,
    /// Only the open ones.
    Open,
    /// Only the proprietary ones.
    Proprietary,
}

impl Modules {
    pub(super) fn parse(cell: &str) -> Option<Self> {
        match cell {
            "any" => Some(Self::Any),
            "open" => Some(Self::Open),
            "proprietary" => Some(Self::Proprietary),
            _ => None,
        }
    }
}

/// Every driver branch.
#[must_use]
pub fn drivers() -> &'static [DriverRow] {
    &DRIVERS
}

/// The day that the table of branches was read, `2026-11-22`.
#[must_use]
pub fn drivers_read() -> &'static str {
    table::read_on(DRIVERS_TEXT)
}

/// The CUDA version that a driver branch reports.
#[must_use]
pub fn driver_cuda(branch: u64) -> Option<&'static Version> {
    drivers().iter().find(|row| row.branch == branch)?.cuda.as_ref()
}

/// The oldest Linux driver on which a CUDA major runs at all.
///
/// See [minor-version
/// compatibility](https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html).
#[must_use]
pub fn driver_floor(cuda_major: u64) -> Option<&'static Version> {
    FLOORS.iter().find(|(major, _)| *major == cuda_major).map(|(_, driver)| driver)
}

/// Every cuda-compat package.
#[must_use]
pub fn forward_compat() -> &'static [CompatRow] {
    &COMPAT
}

/// Every compute capability.
#[must_use]
pub fn compute_capabilities() -> &'static [ComputeRow] {
    &COMPUTE
}

const DRIVERS_TEXT: &str = include_str!("../../data/drivers.tsv");
const FLOORS_TEXT: &str = include_str!("../../data/driver_floors.tsv");
const COMPAT_TEXT: &str = include_str!("../../data/driver_compat.tsv");
const COMPUTE_TEXT: &str = include_str!("../../data/compute.tsv");

static DRIVERS: LazyLock<Vec<DriverRow>> = LazyLock::new(|| {
    table::read(DRIVERS_TEXT, |cells| {
        Some(DriverRow {
            branch: cells.text("branch")?.parse().ok()?,
            cuda: cells.maybe("cuda", Version::parse)?,
            cuda_number: cells.maybe("cuda_number", |cell| cell.parse().ok())?,
            designation: cells.text("designation"),
            eol: cells.text("eol"),
            source: cells.text("source")?,
        })
    })
});

static FLOORS: LazyLock<Vec<(u64, Version)>> = LazyLock::new(|| {
    table::read(FLOORS_TEXT, |cells| {
        cells.text("source")?;
        Some((cells.text("cuda_major")?.parse().ok()?, Version::parse(cells.text("driver")?)?))
    })
});

static COMPAT: LazyLock<Vec<CompatRow>> = LazyLock::new(|| {
    table::read(COMPAT_TEXT, |cells| {
        let branches = cells.list("base_branches", ' ');
        Some(CompatRow {
            package: cells.text("compat")?,
            cuda: Version::parse(cells.text("cuda")?)?,
            built_from: cells.text("built_from")?.parse().ok()?,
            base_branches: branches.into_iter().map(|branch| branch.parse().ok()).collect::<Option<_>>()?,
            source: cells.text("source")?,
        })
    })
});

static COMPUTE: LazyLock<Vec<ComputeRow>> = LazyLock::new(|| {
    table::read(COMPUTE_TEXT, |cells| {
        Some(ComputeRow {
            sm: Version::parse(cells.text("sm")?)?,
            first_toolkit: cells.maybe("first_toolkit", Version::parse)?,
            last_toolkit: cells.maybe("last_toolkit", Version::parse)?,
            first_driver: cells.maybe("first_driver", |cell| cell.parse().ok())?,
            last_driver: cells.maybe("last_driver", |cell| cell.parse().ok())?,
            last_cudnn: cells.maybe("last_cudnn", Version::parse)?,
            modules: Modules::parse(cells.text("modules")?)?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids, check_sorted};
    use crate::tables::{toolkits, torch_builds};

    #[test]
    fn tables_are_whole() {
        check(DRIVERS_TEXT, &["branch", "cuda", "cuda_number", "designation", "eol", "source"], drivers().len());
        check_ids(DRIVERS_TEXT, drivers().iter().map(|row| row.source));
        check_sorted(drivers().iter().map(|row| row.branch));

        check(FLOORS_TEXT, &["cuda_major", "driver", "source"], FLOORS.len());
        check_sorted(FLOORS.iter().map(|(major, _)| major));

        check(COMPAT_TEXT, &["compat", "cuda", "built_from", "base_branches", "source"], forward_compat().len());
        check_ids(COMPAT_TEXT, forward_compat().iter().map(|row| row.source));
        check_sorted(forward_compat().iter().map(|row| &row.cuda));

        let columns =
            ["sm", "first_toolkit", "last_toolkit", "first_driver", "last_driver", "last_cudnn", "modules", "source"];
        check(COMPUTE_TEXT, &columns, compute_capabilities().len());
        check_ids(COMPUTE_TEXT, compute_capabilities().iter().map(|row| row.source));
        check_sorted(compute_capabilities().iter().map(|row| &row.sm));
    }

    #[test]
    fn floors_are_nvidias() {
        let floor = |major| driver_floor(major).map(Version::as_str);
        assert_eq!(floor(11), Some("450.80.02"));
        assert_eq!(floor(12), Some("525.60.13"));
        assert_eq!(floor(13), Some("580.65.06"));
        assert_eq!(floor(14), None);
    }

    #[test]
    fn a_branch_reports_the_toolkit_that_first_bundled_it() {
        assert_eq!(driver_cuda(550).map(Version::as_str), Some("12.4"));
        assert_eq!(driver_cuda(565), None);
        for row in drivers() {
            let (Some(cuda), Some(number)) = (&row.cuda, row.cuda_number) else {
                continue;
            };
            // cuda.h: CUDA_VERSION is 1000 * major + 10 * minor.
            assert_eq!(u64::from(number), cuda.major() * 1000 + cuda.minor().unwrap() * 10);
            let first = toolkits()
                .iter()
                .find(|toolkit| toolkit.driver_bundled.as_ref().is_some_and(|driver| driver.major() == row.branch));
            if let Some(first) = first {
                assert!(first.toolkit.starts_with(cuda), "{}: {} and {cuda}", row.branch, first.toolkit);
            }
        }
    }

    #[test]
    fn compat_packages_are_newer_than_their_branches() {
        for row in forward_compat() {
            assert_eq!(driver_cuda(row.built_from), Some(&row.cuda));
            assert!(row.base_branches.iter().all(|base| *base < row.built_from), "{}", row.package);
        }
    }

    #[test]
    fn torch_is_built_for_capabilities_of_its_toolkit() {
        for build in torch_builds() {
            for sm in &build.sm {
                let sm = Version::parse(sm).unwrap();
                let row = compute_capabilities().iter().find(|row| row.sm == sm).unwrap_or_else(|| panic!("{sm}"));
                let late = row.last_toolkit.as_ref().is_some_and(|last| &build.cuda_version > last);
                let early = row.first_toolkit.as_ref().is_some_and(|first| &build.cuda_version < first);
                assert!(!late && !early, "{}+{} sm {sm}", build.version, build.cuda);
            }
        }
    }
}
