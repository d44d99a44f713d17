//! The images that the build embedded, as files of the user's cache.
//!
//! Takes bytes and a directory; gives the path of a file that holds exactly these bytes and may be run. Never trusts a
//! directory that others can write to, never writes into a file that may be mapped.

use super::error::ShimError;
use crate::host::{Kind, Reason, Untrusted, make_trusted, within_limit};
use rustix::fs::{Access, StatVfsMountFlags, access};
use sha2::{Digest as _, Sha256};
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Writes `image` into the directory, which is made if it is missing, as `<before><16 hex digits><after>`.
///
/// The digits are those of its digest; a file that is there already is compared before it is trusted. What is damaged
/// is replaced by renaming: a process that has the old file mapped keeps it.
pub(super) fn write(dir: &Path, before: &str, after: &str, image: &[u8]) -> Result<PathBuf, ShimError> {
    prepare_dir(dir)?;
    let path = dir.join(format!("{before}{:016x}{after}", digest(image)));
    if !holds(&path, image)? {
        write_new(dir, &path, image)?;
    }
    Ok(path)
}

/// The start of the image's digest.
fn digest(image: &[u8]) -> u64 {
    Sha256::digest(image).iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte))
}

/// Makes a directory for files that decide what is loaded, private to the user; refuses one that another user can
/// change or replace. A symbolic link to such a directory is accepted if the user or root owns it.
///
/// # Errors
/// It cannot be made; or it, or a directory above it, belongs to another user or is writable by others.
pub fn own_dir(dir: &Path) -> Result<(), ShimError> {
    let path = dir.to_owned();
    let stat = match make_trusted(dir) {
        Ok(stat) => stat,
        Err(Untrusted { reason: Reason::Unseen(source), .. }) => return Err(ShimError::Directory { path, source }),
        Err(why) if why.path != dir => return Err(ShimError::Exposed { path, why }),
        Err(Untrusted { reason: Reason::Owner(owner), .. }) => return Err(ShimError::Foreign { path, owner }),
        Err(Untrusted { reason: Reason::Writable { mode }, .. }) => return Err(ShimError::Writable { path, mode }),
        Err(why) => return Err(ShimError::Exposed { path, why }),
    };
    if stat.kind != Kind::Directory {
        return Err(ShimError::Directory { path, source: io::ErrorKind::NotADirectory.into() });
    }
    if stat.uid != rustix::process::geteuid().as_raw() {
        return Err(ShimError::Foreign { path, owner: stat.uid });
    }
    // Even with the sticky bit, others could create a file under a name that we use later.
    if stat.mode & 0o022 != 0 {
        return Err(ShimError::Writable { path, mode: stat.mode & 0o777 });
    }
    Ok(())
}

/// As [`own_dir`]; the directory must also be writable, and not be mounted noexec.
pub(super) fn prepare_dir(dir: &Path) -> Result<(), ShimError> {
    let failed = |source| ShimError::Directory { path: dir.into(), source };
    own_dir(dir)?;
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))?;
    let mount = rustix::fs::statvfs(dir).map_err(|e| failed(e.into()))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(ShimError::NoExec { path: dir.into() });
    }
    Ok(())
}

/// Whether the file exists, belongs to the user, and holds exactly these bytes.
fn holds(path: &Path, image: &[u8]) -> Result<bool, ShimError> {
    let failed = |source| ShimError::Write { path: path.into(), source };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    if !meta.is_file()
        || meta.uid() != rustix::process::geteuid().as_raw()
        || meta.mode() & 0o7777 != 0o755
        || usize::try_from(meta.len()) != Ok(image.len())
    {
        return Ok(false);
    }
    Ok(fs::read(path).map_err(failed)? == image)
}

/// Writes a temporary file and renames it: no process ever sees a partial or changing file.
fn write_new(dir: &Path, path: &Path, image: &[u8]) -> Result<(), ShimError> {
    let failed = |source| ShimError::Write { path: path.into(), source };
    within_limit(image).map_err(failed)?;
    let mut file = NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(image).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(0o755)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        // Another process wrote the same bytes first, or the existing file is damaged.
        Err(failure) if failure.error.kind() == io::ErrorKind::AlreadyExists => {
            if holds(path, image)? {
                return Ok(());
            }
            failure.file.persist(path).map(drop).map_err(|error| failed(error.error))
        }
        Err(failure) => Err(failed(failure.error)),
    }
}
