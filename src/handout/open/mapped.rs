//! Which sonames are mapped in this process, and from which files.
//!
//! Takes `/proc/self/maps` and the dynamic tables of the files in it. Never asks ld.so, so it changes nothing.

use crate::host::FileId;
use crate::objects::Objects;
use crate::plan::PlanLibrary;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The sonames that are mapped in this process, and from which files.
pub(super) struct Mapped(BTreeMap<OsString, Vec<(PathBuf, Option<FileId>)>>);

/// Which copy of a soname is mapped.
#[derive(Clone, Copy)]
pub(super) enum Copied<'m> {
    Same,
    Other(&'m Path),
}

impl Mapped {
    pub(super) fn read(objects: &Objects<'_>) -> io::Result<Self> {
        let host = objects.host();
        let mut mapped: BTreeMap<OsString, Vec<_>> = BTreeMap::new();
        for path in loaded_files(&host.read(Path::new("/proc/self/maps"))?) {
            // The device in the table is not always that of stat(2) (btrfs, overlayfs), so the file is asked by its path.
            if let Ok(object) = objects.open(&path) {
                if let Some(soname) = object.facts.soname.clone() {
                    mapped.entry(soname).or_default().push((path, Some(object.stat.id)));
                }
            } else {
                // Removed since it was mapped: its name is all that is left of it.
                let name = path.file_name().unwrap_or_default().as_bytes();
                let soname = OsStr::from_bytes(name.strip_suffix(b" (deleted)").unwrap_or(name)).to_owned();
                mapped.entry(soname).or_default().push((path, None));
            }
        }
        Ok(Self(mapped))
    }

    pub(super) fn of(&self, library: &PlanLibrary) -> Option<Copied<'_>> {
        let copies = self.0.get(OsStr::new(&library.soname))?;
        if copies.iter().any(|(_, id)| *id == Some(library.id)) {
            return Some(Copied::Same);
        }
        copies.first().map(|(path, _)| Copied::Other(path))
    }
}

/// The files of `/proc/self/maps` (proc(5)) that ld.so mapped.
///
/// A file that was only mapped to be read, as [`Host::map`](crate::host::Host::map) does, is one read-only area from
/// its beginning; an object that was loaded has segments beyond it, since its dynamic table is written to.
fn loaded_files(maps: &[u8]) -> BTreeSet<PathBuf> {
    let lines = maps.split(|byte| *byte == b'\n').filter_map(|line| {
        let (fields, path) = line.split_at(line.iter().position(|byte| *byte == b'/')?);
        let mut fields = fields.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let (rights, offset) = (fields.nth(1)?, fields.next()?);
        let read_only = !rights.contains(&b'w') && !rights.contains(&b'x');
        let from_start = offset.iter().all(|digit| *digit == b'0');
        (!(read_only && from_start)).then(|| unescaped(path))
    });
    lines.collect()
}

/// The kernel writes a line feed in a path as `\012`, and nothing else so.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = rest.strip_prefix(b"\\012").map_or((*byte, after), |after| (b'\n', after));
        bytes.push(byte);
        rest = after;
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_loaded_counts() {
        let maps = "\
55d0-55d1 r--p 00000000 fe:01 11  /usr/bin/prog
7f00-7f01 r--p 00000000 fe:01 12                     /opt/a b/libx.so.1
7f01-7f02 r-xp 00001000 fe:01 12                     /opt/a b/libx.so.1
7f03-7f04 r--p 00000000 fe:01 13                     /opt/only-read.so
7f05-7f06 rw-p 00002000 00:00 0
7f06-7f07 r--p 00003000 fe:01 14                     /opt/line\\012feed.so (deleted)
7ffe-7fff r-xp 00000000 00:00 0                      [vdso]
";
        let found: Vec<PathBuf> = loaded_files(maps.as_bytes()).into_iter().collect();
        assert_eq!(found, [Path::new("/opt/a b/libx.so.1"), Path::new("/opt/line\nfeed.so (deleted)")]);
    }
}
