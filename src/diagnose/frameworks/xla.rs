//! `TensorFlow` and JAX: the libraries that they open by name, and the releases that they were built with.
//!
//! Their metadata lists the required wheels (the extras `and-cuda`, `with-cuda`); `check` finds the copies that they
//! would load. Both refuse a cuDNN older than the one they were built with:
//! <https://github.com/openxla/xla/blob/main/xla/stream_executor/cuda/cuda_dnn.cc>

use super::packages::{install_and_run, listed, not_found_libraries, wheels};
use crate::check::{Consumer, Judgement, MissingSymbol, NotFound, Subject, Verdict, consumers_of};
use crate::diagnose::checked::of_check;
use crate::diagnose::mend;
use crate::diagnose::mend::on_library_path;
use crate::diagnose::tool::PackageSpec;
use crate::diagnose::{Case, Finding, Judged, Remedy};
use crate::inventory::built_for;
use crate::python::{Distribution, requirements};
use crate::tables::{Severity, Version, VersionRange, cudnn_releases, families, parse_library_name, sonames_of};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// One of the two, as installed.
struct Framework<'c> {
    called: &'static str,
    consumer: Consumer,
    package: &'c Distribution,
    major: u64,
    /// The requirements of its extras, by family.
    to_install: BTreeMap<&'static str, Option<VersionRange>>,
}

impl Framework<'_> {
    /// Its library that opens the others: it may have run paths to the wheels.
    fn opener(&self, case: &Case<'_>) -> Option<PathBuf> {
        self.consumer.opener(case.host, &case.interpreter?.paths)
    }
}

/// The findings about them.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for framework in installed(case) {
        if framework.called == "TensorFlow" {
            found.extend(opens(case, &framework));
        } else {
            found.extend(unloadable(case, &framework));
        }
        found.extend(other_major(case, &framework).or_else(|| older(case, &framework)));
        found.extend(parts(case, &framework));
    }
    found
}

/// The parts that cuDNN opens at first use: missing, or of another release.
fn parts(case: &Case<'_>, framework: &Framework<'_>) -> Option<Finding> {
    let to_install = framework.to_install.get("cudnn")?.as_ref().and_then(lower)?;
    let judged = judged_cudnn(case, framework, &format!("libcudnn.so.{}", to_install.major()))?;
    let ids = ["cudnn9-sublib-not-found", "cudnn9-torn-set", "cudnn8-mixed-sublibs", "truncated-or-foreign-elf"];
    let seen = judged.judgement.findings.iter().find(|seen| ids.contains(&seen.id))?;
    let found = of_check(case, &judged, seen)?;
    Some(found.seen_at(
        "version",
        &framework.package.dir,
        format!("{} {} opens it", framework.package.name, framework.package.version),
    ))
}

/// A cuDNN for another CUDA major than the framework: it loads, and opens a cuBLAS that is missing.
fn other_major(case: &Case<'_>, framework: &Framework<'_>) -> Option<Finding> {
    let to_install = framework.to_install.get("cudnn")?.as_ref().and_then(lower)?;
    let judged = judged_cudnn(case, framework, &format!("libcudnn.so.{}", to_install.major()))?;
    let cudnn = |path: &PathBuf| case.library(path).filter(|library| library.row.group == Some("cudnn"));
    let libraries = judged.judgement.objects.iter().filter_map(|object| cudnn(&object.path));
    let (library, major) = libraries.into_iter().find_map(|library| {
        let (major, _) = built_for(library).filter(|(major, _)| u64::from(*major) != framework.major)?;
        Some((library, major))
    })?;
    let (called, package, name) = (framework.called, framework.package, library.load_name());
    let release = library.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let found = case
        .finding("two-cuda-majors")?
        .severity(Severity::Fatal)
        .because(format!(
            "`{name}`{release} is for CUDA {major}, and {called} {} for CUDA {}",
            package.version, framework.major
        ))
        .seen_at("file", &library.path, format!("for CUDA {major}"))
        .seen_at("version", &package.dir, format!("{} {}", package.name, package.version));
    if on_library_path(case, &library.path) {
        let unset = mend::off_library_path(case, &library.path);
        return Some(found.healed_by(case.run().into_iter().chain([unset])));
    }
    let own = format!("nvidia-cudnn-cu{major}");
    if case.torch.is_some_and(|torch| torch.pins.contains_key(&own)) {
        // torch requires this one; both write the same directory. It serves the other framework where it finds its cuBLAS.
        let lt = format!("libcublasLt.so.{major}");
        let apart = Remedy::action(format!("keep {called} and torch in environments of their own"));
        let is_served = case.inventory.serving(&lt).any(|copy| copy.unusable.is_none());
        let severity = if is_served { Severity::Warning } else { Severity::Fatal };
        return Some(found.severity(severity).healed_by([apart]));
    }
    let range = framework.to_install.get("cudnn").and_then(Option::as_ref);
    let wheel = PackageSpec::within(&format!("nvidia-cudnn-cu{}", framework.major), range);
    Some(found.healed_by(case.run().into_iter().chain(mend::replace_wheels(case, &[wheel]))))
}

fn installed<'c>(case: &Case<'c>) -> Vec<Framework<'c>> {
    ["jax", "tensorflow"]
        .into_iter()
        .filter_map(|name| {
            let consumer = consumers_of(name)?;
            let row = consumer.framework?;
            let required = |package: &Distribution| requirements(case.host, package, &row.extras);
            let own = || case.installed.iter().filter(|package| consumer.is_package(package));
            let names_wheels = |package: &&Distribution| {
                required(package).keys().any(|name| name.starts_with("nvidia-") || name == "cuda-toolkit")
            };
            let package = own().find(names_wheels).or_else(|| own().find(|package| package.name != name))?;
            let major = consumer.major(case.host, case.installed)?;
            let of_wheel = |name: &String| families().iter().find(|row| row.wheel_names(major).contains(name));
            let families =
                required(package).into_iter().filter_map(|(name, range)| Some((of_wheel(&name)?.family, range)));
            Some(Framework { called: row.called, package, major, to_install: families.collect(), consumer })
        })
        .collect()
}

/// `TensorFlow`'s own library, and the sonames that it opens.
fn opens(case: &Case<'_>, framework: &Framework<'_>) -> Option<Finding> {
    let package = framework.package;
    let judged = judged_opens(case, framework)?;
    let not_found = not_found_libraries(&judged.judgement.not_found, |not_found| !not_found.optional);
    // What the driver lacks is found with the driver.
    let of_driver =
        |provider: &Path| provider.file_name().and_then(parse_library_name).is_some_and(|name| name.row.is_driver());
    let is_unbound =
        |missing: &&MissingSymbol| missing.provider.as_deref().is_some_and(|provider| !of_driver(provider));
    let unbound = judged.judgement.missing.iter().find(is_unbound);
    if not_found.is_empty() && unbound.is_none() {
        return None;
    }
    let version = &package.version;
    let mut reason = format!("TensorFlow {version} opens {} by name, not found by ld.so", listed(&not_found));
    let needed_by = |unresolved: &NotFound| {
        let by = unresolved.needed_by.as_deref().filter(|by| judged.judgement.at.as_deref() != Some(*by))?;
        not_found.contains(&*unresolved.name.to_string_lossy()).then(|| super::short(by))
    };
    let all = || judged.judgement.not_found.iter().filter(|it| not_found.contains(&*it.name.to_string_lossy()));
    // The library that TensorFlow opens is there, and one that this needs is not.
    if let Some(by) = all().all(|it| needed_by(it).is_some()).then(|| all().find_map(needed_by)).flatten() {
        reason =
            format!("TensorFlow {version} cannot open `{by}`: it needs {}, not found by ld.so", listed(&not_found));
    }
    let mut found = case.finding("tf-cannot-dlopen")?;
    if let Some(missing) = unbound.filter(|_| not_found.is_empty()) {
        let provider = missing.provider.as_deref().map(super::short).unwrap_or_default();
        reason = format!(
            "TensorFlow {} cannot open {}: it needs more than `{provider}` defines",
            package.version,
            super::short(&missing.needed_by)
        );
        let symbol = missing.symbol.as_deref().unwrap_or_default();
        found = found.seen_at("symbol", &missing.needed_by, format!("needs `{symbol}`"));
    }
    found = found.because(reason).seen_at("version", &package.dir, format!("tensorflow {}", package.version));
    for name in &not_found {
        let copy = case.inventory.serving(name).find(|library| library.unusable.is_none());
        found = match copy {
            Some(copy) => found.seen_at("file", &copy.path, "is not in any search path of TensorFlow"),
            None => found.seen("file", format!("`{name}` is not on this machine")),
        };
    }
    found = found.seen("message", "Cannot dlopen some GPU libraries … Skipping registering GPU devices");
    let not_installed: BTreeSet<String> =
        not_found.iter().filter(|name| case.inventory.serving(name).next().is_none()).cloned().collect();
    let install = if not_installed.is_empty() {
        mend::restored(case).into_iter().collect()
    } else {
        let wheels = wheels(case, &not_installed, framework.major);
        // Its run paths may reach the wheels; the trial decides.
        let alone = case.install(&wheels, false).filter(|remedy| remedy.change.is_some());
        alone.into_iter().chain(install_and_run(case, &wheels)).collect::<Vec<_>>()
    };
    Some(found.healed_by(case.run().into_iter().chain(install)))
}

fn judged_opens(case: &Case<'_>, framework: &Framework<'_>) -> Option<Judged> {
    let python = case.interpreter?;
    let file = framework.opener(case)?;
    let mut names: Vec<(OsString, bool)> = Vec::new();
    for family in ["cudart", "cublas", "cufft", "cusolver", "cusparse", "cudnn"] {
        let range = framework.to_install.get(family);
        let pinned = range.cloned().flatten().and_then(|range| lower(&range)).map(|version| version.major());
        let fits = |soname: &&str| {
            let Some(name) = parse_library_name(*soname) else { return false };
            let is_main = name.row.stem == family || name.row.stem == "cublasLt" && family == "cublas";
            is_main && (family != "cudnn" || pinned.is_none() || name.version.map(|it| it.major()) == pinned)
        };
        names.extend(sonames_of(framework.major, family).filter(fits).map(|soname| (soname.into(), range.is_some())));
    }
    Some(case.judge(&Subject::opener(&file, names, python)))
}

/// The libraries whose versions JAX checks before it uses a GPU (`_check_cuda_versions`).
const JAX_CHECKS: [(&str, &str); 6] = [
    ("cudart", "the CUDA runtime"),
    ("cudnn", "cuDNN"),
    ("cufft", "cuFFT"),
    ("cupti", "CUPTI"),
    ("cublas", "cuBLAS"),
    ("cusparse", "cuSPARSE"),
];

/// JAX reads the version of a library; if it cannot open the library, it reports it as missing and continues without
/// a GPU. It opens the file of a wheel by path, and the name if there is no file (`_load_nvidia_libraries`).
fn unloadable(case: &Case<'_>, framework: &Framework<'_>) -> Option<Finding> {
    let python = case.interpreter?;
    let (mut files, mut names) = (Vec::new(), Vec::new());
    for (stem, called) in JAX_CHECKS {
        let of_wheel = case.inventory.libraries.iter().find(|library| {
            let here = python.paths.iter().any(|site| library.path.starts_with(site));
            let fits = library.cuda.is_none_or(|(major, _)| u64::from(major) == framework.major);
            here && fits && library.row.stem == stem && library.unusable.is_none()
        });
        match of_wheel {
            Some(library) => files.push((called, &library.path)),
            None => names.extend(soname_of(framework, stem).map(|soname| (soname.into(), true))),
        }
    }
    let by_name = (!names.is_empty()).then(|| Some(Subject::opener(&framework.opener(case)?, names, python)));
    let by_path = files.into_iter().filter_map(|(called, path)| {
        Some((called, Subject::files(case.loader, std::slice::from_ref(path), Some(python)).ok()?))
    });
    let subjects = by_name.flatten().map(|subject| ("", subject)).into_iter().chain(by_path);
    subjects.into_iter().find_map(|(called, subject)| refused(case, framework, called, &subject))
}

/// The name by which JAX opens a library.
fn soname_of(framework: &Framework<'_>, stem: &str) -> Option<&'static str> {
    let pinned = framework.to_install.get(stem).cloned().flatten().and_then(|range| lower(&range));
    let pinned = pinned.map(|version| version.major());
    sonames_of(framework.major, stem).find(|soname| {
        let Some(name) = parse_library_name(*soname) else { return false };
        name.row.stem == stem && (stem != "cudnn" || name.version.map(|it| it.major()) == pinned)
    })
}

fn refused(case: &Case<'_>, framework: &Framework<'_>, called: &str, subject: &Subject) -> Option<Finding> {
    let judged = case.judge(subject);
    if judged.judgement.verdict != Verdict::Fails {
        return None;
    }
    let package = framework.package;
    let not_found = not_found_libraries(&judged.judgement.not_found, |not_found| !not_found.later);
    let missing = judged.judgement.missing.iter().find(|missing| !missing.later);
    let mut found = case.finding("jax-library-unloadable")?;
    let reason = match missing.and_then(|missing| missing.provider.as_deref()) {
        Some(provider) => {
            let object = judged.judgement.objects.iter().find(|object| object.path == *provider);
            let version =
                object.and_then(|object| object.version.as_ref()).map(|it| format!(" {it}")).unwrap_or_default();
            let rule = object.map(|object| format!(", found by {}", object.rule)).unwrap_or_default();
            let name = provider.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found = found.seen_at("file", provider, format!("{name}{version}{rule}"));
            format!("JAX cannot open {called}: `{name}`{version} is older than it requires{rule}")
        }
        None if called.is_empty() => {
            format!("JAX {} opens {} by name, not found by ld.so", package.version, listed(&not_found))
        }
        None if not_found.is_empty() => format!("JAX cannot open {called}"),
        None => format!("JAX cannot open {called}: {} not found by ld.so", listed(&not_found)),
    };
    found = found.because(reason).seen_at("version", &package.dir, format!("{} {}", package.name, package.version));
    if let Some(error) = &judged.judgement.error {
        found = found.seen("message", error.clone());
    }
    let provider = missing.and_then(|missing| missing.provider.as_deref());
    let other = match provider.filter(|provider| on_library_path(case, provider)) {
        Some(provider) => Some(mend::off_library_path(case, provider)),
        None if not_found.is_empty() => mend::restored(case),
        None => case.install(&pinned(case, framework, &wheels(case, &not_found, framework.major)), false),
    };
    Some(found.healed_by(case.run().into_iter().chain(other)))
}

/// The same wheels; the missing ones in the releases that the framework requires.
fn pinned(case: &Case<'_>, framework: &Framework<'_>, wheels: &[PackageSpec]) -> Vec<PackageSpec> {
    let range = |to_install: &PackageSpec| {
        let row = families().iter().find(|row| row.wheel_names(framework.major).contains(&to_install.name))?;
        framework.to_install.get(row.family)?.as_ref()
    };
    let pinned =
        |to_install: &PackageSpec| match range(to_install).filter(|_| case.has_package(&to_install.name).is_none()) {
            Some(range) => PackageSpec::within(&to_install.name, Some(range)),
            None => to_install.clone(),
        };
    wheels.iter().map(pinned).collect()
}

/// The lower bound of a range, or its exact version.
fn lower(range: &VersionRange) -> Option<Version> {
    let text = range.to_string();
    let bound = |clause: &str| {
        Version::parse(clause.strip_prefix(">=").or_else(|| clause.strip_prefix("=="))?.trim_end_matches(".*"))
    };
    text.split(',').find_map(|clause| bound(clause.trim())).or_else(|| range.exact().cloned())
}

/// A cuDNN older than the one a framework was built with: same major, lower minor.
fn older(case: &Case<'_>, framework: &Framework<'_>) -> Option<Finding> {
    let to_install = framework.to_install.get("cudnn")?.as_ref().and_then(lower)?;
    let soname = format!("libcudnn.so.{}", to_install.major());
    let judged = judged_cudnn(case, framework, &soname)?;
    let (path, version) = answering(&judged.judgement)?;
    let is_older = |version: &Version| version.major() == to_install.major() && version.minor() < to_install.minor();
    if !is_older(&version) {
        return None;
    }
    let torch = case.torch.filter(|torch| torch.pins.keys().any(|name| name.starts_with("nvidia-cudnn")));
    let pin = torch.and_then(|torch| torch.pins.iter().find(|(name, _)| name.starts_with("nvidia-cudnn")));
    let pinned = pin.is_some_and(|(_, range)| range.contains(&version));
    let (called, package) = (framework.called, framework.package);
    let found = match (torch, pin.filter(|_| pinned)) {
        (Some(torch), Some((_, range))) => case
            .finding("two-frameworks-one-cudnn")?
            .severity(Severity::Fatal)
            .because(format!(
                "torch {} includes cuDNN {version}, but {called} {} requires {to_install} or newer",
                torch.version, package.version
            ))
            .seen_at("version", &torch.dir, format!("torch {} requires cuDNN {range}", torch.version)),
        _ => case
            .finding("xla-built-against-newer")?
            .because(format!("{called} {} was built with cuDNN {to_install}, but finds {version}", package.version)),
    };
    let found = found
        .seen_at(
            "version",
            &package.dir,
            format!("{} {} requires cuDNN {to_install} or newer", package.name, package.version),
        )
        .seen_at("file", &path, format!("cuDNN {version}"))
        .seen("rule", "a newer minor release of one major serves builds for an older one, not the reverse");
    let wheel = format!("cu{}", framework.major);
    let newest = cudnn_releases().iter().rfind(|row| {
        row.version.major() == to_install.major()
            && row.version >= to_install
            && row.wheels.contains(&wheel.as_str())
            && !row.yanked
    });
    let version = newest.map_or_else(|| to_install.to_string(), |row| row.version.to_string());
    let other = if on_library_path(case, &path) {
        Some(mend::off_library_path(case, &path))
    } else {
        case.install(&[PackageSpec::exactly(&format!("nvidia-cudnn-{wheel}"), &version)], false)
    };
    Some(found.healed_by(case.run().into_iter().chain(other)))
}

/// cuDNN as the framework would load it: the copy that its library finds.
fn judged_cudnn(case: &Case<'_>, framework: &Framework<'_>, soname: &str) -> Option<Judged> {
    let python = case.interpreter?;
    if framework.called == "TensorFlow" {
        return judged_opens(case, framework);
    }
    let names = vec![(soname.into(), false)];
    let subject = match framework.opener(case) {
        Some(file) => Subject::opener(&file, names, python),
        None => Subject::names("JAX".to_owned(), names, Some(python)),
    };
    let judged = case.judge(&subject);
    if judged.judgement.objects.iter().any(|object| object.name == OsStr::new(soname)) {
        return Some(judged);
    }
    // If the wheel is in another directory of sys.path, JAX opens it by path before it tries the name.
    let wheel = python.paths.iter().map(|site| site.join("nvidia/cudnn/lib").join(soname));
    let wheel = wheel.into_iter().find(|file| case.host.is_file(file))?;
    let subject = Subject::files(case.loader, &[wheel], Some(python)).ok()?;
    Some(case.judge(&subject))
}

/// The part of cuDNN that defines `cudnnGetVersion`, and its release: the graph or the ops library, else the
/// dispatcher.
fn answering(judgement: &Judgement) -> Option<(PathBuf, Version)> {
    let stems = ["cudnn_graph", "cudnn_ops_infer", "cudnn"];
    stems.into_iter().find_map(|stem| {
        let object = judgement
            .objects
            .iter()
            .find(|object| object.ours && parse_library_name(&object.name).is_some_and(|name| name.row.stem == stem))?;
        Some((object.path.clone(), object.version.clone()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_bound_of_a_range() {
        let of = |text: &str| lower(&VersionRange::parse(text).unwrap()).map(|version| version.to_string());
        assert_eq!(of("<10.0,>=9.8").as_deref(), Some("9.8"));
        assert_eq!(of("==9.3.0.75").as_deref(), Some("9.3.0.75"));
        assert_eq!(of("<10"), None);
    }
}
