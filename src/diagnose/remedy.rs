//! What heals a finding: a line for a shell, or something to do, with the change that it makes.

use crate::machine::Change;
use serde::Serialize;

/// What heals a finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Remedy {
    /// What to type or to do.
    #[serde(flatten)]
    #[doc(hidden)]
    pub line: Line,
    /// What it changes about the machine; `None` where that cannot be modelled.
    #[serde(skip)]
    #[doc(hidden)]
    pub change: Option<Change>,
}

/// How a remedy is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// A line for a shell.
    Command(String),
    /// Something to do, in words.
    Action(String),
}

impl Remedy {
    /// A line for a shell.
    pub(crate) fn command(line: impl Into<String>) -> Self {
        Self { line: Line::Command(line.into()), change: None }
    }

    /// Something to do.
    pub(crate) fn action(text: impl Into<String>) -> Self {
        Self { line: Line::Action(text.into()), change: None }
    }

    /// With what it changes.
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

    /// What to do, in words.
    #[must_use]
    pub fn as_action(&self) -> Option<&str> {
        match &self.line {
            Line::Action(text) => Some(text),
            Line::Command(_) => None,
        }
    }

    /// Whether one of the others is the first part of it.
    pub(super) fn is_more_than(&self, others: &[Remedy]) -> bool {
        let Some(Change::Then(changes)) = &self.change else { return false };
        others.iter().any(|other| other.change.is_some() && other.change.as_ref() == changes.first())
    }

    /// What heals for good comes before what heals a shell or a command, and what was tried before what was not.
    pub(super) fn rank(&self) -> u8 {
        match &self.change {
            // Where python imports from another place than was asked for, what is installed there is not to blame.
            Some(Change::Variable(name, _)) if name.starts_with("PYTHON") => 0,
            Some(Change::Wheels { .. }) => 1,
            // What deletes a file comes after what leaves it.
            Some(Change::Files(_)) => 3,
            Some(_) => 2,
            None => 4,
        }
    }
}
