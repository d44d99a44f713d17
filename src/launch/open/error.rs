//! Why a set could not be opened, or a function of one of its libraries not be called.

use std::io;
use std::path::PathBuf;

/// Why a set could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The plan has no library of this name.
    #[error("the plan has no `{name}`")]
    NotInPlan {
        /// The requested name.
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
    /// The file can no longer be read.
    #[error("{soname}: `{}` is missing since the plan was made", path.display())]
    Gone {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path names another file, or the file's content has changed.
    #[error("{soname}: `{}` has changed since the plan was made", path.display())]
    Changed {
        /// The library.
        #[doc(hidden)]
        soname: String,
        /// Its file.
        #[doc(hidden)]
        path: PathBuf,
    },
    /// The list of mapped files of this process cannot be read.
    #[error("cannot read `/proc/self/maps`")]
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
        /// ld.so's message.
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

/// Why a function of a library could not be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The set does not hold it.
    #[error("{soname} is not in the loaded set")]
    NotLoaded {
        /// The requested name.
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
    /// It does not define the symbol, or the requested type is not of the size of a pointer.
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
        /// ld.so's message; `None` where the symbol is a null pointer.
        source: Option<libloading::Error>,
    },
    /// Its part that defines the function cannot be opened, or is not in the plan.
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
        /// Why the part cannot be opened; `None` where the plan does not name it.
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
    /// The function returned a number that is not a version.
    #[error("{soname}: `{function}` of `{}` returned {value}, which is not a version", path.display())]
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
