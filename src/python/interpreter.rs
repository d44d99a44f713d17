//! An interpreter and the directories it imports from.
//!
//! Its description, the modules with which it opens libraries, and the errors of finding one.

use crate::host::{Hints, Host};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why no interpreter could be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpreterError {
    /// There is no such file.
    #[error("cannot find the Python `{}`: {says}", path.display())]
    NotFound {
        /// The word that names it.
        path: PathBuf,
        /// What is in its place.
        says: String,
    },
    /// Only a run would show its paths, and the machine is an image.
    #[error("cannot query the sys.path of `{}`: it belongs to another root", .0.display())]
    Foreign(PathBuf),
    /// Only a run would show its paths, and it must not be run.
    #[error("cannot query the sys.path of `{}`: {why}", path.display())]
    Untrusted {
        /// The interpreter.
        #[doc(hidden)]
        path: PathBuf,
        /// Who else could have written it, or how it was found.
        why: String,
    },
    /// It was run, and its output is not that of a Python.
    #[error("cannot query the sys.path of `{}`: {says}", path.display())]
    NoAnswer {
        /// The interpreter.
        #[doc(hidden)]
        path: PathBuf,
        /// What happened instead.
        says: String,
    },
}

impl Hints for InterpreterError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Untrusted { .. } => {
                "name an interpreter that nobody else may write to with `--python`, or start this one: `cudashim run`"
            }
            Self::Foreign(_) => "name an environment that has a `pyvenv.cfg` with `--python`",
            Self::NotFound { .. } => {
                "name an interpreter, a command on PATH, an environment's directory, or a project that has `.venv`"
            }
            Self::NoAnswer { .. } => "name a working Python with `--python`",
        };
        vec![hint.to_owned()]
    }
}

/// A Python interpreter in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The file, as it would be started (symbolic links kept: they choose the virtual environment).
    pub program: PathBuf,
    /// `sys.prefix`.
    pub prefix: PathBuf,
    /// `3.12`.
    pub version: String,
    /// The directories it imports installed packages from, in order: `PYTHONPATH`, site-packages, user site, those of
    /// `.pth` files.
    pub paths: Vec<PathBuf>,
    /// `sys.executable`, where that is another path of the same program.
    pub(super) other: Option<PathBuf>,
}

impl Interpreter {
    /// The known paths of the program.
    #[must_use]
    #[doc(hidden)]
    pub fn programs(&self) -> Vec<PathBuf> {
        let programs = std::iter::once(&self.program).chain(&self.other).filter(|path| path.is_absolute());
        programs.cloned().collect()
    }

    /// The same environment for another program, which embeds the interpreter or does not need it.
    #[must_use]
    #[doc(hidden)]
    pub fn within(self, program: PathBuf) -> Self {
        Self { program, other: None, ..self }
    }

    /// The extension modules that open libraries by name for Python code: `_ctypes` of the interpreter itself, cffi's
    /// backend where that is installed. An interpreter that was built with `_ctypes` in it has no such file.
    #[must_use]
    #[doc(hidden)]
    pub fn openers(&self, host: &Host) -> Vec<PathBuf> {
        let base = host.canonical(&self.program).unwrap_or_default();
        let dynload = base
            .parent()
            .and_then(Path::parent)
            .map(|prefix| prefix.join("lib").join(format!("python{}", self.version)).join("lib-dynload"));
        let named = |dir: &PathBuf, stem: &str| {
            let entries = host.list(dir).unwrap_or_default();
            let module = |name: &[u8]| name.starts_with(stem.as_bytes()) && name.ends_with(b".so");
            let found = entries.into_iter().filter(|entry| module(entry.name.as_bytes()));
            found.map(|entry| dir.join(entry.name)).collect::<Vec<_>>()
        };
        let ctypes = dynload.iter().flat_map(|dir| named(dir, "_ctypes."));
        ctypes.chain(self.paths.iter().flat_map(|site| named(site, "_cffi_backend."))).collect()
    }
}
