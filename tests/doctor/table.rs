//! `docs/FAILURES.md` tells of every finding, and names tests that are there.

use cudashim::internal::tables::{Group, finding_rows};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rows of the table, by the id of a finding: class, title, test, real.
fn rows() -> BTreeMap<String, [String; 4]> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FAILURES.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")).skip(2) {
        // A title may hold `|` in code; none does.
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let [id, class, title, test, real] = cells.try_into().unwrap_or_else(|cells| panic!("{line}: {cells:?}"));
        assert!(rows.insert(id, [class, title, test, real]).is_none(), "twice: {line}");
    }
    rows
}

/// The names of the tests that doctor has.
fn tests() -> BTreeSet<String> {
    let mut queue = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor")];
    let mut names = BTreeSet::new();
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                queue.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for after in text.split("#[test]\n").skip(1) {
                let name = after.trim_start().strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                names.extend(name.map(str::to_owned));
            }
        }
    }
    names
}

#[test]
fn the_table_is_that_of_the_findings() {
    let rows = rows();
    let ids: Vec<&str> = rows.keys().map(String::as_str).collect();
    let known: Vec<&str> = finding_rows().iter().map(|row| row.id).collect();
    assert_eq!(ids, known);
    for row in finding_rows() {
        assert_eq!(rows[row.id][1], row.title, "{}", row.id);
    }
    // Each of the 42 classes has one row.
    let classes: BTreeSet<u32> = rows.values().filter_map(|row| row[0].parse().ok()).collect();
    assert_eq!(classes, (1..=42).collect());
    assert!(rows.values().all(|row| row[0].parse::<u32>().is_ok() || ["minor", "more"].contains(&row[0].as_str())));
}

#[test]
fn the_tests_it_names_are_there() {
    let (rows, tests) = (rows(), tests());
    for row in finding_rows() {
        let named = &rows[row.id][2];
        let named: Vec<&str> =
            named.split(", ").map(|name| name.trim_matches('`')).filter(|name| *name != "-").collect();
        for name in &named {
            assert!(tests.contains(*name), "{}: there is no test `{name}`", row.id);
        }
        // A test that is called as the finding is named; and only of libraries may one be to come.
        let own = row.id.replace('-', "_");
        assert!(!tests.contains(&own) || named.contains(&own.as_str()), "{}: `{own}` is not named", row.id);
        assert!(!named.is_empty() || row.group == Group::Libraries, "{}: no test", row.id);
    }
}
