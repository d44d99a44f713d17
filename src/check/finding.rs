//! Something wrong with a link map: its cause in parts, and the one sentence that says it.
//!
//! Takes what the rules saw; gives a [`Finding`] whose id is a row of `data/findings.tsv`. Files are named without their
//! directories: whoever needs the whole path has it beside the sentence.

use crate::loader::Rule;
use crate::tables::{Phase, Severity, Version, finding_row};
use std::path::{Path, PathBuf};

/// What a sentence may hold of one name.
const NAME: usize = 44;

/// Names of one kind in a sentence.
const NAMES: usize = 3;

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// A row of `data/findings.tsv`.
    pub id: &'static str,
    /// Why, in parts.
    pub cause: Cause,
    /// When it shows.
    pub phase: Phase,
    /// How bad it is.
    pub severity: Severity,
}

/// A mapped file, as far as it is to blame for something or suffers from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its release, where that is known.
    pub version: Option<Version>,
    /// How it was found; `None` where it was not mapped.
    pub rule: Option<Rule>,
}

/// Why something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// ld.so does not find libraries.
    NotFound {
        /// Their names.
        names: Vec<String>,
        /// Who needs them; `None`: they were asked for on the command line.
        by: Option<PathBuf>,
        /// Whether they are opened by name, not needed.
        opened: bool,
        /// Copies of them that are installed, where no rule of ld.so looks.
        installed: Vec<PathBuf>,
    },
    /// ld.so finds a file and does not take it.
    Refused {
        /// The file.
        file: File,
        /// In the words of ld.so.
        reason: String,
        /// Who needs it.
        by: Option<PathBuf>,
    },
    /// A symbol or a version node that nothing defines.
    Undefined {
        /// Who needs it.
        by: PathBuf,
        /// `symbol@node`, `symbol`, or the node alone.
        symbols: Vec<String>,
        /// Whether it is a node, not a symbol.
        node: bool,
        /// The mapped file that should define it, where the name of one is known.
        provider: Option<File>,
        /// Whether it is missed when it is first called.
        at_call: bool,
    },
    /// Two files that must be of one release are not.
    Mixed {
        /// The one that the others belong to.
        main: File,
        /// The first of another release.
        other: File,
        /// How many more are.
        more: usize,
    },
    /// A library is older than the one that something was built with.
    Older {
        /// Which release that was.
        built: Version,
        /// The library that answers for its release.
        file: File,
    },
    /// Another release answers who asks for a library by name.
    Beside {
        /// The one that answers.
        file: File,
        /// The one that is meant.
        own: File,
    },
    /// A library of another CUDA major.
    OtherMajor {
        /// The library.
        file: File,
        /// Its major.
        major: u32,
        /// One of the major that is meant.
        own: File,
        /// That major.
        own_major: u32,
    },
    /// Two files of one soname are mapped.
    Twice {
        /// The soname.
        soname: String,
        /// The first.
        first: File,
        /// The second.
        second: File,
    },
    /// A link-time stub is mapped.
    Stub(File),
    /// The file was removed or replaced since it was mapped.
    Replaced(PathBuf),
    /// A library of a plan is mapped from another file.
    Elsewhere {
        /// Its soname.
        soname: String,
        /// What is mapped.
        mapped: PathBuf,
        /// What the plan names.
        planned: PathBuf,
    },
}

impl Finding {
    pub(super) fn new(id: &'static str, cause: Cause) -> Self {
        let row = finding_row(id);
        debug_assert!(row.is_some(), "`{id}` is not in data/findings.tsv");
        let severity = row.map_or(Severity::Warning, |row| row.severity);
        Self { id, cause, phase: Phase::Import, severity }
    }

    pub(super) fn at(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    pub(super) fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// The file that is to blame, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.cause {
            Cause::NotFound { .. } => None,
            Cause::Refused { file, .. }
            | Cause::Older { file, .. }
            | Cause::Beside { file, .. }
            | Cause::OtherMajor { file, .. }
            | Cause::Mixed { other: file, .. }
            | Cause::Twice { second: file, .. }
            | Cause::Stub(file) => Some(&file.path),
            Cause::Undefined { provider, .. } => provider.as_ref().map(|file| file.path.as_path()),
            Cause::Replaced(path) | Cause::Elsewhere { mapped: path, .. } => Some(path),
        }
    }

    /// The file that suffers from it, where there is one.
    #[must_use]
    pub fn by(&self) -> Option<&Path> {
        match &self.cause {
            Cause::NotFound { by, .. } | Cause::Refused { by, .. } => by.as_deref(),
            Cause::Undefined { by, .. } => Some(by),
            Cause::Mixed { main: own, .. } | Cause::Beside { own, .. } | Cause::OtherMajor { own, .. } => {
                Some(&own.path)
            }
            _ => None,
        }
    }

    /// The libraries that are not found.
    #[must_use]
    pub fn absent(&self) -> &[String] {
        match &self.cause {
            Cause::NotFound { names, .. } => names,
            _ => &[],
        }
    }

    /// The files that it is about.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        let (one, two) = match &self.cause {
            Cause::Refused { file, .. } | Cause::Older { file, .. } | Cause::Stub(file) => (Some(file), None),
            Cause::Undefined { provider, .. } => (provider.as_ref(), None),
            Cause::Beside { file, own } | Cause::OtherMajor { file, own, .. } => (Some(file), Some(own)),
            Cause::Mixed { main, other, .. } => (Some(other), Some(main)),
            Cause::Twice { first, second, .. } => (Some(first), Some(second)),
            _ => (None, None),
        };
        one.into_iter().chain(two)
    }

    /// The sentence.
    #[must_use]
    pub fn says(&self) -> String {
        match &self.cause {
            Cause::NotFound { names, by, opened, installed } => {
                let names_ = listed(names);
                let there = match installed.len() {
                    0 => "not found",
                    _ if installed.len() == names.len() => "installed, but not in any search path",
                    _ => "not found, though some of them are installed",
                };
                match by {
                    Some(by) => {
                        let verb = if *opened { "opens" } else { "needs" };
                        format!("`{}` {verb} {names_}: {there}", name_of(by))
                    }
                    None => format!("{names_}: {there}"),
                }
            }
            Cause::Refused { file, reason, by } => {
                let by = by.as_deref().map(|by| format!(", which `{}` needs", name_of(by))).unwrap_or_default();
                format!("{}{by}, cannot be loaded: {reason}", file.found())
            }
            Cause::Undefined { by, symbols, node, provider, at_call } => {
                let first = symbols.first().map(String::as_str).unwrap_or_default();
                let first = if *node { first } else { first.split('@').next().unwrap_or_default() };
                let version = if *node { "the version " } else { "" };
                let more = more(symbols.len().saturating_sub(1), "");
                let verb = if *at_call { "calls" } else { "needs" };
                let whom = provider.as_ref().map_or_else(|| "nothing that is loaded".to_owned(), File::found);
                let end = if *at_call { ": the process aborts at the first call" } else { "" };
                format!("`{}` {verb} {version}`{}`{more}, which {whom} does not define{end}", name_of(by), short(first))
            }
            Cause::Mixed { main, other, more: others } => {
                let others = more(*others, " of other releases");
                format!("{} is loaded with {}{others}: their releases must be equal", main.called(), other.found())
            }
            Cause::Older { built, file } => {
                format!("torch was built with cuDNN {built}, but gets {}", file.found())
            }
            Cause::Beside { file, own } => {
                format!("{} is loaded instead of {} and may not support this GPU", file.found(), own.called())
            }
            Cause::OtherMajor { file, major, own, own_major } => {
                format!("{} is for CUDA {major}, {} for CUDA {own_major}", file.found(), own.called())
            }
            Cause::Twice { soname, first, second } => {
                format!("`{soname}` is loaded twice: from `{}` and `{}`", shown(&first.path), shown(&second.path))
            }
            Cause::Stub(file) => format!("{} is a link-time stub, not the real library", file.found()),
            Cause::Replaced(path) => {
                format!("`{}` was removed or replaced after it was mapped: the process uses the old file", shown(path))
            }
            Cause::Elsewhere { soname, mapped, planned } => {
                format!("`{soname}` is mapped from `{}`; the plan names `{}`", shown(mapped), shown(planned))
            }
        }
    }
}

impl File {
    /// `libcudnn_graph.so.9` 9.1.0.70.
    #[must_use]
    pub fn called(&self) -> String {
        let version = self.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        format!("`{}`{version}", name_of(&self.path))
    }

    /// The same, and where it comes from, where somebody set that.
    fn found(&self) -> String {
        let from = match self.rule {
            Some(Rule::Preload) => " (LD_PRELOAD)",
            Some(Rule::LdLibraryPath) => " (LD_LIBRARY_PATH)",
            Some(Rule::Cache) => " (the loader's cache)",
            Some(Rule::Default) => " (a default directory)",
            _ => "",
        };
        format!("{}{from}", self.called())
    }
}

/// A path as people are shown it.
pub(super) fn shown(path: &Path) -> String {
    crate::host::tidy(path).display().to_string()
}

/// A file by its name.
#[must_use]
pub fn name_of(path: &Path) -> String {
    short(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// A name that leaves room for the rest of the line.
#[must_use]
pub fn short(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

/// The first names of a list, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| format!("`{}`", short(name))).collect();
    format!("{}{}", shown.join(", "), more(names.len().saturating_sub(NAMES), ""))
}

fn more(count: usize, what: &str) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more{what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        assert_eq!(short("libcudnn.so.9"), "libcudnn.so.9");
        let long = short(&"é".repeat(300));
        assert_eq!((long.chars().count(), long.chars().last()), (NAME, Some('…')));
        assert_eq!(name_of(Path::new("/")), "/");
    }
}
