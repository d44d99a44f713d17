//! The wire types of `scan --format json` and `jsonl` (`docs/json-schema/scan.json`, `scan-line.json`).

use super::findings::{FindingLine, FindingList};
use super::json::{JsonPath, ProblemFile, SCHEMA};
use crate::inventory::scan::{Entry, Scan};
use crate::inventory::{Digest, Evidence, Library, Owner, Problem, Reach, Verified};
use crate::tables::Version;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One piece of evidence for a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Its kind.
    pub kind: String,
    /// A clause for people.
    pub says: String,
    /// The release that it shows.
    pub version: Option<String>,
    /// The CUDA release that it shows.
    pub cuda: Option<String>,
    /// Its confidence.
    pub confidence: String,
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
    /// How the file compares with the owner's record: `unrecorded`; `size_as_recorded` or `size_differs` where only
    /// sizes were compared; `intact`, `altered` or `written_by_other` where the bytes were.
    pub record: String,
    /// The other package that recorded these bytes.
    pub written_by: Option<String>,
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
    /// The evidence for the version.
    pub evidence: Vec<EvidenceLine>,
    /// The CUDA release it is built for.
    pub cuda: Option<String>,
    /// Who installed it.
    pub owner: OwnerLine,
    /// Why its directory was searched.
    pub place: String,
    /// Bytes.
    pub size: u64,
    /// When its content last changed, as RFC 3339 in UTC; absent in a scan of an earlier cudashim.
    #[serde(default)]
    pub modified: Option<String>,
    /// The GNU build ID in hex.
    pub build_id: Option<String>,
    /// The digest in hex, with `--hash`.
    pub sha256: Option<String>,
    /// Whether it is for linking only.
    pub stub: bool,
    /// Why nothing may load it.
    pub unusable: Option<String>,
    /// The rules by which programs find it without its path; empty: none does. Known when the scan is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Vec<String>>,
    /// The ids of its problems. Known when the scan is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<String>>,
}

/// The report of `scan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// The files.
    pub libraries: Vec<ScanLibrary>,
    /// What is wrong.
    pub problems: Vec<ProblemFile>,
}

/// A line of `scan --format jsonl` with the name of its machine, so that lines of several can stand between each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostLine<'h> {
    /// The name of the machine; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'h str>,
    /// The line.
    #[serde(flatten)]
    pub line: ScanLine,
}

/// A line of `scan --format jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ScanLine {
    /// The first line: of which machine, and when.
    Node(ScanNode),
    /// A file, as soon as it was read.
    Library(Box<ScanLibrary>),
    /// The last line: what concerns all of them together.
    End(ScanEnd),
}

/// What is known when a scan begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanNode {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it began, as RFC 3339 in UTC.
    pub at: String,
    /// The version of the cudashim.
    pub made_by: String,
    /// The release of the driver: that of its kernel module, else of the libcuda that is found.
    pub driver: Option<String>,
}

/// What is known when the scan is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanEnd {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// The number of files.
    pub count: usize,
    /// The files that programs find without their paths.
    pub reach: Vec<ReachLine>,
    /// What is wrong.
    pub problems: Vec<ProblemFile>,
}

/// How a file is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachLine {
    /// The file.
    pub path: JsonPath,
    /// The rules that find it.
    pub ways: Vec<String>,
}

impl ScanReport {
    /// The report of a scan.
    #[must_use]
    pub fn new(scan: &Scan, stopped: bool) -> Self {
        let whole = |entry| {
            let mut library = ScanLibrary::new(entry);
            library.reach = Some(entry.reach.iter().map(way).collect());
            library.problems = Some(entry.problems.iter().map(|id| (*id).to_owned()).collect());
            library
        };
        Self {
            schema: SCHEMA,
            stopped,
            libraries: scan.entries.iter().map(whole).collect(),
            problems: problem_lines(&scan.problems),
        }
    }

    /// Reads a saved scan in either of its formats.
    ///
    /// # Errors
    ///
    /// The bytes are in neither format.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let as_one = match serde_json::from_slice(bytes) {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        let mut report = Self { schema: SCHEMA, stopped: true, libraries: Vec::new(), problems: Vec::new() };
        for line in serde_json::Deserializer::from_slice(bytes).into_iter() {
            match line.map_err(|_| serde::de::Error::custom(&as_one))? {
                ScanLine::Node(_) => {}
                ScanLine::Library(library) => report.libraries.push(*library),
                ScanLine::End(end) => (report.stopped, report.problems) = (end.stopped, end.problems),
            }
        }
        Ok(report)
    }
}

impl ScanNode {
    /// The first line of a scan that begins now.
    #[must_use]
    pub fn new(at: SystemTime, driver: Option<&Version>) -> Self {
        Self {
            schema: SCHEMA,
            at: humantime::format_rfc3339_seconds(at).to_string(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            driver: driver.map(ToString::to_string),
        }
    }
}

/// A time of a file, to the second; `None` outside the years 1970 to 9999.
fn time_text(nanoseconds: i64) -> Option<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

impl ScanEnd {
    /// The last line about a scan.
    #[must_use]
    pub fn new(scan: &Scan, stopped: bool) -> Self {
        let found = scan.entries.iter().filter(|entry| !entry.reach.is_empty());
        let reach = found.map(|entry| ReachLine {
            path: entry.library.path.as_path().into(),
            ways: entry.reach.iter().map(way).collect(),
        });
        Self {
            schema: SCHEMA,
            stopped,
            count: scan.entries.len(),
            reach: reach.collect(),
            problems: problem_lines(&scan.problems),
        }
    }
}

impl ScanLibrary {
    /// The report of a file.
    #[must_use]
    pub fn new(entry: &Entry) -> Self {
        let library = &entry.library;
        Self {
            path: library.path.as_path().into(),
            names: entry.paths.iter().map(|path| path.as_path().into()).collect(),
            family: library.row.family.to_owned(),
            soname: library.soname.clone(),
            version: library.version.as_ref().map(ToString::to_string),
            confidence: word(&library.confidence),
            evidence: library.evidence.iter().map(EvidenceLine::new).collect(),
            cuda: library.cuda.map(cuda_text),
            owner: OwnerLine::new(library, entry.digest.as_ref()),
            place: word(&library.place.provenance),
            size: library.stat.size,
            modified: time_text(library.stat.mtime),
            build_id: library.object.as_ref().and_then(|object| object.facts.build_id.clone()),
            sha256: entry.digest.as_ref().map(|digest| digest.sha256.clone()),
            stub: library.is_stub(),
            unusable: library.unusable.clone(),
            reach: None,
            problems: None,
        }
    }
}

impl EvidenceLine {
    pub(super) fn new(evidence: &Evidence) -> Self {
        Self {
            kind: word(&evidence.kind),
            says: evidence.says.clone(),
            version: evidence.version.as_ref().map(ToString::to_string),
            cuda: evidence.cuda.map(cuda_text),
            confidence: word(&evidence.confidence),
        }
    }
}

impl OwnerLine {
    pub(super) fn new(library: &Library, digest: Option<&Digest>) -> Self {
        let as_recorded = library.recorded.map(|size| size == library.stat.size);
        let (record, other) = match digest.map(|digest| &digest.verified) {
            Some(Verified::Intact) => ("intact", None),
            Some(Verified::Altered) => ("altered", None),
            Some(Verified::WrittenBy(other)) => ("written_by_other", Some(other.to_string())),
            _ => match as_recorded {
                Some(true) => ("size_as_recorded", None),
                Some(false) => ("size_differs", None),
                None => ("unrecorded", None),
            },
        };
        Self {
            kind: word(&library.owner.kind()),
            name: library.owner.name().map(str::to_owned),
            version: library.owner.version().map(str::to_owned),
            record: record.to_owned(),
            written_by: other,
        }
    }
}

pub(super) fn problem_lines(problems: &[Problem]) -> Vec<ProblemFile> {
    let line = |problem: &Problem| ProblemFile {
        id: problem.id.to_owned(),
        path: problem.path.as_path().into(),
        says: problem.says.clone(),
    };
    problems.iter().map(line).collect()
}

/// The JSON word of an enum value.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

pub(super) fn cuda_text((major, minor): (u32, Option<u32>)) -> String {
    minor.map_or(major.to_string(), |minor| format!("{major}.{minor}"))
}

/// One way a file is found, in a few words.
pub(super) fn way(reach: &Reach) -> String {
    match reach {
        Reach::RunPath { of, .. } => format!("{} of {}", reach.rule(), of.display()),
        Reach::LibraryPath { current_directory: true, .. } => "LD_LIBRARY_PATH, from this working directory".to_owned(),
        _ => reach.rule().to_string(),
    }
}

/// An owner in a few words: its package and version, else what kind it is.
pub(super) fn owner_text(owner: &Owner) -> String {
    match (owner, owner.name(), owner.version()) {
        (_, Some(name), Some(version)) => format!("{name} {version}"),
        (_, Some(name), None) => name.to_owned(),
        (Owner::Toolkit { root, .. }, _, Some(version)) => format!("toolkit {version} in {}", root.display()),
        (Owner::Toolkit { root, .. }, ..) => format!("toolkit in {}", root.display()),
        (Owner::Conda { prefix, .. }, ..) => format!("in the conda environment {}, of no package", prefix.display()),
        (Owner::Driver, ..) => "the driver's own installer".to_owned(),
        (Owner::Rpm, ..) => "maybe rpm: run `rpm -qf FILE`".to_owned(),
        _ => "unknown: no package, toolkit or application claims it".to_owned(),
    }
}

/// The problems of a scan, as findings; `wrong`: they are an error.
#[must_use]
pub fn scan_findings(scan: &Scan, wrong: bool) -> FindingList {
    FindingList {
        command: "scan",
        verdict: match scan.entries.len() {
            1 => "1 library".to_owned(),
            count => format!("{count} libraries"),
        },
        wrong,
        findings: problem_lines(&scan.problems).iter().map(FindingLine::of_problem).collect(),
    }
}
