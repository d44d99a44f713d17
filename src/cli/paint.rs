//! Colour: the labels at the beginning of lines, and the lines to type.
//!
//! Takes text that is ready to be printed; gives the same with styles around the labels. The writer decides whether the
//! stream gets them.

use clap::builder::styling::{AnsiColor, Style};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();
const BOLD: Style = Style::new().bold();

/// The labels and their styles.
const LABELS: [(&str, Style); 21] = [
    ("error:", RED),
    ("fatal:", RED),
    ("not chosen:", RED),
    ("×", RED),
    ("x ", RED),
    ("missing", RED),
    ("verdict: fails", RED),
    ("warning:", YELLOW),
    ("changed", YELLOW),
    ("verdict: torn", YELLOW),
    ("chosen:", GREEN),
    ("→", GREEN),
    ("-> ", GREEN),
    ("unchanged", GREEN),
    ("verdict: loads", GREEN),
    ("fact:", CYAN),
    ("hint:", CYAN),
    ("type:", CYAN),
    ("do ", CYAN),
    ("or ", CYAN),
    ("then ", CYAN),
];

/// The text with its colours.
pub(super) fn painted(text: &str) -> String {
    text.split_inclusive('\n').map(line).collect()
}

fn line(line: &str) -> String {
    let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
    let words = body.trim_start();
    let indent = &body[..body.len() - words.len()];
    let Some((word, style)) = LABELS.iter().find(|(word, _)| words.starts_with(word)) else {
        return line.to_owned();
    };
    let rest = &words[word.len()..];
    let is_command = rest.trim_start().starts_with("$ ") || *word == "type:";
    // In running text these are not labels.
    if matches!(*word, "do " | "or " | "then ") && (!is_command || indent.is_empty()) {
        return line.to_owned();
    }
    let rest = if is_command { format!("{BOLD}{rest}{BOLD:#}") } else { rest.to_owned() };
    format!("{indent}{style}{word}{style:#}{rest}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_painted() {
        assert_eq!(painted("a\n  fatal: b\n"), format!("a\n  {RED}fatal:{RED:#} b\n"));
        assert_eq!(painted("  do   $ ls\n"), format!("  {CYAN}do {CYAN:#}{BOLD}  $ ls{BOLD:#}\n"));
        assert_eq!(painted("do not\n  or else\n"), "do not\n  or else\n");
        assert_eq!(painted("no error: here"), "no error: here");
    }
}
