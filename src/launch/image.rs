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

/// Makes a directory for what decides what is loaded, for the user alone, and refuses one that somebody else can change or
/// put another in the place of. A symbolic link to one is as good, if it is the user's own or root's.
///
/// # Errors
/// It cannot be made; it, or a directory above it, is somebody else's, or others may write to it.
pub fn own_dir(dir: &Path) -> Result<(), ShimError> {
    let path = dir.to_owned();
    let stat = match make_trusted(dir) {
        Ok(stat) => stat,
        Err(Untrusted { reason: Reason::Unseen(source), .. }) => return Err(ShimError::Directory { path, source }),
        // It says so itself, where it is the directory.
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
    // Sticky or not: others could make a file of a name that is to be ours.
    if stat.mode & 0o022 != 0 {
        return Err(ShimError::Writable { path, mode: stat.mode & 0o777 });
    }
    Ok(())
}

/// A directory of our own that can be written, and that things can be run from.
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

/// Whether the file is there, is ours, and holds exactly these bytes.
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

/// Writes beside the place and renames: no process ever sees half a file, or one that changes.
fn write_new(dir: &Path, path: &Path, image: &[u8]) -> Result<(), ShimError> {
    let failed = |source| ShimError::Write { path: path.into(), source };
    within_limit(image).map_err(failed)?;
    let mut file = NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(image).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(0o755)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        // Somebody else was faster with the same bytes, or what is there is damaged.
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {
            if holds(path, image)? {
                return Ok(());
            }
            lost.file.persist(path).map(drop).map_err(|error| failed(error.error))
        }
        Err(lost) => Err(failed(lost.error)),
    }
}
