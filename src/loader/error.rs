//! With what ld.so ends a process or a `dlopen`, in its own words.

use super::linkmap::Missing;
use crate::objects::ObjectError;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Why a process does not start, or a `dlopen` fails.
///
/// Its `Display` is what ld.so prints, or what `dlerror(3)` gives, to the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkError {
    /// The program that does not start; `None` where a `dlopen` fails.
    pub program: Option<PathBuf>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a link map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A library could not be opened or mapped.
    Library {
        /// The name that was asked for, or the file that was found for it.
        name: OsString,
        /// What ld.so says of it.
        reason: String,
    },
    /// A version node is not defined.
    Version {
        /// The object that should define it.
        provider: PathBuf,
        /// The node.
        node: OsString,
        /// The object that needs it.
        required_by: PathBuf,
    },
    /// A symbol is not defined.
    Symbol {
        /// The object that asks for it.
        object: PathBuf,
        /// The symbol.
        symbol: OsString,
        /// The version it must have.
        node: Option<OsString>,
    },
}

impl LinkError {
    pub(super) fn of_missing(missing: &Missing, program: Option<PathBuf>) -> Self {
        let (name, reason) = match &missing.unusable {
            None => (missing.name.clone(), "cannot open shared object file: No such file or directory".to_owned()),
            Some((path, ObjectError::Open(error))) => {
                (path.clone().into_os_string(), format!("cannot open shared object file: {error}"))
            }
            Some((path, error)) => (path.clone().into_os_string(), error.to_string()),
        };
        Self { program, fault: Fault::Library { name, reason } }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.program {
            write!(f, "{}: ", program.display())?;
            match self.fault {
                Fault::Library { .. } => f.write_str("error while loading shared libraries: ")?,
                Fault::Symbol { .. } => f.write_str("symbol lookup error: ")?,
                Fault::Version { .. } => {}
            }
        }
        match &self.fault {
            Fault::Library { name, reason } => write!(f, "{}: {reason}", name.display()),
            Fault::Version { provider, node, required_by } => write!(
                f,
                "{}: version `{}' not found (required by {})",
                provider.display(),
                node.display(),
                required_by.display()
            ),
            Fault::Symbol { object, symbol, node } => {
                write!(f, "{}: undefined symbol: {}", object.display(), symbol.display())?;
                node.as_ref().map_or(Ok(()), |node| write!(f, ", version {}", node.display()))
            }
        }
    }
}

impl std::error::Error for LinkError {}
