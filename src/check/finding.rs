//! A defect of a link map: its structured cause, and the sentence that describes it.
//!
//! Takes the results of the rules; gives a [`Finding`] whose id is a row of `data/findings.tsv`. Sentences name files
//! without directories: reports print the full paths beside them.

use crate::loader::Rule;
use crate::tables::{Phase, Severity, Version, finding_row};
use std::path::{Path, PathBuf};

/// The longest name in a sentence.
const NAME: usize = 44;

/// The most names of one kind in a sentence.
const NAMES: usize = 3;

/// A defect of a link map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// A row of `data/findings.tsv`.
    pub id: &'static str,
    /// The structured cause.
    pub cause: Cause,
    /// The phase in which it shows.
    pub phase: Phase,
    /// How bad it is.
    pub severity: Severity,
}

/// A file that causes a finding or is affected by it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// Its release, if known.
    pub version: Option<Version>,
    /// The rule that found it; `None` if it is not mapped.
    pub rule: Option<Rule>,
}

/// The cause of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Libraries are not found.
    NotFound {
        /// Their names.
        names: Vec<String>,
        /// The object that needs them; `None`: the command line names them.
        by: Option<PathBuf>,
        /// Whether they are opened by name instead of needed.
        opened: bool,
        /// Installed copies that no rule of ld.so reaches.
        installed: Vec<PathBuf>,
    },
    /// ld.so finds a file and refuses it.
    Refused {
        /// The file.
        file: File,
        /// ld.so's message.
        reason: String,
        /// The object that needs it.
        by: Option<PathBuf>,
    },
    /// A symbol or a version node is undefined.
    Undefined {
        /// The object that needs it.
        by: PathBuf,
        /// `symbol@node`, `symbol`, or the node alone.
        symbols: Vec<String>,
        /// Whether it is a node, not a symbol.
        node: bool,
        /// The mapped file that should define it, if known.
        provider: Option<File>,
        /// Whether ld.so binds it at the first call.
        at_call: bool,
    },
    /// Two files that must be of one release differ.
    Mixed {
        /// The main library of the group.
        main: File,
        /// The first file of another release.
        other: File,
        /// The number of further files of another release.
        more: usize,
    },
    /// A library is older than the release that a consumer was built with.
    Older {
        /// The release that the consumer was built with.
        built: Version,
        /// The library that reports the release.
        file: File,
    },
    /// A library is older than the package of its consumer requires.
    Required {
        /// The consumer.
        by: PathBuf,
        /// Its package, with its release.
        package: String,
        /// What it requires: `nvidia-nvimgcodec-cu12<0.10.0,>=0.9.0`.
        range: String,
        /// The library.
        file: File,
    },
    /// A name resolves to another release than its consumer needs.
    Beside {
        /// The file that the name resolves to.
        file: File,
        /// The file that the consumer needs.
        own: File,
    },
    /// A library is of another CUDA major.
    OtherMajor {
        /// The library.
        file: File,
        /// Its major.
        major: u32,
        /// A library of the expected major.
        own: File,
        /// The expected major.
        own_major: u32,
    },
    /// Two files with one soname are mapped.
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
    /// A library of the plan is mapped from another file.
    Elsewhere {
        /// Its soname.
        soname: String,
        /// The mapped file.
        mapped: PathBuf,
        /// The planned file.
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

    /// The file that causes it, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.cause {
            Cause::NotFound { .. } => None,
            Cause::Refused { file, .. }
            | Cause::Older { file, .. }
            | Cause::Required { file, .. }
            | Cause::Beside { file, .. }
            | Cause::OtherMajor { file, .. }
            | Cause::Mixed { other: file, .. }
            | Cause::Twice { second: file, .. }
            | Cause::Stub(file) => Some(&file.path),
            Cause::Undefined { provider, .. } => provider.as_ref().map(|file| file.path.as_path()),
            Cause::Replaced(path) | Cause::Elsewhere { mapped: path, .. } => Some(path),
        }
    }

    /// The file that is affected, if any.
    #[must_use]
    pub fn by(&self) -> Option<&Path> {
        match &self.cause {
            Cause::NotFound { by, .. } | Cause::Refused { by, .. } => by.as_deref(),
            Cause::Undefined { by, .. } | Cause::Required { by, .. } => Some(by),
            Cause::Mixed { main: own, .. } | Cause::Beside { own, .. } | Cause::OtherMajor { own, .. } => {
                Some(&own.path)
            }
            _ => None,
        }
    }

    /// The names of the libraries that are not found.
    #[must_use]
    pub fn absent(&self) -> &[String] {
        match &self.cause {
            Cause::NotFound { names, .. } => names,
            _ => &[],
        }
    }

    /// All files of the cause.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        let (one, two) = match &self.cause {
            Cause::Refused { file, .. }
            | Cause::Older { file, .. }
            | Cause::Required { file, .. }
            | Cause::Stub(file) => (Some(file), None),
            Cause::Undefined { provider, .. } => (provider.as_ref(), None),
            Cause::Beside { file, own } | Cause::OtherMajor { file, own, .. } => (Some(file), Some(own)),
            Cause::Mixed { main, other, .. } => (Some(other), Some(main)),
            Cause::Twice { first, second, .. } => (Some(first), Some(second)),
            _ => (None, None),
        };
        one.into_iter().chain(two)
    }

    /// The sentence for people.
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
                let which = match provider {
                    Some(provider) => format!("{} does not define", provider.found()),
                    None => "no loaded library defines".to_owned(),
                };
                let end = if *at_call { ": the process aborts at the first call" } else { "" };
                format!("`{}` {verb} {version}`{}`{more}, which {which}{end}", name_of(by), short(first))
            }
            Cause::Mixed { main, other, more: others } => {
                let others = more(*others, " of other releases");
                format!("{} is loaded with {}{others}: their releases must be equal", main.called(), other.found())
            }
            Cause::Older { built, file } => {
                format!("torch was built with cuDNN {built}, but gets {}", file.found())
            }
            Cause::Required { package, range, file, .. } => {
                format!("{package} requires {range}, but gets {}", file.found())
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

    /// The same, and the rule that found it if a variable or the system configuration set it.
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

/// A path for display.
pub(super) fn shown(path: &Path) -> String {
    crate::host::tidy(path).display().to_string()
}

/// The file name.
#[must_use]
pub fn name_of(path: &Path) -> String {
    short(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// A name, shortened so that the line has room for the rest.
#[must_use]
pub fn short(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

/// The first names of a list, and the number of further ones.
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
