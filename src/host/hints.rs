//! The hints, facts and headline of an error.

use std::error::Error;

/// An error with hints.
pub trait Hints: Error {
    /// What to do, each in the imperative.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Its facts, where a page lists them below [`Hints::headline`].
    fn facts(&self) -> Vec<String> {
        Vec::new()
    }

    /// The message without its facts.
    fn headline(&self) -> String {
        self.to_string()
    }

    /// Whether it is a negative answer rather than a failure.
    fn is_answer(&self) -> bool {
        false
    }
}

impl Hints for std::io::Error {}
impl Hints for serde_json::Error {}
