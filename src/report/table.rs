//! A scan as a table for people: by installation and owner, problems last.

use super::layout::{Page, Width, count};
use super::scan::{cuda_text, owner_text};
use crate::inventory::places::Provenance;
use crate::inventory::scan::{Entry, Scan, group_of};
use crate::inventory::{Confidence, EvidenceKind, Owner, OwnerKind, Problem, Reach, Verified};
use crate::tables::{finding_row, parse_library_name};
use std::collections::BTreeMap;
use std::path::Path;

/// The scan as a table: one line a file. `all` shows every path of a file, too.
#[must_use]
pub fn scan_text(scan: &Scan, all: bool, width: Width) -> String {
    let mut page = Page::new(width);
    let mut roots: BTreeMap<&Path, Vec<(String, Vec<&Entry>)>> = BTreeMap::new();
    for entry in &scan.entries {
        let owners = roots.entry(group_of(&entry.library)).or_default();
        let owner = heading(&entry.library.owner);
        match owners.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, entries)) => entries.push(entry),
            None => owners.push((owner, vec![entry])),
        }
    }
    let columns = Columns::of(&scan.entries, page.columns());
    if !scan.entries.is_empty() {
        columns.row(&mut page, ["library", "release", "CUDA", "found by"], "");
    }
    for (root, owners) in &roots {
        page.path("", root);
        for (owner, entries) in owners {
            page.words("  ", 4, owner);
            for entry in entries {
                let cuda = entry.library.cuda.map_or("-".to_owned(), cuda_text);
                columns.row(&mut page, [&name(entry), &release(entry), &cuda, &found(entry)], &notes(entry));
                for path in entry.paths.iter().filter(|path| all && **path != entry.library.path) {
                    page.path("      also ", path);
                }
                let answers = entry.library.evidence.iter().filter(|one| all && one.kind == EvidenceKind::Probe);
                for answer in answers {
                    page.words("      ", 8, &answer.says);
                }
            }
        }
        page.blank();
    }
    summary(&mut page, scan, roots.len());
    problems(&mut page, &scan.problems);
    page.finish()
}

/// The widths of the table's columns.
struct Columns {
    name: usize,
    release: usize,
    found: usize,
}

impl Columns {
    /// The width of the widest cell, limited to leave room for the notes.
    fn of(entries: &[Entry], page: usize) -> Self {
        let part = |hundredths: usize| (page.min(100) * hundredths) / 100;
        let widest = |cell: fn(&Entry) -> String, limit| {
            entries.iter().map(|entry| count(&cell(entry))).max().unwrap_or(0).min(limit)
        };
        Self {
            name: widest(name, part(38)),
            release: widest(release, part(18)).max(7),
            found: widest(found, part(15)).max(8),
        }
    }

    fn row(&self, page: &mut Page, [name, release, cuda, found]: [&str; 4], notes: &str) {
        page.row(4, &[(name, self.name), (release, self.release), (cuda, 4), (found, self.found)], notes);
    }
}

fn name(entry: &Entry) -> String {
    entry.library.path.file_name().unwrap_or_default().display().to_string()
}

/// The release, with its confidence if it is not certain.
pub(super) fn release(entry: &Entry) -> String {
    let Some(version) = &entry.library.version else { return "?".to_owned() };
    match entry.library.confidence {
        Confidence::Certain => version.to_string(),
        Confidence::Likely => format!("{version} (likely)"),
        Confidence::Unsure => format!("{version} (unsure)"),
    }
}

/// The first rule that finds a file.
fn found(entry: &Entry) -> String {
    let way = entry.reach.first().map(|reach| match reach {
        Reach::LibraryPath { .. } => "LD_LIBRARY_PATH",
        Reach::RunPath { .. } => "run path",
        Reach::Cache => "cache",
        _ => "default",
    });
    way.unwrap_or("-").to_owned()
}

/// Remarks and problems of a file.
fn notes(entry: &Entry) -> String {
    let library = &entry.library;
    let mut notes: Vec<String> = Vec::new();
    if library.is_stub() {
        notes.push("link-time stub".to_owned());
    } else if library.renamed.is_some() {
        notes.push("vendored copy".to_owned());
    }
    // A wheel of NVIDIA's finds its neighbours; worth a remark is who else does.
    let framework = entry.reach.iter().find_map(|reach| match reach {
        Reach::RunPath { of, .. } if of.file_name().is_some_and(|name| parse_library_name(name).is_none()) => Some(of),
        _ => None,
    });
    if let Some(name) = framework.and_then(|of| of.file_name()) {
        notes.push(format!("by {}", name.display()));
    }
    match entry.digest.as_ref().map(|digest| &digest.verified) {
        Some(Verified::Intact) => notes.push("intact".to_owned()),
        Some(Verified::Unknown) => notes.push("no digest recorded".to_owned()),
        _ => {}
    }
    notes.extend((library.place.provenance == Provenance::Process).then(|| "mapped by a running process".to_owned()));
    notes.extend(entry.problems.iter().map(|id| (*id).to_owned()));
    notes.extend((entry.paths.len() > 1).then(|| format!("{} names", entry.paths.len())));
    notes.join(", ")
}

fn heading(owner: &Owner) -> String {
    match owner.kind() {
        OwnerKind::None => "owner unknown".to_owned(),
        OwnerKind::Wheel | OwnerKind::Dpkg => format!("{} ({})", owner_text(owner), owner.kind()),
        OwnerKind::Conda if owner.name().is_some() => format!("{} (conda)", owner_text(owner)),
        _ => owner_text(owner),
    }
}

fn summary(page: &mut Page, scan: &Scan, places: usize) {
    let libraries = match scan.entries.len() {
        0 => return page.words("", 0, "no library of NVIDIA's found; `cudashim scan DIR` searches a directory and all below it, `scan --deep` the whole disk"),
        1 => "1 library".to_owned(),
        count => format!("{count} libraries"),
    };
    let places = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
    page.words("", 0, &format!("{libraries} in {places}; run `cudashim inspect FILE` for details"));
    let unreached = scan.entries.iter().filter(|entry| entry.reach.is_empty()).count();
    if unreached > 0 {
        let (is, it) = if unreached == 1 { ("is", "it") } else { ("are", "them") };
        let text =
            format!("{unreached} with `-` {is} not found by name: only a program that knows the path loads {it}");
        page.words("", 0, &text);
    }
}

/// The problems by id: meaning, files, advice.
fn problems(page: &mut Page, problems: &[Problem]) {
    let mut by_id: BTreeMap<&str, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        by_id.entry(problem.id).or_default().push(problem);
    }
    if by_id.is_empty() {
        return;
    }
    page.blank();
    page.words("", 0, &format!("{} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" }));
    for (id, found) in by_id {
        let meaning = finding_row(id).map_or("", |row| row.title);
        page.blank();
        page.words(&format!("{id}: "), 2, meaning);
        // Files with the same problem text share one line for it.
        for alike in found.chunk_by(|one, other| one.says == other.says) {
            for problem in alike {
                page.path("  ", &problem.path);
            }
            if let Some(problem) = alike.first() {
                page.words("    ", 4, &problem.says);
            }
        }
        if let Some(advice) = finding_row(id).and_then(|row| row.advice) {
            page.words("  what to do: ", 4, advice);
        }
    }
}
