//! Why the preload object cannot be handed out.

use crate::host::{Hints, Untrusted};
use std::io;
use std::path::PathBuf;

/// Why the preload object cannot be handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// `cshim/` has no code for the target of this build.
    #[error("no preload object for this machine")]
    Unsupported,
    /// The image has no room for the binary's path: the build is broken.
    #[error("the preload object has no room for the path of the binary")]
    Image,
    /// The binary's path cannot be written into the image.
    #[error("the preload object cannot start `{path}`: the path is relative or too long")]
    Binary {
        /// The path of the binary.
        path: PathBuf,
    },
    /// No variable names the cache directory.
    #[error("no cache directory: none of CUDASHIM_CACHE, XDG_CACHE_HOME and HOME is set")]
    NoCacheDir,
    /// `HOME` is not an absolute path.
    #[error("no cache directory: HOME is `{}`, not an absolute path", path.display())]
    Relative {
        /// Its value.
        path: PathBuf,
    },
    /// `LD_PRELOAD` cannot express the path of the directory.
    #[error("cannot use `{path}` in LD_PRELOAD: the path contains `{character}`")]
    Unspeakable {
        /// The directory.
        path: PathBuf,
        /// The first character that ld.so interprets.
        character: char,
    },
    /// The directory cannot be made or read.
    #[error("cannot use the cache directory `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another user can change what is in the directory.
    #[error("the cache directory `{path}` belongs to user {owner}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The user ID it belongs to.
        owner: u32,
    },
    /// Another user can replace the directory, or one above it.
    #[error("the cache directory `{path}` is not safe: {why}")]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// What others can change.
        why: Untrusted,
    },
    /// Group or others can change what is in the directory.
    #[error("group or others may write to the cache directory `{path}` (mode {mode:03o})")]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing below the directory can be mapped as code.
    #[error("the cache directory `{path}` is on a file system mounted noexec")]
    NoExec {
        /// The directory.
        path: PathBuf,
    },
    /// The file cannot be read back or written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Hints for ShimError {
    fn hints(&self) -> Vec<String> {
        let elsewhere = "set `CUDASHIM_CACHE` to a directory of your own";
        let hint = match self {
            Self::Unsupported | Self::Image => return Vec::new(),
            Self::Binary { .. } => "install cudashim at a shorter absolute path".into(),
            Self::NoCacheDir | Self::Relative { .. } | Self::Foreign { .. } | Self::Exposed { .. } => elsewhere.into(),
            Self::Unspeakable { .. } => {
                format!("{elsewhere}, without spaces, colons or `$` in its path")
            }
            Self::Writable { path, .. } => format!("run `chmod go-w {}`", path.display()),
            Self::NoExec { .. } => format!("{elsewhere}, on a file system that may hold programs"),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => return Vec::new(),
            Self::Directory { .. } | Self::Write { .. } => {
                format!("{elsewhere} that can be written")
            }
        };
        vec![hint]
    }
}
