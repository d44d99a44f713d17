//! The files of a stage, their copies, and the plan that hands those out.
//!
//! Takes a plan; gives the files that may be copied: its own libraries, and the objects that need one of them. The system's and
//! the driver's stay where they are. A copy has the digest of what was read, and what was read that of the package's record. What lies beside an original and is
//! not copied is linked, so that code which looks beside itself finds it.

use super::StageError;
use crate::host::{Host, Stat};
use crate::loader::Objects;
use crate::plan::{How, Plan, PlanLibrary};
use crate::python::distributions;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files copied at once.
const AT_ONCE: usize = 4;

/// Bytes of one request.
const PIECE: usize = 4 << 20;

/// A file to copy.
#[derive(Debug, Clone)]
pub(super) struct Original {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    stat: Stat,
    /// Of an object that the plan has no library for: the name for its record.
    name: Option<String>,
}

/// The files of a plan that are copied.
pub(super) fn files(objects: &Objects, plan: &Plan) -> Vec<Original> {
    let host = objects.host();
    let own = |library: &&PlanLibrary| plan.is_its_own(library) && !library.is_driver();
    let mut found: BTreeMap<&Path, Option<String>> =
        plan.libraries.iter().filter(own).map(|library| (library.path.as_path(), None)).collect();
    let sonames: BTreeSet<&[u8]> = plan.libraries.iter().filter(own).map(|library| library.soname.as_bytes()).collect();
    let needs_one = |path: &Path| {
        objects.open(path).is_ok_and(|object| object.facts.needed.iter().any(|name| sonames.contains(name.as_bytes())))
    };
    for path in &plan.objects {
        if !found.contains_key(path.as_path()) && needs_one(path) {
            let is_library = plan.libraries.iter().any(|library| library.path == *path);
            found.insert(path, if is_library { None } else { name_for(plan, path) });
        }
    }
    let stat = |(path, name): (&Path, Option<String>)| {
        let stat = host.stat(path).ok()?;
        Some(Original { path: path.to_owned(), size: stat.size, stat, name })
    };
    found.into_iter().filter_map(stat).collect()
}

/// A name for an object without a library's record, which no library has: objects of different packages may be called alike.
fn name_for(plan: &Plan, path: &Path) -> Option<String> {
    let (dir, file) = (path.parent()?.file_name()?.to_str()?, path.file_name()?.to_str()?);
    Some(format!("{dir}.{file}")).filter(|name| plan.library(name).is_none() && plan.lookup(name).is_none())
}

/// Where the copy of a file lies.
fn place_of(place: &Path, path: &Path) -> PathBuf {
    place.join("root").join(path.strip_prefix("/").unwrap_or(path))
}

/// Copies the files.
pub(super) fn copy(host: &Host, files: &[Original], place: &Path, force: bool) -> Result<(), StageError> {
    let records = if force { BTreeMap::new() } else { recorded(host, files) };
    let next = AtomicUsize::new(0);
    let one = || -> Result<(), StageError> {
        let mut piece = vec![0; PIECE];
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let copied = copy_one(host, file, place, records.get(&file.path), &mut piece);
            if copied.is_err() {
                // The others end with what they are at.
                next.store(files.len(), Ordering::Relaxed);
            }
            copied?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })
}

fn copy_one(
    host: &Host,
    file: &Original,
    place: &Path,
    record: Option<&([u8; 32], String)>,
    piece: &mut [u8],
) -> Result<(), StageError> {
    let to = place_of(place, &file.path);
    let read = |source| StageError::Read { path: file.path.clone(), source };
    let write = |source| StageError::Write { path: to.clone(), source };
    std::fs::create_dir_all(to.parent().unwrap_or(place)).map_err(write)?;
    let mut from = File::open(&file.path).map_err(read)?;
    let mut options = std::fs::OpenOptions::new();
    let mut copy = options.read(true).write(true).create_new(true).mode(0o644).open(&to).map_err(write)?;
    let mut digest = Sha256::new();
    loop {
        let size = match from.read(piece) {
            Ok(0) => break,
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read(error)),
        };
        let bytes = piece.get(..size).unwrap_or_default();
        digest.update(bytes);
        copy.write_all(bytes).map_err(write)?;
    }
    let digest = digest.finalize();
    if let Some((_, package)) = record.filter(|(sum, _)| sum.as_slice() != digest.as_slice()) {
        return Err(StageError::Altered { path: file.path.clone(), package: package.clone() });
    }
    if host.anew().stat(&file.path).ok() != Some(file.stat) {
        return Err(StageError::Changed { path: file.path.clone() });
    }
    copy.sync_all().map_err(write)?;
    let mut again = Sha256::new();
    let mut copy = File::open(&to).map_err(write)?;
    loop {
        let size = copy.read(piece).map_err(write)?;
        if size == 0 {
            break;
        }
        again.update(piece.get(..size).unwrap_or_default());
    }
    if again.finalize() == digest { Ok(()) } else { Err(StageError::Differs { path: file.path.clone() }) }
}

/// The digests of files that their wheels recorded, each with the package.
fn recorded(host: &Host, files: &[Original]) -> BTreeMap<PathBuf, ([u8; 32], String)> {
    let is_site = |dir: &&Path| dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    let sites: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.ancestors().find(is_site)).collect();
    let mut found = BTreeMap::new();
    for site in sites {
        for distribution in distributions(host, site) {
            for file in distribution.record(host) {
                let sum = file.sha256.as_ref().and_then(|sum| {
                    let mut bytes = [0; 32];
                    (Base64UrlUnpadded::decode(sum, &mut bytes).ok()?.len() == 32).then_some(bytes)
                });
                if let Some(sum) = sum {
                    let package = format!("{} {}", distribution.name, distribution.version);
                    found.insert(site.join(&file.path), (sum, package));
                }
            }
        }
    }
    found
}

/// Links the libraries that lie beside an original and are not copied.
pub(super) fn link_neighbours(files: &[Original], place: &Path) -> io::Result<()> {
    let copied: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let dirs: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
    for dir in dirs {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let name: OsString = path.file_name().unwrap_or_default().to_owned();
            if !name.as_bytes().windows(3).any(|part| part == b".so") || copied.contains(path.as_path()) {
                continue;
            }
            // A name for a copy is a name for the copy.
            let target = std::fs::canonicalize(&path).ok().filter(|real| copied.contains(real.as_path()));
            let target = target.map_or_else(|| path.clone(), |real| place_of(place, &real));
            symlink(target, place_of(place, &path))?;
        }
    }
    Ok(())
}

/// The plan that hands out the copies: as the plan of the originals, but that their paths lead to the copies.
pub(super) fn plan(host: &Host, plan: &Plan, files: &[Original], place: &Path) -> Plan {
    let mut staged = plan.clone();
    for file in files {
        let copy = place_of(place, &file.path);
        let Ok(stat) = host.stat(&copy) else { continue };
        let name = match (&file.name, staged.libraries.iter_mut().find(|library| library.path == file.path)) {
            (_, Some(library)) => {
                (library.path, library.id, library.size, library.mtime) =
                    (copy.clone(), stat.id, stat.size, stat.mtime);
                library.soname.clone()
            }
            (Some(name), None) => {
                let (soname, path, id, size, mtime) = (name.clone(), copy.clone(), stat.id, stat.size, stat.mtime);
                let (identity, version, how) = (None, None, How::Keep);
                staged.libraries.push(PlanLibrary { soname, path, id, size, mtime, identity, version, how });
                name.clone()
            }
            (None, None) => continue,
        };
        // By any spelling that is known, so that no second copy is mapped.
        let real = host.canonical(&file.path).ok();
        let paths = [Some(file.path.clone()), real];
        for path in paths.into_iter().flatten() {
            if !staged.replaces.iter().any(|(known, _)| *known == path) {
                staged.replaces.push((path, name.clone()));
            }
        }
        staged.objects.push(copy);
    }
    staged.objects.sort();
    staged.objects.dedup();
    staged
}
