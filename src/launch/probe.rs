//! The probe: a child process that loads one library and asks it what it is.
//!
//! Takes the path of a library and the functions that tell what it is (`data/probes.tsv`); gives an [`Answer`] for each. That a
//! library cannot be loaded, never answers or crashes is an answer too. The child is a small dynamic program of its own
//! (`cshim/probe/`): this one may be linked statically, and nothing that a library does happens to it.
//!
//! # Trust
//!
//! To load a library is to run its initialisers, with the rights of who asks. What somebody else could have written is not
//! loaded: neither the library, nor what it needs, nor what stands where it would look ([`End::Untrusted`]).

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

/// The program that loads, as it was built (`cshim/probe/`); empty on a target that has none.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cudashim-probe"));

/// The time a child has by default. A library is loaded in a tenth of a second; from a network disk in some.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A list of directories that Linux takes as one variable (128 kibibytes: execve(2)). What is beyond is left out.
const LIST_LIMIT: usize = 100_000;

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// There is no program for this target.
    #[error("this cudashim has no probe: NVIDIA's libraries need glibc on x86-64 or aarch64")]
    Unsupported,
    /// The program cannot be written.
    #[error("cannot write the probe")]
    Install(#[from] ShimError),
    /// There is no directory to run it in.
    #[error("cannot create a directory to run the probe in")]
    Directory(#[source] io::Error),
    /// The program cannot be started or listened to.
    #[error("cannot run the probe `{path}`")]
    Start {
        /// The program.
        path: PathBuf,
        /// What the system said.
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

/// What a library answered to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The function gave numbers.
    Says {
        /// As it gave them.
        raw: Vec<i64>,
        /// The release they stand for.
        version: Option<Version>,
    },
    /// The function gave an error.
    Refused {
        /// Its number: 35 is CUDA's for a driver that is missing or too old.
        status: i64,
    },
    /// The library has no such function.
    NoFunction,
    /// The library, or the function, ended the process instead.
    Failed(End),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Says { raw, version } => {
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

/// A library that was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The functions of the table, each with its answer.
    pub answers: Vec<(&'static ProbeRow, Answer)>,
    /// The files that the process had mapped in the end, where it lived to tell: what the library needs, and
    /// what it opened to answer.
    pub mapped: Vec<PathBuf>,
    /// How the child ended.
    pub end: End,
}

/// Asks libraries in child processes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cudashim::internal::launch::probe::{Answer, End, Prober};
///
/// # let cache = tempfile::tempdir()?;
/// # let cache = cache.path();
/// let prober = Prober::new(cache)?;
/// let row = cudashim::internal::tables::probes_of("cudart").next().unwrap();
/// let asked = prober.ask("/no/such/libcudart.so.12".as_ref(), &[row], &[])?;
/// assert!(matches!(&asked.answers[..], [(_, Answer::Failed(End::NotLoaded(says)))] if says.contains("No such file")));
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
    looked: trust::Looked,
}

impl Prober {
    /// Makes ready: writes the program into the cache directory.
    pub fn new(cache_dir: &Path) -> Result<Self, ProbeError> {
        if IMAGE.is_empty() {
            return Err(ProbeError::Unsupported);
        }
        let dir = std::path::absolute(cache_dir).map_err(ProbeError::Directory)?;
        let program = image::write(&dir, "cudashim-probe-", "", IMAGE)?;
        // Where another user could put a link in its place, a library's log would be written where that leads.
        let room = [std::env::temp_dir(), "/tmp".into()].into_iter().find(|room| trusted(room).is_ok()).unwrap_or(dir);
        let cwd = tempfile::Builder::new().prefix("cudashim-").tempdir_in(room).map_err(ProbeError::Directory)?;
        Ok(Self { program, limit: TIME_LIMIT, variables: Vec::new(), cwd, looked: trust::Looked::default() })
    }

    /// With another limit for each child.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// With a variable in the children's environment, which is empty else: `CUDA_VISIBLE_DEVICES`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &OsStr) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Loads a library and calls these functions, in order.
    ///
    /// It is loaded as ld.so loads it from where it stands; what its own run paths do not lead to is looked for in its own
    /// directory and in `neighbours`, as a program's `LD_LIBRARY_PATH` would have it. A neighbour that others may write to
    /// is left out; where they may write to anything else that would be mapped or searched, nothing is loaded.
    ///
    /// # Errors
    /// That the child cannot be started. What the library does is an answer.
    pub fn ask(
        &self,
        library: &Path,
        questions: &[&'static ProbeRow],
        neighbours: &[PathBuf],
    ) -> Result<Asked, ProbeError> {
        let mut arguments: Vec<&OsStr> = vec!["library".as_ref(), library.as_os_str()];
        for row in questions {
            arguments.extend([OsStr::new(row.call.word()), OsStr::new(row.function)]);
        }
        let heard = self.run(library, &arguments, neighbours)?;
        log::debug!("{}: {:?}", library.display(), heard);
        let line = |index: usize| {
            heard.lines.iter().find(|line| {
                matches!(line.first().map(String::as_str), Some("said" | "absent"))
                    && line.get(1).and_then(|at| at.parse().ok()) == Some(index)
            })
        };
        let answers = questions.iter().enumerate().map(|(index, row)| (*row, answer(row, line(index), &heard.end)));
        Ok(Asked {
            answers: answers.collect(),
            mapped: heard.mapped().map(PathBuf::from).collect(),
            end: heard.end.clone(),
        })
    }

    /// The child's words and its end; it is not started where others could have written what it would load.
    fn run(&self, library: &Path, arguments: &[&OsStr], neighbours: &[PathBuf]) -> Result<child::Heard, ProbeError> {
        let cwd = self.cwd.path();
        let dirs = match self.looked.library(&self.program, cwd, library, neighbours, search_list) {
            Ok(dirs) => dirs,
            // ld.so has words for that.
            Err(why) if why.is_missing() => Vec::new(),
            Err(why) => return Ok(child::Heard { lines: Vec::new(), end: End::Untrusted(why.to_string()) }),
        };
        let mut variables = self.variables.clone();
        variables.extend(search_list(&dirs).map(|list| ("LD_LIBRARY_PATH".into(), list)));
        let mut heard = child::run(&self.program, arguments, &variables, cwd, self.limit)?;
        if let Some(why) = trust::unforeseen(heard.mapped()) {
            log::warn!("`{}` opened a file that others may change: {why}", library.display());
            heard = child::Heard { lines: Vec::new(), end: End::Untrusted(why.to_string()) };
        }
        Ok(heard)
    }
}

/// Directories as `LD_LIBRARY_PATH` has them: ld.so splits the list at colons and semicolons, and knows no escape (ld.so(8)).
fn search_list(dirs: &[PathBuf]) -> Option<OsString> {
    let speakable = |dir: &&PathBuf| !dir.as_os_str().as_encoded_bytes().iter().any(|byte| b":;$".contains(byte));
    let mut room = LIST_LIMIT;
    let mut fits = |dir: &&OsStr| {
        let left = room.checked_sub(dir.len().saturating_add(1));
        room = left.unwrap_or_default();
        left.is_some()
    };
    let list: Vec<&OsStr> =
        dirs.iter().filter(speakable).map(|dir| dir.as_os_str()).take_while(|dir| fits(dir)).collect();
    (!list.is_empty()).then(|| list.join(OsStr::new(":")))
}

fn answer(row: &ProbeRow, line: Option<&Vec<String>>, end: &End) -> Answer {
    let Some(line) = line else {
        // A child that says it is done, but not what it was asked, is no child of ours.
        return Answer::Failed(if *end == End::Done { End::Garbled } else { end.clone() });
    };
    if line.first().is_some_and(|word| word == "absent") {
        return Answer::NoFunction;
    }
    let numbers: Option<Vec<i64>> = line.iter().skip(2).map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([0, raw @ ..]) => Answer::Says { raw: raw.to_vec(), version: row.release(raw) },
        Some([status, ..]) => Answer::Refused { status: *status },
        _ => Answer::Failed(End::Garbled),
    }
}
