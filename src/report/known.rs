//! The frameworks that are known by name: text, or JSON (`docs/json-schema/frameworks.json`).
//!
//! Takes the rows of `data/frameworks.tsv`, each with what is installed of it; gives the report. Reads nothing.

use super::layout::Page;
use super::{SCHEMA, Width, sanitized};
use crate::tables::{FrameworkRow, Without};
use serde::Serialize;

/// The report of `check --list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The frameworks, in the order of the table.
    pub frameworks: Vec<KnownFramework>,
}

/// A framework, and what is installed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownFramework {
    /// The name: `check NAME`.
    pub name: &'static str,
    /// The name in a sentence.
    pub called: &'static str,
    /// Its packages that are installed in the environment.
    pub installed: Vec<InstalledPackage>,
    /// Where it looks for libraries, in order.
    pub finds: Vec<&'static str>,
    /// What it does without a library that it opens: `error`, `warning`, `silent`.
    pub missing: &'static str,
    /// The variables that change where it looks.
    pub variables: Vec<&'static str>,
    /// The page where this can be read.
    pub source: &'static str,
    #[serde(skip)]
    without: &'static str,
    #[serde(skip)]
    says: Vec<&'static str>,
}

/// A package of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledPackage {
    /// Its normalised name.
    pub name: String,
    /// Its release.
    pub version: String,
}

impl InstalledPackage {
    /// A release of a package.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }
}

impl KnownFramework {
    /// The row of a framework, with what is installed of it.
    #[must_use]
    pub fn new(row: &FrameworkRow, installed: Vec<InstalledPackage>) -> Self {
        let (missing, without) = match row.missing {
            Without::Error => ("error", "fails without one"),
            Without::Warning => ("warning", "warns without one"),
            Without::Silent => ("silent", "goes on silently without one"),
        };
        Self {
            name: row.name,
            called: row.called,
            installed,
            finds: row.finds.iter().map(|search| search.name()).collect(),
            missing,
            variables: row.variables.clone(),
            source: row.source,
            without,
            says: row.finds.iter().map(|search| search.says()).collect(),
        }
    }
}

impl KnownReport {
    /// The report of these.
    #[must_use]
    pub fn new(frameworks: Vec<KnownFramework>) -> Self {
        Self { schema: SCHEMA, frameworks }
    }

    /// A line for each: its name, what is installed of it, where it looks for libraries, what it does without one.
    #[must_use]
    pub fn text(&self, width: Width) -> String {
        let mut page = Page::new(width);
        let column = self.frameworks.iter().map(|known| known.name.len()).max().unwrap_or_default();
        for known in &self.frameworks {
            let packages: Vec<String> =
                known.installed.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
            let here = if packages.is_empty() { "not installed".to_owned() } else { sanitized(&packages.join(", ")) };
            let moved = known.variables.join(", ");
            let moved = if moved.is_empty() { moved } else { format!("; variables: {moved}") };
            let says = format!("{here}; finds libraries by {}; {}{moved}", known.says.join(", then "), known.without);
            page.words(&format!("{:column$}  ", known.name), column + 2, &says);
        }
        page.finish()
    }
}
