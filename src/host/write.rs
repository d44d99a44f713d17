//! Files written whole or not at all.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The kernel's limit of links in a row (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// The file to write for a path of the user: the target of its symbolic links. A link of anybody else but root is
/// not followed: in a directory that is writable by everybody, its owner would choose the overwritten file
/// (proc(5), `protected_symlinks`; canonical paths would bypass that).
///
/// # Errors
/// Such a link, too many of them, or one that cannot be read.
pub fn write_target(path: &Path) -> io::Result<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS {
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                let uid = meta.uid();
                if uid != own && uid != 0 {
                    let says = format!("`{}` is a symbolic link of user {uid}", path.display());
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, says));
                }
                let target = std::fs::read_link(&path)?;
                path = path.parent().unwrap_or(Path::new("/")).join(target);
            }
            _ => return Ok(path),
        }
    }
    Err(Errno::LOOP.into())
}

/// Writes `bytes` to `path` through a temporary file in the same directory, so that a reader gets
/// the old content or the new one. The file is readable by all and writable by its owner only.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    written(path, bytes, 0o644)?.persist(path).map(drop).map_err(|error| error.error)
}

/// As [`atomic_write`], readable by the owner only.
pub fn private_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    written(path, bytes, 0o600)?.persist(path).map(drop).map_err(|error| error.error)
}

/// As [`private_write`] where `path` is missing; an existing file stays, and the result is `false`.
pub fn private_write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match written(path, bytes, 0o600)?.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(failed) => Err(failed.error),
    }
}

/// Checks that this process may write a file of that size: one over the limit is silently ended by SIGXFSZ
/// in the middle of the file (setrlimit(2)).
///
/// # Errors
/// The limit, and what to do.
pub fn within_limit(bytes: &[u8]) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if (bytes.len() as u64) > limit => {
            let says = format!("raise `ulimit -f`: the limit is {limit} bytes, and this file needs {}", bytes.len());
            Err(io::Error::new(io::ErrorKind::FileTooLarge, says))
        }
        _ => Ok(()),
    }
}

/// The temporary file for `path`, complete.
fn written(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    within_limit(bytes)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The error names the directory, not the temporary file.
    let mut file = tempfile::NamedTempFile::new_in(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {}", dir.display(), error.kind())))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    /// `own` resolves to `first`, which resolves to `new`; `loop` links to itself.
    fn links() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, target) in [("own", "first"), ("first", "new"), ("loop", "loop")] {
            symlink(target, dir.path().join(name)).unwrap();
        }
        dir
    }

    #[test]
    fn write_target_follows_links_of_the_user() {
        let dir = links();
        let path = |name: &str| dir.path().join(name);
        assert_eq!(write_target(&path("own")).unwrap(), path("new"));
        assert_eq!(write_target(&path("none")).unwrap(), path("none"));
        assert_eq!(write_target(&path("loop")).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    #[ignore = "needs root"]
    fn write_target_follows_no_link_of_another_user() {
        let dir = links();
        lchown(dir.path().join("first"), Some(65534), None).unwrap();
        for name in ["own", "first"] {
            let error = write_target(&dir.path().join(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("link of user 65534"), "{error}");
        }
    }
}
