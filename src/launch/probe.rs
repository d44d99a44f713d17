//! The probe: a child process that loads one library and calls its version functions.
//!
//! Takes the path of a library and the functions to call (`data/probes.tsv`); gives an [`Answer`] for each. A failure
//! to load, a timeout and a crash are answers too. The child is a separate, small dynamic program (`cshim/probe/`):
//! cudashim may be linked statically, and a crashing library must not affect it.
//!
//! # Trust
//!
//! Loading a library runs its initialisers with the user's rights. So nothing is loaded that another user may write to:
//! not the library, not what it needs, not a library in a directory that it searches ([`End::Untrusted`]).

mod child;
mod devices;
mod trust;

pub use child::End;
pub use devices::{Cuda, Device, Devices, Nvml, Status};

use super::image;
use super::shim::ShimError;
use crate::host::Hints;
use crate::host::trusted;
use crate::tables::{ProbeRow, Version};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The probe program as built from `cshim/probe/`; empty on a target without one.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cudashim-probe"));

/// The default time limit of a child. Loading takes a tenth of a second, from a network disk some seconds.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of `LD_LIBRARY_PATH`: Linux limits one variable to 131,072 bytes (execve(2)). Further directories are left out.
const LIST_LIMIT: usize = 100_000;

/// Why nothing can be probed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// There is no program for this target.
    #[error("this cudashim has no probe: NVIDIA's libraries need glibc on x86-64 or aarch64")]
    Unsupported,
    /// The program cannot be written.
    #[error("cannot write the probe")]
    Install(#[from] ShimError),
    /// No directory to run it in can be made.
    #[error("cannot create a directory to run the probe in")]
    Directory(#[source] io::Error),
    /// The program cannot be started, or its output not be read.
    #[error("cannot run the probe `{path}`")]
    Start {
        /// The program.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Hints for ProbeError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Install(error) => error.hints(),
            Self::Directory(_) => vec!["set `TMPDIR` to a directory that can be written".to_owned()],
            Self::Unsupported | Self::Start { .. } => Vec::new(),
        }
    }
}

/// The outcome of one function call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The function returned a version.
    Returned {
        /// The numbers as returned.
        raw: Vec<i64>,
        /// The release that they encode.
        version: Option<Version>,
    },
    /// The function returned an error.
    Refused {
        /// The error code: 35 is CUDA's for a driver that is missing or too old.
        status: i64,
    },
    /// The library does not define the function.
    NoFunction,
    /// The child ended before the function returned.
    Failed(End),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned { raw, version } => {
                let raw = raw.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
                write!(f, "returned {raw}")?;
                match version.as_ref().map(Version::as_str) {
                    Some(version) if version != raw => write!(f, ", which is {version}"),
                    _ => Ok(()),
                }
            }
            Self::Refused { status } => write!(f, "returned the error {status}"),
            Self::NoFunction => f.write_str("is not there"),
            Self::Failed(end) => end.fmt(f),
        }
    }
}

/// The result of probing one library.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    /// The functions of the table, each with its answer.
    pub answers: Vec<(&'static ProbeRow, Answer)>,
    /// The files that were mapped in the child, if it ended normally: the libraries needed, and those opened by the
    /// functions.
    pub mapped: Vec<PathBuf>,
    /// How the child ended.
    pub end: End,
}

/// Probes libraries in child processes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cudashim::internal::launch::probe::{Answer, End, Prober};
///
/// # let cache = tempfile::tempdir()?;
/// # let cache = cache.path();
/// let prober = Prober::new(cache)?;
/// let row = cudashim::internal::tables::probes_of("cudart").next().unwrap();
/// let result = prober.ask("/no/such/libcudart.so.12".as_ref(), &[row], &[])?;
/// let [(_, Answer::Failed(End::NotLoaded(message)))] = &result.answers[..] else { panic!("{result:?}") };
/// assert!(message.contains("No such file"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Prober {
    program: PathBuf,
    limit: Duration,
    variables: Vec<(OsString, OsString)>,
    /// Where children run: some libraries write a log into the working directory.
    cwd: TempDir,
    checked: trust::Checked,
}

impl Prober {
    /// Writes the probe program into the cache directory.
    pub fn new(cache_dir: &Path) -> Result<Self, ProbeError> {
        if IMAGE.is_empty() {
            return Err(ProbeError::Unsupported);
        }
        let dir = std::path::absolute(cache_dir).map_err(ProbeError::Directory)?;
        let program = image::write(&dir, "cudashim-probe-", "", IMAGE)?;
        // In a directory that another user may write to, a library's log could be redirected by a symbolic link.
        let parent = [std::env::temp_dir(), "/tmp".into()].into_iter().find(|dir| trusted(dir).is_ok()).unwrap_or(dir);
        let cwd = tempfile::Builder::new().prefix("cudashim-").tempdir_in(parent).map_err(ProbeError::Directory)?;
        Ok(Self { program, limit: TIME_LIMIT, variables: Vec::new(), cwd, checked: trust::Checked::default() })
    }

    /// Sets the time limit of each child.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Adds a variable to the children's environment, which is otherwise empty: `CUDA_VISIBLE_DEVICES`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &OsStr) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Loads a library and calls these functions, in order.
    ///
    /// ld.so loads it by its path; libraries not found by its run paths are searched in its directory and in
    /// `neighbours`, which become the child's `LD_LIBRARY_PATH`. A neighbour that others may write to is left out; if
    /// they may write to anything else that would be mapped or searched, nothing is loaded.
    ///
    /// # Errors
    /// The child cannot be started. A failure of the library is an answer, not an error.
    pub fn ask(
        &self,
        library: &Path,
        functions: &[&'static ProbeRow],
        neighbours: &[PathBuf],
    ) -> Result<ProbeResult, ProbeError> {
        let mut arguments: Vec<&OsStr> = vec!["library".as_ref(), library.as_os_str()];
        for row in functions {
            arguments.extend([OsStr::new(row.call.word()), OsStr::new(row.function)]);
        }
        let output = self.run(library, &arguments, neighbours)?;
        log::debug!("{}: {:?}", library.display(), output);
        let line = |index: usize| {
            output.lines.iter().find(|line| {
                matches!(line.first().map(String::as_str), Some("said" | "absent"))
                    && line.get(1).and_then(|at| at.parse().ok()) == Some(index)
            })
        };
        let answers = functions.iter().enumerate().map(|(index, row)| (*row, answer(row, line(index), &output.end)));
        Ok(ProbeResult {
            answers: answers.collect(),
            mapped: output.mapped().map(PathBuf::from).collect(),
            end: output.end.clone(),
        })
    }

    /// The child's output; the child is not started if another user may write to what it would load.
    fn run(&self, library: &Path, arguments: &[&OsStr], neighbours: &[PathBuf]) -> Result<child::Output, ProbeError> {
        let cwd = self.cwd.path();
        let dirs = match self.checked.library(&self.program, cwd, library, neighbours, search_list) {
            Ok(dirs) => dirs,
            // The child reports ld.so's message for a missing file.
            Err(why) if why.is_missing() => Vec::new(),
            Err(why) => return Ok(child::Output { lines: Vec::new(), end: End::Untrusted(why.to_string()) }),
        };
        let mut variables = self.variables.clone();
        variables.extend(search_list(&dirs).map(|list| ("LD_LIBRARY_PATH".into(), list)));
        let mut output = child::run(&self.program, arguments, &variables, cwd, self.limit)?;
        if let Some(why) = trust::unpredicted(output.mapped()) {
            log::warn!("`{}` opened a file that others may change: {why}", library.display());
            output = child::Output { lines: Vec::new(), end: End::Untrusted(why.to_string()) };
        }
        Ok(output)
    }
}

/// Directories as an `LD_LIBRARY_PATH`: ld.so splits it at colons and semicolons, and has no escape (ld.so(8)).
fn search_list(dirs: &[PathBuf]) -> Option<OsString> {
    let expressible = |dir: &&PathBuf| !dir.as_os_str().as_encoded_bytes().iter().any(|byte| b":;$".contains(byte));
    let mut room = LIST_LIMIT;
    let mut fits = |dir: &&OsStr| {
        let left = room.checked_sub(dir.len().saturating_add(1));
        room = left.unwrap_or_default();
        left.is_some()
    };
    let list: Vec<&OsStr> =
        dirs.iter().filter(expressible).map(|dir| dir.as_os_str()).take_while(|dir| fits(dir)).collect();
    (!list.is_empty()).then(|| list.join(OsStr::new(":")))
}

fn answer(row: &ProbeRow, line: Option<&Vec<String>>, end: &End) -> Answer {
    let Some(line) = line else {
        // A complete output without this answer is malformed.
        return Answer::Failed(if *end == End::Done { End::Garbled } else { end.clone() });
    };
    if line.first().is_some_and(|word| word == "absent") {
        return Answer::NoFunction;
    }
    let numbers: Option<Vec<i64>> = line.iter().skip(2).map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([0, raw @ ..]) => Answer::Returned { raw: raw.to_vec(), version: row.release(raw) },
        Some([status, ..]) => Answer::Refused { status: *status },
        _ => Answer::Failed(End::Garbled),
    }
}
