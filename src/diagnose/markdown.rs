//! The report in Markdown, for an issue thread.

use super::human::{lines, runs_word, word};
use super::{Line, Report};
use std::fmt::Write as _;

/// The report in Markdown, complete.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("**{}**\n\n| | |\n|---|---|\n", inline(&report.verdict.says));
    for (name, value) in lines(report) {
        let _ = writeln!(text, "| {name} | {} |", inline(&value));
    }
    if let Some(table) = &report.table {
        text.push_str("\n| driver | GPU | runs | why |\n|---|---|---|---|\n");
        for cell in &table.cells {
            let gpu = cell.gpu.as_ref().map_or("", |gpu| &gpu.name);
            let driver = cell.driver.as_deref().unwrap_or("the newest for it");
            let _ = writeln!(text, "| {driver} | {gpu} | {} | {} |", runs_word(cell.runs), inline(&cell.says));
        }
    }
    for finding in &report.findings {
        let (cause, word) = (inline(&finding.cause), word(finding.severity));
        let _ = write!(text, "\n### {word}: {cause}\n\n`{}`, see <{}>\n\n", finding.id, finding.source);
        for evidence in &finding.evidence {
            let path = evidence.path.as_ref().map(|path| format!("{}: ", path.to_path().display()));
            let says = format!("{}{}", path.unwrap_or_default(), evidence.says);
            let says = if evidence.kind == "message" { verbatim(&says) } else { inline(&says) };
            let _ = writeln!(text, "- {}: {says}", evidence.kind);
        }
        for remedy in &finding.remedies {
            let _ = match &remedy.line {
                Line::Command(line) => write!(text, "\n```sh\n{line}\n```\n"),
                Line::Action(action) => write!(text, "\n{}\n", inline(action)),
            };
        }
    }
    text
}

/// Keeps text on its line and in its cell, whatever file names it contains. Between backticks is code, where only a
/// bar is escaped; unpaired backticks are literal (the specification of GitHub Flavored Markdown: tables, backslash
/// escapes, code spans).
fn inline(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    let ticks = text.matches('`').count();
    let code = ticks.is_multiple_of(2) && !text.contains("``");
    let mut inside = false;
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '`' if code => {
                inside = !inside;
                out.push(c);
            }
            '|' => out.push_str("\\|"),
            '\\' | '`' | '<' | '&' | '*' | '[' | ']' | '~' if !inside => out.extend(['\\', c]),
            _ => out.push(c),
        }
        out
    })
}

/// A message verbatim: a code span with more backticks than the text contains.
fn verbatim(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    format!("{fence} {text} {fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_cell() {
        assert_eq!(inline("a|b\n<c>"), "a\\|b \\<c>");
        // Escape the escape character first; in code, escape nothing else.
        assert_eq!(inline(r"\<img> &lt; `a\<b|c` [x](y)"), r"\\\<img> \&lt; `a\<b\|c` \[x\](y)");
        assert_eq!(inline("`/a`b` <i>"), "\\`/a\\`b\\` \\<i>");
        assert_eq!(inline("``<i>"), "\\`\\`\\<i>");
    }

    #[test]
    fn a_message_stays_in_its_span() {
        assert_eq!(verbatim("@all <b> ``x`"), "``` @all <b> ``x` ```");
        assert_eq!(verbatim("plain"), "` plain `");
    }
}
