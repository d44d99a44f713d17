//! `data/first_seen.tsv`: the symbols that a release of a library added.
//!
//! Takes a library's stem, soname and exports; returns the releases between which it must be. Never reads
//! files.

use std::sync::LazyLock;

use super::{Version, table};

/// A symbol, and the release that added it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FirstSeenRow {
    /// The library, as in the families' table.
    pub stem: &'static str,
    /// Its soname: another major has other symbols.
    pub soname: &'static str,
    /// The oldest release known to export the symbol; all later ones do.
    pub release: Version,
    /// The newest older release, known not to.
    pub without: Version,
    /// The symbol.
    pub symbol: &'static str,
    /// The source.
    pub source: &'static str,
}

/// The place of a copy among the releases of its library.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bracket {
    /// It is newer than this release: it exports later symbols.
    pub above: Option<Version>,
    /// The oldest release that exports as much as it does.
    pub from: Option<Version>,
    /// It is older than this release: it lacks the symbols of it.
    pub below: Option<Version>,
    /// A symbol that proves it.
    pub because: &'static str,
}

/// Every row, by stem, soname and release.
#[must_use]
pub fn first_seen() -> &'static [FirstSeenRow] {
    &TABLE
}

/// The place of a copy that exports the symbols for which `exports` is true; `None` where the table has no row for it,
/// or the copy has a later release's symbols and lacks an earlier one's, as no release does.
pub fn bracket(stem: &str, soname: &str, exports: impl Fn(&str) -> bool) -> Option<Bracket> {
    let mut found: Option<Bracket> = None;
    for row in first_seen().iter().filter(|row| row.stem == stem && row.soname == soname) {
        let found = found.get_or_insert(Bracket { above: None, from: None, below: None, because: row.symbol });
        match (exports(row.symbol), &found.below) {
            (true, None) => {
                (found.above, found.from, found.because) =
                    (Some(row.without.clone()), Some(row.release.clone()), row.symbol);
            }
            (true, Some(_)) => return None,
            (false, None) => found.below = Some(row.release.clone()),
            (false, Some(_)) => {}
        }
    }
    // A copy with only some symbols of a release is not one of the table's.
    found.filter(|found| found.below.is_none() || found.below != found.from)
}

const TEXT: &str = include_str!("../../data/first_seen.tsv");

static TABLE: LazyLock<Vec<FirstSeenRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(FirstSeenRow {
            stem: cells.text("stem")?,
            soname: cells.text("soname")?,
            release: Version::parse(cells.text("release")?)?,
            without: Version::parse(cells.text("without")?)?,
            symbol: cells.text("symbol")?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::parse_library_name;
    use crate::tables::table::tests::{check, check_ids, check_sorted};

    #[test]
    fn table_is_whole() {
        check(TEXT, &["stem", "soname", "release", "without", "symbol", "source"], first_seen().len());
        check_ids(TEXT, first_seen().iter().map(|row| row.source));
        check_sorted(first_seen().iter().map(|row| (row.stem, row.soname, &row.release, row.symbol)));
        for row in first_seen() {
            assert!(row.without < row.release, "{}", row.symbol);
            assert_eq!(parse_library_name(row.soname).unwrap().stem(), row.stem);
        }
        // Releases are adjacent: no row of the library is between `without` and `release`.
        for pair in first_seen().windows(2).filter(|pair| pair[0].soname == pair[1].soname) {
            assert!(pair[0].release == pair[1].release || pair[0].release <= pair[1].without, "{}", pair[1].symbol);
        }
    }

    #[test]
    fn a_copy_is_between_the_symbols_it_has_and_lacks() {
        let cudart = |symbols: &[&str]| bracket("cudart", "libcudart.so.12", |symbol| symbols.contains(&symbol));
        let up_to = |release: &str| {
            let release = Version::parse(release).unwrap();
            let rows = first_seen().iter().filter(|row| row.stem == "cudart" && row.release <= release);
            rows.map(|row| row.symbol).collect::<Vec<_>>()
        };
        let texts = |bracket: Bracket| {
            [bracket.above, bracket.from, bracket.below].map(|v| v.map_or("-".to_owned(), |v| v.to_string())).join(" ")
        };
        assert_eq!(texts(cudart(&[]).unwrap()), "- - 12.1.105");
        assert_eq!(texts(cudart(&up_to("12.4.127")).unwrap()), "12.3.101 12.4.127 12.5.82");
        assert_eq!(texts(cudart(&up_to("12.9.79")).unwrap()), "12.6.77 12.8.90 -");
        // A later release's symbols without an earlier one's.
        assert_eq!(cudart(&["cudaGetDriverEntryPointByVersion"]), None);
        assert_eq!(bracket("cudart", "libcudart.so.10.2", |_| true), None);
    }
}
