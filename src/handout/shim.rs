//! The preload object: its bytes, and the file that `LD_PRELOAD` can name.
//!
//! Takes the image that the build embedded, the path of the binary that a process without a plan may ask, and a cache
//! directory; gives the path of a file that holds exactly these bytes. Never trusts a directory that others can write
//! to, never writes into a file that may be mapped, never sets an environment variable.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// The preload object as it was built (`cshim/`), with no binary to ask; empty on a target that has none.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libcudashim.so"));

/// The preload object that asks `binary`, or nobody, where no plan is given.
pub fn image_for(binary: Option<&Path>) -> Result<Vec<u8>, ShimError> {
    if IMAGE.is_empty() {
        return Err(ShimError::Unsupported);
    }
    let mut image = IMAGE.to_vec();
    let Some(binary) = binary else {
        return Ok(image);
    };
    let path = binary.as_os_str().as_bytes();
    let room = binary_room(&mut image).ok_or(ShimError::Image)?;
    // One byte stays NUL: the end of the string.
    if !binary.is_absolute() || path.len() >= room.len() || path.contains(&0) {
        return Err(ShimError::Binary { path: binary.into() });
    }
    for (to, from) in room.iter_mut().zip(path) {
        *to = *from;
    }
    Ok(image)
}

/// Writes the preload object into `cache_dir`, which is made if it is missing, and gives the file's path.
///
/// The name holds the digest of the content, so different versions and binaries never share a file; one that is
/// there already is compared before it is trusted. What is damaged is replaced by renaming: a process that has the
/// old file mapped keeps it.
///
/// # Platform behaviour
///
/// `ld.so` splits `LD_PRELOAD` at spaces and colons, expands `$` in it (ld.so(8)), and skips a file on a `noexec`
/// mount with one line on stderr; so such directories are errors here.
pub fn install(cache_dir: &Path, binary: Option<&Path>) -> Result<PathBuf, ShimError> {
    let image = image_for(binary)?;
    let dir =
        std::path::absolute(cache_dir).map_err(|source| ShimError::Directory { path: cache_dir.into(), source })?;
    if let Some(&byte) = dir.as_os_str().as_bytes().iter().find(|b| b" :$".contains(b)) {
        return Err(ShimError::Unspeakable { path: dir, character: byte.into() });
    }
    prepare_dir(&dir)?;
    let path = dir.join(file_name(&image));
    if holds(&path, &image)? {
        return Ok(path);
    }
    write_new(&dir, &path, &image)?;
    Ok(path)
}

/// The directory for files that can be made again: `$CUDASHIM_CACHE`, else `$XDG_CACHE_HOME/cudashim`, else
/// `$HOME/.cache/cudashim`.
///
/// `env` looks a variable up. An empty variable counts as unset, and so does a relative `XDG_CACHE_HOME` or `HOME`
/// (XDG Base Directory Specification).
pub fn cache_dir(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ShimError> {
    let var = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = var("CUDASHIM_CACHE") {
        return Ok(dir);
    }
    let home = || var("HOME").map(|home| home.join(".cache"));
    [var("XDG_CACHE_HOME"), home()]
        .into_iter()
        .flatten()
        .find(|base| base.is_absolute())
        .map(|base| base.join("cudashim"))
        .ok_or(ShimError::NoCacheDir)
}

/// Why the preload object cannot be handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// The program was built for a target that `cshim/` has no code for.
    #[error("there is no preload object for this machine")]
    Unsupported,
    /// The image has no place for the binary's path; only a broken build can say so.
    #[error("the preload object has no place for the path of the binary")]
    Image,
    /// The binary's path cannot be written into the image.
    #[error("`{path}` cannot be asked for plans: its path is relative or too long")]
    Binary {
        /// The path of the binary.
        path: PathBuf,
    },
    /// No variable says where caches are.
    #[error("there is no cache directory: neither CUDASHIM_CACHE nor XDG_CACHE_HOME nor HOME is set")]
    NoCacheDir,
    /// `LD_PRELOAD` has no way to name a file in this directory.
    #[error("`{path}` cannot stand in LD_PRELOAD: it contains `{character}`")]
    Unspeakable {
        /// The directory.
        path: PathBuf,
        /// The first character that ld.so would take for something else.
        character: char,
    },
    /// The directory cannot be made or looked at.
    #[error("the cache directory `{path}` cannot be used")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another user can change what is in the directory.
    #[error("the cache directory `{path}` belongs to user {owner}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The user ID it belongs to.
        owner: u32,
    },
    /// Group or others can change what is in the directory.
    #[error("the cache directory `{path}` can be written by group or others (mode {mode:03o})")]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing below the directory can be mapped as code.
    #[error("the cache directory `{path}` is on a file system mounted noexec")]
    NoExec {
        /// The directory.
        path: PathBuf,
    },
    /// The file cannot be read back or written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ShimError {
    /// What the user can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let elsewhere = "set `CUDASHIM_CACHE` to a directory of your own";
        let hint = match self {
            Self::Unsupported | Self::Image => return Vec::new(),
            Self::Binary { .. } => "install cudashim at a shorter absolute path".into(),
            Self::NoCacheDir | Self::Foreign { .. } => elsewhere.into(),
            Self::Unspeakable { .. } => {
                format!("{elsewhere}, without spaces, colons or `$` in its path")
            }
            Self::Writable { path, .. } => format!("run `chmod go-w {}`", path.display()),
            Self::NoExec { .. } => format!("{elsewhere}, on a file system that may hold programs"),
            Self::Directory { .. } | Self::Write { .. } => {
                format!("{elsewhere} that can be written")
            }
        };
        vec![hint]
    }
}

/// Stands before the path in the image (`cshim/ask.c`).
const MAGIC: &[u8; 32] = b"cudashim: the binary's path -> \0";

/// The length of the path's field, its NUL included (`cshim/ask.c`).
const ROOM: usize = 4096;

/// The field for the binary's path. The magic must stand in the image exactly once.
fn binary_room(image: &mut [u8]) -> Option<&mut [u8]> {
    let mut places = image.windows(MAGIC.len()).enumerate().filter(|(_, window)| window == MAGIC);
    let (at, _) = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let start = at.checked_add(MAGIC.len())?;
    image.get_mut(start..start.checked_add(ROOM)?).filter(|room| room.iter().all(|b| *b == 0))
}

/// `libcudashim-<16 hex digits>.so`: names the content, and is found by a glob.
fn file_name(image: &[u8]) -> String {
    let digest = Sha256::digest(image);
    let start = digest.iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    format!("libcudashim-{start:016x}.so")
}

/// Makes a directory for what decides what is loaded, for the user alone, and refuses one that somebody else can change.
/// A symbolic link to one is as good, if it is the user's own or root's.
///
/// # Errors
/// It cannot be made, or it is somebody else's, or others may write to it.
pub fn own_dir(dir: &Path) -> Result<(), ShimError> {
    let failed = |source| ShimError::Directory { path: dir.into(), source };
    let own = rustix::process::geteuid().as_raw();
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let link = fs::symlink_metadata(dir).map_err(failed)?;
    if link.is_symlink() && link.uid() != own && link.uid() != 0 {
        return Err(ShimError::Foreign { path: dir.into(), owner: link.uid() });
    }
    let meta = fs::metadata(dir).map_err(failed)?;
    if meta.uid() != own {
        return Err(ShimError::Foreign { path: dir.into(), owner: meta.uid() });
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(ShimError::Writable { path: dir.into(), mode });
    }
    Ok(())
}

/// A directory of our own that things can be run from.
fn prepare_dir(dir: &Path) -> Result<(), ShimError> {
    let failed = |source| ShimError::Directory { path: dir.into(), source };
    own_dir(dir)?;
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
