//! A report's findings in the form that is written for other programs.

use super::{Finding, Line, Report};
use crate::report::{FindingLine, FindingList};

impl Report {
    /// The findings as a list.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        FindingList {
            command: "doctor",
            verdict: self.verdict.says.clone(),
            wrong: !self.is_fine(),
            findings: self.findings.iter().map(line).collect(),
        }
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
