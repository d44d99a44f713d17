//! The report of `verify`: a line for each check, or JSON (`docs/json-schema/verify.json`).

use super::findings::{FindingLine, FindingList};
use super::{JsonPath, SCHEMA};
use crate::plan::{Change, Plan, State, Verification, What};
use crate::tables::Severity;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// The report of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The file.
    pub lock: JsonPath,
    /// The targets, each in a few words.
    pub r#for: Vec<String>,
    /// The cudashim it was made with.
    pub made_by: Option<String>,
    /// Whether it can be used unchanged.
    pub holds: bool,
    /// All checks.
    pub checks: Vec<CheckLine>,
    /// Where the relocated plan was written.
    pub relocated: Option<JsonPath>,
    /// Why `--relocate` failed: the cause, then each library that is not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_relocated: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// What it is about.
    pub what: What,
    /// Its name.
    pub name: String,
    /// Whether it is unchanged.
    pub state: State,
    /// The kind of change.
    pub change: Option<Change>,
    /// A clause for people.
    pub says: String,
    /// The file.
    pub path: Option<JsonPath>,
    /// The file that it resolves to now, by symbolic links.
    pub leads_to: Option<JsonPath>,
}

impl VerifyReport {
    /// The report of a verification.
    #[must_use]
    pub fn new(file: &Path, plan: &Plan, found: &Verification) -> Self {
        let checks = found.checks.iter().map(|check| CheckLine {
            what: check.what,
            name: check.name.clone(),
            state: check.state,
            change: check.change,
            says: check.says.clone(),
            path: check.path.as_deref().map(JsonPath::from),
            leads_to: check.resolves_to.as_deref().map(JsonPath::from),
        });
        Self {
            schema: SCHEMA,
            lock: file.into(),
            r#for: plan.made_for.iter().map(|made_for| made_for.text.clone()).collect(),
            made_by: plan.with("cudashim").and_then(|with| with.version.clone()),
            holds: found.holds(),
            checks: checks.collect(),
            relocated: None,
            not_relocated: Vec::new(),
            hints: Vec::new(),
        }
    }
}

impl VerifyReport {
    /// The changes as findings of the lock file `file`; `wrong`: it cannot be used.
    #[must_use]
    pub fn listed(&self, file: &Path, wrong: bool) -> FindingList {
        let changed = self.checks.iter().filter(|check| check.state != State::Holds);
        let line = |check: &CheckLine| FindingLine {
            id: "plan-drifted".to_owned(),
            severity: if check.state == State::Drifted { Severity::Fatal } else { Severity::Fact },
            says: format!("{}: {}", check.name, check.says),
            path: Some(file.to_owned()),
            evidence: check.path.iter().map(|path| format!("file: {}", path.to_path().display())).collect(),
            remedies: self.hints.clone(),
        };
        FindingList { command: "verify", verdict: self.verdict(), wrong, findings: changed.map(line).collect() }
    }

    fn verdict(&self) -> String {
        let count = |state| self.checks.iter().filter(|check| check.state == state).count();
        let (changed, same, total) = (count(State::Drifted), count(State::Holds), self.checks.len());
        match changed {
            0 => format!("the lock holds: {same} of {total} unchanged"),
            _ if self.relocated.is_some() => {
                format!("{changed} of {total} changed, and all of them are here: the lock was written anew")
            }
            _ => format!("the lock does not hold: {changed} of {total} changed"),
        }
    }
}

/// The report for people: the changes, then the verdict. `all` shows unchanged files, too.
#[must_use]
pub fn verify_text(report: &VerifyReport, all: bool) -> String {
    let mut text = String::new();
    let shown: Vec<_> = report.checks.iter().filter(|check| all || check.state != State::Holds).collect();
    let width = shown.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    for check in &shown {
        let state = match check.state {
            State::Holds => "unchanged",
            State::Differs => "differs",
            State::Drifted => "changed",
        };
        let _ = writeln!(text, "{state:<9}  {:<width$}  {}", one_line(&check.name), one_line(&check.says));
    }
    if !shown.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{}", report.verdict());
    for reason in &report.not_relocated {
        let _ = writeln!(text, "  {}", one_line(reason));
    }
    for hint in &report.hints {
        let _ = writeln!(text, "hint: {}", one_line(hint));
    }
    text
}

/// A lock may contain any names: their line breaks are escaped.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}
