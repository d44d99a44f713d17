//! Whether a set serves a subject where its libraries are mapped before they are asked for, without the shim.
//!
//! Takes a [`Subject`] and the plan for it; gives what is to be mapped, in order, or what only the shim would redirect: a
//! mapped library answers to its soname and to no other name, and a file that is opened by its path is another copy. Judges by
//! the same prediction as `check`.

use super::closure::predict;
use super::subject::Subject;
use super::{Depth, Judgement};
use crate::loader::Loader;
use crate::plan::{How, Plan, PlanLibrary};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What a process that is running already is to do for a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InProcess {
    /// The libraries to map, by soname, in an order in which they load. Nothing: it gets the set as it is.
    pub open: Vec<(String, PathBuf)>,
    /// What is still another than the set has, where that matters: only the shim serves it.
    pub left: Option<String>,
}

/// Judges a subject that is loaded by a process without the shim.
#[must_use]
pub fn in_process(loader: &Loader, subject: &Subject, plan: &Plan) -> InProcess {
    let bare = predict(loader, subject, Depth::Files, None);
    let wrong: BTreeSet<&str> =
        others(loader, plan, &bare).into_iter().map(|(library, _)| library.soname.as_str()).collect();
    if wrong.is_empty() {
        return InProcess::default();
    }
    let wanted = with_needs(loader, plan, &wrong);
    let open: Vec<PlanLibrary> = plan
        .chosen()
        .filter(|library| wanted.contains(library.soname.as_str()))
        .map(|library| PlanLibrary { how: How::Preload, ..library.clone() })
        .collect();
    let mapped = Plan { libraries: open, aliases: Vec::new(), replaces: Vec::new(), ..plan.clone() };
    let still = others(loader, plan, &predict(loader, subject, Depth::Files, Some(&mapped)));
    // What the shim would not change either is no reason to start anything again.
    let left = if still.is_empty() {
        still
    } else {
        let shimmed = others(loader, plan, &predict(loader, subject, Depth::Files, Some(plan)));
        still.into_iter().filter(|one| !shimmed.contains(one)).collect()
    };
    let says =
        |(library, says): &(&PlanLibrary, String)| format!("{says}, and the set has `{}`", library.path.display());
    let left = left.first().map(says);
    InProcess { open: mapped.libraries.into_iter().map(|library| (library.soname, library.path)).collect(), left }
}

/// The libraries of a plan in the place of which the map has another file, or none, with what it has.
fn others<'p>(loader: &Loader, plan: &'p Plan, judged: &Judgement) -> Vec<(&'p PlanLibrary, String)> {
    let mut found = Vec::new();
    for object in &judged.objects {
        let opened = loader.objects().open(&object.path).ok();
        let soname = opened.as_ref().and_then(|object| object.facts.soname.as_deref()).unwrap_or(&object.name);
        let library = soname.to_str().and_then(|soname| plan.lookup(soname));
        if let Some(library) = library.filter(|library| library.id != object.id) {
            let asked = object.name.display();
            found.push((library, format!("`{}` is loaded for `{asked}`", object.path.display())));
        }
    }
    for missing in &judged.not_found {
        if let Some(library) = missing.name.to_str().and_then(|name| plan.lookup(name)) {
            found.push((library, format!("`{}` is not found", missing.name.display())));
        }
    }
    found
}

/// These libraries of a plan, and those of it that they need, by way of what it leaves to the loader too.
fn with_needs<'p>(loader: &Loader, plan: &'p Plan, wrong: &BTreeSet<&'p str>) -> BTreeSet<&'p str> {
    let mut all = BTreeSet::new();
    let mut queue: Vec<&str> = wrong.iter().copied().collect();
    while let Some(library) = queue.pop().and_then(|soname| plan.library(soname)) {
        if !all.insert(library.soname.as_str()) {
            continue;
        }
        let Ok(object) = loader.objects().open(&library.path) else { continue };
        let needed = object.facts.needed.iter().filter_map(|name| name.to_str().and_then(|name| plan.library(name)));
        queue.extend(needed.map(|library| library.soname.as_str()));
    }
    all
}
