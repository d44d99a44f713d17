//! The directories of libraries that processes of this user have mapped.
//!
//! Takes the running machine; gives nothing for an image. Reads `/proc/PID/maps` (`proc_pid_maps(5)`); skips processes
//! of other users, and those that end meanwhile.

use super::{Place, Provenance};
use crate::host::Host;
use crate::tables::parse_library_name;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) fn places(host: &Host) -> Vec<Place> {
    if !host.is_live() {
        return Vec::new();
    }
    in_use(host).into_iter().map(|dir| Place::alone(dir, Provenance::Process)).collect()
}

fn in_use(host: &Host) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    let proc = Path::new("/proc");
    let Ok(this) = host.stat(&proc.join("self")) else { return dirs };
    for entry in host.list(proc).unwrap_or_default() {
        let process = proc.join(&entry.name);
        if entry.name.as_bytes().iter().all(u8::is_ascii_digit)
            && host.stat(&process).is_ok_and(|stat| stat.uid == this.uid)
            && let Ok(maps) = host.read(&process.join("maps"))
        {
            dirs.extend(maps.split(|byte| *byte == b'\n').filter_map(library_directory));
        }
    }
    dirs
}

/// The directory of the library in a line of `maps`, if it is an NVIDIA library that still exists.
fn library_directory(line: &[u8]) -> Option<PathBuf> {
    // Only the path, the last field, can contain a slash.
    let path = line.get(line.iter().position(|byte| *byte == b'/')?..)?;
    // The directory of a deleted file may hold others now.
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    parse_library_name(OsStr::from_bytes(name))?;
    let dir = unescaped(path.get(..path.len() - name.len() - 1)?);
    Some(PathBuf::from(OsStr::from_bytes(if dir.is_empty() { b"/" } else { &dir })))
}

/// The kernel escapes only the line feed, as `\012`.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(br"\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;

    fn mapped(path: &str) -> Option<PathBuf> {
        library_directory(format!("7f0c8a000000-7f0c8a022000 r-xp 00001000 fd:01 1311 {path}").as_bytes())
    }

    #[test]
    fn lines_about_libraries_of_ours() {
        assert_eq!(mapped("   /opt/a b/libcudart.so.12.4.127"), Some("/opt/a b".into()));
        assert_eq!(mapped("   /libcuda.so.1"), Some("/".into()));
        assert_eq!(mapped(r"   /a\012b/libcudart.so.12"), Some("/a\nb".into()));
        assert_eq!(mapped("   /usr/lib/libc.so.6"), None);
        assert_eq!(mapped("   /a/libcudart.so.12 (deleted)"), None);
        assert_eq!(mapped("   [heap]"), None);
        assert_eq!(mapped(""), None);
    }

    #[test]
    fn processes_by_number() {
        let line = "7f00-7f01 r-xp 0 fd:01 7 /opt/x/libcudart.so.12\n7f01-7f02 r-xp 0 fd:01 8 /opt/x/libcublas.so.12\n";
        let machine = Machine::with(&["proc/self", "proc/13"])
            .file("proc/12/maps", line)
            .file("proc/12a/maps", &line.replace("/opt/x", "/opt/no-process"));
        let host = machine.host();
        assert_eq!(in_use(&host).into_iter().collect::<Vec<_>>(), [Path::new("/opt/x")]);
        // An image has no processes.
        assert_eq!(places(&host), []);
    }
}
