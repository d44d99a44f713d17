//! The errors with which ld.so ends a process or a `dlopen`, to the letter.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// Why a process does not start, or a `dlopen` fails.
///
/// Its `Display` is the text that ld.so prints or `dlerror(3)` returns, to the letter.
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
        /// The name, or the file that was found for it.
        name: OsString,
        /// ld.so's reason.
        reason: String,
    },
    /// A signal ends the process: ld.so maps the file, and its pages or tables are missing.
    Killed {
        /// The file.
        object: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An object needs a node of a name that no object has, or a symbol of a provider that must define versions and
    /// has none; an assertion of glibc ends the process.
    Assertion {
        /// The source file of glibc.
        file: &'static str,
        /// The function.
        function: &'static str,
        /// The asserted condition.
        condition: &'static str,
    },
    /// A version node is undefined.
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
        /// The object that needs it.
        object: PathBuf,
        /// The symbol.
        symbol: OsString,
        /// The version it must have.
        node: Option<OsString>,
    },
}

impl LinkError {
    pub(super) fn not_found(name: &OsStr) -> Self {
        let reason = "cannot open shared object file: No such file or directory".to_owned();
        Self { program: None, fault: Fault::Library { name: name.to_owned(), reason } }
    }
}

impl Fault {
    /// A version need names a library that no needed entry names.
    pub(super) const NEEDED: Self =
        Self::Assertion { file: "dl-version.c", function: "_dl_check_map_versions", condition: "needed != NULL" };
    /// A library that must define versions has none.
    pub(super) const VERSIONED: Self = Self::Assertion {
        file: "dl-lookup.c",
        function: "check_match",
        condition: "version->filename == NULL || ! _dl_name_match_p (version->filename, map)",
    };
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.program {
            let named = !matches!(self.fault, Fault::Killed { .. } | Fault::Assertion { .. });
            if named {
                write!(f, "{}: ", program.display())?;
            }
            match self.fault {
                Fault::Library { .. } => f.write_str("error while loading shared libraries: ")?,
                Fault::Symbol { .. } => f.write_str("symbol lookup error: ")?,
                Fault::Version { .. } => {}
                Fault::Killed { .. } | Fault::Assertion { .. } => {}
            }
        }
        self.fault.fmt(f)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Killed { object, reason } => write!(f, "{}: {reason}", object.display()),
            // glibc also prints the line, which differs between releases.
            Fault::Assertion { file, function, condition } => {
                write!(f, "Inconsistency detected by ld.so: {file}: {function}: Assertion `{condition}' failed!")
            }
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
