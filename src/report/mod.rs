//! Results as text for people and as JSON for programs. Pure: values in, strings out.

mod human;
mod json;

pub use human::{resolution_text, explanation_text, sanitized};
pub use json::{ChosenLibrary, JsonPath, RefusedCopy, ResolveReport, SCHEMA, Unserved};
