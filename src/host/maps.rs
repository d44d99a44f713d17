//! The mapped files of a process: `/proc/PID/maps`, see `proc_pid_maps(5)`.
//!
//! Takes the bytes of that file; returns one [`MappedFile`] for each file that ld.so loaded. Never opens any of them.

use super::files::FileId;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A file that is mapped as an object, not only for reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// Its path in the kernel.
    pub path: PathBuf,
    /// Device and inode. The device is not always that of stat(2): btrfs and overlayfs have their own.
    pub id: FileId,
    /// Its first area, as the name of a link in `/proc/PID/map_files`.
    pub area: String,
    /// The file was removed or replaced.
    pub deleted: bool,
}

/// The loaded files, in the order of their first areas.
///
/// A file that is mapped only for reading is one read-only area from its beginning; a loaded object has further areas,
/// since ld.so writes to its dynamic table.
#[must_use]
pub fn mapped_files(maps: &[u8]) -> Vec<MappedFile> {
    let mut found: Vec<(MappedFile, bool)> = Vec::new();
    for (file, loaded) in maps.split(|byte| *byte == b'\n').filter_map(line) {
        match found.iter_mut().find(|(known, _)| (known.id, &known.path) == (file.id, &file.path)) {
            Some((_, known)) => *known |= loaded,
            None => found.push((file, loaded)),
        }
    }
    found.into_iter().filter(|(_, loaded)| *loaded).map(|(file, _)| file).collect()
}

/// One line, and whether only a loaded object has such an area.
fn line(line: &[u8]) -> Option<(MappedFile, bool)> {
    // Only the path, the last field, can have a slash.
    let (fields, path) = line.split_at(line.iter().position(|byte| *byte == b'/')?);
    let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace();
    let (area, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let dev = rustix::fs::makedev(number(major)?, number(minor)?);
    let ino = fields.next()?.parse().ok()?;
    let read_only = !rights.contains(['w', 'x']);
    let from_start = offset.bytes().all(|digit| digit == b'0');
    let deleted = path.strip_suffix(b" (deleted)");
    let file = MappedFile {
        path: unescaped(deleted.unwrap_or(path)),
        id: FileId { dev, ino },
        area: area.to_owned(),
        deleted: deleted.is_some(),
    };
    Some((file, !(read_only && from_start)))
}

/// The kernel escapes only a line feed in a path, as `\012`.
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
    use std::path::Path;

    #[test]
    fn only_loaded_files_count() {
        let maps = b"\
55d0-55d1 r--p 00000000 fe:01 11  /usr/bin/prog
55d1-55d2 r-xp 00001000 fe:01 11  /usr/bin/prog
7f00-7f01 r--p 00000000 fe:01 12                     /opt/a b/libx.so.1
7f01-7f02 r-xp 00001000 fe:01 12                     /opt/a b/libx.so.1
7f03-7f04 r--p 00000000 fe:01 13                     /opt/only-read.so
7f05-7f06 rw-p 00002000 00:00 0
7f06-7f07 r--p 00003000 fe:01 14                     /opt/line\\012feed.so (deleted)
7ffe-7fff r-xp 00000000 00:00 0                      [vdso]
nonsense /x
";
        let found = mapped_files(maps);
        let paths: Vec<&Path> = found.iter().map(|file| file.path.as_path()).collect();
        assert_eq!(paths, ["/usr/bin/prog", "/opt/a b/libx.so.1", "/opt/line\nfeed.so"].map(Path::new));
        assert_eq!(found.iter().map(|file| file.deleted).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!((found[1].id.ino, found[1].area.as_str()), (12, "7f00-7f01"));
        assert_eq!(found[1].id.dev, rustix::fs::makedev(0xfe, 1));
    }
}
