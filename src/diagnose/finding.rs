//! One defect of a machine, or a fact worth knowing.
//!
//! `data/findings.tsv` holds the constant part of a finding; a rule adds the cause and the evidence.

use super::remedy::Remedy;
use crate::report::JsonPath;
use crate::tables::{FindingRow, Phase, RemedyRow, Severity, finding_row};
use serde::Serialize;
use std::path::Path;

/// A finding with its cause, its evidence and its remedies.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// A row of `data/findings.tsv`: the same meaning in every command.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The phase in which it shows.
    pub phase: Phase,
    /// The cause, in one line.
    pub cause: String,
    /// The evidence.
    pub evidence: Vec<Proof>,
    /// The remedies, best first: those tried on a model of the machine, then advice that cannot be tried.
    pub remedies: Vec<Remedy>,
    /// Findings that disappear with the cause of this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consequences: Vec<Consequence>,
    /// The page that states the rule, or reports this failure.
    pub source: &'static str,
    /// Whether it concerns the target itself, not what is loaded beside it.
    #[serde(skip)]
    pub(crate) of_target: bool,
}

/// A finding with the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Consequence {
    /// A row of `data/findings.tsv`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Its cause in one line.
    pub cause: String,
}

impl From<Finding> for Consequence {
    fn from(finding: Finding) -> Self {
        Self { id: finding.id, severity: finding.severity, cause: finding.cause }
    }
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Proof {
    /// What kind of thing: `file`, `version`, `rule`, `symbol`, `variable`, `device`, `message`.
    pub kind: &'static str,
    /// The observation, as a clause.
    pub says: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[doc(hidden)]
    pub path: Option<JsonPath>,
}

impl Finding {
    /// A finding with the texts of its row; `run` replaces `$ {run}`, if there is a set to hand out.
    pub(crate) fn of(id: &str, run: Option<&Remedy>) -> Option<Self> {
        let row = finding_row(id);
        debug_assert!(row.is_some(), "`{id}` is not in data/findings.tsv");
        row.map(|row| Self::of_row(row, run))
    }

    fn of_row(row: &'static FindingRow, run: Option<&Remedy>) -> Self {
        let remedy = |remedy: &RemedyRow| match remedy {
            RemedyRow::Command("{run}") => run.cloned(),
            RemedyRow::Command(line) => Some(Remedy::command(*line)),
            RemedyRow::Action(text) => Some(Remedy::action(*text)),
        };
        Self {
            id: row.id,
            severity: row.severity,
            phase: row.phase,
            cause: row.title.to_owned(),
            evidence: Vec::new(),
            remedies: row.remedies.iter().filter_map(remedy).collect(),
            consequences: Vec::new(),
            source: row.source,
            of_target: false,
        }
    }

    /// Whether the driver was called and gives this process no device.
    #[must_use]
    #[doc(hidden)]
    pub fn device_refused(says: String, hint: String) -> Option<Self> {
        Some(Self::of("driver-does-not-answer", None)?.because(says).healed_by([Remedy::action(hint)]))
    }

    /// Replaces the title by the cause of this case.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// Overrides the severity of its row.
    #[must_use]
    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Overrides the phase of its row.
    #[must_use]
    pub(crate) fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// Adds evidence.
    #[must_use]
    pub(crate) fn seen(mut self, kind: &'static str, says: impl Into<String>) -> Self {
        self.evidence.push(Proof { kind, says: says.into(), path: None });
        self
    }

    /// Adds evidence about a file.
    #[must_use]
    pub(crate) fn seen_at(mut self, kind: &'static str, path: &Path, says: impl Into<String>) -> Self {
        self.evidence.push(Proof { kind, says: says.into(), path: Some(path.into()) });
        self
    }

    /// Replaces the remedies of its row.
    #[must_use]
    pub(crate) fn healed_by(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies = remedies.into_iter().collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_fills_the_finding() {
        let run = Remedy::command("cudashim run -- python x.py");
        let found = Finding::of("stub-libcuda", Some(&run)).unwrap().because("`/opt/cuda/stubs` comes first");
        assert_eq!((found.severity, found.phase), (Severity::Fatal, Phase::Gpu));
        assert_eq!(found.remedies[0], run);
        let json = serde_json::to_value(found.seen("variable", "LD_LIBRARY_PATH")).unwrap();
        assert_eq!(json["severity"], "fatal");
        assert_eq!(json["remedies"][0]["command"], "cudashim run -- python x.py");
        assert!(json["remedies"][1]["action"].as_str().unwrap().contains("stubs"));
        // Without a set there is nothing to hand out.
        assert!(Finding::of("stub-libcuda", None).unwrap().remedies.iter().all(|remedy| *remedy != run));
    }
}
