//! Regular files as bytes in memory, without reading what is not looked at.
//!
//! The only place that maps files.
#![expect(unsafe_code, reason = "memmap2::Mmap::map")]

use super::files::{Kind, Stat};
use std::fs::OpenOptions;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The content of a file at the time it was opened.
#[derive(Debug)]
pub struct Map(Option<memmap2::Mmap>);

impl Map {
    /// Tells the kernel whether single places far apart will be looked at, rather than what follows them: it then
    /// reads one page for each, and not its surroundings. Only costs change.
    pub fn expect_scattered(&self, scattered: bool) {
        let advice = if scattered { memmap2::Advice::Random } else { memmap2::Advice::Normal };
        if let Some(Err(error)) = self.0.as_ref().map(|map| map.advise(advice)) {
            log::debug!("madvise: {error}");
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

pub(super) fn open(path: &Path) -> io::Result<(Map, Stat)> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let stat = Stat::from(&file.metadata()?);
    if stat.kind != Kind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if stat.size == 0 {
        return Ok((Map(None), stat));
    }
    // SAFETY: the map is private, read-only and only ever handed out as `&[u8]`. Another process may
    // change the file below us; every reader takes the bytes as hostile anyway, and a file that is cut
    // short while we look ends us by SIGBUS, which a program that only reads installed libraries accepts.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok((Map(Some(map)), stat))
}
