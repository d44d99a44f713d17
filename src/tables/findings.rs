//! `data/findings.tsv`: the kinds of findings, their severity and remedies.
//!
//! Takes the id of a finding; returns its row. Never reads the machine.

use std::sync::LazyLock;

use super::table;

/// A kind of finding.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FindingRow {
    /// The id, whose meaning never changes.
    pub id: &'static str,
    /// The part of a machine that shows it.
    pub group: Group,
    /// When it shows, unless the case overrides it.
    pub phase: Phase,
    /// How bad it is, unless the case overrides it.
    pub severity: Severity,
    /// The finding in one clause.
    pub title: &'static str,
    /// The remedies, best first; none where they depend on the case.
    pub remedies: Vec<RemedyRow>,
    /// The remedy that `scan` prints; `None`: a scan does not find it.
    pub advice: Option<&'static str>,
    /// The page of the rule, or of a report of this failure.
    pub source: &'static str,
}

/// A remedy: a line for a shell, or an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemedyRow {
    /// A command line; `{run}` in it is `cudashim run` for the environment in question.
    Command(&'static str),
    /// In words.
    Action(&'static str),
}

/// Which part of a machine a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Group {
    /// The driver and its devices.
    Driver,
    /// The libraries of CUDA.
    Libraries,
    /// Variables, directories, environments.
    Environment,
    /// Programs and packages that use them.
    Frameworks,
}

/// When a finding shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// When a program starts.
    Start,
    /// When the target is imported or loaded.
    Import,
    /// When a part that is opened later is first used.
    Use,
    /// When a GPU is first used.
    Gpu,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// The target cannot run, or runs wrong.
    Fatal,
    /// The target may fail.
    Warning,
    /// Worth knowing; nothing is wrong.
    Fact,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fatal => "fatal",
            Self::Warning => "warning",
            Self::Fact => "fact",
        })
    }
}

/// Every kind of finding, by id.
#[must_use]
pub fn finding_rows() -> &'static [FindingRow] {
    &TABLE
}

/// The row of an id.
#[must_use]
pub fn finding_row(id: &str) -> Option<&'static FindingRow> {
    let at = TABLE.binary_search_by(|row| row.id.cmp(id)).ok()?;
    TABLE.get(at)
}

const TEXT: &str = include_str!("../../data/findings.tsv");

static TABLE: LazyLock<Vec<FindingRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        let remedy = |text: &'static str| match text.trim().strip_prefix("$ ") {
            Some(line) => RemedyRow::Command(line),
            None => RemedyRow::Action(text.trim()),
        };
        Some(FindingRow {
            id: cells.text("id")?,
            group: match cells.text("group")? {
                "driver" => Group::Driver,
                "libraries" => Group::Libraries,
                "environment" => Group::Environment,
                "frameworks" => Group::Frameworks,
                _ => return None,
            },
            phase: match cells.text("phase")? {
                "start" => Phase::Start,
                "import" => Phase::Import,
                "use" => Phase::Use,
                "gpu" => Phase::Gpu,
                _ => return None,
            },
            severity: match cells.text("severity")? {
                "fatal" => Severity::Fatal,
                "warning" => Severity::Warning,
                "fact" => Severity::Fact,
                _ => return None,
            },
            title: cells.text("title")?,
            remedies: cells.list("remedy", '|').into_iter().map(remedy).collect(),
            advice: cells.maybe("advice", Some)?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_sorted};

    #[test]
    fn table_is_whole() {
        check(TEXT, &["id", "group", "phase", "severity", "title", "remedy", "advice", "source"], finding_rows().len());
        check_sorted(finding_rows().iter().map(|row| row.id));
        for row in finding_rows() {
            assert!(row.source.starts_with("https://"), "{}: {}", row.id, row.source);
            assert!(!row.title.ends_with('.'), "{}", row.id);
            assert!(row.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
            assert_eq!(finding_row(row.id).map(|row| row.id), Some(row.id));
        }
        assert!(finding_row("no-such-finding").is_none());
    }

    #[test]
    fn remedies_are_commands_or_words() {
        let row = finding_row("compat-libcuda-803").unwrap();
        assert_eq!(row.remedies[0], RemedyRow::Command("{run}"));
        assert!(matches!(row.remedies[1], RemedyRow::Action(text) if text.starts_with("remove the directory")));
        assert_eq!(finding_row("duplicate-soname").unwrap().remedies, []);
    }
}
