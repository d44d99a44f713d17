//! One thing that a machine's doctor found.
//!
//! What is the same in every case stands in `data/findings.tsv`; a rule adds the cause and what proves it.

use crate::facts::{FindingRow, RemedyRow, Severity, finding_row};
use crate::report::JsonPath;
use serde::Serialize;
use std::path::Path;

/// Something found, with its cause, its proof and what heals it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// A word that is never given another meaning: a row of `data/findings.tsv`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The cause, in one line.
    pub cause: String,
    /// What proves it.
    pub evidence: Vec<Evidence>,
    /// What heals it, best first.
    pub remedies: Vec<Remedy>,
    /// Where the rule, or a report of this failure, can be read.
    pub source: &'static str,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// What kind of thing: `file`, `version`, `rule`, `symbol`, `variable`, `device`, `message`.
    pub kind: &'static str,
    /// What it says.
    pub says: String,
    /// The file it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<JsonPath>,
}

/// What heals a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Remedy {
    /// A line for a shell.
    Command(String),
    /// Something to do, in words.
    Action(String),
}

impl Finding {
    /// A finding with what its row says. `run` is the line that `{run}` stands for.
    pub(crate) fn of(id: &str, run: &str) -> Option<Self> {
        let row = finding_row(id);
        debug_assert!(row.is_some(), "`{id}` is not in data/findings.tsv");
        row.map(|row| Self::of_row(row, run))
    }

    fn of_row(row: &'static FindingRow, run: &str) -> Self {
        let remedy = |remedy: &RemedyRow| match remedy {
            RemedyRow::Command(line) => Remedy::Command(line.replace("{run}", run)),
            RemedyRow::Action(text) => Remedy::Action((*text).to_owned()),
        };
        Self {
            id: row.id,
            severity: row.severity,
            cause: row.title.to_owned(),
            evidence: Vec::new(),
            remedies: row.remedies.iter().map(remedy).collect(),
            source: row.source,
        }
    }

    /// With the cause of this case instead of the title.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// Worse, or less bad, than its row says.
    #[must_use]
    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With one more thing that was seen.
    #[must_use]
    pub(crate) fn seen(mut self, kind: &'static str, says: impl Into<String>) -> Self {
        self.evidence.push(Evidence { kind, says: says.into(), path: None });
        self
    }

    /// With one more thing that was seen of a file.
    #[must_use]
    pub(crate) fn seen_at(mut self, kind: &'static str, path: &Path, says: impl Into<String>) -> Self {
        self.evidence.push(Evidence { kind, says: says.into(), path: Some(path.into()) });
        self
    }

    /// With these remedies instead of its row's.
    #[must_use]
    pub(crate) fn healed_by(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies = remedies.into_iter().collect();
        self
    }
}

impl Remedy {
    /// A line for a shell.
    pub(crate) fn command(line: impl Into<String>) -> Self {
        Self::Command(line.into())
    }

    /// Something to do.
    pub(crate) fn action(text: impl Into<String>) -> Self {
        Self::Action(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_a_finding() {
        let found = Finding::of("compat-libcuda-803", "cudashim run -- x").unwrap();
        assert_eq!(found.remedies[0], Remedy::command("cudashim run -- x"));
        assert_eq!(found.severity, Severity::Fatal);
        let found = found.because("this").seen("version", "1").severity(Severity::Fact);
        assert_eq!((found.cause.as_str(), found.evidence.len(), found.severity), ("this", 1, Severity::Fact));
    }
}
