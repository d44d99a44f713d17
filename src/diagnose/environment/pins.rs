//! Unmet requirements of installed packages for NVIDIA's wheels: those that `uv pip check` reports.

use crate::diagnose::tool::PackageSpec;
use crate::diagnose::{Case, Finding, Remedy};
use crate::python::requirements;
use crate::tables::{Version, VersionRange};
use std::collections::BTreeMap;

/// An unmet requirement.
struct Unmet {
    by: String,
    required: PackageSpec,
    range: String,
    found: Option<String>,
    /// Another package that requires another release.
    against: Option<(String, String)>,
}

/// All unmet requirements, by package; of two that require one package, the first decides.
fn all(case: &Case<'_>) -> BTreeMap<String, Unmet> {
    let mut found: BTreeMap<String, Unmet> = BTreeMap::new();
    for package in case.installed {
        // Python imports the first package of a name on `sys.path`.
        if case.has_package(&package.name) != Some(package) {
            continue;
        }
        for (name, range) in requirements(case.host, package, &[]) {
            if !name.starts_with("nvidia-") || found.contains_key(&name) {
                continue;
            }
            let here = case.has_package(&name);
            let version = here.and_then(|here| Version::parse(&here.version));
            let met = here.is_some() && range.as_ref().is_none_or(|range| version.is_none_or(|it| range.contains(&it)));
            if !met {
                let exact = range.as_ref().and_then(VersionRange::exact);
                let unmet = Unmet {
                    against: exact.and_then(|exact| against(case, &name, exact)),
                    by: format!("{} {}", package.name, package.version),
                    required: PackageSpec::within(&name, range.as_ref()),
                    range: range.map(|range| range.to_string()).unwrap_or_default(),
                    found: here.map(|here| here.version.clone()),
                };
                found.insert(name, unmet);
            }
        }
    }
    found
}

/// The package that rejects this release of another, and the release that it requires.
fn against(case: &Case<'_>, name: &str, release: &Version) -> Option<(String, String)> {
    case.installed.iter().find_map(|package| {
        let range = requirements(case.host, package, &[]).remove(name)??;
        (!range.contains(release)).then(|| (format!("{} {}", package.name, package.version), range.to_string()))
    })
}

/// The packages to install.
pub(in crate::diagnose) fn unmet(case: &Case<'_>) -> Vec<PackageSpec> {
    all(case).into_values().map(|unmet| unmet.required).collect()
}

/// The finding for all unmet requirements.
pub(super) fn finding(case: &Case<'_>) -> Option<Finding> {
    let all = all(case);
    let (name, first) = all.first_key_value()?;
    let more = if all.len() > 1 { format!(", and {} more", all.len() - 1) } else { String::new() };
    let here = first.found.as_ref().map_or_else(|| "it is not installed".to_owned(), |it| format!("{it} is installed"));
    let mut found =
        case.finding("pin-not-met")?.because(format!("{} requires {name}{}, but {here}{more}", first.by, first.range));
    for (name, unmet) in &all {
        let here = unmet.found.as_deref().unwrap_or("not installed");
        found = found.seen("version", format!("{} requires {name}{}: {here}", unmet.by, unmet.range));
        if let Some((other, range)) = &unmet.against {
            found = found.seen("version", format!("{other} requires {name}{range}: no release satisfies both"));
        }
    }
    let agree = all.values().find_map(|unmet| {
        let (other, _) = unmet.against.as_ref()?;
        Some(Remedy::action(format!(
            "install releases of {} and {other} that accept the same {}",
            unmet.by, unmet.required.name
        )))
    });
    let required: Vec<PackageSpec> = all.into_values().map(|unmet| unmet.required).collect();
    Some(found.healed_by(case.install(&required, false).into_iter().chain(agree)))
}
