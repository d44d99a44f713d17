//! What a command found wrong, in the one form that is written for other programs.
//!
//! Takes the findings of a report, each with an id of `data/findings.tsv`; gives a list with its summary. Never
//! judges: severities are those of the rule, or of the row.

use super::human::one_line;
use super::json::ProblemFile;
use crate::host::escape;
use crate::tables::{FindingRow, RemedyRow, Severity, finding_row};
use std::path::{Path, PathBuf};

/// The findings of one run of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingList {
    /// The command: `doctor`.
    pub command: &'static str,
    /// Its verdict in one line.
    pub verdict: String,
    /// Whether the answer is no: the exit code is 1.
    pub wrong: bool,
    /// The findings, in the order of the report.
    pub findings: Vec<FindingLine>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingLine {
    /// A row of `data/findings.tsv`; of a saved scan, perhaps of a later release's.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// The cause, in one line.
    pub says: String,
    /// The file that is to blame, if one is.
    pub path: Option<PathBuf>,
    /// What proves it, a clause each.
    pub evidence: Vec<String>,
    /// What heals it, best first; `$ ` before a command line.
    pub remedies: Vec<String>,
}

impl FindingLine {
    /// A finding with the severity of its row, and what its row advises where nobody is seen to load the file.
    #[must_use]
    pub fn of_row(id: &str, says: String, path: Option<PathBuf>) -> Self {
        let row = finding_row(id);
        let actions = row.into_iter().flat_map(|row| &row.remedies).filter_map(|remedy| match remedy {
            RemedyRow::Action(text) => Some(*text),
            RemedyRow::Command(_) => None,
        });
        let advice = row.and_then(|row| row.advice).into_iter().chain(actions).take(1);
        Self {
            id: id.to_owned(),
            severity: row.map_or(Severity::Warning, |row| row.severity),
            says,
            path,
            evidence: Vec::new(),
            remedies: advice.map(str::to_owned).collect(),
        }
    }

    /// The problem of a file.
    #[must_use]
    pub fn of_problem(problem: &ProblemFile) -> Self {
        Self::of_row(&problem.id, problem.says.clone(), Some(problem.path.to_path()))
    }

    /// Its row; `None` for an id that this release does not know.
    pub(super) fn row(&self) -> Option<&'static FindingRow> {
        finding_row(&self.id)
    }

    /// Whether something is wrong.
    pub(super) fn is_wrong(&self) -> bool {
        self.severity != Severity::Fact
    }

    /// The lines below the cause: file, evidence, remedies.
    pub(super) fn details(&self) -> Vec<String> {
        let file = self.path.as_deref().filter(|_| self.evidence.is_empty());
        let file = file.map(|path| format!("file: {}", shown(path)));
        let remedies = self.remedies.iter().zip(["do: "].into_iter().chain(std::iter::repeat("or: ")));
        let remedies = remedies.map(|(remedy, word)| format!("{word}{}", one_line(remedy)));
        file.into_iter().chain(self.evidence.iter().map(one_line)).chain(remedies).collect()
    }
}

impl FindingList {
    /// The number of findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether the answer is no, and no finding says why.
    pub(super) fn is_unexplained(&self) -> bool {
        self.wrong && !self.findings.iter().any(FindingLine::is_wrong)
    }

    /// All of it in one line: what was counted, and the verdict.
    #[must_use]
    pub fn summary(&self) -> String {
        let counted = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {many}")),
        };
        let counts = [
            counted(self.count(Severity::Fatal), "fatal", "fatal"),
            counted(self.count(Severity::Warning), "warning", "warnings"),
            counted(self.count(Severity::Fact), "fact", "facts"),
        ];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let counts = if counts.is_empty() { "no findings".to_owned() } else { counts.join(", ") };
        format!("{}: {counts}; {}", self.command, one_line(&self.verdict))
    }

    /// The list with every text changed, as a report for the public is.
    #[must_use]
    pub fn redacted(mut self, change: &dyn Fn(&str) -> String) -> Self {
        self.verdict = change(&self.verdict);
        for finding in &mut self.findings {
            finding.says = change(&finding.says);
            finding.path = finding.path.as_deref().map(|path| PathBuf::from(change(&path.to_string_lossy())));
            let texts = finding.evidence.iter_mut().chain(&mut finding.remedies);
            texts.for_each(|text| *text = change(text));
        }
        self
    }
}

/// A path in a text: as it is, or with escapes where it is not UTF-8.
#[must_use]
pub fn shown(path: &Path) -> String {
    path.to_str().map_or_else(|| escape::path(path), one_line)
}
