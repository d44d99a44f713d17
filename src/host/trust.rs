//! Whether anybody else can change the file that a path resolves to.
//!
//! Takes a path; returns the stat of its file, or the user or mode by which somebody else could have written or
//! replaced it. A file is trusted where it, and every directory from `/` down to it, belongs to the user or to root,
//! and neither group nor others may write to any of them. Access lists (acl(5)) need no check: a mask that lets
//! anybody else write appears in the group bits. In a sticky directory, such as `/tmp`, only files of the user are
//! trusted, since nobody else can remove or rename those. The targets of symbolic links are checked alike.
//!
//! Each part of the path is opened within the one before (`O_PATH`, `O_NOFOLLOW`) and checked by its descriptor, so
//! that a concurrent rename cannot swap a part. A trusted path stays so: only the user and root can create, remove or
//! rename anything in its directories.
//!
//! Never reads a file; never follows a link of proc(5), which resolves differently in each process.

use super::{Kind, LINK_LIMIT, Stat, reversed_parts};
use rustix::fs::{FsWord, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, mkdirat, open, openat, readlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// `statfs(2)` of a file system whose owners and modes are those that a user's process reports.
const FUSE_SUPER_MAGIC: FsWord = 0x6573_5546;

/// Subdirectories that ld.so searches before a directory itself (`dl-hwcaps_subdirs.c`; before glibc 2.37 the rest).
const HWCAPS: [&str; 11] = [
    "glibc-hwcaps",
    "x86-64-v2",
    "x86-64-v3",
    "x86-64-v4",
    "tls",
    "x86_64",
    "haswell",
    "xeon_phi",
    "avx512_1",
    "aarch64",
    "atomics",
];

/// No path that Linux opens has more parts (`PATH_MAX`).
const PARTS_LIMIT: usize = 2048;

/// How deep they are nested.
const HWCAPS_DEPTH: u32 = 3;

/// Why a path is not trusted.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {reason}", path.display())]
pub struct Untrusted {
    /// The file, link or directory, with the links before it followed.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: Reason,
}

/// The fault of a file or directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It belongs to another user.
    Owner(u32),
    /// Others may write to it.
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// It is in a sticky directory and belongs to root or another user.
    Shared,
    /// It is missing from a directory that others may write to.
    Makeable,
    /// It resolves to another file in each process.
    Process,
    /// It cannot be read.
    Unseen(io::Error),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(user) => write!(f, "belongs to user {user}"),
            Self::Writable { mode } if mode & 0o002 != 0 => f.write_str("is writable by everybody"),
            Self::Writable { .. } => f.write_str("is writable by its group"),
            Self::Shared => f.write_str("is in a directory that is writable by everybody, and belongs to another user"),
            Self::Makeable => f.write_str("is missing, and everybody may create it"),
            Self::Process => f.write_str("resolves to another file in each process"),
            Self::Unseen(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl Untrusted {
    /// Whether the only fault is that the file is missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(&self.reason, Reason::Unseen(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The stat of `path`, if only the user and root can change or replace the file.
///
/// # Errors
/// The first part of the path that anybody else can change.
pub fn trusted(path: &Path) -> Result<Stat, Untrusted> {
    Walk::new(path, Owners::of_process()).go(false)
}

/// [`trusted`], but in a user namespace without root (a sandbox of the user), the unmapped user counts as
/// root: the two cannot be distinguished there, and the system's own programs are root's.
///
/// # Errors
/// As [`trusted`].
pub fn trusted_in_sandbox(path: &Path) -> Result<Stat, Untrusted> {
    Walk::new(path, Owners::with_unmapped()).go(false)
}

/// [`trusted`] for a directory on a search path and the libraries in it. A missing one is trusted where nobody else
/// can create it; a sticky one is not: anybody can add a library.
///
/// # Errors
/// As [`trusted`].
pub fn trusted_libraries(dir: &Path) -> Result<(), Untrusted> {
    libraries(dir, HWCAPS_DEPTH)
}

fn libraries(dir: &Path, depth: u32) -> Result<(), Untrusted> {
    let fault = |path: &Path, reason| Untrusted { path: path.to_owned(), reason };
    match trusted(dir) {
        Err(error) if error.is_missing() => return Ok(()),
        Ok(stat) if is_writable(&stat) => return Err(fault(dir, Reason::Writable { mode: stat.mode })),
        found => found?,
    };
    for entry in std::fs::read_dir(dir).map_err(|error| fault(dir, Reason::Unseen(error)))? {
        let name = entry.map_err(|error| fault(dir, Reason::Unseen(error)))?.file_name();
        let path = dir.join(&name);
        if HWCAPS.iter().any(|hwcap| name == *hwcap) {
            depth.checked_sub(1).map_or(Ok(()), |depth| libraries(&path, depth))?;
        } else if is_library(&name) {
            library(&path)?;
        }
    }
    Ok(())
}

/// A library in a trusted directory.
fn library(path: &Path) -> Result<(), Untrusted> {
    match std::fs::symlink_metadata(path).map(|meta| Stat::from(&meta)) {
        Ok(stat) if stat.kind != Kind::Link && Owners::of_process().check(&stat, false).is_ok() => Ok(()),
        Ok(_) if is_link_to_sibling(path) => Ok(()),
        // A dangling link is not a library.
        _ => trusted(path).map(drop).or_else(|error| if error.is_missing() { Ok(()) } else { Err(error) }),
    }
}

fn is_library(name: &OsStr) -> bool {
    name.as_bytes().windows(3).any(|part| part == b".so")
}

/// Whether it is a link to a library in the same directory, which is checked itself.
fn is_link_to_sibling(path: &Path) -> bool {
    std::fs::read_link(path)
        .is_ok_and(|target| !target.as_os_str().as_bytes().contains(&b'/') && is_library(target.as_os_str()))
}

/// Creates a directory, and those above it, for the user alone, where nobody else can replace it; returns
/// its stat. Existing ones stay unchanged.
///
/// # Errors
/// As [`trusted_in_sandbox`]; creates nothing below another user's directory.
pub fn make_trusted(dir: &Path) -> Result<Stat, Untrusted> {
    Walk::new(dir, Owners::with_unmapped()).go(true)
}

/// The users whose files are trusted.
#[derive(Debug, Clone, Copy)]
struct Owners {
    own: Option<u32>,
    /// The user that stands for all unmapped users of a user namespace, where root may be one of them.
    unmapped: Option<u32>,
}

impl Owners {
    fn of_process() -> Self {
        let own = rustix::process::geteuid().as_raw();
        // Other unmapped users look the same.
        Self { own: Some(own).filter(|own| unmapped() != Some(*own)), unmapped: None }
    }

    fn with_unmapped() -> Self {
        Self { unmapped: unmapped(), ..Self::of_process() }
    }

    fn check(self, stat: &Stat, in_shared: bool) -> Result<(), Reason> {
        if stat.uid != 0 && Some(stat.uid) != self.own && Some(stat.uid) != self.unmapped {
            return Err(Reason::Owner(stat.uid));
        }
        // Another user may have linked root's file here; a directory has one name.
        if in_shared && Some(stat.uid) != self.own && stat.kind != Kind::Directory {
            return Err(Reason::Shared);
        }
        if stat.kind != Kind::Link && is_writable(stat) && !is_sticky(stat) {
            return Err(Reason::Writable { mode: stat.mode });
        }
        Ok(())
    }
}

fn is_writable(stat: &Stat) -> bool {
    stat.mode & 0o022 != 0
}

fn is_sticky(stat: &Stat) -> bool {
    stat.kind == Kind::Directory && stat.mode & 0o1000 != 0
}

/// The user that stands for all unmapped users of this process' user namespace (`user_namespaces(7)`); `None` where
/// all are mapped. In a sandbox of the user, `/` and `/usr` belong to it.
fn unmapped() -> Option<u32> {
    static UNMAPPED: OnceLock<Option<u32>> = OnceLock::new();
    *UNMAPPED.get_or_init(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
        if map.split_whitespace().eq(["0", "0", "4294967295"]) {
            return None;
        }
        std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
    })
}

/// A walk along a path.
struct Walk {
    owners: Owners,
    /// The walked part, without links.
    done: PathBuf,
    todo: Vec<OsString>,
    links: u32,
}

impl Walk {
    fn new(path: &Path, owners: Owners) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { owners, done: PathBuf::from("/"), todo: reversed_parts(&path), links: 0 }
    }

    /// Walks to the end, or to the first part that anybody else can change; `make` creates missing directories.
    fn go(mut self, make: bool) -> Result<Stat, Untrusted> {
        if self.todo.len() > PARTS_LIMIT {
            return Err(Untrusted { path: self.done, reason: Reason::Unseen(Errno::NAMETOOLONG.into()) });
        }
        let (mut at, mut stat) = self.root()?;
        while let Some(part) = self.todo.pop() {
            let shared = is_writable(&stat);
            let path = match self.done.parent().filter(|_| part == "..") {
                Some(above) => above.to_owned(),
                None if part == ".." => continue,
                None => self.done.join(&part),
            };
            let (next, found) = match within(&at, &part, make) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && shared => {
                    return Err(Untrusted { path, reason: Reason::Makeable });
                }
                Err(error) => return Err(Untrusted { path, reason: Reason::Unseen(error) }),
                Ok(found) => found,
            };
            self.owners.check(&found, shared).map_err(|reason| Untrusted { path: path.clone(), reason })?;
            if shared && found.id.dev != stat.id.dev && is_on(&next, FUSE_SUPER_MAGIC) {
                return Err(Untrusted { path, reason: Reason::Shared });
            }
            if found.kind == Kind::Link {
                self.follow(&next, path)?;
                if self.done == Path::new("/") {
                    (at, stat) = self.root()?;
                }
            } else {
                (self.done, at, stat) = (path, next, found);
            }
        }
        Ok(stat)
    }

    fn root(&self) -> Result<(File, Stat), Untrusted> {
        let fault = |reason| Untrusted { path: PathBuf::from("/"), reason };
        let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let (root, stat) = with_stat(root).map_err(|error| fault(Reason::Unseen(error)))?;
        self.owners.check(&stat, false).map_err(fault)?;
        Ok((root, stat))
    }

    /// Prepends the parts of a link's target to the rest.
    fn follow(&mut self, link: &File, path: PathBuf) -> Result<(), Untrusted> {
        let fault = |reason| Untrusted { path, reason };
        if is_on(link, PROC_SUPER_MAGIC) {
            return Err(fault(Reason::Process));
        }
        self.links += 1;
        let target = if self.links > LINK_LIMIT { Err(Errno::LOOP) } else { readlinkat(link, "", Vec::new()) };
        let target = target.map_err(|error| fault(Reason::Unseen(error.into())))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.done = PathBuf::from("/");
        }
        self.todo.extend(reversed_parts(&target));
        Ok(())
    }
}

/// The entry of a directory, links not followed; `make` creates a missing directory.
fn within(dir: &File, name: &OsStr, make: bool) -> io::Result<(File, Stat)> {
    let look = || openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let found = match look() {
        Err(Errno::NOENT) if make => match mkdirat(dir, name, Mode::RWXU) {
            // Created meanwhile: checked as any other.
            Ok(()) | Err(Errno::EXIST) => look(),
            Err(error) => Err(error),
        },
        found => found,
    };
    with_stat(found)
}

fn with_stat(opened: rustix::io::Result<impl Into<File>>) -> io::Result<(File, Stat)> {
    let file = opened?.into();
    let stat = Stat::from(&file.metadata()?);
    Ok((file, stat))
}

fn is_on(file: &File, file_system: FsWord) -> bool {
    fstatfs(file).is_ok_and(|found| found.f_type == file_system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory of the user below a sticky one, and a file in it.
    fn own() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let room = dir.path().canonicalize().unwrap().join("a");
        std::fs::create_dir(&room).unwrap();
        set(&room, 0o755);
        put(&room.join("file"), 0o644);
        (dir, room)
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn put(path: &Path, mode: u32) {
        std::fs::write(path, "").unwrap();
        set(path, mode);
    }

    fn verdict(path: &Path) -> String {
        trusted(path).map_or_else(|error| error.to_string(), |_| "trusted".to_owned())
    }

    #[test]
    fn what_only_the_user_can_change_is_trusted() {
        let (_dir, room) = own();
        let file = room.join("file");
        assert_eq!(verdict(&file), "trusted");
        assert_eq!(trusted(Path::new("/bin/sh")).unwrap().uid, 0);
        for mode in [0o664, 0o646] {
            set(&file, mode);
            assert!(
                verdict(&file).contains("is writable by its group")
                    || verdict(&file).contains("is writable by everybody"),
                "{mode:o}: {}",
                verdict(&file)
            );
        }
        set(&file, 0o644);
        let above = room.join("b/c");
        std::fs::create_dir_all(&above).unwrap();
        std::fs::rename(&file, above.join("file")).unwrap();
        set(&room.join("b"), 0o775);
        assert_eq!(verdict(&above.join("file")), format!("`{}` is writable by its group", room.join("b").display()));
        // Sticky: the user's own file is safe.
        set(&room.join("b"), 0o1777);
        assert_eq!(verdict(&above.join("file")), "trusted");
        let missing = room.join("b/none");
        assert_eq!(verdict(&missing), format!("`{}` is missing, and everybody may create it", missing.display()));
        assert!(trusted(&room.join("none")).unwrap_err().is_missing());
    }

    #[test]
    fn links_are_trusted_as_far_as_they_lead() {
        let (_dir, room) = own();
        std::fs::create_dir(room.join("open")).unwrap();
        put(&room.join("open/file"), 0o644);
        set(&room.join("open"), 0o777);
        let link = |name: &str, target: &str| {
            symlink(target, room.join(name)).unwrap();
            verdict(&room.join(name))
        };
        assert_eq!(link("1", "file"), "trusted");
        assert_eq!(link("2", room.join("file").to_str().unwrap()), "trusted");
        assert_eq!(link("3", "../a/../a/1"), "trusted");
        let open = format!("`{}` is writable by everybody", room.join("open").display());
        assert_eq!(link("4", "open/file"), open);
        // `..` does not undo the untrusted part.
        assert_eq!(link("5", "open/../file"), open);
        assert!(link("6", "6").contains("cannot be read"));
        assert!(link("7", "/proc/self/cwd/Cargo.toml").contains("resolves to another file in each process"));
    }

    #[test]
    fn libraries_of_a_directory_are_checked() {
        let (_dir, room) = own();
        put(&room.join("liba.so.1"), 0o755);
        symlink("liba.so.1", room.join("liba.so")).unwrap();
        put(&room.join("notes"), 0o666);
        assert!(trusted_libraries(&room).is_ok() && trusted_libraries(&room.join("none")).is_ok());
        std::fs::create_dir_all(room.join("glibc-hwcaps/x86-64-v3")).unwrap();
        put(&room.join("glibc-hwcaps/x86-64-v3/liba.so.1"), 0o775);
        assert!(trusted_libraries(&room).unwrap_err().path.ends_with("x86-64-v3/liba.so.1"));
        std::fs::remove_dir_all(room.join("glibc-hwcaps")).unwrap();
        put(&room.join("libb.so.1"), 0o666);
        assert!(trusted_libraries(&room).unwrap_err().path.ends_with("libb.so.1"));
        std::fs::remove_file(room.join("libb.so.1")).unwrap();
        set(&room, 0o1777);
        assert!(trusted(&room).is_ok() && trusted_libraries(&room).unwrap_err().path == room);
    }

    #[test]
    fn directories_are_made_for_the_user_alone() {
        let (_dir, room) = own();
        let made = make_trusted(&room.join("x/y")).unwrap();
        assert_eq!((made.mode, made.kind), (0o700, Kind::Directory));
        set(&room.join("x"), 0o777);
        assert!(make_trusted(&room.join("x/z")).is_err() && !room.join("x/z").exists());
    }

    #[test]
    #[ignore = "needs root"]
    fn what_belongs_to_another_user_is_not_trusted() {
        let (_dir, room) = own();
        let file = room.join("file");
        let give = |path: &Path, user| std::os::unix::fs::lchown(path, Some(user), None).unwrap();
        give(&file, 65534);
        assert_eq!(verdict(&file), format!("`{}` belongs to user 65534", file.display()));
        give(&file, 0);
        give(&room, 65534);
        assert_eq!(verdict(&file), format!("`{}` belongs to user 65534", room.display()));
        assert!(make_trusted(&room.join("x/y")).is_err() && !room.join("x").exists());
        give(&room, 0);
        symlink("file", room.join("link")).unwrap();
        assert_eq!(verdict(&room.join("link")), "trusted");
        give(&room.join("link"), 65534);
        assert!(verdict(&room.join("link")).contains("belongs to user 65534"));
    }
}
