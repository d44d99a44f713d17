//! What to do about an error: each kind of error says it itself.

use std::error::Error;

/// An error that can say what to do.
pub trait Hints: Error {
    /// What the user can do about it, each in the imperative.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Facts that make it up, where a page lists them below [`Hints::headline`].
    fn facts(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it says without its facts.
    fn headline(&self) -> String {
        self.to_string()
    }

    /// Whether it is an answer rather than a failure: the question was understood, and the answer is no.
    fn is_answer(&self) -> bool {
        false
    }
}

impl Hints for std::io::Error {}
impl Hints for serde_json::Error {}
