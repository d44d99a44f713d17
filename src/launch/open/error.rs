//! Why a set could not be opened, or a library of it not be asked.

use std::io;
use std::path::PathBuf;

/// Why a set could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The plan has no library of this name.
    #[error("the plan has no `{name}`")]
    NotInPlan {
        /// The name asked for.
        name: String,
    },
    /// The plan names a path that ld.so would search for, or read against the working directory.
    #[error("{soname}: `{}` is not absolute", path.display())]
    NotAbsolute {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its path.
        #[doc(hidden)]
        path: PathBuf,
    },
    /// The file can no longer be looked at.
    #[error("{soname}: `{}` is missing since the plan was made", path.display())]
    Gone {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another file stands there, or its content was changed.
    #[error("{soname}: `{}` has changed since the plan was made", path.display())]
    Changed {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
    },
    /// What is mapped in this process cannot be read.
    #[error("`/proc/self/maps` cannot be read")]
    Maps(#[source] io::Error),
    /// ld.so refused the file.
    #[error("cannot load {soname}: `{}`", path.display())]
    Open {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// What ld.so said.
        source: libloading::Error,
    },
}

impl LoadError {
    /// What the user can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Gone { .. } | Self::Changed { .. } => vec!["make a new plan with `cudashim resolve`".to_owned()],
            Self::Open { path, .. } => vec![format!("run `cudashim inspect {}` to see what it needs", path.display())],
            _ => Vec::new(),
        }
    }
}

/// Why a library of the set could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The set does not hold it.
    #[error("{soname} is not in the loaded set")]
    NotLoaded {
        /// The name asked for.
        #[doc(hidden)]
        soname: String,
    },
    /// Its soname was mapped before from another file; see [`Origin::Other`](super::Origin::Other).
    #[error("{soname}: `{}` is not loaded: `{}` is mapped already", path.display(), mapped.display())]
    Elsewhere {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// The file the plan names.
        #[doc(hidden)]
        path: PathBuf,
        /// The file that is mapped.
        mapped: PathBuf,
    },
    /// It has no such symbol, or the type asked for cannot be one.
    #[error("{soname}: `{}` defines no usable `{symbol}`", path.display())]
    NoSymbol {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// The symbol.
        symbol: String,
        /// What ld.so said; nothing where the symbol is a null pointer.
        source: Option<libloading::Error>,
    },
    /// It leaves the function to a part of it that cannot be opened, or that the plan does not have.
    #[error("{soname}: `{}` cannot open the part that has `{function}`", path.display())]
    NoPart {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// The function.
        function: String,
        /// Why the part cannot be opened; nothing where the plan has none.
        source: Option<Box<LoadError>>,
    },
    /// The function did not succeed.
    #[error("{soname}: `{function}` of `{}` failed with status {status}", path.display())]
    Status {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// The function.
        function: String,
        /// A `cudaError_t` or `CUresult`.
        status: i32,
    },
    /// The function gave a number that is no version.
    #[error("{soname}: `{function}` of `{}` gave {value}, which is no version", path.display())]
    Implausible {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// The function.
        function: String,
        /// The number.
        value: String,
    },
}
