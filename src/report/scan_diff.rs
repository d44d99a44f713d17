//! Two saved scans compared, by path (`docs/json-schema/diff.json`).

use super::findings::{FindingLine, FindingList};
use super::human::one_line;
use super::json::{JsonPath, ProblemFile, SCHEMA};
use super::scan::{ScanLibrary, ScanReport};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

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
