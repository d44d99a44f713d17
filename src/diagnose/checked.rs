//! What `check` found, as findings: with their evidence, and what may heal them.
//!
//! Takes the judgements of what is loaded; gives findings of one group. Judges nothing itself.

use super::judged::{Judged, Whom};
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

/// What `check` found of this group, each kind once: what torch itself meets comes first.
pub(super) fn findings(case: &Case<'_>, group: Group) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut judged_before: BTreeSet<FileId> = BTreeSet::new();
    for judged in case.judged {
        // Extensions have rules of their own for what is wrong between them and torch.
        if judged.whom == Whom::Extensions && group != Group::Libraries {
            continue;
        }
        let mut new: BTreeSet<&str> = BTreeSet::new();
        for seen in judged.in_order().into_iter().filter(|seen| !is_of_others(seen)) {
            // Packages of one environment may each bring the CUDA major that they are built for, and those that do
            // without a library are told apart by the rules about packages.
            let apart = match judged.whom {
                Whom::Environment => matches!(seen.id, "two-cuda-majors" | "optional-lib-missing"),
                Whom::Extensions => matches!(seen.id, "library-not-found" | "optional-lib-missing"),
                _ => false,
            };
            if apart {
                continue;
            }
            let asker = seen.by().and_then(|by| judged.judgement.objects.iter().find(|object| object.path == *by));
            // What torch maps is judged as torch maps it; an extension of its own is not imported without it.
            if asker.is_some_and(|asker| judged_before.contains(&asker.id)) {
                continue;
            }
            let of = subjects(seen);
            new.extend(&of);
            // What hurts torch hurts the extensions beside it, and is said once.
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

/// Whether no library of CUDA is among what is not found: those of the driver have a group of their own.
fn is_of_others(seen: &check::Finding) -> bool {
    !seen.absent().is_empty() && !seen.absent().iter().any(|name| is_ours(name))
}

/// Whether a name is of NVIDIA's libraries, less those of the driver.
fn is_ours(name: &str) -> bool {
    match parse_library_name(name) {
        Some(name) => !name.row.is_driver(),
        None => name.starts_with("libcu") || name.starts_with("libnv"),
    }
}

/// The libraries it is about: groups, else stems.
fn subjects(seen: &check::Finding) -> BTreeSet<&'static str> {
    let row = |name: &OsStr| parse_library_name(name).map(|name| name.row.group.unwrap_or(name.row.stem));
    let absent = seen.absent().iter().filter_map(|name| row(name.as_ref()));
    absent.chain(seen.path().and_then(|path| row(path.file_name()?))).collect()
}

/// One finding of `check`, with ld.so's own words where these are known, and what may heal it.
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
    found.of_target = matches!(judged.whom, Whom::Torch | Whom::Target);
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

/// What the set has in place of a file.
fn chosen<'c>(case: &'c Case<'_>, judged: &Judged, path: &Path) -> Option<&'c PlanLibrary> {
    let id = |path: &Path| case.host.stat(path).ok().map(|stat| stat.id);
    let object = judged.judgement.objects.iter().find(|object| object.path == path);
    let soname = object.map_or(path.file_name()?, |object| object.name.as_os_str()).to_str()?;
    case.plan()?.lookup(soname).filter(|choice| id(&choice.path) != id(path))
}
