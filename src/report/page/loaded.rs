//! A link map as a picture and a table: predicted, of a live process, or of a target in an image.
//!
//! Takes a judgement; gives values of a page. What is wrong stands at the file that shows it, with a link to the other one.

use super::WebPage;
use super::values::{Mark, Node, NodeKind, PageCell, PageTable, Picture, place};
use crate::check::{Finding, JudgedObject, Judgement};
use crate::host::tidy;
use crate::report::check::{check_findings, is_of_system, rule_text, site_of};
use crate::report::findings::shown;
use crate::tables::{Severity, finding_row};
use std::collections::BTreeMap;
use std::path::Path;

/// A judgement as a page; `wrong`: the answer is no.
#[must_use]
pub fn check_page(judgement: &Judgement, next: &[String], wrong: bool) -> WebPage {
    let mut page = WebPage::new(check_findings(judgement, next, wrong));
    if let Some(at) = &judgement.at {
        page = page.fact("in", shown(at));
    }
    if let Some(planned) = &judgement.planned {
        let says = format!(
            "{} mapped as planned, {} from another file, {} not mapped yet",
            planned.mapped.len(),
            planned.elsewhere.len(),
            planned.not_yet.len()
        );
        page = page.fact("plan", says);
    }
    page.picture(loaded_picture(judgement)).table(loaded_table(judgement))
}

/// Who loads what, by which rule.
#[must_use]
pub fn loaded_picture(judgement: &Judgement) -> Picture {
    let base = judgement.at.as_deref().map(site_of);
    let mut nodes: Vec<Node> = judgement.objects.iter().map(|object| node(base.as_deref(), object)).collect();
    // Of two objects with one path, the first was mapped by it.
    let mut places: BTreeMap<&Path, usize> = BTreeMap::new();
    for (at, object) in judgement.objects.iter().enumerate() {
        places.entry(&object.path).or_insert(at);
    }
    let at = |path: Option<&Path>| places.get(path?).copied();
    for finding in &judgement.findings {
        mark(&mut nodes, finding, at(finding.by()), at(finding.path()));
    }
    let is_marked = |by: &Path| judgement.findings.iter().any(|finding| finding.by() == Some(by));
    for missing in judgement.missing.iter().filter(|missing| !is_marked(&missing.needed_by)) {
        let node = missing.node.as_deref().map(|node| format!("@{node}")).unwrap_or_default();
        let says = format!("needs `{}{node}`, which is not defined", missing.symbol.as_deref().unwrap_or_default());
        let severity = if missing.later { Severity::Warning } else { Severity::Fatal };
        let of = at(Some(&missing.needed_by)).and_then(|at| nodes.get_mut(at));
        if let Some(node) = of {
            node.marks.push(Mark { severity, says, other: at(missing.provider.as_deref()) });
        }
    }
    for absent in &judgement.not_found {
        let later = if absent.later { "opened later, " } else { "" };
        let optional = if absent.optional { ", optional" } else { "" };
        let rule = match &absent.damaged {
            Some(_) => format!("{later}cannot be loaded: {}", absent.says),
            None => format!("{later}not found{optional}"),
        };
        nodes.push(Node {
            parent: at(absent.needed_by.as_deref()),
            name: shown(Path::new(&absent.name)),
            rule,
            place: absent.damaged.as_deref().map(|path| place(base.as_deref(), &absent.name, path)).unwrap_or_default(),
            kind: if absent.optional { NodeKind::Optional } else { NodeKind::Absent },
            ..Node::default()
        });
    }
    let base = base.filter(|base| judgement.objects.iter().any(|object| tidy(&object.path).starts_with(base)));
    Picture {
        title: format!("What {} loads", judgement.of),
        base: base.as_deref().map(shown).unwrap_or_default(),
        nodes,
        ..Picture::default()
    }
}

/// Marks the file that a finding is about, and the other one with what it is to the first.
fn mark(nodes: &mut [Node], finding: &Finding, by: Option<usize>, path: Option<usize>) {
    let severity = finding.severity;
    let (Some(main), other) = (by.or(path), by.and(path)) else { return };
    if let Some(node) = nodes.get_mut(main) {
        node.marks.push(Mark { severity, says: finding.says(), other });
    }
    let title = finding_row(finding.id).map_or(finding.id, |row| row.title);
    let mark = Mark { severity, says: title.to_owned(), other: Some(main) };
    if let Some(node) = other.and_then(|other| nodes.get_mut(other)).filter(|node| !node.marks.contains(&mark)) {
        node.marks.push(mark);
    }
}

fn node(base: Option<&Path>, object: &JudgedObject) -> Node {
    Node {
        parent: object.needed_by,
        name: shown(Path::new(&object.name)),
        release: object.version.as_ref().map(ToString::to_string),
        rule: rule_text(object),
        place: place(base, &object.name, &object.path),
        kind: if is_of_system(object) { NodeKind::System } else { NodeKind::File },
        marks: Vec::new(),
    }
}

/// The files of a link map.
#[must_use]
pub fn loaded_table(judgement: &Judgement) -> PageTable {
    let mut worst: BTreeMap<&Path, (Severity, &'static str)> = BTreeMap::new();
    for finding in &judgement.findings {
        for path in finding.path().into_iter().chain(finding.by()) {
            let known = worst.entry(path).or_insert((finding.severity, finding.id));
            *known = (*known).min((finding.severity, finding.id));
        }
    }
    let row = |object: &JudgedObject| {
        let by = object.needed_by.and_then(|by| judgement.objects.get(by));
        let found = worst.get(&*object.path);
        vec![
            PageCell::text(shown(Path::new(&object.name))),
            PageCell::text(object.version.as_ref().map(ToString::to_string).unwrap_or_default()),
            PageCell::text(rule_text(object)),
            PageCell::text(by.map(|by| shown(Path::new(&by.name))).unwrap_or_default()),
            PageCell::finding(found.map(|(_, id)| *id).unwrap_or_default(), found.map(|(severity, _)| *severity)),
            PageCell::path(shown(&tidy(&object.path))),
        ]
    };
    PageTable {
        title: format!("Files of {}", judgement.of),
        columns: vec!["library", "release", "found by", "loaded by", "finding", "path"],
        rows: judgement.objects.iter().map(row).collect(),
    }
}
