//! One file in full: its entry in a scan, and the properties that only reading the whole file shows.
//!
//! Takes a path, and the [`Scan`] that may have it; gives everything known of that file. Another file, such as torch's
//! libraries, is read as any ELF object.

use super::{Entry, Scan};
use crate::elf::ElfError;
use crate::elf::fatbin::FatBinaries;
use crate::host::{Host, Kind};
use crate::inventory::{
    Depth, Digest, Evidence, Flags, Found, Problem, Verified, evidence, flags, gpu_code, kernel_branch, observe, sha256,
};
use crate::loader::{Loader, Rule};
use crate::loader::{Object, ObjectError, Objects};
use crate::tables::{LibraryName, families, parse_library_name};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The properties of one file.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The requested path, made absolute.
    pub path: PathBuf,
    /// The symbolic links of the path, each with its target as written.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The path without links.
    pub real: PathBuf,
    /// The other known paths of the file.
    pub names: Vec<PathBuf>,
    /// Its library, by file name, else by soname.
    pub family: Option<&'static str>,
    /// The library that it resembles, but is not.
    pub look_alike: Option<String>,
    /// The hash that a bundle renamed it by.
    pub renamed: Option<String>,
    /// Its entry in the scan, where it has the name of an NVIDIA library.
    pub entry: Option<Entry>,
    /// Its release, with all evidence.
    pub found: Found,
    /// Its digest, where requested.
    pub digest: Option<Digest>,
    /// The object, where it is an ELF object for this machine.
    pub object: Option<Arc<Object>>,
    /// Why it must not be loaded.
    pub unusable: Option<String>,
    /// Whether it is for linking only.
    pub stub: bool,
    /// Its requirements for the process that loads it.
    pub flags: Option<Result<Flags, ElfError>>,
    /// Whether a forward-compatible driver runs on the loaded kernel module.
    pub compatible_here: Option<bool>,
    /// The GPU code in it.
    pub gpu: Option<FatBinaries>,
    /// For a file outside the scan: the rule by which `dlopen` of its soname, or of its name, resolves to it today.
    pub found_by: Option<Rule>,
    /// Its problems.
    pub problems: Vec<Problem>,
}

impl Inspection {
    /// Inspects a file. `scan` is of all places of the machine and of the file's directory; `hash` reads the whole
    /// file.
    ///
    /// # Errors
    ///
    /// Where there is no such file, or where it is neither an ELF object for this machine nor named like a library of
    /// NVIDIA's.
    pub fn new(objects: &Objects, loader: &Loader, scan: &Scan, path: &Path, hash: bool) -> Result<Self, ObjectError> {
        let host = objects.host();
        let path = host.absolute(path);
        let stat = host.stat(&path).map_err(|error| ObjectError::Open(Arc::new(error)))?;
        // Of a file that several environments share, the entry with this path.
        let same = || scan.entries.iter().filter(|entry| entry.library.stat.id == stat.id);
        let entry = same().find(|entry| entry.paths.contains(&path)).or_else(|| same().next()).cloned();
        let object = match (objects.open(&path), &entry) {
            (Ok(object), _) => Some(object),
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(error),
        };
        let soname = object.as_ref().and_then(|object| object.facts.soname.clone());
        let file_name = path.file_name().unwrap_or_default().to_owned();
        let name = parse_library_name(&file_name).or_else(|| soname.as_deref().and_then(parse_library_name));
        let found = of_release(entry.as_ref(), object.as_deref(), soname.as_deref());
        let flags = object.as_ref().map(|object| {
            let is_runtime = name.as_ref().is_some_and(|name| name.row.stem == "cudart");
            let elf = object.elf()?;
            // Of a library with GPU code only the symbol tables are read: small and far apart in NVIDIA libraries.
            let tables_only = elf.sections().iter().any(|section| section.name == b".nvFatBinSegment");
            object.expect_scattered(name.is_some() && tables_only);
            let flags = flags(&elf, is_runtime);
            object.expect_scattered(false);
            flags
        });
        let compatible = flags.as_ref().and_then(|flags| flags.as_ref().ok()?.forward_compatibility.as_ref());
        let compatible_here = compatible.and_then(|note| note.runs_on(kernel_branch(host)?));
        let real = host.canonical(&path).unwrap_or_else(|_| path.clone());
        let found_by = match (&entry, &object) {
            (None, Some(object)) => [object.name(), &file_name].into_iter().find_map(|name| {
                let (found, rule) = loader.find(name)?;
                (host.stat(&found).ok()?.id == stat.id).then_some(rule)
            }),
            _ => None,
        };
        let digest = if hash { digest(host, &path, entry.as_ref()) } else { None };
        let names = names(host, &path, entry.as_ref());
        let about = |problem: &&Problem| problem.path == path || names.contains(&problem.path);
        Ok(Self {
            links: links(host, &path),
            family: name.as_ref().map(|name| name.row.family),
            look_alike: look_alike(&file_name, name.as_ref()),
            renamed: name.as_ref().and_then(|name| name.hash.map(str::to_owned)),
            found,
            digest,
            unusable: entry.as_ref().and_then(|entry| entry.library.unusable.clone()),
            stub: [&path, &real].iter().any(|path| path.iter().any(|part| part == "stubs")),
            flags,
            compatible_here,
            gpu: object.as_deref().and_then(|object| gpu(object, name.as_ref())),
            found_by,
            problems: scan.problems.iter().filter(about).cloned().collect(),
            names,
            entry,
            object,
            real,
            path,
        })
    }

    /// Whether its soname is one of its names; `None` where it has no soname.
    #[must_use]
    pub fn soname_is_a_name(&self) -> Option<bool> {
        let soname = self.object.as_ref()?.facts.soname.as_deref()?;
        let real = std::iter::once(&self.real);
        let mut paths =
            self.names.iter().chain([&self.path]).chain(real).chain(self.links.iter().map(|(link, _)| link));
        Some(paths.any(|path| path.file_name() == Some(soname)))
    }
}

/// The symbolic links of a path.
fn links(host: &Host, path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut at = path.to_owned();
    while let Ok(target) = host.link_target(&at) {
        let next = at.parent().unwrap_or(Path::new("/")).join(&target);
        links.push((at, target));
        // A loop.
        if links.iter().any(|(link, _)| *link == next) {
            break;
        }
        at = next;
    }
    links
}

/// The other paths of a file: those of the scan, else those beside it with the same stem.
fn names(host: &Host, path: &Path, entry: Option<&Entry>) -> Vec<PathBuf> {
    let mut names: BTreeSet<PathBuf> = BTreeSet::new();
    if let Some(entry) = entry {
        names.extend(entry.paths.iter().cloned());
    } else if let (Some(dir), Some(name), Ok(stat)) = (path.parent(), path.file_name(), host.stat(path)) {
        let name = name.as_bytes();
        let stem = name.windows(3).position(|part| part == b".so").and_then(|at| name.get(..at)).unwrap_or(name);
        let alike = host.list(dir).unwrap_or_default().into_iter();
        let alike = alike.filter(|entry| entry.name.as_bytes().starts_with(stem) && entry.kind != Kind::Directory);
        let paths = alike.map(|entry| dir.join(entry.name));
        names.extend(paths.filter(|other| host.stat(other).is_ok_and(|other| other.id == stat.id)));
    }
    names.remove(path);
    names.into_iter().collect()
}

/// The release with all evidence, each piece once.
fn of_release(entry: Option<&Entry>, object: Option<&Object>, soname: Option<&OsStr>) -> Found {
    let mut found = match (entry, object, soname.and_then(OsStr::to_str)) {
        (Some(entry), ..) => evidence(&entry.library, Depth::Full).0,
        (None, Some(object), Some(soname)) => {
            let observed = object.elf().map(|elf| observe(&elf, soname).0);
            Found::default().with(observed.unwrap_or_default())
        }
        _ => Found::default(),
    };
    let mut seen: Vec<Evidence> = Vec::new();
    found.evidence.retain(|one| {
        let new = !seen.contains(one);
        seen.push(one.clone());
        new
    });
    found
}

/// The GPU code of an object. cuFFT and CUPTI have it in their constants, which are read whole; those of the other
/// libraries of CUDA 11.7 to 13.2 hold none.
fn gpu(object: &Object, name: Option<&LibraryName<'_>>) -> Option<FatBinaries> {
    let family = name.map_or("", |name| name.row.family);
    let bare = name.is_some() && object.elf().is_ok_and(|elf| elf.sections().is_empty());
    let depth = if matches!(family, "cufft" | "cupti") || bare { Depth::Full } else { Depth::Quick };
    gpu_code(object, depth).ok()
}

fn digest(host: &Host, path: &Path, entry: Option<&Entry>) -> Option<Digest> {
    if let Some(digest) = entry.and_then(|entry| entry.digest.clone()) {
        return Some(digest);
    }
    let (bytes, _) = host.map(path).ok()?;
    Some(Digest { sha256: sha256(&bytes), verified: Verified::Unknown })
}

/// The library that a file name resembles.
fn look_alike(file_name: &OsStr, name: Option<&LibraryName<'_>>) -> Option<String> {
    if let Some(name) = name.filter(|name| name.row.family == "nvrtc-alt") {
        let of = name.row.bare_name().replace(".alt", "");
        return Some(format!("another build of `{of}` with its own soname: it cannot replace it"));
    }
    if parse_library_name(file_name).is_some() {
        return None;
    }
    let text = file_name.to_str()?.strip_prefix("lib")?;
    let begins = |row: &&crate::tables::FamilyRow| {
        text.strip_prefix(row.stem).is_some_and(|rest| rest.starts_with(['-', '_', '.']))
    };
    let row = families().iter().filter(begins).max_by_key(|row| row.stem.len())?;
    Some(format!("its name resembles `{}`, but it is another library", row.bare_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_resemble() {
        let alike = |name: &str| look_alike(OsStr::new(name), parse_library_name(name).as_ref());
        assert_eq!(
            alike("libcuda-injection.so").as_deref(),
            Some("its name resembles `libcuda.so`, but it is another library")
        );
        assert!(alike("libcudart_static.a").unwrap().contains("`libcudart.so`"));
        assert!(alike("libnvrtc.alt.so.12").unwrap().contains("another build of `libnvrtc.so`"));
        assert_eq!([alike("libcudart.so.12"), alike("libtorch_cuda.so"), alike("libcurl.so.4")], [None, None, None]);
    }
}
