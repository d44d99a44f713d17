//! Whether the driver supports its GPUs, whatever runs on them.

use super::super::{Case, Finding, Remedy};
use crate::driver::{Device, Flavour, Support, support};
use crate::tables::Severity;

/// The findings, one for each kind of GPU.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for device in case.driver.devices() {
        found.extend(unsupported(case, device).filter(|finding| !found.contains(finding)));
    }
    found
}

fn unsupported(case: &Case<'_>, device: &Device) -> Option<Finding> {
    let driver = case.driver.driver_version()?;
    let (name, flavour) = (&device.name, case.driver.kernel.flavour);
    let other = |flavour| match flavour {
        Flavour::Open => "open",
        _ => "proprietary",
    };
    let (found, remedy) = match support(device, &driver, flavour) {
        Support::From { branch } => (
            case.finding("gpu-unsupported")?
                .because(format!("driver {driver} does not support {name}: the first branch that does is {branch}")),
            format!("install driver {branch} or newer"),
        ),
        Support::UpTo { branch } => (
            case.finding("gpu-unsupported")?
                .because(format!("driver {driver} no longer supports {name}: the last branch that does is {branch}")),
            format!("install driver {branch}"),
        ),
        Support::With { flavour, is_other } => {
            let needs = format!("{name} requires the {} kernel modules", other(flavour));
            let found = case.finding("kernel-module-flavour")?;
            let found = match is_other {
                true => found.because(format!("{needs}; those of driver {driver} are not")),
                false => found.because(needs).severity(Severity::Fact),
            };
            (found, format!("install the {} kernel modules of the driver", other(flavour)))
        }
        Support::Supported => return None,
    };
    let compute = device.compute.map(|compute| format!(", compute capability {compute}")).unwrap_or_default();
    Some(found.seen("device", format!("{name}{compute}")).healed_by([Remedy::action(remedy)]))
}
