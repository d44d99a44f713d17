//! A file that the contents of a [`super::Tree`] are parts of: an archive, or what was kept of one.
//!
//! Gives bytes and maps of any part. The file of [`Archive::spool`] has no name, and ends with the process.

use super::map::{self, Map};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// An open file.
#[derive(Debug)]
pub struct Archive(File);

impl Archive {
    /// Opens a regular file, and gives its size.
    ///
    /// # Errors
    /// As of the system; anything but a regular file is refused.
    pub fn open(path: &Path) -> io::Result<(Arc<Self>, u64)> {
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((Arc::new(Self(file)), meta.len()))
    }

    /// An empty file without a name, in the directory for temporary files.
    ///
    /// # Errors
    /// As of the system.
    pub fn spool() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(tempfile::tempfile()?)))
    }

    /// Reads bytes from an offset, as `pread(2)`.
    ///
    /// # Errors
    /// As of the system.
    pub fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(bytes, at)
    }

    /// Reads exactly these bytes.
    ///
    /// # Errors
    /// As of the system; `UnexpectedEof` where the file is shorter.
    pub fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, at)
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// As of the system.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    /// Makes the file at least this long; new bytes are zeros, which take no space.
    ///
    /// # Errors
    /// As of the system.
    pub fn extend(&self, size: u64) -> io::Result<()> {
        if self.0.metadata()?.len() < size { self.0.set_len(size) } else { Ok(()) }
    }

    /// Maps a part.
    ///
    /// # Errors
    /// As of the system; a part that the file does not have is refused.
    pub fn map(&self, at: u64, size: u64) -> io::Result<Map> {
        if at.checked_add(size).is_none_or(|end| self.0.metadata().is_ok_and(|meta| meta.len() < end)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        map::part(&self.0, at, size)
    }
}
