//! Why a command failed: the message, the causes, and what to do.
//!
//! Takes any error of the crate that has hints, a text, or a system error; gives one value that keeps the error itself,
//! for the few callers that decide by its kind. Never prints.

use crate::host::Hints;
use std::error::Error;
use std::fmt;

/// The result of a command of this program.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// An error with its context and its hints.
pub(super) struct Failure {
    error: Box<dyn Error + Send + Sync>,
    /// The failed operations, innermost first.
    during: Vec<String>,
    /// The message above a list of facts.
    headline: Option<String>,
    facts: Vec<String>,
    hints: Vec<String>,
    is_answer: bool,
}

impl Failure {
    /// A failure with only a message.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            error: message.into().into(),
            during: Vec::new(),
            headline: None,
            facts: Vec::new(),
            hints: Vec::new(),
            is_answer: false,
        }
    }

    /// With one more hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With these hints instead of the error's.
    pub(super) fn with_hints(self, hints: Vec<String>) -> Self {
        Self { hints, ..self }
    }

    /// Whether the failure is the answer "no", as opposed to an error.
    pub(super) fn is_no(&self) -> bool {
        self.is_answer
    }

    /// The error itself, if it is of this type.
    pub(super) fn find<E: Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// The messages, outermost first, each once.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences: Vec<String> = self.during.iter().rev().cloned().collect();
        match &self.headline {
            Some(headline) => sentences.push(headline.clone()),
            None => {
                sentences.extend(self.causes().map(ToString::to_string));
            }
        }
        // An error's message may end with that of its cause.
        sentences.dedup_by(|cause, before| before.ends_with(&**cause));
        sentences
    }

    /// The facts that the error lists.
    pub(super) fn facts(&self) -> &[String] {
        &self.facts
    }

    /// The hints.
    pub(super) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Whether the reader of the output has closed its end.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        self.causes().any(|cause| cause.downcast_ref().is_some_and(broken))
    }

    /// The error and its causes.
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

/// Adds the failed operation to an error.
pub(super) trait Context<T> {
    /// The text is made only on failure.
    fn with_context(self, during: impl FnOnce() -> String) -> Result<T>;

    /// With a fixed text.
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

/// Returns a failure with this message.
macro_rules! bail {
    ($($message:tt)*) => {
        return Err($crate::cli::failure::Failure::new(format!($($message)*)))
    };
}
pub(super) use bail;
