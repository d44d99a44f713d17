//! `data/modules.tsv`: the Python modules that an enabled environment waits for.
//!
//! Takes a module's name, gives the name by which what it opens is known. Knows nothing of what is installed.

use std::sync::LazyLock;

use super::table;

/// A module whose import asks for CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleRow {
    /// Its top-level name.
    pub module: &'static str,
    /// The consumer of `data/dlopens.tsv` that it is, where one is known.
    pub consumer: Option<&'static str>,
}

/// All of them, sorted.
#[must_use]
pub fn modules() -> &'static [ModuleRow] {
    &TABLE
}

const TEXT: &str = include_str!("../../data/modules.tsv");

static TABLE: LazyLock<Vec<ModuleRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| Some(ModuleRow { module: cells.text("module")?, consumer: cells.text("consumer") }))
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::dlopens;
    use crate::tables::table::tests::{check, check_sorted};

    #[test]
    fn table_is_whole() {
        check(TEXT, &["module", "consumer", "source"], TABLE.len());
        check_sorted(TABLE.iter().map(|row| row.module));
        // What stands in a line of Python.
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        assert!(TABLE.iter().all(|row| plain(row.module)));
        let known = |name: &str| dlopens().iter().any(|row| row.who.trim_start_matches("python:") == name);
        assert!(TABLE.iter().filter_map(|row| row.consumer).all(known));
        assert!(TABLE.iter().any(|row| row.module == "torch"));
    }
}
