//! Where ld.so looks for a name, in which order, and what it takes.
//!
//! The order is that of `_dl_map_object` in glibc's `elf/dl-load.c`; each step cites it.

use super::cache::Cache;
use super::dst::{self, Tokens};
use crate::elf::Elf;
use crate::host::Host;
use crate::objects::{Object, ObjectError, Objects};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// By which rule an object came into the link map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// `LD_PRELOAD` or `/etc/ld.so.preload`.
    Preload,
    /// It was mapped already.
    Mapped,
    /// Opened by a name with a slash.
    Path,
    /// `DT_RPATH` of the requester, of whoever loaded it, or of the program.
    Rpath,
    /// `LD_LIBRARY_PATH`.
    LdLibraryPath,
    /// `DT_RUNPATH` of the requester.
    Runpath,
    /// `/etc/ld.so.cache`.
    Cache,
    /// A default directory of this ld.so.
    Default,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Preload => "LD_PRELOAD",
            Self::Mapped => "mapped already",
            Self::Path => "by path",
            Self::Rpath => "DT_RPATH",
            Self::LdLibraryPath => "LD_LIBRARY_PATH",
            Self::Runpath => "DT_RUNPATH",
            Self::Cache => "ld.so.cache",
            Self::Default => "default directory",
        })
    }
}

/// Why a name led to no object.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Nothing of that name anywhere: "cannot open shared object file: No such file or directory".
    NotFound,
    /// The first file of that name cannot be used; ld.so does not look further.
    Unusable(PathBuf, ObjectError),
}

/// One object that has a say in a search: its path as opened and its dynamic facts.
pub(super) struct Requester<'a> {
    pub(super) path: &'a Path,
    pub(super) object: &'a Object,
}

/// A dynamic loader in one environment.
#[derive(Debug)]
pub struct Loader<'h> {
    host: &'h Host,
    objects: &'h Objects<'h>,
    library_path: Vec<PathBuf>,
    preload: Vec<OsString>,
    cache: Cache,
    default_dirs: Vec<PathBuf>,
    hwcaps: Vec<&'static str>,
    lib: OsString,
}

impl<'h> Loader<'h> {
    /// The loader of this machine with the environment of `host`.
    #[must_use]
    pub fn new(objects: &'h Objects<'h>) -> Self {
        let host = objects.host();
        let hwcaps = hwcaps();
        let cache = host.read(Path::new("/etc/ld.so.cache")).unwrap_or_default();
        let default_dirs = default_dirs(host);
        // `$LIB` is the first default directory without its leading slash, on every glibc we know.
        let lib =
            default_dirs.first().map_or(OsStr::new("lib"), |dir| dir.strip_prefix("/").unwrap_or(dir).as_os_str());
        let lib = lib.to_owned();
        let mut loader = Self {
            host,
            objects,
            library_path: Vec::new(),
            preload: split(host.env("LD_PRELOAD").unwrap_or_default(), b": ")
                .filter(|entry| !entry.is_empty())
                .collect(),
            cache: Cache::parse(&cache, &hwcaps),
            default_dirs,
            hwcaps,
            lib,
        };
        if let Some(list) = host.env("LD_LIBRARY_PATH") {
            loader.library_path = loader.directories(list, b":;", None);
        }
        loader
    }

    /// The directories of `LD_LIBRARY_PATH`, an empty one standing for the working directory.
    #[must_use]
    pub fn library_path(&self) -> &[PathBuf] {
        &self.library_path
    }

    /// The entries of `LD_PRELOAD`.
    #[must_use]
    pub fn preload(&self) -> &[OsString] {
        &self.preload
    }

    /// The default directories compiled into this machine's ld.so.
    #[must_use]
    pub fn default_dirs(&self) -> &[PathBuf] {
        &self.default_dirs
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn objects(&self) -> &'h Objects<'h> {
        self.objects
    }

    pub(crate) fn host(&self) -> &'h Host {
        self.host
    }

    /// The directories of a path list, tokens expanded, as `fillin_rpath` makes them.
    fn directories(&self, list: &OsStr, separators: &[u8], origin: Option<&Path>) -> Vec<PathBuf> {
        let platform = OsStr::new(std::env::consts::ARCH);
        let tokens = Tokens { origin, lib: &self.lib, platform };
        split(list, separators).filter_map(|element| dst::expand(&element, tokens)).map(PathBuf::from).collect()
    }

    /// Opens a name with a slash, tokens expanded against the requester.
    pub(super) fn open_path(
        &self,
        name: &OsStr,
        requester: Option<&Requester<'_>>,
    ) -> Result<(PathBuf, Rc<Object>), Failure> {
        let origin = requester.and_then(|requester| requester.path.parent());
        let tokens = Tokens { origin, lib: &self.lib, platform: OsStr::new(std::env::consts::ARCH) };
        let path = dst::expand(name, tokens).map(PathBuf::from).ok_or(Failure::NotFound)?;
        match self.objects.open(&path) {
            Ok(object) => Ok((path, object)),
            Err(ObjectError::Open(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::NotFound),
            Err(error) => Err(Failure::Unusable(path, error)),
        }
    }

    /// Searches a bare name. `chain` is the requester, then whoever loaded it, and so on up; `program`
    /// is the executable.
    pub(super) fn search(
        &self,
        name: &OsStr,
        chain: &[Requester<'_>],
        program: Option<&Requester<'_>>,
    ) -> Result<(PathBuf, Rc<Object>, Rule), Failure> {
        let requester = chain.first();
        let runpath = requester.and_then(|requester| requester.object.facts.runpath.as_deref());
        // "When the object has the RUNPATH information we don't use any RPATHs."
        if runpath.is_none() {
            for link in chain.iter().chain(program) {
                if let Some((path, object)) = self.rpath_of(link).map_or(Ok(None), |dirs| self.in_dirs(name, &dirs))? {
                    return Ok((path, object, Rule::Rpath));
                }
            }
        }
        if let Some((path, object)) = self.in_dirs(name, &self.library_path)? {
            return Ok((path, object, Rule::LdLibraryPath));
        }
        if let (Some(list), Some(requester)) = (runpath, requester)
            && let Some((path, object)) = self.in_dirs(name, &self.directories(list, b":", requester.path.parent()))?
        {
            return Ok((path, object, Rule::Runpath));
        }
        let nodeflib = requester.is_some_and(|requester| requester.object.facts.nodeflib);
        if let Some(path) = self.cache.lookup(name)
            && !(nodeflib && path.parent().is_some_and(|dir| self.default_dirs.iter().any(|default| default == dir)))
            && let Some(object) = self.usable(path)?
        {
            return Ok((path.to_owned(), object, Rule::Cache));
        }
        if !nodeflib && let Some((path, object)) = self.in_dirs(name, &self.default_dirs)? {
            return Ok((path, object, Rule::Default));
        }
        Err(Failure::NotFound)
    }

    /// What a bare name leads to where the requester has no run path of its own: the file and the rule.
    #[must_use]
    pub fn find(&self, name: &OsStr) -> Option<(PathBuf, Rule)> {
        self.search(name, &[], None).ok().map(|(path, _, rule)| (path, rule))
    }

    /// What `dlopen(name)` called from `object`, mapped from `path`, leads to.
    #[must_use]
    pub fn find_from(&self, path: &Path, object: &Object, name: &OsStr) -> Option<(PathBuf, Rule)> {
        self.search(name, &[Requester { path, object }], None).ok().map(|(path, _, rule)| (path, rule))
    }

    /// The directories of an object's own run path, `DT_RUNPATH` or else `DT_RPATH`, tokens expanded.
    #[must_use]
    pub fn run_path(&self, path: &Path, object: &Object) -> Vec<PathBuf> {
        let list = object.facts.runpath.as_deref().or(object.facts.rpath.as_deref());
        list.map(|list| self.directories(list, b":", path.parent())).unwrap_or_default()
    }

    /// The subdirectories of a directory that are searched before it.
    pub(super) fn subdirectories(&self, dir: &Path) -> Vec<PathBuf> {
        let hwcaps = Path::new("glibc-hwcaps");
        let levels = self.hwcaps.iter().map(|level| hwcaps.join(level));
        if self.host.is_dir(&dir.join(hwcaps)) { levels.collect() } else { Vec::new() }
    }

    /// `DT_RPATH` counts only where the same object has no `DT_RUNPATH` (`elf_get_dynamic_info`).
    fn rpath_of(&self, link: &Requester<'_>) -> Option<Vec<PathBuf>> {
        let facts = &link.object.facts;
        let rpath = facts.rpath.as_deref().filter(|_| facts.runpath.is_none())?;
        Some(self.directories(rpath, b":", link.path.parent()))
    }

    fn in_dirs(&self, name: &OsStr, dirs: &[PathBuf]) -> Result<Option<(PathBuf, Rc<Object>)>, Failure> {
        for dir in dirs {
            // An empty element is the working directory, and ld.so then uses the bare name as the path.
            let hwcaps = dir.join("glibc-hwcaps");
            if self.host.is_dir(&hwcaps) {
                for level in &self.hwcaps {
                    let path = hwcaps.join(level).join(name);
                    if let Some(object) = self.usable(&path)? {
                        return Ok(Some((path, object)));
                    }
                }
            }
            let path = dir.join(name);
            if let Some(object) = self.usable(&path)? {
                return Ok(Some((path, object)));
            }
        }
        Ok(None)
    }

    /// `open_verify`: a file of another class or machine is passed over, a damaged one ends the search.
    fn usable(&self, path: &Path) -> Result<Option<Rc<Object>>, Failure> {
        match self.objects.open(path) {
            Ok(object) => Ok(Some(object)),
            Err(ObjectError::Open(_)) => Ok(None),
            Err(ObjectError::Elf(error)) if error.is_foreign() => Ok(None),
            Err(error) => Err(Failure::Unusable(path.to_owned(), error)),
        }
    }
}

fn split<'a>(list: &'a OsStr, separators: &'a [u8]) -> impl Iterator<Item = OsString> + 'a {
    list.as_bytes().split(move |byte| separators.contains(byte)).map(|element| OsStr::from_bytes(element).to_owned())
}

/// The glibc-hwcaps subdirectories this processor can use, best first (`sysdeps/x86_64/dl-hwcaps_subdirs.c`).
fn hwcaps() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let v2 =
            has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt") && has!("cmpxchg16b");
        let v3 = v2
            && has!("avx")
            && has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("f16c")
            && has!("fma")
            && has!("lzcnt")
            && has!("movbe");
        let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
        [(v4, "x86-64-v4"), (v3, "x86-64-v3"), (v2, "x86-64-v2")]
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, name)| *name)
            .collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Vec::new()
    }
}

/// Where this architecture's ld.so is installed (the `PT_INTERP` of every dynamic program).
#[cfg(target_arch = "aarch64")]
const INTERPRETER: &str = "/lib/ld-linux-aarch64.so.1";
#[cfg(not(target_arch = "aarch64"))]
const INTERPRETER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The directories compiled into ld.so (`system_dirs` in `elf/dl-load.c`): a run of NUL-terminated strings in
/// its read-only data, each beginning and ending with a slash.
fn default_dirs(host: &Host) -> Vec<PathBuf> {
    let interpreter = host.map(Path::new(INTERPRETER));
    let bytes = interpreter.as_ref().map(|(map, _)| &**map).unwrap_or_default();
    let found = if Elf::parse(bytes).is_ok() { system_dirs(bytes) } else { Vec::new() };
    if found.is_empty() {
        // No ld.so to ask (an image without one): the two layouts in use, the multiarch one first.
        let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
        return [
            format!("/lib/{multiarch}"),
            format!("/usr/lib/{multiarch}"),
            "/lib64".into(),
            "/usr/lib64".into(),
            "/lib".into(),
            "/usr/lib".into(),
        ]
        .map(PathBuf::from)
        .into();
    }
    found
}

fn system_dirs(bytes: &[u8]) -> Vec<PathBuf> {
    let mut best: Vec<PathBuf> = Vec::new();
    let mut run: Vec<PathBuf> = Vec::new();
    for text in bytes.split(|byte| *byte == 0) {
        let is_dir = text.len() > 2
            && text.len() < 256
            && text.starts_with(b"/")
            && text.ends_with(b"/")
            && text.iter().all(u8::is_ascii_graphic)
            && text.windows(3).any(|window| window == b"lib");
        if is_dir {
            let dir = text.strip_suffix(b"/").unwrap_or(text);
            run.push(PathBuf::from(OsStr::from_bytes(dir)));
        } else {
            if run.len() > best.len() {
                best = std::mem::take(&mut run);
            }
            run.clear();
        }
    }
    best
}
