//! Results as text for people and as JSON for programs. Pure: values in, strings out.

mod check;
mod human;
mod inspect;
mod json;
mod scan;
mod trace;
mod why;

pub use check::{CheckReport, View, check_text};
pub use human::{explanation_text, resolution_text, sanitized};
pub use inspect::{InspectReport, Symbols, comparison_text};
pub use json::{ChosenLibrary, ExplainReport, JsonPath, ProblemFile, RefusedCopy, ResolveReport, SCHEMA, Unserved};
pub use scan::{EvidenceLine, OwnerLine, ScanDiff, ScanLibrary, ScanReport, scan_text};
pub use trace::{TraceReport, TracedFinding, TracedName, TracedObject, TracedProcess, TracedSymbol};
pub use why::{WhyReport, why_text};
