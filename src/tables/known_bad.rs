//! `data/known_bad.tsv`: releases and pairs that break although no symbol is undefined.
//!
//! Takes the versions of a set; returns the entries that apply. Conditions beyond versions (a
//! device, a number of devices, the build) are returned to the caller, not checked here.

use std::sync::LazyLock;

use super::{Version, VersionRange, table};

/// A release, or a pair of releases, that is known to be bad.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownBad {
    /// The name of the entry, `cudnn-9.10.0-enum`.
    pub id: &'static str,
    /// Whether versions alone suffice.
    pub level: Level,
    /// The day of the source, or of the fact.
    pub date: &'static str,
    /// The family.
    pub family: &'static str,
    /// Its bad versions.
    pub versions: VersionRange,
    /// The family that it conflicts with, and the versions of that.
    pub with: Option<(&'static str, VersionRange)>,
    /// A further condition.
    pub needs: Option<(Need, VersionRange)>,
    /// The fact in one clause, for the user.
    pub says: &'static str,
    /// The source.
    pub source: &'static str,
}

impl KnownBad {
    /// Whether it applies to a set with these versions, [`KnownBad::needs`] aside. `version_of` returns
    /// the version of a family in the set.
    #[must_use]
    pub fn applies<'v>(&self, version_of: impl Fn(&str) -> Option<&'v Version>) -> bool {
        let inside = |family: &str, range: &VersionRange| version_of(family).is_some_and(|v| range.contains(v));
        let with = self.with.as_ref().is_none_or(|(family, range)| inside(family, range));
        with && inside(self.family, &self.versions)
    }
}

/// How certain a known-bad entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Library versions alone decide: such a set is never chosen.
    Hard,
    /// A further condition decides: report it.
    Warn,
}

/// The condition of a known-bad entry beyond the versions of libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A device of this compute capability.
    ComputeCapability,
    /// At least this many devices in use.
    Devices,
    /// A program that was compiled with this version of the library.
    CompiledWith,
}

/// Every entry, by id.
#[must_use]
pub fn known_bad() -> &'static [KnownBad] {
    &TABLE
}

const TEXT: &str = include_str!("../../data/known_bad.tsv");

static TABLE: LazyLock<Vec<KnownBad>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        let need = |cell| match cell {
            "sm" => Some(Need::ComputeCapability),
            "gpus" => Some(Need::Devices),
            "build" => Some(Need::CompiledWith),
            _ => None,
        };
        Some(KnownBad {
            id: cells.text("id")?,
            level: match cells.text("level")? {
                "hard" => Level::Hard,
                "warn" => Level::Warn,
                _ => return None,
            },
            date: cells.text("date")?,
            family: cells.text("family")?,
            versions: VersionRange::parse(cells.text("versions")?)?,
            with: both(cells.text("with_family"), cells.maybe("with_versions", VersionRange::parse)?)?,
            needs: both(cells.maybe("needs", need)?, cells.maybe("is", VersionRange::parse)?)?,
            says: cells.text("says")?,
            source: cells.text("source")?,
        })
    })
});

/// Two cells that are known together or not at all.
#[expect(clippy::option_option, reason = "unknown and malformed are different answers")]
fn both<A, B>(a: Option<A>, b: Option<B>) -> Option<Option<(A, B)>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Some((a, b))),
        (None, None) => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::families;
    use crate::tables::table::tests::{check, check_sorted};

    #[test]
    fn table_is_whole() {
        let columns = [
            "id",
            "level",
            "date",
            "family",
            "versions",
            "with_family",
            "with_versions",
            "needs",
            "is",
            "says",
            "source",
        ];
        check(TEXT, &columns, known_bad().len());
        check_sorted(known_bad().iter().map(|row| row.id));
        let known = |family| families().iter().any(|row| row.family == family);
        for row in known_bad() {
            assert!(known(row.family) && row.with.as_ref().is_none_or(|(family, _)| known(family)), "{}", row.id);
            assert!(row.id.starts_with(row.family), "{}", row.id);
            assert_eq!(row.date.len(), "2026-11-22".len());
            // Versions alone decide hard entries, so they have no other condition.
            assert_eq!(row.level == Level::Hard, row.needs.is_none(), "{}", row.id);
            assert!(!row.says.ends_with('.'), "{}", row.says);
        }
    }

    fn ids(set: &[(&str, &str)]) -> Vec<&'static str> {
        let set: Vec<_> = set.iter().map(|(family, v)| (*family, Version::parse(v).unwrap())).collect();
        let version_of = |family: &str| set.iter().find(|(ours, _)| *ours == family).map(|(_, v)| v);
        known_bad().iter().filter(|row| row.applies(version_of)).map(|row| row.id).collect()
    }

    #[test]
    fn entries_apply_to_their_versions() {
        assert_eq!(ids(&[("cudnn", "9.25.0.15")]), ["cudnn-9.11-pre-turing", "cudnn-9.25.0.15-yanked"]);
        assert_eq!(ids(&[("cudnn", "9.10.0.56")]), ["cudnn-9.10.0-enum"]);
        assert_eq!(ids(&[("cublas", "12.4.5.8"), ("cudnn", "9.1.0.70")]), [""; 0]);
        assert_eq!(
            ids(&[("cublas", "12.9.1.4"), ("cudnn", "9.1.0.70")]),
            ["cublas-12.8-tmem", "cudnn-9.10.1-cublaslt-12.9"]
        );
        assert_eq!(ids(&[("cublas", "13.2.0.9")]), [""; 0]);
        assert_eq!(ids(&[]), [""; 0]);
    }
}
