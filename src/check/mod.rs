//! What is wrong with a link map, predicted or real: does it load, is it torn, and whose fault is it.
//!
//! Takes a [`Subject`] and the loader of an environment, or the maps of a live process; gives a [`Judgement`]: every
//! object with the rule that let it in, what is not found, which symbols are missing, and findings with stable ids. Never
//! loads anything, never chooses anything better.

mod beside;
mod closure;
mod copies;
mod judge;
mod later;
mod live;
mod mixes;
mod names;
mod stranger;
mod subject;
mod torch;

pub use closure::{closure, predict};
pub use live::{LiveError, Maps, Moments, Process, live};
pub use names::{Consumer, consumers_of};
pub use stranger::{Standing, stranger};
pub use subject::{Subject, SubjectError};

use crate::facts::Version;
use crate::host::FileId;
use crate::loader::Rule;
use std::ffi::OsString;
use std::path::PathBuf;

/// Every id a finding may have, with its meaning; those of [`PROBLEMS`] mean here what they mean there. An id is never
/// given another meaning.
///
/// [`PROBLEMS`]: crate::inventory::PROBLEMS
pub const FINDINGS: [(&str, &str); 39] = [
    ("bare-name-dlopen-consumers", "a library that is opened by a bare name is nowhere on the search path"),
    ("conda-pip-toolkit-mix", "a library is older than what binds to it"),
    ("cublas-silent-mix", "cuBLAS and cuBLASLt of different releases meet"),
    ("cublaslt-older-wins", "cuBLASLt is older than what binds to it"),
    ("cudart-or-cupti-older-wins", "the CUDA runtime or CUPTI is older than what binds to it"),
    (
        "cudnn-bare-libnvrtc-libcuda",
        "cuDNN opens a library by its bare name, and the search path has none of that name",
    ),
    ("cudnn-older-than-torch", "cuDNN is older than what binds to it"),
    ("cudnn8-mixed-sublibs", "parts of different releases of cuDNN 8 meet"),
    ("cudnn8-vs-9-major", "another major of cuDNN is asked for than is there"),
    ("cudnn9-sublib-not-found", "parts of cuDNN 9 that this one opens are nowhere to be found"),
    ("cudnn9-torn-set", "parts of different releases of cuDNN 9 meet"),
    ("doubled-soname", "two files of one soname are mapped"),
    ("ext-other-cuda-major", "a library of another CUDA major is asked for than is there"),
    ("ext-torch-abi", "an extension was built against another torch"),
    ("filter-circle", "libraries filter each other, and ld.so never comes to an end"),
    ("glibcxx-too-old", "the C++ runtime that is mapped first lacks a version node"),
    ("libcuda-not-injected", "the driver's library is not there"),
    ("library-not-found", "a library that is needed is nowhere on the search path"),
    ("major-symlink-hack", "a library of one major stands under the name of another"),
    ("mkl-ijit", "libtorch_cpu asks for a symbol that MKL no longer has"),
    ("nccl-older-wins", "NCCL is older than what binds to it"),
    ("not-as-planned", "a library of the plan is mapped from another file"),
    ("not-elf", "no ELF object, or a damaged one"),
    ("not-started", "ld.so ended the program before it began"),
    ("nvjitlink-older-wins", "nvJitLink is older than what binds to it"),
    ("nvrtc-builtins-missing", "NVRTC's builtins of its own minor release are nowhere to be found"),
    ("nvrtc-wrong-builtins", "NVRTC stands with the builtins of another minor release"),
    ("nvrtc-wrong-version-silent", "an NVRTC of another release answers, and nothing says so"),
    ("nvtx-removed", "libnvToolsExt is asked for, which CUDA has not shipped since 12.9"),
    ("optional-lib-missing", "a library that parts of it need is not installed"),
    ("ort-cuda-ep-missing-lib", "the CUDA provider of ONNX Runtime lacks a library"),
    ("replaced-file", "a mapped file was removed or replaced since"),
    ("stub-libcuda", "the stub of the driver is taken for the driver"),
    ("stub-on-path", "a stub is taken for the library"),
    ("torn-driver", "libraries of different drivers meet"),
    ("truncated", "the file ends before its segments do"),
    ("two-cuda-majors", "libraries of two CUDA majors meet in one process"),
    ("undefined-call", "a call that nothing mapped answers: it ends when it is first made"),
    ("undefined-symbol", "a symbol that nothing mapped defines"),
];

/// What a link map comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It loads, and what belongs together is of one release.
    Loads,
    /// It loads, but parts of different releases meet.
    Torn,
    /// The loader refuses it.
    Fails,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Loads => "loads",
            Self::Torn => "torn",
            Self::Fails => "fails",
        })
    }
}

/// When an object comes into the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// With the program, before anything is asked for.
    Startup,
    /// When the subject is loaded.
    Load,
    /// When something in it is first used: what is known to be opened by name.
    Later,
}

/// One object of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedObject {
    /// The name it was asked for by, else its soname or file name.
    pub name: OsString,
    /// The path as ld.so opens it.
    pub path: PathBuf,
    /// Device and inode.
    pub id: FileId,
    /// The rule that found it.
    pub rule: Rule,
    /// Which object caused it to be mapped, by its place in the list.
    pub needed_by: Option<usize>,
    /// When it comes.
    pub phase: Phase,
    /// Whether it is one of NVIDIA's.
    pub ours: bool,
    /// Its release, where it is one of NVIDIA's.
    pub version: Option<Version>,
    /// The file was removed or replaced since it was mapped.
    pub deleted: bool,
}

/// A symbol or a version node that nobody defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct MissingSymbol {
    /// The symbol; `None` where the whole node is missing.
    pub symbol: Option<String>,
    /// Its version node.
    pub node: Option<String>,
    /// The object that binds to it.
    pub wanted_by: PathBuf,
    /// The file that should define it, where the version names one that is mapped.
    pub provider: Option<PathBuf>,
    /// Whether it is asked for only when something is first used.
    pub later: bool,
}

/// A library that no rule leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFound {
    /// The name.
    pub name: OsString,
    /// Who asks for it; `None` for the command line.
    pub needed_by: Option<PathBuf>,
    /// What dlerror(3) says after the name, or why it is not looked for further.
    pub says: String,
    /// All that dlerror(3) says.
    pub error: String,
    /// The file that ended the search, where there is one.
    pub damaged: Option<PathBuf>,
    /// Whether it is asked for only when something is first used.
    pub later: bool,
    /// Whether the subject can be loaded without it.
    pub optional: bool,
}

/// Something wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// A word of [`FINDINGS`].
    pub id: &'static str,
    /// A sentence: who, what, and by which rule.
    pub says: String,
    /// The file whose presence or place is to blame, where one is.
    pub path: Option<PathBuf>,
    /// The file that asks, binds or is met.
    pub by: Option<PathBuf>,
    /// What it asks for: names of libraries, or symbols and nodes as `symbol@node`.
    pub wants: Vec<String>,
    /// When it is felt.
    pub when: When,
}

/// When something wrong is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum When {
    /// As it is loaded, or with the first call.
    Load,
    /// When a part that is opened later is first used.
    Use,
    /// Only once a GPU is used, or by parts of an environment that others do without.
    Gpu,
}

impl Finding {
    /// Whether a library is nowhere to be found; not that one is there and does not do.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        !self.wants.is_empty() && self.path == self.by
    }

    fn new(id: &'static str, says: String) -> Self {
        Self { id, says, path: None, by: None, wants: Vec::new(), when: When::Load }
    }

    fn blaming(self, path: Option<PathBuf>) -> Self {
        Self { path, ..self }
    }

    fn by(self, by: Option<PathBuf>) -> Self {
        Self { by, ..self }
    }

    fn wanting(self, wants: impl IntoIterator<Item = String>) -> Self {
        Self { wants: wants.into_iter().collect(), ..self }
    }

    fn when(self, when: When) -> Self {
        Self { when, ..self }
    }
}

/// A link map and what is wrong with it.
#[derive(Debug, Clone)]
#[must_use]
#[non_exhaustive]
pub struct Judgement {
    /// What was judged, in a few words.
    pub of: String,
    /// Where it is.
    pub at: Option<PathBuf>,
    /// What it comes to.
    pub verdict: Verdict,
    /// The line ld.so would print first, where it fails.
    pub error: Option<String>,
    /// The objects, in the order of the map.
    pub objects: Vec<JudgedObject>,
    /// Symbols and nodes nobody defines.
    pub missing: Vec<MissingSymbol>,
    /// Libraries no rule leads to.
    pub not_found: Vec<NotFound>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How a live process holds to a plan.
    pub planned: Option<Planned>,
}

/// The libraries of a plan in a live process, by soname.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// Mapped from the planned file.
    pub mapped: Vec<String>,
    /// Mapped from another file.
    pub elsewhere: Vec<String>,
    /// Not mapped so far.
    pub not_yet: Vec<String>,
}

impl Judgement {
    /// Of nothing: there is nothing to load, and nothing wrong with that.
    pub fn empty(of: String) -> Self {
        Self {
            of,
            at: None,
            verdict: Verdict::Loads,
            error: None,
            objects: Vec::new(),
            missing: Vec::new(),
            not_found: Vec::new(),
            findings: Vec::new(),
            planned: None,
        }
    }

    /// The objects that are there because of the object at `index`, in order.
    pub fn children(&self, index: Option<usize>) -> impl Iterator<Item = (usize, &JudgedObject)> {
        self.objects.iter().enumerate().filter(move |(at, object)| object.needed_by == index && Some(*at) != index)
    }
}

/// Whether symbols are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every undefined symbol is bound.
    Symbols,
    /// Only files are found.
    Files,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::PROBLEMS;

    #[test]
    fn ids_are_sorted_words_with_one_meaning() {
        assert!(FINDINGS.is_sorted_by(|one, other| one.0 < other.0));
        for (id, meaning) in FINDINGS {
            assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'), "{id}");
            assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{id}");
        }
        // Those that tell of copies, not of search paths, mean the same in a scan.
        for shared in ["cublas-silent-mix", "cudnn9-torn-set", "major-symlink-hack", "truncated"] {
            let meaning = |list: &[(&str, &str)]| list.iter().find(|(id, _)| *id == shared).map(|row| row.1.to_owned());
            assert!(meaning(&FINDINGS).is_some(), "{shared}");
            assert_eq!(meaning(&FINDINGS), meaning(&PROBLEMS), "{shared}");
        }
    }
}
