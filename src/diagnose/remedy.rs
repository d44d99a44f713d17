//! Remedies of a finding: a line for a shell or an instruction, with the change that it makes.

use crate::machine::Change;
use serde::Serialize;

/// A remedy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Remedy {
    /// The line or instruction.
    #[serde(flatten)]
    #[doc(hidden)]
    pub line: Line,
    /// Its change of the machine; `None` if that cannot be modelled.
    #[serde(skip)]
    #[doc(hidden)]
    pub change: Option<Change>,
}

/// The form of a remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// A line for a shell.
    Command(String),
    /// An instruction.
    Action(String),
}

impl Remedy {
    /// A line for a shell.
    pub(crate) fn command(line: impl Into<String>) -> Self {
        Self { line: Line::Command(line.into()), change: None }
    }

    /// An instruction.
    pub(crate) fn action(text: impl Into<String>) -> Self {
        Self { line: Line::Action(text.into()), change: None }
    }

    /// Adds the change that it makes.
    pub(crate) fn making(self, change: Change) -> Self {
        Self { change: Some(change), ..self }
    }

    /// The line for a shell.
    #[must_use]
    pub fn as_command(&self) -> Option<&str> {
        match &self.line {
            Line::Command(line) => Some(line),
            Line::Action(_) => None,
        }
    }

    /// The instruction.
    #[must_use]
    pub fn as_action(&self) -> Option<&str> {
        match &self.line {
            Line::Action(text) => Some(text),
            Line::Command(_) => None,
        }
    }

    /// Whether another remedy is its first step, and heals, or neither can be tried.
    pub(super) fn is_more_than(&self, others: &[Remedy]) -> bool {
        let Some(line) = self.as_command() else { return false };
        others.iter().any(|other| {
            let rest = other.as_command().and_then(|first| line.strip_prefix(first));
            rest.is_some_and(|rest| rest.starts_with(" && ")) && (other.change.is_some() || self.change.is_none())
        })
    }

    /// Permanent remedies rank before those of one shell or command, tried ones before untried ones.
    pub(super) fn rank(&self) -> u8 {
        match &self.change {
            // If Python imports from an unexpected directory, the installed packages are not the cause.
            Some(Change::Variable(name, _)) if name.starts_with("PYTHON") => 0,
            Some(Change::Wheels { .. }) => 1,
            // A remedy that deletes a file ranks after one that keeps it.
            Some(Change::Files(_)) => 3,
            Some(_) => 2,
            None => 4,
        }
    }
}
