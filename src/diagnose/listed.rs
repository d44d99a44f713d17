//! A report's findings in the form that is written for other programs.

use super::{Cell, Finding, ImageReport, Line, Matrix, Report};
use crate::report::{FindingLine, FindingList};

impl Report {
    /// The findings as a list.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        FindingList {
            command: "doctor",
            verdict: self.verdict.says.clone(),
            wrong: !self.is_fine(),
            findings: self.findings.iter().map(line).chain(self.table.iter().flat_map(Matrix::listed)).collect(),
        }
    }
}

impl ImageReport {
    /// The findings as a list.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        FindingList {
            command: "image",
            verdict: self.verdict.says.clone(),
            wrong: !self.is_fine(),
            findings: self.findings.iter().map(line).chain(self.table.iter().flat_map(Matrix::listed)).collect(),
        }
    }
}

impl Matrix {
    /// The findings of the pairs as lines, each with its driver and GPU.
    #[must_use]
    pub fn listed(&self) -> Vec<FindingLine> {
        let of_cell = |cell: &Cell| {
            let driver = cell.driver.as_ref().map(|driver| format!("driver {driver}"));
            let pair = driver.into_iter().chain(cell.gpu.as_ref().map(|gpu| gpu.name.clone()));
            let pair = pair.collect::<Vec<_>>().join(", ");
            let named = |finding: &Finding| FindingLine { says: format!("{pair}: {}", finding.cause), ..line(finding) };
            cell.findings.iter().map(named).collect::<Vec<_>>()
        };
        self.cells.iter().flat_map(of_cell).collect()
    }
}

fn line(finding: &Finding) -> FindingLine {
    let evidence = finding.evidence.iter().map(|proof| {
        let path = proof.path.as_ref().map(|path| format!("{}: ", path.to_path().display())).unwrap_or_default();
        format!("{}: {path}{}", proof.kind, proof.says)
    });
    let consequences = finding.consequences.iter().map(|other| format!("and so: {} [{}]", other.cause, other.id));
    let remedies = finding.remedies.iter().map(|remedy| match &remedy.line {
        Line::Command(command) => format!("$ {command}"),
        Line::Action(action) => action.clone(),
    });
    FindingLine {
        id: finding.id.to_owned(),
        severity: finding.severity,
        says: finding.cause.clone(),
        path: finding.evidence.iter().find_map(|proof| Some(proof.path.as_ref()?.to_path())),
        evidence: evidence.chain(consequences).collect(),
        remedies: remedies.collect(),
    }
}
