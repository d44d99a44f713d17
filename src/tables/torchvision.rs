//! `data/torchvision.tsv`: the torchvision of each torch.
//!
//! Takes a torch release; returns the torchvision that was built for it. Never reads installed copies.

use std::sync::LazyLock;

use super::{Version, table};

/// A release of torchvision.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TorchvisionRow {
    /// The release, `0.20.1`.
    pub version: Version,
    /// The only torch it runs with, `2.5.1`.
    pub torch: Version,
    /// The source.
    pub source: &'static str,
}

/// Every row, by release.
#[must_use]
pub fn torchvisions() -> &'static [TorchvisionRow] {
    &TABLE
}

/// The torchvision for a torch; the CUDA tag does not matter, since both have the same. Of several, the newest.
#[must_use]
pub fn torchvision_for(torch: &str) -> Option<&'static TorchvisionRow> {
    let release = Version::parse(torch.split('+').next()?)?;
    torchvisions().iter().rfind(|row| row.torch == release)
}

const TEXT: &str = include_str!("../../data/torchvision.tsv");

static TABLE: LazyLock<Vec<TorchvisionRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(TorchvisionRow {
            version: Version::parse(cells.text("torchvision")?)?,
            torch: Version::parse(cells.text("torch")?)?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids};
    use crate::tables::torch_builds;

    #[test]
    fn table_is_whole() {
        check(TEXT, &["torchvision", "torch", "source"], torchvisions().len());
        check_ids(TEXT, torchvisions().iter().map(|row| row.source));
        assert!(torchvisions().is_sorted_by(|one, other| one.version < other.version && one.torch <= other.torch));
    }

    #[test]
    fn nearly_every_torch_has_one() {
        let none = torch_builds().iter().filter(|row| torchvision_for(row.version.as_str()).is_none());
        let none: std::collections::BTreeSet<&str> = none.map(|row| row.version.as_str()).collect();
        // No metadata names it: 0.29.0 requires 2.14.0.
        assert_eq!(none, ["2.14.1"].into());
        assert_eq!(torchvision_for("2.5.1+cu124").unwrap().version.as_str(), "0.20.1");
        assert!(torchvision_for("0.1").is_none() && torchvision_for("").is_none());
    }
}
