//! A request of the user, its answer, and the errors.

use crate::check::{Subject, SubjectError};
use crate::host::Hints;
use crate::inventory::Problem;
use crate::python::InterpreterError;
use crate::report::ResolveReport;
use crate::resolve::solve::NoSolution;
use crate::resolve::{Policy, Resolution};
use crate::target::{Requirement, Spec, SpecError};
use std::ffi::OsString;
use std::path::PathBuf;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--torch SPEC`.
    pub spec: Spec,
    /// `--python PY`: an interpreter, or the directory of its environment.
    pub python: Option<PathBuf>,
    /// `--for PATH`: ELF files.
    pub files: Vec<PathBuf>,
    /// `--place DIR`.
    pub places: Vec<PathBuf>,
    /// `--use`, `--forbid`, `--explain`.
    pub policy: Policy,
    /// The command to run, if any.
    pub command: Vec<OsString>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The requirement of the target; `None` if it does not need CUDA.
    pub requirement: Option<Requirement>,
    /// The chosen set; `None` if there is nothing to choose.
    pub resolution: Option<Resolution>,
    /// Why there is nothing to choose.
    pub nothing: Option<String>,
    /// Defects of files that the scan found.
    #[doc(hidden)]
    pub problems: Vec<Problem>,
}

impl Answer {
    /// The report for people and programs.
    #[must_use]
    #[doc(hidden)]
    pub fn report(&self) -> ResolveReport {
        ResolveReport::new(self.requirement.as_ref(), self.resolution.as_ref(), self.nothing.as_deref())
            .with_problems(&self.problems)
    }
}

/// The target that `check` judges.
#[derive(Debug)]
pub enum Checked {
    /// A subject to judge.
    Subject(Box<Subject>),
    /// The target does not need CUDA; the reason.
    Nothing(String),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The interpreter cannot be described.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The installed torch is not the requested one.
    #[error("`{}` has torch {found}, not `{requested}`", python.display())]
    OtherTorch {
        /// The interpreter.
        python: PathBuf,
        /// The installed release.
        found: String,
        /// The requested release.
        requested: String,
    },
    /// The requested torch is unknown.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The requested torch is not installed.
    #[error("no torch that fits `{0}` is installed here: only what is installed can be checked")]
    NotInstalled(String),
    /// The target cannot be checked.
    #[error(transparent)]
    #[doc(hidden)]
    Subject(#[from] SubjectError),
    /// A file given with `--for` cannot be read as an ELF object.
    #[error("cannot read `{}`: {says}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        says: String,
    },
    /// No set fits.
    #[error("{source}")]
    NoSolution {
        /// The constraints that conflict.
        source: Box<NoSolution>,
        /// The requirement of the target.
        #[doc(hidden)]
        requirement: Box<Requirement>,
    },
}

impl Hints for RequestError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoSolution { source, .. } => return source.hints(),
            Self::Interpreter(error) => return error.hints(),
            Self::OtherTorch { .. } | Self::NotInstalled(_) => {
                "omit `--torch`, or name the Python that has it with `--python`"
            }
            Self::File { .. } => "name a 64-bit ELF program or library of this machine",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }

    fn facts(&self) -> Vec<String> {
        match self {
            Self::NoSolution { source, .. } => source.clauses.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    fn headline(&self) -> String {
        match self {
            Self::NoSolution { .. } => "no compatible set of libraries".to_owned(),
            _ => self.to_string(),
        }
    }

    fn is_answer(&self) -> bool {
        matches!(self, Self::NoSolution { .. })
    }
}
