//! `data/variables.tsv`: the variables of the environment that can change an answer.
//!
//! Takes a name; returns its row, if any.

use super::table;
use std::sync::LazyLock;

/// The prefix of a variable on the way from the shim to the binary, which none affects under that name.
pub const HOST_PREFIX: &str = "CUDASHIM_HOST_";

/// One variable, or all with one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariableRow {
    /// Its name, or the prefix.
    pub name: &'static str,
    /// Whether it is a prefix.
    pub prefix: bool,
    /// Its reader.
    pub read_by: &'static str,
    /// The source.
    pub source: &'static str,
}

impl VariableRow {
    /// Whether a variable matches the row.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(self.name) } else { name == self.name }
    }

    /// Whether an answer depends on it; otherwise only what is done with the answer at a start.
    #[must_use]
    pub fn changes_answers(&self) -> bool {
        self.read_by != "start"
    }
}

/// Every row, sorted by name.
#[must_use]
pub fn variables() -> &'static [VariableRow] {
    &TABLE
}

/// The row of a variable; `None` where its value changes nothing.
///
/// ```
/// use cudashim::internal::tables::variable;
/// assert!(variable("LD_LIBRARY_PATH").is_some_and(|row| !row.prefix));
/// assert!(variable("CUDA_VISIBLE_DEVICES").is_none());
/// ```
#[must_use]
pub fn variable(name: &str) -> Option<&'static VariableRow> {
    variables().iter().find(|row| row.is(name))
}

const TEXT: &str = include_str!("../../data/variables.tsv");

static TABLE: LazyLock<Vec<VariableRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        let name = cells.text("name")?;
        Some(VariableRow {
            name: name.strip_suffix('*').unwrap_or(name),
            prefix: name.ends_with('*'),
            read_by: cells.text("read_by")?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids, check_sorted};

    #[test]
    fn table_is_whole() {
        check(TEXT, &["name", "read_by", "source"], variables().len());
        check_ids(TEXT, variables().iter().map(|row| row.source));
        check_sorted(variables().iter().map(|row| row.name));
        for row in variables() {
            let plain = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
            assert!(row.name.chars().all(plain) && row.name.len() > 2, "{}", row.name);
            assert_eq!(variables().iter().filter(|other| other.is(row.name)).count(), 1, "{}", row.name);
            assert!(!row.name.starts_with(HOST_PREFIX));
        }
    }

    #[test]
    fn names_are_whole_or_begin_alike() {
        assert!(variable("UV_PYTHON").is_some() && variable("PYENV_VERSION").is_some());
        for other in ["PATHS", "XPATH", "UV", "CUDA_HOME2", "PYTHONHASHSEED", "LD_DEBUG", ""] {
            assert!(variable(other).is_none(), "{other}");
        }
    }
}
