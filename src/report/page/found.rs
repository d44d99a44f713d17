//! Findings on a page: what is wrong, why, what proves it, what to type.
//!
//! Takes a list of findings; writes one article for each kind, with its cases. Of many cases, most are folded.

use super::markup::Markup;
use super::{section, worst_class};
use crate::report::findings::{FindingLine, FindingList, shown};

/// Cases of one kind that are not folded.
const CASES: usize = 4;

/// Writes the findings, in their order.
pub(super) fn write(markup: &mut Markup, list: &FindingList) {
    if list.findings.is_empty() {
        return;
    }
    section(markup, "findings", "Findings", |markup| {
        let mut kinds: Vec<Vec<&FindingLine>> = Vec::new();
        for finding in &list.findings {
            let alike = |kind: &&mut Vec<&FindingLine>| {
                kind.first().is_some_and(|first| first.id == finding.id && first.severity == finding.severity)
            };
            match kinds.iter_mut().find(alike) {
                Some(kind) => kind.push(finding),
                None => kinds.push(vec![finding]),
            }
        }
        for kind in &kinds {
            write_kind(markup, kind);
        }
    });
}

fn write_kind(markup: &mut Markup, cases: &[&FindingLine]) {
    let Some(first) = cases.first() else { return };
    let row = first.row();
    markup.classed("article", worst_class([first.severity]), |markup| {
        markup.element("h3", &[], |markup| {
            markup.labelled("span", &format!("pill {}", worst_class([first.severity])), &first.severity.to_string());
            markup.text(" ");
            markup.sentence(row.map_or(&*first.id, |row| row.title));
        });
        // What heals all of them stands once.
        let is_shared = cases.iter().all(|case| case.remedies == first.remedies);
        let (shown, folded) = cases.split_at_checked(CASES).unwrap_or((cases, &[]));
        for case in shown {
            write_case(markup, case, !is_shared);
        }
        if !folded.is_empty() {
            let head = |markup: &mut Markup| markup.text(&format!("{} more", folded.len()));
            markup.details(false, head, |markup| {
                for case in folded {
                    write_case(markup, case, !is_shared);
                }
            });
        }
        if is_shared {
            write_remedies(markup, first);
        }
        markup.classed("p", "source", |markup| {
            markup.labelled("span", "id", &first.id);
            if let Some(row) = row {
                markup.text(" ");
                markup.link_out(row.source);
            }
        });
    });
}

fn write_case(markup: &mut Markup, case: &FindingLine, with_remedies: bool) {
    markup.classed("div", "case", |markup| {
        if case.row().is_none_or(|row| row.title != case.says) {
            markup.classed("p", "says", |markup| markup.sentence(&case.says));
        }
        let file = case.path.as_deref().filter(|_| case.evidence.is_empty());
        let file = file.map(|path| ("file".to_owned(), shown(path)));
        let evidence = case.evidence.iter().map(|clause| match clause.split_once(": ") {
            Some((kind, says)) if is_kind(kind) => (kind.to_owned(), says.to_owned()),
            _ => (String::new(), clause.clone()),
        });
        let evidence: Vec<(String, String)> = file.into_iter().chain(evidence).collect();
        if !evidence.is_empty() {
            markup.classed("dl", "evidence", |markup| {
                for (kind, says) in &evidence {
                    markup.element("div", &[], |markup| {
                        markup.element("dt", &[], |markup| markup.text(kind));
                        markup.element("dd", &[], |markup| match &**kind {
                            "file" => markup.path(says),
                            _ => markup.sentence(says),
                        });
                    });
                }
            });
        }
        if with_remedies {
            write_remedies(markup, case);
        }
    });
}

/// Whether the beginning of a clause is the kind of what was seen: `file`, `needed by`.
fn is_kind(word: &str) -> bool {
    word.len() <= 12 && word.chars().all(|c| c.is_ascii_lowercase() || c == ' ')
}

fn write_remedies(markup: &mut Markup, case: &FindingLine) {
    for (at, remedy) in case.remedies.iter().enumerate() {
        let word = if at == 0 { "do" } else { "or" };
        markup.classed("div", "remedy", |markup| {
            markup.labelled("span", "word", word);
            match remedy.strip_prefix("$ ") {
                Some(line) => markup.element("pre", &[], |markup| {
                    markup.element("code", &[], |markup| markup.text(line));
                }),
                None => markup.element("p", &[], |markup| markup.sentence(remedy)),
            }
        });
    }
}
