//! Symbolic links, followed inside the root of a machine.
//!
//! Takes a path as the machine's programs write it; gives the one without links. Remembers the directories that have no
//! link in their path, for most paths lie in few directories. Records nothing, never leaves the root.

use super::disk::Disk;
use super::{LINK_LIMIT, reversed_parts};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// The directories that are known to have no symbolic link in their path.
#[derive(Debug, Default)]
pub(super) struct Directories(RwLock<HashSet<PathBuf>>);

impl Directories {
    /// Follows the symbolic links of an absolute path; missing parts are kept.
    pub(super) fn resolve(&self, disk: &Disk, path: &Path) -> io::Result<PathBuf> {
        let (mut done, mut todo) = self.start(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            if self.has(&next) {
                done = next;
                continue;
            }
            match disk.link(&next) {
                Ok(target) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    todo.extend(reversed_parts(&target));
                }
                Err(error) => {
                    done = next;
                    let is_missing = error.kind() == io::ErrorKind::NotFound;
                    if is_missing && todo.iter().all(|part| part != "..") {
                        // Below what is missing there is no link.
                        done.extend(todo.into_iter().rev());
                        break;
                    }
                    if !todo.is_empty() && Errno::from_io_error(&error) == Some(Errno::INVAL) {
                        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(done.clone());
                    }
                }
            }
        }
        Ok(done)
    }

    fn has(&self, path: &Path) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// The longest part of a path that is known to have no link, and the parts after it, reversed.
    fn start(&self, path: &Path) -> (PathBuf, Vec<OsString>) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let start = path.ancestors().skip(1).find(|above| known.contains(*above));
        let rest = start.and_then(|start| path.strip_prefix(start).ok());
        (start.unwrap_or(Path::new("/")).to_owned(), reversed_parts(rest.unwrap_or(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn remembered_directories_change_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        symlink("/d", root.join("a/b/out")).unwrap();
        symlink("../../a/b", root.join("d/back")).unwrap();
        symlink("b", root.join("a/link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let disk = Disk::Mounted(root.to_owned());
        let paths = [
            "/a/b/file",
            "/a/b/file/below",
            "/a/b/file/../c",
            "/a/b/c/../out/e",
            "/a/link/out/back/file",
            "/d/back/out/e",
            "/a/b/c/../../../../d/e",
            "/gone/b/../../a/link/c",
            "/gone/b/c",
            "/a/b/gone/file",
            "/loop/a",
            "/a/b",
            "/",
        ];
        let all = Directories::default();
        for path in paths.iter().chain(paths.iter().rev()).map(Path::new) {
            let fresh = Directories::default().resolve(&disk, path).map_err(|error| error.to_string());
            assert_eq!(all.resolve(&disk, path).map_err(|error| error.to_string()), fresh, "{}", path.display());
        }
        let known = all.0.read().unwrap();
        assert!(known.contains(Path::new("/a/b")) && !known.contains(Path::new("/a/link")), "{known:?}");
        assert!(known.iter().all(|path| !path.starts_with("/gone")), "{known:?}");
        let expected = ["/d/e", "/a/b/c", "/a/b/file"].map(PathBuf::from);
        let found = ["/a/link/out/e", "/gone/../a/link/c", "/d/back/file"]
            .map(|path| all.resolve(&disk, Path::new(path)).unwrap());
        assert_eq!(found, expected);
    }
}
