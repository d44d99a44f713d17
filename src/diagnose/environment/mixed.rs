//! Conflicting origins of libraries: torch and its libraries in two directories, conda's and pip's in one process,
//! two packages that each bring their own.

use crate::check::JudgedObject;
use crate::diagnose::{Case, Finding, Remedy, TargetKind};
use crate::host::tidy;
use crate::inventory::places;
use crate::inventory::{Depth, Inventory, Library, evidence};
use crate::python::library_files;
use crate::tables::parse_library_name;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A library that torch needs is in another directory of `sys.path`: torch's run path does not reach it.
pub(super) fn split(case: &Case<'_>) -> Option<Finding> {
    let (torch, python) = (case.torch?, case.interpreter?);
    let judged = case.judged.iter().find(|judged| judged.kind == TargetKind::Torch)?;
    let elsewhere = |name: &str| {
        case.inventory.serving(name).find(|library| {
            let site = python.paths.iter().find(|site| library.path.starts_with(site));
            library.unusable.is_none() && site.is_some_and(|site| site != torch.site())
        })
    };
    let not_found: Vec<(String, &Library)> = judged
        .judgement
        .not_found
        .iter()
        .filter(|not_found| !not_found.later && !not_found.optional)
        .filter_map(|not_found| {
            let name = not_found.name.to_str()?;
            Some((name.to_owned(), elsewhere(name)?))
        })
        .collect();
    let (name, copy) = not_found.first()?;
    let dir = copy.path.parent().unwrap_or(&copy.path);
    let more = if not_found.len() > 1 { format!(" and {} more", not_found.len() - 1) } else { String::new() };
    let mut found = case
        .finding("split-site-packages")?
        .because(format!("torch does not find `{name}`{more}: it is in another directory of sys.path"))
        .seen_at("file", &torch.dir, format!("torch {}", torch.version))
        .seen_at("file", &copy.path, "is not in any run path of torch");
    if let Some(error) = &judged.judgement.error {
        found = found.seen("message", error.clone());
    }
    found = found.seen("rule", "the run paths of torch start at its own directory: `$ORIGIN/../../nvidia/…`");
    let target = torch.site().display();
    let beside = Remedy::action(format!(
        "install both into one directory (here `{target}`), or name `{}` in LD_LIBRARY_PATH",
        dir.display()
    ));
    Some(found.healed_by(case.run().into_iter().chain([beside])))
}

/// Whether a path is a conda package's library in the environment, outside its site-packages.
fn is_conda(prefix: &Path, path: &Path) -> bool {
    let below = tidy(path);
    below.starts_with(prefix.join("lib")) && !below.iter().any(|part| part == "site-packages")
}

/// Conda libraries that a process maps although a wheel in the same environment has another release of them.
pub(super) fn conda_and_pip(case: &Case<'_>) -> Option<Finding> {
    let python = case.interpreter?;
    case.host.is_dir(&python.prefix.join("conda-meta")).then_some(())?;
    // The inventory of the machine knows the conda package that owns a file.
    let release = |object: &JudgedObject| {
        let known = || case.inventory.libraries.iter().find(|library| library.stat.id == object.id);
        object.version.clone().or_else(|| known()?.version.clone())
    };
    let wheel_of = |object: &JudgedObject| {
        let own = release(object)?;
        let here = |library: &&Library| python.paths.iter().any(|site| library.path.starts_with(site));
        let other = |library: &&Library| library.version.as_ref().is_some_and(|version| *version != own);
        case.inventory.serving(object.name.to_str()?).filter(here).find(other)
    };
    let (judged, object, wheel) = case.judged.iter().find_map(|judged| {
        let mut objects =
            judged.judgement.objects.iter().filter(|object| object.ours && is_conda(&python.prefix, &object.path));
        objects.find_map(|object| Some((judged, object, wheel_of(object)?)))
    })?;
    let (conda, pip) = (release(object)?, wheel.version.as_ref()?);
    let consumer = object
        .needed_by
        .and_then(|by| judged.judgement.objects.get(by))
        .map_or_else(|| judged.judgement.of.clone(), |by| by.name.display().to_string());
    let found = case
        .finding("conda-pip-toolkit-mix")?
        .because(format!(
            "`{}` comes from conda ({conda}) and from pip ({pip}): {consumer} gets conda's",
            object.name.display()
        ))
        .seen_at("file", &object.path, format!("{conda}, found by {}", object.rule))
        .seen_at("file", &wheel.path, format!("{pip}"));
    let one =
        Remedy::action("keep one provider: remove conda's CUDA packages (`conda list cuda`), or pip's `nvidia-*`");
    Some(found.healed_by(case.run().into_iter().chain([one])))
}

/// Two packages that each bring a library of one soname in different releases: the first import decides for both.
pub(super) fn import_order(case: &Case<'_>) -> Option<Finding> {
    let (torch, python) = (case.torch?, case.interpreter?);
    let judged = case.judged.iter().find(|judged| judged.kind == TargetKind::Torch)?;
    let files = library_files(case.host, &python.paths);
    // Copies of NVIDIA libraries in other packages; bundled files with unique names are left out.
    let bundled = |file: &&PathBuf| {
        file.file_name().and_then(parse_library_name).is_some_and(|name| name.hash.is_none())
            && !file.starts_with(&torch.dir)
    };
    let dirs: BTreeSet<&Path> = files.iter().filter(bundled).filter_map(|file| file.parent()).collect();
    let places = dirs.into_iter().map(|dir| places::found(dir.to_owned())).collect();
    let own = Inventory::scan(case.objects, places);
    for library in own.libraries.iter().filter(|library| library.unusable.is_none() && library.renamed.is_none()) {
        let Some((package, top)) = top_of(case, &library.path) else { continue };
        let soname = library.load_name();
        let mapped = judged.judgement.objects.iter().find(|object| object.name == OsStr::new(soname) && object.ours);
        let Some(object) = mapped.filter(|object| object.id != library.stat.id) else { continue };
        // It counts if an extension of that package finds it by its own run path.
        let user = files.iter().filter(|file| file.starts_with(&package)).find(|file| {
            let Ok(opened) = case.objects.open(file) else { return false };
            opened.facts.needed.iter().any(|name| name == soname)
                && case
                    .loader
                    .find_from(file, &opened, OsStr::new(soname))
                    .is_some_and(|(path, _)| case.host.stat(&path).is_ok_and(|stat| stat.id == library.stat.id))
        });
        let Some(user) = user else { continue };
        let known = || evidence(library, Depth::Full).0.version;
        let (Some(own), Some(other)) = (&object.version, library.version.clone().or_else(known)) else { continue };
        if *own == other {
            continue;
        }
        let found = case
            .finding("import-order-crash")?
            .because(format!(
                "torch has `{soname}` {own}, {top} has {other}: whichever is imported first decides for both"
            ))
            .seen_at("file", &object.path, format!("{own}, for torch"))
            .seen_at("file", &library.path, format!("{other}, for {}", user.file_name().unwrap_or_default().display()))
            .seen("rule", "ld.so maps one library per soname: a later request gets the mapped one");
        let order = Remedy::action(format!("import torch before {top}, or keep them in environments of their own"));
        return Some(found.healed_by(case.run().into_iter().chain([order])));
    }
    None
}

/// The package directory below the site directory that contains a file, and its name.
fn top_of(case: &Case<'_>, path: &Path) -> Option<(PathBuf, String)> {
    let site = case.interpreter?.paths.iter().find(|site| path.starts_with(site))?;
    let top = path.strip_prefix(site).ok()?.iter().next()?;
    Some((site.join(top), top.to_string_lossy().into_owned()))
}
