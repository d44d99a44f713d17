//! The page that the demo prints on: long paths shortened, long lines broken.

use super::machine::Machine;
use crate::report::sanitized;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// Columns of a line, where its words allow.
const WIDTH: usize = 96;

/// The output of the demo.
pub(super) struct Page<W> {
    out: W,
    /// Paths and their abbreviations, the longest first.
    names: [(String, &'static str); 2],
}

impl<W: Write> Page<W> {
    /// A page that shortens the paths of a machine.
    pub(super) fn new(machine: &Machine, out: W) -> Self {
        let text = |path: &Path| path.display().to_string();
        Self { out, names: [(text(&machine.site()), "$SITE"), (text(machine.dir()), "$DEMO")] }
    }

    /// The meaning of the abbreviations.
    pub(super) fn legend(&mut self) -> io::Result<()> {
        let [(site, site_name), (dir, dir_name)] = &self.names;
        let text = format!("  {dir_name} = {dir}\n  {site_name} = {}\n", site.replace(dir, dir_name));
        self.out.write_all(sanitized(&text).as_bytes())
    }

    /// A heading of the demo.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.write(text, "")
    }

    /// A command, as it would be typed.
    pub(super) fn command(&mut self, assigned: Option<(&str, &OsStr)>, words: &[&str]) -> io::Result<()> {
        let assigned = assigned.map(|(name, value)| format!("{name}={} ", value.display())).unwrap_or_default();
        let quoted = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
        let words: Vec<String> = words.iter().map(quoted).collect();
        self.write(&format!("$ {assigned}{}", words.join(" ")), "")
    }

    /// The output of a command.
    pub(super) fn output(&mut self, text: &str) -> io::Result<()> {
        self.write(text, "  ")
    }

    fn write(&mut self, text: &str, indent: &str) -> io::Result<()> {
        let text = self.names.iter().fold(text.to_owned(), |text, (path, name)| text.replace(path, name));
        for line in text.lines() {
            self.out.write_all(sanitized(&wrapped(&format!("{indent}{line}"))).as_bytes())?;
        }
        self.out.flush()
    }
}

/// A line broken at spaces; what follows the first part is set in by two more columns.
fn wrapped(line: &str) -> String {
    let words = line.trim_start();
    if words.is_empty() {
        return "\n".to_owned();
    }
    let indent = line.len() - words.len();
    let mut text = " ".repeat(indent);
    let mut column = indent;
    for (at, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = indent + 2;
            text.push_str(&" ".repeat(column));
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words_and_keep_their_indent() {
        let word = "x".repeat(60);
        assert_eq!(wrapped("  a b"), "  a b\n");
        assert_eq!(wrapped(&format!("  {word} {word}")), format!("  {word}\n    {word}\n"));
        assert_eq!(wrapped(&"y".repeat(200)), format!("{}\n", "y".repeat(200)));
        assert_eq!(wrapped("  "), "\n");
    }

    #[test]
    fn a_full_line_is_not_broken() {
        let line = format!("{} {}", "a".repeat(47), "b".repeat(48));
        assert_eq!(wrapped(&line), format!("{line}\n"));
        assert!(wrapped(&format!("{line}c")).contains("\n  b"));
    }
}
