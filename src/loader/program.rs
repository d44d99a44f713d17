//! The kind of a program, and whether glibc's ld.so loads it.

use super::search::Loader;
use crate::loader::{Object, ObjectError};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kind of a file for execve(2) and ld.so.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProgramKind {
    /// glibc's ld.so loads it.
    Dynamic {
        /// `PT_INTERP`.
        interpreter: PathBuf,
    },
    /// An object without `PT_INTERP`: a library.
    Library,
    /// Linked statically: no ld.so loads it, and no `LD_*` variable counts.
    Static,
    /// musl's loader loads it, by other rules.
    Musl {
        /// `PT_INTERP`.
        interpreter: PathBuf,
    },
    /// Another loader loads it.
    OtherLoader {
        /// `PT_INTERP`.
        interpreter: PathBuf,
    },
    /// A text that names its interpreter on its first line, `#!`.
    Script {
        /// The interpreter.
        interpreter: PathBuf,
        /// The rest of the line.
        argument: Option<OsString>,
    },
    /// A directory.
    Directory,
    /// A file of no bytes.
    Empty,
    /// Not an ELF object, or a damaged one.
    Unreadable(ObjectError),
}

impl ProgramKind {
    /// The kind of the file at `path`.
    #[must_use]
    pub fn of(loader: &Loader, path: &Path) -> Self {
        let host = loader.host();
        if host.is_dir(path) {
            return Self::Directory;
        }
        match loader.objects().open(path) {
            Ok(object) => Self::of_object(&object),
            Err(error) => match host.read_start(path, SHEBANG) {
                Ok(start) if start.is_empty() => Self::Empty,
                Ok(start) => Self::of_script(&start).unwrap_or(Self::Unreadable(error)),
                Err(_) => Self::Unreadable(error),
            },
        }
    }

    pub(super) fn of_object(object: &Object) -> Self {
        let Some(interpreter) = object.facts.interpreter.as_deref().map(PathBuf::from) else {
            // A static position-independent program has a dynamic table, too, but needs nothing and has `DF_1_PIE`.
            let is_program = object.elf().is_ok_and(|elf| elf.is_executable());
            return if object.facts.dynamic && !is_program { Self::Library } else { Self::Static };
        };
        let name = interpreter.file_name().unwrap_or_default().as_bytes();
        if name.starts_with(b"ld-musl-") {
            Self::Musl { interpreter }
        } else if name.starts_with(b"ld-linux") || name.starts_with(b"ld64.so") || name.starts_with(b"ld.so") {
            Self::Dynamic { interpreter }
        } else {
            Self::OtherLoader { interpreter }
        }
    }

    /// `fs/binfmt_script.c` of Linux: the interpreter ends at white space, and the rest of the line is one argument.
    fn of_script(start: &[u8]) -> Option<Self> {
        let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
        let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (interpreter, rest) = line.split_at(end);
        let argument = Some(rest.trim_ascii()).filter(|rest| !rest.is_empty());
        (!interpreter.is_empty()).then(|| Self::Script {
            interpreter: PathBuf::from(OsStr::from_bytes(interpreter)),
            argument: argument.map(|argument| OsStr::from_bytes(argument).to_owned()),
        })
    }
}

/// `BINPRM_BUF_SIZE`: how much of a script the kernel reads.
const SHEBANG: usize = 256;
