//! Predicts the link map of a subject: the objects at the start, those that loading brings, and those opened later by
//! name.
//!
//! Takes a [`Subject`] and a loader; gives its [`Judgement`]. With a plan, the planned libraries come first, as the
//! shim hands them out: this shows whether the plan heals the defect.

use super::copies::Copies;
use super::judge::judge;
use super::later::{later, not_found};
use super::mapping::Mapping;
use super::opening::Opening;
use super::subject::{Subject, What, is_loaded_by_package};
use super::{Depth, Judgement, NotFound};
use crate::loader::{LinkMap, Loader, Rule};
use crate::plan::{How, Plan, PlanLibrary};
use crate::python::site_of;
use crate::tables::{DlopenRow, dlopens, parse_library_name};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
/// The predicted link map of a subject, with the libraries that it opens later.
#[must_use]
pub fn closure<'l>(loader: &'l Loader, subject: &Subject) -> LinkMap<'l> {
    Prediction::new(loader, subject, Depth::Files, None).map
}

/// Predicts the link map of a subject and judges it; with a plan, as if the shim handed it out.
pub fn predict(loader: &Loader, subject: &Subject, depth: Depth, plan: Option<&Plan>) -> Judgement {
    let Prediction { map, startup, loaded, roots, copies, not_found, optional_objects, rules } =
        Prediction::new(loader, subject, depth, plan);
    judge(
        &Mapping {
            of: subject.of.clone(),
            at: subject.at.clone(),
            map: &map,
            startup,
            loaded,
            roots: &roots,
            copies: &copies,
            subject: Some(subject),
            rules,
            optional_objects: &optional_objects,
        },
        not_found,
        depth,
    )
}

/// A link map under construction.
struct Prediction<'l> {
    map: LinkMap<'l>,
    startup: usize,
    loaded: usize,
    roots: Vec<usize>,
    copies: Copies,
    not_found: Vec<NotFound>,
    optional_objects: BTreeSet<usize>,
    rules: Vec<Rule>,
}

impl<'l> Prediction<'l> {
    fn new(loader: &'l Loader, subject: &Subject, depth: Depth, plan: Option<&Plan>) -> Self {
        let plan = plan.map(handed_out);
        let plan = plan.as_deref();
        let taken_out = plan.map(|plan| contradicting(loader, plan)).unwrap_or_default();
        let mut map = LinkMap::new(loader).without_preloads(taken_out.clone());
        if let Some(plan) = plan.filter(|_| matches!(subject.what, What::Program(_))) {
            // A program's needed libraries are mapped before a preload acts: `run` makes the shim its auditor.
            let handed = plan.chosen().map(|library| (library.soname.clone().into(), library.path.clone()));
            map = map.audited(handed.collect());
        }
        if let Some(program) = &subject.program
            && let Err(error) = map.start(program)
        {
            log::info!("{}: {error}", program.display());
        }
        let is_program = matches!(subject.what, What::Program(_));
        if map.objects().is_empty() {
            // If the program of a library is unknown, the preloaded objects still come first.
            let preloads = loader.preload().iter().filter(|entry| !taken_out.contains(entry));
            for entry in loader.preload_file().iter().chain(preloads) {
                let _ = map.open(entry, None);
            }
        }
        let (startup, ignored) = (map.objects().len(), if subject.program.is_some() { 0 } else { map.missing().len() });
        let program = (subject.program.is_some() && startup > 0).then_some(0);
        let mut opening = Opening::new(plan, program);
        // The consumer's own libraries are mapped with the object that needs them, and may bind to symbols of the
        // plan.
        let early = |plan: &Plan, library: &PlanLibrary| match library.how {
            How::Preload => true,
            How::Keep => !plan.is_its_own(library) && !plan.objects.contains(&library.path),
            How::Redirect => false,
        };
        for library in plan.iter().flat_map(|plan| plan.libraries.iter().filter(|library| early(plan, library))) {
            let _ = map.open(library.path.as_os_str(), program);
        }
        match &subject.what {
            What::Program(files) | What::Libraries(files) => {
                for file in files {
                    opening.path(&mut map, file);
                }
            }
            What::Environment(files) => opening.imported(&mut map, files, &subject.sites),
            What::Package(package) => {
                if let Some(torch) = &package.torch {
                    opening.torch(&mut map, torch);
                }
                opening.imported(&mut map, &package.files, &subject.sites);
                if let Some(opener) = &package.opener {
                    opening.path(&mut map, opener);
                    opening.program = map.objects().iter().position(|mapped| mapped.path == *opener).or(program);
                }
                opening.names(&mut map, &package.names);
            }
            What::Torch(torch) => opening.torch(&mut map, torch),
            What::Extensions(torch, files) => {
                opening.torch(&mut map, torch);
                for file in files {
                    opening.path(&mut map, file);
                }
            }
            What::Names(names) => opening.names(&mut map, names),
            What::Opener(file, names) => {
                opening.path(&mut map, file);
                opening.program = opening.roots.last().copied().or(program);
                opening.names(&mut map, names);
            }
        }
        let mut not_found: Vec<NotFound> =
            map.missing().iter().skip(ignored).map(|missing| not_found(missing, false)).collect();
        let at_load = map.objects().len();
        let mut copies = Copies::new(&subject.sites, depth);
        let (later, optional_objects) = later(&mut map, &mut copies, Some(subject), &opening);
        let started = subject.program.as_ref().and_then(|_| map.objects().first()).map(|mapped| mapped.path.clone());
        for missing in &mut not_found {
            // A name on the command line has no caller.
            let is_named = |names: &[(OsString, bool)]| names.iter().any(|(name, _)| *name == missing.name);
            if matches!(&subject.what, What::Names(names) if is_named(names)) {
                missing.needed_by = None;
            }
            missing.optional = optional(&copies, loader, subject, missing);
            // Names that the package opens, not the dependencies of its modules.
            let by = missing.needed_by.as_deref();
            let opened = matches!(&subject.what, What::Package(package) if is_named(&package.names)
                && (by.is_none() || by == package.opener.as_deref().or(started.as_deref())));
            missing.later = opened || missing.optional && subject.is_apart() && is_optional(missing);
            if opened && by == started.as_deref() {
                missing.needed_by = None;
            }
        }
        // Python may do both.
        let needed: BTreeSet<OsString> =
            not_found.iter().filter(|it| it.needed_by.is_some()).map(|it| it.name.clone()).collect();
        not_found.retain(|it| !(it.later && it.optional && it.needed_by.is_none() && needed.contains(&it.name)));
        not_found.extend(later);
        let (startup, roots) = if is_program { (0, vec![0]) } else { (startup, opening.roots) };
        let rules = rules(&map, if subject.program.is_some() { 0 } else { startup }, loader);
        Self { map, startup, loaded: at_load, roots, copies, not_found, optional_objects, rules }
    }
}

/// The planned paths to hand out. A path with a `$` stays with ld.so, which would expand it.
fn handed_out(plan: &Plan) -> Cow<'_, Plan> {
    let expands = |library: &PlanLibrary| library.path.as_os_str().as_bytes().contains(&b'$');
    if !plan.libraries.iter().any(expands) {
        return Cow::Borrowed(plan);
    }
    let mut plan = plan.clone();
    plan.libraries.retain(|library| !expands(library));
    Cow::Owned(plan)
}

/// The entries of `LD_PRELOAD` that conflict with a plan: `cudashim run` removes them.
fn contradicting(loader: &Loader, plan: &Plan) -> Vec<OsString> {
    let replaced = |entry: &&OsString| {
        let named = entry.as_bytes().contains(&b'/').then(|| PathBuf::from(entry));
        let path = named.or_else(|| Some(loader.find(entry)?.0));
        let object = path.and_then(|path| loader.objects().open(&path).ok());
        object.is_some_and(|object| {
            let soname = object.facts.soname.as_deref().and_then(OsStr::to_str);
            soname.is_some_and(|soname| plan.instead_of(soname, object.stat.id).is_some())
        })
    };
    loader.preload().iter().filter(replaced).cloned().collect()
}

/// The rules of a map whose first objects were preloaded.
fn rules(map: &LinkMap<'_>, preloaded: usize, loader: &Loader) -> Vec<Rule> {
    let named = |names: &[OsString]| loader.preload().iter().chain(loader.preload_file()).any(|it| names.contains(it));
    let rules = map
        .objects()
        .iter()
        .enumerate()
        .map(|(index, mapped)| if index < preloaded && named(&mapped.names) { Rule::Preload } else { mapped.rule });
    rules.collect()
}

/// Whether a subject loads without a name that is not found.
fn optional(copies: &Copies, loader: &Loader, subject: &Subject, missing: &NotFound) -> bool {
    // What the import of a package opens has to be there.
    let is_required =
        || missing.needed_by.as_deref().is_some_and(|by| is_loaded_by_package(loader.objects().host(), by));
    let uninstalled = || {
        missing.damaged.is_none()
            && copies.installed(loader.objects(), Path::new(&missing.name)).is_none()
            && !is_required()
    };
    match &subject.what {
        // Packages are imported one by one, and an optional library need not be installed. A library that is
        // installed but not found is a defect, and so is a damaged file.
        What::Environment(_) => uninstalled(),
        What::Package(package) => match package.names.iter().find(|(name, _)| *name == missing.name) {
            // A machine without a GPU has no driver.
            Some((_, required)) => !required || parse_library_name(&missing.name).is_some_and(|it| it.row.is_driver()),
            // A module that is opened only for CUDA requires it.
            None => uninstalled() && missing.needed_by.as_ref().is_none_or(|by| !package.plugins.contains(by)),
        },
        What::Names(names) | What::Opener(_, names) => {
            names.iter().any(|(name, required)| *name == missing.name && !required)
        }
        _ => false,
    }
}

/// Whether an extension module belongs to a package that treats libraries outside the toolkit as optional: `CuPy`
/// without cuTENSOR.
fn is_optional(missing: &NotFound) -> bool {
    let by = missing.needed_by.as_deref();
    let below = by.and_then(|by| by.strip_prefix(site_of(by)?).ok());
    let Some(top) = below.and_then(|below| below.iter().next()).and_then(OsStr::to_str) else { return false };
    let of_toolkit = parse_library_name(&missing.name).is_some_and(|name| name.row.owner == "toolkit");
    let known = |row: &DlopenRow| {
        let package = row.who.strip_prefix("python:");
        !row.required && missing.name == row.name && package.is_some_and(|package| top.starts_with(package))
    };
    !of_toolkit && dlopens().iter().any(known)
}
