//! Files written whole or not at all.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes `bytes` to `path` through a temporary file in the same directory, so that a reader sees
/// the old content or the new one. The file is readable by all and writable by its owner only.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The error names the directory: the temporary file's own name would tell nobody anything.
    let mut file = tempfile::NamedTempFile::new_in(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {}", dir.display(), error.kind())))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
