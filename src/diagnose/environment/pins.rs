//! What installed packages require of NVIDIA's wheels and do not get: what `uv pip check` reports of them.

use crate::diagnose::tool::Wanted;
use crate::diagnose::{Case, Finding, Remedy};
use crate::python::requirements;
use crate::tables::{Version, VersionRange};
use std::collections::BTreeMap;

/// One requirement that is not met.
struct Unmet {
    by: String,
    wanted: Wanted,
    range: String,
    found: Option<String>,
    /// Who requires another release of the same.
    against: Option<(String, String)>,
}

/// All of them, by package; of two that ask for one package, the first has the say.
fn all(case: &Case<'_>) -> BTreeMap<String, Unmet> {
    let mut found: BTreeMap<String, Unmet> = BTreeMap::new();
    for package in case.installed {
        // The first of a name on `sys.path` is the one that is imported.
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
                    wanted: Wanted::within(&name, range.as_ref()),
                    range: range.map(|range| range.to_string()).unwrap_or_default(),
                    found: here.map(|here| here.version.clone()),
                };
                found.insert(name, unmet);
            }
        }
    }
    found
}

/// The package that does not take this release of another, and which it takes.
fn against(case: &Case<'_>, name: &str, release: &Version) -> Option<(String, String)> {
    case.installed.iter().find_map(|package| {
        let range = requirements(case.host, package, &[]).remove(name)??;
        (!range.contains(release)).then(|| (format!("{} {}", package.name, package.version), range.to_string()))
    })
}

/// What would have to be installed.
pub(in crate::diagnose) fn unmet(case: &Case<'_>) -> Vec<Wanted> {
    all(case).into_values().map(|unmet| unmet.wanted).collect()
}

/// The finding, of all that is not met.
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
            unmet.by, unmet.wanted.name
        )))
    });
    let wanted: Vec<Wanted> = all.into_values().map(|unmet| unmet.wanted).collect();
    Some(found.healed_by(case.install(&wanted, false).into_iter().chain(agree)))
}
