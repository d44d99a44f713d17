//! Whether the CUDA release of a torch goes with the driver and with the toolkits, in one line.
//!
//! Takes the case and its toolkits; gives words. Equality is not the rule: a driver runs every release of its major, and a
//! toolkit is only asked for where extensions are built, by the major alone. `nvcc --version` tells nothing of the driver.

use super::{Case, Toolkit};
use crate::driver::rules::{self, Verdict};
use crate::tables::Version;

/// The line; none where there is no torch with CUDA, or nothing to compare it with.
pub(super) fn line(case: &Case<'_>, toolkits: &[Toolkit]) -> Option<String> {
    let cuda = Version::parse(case.torch?.cuda.as_deref()?)?;
    let driver = case.driver.driver_version().map(|driver| on_driver(case, &cuda, &driver));
    let toolkits = toolkits.iter().filter_map(|toolkit| {
        let release = toolkit.cuda.as_deref()?;
        // torch refuses to build extensions with a toolkit of another major (torch.utils.cpp_extension).
        let builds = if Version::parse(release)?.major() == cuda.major() { "fits" } else { "does not fit" };
        Some(format!("the toolkit {release} {builds} for building extensions"))
    });
    let said: Vec<String> = driver.into_iter().chain(toolkits).collect();
    (!said.is_empty()).then(|| format!("{cuda} is torch's: {}", said.join("; ")))
}

fn on_driver(case: &Case<'_>, cuda: &Version, driver: &Version) -> String {
    match rules::on_driver_with(cuda, driver, case.driver.found_libcuda()) {
        Verdict::Runs => "the driver runs it".to_owned(),
        Verdict::RunsByMinorCompat { driver } => {
            format!("the driver, for CUDA {driver}, runs it by minor-version compatibility")
        }
        Verdict::ViaCompat { .. } => "the driver runs it through the compatibility package".to_owned(),
        Verdict::NeedsDriver { floor: Some(floor) } => format!("the driver does not run it, {floor} or newer does"),
        Verdict::NeedsDriver { floor: None } => "the driver does not run it, a newer one does".to_owned(),
        _ => "whether the driver runs it is not known".to_owned(),
    }
}
