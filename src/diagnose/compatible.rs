//! Whether the CUDA release of a torch fits the driver and the toolkits, in one line.
//!
//! Takes the case and its toolkits; gives a sentence. The releases need not be equal: a driver runs every release of
//! its major, and only extension builds use a toolkit, by its major. `nvcc --version` proves nothing about the
//! driver.

use super::Case;
use crate::driver::rules::{self, Verdict};
use crate::inventory::Cuda;
use crate::inventory::places::Provenance;
use crate::report::JsonPath;
use crate::tables::Version;
use serde::Serialize;
use std::collections::BTreeMap;

/// A toolkit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Toolkit {
    /// Its root.
    pub path: JsonPath,
    /// Its CUDA release.
    pub cuda: Option<String>,
}

/// The toolkits by root, in the order of the places, each with the release of its libraries.
pub(super) fn toolkits(case: &Case<'_>) -> Vec<Toolkit> {
    let mut order = Vec::new();
    let mut releases: BTreeMap<_, Option<String>> = BTreeMap::new();
    let of_toolkit = |library: &&crate::inventory::Library| {
        matches!(library.place.provenance, Provenance::Toolkit) && library.row.owner == "toolkit"
    };
    for library in case.inventory.libraries.iter().filter(of_toolkit) {
        // `/usr/local/cuda` is a symbolic link to a numbered one.
        let root = case.host.canonical(&library.place.root).unwrap_or_else(|_| library.place.root.clone());
        if !releases.contains_key(&root) {
            order.push(root.clone());
        }
        let release = releases.entry(root).or_default();
        if library.row.family == "cudart" || release.is_none() {
            *release = library.cuda.map(release_text).or(release.take());
        }
    }
    let made = order
        .into_iter()
        .map(|root| Toolkit { path: root.as_path().into(), cuda: releases.get(&root).cloned().flatten() });
    made.collect()
}

/// The sentence; `None` without a torch with CUDA, or with nothing to compare it with.
pub(super) fn line(case: &Case<'_>, toolkits: &[Toolkit]) -> Option<String> {
    let cuda = Version::parse(case.torch?.cuda.as_deref()?)?;
    let driver = case.driver.driver_version().map(|driver| on_driver(case, &cuda, &driver));
    let toolkits = toolkits.iter().filter_map(|toolkit| {
        let release = toolkit.cuda.as_deref()?;
        // torch refuses to build extensions with a toolkit of another major (torch.utils.cpp_extension).
        let builds = if Version::parse(release)?.major() == cuda.major() { "fits" } else { "does not fit" };
        Some(format!("the toolkit {release} {builds} for building extensions"))
    });
    let clauses: Vec<String> = driver.into_iter().chain(toolkits).collect();
    (!clauses.is_empty()).then(|| format!("CUDA {cuda} (torch): {}", clauses.join("; ")))
}

fn on_driver(case: &Case<'_>, cuda: &Version, driver: &Version) -> String {
    match rules::on_driver_with(cuda, driver, case.driver.found_libcuda()) {
        Verdict::Runs => "supported by the driver".to_owned(),
        Verdict::RunsByMinorCompat { driver } => {
            format!("supported by the driver (CUDA {driver}) through minor-version compatibility")
        }
        Verdict::ViaCompat { .. } => "supported through the compatibility package".to_owned(),
        Verdict::NeedsDriver { floor: Some(floor) } => {
            format!("not supported by this driver (requires {floor} or newer)")
        }
        Verdict::NeedsDriver { floor: None } => "not supported by this driver (requires a newer one)".to_owned(),
        _ => "support by this driver is unknown".to_owned(),
    }
}

fn release_text((major, minor): Cuda) -> String {
    minor.map_or_else(|| major.to_string(), |minor| format!("{major}.{minor}"))
}
