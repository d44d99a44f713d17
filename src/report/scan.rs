//! The wire types of `scan --format json` and `jsonl` (`docs/json-schema/scan.json`), and two saved scans compared
//! (`diff.json`).

use super::findings::{FindingLine, FindingList};
use super::human::one_line;
use super::json::{JsonPath, ProblemFile, SCHEMA};
use crate::inventory::scan::{Entry, Scan};
use crate::inventory::{Digest, Evidence, Library, Owner, Problem, Reach, Verified};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

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

/// A line of `scan --format jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ScanLine {
    /// A file, as soon as it was read.
    Library(Box<ScanLibrary>),
    /// The last line: what concerns all of them together.
    End(ScanEnd),
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
                ScanLine::Library(library) => report.libraries.push(*library),
                ScanLine::End(end) => (report.stopped, report.problems) = (end.stopped, end.problems),
            }
        }
        Ok(report)
    }
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
pub(super) fn word(value: &impl Serialize) -> String {
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

/// The differences between two saved scans, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanDiff {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `scans`.
    pub compared: &'static str,
    /// Files only in the second.
    pub came: Vec<FileLine>,
    /// Files only in the first.
    pub went: Vec<FileLine>,
    /// Paths in both, with another file; and libraries of one package that stand in another environment.
    pub changed: Vec<ChangedFile>,
    /// How many files are the same in another environment.
    pub moved: usize,
    /// Problems of the second only.
    pub new_problems: Vec<ProblemFile>,
    /// Problems of the first only.
    pub gone_problems: Vec<ProblemFile>,
}

/// A path and the file there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileLine {
    /// The path.
    pub path: JsonPath,
    /// The file there.
    #[serde(flatten)]
    pub file: FileState,
}

/// A path with another file than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedFile {
    /// The path.
    pub path: JsonPath,
    /// Its path in the first scan, if that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<JsonPath>,
    /// The file in the first scan.
    pub before: FileState,
    /// The file in the second scan.
    pub after: FileState,
}

/// The properties that identify a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// Its release.
    pub version: Option<String>,
    /// Its build ID.
    pub build_id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Its digest, if the scan has it.
    pub sha256: Option<String>,
}

impl FileState {
    fn of(library: &ScanLibrary) -> Self {
        Self {
            version: library.version.clone(),
            build_id: library.build_id.clone(),
            size: library.size,
            sha256: library.sha256.clone(),
        }
    }

    /// A digest counts only where both scans have one.
    fn differs(&self, other: &Self) -> bool {
        let digests = self.sha256.as_ref().zip(other.sha256.as_ref()).is_some_and(|(one, other)| one != other);
        digests || (&self.version, &self.build_id, self.size) != (&other.version, &other.build_id, other.size)
    }

    /// The properties that distinguish it from another file.
    fn text(&self, other: Option<&Self>) -> String {
        let version = self.version.as_deref().unwrap_or("release unknown").to_owned();
        match other {
            Some(other) if other.version == self.version => {
                let id =
                    |state: &Self| state.build_id.as_deref().and_then(|id| id.get(..8)).unwrap_or("none").to_owned();
                if id(self) == id(other) && self.size == other.size {
                    format!(
                        "{version} (SHA-256 {})",
                        self.sha256.as_deref().and_then(|hex| hex.get(..8)).unwrap_or("?")
                    )
                } else {
                    format!("{version} ({} bytes, build ID {})", self.size, id(self))
                }
            }
            _ => version,
        }
    }
}

impl ScanDiff {
    /// Compares two scans.
    #[must_use]
    pub fn new(before: &ScanReport, after: &ScanReport) -> Self {
        let index = |report: &ScanReport| -> BTreeMap<PathBuf, FileState> {
            report.libraries.iter().map(|library| (library.path.to_path(), FileState::of(library))).collect()
        };
        let (old, new) = (index(before), index(after));
        let only = |these: &BTreeMap<PathBuf, FileState>, those: &BTreeMap<PathBuf, FileState>| -> Vec<FileLine> {
            let only = these.iter().filter(|(path, _)| !those.contains_key(*path));
            only.map(|(path, file)| FileLine { path: path.as_path().into(), file: file.clone() }).collect()
        };
        let changed = new.iter().filter_map(|(path, after)| {
            let before = old.get(path).filter(|before| before.differs(after))?;
            Some(ChangedFile { path: path.as_path().into(), was: None, before: before.clone(), after: after.clone() })
        });
        let mut changed: Vec<ChangedFile> = changed.collect();
        let (mut came, mut went) = (only(&new, &old), only(&old, &new));
        let mut moved = 0;
        // A file of a package counts as the same library in any environment: it is identified by its path below the
        // site.
        let places = |lines: &[FileLine]| {
            let mut places: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
            for (at, line) in lines.iter().enumerate() {
                if let Some(place) = below_site(&line.path.to_path()) {
                    places.entry(place).and_modify(|known| *known = None).or_insert(Some(at));
                }
            }
            places
        };
        let (old_places, mut gone, mut there) = (places(&went), BTreeSet::new(), BTreeSet::new());
        for (place, at) in places(&came) {
            let (Some(to), Some(from)) = (at, old_places.get(&place).copied().flatten()) else { continue };
            let (Some(after), Some(before)) = (came.get(to), went.get(from)) else { continue };
            if before.file.differs(&after.file) {
                let was = Some(before.path.clone());
                let (before, after, path) = (before.file.clone(), after.file.clone(), after.path.clone());
                changed.push(ChangedFile { path, was, before, after });
            } else {
                moved += 1;
            }
            gone.insert(before_path(&went, from));
            there.insert(before_path(&came, to));
        }
        came.retain(|line| !there.contains(&line.path.to_path()));
        went.retain(|line| !gone.contains(&line.path.to_path()));
        // The same problem at the same place of two environments is not a difference.
        let problem = |problem: &ProblemFile| {
            let path = problem.path.to_path();
            (problem.id.clone(), below_site(&path).unwrap_or(path))
        };
        let beyond = |these: &ScanReport, those: &ScanReport| -> Vec<ProblemFile> {
            let known: BTreeSet<_> = those.problems.iter().map(problem).collect();
            let new = |it: &&ProblemFile| !those.problems.contains(it) && (moved == 0 || !known.contains(&problem(it)));
            these.problems.iter().filter(new).cloned().collect()
        };
        Self {
            schema: SCHEMA,
            compared: "scans",
            came,
            went,
            changed,
            moved,
            new_problems: beyond(after, before),
            gone_problems: beyond(before, after),
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.came.is_empty()
            && self.went.is_empty()
            && self.changed.is_empty()
            && self.new_problems.is_empty()
            && self.gone_problems.is_empty()
    }

    /// The problems that the second scan has and the first has not.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        FindingList {
            command: "diff",
            verdict: if self.is_empty() { "nothing differs".to_owned() } else { self.counts() },
            wrong: !self.is_empty(),
            findings: self.new_problems.iter().map(FindingLine::of_problem).collect(),
        }
    }

    fn counts(&self) -> String {
        format!("{} came, {} went, {} changed", self.came.len(), self.went.len(), self.changed.len())
    }

    /// One line for each difference: `+` came, `-` went, `~` changed.
    #[must_use]
    pub fn text(&self) -> String {
        let elsewhere = match self.moved {
            0 => String::new(),
            1 => "1 file is the same in another environment\n".to_owned(),
            count => format!("{count} files are the same in another environment\n"),
        };
        if self.is_empty() {
            return format!("nothing differs\n{elsewhere}");
        }
        let mut text = String::new();
        for line in &self.went {
            let _ = writeln!(text, "- {} ({})", one_line(line.path.to_path().display()), line.file.text(None));
        }
        for line in &self.came {
            let _ = writeln!(text, "+ {} ({})", one_line(line.path.to_path().display()), line.file.text(None));
        }
        for ChangedFile { path, before, after, .. } in &self.changed {
            let (old, new) = (before.text(Some(after)), after.text(Some(before)));
            let _ = writeln!(text, "~ {}: {old} → {new}", one_line(path.to_path().display()));
        }
        for (sign, problems) in [("no longer", &self.gone_problems), ("now", &self.new_problems)] {
            for problem in problems {
                let _ = writeln!(
                    text,
                    "{sign} {}: {}: {}",
                    problem.id,
                    one_line(problem.path.to_path().display()),
                    one_line(&problem.says)
                );
            }
        }
        let _ = writeln!(text, "{}", self.counts());
        text + &elsewhere
    }
}

/// A path relative to the site directory of its environment.
fn below_site(path: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = path.iter().collect();
    let site = parts.iter().rposition(|part| *part == "site-packages" || *part == "dist-packages")?;
    Some(parts.get(site + 1..)?.iter().collect())
}

fn before_path(lines: &[FileLine], at: usize) -> PathBuf {
    lines.get(at).map(|line| line.path.to_path().clone()).unwrap_or_default()
}
