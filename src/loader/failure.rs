//! ld.so's message for an object that cannot be loaded.

use super::error::Fault;
use super::search::{Errno, Failure};
use crate::elf::Refusal;
use crate::loader::{LoadError, ObjectError, Objects};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The message of `_dl_signal_error`: object and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// A name, or the file that was found for it, and the reason.
    Message { about: OsString, reason: String, errno: Option<Errno> },
    /// No message: this file ends the process by a signal.
    Killed(PathBuf, String),
}

impl Words {
    pub(super) fn of(failure: &Failure, name: &OsStr) -> Self {
        let message = |about: &OsStr, reason: &str, errno: Option<Errno>| Self::Message {
            about: about.to_owned(),
            reason: reason.to_owned(),
            errno,
        };
        match failure {
            Failure::NotFound(errno) => message(name, "cannot open shared object file", Some(*errno)),
            Failure::OtherClass => message(name, "wrong ELF class: ELFCLASS32", None),
            Failure::Token => message(name, "DST not allowed in SUID/SGID programs", None),
            Failure::Mapping(_, fault) => message(name, fault, None),
            Failure::Unusable(path, error) => match error {
                LoadError::Refused(Refusal::Fatal(words)) => message(path.as_os_str(), words, None),
                LoadError::Read(error) => message(path.as_os_str(), "cannot read file data", Some(Errno::of(error))),
                LoadError::Dies(error) => Self::Killed(path.clone(), error.to_string()),
                LoadError::Open(error) => message(name, "cannot open shared object file", Some(Errno::of(error))),
                LoadError::Refused(_) => message(name, "cannot open shared object file", Some(Errno::NOENT)),
            },
        }
    }

    /// The whole fault; at start-up ld.so knows the text of only a few errors.
    pub(super) fn fault(&self, startup: bool) -> Fault {
        match self {
            Self::Killed(object, reason) => Fault::Killed { object: object.clone(), reason: reason.clone() },
            Self::Message { about, reason, errno } => {
                let errno = errno.map(|errno| if startup { minimal_strerror(errno) } else { strerror(errno) });
                let reason = errno.map_or_else(|| reason.clone(), |errno| format!("{reason}: {errno}"));
                Fault::Library { name: about.clone(), reason }
            }
        }
    }

    /// The reason alone.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Message { reason, .. } | Self::Killed(_, reason) => reason,
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
    /// The same fault as an [`ObjectError`].
    pub(super) fn as_object_error(&self, path: &Path, objects: &Objects) -> ObjectError {
        match self {
            Self::Dies(error) => error.clone(),
            Self::Open(error) | Self::Read(error) => ObjectError::Open(error.clone()),
            Self::Refused(Refusal::Fatal(words)) => objects.open(path).err().unwrap_or(ObjectError::Refused(words)),
            Self::Refused(_) => objects.open(path).err().unwrap_or(ObjectError::Refused("for another machine")),
        }
    }
}

/// The text of strerror(3), to which std appends the number.
fn strerror(errno: Errno) -> String {
    let mut text = std::io::Error::from_raw_os_error(errno.0).to_string();
    if let Some(at) = text.find(" (os error ") {
        text.truncate(at);
    }
    text
}
