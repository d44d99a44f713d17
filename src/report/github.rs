//! Findings as workflow commands of GitHub Actions: annotations, the summary as the last.
//!
//! Takes a list of findings; gives one line for each. No other line is given, because the runner takes any line that
//! begins with `::`, or has `##[`, for a command. Escapes as `@actions/core` writes them
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>).

use super::findings::{FindingLine, FindingList};
use super::human::sanitized;
use crate::tables::Severity;
use std::fmt::Write as _;
use std::path::Path;

/// The commands. A file below `base`, where the checkout is, is named for its annotation.
pub(super) fn github(list: &FindingList, base: &Path) -> String {
    let mut text = String::new();
    for finding in &list.findings {
        let command = match finding.severity {
            Severity::Fatal => "error",
            Severity::Warning => "warning",
            Severity::Fact => "notice",
        };
        let file = finding.path.as_deref().and_then(|path| path.strip_prefix(base).ok()?.to_str());
        let file = file.filter(|file| !file.is_empty()).map(|file| format!("file={},", property(file)));
        let lines: Vec<String> = std::iter::once(finding.says.replace('\n', "\\n")).chain(finding.details()).collect();
        let (file, title) = (file.unwrap_or_default(), property(&title(finding)));
        let _ = writeln!(text, "::{command} {file}title={title}::{}", data(&lines.join("\n")));
    }
    let command = if list.is_unexplained() { "error" } else { "notice" };
    let _ = writeln!(text, "::{command} title=cudashim::{}", data(&list.summary()));
    text
}

fn title(finding: &FindingLine) -> String {
    let title = finding.row().map(|row| format!(": {}", row.title)).unwrap_or_default();
    format!("{}{title}", finding.id)
}

fn data(text: &str) -> String {
    sanitized(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_a_command() {
        assert_eq!(data("a%0A\n::error::b\r\u{1b}["), "a%250A%0A::error::b\\r\\u{1b}[");
        assert_eq!(property("x,file=y::z"), "x%2Cfile=y%3A%3Az");
    }
}
