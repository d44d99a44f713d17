//! A report for a bug thread.

use super::human::{lines, word};
use super::{Remedy, Report};
use std::fmt::Write as _;

/// The report as Markdown; nothing is left out.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("**{}**\n\n| | |\n|---|---|\n", inline(&report.verdict.says));
    for (name, value) in lines(report) {
        let _ = writeln!(text, "| {name} | {} |", inline(&value));
    }
    for finding in &report.findings {
        let (cause, word) = (inline(&finding.cause), word(finding.severity));
        let _ = write!(text, "\n### {word}: {cause}\n\n`{}`, see <{}>\n\n", finding.id, finding.source);
        for evidence in &finding.evidence {
            let path = evidence.path.as_ref().map(|path| format!("{}: ", path.to_path().display()));
            let says = format!("{}{}", path.unwrap_or_default(), evidence.says);
            let _ = writeln!(text, "- {}: {}", evidence.kind, inline(&says));
        }
        for remedy in &finding.remedies {
            let _ = match remedy {
                Remedy::Command(line) => write!(text, "\n```sh\n{line}\n```\n"),
                Remedy::Action(action) => write!(text, "\n{}\n", inline(action)),
            };
        }
    }
    text
}

/// Text that stays on its line and in its cell, whatever names of files are in it.
fn inline(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\n' | '\r' => out.push(' '),
            '|' | '<' | '*' | '[' => out.extend(['\\', c]),
            _ => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_not_left() {
        assert_eq!(inline("a|b\n<c>"), "a\\|b \\<c>");
    }
}
