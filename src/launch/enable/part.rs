//! What all parts of an enabled environment share: files written or removed together, and the manifest that tells them.
//!
//! Takes paths and bytes; gives what was done, or what stands in the way. Follows no symbolic link in the last part of a path.

use crate::host::{Hints, atomic_write};
use crate::inventory::sha256;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most bytes that a file of ours has.
const LIMIT: u64 = 1 << 20;

/// Whether a part is enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing of ours is there.
    Off,
    /// It is as it was written.
    On {
        /// The release that wrote it.
        version: String,
        /// The binary that is asked.
        binary: PathBuf,
    },
    /// Something of ours is there, and not as it was written: what.
    Broken(String),
}

/// Why a part cannot be enabled or disabled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnableError {
    /// A file that is not ours stands in the place of one.
    #[error("cannot write `{}`: a file that is not cudashim's stands there", .0.display())]
    Foreign(PathBuf),
    /// A file of ours was changed by hand.
    #[error("cannot remove `{}`: it was changed since it was written", .0.display())]
    Changed(PathBuf),
    /// It cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove `{}`", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read `{}`: {says}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        says: String,
    },
    /// The object cannot be preloaded from there.
    #[error(transparent)]
    Shim(#[from] crate::launch::shim::ShimError),
}

impl Hints for EnableError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Foreign(_) => vec!["move it away, or write over it with `--force`".to_owned()],
            Self::Changed(_) => vec!["remove it all the same with `--force`".to_owned()],
            Self::Write { source, .. } | Self::Remove { source, .. } if is_refused(source) => vec![
                "type it as who owns the environment, or heal what you start: `eval \"$(cudashim env)\"`".to_owned(),
            ],
            Self::Shim(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// What was written, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Manifest {
    schema: u32,
    pub(super) version: String,
    /// `{prefix}/…`, where it stands in the environment.
    binary: String,
    /// Each file's SHA-256, by name.
    files: BTreeMap<String, String>,
    /// Directories that were not there, from the part's own.
    #[serde(default)]
    made: Vec<String>,
    /// A file as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) was: Option<String>,
}

impl Manifest {
    /// Of files that are about to be written, and of directories that are not there yet.
    pub(super) fn new(binary: String, files: &[(PathBuf, Vec<u8>)], base: &Path, dirs: &[&str]) -> Self {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary,
            files: files.iter().map(|(path, bytes)| (name(path), sha256(bytes))).collect(),
            made: dirs.iter().filter(|dir| !base.join(dir).exists()).map(|dir| (*dir).to_owned()).collect(),
            was: None,
        }
    }

    /// Lists more files, by the names that `state` asks for.
    pub(super) fn list<'f>(&mut self, files: impl IntoIterator<Item = (&'f str, &'f [u8])>) {
        self.files.extend(files.into_iter().map(|(name, bytes)| (name.to_owned(), sha256(bytes))));
    }

    /// Reads one; what is wrong with it, and nothing where there is none.
    pub(super) fn read(path: &Path) -> Result<Self, Option<String>> {
        let bytes = bytes(path).map_err(|error| Some(error.to_string()))?.ok_or(None)?;
        let read: Self = serde_json::from_slice(&bytes).map_err(|error| Some(format!("cannot be read: {error}")))?;
        if read.schema == 1 { Ok(read) } else { Err(Some(format!("is of another release (schema {})", read.schema))) }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Whether a file is as it was written; `None` where it is not listed.
    pub(super) fn holds(&self, name: &str, bytes: &[u8]) -> Option<bool> {
        Some(*self.files.get(name)? == sha256(bytes))
    }

    pub(super) fn binary_in(&self, prefix: &Path) -> PathBuf {
        match self.binary.strip_prefix("{prefix}/") {
            Some(below) => prefix.join(below),
            None => PathBuf::from(&self.binary),
        }
    }

    /// Removes those of `dirs` that were made for it, where nothing is in them.
    pub(super) fn remove_made(&self, base: &Path, dirs: &[&str]) {
        for dir in dirs.iter().filter(|dir| self.made.iter().any(|made| made == *dir)) {
            // One that is not empty stays.
            let _ = fs::remove_dir(base.join(dir));
        }
    }
}

/// A file of ours; `None` where there is none.
pub(super) fn bytes(path: &Path) -> Result<Option<Vec<u8>>, EnableError> {
    let failed = |says: String| EnableError::Read { path: path.to_owned(), says };
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed(error.to_string())),
        Ok(meta) if !meta.is_file() => Err(failed("it is no regular file".to_owned())),
        Ok(meta) if meta.len() > LIMIT => Err(failed("it is too large".to_owned())),
        Ok(_) => fs::read(path).map(Some).map_err(|error| failed(error.to_string())),
    }
}

/// Whether a place is free for a file of ours, or has one.
pub(super) fn own(path: &Path, is_ours: impl Fn(&[u8]) -> bool, force: bool) -> Result<(), EnableError> {
    match bytes(path) {
        Ok(Some(bytes)) if !force && !is_ours(&bytes) => Err(EnableError::Foreign(path.to_owned())),
        Err(_) if !force => Err(EnableError::Foreign(path.to_owned())),
        _ => Ok(()),
    }
}

/// Writes files, all or none, and the directories that they are in.
pub(super) fn write(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Result<Vec<PathBuf>, EnableError> {
    let mut done: Vec<PathBuf> = Vec::new();
    for (path, bytes) in files {
        let dir = path.parent().unwrap_or(&path);
        if let Err(source) = fs::create_dir_all(dir).and_then(|()| atomic_write(&path, &bytes)) {
            let _ = remove(&done);
            return Err(EnableError::Write { path, source });
        }
        done.push(path);
    }
    Ok(done)
}

/// Removes files; one that is not there is no error.
pub(super) fn remove(files: &[PathBuf]) -> Result<(), EnableError> {
    for path in files {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(EnableError::Remove { path: path.clone(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The files of a directory by name.
pub(super) fn named(dir: &Path, is_it: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_it)).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// What is there of a part: its manifest, and files by their names from `base`.
pub(super) fn state(base: &Path, file: &Path, names: &[&str]) -> State {
    let manifest = match Manifest::read(file) {
        Ok(manifest) => manifest,
        Err(Some(why)) => return State::Broken(format!("`{}` {why}", file.display())),
        Err(None) => return State::Off,
    };
    for name in names {
        let path = base.join(name);
        match bytes(&path) {
            Ok(Some(bytes)) if manifest.holds(name, &bytes) == Some(true) => {}
            Ok(None) => return State::Broken(format!("`{}` is missing", path.display())),
            Ok(Some(_)) => return State::Broken(format!("`{}` was changed since it was written", path.display())),
            Err(error) => return State::Broken(error.to_string()),
        }
    }
    State::On { version: manifest.version.clone(), binary: manifest.binary_in(base) }
}
