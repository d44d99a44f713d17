//! One thing that is wrong with a machine, or worth knowing of it.
//!
//! What is the same in every case stands in `data/findings.tsv`; a rule adds the cause and what proves it.

use super::remedy::Remedy;
use crate::report::JsonPath;
use crate::tables::{FindingRow, Phase, RemedyRow, Severity, finding_row};
use serde::Serialize;
use std::path::Path;

/// Something found, with its cause, its proof and what heals it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// A row of `data/findings.tsv`: one meaning, in every command.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// When it shows.
    pub phase: Phase,
    /// The cause, in one line.
    pub cause: String,
    /// What proves it.
    pub evidence: Vec<Proof>,
    /// What heals it, best first: what was tried on a model of the machine, then advice that cannot be.
    pub remedies: Vec<Remedy>,
    /// What else is gone once the cause of this is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consequences: Vec<Consequence>,
    /// Where the rule, or a report of this failure, can be read.
    pub source: &'static str,
    /// Whether it is of what is asked for itself, not of what stands beside it.
    #[serde(skip)]
    pub(crate) of_target: bool,
}

/// Something that has the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Consequence {
    /// A row of `data/findings.tsv`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in one line.
    pub cause: String,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Proof {
    /// What kind of thing: `file`, `version`, `rule`, `symbol`, `variable`, `device`, `message`.
    pub kind: &'static str,
    /// What it says.
    pub says: String,
    /// The file it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[doc(hidden)]
    pub path: Option<JsonPath>,
}

impl Finding {
    /// A finding with what its row says; `run` is what `$ {run}` stands for, where there is a set to hand out.
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

    /// The driver was asked, and gives no device to this process.
    #[must_use]
    #[doc(hidden)]
    pub fn device_refused(says: String, hint: String) -> Option<Self> {
        Some(Self::of("driver-does-not-answer", None)?.because(says).healed_by([Remedy::action(hint)]))
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

    /// At another time than its row says.
    #[must_use]
    pub(crate) fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// With one more thing that was seen.
    #[must_use]
    pub(crate) fn seen(mut self, kind: &'static str, says: impl Into<String>) -> Self {
        self.evidence.push(Proof { kind, says: says.into(), path: None });
        self
    }

    /// With one more thing that was seen of a file.
    #[must_use]
    pub(crate) fn seen_at(mut self, kind: &'static str, path: &Path, says: impl Into<String>) -> Self {
        self.evidence.push(Proof { kind, says: says.into(), path: Some(path.into()) });
        self
    }

    /// With these remedies instead of its row's.
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
    fn a_row_gives_the_rest() {
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
