//! The format of `data/*.tsv`: `#` comments, one header line, then rows of cells.
//!
//! Takes the text of a table and a function that makes a typed row; returns the rows.
//! `-` means unknown. A line that has another number of cells than the header, or that the
//! function refuses, is skipped: the tests of each table check that there is none.

/// The cells of one line, by the name of their column.
pub(super) struct Cells<'a> {
    header: &'a [&'static str],
    cells: Vec<&'static str>,
}

impl Cells<'_> {
    /// The cell; `None` where it is unknown or the column is missing.
    pub(super) fn text(&self, column: &str) -> Option<&'static str> {
        let at = self.header.iter().position(|name| *name == column)?;
        self.cells.get(at).copied().filter(|cell| *cell != "-")
    }

    /// An optional cell put through `parse`: the outer `None` means malformed.
    #[expect(clippy::option_option, reason = "unknown and malformed are different answers")]
    pub(super) fn maybe<T>(&self, column: &str, parse: impl Fn(&'static str) -> Option<T>) -> Option<Option<T>> {
        match self.text(column) {
            None => Some(None),
            Some(cell) => parse(cell).map(Some),
        }
    }

    /// The items of a cell, separated by `separator`; none where it is unknown.
    pub(super) fn list(&self, column: &str, separator: char) -> Vec<&'static str> {
        self.text(column).map_or_else(Vec::new, |cell| cell.split(separator).collect())
    }
}

/// `yes` or `no`.
pub(super) fn yes_no(cell: &str) -> Option<bool> {
    match cell {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The day a table was read, by its first comment: `Read 2026-11-22.`
pub(super) fn read_on(text: &'static str) -> &'static str {
    let head = text.lines().take_while(|line| line.starts_with('#'));
    let day = head.filter_map(|line| line.split_once("Read ")).find_map(|(_, rest)| rest.get(..10));
    day.unwrap_or("an unknown day")
}

/// Reads a table.
pub(super) fn read<R>(text: &'static str, row: impl Fn(&Cells<'_>) -> Option<R>) -> Vec<R> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let header: Vec<_> = lines.next().unwrap_or("").split('\t').collect();
    lines
        .map(|line| Cells { header: &header, cells: line.split('\t').collect() })
        .filter(|cells| cells.cells.len() == header.len())
        .filter_map(|cells| row(&cells))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Checks for every table: it describes itself and its origin, has the columns of its
    /// reader with `source` as the last, every line is a row, every row has a
    /// source, and no cell is empty or has outer blanks.
    pub(crate) fn check(text: &'static str, columns: &[&str], rows: usize) {
        let comments: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(comments.iter().any(|line| line.starts_with("# Recipe: ")));
        let mut lines = text.lines().skip(comments.len());
        let header: Vec<_> = lines.next().unwrap().split('\t').collect();
        assert_eq!(header, columns);
        assert_eq!(header.last(), Some(&"source"));
        let mut count = 0;
        for line in lines {
            count += 1;
            let cells: Vec<_> = line.split('\t').collect();
            assert_eq!(cells.len(), header.len(), "{line}");
            assert!(cells.iter().all(|cell| !cell.is_empty() && cell.trim() == *cell), "{line}");
            assert_ne!(cells.last(), Some(&"-"), "no source: {line}");
        }
        assert!(count > 0);
        assert_eq!(rows, count, "lines that did not become rows");
    }

    /// Each source is a URL, an abbreviation the comments explain (two blanks after it), or text
    /// with a blank in it.
    pub(crate) fn check_ids(text: &'static str, sources: impl Iterator<Item = &'static str>) {
        let explained: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#   "))
            .filter_map(|line| line.split_once("  ").map(|(id, _)| id.trim()))
            .collect();
        for source in sources {
            for id in source.split(' ') {
                assert!(explained.contains(&id), "{id} is not explained");
            }
        }
    }

    /// Keys are ascending and unique.
    pub(crate) fn check_sorted<K: Ord + std::fmt::Debug>(keys: impl Iterator<Item = K>) {
        let keys: Vec<_> = keys.collect();
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1], "{:?} before {:?}", pair[0], pair[1]);
        }
    }

    #[test]
    fn reads_cells_by_column_and_skips_broken_lines() {
        let text = "# c\na\tb\n1\tx y\n2\n3\t-\tz\n-\tq\n4\t-\n";
        let rows = read(text, |cells| Some((cells.text("a")?, cells.list("b", ' '), cells.text("nothing"))));
        assert_eq!(rows, [("1", vec!["x", "y"], None), ("4", vec![], None)]);
        assert_eq!(read("", |_| Some(())), []);
    }

    #[test]
    fn unknown_is_not_malformed() {
        let rows = read("a\n-\nyes\nmaybe\n", |cells| cells.maybe("a", yes_no));
        assert_eq!(rows, [None, Some(true)]);
    }
}
