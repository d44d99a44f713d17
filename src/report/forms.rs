//! Findings in the forms that other programs read.

use super::findings::FindingList;
use super::{github, junit, sarif};
use std::path::Path;

/// A form of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingsForm {
    /// SARIF 2.1.0.
    Sarif,
    /// The XML of JUnit.
    Junit,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// The findings in a form. Files below `base` are named relative to it, where the form has places for files.
#[must_use]
pub fn findings_text(list: &FindingList, form: FindingsForm, base: &Path) -> String {
    match form {
        FindingsForm::Sarif => sarif::sarif(list, base),
        FindingsForm::Junit => junit::junit(list),
        FindingsForm::Github => github::github(list, base),
    }
}
