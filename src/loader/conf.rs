//! `ld.so.conf`: the directories from which ldconfig makes the cache.
//!
//! Takes a machine; returns the directories in order, `include` lines followed. ld.so never reads the file: without
//! a cache, it searches only its default directories. The rules are those of
//! `parse_conf` in glibc's `elf/ldconfig.c`: `#` starts a comment anywhere, one directory a line, `=type`
//! suffixes are dropped, `hwcap` lines ignored, relative include patterns start at the including file.

use crate::host::{Host, Kind};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Files included below one another; ldconfig itself has no limit, a loop is ended by `Found::files`.
const FILE_LIMIT: usize = 1000;

/// The directories named by `/etc/ld.so.conf`.
#[must_use]
pub fn directories(host: &Host) -> Vec<PathBuf> {
    let mut found = Found::default();
    read(host, Path::new("/etc/ld.so.conf"), &mut found);
    found.dirs
}

#[derive(Default)]
struct Found {
    files: BTreeSet<PathBuf>,
    /// How many `include` patterns were followed: each lists a directory.
    patterns: usize,
    dirs: Vec<PathBuf>,
    /// The same, to find them again.
    seen: BTreeSet<PathBuf>,
}

fn read(host: &Host, file: &Path, found: &mut Found) {
    // By the path without links and `..`: a loop can spell the same file ever longer.
    let Ok(real) = host.canonical(file) else { return };
    if found.files.len() >= FILE_LIMIT || !found.files.insert(real) {
        return;
    }
    let Ok(bytes) = host.read(file) else { return };
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if let Some(patterns) = keyword(line, b"include") {
            for pattern in patterns.split(u8::is_ascii_whitespace).filter(|pattern| !pattern.is_empty()) {
                found.patterns += 1;
                if found.patterns > FILE_LIMIT {
                    return;
                }
                let pattern = file.parent().unwrap_or(Path::new("/")).join(OsStr::from_bytes(pattern));
                for included in expand(host, &pattern) {
                    read(host, &included, found);
                }
            }
        } else if keyword(line, b"hwcap").is_none() {
            let dir = line.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii_end();
            let dir = PathBuf::from(OsStr::from_bytes(dir));
            if dir.is_absolute() && found.seen.insert(dir.clone()) {
                found.dirs.push(dir);
            }
        }
    }
}

fn keyword<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(word)?;
    rest.first().is_some_and(u8::is_ascii_whitespace).then(|| rest.trim_ascii_start())
}

/// glob(3) for the last component only: `*` and `?`. That is what include lines use.
fn expand(host: &Host, pattern: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Vec::new() };
    let name = name.as_bytes();
    if !name.contains(&b'*') && !name.contains(&b'?') {
        return vec![pattern.to_owned()];
    }
    let entries = host.list(dir).unwrap_or_default();
    let matching = entries.iter().filter(|entry| {
        let found = entry.name.as_bytes();
        entry.kind != Kind::Directory && (name.first() == Some(&b'.') || !found.starts_with(b".")) && glob(name, found)
    });
    matching.map(|entry| dir.join(&entry.name)).collect()
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    // Iterative with one backtrack point, so that many stars cost no more than pattern × name.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, n));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn comments_types_includes_and_loops() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir_all(etc.join("ld.so.conf.d")).unwrap();
        std::fs::write(
            etc.join("ld.so.conf"),
            "# head\ninclude\tld.so.conf.d/*.conf # all\n/opt/a=libc6\n\n hwcap 1 x\n/opt/b # why\n/opt/a\nrelative\n",
        )
        .unwrap();
        std::fs::write(etc.join("ld.so.conf.d/cuda.conf"), "/usr/local/cuda/lib64\ninclude ../ld.so.conf\n").unwrap();
        std::fs::write(etc.join("ld.so.conf.d/not.txt"), "/no\n").unwrap();
        std::fs::write(etc.join("ld.so.conf.d/.hidden.conf"), "/no\n").unwrap();
        let host = Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into());
        let expected: Vec<PathBuf> = ["/usr/local/cuda/lib64", "/opt/a", "/opt/b"].map(PathBuf::from).into();
        assert_eq!(directories(&host), expected);
    }

    #[test]
    fn a_loop_that_spells_itself_longer_ends_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("ld.so.conf"), "include ../etc/ld.so.con*\n/opt/a\n").unwrap();
        let host = Host::new(dir.path().to_owned(), BTreeMap::new(), "/".into());
        assert_eq!(directories(&host), [Path::new("/opt/a")]);
        // The file and its directory, by two names each at most.
        assert!(host.stamps().len() <= 4, "{:?}", host.stamps());
    }

    #[test]
    fn globs() {
        for (pattern, name, matches) in
            [("*.conf", "a.conf", true), ("*.conf", "a.confx", false), ("a?c*", "abc", true), ("**b*", "aab", true)]
        {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), matches, "{pattern} {name}");
        }
    }
}
