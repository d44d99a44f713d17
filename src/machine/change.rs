//! A change of a machine, as a remedy makes it.

use super::wheel::Wheel;
use crate::host;
use std::ffi::OsString;
use std::path::PathBuf;

/// What is other about a machine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Another value of a variable, or none.
    Variable(String, Option<OsString>),
    /// The shim hands out the set that is chosen.
    Set,
    /// Files are gone, or others.
    #[doc(hidden)]
    Files(Vec<(PathBuf, host::Change)>),
    /// Packages are removed, then wheels installed.
    #[doc(hidden)]
    Wheels {
        /// Normalised names.
        remove: Vec<String>,
        /// What is installed, over what is there.
        install: Vec<Wheel>,
    },
    /// One after the other.
    Then(Vec<Change>),
}
