//! Files written whole or not at all.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes `bytes` to `path` through a temporary file in the same directory, so that a reader sees
/// the old content or the new one. The file is readable by all and writable by its owner only.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    written(path, bytes)?.persist(path).map(drop).map_err(|error| error.error)
}

/// As [`atomic_write`] where nothing is at `path`; what is there stays, and `false` says so.
pub fn atomic_write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match written(path, bytes)?.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(lost) => Err(lost.error),
    }
}

/// The temporary file for `path`, complete.
fn written(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The error names the directory: the temporary file's own name would tell nobody anything.
    let mut file = tempfile::NamedTempFile::new_in(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {}", dir.display(), error.kind())))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    Ok(file)
}
