//! Findings about the driver: is there one, is it whole, does it go together, is it new enough.

use super::{Case, Finding};
use crate::driver::rules::{self, Verdict};
use crate::facts::Version;

/// What is found, first causes first.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if case.machine.usable_libcudas().next().is_none() {
        found.extend(case.finding("no-driver"));
        return found;
    }
    found.extend(too_old(case));
    found
}

fn too_old(case: &Case<'_>) -> Option<Finding> {
    let torch = case.torch?;
    let cuda = Version::parse(torch.cuda.as_deref()?)?;
    let driver = case.machine.driver_version()?;
    match rules::on_driver_with(&cuda, &driver, case.machine.found_libcuda()) {
        Verdict::NeedsDriver { floor } => {
            let floor = floor.map_or_else(|| "a newer driver".to_owned(), |floor| format!("driver {floor} or newer"));
            Some(
                case.finding("driver-too-old")?
                    .because(format!("torch {} needs {floor}, and this is {driver}", torch.version)),
            )
        }
        _ => None,
    }
}
