//! Shared rules for packages: the owner of a file, its short name, the wheels that bring a library; and packages that
//! open libraries by name from Python code.

use crate::check::{Consumer, NotFound, Pathfinder, Subject};
use crate::diagnose::checked;
use crate::diagnose::tool::{self, PackageSpec};
use crate::diagnose::{Case, Finding, Remedy};
use crate::host::tidy;
use crate::machine::Change;
use crate::python::{Distribution, normalized, requirements};
use crate::tables::{FamilyRow, FrameworkRow, Phase, Search, Severity, Version, VersionRange};
use crate::tables::{families, frameworks, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
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

/// The extras of a framework for a CUDA major: `cu12` of `cu12 cu13`, else all.
fn extras_for(row: &FrameworkRow, major: u64) -> Vec<&'static str> {
    let own = format!("cu{major}");
    let named = row.extras.iter().copied().filter(|extra| *extra == own).collect::<Vec<_>>();
    if named.is_empty() { row.extras.clone() } else { named }
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

/// The frameworks that have rules of their own; what imports torch first is judged with torch.
const RULED: [&str; 7] = ["cupy", "jax", "numba", "numba-cuda", "onnxruntime", "tensorflow", "torch"];

/// Frameworks of the table that open libraries by name, which ld.so does not find.
pub(super) fn bare_names(case: &Case<'_>) -> Option<Finding> {
    let python = case.interpreter?;
    let mut rows = frameworks().iter().filter(|row| !RULED.contains(&row.name) && !row.looks(Search::Torch));
    rows.find_map(|row| {
        let consumer = Consumer::of(row);
        let package = case.installed.iter().find(|package| consumer.is_package(package))?;
        let judged = case.judge(&Subject::package(case.loader, &consumer, python)?);
        // What a library of NVIDIA's opens is judged with that.
        let by_itself = |not_found: &NotFound| {
            not_found.needed_by.as_deref().and_then(Path::file_name).and_then(parse_library_name).is_none()
        };
        let not_found = not_found_libraries(&judged.judgement.not_found, |not_found| {
            not_found.later && !not_found.optional && by_itself(not_found)
        });
        let seen = judged.judgement.findings.iter().find(|seen| {
            seen.id == "bare-name-dlopen-consumers" && seen.absent().iter().any(|name| not_found.contains(name))
        })?;
        let found = checked::of_check(case, &judged, seen)?;
        let found = match seen.by() {
            Some(_) => found,
            None => found.because(format!(
                "{} {} opens {} by name, not found by ld.so",
                package.name,
                package.version,
                listed(&not_found)
            )),
        };
        let absent: BTreeSet<String> =
            not_found.iter().filter(|name| case.inventory.serving(name).next().is_none()).cloned().collect();
        let built = built_with(case, row);
        let major = consumer.major(case.host, case.installed).or_else(|| cuda_major(&not_found));
        let major = built.get("cuda").map(Version::major).or(major);
        let install = major.filter(|_| !absent.is_empty());
        let install = install.map(|major| {
            let of_build = |wheel: PackageSpec| match built.get("cudnn").filter(|_| wheel.name.contains("-cudnn-")) {
                Some(cudnn) => PackageSpec::within(&wheel.name, since(cudnn).as_ref()),
                None => wheel,
            };
            wheels(case, &absent, major).into_iter().map(of_build).collect::<Vec<_>>()
        });
        let install = install.and_then(|wheels| install_and_run(case, &wheels));
        let advice = Remedy::action(format!("add the directory of {} to LD_LIBRARY_PATH", listed(&not_found)));
        let found = found.seen("version", format!("{} {}", package.name, package.version));
        Some(found.healed_by(case.run().into_iter().chain(install).chain([advice])))
    })
}

/// The releases of CUDA and cuDNN that a framework says it was built with. The metadata of Paddle's wheels names none:
/// each is for one CUDA, and a file of its own has it.
fn built_with(case: &Case<'_>, row: &FrameworkRow) -> BTreeMap<&'static str, Version> {
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let mut files = sites.iter().map(|site| site.join("paddle/version/__init__.py")).filter(|_| row.name == "paddle");
    let text = files.find_map(|file| case.host.read_text(&file).ok()).unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))?;
        Version::parse(line.trim().trim_matches('\''))
    };
    [("cuda", "cuda_version"), ("cudnn", "cudnn_version")]
        .into_iter()
        .filter_map(|(family, name)| Some((family, value(name)?)))
        .collect()
}

/// A release and the newer ones of its major.
fn since(version: &Version) -> Option<VersionRange> {
    VersionRange::parse(&format!(">={version},<{}", version.major() + 1))
}

/// Packages that search the wheels of their environment and the toolkits themselves (`CuPy`, numba-cuda): a library is
/// missing only if no place has it.
pub(super) fn searched(case: &Case<'_>) -> Option<Finding> {
    let rows = frameworks().iter().filter(|row| row.looks(Search::Pathfinder) && row.opens.is_some());
    rows.map(Consumer::of).find_map(|consumer| searched_by(case, &consumer))
}

fn searched_by(case: &Case<'_>, consumer: &Consumer) -> Option<Finding> {
    let row = consumer.framework?;
    // A build from source is named without a CUDA major, and may be linked against a toolkit.
    let is_wheel = |package: &&Distribution| consumer.is_package(package) && package.name.contains("-cuda");
    let package = case.installed.iter().find(is_wheel)?;
    let major = consumer.major(case.host, case.installed)?;
    let opened = consumer.names(case.installed, Some(major));
    // From 14 on it uses cuda-pathfinder, which knows only the wheels of its own environment.
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let finder = Pathfinder::new(case.loader, sites)
        .filter(|_| requirements(case.host, package, &[]).contains_key("cuda-pathfinder"));
    let copies = |name: &str| case.inventory.serving(name).filter(|library| library.unusable.is_none()).count();
    let absent = |name: &str| match &finder {
        Some(finder) => finder.find(name, |_| false).is_none(),
        None => copies(name) == 0 && case.loader.find(OsStr::new(name)).is_none(),
    };
    let absent_where = |counts: &dyn Fn(&FamilyRow, bool) -> bool| -> BTreeSet<String> {
        let names =
            opened.iter().filter_map(|(name, required)| Some((name, *required, parse_library_name(name.as_str())?)));
        names
            // libNVVM has a rule of its own.
            .filter(|(_, _, name)| !name.row.is_driver() && name.row.family != "nvvm")
            .filter(|(name, required, parsed)| counts(parsed.row, *required) && absent(name))
            .map(|(name, _, _)| name.clone())
            .collect()
    };
    let not_found = absent_where(&|_, required| required);
    if not_found.is_empty() {
        let wheels = toolkit_wheels(case, package, row);
        let not_found = absent_where(&|row, _| wheels.contains_key(row.family));
        return undelivered(case, package, row, &not_found, &wheels);
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
    let extras = if is_here { None } else { with_extras(case, package, &extras_for(row, major)) };
    let remedy = extras.or_else(|| case.install(&wheels, false));
    Some(found.healed_by(remedy))
}

/// The wheels that the toolkit's metapackage stands for, by family, where an extra of this package brought it.
fn toolkit_wheels(case: &Case<'_>, package: &Distribution, row: &FrameworkRow) -> BTreeMap<&'static str, PackageSpec> {
    let by_extra = requirements(case.host, package, &row.extras);
    let toolkit = case.installed.iter().find(|it| it.name == TOOLKIT && by_extra.contains_key(TOOLKIT));
    let brought = toolkit.into_iter().flat_map(|toolkit| {
        let families = families().iter().filter(|row| row.owner == "toolkit" && row.stem == row.family);
        families.filter_map(|row| {
            let (name, range) =
                requirements(case.host, toolkit, &[row.family]).into_iter().find(|(name, _)| row.is_wheel(name))?;
            Some((row.family, PackageSpec::within(&name, range.as_ref())))
        })
    });
    brought.collect()
}

/// The metapackage of the toolkit's wheels.
const TOOLKIT: &str = "cuda-toolkit";

/// What an extra of a package brought, and is gone: the modules that need it are not imported.
fn undelivered(
    case: &Case<'_>,
    package: &Distribution,
    row: &FrameworkRow,
    not_found: &BTreeSet<String>,
    wheels: &BTreeMap<&'static str, PackageSpec>,
) -> Option<Finding> {
    let first = not_found.first()?;
    let family = |name: &String| parse_library_name(name.as_str()).map(|name| name.row.family);
    let missing: BTreeSet<&PackageSpec> = not_found.iter().filter_map(|name| wheels.get(family(name)?)).collect();
    let missing: Vec<PackageSpec> =
        missing.into_iter().filter(|it| case.has_package(&it.name).is_none()).cloned().collect();
    let found = case.finding("optional-lib-missing")?.severity(Severity::Warning).phase(Phase::Use).because(format!(
        "{} {} opens {}, and finds no copy",
        package.name,
        package.version,
        listed(not_found)
    ));
    let found = found.seen("file", format!("`{first}` is not in its environment"));
    let found = found.seen("version", format!("{TOOLKIT} is installed with it, and stands for the wheel"));
    let found = row.then.map_or(found.clone(), |then| found.seen("rule", then.to_owned()));
    Some(found.healed_by(case.install(&missing, false)))
}
