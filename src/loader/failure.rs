//! How ld.so puts it when an object cannot be loaded.

use super::search::{Errno, Failure};
use crate::elf::Refusal;
use crate::objects::{LoadError, ObjectError, Objects};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The words of `_dl_signal_error`: about what, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// A name, or the file that was found for it, and the reason.
    Says(OsString, String),
    /// Nothing: the process is ended by a signal over this file.
    Killed(PathBuf, String),
}

impl Words {
    pub(super) fn of(failure: &Failure, name: &OsStr) -> Self {
        let says = |object: &OsStr, words: String| Self::Says(object.to_owned(), words);
        match failure {
            Failure::NotFound(errno) => says(name, format!("cannot open shared object file: {}", strerror(*errno))),
            Failure::OtherClass => says(name, "wrong ELF class: ELFCLASS32".to_owned()),
            Failure::Token => says(name, "DST not allowed in SUID/SGID programs".to_owned()),
            Failure::Mapping(_, fault) => says(name, (*fault).to_owned()),
            Failure::Unusable(path, error) => match error {
                LoadError::Refused(Refusal::Fatal(words)) => says(path.as_os_str(), (*words).to_owned()),
                LoadError::Read(error) => {
                    let errno = Errno(error.raw_os_error().unwrap_or_default());
                    says(path.as_os_str(), format!("cannot read file data: {}", strerror(errno)))
                }
                LoadError::Dies(error) => Self::Killed(path.clone(), error.to_string()),
                LoadError::Open(error) => says(name, format!("cannot open shared object file: {error}")),
                LoadError::Refused(_) => says(name, "cannot open shared object file".to_owned()),
            },
        }
    }
}

impl LoadError {
    /// The same as our own reader puts it.
    pub(super) fn as_object_error(&self, path: &Path, objects: &Objects<'_>) -> ObjectError {
        match self {
            Self::Dies(error) => error.clone(),
            Self::Open(error) | Self::Read(error) => ObjectError::Open(error.clone()),
            Self::Refused(Refusal::Fatal(words)) => objects.open(path).err().unwrap_or(ObjectError::Refused(words)),
            Self::Refused(_) => objects.open(path).err().unwrap_or(ObjectError::Refused("for another machine")),
        }
    }
}

/// The words of strerror(3), which std decorates with the number.
fn strerror(errno: Errno) -> String {
    let mut text = std::io::Error::from_raw_os_error(errno.0).to_string();
    if let Some(at) = text.find(" (os error ") {
        text.truncate(at);
    }
    text
}
