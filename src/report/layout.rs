//! Lines of a given width: words wrapped, paths shortened in their middle.
//!
//! Takes texts and paths; escapes what acts on a terminal before measuring. Gives lines of at most the given width,
//! except for a path that must stay whole.

use super::human::sanitized;
use std::path::Path;

/// How wide lines may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width {
    /// Columns of a line.
    pub columns: usize,
    /// Whether a path that is wider by itself is kept whole, for another program to read.
    pub whole_paths: bool,
}

impl Default for Width {
    fn default() -> Self {
        Self { columns: 100, whole_paths: true }
    }
}

/// Text that grows by lines.
#[derive(Debug)]
pub(super) struct Page {
    width: Width,
    text: String,
}

impl Page {
    pub(super) fn new(width: Width) -> Self {
        Self { width: Width { columns: width.columns.max(MIN_COLUMNS), ..width }, text: String::new() }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn columns(&self) -> usize {
        self.width.columns
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// Words, wrapped; every line but the first is set in by `hanging`.
    pub(super) fn words(&mut self, first: &str, hanging: usize, text: &str) {
        let mut line = one_line(first);
        let mut empty = true;
        for word in one_line(text).split(' ').filter(|word| !word.is_empty()) {
            let space = usize::from(!empty);
            if !empty && count(&line) + space + count(word) > self.width.columns {
                self.push(&line);
                line = " ".repeat(self.indent(hanging, word));
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            let left = self.width.columns.saturating_sub(count(&line));
            line.push_str(&self.fitted(word, left));
            empty = false;
        }
        self.push(&line);
    }

    /// A path on a separate line, after `first`.
    pub(super) fn path(&mut self, first: &str, path: &Path) {
        let shown = one_line(&path.display().to_string());
        let mut first = first.to_owned();
        let indent = self.indent(count(&first), &shown);
        if indent < count(&first) {
            if !first.trim().is_empty() {
                self.push(&first);
            }
            first = " ".repeat(indent);
        }
        let left = self.width.columns.saturating_sub(count(&first));
        let line = format!("{first}{}", self.fitted(&shown, left));
        self.push(&line);
    }

    /// The indent of a word: reduced if the word must stay whole and would not fit.
    fn indent(&self, indent: usize, word: &str) -> usize {
        if self.width.whole_paths { indent.min(self.width.columns.saturating_sub(count(word))) } else { indent }
    }

    /// Cells of the given widths, then words, wrapped below the first word.
    pub(super) fn row(&mut self, indent: usize, cells: &[(&str, usize)], words: &str) {
        let mut line = " ".repeat(indent);
        for (cell, width) in cells {
            let cell = elided(&one_line(cell), *width);
            line.push_str(&cell);
            line.push_str(&" ".repeat((width + 1).saturating_sub(count(&cell))));
        }
        let hanging = count(&line).min(self.width.columns / 2);
        if words.is_empty() || count(&line) < self.width.columns {
            self.words(&line, hanging, words);
        } else {
            self.push(&line);
            self.words(&" ".repeat(hanging), hanging, words);
        }
    }

    /// A label and its value; nothing for an empty value.
    pub(super) fn field(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.words(&format!("  {label:LABEL$} "), LABEL + 3, value);
        }
    }

    fn fitted(&self, word: &str, left: usize) -> String {
        if self.width.whole_paths { word.to_owned() } else { elided(word, left) }
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// `text` with its long lines wrapped at blanks and indented. A line to type stays whole, so that it can be pasted.
#[must_use]
pub fn folded(text: &str, columns: usize) -> String {
    let columns = columns.max(MIN_COLUMNS);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if count(line.trim_end()) <= columns || ["$ ", "type: "].iter().any(|it| line.trim_start().starts_with(it)) {
            out.push_str(line);
        } else {
            fold(&mut out, line.trim_end(), columns);
        }
    }
    out
}

fn fold(out: &mut String, line: &str, columns: usize) {
    let words = line.trim_start_matches([' ', '│', '├', '└', '─']);
    let lead = line.strip_suffix(words).unwrap_or_default();
    let below: String = lead.chars().map(|c| if matches!(c, '│' | '├') { '│' } else { ' ' }).collect();
    let mut column = count(lead);
    out.push_str(lead);
    for (at, word) in words.split(' ').enumerate() {
        if at > 0 && column + 1 + count(word) > columns && !word.is_empty() {
            while out.ends_with(' ') {
                out.pop();
            }
            out.extend(["\n", &below, "  "]);
            column = count(&below) + 2;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += count(word);
    }
    out.push('\n');
}

/// A size for people; a part of a unit counts as a tenth.
#[must_use]
pub fn weight(bytes: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = bytes.saturating_mul(10).div_ceil(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0x4000_0000.. => format!("{} GiB", tenths(1 << 30)),
        0x10_0000.. => format!("{} MiB", tenths(1 << 20)),
        _ => format!("{} KiB", tenths(1 << 10)),
    }
}

/// The text with the non-ASCII signs of reports replaced.
#[must_use]
pub fn plain_ascii(text: &str) -> String {
    let plain = |c: char| match c {
        '│' => "|",
        '├' => "|",
        '└' => "`",
        '─' => "-",
        '→' => "->",
        '×' => "x",
        '…' => "...",
        _ => "",
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match plain(c) {
            "" => out.push(c),
            other => out.push_str(other),
        }
    }
    out
}

/// Columns of a label.
pub(super) const LABEL: usize = 13;
/// Narrower reports are unreadable.
const MIN_COLUMNS: usize = 40;

/// A text as part of one line.
pub(super) fn one_line(text: &str) -> String {
    sanitized(text).replace('\n', "\\n")
}

/// Columns of a text. A wide character counts as one: library names have none.
pub(super) fn count(text: &str) -> usize {
    text.chars().count()
}

/// A text of at most `width` columns. The middle of a longer one is elided: the ends identify a path.
pub(super) fn elided(text: &str, width: usize) -> String {
    let length = count(text);
    if length <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let head = kept / 3;
    let tail = kept - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_middle_is_left_out() {
        assert_eq!(elided("/a/long/path/to/libcudart.so.12", 20), "/a/lon…bcudart.so.12");
        assert_eq!(elided("short", 5), "short");
        assert_eq!((elided("short", 1), elided("short", 0)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn words_hang() {
        let mut page = Page::new(Width { columns: 40, whole_paths: false });
        page.field("needed", "one two three four five six seven eight");
        page.path("  ", Path::new("/a/b\nc"));
        assert_eq!(
            page.finish(),
            "  needed        one two three four five\n                six seven eight\n  /a/b\\nc\n"
        );
    }

    #[test]
    fn a_path_stays_whole_where_a_program_reads() {
        let path = format!("/{}/libcudart.so.12", "x".repeat(100));
        let shown = |whole_paths| {
            let mut page = Page::new(Width { columns: 60, whole_paths });
            page.path("", Path::new(&path));
            page.finish().trim_end().to_owned()
        };
        assert_eq!(shown(true), path);
        assert_eq!(count(&shown(false)), 60);
    }

    #[test]
    fn a_tree_is_folded_below_its_branches() {
        let text = "├─ one two three four five six seven eight nine ten\n│  └─ one two three four five six seven eight nine\n$ a line to type is never folded, be it as long as it may\n";
        assert_eq!(
            folded(text, 40),
            "├─ one two three four five six seven\n│    eight nine ten\n│  └─ one two three four five six seven\n│       eight nine\n$ a line to type is never folded, be it as long as it may\n"
        );
        assert_eq!(plain_ascii("├─ a → b…\n└─ é"), "|- a -> b...\n`- é");
    }

    proptest! {
        #[test]
        fn every_word_is_kept(text in "[ a-z│├└─\n]{0,400}", columns in 0usize..120) {
            let words = |text: &str| {
                text.split([' ', '\n', '│', '├', '└', '─']).filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(words(&folded(&text, columns)), words(&text));
        }

        #[test]
        fn no_line_is_too_wide(
            first in "[ a]{0,12}", text in "\\PC{0,300}", cells in proptest::collection::vec(("\\PC{0,40}", 1usize..12), 0..4),
            columns in 40usize..120,
        ) {
            let mut page = Page::new(Width { columns, whole_paths: false });
            page.words(&first, 4, &text);
            page.path("    ", Path::new(&text));
            page.field("label", &text);
            let cells: Vec<(&str, usize)> = cells.iter().map(|(cell, width)| (cell.as_str(), *width)).collect();
            page.row(4, &cells, &text);
            for line in page.finish().lines() {
                prop_assert!(count(line) <= columns.max(4 + 13 * 4), "{line:?}");
            }
        }
    }
}
