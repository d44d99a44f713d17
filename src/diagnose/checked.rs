//! Turns the findings of `check` into findings of the report, with evidence and candidate remedies.
//!
//! Takes the judgements of the loaded libraries; gives the findings of one group. Judges nothing itself.

use super::judged::{Judged, TargetKind};
use super::{Case, Finding, Remedy, mend};
use crate::check::{self, Cause, Verdict};
use crate::host::{FileId, tidy};
use crate::loader::Rule;
use crate::plan::PlanLibrary;
use crate::tables::{Group, Phase, Severity, finding_row, parse_library_name};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// Symbols named in the evidence.
const SYMBOLS: usize = 3;

/// The findings of `check` in this group, one of each kind: torch's own come first.
pub(super) fn findings(case: &Case<'_>, group: Group) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut judged_before: BTreeSet<FileId> = BTreeSet::new();
    for judged in case.judged {
        // Other rules cover conflicts between extensions and torch.
        if judged.kind == TargetKind::Extensions && group != Group::Libraries {
            continue;
        }
        let mut new: BTreeSet<&str> = BTreeSet::new();
        for seen in judged.in_order().into_iter().filter(|seen| !is_of_others(seen)) {
            // Packages in one environment may each bring their own CUDA major; the rules about packages know which
            // libraries are optional.
            let apart = match judged.kind {
                TargetKind::Environment => matches!(seen.id, "two-cuda-majors" | "optional-lib-missing"),
                TargetKind::Extensions => matches!(seen.id, "library-not-found" | "optional-lib-missing"),
                _ => false,
            };
            if apart {
                continue;
            }
            let consumer = seen.by().and_then(|by| judged.judgement.objects.iter().find(|object| object.path == *by));
            // An object that torch maps was judged with torch; its own extension is not imported without it.
            if consumer.is_some_and(|consumer| judged_before.contains(&consumer.id)) {
                continue;
            }
            let of = subjects(seen);
            new.extend(&of);
            // A defect of torch affects the extensions beside it, and is reported once.
            let is_known = !of.is_empty() && of.is_subset(&known);
            if is_known
                || finding_row(seen.id).is_none_or(|row| row.group != group)
                || found.iter().any(|it| it.id == seen.id)
            {
                continue;
            }
            found.extend(of_check(case, judged, seen));
        }
        known.extend(new);
        judged_before.extend(judged.judgement.objects.iter().map(|object| object.id));
    }
    found
}

/// Whether no missing library is one of CUDA: those of the driver have their own group.
fn is_of_others(seen: &check::Finding) -> bool {
    !seen.absent().is_empty() && !seen.absent().iter().any(|name| is_ours(name))
}

/// Whether a name is that of an NVIDIA library outside the driver.
fn is_ours(name: &str) -> bool {
    match parse_library_name(name) {
        Some(name) => !name.row.is_driver(),
        None => name.starts_with("libcu") || name.starts_with("libnv"),
    }
}

/// What the finding is about: groups, else stems.
fn subjects(seen: &check::Finding) -> BTreeSet<&'static str> {
    let row = |name: &OsStr| parse_library_name(name).map(|name| name.row.group.unwrap_or(name.row.stem));
    let absent = seen.absent().iter().filter_map(|name| row(name.as_ref()));
    absent.chain(seen.path().and_then(|path| row(path.file_name()?))).collect()
}

/// The report's finding for one of `check`, with ld.so's own words if known, and candidate remedies.
pub(super) fn of_check(case: &Case<'_>, judged: &Judged, seen: &check::Finding) -> Option<Finding> {
    let found = case.finding(seen.id)?.because(seen.says()).severity(seen.severity).phase(seen.phase);
    let mut found = evidence(case, judged, seen, found);
    let refused = matches!(seen.cause, Cause::NotFound { .. } | Cause::Refused { .. } | Cause::Undefined { .. });
    if refused && seen.phase == Phase::Import && judged.judgement.verdict == Verdict::Fails {
        found = found.severity(Severity::Fatal);
    }
    let advice = found.remedies.clone();
    let mut remedies: Vec<Remedy> = case.run().into_iter().chain(mend::remedies(case, judged, seen)).collect();
    if remedies.iter().all(|remedy| Some(remedy) == case.run().as_ref()) || seen.id == "mkl-ijit" {
        remedies.extend(advice);
    }
    found.of_target = matches!(judged.kind, TargetKind::Torch | TargetKind::Target);
    Some(found.healed_by(remedies))
}

fn evidence(case: &Case<'_>, judged: &Judged, seen: &check::Finding, mut found: Finding) -> Finding {
    for file in seen.files() {
        let version = file.version.as_ref().map(|version| format!("{version}, ")).unwrap_or_default();
        let rule = file.rule.map_or_else(|| "found, but not used".to_owned(), by_rule);
        found = found.seen_at("file", &tidy(&file.path), format!("{version}{rule}"));
    }
    if let Some(by) = seen.by().filter(|by| seen.files().all(|file| file.path != *by)) {
        let object = judged.judgement.objects.iter().find(|object| object.path == *by);
        let version = object.and_then(|object| object.version.as_ref()).map(|version| format!("{version}, "));
        let rule = object.map_or_else(|| "needs it".to_owned(), |object| by_rule(object.rule));
        found = found.seen_at("file", &tidy(by), format!("{}{rule}", version.unwrap_or_default()));
    }
    if let Some(choice) = seen.path().and_then(|path| chosen(case, judged, path)) {
        let version = choice.version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
        found = found.seen_at("file", &choice.path, format!("the copy of the chosen set{version}"));
    }
    match &seen.cause {
        Cause::NotFound { names, installed, .. } => {
            for path in installed {
                found = found.seen_at("file", &tidy(path), "is not in any search path");
            }
            let here = |name: &str| installed.iter().any(|path| path.file_name() == Some(OsStr::new(name)));
            for name in names.iter().filter(|name| is_ours(name) && !here(name)) {
                found = found.seen("rule", format!("`{name}` is not in any search path, and not in the environment"));
            }
        }
        Cause::Older { .. } => {
            found = found.seen("rule", "torch accepts the major it was built with, and no older minor release");
        }
        Cause::Undefined { symbols, .. } => {
            let named: Vec<&str> = symbols.iter().take(SYMBOLS).map(String::as_str).collect();
            let more = symbols.len().saturating_sub(SYMBOLS);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            found = found.seen("symbol", format!("{}{more}", named.join(", ")));
        }
        _ => {}
    }
    let refused = matches!(seen.cause, Cause::NotFound { .. } | Cause::Undefined { .. } | Cause::Refused { .. });
    match &judged.judgement.error {
        Some(error) if seen.phase == Phase::Import && refused => found.seen("message", error.clone()),
        _ => found,
    }
}

fn by_rule(rule: Rule) -> String {
    if rule == Rule::Path { "opened by its path".to_owned() } else { format!("found by {rule}") }
}

/// The copy in the set that replaces a file.
fn chosen<'c>(case: &'c Case<'_>, judged: &Judged, path: &Path) -> Option<&'c PlanLibrary> {
    let id = |path: &Path| case.host.stat(path).ok().map(|stat| stat.id);
    let object = judged.judgement.objects.iter().find(|object| object.path == path);
    let soname = object.map_or(path.file_name()?, |object| object.name.as_os_str()).to_str()?;
    case.plan()?.lookup(soname).filter(|choice| id(&choice.path) != id(path))
}
