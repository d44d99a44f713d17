//! `data/requires.tsv`: the requirements among NVIDIA's wheels.
//!
//! Takes a family; returns the families that are installed with it, for all releases.

use std::sync::LazyLock;

use super::table;

/// The families whose wheels a wheel of this family requires.
#[must_use]
pub fn required_by(family: &str) -> &'static [&'static str] {
    TABLE.iter().find(|(known, _)| *known == family).map(|(_, required)| required.as_slice()).unwrap_or_default()
}

const TEXT: &str = include_str!("../../data/requires.tsv");

static TABLE: LazyLock<Vec<(&'static str, Vec<&'static str>)>> =
    LazyLock::new(|| table::read(TEXT, |cells| Some((cells.text("family")?, cells.list("requires", ' ')))));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::families;
    use crate::tables::table::tests::{check, check_sorted};

    #[test]
    fn table_is_whole() {
        check(TEXT, &["family", "requires", "source"], TABLE.len());
        check_sorted(TABLE.iter().map(|row| row.0));
        let known = |family: &&str| families().iter().any(|row| row.family == *family);
        assert!(TABLE.iter().all(|(family, required)| known(family) && required.iter().all(known)));
        assert_eq!(required_by("cudnn"), ["cublas"]);
        assert!(required_by("cudart").is_empty());
    }
}
