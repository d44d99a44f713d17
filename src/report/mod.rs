//! Results as text for people and as JSON for programs. Pure: values in, strings out.

mod human;
mod json;

pub use human::{explanation_text, resolution_text, sanitized};
pub use json::{ChosenLibrary, JsonPath, RefusedCopy, ResolveReport, SCHEMA, Unserved};
