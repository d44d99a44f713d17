//! The wire types of `resolve --format json` (`docs/json-schema/resolve.json`). They also are what the cache
//! keeps, so that a cached answer reads the same as a fresh one.

use crate::inventory::{Problem, TORN};
use crate::plan::How;
use crate::resolve::Resolution;
use crate::resolve::solve::NoSolution;
use crate::tables::parse_library_name;
use crate::target::Requirement;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The version of all JSON this program writes.
pub const SCHEMA: u32 = 1;

/// A path: a string, or its bytes where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum JsonPath {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
    },
}

impl From<&Path> for JsonPath {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes { bytes: path.as_os_str().as_encoded_bytes().to_vec() },
        }
    }
}

impl JsonPath {
    /// The path itself.
    #[must_use]
    pub fn to_path(&self) -> PathBuf {
        match self {
            Self::Text(text) => PathBuf::from(text),
            Self::Bytes { bytes } => PathBuf::from(OsString::from_vec(bytes.clone())),
        }
    }
}

/// A copy that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCopy {
    /// Where it is.
    pub path: JsonPath,
    /// Its release.
    pub version: Option<String>,
    /// Why not.
    pub because: String,
}

/// A library of the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenLibrary {
    /// Its soname.
    pub soname: String,
    /// The file.
    pub path: JsonPath,
    /// Its release.
    pub version: Option<String>,
    /// `preload` or `redirect`.
    pub how: String,
    /// Why this copy.
    pub because: String,
    /// The others.
    pub refused: Vec<RefusedCopy>,
}

/// A needed soname that is not in the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    /// The name.
    pub soname: String,
    /// Why that is no obstacle.
    pub because: String,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemFile {
    /// A stable word.
    pub id: String,
    /// The file.
    pub path: JsonPath,
    /// What is wrong with it.
    pub says: String,
}

impl ProblemFile {
    /// Whether the file is of another release than its group.
    pub(super) fn is_torn(&self) -> bool {
        TORN.contains(&&*self.id)
    }
}

/// The report of `resolve --explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainReport<'r> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The target in a few words.
    pub r#for: &'r str,
    /// The library.
    #[serde(flatten)]
    pub library: &'r ChosenLibrary,
}

/// The report of `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The target in a few words.
    pub r#for: String,
    /// Where it is.
    pub path: Option<JsonPath>,
    /// The CUDA release it was built with.
    pub cuda: Option<String>,
    /// The chosen set; absent where nothing fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<ChosenLibrary>>,
    /// Sonames left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<Unserved>,
    /// The facts that cannot hold together, where nothing fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_solution: Option<Vec<String>>,
    /// What would change that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Files that cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemFile>,
    /// Why there is nothing to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing: Option<String>,
}

impl ResolveReport {
    /// The report of an answer: the target, the set, or why there is nothing to choose.
    #[must_use]
    pub fn new(requirement: Option<&Requirement>, resolution: Option<&Resolution>, nothing: Option<&str>) -> Self {
        let mut report = Self::empty(requirement);
        report.nothing = nothing.map(str::to_owned);
        report.set = Some(Vec::new());
        if let Some(resolution) = resolution {
            let set = resolution.set.iter().map(|choice| ChosenLibrary {
                soname: choice.soname.clone(),
                path: choice.path.as_path().into(),
                version: choice.version.clone(),
                how: if choice.how == How::Redirect { "redirect" } else { "preload" }.to_owned(),
                because: choice.because.clone(),
                refused: choice
                    .refused
                    .iter()
                    .map(|copy| RefusedCopy {
                        path: copy.path.as_path().into(),
                        version: copy.version.clone(),
                        because: copy.because.clone(),
                    })
                    .collect(),
            });
            report.set = Some(set.collect());
            report.unserved = resolution
                .unserved
                .iter()
                .map(|(soname, because)| Unserved { soname: soname.clone(), because: because.clone() })
                .collect();
        }
        report
    }

    /// The report without the libraries of the driver: those of an assumed one are nowhere.
    #[must_use]
    pub fn without_driver(mut self) -> Self {
        let of_driver = |soname: &str| parse_library_name(soname).is_some_and(|name| name.row.is_driver());
        self.set.iter_mut().for_each(|set| set.retain(|library| !of_driver(&library.soname)));
        self
    }

    /// The report if no set fits.
    #[must_use]
    pub fn none(requirement: &Requirement, none: &NoSolution) -> Self {
        let mut report = Self::empty(Some(requirement));
        report.no_solution = Some(none.clauses.iter().map(ToString::to_string).collect());
        report.hints = none.hints().iter().map(ToString::to_string).collect();
        report
    }

    /// The report with the files that cannot be used.
    #[must_use]
    pub fn with_problems(mut self, problems: &[Problem]) -> Self {
        let listed = problems.iter().map(|problem| ProblemFile {
            id: problem.id.to_owned(),
            path: problem.path.as_path().into(),
            says: problem.says.clone(),
        });
        self.problems = listed.collect();
        self
    }

    /// Warnings before a program starts with the set, each in one line.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.not_handed_out().into_iter().collect()
    }

    /// A warning about chosen libraries that are not handed out, because ld.so would expand a `$` in their path.
    pub(crate) fn not_handed_out(&self) -> Option<String> {
        let paths = self.set.iter().flatten().map(|library| library.path.to_path());
        let expanded: Vec<PathBuf> = paths.filter(|path| path.as_os_str().as_encoded_bytes().contains(&b'$')).collect();
        let dir = expanded.first()?.parent()?.display();
        let count = match expanded.len() {
            1 => "1 library is".to_owned(),
            count => format!("{count} libraries are"),
        };
        Some(format!(
            "`{dir}` has a `$` in its path: {count} left to the loader; move the environment to a path without one"
        ))
    }

    fn empty(requirement: Option<&Requirement>) -> Self {
        let cuda = requirement.and_then(|requirement| requirement.cuda);
        Self {
            schema: SCHEMA,
            r#for: requirement.map(|requirement| requirement.text.clone()).unwrap_or_default(),
            path: requirement.and_then(|requirement| requirement.path.as_deref()).map(JsonPath::from),
            cuda: cuda.map(|(major, minor)| minor.map_or(major.to_string(), |minor| format!("{major}.{minor}"))),
            set: None,
            unserved: Vec::new(),
            no_solution: None,
            hints: Vec::new(),
            problems: Vec::new(),
            nothing: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_utf_8_is_kept() {
        let path = PathBuf::from(OsString::from_vec(b"/a\xff".to_vec()));
        let text = serde_json::to_string(&JsonPath::from(path.as_path())).unwrap();
        assert_eq!(text, "{\"bytes\":[47,97,255]}");
        assert_eq!(serde_json::from_str::<JsonPath>(&text).unwrap().to_path(), path);
    }
}
