//! What a page shows, as values: tables, and pictures of who loads what.
//!
//! Takes texts; gives values whose every text can be changed, as a report for the public is. Writes no markup.

use crate::report::findings::shown;
use crate::tables::Severity;
use std::ffi::OsStr;
use std::path::Path;

/// A table that can be sorted and filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageTable {
    /// What its rows are.
    pub title: String,
    /// The heads of its columns.
    pub columns: Vec<&'static str>,
    /// The rows, each with a cell for each column.
    pub rows: Vec<Vec<PageCell>>,
}

/// A cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageCell {
    /// Its text; what stands in backticks is a name.
    pub text: String,
    /// What it is sorted by, where that is a number and not its text.
    pub order: Option<u64>,
    /// How bad it is, where that is what it says.
    pub severity: Option<Severity>,
    /// Whether it is a path, or another name that may be long.
    pub is_path: bool,
}

impl PageCell {
    /// A cell with a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A cell with a path.
    #[must_use]
    pub fn path(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_path: true, ..Self::default() }
    }

    /// A cell that is sorted by a number.
    #[must_use]
    pub fn number(text: impl Into<String>, order: u64) -> Self {
        Self { text: text.into(), order: Some(order), ..Self::default() }
    }

    /// A cell that names a finding, with how bad it is; nothing for none.
    #[must_use]
    pub fn finding(id: &str, severity: Option<Severity>) -> Self {
        let text = severity.map(|severity| format!("{severity}: {id}")).unwrap_or_default();
        Self::severity(text, severity)
    }

    /// A cell whose text says how bad something is; the worst comes first.
    #[must_use]
    pub fn severity(text: impl Into<String>, severity: Option<Severity>) -> Self {
        let order = match severity {
            Some(Severity::Fatal) => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Fact) => 2,
            None => 3,
        };
        Self { text: text.into(), order: Some(order), severity, is_path: false }
    }
}

/// Who loads what: a tree, with what is wrong beside the file that shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// What is loaded.
    pub title: String,
    /// What the title does not say, in a sentence.
    pub says: String,
    /// The directory that paths without a leading slash are below; empty: none.
    pub base: String,
    /// The files, in the order that they are mapped.
    pub nodes: Vec<Node>,
}

/// A file of a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The index of the node that it hangs from.
    pub parent: Option<usize>,
    /// Its name.
    pub name: String,
    /// Its release.
    pub release: Option<String>,
    /// The rule that found it.
    pub rule: String,
    /// Where it is: a directory, where its file has its name.
    pub place: String,
    /// What it is.
    pub kind: NodeKind,
    /// What is wrong with it.
    pub marks: Vec<Mark>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NodeKind {
    /// A file that matters.
    #[default]
    File,
    /// A file of the system: many, and rarely the cause.
    System,
    /// A name that is not found.
    Absent,
    /// A name that is not found, and not needed.
    Optional,
    /// What several nodes have in common: a process, a directory.
    Group,
}

/// Something wrong with a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// How bad it is.
    pub severity: Severity,
    /// A sentence.
    pub says: String,
    /// The index of the other node that it is about.
    pub other: Option<usize>,
}

impl PageTable {
    /// Every text of it.
    pub(super) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        std::iter::once(&mut self.title).chain(self.rows.iter_mut().flatten().map(|cell| &mut cell.text))
    }
}

/// Where a file of this name is: below a directory if it is there, and without its own name if that is the same.
pub(super) fn place(base: Option<&Path>, name: &OsStr, path: &Path) -> String {
    let tidy = crate::host::tidy(path);
    let place = if tidy.file_name() == Some(name) { tidy.parent().unwrap_or(&tidy) } else { &tidy };
    let below = base.and_then(|base| place.strip_prefix(base).ok());
    shown(below.filter(|below| !below.as_os_str().is_empty()).unwrap_or(place))
}

impl Picture {
    /// Whether there is nothing to see.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Every text of it.
    pub(super) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        fn of_node(node: &mut Node) -> impl Iterator<Item = &mut String> {
            let Node { name, release, rule, place, marks, .. } = node;
            [name, rule, place].into_iter().chain(release).chain(marks.iter_mut().map(|mark| &mut mark.says))
        }
        [&mut self.title, &mut self.says, &mut self.base].into_iter().chain(self.nodes.iter_mut().flat_map(of_node))
    }
}
