//! What the rules about packages share: whose file it is, how it is called in a line, which wheels bring a library; and
//! the packages that open libraries by name without a library of their own that tells so.

use crate::check::{NotFound, Pathfinder, Subject};
use crate::diagnose::tool::{self, Wanted};
use crate::diagnose::{Case, Finding, Remedy};
use crate::host::tidy;
use crate::machine::Change;
use crate::python::{Distribution, normalized, requirements};
use crate::tables::{Version, VersionRange, dlopens, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The package that brought a file: the one of that name, else the one that recorded the file.
pub(in crate::diagnose) fn owner_of<'c>(case: &Case<'c>, path: &Path) -> Option<&'c Distribution> {
    let path = tidy(path);
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let (site, below) = sites.iter().find_map(|site| Some((site, path.strip_prefix(site).ok()?)))?;
    let top = below.iter().next()?.to_string_lossy().into_owned();
    let here = || case.installed.iter().filter(|package| package.dir.starts_with(site));
    let named = here().find(|package| package.name == normalized(top.trim_end_matches(".libs")));
    named.or_else(|| here().find(|package| package.record(case.host).iter().any(|file| file.path == below)))
}

/// A path in few characters: its last two parts.
pub(in crate::diagnose) fn short(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(OsStr::to_string_lossy).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// The first of several names, and how many more there are.
pub(super) fn listed(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// The libraries of NVIDIA's, but for the driver's, that a judgement lacks when `counts` holds.
pub(super) fn lacking<'j>(lost: &'j [NotFound], counts: impl Fn(&NotFound) -> bool + 'j) -> BTreeSet<String> {
    let ours = |lost: &&NotFound| parse_library_name(&lost.name).is_some_and(|name| !name.row.is_driver());
    lost.iter().filter(ours).filter(|lost| counts(lost)).map(|lost| lost.name.to_string_lossy().into_owned()).collect()
}

/// The CUDA major that a list of sonames is of: that of the runtime or of cuBLAS, which are numbered by it.
pub(in crate::diagnose) fn cuda_major(names: &BTreeSet<String>) -> Option<u64> {
    names.iter().filter_map(|name| parse_library_name(name.as_str())).find_map(|name| {
        let numbered = matches!(name.row.family, "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "npp");
        name.version.filter(|_| numbered).map(|version| version.major())
    })
}

/// A line for pip, and then the run line, in one: what is installed is still on no search path.
pub(super) fn install_and_run(case: &Case<'_>, what: &[Wanted]) -> Option<Remedy> {
    Some(case.and_run(case.install(what, false)?))
}

/// The line that installs a package with those of its extras that bring libraries of NVIDIA's, as its metadata has them.
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
    let wanted = brought.into_iter().flatten().map(|(name, range)| Wanted::within(&name, range.as_ref()));
    let mut wanted: Vec<Wanted> = wanted.collect();
    wanted.extend(case.required(&wanted));
    // What a package of packages brings is not known.
    Some(match tool::wheels(&wanted) {
        Some(install) => line.making(Change::Wheels { remove: Vec::new(), install }),
        None => line,
    })
}

/// The wheels that bring some sonames, for the major that is asked for.
pub(in crate::diagnose) fn wheels(case: &Case<'_>, names: &BTreeSet<String>, major: u64) -> Vec<Wanted> {
    let mut wheels: BTreeMap<String, Wanted> = BTreeMap::new();
    for name in names.iter().filter_map(|name| parse_library_name(name.as_str())) {
        let Some(wanted) = case.wheel_of(name.row, major) else { continue };
        let own = name.version.as_ref().map(Version::major);
        // Of the toolkit's, from 13 on, one wheel serves several majors; cuDNN 8 and 9 share one in any case.
        let told = wanted.name.ends_with(&format!("-cu{major}")) && name.row.family != "cudnn";
        let bound = own.filter(|_| !told && !wanted.spec.contains('='));
        let wanted = match bound.and_then(|own| VersionRange::parse(&format!("=={own}.*"))) {
            Some(range) => Wanted::within(&wanted.name, Some(&range)),
            None => wanted,
        };
        wheels.insert(wanted.name.clone(), wanted);
    }
    wheels.into_values().collect()
}

/// Packages whose table row tells what they open, and that have no search of their own: nobody's library says so.
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
        let lost = lacking(&judged.judgement.not_found, |lost| !lost.optional && !lost.later);
        if lost.is_empty() {
            return None;
        }
        let reason =
            format!("{} {} opens {} by name, not found by ld.so", package.name, package.version, listed(&lost));
        let found = case.finding("bare-name-dlopen-consumers")?.because(reason);
        let found = lost.iter().fold(found, |found, name| found.seen("file", format!("`{name}` is not in any search path")));
        let install = Some({
            Remedy::action(format!("install the package of {}, and add its directory to LD_LIBRARY_PATH", listed(&lost)))
        });
        Some(found.healed_by(case.run().into_iter().chain(install)))
    })
}

/// `CuPy` searches the wheels of its environment and the toolkits by itself: what is missing is what no place has.
pub(super) fn cupy(case: &Case<'_>) -> Option<Finding> {
    let made_for = |package: &Distribution| -> Option<u64> {
        package.name.strip_prefix("cupy-cuda")?.trim_end_matches('x').get(..2)?.parse().ok()
    };
    let (package, major) = case.installed.iter().find_map(|package| Some((package, made_for(package)?)))?;
    let rows = dlopens().iter().filter(|row| row.who == "python:cupy" && row.required);
    let names = rows.filter_map(|row| parse_library_name(row.name).map(|name| (row.name, name)));
    // From 14 on it has cuda-pathfinder search, which knows the wheels of its own environment only.
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let finder = Pathfinder::new(case.loader, sites)
        .filter(|_| requirements(case.host, package, &[]).contains_key("cuda-pathfinder"));
    let copies = |name: &str| case.inventory.serving(name).filter(|library| library.unusable.is_none()).count();
    let absent = |name: &str| match &finder {
        Some(finder) => finder.find(name, |_| false).is_none(),
        None => copies(name) == 0 && case.loader.find(OsStr::new(name)).is_none(),
    };
    let lost: BTreeSet<String> = names
        .filter(|(_, name)| !name.row.is_driver() && name.version.as_ref().is_some_and(|it| it.major() == major))
        .filter(|(name, _)| absent(name))
        .map(|(name, _)| name.to_owned())
        .collect();
    if lost.is_empty() {
        return None;
    }
    let reason = format!("{} {} opens {}, and finds no copy", package.name, package.version, listed(&lost));
    let found = case.finding("bare-name-dlopen-consumers")?.because(reason);
    let found = lost.iter().fold(found, |found, name| {
        let where_ = if copies(name) == 0 { "not on this machine" } else { "in no directory that it searches" };
        found.seen("file", format!("`{name}` is {where_}"))
    });
    // What is installed, and whose file is gone, no extra brings again.
    let wheels = wheels(case, &lost, major);
    let is_here = wheels.iter().any(|wheel| case.has_package(&wheel.name).is_some());
    let extras = if is_here { None } else { with_extras(case, package, &["ctk"]) };
    let remedy = extras.or_else(|| case.install(&wheels, false));
    Some(found.healed_by(remedy))
}
