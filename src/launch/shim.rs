//! The preload object: its bytes, and the file that `LD_PRELOAD` can name.
//!
//! Takes the image that the build embedded, the path of the binary that a process without a plan starts, and a cache
//! directory; gives the path of a file that holds exactly these bytes. Never sets an environment variable.

pub use super::error::ShimError;
use super::image;
use crate::host::{Reason, trusted_in_sandbox};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The preload object as built from `cshim/`, without a binary to start; empty on a target without one.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libcudashim.so"));

/// The tracer as built from `cshim/trace`: the audit door of the same sources, which records what ld.so does.
pub const TRACER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libcudashim-trace.so"));

/// The preload object that starts `binary`, if any, where no plan is given.
pub fn image_for(binary: Option<&Path>) -> Result<Vec<u8>, ShimError> {
    with_binary(IMAGE, binary)
}

/// An object with the path of the binary that it starts.
fn with_binary(object: &[u8], binary: Option<&Path>) -> Result<Vec<u8>, ShimError> {
    if object.is_empty() {
        return Err(ShimError::Unsupported);
    }
    let mut image = object.to_vec();
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
/// The name holds the digest of the content, so different versions and binaries never share a file.
///
/// # Platform behaviour
///
/// `ld.so` splits `LD_PRELOAD` at spaces and colons, expands `$` in it (ld.so(8)), and skips a file on a `noexec`
/// mount with one line on stderr; so such directories are errors here.
pub fn install(cache_dir: &Path, binary: Option<&Path>) -> Result<PathBuf, ShimError> {
    write(cache_dir, "libcudashim-", &image_for(binary)?)
}

/// As [`install`], of the tracer, for `LD_AUDIT`.
pub fn install_tracer(cache_dir: &Path, binary: Option<&Path>) -> Result<PathBuf, ShimError> {
    write(cache_dir, "libcudashim-trace-", &with_binary(TRACER, binary)?)
}

fn write(cache_dir: &Path, before: &str, image: &[u8]) -> Result<PathBuf, ShimError> {
    let dir =
        std::path::absolute(cache_dir).map_err(|source| ShimError::Directory { path: cache_dir.into(), source })?;
    check_expressible(&dir)?;
    image::write(&dir, before, ".so", image)
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
    let bases = [var("XDG_CACHE_HOME"), home()];
    match bases.into_iter().flatten().find(|base| base.is_absolute()) {
        Some(base) => Ok(base.join("cudashim")),
        None => Err(var("HOME").map_or(ShimError::NoCacheDir, |path| ShimError::Relative { path })),
    }
}

/// A private, writable directory for the same files, not mounted noexec: [`cache_dir`], else `cudashim` in
/// `$XDG_RUNTIME_DIR`, else `cudashim-UID` in the directory for temporary files. A directory that another user could
/// replace is never used: under `sudo -E`, `$HOME` is another user's. `$CUDASHIM_CACHE` is the user's choice and has no
/// fallback.
///
/// # Errors
/// None of them is usable; the error of the first.
pub fn own_cache_dir(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ShimError> {
    let var = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let first = cache_dir(&env);
    if var("CUDASHIM_CACHE").is_some() {
        return first;
    }
    let usable = |dir: PathBuf| check_expressible(&dir).and_then(|()| image::prepare_dir(&dir)).map(|()| dir);
    let why = match first.and_then(usable) {
        Ok(dir) => return Ok(dir),
        Err(error) => error,
    };
    let absolute = |name| var(name).filter(|dir| dir.is_absolute());
    // Under `sudo -E` it is another user's.
    let foreign = |dir: &PathBuf| trusted_in_sandbox(dir).is_err_and(|why| matches!(why.reason, Reason::Owner(_)));
    let temporary = absolute("TMPDIR").filter(|dir| !foreign(dir)).unwrap_or_else(|| "/tmp".into());
    let own = temporary.join(format!("cudashim-{}", rustix::process::geteuid().as_raw()));
    let runtime = absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("cudashim"));
    for dir in runtime.into_iter().chain([own]) {
        match usable(dir) {
            Ok(dir) => {
                log::info!("{}: falling back to `{}`", with_cause(&why), dir.display());
                return Ok(dir);
            }
            Err(error) => log::info!("{}", with_cause(&error)),
        }
    }
    Err(why)
}

/// An error with the system's error.
fn with_cause(error: &ShimError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Fails if the path contains a character that ld.so interprets.
pub(super) fn check_expressible(dir: &Path) -> Result<(), ShimError> {
    let odd = dir.as_os_str().as_bytes().iter().find(|byte| b" :$".contains(byte));
    odd.map_or(Ok(()), |&byte| Err(ShimError::Unspeakable { path: dir.into(), character: byte.into() }))
}

/// The bytes before the path in the image (`cshim/identity.c`).
const MAGIC: &[u8; 32] = b"cudashim: the binary's path -> \0";

/// The length of the path's field, its NUL included (`cshim/identity.c`).
const ROOM: usize = 4096;

/// The field for the binary's path. The magic must be in the image exactly once.
fn binary_room(image: &mut [u8]) -> Option<&mut [u8]> {
    let mut places = memchr::memmem::find_iter(image, MAGIC);
    let at = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let start = at.checked_add(MAGIC.len())?;
    image.get_mut(start..start.checked_add(ROOM)?).filter(|room| room.iter().all(|b| *b == 0))
}
