//! ld.so's search for a name: the places, their order, and the choice.
//!
//! The order is that of `_dl_map_object` in glibc's `elf/dl-load.c`; each step cites it.

use super::cache::Cache;
use super::dst::{self, Platform, Tokens, Trust};
use super::machine::Machine;
use crate::elf::Refusal;
use crate::host::Host;
use crate::loader::{LoadError, Object, ObjectError, Objects};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

/// The rule by which an object entered the link map.
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
    /// `DT_RPATH` of the requester, of its loaders, or of the program.
    Rpath,
    /// `LD_LIBRARY_PATH`.
    LdLibraryPath,
    /// `DT_RUNPATH` of the requester.
    Runpath,
    /// `/etc/ld.so.cache`.
    Cache,
    /// A default directory of this ld.so.
    Default,
    /// It is the ld.so of the process, mapped from the start.
    Interpreter,
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
            Self::Interpreter => "interpreter",
        })
    }
}

/// Why a name resolved to no object.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// No file of that name; the error of the last open(2).
    NotFound(Errno),
    /// Only 32-bit files.
    OtherClass,
    /// The first file of that name cannot be used; ld.so ends the search.
    Unusable(PathBuf, LoadError),
    /// ld.so accepts the file and then does not map it.
    Mapping(PathBuf, &'static str),
    /// `DT_NEEDED` with a token, in secure mode.
    Token,
}

/// An object whose run path a search uses: its path as opened and its dynamic facts.
pub(super) struct Requester<'a> {
    pub(super) path: &'a Path,
    pub(super) object: &'a Object,
    pub(super) is_program: bool,
}

/// The conditions of a search besides the name.
pub(super) struct Search<'a> {
    /// The requester, its loader, and so on.
    pub(super) chain: &'a [Requester<'a>],
    /// The executable.
    pub(super) program: Option<Requester<'a>>,
    pub(super) process: &'a Process,
    /// A preload of a secure process must have the set-user-ID bit, and does not use the cache.
    pub(super) preload: bool,
}

/// The settings of a process, fixed at its start.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    /// `AT_SECURE`: the process has another user's rights.
    pub(super) secure: bool,
    pub(super) library_path: Vec<PathBuf>,
}

/// A searched directory, with its existing subdirectories.
#[derive(Debug)]
struct Directory {
    subdirs: Vec<PathBuf>,
}

/// A dynamic loader in one environment.
#[derive(Debug)]
pub struct Loader {
    objects: Objects,
    library_path: Vec<PathBuf>,
    preload: Vec<OsString>,
    preload_file: Vec<OsString>,
    cache: Cache,
    machine: Machine,
    directories: Mutex<BTreeMap<OsString, Arc<Directory>>>,
}

impl Loader {
    /// The loader of this machine with the environment of `host`.
    #[must_use]
    pub fn new(objects: &Objects) -> Self {
        let host = objects.host();
        let machine = Machine::of(host);
        let bytes = host.read(Path::new("/etc/ld.so.cache")).unwrap_or_default();
        let mut cache = Cache::parse(bytes, machine.architecture.cache_id, &machine.hwcaps);
        if cache.has_legacy_entries()
            && let Some(legacy) = machine.legacy_hwcaps(host)
        {
            cache.set_legacy(legacy);
        }
        let mut loader = Self {
            objects: objects.clone(),
            library_path: Vec::new(),
            preload: split(host.env("LD_PRELOAD").unwrap_or_default(), b": ")
                .filter(|entry| !entry.is_empty() && entry.len() < PATH_LIMIT)
                .collect(),
            preload_file: preload_file(&host.read(Path::new("/etc/ld.so.preload")).unwrap_or_default()),
            cache,
            machine,
            directories: Mutex::default(),
        };
        loader.library_path = loader.process(None, false).library_path;
        loader
    }

    /// The directories of `LD_LIBRARY_PATH`; an empty one is the working directory. `$ORIGIN` is the program's,
    /// so elements with it are left out here.
    #[must_use]
    pub fn library_path(&self) -> &[PathBuf] {
        &self.library_path
    }

    /// The entries of `LD_PRELOAD`.
    #[must_use]
    pub fn preload(&self) -> &[OsString] {
        &self.preload
    }

    /// The entries of `/etc/ld.so.preload`.
    #[must_use]
    pub fn preload_file(&self) -> &[OsString] {
        &self.preload_file
    }

    /// The default directories compiled into this machine's ld.so.
    #[must_use]
    pub fn default_dirs(&self) -> &[PathBuf] {
        &self.machine.default_dirs
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The path of this machine's ld.so, the `PT_INTERP` of its programs.
    #[must_use]
    pub fn interpreter(&self) -> &'static Path {
        Path::new(self.machine.architecture.interpreter)
    }

    /// Major and minor number of the glibc of this machine's ld.so; `None` where the file does not record them.
    #[must_use]
    pub fn glibc(&self) -> Option<(u16, u16)> {
        self.machine.version
    }

    /// Whether `LD_BIND_NOW` binds every function before a program starts.
    pub(super) fn binds_now(&self) -> bool {
        self.host().env("LD_BIND_NOW").is_some_and(|value| !value.is_empty())
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn host(&self) -> &Host {
        self.objects.host()
    }

    /// The object at `path`, as ld.so loads it.
    pub(super) fn load(&self, path: &Path) -> Result<Arc<Object>, ObjectError> {
        let loaded = self.objects.load(path, self.machine.architecture.machine);
        loaded.map_err(|error| match error {
            LoadError::Refused(Refusal::Fatal(words)) => ObjectError::Refused(words),
            error => error.as_object_error(path, &self.objects),
        })
    }

    /// The `e_machine` of its objects.
    #[must_use]
    pub fn architecture(&self) -> u16 {
        self.machine.architecture.machine
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The settings of a process whose program is in `origin`.
    pub(super) fn process(&self, origin: Option<&Path>, secure: bool) -> Process {
        // `unsecvars.h`: ld.so removes the variable in a secure process.
        let list = self.host().env("LD_LIBRARY_PATH").filter(|_| !secure);
        let tokens = self.tokens(origin, Trust::All);
        let library_path = list.map(|list| Self::directories(list, b":;", &tokens)).unwrap_or_default();
        Process { secure, library_path }
    }

    fn tokens<'a>(&'a self, origin: Option<&'a Path>, trust: Trust<'a>) -> Tokens<'a> {
        Tokens { origin, lib: &self.machine.lib, platform: Platform::Of(&self.machine, self.host()), trust }
    }

    fn tokens_of<'a>(&'a self, requester: &'a Requester<'_>, secure: bool, origin: &'a Path) -> Tokens<'a> {
        let trust = match (secure, requester.is_program) {
            (false, _) => Trust::All,
            (true, true) => Trust::First(&self.machine.default_dirs),
            (true, false) => Trust::First(&[]),
        };
        self.tokens(Some(origin), trust)
    }

    /// `l_origin`: the directory of the path that the object was opened by.
    pub(super) fn origin(&self, path: &Path) -> PathBuf {
        // As text: a `Path` would drop the `.` of `./lib.so`, which ld.so keeps.
        let path = self.host().absolute(path);
        let bytes = path.as_os_str().as_bytes();
        let end = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0).max(1);
        PathBuf::from(OsStr::from_bytes(bytes.get(..end).unwrap_or(bytes)))
    }

    /// The directories of a path list, tokens expanded, as `fillin_rpath` makes them.
    fn directories(list: &OsStr, separators: &[u8], tokens: &Tokens<'_>) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        for element in split(list, separators) {
            let expanded = if element.is_empty() { Some(OsString::new()) } else { dst::expand(&element, tokens) };
            // An element that only becomes empty by the expansion is dropped.
            let Some(dir) = expanded.filter(|dir| element.is_empty() || !dir.is_empty()) else { continue };
            let dir = PathBuf::from(without_slashes(&dir));
            if !found.iter().any(|known| known.as_os_str() == dir.as_os_str()) {
                found.push(dir);
            }
        }
        found
    }

    /// The expansion of a needed entry; `None` where ld.so skips it.
    pub(super) fn expand(&self, name: &OsStr, requester: &Requester<'_>) -> Option<OsString> {
        let origin = self.origin(requester.path);
        dst::expand(name, &self.tokens_of(requester, false, &origin)).filter(|name| !name.is_empty())
    }

    /// Opens a name with a slash, tokens expanded against the requester.
    pub(super) fn open_path(
        &self,
        name: &OsStr,
        requester: Option<&Requester<'_>>,
        secure: bool,
    ) -> Result<(PathBuf, Arc<Object>), Failure> {
        let expanded = requester.map(|requester| {
            let origin = self.origin(requester.path);
            dst::expand(name, &self.tokens_of(requester, secure, &origin)).unwrap_or_default()
        });
        let path = PathBuf::from(expanded.unwrap_or_else(|| name.to_owned()));
        match self.objects.load(&path, self.machine.architecture.machine) {
            Ok(object) => Ok((path, object)),
            Err(LoadError::Open(error)) => Err(Failure::NotFound(Errno::of(&error))),
            Err(LoadError::Refused(Refusal::OtherClass)) => Err(Failure::OtherClass),
            Err(LoadError::Refused(Refusal::OtherMachine)) => Err(Failure::NotFound(Errno::NOENT)),
            Err(error) => Err(Failure::Unusable(path, error)),
        }
    }

    /// Searches a bare name: `_dl_map_object`.
    pub(super) fn search(&self, name: &OsStr, search: &Search<'_>) -> Result<(PathBuf, Arc<Object>, Rule), Failure> {
        let mut attempt = Attempt { other_class: false, setuid_only: search.preload && search.process.secure };
        let secure = search.process.secure;
        let requester = search.chain.first();
        let runpath = requester.and_then(|requester| requester.object.facts.runpath.as_deref());
        // "When the object has the RUNPATH information we don't use any RPATHs."
        if runpath.is_none() {
            let program = search.program.iter().filter(|_| !search.chain.iter().any(|link| link.is_program));
            for link in search.chain.iter().chain(program) {
                let Some(rpath) = rpath_of(link) else { continue };
                let origin = self.origin(link.path);
                let dirs = Self::directories(rpath, b":", &self.tokens_of(link, secure, &origin));
                if let Some((path, object)) = self.in_dirs(name, &dirs, &mut attempt)? {
                    return Ok((path, object, Rule::Rpath));
                }
            }
        }
        if let Some((path, object)) = self.in_dirs(name, &search.process.library_path, &mut attempt)? {
            return Ok((path, object, Rule::LdLibraryPath));
        }
        // "Ignore empty rpaths."
        if let (Some(list), Some(requester)) = (runpath.filter(|list| !list.is_empty()), requester) {
            let origin = self.origin(requester.path);
            let dirs = Self::directories(list, b":", &self.tokens_of(requester, secure, &origin));
            if let Some((path, object)) = self.in_dirs(name, &dirs, &mut attempt)? {
                return Ok((path, object, Rule::Runpath));
            }
        }
        let nodeflib = requester.or(search.program.as_ref()).is_some_and(|asker| asker.object.facts.nodeflib);
        if !attempt.setuid_only
            && let Some(path) = self.cache.lookup(name)
            && !(nodeflib && self.machine.default_dirs.iter().any(|dir| lies_below(path, dir)))
            && let Ok(object) = self.usable(path, &mut attempt)?
        {
            return Ok((path.to_owned(), object, Rule::Cache));
        }
        if !nodeflib && let Some((path, object)) = self.in_dirs(name, &self.machine.default_dirs, &mut attempt)? {
            return Ok((path, object, Rule::Default));
        }
        Err(if attempt.other_class { Failure::OtherClass } else { Failure::NotFound(Errno::NOENT) })
    }

    /// The file and the rule that a bare name resolves to for a requester without a run path.
    #[must_use]
    pub fn find(&self, name: &OsStr) -> Option<(PathBuf, Rule)> {
        self.find_for(name, &[])
    }

    /// The file that `dlopen(name)` called from `object`, mapped from `path`, resolves to.
    #[must_use]
    pub fn find_from(&self, path: &Path, object: &Object, name: &OsStr) -> Option<(PathBuf, Rule)> {
        self.find_for(name, &[Requester { path, object, is_program: false }])
    }

    fn find_for(&self, name: &OsStr, chain: &[Requester<'_>]) -> Option<(PathBuf, Rule)> {
        let process = Process { secure: false, library_path: self.library_path.clone() };
        let search = Search { chain, program: None, process: &process, preload: false };
        self.search(name, &search).ok().map(|(path, _, rule)| (path, rule))
    }

    /// The directories of an object's own run path, `DT_RUNPATH` or else `DT_RPATH`, tokens expanded.
    #[must_use]
    pub fn run_path(&self, path: &Path, object: &Object) -> Vec<PathBuf> {
        let list = object.facts.runpath.as_deref().or(object.facts.rpath.as_deref());
        let origin = self.origin(path);
        list.map(|list| Self::directories(list, b":", &self.tokens(Some(&origin), Trust::All))).unwrap_or_default()
    }

    /// The subdirectories of a directory that are searched before it.
    pub(super) fn subdirectories(&self, dir: &Path) -> Vec<PathBuf> {
        self.directory(dir).subdirs.clone()
    }

    /// `open_path`.
    fn in_dirs(
        &self,
        name: &OsStr,
        dirs: &[PathBuf],
        attempt: &mut Attempt,
    ) -> Result<Option<(PathBuf, Arc<Object>)>, Failure> {
        for dir in dirs {
            for subdir in &self.directory(dir).subdirs {
                let path = dir.join(subdir).join(name);
                if let Ok(object) = self.usable(&path, attempt)? {
                    return Ok(Some((path, object)));
                }
            }
            // An empty element is the working directory, and ld.so then uses the bare name as the path.
            let path = dir.join(name);
            match self.usable(&path, attempt)? {
                Ok(object) => return Ok(Some((path, object))),
                // "The file exists and is readable, but something went wrong": the rest of the list is skipped.
                Err(errno) if errno.ends_list() && self.host().is_dir(dir_or_here(dir)) => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn directory(&self, dir: &Path) -> Arc<Directory> {
        if let Some(known) = self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(dir.as_os_str()) {
            return Arc::clone(known);
        }
        let mut subdirs = Vec::new();
        let hwcaps = Path::new("glibc-hwcaps");
        if !self.machine.hwcaps.is_empty() && self.host().is_dir(&dir.join(hwcaps)) {
            subdirs.extend(self.machine.hwcaps.iter().map(|level| hwcaps.join(level)));
        }
        subdirs.extend(self.machine.legacy_subdirs(self.host(), |name| self.host().is_dir(&dir.join(name))));
        let made = Arc::new(Directory { subdirs });
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(dir.as_os_str().to_owned(), Arc::clone(&made));
        made
    }

    /// `open_verify`: a file of another class or machine is skipped, a damaged one ends the search.
    fn usable(&self, path: &Path, attempt: &mut Attempt) -> Result<Result<Arc<Object>, Errno>, Failure> {
        match self.objects.load(path, self.machine.architecture.machine) {
            Ok(object) if attempt.setuid_only && object.stat.mode & SETUID == 0 => Ok(Err(Errno::NOENT)),
            Ok(object) => Ok(Ok(object)),
            Err(LoadError::Open(error)) => Ok(Err(Errno::of(&error))),
            Err(LoadError::Refused(refusal @ (Refusal::OtherClass | Refusal::OtherMachine))) => {
                attempt.other_class |= refusal == Refusal::OtherClass;
                Ok(Err(Errno::NOENT))
            }
            Err(error) => Err(Failure::Unusable(path.to_owned(), error)),
        }
    }
}

/// The state of a search.
struct Attempt {
    other_class: bool,
    setuid_only: bool,
}

/// The error of open(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(pub(super) i32);

impl Errno {
    pub(super) const NOENT: Self = Self(rustix::io::Errno::NOENT.raw_os_error());
    const ACCES: Self = Self(rustix::io::Errno::ACCESS.raw_os_error());

    pub(super) fn of(error: &std::io::Error) -> Self {
        error.raw_os_error().map_or(Self::NOENT, Self)
    }

    fn ends_list(self) -> bool {
        self != Self::NOENT && self != Self::ACCES
    }
}

/// `DT_RPATH` counts only where the same object has no `DT_RUNPATH` (`elf_get_dynamic_info`).
fn rpath_of<'a>(link: &Requester<'a>) -> Option<&'a OsStr> {
    let facts = &link.object.facts;
    facts.rpath.as_deref().filter(|rpath| facts.runpath.is_none() && !rpath.is_empty())
}

/// A path below a directory, as text.
fn lies_below(path: &Path, dir: &Path) -> bool {
    let rest = path.as_os_str().as_bytes().strip_prefix(dir.as_os_str().as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

fn dir_or_here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// "Remove trailing slashes (except for "/")."
fn without_slashes(dir: &OsStr) -> &OsStr {
    let mut bytes = dir.as_bytes();
    while let Some(shorter) = bytes.strip_suffix(b"/").filter(|shorter| !shorter.is_empty()) {
        bytes = shorter;
    }
    OsStr::from_bytes(bytes)
}

/// The entries of `/etc/ld.so.preload`: separated by white space and colons, without comments (`dl_main`).
fn preload_file(bytes: &[u8]) -> Vec<OsString> {
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b'#').next().unwrap_or(line));
    let entries = lines.flat_map(|line| line.split(|byte| b": \t".contains(byte)));
    entries.filter(|entry| !entry.is_empty()).map(|entry| OsStr::from_bytes(entry).to_owned()).collect()
}

/// `SECURE_PATH_LIMIT`: a longer entry of `LD_PRELOAD` is ignored.
const PATH_LIMIT: usize = 4096;
/// `S_ISUID`.
const SETUID: u32 = 0o4000;

fn split<'a>(list: &'a OsStr, separators: &'a [u8]) -> impl Iterator<Item = OsString> + 'a {
    list.as_bytes().split(move |byte| separators.contains(byte)).map(|element| OsStr::from_bytes(element).to_owned())
}
