//! Defects among the copies of an environment and of the search path, whether or not a process loads them.
//!
//! Takes the problems of `scan`; reports those of the environment's copies and of copies that a search by name finds.
//! `scan` itself reports those elsewhere on the machine.

use super::super::mend;
use super::super::mend::on_library_path;
use super::super::tool::PackageSpec;
use super::super::{Case, Finding, Remedy};
use crate::check::name_of;
use crate::inventory::{Depth, Library, Owner, Problem, evidence};
use crate::loader::Rule;
use crate::python::TorchBuild;
use crate::tables::{Severity, dlopens_of};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// Two wheels wrote to one path.
pub(super) fn overwritten(case: &Case<'_>) -> Option<Finding> {
    let mut found: Option<Finding> = None;
    let (mut foreign, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let mut fatal = false;
    for problem in own_problems(case, &["pip-cu12-cu13-overwrite"]) {
        let Some(library) = at(case, &problem.path) else { continue };
        let Owner::Wheel { name, version, rival: Some(rival), .. } = &library.owner else { continue };
        let (of, other) = (format!("{name} {version}"), rival.to_string());
        let because = format!("`{}` was written by {of} and by {other}", name_of(&problem.path));
        let finding = match found.take() {
            Some(finding) => finding,
            None => case.finding("pip-cu12-cu13-overwrite")?.because(because),
        };
        found = Some(finding.seen_at("file", &problem.path, problem.says.clone()));
        let own = is_expected(case, name, &rival.name);
        // The required wheel is intact unless the file has the other's bytes.
        fatal |= !own && mend::is_pinned(case, &rival.name) || case.blames(library);
        let (keep, version, other) =
            if own { (name, version, &rival.name) } else { (&rival.name, &rival.version, name) };
        foreign.insert(other.clone());
        kept.insert((keep.clone(), version.clone()));
    }
    let required = super::super::environment::unmet(case);
    let kept = kept.iter().filter(|(name, _)| !foreign.contains(name)).map(|(name, version)| {
        let required = required.iter().find(|spec| spec.name == *name).cloned();
        required.unwrap_or_else(|| PackageSpec::exactly(name, version))
    });
    let kept: Vec<PackageSpec> = kept.collect();
    let severity = if fatal { Severity::Fatal } else { Severity::Warning };
    // Removing one wheel removes the files that both wrote.
    Some(found?.severity(severity).healed_by(case.replace(&foreign, &kept, true)))
}

/// Whether this wheel of two for two majors is the expected one: a package requires it, else it matches the CUDA
/// major of torch, or of most wheels.
fn is_expected(case: &Case<'_>, name: &str, rival: &str) -> bool {
    let pinned = |name: &str| mend::is_pinned(case, name);
    if pinned(name) != pinned(rival) {
        return pinned(name);
    }
    let major = |name: &str| name.rsplit_once("-cu").and_then(|(_, digits)| digits.parse::<u64>().ok());
    let torch = case.torch.and_then(TorchBuild::cuda_release).map(|(major, _)| u64::from(major));
    let others = case.installed.iter().filter(|package| package.name != name && package.name != rival);
    let votes: Vec<u64> = others.filter_map(|package| major(&package.name)).collect();
    let count = |name: &str| major(name).map_or(0, |major| votes.iter().filter(|vote| **vote == major).count());
    match torch {
        Some(torch) if major(name) != major(rival) => major(name) == Some(torch) || major(rival) != Some(torch),
        _ => count(name) >= count(rival),
    }
}

/// Files that differ from the recorded size.
pub(super) fn altered(case: &Case<'_>) -> Option<Finding> {
    let mut found: Option<Finding> = None;
    let mut anew: BTreeSet<PackageSpec> = BTreeSet::new();
    let mut others: Vec<Remedy> = Vec::new();
    for problem in own_problems(case, &["altered-file"]) {
        let because = || format!("`{}` is {}", name_of(&problem.path), problem.says);
        let finding = match found.take() {
            Some(finding) => finding,
            None => case.finding("altered-file")?.because(because()),
        };
        found = Some(finding.seen_at("file", &problem.path, problem.says.clone()));
        match at(case, &problem.path).map(|library| (library, &library.owner)) {
            // One line for all of them: a line for each alone would leave the others damaged.
            Some((_, Owner::Wheel { name, version, .. })) => {
                let required = super::super::environment::unmet(case).into_iter().find(|spec| spec.name == *name);
                anew.insert(required.unwrap_or_else(|| PackageSpec::exactly(name, version)));
            }
            Some((library, _)) => others.extend(mend::reinstall(case, library)),
            None => {}
        }
    }
    let found = found?;
    let anew: Vec<PackageSpec> = anew.into_iter().collect();
    others.dedup();
    let remedies: Vec<Remedy> = case.install(&anew, true).into_iter().chain(others).collect();
    Some(if remedies.is_empty() { found } else { found.healed_by(remedies) })
}

/// An NVRTC that a search by name finds, and that does not find the builtins of its release: it compiles nothing.
pub(super) fn builtins(case: &Case<'_>) -> Option<Finding> {
    for library in case.inventory.libraries.iter().filter(|library| library.row.stem == "nvrtc") {
        let Some(object) = library.object.as_ref().filter(|_| library.unusable.is_none()) else { continue };
        let Some((found, rule)) = case.loader.find(OsStr::new(library.load_name())) else { continue };
        if case.host.stat(&found).ok().map(|stat| stat.id) != Some(library.stat.id) {
            continue;
        }
        // A bare copy shows its release only in its contents.
        let known = library.version.clone().or_else(|| evidence(library, Depth::Full).0.version);
        let Some(version) = known.as_ref().filter(|version| version.numbers().len() >= 2) else { continue };
        let row = dlopens_of("nvrtc", Some(version)).find(|row| row.required && row.name.contains("builtins"));
        let Some(name) = row.and_then(|row| row.expand(version, version.major())) else { continue };
        if case.loader.find_from(&found, object, OsStr::new(&name)).is_some() {
            continue;
        }
        let finding = case.finding("nvrtc-builtins-missing")?;
        let finding = finding
            .because(format!("`{}` {version} from {rule} does not find `{name}`: it cannot compile", name_of(&found)))
            .seen_at("file", &found, format!("{version}, found by {rule}"))
            .seen("rule", format!("NVRTC opens `{name}` by name, of its own minor release only"));
        let off = match rule {
            Rule::LdLibraryPath => Some(mend::off_library_path(case, &found)),
            _ => mend::reinstall(case, library),
        };
        return Some(finding.healed_by(case.run().into_iter().chain(off)));
    }
    None
}

/// Other problems of `scan`: nothing is known to load these copies, so nothing fails because of them.
pub(super) fn others(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for (id, problems) in KINDS {
        // For libraries that an environment loads, `check` knows better which copies meet.
        if matches!(
            problems.first(),
            Some(&"cublas-silent-mix" | &"cudnn8-mixed-sublibs" | &"cudnn9-torn-set" | &"cudnn9-sublib-not-found")
        ) && !case.judged.is_empty()
        {
            continue;
        }
        let Some(finding) = case.finding(id) else { continue };
        let mut seen = own_problems(case, problems).peekable();
        let Some(first) = seen.peek().copied() else { continue };
        let mut finding = finding.because(format!("`{}`: {}", name_of(&first.path), shortened(&first.says)));
        if finding.severity == Severity::Fatal {
            finding = finding.severity(Severity::Warning);
        }
        let mut remedies: Vec<Remedy> = Vec::new();
        for problem in seen {
            finding = finding.seen_at("file", &problem.path, problem.says.clone());
            let remedy = remedy(case, id, problem);
            remedies.extend(remedy.filter(|remedy| !remedies.contains(remedy)));
        }
        found.push(if remedies.is_empty() { finding } else { finding.healed_by(remedies) });
    }
    found
}

/// The finding id here, for a problem of `scan`.
const KINDS: [(&str, &[&str]); 9] = [
    ("truncated-or-foreign-elf", &["truncated-or-foreign-elf", "not-a-file"]),
    ("major-symlink-hack", &["major-symlink-hack", "soname-differs"]),
    ("cudnn8-mixed-sublibs", &["cudnn8-mixed-sublibs"]),
    ("cudnn9-torn-set", &["cudnn9-torn-set"]),
    ("cudnn9-sublib-not-found", &["cudnn9-sublib-not-found", "cudnn9-sublib-not-found"]),
    ("cublas-silent-mix", &["cublas-silent-mix"]),
    ("parts-of-two-releases", &["parts-of-two-releases"]),
    ("stub-on-path", &["stub-on-path"]),
    ("duplicate-soname", &["duplicate-soname"]),
];

fn remedy(case: &Case<'_>, id: &str, problem: &Problem) -> Option<Remedy> {
    let on_path = on_library_path(case, &problem.path);
    // Of two copies, the other may be the one on the path.
    let other = problem.says.split('`').map(Path::new).find(|path| path.is_absolute() && on_library_path(case, path));
    match id {
        "parts-of-two-releases" if !on_path => other.map(|other| mend::off_library_path(case, other)),
        "stub-on-path"
        | "cudnn9-torn-set"
        | "cudnn8-mixed-sublibs"
        | "cublas-silent-mix"
        | "parts-of-two-releases"
        | "duplicate-soname"
            if on_path =>
        {
            Some(mend::off_library_path(case, &problem.path))
        }
        "truncated-or-foreign-elf" => Some(
            at(case, &problem.path)
                .and_then(|library| mend::reinstall(case, library))
                .unwrap_or_else(|| Remedy::action(format!("remove `{}`", problem.path.display()))),
        ),
        "major-symlink-hack" => Some(Remedy::action(format!("remove `{}`", problem.path.display()))),
        _ => None,
    }
}

/// The problems of these ids in the target environment, or on copies that a search by name finds. Without a target
/// environment, those of the whole machine.
fn own_problems<'a>(case: &'a Case<'_>, ids: &'static [&'static str]) -> impl Iterator<Item = &'a Problem> {
    let in_cache: BTreeSet<&Path> = case.loader.cache().iter().filter_map(|(_, path)| path.parent()).collect();
    let own = move |problem: &&Problem| {
        let path = &problem.path;
        let searched = on_library_path(case, path)
            || path.parent().is_some_and(|dir| {
                in_cache.contains(dir) || case.loader.default_dirs().iter().any(|default| default == dir)
            });
        case.interpreter.is_none_or(|python| searched || python.paths.iter().any(|site| path.starts_with(site)))
    };
    case.problems.iter().filter(move |problem| ids.contains(&problem.id)).filter(own)
}

/// The copy at a path, under any of its names.
fn at<'a>(case: &Case<'a>, path: &Path) -> Option<&'a Library> {
    let same = |library: &&Library| {
        library.path == path
            || path.parent() == Some(&library.place.dir)
                && library.file_names().any(|name| Some(name) == path.file_name())
    };
    case.inventory.libraries.iter().find(same)
}

/// A clause that lists files by name.
fn shortened(says: &str) -> String {
    let parts = says.split('`').enumerate().map(|(at, part)| match at % 2 {
        1 if part.contains('/') => format!("`{}`", name_of(Path::new(part))),
        1 => format!("`{part}`"),
        _ => part.to_owned(),
    });
    parts.collect()
}
