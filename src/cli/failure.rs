//! Why a command failed: what it says, what caused it, and what to do.
//!
//! Takes any error of the crate that has hints, a text, or what the system says; gives one value that keeps the error
//! itself, for the few callers that decide by its kind. Never prints.

use crate::host::Hints;
use std::error::Error;
use std::fmt;

/// What a command of this program gives.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// An error with what was being done, and what to do about it.
pub(super) struct Failure {
    error: Box<dyn Error + Send + Sync>,
    /// What was being done, the innermost first.
    during: Vec<String>,
    /// What the error says where its facts are listed.
    headline: Option<String>,
    facts: Vec<String>,
    hints: Vec<String>,
    is_answer: bool,
}

impl Failure {
    /// One that says no more than a text.
    pub(super) fn new(says: impl Into<String>) -> Self {
        Self {
            error: says.into().into(),
            during: Vec::new(),
            headline: None,
            facts: Vec::new(),
            hints: Vec::new(),
            is_answer: false,
        }
    }

    /// With one more thing to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With these things to do instead of its own.
    pub(super) fn with_hints(self, hints: Vec<String>) -> Self {
        Self { hints, ..self }
    }

    /// Whether it is an answer: the question was understood, and the answer is no.
    pub(super) fn is_no(&self) -> bool {
        self.is_answer
    }

    /// The error itself, where it is of this kind.
    pub(super) fn find<E: Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// What it says, the outermost first, each sentence once.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut says: Vec<String> = self.during.iter().rev().cloned().collect();
        match &self.headline {
            Some(headline) => says.push(headline.clone()),
            None => {
                says.extend(self.causes().map(ToString::to_string));
            }
        }
        // An error may end in what caused it.
        says.dedup_by(|cause, before| before.ends_with(&**cause));
        says
    }

    /// The facts that make it up.
    pub(super) fn facts(&self) -> &[String] {
        &self.facts
    }

    /// What to do.
    pub(super) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Whether nobody reads what is printed any more.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        self.causes().any(|cause| cause.downcast_ref().is_some_and(broken))
    }

    /// The error, and what caused it.
    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = &*self.error;
        std::iter::successors(Some(first), |error| (*error).source())
    }
}

impl<E: Hints + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let facts = error.facts();
        Self {
            headline: (!facts.is_empty()).then(|| error.headline()),
            hints: error.hints(),
            is_answer: error.is_answer(),
            during: Vec::new(),
            error: Box::new(error),
            facts,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences().join(": "))?;
        if self.facts.is_empty() { Ok(()) } else { write!(f, ": {}", self.facts.join("; ")) }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Says what was being done when something failed.
pub(super) trait Context<T> {
    /// In a text that is made only where it is needed.
    fn with_context(self, during: impl FnOnce() -> String) -> Result<T>;

    /// In a text.
    fn context(self, during: &str) -> Result<T>
    where
        Self: Sized,
    {
        self.with_context(|| during.to_owned())
    }
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn with_context(self, during: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut failure = error.into();
            failure.during.push(during());
            failure
        })
    }
}

impl<T> Context<T> for Option<T> {
    fn with_context(self, during: impl FnOnce() -> String) -> Result<T> {
        self.ok_or_else(|| Failure::new(during()))
    }
}

/// Ends a function with a failure that says this.
macro_rules! bail {
    ($($says:tt)*) => {
        return Err($crate::cli::failure::Failure::new(format!($($says)*)))
    };
}
pub(super) use bail;
