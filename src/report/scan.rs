//! The wire types of `scan --format json` and `jsonl` (`docs/json-schema/scan.json`), and the scan as a table.

use super::human::one_line;
use super::json::{JsonPath, ProblemFile, SCHEMA};
use crate::inventory::{Owner, Reach};
use crate::scan::{Entry, Scan, group_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One thing that speaks for a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// What kind of thing.
    pub kind: String,
    /// What it says.
    pub says: String,
}

/// Who installed a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerLine {
    /// `wheel`, `conda`, `dpkg`, `rpm`, `toolkit`, `driver`, `application` or `none`.
    pub kind: String,
    /// The package or the root.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanLibrary {
    /// The path to open it by.
    pub path: JsonPath,
    /// All its paths.
    pub names: Vec<JsonPath>,
    /// The library it is by name.
    pub family: String,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// Its release.
    pub version: Option<String>,
    /// `certain`, `likely` or `unsure`.
    pub confidence: String,
    /// What speaks for the version.
    pub evidence: Vec<EvidenceLine>,
    /// The CUDA release it is built for.
    pub cuda: Option<String>,
    /// Who installed it.
    pub owner: OwnerLine,
    /// Why it was looked for there.
    pub place: String,
    /// Bytes.
    pub size: u64,
    /// The GNU build ID in hex.
    pub build_id: Option<String>,
    /// How a program finds it today without naming its path; empty: nobody does.
    pub reach: Vec<String>,
    /// Whether it is for linking only.
    pub stub: bool,
    /// Why nothing may load it.
    pub unusable: Option<String>,
    /// The ids of its problems.
    pub problems: Vec<String>,
}

/// What `scan` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The files.
    pub libraries: Vec<ScanLibrary>,
    /// What is wrong.
    pub problems: Vec<ProblemFile>,
}

impl ScanReport {
    /// What a scan says.
    #[must_use]
    pub fn new(scan: &Scan) -> Self {
        let problems = scan.problems.iter().map(|problem| ProblemFile {
            id: problem.id.to_owned(),
            path: problem.path.as_path().into(),
            says: problem.says.clone(),
        });
        Self {
            schema: SCHEMA,
            libraries: scan.entries.iter().map(ScanLibrary::new).collect(),
            problems: problems.collect(),
        }
    }
}

impl ScanLibrary {
    fn new(entry: &Entry) -> Self {
        let library = &entry.library;
        let evidence = library
            .evidence
            .iter()
            .map(|evidence| EvidenceLine { kind: word(&evidence.kind), says: evidence.says.clone() });
        Self {
            path: library.path.as_path().into(),
            names: entry.paths.iter().map(|path| path.as_path().into()).collect(),
            family: library.row.family.to_owned(),
            soname: library.soname.clone(),
            version: library.version.as_ref().map(ToString::to_string),
            confidence: word(&library.confidence),
            evidence: evidence.collect(),
            cuda: library.cuda.map(cuda_text),
            owner: owner_line(&library.owner),
            place: word(&library.place.provenance),
            size: library.stat.size,
            build_id: library.object.as_ref().and_then(|object| object.facts.build_id.clone()),
            reach: entry.reach.iter().map(way).collect(),
            stub: library.is_stub(),
            unusable: library.unusable.clone(),
            problems: entry.problems.iter().map(|id| (*id).to_owned()).collect(),
        }
    }
}

/// The word a value is written as in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn cuda_text((major, minor): (u32, Option<u32>)) -> String {
    minor.map_or(major.to_string(), |minor| format!("{major}.{minor}"))
}

/// The scan as a table of at most 100 columns: one line a file, by installation; problems last.
#[must_use]
pub fn scan_text(scan: &Scan, all: bool) -> String {
    let mut groups: BTreeMap<&Path, Vec<&Entry>> = BTreeMap::new();
    for entry in &scan.entries {
        groups.entry(group_of(&entry.library)).or_default().push(entry);
    }
    let mut text = String::new();
    for (root, entries) in &groups {
        let _ = writeln!(text, "{}", one_line(root.display()));
        for entry in entries {
            let library = &entry.library;
            let name = library.path.file_name().unwrap_or_default().display().to_string();
            let version = library.version.as_ref().map_or("?".to_owned(), ToString::to_string);
            let cuda = library.cuda.map_or("-".to_owned(), cuda_text);
            let line = one_line(format!("  {name:38} {version:15} {cuda:5} {}", notes(entry)));
            let _ = writeln!(text, "{}", line.trim_end());
            if all {
                for path in entry.paths.iter().filter(|path| **path != library.path) {
                    let _ = writeln!(text, "    also {}", one_line(path.display()));
                }
            }
        }
        text.push('\n');
    }
    let files = |count: usize| format!("{count} {}", if count == 1 { "library" } else { "libraries" });
    let places = format!("{} {}", groups.len(), if groups.len() == 1 { "place" } else { "places" });
    let _ = writeln!(text, "{} in {places}", files(scan.entries.len()));
    if !scan.problems.is_empty() {
        text.push_str("\nproblems\n");
        for problem in &scan.problems {
            let _ = writeln!(
                text,
                "  {}: {}\n    {}",
                problem.id,
                one_line(&problem.says),
                one_line(problem.path.display())
            );
        }
    }
    text
}

/// Owner, and what is not as it should be.
fn notes(entry: &Entry) -> String {
    let library = &entry.library;
    let owner = owner_line(&library.owner);
    let mut notes = vec![owner.name.unwrap_or_default()];
    notes.extend(library.version.is_none().then(|| "release unknown".to_owned()));
    notes.extend(library.unusable.clone());
    notes.extend(entry.problems.iter().map(|id| (*id).to_owned()));
    notes.extend((entry.paths.len() > 1).then(|| format!("{} names", entry.paths.len())));
    notes.retain(|note| !note.is_empty());
    notes.join(", ")
}

fn owner_line(owner: &Owner) -> OwnerLine {
    OwnerLine {
        kind: word(&owner.kind()),
        name: owner.name().map(str::to_owned),
        version: owner.version().map(str::to_owned),
    }
}

/// One way a file is found, in a few words.
fn way(reach: &Reach) -> String {
    match reach {
        Reach::RunPath { of, .. } => format!("{} of {}", reach.rule(), of.display()),
        Reach::LibraryPath { current_directory: true, .. } => "LD_LIBRARY_PATH, from this working directory".to_owned(),
        _ => reach.rule().to_string(),
    }
}

/// What came, went and changed between two saved scans, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScanDiff {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Paths only in the second.
    pub came: Vec<JsonPath>,
    /// Paths only in the first.
    pub went: Vec<JsonPath>,
    /// Paths in both with another file: path, what was, what is.
    pub changed: Vec<(JsonPath, String, String)>,
}

impl ScanDiff {
    /// Compares two scans.
    #[must_use]
    pub fn new(before: &ScanReport, after: &ScanReport) -> Self {
        let index = |report: &ScanReport| -> BTreeMap<PathBuf, ScanLibrary> {
            report.libraries.iter().map(|library| (library.path.to_path(), library.clone())).collect()
        };
        let (before, after) = (index(before), index(after));
        let mut diff = Self { schema: SCHEMA, ..Self::default() };
        for (path, library) in &after {
            match before.get(path) {
                None => diff.came.push(path.as_path().into()),
                Some(old) if identity(old) != identity(library) => {
                    diff.changed.push((path.as_path().into(), described(old), described(library)));
                }
                Some(_) => {}
            }
        }
        diff.went = before.keys().filter(|path| !after.contains_key(*path)).map(|path| path.as_path().into()).collect();
        diff
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.came.is_empty() && self.went.is_empty() && self.changed.is_empty()
    }

    /// One line for each difference: `+` came, `-` went, `~` changed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for path in &self.went {
            let _ = writeln!(text, "- {}", one_line(path.to_path().display()));
        }
        for path in &self.came {
            let _ = writeln!(text, "+ {}", one_line(path.to_path().display()));
        }
        for (path, old, new) in &self.changed {
            let _ = writeln!(text, "~ {}: {old} → {new}", one_line(path.to_path().display()));
        }
        text
    }
}

/// What makes a file at a path another one.
fn identity(library: &ScanLibrary) -> (&Option<String>, u64, &Option<String>) {
    (&library.build_id, library.size, &library.version)
}

fn described(library: &ScanLibrary) -> String {
    let version = library.version.as_deref().unwrap_or("unknown release");
    match &library.build_id {
        Some(id) => format!("{version} (build ID {})", id.get(..8).unwrap_or(id)),
        None => version.to_owned(),
    }
}
