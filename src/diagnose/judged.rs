//! What the environment would load: as the machine is, and with the chosen set.
//!
//! Takes the environment and what `resolve` answered; gives the judgements of `check`. It is how a rule knows that a
//! `cudashim run` line heals: the finding is there without the set, and gone with it. Judges nothing itself.

mod words;

pub(crate) use words::{name_of, on_library_path};

use super::{Case, Finding, Remedy, mend};
use crate::check::{self, Depth, Judgement, Subject, Verdict, When, predict};
use crate::consumer::TorchBuild;
use crate::facts::{Group, RemedyRow, Severity, finding_row, parse_library_name};
use crate::host::FileId;
use crate::loader::Loader;
use crate::plan::Plan;
use crate::python::Interpreter;
use crate::request::{Answer, RequestError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// `import torch`.
    Torch,
    /// The extensions of torch, each as if imported after it.
    Extensions,
    /// All else in the environment that needs a library of NVIDIA's: packages that need not share a process.
    Environment,
    /// What a rule asks for by itself.
    Other,
}

/// One thing that is loaded, judged twice.
#[derive(Debug)]
pub(crate) struct Judged {
    /// What it is.
    pub(crate) whom: Whom,
    /// The files in question, where these are judged one by one.
    pub(crate) files: Vec<PathBuf>,
    /// As the machine is.
    pub(crate) bare: Judgement,
    /// With the set that `resolve` chose; absent where there is none, or where nothing is wrong without.
    pub(crate) with_set: Option<Judgement>,
}

impl Judged {
    /// `import torch`, then everything else of the environment that needs a library of NVIDIA's.
    pub(super) fn all(
        loader: &Loader,
        interpreter: Option<&Interpreter>,
        torch: Option<&TorchBuild>,
        answer: &Result<Answer, RequestError>,
    ) -> Vec<Self> {
        let Some(interpreter) = interpreter else { return Vec::new() };
        let plan = answer.as_ref().ok().and_then(|answer| answer.resolution.as_ref()).map(|chosen| &chosen.plan);
        let objects = loader.objects();
        let torch = torch.filter(|torch| torch.cuda.is_some());
        let extensions = torch.map(|torch| Subject::extensions(objects, torch, interpreter, is_variant));
        let extends =
            |path: &Path| extensions.iter().any(|subject| subject.files_in_question().iter().any(|file| file == path));
        let environment = Subject::environment(objects, interpreter).without(|path| is_variant(path) || extends(path));
        let torch = torch.map(|torch| Subject::torch(torch.clone(), interpreter));
        let subjects = [
            torch.map(|subject| (Whom::Torch, subject)),
            Some((Whom::Environment, environment)),
            extensions.clone().map(|subject| (Whom::Extensions, subject)),
        ];
        let subjects = subjects.into_iter().flatten().filter(|(_, subject)| !subject.is_empty());
        subjects.map(|(whom, subject)| Self { whom, ..Self::of(loader, &subject, plan) }).collect()
    }

    /// One thing that is loaded, judged with the plan as well where something is wrong without.
    pub(super) fn of(loader: &Loader, subject: &Subject, plan: Option<&Plan>) -> Self {
        let bare = predict(loader, subject, Depth::Symbols, None);
        let well = bare.verdict == Verdict::Loads && bare.findings.is_empty();
        let with_set = plan.filter(|_| !well).map(|plan| predict(loader, subject, Depth::Symbols, Some(plan)));
        Self { whom: Whom::Other, files: subject.files_in_question().to_vec(), bare, with_set }
    }

    /// The same, with the plan in any case.
    pub(super) fn both(loader: &Loader, subject: &Subject, plan: Option<&Plan>) -> Self {
        let bare = predict(loader, subject, Depth::Symbols, None);
        let with_set = plan.map(|plan| predict(loader, subject, Depth::Symbols, Some(plan)));
        Self { whom: Whom::Other, files: subject.files_in_question().to_vec(), bare, with_set }
    }

    /// Whether what has this id is there without the set, and gone with it.
    pub(crate) fn heals(&self, id: &str) -> bool {
        let has = |judgement: &Judgement| judgement.findings.iter().any(|finding| finding.id == id);
        has(&self.bare) && self.with_set.as_ref().is_some_and(|healed| !has(healed))
    }

    /// What `check` found, first causes first: what ends the load, what meets and should not, what is missed later.
    fn in_order(&self) -> Vec<&check::Finding> {
        let mut seen: Vec<&check::Finding> = self.bare.findings.iter().collect();
        seen.sort_by_key(|seen| seen.when);
        seen
    }
}

/// What `check` found of this group, each kind once: what torch itself meets comes first.
pub(super) fn findings(case: &Case<'_>, group: Group) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut judged_before: BTreeSet<FileId> = BTreeSet::new();
    for judged in case.judged {
        // Extensions have rules of their own for what is wrong between them and torch.
        if judged.whom == Whom::Extensions && group != Group::Libraries {
            continue;
        }
        let mut new: BTreeSet<&str> = BTreeSet::new();
        for seen in judged.in_order().into_iter().filter(|seen| !is_of_others(seen) && !is_set_aside(case, seen)) {
            let id = id_of(seen);
            // Packages of one environment may each bring the CUDA major that they are built for, and those that do
            // without a library are told apart by the rules about packages.
            let apart = match judged.whom {
                Whom::Environment => matches!(seen.id, "two-cuda-majors" | "optional-lib-missing"),
                Whom::Extensions => id == "optional-lib-missing",
                _ => false,
            };
            if apart {
                continue;
            }
            let asker = seen.by.as_ref().and_then(|by| judged.bare.objects.iter().find(|object| object.path == *by));
            // What torch maps is judged as torch maps it; an extension of its own is not imported without it.
            if asker.is_some_and(|asker| judged_before.contains(&asker.id)) {
                continue;
            }
            let of = subjects(seen);
            new.extend(&of);
            // What hurts torch hurts the extensions beside it, and is told once.
            let known = !of.is_empty() && of.is_subset(&told);
            if known || finding_row(id).is_none_or(|row| row.group != group) || found.iter().any(|it| it.id == id) {
                continue;
            }
            found.extend(of_check(case, judged, seen, id));
        }
        told.extend(new);
        judged_before.extend(judged.bare.objects.iter().map(|object| object.id));
    }
    found
}

/// What was found absent and was not told, because no GPU is here to be used; empty where there is nothing.
pub(super) fn set_aside(case: &Case<'_>) -> String {
    let seen = case.judged.iter().flat_map(|judged| &judged.bare.findings).filter(|seen| is_set_aside(case, seen));
    let names: BTreeSet<&str> =
        seen.flat_map(|seen| &seen.wants).map(String::as_str).filter(|name| words::is_ours(name)).collect();
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// On a machine without a driver and a GPU, nothing is felt that is only felt once a GPU is used.
fn is_set_aside(case: &Case<'_>, seen: &check::Finding) -> bool {
    !case.uses_gpu() && seen.when == When::Gpu
}

/// Whether no library of CUDA is among what is missed: the driver's are told of once, by their own group.
fn is_of_others(seen: &check::Finding) -> bool {
    seen.is_absence() && !seen.wants.iter().any(|name| words::is_ours(name))
}

/// The libraries it is about: groups, else stems.
fn subjects(seen: &check::Finding) -> BTreeSet<&'static str> {
    let row = |name: &std::ffi::OsStr| parse_library_name(name).map(|name| name.row.group.unwrap_or(name.row.stem));
    if seen.is_absence() {
        return seen.wants.iter().filter_map(|name| row(name.as_ref())).collect();
    }
    seen.path.iter().filter_map(|path| row(path.file_name()?)).collect()
}

/// One finding of `check`, with ld.so's own words where these are known, and what is seen to heal it.
fn of_check(case: &Case<'_>, judged: &Judged, seen: &check::Finding, id: &'static str) -> Option<Finding> {
    let mut found = words::told(case, judged, seen, case.finding(id)?);
    if words::is_elective(seen) || seen.when == When::Gpu && seen.id == "two-cuda-majors" {
        // What others do without is no failure, and what is opened later may go well.
        found = found.severity(Severity::Warning);
    } else if seen.when == When::Load && !seen.wants.is_empty() && judged.bare.verdict == Verdict::Fails {
        found = found.severity(Severity::Fatal);
    }
    let row = finding_row(id)?;
    let kept = found.remedies.clone().into_iter().zip(&row.remedies);
    let kept: Vec<Remedy> = kept.filter(|(_, row)| !is_run(row)).map(|(remedy, _)| remedy).collect();
    // The line that hands out the set is only proposed where it is seen to heal.
    let run = judged.heals(seen.id).then(|| Remedy::command(case.run_line()));
    let others = mend::remedies(case, judged, seen, id);
    let mut remedies: Vec<Remedy> = run.into_iter().chain(others).collect();
    if remedies.is_empty() || id == "mkl-ijit" {
        remedies.extend(kept);
    }
    Some(found.healed_by(remedies))
}

/// Whether a file is one of the libraries of bitsandbytes, of which all but one are never opened.
pub(crate) fn is_variant(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libbitsandbytes_"))
}

fn is_run(row: &RemedyRow) -> bool {
    matches!(row, RemedyRow::Command("{run}"))
}

/// What is called otherwise here than by `check`, which tells of files, not of failures.
fn id_of(seen: &check::Finding) -> &'static str {
    match seen.id {
        "not-elf" | "truncated" => "truncated-or-foreign-elf",
        "nvrtc-wrong-builtins" => "nvrtc-builtins-missing",
        "two-cuda-majors" => "ext-other-cuda-major",
        "library-not-found" => "optional-lib-missing",
        id => id,
    }
}
