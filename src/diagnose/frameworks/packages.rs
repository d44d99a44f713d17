//! Shared rules for packages: the owner of a file, its short name, the wheels that bring a library; and packages that
//! open libraries by name from Python code.

use crate::check::{NotFound, Pathfinder, Subject};
use crate::diagnose::tool::{self, PackageSpec};
use crate::diagnose::{Case, Finding, Remedy};
use crate::host::tidy;
use crate::machine::Change;
use crate::python::{Distribution, normalized, requirements};
use crate::tables::{Version, VersionRange, dlopens, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The package that owns a file: the one of that name, else the one that recorded the file.
pub(in crate::diagnose) fn owner_of<'c>(case: &Case<'c>, path: &Path) -> Option<&'c Distribution> {
    let path = tidy(path);
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let (site, below) = sites.iter().find_map(|site| Some((site, path.strip_prefix(site).ok()?)))?;
    let top = below.iter().next()?.to_string_lossy().into_owned();
    let here = || case.installed.iter().filter(|package| package.dir.starts_with(site));
    let named = here().find(|package| package.name == normalized(top.trim_end_matches(".libs")));
    named.or_else(|| here().find(|package| package.record(case.host).iter().any(|file| file.path == below)))
}

/// The last two parts of a path.
pub(in crate::diagnose) fn short(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(OsStr::to_string_lossy).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// The first of several names, and the number of further ones.
pub(super) fn listed(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// The missing NVIDIA libraries of a judgement, without the driver's, for the names where `counts` holds.
pub(super) fn not_found_libraries<'j>(
    not_found: &'j [NotFound],
    counts: impl Fn(&NotFound) -> bool + 'j,
) -> BTreeSet<String> {
    let ours = |not_found: &&NotFound| parse_library_name(&not_found.name).is_some_and(|name| !name.row.is_driver());
    not_found
        .iter()
        .filter(ours)
        .filter(|not_found| counts(not_found))
        .map(|not_found| not_found.name.to_string_lossy().into_owned())
        .collect()
}

/// The CUDA major of a list of sonames: that of the runtime or of cuBLAS, which have CUDA's number.
pub(in crate::diagnose) fn cuda_major(names: &BTreeSet<String>) -> Option<u64> {
    names.iter().filter_map(|name| parse_library_name(name.as_str())).find_map(|name| {
        let numbered = matches!(name.row.family, "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "npp");
        name.version.filter(|_| numbered).map(|version| version.major())
    })
}

/// A pip line followed by the run line: no search path contains the installed files yet.
pub(super) fn install_and_run(case: &Case<'_>, what: &[PackageSpec]) -> Option<Remedy> {
    Some(case.and_run(case.install(what, false)?))
}

/// The line that installs a package with its extras that bring NVIDIA libraries, according to its metadata.
pub(super) fn with_extras(case: &Case<'_>, package: &Distribution, extras: &[&str]) -> Option<Remedy> {
    let plain = requirements(case.host, package, &[]);
    let brings = |extra: &&str| {
        let all = requirements(case.host, package, &[*extra]);
        let brought = |(name, _): &(String, _)| {
            !plain.contains_key(name) && (name.starts_with("nvidia-") || name == "cuda-toolkit")
        };
        all.into_iter().filter(brought).collect::<Vec<_>>()
    };
    let brought: Vec<Vec<(String, Option<VersionRange>)>> = extras.iter().map(brings).collect();
    if brought.iter().any(Vec::is_empty) {
        return None;
    }
    let line = case.pip(&format!("install '{}[{}]=={}'", package.name, extras.join(","), package.version));
    let to_install = brought.into_iter().flatten().map(|(name, range)| PackageSpec::within(&name, range.as_ref()));
    let mut to_install: Vec<PackageSpec> = to_install.collect();
    to_install.extend(case.required(&to_install));
    // The contents of a metapackage are unknown.
    Some(match tool::wheels(&to_install) {
        Some(install) => line.making(Change::Wheels { remove: Vec::new(), install }),
        None => line,
    })
}

/// The wheels that bring some sonames, for the required major.
pub(in crate::diagnose) fn wheels(case: &Case<'_>, names: &BTreeSet<String>, major: u64) -> Vec<PackageSpec> {
    let mut wheels: BTreeMap<String, PackageSpec> = BTreeMap::new();
    for name in names.iter().filter_map(|name| parse_library_name(name.as_str())) {
        let Some(to_install) = case.wheel_of(name.row, major) else { continue };
        let own = name.version.as_ref().map(Version::major);
        // From 13 on one toolkit wheel serves several majors; cuDNN 8 and 9 always share one.
        let is_named = to_install.name.ends_with(&format!("-cu{major}")) && name.row.family != "cudnn";
        let bound = own.filter(|_| !is_named && !to_install.spec.contains('='));
        let to_install = match bound.and_then(|own| VersionRange::parse(&format!("=={own}.*"))) {
            Some(range) => PackageSpec::within(&to_install.name, Some(&range)),
            None => to_install,
        };
        wheels.insert(to_install.name.clone(), to_install);
    }
    wheels.into_values().collect()
}

/// Packages whose table row lists the names they open, without a search of their own: no library of theirs shows
/// these names.
const OPENERS: [&str; 1] = ["python:paddle"];

/// Packages that open libraries by a bare name.
pub(super) fn bare_names(case: &Case<'_>) -> Option<Finding> {
    let python = case.interpreter?;
    OPENERS.into_iter().find_map(|who| {
        let plain = who.split_once(':')?.1;
        let package = case.installed.iter().find(|package| package.name.starts_with(plain))?;
        let rows = dlopens().iter().filter(|row| row.who == who && !row.name.contains(['{', '*']));
        let names: Vec<(OsString, bool)> = rows.map(|row| (row.name.into(), row.required)).collect();
        let judged = case.judge(&Subject::names(plain.to_owned(), names, Some(python)));
        let not_found =
            not_found_libraries(&judged.judgement.not_found, |not_found| !not_found.optional && !not_found.later);
        if not_found.is_empty() {
            return None;
        }
        let reason =
            format!("{} {} opens {} by name, not found by ld.so", package.name, package.version, listed(&not_found));
        let found = case.finding("bare-name-dlopen-consumers")?.because(reason);
        let found = not_found
            .iter()
            .fold(found, |found, name| found.seen("file", format!("`{name}` is not in any search path")));
        let install = Some({
            Remedy::action(format!(
                "install the package of {}, and add its directory to LD_LIBRARY_PATH",
                listed(&not_found)
            ))
        });
        Some(found.healed_by(case.run().into_iter().chain(install)))
    })
}

/// `CuPy` searches the wheels of its environment and the toolkits itself: a library is missing only if no place has
/// it.
pub(super) fn cupy(case: &Case<'_>) -> Option<Finding> {
    let made_for = |package: &Distribution| -> Option<u64> {
        package.name.strip_prefix("cupy-cuda")?.trim_end_matches('x').get(..2)?.parse().ok()
    };
    let (package, major) = case.installed.iter().find_map(|package| Some((package, made_for(package)?)))?;
    let rows = dlopens().iter().filter(|row| row.who == "python:cupy" && row.required);
    let names = rows.filter_map(|row| parse_library_name(row.name).map(|name| (row.name, name)));
    // From 14 on it uses cuda-pathfinder, which knows only the wheels of its own environment.
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let finder = Pathfinder::new(case.loader, sites)
        .filter(|_| requirements(case.host, package, &[]).contains_key("cuda-pathfinder"));
    let copies = |name: &str| case.inventory.serving(name).filter(|library| library.unusable.is_none()).count();
    let absent = |name: &str| match &finder {
        Some(finder) => finder.find(name, |_| false).is_none(),
        None => copies(name) == 0 && case.loader.find(OsStr::new(name)).is_none(),
    };
    let not_found: BTreeSet<String> = names
        .filter(|(_, name)| !name.row.is_driver() && name.version.as_ref().is_some_and(|it| it.major() == major))
        .filter(|(name, _)| absent(name))
        .map(|(name, _)| name.to_owned())
        .collect();
    if not_found.is_empty() {
        return None;
    }
    let reason = format!("{} {} opens {}, and finds no copy", package.name, package.version, listed(&not_found));
    let found = case.finding("bare-name-dlopen-consumers")?.because(reason);
    let found = not_found.iter().fold(found, |found, name| {
        let where_ = if copies(name) == 0 { "not on this machine" } else { "in no directory that it searches" };
        found.seen("file", format!("`{name}` is {where_}"))
    });
    // An extra does not restore an installed package whose file is gone.
    let wheels = wheels(case, &not_found, major);
    let is_here = wheels.iter().any(|wheel| case.has_package(&wheel.name).is_some());
    let extras = if is_here { None } else { with_extras(case, package, &["ctk"]) };
    let remedy = extras.or_else(|| case.install(&wheels, false));
    Some(found.healed_by(remedy))
}
