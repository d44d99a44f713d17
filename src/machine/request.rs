//! A request as a user makes it, and what comes back: an answer, or why there is none.

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

/// What is asked for.
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
    /// The command that is to be run, if any.
    pub command: Vec<OsString>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The consumer; `None` where nothing asks for CUDA.
    pub requirement: Option<Requirement>,
    /// The chosen set; `None` where there is nothing to choose.
    pub resolution: Option<Resolution>,
    /// Why there is nothing to choose.
    pub nothing: Option<String>,
    /// What was wrong with files on the way.
    #[doc(hidden)]
    pub problems: Vec<Problem>,
}

impl Answer {
    /// What people and programs are told.
    #[must_use]
    #[doc(hidden)]
    pub fn report(&self) -> ResolveReport {
        ResolveReport::new(self.requirement.as_ref(), self.resolution.as_ref(), self.nothing.as_deref())
            .with_problems(&self.problems)
    }
}

/// What `check` is asked to judge.
#[derive(Debug)]
pub enum Checked {
    /// This.
    Subject(Box<Subject>),
    /// Nothing asks for CUDA: why.
    Nothing(String),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The interpreter asked for cannot be described.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The torch asked for is not the one that is there.
    #[error("`{}` has torch {found}, not `{wanted}`", python.display())]
    OtherTorch {
        /// The interpreter.
        python: PathBuf,
        /// What it has.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The torch asked for is not known.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A torch is meant that is not installed.
    #[error("no torch that fits `{0}` is installed here: only what is installed can be checked")]
    NotInstalled(String),
    /// What is to be checked cannot be.
    #[error(transparent)]
    #[doc(hidden)]
    Subject(#[from] SubjectError),
    /// A file given with `--for` cannot be read as an ELF object.
    #[error("cannot read `{}`: {says}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        says: String,
    },
    /// Nothing fits.
    #[error("{source}")]
    NoSolution {
        /// The facts that cannot hold together.
        source: Box<NoSolution>,
        /// What was asked for.
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
            Self::NoSolution { .. } => "no set of libraries fits".to_owned(),
            _ => self.to_string(),
        }
    }

    fn is_answer(&self) -> bool {
        matches!(self, Self::NoSolution { .. })
    }
}
