//! `data/cudnn.tsv`: the releases of cuDNN.
//!
//! Takes a version; returns its row. Never reads installed copies.

use std::sync::LazyLock;

use super::Version;
use super::table::{self, yes_no};

/// A release of cuDNN for Linux.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CudnnRow {
    /// The release, `9.1.0.70`.
    pub version: Version,
    /// The day its first Linux wheel was uploaded.
    pub uploaded: Option<&'static str>,
    /// The CUDA majors it was built for.
    pub cuda_majors: Vec<u64>,
    /// The variants for Linux on `PyPI`, `cu12`.
    pub wheels: Vec<&'static str>,
    /// Whether one of them was withdrawn.
    pub yanked: bool,
    /// The libraries it holds, by stem; empty where no wheel was opened.
    pub parts: Vec<&'static str>,
    /// The source.
    pub source: &'static str,
}

/// Every release, in order.
#[must_use]
pub fn cudnn_releases() -> &'static [CudnnRow] {
    &TABLE
}

/// The release of a version, which may be shortened as `cudnnGetVersion` reports it: `9.1.0` gives
/// the last build that begins so.
#[must_use]
pub fn cudnn_release(version: &Version) -> Option<&'static CudnnRow> {
    let exact = cudnn_releases().iter().find(|row| row.version == *version);
    exact.or_else(|| cudnn_releases().iter().rfind(|row| row.version.starts_with(version)))
}

const TEXT: &str = include_str!("../../data/cudnn.tsv");

static TABLE: LazyLock<Vec<CudnnRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        let majors = cells.list("cuda_majors", ' ');
        Some(CudnnRow {
            version: Version::parse(cells.text("cudnn")?)?,
            uploaded: cells.text("uploaded"),
            cuda_majors: majors.into_iter().map(|major| major.parse().ok()).collect::<Option<_>>()?,
            wheels: cells.list("wheels", ' '),
            yanked: yes_no(cells.text("yanked")?)?,
            parts: cells.list("parts", ' '),
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids, check_sorted};
    use crate::tables::{Level, VersionRange, family_of_stem, known_bad};

    #[test]
    fn table_is_whole() {
        let columns = ["cudnn", "uploaded", "cuda_majors", "wheels", "yanked", "parts", "source"];
        check(TEXT, &columns, cudnn_releases().len());
        check_ids(TEXT, cudnn_releases().iter().map(|row| row.source));
        check_sorted(cudnn_releases().iter().map(|row| &row.version));
    }

    #[test]
    fn parts_are_of_the_group_and_of_their_major() {
        let old = VersionRange::parse("<9").unwrap();
        for row in cudnn_releases() {
            for part in &row.parts {
                assert_eq!(family_of_stem(part).unwrap().group, Some("cudnn"), "{part}");
            }
            let trains = row.parts.iter().any(|part| part.ends_with("_train"));
            assert_eq!(trains, old.contains(&row.version) && !row.parts.is_empty(), "{}", row.version);
        }
    }

    #[test]
    fn withdrawn_releases_are_known_bad() {
        for row in cudnn_releases().iter().filter(|row| row.yanked) {
            let listed = known_bad()
                .iter()
                .any(|bad| bad.level == Level::Hard && bad.family == "cudnn" && bad.versions.contains(&row.version));
            assert!(listed, "{}", row.version);
        }
        assert_eq!(cudnn_releases().iter().filter(|row| row.yanked).count(), 1);
    }

    #[test]
    fn releases_are_found_by_the_reported_version() {
        let found = |text| cudnn_release(&Version::parse(text).unwrap()).map(|row| row.version.to_string());
        assert_eq!(found("9.1.0").as_deref(), Some("9.1.0.70"));
        assert_eq!(found("8.9.2.26").as_deref(), Some("8.9.2.26"));
        assert_eq!(found("9.99"), None);
    }
}
