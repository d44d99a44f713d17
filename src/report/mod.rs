//! Results as text and pages for people and as JSON for programs. Pure: values in, strings out.

mod check;
mod comparison;
mod findings;
mod fleet;
mod forms;
mod github;
mod human;
mod inspect;
mod json;
mod junit;
mod known;
mod layout;
mod metrics;
mod page;
mod sarif;
mod scan;
mod scan_diff;
mod stage;
mod table;
mod trace;
mod verify;
mod why;

pub use check::{CheckReport, View, check_findings, check_text};
pub use comparison::{Broken, Change, ComparisonReport, Side};
pub use findings::{FindingLine, FindingList, shown};
pub use fleet::{
    Fleet, FleetDifference, FleetGroup, FleetReport, FleetRow, FleetValue, LeftOut, Repeated, fleet_text,
    left_out_notes, node_list,
};
pub use forms::{FindingsForm, findings_text};
pub use human::{acts, explanation_text, resolution_text, sanitized};
pub use inspect::{
    Compatibility, GpuCode, InspectFile, InspectReport, LinkLine, Loading, NeedLine, Symbols, inspect_text,
};
pub use json::{ChosenLibrary, ExplainReport, JsonPath, ProblemFile, RefusedCopy, ResolveReport, SCHEMA, Unserved};
pub use known::{InstalledPackage, KnownFramework, KnownReport};
pub use layout::{Width, folded, plain_ascii, weight};
pub use metrics::Metrics;
pub use page::{
    Mark, Node, NodeKind, PageCell, PageTable, Picture, WebPage, check_page, loaded_picture, loaded_table, scan_page,
};
pub(crate) use scan::word;
pub use scan::{
    EvidenceLine, HostLine, OwnerLine, ReachLine, ScanEnd, ScanLibrary, ScanLine, ScanNode, ScanReport, scan_findings,
};
pub use scan_diff::{ChangedFile, FileLine, FileState, ScanDiff};
pub use stage::{StageReport, StagedCopy};
pub use table::scan_text;
pub use trace::{TraceReport, TracedFinding, TracedName, TracedObject, TracedProcess, TracedSymbol};
pub use verify::{CheckLine, VerifyReport, verify_text};
pub use why::{WhyReport, why_text};
