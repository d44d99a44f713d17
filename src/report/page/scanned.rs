//! A scan as a page: who finds which copy by which rule, and a table of the copies.
//!
//! Takes a scan; gives a page. Copies of one installation that the same files find stand together.

use super::WebPage;
use super::values::{Mark, Node, NodeKind, PageCell, PageTable, Picture, place};
use crate::check::name_of;
use crate::inventory::Reach;
use crate::inventory::scan::{Entry, Scan, group_of};
use crate::report::findings::shown;
use crate::report::layout::weight;
use crate::report::scan::{cuda_text, owner_text, scan_findings};
use crate::report::table::release;
use crate::tables::{Severity, finding_row};

/// Files that a rule is named after.
const NAMED: usize = 3;

/// A scan as a page; `wrong`: its problems are an error.
#[must_use]
pub fn scan_page(scan: &Scan, wrong: bool) -> WebPage {
    WebPage::new(scan_findings(scan, wrong)).picture(picture(scan)).table(table(scan))
}

fn picture(scan: &Scan) -> Picture {
    let mut nodes: Vec<Node> = Vec::new();
    let mut rest = scan.entries.as_slice();
    while let Some(first) = rest.first() {
        let root = group_of(&first.library);
        let count = rest.iter().take_while(|entry| group_of(&entry.library) == root).count();
        let (of_root, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        rest = after;
        let top = nodes.len();
        nodes.push(Node { name: shown(root), kind: NodeKind::Group, ..Node::default() });
        let mut ways: Vec<(&[Reach], Vec<&Entry>)> = Vec::new();
        for entry in of_root {
            match ways.iter_mut().find(|(known, _)| *known == entry.reach) {
                Some((_, entries)) => entries.push(entry),
                None => ways.push((&entry.reach, vec![entry])),
            }
        }
        // What ld.so finds comes first.
        ways.sort_by_key(|(reach, _)| reach.is_empty());
        for (reach, entries) in ways {
            let group = nodes.len();
            let (name, rule) = ways_text(reach);
            nodes.push(Node { parent: Some(top), name, rule, kind: NodeKind::Group, ..Node::default() });
            nodes.extend(entries.into_iter().map(|entry| Node { parent: Some(group), ..node(scan, entry) }));
        }
    }
    let says = "Each installation, the rules of ld.so that find its files by name, and the files.";
    Picture { title: "Who finds what".to_owned(), says: says.to_owned(), nodes, ..Picture::default() }
}

/// The rules that find a file, and whose they are.
fn ways_text(reach: &[Reach]) -> (String, String) {
    if reach.is_empty() {
        return ("by path only".to_owned(), "no search path has them".to_owned());
    }
    let mut rules: Vec<String> = reach.iter().map(|reach| reach.rule().to_string()).collect();
    rules.dedup();
    rules.sort();
    rules.dedup();
    let of = reach.iter().filter_map(|reach| match reach {
        Reach::RunPath { of, .. } => Some(name_of(of)),
        _ => None,
    });
    let mut of: Vec<String> = of.collect();
    of.sort();
    of.dedup();
    let more = of.len().saturating_sub(NAMED);
    let named: Vec<String> = of.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let of = if named.is_empty() { String::new() } else { format!("of {}{more}", named.join(", ")) };
    (rules.join(", "), of)
}

fn node(scan: &Scan, entry: &Entry) -> Node {
    let problems = scan.problems.iter().filter(|problem| entry.paths.contains(&problem.path));
    let marks = problems.map(|problem| Mark {
        severity: finding_row(problem.id).map_or(Severity::Warning, |row| row.severity),
        says: problem.says.clone(),
        other: None,
    });
    let path = &entry.library.path;
    Node {
        name: name(entry),
        release: entry.library.version.as_ref().map(|_| release(entry)),
        place: place(Some(group_of(&entry.library)), path.file_name().unwrap_or_default(), path),
        marks: marks.collect(),
        ..Node::default()
    }
}

fn name(entry: &Entry) -> String {
    shown(entry.library.path.file_name().unwrap_or_default().as_ref())
}

fn table(scan: &Scan) -> PageTable {
    let row = |entry: &Entry| {
        let library = &entry.library;
        let rows = entry.problems.iter().filter_map(|id| finding_row(id));
        let worst = rows.map(|row| row.severity).min();
        vec![
            PageCell::text(name(entry)),
            PageCell::text(if library.version.is_some() { release(entry) } else { String::new() }),
            PageCell::text(library.cuda.map(cuda_text).unwrap_or_default()),
            PageCell::text(owner_text(&library.owner)),
            PageCell::number(weight(library.stat.size), library.stat.size),
            PageCell::finding(&entry.problems.join(", "), worst),
            PageCell::text(ways_text(&entry.reach).0),
            PageCell::path(shown(&library.path)),
        ]
    };
    PageTable {
        title: "Libraries".to_owned(),
        columns: vec!["library", "release", "CUDA", "owner", "size", "finding", "found by", "path"],
        rows: scan.entries.iter().map(row).collect(),
    }
}
