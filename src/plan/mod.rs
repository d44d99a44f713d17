//! The plan: the library that a process gets for each name. Lock and shim input in one text file.
//!
//! Takes a chosen set; gives the file of `docs/PLAN_FORMAT.md`, and back. Checks whether the files of a plan still
//! exist unchanged. Never chooses.

mod fitness;
mod identity;
mod image;
mod lock;
mod read;
mod usable;
mod verify;
mod within;
mod write;

pub use fitness::Unfit;
pub use identity::Identity;
pub use image::{Image, ImageError, ImageLibrary, ImageView};
pub use lock::{Kept, Lock};
pub use read::PlanError;
pub use usable::usable;
pub(crate) use verify::torch_dir;
pub use verify::{Change, Check, Here, State, Verification, What, verify};
pub use within::within;

use crate::host::{FileId, Host, Stat};
use crate::tables::parse_library_name;
use std::io;
use std::path::{Path, PathBuf};

/// The most bytes a plan may have.
pub const SIZE_LIMIT: u64 = 1 << 20;
/// The most `lib` records.
pub const LIBRARY_LIMIT: usize = 1024;
/// The most records of all kinds.
pub const RECORD_LIMIT: usize = 8192;

/// How a library comes into the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Needed (`DT_NEEDED`) by an object of the plan: mapped before that is loaded.
    Preload,
    /// Opened by name.
    Redirect,
    /// Left where ld.so finds it; listed for its needs, and to save ld.so the search.
    Keep,
}

/// One library of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLibrary {
    /// Its soname.
    pub soname: String,
    /// The file; absolute.
    pub path: PathBuf,
    /// Device and inode of the file.
    #[doc(hidden)]
    pub id: FileId,
    /// Bytes.
    #[doc(hidden)]
    pub size: u64,
    /// Nanoseconds since 1970.
    #[doc(hidden)]
    pub mtime: i64,
    /// `build-id:…` or `sha256:…`, where known.
    #[doc(hidden)]
    pub identity: Option<String>,
    /// The release, for people.
    pub version: Option<String>,
    /// How it is handed out.
    #[doc(hidden)]
    pub how: How,
}

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFor {
    /// `torch`, `elf`, `environment` or `spec`.
    pub kind: String,
    /// A short description.
    pub text: String,
    /// Where the consumer is.
    pub path: Option<PathBuf>,
}

/// A version that a kept plan was made with, for reports and `verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeWith {
    /// `cudashim`, `python`, `torch`, `driver` or `spec`.
    pub what: String,
    /// Its version; `None` where there was none, as on a machine without a driver.
    pub version: Option<String>,
    /// The CUDA release it is for.
    pub cuda: Option<String>,
}

/// A chosen set of libraries and how to hand it out.
///
/// ```
/// use cudashim::Plan;
/// let plan = Plan::parse(b"cudashim-plan\t1\nalias\tlibx.so\tlibx.so.1\nend\t2\n");
/// assert!(plan.is_err(), "an alias of a library that the plan does not hold");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its targets.
    #[doc(hidden)]
    pub made_for: Vec<PlanFor>,
    /// The versions that it was made with; empty unless it is kept.
    #[doc(hidden)]
    pub made_with: Vec<MadeWith>,
    /// The programs that it is for, each by the path that starts it; absolute.
    #[doc(hidden)]
    pub programs: Vec<PathBuf>,
    /// The objects that the set was proven for: the consumer's own, and those that open libraries for it; absolute.
    #[doc(hidden)]
    pub objects: Vec<PathBuf>,
    /// The libraries, in the order they can be loaded.
    pub libraries: Vec<PlanLibrary>,
    /// Other names: name, soname.
    #[doc(hidden)]
    pub aliases: Vec<(String, String)>,
    /// Exact paths to replace with the library of a soname.
    #[doc(hidden)]
    pub replaces: Vec<(PathBuf, String)>,
    /// Records of unknown kinds, kept as they are.
    #[doc(hidden)]
    pub unknown: Vec<String>,
}

/// The change of a library since the plan was made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Drift {
    /// The file is gone.
    Gone,
    /// It cannot be read, so that its state is unknown.
    Unreadable(io::Error),
    /// It is another file, or its content has changed.
    Changed(Stat),
}

impl std::fmt::Display for Drift {
    /// A clause to follow the path.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("is gone"),
            Self::Unreadable(error) => write!(f, "cannot be read ({error})"),
            Self::Changed(_) => f.write_str("has changed since the plan was made"),
        }
    }
}

impl PlanLibrary {
    /// Whether it is of the driver, which belongs to the machine, not to the lock.
    #[must_use]
    #[doc(hidden)]
    pub fn is_driver(&self) -> bool {
        parse_library_name(&self.soname).is_some_and(|name| name.row.is_driver())
    }

    /// Whether a stat is that of its file, device aside.
    fn is_same(&self, stat: Stat) -> bool {
        (stat.id.ino, stat.size, stat.mtime) == (self.id.ino, self.size, self.mtime)
    }

    /// The change of the file by its stat; `None` where it is the file of the plan. Ignores the device: the same file
    /// has another on each mount of an overlay.
    #[must_use]
    #[doc(hidden)]
    pub fn drift(&self, host: &Host) -> Option<Drift> {
        use io::ErrorKind::{NotADirectory, NotFound};
        match host.stat(&self.path) {
            Ok(stat) if self.is_same(stat) => None,
            Ok(stat) => Some(Drift::Changed(stat)),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Some(Drift::Gone),
            Err(error) => Some(Drift::Unreadable(error)),
        }
    }
}

impl Plan {
    /// The library of a soname.
    #[must_use]
    pub fn library(&self, soname: &str) -> Option<&PlanLibrary> {
        self.libraries.iter().find(|library| library.soname == soname)
    }

    /// The library that a bare name resolves to, aliases followed.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<&PlanLibrary> {
        let soname = self.aliases.iter().find(|(alias, _)| alias == name).map_or(name, |(_, soname)| soname.as_str());
        self.library(soname).filter(|library| library.how != How::Keep)
    }

    /// The library that the plan hands out in place of the file at exactly this path.
    #[must_use]
    pub fn instead_at(&self, path: &Path) -> Option<&PlanLibrary> {
        let (_, soname) = self.replaces.iter().find(|(replaced, _)| replaced == path)?;
        self.lookup(soname)
    }

    /// The library that the plan hands out in place of a file preloaded under this soname.
    #[must_use]
    #[doc(hidden)]
    pub fn instead_of(&self, soname: &str, id: FileId) -> Option<&PlanLibrary> {
        self.library(soname).filter(|library| library.how != How::Keep && library.id != id)
    }

    /// The chosen libraries, without those left to ld.so.
    pub fn chosen(&self) -> impl Iterator<Item = &PlanLibrary> {
        self.libraries.iter().filter(|library| library.how != How::Keep)
    }

    /// The libraries that have changed since the plan was made.
    #[must_use]
    #[doc(hidden)]
    pub fn drift(&self, host: &Host) -> Vec<(&PlanLibrary, Drift)> {
        let drifted = self.libraries.iter().filter_map(|library| Some((library, library.drift(host)?)));
        drifted.collect()
    }

    /// [`Plan::drift`] without the libraries left to the loader outside the consumer's directories: the plan does not
    /// depend on updates of system libraries.
    #[must_use]
    #[doc(hidden)]
    pub fn relevant_drift(&self, host: &Host) -> Vec<(&PlanLibrary, Drift)> {
        self.drift(host).into_iter().filter(|(library, _)| self.is_its_own(library)).collect()
    }

    /// Whether a library is chosen, or one of the consumer's own: in a directory with objects of the plan that are not
    /// its libraries.
    #[must_use]
    #[doc(hidden)]
    pub fn is_its_own(&self, library: &PlanLibrary) -> bool {
        let opened = |object: &&PathBuf| !self.libraries.iter().any(|library| library.path == **object);
        let beside = |object: &PathBuf| object.parent().is_some_and(|dir| library.path.starts_with(dir));
        library.how != How::Keep || self.objects.iter().filter(opened).any(beside)
    }

    /// Whether it is for a program, by any path of that.
    #[must_use]
    #[doc(hidden)]
    pub fn is_for(&self, host: &Host, program: &Path) -> bool {
        let id = image::program_id(host, program);
        id.is_some() && self.programs.iter().any(|path| image::program_id(host, path) == id)
    }

    /// The version of one kind that it was made with.
    #[must_use]
    #[doc(hidden)]
    pub fn with(&self, what: &str) -> Option<&MadeWith> {
        self.made_with.iter().find(|with| with.what == what)
    }

    /// Reads a plan file.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        read::file(path)
    }

    /// Reads the bytes of a plan file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        read::bytes(bytes)
    }

    /// The plan as a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write::bytes(self)
    }

    /// The plan that the environment names (`CUDASHIM_PLAN`), if any.
    #[must_use]
    #[doc(hidden)]
    pub fn from_environment(host: &Host) -> Option<Result<Self, PlanError>> {
        host.env("CUDASHIM_PLAN").map(|path| Self::read(Path::new(path)))
    }
}
