//! `data/frameworks.tsv`: the frameworks that load NVIDIA's libraries, and how each finds them.
//!
//! Takes the name of a framework, a module or a distribution; gives its row. What it opens by name is in
//! `data/dlopens.tsv`. Knows nothing of what is installed.

use std::sync::LazyLock;

use super::table;
use super::wildcard::wildcard;

/// Where a framework looks for a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Copies in its own wheel.
    Bundle,
    /// The run paths of its files, which name NVIDIA's wheels.
    RunPath,
    /// The files of NVIDIA's wheels, which it opens by path.
    Wheels,
    /// cuda-pathfinder.
    Pathfinder,
    /// What torch maps, which it imports first.
    Torch,
    /// A directory that a variable names.
    Toolkit,
    /// ld.so's search for the name.
    Name,
}

impl Search {
    /// As the table has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::RunPath => "run-path",
            Self::Wheels => "wheels",
            Self::Pathfinder => "pathfinder",
            Self::Torch => "torch",
            Self::Toolkit => "toolkit",
            Self::Name => "name",
        }
    }

    /// In words, after `by`.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Bundle => "its own copies",
            Self::RunPath => "its run paths",
            Self::Wheels => "the files of NVIDIA's wheels",
            Self::Pathfinder => "cuda-pathfinder",
            Self::Torch => "importing torch first",
            Self::Toolkit => "a toolkit",
            Self::Name => "ld.so's search",
        }
    }
}

/// What a framework does without a library that it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// The call, or the import, fails.
    Error,
    /// It prints a warning, and goes on.
    Warning,
    /// It goes on, and prints nothing.
    Silent,
}

/// A framework.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FrameworkRow {
    /// The common name: `onnxruntime`.
    pub name: &'static str,
    /// The name in a sentence: `ONNX Runtime`.
    pub called: &'static str,
    /// The top-level modules whose import maps a library of NVIDIA's; none where it imports another framework first.
    pub modules: Vec<&'static str>,
    /// Its distributions, normalised, with `*`.
    pub packages: Vec<&'static str>,
    /// The opener that it is in `data/dlopens.tsv`.
    pub opens: Option<&'static str>,
    /// The files, below site-packages, whose code opens the names: the first that is there, with `*`.
    pub openers: Vec<&'static str>,
    /// Where it looks, in order.
    pub finds: Vec<Search>,
    /// The extras of its metadata that require NVIDIA's wheels.
    pub extras: Vec<&'static str>,
    /// The variables that change where it looks.
    pub variables: Vec<&'static str>,
    /// What it does without a library.
    pub missing: Without,
    /// The text that it prints then, or a part of it.
    pub says: Option<&'static str>,
    /// What follows, as a clause.
    pub then: Option<&'static str>,
    /// The source.
    pub source: &'static str,
}

impl FrameworkRow {
    /// Whether a distribution, by its normalised name, is this framework or a part of it.
    #[must_use]
    pub fn is_package(&self, distribution: &str) -> bool {
        self.packages.iter().any(|pattern| wildcard(pattern.as_bytes(), distribution.as_bytes()))
    }

    /// Whether it looks there.
    #[must_use]
    pub fn looks(&self, search: Search) -> bool {
        self.finds.contains(&search)
    }
}

/// Every framework, sorted by name.
#[must_use]
pub fn frameworks() -> &'static [FrameworkRow] {
    &TABLE
}

/// The framework of a common name.
#[must_use]
pub fn framework(name: &str) -> Option<&'static FrameworkRow> {
    frameworks().iter().find(|row| row.name == name)
}

/// The framework of a top-level module.
#[must_use]
pub fn framework_of_module(module: &str) -> Option<&'static FrameworkRow> {
    frameworks().iter().find(|row| row.modules.contains(&module))
}

fn search(cell: &str) -> Option<Search> {
    Some(match cell {
        "bundle" => Search::Bundle,
        "run-path" => Search::RunPath,
        "wheels" => Search::Wheels,
        "pathfinder" => Search::Pathfinder,
        "torch" => Search::Torch,
        "toolkit" => Search::Toolkit,
        "name" => Search::Name,
        _ => return None,
    })
}

fn without(cell: &str) -> Option<Without> {
    Some(match cell {
        "error" => Without::Error,
        "warning" => Without::Warning,
        "silent" => Without::Silent,
        _ => return None,
    })
}

const TEXT: &str = include_str!("../../data/frameworks.tsv");

static TABLE: LazyLock<Vec<FrameworkRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(FrameworkRow {
            name: cells.text("name")?,
            called: cells.text("called")?,
            modules: cells.list("modules", ' '),
            packages: cells.list("packages", ' '),
            opens: cells.text("opens"),
            openers: cells.list("opener", ' '),
            finds: cells.list("finds", ' ').into_iter().map(search).collect::<Option<_>>()?,
            extras: cells.list("extras", ' '),
            variables: cells.list("variables", ' '),
            missing: without(cells.text("missing")?)?,
            says: cells.text("says"),
            then: cells.text("then"),
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::dlopens;
    use crate::tables::table::tests::{check, check_sorted};
    use std::collections::BTreeSet;

    #[test]
    fn table_is_whole() {
        let columns = [
            "name",
            "called",
            "modules",
            "packages",
            "opens",
            "opener",
            "finds",
            "extras",
            "variables",
            "missing",
            "says",
            "then",
            "source",
        ];
        check(TEXT, &columns, TABLE.len());
        check_sorted(TABLE.iter().map(|row| row.name));
        // What stands in a line of Python.
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let modules: Vec<&str> = TABLE.iter().flat_map(|row| row.modules.iter().copied()).collect();
        assert!(modules.iter().all(|module| plain(module)));
        assert_eq!(modules.len(), modules.iter().collect::<BTreeSet<_>>().len());
        assert!(TABLE.iter().all(|row| !row.packages.is_empty() && !row.finds.is_empty()));
        assert!(TABLE.iter().filter(|row| row.missing != Without::Error).all(|row| row.then.is_some()));
    }

    #[test]
    fn every_python_opener_is_a_framework() {
        let openers: BTreeSet<&str> = dlopens().iter().map(|row| row.who).collect();
        for row in frameworks() {
            assert!(row.opens.is_none_or(|who| openers.contains(who)), "{}", row.name);
        }
        for who in openers.iter().filter(|who| who.starts_with("python:")) {
            assert!(frameworks().iter().any(|row| row.opens == Some(*who)), "{who}");
        }
    }

    #[test]
    fn packages_are_recognised_by_their_names() {
        let of = |package: &str| frameworks().iter().find(|row| row.is_package(package)).map(|row| row.name);
        for (package, name) in [
            ("cupy-cuda13x", Some("cupy")),
            ("jax-cuda12-plugin", Some("jax")),
            ("paddlepaddle-gpu", Some("paddle")),
            ("onnxruntime-gpu", Some("onnxruntime")),
            ("libcudf-cu12", Some("cudf")),
            ("torch", Some("torch")),
            ("torch-scatter", None),
            ("cupyx", None),
        ] {
            assert_eq!(of(package), name, "{package}");
        }
        assert_eq!(framework_of_module("cupy_backends").map(|row| row.name), Some("cupy"));
        assert_eq!(framework("tensorflow").map(|row| row.called), Some("TensorFlow"));
    }
}
