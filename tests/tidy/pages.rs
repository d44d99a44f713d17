//! `docs/FAILURES.md`, `docs/SHIM_RULES.md` and `docs/SECURITY.md` name tests: each exists and covers its row.

use super::{root, rust_files};
use cudashim::internal::tables::finding_rows;
use std::collections::BTreeMap;
use std::fs;

/// Every test below these directories by its name: its file, and its text.
fn tests(dirs: &[&str]) -> BTreeMap<String, (String, String)> {
    let mut tests = BTreeMap::new();
    for dir in dirs {
        for (file, text) in rust_files(&root().join(dir)) {
            for after in text.split("#[test]\n").skip(1) {
                let Some((_, after)) = after.split_once("fn ") else { continue };
                let name = after.split('(').next().unwrap_or_default();
                let body = after.split("\n}\n").next().unwrap_or_default();
                tests.insert(name.to_owned(), (format!("{dir}/{file}"), body.to_owned()));
            }
        }
    }
    tests
}

/// The cells of the rows of a page's tables, without their heads.
fn rows(page: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |at: usize| {
        lines[at].starts_with("| ") && !lines.get(at + 1).is_some_and(|next| next.replace(' ', "").starts_with("|---"))
    };
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    (0..lines.len())
        .filter(|at| is_row(*at))
        .map(|at| cells(lines[at]))
        .filter(|row| !row[0].starts_with("--"))
        .collect()
}

/// The words in backticks that are spelt as tests are.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    let spelt = |word: &&str| {
        word.matches('_').count() > 1 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    cell.split('`').skip(1).step_by(2).filter(spelt)
}

#[test]
fn pages_name_tests_that_exist() {
    let tests = tests(&["tests", "src"]);
    for page in ["SECURITY.md", "SHIM_RULES.md"] {
        let rows = rows(page);
        let names: Vec<&str> = rows.iter().flatten().flat_map(|cell| named(cell)).collect();
        let missing: Vec<_> = names.iter().filter(|name| !tests.contains_key(**name)).collect();
        assert!(missing.is_empty() && names.len() > 20, "docs/{page}: {missing:?} of {}", names.len());
    }
}

#[test]
fn failures_page_has_a_row_per_finding() {
    let rows = rows("FAILURES.md");
    let shown: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[2].as_str())).collect();
    assert_eq!(shown, finding_rows().iter().map(|row| (row.id, row.title)).collect::<Vec<_>>());
}

/// A text that is recognised makes no machine.
#[test]
fn failures_page_names_tests_that_make_the_machine() {
    let tests = tests(&["tests/doctor", "tests/image"]);
    for row in rows("FAILURES.md") {
        for name in row[3].split(", ").filter(|name| *name != "-").map(|name| name.trim_matches('`')) {
            let (file, body) = tests.get(name).unwrap_or_else(|| panic!("{}: there is no test `{name}`", row[0]));
            assert!(!file.ends_with("messages.rs"), "{}: {file}", row[0]);
            assert!(body.contains(&format!("\"{}\"", row[0])), "`{name}` says nothing of {}", row[0]);
        }
    }
}
