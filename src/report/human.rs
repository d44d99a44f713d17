//! Text for people: the set as a table, and the explanation of one choice.

use super::json::{ChosenLibrary, ResolveReport};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// `text` made harmless for a terminal: control and bidirectional characters are escaped.
#[must_use]
pub fn sanitized(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// Whether a terminal acts on a character: controls except the line feed, other line ends, and bidirectional controls
/// (Unicode Standard Annex 9).
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path or a text from a file as part of a line: its line breaks are escaped.
pub(super) fn one_line(shown: impl std::fmt::Display) -> String {
    shown.to_string().replace('\n', "\\n")
}

/// Unusable files that a page shows.
const SHOWN: usize = 10;

/// The set as a table: one line a library, grouped by the directory they share.
#[must_use]
pub fn resolution_text(report: &ResolveReport) -> String {
    let mut text = report.r#for.clone();
    if let Some(cuda) = &report.cuda
        && !report.r#for.contains("+cu")
    {
        let _ = write!(text, " (CUDA {cuda})");
    }
    if let Some(path) = &report.path {
        let _ = write!(text, " in {}", one_line(path.to_path().display()));
    }
    text.push('\n');
    let set = report.set.as_deref().unwrap_or_default();
    if let Some(nothing) = &report.nothing {
        return format!("no set: {nothing}\nhint: activate the environment, or name it: `cudashim resolve DIR`\n");
    }
    if set.is_empty() && report.unserved.is_empty() {
        text.push_str("\nno NVIDIA library is needed\n");
    }
    let mut roots: Vec<PathBuf> = Vec::new();
    for library in set {
        let root = root_of(&library.path.to_path());
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    let name_width = set.iter().map(|library| library.soname.len()).max().unwrap_or_default().max("library".len());
    let version_width = set
        .iter()
        .map(|library| library.version.as_ref().map_or(1, String::len))
        .max()
        .unwrap_or_default()
        .max("release".len());
    if !set.is_empty() {
        let _ = writeln!(text, "\n  {:name_width$}  {:version_width$}  {:10}  in", "library", "release", "loaded");
    }
    for root in roots {
        let _ = writeln!(text, "{}", one_line(root.display()));
        for library in set.iter().filter(|library| root_of(&library.path.to_path()) == root) {
            let version = library.version.as_deref().unwrap_or("-");
            let path = library.path.to_path();
            let shown = path.strip_prefix(&root).unwrap_or(&path);
            let is_named = shown.file_name().is_some_and(|name| name == &*library.soname);
            let shown = shown.parent().filter(|_| is_named).unwrap_or(shown);
            let loaded = if library.how == "preload" { "at start" } else { "on request" };
            let _ = writeln!(
                text,
                "  {:name_width$}  {version:version_width$}  {loaded:10}  {}",
                library.soname,
                one_line(shown.display())
            );
        }
    }
    if !report.unserved.is_empty() {
        text.push_str("\nleft to the loader\n");
        for unserved in &report.unserved {
            let _ = writeln!(text, "  {:name_width$}  {}", unserved.soname, unserved.because);
        }
    }
    let (torn, unusable): (Vec<_>, Vec<_>) = report.problems.iter().partition(|problem| problem.is_torn());
    for (title, problems) in [("of another release than their group", torn), ("unusable", unusable)] {
        if !problems.is_empty() {
            let _ = writeln!(text, "\n{title}");
        }
        for problem in problems.iter().take(SHOWN) {
            let _ = writeln!(text, "  {}  {}", one_line(problem.path.to_path().display()), one_line(&problem.says));
        }
        if problems.len() > SHOWN {
            let _ = writeln!(text, "  and {} more; `--format json` lists them", problems.len() - SHOWN);
        }
    }
    if let Some(warning) = report.not_handed_out() {
        let _ = writeln!(text, "\n{}", one_line(warning));
    }
    let refused: usize = set.iter().map(|library| library.refused.len()).sum();
    let count = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    if !set.is_empty() {
        let _ = write!(text, "\n{} chosen", count(set.len(), "library", "libraries"));
        if refused > 0 {
            let _ =
                write!(text, ", {} not; `--explain SONAME` shows why", count(refused, "other copy", "other copies"));
        }
        text.push('\n');
    }
    text
}

/// The installation a path belongs to, by the path alone: its site directory, or the parent of `nvidia/`, else its
/// directory.
pub(super) fn root_of(path: &Path) -> PathBuf {
    let dir = path.parent().unwrap_or(path);
    let site = dir
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages"));
    let above = |name: &str| {
        dir.ancestors().find(|dir| dir.file_name().is_some_and(|part| part == name)).and_then(Path::parent)
    };
    site.or_else(|| above("nvidia")).unwrap_or(dir).to_owned()
}

/// Why the set has this copy of a soname, and why not each other copy.
#[must_use]
pub fn explanation_text(library: &ChosenLibrary) -> String {
    let version = |version: &Option<String>| version.as_ref().map_or(String::new(), |version| format!(" ({version})"));
    let mut text = format!(
        "{}{}\n  {}\n  chosen: {}\n",
        library.soname,
        version(&library.version),
        one_line(library.path.to_path().display()),
        library.because
    );
    for copy in &library.refused {
        let _ = write!(
            text,
            "\n  {}{}\n  not chosen: {}\n",
            one_line(copy.path.to_path().display()),
            version(&copy.version),
            one_line(&copy.because)
        );
    }
    if library.refused.is_empty() {
        text.push_str("\n  no other copy was found\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_safe() {
        assert_eq!(sanitized("a\u{1b}[31m\u{202e}b\nc"), "a\\u{1b}[31m\\u{202e}b\nc");
    }
}
