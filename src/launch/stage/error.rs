//! Why a set cannot be staged.

use super::super::error::ShimError;
use crate::host::Hints;
use crate::plan::ImageError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a set cannot be staged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The directory is not safe, not writable, or cannot be run from.
    #[error("cannot stage in `{}`: {why}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The plan has no image with a name.
    #[error("cannot stage a plan without an image")]
    NotPlanned,
    /// All libraries of the plan belong to the machine.
    #[error("cannot stage the set: it has no library of an environment or toolkit")]
    Nothing,
    /// The set is larger than what may be kept.
    #[error("cannot stage {}: the limit is {}, and stages in use have {}", mib(*bytes), mib(*limit), mib(*held))]
    Limit {
        /// The size of the set.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// What is kept and used.
        held: u64,
    },
    /// The disk has too little room.
    #[error("cannot stage {} in `{}`: {} are free", mib(*bytes), dir.display(), mib(*free))]
    Full {
        /// The directory.
        dir: PathBuf,
        /// The size of the set.
        bytes: u64,
        /// The free bytes.
        free: u64,
    },
    /// An original cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A copy cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An original is not what its package recorded.
    #[error("cannot stage `{}`: its SHA-256 is not the one that {package} recorded", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The package, with its version.
        package: String,
    },
    /// A copy is not what was read.
    #[error("cannot stage `{}`: the copy differs from what was read", path.display())]
    Differs {
        /// The original.
        path: PathBuf,
    },
    /// An original changed while it was copied.
    #[error("cannot stage `{}`: it changed meanwhile", path.display())]
    Changed {
        /// The original.
        path: PathBuf,
    },
    /// The plan of the copies cannot be compiled.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl StageError {
    /// Of the checks that the cache directory has too.
    pub(super) fn of_directory(dir: &Path, why: ShimError) -> Self {
        let why = match why {
            ShimError::Directory { source, .. } => source.to_string(),
            ShimError::Foreign { owner, .. } => format!("it belongs to user {owner}"),
            ShimError::Exposed { why, .. } => why.to_string(),
            ShimError::Writable { mode, .. } => format!("group or others may write to it (mode {mode:03o})"),
            ShimError::NoExec { .. } => {
                "its file system is mounted noexec, and no library can be mapped from it".to_owned()
            }
            other => other.to_string(),
        };
        Self::Directory { dir: dir.to_owned(), why }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

impl Hints for StageError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Directory { .. } | Self::Full { .. } => {
                "name another directory with `--to`, or in `CUDASHIM_STAGE_DIR`, such as /dev/shm".to_owned()
            }
            Self::Limit { .. } => "raise `--limit`".to_owned(),
            Self::Altered { path, .. } => {
                format!(
                    "install the package again, or copy the file as it is with `--force`; see `cudashim inspect --hash {}`",
                    path.display()
                )
            }
            Self::Differs { .. } | Self::Changed { .. } => "run it again; if it fails again, check the disk".to_owned(),
            Self::Image(error) => return error.hints(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
