//! How ld.so puts it when an object cannot be loaded.

use super::error::Fault;
use super::search::{Errno, Failure};
use crate::elf::Refusal;
use crate::loader::{LoadError, ObjectError, Objects};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The words of `_dl_signal_error`: about what, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// A name, or the file that was found for it, and the reason.
    Says { about: OsString, reason: String, errno: Option<Errno> },
    /// Nothing: the process is ended by a signal over this file.
    Killed(PathBuf, String),
}

impl Words {
    pub(super) fn of(failure: &Failure, name: &OsStr) -> Self {
        let says = |about: &OsStr, reason: &str, errno: Option<Errno>| Self::Says {
            about: about.to_owned(),
            reason: reason.to_owned(),
            errno,
        };
        match failure {
            Failure::NotFound(errno) => says(name, "cannot open shared object file", Some(*errno)),
            Failure::OtherClass => says(name, "wrong ELF class: ELFCLASS32", None),
            Failure::Token => says(name, "DST not allowed in SUID/SGID programs", None),
            Failure::Mapping(_, fault) => says(name, fault, None),
            Failure::Unusable(path, error) => match error {
                LoadError::Refused(Refusal::Fatal(words)) => says(path.as_os_str(), words, None),
                LoadError::Read(error) => says(path.as_os_str(), "cannot read file data", Some(Errno::of(error))),
                LoadError::Dies(error) => Self::Killed(path.clone(), error.to_string()),
                LoadError::Open(error) => says(name, "cannot open shared object file", Some(Errno::of(error))),
                LoadError::Refused(_) => says(name, "cannot open shared object file", Some(Errno::NOENT)),
            },
        }
    }

    /// The fault in full; at start-up ld.so has words of its own for but a few errors.
    pub(super) fn fault(&self, startup: bool) -> Fault {
        match self {
            Self::Killed(object, reason) => Fault::Killed { object: object.clone(), reason: reason.clone() },
            Self::Says { about, reason, errno } => {
                let errno = errno.map(|errno| if startup { minimal_strerror(errno) } else { strerror(errno) });
                let reason = errno.map_or_else(|| reason.clone(), |errno| format!("{reason}: {errno}"));
                Fault::Library { name: about.clone(), reason }
            }
        }
    }

    /// The reason alone.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Says { reason, .. } | Self::Killed(_, reason) => reason,
        }
    }
}

/// `__strerror_r` of `elf/dl-minimal.c`, which serves until the C library does.
fn minimal_strerror(errno: Errno) -> String {
    use rustix::io::Errno as E;
    let known = [E::NOMEM, E::INVAL, E::NOENT, E::PERM, E::ACCESS];
    if known.iter().any(|known| known.raw_os_error() == errno.0) {
        strerror(errno)
    } else {
        format!("Error {}", errno.0)
    }
}

impl LoadError {
    /// The same as our own reader puts it.
    pub(super) fn as_object_error(&self, path: &Path, objects: &Objects) -> ObjectError {
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
