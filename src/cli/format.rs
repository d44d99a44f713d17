//! The forms of a report, and which of them a command gives.
//!
//! Takes the forms of a command; gives the parser of its `--format`, which offers those and no others. Prints nothing.

use crate::report::FindingsForm;
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Text for people
    Human,
    /// One JSON value
    Json,
    /// One JSON object a line, as soon as it is known
    Jsonl,
    /// For a bug report
    Markdown,
    /// One page for a browser, which loads nothing
    Html,
    /// The findings as SARIF 2.1.0, for code scanning
    Sarif,
    /// The findings as JUnit XML, for test reports
    Junit,
    /// The findings as workflow commands, for annotations of GitHub Actions
    Github,
}

use Format::{Github, Html, Human, Json, Jsonl, Junit, Markdown, Sarif};

/// Of a report without findings.
pub(super) const REPORT: &[Format] = &[Human, Json];
/// Of a report with rows.
pub(super) const ROWS: &[Format] = &[Human, Json, Jsonl, Html];
/// Of a report with findings.
pub(super) const FINDINGS: &[Format] = &[Human, Json, Sarif, Junit, Github];
/// Of a report that is also a page.
pub(super) const PAGE: &[Format] = &[Human, Json, Html, Sarif, Junit, Github];
/// Of a scan.
pub(super) const SCAN: &[Format] = &[Human, Json, Jsonl, Html, Sarif, Junit, Github];
/// Of a list of libraries.
pub(super) const LIST: &[Format] = &[Human, Json, Jsonl, Sarif, Junit, Github];
/// Of a diagnosis.
pub(super) const DIAGNOSIS: &[Format] = &[Human, Json, Markdown, Html, Sarif, Junit, Github];

/// The parser of these forms.
pub(super) fn one_of(offered: &'static [Format]) -> impl TypedValueParser<Value = Format> {
    let values = offered.iter().filter_map(Format::to_possible_value);
    PossibleValuesParser::new(values).try_map(|word| Format::from_str(&word, false))
}

impl Format {
    /// The form of its findings, if it shows nothing else.
    pub(super) fn of_findings(self) -> Option<FindingsForm> {
        match self {
            Self::Sarif => Some(FindingsForm::Sarif),
            Self::Junit => Some(FindingsForm::Junit),
            Self::Github => Some(FindingsForm::Github),
            Self::Human | Self::Json | Self::Jsonl | Self::Markdown | Self::Html => None,
        }
    }
}
