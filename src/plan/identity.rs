//! Whether a file is the one of a plan, even under another inode.
//!
//! Takes a library of a plan and a file; gives the [`Identity`]. Reads the file only where its stat does not decide.

use super::PlanLibrary;
use crate::host::Stat;
use crate::inventory::sha256;
use crate::loader::Objects;
use std::path::Path;

/// A file compared with a library of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The same bytes, by build ID and size, or by digest.
    Same,
    /// The same build ID, with another size.
    OtherSize,
    /// Another build, with its identity where known.
    Other(Option<String>),
    /// Undecided; with an error where it cannot be read.
    Unknown(Option<String>),
}

impl Identity {
    /// Compares the file at `path` with the stat `stat`; computes its digest only where the size is that of the
    /// library.
    #[must_use]
    pub fn at(objects: &Objects, library: &PlanLibrary, path: &Path, stat: Stat) -> Self {
        if library.is_same(stat) {
            return Self::Same;
        }
        let same_size = stat.size == library.size;
        match library.identity.as_deref() {
            Some(identity) if identity.starts_with("build-id:") => match objects.open(path) {
                Err(error) => Self::Unknown(Some(error.to_string())),
                Ok(object) => {
                    let is = object.facts.build_id.as_ref().map(|id| format!("build-id:{id}"));
                    match is {
                        Some(is) if is == identity && same_size => Self::Same,
                        Some(is) if is == identity => Self::OtherSize,
                        is => Self::Other(is),
                    }
                }
            },
            Some(_) | None if !same_size => Self::Other(None),
            Some(identity) => match objects.host().map(path) {
                Err(error) => Self::Unknown(Some(error.to_string())),
                Ok((bytes, _)) => {
                    let is = format!("sha256:{}", sha256(&bytes));
                    if is == identity { Self::Same } else { Self::Other(Some(is)) }
                }
            },
            None => Self::Unknown(None),
        }
    }
}
