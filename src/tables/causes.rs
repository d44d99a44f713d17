//! `data/causes.tsv`: how to distinguish kinds of findings without the machine, and their consequences.
//!
//! Takes the id of a finding; returns the tests that confirm it, the shortest first, and the ids of its consequences.
//! Never reads the machine.

use std::sync::LazyLock;

use super::table;

/// A kind of finding, with what distinguishes it.
#[derive(Debug)]
struct CauseRow {
    id: &'static str,
    brings: Vec<&'static str>,
    tests: Vec<&'static str>,
}

/// Its consequences: kinds that follow it where a text has both.
#[must_use]
pub fn brings(id: &str) -> &'static [&'static str] {
    row(id).map_or(&[], |row| &row.brings)
}

/// The tests that confirm it, shortest first; each names a cause where a kind has several.
#[must_use]
pub fn tests_of(id: &str) -> &'static [&'static str] {
    row(id).map_or(&[], |row| &row.tests)
}

fn row(id: &str) -> Option<&'static CauseRow> {
    let at = TABLE.binary_search_by(|row| row.id.cmp(id)).ok()?;
    TABLE.get(at)
}

const TEXT: &str = include_str!("../../data/causes.tsv");

static TABLE: LazyLock<Vec<CauseRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(CauseRow {
            id: cells.text("id")?,
            brings: cells.list("brings", ' '),
            tests: cells.text("tests").map_or_else(Vec::new, |cell| cell.split(" || ").collect()),
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::finding_row;
    use crate::tables::table::tests::{check, check_sorted};
    use std::collections::BTreeSet;

    #[test]
    fn table_is_whole() {
        check(TEXT, &["id", "brings", "tests", "source"], TABLE.len());
        check_sorted(TABLE.iter().map(|row| row.id));
        for row in TABLE.iter() {
            assert!(row.brings.iter().chain([&row.id]).all(|id| finding_row(id).is_some()), "{row:?}");
            assert!(!row.brings.is_empty() || !row.tests.is_empty(), "{row:?}");
            assert!(row.tests.iter().all(|test| !test.ends_with('.') && test.contains('`')), "{row:?}");
        }
    }

    #[test]
    fn no_kind_is_its_own_consequence() {
        for row in TABLE.iter() {
            let (mut seen, mut queue) = (BTreeSet::new(), row.brings.clone());
            while let Some(id) = queue.pop() {
                assert_ne!(id, row.id, "a circle");
                if seen.insert(id) {
                    queue.extend(brings(id));
                }
            }
        }
    }
}
