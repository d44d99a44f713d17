//! What a traced command loaded, as a page: a branch for each process, and a table of the files.
//!
//! Takes the report of `trace`; gives a page.

use super::WebPage;
use super::values::{Mark, Node, NodeKind, PageCell, PageTable, Picture, place};
use crate::check::name_of;
use crate::host::tidy;
use crate::report::findings::shown;
use crate::report::human::root_of;
use crate::report::json::JsonPath;
use crate::report::trace::{TraceReport, TracedObject, TracedProcess, TracedSymbol, call_text, rule_text};
use crate::tables::{Severity, finding_row};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl TraceReport {
    /// The report as a page.
    #[must_use]
    pub fn page(&self) -> WebPage {
        let failed = format!("{} missing files were tried", self.failed_opens);
        WebPage::new(self.listed()).fact("searches", failed).picture(self.picture()).table(self.table())
    }

    fn picture(&self) -> Picture {
        let base = self.base();
        let mut nodes = Vec::new();
        for (number, process) in self.processes.iter().enumerate() {
            self.process(&mut nodes, number, process, base.as_deref());
        }
        let base = self.base().map(|base| shown(&base)).unwrap_or_default();
        Picture { title: "Who loads what".to_owned(), base, nodes, ..Picture::default() }
    }

    /// The installation that most of the libraries are of.
    fn base(&self) -> Option<PathBuf> {
        let mut roots: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for object in &self.objects {
            *roots.entry(root_of(&tidy(&object.path.to_path()))).or_default() += 1;
        }
        roots.into_iter().max_by(|(one, many), (other, more)| many.cmp(more).then(other.cmp(one))).map(|(root, _)| root)
    }

    /// A process, below it the files that load CUDA libraries and these.
    fn process(&self, nodes: &mut Vec<Node>, number: usize, process: &TracedProcess, base: Option<&Path>) {
        let top = nodes.len();
        let forked = if process.forked { format!(", forked by {}", process.parent) } else { String::new() };
        let findings = self.findings.iter().filter(|finding| self.last_of(finding.pid) == Some(number));
        let marks = findings.map(|finding| Mark {
            severity: finding_row(finding.id).map_or(Severity::Warning, |row| row.severity),
            says: finding.says.clone(),
            other: None,
        });
        nodes.push(Node {
            name: format!("{} {}", process.pid, process.command),
            rule: forked.trim_start_matches(", ").to_owned(),
            place: shown(&process.program.to_path()),
            kind: NodeKind::Group,
            marks: marks.collect(),
            ..Node::default()
        });
        let mut places: BTreeMap<PathBuf, usize> = BTreeMap::from([(process.program.to_path(), top)]);
        let mut parent = |nodes: &mut Vec<Node>, by: Option<&JsonPath>| {
            let Some(by) = by.map(JsonPath::to_path) else { return top };
            *places.entry(by.clone()).or_insert_with(|| {
                nodes.push(Node {
                    parent: Some(top),
                    name: name_of(&by),
                    place: place(base, by.file_name().unwrap_or_default(), &by),
                    ..Node::default()
                });
                nodes.len() - 1
            })
        };
        for object in self.objects.iter().filter(|object| object.process == number) {
            let above = parent(nodes, object.needed_by.as_ref());
            let at = parent(nodes, Some(&object.path));
            // A file that loads itself by another name stays where it is.
            if let Some(node) = nodes.get_mut(at).filter(|_| above < at) {
                *node = Node { parent: Some(above), ..traced(object, base) };
            }
        }
        for absent in self.not_found.iter().filter(|name| name.process == number) {
            let above = parent(nodes, Some(&absent.needed_by));
            nodes.push(Node {
                parent: Some(above),
                name: absent.name.clone(),
                rule: absent.because.clone(),
                kind: NodeKind::Absent,
                ..Node::default()
            });
        }
        let at = |path: &JsonPath| places.get(&path.to_path()).copied();
        let mut seen = Vec::new();
        for missing in &self.missing {
            // Of the symbols that one file lacks for another, the first stands for all.
            if seen.contains(&(&missing.wanted_by, &missing.provider)) {
                continue;
            }
            seen.push((&missing.wanted_by, &missing.provider));
            let alike =
                |other: &&TracedSymbol| (&other.wanted_by, &other.provider) == (&missing.wanted_by, &missing.provider);
            let count = self.missing.iter().filter(alike).count();
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let version = missing.node.as_deref().map(|node| format!("@{node}")).unwrap_or_default();
            let symbol = missing.symbol.as_deref().unwrap_or_default();
            let says = format!("needs `{symbol}{version}`{more}, which is not defined");
            if let Some(node) = at(&missing.wanted_by).and_then(|at| nodes.get_mut(at)) {
                let other = missing.provider.as_ref().and_then(at);
                node.marks.push(Mark { severity: Severity::Fatal, says, other });
            }
        }
    }

    fn table(&self) -> PageTable {
        let row = |object: &TracedObject| {
            let by = object.needed_by.as_ref().map(|by| name_of(&by.to_path())).unwrap_or_default();
            let call = object.call.map(|call| format!("{} {by}", call_text(call))).unwrap_or_default();
            vec![
                PageCell::text(name_of(object.name.as_ref())),
                PageCell::text(object.version.clone().unwrap_or_default()),
                PageCell::text(rule_text(object.rule)),
                PageCell::text(call),
                PageCell::number(object.pid.to_string(), object.pid.into()),
                PageCell::number(object.tried_count.to_string(), u64::try_from(object.tried_count).unwrap_or(u64::MAX)),
                PageCell::path(shown(&tidy(&object.path.to_path()))),
            ]
        };
        PageTable {
            title: "CUDA libraries".to_owned(),
            columns: vec!["library", "release", "found by", "loaded by", "process", "tried in vain", "path"],
            rows: self.objects.iter().map(row).collect(),
        }
    }
}

fn traced(object: &TracedObject, base: Option<&Path>) -> Node {
    let call = object.call.map(|call| match call_text(call) {
        "opened by" => "opened, ",
        "preloaded into" => "preloaded, ",
        _ => "",
    });
    let name = name_of(object.name.as_ref());
    let gone = if object.mapped { "" } else { ", unmapped later" };
    Node {
        name: name.clone(),
        release: object.version.clone(),
        rule: format!("{}{}{gone}", call.unwrap_or_default(), rule_text(object.rule)),
        place: place(base, name.as_ref(), &object.path.to_path()),
        ..Node::default()
    }
}
