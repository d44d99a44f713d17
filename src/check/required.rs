//! A library older than the package of its consumer requires: DALI refuses an nvImageCodec that its metadata excludes.
//!
//! Takes a link map; adds a [`Finding`] where ld.so's search finds such a copy though the environment has one that fits.
//! Reads the metadata of the packages that own a consumer; never judges a consumer that no wheel owns.

use super::mapping::Mapping;
use super::{Cause, Finding};
use crate::inventory::Library;
use crate::loader::Rule;
use crate::python::{Distribution, distributions, requirements, site_of};
use crate::tables::{Phase, Version, VersionRange};
use std::path::{Path, PathBuf};

/// Adds the findings; gives whether there are any.
pub(super) fn older(facts: &Mapping<'_, '_>, findings: &mut Vec<Finding>) -> bool {
    let before = findings.len();
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        // What a run path or a path finds was installed for its consumer.
        let searched = matches!(facts.rule(index), Rule::Preload | Rule::LdLibraryPath | Rule::Cache | Rule::Default);
        let (Some(library), Some(by)) = (facts.library(index).filter(|_| searched), mapped.loader) else { continue };
        let Some((package, range)) = facts
            .mapped(by)
            .zip(facts.library(by))
            .and_then(|(consumer, owned)| requirement(facts, &consumer.path, owned, library))
        else {
            continue;
        };
        let cause = Cause::Required { by: consumer_path(facts, by), package, range, file: facts.file(index) };
        let found = Finding::new("library-older-wins", cause);
        findings.push(if index >= facts.loaded { found.at(Phase::Use) } else { found });
    }
    findings.len() > before
}

fn consumer_path(facts: &Mapping<'_, '_>, by: usize) -> PathBuf {
    facts.mapped(by).map(|mapped| mapped.path.clone()).unwrap_or_default()
}

/// The package of a consumer, and what it requires of a library's package, if the library is older and the installed
/// package is not.
fn requirement(
    facts: &Mapping<'_, '_>,
    consumer: &Path,
    owned: &Library,
    library: &Library,
) -> Option<(String, String)> {
    let version = library.version.as_ref()?;
    let host = facts.map.host();
    let installed = distributions(host, site_of(consumer)?);
    let is_its = |package: &&Distribution| {
        owned.row.is_wheel(&package.name) && Version::parse(&package.version) == owned.version
    };
    let package = installed.iter().find(is_its)?;
    let is_older = |(wheel, range): &(String, Option<VersionRange>)| {
        let here = || installed.iter().find(|package| package.name == *wheel);
        let here = || here().and_then(|package| Version::parse(&package.version));
        // An exact pin is what was tested, not all that works.
        library.row.is_wheel(wheel)
            && range.as_ref().is_some_and(|range| {
                range.exact().is_none()
                    && !range.contains(version)
                    && here().is_some_and(|here| range.contains(&here) && *version < here)
            })
    };
    let (wheel, range) = requirements(host, package, &[]).into_iter().find(is_older)?;
    let range = range.map(|range| range.to_string()).unwrap_or_default();
    Some((format!("{} {}", package.name, package.version), format!("{wheel}{range}")))
}
