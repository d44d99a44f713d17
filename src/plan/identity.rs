//! Whether a file is the one that a plan means, also where its inode is another.
//!
//! Takes a library of a plan and a file; gives what one is to the other. Reads the file only where its stat does not tell.

use super::PlanLibrary;
use crate::host::Stat;
use crate::inventory::sha256;
use crate::loader::Objects;
use std::path::Path;

/// What a file is to a library of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The very same bytes, as far as build ID and size, or a digest, tell.
    Same,
    /// Its build ID, with another size.
    OtherSize,
    /// Another build, and what it is where that is known.
    Other(Option<String>),
    /// Nothing tells; an error where it could not be read.
    Unknown(Option<String>),
}

impl Identity {
    /// Looks at the file at `path`, whose stat is given; reads its digest only where the size is that of the library.
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
