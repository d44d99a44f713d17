//! What the environment would load: as the machine is, and with the chosen set.
//!
//! Takes the environment and what `resolve` answered; gives the judgements of `check`. It is how a rule knows that a
//! `cudashim run` line heals: the finding is there without the set, and gone with it. Judges nothing itself.

use super::{Case, Finding, Remedy};
use crate::check::{self, Depth, Judgement, Subject, Verdict, predict};
use crate::consumer::TorchBuild;
use crate::facts::{Group, RemedyRow, finding_row};
use crate::loader::Loader;
use crate::plan::Plan;
use crate::python::Interpreter;
use crate::request::{Answer, RequestError};
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
        loader: &Loader<'_>,
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
    pub(super) fn of(loader: &Loader<'_>, subject: &Subject, plan: Option<&Plan>) -> Self {
        let bare = predict(loader, subject, Depth::Symbols, None);
        let well = bare.verdict == Verdict::Loads && bare.findings.is_empty();
        let with_set = plan.filter(|_| !well).map(|plan| predict(loader, subject, Depth::Symbols, Some(plan)));
        Self { whom: Whom::Other, files: subject.files_in_question().to_vec(), bare, with_set }
    }

    /// The same, with the plan in any case.
    pub(super) fn both(loader: &Loader<'_>, subject: &Subject, plan: Option<&Plan>) -> Self {
        let bare = predict(loader, subject, Depth::Symbols, None);
        let with_set = plan.map(|plan| predict(loader, subject, Depth::Symbols, Some(plan)));
        Self { whom: Whom::Other, files: subject.files_in_question().to_vec(), bare, with_set }
    }

    /// Whether what has this id is there without the set, and gone with it.
    pub(crate) fn heals(&self, id: &str) -> bool {
        let has = |judgement: &Judgement| judgement.findings.iter().any(|finding| finding.id == id);
        has(&self.bare) && self.with_set.as_ref().is_some_and(|healed| !has(healed))
    }
}

/// What `check` found of this group, each kind once: what torch itself meets comes first.
pub(super) fn findings(case: &Case<'_>, group: Group) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for judged in case.judged {
        // Extensions have rules of their own for what is wrong between them and torch.
        if judged.whom == Whom::Extensions && group != Group::Libraries {
            continue;
        }
        for seen in &judged.bare.findings {
            let id = id_of(seen.id);
            // Packages of one environment may each bring the CUDA major that they are built for, and those that do
            // without a library are told apart by the rules about packages.
            if judged.whom == Whom::Environment && matches!(seen.id, "two-cuda-majors" | "optional-lib-missing") {
                continue;
            }
            if finding_row(id).is_none_or(|row| row.group != group) || found.iter().any(|known| known.id == id) {
                continue;
            }
            found.extend(of(case, judged, seen, id));
        }
    }
    found
}

/// One finding of `check`, with ld.so's own words where these are known, and what is seen to heal it.
fn of(case: &Case<'_>, judged: &Judged, seen: &check::Finding, id: &'static str) -> Option<Finding> {
    let mut found = case.finding(id)?.because(seen.says.clone());
    if let Some(path) = &seen.path {
        let rule = judged.bare.objects.iter().find(|object| object.path == *path).map(|object| object.rule.to_string());
        found = found.seen_at("file", path, rule.map_or_else(|| "to blame".to_owned(), |rule| told(&rule)));
    }
    if let Some(error) = &judged.bare.error {
        found = found.seen("message", error.clone());
    }
    let healed = judged.heals(seen.id);
    let row = finding_row(id)?;
    let other = found.remedies.clone();
    // The line that hands out the set is only proposed where it is seen to heal.
    let kept = other.into_iter().zip(&row.remedies).filter(|(_, row)| !is_run(row)).map(|(remedy, _)| remedy);
    let run = healed.then(|| Remedy::command(case.run_line()));
    let remedies: Vec<Remedy> = run.into_iter().chain(kept).collect();
    Some(found.healed_by(remedies))
}

/// Whether a file is one of the libraries of bitsandbytes, of which all but one are never opened.
pub(crate) fn is_variant(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libbitsandbytes_"))
}

/// How a rule is told of a file: some have their own `by`.
fn told(rule: &str) -> String {
    if rule.starts_with("by ") { format!("found {rule}") } else { format!("found by {rule}") }
}

fn is_run(row: &RemedyRow) -> bool {
    matches!(row, RemedyRow::Command("{run}"))
}

/// What is called otherwise here than by `check`, which tells of files, not of failures.
fn id_of(id: &'static str) -> &'static str {
    match id {
        "not-elf" | "truncated" => "truncated-or-foreign-elf",
        "nvrtc-wrong-builtins" => "nvrtc-builtins-missing",
        "two-cuda-majors" => "ext-other-cuda-major",
        _ => id,
    }
}
