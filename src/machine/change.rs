//! A change of a machine, as a remedy makes it.

use super::wheel::Wheel;
use crate::host;
use std::ffi::OsString;
use std::path::PathBuf;

/// What differs from the machine as it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A variable has another value, or none.
    Variable(String, Option<OsString>),
    /// The shim hands out the chosen set.
    Set,
    /// Files are removed or replaced.
    #[doc(hidden)]
    Files(Vec<(PathBuf, host::Change)>),
    /// Packages are removed, then wheels installed.
    #[doc(hidden)]
    Wheels {
        /// Normalised names.
        remove: Vec<String>,
        /// Wheels to install, replacing the installed releases.
        install: Vec<Wheel>,
    },
    /// Several changes in sequence.
    Then(Vec<Change>),
}
