//! ELF files of one machine, each opened once.
//!
//! Takes paths; returns [`Object`]s: the stat of the file, its bytes, and the facts of its dynamic table.
//! A file with two names is opened once, and each of its objects has its own path. Never searches for anything.

use crate::elf::{Elf, ElfError, Filter, Kind, Refusal, dies_when_mapped, open_verify};
use crate::host::{FileId, Hints, Host, Map, Stat};

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a file could not be used as an ELF object.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The file could not be opened or mapped.
    #[error("cannot be opened: {0}")]
    Open(Arc<io::Error>),
    /// The file is not a readable ELF object.
    #[error(transparent)]
    Elf(ElfError),
    /// The file ends before the segments of its program headers: mapping it ends in `SIGBUS`.
    #[error("truncated: the file ends before its segments do")]
    Truncated,
    /// A sound object that ld.so does not load, with ld.so's reason.
    #[error("{0}")]
    Refused(&'static str),
}

impl Hints for ObjectError {}

/// Why ld.so does not map a file, or dies on it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be opened; the search goes on after most of these.
    Open(Arc<io::Error>),
    /// ld.so refuses it; the [`Refusal`] decides whether the search goes on.
    Refused(Refusal),
    /// It cannot be read, such as a directory; the search ends.
    Read(Arc<io::Error>),
    /// ld.so maps it and the process dies by a signal: the file is truncated, or its tables point outside it.
    Dies(ObjectError),
}

/// An entry of the dynamic table that makes ld.so load another object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency {
    /// `DT_NEEDED`.
    Needed(OsString),
    /// `DT_FILTER`.
    Filter(OsString),
    /// `DT_AUXILIARY`.
    Auxiliary(OsString),
}

/// The facts of the dynamic table of an object, owned.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `DT_SONAME`.
    pub soname: Option<OsString>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<OsString>,
    /// All dependencies, in order: `needed` and the filters between.
    pub dependencies: Vec<Dependency>,
    /// `DT_RPATH`; glibc ignores it where there is a `DT_RUNPATH`.
    pub rpath: Option<OsString>,
    /// `DT_RUNPATH`.
    pub runpath: Option<OsString>,
    /// `DF_1_NODEFLIB`.
    pub nodeflib: bool,
    /// `PT_INTERP`.
    pub interpreter: Option<OsString>,
    /// Whether it has a dynamic table.
    pub dynamic: bool,
    /// The GNU build ID in hex.
    pub build_id: Option<String>,
    /// Whether loading it makes the stacks executable.
    pub executable_stack: bool,
}

/// One ELF object for this machine.
#[derive(Debug)]
pub struct Object {
    /// The path it was opened by.
    pub path: PathBuf,
    /// Stat of the read file.
    pub stat: Stat,
    /// The facts of its dynamic table.
    pub facts: Arc<Facts>,
    /// The file ends before its segments do. Only [`Objects::load`] returns such an object.
    pub truncated: bool,
    map: Arc<Map>,
}

impl Object {
    /// The same file under another path.
    fn under(self: Arc<Self>, path: &Path) -> Arc<Self> {
        if self.path == path {
            return self;
        }
        let (facts, map) = (Arc::clone(&self.facts), Arc::clone(&self.map));
        Arc::new(Self { path: path.to_owned(), stat: self.stat, facts, truncated: self.truncated, map })
    }

    /// The ELF view of the object, for symbols. Cheap: reads headers and dynamic table only.
    pub fn elf(&self) -> Result<Elf<'_>, ElfError> {
        Elf::parse(&self.map)
    }

    /// The bytes of the file; empty where more files are open than the kernel maps (see [`Objects`]).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Whether the file was truncated while it was read: the missing part reads as zeros.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.map.is_cut()
    }

    /// Releases the memory of the bytes read so far, until they are read again.
    pub fn rest(&self) {
        self.map.rest();
    }

    /// Advises the kernel that reads of the file are scattered, or no longer so.
    pub fn expect_scattered(&self, scattered: bool) {
        self.map.expect_scattered(scattered);
    }

    /// Its soname, else its file name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.facts.soname.as_deref().or_else(|| self.path.file_name()).unwrap_or_default()
    }
}

type Opened = Result<Arc<Object>, ObjectError>;
type Loaded = Result<Arc<Object>, LoadError>;

/// From this many objects on, read pages are released: Linux maps sixteen pages around each read byte.
const MANY: usize = 128;

/// From this many on, only the facts are kept: Linux limits a process to 65530 maps (`vm.max_map_count`), and the
/// allocator needs some.
const MAPS: usize = 16_384;

/// The ELF files opened so far. Above a limit their bytes are released: only their facts remain.
///
/// Cheap to clone: all clones share what was opened.
#[derive(Debug, Clone)]
pub struct Objects {
    host: Host,
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    // Keys are bytes: comparing paths by parts is slower.
    by_path: Mutex<BTreeMap<OsString, Opened>>,
    by_id: Mutex<BTreeMap<FileId, Opened>>,
    /// ld.so's verdict on files that [`Objects::open`] refuses.
    damaged: Mutex<BTreeMap<FileId, Loaded>>,
}

/// Locks; a poisoned lock still guards whole data, since each write is a single one.
fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Objects {
    /// An empty collection for this machine.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self { host: host.clone(), known: Arc::default() }
    }

    /// The machine the files are on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The object at `path`, as ld.so would map it.
    pub fn open(&self, path: &Path) -> Result<Arc<Object>, ObjectError> {
        if let Some(opened) = lock(&self.known.by_path).get(path.as_os_str()) {
            return opened.clone();
        }
        let opened = self.open_new(path);
        lock(&self.known.by_path).insert(path.as_os_str().to_owned(), opened.clone());
        opened
    }

    /// The object at `path` as the ld.so of `machine` maps it: also a truncated file.
    pub fn load(&self, path: &Path, machine: u16) -> Result<Arc<Object>, LoadError> {
        match self.open(path) {
            Ok(object) => open_verify(&object.map, machine).map(|()| object).map_err(LoadError::Refused),
            // open(2) of a directory succeeds, and read(2) fails.
            Err(ObjectError::Open(error)) if error.kind() != io::ErrorKind::NotFound && self.host.is_dir(path) => {
                Err(LoadError::Read(Arc::new(io::Error::from_raw_os_error(rustix::io::Errno::ISDIR.raw_os_error()))))
            }
            Err(ObjectError::Open(error)) => Err(LoadError::Open(error)),
            Err(error) => self.load_damaged(path, machine, error),
        }
    }

    fn load_damaged(&self, path: &Path, machine: u16, error: ObjectError) -> Loaded {
        let (map, stat) = self.host.map(path).map_err(|error| LoadError::Open(Arc::new(error)))?;
        if let Some(loaded) = lock(&self.known.damaged).get(&stat.id) {
            return loaded.clone().map(|object| object.under(path));
        }
        let judge = || {
            open_verify(&map, machine).map_err(LoadError::Refused)?;
            match Elf::parse(&map) {
                Ok(elf) if !dies_when_mapped(&map) => Ok(facts(&elf)),
                _ => Err(LoadError::Dies(error)),
            }
        };
        let loaded = judge().map(|facts| {
            let (facts, map) = (Arc::new(facts), Arc::new(map));
            Arc::new(Object { path: path.to_owned(), stat, facts, truncated: true, map })
        });
        lock(&self.known.damaged).insert(stat.id, loaded.clone());
        loaded
    }

    fn open_new(&self, path: &Path) -> Opened {
        let (mut map, stat) = self.host.map(path).map_err(|error| ObjectError::Open(Arc::new(error)))?;
        if let Some(opened) = lock(&self.known.by_id).get(&stat.id) {
            return opened.clone().map(|object| object.under(path));
        }
        // Headers, dynamic table and names are megabytes apart, and a page each: read-ahead would read the rest.
        map.expect_scattered(true);
        let read = match Elf::parse(&map) {
            // Whatever the zeros parsed as.
            _ if map.is_cut() => Err(ObjectError::Truncated),
            Ok(elf) if elf.truncated() => Err(ObjectError::Truncated),
            Ok(elf) => Ok(facts(&elf)),
            Err(error) if error.kind == Kind::CutOff => Err(ObjectError::Truncated),
            Err(error) => Err(ObjectError::Elf(error)),
        };
        map.expect_scattered(false);
        let count = lock(&self.known.by_id).len();
        if count >= MAPS {
            map.close();
        } else if count >= MANY {
            map.rest();
        }
        let opened = read.map(|facts| {
            let (facts, map) = (Arc::new(facts), Arc::new(map));
            Arc::new(Object { path: path.to_owned(), stat, facts, truncated: false, map })
        });
        lock(&self.known.by_id).insert(stat.id, opened.clone());
        opened
    }
}

fn facts(elf: &Elf<'_>) -> Facts {
    let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let filter = |filter: &Filter<'_>| match filter {
        Filter::Standard(name) => Dependency::Filter(own(name)),
        Filter::Auxiliary(name) => Dependency::Auxiliary(own(name)),
    };
    let mut dependencies: Vec<Dependency> =
        elf.needed().iter().copied().map(|name| Dependency::Needed(own(name))).collect();
    for (at, name) in elf.filters().iter().rev() {
        dependencies.insert(*at, filter(name));
    }
    Facts {
        soname: elf.soname().map(own),
        needed: elf.needed().iter().copied().map(own).collect(),
        dependencies,
        rpath: elf.rpath().map(own),
        runpath: elf.runpath().map(own),
        nodeflib: elf.nodeflib(),
        interpreter: elf.interpreter().map(own),
        dynamic: elf.is_dynamic(),
        build_id: elf.build_id().map(|id| id.to_string()),
        executable_stack: elf.executable_stack(),
    }
}
