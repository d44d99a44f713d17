//! Why an image cannot be read.

use crate::host::{Hints, TreeError, escape};
use std::io;
use std::path::PathBuf;

/// The error, with the file that it is about.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the image `{}`: {fault}", path.display())]
pub struct ImageError {
    /// What was named.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is neither an archive nor a directory of an image.
    #[error("it is neither the output of `docker save` nor an OCI layout")]
    Form,
    /// Its description is damaged, or a part that it names is missing.
    #[error("{0}")]
    Manifest(String),
    /// An archive is damaged.
    #[error("the archive is damaged at byte {at}: {what}")]
    Tar {
        /// The offset in the unpacked archive.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A member of a layer cannot be in a file system.
    #[error("layer {layer} has `{name}`: {error}")]
    Member {
        /// The number of the layer, from 1.
        layer: usize,
        /// The name of the member.
        name: String,
        /// What is wrong with it.
        error: TreeError,
    },
    /// A limit is exceeded.
    #[error("{0}")]
    Limit(String),
    /// It has several images, or none of this name or platform.
    #[error("{what}: {}", names.join(", "))]
    Choice {
        /// What cannot be chosen.
        what: String,
        /// What it has.
        names: Vec<String>,
        /// The option that chooses.
        option: &'static str,
    },
}

impl Fault {
    pub(super) fn member(layer: usize, name: &[u8], error: TreeError) -> Self {
        Self::Member { layer, name: escape::bytes(name), error }
    }
}

impl Hints for ImageError {
    fn hints(&self) -> Vec<String> {
        let hint = match &self.fault {
            Fault::Form => {
                "name a directory, or an archive of `docker save`; unpack the output of `docker export` first"
            }
            Fault::Choice { option: "--tag", .. } => "choose one with `--tag NAME`",
            Fault::Choice { .. } => "choose one with `--platform OS/ARCHITECTURE`",
            Fault::Tar { .. } | Fault::Manifest(_) => "save or download the image again",
            Fault::Limit(_) => "unpack the image where it can do no harm, and name its directory",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
