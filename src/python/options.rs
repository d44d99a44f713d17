//! The options of a Python that change what it imports.
//!
//! Takes the arguments after its name; returns [`Options`]. Reads no file.

use crate::host::Host;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The options of an interpreter that change what it imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `-E`, or `-I`, which implies all three: no `PYTHON*` variables.
    pub ignore_environment: bool,
    /// `-s`: no user site.
    pub no_user_site: bool,
    /// `-P`: no directory of the script.
    pub safe_path: bool,
    /// The script, where one is run.
    pub script: Option<PathBuf>,
    /// How it was chosen, which decides whether it may be run.
    pub origin: Origin,
}

/// How an interpreter was chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The user names it or activated its environment: it is run if nobody else can write it.
    #[default]
    Named,
    /// The user starts it: it is run.
    Started,
    /// It is found through the working directory, which anybody may own: it is not run.
    Found,
}

impl Options {
    /// Reads the arguments after the interpreter's own name.
    #[must_use]
    pub fn parse(arguments: &[OsString]) -> Self {
        let mut options = Self { origin: Origin::Started, ..Self::default() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(letters) = argument.as_bytes().strip_prefix(b"-") else {
                options.script = Some(PathBuf::from(argument));
                break;
            };
            if letters.is_empty() || letters.starts_with(b"-") {
                if matches!(letters, b"-check-hash-based-pycs") {
                    rest.next();
                    continue;
                }
                break;
            }
            for (at, letter) in letters.iter().enumerate() {
                match letter {
                    b'I' => {
                        options.ignore_environment = true;
                        options.no_user_site = true;
                        options.safe_path = true;
                    }
                    b'E' => options.ignore_environment = true,
                    b's' => options.no_user_site = true,
                    b'P' => options.safe_path = true,
                    // The code or module follows, and then its own arguments.
                    b'c' | b'm' => return options,
                    b'W' | b'X' => {
                        if at + 1 == letters.len() {
                            rest.next();
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        options
    }

    /// Whether the variables that begin with `PYTHON` count.
    pub(super) fn reads_environment(&self) -> bool {
        !self.ignore_environment
    }

    /// Whether `site` may add the user's own directory.
    pub(super) fn uses_user_site(&self, host: &Host) -> bool {
        let refused = self.reads_environment() && host.env("PYTHONNOUSERSITE").is_some();
        !self.no_user_site && !refused
    }

    /// Whether the directory of the script, or the working directory, comes first.
    pub(super) fn is_unsafe(&self, host: &Host) -> bool {
        let refused = self.reads_environment() && host.env("PYTHONSAFEPATH").is_some();
        !self.safe_path && !refused
    }
}
