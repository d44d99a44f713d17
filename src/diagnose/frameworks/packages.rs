//! What the rules about packages share: whose file it is, how it is called in a line, which wheels bring a library; and
//! the packages that open libraries by name without a library of their own that tells so.

use crate::check::{NotFound, Subject};
use crate::consumer::tidy;
use crate::diagnose::{Case, Finding, Judged, Remedy};
use crate::facts::{Severity, dlopens, parse_library_name, sonames_of};
use crate::python::{Distribution, normalized, requirements};
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

/// Whether the set brings what is lacking.
pub(super) fn heals(judged: &Judged, names: &BTreeSet<String>) -> bool {
    let lost = |judged: &Judged| {
        judged
            .with_set
            .as_ref()
            .map(|with| lacking(&with.not_found, |_| true))
            .is_none_or(|lost| !lost.is_disjoint(names))
    };
    !names.is_empty() && judged.with_set.is_some() && !lost(judged)
}

/// The CUDA major that a list of sonames is of: that of the runtime or of cuBLAS, which are numbered by it.
pub(in crate::diagnose) fn cuda_major(names: &BTreeSet<String>) -> Option<u64> {
    names.iter().filter_map(|name| parse_library_name(name.as_str())).find_map(|name| {
        let numbered = matches!(name.row.family, "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "npp");
        name.version.filter(|_| numbered).map(|version| version.major())
    })
}

/// A line for pip, and then the run line, in one: what is installed is still on no search path.
pub(super) fn install_and_run(case: &Case<'_>, what: &str) -> Remedy {
    match case.pip(&format!("install {what}")) {
        Remedy::Command(line) => Remedy::command(format!("{line} && {}", case.run_line())),
        other => other,
    }
}

/// The package with those of its extras that bring libraries of NVIDIA's, as its metadata has them.
pub(super) fn with_extras(case: &Case<'_>, package: &Distribution, extras: &[&str]) -> Option<String> {
    let plain = requirements(case.host, package, &[]);
    let brings = |extra: &&str| {
        let all = requirements(case.host, package, &[*extra]);
        all.keys().any(|name| !plain.contains_key(name) && (name.starts_with("nvidia-") || name == "cuda-toolkit"))
    };
    let kept: Vec<&str> = extras.iter().copied().filter(brings).collect();
    (kept.len() == extras.len()).then(|| format!("'{}[{}]=={}'", package.name, kept.join(","), package.version))
}

/// The wheels that bring some sonames, each bound to the major that is asked for where its name does not tell it.
pub(in crate::diagnose) fn wheels(names: &BTreeSet<String>, major: u64) -> Vec<String> {
    let mut wheels: BTreeMap<String, String> = BTreeMap::new();
    for name in names.iter().filter_map(|name| parse_library_name(name.as_str())) {
        let Some(wheel) = name.row.wheel_names(major).into_iter().next() else { continue };
        let own = name.version.as_ref().map(crate::facts::Version::major);
        // Of the toolkit's, from 13 on, one wheel serves several majors; cuDNN 8 and 9 share one in any case.
        let told = wheel.ends_with(&format!("-cu{major}")) && name.row.family != "cudnn";
        let bound = own.filter(|_| !told).map_or_else(|| wheel.clone(), |own| format!("'{wheel}=={own}.*'"));
        wheels.insert(wheel, bound);
    }
    wheels.into_values().collect()
}

/// Libraries of two CUDA majors in one process: it goes well where no soname is common to both.
pub(super) fn weighed(case: &Case<'_>, found: Finding) -> Finding {
    let file = found.evidence.iter().find_map(|seen| seen.path.as_ref()).map(|path| path.to_path().clone());
    let Some(file) = file.filter(|_| found.id == "ext-other-cuda-major") else { return found };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cuda = case.torch.and_then(|torch| torch.cuda.as_deref()).unwrap_or_default();
    let major = cuda.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
    let family = parse_library_name(&name).map(|name| name.row.family).unwrap_or_default();
    let common = sonames_of(major, family).any(|soname| soname == name);
    found.severity(if common { Severity::Fatal } else { Severity::Warning })
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
        let lost = lacking(&judged.bare.not_found, |lost| !lost.optional && !lost.later);
        if lost.is_empty() {
            return None;
        }
        let reason =
            format!("{} {} opens {} by name, and ld.so finds none", package.name, package.version, listed(&lost));
        let found = case.finding("bare-name-dlopen-consumers")?.because(reason);
        let found = lost.iter().fold(found, |found, name| found.seen("file", format!("`{name}` is on no search path")));
        let run = heals(&judged, &lost).then(|| Remedy::command(case.run_line()));
        let install = (run.is_none()).then(|| {
            Remedy::action(format!("install what has {}, and name its directory in LD_LIBRARY_PATH", listed(&lost)))
        });
        Some(found.healed_by(run.into_iter().chain(install)))
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
    let absent = |name: &str| case.inventory.serving(name).all(|library| library.unusable.is_some());
    let lost: BTreeSet<String> = names
        .filter(|(_, name)| !name.row.is_driver() && name.version.as_ref().is_some_and(|it| it.major() == major))
        .filter(|(name, _)| absent(name) && case.loader.find(OsStr::new(name)).is_none())
        .map(|(name, _)| name.to_owned())
        .collect();
    if lost.is_empty() {
        return None;
    }
    let reason = format!("{} {} opens {}, and no copy is here", package.name, package.version, listed(&lost));
    let found = case.finding("bare-name-dlopen-consumers")?.because(reason);
    let found =
        lost.iter().fold(found, |found, name| found.seen("file", format!("`{name}` is nowhere on this machine")));
    let remedy = match with_extras(case, package, &["ctk"]) {
        Some(extras) => case.pip(&format!("install {extras}")),
        None => install_and_run(case, &wheels(&lost, major).join(" ")),
    };
    Some(found.healed_by([remedy]))
}
